package ledger

import (
	"slices"
	"testing"

	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// What counts as exposed is what was approved before, and was neither taken note of
// nor reversed by then; what its issuer refused counts to the end of its day.
func TestStandIns(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		l := open(t, dsn)
		standIn := func(n int) *txn.Record {
			r := sale(n)
			r.Request, r.Outcome = txn.KindStandIn, txn.OutcomeUnknown
			return r
		}
		told, refused, reversed, owed := standIn(1), standIn(2), standIn(3), standIn(4)
		refusal := about(txn.RecordAdviceDone, refused)
		refusal.Reason = txn.IssuerDeclined
		store(t, l, entries(1, told, refused, reversed, owed, sale(5),
			about(txn.RecordAdviceDone, told), refusal, about(txn.RecordReversalDue, reversed), about(txn.RecordReversalDone, reversed)))
		for _, c := range []struct {
			before uint64
			day    txn.Date
			want   []uint64
		}{
			{1, day, nil}, {2, day, []uint64{1}}, {6, day, []uint64{1, 2, 3, 4}}, {7, day, []uint64{2, 3, 4}}, {8, day, []uint64{2, 3, 4}},
			{8, day.After(), []uint64{3, 4}}, {9, day, []uint64{2, 3, 4}}, {1 << 63, day, []uint64{2, 4}}, {1 << 63, day.After(), []uint64{4}},
		} {
			found, err := l.StandIns(t.Context(), c.before, c.day)
			if err != nil {
				t.Fatal(err)
			}
			var got []uint64
			for _, e := range found {
				got = append(got, e.Pos)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("before %d on %s: %v, want %v", c.before, c.day, got, c.want)
			}
		}
	})
}
