package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestF84UpgradeUnderLoad replaces the program of a switch three times while
// terminals sell on connections that stay open: no sale fails, none is sold
// twice, and the books agree.
func TestF84UpgradeUnderLoad(t *testing.T) {
	t.Parallel()
	s := newStack(t, "rules: [{latency: {fixed: 60ms}}]")
	good, err := os.ReadFile(filepath.Join(s.dir, "acqswitch.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// A card buys two hundred times a day, unless a changed configuration is read.
	write(t, s.dir, "policy.yaml", "version: 1\nplans: [{number: 0, name: all day, limits: [{of: card, day_count: 100000}]}]\n")
	good = append(good, "risk: {policy: policy.yaml}\n"...)
	write(t, s.dir, "acqswitch.yaml", string(good))
	s.cli("upgrade", "--config", "acqswitch.yaml").check(t, exitOK, "0 sessions kept", "")
	sale := frame(t, "cup-03")
	ctx, stop := context.WithCancel(t.Context())
	var selling sync.WaitGroup
	var sold atomic.Int64
	for n := range uint32(4) {
		conn := dial(t, s.cup)
		selling.Go(func() {
			for stan := n*10_000 + 1; ctx.Err() == nil; stan++ {
				if _, err := conn.Write(renumbered(t, sale, stan)); err != nil {
					t.Errorf("sale %d: %v", stan, err)
					return
				}
				conn.SetReadDeadline(time.Now().Add(binaryWait))
				answer, err := receive(conn)
				if err != nil {
					t.Errorf("sale %d: %v", stan, err)
					return
				}
				checkAnswer(t, answer, 0x0210, "00")
				sold.Add(1)
			}
		})
	}
	before := int64(0)
	for range 3 {
		s.until("sales are made", func() bool { return sold.Load() > before+20 })
		r := s.cli("upgrade", "--config", "acqswitch.yaml", "-o", "json")
		r.check(t, exitOK, `"sessions": 4`, "")
		var p presence
		if err := json.Unmarshal([]byte(r.out), &p); err != nil || p.PID != s.server.cmd.Process.Pid {
			t.Errorf("process %d came back as %+v: %v", s.server.cmd.Process.Pid, p, err)
		}
		before = sold.Load()
	}
	s.until("sales are made", func() bool { return sold.Load() > before+20 })

	// A program that cannot take over replaces nothing.
	write(t, s.dir, "acqswitch.yaml", string(good)+"\nanswer_within: soon\n")
	if err := syscall.Kill(s.server.cmd.Process.Pid, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	s.until("the upgrade is refused", func() bool {
		p, err := readPresence(filepath.Join(s.dir, "data"))
		return err == nil && p.Refused != ""
	})
	write(t, s.dir, "acqswitch.yaml", string(good))
	before = sold.Load()
	s.until("sales are made after it", func() bool { return sold.Load() > before+20 })

	stop()
	selling.Wait()
	if code := s.server.stop(syscall.SIGTERM); code != exitOK {
		t.Errorf("exit %d", code)
	}
	s.cli("upgrade", "--config", "acqswitch.yaml").check(t, exitUsage, "", "no switch serves data")
	r := s.verify()
	if r.OpenRequests+r.OpenReversals != 0 {
		t.Errorf("open after it: %+v", r)
	}
	if got := fmt.Sprint(r.Outcomes); got != fmt.Sprint(sold.Load()) {
		t.Errorf("%s transactions are in the books of %d that were answered", got, sold.Load())
	}
}
