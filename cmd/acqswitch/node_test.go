package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestF77SecondNode starts a second switch beside one at work, on its data directory
// and, with a directory of its own, on its ledger: it ends and says why, and the
// first one sells on.
func TestF77SecondNode(t *testing.T) {
	t.Parallel()
	s := newStack(t, "{}")
	sale := frame(t, "cup-03")
	checkAnswer(t, s.tell(sale), 0x0210, "00")
	s.until("the sale is in the ledger", func() bool {
		return strings.Contains(s.cli("ledger", "transactions", "--config", "acqswitch.yaml", "-o", "json").out, "10000001")
	})
	other := t.TempDir()
	config := read(t, filepath.Join(s.dir, "acqswitch.yaml"))
	write(t, other, "acqswitch.yaml", config+fmt.Sprintf("ledger: {dsn: %q}\n", "sqlite:"+filepath.Join(s.dir, "data/ledger.db")))
	write(t, other, "merchants.yaml", registryText)
	acqswitch(t, other, nil, "", "registry", "import", "--config", "acqswitch.yaml", "merchants.yaml").check(t, exitOK, "", "")
	for i, c := range []struct{ what, dir, want string }{
		{"the same data directory", s.dir, fmt.Sprintf("process %d has it open; stop that process or give this one another directory", s.server.cmd.Process.Pid)},
		{"the same ledger", other, "the ledger is ahead of the journal: this is not the journal it was loaded from"},
	} {
		second := startIn(t, c.dir, []string{"ACQ_LOG_LEVEL=error"}, "serve", "--config", "acqswitch.yaml")
		select {
		case <-second.ended:
		case <-time.After(binaryWait):
			t.Fatalf("%s: the second switch goes on", c.what)
		}
		said := strings.Split(strings.TrimSpace(read(t, second.log)), "\n")
		if code, line := second.cmd.ProcessState.ExitCode(), said[len(said)-1]; code != exitFailed || !strings.HasPrefix(line, "acqswitch: ") || !strings.Contains(line, c.want) {
			t.Errorf("%s: exit %d, %q", c.what, code, line)
		}
		for len(second.lines) > 0 {
			if line := <-second.lines; strings.Contains(line, "terminals can connect") {
				t.Errorf("%s: it let terminals in: %s", c.what, line)
			}
		}
		checkAnswer(t, s.tell(renumbered(t, sale, uint32(i+3))), 0x0210, "00")
	}
	if r := s.verify(); len(r.Breaks) != 0 {
		t.Errorf("verify: %+v", r)
	}
}
