package terminal

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/acqswitch/acqswitch/switch/terminal/terminaltest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// A terminal reverses a sale in part, less, and then the rest: each part has a
// number of its own, is sent until it is answered, also by a new process, and its
// batch, what it uploads and the switch's totals have what stands.
func TestReversePart(t *testing.T) {
	p := terminaltest.Start(t, "iso87")
	path := filepath.Join(t.TempDir(), "store")
	var c *Client
	open := func() {
		store, err := OpenStore(path)
		if err != nil {
			t.Fatal(err)
		}
		if c, err = Dial(t.Context(), p.Addr, "iso87", testProfile, Options{Store: store}); err != nil {
			t.Fatal(err)
		}
		impatient(c, p)
		t.Cleanup(func() { c.Close(); store.Close() })
	}
	check := func(what string, debit txn.Sum, owes uint32) {
		t.Helper()
		if got := c.store.totals(); got != (txn.Totals{Debit: debit}) || c.Owes() != owes {
			t.Errorf("%s: the batch has %+v, %06d is owed; want %+v, %06d", what, got, c.Owes(), debit, owes)
		}
	}
	open()
	for range 2 {
		if _, err := c.Sale(t.Context(), testCard(t), txn.Amount{Minor: 1000, Currency: txn.CNY}); err != nil {
			t.Fatal(err)
		}
	}
	if a, err := c.ReversePart(t.Context(), txn.Amount{}, Original{STAN: 1}, 400); err != nil || !a.Approved() || a.STAN != "000003" {
		t.Fatalf("%+v, %v", a, err)
	}
	check("a part", txn.Sum{Count: 2, Minor: 1400}, 0)

	p.SetAnswers(func(*txn.Request, []byte) []byte { return nil })
	if _, err := c.ReversePart(t.Context(), txn.Amount{}, Original{STAN: 1}, 300); !errors.Is(err, ErrNoAnswer) {
		t.Fatal(err)
	}
	check("less, without an answer", txn.Sum{Count: 2, Minor: 1400}, 4)
	open()
	check("less, without an answer, after a restart", txn.Sum{Count: 2, Minor: 1400}, 4)
	p.SetAnswers(nil)
	if _, err := c.Sale(t.Context(), testCard(t), txn.Amount{Minor: 50, Currency: txn.CNY}); err != nil {
		t.Fatal(err)
	}
	check("before the next sale", txn.Sum{Count: 3, Minor: 1350}, 0)
	if n, minor, _, _ := p.Totals("10000001", 0); n != 3 || minor != 1350 {
		t.Errorf("the switch has %d in %d", minor, n)
	}
	if a, err := c.Reversal(t.Context(), txn.Amount{}, Original{STAN: 2}); err != nil || !a.Approved() {
		t.Fatalf("the rest: %+v, %v", a, err)
	}
	check("the rest", txn.Sum{Count: 2, Minor: 350}, 0)
	p.Forget("10000001", 0, 5) // uneven: every item is uploaded, with what stands
	s, err := c.Settlement(t.Context())
	if err != nil || s.Even || s.Uploaded != 3 {
		t.Errorf("%+v, %v", s, err)
	}

	cup := terminaltest.Start(t, "cup-pos")
	if _, err := dialPeer(t, cup, Options{}).ReversePart(t.Context(), txn.Amount{Minor: 1000}, Original{STAN: 1}, 400); err == nil {
		t.Error("a CUP terminal reversed a part")
	}
}
