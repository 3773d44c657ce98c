package terminal

import (
	"slices"
	"testing"

	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/terminal/terminaltest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// A track travels enciphered where the key set has a key for it (cup-pos B2),
// again and again under the keys of then, and is the same card to the switch.
func TestTracksAreEnciphered(t *testing.T) {
	for _, row := range []struct {
		name string
		set  keys.KeySet
		kind algo.Kind // of the TDK; 0: the set has none
	}{
		{"B2 004, a TDES TDK", keys.KeySetDoubleTrack, algo.TDES2},
		{"B2 005, an SM4 TDK", keys.KeySetSM4, algo.SM4},
		{"003 has none: in clear", keys.KeySetDouble, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, c := startHost(t, func(p *Profile) { p.KeySet = row.set }, Options{})
			mustSignOn(t, p, c)
			card := testCard(t)
			card.Entry = Stripe
			came := 0
			p.SetAnswers(func(req *txn.Request, answer []byte) []byte {
				if req.Kind != txn.KindSale {
					return answer
				}
				came++
				if covered := req.TrackDigits > 0; covered != (row.kind != 0) {
					t.Errorf("enciphered: %t", covered)
				}
				if row.kind != 0 {
					tdk, err := algo.NewLocal(row.kind, p.Host.Issued[len(p.Host.Issued)-1])
					if err != nil {
						t.Error(err)
						return answer
					}
					block := req.Track2[len(req.Track2)-1-row.kind.BlockSize() : len(req.Track2)-1]
					if err := tdk.Decrypt(block, block); err != nil {
						t.Error(err)
					}
					if err := dialect.ReadTrack(req); err != nil {
						t.Error(err)
					}
				}
				if got := string(req.Track2); req.PAN != card.PAN || got != card.track() {
					t.Errorf("the switch reads another track of %d", len(got))
				}
				return answer
			})
			for range 2 {
				if a, err := c.Sale(t.Context(), card, txn.Amount{Minor: 100}); err != nil || !a.Approved() {
					t.Fatalf("%+v, %v", a, err)
				}
			}
			// Told A0, it signs on and sells again, under the new keys.
			refused := false
			p.With(func(h *terminaltest.Host) {
				h.Refuse = func(*txn.Request) bool { again := refused; refused = true; return !again }
			})
			if a, err := c.Sale(t.Context(), card, txn.Amount{Minor: 100}); err != nil || !a.Approved() || a.First == nil {
				t.Fatalf("%+v, %v", a, err)
			}
			if came < 3 || !slices.Contains(p.Came(), "sign-on") {
				t.Errorf("%d sales came", came)
			}
		})
	}
}
