package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/replay"
)

// The sample profile's load is answered rightly, and the page has the switch's
// own stages.
func TestLoad(t *testing.T) {
	t.Parallel()
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

// Terminals whose registration asks for MACs sign on, and send MACs and PINs that the
// switch finds right; it asks for keys where the profile has MACs.
func TestLoadWithMACs(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "macs.yaml", strings.Replace(read(t, "../../testdata/load/macs.yaml"), "for: 10s", "for: 2s", 1))
	sample := strings.ReplaceAll(read(t, "../../testdata/registry.yaml"), "mac: cup-ecb", "mac: cmac")
	write(t, dir, "registry.yaml", sample)
	snapshot, err := registry.Load(strings.NewReader(sample), "registry.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := writeSampleKeys(filepath.Join(dir, "test-keys.txt"), snapshot); err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Abs("../../testdata/issuers")
	if err != nil {
		t.Fatal(err)
	}
	cup, _ := sampleSwitch(t, scripts, sample)
	load := func(code int, out, errs string, more ...string) (r replay.Report) {
		t.Helper()
		res := acqswitch(t, dir, []string{pinVariable + "=123456"}, "", append([]string{"load", "--profile", "macs.yaml", "--registry", "registry.yaml", "--to", cup, "-o", "json"}, more...)...)
		res.check(t, code, out, errs)
		json.Unmarshal([]byte(res.out), &r)
		return r
	}
	if r := load(exitOK, "", "", "--tmk", "test-keys.txt"); r.SignOns < 20 || r.Answered < 30 || len(r.Problems) > 0 {
		t.Errorf("%d sign-ons, %d answered, %q", r.SignOns, r.Answered, r.Problems)
	}
	load(exitUsage, "", "say with --tmk")
	write(t, dir, "wrong-keys.txt", fmt.Sprintf("* %032d", 1))
	if r := load(exitRefused, "no terminal got working keys", "", "--tmk", "wrong-keys.txt"); r.Load.Keyless < 20 {
		t.Errorf("%d terminals got no keys", r.Load.Keyless)
	}
	acqswitch(t, dir, nil, "", "load", "--profile", "macs.yaml", "--registry", "registry.yaml", "--to", cup, "--tmk", "test-keys.txt").check(t, exitUsage, "", pinVariable)
}
