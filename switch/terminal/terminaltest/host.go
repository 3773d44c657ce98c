package terminaltest

import (
	"crypto/rand"

	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Host is the peer's side of one terminal's keys. The peer's mu guards it.
type Host struct {
	TMK    []byte
	Double bool                     // double-length MAC keys
	Alter  func(de62 []byte) []byte // nil: DE62 leaves as it is
	Refuse func(*txn.Request) bool  // says A0 to what has the right MAC
	tak    algo.MACKey              // none before sign-on
	wrong  int                      // MACs in a row
	Issued [][]byte                 // every clear working key
	Asked  []uint16                 // the key sets asked for
	got    []string                 // what came, in order: kind, and a reversal's reason
	Signed map[string]int           // requests by kind that had the right MAC
}

func cipherOf(kind algo.Kind, key []byte) *algo.Local {
	c, err := algo.NewLocal(kind, key)
	if err != nil {
		panic(err)
	}
	return c
}

// admit is what a switch does before anything else.
func (h *Host) admit(req *txn.Request, ans *txn.Answer) txn.Reason {
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
	case algo.MACCUPECB.Verify(h.tak, req.Signed, req.MAC) != nil, h.Refuse != nil && h.Refuse(req):
		if h.wrong++; h.wrong >= 3 {
			return txn.SignOnIsRequired
		}
		return txn.MACIsWrong
	}
	h.wrong = 0
	h.Signed[req.Kind.String()]++
	return txn.Approved
}

func (h *Host) sign(_ *txn.Request, signed []byte) ([8]byte, error) {
	return algo.MACCUPECB.MAC(h.tak, signed)
}

// issue makes new keys and DE62.
func (h *Host) issue(set uint16) (de62 []byte) {
	h.Asked, h.wrong = append(h.Asked, set), 0
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
		if i == 1 && kind == algo.TDES2 && !h.Double {
			kind = algo.DES
		}
		key := make([]byte, kind.KeySize())
		rand.Read(key)
		working := cipherOf(kind, key)
		if i == 1 {
			h.tak = algo.MACKey{Whole: working}
		}
		h.Issued = append(h.Issued, append([]byte(nil), key...))
		cipherOf(under, h.TMK).Encrypt(key, key)
		kcv, _ := algo.CheckValue(working)
		de62 = append(append(de62, key...), make([]byte, width-len(key))...)
		de62 = append(de62, kcv[:]...)
	}
	if h.Alter != nil {
		return h.Alter(de62)
	}
	return de62
}

// With does something to the peer's keys.
func (p *Peer) With(f func(h *Host)) {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	f(p.Host)
}

// Came is what the peer was sent since it was last asked.
func (p *Peer) Came() (got []string) {
	p.With(func(h *Host) { got, h.got = h.got, nil })
	return got
}

// ForgetKeys makes the host ask for a sign-on.
func (h *Host) ForgetKeys() { h.tak = algo.MACKey{} }

// ChangeKeys makes the host find every MAC wrong, and its own be found wrong.
func (h *Host) ChangeKeys() { h.issue(3) }
