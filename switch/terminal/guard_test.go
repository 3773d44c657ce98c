package terminal

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/terminal/terminaltest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Before an online transaction go the scripts' results, the reversal and one
// advice, in this order (cup-pos I2).
func TestWhatIsOwedGoesFirst(t *testing.T) {
	p := terminaltest.Start(t, "cup-pos")
	c := dialPeer(t, p, Options{})
	card, amount := testCard(t), txn.Amount{Minor: 10_00}
	silent := func(kinds ...txn.Kind) {
		p.SetAnswers(func(req *txn.Request, answer []byte) []byte {
			if slices.Contains(kinds, req.Kind) {
				return nil
			}
			return answer
		})
	}
	silent(txn.KindOfflineSale)
	for range 2 {
		if _, err := c.OfflineSale(t.Context(), card, amount, ""); !errors.Is(err, ErrNoAnswer) {
			t.Fatal(err)
		}
	}
	p.Mu.Lock()
	p.Chip = []byte("\x72\x04\x9F\x18\x01\x00")
	p.Mu.Unlock()
	if a, err := c.Sale(t.Context(), card, amount); err != nil || !a.Approved() || c.Pending() != 3 {
		t.Fatalf("%+v, %v, %d pending", a, err, c.Pending())
	}
	p.Mu.Lock()
	p.Chip = nil
	p.Mu.Unlock()
	// It asks only when everything owed is told: the sale itself is not sent yet.
	silent(txn.KindScriptResult)
	if _, err := c.Sale(t.Context(), card, amount); !errors.Is(err, ErrNoAnswer) || !strings.Contains(err.Error(), "script's result is owed") {
		t.Fatal(err)
	}
	silent(txn.KindSale)
	if _, err := c.Sale(t.Context(), card, amount); !errors.Is(err, ErrNoAnswer) || c.Owes() == 0 {
		t.Fatalf("%v, %06d is owed", err, c.Owes())
	}
	silent()
	before := len(p.All())
	for range 2 {
		if a, err := c.Balance(t.Context(), card); err != nil || !a.Approved() {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	want := []string{"reversal 5 98", "offline-sale 2", "balance 6", "balance 7"}
	if got := p.All()[before:]; !slices.Equal(got, want) {
		t.Errorf("%v were sent, want %v", got, want)
	}
	all := strings.Join(p.All(), ", ")
	if !strings.Contains(all, "sale 3, script-result 4, script-result 4, offline-sale 1, sale 5") {
		t.Errorf("%s were sent", all)
	}
	if c.Pending() != 0 || c.Owes() != 0 {
		t.Errorf("%d pending, %06d is owed", c.Pending(), c.Owes())
	}
}

// While a batch is being settled, nothing else is taken.
func TestNothingWhileSettling(t *testing.T) {
	p := terminaltest.Start(t, "cup-pos")
	c := dialPeer(t, p, Options{})
	if _, err := c.Sale(t.Context(), testCard(t), txn.Amount{Minor: 1}); err != nil {
		t.Fatal(err)
	}
	p.SetAnswers(func(req *txn.Request, answer []byte) []byte {
		if req.Kind == txn.KindUpload {
			return nil
		}
		return answer
	})
	if _, err := c.Settlement(t.Context()); !errors.Is(err, ErrNoAnswer) {
		t.Fatal(err)
	}
	sent := p.All()[len(p.All())-1]
	for what, do := range map[string]func() error{
		"sale":         func() error { _, err := c.Sale(t.Context(), testCard(t), txn.Amount{Minor: 1}); return err },
		"offline sale": func() error { _, err := c.OfflineSale(t.Context(), testCard(t), txn.Amount{Minor: 1}, ""); return err },
	} {
		if err := do(); !errors.Is(err, ErrSettling) {
			t.Errorf("%s: %v", what, err)
		}
	}
	p.SetAnswers(nil)
	before := len(p.All())
	if s, err := c.Settlement(t.Context()); err != nil || !s.Even || p.All()[before] != sent {
		t.Errorf("%+v, %v; %v were sent after %s", s, err, p.All()[before:], sent)
	}
	if _, err := c.Sale(t.Context(), testCard(t), txn.Amount{Minor: 1}); err != nil {
		t.Error(err)
	}
}

// A PIN travels as the key set has it: format 0 in DE52, under SM4 in DE59, and
// the host's key opens it. It is in no store.
func TestPIN(t *testing.T) {
	for _, set := range []keys.KeySet{keys.KeySetSingle, keys.KeySetDouble, keys.KeySetDoubleTrack, keys.KeySetSM4, keys.KeySetSM4Alt} {
		p, c := startHost(t, func(p *Profile) { p.KeySet = set }, Options{})
		mustSignOn(t, p, c)
		kind, format := algo.TDES2, algo.PINISO0
		switch set {
		case keys.KeySetSingle:
			kind = algo.DES
		case keys.KeySetSM4, keys.KeySetSM4Alt:
			kind, format = algo.SM4, algo.PINCUPSM4
		}
		tpk, err := algo.NewLocal(kind, p.Host.Issued[0])
		if err != nil {
			t.Fatal(err)
		}
		var block, info []byte
		p.SetAnswers(func(req *txn.Request, answer []byte) []byte {
			block, info = bytes.Clone(req.PINBlock), bytes.Clone(req.SecurityInfo[:])
			return answer
		})
		card := testCard(t)
		card.PIN = txn.Secret("246813")
		if a, err := c.Sale(t.Context(), card, txn.Amount{Minor: 1}); err != nil || !a.Approved() {
			t.Fatalf("key set %03d: %+v, %v", set, a, err)
		}
		pin, err := algo.DecipherPIN(nil, tpk, format, block, []byte(card.number()))
		if err != nil || string(pin) != "246813" || info[0] != '2' {
			t.Errorf("key set %03d: PIN %q, %v, DE53 %s", set, pin, err, info)
		}
	}
	c := dialPeer(t, terminaltest.Start(t, "cup-pos"), Options{})
	card := testCard(t)
	card.PIN = txn.Secret("246813")
	if _, err := c.Sale(t.Context(), card, txn.Amount{Minor: 1}); !errors.Is(err, ErrNoPINKey) || strings.Contains(err.Error(), "246813") || c.STAN() != 999_999 {
		t.Errorf("without a key: %v, STAN %06d", err, c.STAN())
	}
}

// A number is used once in a batch: when all are, the terminal settles.
func TestNumbersAreUsedOnce(t *testing.T) {
	p := terminaltest.Start(t, "cup-pos")
	c := dialPeer(t, p, Options{STAN: 999_999})
	for _, want := range []uint32{999_999, 1, 2} {
		if _, err := c.Sale(t.Context(), testCard(t), txn.Amount{Minor: 1}); err != nil || c.STAN() != want {
			t.Fatalf("%v, STAN %06d", err, c.STAN())
		}
	}
	if _, err := c.Reversal(t.Context(), txn.Amount{}, Original{STAN: 999_999}); err != nil || c.STAN() != 2 {
		t.Fatalf("a reversal used a number up: %v, STAN %06d", err, c.STAN())
	}
	c.store.used = txn.STANMax
	if _, err := c.Sale(t.Context(), testCard(t), txn.Amount{Minor: 1}); !errors.Is(err, ErrBatchFull) {
		t.Error(err)
	}
}
