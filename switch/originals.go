package acquirer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/acqswitch/acqswitch/switch/original"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// originals remembers what was done about earlier transactions during this
// business day and the one before, and lets one request at a time do something
// about each. It holds nothing of a transaction that nothing was done about.
type originals struct {
	gate    *gate      // whoever waits here leaves its place there
	mu      sync.Mutex // held for memory operations only, never across I/O
	affairs map[txn.ID]*affair
	owner   map[txn.ID]txn.ID // from a deed to the transaction it was done about
	// preauths finds a pre-authorization by card and authorization code.
	preauths map[preauthName]preauthKey
	day      txn.Date // the latest seen
}

// preauthName is how a request names a pre-authorization whose number it does not know.
type preauthName struct {
	merchant txn.MerchantID
	card     txn.CardToken
	auth     [6]byte
}

type preauthKey struct {
	key txn.Key
	day txn.Date
}

// affair is what was done about one transaction.
type affair struct {
	deeds []original.Deed
	day   txn.Date      // of the latest deed
	whole bool          // the archive's deeds are among them
	busy  chan struct{} // closed when whoever is doing something is done; nil: nobody is
}

func newOriginals(g *gate) *originals {
	return &originals{gate: g, affairs: map[txn.ID]*affair{}, owner: map[txn.ID]txn.ID{}, preauths: map[preauthName]preauthKey{}}
}

// acquire waits for its turn to do something about id, and keeps everybody else from
// it until release. It is false when its turn does not come before deadline.
func (o *originals) acquire(id txn.ID, deadline time.Time) bool {
	for {
		o.mu.Lock()
		a := o.affairs[id]
		if a == nil {
			a = &affair{}
			o.affairs[id] = a
		}
		if a.busy == nil {
			a.busy = make(chan struct{})
			o.mu.Unlock()
			return true
		}
		busy := a.busy
		o.mu.Unlock()
		if !o.gate.wait(busy, deadline) {
			return false
		}
	}
}

// seize is acquire without waiting: false when somebody is doing something about id,
// or something was done about it.
func (o *originals) seize(id txn.ID) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	a := o.affairs[id]
	if a != nil && (a.busy != nil || original.Used(a.deeds)) {
		return false
	}
	if a == nil {
		a = &affair{}
		o.affairs[id] = a
	}
	a.busy = make(chan struct{})
	return true
}

func (o *originals) release(id txn.ID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	a := o.affairs[id]
	close(a.busy)
	a.busy = nil
	if len(a.deeds) == 0 {
		delete(o.affairs, id)
	}
}

// deeds returns what was done about id, and whether that includes what only the
// archive knew.
func (o *originals) deeds(id txn.ID) (deeds []original.Deed, whole bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a := o.affairs[id]; a != nil {
		return append(deeds, a.deeds...), a.whole
	}
	return nil, false
}

// add notes a deed about a transaction, and says whether it was unknown before. A
// known one keeps the state it has in memory, which is the latest.
func (o *originals) add(id txn.ID, d original.Deed, day txn.Date) (added bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.turn(day)
	a := o.affairs[id]
	if a == nil {
		a = &affair{}
		o.affairs[id] = a
	}
	a.day = max(a.day, day)
	if _, known := o.owner[d.ID]; known {
		return false
	}
	o.owner[d.ID] = id
	a.deeds = append(a.deeds, d)
	o.void(id, &d)
	return true
}

// complete notes that the archive's deeds about id have been added.
func (o *originals) complete(id txn.ID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a := o.affairs[id]; a != nil {
		a.whole = true
	}
}

// change puts a deed into another state; it does nothing for what is no deed.
func (o *originals) change(deed txn.ID, to original.State) {
	o.mu.Lock()
	defer o.mu.Unlock()
	id := o.owner[deed]
	if d := o.deed(id, deed); d != nil {
		d.State = to
		o.void(id, d)
	}
}

// reduced notes that the issuer acknowledged a reversal in part of id: the oldest
// that it had not acknowledged yet.
func (o *originals) reduced(id txn.ID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a := o.affairs[id]; a != nil {
		for i := range a.deeds {
			if d := &a.deeds[i]; d.Kind == txn.KindReversal && d.State == original.Uncertain {
				d.State = original.Standing
				return
			}
		}
	}
}

func (o *originals) deed(id, deed txn.ID) *original.Deed {
	if a := o.affairs[id]; a != nil {
		for i := range a.deeds {
			if a.deeds[i].ID == deed {
				return &a.deeds[i]
			}
		}
	}
	return nil
}

// void tells the pre-authorization that its completion was voided, or is not any
// more; d is a deed about the completion. mu is held.
func (o *originals) void(completion txn.ID, d *original.Deed) {
	if d.Kind != txn.KindCompletionVoid {
		return
	}
	if c := o.deed(o.owner[completion], completion); c != nil {
		c.Voided = d.State == original.Standing
	}
}

// undoing says that a deed about a transaction is being undone, or may have to be.
// Reversals in part do not count: their lane keeps them in order.
func (o *originals) undoing(id txn.ID) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a := o.affairs[id]; a != nil {
		for i := range a.deeds {
			if a.deeds[i].State == original.Uncertain && a.deeds[i].Kind != txn.KindReversal {
				return true
			}
		}
	}
	return false
}

// turn moves to a later day, and forgets transactions about which nothing was done on
// that day or the day before: the archive has those.
func (o *originals) turn(day txn.Date) {
	if day <= o.day {
		return
	}
	o.day = day
	for id, a := range o.affairs {
		if a.busy == nil && a.day < day.Before() {
			for _, d := range a.deeds {
				delete(o.owner, d.ID)
			}
			delete(o.affairs, id)
		}
	}
	for p, at := range o.preauths {
		if at.day < day.Before() {
			delete(o.preauths, p)
		}
	}
}

// learnPreauth notes a pre-authorization; of two with one code the later counts.
func (o *originals) learnPreauth(rec *txn.Record) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.turn(rec.Day)
	o.preauths[preauthName{rec.Merchant, rec.Card, rec.AuthCode}] = preauthKey{rec.Key, rec.Day}
}

// candidates are the keys that the original of req may have: those with the
// number it names or, where it names none, that of the pre-authorization with
// its card and code.
func (o *originals) candidates(req *txn.Request) (keys []txn.Key) {
	if req.Original.STAN != 0 {
		key := txn.Key{Acquirer: req.Key.Acquirer, Terminal: req.Key.Terminal, Batch: req.Original.Batch, STAN: req.Original.STAN, Class: txn.ClassFinancial}
		keys = append(keys, key)
		key.Class = txn.ClassAdvice
		return append(keys, key)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if p, ok := o.preauths[preauthName{req.Merchant, req.CardToken, req.Original.AuthCode}]; ok {
		keys = append(keys, p.key)
	}
	return keys
}

// deedOf is the deed that a decided request is, and false if nothing came of it.
func deedOf(rec *txn.Record) (original.Deed, bool) {
	d := original.Deed{ID: rec.ID, Kind: rec.Request, Minor: rec.Amount.Minor}
	switch {
	case rec.Original == 0 || !rec.Request.MovesMoney():
		return d, false
	case rec.Outcome == txn.OutcomeApproved:
		return d, true
	case rec.Outcome == txn.OutcomeUnknown && rec.Request.Told():
		d.State = original.Untold
		return d, true
	case rec.Outcome == txn.OutcomeUnknown:
		d.State = original.Uncertain
		return d, true
	}
	return d, false
}

// learn takes what a durable record says about deeds, and says whether it was
// unknown before.
func (o *originals) learn(rec *txn.Record) (news bool) {
	switch rec.Kind {
	case txn.RecordOutcome:
		if rec.Request == txn.KindPreauth && rec.Outcome == txn.OutcomeApproved {
			o.learnPreauth(rec)
		}
		if d, ok := deedOf(rec); ok {
			return o.add(rec.Original, d, rec.Day)
		}
	case txn.RecordReversalDue:
		if rec.Stays != 0 {
			return o.add(rec.Original, original.Deed{ID: rec.ID, Kind: txn.KindReversal, Minor: rec.Undoes(), State: original.Uncertain}, rec.Day)
		}
		o.change(rec.Original, original.Uncertain)
	case txn.RecordReversalDone:
		if rec.Stays != 0 {
			o.reduced(rec.Original)
			break
		}
		o.change(rec.Original, original.Undone)
	case txn.RecordAdviceDone:
		to := original.Standing
		if rec.Reason != txn.Approved && !rec.Request.Told() {
			to = original.Undone
		}
		o.change(rec.Original, to)
	}
	return false
}

// concern finds the transaction that req is about, keeps others from it until
// yield, and says whether req may be done.
func (s *Switch) concern(req *txn.Request, w *work) txn.Reason {
	ctx, cancel := context.WithDeadline(context.Background(), req.Deadline)
	defer cancel()
	rec, stands, reason := s.find(ctx, req)
	if reason != txn.Approved {
		return reason
	}
	if !s.acquire(rec.ID, req, w) {
		return txn.OriginalIsBusy
	}
	if sl, _, ok := s.slots.look(&rec.Key); ok && sl.id == rec.ID { // it may have been reversed while we waited
		stands = standing(sl, &rec)
	}
	deeds, whole := s.originals.deeds(rec.ID)
	if !whole && rec.Day < req.Day.Before() {
		undone, err := s.recall(ctx, &rec)
		if err != nil {
			s.log.Error("what was done about a transaction cannot be read", "id", rec.ID, "error", err)
			return txn.RecordsAreUnavailable
		}
		stands = stands && !undone
		deeds, _ = s.originals.deeds(rec.ID)
	}
	t := original.Transaction{ID: rec.ID, Kind: rec.Request.Asked(), Key: rec.Key, Merchant: rec.Merchant, Card: rec.Card,
		Amount: rec.Amount, Day: rec.Day, AuthCode: rec.AuthCode, Stands: stands}
	if reason := s.cfg.Originals.Permit(&t, deeds, req); reason != txn.Approved {
		return reason
	}
	if s.reversals.owes(rec.ID) { // it was told, and its issuer does not know it yet
		return txn.OriginalIsBusy
	}
	if req.PAN.IsZero() { // the card is the original's, which has one: it was approved
		pan, err := s.cards.Open(&rec.SealedPAN, rec.ID)
		if err != nil {
			s.log.Error("an original's card number cannot be opened", "id", rec.ID, "error", err)
			return txn.SwitchFailed
		}
		req.PAN, req.CardToken, req.CardType = pan, rec.Card, rec.CardType
	}
	req.OriginalLeg, req.OriginalMTI, req.OriginalAmount = rec.Leg, rec.MTI, rec.Amount
	w.original, w.originalKey = rec.ID, rec.Key
	w.gives = req.Kind.Limits() == txn.Credit && rec.Held == txn.Debit && rec.Day == req.Day && rec.Key.Terminal == req.Key.Terminal
	w.given = rec.Hold()
	return txn.Approved
}

// acquire keeps everybody else from doing something about id until yield. It is
// false when req has no time left to wait for its turn.
func (s *Switch) acquire(id txn.ID, req *txn.Request, w *work) bool {
	if !s.originals.acquire(id, req.Deadline) {
		return false
	}
	w.acquired = id
	return true
}

// yield ends what acquire began.
func (s *Switch) yield(w *work) {
	if w.acquired != 0 {
		s.originals.release(w.acquired)
		w.acquired = 0
	}
}

// find is the transaction that req names, and whether it stood when it was
// looked at. A pre-authorization is known by card and code where none of that code has
// the number that req names (cup-pos C3): it may be another terminal's.
func (s *Switch) find(ctx context.Context, req *txn.Request) (rec txn.Record, stands bool, reason txn.Reason) {
	rec, stands, reason = s.findNamed(ctx, req)
	ref := req.Original
	switch {
	case ref.STAN == 0 || ref.AuthCode == [6]byte{} || !original.About(req.Kind, txn.KindPreauth):
		return rec, stands, reason
	case reason == txn.Approved && rec.Request == txn.KindPreauth && rec.AuthCode == ref.AuthCode:
		return rec, stands, reason
	case reason != txn.Approved && reason != txn.OriginalIsUnknown:
		return rec, stands, reason
	}
	req.Original.Batch, req.Original.STAN = 0, 0
	defer func() { req.Original = ref }()
	if coded, standing, found := s.findNamed(ctx, req); found != txn.OriginalIsUnknown {
		return coded, standing, found
	}
	return rec, stands, reason
}

// findNamed is find by the number or, where there is none, the code that req names.
func (s *Switch) findNamed(ctx context.Context, req *txn.Request) (rec txn.Record, stands bool, reason txn.Reason) {
	for _, key := range s.originals.candidates(req) {
		rec, stands, reason = s.recent(req, key)
		if reason != txn.OriginalIsUnknown {
			return rec, stands, reason
		}
	}
	if s.archive == nil {
		return rec, false, txn.OriginalIsUnknown
	}
	found, err := s.search(ctx, req)
	if s.unread(req, err) {
		return rec, false, txn.RecordsAreUnavailable
	}
	for i := range found {
		r := &found[i]
		if r.Taken() && r.Merchant == req.Merchant && r.Request.MovesMoney() && names(req, r) {
			return *r, true, txn.Approved
		}
	}
	return rec, false, txn.OriginalIsUnknown
}

// recent looks for the original among the requests of this business day and the
// one before.
func (s *Switch) recent(req *txn.Request, key txn.Key) (rec txn.Record, stands bool, reason txn.Reason) {
	rec, sl, reason := s.decided(key)
	switch {
	case reason != txn.Approved:
		return rec, false, reason
	case !names(req, &rec):
		return rec, false, txn.OriginalIsUnknown
	}
	return rec, standing(sl, &rec), txn.Approved
}

// decided is what a request of this business day or the one before came to.
func (s *Switch) decided(key txn.Key) (rec txn.Record, sl slot, reason txn.Reason) {
	sl, flight, known := s.slots.look(&key)
	switch {
	case !known || sl.state == slotTombstoned:
		return rec, sl, txn.OriginalIsUnknown
	case flight != nil:
		return rec, sl, txn.OriginalIsBusy
	case sl.position == 0:
		return rec, sl, txn.OriginalIsUnknown
	}
	b, err := s.journal.Read(sl.position, nil)
	if err == nil {
		err = rec.Unmarshal(b)
	}
	if err != nil {
		s.log.Error("an original cannot be read", "position", sl.position, "error", err)
		return rec, sl, txn.RecordsAreUnavailable
	}
	return rec, sl, txn.Approved
}

// standing says that what rec decided is approved and not undone, as far as its
// slot knows: what is told by repeating is never undone.
func standing(sl slot, rec *txn.Record) bool {
	return sl.state == slotApproved || rec.Request.Remedy() == txn.Repeat && !rec.Request.Reversible() && rec.Reason == txn.Approved
}

// names says that r is what req names as its original, as far as req says: by
// reference number, date, batch and trace number. The date may be a day off: a DE7 in
// DE90 is often UTC, and a sale after the cut-over belongs to the next business day.
func names(req *txn.Request, r *txn.Record) bool {
	ref := &req.Original
	return (ref.RRN == [12]byte{} || ref.RRN == r.RRN) &&
		(ref.Date == [4]byte{} || near(ref.Date, r.Day)) &&
		(ref.STAN == 0 || ref.STAN == r.Key.STAN && ref.Batch == r.Key.Batch)
}

// search asks the archive.
func (s *Switch) search(ctx context.Context, req *txn.Request) ([]txn.Record, error) {
	s.gate.leave()
	defer s.gate.enter()
	ref := &req.Original
	if ref.RRN != [12]byte{} {
		day, ok := dayOf(ref.RRN, req.Day)
		if !ok { // no number of ours
			return nil, nil
		}
		found, err := s.archive.ByRRN(ctx, req.Merchant, day, ref.RRN)
		if err != nil || len(found) > 0 || day < req.Day.Before() {
			return found, err
		}
		if err := s.archive.CatchUp(ctx); err != nil { // it may be of a moment ago
			return nil, err
		}
		return s.archive.ByRRN(ctx, req.Merchant, day, ref.RRN)
	}
	if ref.STAN == 0 {
		since := req.Day
		for range s.cfg.Originals.PreauthDays + 1 {
			since = since.Before()
		}
		return s.archive.Preauths(ctx, req.Merchant, req.CardToken, ref.AuthCode, since)
	}
	days := []txn.Date{req.Day, req.Day.Before()}
	if day, ok := dateOf(ref.Date, req.Day); ok {
		days = []txn.Date{day, day.After()} // sold after the cut-over, it is of the next business day
	}
	for _, day := range days {
		key := txn.Key{Acquirer: req.Key.Acquirer, Terminal: req.Key.Terminal, Batch: ref.Batch, STAN: ref.STAN, Class: txn.ClassFinancial}
		found, err := s.archive.ByKey(ctx, req.Merchant, day, key)
		if err != nil || len(found) > 0 {
			return found, err
		}
	}
	return nil, nil
}

// near says that MMDD is day, or the one before or after it.
func near(mmdd [4]byte, day txn.Date) bool {
	return mmdd == settlementDate(day) || mmdd == settlementDate(day.Before()) || mmdd == settlementDate(day.After())
}

// dateOf is the latest day not after tomorrow that MMDD can mean.
func dateOf(mmdd [4]byte, today txn.Date) (txn.Date, bool) {
	if mmdd == [4]byte{} {
		return 0, false
	}
	n := txn.Date(0)
	for _, c := range mmdd {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + txn.Date(c-'0')
	}
	day := today/10000*10000 + n
	if day > today.After() {
		day -= 10000
	}
	return day, true
}

// recall adds the archive's deeds about rec to those in memory, and says
// whether rec itself was undone. It is called with rec acquired.
func (s *Switch) recall(ctx context.Context, rec *txn.Record) (undone bool, err error) {
	if s.archive == nil {
		return false, nil
	}
	s.gate.leave()
	defer s.gate.enter()
	found, err := s.archive.Deeds(ctx, rec.Merchant, rec.ID)
	if err != nil {
		return false, fmt.Errorf("read deeds of %s: %w", rec.ID, err)
	}
	news := map[txn.ID]bool{}
	for i := range found {
		if r := &found[i]; r.Kind == txn.RecordOutcome {
			news[r.ID] = s.originals.learn(r)
		}
	}
	parts := 0 // reversals in part that memory did not know
	for i := range found {
		switch r := &found[i]; {
		case r.Kind == txn.RecordOutcome:
		case r.Original == rec.ID && r.Stays != 0:
			if r.Kind == txn.RecordReversalDue && s.originals.learn(r) {
				parts++
			} else if r.Kind == txn.RecordReversalDone && parts > 0 {
				s.originals.learn(r)
			}
		case r.Original == rec.ID:
			undone = undone || r.Kind == txn.RecordReversalDue || r.Kind == txn.RecordReversalDone ||
				r.Kind == txn.RecordAdviceDone && r.Reason != txn.Approved && rec.Request == txn.KindStandIn
		case news[r.Original]:
			s.originals.learn(r)
		}
	}
	s.originals.complete(rec.ID)
	return undone, nil
}
