package acquirer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	acquirer "github.com/acqswitch/acqswitch/switch"
	"github.com/acqswitch/acqswitch/switch/txn"
)

type (
	flagged = atomic.Bool
	counter = atomic.Int64
)

var _ acquirer.Forwarder = (*process)(nil)

// legID is what the issuer knows a request by.
type legID struct {
	stan uint32
	at   [10]byte
}

func idOf(l txn.Leg) legID { return legID{l.STAN, l.Time} }

// fate is what the issuer's book says of one transaction.
type fate struct {
	kind            txn.Kind
	minor           int64
	taken           int64 // of minor, by reversals in part
	original        legID
	state           string // approved, declined, reversed or barred: its reversal came first
	ended           bool
	added, refunded int64
	terminal        txn.TerminalID
	reversals       int
}

// bookkeeper is the issuer. It knows nothing of the switch but its messages.
type bookkeeper struct {
	w     *world
	mu    sync.Mutex
	known map[legID]*fate
}

// request books a request or advice, once however often it comes.
func (b *bookkeeper) request(id, original legID, kind txn.Kind, minor int64, terminal txn.TerminalID) (code string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if f := b.known[id]; f != nil {
		switch {
		case f.state == "barred":
			return "94"
		case f.kind != kind || f.minor != minor || f.original != original || f.terminal != terminal:
			b.w.t.Errorf("the issuer gets a %s of %d under the number of a %s of %d (STAN %d)", kind, minor, f.kind, f.minor, id.stan)
			return "94"
		case f.state == "declined":
			return "51"
		}
		return "00"
	}
	f := &fate{kind: kind, minor: minor, original: original, state: "declined", terminal: terminal}
	b.known[id] = f
	if !kind.MovesMoney() {
		f.state = "noted"
		return "00"
	}
	if b.w.some(b.w.roll("account", terminal, id.stan), 60, "declined") || !b.possible(f) {
		return "51"
	}
	f.state = "approved"
	b.effect(f, 1)
	return "00"
}

// possible says that f may be done about its original.
func (b *bookkeeper) possible(f *fate) bool {
	if !f.kind.NamesOriginal() {
		return true
	}
	o := b.known[f.original]
	if o == nil || o.state != "approved" || o.ended {
		return false
	}
	switch whole := o.minor - o.taken; f.kind {
	case txn.KindVoid, txn.KindInstalmentVoid, txn.KindCompletionVoid:
		return o.refunded == 0 && f.minor == whole
	case txn.KindPreauthVoid:
		return f.minor == whole+o.added
	case txn.KindRefund:
		return f.minor <= whole+o.added-o.refunded
	case txn.KindAdjustment, txn.KindTip:
		return o.refunded == 0
	}
	return true
}

func (b *bookkeeper) effect(f *fate, sign int64) {
	o := b.known[f.original]
	if o == nil {
		return
	}
	switch f.kind {
	case txn.KindRefund:
		o.refunded += sign * f.minor
	case txn.KindIncrement, txn.KindAdjustment, txn.KindTip:
		o.added += sign * f.minor
	default:
		o.ended = sign > 0
	}
}

// reversal undoes a request, or all of it but stays, or bars one that never came.
// What a later transaction stands on is not undone.
func (b *bookkeeper) reversal(id legID, minor, stays int64) (code string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.known[id]
	switch {
	case f == nil:
		b.known[id] = &fate{state: "barred", minor: minor}
		return "25"
	case f.state == "barred":
		return "25"
	case f.minor != minor:
		b.w.t.Errorf("the issuer is to undo %d of %d (STAN %d)", minor, f.minor, id.stan)
		return "64"
	case stays != 0 && f.state != "approved":
		return "12" // said long ago, and said again: nothing is left
	case stays != 0 && stays == f.minor-f.taken:
	case stays > f.minor-f.taken:
		return "64" // likewise
	case f.state == "approved" && (f.ended || f.added != 0 || f.refunded != 0):
		return "12"
	case f.state == "approved" && stays != 0:
		f.taken = f.minor - stays
	case f.state == "approved":
		f.state = "reversed"
		b.effect(f, -1)
	}
	f.reversals++
	return "00"
}

// Resume is part of the switch's recovery.
func (p *process) Resume(leg txn.Leg) { p.stan = leg.STAN }

// Busy is never: Begin says so.
func (p *process) Busy(*txn.Request) bool { return false }

// Begin numbers a leg, or refuses.
func (p *process) Begin(req *txn.Request) (txn.Leg, txn.Reason) {
	rng := p.w.roll("begin", req.Key, req.Received.Unix())
	switch {
	case p.w.some(rng, 10, "issuer busy"):
		return txn.Leg{}, txn.IssuerIsBusy
	case p.w.some(rng, 10, "issuer away") && !req.Kind.Told():
		return txn.Leg{}, txn.IssuerIsUnavailable
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stan = p.stan%txn.STANMax + 1
	leg := txn.Leg{Issuer: txn.MakeIssuerID("bank"), STAN: p.stan}
	copy(leg.Time[:], time.Now().In(simZone).Format("0102150405"))
	return leg, txn.Approved
}

// Number is never asked: nobody stands in for this issuer.
func (p *process) Number(*txn.Request) (txn.Leg, bool) { return txn.Leg{}, false }

// Cancel gives nothing back, for nothing is held.
func (p *process) Cancel(*txn.Leg) {}

// pause is false when the process died meanwhile.
func (p *process) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.dead:
		return false
	}
}

// Exchange is the network to the issuer and back, with its faults.
func (p *process) Exchange(req *txn.Request, leg *txn.Leg, rrn [12]byte, intent journal.Position, gone func(), reply *txn.Reply) (txn.Outcome, txn.Reason) {
	w := p.w
	err := p.j.Wait(context.Background(), intent-1)
	gone()
	if err != nil { // the disk failed: nothing leaves
		return txn.OutcomeNotSent, txn.IssuerIsUnavailable
	}
	w.intended(p, req, leg, rrn)
	rng := w.roll("exchange", req.Key)
	id, kind, minor, terminal, named := idOf(*leg), req.Kind, req.Amount.Minor, req.Key.Terminal, req.OriginalLeg
	book := func() string { return w.issuer.request(id, idOf(named), kind, minor, terminal) }
	there := time.Duration(5+rng.IntN(300)) * time.Millisecond
	if w.some(rng, 50, "issuer slow") {
		there = time.Duration(1+rng.IntN(15)) * time.Second
	}
	back := time.Duration(5+rng.IntN(100)) * time.Millisecond
	limit := min(issuerTimeout, time.Until(req.Deadline))
	timeout := time.Now().Add(limit)
	lateBy := time.Duration(rng.IntN(90)) * time.Second
	unanswered := func() (txn.Outcome, txn.Reason) {
		p.pause(time.Until(timeout))
		return txn.OutcomeUnknown, txn.IssuerDidNotAnswer
	}
	switch {
	case w.some(rng, 15, "not sent"):
		return txn.OutcomeNotSent, txn.IssuerIsUnavailable
	case w.some(rng, 30, "request to issuer lost"):
		return unanswered()
	case w.some(rng, 30, "request to issuer late"):
		l := *leg
		go func() { // it arrives when the process may be gone
			time.Sleep(limit + lateBy)
			p.late(l, book(), back)
		}()
		return unanswered()
	case w.some(rng, 4, "panic"):
		if p.pause(there) {
			book()
		}
		panic("planted by the simulation")
	case w.some(rng, 10, "issuer cannot now"):
		if !p.pause(there) {
			return txn.OutcomeUnknown, txn.IssuerDidNotAnswer
		}
		if reply.Code = [2]byte{'9', '1'}; kind.Remedy() == txn.Repeat {
			return txn.OutcomeUnknown, txn.IssuerDidNotAnswer
		}
		return txn.OutcomeDeclined, txn.IssuerDeclined
	}
	if there > limit {
		return unanswered() // too slow for us: it never gets there
	}
	if !p.pause(there) {
		// Killed after the bytes left.
		if rng.IntN(2) == 0 {
			book()
		}
		return txn.OutcomeUnknown, txn.IssuerDidNotAnswer
	}
	code := book()
	if w.some(rng, 20, "request to issuer twice") {
		if again := book(); again != code {
			w.t.Errorf("the issuer answers %s, then %s", code, again)
		}
	}
	switch {
	case w.some(rng, 40, "answer of issuer lost"):
		return unanswered()
	case w.some(rng, 40, "answer of issuer late"):
		l := *leg
		go func() { time.Sleep(time.Until(timeout) + lateBy); p.late(l, code, 0) }()
		return unanswered()
	case w.some(rng, 8, "answer of issuer nonsense"):
		return txn.OutcomeUnknown, txn.IssuerAnsweredNonsense
	}
	if time.Now().Add(back).After(timeout) {
		return unanswered()
	}
	if !p.pause(back) {
		return txn.OutcomeUnknown, txn.IssuerDidNotAnswer
	}
	copy(reply.Code[:], code)
	if code != "00" {
		return txn.OutcomeDeclined, txn.IssuerDeclined
	}
	copy(reply.AuthCode[:], fmt.Sprintf("%06d", leg.STAN))
	return txn.OutcomeApproved, txn.Approved
}

// late hands an answer over that nobody waits for.
func (p *process) late(leg txn.Leg, code string, after time.Duration) {
	if !p.pause(after) {
		return
	}
	reply := txn.Reply{}
	copy(reply.Code[:], code)
	p.s.Late(leg, &reply)
}

// intended fails the test if what reaches the issuer has no durable intent.
func (w *world) intended(p *process, req *txn.Request, leg *txn.Leg, rrn [12]byte) {
	if !p.recorded(func(rec *txn.Record) bool {
		return rec.Kind == txn.RecordIntent && rec.ID == req.ID && rec.Leg == *leg && rec.RRN == rrn
	}) {
		w.t.Errorf("a %s reaches the issuer without a durable intent", req.Kind)
	}
}

// recorded says whether a record is among the last ones that are durable.
func (p *process) recorded(fits func(*txn.Record) bool) (found bool) {
	last := p.j.Last()
	var rec txn.Record
	err := p.j.Scan(max(p.j.First(), last-min(last, 64)), func(_ journal.Position, b []byte) error {
		if rec.Unmarshal(b) == nil {
			found = found || fits(&rec)
		}
		return nil
	})
	return found || err != nil // who dies meanwhile cannot be read, and says nothing
}

// tell is a reversal or advice on its way to the issuer and back.
func (p *process) tell(ctx context.Context, rec *txn.Record, attempt int, book func() string) (string, error) {
	w := p.w
	subject, _ := rec.Subject()
	rng := w.roll("tell", subject, rec.Leg.STAN, attempt)
	lost, gone := w.some(rng, 150, "reversal or advice lost"), w.some(rng, 150, "its answer lost")
	delay := time.Duration(5+rng.IntN(300)) * time.Millisecond
	if w.some(rng, 100, "reversal or advice late") {
		go func() { time.Sleep(issuerTimeout + delay*100); book() }()
		lost = true
	}
	wait := func(d time.Duration) bool {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return true
		case <-ctx.Done():
		case <-p.dead:
		}
		return false
	}
	if lost {
		wait(issuerTimeout)
		return "", errors.New("no answer")
	}
	if !wait(delay) {
		return "", errors.New("no answer")
	}
	if w.some(rng, 60, "issuer has a malfunction") {
		return "96", nil
	}
	code := book()
	if gone {
		wait(issuerTimeout)
		return "", errors.New("no answer")
	}
	return code, nil
}

// Advise tells the issuer of an advice.
func (p *process) Advise(ctx context.Context, rec *txn.Record, pan []byte, attempt int) (bool, [2]byte, error) {
	// The original is named as the record says: MTI, STAN, time.
	var named legID
	if len(rec.Data) >= 20 {
		stan, err := strconv.Atoi(string(rec.Data[4:10]))
		if err != nil {
			p.w.t.Errorf("an advice names its original %q", rec.Data)
		}
		named = legID{uint32(stan), [10]byte(rec.Data[10:20])}
	}
	code, err := p.tell(ctx, rec, attempt, func() string {
		return p.w.issuer.request(idOf(rec.Leg), named, rec.Request, rec.Amount.Minor, rec.Key.Terminal)
	})
	var c [2]byte
	copy(c[:], code)
	return code != "" && code != "96", c, err
}

// Reverse tells the issuer of a reversal.
func (p *process) Reverse(ctx context.Context, rec *txn.Record, pan []byte, attempt int) (bool, [2]byte, error) {
	code, err := p.tell(ctx, rec, attempt, func() string { return p.w.issuer.reversal(idOf(rec.Leg), rec.Amount.Minor, rec.Stays) })
	var c [2]byte
	copy(c[:], code)
	return code == "00" || code == "25", c, err
}

// shelf is the ledger behind the drain: it keeps every record in memory, also
// over restarts, and fails at times. It is the switch's archive too.
type shelf struct {
	w    *world
	mu   sync.Mutex
	recs []txn.Record // by position - 1
	fed  int
}

var (
	errAway                  = errors.New("the ledger is away")
	_       acquirer.Archive = (*archive)(nil)
)

// archive is the shelf as the switch of a process asks it.
type archive struct {
	*shelf
	p *process
}

// CatchUp is part of acquirer.Archive.
func (a *archive) CatchUp(ctx context.Context) error { return a.p.d.CatchUp(ctx) }

func (s *shelf) floor() journal.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return journal.Position(len(s.recs) + 1)
}

// Position is part of settlement.Store.
func (s *shelf) Position(context.Context) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(len(s.recs)), nil
}

// Store is part of settlement.Store.
func (s *shelf) Store(_ context.Context, entries []ledger.Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	rng := s.w.roll("store", entries[0].Pos)
	if s.w.some(rng, 20, "ledger away") && s.w.luck(2) == 0 {
		return errAway
	}
	for _, e := range entries {
		switch at := uint64(len(s.recs)) + 1; {
		case e.Pos < at:
			continue
		case e.Pos > at:
			return ledger.ErrGap
		}
		rec := *e.Rec
		rec.Serial, rec.Data = slices.Clone(rec.Serial), slices.Clone(rec.Data)
		s.recs = append(s.recs, rec)
	}
	return nil
}

// feed stores what came since the last time into a real ledger.
func (s *shelf) feed(ctx context.Context, l *ledger.Ledger) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var entries []ledger.Entry
	for ; s.fed < len(s.recs); s.fed++ {
		entries = append(entries, ledger.Entry{Pos: uint64(s.fed + 1), Rec: &s.recs[s.fed]})
	}
	return l.Store(ctx, entries)
}

func (s *shelf) pick(fits func(*txn.Record) bool) (found []txn.Record, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.recs {
		if s.recs[i].Kind != txn.RecordIntent && fits(&s.recs[i]) {
			found = append(found, s.recs[i])
		}
	}
	return found, nil
}

// ByKey is part of acquirer.Archive.
func (s *shelf) ByKey(_ context.Context, m txn.MerchantID, day txn.Date, key txn.Key) ([]txn.Record, error) {
	return s.pick(func(r *txn.Record) bool {
		other := key
		other.Class = txn.ClassAdvice
		return r.Kind == txn.RecordOutcome && r.Merchant == m && r.Day == day && (r.Key == key || r.Key == other)
	})
}

// Decided is part of acquirer.Archive.
func (s *shelf) Decided(_ context.Context, m txn.MerchantID, days []txn.Date, key txn.Key) ([]txn.Record, error) {
	found, err := s.pick(func(r *txn.Record) bool {
		return r.Kind == txn.RecordOutcome && r.Merchant == m && slices.Contains(days, r.Day) && r.Key == key
	})
	slices.Reverse(found)
	return found, err
}

// ByRRN is part of acquirer.Archive.
func (s *shelf) ByRRN(_ context.Context, m txn.MerchantID, day txn.Date, rrn [12]byte) ([]txn.Record, error) {
	return s.pick(func(r *txn.Record) bool {
		return r.Kind == txn.RecordOutcome && r.Merchant == m && r.Day == day && r.RRN == rrn
	})
}

// Preauths is part of acquirer.Archive.
func (s *shelf) Preauths(_ context.Context, m txn.MerchantID, card txn.CardToken, auth [6]byte, since txn.Date) ([]txn.Record, error) {
	found, err := s.pick(func(r *txn.Record) bool {
		return r.Kind == txn.RecordOutcome && r.Request == txn.KindPreauth && r.Merchant == m && r.Card == card && r.AuthCode == auth && r.Day >= since
	})
	slices.Reverse(found)
	return found, err
}

// Deeds is part of acquirer.Archive.
func (s *shelf) Deeds(_ context.Context, m txn.MerchantID, id txn.ID) ([]txn.Record, error) {
	deeds := map[txn.ID]bool{id: true}
	s.pick(func(r *txn.Record) bool { // a deed comes after what it is about
		if r.Kind == txn.RecordOutcome && r.Original != 0 && deeds[r.Original] {
			deeds[r.ID] = true
		}
		return false
	})
	return s.pick(func(r *txn.Record) bool { return r.Merchant == m && r.Original != 0 && deeds[r.Original] })
}
