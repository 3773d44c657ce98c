// Package acquirer is the life of one transaction: admit, assess, route,
// record, forward, record, answer; and the reversals that are owed for what
// could not be finished. (The folder is called switch; the word is taken.)
//
// Promises:
//   - A request reaches an issuer only after its intent is durable.
//   - An answer leaves Authorize only after its outcome is durable.
//   - A request that may have reached an issuer and has no valid answer owes a
//     reversal from the moment that outcome is durable, across restarts, until
//     the issuer acknowledges it.
//   - A retransmission gets the stored answer; it never reaches an issuer.
//   - Limits that a request reserved are given back on anything but an approval
//     or an unknown outcome, and then when the reversal is acknowledged.
//
// Not promised: that an approval was delivered. A terminal that missed its
// answer repeats the request or reverses it, as its dialect says. Not here:
// sockets (switch/pos), issuer links (switch/issuer), field layouts
// (switch/dialect), the rules themselves (package risk).
package acquirer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/batch"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/failpoint"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Switch is the one mechanism that every transaction goes through. Authorize
// and Undelivered are safe for concurrent use after Recover.
type Switch struct {
	cfg      Config
	registry func() Registry
	risk     Assessor
	issuers  Forwarder
	journal  Recorder
	cards    *keys.Cards
	guard    Guard   // nil where no terminal has keys
	archive  Archive // nil where only today's and yesterday's transactions are known
	// librarian is nil where terminals download nothing.
	librarian Librarian
	log       *slog.Logger

	slots     *slots
	originals *originals
	batches   *batch.Book
	aloft     *aloft
	starts    dayStarts
	reversals *lanes
	numbers   numbers
	work      sync.Pool // of *work
	pace      *pace
	standIns  *standIns
	broken    chan error  // holds one: why the process must end
	stopped   atomic.Bool // see StopSales
	inFlight  atomic.Int64
	replayed  atomic.Int64
	late      atomic.Int64
	backwards atomic.Int64
}

// New wires a switch. registry is called once per request, so a new snapshot
// is seen by the next one. guard may be nil where no terminal has keys,
// archive where nothing older than yesterday is to be voided or refunded, and
// librarian where terminals download nothing.
func New(cfg Config, registry func() Registry, risk Assessor, issuers Forwarder, j Recorder, cards *keys.Cards, guard Guard, archive Archive, librarian Librarian, log *slog.Logger) (*Switch, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, fmt.Errorf("switch: %w", err)
	}
	s := &Switch{cfg: cfg, registry: registry, risk: risk, issuers: issuers, journal: j, cards: cards, guard: guard, archive: archive, librarian: librarian, log: log, slots: newSlots(), originals: newOriginals(), batches: batch.NewBook(), aloft: newAloft(), broken: make(chan error, 1), pace: newPace(cfg.TerminalRate, cfg.TerminalBurst)}
	var err error
	if s.standIns, err = newStandIns(cfg.StandIn); err != nil {
		return nil, fmt.Errorf("switch: %w", err)
	}
	s.numbers.node = txn.ID(cfg.Node)
	s.reversals = newLanes(s)
	s.work.New = func() any { return &work{buf: make([]byte, 0, 1024)} }
	return s, nil
}

// Run sends the reversals that are owed. It returns when ctx ends, after the
// approvals that wait for their terminal to ask again are made reversals due;
// or with the journal's error, after which the process must end.
func (s *Switch) Run(ctx context.Context) error { return s.reversals.run(ctx) }

// work is the memory of one Authorize call.
type work struct {
	rec txn.Record
	leg txn.Leg
	buf []byte

	// Of a request about an earlier transaction: which, and whether an approval
	// gives back the limits that it used.
	original    txn.ID
	originalKey txn.Key
	gives       bool
	given       txn.Hold // what that one used
	about       [32]byte // its record's Data
	acquired    txn.ID   // from whom others are kept; 0: nobody

	// Of a settlement or upload: its fact, and that its batch's order is held.
	fact    txn.BatchFact
	data    []byte
	ordered bool
}

// Authorize decides req and fills ans. It blocks until the answer may be sent:
// until its outcome is durable, or the request needed no record. An answer
// marked Silent must not be sent: the switch itself is failing.
func (s *Switch) Authorize(req *txn.Request, ans *txn.Answer) {
	n := s.inFlight.Add(1)
	defer s.inFlight.Add(-1)
	s.admit(req, ans)
	defer s.owe(req, ans)
	switch {
	case ans.Reason != txn.Approved: // the dialect refused it
	case s.refused(req, ans): // before anything that changes state
	case s.covered(req, ans): // the card is on an enciphered track
	case req.Kind == txn.KindUnknown:
		ans.Reason = txn.KindIsNotOffered
	case n > int64(s.cfg.InFlightMax) && req.Kind != txn.KindReversal && req.Kind != txn.KindSignOn:
		ans.Reason = txn.SwitchIsOverloaded
	case req.Holder == nil || req.Owner == nil || !recorded(req.Kind):
		if paced(req) && !s.pace.takes(req.Key.Terminal, req.Received) {
			ans.Reason = txn.TerminalIsTooFast
			break
		}
		// Nothing that changes state, or from nobody we know: answered, counted,
		// never recorded, so that strangers cannot fill the journal.
		if ans.Reason = s.assess(req).Reason; ans.Reason == txn.Approved {
			ans.Reason = s.attend(req, ans)
		}
		if ans.Reason == txn.Approved && req.Kind == txn.KindSignOn {
			ans.Batch = s.batches.SignOn(req.Key.Terminal, req.Key.Batch, req.Day)
		}
	default:
		failpoint.Hit(failpoint.Authenticated)
		w := s.work.Get().(*work)
		s.decide(req, ans, w)
		s.work.Put(w)
		return
	}
	ans.Code = dialect.Code(req.Dialect, req.Kind, ans.Reason, ans.Reply.Code)
}

// assess asks risk, and keeps what its rules found with the request.
func (s *Switch) assess(req *txn.Request) txn.Verdict {
	v := s.risk.Assess(req)
	req.Findings = v.Findings
	req.Trace.Mark(txn.StageAssessed, req.Received)
	return v
}

// recorded says that requests of this kind become records: what an issuer
// answers, what changes something here, and what must be told the same when it
// is asked again.
func recorded(k txn.Kind) bool {
	return k.Forwarded() || k.Batch() || k == txn.KindReversal || k == txn.KindScriptResult
}

// attend does what a request that is not recorded asks for.
func (s *Switch) attend(req *txn.Request, ans *txn.Answer) txn.Reason {
	switch {
	case req.Kind == txn.KindSignOn && guarded(req) && s.guard != nil:
		s.inFlight.Add(-1) // it may wait long for its turn, and takes no sale's place
		defer s.inFlight.Add(1)
		return s.guard.SignOn(req, ans)
	case req.Kind != txn.KindDownload && req.Kind != txn.KindStatus:
		return txn.Approved
	case s.librarian == nil:
		return txn.KindIsNotOffered
	}
	return s.librarian.Serve(req, ans)
}

// refused says that the request does not authenticate, and why. What its
// machine's serial number proves is found out here too, but judged by risk: in
// its place among the rules.
func (s *Switch) refused(req *txn.Request, ans *txn.Answer) bool {
	ans.Reason = s.authenticate(req)
	if ans.Reason == txn.Approved && req.Info.Serial != (txn.Serial{}) && req.Key.Class != txn.ClassNetwork && s.guard != nil {
		ans.Reason = s.guard.ProveSerial(req)
	}
	return ans.Reason != txn.Approved
}

// Processing-request digits (cup-pos A2).
const (
	asksSignOn = 3
	asksUpdate = 6 // of its software, by TMS
)

// owe notes that the answer must carry a MAC: an approval does, a refusal may
// do without. And it notes what else the terminal is asked to do.
func (s *Switch) owe(req *txn.Request, ans *txn.Answer) {
	switch {
	case ans.Reason == txn.SignOnIsRequired || ans.Reason == txn.BatchIsNotCurrent:
		ans.Asks = asksSignOn
	case ans.Reason == txn.Approved && ans.Asks == 0 && s.librarian != nil && req.Holder != nil:
		ans.Asks = s.librarian.Pending(req)
	}
	if ans.Asks == 0 && (ans.Reason == txn.SoftwareIsTooOld || ans.Reason == txn.Approved && req.Info.Software != txn.SoftwareServed) {
		ans.Asks = asksUpdate
	}
	ans.Signed = ans.Reason == txn.Approved && authenticated(req)
}

// admit identifies the request: number, day, deadline, parties, fingerprint.
func (s *Switch) admit(req *txn.Request, ans *txn.Answer) {
	req.ID = s.numbers.id(req.Received)
	req.Day = s.cfg.Day.Of(req.Received)
	req.Deadline = req.Received.Add(s.cfg.AnswerWithin)
	req.Key.Acquirer = s.cfg.Acquirer
	reg := s.registry()
	if req.Holder, _ = reg.Terminal(req.Key.Terminal); req.Holder != nil {
		dialect.ReadInfo(req, req.Holder.Carrier)
		req.Info.Software = reg.Software(req.Holder, req.Info.App, req.Day)
	}
	if req.Merchant == noMerchant && req.Holder != nil && req.Key.Class == txn.ClassNetwork {
		req.Merchant = req.Holder.Merchant // a sign-on need not name it
	}
	req.Owner, _ = reg.Merchant(req.Merchant)
	s.identify(req)

	ans.ID, ans.RRN = req.ID, s.numbers.rrn(req.Day)
	ans.Acquirer = s.cfg.Acquirer
	local := req.Received.In(s.cfg.Day.Zone)
	ans.Time, ans.Date = clock(local), monthDay(local)
	req.Trace.Mark(txn.StageAdmitted, req.Received)
}

var noMerchant = txn.MakeMerchantID("")

// Sign makes the MAC of an answer that asks for one.
func (s *Switch) Sign(req *txn.Request, signed []byte) ([8]byte, error) {
	if s.guard == nil {
		return [8]byte{}, errors.New("sign an answer: no keys are kept here")
	}
	return s.guard.Sign(req, signed)
}

// decide is steps 4 to 9 of an authorization for requests that are recorded.
func (s *Switch) decide(req *txn.Request, ans *txn.Answer, w *work) {
	slot, flight, claimed := s.slots.claim(req)
	for !claimed {
		if slot.fingerprint != req.Fingerprint && slot.state != slotTombstoned {
			s.refuse(req, ans, txn.DuplicateWithOtherContent)
			return
		}
		if flight == nil {
			s.replay(req, ans, w, slot)
			return
		}
		// The same request is being decided: attach, and tell the same answer.
		if !wait(flight.done, req.Deadline) {
			s.hush(req, ans, txn.IssuerDidNotAnswer)
			return
		}
		slot, flight, claimed = s.slots.claim(req)
	}
	failpoint.Hit(failpoint.Claimed)
	if paced(req) && !s.pace.takes(req.Key.Terminal, req.Received) { // what was answered before is told again at any pace
		s.turnAway(req, ans, txn.TerminalIsTooFast)
		return
	}
	w.rec, w.original, w.originalKey, w.gives = txn.Record{}, 0, txn.Key{}, false
	if req.Kind.Totals() != txn.NoEffect {
		if !s.aloft.enter(&req.Key, req.Deadline) {
			s.turnAway(req, ans, txn.SwitchIsOverloaded)
			return
		}
		defer s.aloft.leave(&req.Key) // after rescue, which may count it
	}
	defer s.leave(w) // after rescue, which may decide something about it
	defer s.rescue(req, ans, w)
	switch {
	case req.Kind == txn.KindReversal:
		s.reverse(req, ans, w)
		return
	case req.Kind.Batch():
		s.settleBatch(req, ans, w)
		return
	case s.recollected(req, ans): // whatever batch its terminal is in
		s.slots.forget(&req.Key) // where its answer is, it is found again
		return
	case s.stopped.Load():
		s.turnAway(req, ans, txn.DiskIsNearlyFull)
		return
	}
	if s.misplaced(req) {
		s.turnAway(req, ans, txn.BatchIsNotCurrent)
		return
	}
	reason := s.assess(req).Reason
	failpoint.Hit(failpoint.Reserved)
	rec := s.describe(req, ans, w)
	if reason == txn.Approved && req.Kind.Limits() == txn.Debit {
		rec.Held = txn.Debit
	}
	if reason == txn.Approved && req.Kind.Forwarded() && req.Kind.NamesOriginal() {
		reason = s.concern(req, w)
		s.relate(req, w)
	}
	if postponed(req.Kind, reason) {
		s.postpone(req, ans, w, reason)
		return
	}
	if reason != txn.Approved || !req.Kind.Forwarded() {
		s.conclude(req, ans, w, txn.OutcomeLocal, reason)
		return
	}
	w.leg, reason = s.issuers.Begin(req)
	leg := &w.leg
	switch {
	case reason == txn.IssuerIsUnavailable && s.standIn(req, ans, w, leg.Issuer):
		return
	case postponed(req.Kind, reason):
		s.postpone(req, ans, w, reason)
		return
	case reason != txn.Approved:
		s.conclude(req, ans, w, txn.OutcomeLocal, reason)
		return
	}
	rec.Leg = *leg
	ans.Issuer = leg.Issuer
	if guarded(req) && len(req.PINBlock) > 0 {
		if reason := s.guard.TranslatePIN(req, leg.Issuer); reason != txn.Approved {
			s.issuers.Cancel(leg)
			rec.Leg = txn.Leg{}
			s.conclude(req, ans, w, txn.OutcomeLocal, reason)
			return
		}
	}
	if err := s.cards.Seal(&rec.SealedPAN, &req.PAN, req.ID); err != nil {
		s.issuers.Cancel(leg)
		s.log.Error("card number cannot be sealed", "error", err)
		s.conclude(req, ans, w, txn.OutcomeLocal, txn.SwitchFailed)
		return
	}

	// The issuer's link keeps the frame back until this record is durable. From
	// then on a crash finds an open intent and makes it an unknown outcome.
	rec.Kind = txn.RecordIntent
	w.buf = rec.Append(w.buf[:0])
	intent, err := s.journal.Queue(w.buf)
	if err != nil {
		s.issuers.Cancel(leg)
		if errors.Is(err, journal.ErrFull) { // certainly not written: the disk is behind
			rec.Kind = 0
			s.postpone(req, ans, w, txn.SwitchIsOverloaded)
			return
		}
		s.fail(req, ans, err)
		return
	}
	s.starts.saw(rec.Day, intent)
	req.Trace.Mark(txn.StageIntent, req.Received)
	outcome, reason := s.issuers.Exchange(req, leg, ans.RRN, intent, &ans.Reply)
	req.Trace.Mark(txn.StageForwarded, req.Received)
	s.conclude(req, ans, w, outcome, reason)
}

// postponed says that a request of this kind, refused for this reason, is to be
// said again under its number: it is a fact or a refund, and nothing is wrong
// with it but the time. The answer must not be remembered.
func postponed(k txn.Kind, reason txn.Reason) bool {
	if k.Remedy() != txn.Repeat {
		return false
	}
	switch reason {
	case txn.IssuerIsUnavailable, txn.IssuerIsBusy, txn.OriginalIsBusy, txn.RecordsAreUnavailable:
		return true
	}
	return false
}

// postpone refuses req and gives everything back: it changed nothing.
func (s *Switch) postpone(req *txn.Request, ans *txn.Answer, w *work, reason txn.Reason) {
	if w.rec.Held == txn.Debit {
		s.risk.Release(w.rec.Hold())
	}
	s.turnAway(req, ans, reason)
}

// rescue keeps a bug that one request triggers from taking the process down:
// what may have reached an issuer becomes an unknown outcome, anything else is
// as if it had never come. After a panic while an outcome is being recorded
// nobody knows what is durable: Run fails, and the next start decides.
func (s *Switch) rescue(req *txn.Request, ans *txn.Answer, w *work) {
	cause := recover()
	if cause == nil {
		return
	}
	s.log.Error("a request made the switch panic", "id", req.ID, "kind", req.Kind.String(), "cause", fmt.Sprintf("%T", cause), "stack", string(debug.Stack()))
	switch w.rec.Kind {
	case txn.RecordIntent:
		s.conclude(req, ans, w, txn.OutcomeUnknown, txn.SwitchFailed)
	case txn.RecordOutcome, txn.RecordReversalDue:
		err := fmt.Errorf("panic while %s was being recorded", req.Key)
		s.fail(req, ans, err)
		select {
		case s.broken <- err:
		default: // Run has been told already
		}
	default:
		if w.rec.Leg.STAN != 0 {
			s.issuers.Cancel(&w.rec.Leg)
		}
		if w.rec.Held == txn.Debit {
			s.risk.Release(w.rec.Hold())
		}
		s.slots.forget(&req.Key)
		s.hush(req, ans, txn.SwitchFailed)
	}
}

// conclude makes the outcome durable, settles the hold and fills the answer.
func (s *Switch) conclude(req *txn.Request, ans *txn.Answer, w *work, outcome txn.Outcome, reason txn.Reason) {
	rec := &w.rec
	if outcome == txn.OutcomeUnknown && rec.Request.Remedy() == txn.Repeat || outcome == txn.OutcomeNotSent && rec.Request.Told() {
		// It has happened at the terminal, which may forget it, or is a refund that
		// the issuer may have made already: we go on telling until it takes note. A
		// terminal that heard no would not count what its card was given.
		outcome, reason = txn.OutcomeUnknown, txn.Approved
	}
	ans.Reason = reason
	ans.Code = dialect.Code(req.Dialect, req.Kind, reason, ans.Reply.Code)
	if reason == txn.Approved && ans.Reply.SettlementDate == ([4]byte{}) {
		ans.Reply.SettlementDate = settlementDate(req.Day) // the issuer named none: ours
	}
	rec.Kind, rec.At, rec.Took = txn.RecordOutcome, time.Now(), req.Trace.Micros()
	rec.Outcome, rec.Reason, rec.Code = outcome, reason, ans.Code
	rec.IssuerCode, rec.AuthCode, rec.SettlementDate = ans.Reply.Code, ans.Reply.AuthCode, ans.Reply.SettlementDate
	rec.Balance, rec.Chip, rec.IssuerData = ans.Reply.Balance, ans.Reply.Chip, ans.Reply.IssuerData
	hold, reserved := rec.Hold(), rec.Held == txn.Debit
	switch {
	case outcome == txn.OutcomeApproved && w.gives:
		rec.Held = txn.Credit
	case outcome != txn.OutcomeApproved && outcome != txn.OutcomeUnknown:
		rec.Held = txn.NoEffect
	}

	// Until this append returns the terminal has heard nothing. A crash before
	// it leaves an open intent (reversed at start); after it, this answer.
	position, err := s.append(w)
	if err != nil {
		s.fail(req, ans, err)
		return
	}
	failpoint.Hit(failpoint.Decided)
	switch {
	case rec.Held == txn.Debit:
		s.risk.Confirm(hold)
	case reserved:
		s.risk.Release(hold)
	case rec.Held == txn.Credit:
		s.risk.Undo(hold)
	}
	s.originals.learn(rec)
	s.risk.Learn(rec)
	state := stateOf(rec)
	if rec.Owes() { // the use of limits stands until the reversal is acknowledged
		s.reversals.add(rec, position, false)
	}
	s.slots.decide(&req.Key, position, state)
	req.Trace.Mark(txn.StageRecorded, req.Received)
}

// stateOf is the slot state that an outcome leaves.
func stateOf(rec *txn.Record) slotState {
	switch {
	case rec.Request == txn.KindStandIn:
		return slotApproved
	case rec.Request.Remedy() != txn.Reverse: // a reversal does not concern it
	case rec.Owes():
		return slotUndone
	case rec.Outcome == txn.OutcomeApproved:
		return slotApproved
	}
	return slotDecided
}

// replay tells the answer that an equal request got before.
func (s *Switch) replay(req *txn.Request, ans *txn.Answer, w *work, sl slot) {
	if sl.state == slotTombstoned {
		s.refuse(req, ans, txn.ReversedBeforeRequest)
		return
	}
	b, err := s.journal.Read(sl.position, w.buf[:0])
	if err != nil {
		s.fail(req, ans, fmt.Errorf("read the stored answer of %s: %w", req.Key, err))
		return
	}
	w.buf = b[:0]
	rec := &w.rec
	if err := rec.Unmarshal(b); err != nil {
		s.fail(req, ans, fmt.Errorf("read the stored answer of %s at %d: %w", req.Key, sl.position, err))
		return
	}
	s.replayed.Add(1)
	recite(ans, rec)
	if rec.Kind == txn.RecordReversalDue {
		return
	}
	if err := s.retell(ans, w); err != nil {
		s.fail(req, ans, fmt.Errorf("read the stored answer of %s at %d: %w", req.Key, sl.position, err))
		return
	}
	// The approval was taken back meanwhile because the terminal could not be
	// told of it: it must not hear yes now.
	if sl.state == slotUndone && rec.Reason == txn.Approved {
		s.refuse(req, ans, txn.AnswerWasNotDelivered)
		return
	}
	if sl.state == slotApproved {
		s.slots.told(&req.Key)
	}
}

// recite fills the answer with what rec says that its terminal was told.
func recite(ans *txn.Answer, rec *txn.Record) {
	ans.Replayed = true
	ans.ID, ans.Reason, ans.Code = rec.ID, rec.Reason, rec.Code
	ans.RRN, ans.Time, ans.Date = rec.RRN, rec.Time, rec.Date
	ans.Reply.SettlementDate = rec.SettlementDate
	if rec.Kind == txn.RecordReversalDue {
		return // leg and authorization code in it are the original's
	}
	ans.Issuer = rec.Leg.Issuer
	ans.Reply.Code, ans.Reply.AuthCode = rec.IssuerCode, rec.AuthCode
	ans.Reply.Balance = append(ans.Reply.Balance[:0], rec.Balance...)
	ans.Reply.Chip = append(ans.Reply.Chip[:0], rec.Chip...)
	ans.Reply.IssuerData = append(ans.Reply.IssuerData[:0], rec.IssuerData...)
}

// refuse answers without a record: the request changed nothing.
func (s *Switch) refuse(req *txn.Request, ans *txn.Answer, reason txn.Reason) {
	ans.Reply.Reset()
	ans.Reason = reason
	ans.Code = dialect.Code(req.Dialect, req.Kind, reason, ans.Reply.Code)
}

// turnAway is refuse for a request whose key is claimed, and leaves that free: the
// same request may come again and be decided.
func (s *Switch) turnAway(req *txn.Request, ans *txn.Answer, reason txn.Reason) {
	s.slots.forget(&req.Key)
	s.refuse(req, ans, reason)
}

// hush refuses what could not be decided, and leaves a reversal without an
// answer: its terminal forgets it with any, and sends it again without one.
func (s *Switch) hush(req *txn.Request, ans *txn.Answer, reason txn.Reason) {
	s.refuse(req, ans, reason)
	ans.Silent = req.Kind == txn.KindReversal
}

// fail is for our own trouble: nobody knows what is durable, so nobody is told
// anything. The journal has closed itself and ends the process.
func (s *Switch) fail(req *txn.Request, ans *txn.Answer, err error) {
	s.log.Error("transaction cannot be recorded", "id", req.ID, "terminal", req.Key.Terminal.String(), "error", err)
	ans.Reason, ans.Silent = txn.JournalIsUnavailable, true
}

// describe starts the record of req in w, which is zero. It sets field by field:
// a literal would be made elsewhere and copied.
func (s *Switch) describe(req *txn.Request, ans *txn.Answer, w *work) *txn.Record {
	rec := &w.rec
	rec.At, rec.ID, rec.Key, rec.Fingerprint = time.Now(), req.ID, req.Key, req.Fingerprint
	rec.Request, rec.Dialect, rec.Entry, rec.MTI = req.Kind, req.Dialect, req.Entry, req.MTI
	rec.ProcessingCode, rec.Condition = req.ProcessingCode, req.Condition
	rec.Merchant, rec.Amount, rec.Day, rec.Card = req.Merchant, req.Amount, req.Day, req.CardToken
	rec.RRN, rec.Time, rec.Date = ans.RRN, ans.Time, ans.Date
	if req.Owner != nil {
		rec.MCC, rec.Identity = req.Owner.MCC, req.Owner.Identity
	}
	if req.Holder != nil {
		rec.Region = req.Holder.Region
	}
	rec.Serial, rec.Lat, rec.Lng = req.Info.Serial.Bytes(), req.Info.Position.Lat, req.Info.Position.Lng
	rec.CardType, rec.PIN, rec.Method, rec.Findings = req.CardType, len(req.PINBlock) > 0, req.Method(), req.Findings
	req.PAN.AppendMasked(rec.Masked[:0])
	return rec
}

// relate adds to the record what concern found out. A request that carried no
// card has its original's: what was reserved for no card is that card's use.
func (s *Switch) relate(req *txn.Request, w *work) {
	rec := &w.rec
	rec.Original, rec.OriginalKey = w.original, w.originalKey
	rec.Data = dialect.AppendOriginal(w.about[:0], req)
	if w.gives { // back where it was counted, which may have been paid in another way
		rec.Method, rec.CardType, rec.Identity = w.given.Method, w.given.CardType, w.given.Identity
	}
	if rec.Card == req.CardToken {
		return
	}
	nobodys := rec.Hold()
	rec.Card, rec.CardType = req.CardToken, req.CardType
	req.PAN.AppendMasked(rec.Masked[:0])
	if rec.Held == txn.Debit {
		s.risk.Restore(rec.Hold())
		s.risk.Undo(nobodys)
	}
}

// append writes w's record, and waits for its place while the journal's queue is
// full.
func (s *Switch) append(w *work) (journal.Position, error) {
	w.buf = w.rec.Append(w.buf[:0])
	for {
		pos, err := s.commit(&w.rec, w.buf, w.ordered)
		if err == nil {
			s.starts.saw(w.rec.Day, pos)
		}
		if !errors.Is(err, journal.ErrFull) {
			return pos, err
		}
	}
}

// wait is whether done was closed before the deadline.
func wait(done <-chan struct{}, deadline time.Time) bool {
	t := time.NewTimer(time.Until(deadline))
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}

// Undelivered says that the answer to req could not be written to its
// terminal. An approval then waits UndeliveredGrace for the terminal to ask
// again, and is reversed after it.
func (s *Switch) Undelivered(req *txn.Request, ans *txn.Answer) {
	if ans.Reason == txn.Approved && req.Kind.Remedy() == txn.Reverse && !ans.Silent && s.slots.untold(&req.Key) {
		s.reversals.undelivered(req.Key, ans.ID)
	}
}

// Late notes an issuer's answer that came after its request was decided. The
// reversal that the timeout owed stands; the record is for people. It says how long
// after the decision the answer came, if what is owed for it is not done yet.
func (s *Switch) Late(leg txn.Leg, reply *txn.Reply) (after time.Duration, known bool) {
	s.late.Add(1)
	rec := txn.Record{Kind: txn.RecordLate, At: time.Now(), Leg: leg, IssuerCode: reply.Code, AuthCode: reply.AuthCode, Amount: reply.Amount}
	if owed, ok := s.reversals.find(leg); ok {
		rec.Original, rec.OriginalKey = owed.Subject()
		rec.Merchant, rec.Day, rec.Card, rec.RRN = owed.Merchant, owed.Day, owed.Card, owed.RRN
		after, known = rec.At.Sub(owed.At), true
	}
	rec.ID = s.numbers.id(rec.At)
	if _, err := s.journal.Append(rec.Append(nil)); err != nil {
		s.log.Error("late answer cannot be recorded", "issuer", leg.Issuer.String(), "stan", leg.STAN, "error", err)
	}
	return after, known
}

// StopSales has everything refused, as DiskIsNearlyFull and without a record,
// that is neither a reversal nor a settlement nor answered before, until it is
// called with false. What is in flight is finished.
func (s *Switch) StopSales(stop bool) { s.stopped.Store(stop) }

// Figures are the switch's live numbers.
type Figures struct {
	InFlight         int64 // requests inside Authorize
	ReversalsOwed    int64
	ReversalsSending int64 // of those owed
	ReversalsParked  int64 // of those owed
	Undelivered      int64 // approvals whose terminal may still ask again
	Replayed         int64 // answers told again
	Late             int64 // issuers' answers that came too late
	Backwards        int64 // new requests whose trace number is behind their batch's last
}

// Figures reads the live numbers.
func (s *Switch) Figures() Figures {
	owed, sending, parked, undelivered := s.reversals.figures()
	return Figures{s.inFlight.Load(), owed, sending, parked, undelivered, s.replayed.Load(), s.late.Load(), s.backwards.Load()}
}
