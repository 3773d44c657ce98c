package settlement

import (
	"fmt"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/settlement/fee"
	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// TestPricedByTheScheduleOfItsRun: what is done about a deal costs what the schedule says
// by which the deal's first transaction was priced, also where that came behind the run
// of its own day; and a schedule that is not what was stored prices nothing.
func TestPricedByTheScheduleOfItsRun(t *testing.T) {
	w := newTown(t, ledgertest.SQLite(t))
	settle := func(day txn.Date, ppm int) (*RunResult, error) {
		in := w.input(day)
		in.Fees = func() (*fee.Schedule, error) {
			return fee.Load(fee.File{Name: "fees.yaml", Text: fmt.Appendf(nil, `version: 1
plans: [{name: p, rates: [{card: any, currency: CNY, from: 2020-01-01, ppm: %d}]}]
merchants: [{mid: M1, plan: p, from: 2020-01-01}]
`, ppm)}, fee.File{Name: "cards.csv", Text: []byte(runCards)}, nil)
		}
		w.drained()
		return Settle(t.Context(), in)
	}
	fees := func(day txn.Date, ppm int, want int64) {
		t.Helper()
		if r, err := settle(day, ppm); err != nil || r.Totals[0].MerchantFees != want {
			t.Fatalf("%s: %+v, %v, want fees of %d", day, r, err, want)
		}
	}
	w.put(deed(1, txn.KindSale, "M1", day1, 1000_00, 0))
	fees(day1, 10_000, 10_00)
	w.put(deed(2, txn.KindRefund, "M1", day2, 500_00, 1), deed(3, txn.KindSale, "M1", day2, 100_00, 0), deed(4, txn.KindOfflineSale, "M1", day1, 200_00, 0))
	fees(day2, 20_000, -5_00+2_00+4_00)
	w.put(deed(5, txn.KindRefund, "M1", day3, 100_00, 1), deed(6, txn.KindRefund, "M1", day3, 100_00, 3), deed(7, txn.KindRefund, "M1", day3, 100_00, 4), deed(8, txn.KindSale, "M1", day3, 100_00, 0))
	fees(day3, 30_000, -1_00-2_00-2_00+3_00)

	if _, err := w.db.Write.ExecContext(t.Context(), `UPDATE fee_schedule SET plans = plans || '#'`); err != nil {
		t.Fatal(err)
	}
	w.put(deed(9, txn.KindRefund, "M1", day3.After(), 100_00, 1))
	if _, err := settle(day3.After(), 30_000); err == nil || !strings.Contains(err.Error(), "is not what was stored") {
		t.Errorf("priced by what somebody wrote there: %v", err)
	}
}
