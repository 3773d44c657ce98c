package main

import (
	"bytes"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
)

// TestBackup backs up a switch while terminals sell, brings the copy up in another
// place, finds its books clean, and sells there, on both engines.
func TestBackup(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"sqlite", "postgres"} {
		t.Run(engine, func(t *testing.T) {
			s := newStack(t, "balance: 500000")
			var elsewhere []string
			dump := func() {}
			load := func() {}
			if engine == "postgres" {
				if code := s.server.stop(os.Interrupt); code != exitOK {
					t.Fatalf("exit %d", code)
				}
				if err := os.RemoveAll(filepath.Join(s.dir, "data/journal")); err != nil {
					t.Fatal(err)
				}
				here, there := ledgertest.Postgres(t), ledgertest.Postgres(t)
				s.env, elsewhere = []string{"ACQ_LEDGER_DSN=" + here}, []string{"ACQ_LEDGER_DSN=" + there}
				s.start()
				file := filepath.Join(t.TempDir(), "ledger.dump")
				dump = func() { postgresTool(t, "pg_dump", here, "--format=custom", "--file="+file) }
				load = func() { postgresTool(t, "pg_restore", there, "--no-owner", "--exit-on-error", file) }
			}
			here := func(args ...string) result { return acqswitch(t, s.dir, s.env, "", args...) }
			checkAnswer(t, s.tell(frame(t, "cup-01")), 0x0810, "00") // sign-on
			enough, ended := make(chan struct{}), make(chan error, 1)
			go func() { ended <- s.sellUntil(enough) }()
			s.until("some sales are in the ledger", func() bool {
				r := here("ledger", "transactions", "--kind", "sale", "--limit", "20", "-o", "json", "--config", "acqswitch.yaml")
				return strings.Count(r.out, "\n") == 20
			})
			dump()
			here("backup", "copy", "--config", "acqswitch.yaml").check(t, exitOK, "copy: journal records 1 to ", "")
			here("backup", "copy", "--config", "acqswitch.yaml").check(t, exitUsage, "", "copy is there already")
			close(enough)
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			if code := s.server.stop(os.Kill); code == exitOK {
				t.Fatal("the switch was not killed")
			}

			// What docs/operations.md says under Restore.
			other := &stack{t: t, dir: t.TempDir(), issuer: s.issuer, bank: s.bank, env: elsewhere}
			sums := exec.Command("sha256sum", "--quiet", "-c", "SHA256SUMS")
			sums.Dir = filepath.Join(s.dir, "copy")
			if out, err := sums.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if err := os.CopyFS(filepath.Join(other.dir, "data"), os.DirFS(filepath.Join(s.dir, "copy"))); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"acqswitch.yaml", "data/registry.yaml", "data/card.keys", "data/lmk.keys"} {
				b, err := os.ReadFile(filepath.Join(s.dir, name))
				if err == nil {
					err = os.WriteFile(filepath.Join(other.dir, name), b, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			load()
			there := func(args ...string) result { return acqswitch(t, other.dir, elsewhere, "", args...) }
			for _, name := range []string{"card.keys", "lmk.keys"} { // forgotten, it is not drawn anew
				path := filepath.Join(other.dir, "data", name)
				if err := os.Rename(path, path+".away"); err != nil {
					t.Fatal(err)
				}
				there("serve", "--config", "acqswitch.yaml").check(t, exitUsage, "", name+" does not exist, and there is ")
				if err := os.Link(path+".away", path); err != nil { // it would not over another
					t.Fatal(err)
				}
			}
			there("verify", "--config", "acqswitch.yaml").check(t, exitOK, "", "")
			if r := there("ledger", "transactions", "--kind", "sale", "-o", "json", "--config", "acqswitch.yaml"); strings.Count(r.out, "\n") < 20 {
				t.Errorf("there are not the sales of before:\n%s%s", r.out, r.errs)
			}
			other.start()
			checkAnswer(t, other.tell(frame(t, "cup-01")), 0x0810, "00")
			m := new(iso.Message) // 65: what the card has used came along
			if err := cupCodec.Parse(m, other.tell(renumbered(t, frame(t, "cup-03"), 800_000))); err != nil || !slices.Contains([]string{"00", "65"}, string(m.Value(39))) {
				t.Errorf("a sale was answered %s, %v", m.Value(39), err)
			}
			if code := other.server.stop(os.Interrupt); code != exitOK {
				t.Fatalf("exit %d", code)
			}
			there("verify", "--config", "acqswitch.yaml").check(t, exitOK, "", "")
		})
	}
}

// sellUntil makes sales on one connection until enough is closed.
func (s *stack) sellUntil(enough chan struct{}) error {
	conn, err := net.Dial("tcp", s.cup)
	if err != nil {
		return err
	}
	defer conn.Close()
	sale := frame(s.t, "cup-03")
	for n := uint32(10); ; n++ {
		select {
		case <-enough:
			return nil
		default:
		}
		if _, err := conn.Write(renumbered(s.t, bytes.Clone(sale), n)); err != nil {
			return err
		}
		if _, err := receive(conn); err != nil {
			return err
		}
	}
}

// postgresTool runs one of the server's programs on the database of a DSN.
func postgresTool(t *testing.T, tool, dsn string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + tool); len(found) > 0 {
			path = found[len(found)-1]
		} else {
			t.Fatalf("%v: run 'sudo apt-get install postgresql'", err)
		}
	}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(path, append(args, "--dbname="+u.String())...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", tool, err, out)
	}
}
