package main

import (
	"strings"
	"syscall"
	"testing"
)

// testTMK is a terminal's master key that everybody has; the components that
// make it up carry their check values.
const (
	testTMK           = "0123456789ABCDEFFEDCBA9876543210"
	testTMKComponents = testTMK + " 08D7B4FB\n" + "00000000000000000000000000000000 8CA64DE9\n"
)

// TestTerminalKeyFlags holds what is said of keys on a command line. A wrong
// key is not quoted: it may be a real one.
func TestTerminalKeyFlags(t *testing.T) {
	const odd = "7788" + testTMK
	for _, c := range []struct {
		name, args, variable, errs string
	}{
		{"key set unknown", "echo --key-set 002", "", "--key-set: key set 002 is unknown; the sets are 001, 003, 004, 005 and 006"},
		{"key set no code", "echo --key-set 3", "", `--key-set: key set "3" must be 001`},
		{"key too long", "echo --tmk " + odd, "", "--tmk: terminal master key must be 32 hexadecimal digits"},
		{"key in the environment too long", "echo", odd, "ACQ_TEST_TMK: terminal master key must be 32 hexadecimal digits"},
		{"dialect without keys", "echo --dialect iso87 --tmk " + testTMK, "", "--tmk: dialect iso87 has no keys; leave it out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := acqswitch(t, t.TempDir(), []string{tmkVariable + "=" + c.variable}, "", append([]string{"terminal"}, strings.Fields(c.args)...)...)
			r.check(t, exitUsage, "", c.errs)
			if strings.Contains(r.errs+r.out, "778801") || strings.Contains(r.errs+r.out, testTMK) {
				t.Errorf("the key is quoted: %s%s", r.out, r.errs)
			}
		})
	}
}

// A terminal with a master key trades with a switch that has it too; one with
// none, or with another, does not.
func TestTerminalWithKeys(t *testing.T) {
	s := newStack(t, "{}")
	if code := s.server.stop(syscall.SIGTERM); code != exitOK {
		t.Fatalf("the switch ended with %d", code)
	}
	write(t, s.dir, "secured.yaml", strings.Replace(registryText, "mac: none", "mac: cup-ecb", 1))
	s.cli("registry", "import", "--config", "acqswitch.yaml", "secured.yaml").check(t, exitOK, "", "")
	acqswitch(t, s.dir, nil, testTMKComponents, "keys", "load-terminal", "10000001", "--config", "acqswitch.yaml").check(t, exitOK, "08D7B4FB", "")
	s.start()

	terminal := func(tmk string, verb string, args ...string) result {
		return acqswitch(t, s.dir, []string{tmkVariable + "=" + tmk}, "", append([]string{"terminal", verb, "--addr", s.cup}, args...)...)
	}
	sale := []string{"--amount", "12.50", "--card", testPAN}
	terminal("", "sale", sale...).check(t, exitRefused, "refused: code A0", "")
	terminal(testTMK, "sign-on", "--stan", "7").check(t, exitOK, "approved: code 00, STAN 000007", "")
	for i, set := range []string{"001", "003", "004"} {
		stan := "4" + string(rune('0'+i))
		terminal(testTMK, "sale", append(sale, "--stan", stan, "--key-set", set)...).check(t, exitOK, "approved: code 00, STAN 0000"+stan, "")
	}
	terminal(testTMK, "sale", append(sale, "--stan", "1")...).check(t, exitOK, "approved: code 00, STAN 000001", "")
	terminal(testTMK, "balance", "--card", testPAN).check(t, exitOK, "approved: code 00", "")
	terminal("", "reversal", "--amount", "12.50", "--stan", "40").check(t, exitRefused, "refused: code A0", "")
	terminal("", "reversal", "--amount", "12.50", "--stan", "40", "--tmk", testTMK).check(t, exitOK, "approved: code 00, STAN 000040", "")
	terminal(testTMK, "echo").check(t, exitOK, "approved: code 00", "")
	terminal(testTMK, "sale", append(sale, "--key-set", "005")...).check(t, exitRefused, "", "sign-on of terminal 10000001 was refused with 58; nothing else was sent")
	terminal(strings.Replace(testTMK, "0", "1", 1), "sale", sale...).check(t, exitUnreachable, "", "check value is wrong: the switch has another TMK for this terminal")
	if r := s.verify(); r.OpenReversals != 0 {
		t.Errorf("%d reversals are open", r.OpenReversals)
	}
}
