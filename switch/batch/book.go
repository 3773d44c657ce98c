// Package batch keeps what terminals settle: for each terminal and batch the
// running totals, the transactions in them, and how far its settlement is.
//
// Promises: a Book is made of journal records alone. Apply of the same records
// in the same order gives the same Book, live or at recovery, so a crash
// forgets nothing that was durable. What a settlement is told (Settle, Upload,
// End) changes nothing until its record is applied. Everything is safe for
// concurrent use, without I/O.
//
// What a caller must do: hold Order while it makes a record durable and applies
// it, shared for a transaction's record, alone from drafting a settlement's fact
// to applying it. Journal and Book then agree on what came first, and the totals
// of a settlement are exactly those of the records before it.
//
// Not here: identifying a repeated request (package acquirer), writing answers
// (package dialect), reports (package ledger).
package batch

import (
	"sync"

	"github.com/acqswitch/acqswitch/switch/txn"
)

const shardCount = 64

// Book is all batches that are open, or were closed on this business day or the
// one before. A batch is about 120 bytes and a transaction in it 24, without
// pointers.
type Book struct {
	order  [shardCount]sync.RWMutex
	shards [shardCount]shard
}

type shard struct {
	mu      sync.Mutex // held for memory operations only, never across I/O
	today   txn.Date
	current map[txn.TerminalID]uint32 // the batch that each terminal is in: opened last, never 0
	batches map[name]entry
	items   arena
}

type name struct {
	terminal txn.TerminalID
	number   uint32
}

// entry is one batch.
type entry struct {
	totals   txn.Totals
	first    uint64   // journal position of its first record, 0 when it has none
	settled  uint64   // of the record with which its terminal last ended a batch without number
	opened   txn.Date // business day of that record
	touched  txn.Date // of the last one
	head     int32    // its items, newest first
	uploaded uint32   // different items that were uploaded
	tips     uint32   // of the debits, those that add to another
	currency txn.Currency
	merchant txn.MerchantID
	state    txn.BatchState
	mixed    bool // transactions of several currencies: no total says anything
	uneven   bool // the last comparison
}

// NewBook is an empty Book.
func NewBook() *Book {
	b := &Book{}
	for i := range b.shards {
		sh := &b.shards[i]
		sh.current, sh.batches, sh.items.free = map[txn.TerminalID]uint32{}, map[name]entry{}, none
	}
	return b
}

func (b *Book) at(t *txn.TerminalID) uint64 { return t.Spread() % shardCount }

// Order is what keeps journal and Book of one terminal in step; see the package.
func (b *Book) Order(t *txn.TerminalID) *sync.RWMutex { return &b.order[b.at(t)] }

// open locks the terminal's shard and brings it to day.
func (b *Book) open(t *txn.TerminalID, day txn.Date) *shard {
	sh := &b.shards[b.at(t)]
	sh.mu.Lock()
	sh.turn(day)
	return sh
}

// turn forgets, on a new day, what was closed before the day before.
func (sh *shard) turn(day txn.Date) {
	if day <= sh.today {
		return
	}
	sh.today = day
	for n, e := range sh.batches {
		if e.state == txn.BatchClosed && e.touched < day.Before() {
			sh.items.drop(e.head)
			delete(sh.batches, n)
			if sh.current[n.terminal] == n.number {
				delete(sh.current, n.terminal)
			}
		}
	}
}

// Admit says whether req may be a transaction of the batch it names: Approved,
// or BatchIsNotCurrent; and the trace number of the batch's last transaction where
// req's is behind that, else 0. A terminal is in one batch at a time; with its first
// request of a later one, after the last was closed, it opens that. Earlier numbers
// are of messages that come again; a terminal that begins anew with them signs on.
// What a terminal tells of afterwards is admitted to any batch, what a card did with a
// script among it, and batch 0, of dialects that have no number, is always current.
func (b *Book) Admit(req *txn.Request) (reason txn.Reason, ahead uint32) {
	if req.Key.Batch == 0 || req.Kind.Told() || req.Kind == txn.KindScriptResult {
		return txn.Approved, 0
	}
	sh := b.open(&req.Key.Terminal, req.Day)
	defer sh.mu.Unlock()
	n := name{req.Key.Terminal, req.Key.Batch}
	e, ok := sh.find(n)
	if !ok || e.state != txn.BatchOpen || sh.current[n.terminal] != n.number {
		return txn.BatchIsNotCurrent, 0
	}
	for i := e.head; i != none; i = sh.items.get(i).next {
		if it := sh.items.get(i); it.stan&flagForeign == 0 {
			if last := it.number(); behind(req.Key.STAN, last) {
				ahead = last
			}
			break
		}
	}
	return txn.Approved, ahead
}

// behind says that trace or batch number a was given out before b: they wrap.
func behind(a, b uint32) bool { return (b+numberMax-a)%numberMax-1 < numberMax/2 }

// Recent says that everything in req's batch is of this business day or the day
// before. It is false for an unknown batch, which may be one that was forgotten.
func (b *Book) Recent(req *txn.Request) bool {
	sh := b.open(&req.Key.Terminal, req.Day)
	defer sh.mu.Unlock()
	e := sh.batches[name{req.Key.Terminal, req.Key.Batch}]
	return e.first != 0 && e.opened >= req.Day.Before()
}

// Settled says that a transaction whose outcome stands at a journal position is in a
// batch without number that its terminal has settled since. It says nothing of batches
// that have one.
func (b *Book) Settled(k *txn.Key, position uint64) bool {
	if k.Batch != 0 {
		return false
	}
	sh := &b.shards[b.at(&k.Terminal)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return position < sh.batches[name{k.Terminal, 0}].settled
}

// find is the batch, and whether there is one. If the terminal is in no open batch, this
// one is opened and becomes the terminal's, unless it is new and its number is behind
// that of the terminal's last one.
func (sh *shard) find(n name) (entry, bool) {
	e, known := sh.batches[n]
	if known && (sh.current[n.terminal] == n.number || e.state == txn.BatchClosed) {
		return e, true
	}
	number := sh.current[n.terminal]
	if last, ok := sh.batches[name{n.terminal, number}]; ok && number != 0 && (last.state != txn.BatchClosed || !known && behind(n.number, number)) {
		return e, known
	}
	if !known {
		e = entry{head: none, touched: sh.today}
		sh.batches[n] = e
	}
	if n.number != 0 { // a batch without number is nobody's current one
		sh.current[n.terminal] = n.number
	}
	return e, true
}

// SignOn moves a terminal to the batch it signs on with, and says which batch it
// must use: that one, or the next free number if that one is closed. The batch
// it was in stays as it is, to be settled late or closed by us. The move is not
// durable by itself: until a record of the batch is, a restart asks the terminal
// to sign on again.
func (b *Book) SignOn(t txn.TerminalID, number uint32, day txn.Date) uint32 {
	if number == 0 {
		return 0
	}
	sh := b.open(&t, day)
	defer sh.mu.Unlock()
	e, ok := sh.batches[name{t, number}]
	for ; ok && e.state == txn.BatchClosed; e, ok = sh.batches[name{t, number}] {
		number = number%numberMax + 1
	}
	if !ok {
		sh.batches[name{t, number}] = entry{head: none, touched: sh.today}
	}
	// A sign-on proves nothing: a batch that nothing came of is not kept, or
	// anybody could fill the memory with them.
	left := name{t, sh.current[t]}
	if e, ok := sh.batches[left]; ok && left.number != number && e == (entry{head: none, touched: e.touched}) {
		delete(sh.batches, left)
	}
	sh.current[t] = number
	return number
}

// numberMax is that of trace numbers and of batches.
const numberMax = txn.STANMax

// Apply takes a durable record at its journal position into account. Most kinds
// of records change nothing here.
func (b *Book) Apply(rec *txn.Record, position uint64) error {
	switch {
	case rec.Kind == txn.RecordReversalDue:
		b.take(rec)
	case rec.Kind != txn.RecordOutcome:
	case rec.Request.Batch():
		if len(rec.Data) == 0 {
			return nil // refused
		}
		var f txn.BatchFact
		if err := f.Unmarshal(rec.Data); err != nil {
			return err
		}
		b.settled(rec, &f, position)
	case Counts(rec):
		b.count(rec, position)
	}
	return nil
}

// Counts says that the outcome is in its terminal's totals: an approval, or what
// an issuer is told of until it takes note.
func Counts(rec *txn.Record) bool {
	return rec.Kind == txn.RecordOutcome && rec.Request.Totals() != txn.NoEffect && rec.Taken()
}

func (b *Book) count(rec *txn.Record, position uint64) {
	sh := b.open(&rec.Key.Terminal, rec.Day)
	defer sh.mu.Unlock()
	n := name{rec.Key.Terminal, rec.Key.Batch}
	e, ok := sh.batches[n]
	if !ok {
		e.head = none
		if n.number != 0 && !rec.Request.Told() { // it was admitted: at recovery this opens the batch
			sh.current[n.terminal] = n.number
		}
	}
	if e.first == 0 {
		e.first, e.opened, e.merchant, e.currency = position, rec.Day, rec.Merchant, rec.Amount.Currency
	}
	e.touched = max(e.touched, rec.Day)
	e.mixed = e.mixed || e.currency != rec.Amount.Currency
	side := e.totals.Side(rec.Request.Totals())
	side.Count, side.Minor = side.Count+1, side.Minor+rec.Amount.Minor
	if rec.Request == txn.KindTip || rec.Request == txn.KindAdjustment {
		e.tips++
	}
	it := item{stan: rec.Key.STAN, minor: rec.Amount.Minor, card: short(&rec.Card), next: e.head}
	if rec.Request.Totals() == txn.Credit {
		it.stan |= flagCredit
	}
	e.head = sh.items.add(it)
	sh.batches[n] = e
}

// take removes what is to be reversed: a transaction, or a part of its amount.
func (b *Book) take(rec *txn.Record) {
	k := &rec.OriginalKey
	sh := b.open(&k.Terminal, rec.Day)
	defer sh.mu.Unlock()
	n := name{k.Terminal, k.Batch}
	e, ok := sh.batches[n]
	if !ok {
		return
	}
	for it := range sh.items.of(e.head) {
		if it.number() == k.STAN && it.stan&(flagTaken|flagForeign) == 0 {
			side := e.totals.Side(it.side())
			side.Minor -= rec.Undoes()
			if rec.Stays != 0 {
				it.minor -= rec.Undoes()
			} else {
				it.stan |= flagTaken
				side.Count--
			}
			sh.batches[n] = e
			return
		}
	}
}

// settled is what a settlement's fact leaves.
func (b *Book) settled(rec *txn.Record, f *txn.BatchFact, position uint64) {
	sh := b.open(&rec.Key.Terminal, rec.Day)
	defer sh.mu.Unlock()
	n := name{rec.Key.Terminal, rec.Key.Batch}
	e, ok := sh.batches[n]
	if !ok {
		e.head = none
		if last, ok := sh.batches[name{n.terminal, sh.current[n.terminal]}]; n.number != 0 && (!ok || last.state == txn.BatchClosed) {
			sh.current[n.terminal] = n.number
		}
	}
	if e.first == 0 {
		e.merchant = rec.Merchant
	}
	e.touched = max(e.touched, rec.Day)
	if f.Step == txn.StepSettle {
		e.uneven = f.Result[0] != txn.Even || f.Result[1] != txn.Even
	}
	if f.Step == txn.StepUpload {
		for i := range f.Items {
			e.mark(sh, &f.Items[i])
		}
	}
	e.state = f.State
	if n.number == 0 && e.state == txn.BatchClosed { // what comes next is the next period
		sh.items.drop(e.head)
		e = entry{head: none, touched: e.touched, merchant: e.merchant, settled: e.settled}
		if f.Step != txn.StepClose { // by us: its terminal knows nothing of it
			e.settled = position
		}
	}
	sh.batches[n] = e
}

// mark notes that an item was uploaded.
func (e *entry) mark(sh *shard, up *txn.BatchItem) {
	it := e.item(sh, up.STAN, up.Verdict == txn.ItemIsNotOurs)
	if it == nil {
		e.head = sh.items.add(item{stan: up.STAN | flagForeign | flagUploaded, minor: up.Minor, card: short(&up.Card), next: e.head})
		e.uploaded++
		return
	}
	if it.stan&flagUploaded == 0 {
		it.stan |= flagUploaded
		e.uploaded++
	}
}

// item is the newest of a number, standing before taken; with foreign set, one
// that is only the terminal's.
func (e *entry) item(sh *shard, stan uint32, foreign bool) (found *item) {
	for it := range sh.items.of(e.head) {
		if it.number() != stan || (it.stan&flagForeign != 0) != foreign {
			continue
		}
		if it.stan&flagTaken == 0 {
			return it
		}
		if found == nil {
			found = it
		}
	}
	return found
}

// Batch is a batch as it stands.
type Batch struct {
	Terminal txn.TerminalID
	Number   uint32
	Merchant txn.MerchantID
	State    txn.BatchState
	Opened   txn.Date // 0: nothing in it yet
	Currency txn.Currency
	Totals   txn.Totals
}

// Each calls fn with every batch in no order, one part of the Book at a time:
// exact when nothing moves, else each is right for some instant.
func (b *Book) Each(fn func(*Batch)) {
	for i := range b.shards {
		sh := &b.shards[i]
		sh.mu.Lock()
		part := make([]Batch, 0, len(sh.batches))
		for n, e := range sh.batches {
			part = append(part, Batch{n.terminal, n.number, e.merchant, e.state, e.opened, e.currency, e.totals})
		}
		sh.mu.Unlock()
		for j := range part {
			fn(&part[j])
		}
	}
}

// Totals are those of one batch on a day, zero for one that is not here or is
// forgotten by then.
func (b *Book) Totals(t txn.TerminalID, number uint32, day txn.Date) txn.Totals {
	sh := b.open(&t, day)
	defer sh.mu.Unlock()
	return sh.batches[name{t, number}].totals
}

// Agrees says that theirs are the totals of one batch on a day. Some terminals count a
// tip or an adjustment as a debit of its own, others raise their sale by it: the sums of
// those are ours, and their count is less by as many.
func (b *Book) Agrees(t txn.TerminalID, number uint32, day txn.Date, theirs txn.Totals) bool {
	sh := b.open(&t, day)
	defer sh.mu.Unlock()
	e := sh.batches[name{t, number}]
	return e.agrees(theirs)
}

func (e *entry) agrees(theirs txn.Totals) bool {
	raised := e.totals
	raised.Debit.Count -= e.tips
	return theirs == e.totals || theirs == raised
}

// Oldest forgets what is too old on day today, and is the first journal position
// that the rest of the Book is made of: a journal that is cut off before it
// rebuilds the same Book.
func (b *Book) Oldest(today txn.Date) (first uint64, ok bool) {
	for i := range b.shards {
		sh := &b.shards[i]
		sh.mu.Lock()
		sh.turn(today)
		for _, e := range sh.batches {
			if e.first != 0 && (!ok || e.first < first) {
				first, ok = e.first, true
			}
		}
		sh.mu.Unlock()
	}
	return first, ok
}
