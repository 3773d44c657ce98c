package acquirer

import (
	"context"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Registry finds the registered parties. Lookups are in memory and safe for
// concurrent use; the rows they return are never changed.
type Registry interface {
	Terminal(txn.TerminalID) (*txn.Terminal, bool)
	Merchant(txn.MerchantID) (*txn.Merchant, bool)
	// Software judges the version that a terminal reports on a day.
	Software(t *txn.Terminal, app [8]byte, day txn.Date) txn.Software
}

// Assessor decides whether a request may go on, in memory and without I/O.
type Assessor interface {
	// Assess checks req and, if its Verdict is Approved and the kind moves
	// money, has reserved the request's limits. Concurrent calls never pass a
	// limit together.
	Assess(req *txn.Request) txn.Verdict
	// Confirm turns what Assess reserved into use, or Release gives it back: one
	// of the two, once. Undo gives confirmed use back when it was reversed.
	// Restore counts use without checking, at recovery; Recall counts in its month
	// alone what records say of a day that is not whole in the journal.
	Confirm(txn.Hold)
	Release(txn.Hold)
	Undo(txn.Hold)
	Restore(txn.Hold)
	Recall(txn.Hold, txn.Effect)
	// Learn takes note of a decided request's record, once when it is durable, and
	// at recovery. It keeps nothing of it.
	Learn(*txn.Record)
}

// Forwarder is the issuers' side.
type Forwarder interface {
	// Resume goes on numbering after the last leg that an earlier process gave
	// an issuer. It is called at recovery, before any Begin.
	Resume(leg txn.Leg)
	// Busy says that the issuer of a request's card has no place in flight for it, so
	// that Begin would refuse it. It must cost next to nothing.
	Busy(req *txn.Request) bool
	// Begin chooses the issuer, takes a place in flight and numbers the leg. A
	// reason other than Approved holds nothing. A kind that is Told gets its leg also
	// while the issuer is away.
	Begin(req *txn.Request) (txn.Leg, txn.Reason)
	// Number gives a request a leg while its issuer cannot be reached: it is told
	// of later. It holds nothing, and is false when too much is in flight.
	Number(req *txn.Request) (txn.Leg, bool)
	// Exchange sends req, once the journal's record at intent is on stable storage,
	// waits for the reply until req.Deadline or the issuer's own timeout, whichever is
	// first, and gives the place back. The outcome is NotSent only if certainly no byte
	// left; of what is told until it is taken, it is Declined only if the issuer
	// refuses it for good. req.Trace notes when the intent was durable.
	// handedOff is called once, maybe after Exchange has returned: when req waits for
	// its issuer alone, or will never leave.
	Exchange(req *txn.Request, leg *txn.Leg, rrn [12]byte, intent journal.Position, handedOff func(), reply *txn.Reply) (txn.Outcome, txn.Reason)
	// Cancel gives the place of a leg back that was never exchanged.
	Cancel(leg *txn.Leg)
	// Advise tries once to tell the issuer of rec, whose kind is told until it takes
	// note. It returns true with the issuer's code when the issuer took note, whether
	// it agrees or not. A code without true is an answer about the moment, not about
	// rec: told again, it may be taken. From attempt 1 on the issuer may have got it
	// before. The error is txn.ErrNotSent where certainly no byte left.
	Advise(ctx context.Context, rec *txn.Record, pan []byte, attempt int) (bool, [2]byte, error)
	// Reverse tries once to undo rec's leg. It returns true when nothing is owed any
	// more: the issuer undid it or never saw it. A code without true is a refusal:
	// with an error another try may be taken, without one it would be refused again.
	// The error txn.ErrNoReversals says that nothing was sent and nothing will be;
	// attempt and txn.ErrNotSent are as Advise's.
	Reverse(ctx context.Context, rec *txn.Record, pan []byte, attempt int) (bool, [2]byte, error)
}

// Recorder is the journal. Append returns a nil error only when the record is
// on stable storage; after any error nobody knows, and the process must end.
// Queue does not wait for that: records become durable in their order.
type Recorder interface {
	Append(rec []byte) (journal.Position, error)
	Queue(rec []byte) (journal.Position, error)
	Read(pos journal.Position, dst []byte) ([]byte, error)
	First() journal.Position
	Scan(from journal.Position, fn func(journal.Position, []byte) error) error
}

// Guard authenticates terminals whose messages carry MACs.
type Guard interface {
	// Check says whether req's MAC is its terminal's: Approved, MACIsWrong, or
	// SignOnIsRequired when the terminal has no keys for today.
	Check(req *txn.Request) txn.Reason
	// DecipherTrack deciphers req's track in place.
	DecipherTrack(req *txn.Request) txn.Reason
	// SignOn makes the terminal's working keys, durable before it returns, and
	// puts them into ans.
	SignOn(req *txn.Request, ans *txn.Answer) txn.Reason
	// SignOff ends them, durably before it returns: Check says SignOnIsRequired.
	SignOff(req *txn.Request) txn.Reason
	// ProveSerial finds out what the ciphertext of the serial number in req.Info
	// proves, and notes it there. Another answer than Approved says that it could
	// not.
	ProveSerial(req *txn.Request) txn.Reason
	// TranslatePIN replaces req's PIN block by one under the issuer's key.
	// PINBlockIsWrong says that there is no PIN for this card in it.
	TranslatePIN(req *txn.Request, issuer txn.IssuerID) txn.Reason
	// Sign makes the MAC of the answer to req.
	Sign(req *txn.Request, signed []byte) ([8]byte, error)
}

// Librarian has what terminals download, and knows which of them lack what.
// Both are safe for concurrent use.
type Librarian interface {
	// Serve answers a KindDownload into ans.Custom, or takes a KindStatus in. What
	// it notes of the terminal is durable before it returns. ItemIsUnknown says
	// that there is no such thing.
	Serve(req *txn.Request, ans *txn.Answer) txn.Reason
	// Pending is what req's terminal should be asked for, as Answer.Asks. It is in
	// memory, and is called for every approval of a registered terminal.
	Pending(req *txn.Request) uint8
}

// Archive finds transactions that the journal has let go of. It may lag behind
// by what was decided last: what is of today or yesterday is also in memory, but
// for its reference number.
type Archive interface {
	// CatchUp waits until what was decided before the call is found. It fails when
	// ctx ends before.
	CatchUp(ctx context.Context) error
	// ByKey and ByRRN find decided transactions of one business day.
	ByKey(ctx context.Context, m txn.MerchantID, day txn.Date, key txn.Key) ([]txn.Record, error)
	ByRRN(ctx context.Context, m txn.MerchantID, day txn.Date, rrn [12]byte) ([]txn.Record, error)
	// Decided finds the decided requests of a key on any of some business days, the
	// latest first.
	Decided(ctx context.Context, m txn.MerchantID, days []txn.Date, key txn.Key) ([]txn.Record, error)
	// Preauths finds the pre-authorizations of a card at a merchant with an
	// authorization code, since a day, the latest first.
	Preauths(ctx context.Context, m txn.MerchantID, card txn.CardToken, auth [6]byte, since txn.Date) ([]txn.Record, error)
	// Deeds are the outcomes that name an original, and the events about it and
	// about those.
	Deeds(ctx context.Context, m txn.MerchantID, id txn.ID) ([]txn.Record, error)
}
