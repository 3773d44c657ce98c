package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/acqswitch/acqswitch/risk/alert"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/testdata"
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
		{"initial key of no size", "sale --amount 1 --dialect iso87 --store t --dukpt dukpt-tdes:FFFF9876543210E0 --initial-key " + odd, "", "--dukpt, --initial-key: an initial key of dukpt-tdes must be 32 hexadecimal digits"},
		{"initial key without a store", "sale --amount 1 --dialect iso87 --dukpt dukpt-tdes:FFFF9876543210E0", "", "--dukpt is for dialect iso87, with --store and without --tmk"},
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
	t.Parallel()
	s := newStack(t, "{}")
	if code := s.server.stop(syscall.SIGTERM); code != exitOK {
		t.Fatalf("the switch ended with %d", code)
	}
	write(t, s.dir, "secured.yaml", strings.Replace(registryText, "mac: none", "mac: cup-ecb", 1))
	s.cli("registry", "import", "--config", "acqswitch.yaml", "secured.yaml").check(t, exitOK, "", "")
	acqswitch(t, s.dir, nil, testTMKComponents, "keys", "load-terminal", "10000001", "--config", "acqswitch.yaml").check(t, exitOK, "08D7B4FB", "")
	s.start()

	terminal := s.terminal
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
	terminal(testTMK, "sale", append(sale, "--key-set", "005")...).check(t, exitRefused, "", "sign-on of terminal 10000001 was answered 58, not permitted to the terminal; nothing else was sent")
	terminal(strings.Replace(testTMK, "0", "1", 1), "sale", sale...).check(t, exitRefused, "", "check value is wrong: the switch has another TMK for this terminal")
	for _, told := range []string{"refused: code A0", "refused: code A0", "was told 77: signed on, asked again"} { // S03
		terminal("", "sale", append(sale, "--stan", "60")...).check(t, exitRefused, told, "")
	}
	var listed struct{ Alerts []alert.Alert }
	s.until("there is an alert of the wrong MACs", func() bool {
		r := s.cli("alert", "list", "--rule", "S03", "-o", "json")
		return json.Unmarshal([]byte(r.out), &listed) == nil && len(listed.Alerts) == 1
	})
	show := s.cli("alert", "show", fmt.Sprint(listed.Alerts[0].Number))
	show.check(t, exitOK, "rule S03 about terminal 10000001 of 999290054110001, refuse, 1 time ", "")
	show.check(t, exitOK, "raise three wrong MACs in a row", "")
	if r := s.verify(); r.OpenReversals != 0 {
		t.Errorf("%d reversals are open", r.OpenReversals)
	}
}

// A terminal's MACs are by the algorithm that the registry has for it.
func TestTerminalMACs(t *testing.T) {
	t.Parallel()
	s := newStack(t, "{}")
	if code := s.server.stop(syscall.SIGTERM); code != exitOK {
		t.Fatalf("the switch ended with %d", code)
	}
	tmk, err := hex.DecodeString(testTMK)
	if err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		mac, set, word string
		kind           algo.Kind // of the master key
	}{
		{"cup-fold", "003", "tdes", algo.TDES2}, {"x9.9", "003", "tdes", algo.TDES2}, {"x9.19", "003", "tdes", algo.TDES2},
		{"cmac", "003", "tdes", algo.TDES2}, {"cbc-mac", "005", "sm4", algo.SM4},
	}
	secured := registryText
	for i, row := range rows {
		secured += fmt.Sprintf("      - {tid: \"2000000%d\", serial: M%[1]d, class: fixed, status: active, mac: %s, region: 310101, premises: {lat: 31.2304, lng: 121.4737}}\n", i, row.mac)
	}
	write(t, s.dir, "secured.yaml", secured)
	s.cli("registry", "import", "--config", "acqswitch.yaml", "secured.yaml").check(t, exitOK, "", "")
	for i, row := range rows {
		acqswitch(t, s.dir, nil, components(t, row.kind, tmk), "keys", "load-terminal", fmt.Sprintf("2000000%d", i), "--kind", row.word, "--config", "acqswitch.yaml").check(t, exitOK, "", "")
	}
	s.start()
	for i, row := range rows {
		sale := []string{"--amount", "12.50", "--card", testPAN, "--terminal", fmt.Sprintf("2000000%d", i), "--key-set", row.set}
		s.terminal(testTMK, "sale", append(sale, "--mac", row.mac)...).check(t, exitOK, "approved: code 00", "")
		s.terminal(testTMK, "sale", sale...).check(t, exitRefused, "refused: code A0", "")
		terminal := fmt.Sprintf("2000000%d", i)
		write(t, s.dir, "sale.txt", fmt.Sprintf("# A sale.\nat %s merchant=999290054110001\ncard usual %s expiry=4912\nterminal sign-on\nterminal sale amount=12.50\n", terminal, testPAN))
		write(t, s.dir, "keys.txt", fmt.Sprintf("%s %s M%d %s %s\n", terminal, testTMK, i, row.set, row.mac))
		s.cli("script", "run", "sale.txt", "--to", s.cup, "--tmk", "keys.txt").check(t, exitOK, "1 passed", "")
	}
	s.terminal(testTMK, "sale", "--amount", "1", "--mac", "x9.8").check(t, exitUsage, "", `--mac: MAC algorithm "x9.8" must be one of`)
}

// What the terminal commands' help shows can be typed as it stands, with the
// sample registry.
func TestTerminalExamples(t *testing.T) {
	t.Parallel()
	s := newSampleStack(t)
	root := command(io.Discard, io.Discard)
	group, _, err := root.Find([]string{"terminal"})
	if err != nil {
		t.Fatal(err)
	}
	for _, cmd := range append(group.Commands(), group) {
		for _, line := range strings.Split(strings.ReplaceAll(cmd.Example, "&&\n", "&& "), "\n") {
			for _, step := range strings.Split(line, " && ") {
				words := strings.Fields(step)
				addr := s.cup
				if slices.Contains(words, "iso87") {
					addr = s.iso87
				}
				r := s.cli(append(words[1:], "--addr", addr)...)
				if words[0] != "acqswitch" || r.code != exitOK {
					t.Errorf("%s: exit %d, %s%s", step, r.code, r.out, r.errs)
				}
			}
		}
	}
	if r := s.verify(); r.OpenReversals != 0 {
		t.Errorf("%d reversals are open", r.OpenReversals)
	}
}

// newSampleStack is a stack with the sample registry and downloads and an issuer
// for the sample cards, which approves.
func newSampleStack(t *testing.T) *stack {
	t.Helper()
	s := newStack(t, "{}")
	if code := s.server.stop(syscall.SIGTERM); code != exitOK {
		t.Fatalf("the switch ended with %d", code)
	}
	for _, name := range []string{"registry.yaml", "downloads.yaml"} {
		text, err := testdata.Files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		write(t, s.dir, name, string(text))
	}
	config := strings.Replace(read(t, s.dir+"/acqswitch.yaml"), `bins: ["62"]`, `bins: ["62", "9999"]`, 1)
	write(t, s.dir, "acqswitch.yaml", config+"downloads: downloads.yaml\n")
	s.cli("registry", "import", "--config", "acqswitch.yaml", "registry.yaml").check(t, exitOK, "", "")
	s.start()
	return s
}

// A cashier is told why, and what the terminal did without being asked.
func TestTerminalSaysWhy(t *testing.T) {
	t.Parallel()
	s := newSampleStack(t)
	for _, row := range []struct {
		args string
		code int
		out  string
		errs string
	}{
		{"sale --amount 99999", exitRefused, "refused: code 61, amount over limit", ""},
		{"sale --amount 1 --tmk " + testTMK, exitRefused, "", "the switch has no master key for this terminal: load it with acqswitch keys load-terminal, and have mac: in the registry other than none"},
		{"download --terminal 99999999", exitRefused, "", "was answered 97, terminal is unknown"},
		{"sale --amount 1 --terminal 10000003 --merchant 999290054110001", exitRefused, "code 58, not permitted to the terminal", ""},
		{"sale --amount 1 --terminal 10000003 --merchant 999290054110001 --serial NL8210-2600111", exitOK, "approved", ""},
		{"sale --amount 1 --position 31.2304,0", exitRefused, "code 58", ""},

		// A terminal's store is its memory.
		{"sale --amount 10.00 --stan 300 --store t1", exitOK, "STAN 000300", ""},
		{"sale --amount 10.00 --stan 42 --store t1", exitUsage, "", "--stan 42: the store t1 numbers its requests, the next is 301; leave --stan out"},
		{"void --original-stan 42 --store t1", exitUsage, "", "the store has no STAN 42; it has 300"},
		{"void --original-stan 000042 --store t1", exitUsage, "", "the store has no STAN 42; it has 300"},
		{"void --original-stan 0x2A --store t1", exitUsage, "", "--original-stan \"0x2A\" must be a number"},
		{"void --original-stan 42 --original-rrn 326000000000 --amount 10.00 --store t1", exitRefused, "code 25, original was not found", ""},
		{"reversal --stan 42 --store t1", exitUsage, "", "the store has no STAN 42; it has 300"},
		{"void --original-stan 42 --store t2", exitUsage, "", "the store has no STAN 42; it has none"},

		// It is one terminal's.
		{"sale --amount 10.00 --terminal 20000002 --stan 7 --store t3", exitOK, "approved", ""},
		{"void --original-stan 7 --store t3", exitOK, "approved", ""},
		{"settlement --store t3", exitOK, "even", ""},
		{"settlement --terminal 20000001 --store t3", exitUsage, "", "the store is of terminal 20000002 of merchant 999290059990001, not of 20000001 of 999290059990001"},

		// A settlement of a terminal that remembers nothing is uneven; then its
		// batch is another.
		{"sale --amount 10.00 --stan 42", exitOK, "approved", ""},
		{"settlement", exitRefused, "without --store the terminal remembers no transaction", ""},
		{"sale --amount 10.00 --stan 43", exitOK, "43 was told 77: signed on, asked again as 45 in batch 000002", ""},
		{"refund --amount 1.00 --stan 46 --original-stan 45 --original-batch 2 --original-rrn 0", exitRefused, "46 was told 77: signed on, asked again as 48 in batch 000002\nrefused: code 25", ""},
		{"reversal --amount 10.00 --stan 45 --batch 2", exitOK, "approved", ""},
		{"settlement --batch 2", exitOK, "batch 000002 is settled, even", ""},
	} {
		s.cli(append(append([]string{"terminal"}, strings.Fields(row.args)...), "--addr", s.cup)...).check(t, row.code, row.out, row.errs)
	}
}
