package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/risk/backtest"
)

// TestBacktestOfADay sells three times and asks what a limit of two would have
// changed, and a rule that cannot tell.
func TestBacktestOfADay(t *testing.T) {
	t.Parallel()
	s := newStack(t, "rules: []")
	for stan := 1; stan <= 3; stan++ {
		s.terminal("", "sale", "--dialect", "iso87", "--addr", s.iso87, "--amount", "12.50", "--card", testPAN, "--stan", fmt.Sprint(stan)).check(t, exitOK, "approved: code 00", "")
	}
	cfg, err := loadConfig("", nil)
	if err != nil {
		t.Fatal(err)
	}
	day, err := cfg.businessDay()
	if err != nil {
		t.Fatal(err)
	}
	today := day.Of(time.Now()).String()
	test := func(args ...string) result {
		return s.cli(append([]string{"risk", "backtest", "--config", "acqswitch.yaml", "--from", today, "--policy", "new.yaml"}, args...)...)
	}
	write(t, s.dir, "new.yaml", "version: 1\nplans: [{number: 0, name: a, limits: [{of: merchant, day_count: 2}]}]\n"+
		"rules: [{number: 1000, name: monthly, when: instalments > 1, action: alert}]\n")
	var r struct {
		backtest.Report
		Changes []changedRow `json:"changes"`
	}
	s.until("the ledger has all sales", func() bool {
		got := test("-o", "json", "--csv", "changes.csv")
		if err := json.Unmarshal([]byte(got.out), &r); err != nil {
			t.Fatalf("%v\n%s%s", err, got.out, got.errs)
		}
		return r.Transactions == 3
	})
	if r.NowRefused.Count != 1 || r.NowRefused.Amounts["CNY"] != 1250 || r.NowPassed.Count != 0 || r.Strayed != 0 ||
		len(r.Silent) != 1 || r.Silent[0].Undecided != 3 || r.Rules[0].Rule != "L04" || r.Rules[0].Came.Count != 1 {
		t.Errorf("%+v", r.Report)
	}
	if len(r.Changes) != 1 || r.Changes[0].Is != "day count is over limit" || r.Changes[0].Rules != "+L04 refuse" || len(r.Changes[0].RRN) != 12 {
		t.Fatalf("%+v", r.Changes)
	}
	if lines := strings.Split(read(t, s.dir+"/changes.csv"), "\n"); len(lines) != 3 || !strings.HasPrefix(lines[1], r.Changes[0].RRN+",") {
		t.Errorf("%q", lines)
	}
	test().check(t, exitRefused, "1 (12.50 CNY) would be treated otherwise: 1 (12.50 CNY) now refused, 0 now let through", "")
	test("--against", "new.yaml").check(t, exitOK, "0 would be treated otherwise", "")
	test("--to", "2020-01-01").check(t, exitUsage, "", "--to 2020-01-01 must be a day, not before --from")
	write(t, s.dir, "new.yaml", "version: 1\nrules: [{number: 1000, name: r, when: pen, action: alert}]\n")
	test().check(t, exitUsage, "", `new.yaml:2: rules[].when: rule "r": column 1: "pen" is not known`)
}
