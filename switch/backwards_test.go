package acquirer

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

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
	h.want("back once too often", h.ask(sale("10000001", 6, 100)), txn.TraceNumberWentBack, "30")
	h.want("ahead", h.ask(sale("10000001", 10, 100)), txn.Approved, "00")
}
