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
	"sync"
	"sync/atomic"
	"time"

	"github.com/acqswitch/acqswitch/switch/batch"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/failpoint"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Parts are what a switch is made of.
type Parts struct {
	// Registry is called once per request, so the next one sees a new snapshot.
	Registry func() Registry
	Risk     Assessor
	Issuers  Forwarder
	Journal  Recorder
	Cards    *keys.Cards
	// Guard may be nil where no terminal has keys.
	Guard Guard
	// Archive may be nil where nothing older than yesterday is to be voided or
	// refunded.
	Archive Archive
	// Librarian may be nil where terminals download nothing.
	Librarian Librarian
	Log       *slog.Logger
}

// Switch is the one mechanism that every transaction goes through. Authorize
// and Undelivered are safe for concurrent use after Recover.
type Switch struct {
	cfg      Config
	acquirer txn.AcquirerID // of cfg

	// Of Parts: guard, archive and librarian may be nil.
	registry  func() Registry
	risk      Assessor
	issuers   Forwarder
	journal   Recorder
	cards     *keys.Cards
	guard     Guard
	archive   Archive
	librarian Librarian
	log       *slog.Logger

	slots      *slots
	originals  *originals
	batches    *batch.Book
	batchLocks *batchLocks
	starts     dayStarts
	reversals  *lanes
	numbers    numbers
	now        atomic.Pointer[moment] // the last one
	tomorrow   txn.Date               // at the start; a record of a later day was dated by a clock that was wrong
	work       sync.Pool              // of *work
	pace       *pace
	gate       *gate
	leaveGate  func() // gate.leave, made once: the link calls it when a request waits for its issuer alone
	standIns   *standIns
	broken     chan error  // holds one: why the process must end
	stopped    atomic.Bool // see StopSales
	inFlight   atomic.Int64
	late       atomic.Int64
	backwards  atomic.Int64
}

// New wires a switch. Nothing runs before Recover.
func New(cfg Config, p Parts) (*Switch, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, fmt.Errorf("switch: %w", err)
	}
	standIns, err := newStandIns(cfg.StandIn)
	if err != nil {
		return nil, fmt.Errorf("switch: %w", err)
	}
	own, err := txn.ParseAcquirer(cfg.Acquirer)
	if err != nil {
		return nil, fmt.Errorf("switch: acquirer: %w", err)
	}
	g := newGate()
	s := &Switch{
		cfg: cfg, acquirer: own, registry: p.Registry, risk: p.Risk, issuers: p.Issuers, journal: p.Journal, cards: p.Cards,
		guard: p.Guard, archive: p.Archive, librarian: p.Librarian, log: p.Log,
		slots: newSlots(), originals: newOriginals(g), batches: batch.NewBook(), batchLocks: newBatchLocks(g),
		numbers: numbers{node: txn.ID(cfg.Node)}, pace: newPace(cfg.TerminalRate, cfg.TerminalBurst),
		gate: g, leaveGate: g.leave, standIns: standIns, broken: make(chan error, 1),
	}
	s.reversals = newLanes(s)
	s.work.New = func() any { return &work{buf: make([]byte, 0, 1024)} }
	return s, nil
}

// Run sends the reversals that are owed. It returns when ctx ends, after the
// approvals that wait for their terminal to ask again are made reversals due;
// or with the journal's error, after which the process must end.
func (s *Switch) Run(ctx context.Context) error { return s.reversals.run(ctx) }

// Authorize decides req and fills ans. It blocks until the answer may be sent:
// until its outcome is durable, or the request needed no record. An answer
// marked Silent must not be sent: the switch itself is failing.
func (s *Switch) Authorize(req *txn.Request, ans *txn.Answer) {
	s.inFlight.Add(1)
	defer s.inFlight.Add(-1)
	s.admit(req, ans)
	defer s.finish(req, ans)
	switch {
	case ans.Reason != txn.Approved: // the dialect refused it
	case s.unproven(req, ans): // comes before anything that changes state
	case s.unreadable(req, ans): // the card is on an enciphered track
	case req.Kind == txn.KindUnknown:
		ans.Reason = txn.KindIsNotOffered
	case req.Terminal == nil || req.Acceptor == nil || !recorded(req.Kind):
		if paced(req) && !s.pace.takes(req.Key.Terminal, req.Received) {
			ans.Reason = txn.TerminalIsTooFast
			break
		}
		// Nothing that changes state, or from nobody we know: answered, counted,
		// never recorded, so that strangers cannot fill the journal.
		ans.Reason = s.serve(req, ans)
	default:
		failpoint.Hit(failpoint.Authenticated)
		w := s.work.Get().(*work)
		s.decide(req, ans, w)
		s.work.Put(w)
		return
	}
	ans.Code = dialect.Code(req.Dialect, ans.Reason, ans.Reply.Code)
}

// assess asks risk, and keeps what its rules found with the request.
func (s *Switch) assess(req *txn.Request) txn.Verdict {
	v := s.risk.Assess(req)
	req.Findings = v.Findings
	req.Trace.Mark(txn.StageAssessed, req.Received)
	return v
}

// recorded says that requests of this kind become records: those that an issuer
// answers, that change something here, or whose repeat must get the same answer.
func recorded(k txn.Kind) bool {
	return k.Forwarded() || k.Batch() || k == txn.KindReversal || k == txn.KindScriptResult
}

// serve decides a request that is not recorded.
func (s *Switch) serve(req *txn.Request, ans *txn.Answer) txn.Reason {
	if reason := s.begin(req); reason != txn.Approved {
		return reason
	}
	defer s.gate.leave()
	reason := s.assess(req).Reason
	if reason == txn.Approved {
		reason = s.attend(req, ans)
	}
	if reason == txn.Approved && req.Kind == txn.KindSignOn {
		ans.Batch = s.batches.SignOn(req.Key.Terminal, req.Key.Batch, req.Day)
	}
	return reason
}

// attend does what a request that is not recorded asks for.
func (s *Switch) attend(req *txn.Request, ans *txn.Answer) txn.Reason {
	switch {
	case req.Kind == txn.KindSignOn && guarded(req) && s.guard != nil:
		s.inFlight.Add(-1) // it may wait long for its turn, and takes no sale's place
		defer s.inFlight.Add(1)
		s.gate.leave()
		defer s.gate.enter()
		return s.guard.SignOn(req, ans)
	case req.Kind == txn.KindSignOff && guarded(req) && s.guard != nil:
		s.gate.leave()
		defer s.gate.enter()
		return s.guard.SignOff(req)
	case req.Kind != txn.KindDownload && req.Kind != txn.KindStatus:
		return txn.Approved
	case s.librarian == nil:
		return txn.KindIsNotOffered
	}
	s.gate.leave() // what is noted of a terminal waits for the disk
	defer s.gate.enter()
	return s.librarian.Serve(req, ans)
}

// unproven says that the request failed authentication; ans.Reason is why. The
// ciphertext of the machine's serial number is checked here too, but its result is
// only noted: risk judges it, in its place among the rules.
func (s *Switch) unproven(req *txn.Request, ans *txn.Answer) bool {
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

// finish adds to an answer what does not depend on the decision alone: whether it
// carries a MAC (an approval must, a refusal need not), and what the terminal is asked
// to do next.
func (s *Switch) finish(req *txn.Request, ans *txn.Answer) {
	switch {
	case ans.Reason == txn.SignOnIsRequired || ans.Reason == txn.BatchIsNotCurrent:
		ans.Asks = asksSignOn
	case ans.Reason == txn.Approved && ans.Asks == 0 && s.librarian != nil && req.Terminal != nil:
		ans.Asks = s.librarian.Pending(req)
	}
	if ans.Asks == 0 && (ans.Reason == txn.SoftwareIsTooOld || ans.Reason == txn.Approved && req.Info.Software != txn.SoftwareServed) {
		ans.Asks = asksUpdate
	}
	ans.Signed = ans.Reason == txn.Approved && authenticated(req)
}

// admit identifies the request: number, day, deadline, parties, fingerprint.
func (s *Switch) admit(req *txn.Request, ans *txn.Answer) {
	now := s.moment(req.Received)
	req.ID, req.Day = s.numbers.id(now.dated(req.Received)), now.day
	req.Deadline = req.Received.Add(s.cfg.AnswerWithin)
	req.Key.Acquirer = s.acquirer
	reg := s.registry()
	if req.Terminal, _ = reg.Terminal(req.Key.Terminal); req.Terminal != nil {
		dialect.ReadInfo(req, req.Terminal.Carrier)
		req.Info.Software = reg.Software(req.Terminal, req.Info.App, req.Day)
	}
	if req.Merchant == txn.NoMerchant && req.Terminal != nil && req.Key.Class == txn.ClassNetwork {
		req.Merchant = req.Terminal.Merchant // a sign-on need not name it
	}
	req.Acceptor, _ = reg.Merchant(req.Merchant)
	s.identify(req)

	ans.ID, ans.RRN = req.ID, s.numbers.rrn(now.yearDay)
	ans.Acquirer = s.cfg.Acquirer
	ans.Time, ans.Date = now.time, now.date
	// The time of the terminal's place is its own to say, and ours where it says none. Its
	// answer and its record have it, so that a reversal can name it again; but a CUP
	// terminal takes its clock from the answer.
	if req.LocalTime == ([6]byte{}) {
		req.LocalTime = now.time
	}
	if req.LocalDate == ([4]byte{}) {
		req.LocalDate = now.date
	}
	if !dialect.SetsClock(req.Dialect) {
		ans.Time, ans.Date = req.LocalTime, req.LocalDate
	}
	req.Trace.Mark(txn.StageAdmitted, req.Received)
}

// Sign makes the MAC of an answer that asks for one.
func (s *Switch) Sign(req *txn.Request, signed []byte) ([8]byte, error) {
	if s.guard == nil {
		return [8]byte{}, errors.New("sign an answer: no keys are kept here")
	}
	return s.guard.Sign(req, signed)
}

// Undelivered says that the answer to req could not be written to its
// terminal. An approval then waits UndeliveredGrace for the terminal to ask
// again, and is reversed after it.
func (s *Switch) Undelivered(req *txn.Request, ans *txn.Answer) {
	if ans.Reason == txn.Approved && req.Kind.Remedy() == txn.Reverse && !ans.Silent && s.slots.untold(&req.Key) {
		s.reversals.undelivered(req.Key, ans.ID)
	}
}

// Late records, for people, an issuer's answer that came after its request was
// decided; the reversal owed since the timeout stands. It returns how long after the
// decision the answer came, which is known only while that reversal is still owed.
func (s *Switch) Late(leg txn.Leg, reply *txn.Reply) (after time.Duration, known bool) {
	s.late.Add(1)
	rec := txn.Record{Kind: txn.RecordLate, At: time.Now(), Leg: leg, IssuerCode: reply.Code, AuthCode: reply.AuthCode, Amount: reply.Amount}
	if owed, ok := s.reversals.find(leg); ok {
		rec.Original, rec.OriginalKey = owed.Subject()
		rec.Merchant, rec.Day, rec.Card, rec.RRN = owed.Merchant, owed.Day, owed.Card, owed.RRN
		after, known = rec.At.Sub(owed.At), true
	}
	rec.ID = s.newID(rec.At)
	if _, err := s.journal.Append(rec.Append(nil)); err != nil {
		s.log.Error("late answer cannot be recorded", "issuer", leg.Issuer.String(), "stan", leg.STAN, "error", err)
	}
	return after, known
}

// StopSales(true) refuses new requests as DiskIsNearlyFull, without a record, until
// StopSales(false). Reversals, settlements, repeats of what was answered, and what is
// in flight go on.
func (s *Switch) StopSales(stop bool) { s.stopped.Store(stop) }

// Figures are the switch's live numbers.
type Figures struct {
	InFlight         int64 // requests inside Authorize
	Waiting          int64 // of those, at the gate
	ReversalsOwed    int64
	ReversalsSending int64 // of those owed
	ReversalsParked  int64 // of those owed
	Undelivered      int64 // approvals whose terminal may still ask again
	Late             int64 // issuers' answers that came too late
	Backwards        int64 // new requests whose trace number is behind their batch's last
}

// Figures reads the live numbers.
func (s *Switch) Figures() Figures {
	owed, sending, parked, undelivered := s.reversals.figures()
	return Figures{s.inFlight.Load(), s.gate.queued.Load(), owed, sending, parked, undelivered, s.late.Load(), s.backwards.Load()}
}
