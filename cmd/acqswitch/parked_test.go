package main

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"

	"github.com/acqswitch/acqswitch/switch/issuer/simulator"
)

// TestF38RefusedReversalIsParked has an issuer refuse one reversal for ever, and
// its operator decide: others flow meanwhile, a restart forgets nothing, and what
// was decided is in the records, with and without a switch that runs.
func TestF38RefusedReversalIsParked(t *testing.T) {
	t.Parallel()
	s := newStack(t, `rules: [{kind: reversal, amount: 12345, times: 8, code: "30"}, {kind: reversal, amount: 200, code: "96"}]`)
	s.server.stop(syscall.SIGTERM)
	config := read(t, s.dir+"/acqswitch.yaml")
	write(t, s.dir, "acqswitch.yaml", strings.Replace(config, "reversals: {", "reversals: {park_after: 2, ", 1))
	s.start()
	parked := func() (lines []parkedLine) {
		t.Helper()
		r := s.cli("parked", "list", "--config", "acqswitch.yaml", "-o", "json")
		if err := json.Unmarshal([]byte(r.out), &lines); err != nil {
			t.Fatalf("%v in %s%s", err, r.out, r.errs)
		}
		return lines
	}
	sale := func(stan, amount string) {
		t.Helper()
		s.terminal("", "sale", "--dialect", "iso87", "--addr", s.iso87, "--amount", amount, "--card", testPAN, "--stan", stan).check(t, exitOK, "approved", "")
		s.terminal("", "reversal", "--dialect", "iso87", "--addr", s.iso87, "--amount", amount, "--stan", stan).check(t, exitOK, "approved", "")
	}
	sale("41", "123.45")
	sale("42", "2.00") // answered 96 for ever
	s.until("both are parked", func() bool { return len(parked()) == 2 })
	sale("43", "3.00")
	s.until("another reversal is done", func() bool { return s.booked(simulator.Reversed) == 1 })
	for _, kill := range []bool{false, true} {
		first, second := parked()[0], parked()[1]
		if first.Code != "30" || first.Attempts != 2 || second.Code != "96" || second.Attempts != 20 || first.STAN == 0 || !strings.Contains(first.Card, "*") {
			t.Errorf("parked: %+v", parked())
		}
		if r := s.verify(); r.OpenReversals != 2 {
			t.Errorf("verify: %+v", r)
		}
		s.cli("parked", "list", "--config", "acqswitch.yaml").check(t, exitOK, "reversal", "")
		if !kill {
			s.server.stop(syscall.SIGKILL)
			s.start()
		}
	}
	first, second := parked()[0].ID.String(), parked()[1].ID.String()
	command := func(verb, id string, more ...string) result {
		t.Helper()
		return s.cli(append([]string{"parked", verb, id, "--config", "acqswitch.yaml"}, more...)...)
	}
	command("retry", "zz", "--reason", "x").check(t, exitUsage, "", "hexadecimal")
	command("retry", first).check(t, exitUsage, "", "--reason must say why")
	command("retry", "1", "--reason", "x").check(t, exitRefused, "", "acqswitch: transaction 1: nothing about this transaction is parked")
	for range 3 { // 8 refusals in all: it is parked again until they are used up
		command("retry", first, "--reason", "asked the desk").check(t, exitOK, "done", "")
		s.until("it is parked again, or done", func() bool { lines := parked(); return len(lines) == 2 || s.booked(simulator.Reversed) == 2 })
	}
	command("retry", first, "--reason", "the desk has mended it").check(t, exitOK, "done", "")
	s.until("the reversal is done", func() bool { return s.booked(simulator.Reversed) == 2 && len(parked()) == 1 })
	s.server.stop(syscall.SIGTERM)
	command("resolve", second, "--reason", "case 4711").check(t, exitOK, "done", "")
	if r := s.verify(); len(parked()) != 0 || r.OpenReversals != 0 || len(r.Breaks) != 0 {
		t.Errorf("resolved: %+v, %+v", parked(), r)
	}
	s.start()
	s.until("nothing is owed", func() bool {
		_, body := s.get("/metrics")
		return strings.Contains(body, "acq_reversals_queued 0") && strings.Contains(body, "acq_reversals_parked 0")
	})
	command("resolve", second, "--reason", "again").check(t, exitRefused, "", "acqswitch: transaction "+second+": nothing about this transaction is parked")
}

// TestF38Policies undoes a sale as its issuer takes it: by an advice, or by nobody
// but people.
func TestF38Policies(t *testing.T) {
	t.Parallel()
	s := newStack(t, "rules: [{kind: sale, amount: 200, drop: true}]")
	config := read(t, s.dir+"/acqswitch.yaml")
	restart := func(policy string) {
		t.Helper()
		s.server.stop(syscall.SIGTERM)
		write(t, s.dir, "acqswitch.yaml", strings.Replace(config, "{name: east,", "{name: east, reversals: "+policy+",", 1))
		s.start()
	}
	lost := func(stan string) {
		t.Helper()
		s.terminal("", "sale", "--dialect", "iso87", "--addr", s.iso87, "--amount", "2.00", "--card", testPAN, "--stan", stan)
	}
	restart("advice")
	lost("51")
	s.until("the issuer undid the sale", func() bool { return s.booked(simulator.Reversed) == 1 })
	restart("none")
	lost("52")
	s.until("it is parked", func() bool {
		return strings.Contains(s.cli("parked", "list", "--config", "acqswitch.yaml").out, "reversal  sale")
	})
	if n := s.booked(simulator.Reversed); n != 1 {
		t.Errorf("the issuer undid %d sales, want 1", n)
	}
	write(t, s.dir, "acqswitch.yaml", strings.Replace(config, "{name: east,", "{name: east, reversals: sometimes,", 1))
	s.cli("config", "check", "--config", "acqswitch.yaml").check(t, exitUsage, "", "reversals must be reversal, advice or none")
}
