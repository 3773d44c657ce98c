package main

import (
	"encoding/json"
	"path/filepath"
	"testing"
)

// shippedScripts are the certification scripts, by paths that any directory will do for.
func shippedScripts(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../testdata/script/*.txt")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for i := range files {
		if files[i], err = filepath.Abs(files[i]); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// Every shipped script passes on a switch of its own, killed where it says so.
func TestScripts(t *testing.T) {
	t.Parallel()
	for _, file := range shippedScripts(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			acqswitch(t, t.TempDir(), nil, "", "script", "run", "--steps", file).check(t, exitOK, "1 case: 1 passed, 0 failed, 0 not run", "")
		})
	}
}

// Against a switch that somebody else runs, a script that would kill it or tell its issuers what to do is
// not run, and a step that goes otherwise is exit code 3 and named.
func TestScriptsOfAnotherSwitch(t *testing.T) {
	t.Parallel()
	s := newSampleStack(t)
	write(t, s.dir, "off.txt", `# The balance is refused.
at 20000001 merchant=999290059990001 dialect=iso87
card usual 9999010000090012 expiry=4912
terminal sign-on
terminal balance
expect 51 DE54=absent
`)
	to := []string{"script", "run", "--to", "cup-pos=" + s.cup, "--to", "iso87=" + s.iso87, "-o", "json"}
	r := s.cli(append(append(to, "off.txt"), shippedScripts(t)...)...)
	var report struct {
		Passed, Failed int
		NotRun         int `json:"not_run"`
		Cases          []struct {
			Result string
			Off    int
			Done   []struct {
				Line               int
				Expected, Got, Why string
				OK                 bool
			}
		}
	}
	if err := json.Unmarshal([]byte(r.out), &report); err != nil || r.code != exitRefused {
		t.Fatalf("exit %d, %v in %s%s", r.code, err, r.out, r.errs)
	}
	if report.Passed != 1 || report.Failed != 1 || report.NotRun != len(report.Cases)-2 || report.NotRun < 3 {
		t.Errorf("%+v", report)
	}
	off := report.Cases[0]
	if off.Result != "failed" || off.Off != 1 || len(off.Done) != 2 {
		t.Fatalf("%+v", off)
	}
	if d := off.Done[1]; d.OK || d.Line != 5 || d.Expected != "51" || d.Got != "00" || d.Why != "DE54 is there" {
		t.Errorf("%+v", d)
	}
	s.cli("script", "run", "--to", s.cup, "--to", "iso87="+s.iso87, "off.txt").check(t, exitRefused, "line 5    terminal balance", "")
	if r := s.verify(); r.OpenReversals != 0 {
		t.Errorf("%d reversals are open", r.OpenReversals)
	}
}
