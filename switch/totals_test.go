package acquirer

import (
	"errors"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// moved is a registry whose terminals are another merchant's.
type moved struct{ Registry }

func (r moved) Terminal(id txn.TerminalID) (*txn.Terminal, bool) {
	t, ok := r.Registry.Terminal(id)
	if t != nil {
		with := *t
		with.Merchant = txn.MakeMerchantID("999290054119999")
		t = &with
	}
	return t, ok
}

// A settlement that risk refuses settles nothing, is recorded, and told again.
func TestSettlementThatRiskRefuses(t *testing.T) {
	h := newHouse(t)
	h.want("sale", h.ask(sale("10000001", 1, 500)), txn.Approved, "00")
	registry := h.s.registry
	h.s.registry = func() Registry { return moved{registry()} }
	for range 2 {
		h.want("of another merchant's terminal", h.ask(settlement("10000001", 1, 2, debit(1, 500))), txn.TerminalIsBoundToAnotherMerchant, "58")
	}
	h.s.registry = registry
	if rec := h.last(txn.RecordOutcome); rec.Request != txn.KindSettlement || len(rec.Data) != 0 {
		t.Errorf("recorded as %s with %d bytes", rec.Request, len(rec.Data))
	}
	h.want("told again", h.ask(settlement("10000001", 1, 2, debit(1, 500))), txn.TerminalIsBoundToAnotherMerchant, "58")
	h.want("a sale of the batch", h.ask(sale("10000001", 3, 500)), txn.Approved, "00")
}

// A terminal is told its own totals where they are even, however it splits them, and
// ours where either half is not.
func TestTotalsThatAreTold(t *testing.T) {
	for name, c := range map[string]struct {
		domestic, foreign txn.Totals
		told              [2]txn.Totals
		result            [2]txn.Comparison
	}{
		"even":                  {debit(2, 1200), txn.Totals{}, [2]txn.Totals{debit(2, 1200), {}}, [2]txn.Comparison{txn.Even, txn.Even}},
		"even in two halves":    {debit(1, 500), debit(1, 700), [2]txn.Totals{debit(1, 500), debit(1, 700)}, [2]txn.Comparison{txn.Even, txn.Even}},
		"uneven":                {debit(1, 500), txn.Totals{}, [2]txn.Totals{debit(2, 1200), {}}, [2]txn.Comparison{txn.Uneven, txn.Even}},
		"uneven in the foreign": {debit(2, 1200), debit(1, 1), [2]txn.Totals{debit(2, 1200), {}}, [2]txn.Comparison{txn.Even, txn.Uneven}},
	} {
		h := newHouse(t)
		h.ask(sale("10000001", 1, 500))
		h.ask(sale("10000001", 2, 700))
		req := settlement("10000001", 1, 3, c.domestic)
		req.Totals[1] = c.foreign
		if got := h.ask(req); got.Totals != c.told || got.Result != c.result {
			t.Errorf("%s: told %v, %v", name, got.Totals, got.Result)
		}
		if got := h.ask(upload("10000001", 1, 4, item(1, 500), item(2, 700))); got.Count != 2 {
			t.Errorf("%s: %d items are said to have come", name, got.Count)
		}
		other := item(1, 500)
		other.PAN, _ = txn.ParsePAN("6222021234567890136")
		h.want("the same items of another card", h.ask(upload("10000001", 1, 4, other, item(2, 700))), txn.DuplicateWithOtherContent, "94")
		h.want("an item without its card", h.ask(upload("10000001", 1, 4, txn.Item{STAN: 1, Minor: 500}, item(2, 700))), txn.DuplicateWithOtherContent, "94")
		h.want("end", h.ask(end("10000001", 1, 5, 2)), txn.Approved, "00")
		h.want("an end with another count", h.ask(end("10000001", 1, 5, 3)), txn.DuplicateWithOtherContent, "94")
	}
}

// A batch whose end cannot be recorded is not said to be closed.
func TestClosingFails(t *testing.T) {
	h := newHouse(t)
	h.ask(sale("10000001", 1, 500))
	h.failAfter(0)
	today := h.s.cfg.Day.Of(time.Now())
	if n, err := h.s.CloseBatches(t.Context(), today); n != 0 || !errors.Is(err, errDisk) {
		t.Errorf("%d are closed, %v", n, err)
	}
	h.restart()
	if n, err := h.s.CloseBatches(t.Context(), today); n != 1 || err != nil {
		t.Errorf("then %d are closed, %v", n, err)
	}
	if rec := h.last(txn.RecordOutcome); rec.Key.Class != txn.ClassUpload || rec.Outcome != txn.OutcomeLocal || rec.Key.Acquirer != h.s.acquirer || rec.Merchant != txn.MakeMerchantID("999290054110001") {
		t.Errorf("closed by %+v", rec.Key)
	}
}
