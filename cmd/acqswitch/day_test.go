package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// A terminal with a master key lives the shipped day against a switch and an
// issuer, with PINs and MACs; a step that goes otherwise than its script says is
// exit code 3.
func TestTerminalDay(t *testing.T) {
	s := newStack(t, "{}")
	if code := s.server.stop(syscall.SIGTERM); code != exitOK {
		t.Fatalf("the switch ended with %d", code)
	}
	registry := strings.NewReplacer("mac: none", "mac: cup-ecb",
		"kinds: [sale, balance]", "kinds: [sale, balance, verify, refund, preauth, offline-sale, adjustment, tip, instalment]").Replace(registryText)
	write(t, s.dir, "secured.yaml", registry)
	s.cli("registry", "import", "--config", "acqswitch.yaml", "secured.yaml").check(t, exitOK, "", "")
	acqswitch(t, s.dir, nil, testTMKComponents, "keys", "load-terminal", "10000001", "--config", "acqswitch.yaml").check(t, exitOK, "08D7B4FB", "")
	acqswitch(t, s.dir, nil, testTMKComponents, "keys", "load-issuer", "east", "--config", "acqswitch.yaml").check(t, exitOK, "08D7B4FB", "")
	downloads, err := os.ReadFile("../../testdata/downloads.yaml")
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.dir, "downloads.yaml", string(downloads))
	write(t, s.dir, "acqswitch.yaml", read(t, s.dir+"/acqswitch.yaml")+"downloads: downloads.yaml\n")
	s.start()

	shipped, err := os.ReadFile("../../testdata/scripts/day.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// The cards are this issuer's.
	script := strings.NewReplacer("9999010000090012", testPAN, "9999020000090029", testPAN, "expiry: \"4912\"}\n", "expiry: \"4912\", pin: \"123456\"}\n").Replace(string(shipped))
	write(t, s.dir, "day.yaml", script)
	write(t, s.dir, "off.yaml", "card: {number: \""+testPAN+"\"}\nsteps:\n  - {do: sign-on}\n  - {do: balance, expect: \"51\"}\n")
	live := func(script string) result {
		return s.terminal(testTMK, "day", "--script", script, "--store", "t1")
	}
	r := live("day.yaml")
	r.check(t, exitOK, "0 not as expected", "")
	if lines := strings.Split(strings.TrimSpace(r.out), "\n"); len(lines) < 2 || strings.TrimPrefix(lines[len(lines)-2], "terminal ") != strings.TrimPrefix(lines[len(lines)-1], "switch   ") {
		t.Errorf("the totals differ:\n%s", r.out)
	}
	live("off.yaml").check(t, exitRefused, "<- not as expected", "")
	live("none.yaml").check(t, exitUsage, "", "--script")
	store, err := os.ReadFile(s.dir + "/t1")
	if err != nil || strings.Contains(string(store), testPAN) {
		t.Errorf("the store has the card number in clear: %v", err)
	}
	if r := s.verify(); r.OpenReversals != 0 {
		t.Errorf("%d reversals are open", r.OpenReversals)
	}
}
