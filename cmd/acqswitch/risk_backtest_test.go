package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
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
	cfg, err := loadConfig(filepath.Join(s.dir, "acqswitch.yaml"), nil)
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

	explain := func(args ...string) result {
		return s.cli(append([]string{"risk", "explain", "--config", "acqswitch.yaml"}, args...)...)
	}
	rrn := r.Changes[0].RRN
	explain("--rrn", rrn).check(t, exitOK, "merchant 999290054110001, under the built-in policy: risk lets it go on; it was answered: approved", "")
	explain("--rrn", rrn, "--policy", "new.yaml").check(t, exitRefused, "under the candidate new.yaml: day count is over limit; it was answered: approved", "")
	explain("--rrn", rrn, "--policy", "new.yaml").check(t, exitRefused, "plan 0 a: day count 2", "")
	explain("--rrn", rrn, "--policy", "new.yaml").check(t, exitRefused, "instalments = not known", "")
	explain("--rrn", "000000000000").check(t, exitRefused, "", "the ledger has no transaction 000000000000 of "+today)
	write(t, s.dir, "sale.yaml", "amount: 60000.00\nmerchant: \"999290054110001\"\nterminal: \"10000001\"\nbin: \"622202\"\n")
	explain("--request", "sale.yaml").check(t, exitRefused, "amount is over transaction limit", "")
	explain("--request", "sale.yaml", "-o", "json").check(t, exitRefused, `"verdict": "amount is over transaction limit"`, "")
	for field, want := range map[string]string{
		"amount: 6.005": "sale.yaml:1: amount:", "kind: echo": `kind: "echo" is nothing that an issuer answers`, "currency: RMB": `"RMB" is no ISO 4217 currency`,
		"merchant: \"\"": "merchant: \"\" must be", "terminal: \"123456789\"": "terminal:", "card: 6222020000000007": "card: must be a token of 32", "bin: 62220": "bin:",
		"card_type: gold": "card_type:", "entry: swipe": "entry:", "pin: yes": "pin:", "lat: 91": "lat:", "lng: NaN": "lng:", "at: noon": "at:", "pan: 1": "unknown field",
	} {
		base := map[string]string{"amount": "amount: 6.00", "merchant": "merchant: M", "terminal": "terminal: T"}
		key, _, _ := strings.Cut(field, ":")
		base[key] = field
		write(t, s.dir, "sale.yaml", strings.Join(slices.Sorted(maps.Values(base)), "\n")+"\n")
		got := explain("--request", "sale.yaml")
		got.check(t, exitUsage, "", want)
		if strings.Contains(got.errs, "6222020000000007") {
			t.Errorf("a card number is quoted: %s", got.errs)
		}
	}
	write(t, s.dir, "new.yaml", "version: 1\nrules: [{number: 1000, name: r, when: pen, action: alert}]\n")
	test().check(t, exitUsage, "", `new.yaml:2: rules[].when: rule "r": column 1: "pen" is not known`)
}
