package settlement

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// TestPositions lives two days of two merchants, leaves the third open, and holds
// what is owed to whom and what each day came to, on both engines.
func TestPositions(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		w := newTown(t, dsn)
		merchants := func(day txn.Date) (s string) {
			err := MerchantPositions(t.Context(), w.ledger, day, runCalendar.Zone, func(p *MerchantPosition) error {
				if p.Opening+p.Net+p.Corrections+p.Released-p.Reserved-p.Paid != p.Owed {
					t.Errorf("%s %s: the payout is not the balance: %+v", p.Date, p.Merchant, p)
				}
				s += fmt.Sprintf("%s %s: owed %d, reserve %d, suspense %d, ordered %d, paid %d, held %t\n", p.Date, p.Merchant, p.Owed, p.Reserve, p.Suspense, p.Ordered, p.Paid, p.Held != "")
				return nil
			})
			if err != nil {
				s += err.Error()
			}
			return s
		}
		issuers := func(day txn.Date) (s string) {
			err := IssuerPositions(t.Context(), w.ledger, day, func(p *IssuerPosition) error {
				if p.Sales-p.Refunds-p.Interchange-p.Network != p.Day {
					t.Errorf("%+v does not add up", p)
				}
				s += fmt.Sprintf("%s %s: %d - %d, balance %d\n", p.Date, p.Issuer, p.Sales, p.Refunds, p.Balance)
				return nil
			})
			if err != nil {
				s += err.Error()
			}
			return s
		}
		figures := func() (s string) {
			err := Figures(t.Context(), w.ledger, day1, day3, func(f *Figure) error {
				s += fmt.Sprintf("%s %s %s: %d of %d approved, %d for %d - %d, fees %d, paid %d, carried %d\n", f.Date, f.State, f.Currency,
					f.Approved, f.Requests, f.Transactions, f.Sales, f.Refunds, f.MerchantFees, f.Paid, f.Closing)
				return nil
			})
			if err != nil {
				s += err.Error()
			}
			return s
		}
		is := func(got, want string) {
			t.Helper()
			if got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		}
		is(merchants(0), "no day is settled")
		is(merchants(day1), "no day up to 2026-11-20 is settled")

		w.put(deed(1, txn.KindSale, "M2", day1, 1000_00, 0), deed(2, txn.KindSale, "M9", day1, 9_99, 0))
		w.drained()
		w.settle(day1)
		w.hold(t, "M2")
		declined := deed(4, txn.KindSale, "M2", day2, 7_00, 0)
		declined.Outcome, declined.Reason = txn.OutcomeDeclined, txn.IssuerDeclined
		w.put(deed(3, txn.KindSale, "M2", day2, 100_00, 0), declined, deed(6, txn.KindBalance, "M2", day2, 0, 0)) // which moves nothing
		w.drained()
		w.settle(day2)
		w.put(deed(5, txn.KindRefund, "M2", day3, 50_00, 1))
		w.drained()

		first, second := merchants(day1), merchants(day2)
		is(first, "2026-11-20 M2: owed 0, reserve 9950, suspense 0, ordered 89550, paid 89550, held false\n"+
			"2026-11-20 M9: owed 0, reserve 0, suspense 999, ordered 0, paid 0, held false\n")
		is(second, "2026-11-21 M2: owed 18905, reserve 995, suspense 0, ordered 89550, paid 0, held true\n"+
			"2026-11-21 M9: owed 0, reserve 0, suspense 999, ordered 0, paid 0, held false\n")
		is(merchants(0), second)
		is(merchants(day3), "2026-11-22 is not settled; the last day before it that is, is 2026-11-21")
		if got := issuers(day1); !strings.Contains(got, ": 100999 - 0, balance") {
			t.Error(got)
		}
		if got := issuers(day2); !strings.Contains(got, ": 10000 - 0, balance") {
			t.Error(got)
		}
		is(issuers(day3), merchants(day3))
		is(figures(), "2026-11-20 done CNY: 2 of 2 approved, 2 for 100999 - 0, fees 500, paid 89550, carried 0\n"+
			"2026-11-21 done CNY: 1 of 2 approved, 1 for 10000 - 0, fees 50, paid 0, carried 18905\n"+
			"2026-11-22 open CNY: 1 of 1 approved, 1 for 0 - 5000, fees 0, paid 0, carried 0\n")

		w.settle(day3)
		if err := IssuerPositions(t.Context(), w.ledger, day3, func(p *IssuerPosition) error {
			// 50.00 of 1,000.00 are given back, with interchange (3.33 for 3.50) and network fee (0.31 for 0.33).
			if p.Sales != 0 || p.Refunds != 50_00 || p.Interchange != -17 || p.Network != -2 || p.Day != -50_00+17+2 {
				t.Errorf("%+v", p)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		stop := errors.New("enough")
		if err := MerchantPositions(t.Context(), w.ledger, 0, runCalendar.Zone, func(*MerchantPosition) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("positions go on after %v", err)
		}
	})
}
