package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	s := newStack(t, "balance: 500000")
	checkAnswer(t, s.tell(frame(t, "cup-03")), 0x0210, "00")
	of := []string{"status", "--config", "acqswitch.yaml"}
	s.until("the ledger has its tables", func() bool { return s.cli(of...).code == exitOK })
	s.cli(of...).check(t, exitOK, "nothing is wrong", "")
	var got status
	if r := s.cli(append(of, "-o", "json")...); r.code != exitOK || json.Unmarshal([]byte(r.out), &got) != nil {
		t.Fatalf("exit %d, %q", r.code, r.out)
	}
	if got.PID != s.server.cmd.Process.Pid || got.Journal == 0 || got.DiskFree == 0 || len(got.Issuers) != 1 || !reflect.DeepEqual(got.Issuers[0], linkStatus{"east", 1, 1, []string{s.issuer}, "closed", 0}) {
		t.Errorf("%+v", got)
	}
	if _, body := s.get("/metrics"); !strings.Contains(body, `acq_link_late_lost_total{issuer="east"} 0`) {
		t.Error("lost late answers are not counted")
	}
	s.bank.stop(os.Kill)
	s.until("the link is seen to be down", func() bool {
		r := s.cli(of...)
		return r.code == exitRefused && strings.Contains(r.out, "0 of 1") && strings.Contains(r.out, "wrong: issuer east has no link")
	})
	if code := s.server.stop(os.Interrupt); code != exitOK {
		t.Fatalf("exit %d", code)
	}
	s.cli(of...).check(t, exitUnreachable, "", "no switch serves")
}

// TestStatusOfHosts asks a switch of whose issuer's two hosts one is away.
func TestStatusOfHosts(t *testing.T) {
	t.Parallel()
	s := newStack(t, "")
	s.server.stop(os.Interrupt)
	config := strings.Replace(read(t, filepath.Join(s.dir, "acqswitch.yaml")), fmt.Sprintf("address: %q, dialect", s.issuer), fmt.Sprintf("address: [\"127.0.0.1:1\", %q], connections: 2, dialect", s.issuer), 1)
	write(t, s.dir, "acqswitch.yaml", config)
	s.start()
	r := s.cli("status", "--config", "acqswitch.yaml")
	r.check(t, exitRefused, "1 of 2  "+s.issuer, "")
	r.check(t, exitRefused, "wrong: issuer east has 1 of its 2 links", "")
	if _, body := s.get("/metrics"); !strings.Contains(body, `acq_link_down{issuer="east"} 1`) {
		t.Error("the missing link is not counted")
	}
}

// TestStatusWithoutTables asks a switch that started while its database did not answer.
func TestStatusWithoutTables(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s := newStack(t, "")
	s.server.stop(os.Interrupt)
	write(t, s.dir, "acqswitch.yaml", read(t, filepath.Join(s.dir, "acqswitch.yaml"))+"ledger: {dsn: \"postgres://nobody@"+silent.Addr().String()+"/none?sslmode=disable\"}\n")
	s.start()
	s.cli("status", "--config", "acqswitch.yaml").check(t, exitRefused, "wrong: the ledger cannot follow, sales go on: connect to database: ", "")
}
