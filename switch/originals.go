package acquirer

import (
	"slices"
	"sync"
	"time"

	"github.com/acqswitch/acqswitch/switch/original"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// originals remembers what was done about earlier transactions during this
// business day and the one before, and what an issuer must still hear of, and lets one
// request at a time do something about each. It holds nothing of a transaction that
// nothing was done about.
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

// affair is that of a transaction, made if there is none yet. mu is held.
func (o *originals) affair(id txn.ID) *affair {
	a := o.affairs[id]
	if a == nil {
		a = &affair{}
		o.affairs[id] = a
	}
	return a
}

// acquire waits for its turn to do something about id, and keeps everybody else from
// it until release. It is false when its turn does not come before deadline.
func (o *originals) acquire(id txn.ID, deadline time.Time) bool {
	for {
		o.mu.Lock()
		a := o.affair(id)
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
	if a := o.affairs[id]; a != nil && (a.busy != nil || original.Used(a.deeds)) {
		return false
	}
	o.affair(id).busy = make(chan struct{})
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
	a := o.affair(id)
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
	a := o.affairs[id]
	return a != nil && slices.ContainsFunc(a.deeds, func(d original.Deed) bool {
		return d.State == original.Uncertain && d.Kind != txn.KindReversal
	})
}

// turn moves to a later day, and forgets transactions about which nothing was done on
// that day or the day before: the archive has those. One of which an issuer must still
// hear stays, since what is owed about the original waits for that (see undoing).
func (o *originals) turn(day txn.Date) {
	if day <= o.day {
		return
	}
	o.day = day
	for id, a := range o.affairs {
		if a.busy == nil && a.day < day.Before() && !original.Pending(a.deeds) {
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
