package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/acqswitch/acqswitch/switch/issuer/simulator"
)

// TestStandIn sells while the issuer's process is gone: within the exposure the
// terminal is told yes, above it 91; the issuer is told when it is back, and the
// books agree, also after an upgrade of the switch in between.
func TestStandIn(t *testing.T) {
	t.Parallel()
	s := newStack(t, "rules: []")
	file := filepath.Join(s.dir, "acqswitch.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	upgrade := func() {
		t.Helper()
		s.cli("upgrade", "--config", "acqswitch.yaml").check(t, exitOK, "", "")
		s.admin = s.server.await("metrics and health are on") // its port is another
	}
	const rules = "stand_in: [{issuer: %s, currency: 156, transaction: 30000, exposure: {issuer: 50000, merchant: 50000, terminal: 50000, card: 50000}}]\n"
	write(t, s.dir, "acqswitch.yaml", string(text)+fmt.Sprintf(rules, "west"))
	s.cli("config", "check", "--config", "acqswitch.yaml").check(t, exitUsage, "", `stand_in[]: issuer "west" must be one of issuers`)
	write(t, s.dir, "acqswitch.yaml", string(text)+fmt.Sprintf(rules, "east"))
	upgrade()

	if s.bank.stop(syscall.SIGKILL) == exitOK {
		t.Fatal("the issuer ended by itself")
	}
	s.until("the link is down", func() bool {
		_, metrics := s.get("/metrics")
		return strings.Contains(metrics, `acq_link_up{issuer="east"} 0`)
	})
	sell := func(amount string) result { return s.terminal("", "sale", "--card", testPAN, "--amount", amount) }
	sell("300.01").check(t, exitRefused, "91", "")
	sell("300.00").check(t, exitOK, "00", "")
	sell("200.01").check(t, exitRefused, "91", "")
	exposed := func(minor string) func() bool {
		return func() bool {
			_, metrics := s.get("/metrics")
			return strings.Contains(metrics, `acq_standin_exposure{currency="156",issuer="east"} `+minor)
		}
	}
	s.until("the exposure is seen", exposed("30000"))
	upgrade()
	s.until("the exposure is seen again", exposed("30000"))
	s.verify()

	s.bank = start(t, s.dir, "issuer", "--listen", s.issuer, "--script", "issuer.yaml", "--book", "issuer.book")
	s.bank.await("issuer listens on")
	s.until("the issuer was told", func() bool { return s.booked(simulator.Approved) == 1 })
	s.until("the exposure is over", exposed("0"))
	sell("200.01").check(t, exitOK, "00", "")
	if r := s.verify(); r.OpenReversals != 0 {
		t.Errorf("open: %+v", r)
	}
}
