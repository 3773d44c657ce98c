package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/risk/alert"
)

// TestAlerts follows somebody who tries cards out: his tries become an alert of a
// running switch, two people decide about it, and the switch and its registry obey
// within a second.
func TestAlerts(t *testing.T) {
	t.Parallel()
	s := newStack(t, "balance: 500000\nrules: [{amount: 66600, code: \"51\"}]")
	if code := s.server.stop(os.Interrupt); code != exitOK {
		t.Fatalf("exit %d", code)
	}
	write(t, s.dir, "acqswitch.yaml", read(t, s.dir+"/acqswitch.yaml")+"registry_from: database\nacquirer: \"48802900\"\n")
	sample, err := filepath.Abs("../../testdata/registry.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s.cli("registry", "import", sample, "--approved", "--by", "Wang", "--reason", "reviewed").check(t, exitOK, "", "")
	s.start()
	stan := 0
	sale := func(amount, card string) string {
		stan++
		r := s.terminal("", "sale", "--amount", amount, "--card", card, "--stan", fmt.Sprint(stan), "-o", "json")
		var told struct{ Code string }
		if err := json.Unmarshal([]byte(r.out), &told); err != nil {
			t.Fatalf("%v: %s%s", err, r.out, r.errs)
		}
		return told.Code
	}
	const stolen, other = "6222020000000007", "6222020000000015"
	for range 5 {
		if code := sale("666.00", stolen); code != "51" {
			t.Fatalf("told %s, want 51", code)
		}
	}
	for range 2 {
		if code := sale("1.00", stolen); code != "75" {
			t.Errorf("told %s after five refusals, want 75", code)
		}
	}
	var listed struct{ Alerts []alert.Alert }
	s.until("there is an alert of both", func() bool {
		r := s.cli("alert", "list", "-o", "json")
		r.check(t, exitOK, "", "")
		if err := json.Unmarshal([]byte(r.out), &listed); err != nil {
			t.Fatal(err)
		}
		return len(listed.Alerts) == 1 && listed.Alerts[0].Count == 2
	})
	if a := listed.Alerts[0]; a.Rule != "R06" || a.Terminal != "10000001" || a.Action != "refuse" || a.State != alert.Open {
		t.Errorf("%+v", a)
	}
	s.cli("alert", "show", "1").check(t, exitOK, "card is declined too often", "")
	s.cli("alert", "show", "2").check(t, exitRefused, "", "there is no alert 2")
	s.cli("alert", "show", "x").check(t, exitUsage, "", "must be a number")
	s.cli("alert", "list", "--state", "closed").check(t, exitUsage, "", "--state")
	s.cli("alert", "list", "--rule", "Q1").check(t, exitUsage, "", "--rule")
	dispose := []string{"alert", "dispose", "1", "--by", "Li Na", "--risk", "07", "--disposition"}
	s.cli(append(dispose, "09")...).check(t, exitRefused, "", "assign it first")
	s.cli("alert", "assign", "1", "--to", "", "--by", "Wang").check(t, exitUsage, "", "--to must say who")
	s.cli("alert", "assign", "1", "--to", "Li Na", "--by", "Wang").check(t, exitOK, "assignee Li Na", "")
	s.cli(append(dispose, "12")...).check(t, exitUsage, "", `disposition "12" must be one of 01`)
	s.cli(append(dispose, "09,06")...).check(t, exitOK, "disposition 09, 06", "")
	s.cli(append(dispose, "09")...).check(t, exitRefused, "", "disposed of already")
	s.cli("payout", "holds").check(t, exitOK, "alert 1: rule R06", "")
	s.until("the terminal is refused", func() bool { return sale("1.00", other) == "58" })
	s.cli("device", "show", "10000001").check(t, exitOK, "status suspended", "")
	s.cli("device", "resume", "00002304SN0000000001", "--by", "Wang", "--reason", "fetched, cleaned").check(t, exitOK, "is active", "")
	s.until("the list refuses what the registry serves, and that is an alert, too", func() bool {
		return sale("1.00", other) == "58" && strings.Contains(s.cli("alert", "list").out, "R11")
	})
	s.cli("alert", "watch").check(t, exitOK, "high-risk", "")
	s.cli("alert", "watch", "--terminal", "10000001", "--level", "closely").check(t, exitUsage, "", "--level")
	s.cli("alert", "watch", "--terminal", "10000001").check(t, exitUsage, "", "--level must say how closely")
	s.cli("alert", "watch", "--level", "none", "--by", "Wang", "--reason", "why").check(t, exitUsage, "", "--merchant or --terminal must name whom")
	s.cli("alert", "watch", "--terminal", "10000001", "--level", "none", "--by", "Wang").check(t, exitUsage, "", "--reason must say why")
	s.cli("alert", "watch", "--merchant", "nobody", "--level", "high-risk", "--by", "Wang", "--reason", "why").check(t, exitRefused, "", `there is no merchant "nobody" in the registry`)
	s.cli("alert", "watch", "--terminal", "99999999", "--level", "high-risk", "--by", "Wang", "--reason", "why").check(t, exitRefused, "", `there is no terminal "99999999" in the registry`)
	s.cli("alert", "watch", "--terminal", "99999999", "--level", "none", "--by", "Wang", "--reason", "why").check(t, exitRefused, "", "acqswitch: terminal 99999999 is not watched")
	s.cli("alert", "watch", "--terminal", "10000001", "--level", "none", "--by", "Wang", "--reason", "fetched").check(t, exitOK, "proposal 1: another person must approve it", "")
	s.cli("proposal", "approve", "1", "--by", "wang", "--reason", "fetched").check(t, exitRefused, "", "another person must decide it")
	s.cli("alert", "watch").check(t, exitOK, "high-risk", "")
	s.cli("proposal", "approve", "1", "--by", "Li Na", "--reason", "seen it").check(t, exitOK, "1: approved", "")
	s.cli("proposal", "approve", "1", "--by", "Zhao", "--reason", "seen it").check(t, exitRefused, "", "proposal 1 was approved by Li Na")
	s.until("the terminal is served again", func() bool { return sale("1.00", other) == "00" })
	if _, metrics := s.get("/metrics"); !strings.Contains(metrics, `acq_risk_findings_total{action="refuse",rule="R06"} 2`) {
		t.Error("the metrics do not count the findings of R06")
	}
	s.cli("alert", "codes").check(t, exitOK, "OFAC", "")
}
