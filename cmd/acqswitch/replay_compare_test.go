package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/switch/replay"
)

// seeded are three changes of the switch's behaviour, each in a line of its
// code: one rule, one code, one field.
var seeded = []struct{ file, of, to string }{
	{"risk/place.go", "a := &t.Areas[i]; within(p, a.Lat, a.Lng, a.RadiusMetres)", "a := &t.Areas[i]; within(p, a.Lat, a.Lng, 0)"},
	{"switch/dialect/codes.go", `txn.AmountMustNotBeZero:              "13",`, `txn.AmountMustNotBeZero:              "12",`},
	{"switch/dialect/cup.go", "ans.Reply.AuthCode != [6]byte{} && req.Kind != txn.KindBalance {", "ans.Reply.AuthCode != [6]byte{} && req.Kind != txn.KindBalance && req.Kind != txn.KindInstalment {"},
}

// Two builds play the sample day's morning side by side. A build is as itself, and one
// with seeded changes differs by causes that name each of them; the golden file
// has them.
func TestCompareBuilds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for _, change := range seeded {
		text := read(t, filepath.Join(root, change.file))
		if strings.Count(text, change.of) != 1 {
			t.Fatalf("%s has not once %q: the code has moved, seed another change", change.file, change.of)
		}
		overlay.Replace[filepath.Join(root, change.file)] = write(t, dir, filepath.Base(change.file), strings.Replace(text, change.of, change.to, 1))
	}
	replacements, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "overlay.json", string(replacements))
	build := func(name string, flags ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "go", append(append([]string{"build", "-o", filepath.Join(dir, name)}, flags...), ".")...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go build %v: %v: %s", flags, err, out)
		}
	}
	build("before")
	build("after", "-overlay", filepath.Join(dir, "overlay.json"))
	acqswitch(t, dir, nil, "", "capture", filepath.Join(root, "testdata/day/day.pcap"), "--out", "day.acq").check(t, exitOK, "", "")

	// One that ends when it is asked is named.
	write(t, dir, "panics", `#!/bin/sh
here=$(dirname "$0")
[ "$1" = serve ] || exec "$here/before" "$@"
"$here/before" "$@" &
until [ -s "$(dirname "$3")/east.book" ]; do sleep 0.1; done
kill -9 $!
printf 'panic: no more\n\ngoroutine 1\n' >&2
`)
	if err := os.Chmod(filepath.Join(dir, "panics"), 0o755); err != nil {
		t.Fatal(err)
	}
	acqswitch(t, dir, nil, "", "replay", "day.acq", "--speed", "max", "--compare", "panics", "before").check(t, exitUnreachable, "panics ended while it was asked: panic: no more", "the reference: no session could be opened")

	compare := func(code int, a, b string) (report replay.Report) {
		t.Helper()
		r := acqswitch(t, dir, nil, "", "replay", "day.acq", "--speed", "max", "--max", "1600", "--compare", a, b, "-o", "json")
		if err := json.Unmarshal([]byte(r.out), &report); err != nil || r.code != code {
			t.Fatalf("exit %d, %v in %s%s", r.code, err, r.out, r.errs)
		}
		if report.NotPlayed != 0 || report.Answered < 1500 {
			t.Errorf("%d not played, %d answered, %v", report.NotPlayed, report.Answered, report.Problems)
		}
		return report
	}
	for _, g := range compare(exitOK, "before", "before").Groups {
		t.Error(g.Cause)
	}
	var causes strings.Builder
	for _, g := range compare(exitRefused, "before", "after").Groups {
		causes.WriteString(g.Cause + "\n")
	}
	const path = "testdata/compare.golden"
	if *update {
		os.MkdirAll("testdata", 0o755)
		if err := os.WriteFile(path, []byte(causes.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := read(t, path); causes.String() != want {
		t.Errorf("not as in %s (-update rewrites it):\n%s", path, causes.String())
	}
}
