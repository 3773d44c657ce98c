package terminal

import (
	"crypto/rand"
	"testing"

	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// host is the peer's side of one terminal's keys. The peer's mu guards it.
type host struct {
	tmk    []byte
	double bool                     // double-length MAC keys
	alter  func(de62 []byte) []byte // nil: DE62 leaves as it is
	refuse func(*txn.Request) bool  // says A0 to what has the right MAC
	tak    algo.MACKey              // none before sign-on
	issued [][]byte                 // every clear working key
	asked  []uint16                 // the key sets asked for
	got    []string                 // what came, in order: kind, and a reversal's reason
	signed map[string]int           // requests by kind that had the right MAC
}

func cipherOf(kind algo.Kind, key []byte) *algo.Local {
	c, err := algo.NewLocal(kind, key)
	if err != nil {
		panic(err)
	}
	return c
}

// admit is what a switch does before anything else.
func (h *host) admit(req *txn.Request, ans *txn.Answer) txn.Reason {
	what := req.Kind.String()
	if req.Kind == txn.KindReversal {
		what += " " + string(req.ReversalReason[:])
	}
	h.got = append(h.got, what)
	switch {
	case req.Kind == txn.KindSignOn:
		ans.Keys = h.issue(req.Network)
		return txn.Approved
	case req.Key.Class == txn.ClassNetwork:
		return txn.Approved
	case h.tak.Whole == nil:
		return txn.SignOnIsRequired
	case algo.MACCUPECB.Verify(h.tak, req.Signed, req.MAC) != nil, h.refuse != nil && h.refuse(req):
		return txn.MACIsWrong
	}
	h.signed[req.Kind.String()]++
	return txn.Approved
}

func (h *host) sign(_ *txn.Request, signed []byte) ([8]byte, error) {
	return algo.MACCUPECB.MAC(h.tak, signed)
}

// issue makes new keys and DE62.
func (h *host) issue(set uint16) (de62 []byte) {
	h.asked = append(h.asked, set)
	under, kind, n := algo.TDES2, algo.TDES2, 2
	switch set {
	case 1:
		kind = algo.DES
	case 4:
		n = 3
	case 5, 6:
		under, kind, n = algo.SM4, algo.SM4, 3
	}
	for i := range n {
		kind, width := kind, kind.KeySize()
		if i == 1 && kind == algo.TDES2 && !h.double {
			kind = algo.DES
		}
		key := make([]byte, kind.KeySize())
		rand.Read(key)
		working := cipherOf(kind, key)
		if i == 1 {
			h.tak = algo.MACKey{Whole: working}
		}
		h.issued = append(h.issued, append([]byte(nil), key...))
		cipherOf(under, h.tmk).Encrypt(key, key)
		kcv, _ := algo.CheckValue(working)
		de62 = append(append(de62, key...), make([]byte, width-len(key))...)
		de62 = append(de62, kcv[:]...)
	}
	if h.alter != nil {
		return h.alter(de62)
	}
	return de62
}

// with does something to the peer's keys.
func (p *peer) with(f func(h *host)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p.host)
}

// came is what the peer was sent since it was last asked.
func (p *peer) came() (got []string) {
	p.with(func(h *host) { got, h.got = h.got, nil })
	return got
}

// forgetKeys makes the host ask for a sign-on.
func (h *host) forgetKeys() { h.tak = algo.MACKey{} }

// changeKeys makes the host find every MAC wrong, and its own be found wrong.
func (h *host) changeKeys() { h.issue(3) }

// startHost is a peer that keeps keys under the published TMK, and a terminal
// with it that has not signed on.
func startHost(t testing.TB, change func(*Profile), o Options) (*peer, *Client) {
	t.Helper()
	p := startPeer(t, "cup-pos")
	p.host = &host{tmk: unhex(t, publishedTMK), signed: map[string]int{}}
	return p, dialHost(t, p, change, o)
}

func dialHost(t testing.TB, p *peer, change func(*Profile), o Options) *Client {
	t.Helper()
	profile := testProfile
	profile.TMK = unhex(t, publishedTMK)
	if change != nil {
		change(&profile)
	}
	c, err := Dial(t.Context(), p.addr, "cup-pos", profile, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// mustSignOn signs on and empties the peer's memory of what came.
func mustSignOn(t testing.TB, p *peer, c *Client) {
	t.Helper()
	if a, err := c.SignOn(t.Context()); err != nil || !a.Approved() {
		t.Fatalf("sign-on: %+v, %v", a, err)
	}
	p.came()
}
