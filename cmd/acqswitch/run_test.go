package main

import (
	"encoding/json"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/switch/issuer/simulator"
)

// TestRunKilled plays the sample day, kills it at some moment, and lets the next
// run take it up: every answer is the expected one, every promise holds, and
// the books of terminals, switch and issuers agree. Nobody asks for metrics.
func TestRunKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	args := []string{"run", "--exit", "--output", "json", "--cup", "127.0.0.1:0", "--iso87", "127.0.0.1:0", "--admin", ""}
	killed := start(t, dir, args...)
	after := time.Duration(1+rand.IntN(4000)) * time.Millisecond
	time.Sleep(after) // any moment will do
	killed.stop(syscall.SIGKILL)

	next := start(t, dir, args...)
	text := ""
	late, cancel := running(4 * binaryWait)
	defer cancel()
	for running := true; running; {
		select {
		case line := <-next.lines:
			text += line
		case <-next.ended:
			running = false
		case <-late.Done():
			t.Fatalf("killed after %v: the next run does not end", after)
		}
	}
	for len(next.lines) > 0 {
		text += <-next.lines
	}
	var s struct {
		OK      bool
		Resumed bool
		Day     struct {
			Messages   int
			Mismatches []json.RawMessage
		}
		Verify  report
		Books   struct{ Breaks []string }
		Settled []settlement.RunResult
	}
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatalf("killed after %v: %v in %s", after, err, text)
	}
	if code := next.cmd.ProcessState.ExitCode(); code != exitOK || !s.OK || s.Verify.OpenRequests+s.Verify.OpenReversals != 0 {
		t.Errorf("killed after %v: exit %d, %+v", after, code, s)
	}
	if n := len(s.Settled); n == 0 || s.Settled[n-1].State != "done" || len(s.Settled[n-1].Totals) < 4 || s.Settled[n-1].Exceptions != 0 {
		t.Errorf("killed after %v: settled %+v", after, s.Settled)
	} else if _, err := os.Stat(filepath.Join(dir, s.Settled[n-1].Directory, "payouts.csv")); err != nil {
		t.Error(err)
	}
	for _, command := range []string{"fee", "payout"} { // its books are for others to look into
		runs, _ := filepath.Glob(filepath.Join(dir, "data", "run", "*", configFile))
		acqswitch(t, dir, nil, "", command, "check", "--config", strings.Join(runs, ",")).check(t, exitOK, "ok ", "")
	}
	t.Logf("killed after %v, resumed: %v, %d messages", after, s.Resumed, s.Day.Messages)
}

// TestRunBesideARunningOne holds that a run which would take up one that is still
// going on leaves it alone: its books are those of a killed run afterwards.
// A run that was killed just before the hour in which another cut-over is taken is
// taken up with the cut-over that it had: its day's limits would start again.
func TestRunIsTakenUpWithItsCutOver(t *testing.T) {
	t.Parallel()
	shanghai, err := time.LoadLocation("Asia/Shanghai")
	if err != nil {
		t.Fatal(err)
	}
	for clock, want := range map[string]string{"00:00": "23:00", "21:59": "23:00", "22:00": "12:00", "23:59": "12:00"} {
		began, err := time.ParseInLocation("2006-01-02 15:04", "2026-12-31 "+clock, shanghai)
		if err != nil {
			t.Fatal(err)
		}
		data := t.TempDir()
		if err := os.Mkdir(filepath.Join(data, began.Local().Format(runName)), 0o700); err != nil {
			t.Fatal(err)
		}
		r := &sampleRun{o: runOptions{data: data}}
		if err := r.prepare(); err != nil || !r.resumed || r.cfg.CutOver != want {
			t.Errorf("begun at %s: cut over at %s, want %s; taken up: %v; %v", clock, r.cfg.CutOver, want, r.resumed, err)
		}
	}
}

func TestRunBesideARunningOne(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	args := strings.Fields("run --exit --cup 127.0.0.1:0 --iso87 127.0.0.1:0 --admin 127.0.0.1:0")
	first := start(t, dir, args...)
	first.await("config ")
	acqswitch(t, dir, nil, "", args...).check(t, exitFailed, "", "still plays the day in data/run/")
	first.await("[") // it goes on
	first.stop(syscall.SIGKILL)
	books, _ := filepath.Glob(filepath.Join(dir, "data/run/*/*.book"))
	for _, book := range books {
		if entries, err := simulator.ReadBook(book); err != nil || len(entries) == 0 {
			t.Errorf("%s: %d entries, %v", book, len(entries), err)
		}
	}
	if len(books) != 2 {
		t.Errorf("books are %v", books)
	}
}

// TestRunDoesNotStart holds that a run that cannot start says why in one line
// and leaves nothing that the next one would take up.
func TestRunDoesNotStart(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().String()
	inUse := "address already in use; --cup, --iso87 and --admin with port 0"
	server := ledgertest.Postgres(t)
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"--ledger postgres://u:secret@127.0.0.1:1/d", exitUnreachable, "--ledger cannot be used"},
		{"--ledger mysql://h/d", exitUsage, "--ledger must be sqlite:PATH or postgres://"},
		{"--cup " + port, exitFailed, inUse},
		{"--admin " + port, exitFailed, inUse},
		{"--ledger " + server + " --admin " + port, exitFailed, inUse},
		{"--ledger " + server + " --cup " + port, exitFailed, inUse}, // and not that the tables are another run's
	} {
		dir := t.TempDir()
		args := append(strings.Fields("run --exit --cup 127.0.0.1:0 --iso87 127.0.0.1:0 --admin 127.0.0.1:0"), strings.Fields(c.args)...)
		r := acqswitch(t, dir, nil, "", args...)
		if r.check(t, c.code, "", c.want); strings.Contains(r.errs, "secret") {
			t.Errorf("%s: %s", c.args, r.errs)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "data/run/*")); len(left) > 0 {
			t.Errorf("%s leaves %v", c.args, left)
		}
	}
}
