package main

import (
	"encoding/json"
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
	s.explainStandIn()
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
	var told struct {
		Code string `json:"auth_code"`
	}
	r := s.cli("ledger", "transactions", "--kind", "stand-in", "--config", "acqswitch.yaml", "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &told); err != nil || len(told.Code) != 6 || !strings.Contains(read(t, s.dir+"/issuer.book"), `"auth":"`+told.Code+`"`) {
		t.Errorf("the issuer's book does not have the code of\n%s%s%v", r.out, r.errs, err)
	}
	s.until("the exposure is over", exposed("0"))
	sell("200.01").check(t, exitOK, "00", "")
	if r := s.verify(); r.OpenReversals != 0 {
		t.Errorf("open: %+v", r)
	}
}

// explainStandIn holds what is said of the three sales, and of one that was never
// made, while the first of them is not taken note of.
func (s *stack) explainStandIn() {
	s.t.Helper()
	type row struct {
		RRN    string `json:"rrn"`
		Amount int64  `json:"amount"`
	}
	rrn := map[int64]string{}
	s.until("the ledger has the sales", func() bool {
		got := s.cli("ledger", "transactions", "--config", "acqswitch.yaml", "-o", "json")
		for line := range strings.Lines(got.out) {
			var r row
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				s.t.Fatalf("%v\n%s%s", err, got.out, got.errs)
			}
			rrn[r.Amount] = r.RRN
		}
		return len(rrn) == 3
	})
	said := func(result result) map[string]string {
		s.t.Helper()
		var x struct {
			StandIn standInSaid `json:"stand_in"`
		}
		if err := json.Unmarshal([]byte(result.out), &x); err != nil || x.StandIn.Issuer != "east" {
			s.t.Fatalf("%v\n%s%s", err, result.out, result.errs)
		}
		m := map[string]string{"would": x.StandIn.Would}
		for _, k := range x.StandIn.Checks {
			m[k.Asks] = strings.TrimSpace(k.Came + " " + k.Seen + " " + k.Bound)
		}
		return m
	}
	explain := func(args ...string) map[string]string {
		s.t.Helper()
		return said(s.cli(append([]string{"risk", "explain", "--config", "acqswitch.yaml", "-o", "json"}, args...)...))
	}
	write(s.t, s.dir, "sale.yaml", "amount: 200.00\nmerchant: \"999290054110001\"\nterminal: \"10000001\"\nbin: \"622202\"\n")
	const yes, no = "While it cannot be reached: approved in its place", "While it cannot be reached: refused, issuer is unavailable"
	for _, c := range []struct {
		got                   map[string]string
		would, amount, issuer string
	}{
		{explain("--rrn", rrn[30001]), no, "does not fit 300.01 CNY 300.00 CNY", "not asked"},
		{explain("--rrn", rrn[30000]), yes, "fits 300.00 CNY 300.00 CNY", "fits 300.00 CNY 500.00 CNY"},
		{explain("--rrn", rrn[20001]), no, "fits 200.01 CNY 300.00 CNY", "does not fit 500.01 CNY 500.00 CNY"},
		{explain("--request", "sale.yaml"), yes, "fits 200.00 CNY 300.00 CNY", "fits 500.00 CNY 500.00 CNY"},
	} {
		if c.got["would"] != c.would || c.got["amount of one sale"] != c.amount || c.got["issuer's exposure with it"] != c.issuer {
			s.t.Errorf("%q", c.got)
		}
	}
	s.cli("risk", "explain", "--config", "acqswitch.yaml", "--rrn", rrn[20001]).check(s.t, exitOK, "IN PLACE OF east", "")
}
