package risk

import (
	"slices"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// A limit may be lowered to what is used, and not below.
func TestALimitBelowWhatIsUsedIsNamed(t *testing.T) {
	e := policed(t, func(*Policy) {})
	req := good()
	for range 2 {
		if v := e.Assess(req); v.Reason != txn.Approved {
			t.Fatal(v.Reason)
		}
	}
	ms, ts := []*txn.Merchant{req.Acceptor}, []*txn.Terminal{req.Terminal}
	for _, row := range []struct {
		name  string
		limit Limit
		want  string
	}{
		{"merchant, at", Limit{Scope: txn.ScopeMerchant, Bounds: txn.Limits{DayAmount: 20_00, MonthAmount: 20_00, DayCount: 2, MonthCount: 2}}, ""},
		{"merchant's day", Limit{Scope: txn.ScopeMerchant, Bounds: txn.Limits{DayAmount: 19_99}}, "merchant 999290054110001 in 156 has used 2000 already"},
		{"terminal's count", Limit{Scope: txn.ScopeTerminal, Bounds: txn.Limits{DayCount: 1}}, "terminal 10000001 in 156 has used 2 already"},
		{"person's month", Limit{Scope: txn.ScopeIdentity, Bounds: txn.Limits{MonthAmount: 1}}, "identity 07000000"},
		{"a card's", Limit{Scope: txn.ScopeCard, Bounds: txn.Limits{DayCount: 1}}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := DefaultPolicy()
			row.limit.Currency = txn.CNY
			p.Plans = []Plan{{Limits: []Limit{row.limit}}}
			err := e.Check(p, today, slices.Values(ms), slices.Values(ts))
			if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("said %v, want %q", err, row.want)
			}
		})
	}
	// One line for each party, however many there are up to 20; a terminal of a
	// merchant that is not there has no limits to be held to.
	p := DefaultPolicy()
	p.Plans = []Plan{{}}
	for _, s := range []txn.LimitScope{txn.ScopeTerminal, txn.ScopeMerchant, txn.ScopeIdentity} {
		p.Plans[0].Limits = append(p.Plans[0].Limits, Limit{Scope: s, Currency: txn.CNY, Bounds: txn.Limits{DayCount: 1}})
	}
	stranger := *req.Terminal
	stranger.Merchant = txn.MakeMerchantID("STRANGER")
	err := e.Check(p, today, slices.Values(ms), slices.Values(append(ts, &stranger)))
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("of a terminal, a merchant and a person: %v", err)
	}
	var many []*txn.Merchant
	for range 25 {
		many = append(many, req.Acceptor)
	}
	p.Plans[0].Limits = p.Plans[0].Limits[1:2]
	if err := e.Check(p, today, slices.Values(many), slices.Values(ts)); err == nil || strings.Count(err.Error(), "\n") != 19 {
		t.Errorf("25 times: %v", err)
	}
	p.Plans[0].Limits[0].Currency = 1
	if err := e.Check(p, today, slices.Values(ms), slices.Values(ts)); err == nil || !strings.Contains(err.Error(), "ISO 4217") {
		t.Errorf("a policy that is none: %v", err)
	}
	// A limit in force may be raised, and is named where it is lowered further.
	for _, row := range []struct {
		before, after int64
		named         bool
	}{{1, 2, false}, {100_00, 19_99, true}, {19_99, 19_98, true}} {
		was, will := DefaultPolicy(), DefaultPolicy()
		was.Plans = []Plan{{Limits: []Limit{{Scope: txn.ScopeMerchant, Currency: txn.CNY, Bounds: txn.Limits{DayAmount: row.before}}}}}
		will.Plans = []Plan{{Limits: []Limit{{Scope: txn.ScopeMerchant, Currency: txn.CNY, Bounds: txn.Limits{DayAmount: row.after}}}}}
		if err := e.SetPolicy(was); err != nil {
			t.Fatal(err)
		}
		if err := e.Check(will, today, slices.Values(ms), slices.Values(ts)); (err != nil) != row.named {
			t.Errorf("from %d to %d: %v", row.before, row.after, err)
		}
	}
	// What a limit in force is below of already, by facts, keeps no policy out.
	low := DefaultPolicy()
	low.Plans = []Plan{{Limits: []Limit{{Scope: txn.ScopeMerchant, Currency: txn.CNY, Bounds: txn.Limits{DayAmount: 1}}}}}
	if err := e.SetPolicy(low); err != nil {
		t.Fatal(err)
	}
	if err := e.Check(low, today, slices.Values(ms), slices.Values(ts)); err != nil {
		t.Error(err)
	}
}
