package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/switch/replay"
)

// The sample profile's load is answered rightly, and the page has the switch's
// own stages.
func TestLoad(t *testing.T) {
	s := newSampleStack(t)
	text := read(t, "../../testdata/load/steady.yaml")
	short := strings.NewReplacer("for: 4s", "for: 1s", "for: 3s", "for: 500ms").Replace(text)
	write(t, s.dir, "short.yaml", short)
	r := s.cli("load", "--profile", "short.yaml", "--registry", "registry.yaml", "--to", s.cup, "--metrics", s.admin+"/metrics", "--report", "load.html", "-o", "json")
	var report replay.Report
	if err := json.Unmarshal([]byte(r.out), &report); err != nil || r.code != exitOK {
		t.Fatalf("exit %d, %v: %s%s", r.code, err, r.out, r.errs)
	}
	if report.Answered < 500 || report.SignOns == 0 || len(report.Load.Stages) < 5 {
		t.Errorf("%d answered, %d sign-ons, stages %+v", report.Answered, report.SignOns, report.Load.Stages)
	}
	if page := read(t, filepath.Join(s.dir, "load.html")); strings.Count(page, "<svg") != 5 || strings.Contains(page, "//") {
		t.Error("the page lacks plots, or loads something")
	}
	for args, want := range map[string]string{
		"load": "say --profile", "load --profile none.yaml --registry registry.yaml --to x:1": "no such file",
		"load --profile short.yaml --registry registry.yaml --identities x --to x:1": "one of --identities",
	} {
		s.cli(strings.Fields(args)...).check(t, exitUsage, "", want)
	}
	s.cli("load", "--profile", "short.yaml", "--registry", "registry.yaml", "--to", "127.0.0.1:1", "--report", "none.html").check(t, exitUnreachable, "", "cannot be reached")
	if page := read(t, filepath.Join(s.dir, "none.html")); !strings.Contains(page, "cannot be reached") {
		t.Error("a host that cannot be reached has no report")
	}
	if r := s.verify(); r.OpenReversals != 0 {
		t.Errorf("%d reversals are open", r.OpenReversals)
	}
}
