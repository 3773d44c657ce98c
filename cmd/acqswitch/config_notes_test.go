package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/certs/certstest"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
)

// A check tells, one a line, what a terminal would notice first, or nobody until the
// night. What is mended is told no more, and the check itself changes nothing.
func TestCheckNotesWhatIsMissing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ours := certstest.NewAuthority(t)
	ended, endedKey := ours.IssueUntil(time.Now().Add(-time.Hour))
	soon, soonKey := ours.IssueUntil(time.Now().Add(50 * time.Hour))
	sessions := 10
	config := func(more, mac string) {
		t.Helper()
		write(t, dir, "acqswitch.yaml", fmt.Sprintf(`admin: {address: "127.0.0.1:0", tls: {cert: %q, key: %q}}
terminals:
  sessions_max: %d
  listeners: [{address: "127.0.0.1:0", dialect: cup-pos, tls: {cert: %q, key: %q}}]
%sissuers:
  - {name: east, address: "127.0.0.1:1", bins: ["62"]%s}
  - {name: west, address: "127.0.0.1:1", bins: ["63"]}
`, soon, soonKey, sessions, ended, endedKey, more, mac))
	}
	check := func(code int, out, errs string) {
		t.Helper()
		r := acqswitch(t, dir, nil, "", "serve", "--check")
		if r.code != code || r.out != out || !strings.Contains(r.errs, errs) {
			t.Errorf("exit %d, want %d; it says %q and %q in\n%s\nwant\n%s", r.code, code, r.errs, errs, r.out, out)
		}
	}
	notes := func(lines ...string) string { return strings.Join(append(lines, "ok"), "\n") + "\n" }
	const cards, certificates, ledger = "there is no table of cards data/cards.csv: no limit of a type of cards binds",
		"a certificate of listener 127.0.0.1:0 has ended: nobody agrees on TLS there\na certificate of listener 127.0.0.1:0 ends in 3 days",
		"the ledger is not there: serve makes it"

	config("", "")
	write(t, dir, "merchants.yaml", strings.Split(registryText, "merchants:")[0])
	acqswitch(t, dir, nil, "", "registry", "import", "merchants.yaml").check(t, exitOK, "", "")
	check(exitOK, notes("the registry has no terminals: nobody can sell", cards, certificates, ledger), "")

	text := registryText
	for i := range 5 {
		text += fmt.Sprintf("      - {tid: \"2000000%d\", serial: M%[1]d, class: fixed, status: active, mac: cup-ecb, region: 310101, premises: {lat: 31.2304, lng: 121.4737}}\n", i)
	}
	for i := range 2 {
		text += fmt.Sprintf("      - {tid: \"3000000%d\", serial: D%[1]d, class: fixed, status: active, mac: x9.19, keys: dukpt-tdes, ksn: \"FFFF98765432%02[1]dE0\", region: 310101, premises: {lat: 31.2304, lng: 121.4737}}\n", i)
	}
	write(t, dir, "merchants.yaml", text)
	acqswitch(t, dir, nil, "", "registry", "import", "merchants.yaml").check(t, exitOK, "", "")
	sessions = 2_000_000_000
	config("settlement: {schedule: 1h}\njournal: {disk: {low: 2000000000, enough: 2000000001}}\n", "")
	r := acqswitch(t, dir, nil, "", "serve", "--check")
	r.check(t, exitOK, " MiB free, less than journal.disk.low: sales are refused until it has 2000000001\n", "")
	r.check(t, exitOK, "settlement.schedule: days cannot be settled: read fees: open data/fees.yaml: no such file", "")
	r.check(t, exitOK, " terminals, terminals.sessions_max is 2000000000\n", "")

	sessions = 10
	config("", "")
	base, east, west := "base key FFFF987654 of 2 terminals is not loaded (keys load-bdk): they are refused",
		"issuer east has no PIN key: sales with a PIN are answered 96 (keys load-issuer)", "issuer west has no PIN key: sales with a PIN are answered 96 (keys load-issuer)"
	check(exitOK, notes("5 terminals cannot sign on without a master key (keys load-terminal): 20000000, 20000001, 20000002 and 2 more", base, east, west, cards, certificates, ledger), "")
	if there(filepath.Join(dir, "data", "lmk.keys")) || there(filepath.Join(dir, "data", "keys")) {
		t.Error("the check made keys")
	}

	weak := components(t, algo.TDES2, bytes.Repeat([]byte{9, 8}, 8))
	load := func(word, name string) {
		t.Helper()
		acqswitch(t, dir, nil, weak, "keys", "load-"+word, name).check(t, exitOK, "", "")
	}
	config("", ", mac: x9.9")
	check(exitUsage, "", `issuer "east" has mac: x9.9: MAC key of issuer east: there is no such key; load a key for it with acqswitch keys load-zak east`)
	load("zak", "east")
	load("bdk", "FFFF987654")
	load("issuer", "east")
	for i := range 4 {
		load("terminal", fmt.Sprint("2000000", i))
	}
	check(exitOK, notes("1 terminal cannot sign on without a master key (keys load-terminal): 20000004", west, cards, certificates, ledger), "")
	load("terminal", "20000004")
	load("issuer", "west")
	write(t, filepath.Join(dir, "data"), "cards.csv", "prefix,card\n62,debit\n")
	check(exitOK, notes(certificates, ledger), "")

	if err := os.Remove(filepath.Join(dir, "data", "lmk.keys")); err != nil {
		t.Fatal(err)
	}
	check(exitUsage, "", "bring back the keys that it was written with")
	config("data_dir: "+strings.Repeat("long", 30)+"\n", "")
	check(exitUsage, "", "data_dir: the path of control.sock must have at most 107 bytes, it has ")
}

// The last working day of 2028 is a Friday, paid in 2029: what its run will want of the
// calendar is told that day, not in the night.
func TestCheckLooksForTheDayOfPayment(t *testing.T) {
	t.Parallel()
	cfg, err := loadConfig("", nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg.DataDir, cfg.Settlement.Schedule = t.TempDir(), time.Hour
	write(t, cfg.DataDir, "payouts.yaml", "version: 1\npayer: {name: Us, accounts: [{currency: CNY, name: Us, number: '1', bank: '105290000012'}]}\n")
	write(t, cfg.DataDir, "calendar.yaml", "version: 1\nyears:\n  - {year: 2028, holidays: []}\n")
	for day, known := range map[string]bool{"2028-12-28": true, "2028-12-29": false, "2028-12-31": false} {
		now, err := time.Parse(time.DateOnly, day)
		if err != nil {
			t.Fatal(err)
		}
		if err := cfg.checkPayouts(now); (err == nil) != known || !known && !strings.Contains(err.Error(), "does not have the year 2029") {
			t.Errorf("on %s: %v", day, err)
		}
	}
}
