package acquirer

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// S06: trace numbers that go back within a batch are counted and said with the
// terminal and without a card; three of a day go on and the fourth is refused. A
// number of zeros is answered 30 by both dialects (switch/dialect).
func TestS06NumbersThatGoBackAreNoticed(t *testing.T) {
	h := newHouse(t)
	var said bytes.Buffer
	h.s.log = slog.New(slog.NewTextHandler(&said, nil))
	for _, stan := range []uint32{7, 8, 3, 4} {
		h.want("sale", h.ask(sale("10000001", stan, 100)), txn.Approved, "00")
	}
	h.want("a repeat", h.ask(sale("10000001", 7, 100)), txn.Approved, "00")
	if n := h.s.Figures().Backwards; n != 1 {
		t.Errorf("%d went back, want 1", n)
	}
	if s := said.String(); strings.Count(s, "\n") != 1 || !strings.Contains(s, "level=WARN") || !strings.Contains(s, "terminal=10000001") ||
		!strings.Contains(s, "stan=3 last=8") || strings.Contains(s, testPAN[6:12]) {
		t.Errorf("said %q", s)
	}
	for _, stan := range []uint32{2, 1} {
		h.want("back again", h.ask(sale("10000001", stan, 100)), txn.Approved, "00")
	}
	h.want("ahead", h.ask(sale("10000001", 9, 100)), txn.Approved, "00")
	h.want("back once more", h.ask(sale("10000001", 6, 100)), txn.Approved, "00")
	strict := risk.DefaultPolicy()
	strict.Number, strict.Rules = 2, map[txn.Rule]risk.Setting{506: {Action: txn.ActionRefuse}}
	if err := h.risk.SetPolicy(strict); err != nil {
		t.Fatal(err)
	}
	h.want("back once too often", h.ask(sale("10000001", 5, 100)), txn.TraceNumberWentBack, "30")
	h.want("ahead", h.ask(sale("10000001", 10, 100)), txn.Approved, "00")
}

// S04: one trace number is one request: asked again it is told the same, with other
// content it is refused, and the next number is another.
func TestS04TraceNumberIsUsedTwice(t *testing.T) {
	h := newHouse(t)
	h.want("sale", h.ask(sale("10000001", 7, 100)), txn.Approved, "00")
	h.want("the same again", h.ask(sale("10000001", 7, 100)), txn.Approved, "00")
	h.want("another amount", h.ask(sale("10000001", 7, 101)), txn.DuplicateWithOtherContent, "94")
	h.want("the next number", h.ask(sale("10000001", 8, 101)), txn.Approved, "00")
	h.want("another terminal's", h.ask(sale("10000002", 7, 101)), txn.Approved, "00")
}

// S05: the terminal's batch is the one that its first request opened, until it signs
// on to another.
func TestS05BatchIsNotTheTerminals(t *testing.T) {
	h := newHouse(t)
	of := func(batch, stan uint32) txn.Request {
		r := sale("10000001", stan, 100)
		r.Key.Batch = batch
		return r
	}
	h.want("first", h.ask(of(1, 1)), txn.Approved, "00")
	h.want("same batch", h.ask(of(1, 2)), txn.Approved, "00")
	h.want("next batch", h.ask(of(2, 3)), txn.BatchIsNotCurrent, "77")
	signOn := of(2, 4)
	signOn.Kind, signOn.MTI, signOn.Key.Class, signOn.PAN = txn.KindSignOn, 0x0800, txn.ClassNetwork, txn.PAN{}
	h.want("sign-on", h.ask(signOn), txn.Approved, "00")
	h.want("next batch", h.ask(of(2, 5)), txn.Approved, "00")
	h.want("batch before", h.ask(of(1, 6)), txn.BatchIsNotCurrent, "77")
}
