package issuer

import (
	"context"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Codec turns requests into an issuer's frames and its frames into replies. It
// keeps no state: it is used by many goroutines at once.
type Codec interface {
	// AppendRequest appends the frame of req, length prefix included, numbered
	// as leg says. A kind whose remedy is Repeat becomes an advice (022x), every
	// other a request (01xx, 02xx).
	AppendRequest(dst []byte, req *txn.Request, leg *txn.Leg, rrn [12]byte) ([]byte, error)
	// RequestType is the message type that AppendRequest gives req.
	RequestType(req *txn.Request) uint16
	// AppendReversal appends the reversal of rec's leg, of type mti (04xx). Its
	// STAN (DE11) is the leg's; its time (DE7) may be its own when DE90 names the
	// leg's.
	AppendReversal(dst []byte, rec *txn.Record, pan []byte, mti uint16) ([]byte, error)
	// AppendAdvice appends the advice (022x) that tells of rec, whose kind's remedy
	// is Repeat, as AppendRequest did or would have done under rec's leg. repeat
	// asks for the repeat form of its type.
	AppendAdvice(dst []byte, rec *txn.Record, pan []byte, repeat bool) ([]byte, error)
	// AppendNetwork appends a network management request (08xx) with code in
	// DE70 and at in DE7, in the zone that at is in.
	AppendNetwork(dst []byte, code string, stan uint32, at time.Time) ([]byte, error)
	// AppendAnswer appends the answer, with code, to the issuer's own request that h
	// was read from.
	AppendAnswer(dst []byte, h *txn.ReplyHead, code [2]byte) ([]byte, error)
	// AppendKeyRequest appends a request (0820, DE70 101) for a new key, for MACs or for
	// PINs, numbered as AppendNetwork's.
	AppendKeyRequest(dst []byte, mac bool, stan uint32, at time.Time) ([]byte, error)
	// ReadNewKey reads the key that an issuer's message brings, CheckNewKey holds the
	// message against its MAC, if it has one by its dialect, and AppendNewKeyAnswer
	// appends the answer. mac makes MACs under that key; nil: it is not taken.
	ReadNewKey(frame []byte) (txn.NewKey, error)
	CheckNewKey(frame []byte, mac func(data []byte) ([8]byte, error)) error
	AppendNewKeyAnswer(dst, frame []byte, code [2]byte, mac func(data []byte) ([8]byte, error)) ([]byte, error)
	// ReadReply decodes a frame without its length prefix into head and reply,
	// both reset by the caller. After an error the frame is skipped.
	// It is txn.ErrMAC where the MAC is wrong.
	ReadReply(frame []byte, head *txn.ReplyHead, reply *txn.Reply) error
	// PrefixSize is the size of the length prefix.
	PrefixSize() int
	// BodySize is the length that a prefix announces, 0 where no frame follows;
	// after an error the connection is given up.
	BodySize(prefix []byte) (int, error)
}

// Journal tells when records are on stable storage.
type Journal interface {
	// Wait returns nil once a record after pos is, and an error when none will be.
	Wait(ctx context.Context, pos journal.Position) error
}

// Hooks are told what happens on the links. Any may be nil. All but Late and NewKey run
// on the links' own goroutines and must not wait or call back.
type Hooks struct {
	// Late is given answers to requests that nobody waits for any more, or that
	// were never asked. It runs on one goroutine of its own and may wait, and is
	// called once in latePause at most; meanwhile lateQueue answers are kept and
	// further ones only counted.
	Late func(Late)
	// LinkUp and LinkDown tell of one link of an issuer, by its index, and of the host
	// that it leads to. LinkDown also tells of each failed attempt to connect or to sign on.
	LinkUp   func(issuer string, link int, host string)
	LinkDown func(issuer string, link int, err error)
	// Breaker tells the breaker's new state: closed, half-open or open.
	Breaker func(issuer, state string)
	// CutOver tells that the issuer began its next business day, and which (DE15
	// MMDD, zero bytes where it does not say).
	CutOver func(issuer string, day [4]byte)
	// Unmatched tells of a message that answers no waiting request, and which
	// part of it differs from the nearest one.
	Unmatched func(issuer string, head txn.ReplyHead, why string)
	// NewKey deciphers a key that an issuer sent, and holds it against its check value if it has
	// one. It runs on the link's reader, and what it asks must answer in time. Without it
	// no keys are taken.
	NewKey func(issuer txn.IssuerID, k *txn.NewKey) (SentKey, error)
	// HasKey is whether there is a key here of those that an issuer sends, for MACs or for
	// PINs. It must not wait. Without it no keys are asked for.
	HasKey func(issuer txn.IssuerID, mac bool) bool
	// Malformed tells of a frame that is no message of the dialect, or of a
	// request that cannot be put into one.
	Malformed func(issuer string, err error)
}

// Late is an answer that came after its request was decided.
type Late struct {
	Leg   txn.Leg // as the answer names it; Time is zero when it carries no DE7
	Reply txn.Reply
}

// lateQueue bounds the late answers that wait for Hooks.Late. Losing one loses
// a note, no money: what the timeout owed stands.
const lateQueue = 1024

// latePause is between two calls of Hooks.Late, which writes to the disk what an issuer
// may say without end.
const latePause = 5 * time.Millisecond

func (h *Hooks) linkUp(issuer string, link int, host string) {
	if h.LinkUp != nil {
		h.LinkUp(issuer, link, host)
	}
}

func (h *Hooks) linkDown(issuer string, link int, err error) {
	if h.LinkDown != nil {
		h.LinkDown(issuer, link, err)
	}
}

func (h *Hooks) breaker(issuer, state string) {
	if h.Breaker != nil {
		h.Breaker(issuer, state)
	}
}

func (h *Hooks) cutOver(issuer string, day [4]byte) {
	if h.CutOver != nil {
		h.CutOver(issuer, day)
	}
}

func (h *Hooks) unmatched(issuer string, head txn.ReplyHead, why string) {
	if h.Unmatched != nil {
		h.Unmatched(issuer, head, why)
	}
}

func (h *Hooks) malformed(issuer string, err error) {
	if h.Malformed != nil {
		h.Malformed(issuer, err)
	}
}
