package policy

import (
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

func TestLimitsBelowWhatIsUsed(t *testing.T) {
	const today = txn.Date(20261122)
	merchant := Use{Scope: txn.ScopeMerchant, Currency: txn.CNY, DayAmount: 500_00, DayCount: 5, MonthAmount: 9000_00, MonthCount: 90}
	id := txn.MakeMerchantID("M1")
	copy(merchant.ID[:], id[:])
	terminal := Use{Scope: txn.ScopeTerminal, Currency: txn.CNY, DayAmount: 500_00, DayCount: 5}
	tid := txn.MakeTerminalID("T1")
	copy(terminal.ID[:], tid[:])
	card := Use{Scope: txn.ScopeCard, ID: [16]byte{15: 1}, Currency: txn.CNY, DayAmount: 500_00, DayCount: 5}
	plan := func(txn.LimitScope, [16]byte) (uint16, bool) { return 3, true }
	override := func(fields string) string { return "version: 1\noverrides: [{" + fields + "}]\n" }
	planned := func(fields string) string {
		return "version: 1\nplans: [{number: 3, name: a, limits: [{" + fields + "}]}]\n"
	}
	for _, c := range []struct{ name, before, next, want string }{
		{"amount that is used", "", override("id: M1, of: merchant, day_amount: 500.00"), ""},
		{"a fen less", "", override("id: M1, of: merchant, day_amount: 499.99"), "the override's day_amount of merchant M1 is 499.99 CNY, and 500.00 CNY is used already: give more, or from: 2026-11-23"},
		{"from tomorrow", "", override("id: M1, of: merchant, day_amount: 499.99, from: 2026-11-23"), ""},
		{"until yesterday", "", override("id: M1, of: merchant, day_amount: 499.99, until: 2026-11-21"), ""},
		{"as before", override("id: M1, of: merchant, day_amount: 499.99"), override("id: M1, of: merchant, day_amount: 499.99"), ""},
		{"lower than before", override("id: M1, of: merchant, day_amount: 499.99"), override("id: M1, of: merchant, day_amount: 499.98"), "is 499.98 CNY"},
		{"of somebody else", "", override("id: M2, of: merchant, day_amount: 1.00"), ""},
		{"of another currency", "", override("id: M1, of: merchant, currency: USD, day_amount: 1.00"), ""},
		{"of a part of it", "", override("id: M1, of: merchant, methods: [chip], day_amount: 1.00"), ""},
		{"count", "", override("id: M1, of: merchant, day_count: 4"), "day_count of merchant M1 is 4, and 5 is used"},
		{"month", "", override("id: M1, of: merchant, month_amount: 8999.99"), "month_amount of merchant M1 is 8999.99 CNY, and 9000.00 CNY is used already: give more, or from: 2026-12-01"},
		{"month's count", "", override("id: M1, of: merchant, month_count: 89"), "month_count of merchant M1"},
		{"card", "", override("id: 00000000000000000000000000000001, of: card, day_count: 4"), "day_count of card 00000000000000000000000000000001"},
		{"plan's merchant", "", planned("of: merchant, day_amount: 499.99"), "plan 3's day_amount of merchant M1"},
		{"plan's terminal", "", planned("of: terminal, day_count: 4"), "plan 3's day_count of terminal T1"},
		{"plan's card", "", planned("of: card, day_count: 4"), ""},
		{"plan as before", planned("of: terminal, day_count: 4"), planned("of: terminal, day_count: 4"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.before == "" {
				c.before = "version: 1\n"
			}
			before, err := Load([]byte(c.before), "x")
			if err != nil {
				t.Fatal(err)
			}
			next, err := Load([]byte(c.next), "y")
			if err != nil {
				t.Fatal(err)
			}
			err = Exceeded(&before, &next, today, []Use{merchant, terminal, card}, plan)
			if (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
