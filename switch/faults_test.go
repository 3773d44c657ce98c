package acquirer

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Tests named TestFnn are those of row nn of docs/reliability.md.

// brittle is an archive that panics while it is broken.
type brittle struct {
	shelf
	broken bool
}

func (b *brittle) ByRRN(ctx context.Context, m txn.MerchantID, day txn.Date, rrn [12]byte) ([]txn.Record, error) {
	found, err := b.shelf.ByRRN(ctx, m, day, rrn)
	if len(found) == 0 && b.broken {
		panic("planted")
	}
	return found, err
}

func (b *brittle) Deeds(ctx context.Context, m txn.MerchantID, id txn.ID) ([]txn.Record, error) {
	if b.broken {
		panic("planted")
	}
	return b.shelf.Deeds(ctx, m, id)
}

// A panic while an original is looked for leaves no limit reserved, and one
// while it is held keeps nobody else from it.
func TestF69PanicAboutAnOriginalLeaksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 3, 2, 12, 0, 0, 0, zone)))
		h := newHouse(t)
		defer h.stop()
		archive := &brittle{broken: true}
		h.s.archive = archive
		first := h.ask(sale("10000001", 1, 1000))
		archive.recs = h.records()
		tip := about(txn.KindTip, 2, 100, 0)
		tip.Original = txn.Reference{RRN: [12]byte([]byte("000000000000")), Date: first.Date}
		h.want("tip", h.ask(tip), txn.SwitchFailed, "96")
		if h.risk.InFlight() != 0 || h.used("10000001") != 1000 {
			t.Errorf("%d reservations and %d used after a panic", h.risk.InFlight(), h.used("10000001"))
		}
		time.Sleep(72 * time.Hour)
		refund := about(txn.KindRefund, 3, 400, 0)
		refund.Original = txn.Reference{RRN: first.RRN, Date: first.Date}
		h.want("refund", h.ask(refund), txn.SwitchFailed, "96")
		archive.broken = false
		h.want("the same refund", h.ask(refund), txn.Approved, "00")
	})
}
