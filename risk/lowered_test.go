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
