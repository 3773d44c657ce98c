package settlement

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/batch"
	"github.com/acqswitch/acqswitch/switch/txn"
)

const day txn.Date = 20261122

// historyMaker makes journals as a correct switch writes them.
type historyMaker struct {
	rng  *rand.Rand
	next int
	day  txn.Date // and the one before
	book *batch.Book
}

func newHistoryMaker(seed uint64) *historyMaker {
	return &historyMaker{rng: rand.New(rand.NewPCG(seed, 0)), day: day, book: batch.NewBook()}
}

// history is n transactions of every kind, their records mixed as they would be
// with many terminals.
func (m *historyMaker) history(n int) (recs []*txn.Record) {
	var open [][]*txn.Record
	for n > 0 || len(open) > 0 {
		if n > 0 && (len(open) == 0 || m.rng.IntN(4) > 0) {
			open = append(open, m.transaction())
			n--
		}
		i := m.rng.IntN(len(open))
		recs = append(recs, open[i][0])
		if open[i] = open[i][1:]; len(open[i]) == 0 {
			open = slices.Delete(open, i, i+1)
		}
	}
	return m.settle(recs)
}

// settle adds settlements of the batches, as right as they are wrong.
func (m *historyMaker) settle(recs []*txn.Record) (all []*txn.Record) {
	for _, r := range recs {
		all = append(all, r)
		m.book.Apply(r, uint64(len(all)))
		if r.Kind != txn.RecordOutcome || m.rng.IntN(6) > 0 {
			continue
		}
		s := m.request(txn.KindSettlement)
		s.Key.Terminal, s.Key.Class, s.Merchant, s.Day = r.Key.Terminal, txn.ClassUpload, r.Merchant, m.day
		req := txn.Request{Kind: s.Request, Key: s.Key, Day: s.Day, Amount: txn.Amount{Currency: txn.CNY}}
		req.Totals[1] = m.book.Totals(s.Key.Terminal, s.Key.Batch, s.Day)
		req.Totals[1].Credit.Count += uint32(m.rng.IntN(2))
		var f txn.BatchFact
		if m.book.Settle(&req, &f) != txn.Approved {
			continue
		}
		s.Amount, s.Card, s.Data = req.Amount, txn.CardToken{}, f.Append(nil)
		all = append(all, decided(s, txn.OutcomeLocal, txn.Approved, "00"))
		m.book.Apply(all[len(all)-1], uint64(len(all)))
	}
	return all
}

func (m *historyMaker) number() int { m.next++; return m.next }

func (m *historyMaker) request(kind txn.Kind) txn.Record {
	n := m.number()
	r := txn.Record{
		At: time.UnixMicro(1_763_800_000_000_000 + int64(n)).UTC(), ID: txn.ID(n),
		Key:         txn.Key{Acquirer: 48802900, Terminal: txn.MakeTerminalID(fmt.Sprintf("1000%04d", m.rng.IntN(50))), Batch: 1, STAN: uint32(n), Class: txn.ClassFinancial},
		Fingerprint: uint64(n), Request: kind, MTI: 0x0200,
		Merchant: txn.MakeMerchantID(fmt.Sprintf("99929005411%04d", m.rng.IntN(20))),
		Amount:   txn.Amount{Minor: 100 + m.rng.Int64N(10_000), Currency: txn.CNY}, Day: m.day - txn.Date(m.rng.IntN(2)),
		Card: txn.CardToken{1, byte(m.rng.IntN(30))}, CardType: txn.CardType(m.rng.IntN(4)), Method: txn.Method(m.rng.IntN(txn.MethodCount)),
		Identity: txn.Identity{byte(m.rng.IntN(3))},
	}
	copy(r.RRN[:], fmt.Sprintf("326%09d", n))
	copy(r.Masked[:], "622202******0128")
	return r
}

func decided(r txn.Record, o txn.Outcome, why txn.Reason, code string) *txn.Record {
	r.Kind, r.Outcome, r.Reason = txn.RecordOutcome, o, why
	copy(r.Code[:], code)
	if r.ID%3 == 0 {
		r.Findings.Policy = 7
		r.Findings.Add(txn.Finding{Rule: txn.MakeRule('T', 11), Action: txn.ActionAlert, Seen: int64(r.ID), Bound: 500})
		r.Findings.Add(txn.Finding{Rule: txn.RuleCustom, Action: txn.ActionHold, Shadow: true})
	}
	if o == txn.OutcomeApproved || o == txn.OutcomeUnknown {
		r.Held = r.Request.Limits()
	}
	return &r
}

// transaction is one transaction's records in order.
func (m *historyMaker) transaction() []*txn.Record {
	kind := txn.KindSale
	if m.rng.IntN(8) == 0 {
		kind = txn.KindBalance
	}
	r := m.request(kind)
	if m.rng.IntN(6) == 0 {
		return []*txn.Record{decided(r, txn.OutcomeLocal, txn.DayAmountIsOverLimit, "61")}
	}
	r.Leg = txn.Leg{Issuer: txn.MakeIssuerID("icbc"), STAN: uint32(r.ID)}
	if kind == txn.KindSale && m.rng.IntN(8) == 0 { // approved in the issuer's place
		r.Request, r.MTI = txn.KindStandIn, 0x0220
		recs := []*txn.Record{decided(r, txn.OutcomeUnknown, txn.Approved, "00")}
		switch m.rng.IntN(3) {
		case 0: // reversed before it was told, or while it was
			if m.rng.IntN(2) == 0 {
				return append(recs, m.after(&r, txn.RecordReversalDue), m.after(&r, txn.RecordAdviceDone), m.after(&r, txn.RecordReversalDone))
			}
			return append(recs, m.after(&r, txn.RecordReversalDue), m.after(&r, txn.RecordReversalDone))
		case 1: // and after
			return append(recs, m.after(&r, txn.RecordAdviceDone), m.after(&r, txn.RecordReversalDue), m.after(&r, txn.RecordReversalDone))
		}
		return append(recs, m.after(&r, txn.RecordAdviceDone))
	}
	intent := r
	intent.Kind, intent.Held = txn.RecordIntent, kind.Limits()
	recs := []*txn.Record{&intent}
	switch m.rng.IntN(10) {
	case 0:
		return append(recs, decided(r, txn.OutcomeDeclined, txn.IssuerDeclined, "51"))
	case 1:
		return append(recs, decided(r, txn.OutcomeNotSent, txn.IssuerIsUnavailable, "91"))
	case 2:
		recs = append(recs, decided(r, txn.OutcomeUnknown, txn.IssuerDidNotAnswer, "98"))
		if kind.MovesMoney() {
			recs = append(recs, m.after(&r, txn.RecordLate), m.after(&r, txn.RecordReversalDone))
		}
		return recs
	}
	copy(r.AuthCode[:], "A12345")
	recs = append(recs, decided(r, txn.OutcomeApproved, txn.Approved, "00"))
	if !kind.MovesMoney() {
		return recs
	}
	switch m.rng.IntN(10) {
	case 0: // the terminal reverses it
		due := m.after(&r, txn.RecordReversalDue)
		due.Request, due.Key = txn.KindReversal, r.Key
		due.Key.Class = txn.ClassReversal
		copy(due.RRN[:], fmt.Sprintf("326%09d", due.ID))
		copy(due.Code[:], "00")
		recs = append(recs, due, m.after(&r, txn.RecordReversalDone))
	case 2: // the terminal reverses a part, and another, and the rest
		left := r.Amount.Minor
		for n := range m.rng.IntN(3) + 1 {
			due, done := m.after(&r, txn.RecordReversalDue), m.after(&r, txn.RecordReversalDone)
			due.Request, due.Key = txn.KindReversal, r.Key
			due.Key.Class, due.Key.STAN = txn.ClassReversal, r.Key.STAN+uint32(n)*100_000
			copy(due.Code[:], "00")
			stays := left * int64(2-n) / 3
			due.Gone, due.Stays = r.Amount.Minor-left, stays
			done.Gone, done.Stays = due.Gone, due.Stays
			recs, left = append(recs, due, done), stays
		}
	case 1: // the terminal could not be told
		recs = append(recs, m.after(&r, txn.RecordReversalDue), m.after(&r, txn.RecordReversalDone))
	}
	return recs
}

// after is an event about r.
func (m *historyMaker) after(r *txn.Record, kind txn.RecordKind) *txn.Record {
	e := *r
	e.Kind, e.ID, e.Key = kind, txn.ID(m.number()), txn.Key{}
	e.Original, e.OriginalKey = r.ID, r.Key
	e.Outcome, e.Held, e.RRN = txn.OutcomeLocal, r.Request.Limits(), [12]byte{}
	if kind == txn.RecordReversalDone {
		e.Held = -e.Held
	}
	return &e
}

// fakeLive is a switch's memory, computed from its journal.
type fakeLive struct {
	use  map[txn.Date]map[ledger.Party]ledger.Use
	owed int64
	idle bool
	book *batch.Book
}

func liveOf(recs []*txn.Record) *fakeLive {
	l := &fakeLive{use: map[txn.Date]map[ledger.Party]ledger.Use{}, idle: true, book: batch.NewBook()}
	held, untold := map[txn.ID]bool{}, map[txn.ID]bool{}
	count := func(h txn.Hold, sign int64) {
		if l.use[h.Day] == nil {
			l.use[h.Day] = map[ledger.Party]ledger.Use{}
		}
		times := sign
		if h.Part {
			times = 0
		}
		for p := range ledger.Parties(h) {
			u := l.use[h.Day][p]
			l.use[h.Day][p] = ledger.Use{Minor: u.Minor + sign*h.Minor, Count: u.Count + times}
		}
	}
	for i, r := range recs {
		l.book.Apply(r, uint64(i+1))
		if r.Kind == txn.RecordOutcome && r.Held == txn.Debit {
			held[r.ID] = true
			count(r.Hold(), 1)
		}
		switch {
		case r.Kind == txn.RecordReversalDue && untold[r.Original]: // instead of telling it
		case r.Owes():
			l.owed++
		case r.Kind == txn.RecordAdviceDone && untold[r.Original]:
			l.owed--
		}
		untold[r.ID] = r.Kind == txn.RecordOutcome && r.Request == txn.KindStandIn
		if r.Kind != txn.RecordOutcome {
			delete(untold, r.Original)
		}
		if r.Kind == txn.RecordReversalDone {
			l.owed--
			if held[r.Original] {
				count(r.Hold(), -1)
			}
		}
	}
	return l
}

func (l *fakeLive) Idle() bool  { return l.idle }
func (l *fakeLive) Owed() int64 { return l.owed }

func (l *fakeLive) Batches(fn func(*batch.Batch)) { l.book.Each(fn) }
func (l *fakeLive) Usage() iter.Seq2[txn.Date, iter.Seq2[ledger.Party, ledger.Use]] {
	return func(yield func(txn.Date, iter.Seq2[ledger.Party, ledger.Use]) bool) {
		for d, uses := range l.use {
			if !yield(d, maps.All(uses)) {
				return
			}
		}
	}
}

func (l *fakeLive) Months() iter.Seq2[txn.Date, iter.Seq2[ledger.Party, ledger.Use]] {
	return func(yield func(txn.Date, iter.Seq2[ledger.Party, ledger.Use]) bool) {
		months := map[txn.Date]map[ledger.Party]ledger.Use{}
		for d, uses := range l.use {
			m := d/100*100 + 1
			if months[m] == nil {
				months[m] = map[ledger.Party]ledger.Use{}
			}
			for p, u := range uses {
				s := months[m][p]
				if s = (ledger.Use{Minor: s.Minor + u.Minor, Count: s.Count + u.Count}); s == (ledger.Use{}) {
					delete(months[m], p)
					continue
				}
				months[m][p] = s
			}
		}
		for m, uses := range months {
			maps.DeleteFunc(uses, func(p ledger.Party, _ ledger.Use) bool { return p.Scope == txn.ScopeCard })
			if !yield(m, maps.All(uses)) {
				return
			}
		}
	}
}

// freshLedger is an empty SQLite ledger, a copy of one that was migrated once.
func freshLedger(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db")
	if err := os.WriteFile(path, migrated(), 0o600); err != nil {
		t.Fatal(err)
	}
	return "sqlite:" + path
}

var migrated = sync.OnceValue(func() []byte {
	dir, err := os.MkdirTemp("", "acqswitch-ledger-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "ledger.db")
	l, err := ledger.Open("sqlite:" + path)
	if err != nil {
		panic(err)
	}
	db, err := sqldb.Open("sqlite:" + path)
	if err != nil {
		panic(err)
	}
	if err := errors.Join(l.Migrate(context.Background()), l.Close(), approval.New(db).Migrate(context.Background()), db.Close()); err != nil {
		panic(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	return b
})

// verify loads stored into a ledger and verifies it against the journal.
func verify(t testing.TB, dsn string, j *memJournal, stored []*txn.Record, live Live) *Report {
	t.Helper()
	l, err := ledger.Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var entries []ledger.Entry
	for i, r := range stored {
		entries = append(entries, ledger.Entry{Pos: uint64(i + 1), Rec: r})
	}
	if err := l.Store(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	r, err := Verify(t.Context(), VerifyInput{Journal: j, Ledger: l, Live: live})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func text(t testing.TB, r *Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Whatever a correct switch does, and wherever the drain stands, verify is
// clean; and it has looked at something.
func TestVerifyIsCleanForEveryValidHistory(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		recs := newHistoryMaker(rapid.Uint64().Draw(rt, "seed")).history(rapid.IntRange(20, 120).Draw(rt, "transactions"))
		cut := rapid.IntRange(0, len(recs)).Draw(rt, "journal ends") // the rest is still going on
		recs = recs[:cut]
		drained := rapid.IntRange(0, len(recs)).Draw(rt, "drained")
		live := liveOf(recs)
		live.idle = rapid.Bool().Draw(rt, "idle")
		r := verify(t, freshLedger(t), newMemJournal(t, recs...), recs[:drained], live)
		if slices.ContainsFunc(recs, func(r *txn.Record) bool { return r.Kind == txn.RecordIntent }) && r.OpenCount > 0 && live.idle {
			// An idle switch has no open requests: the one break that is right here.
			for _, b := range r.Breaks {
				if b.Rule != RuleLive || !strings.Contains(b.What, "have no outcome") {
					rt.Fatalf("%s", text(t, r))
				}
			}
			return
		}
		if !r.OK() || r.Lag != uint64(len(recs)-drained) {
			rt.Fatalf("lag %d of %d\n%s", r.Lag, len(recs)-drained, text(t, r))
		}
	})
}

// world is what a mutation can break.
type world struct {
	t       *testing.T
	journal []*txn.Record // what the journal says
	ledger  []*txn.Record // what the ledger was loaded with
	live    *fakeLive
	rng     *rand.Rand
}

// pick is the index of a record of which is is true.
func (w *world) pick(recs []*txn.Record, is func(*txn.Record) bool) int {
	var at []int
	for i, r := range recs {
		if is(r) {
			at = append(at, i)
		}
	}
	if len(at) == 0 {
		w.t.Fatal("this history has no such record")
	}
	return at[w.rng.IntN(len(at))]
}

// change replaces a record by a changed copy.
func change(recs []*txn.Record, i int, fn func(*txn.Record)) {
	r := *recs[i]
	fn(&r)
	recs[i] = &r
}

// both changes the journal's record and the ledger's copy of it.
func (w *world) both(i int, fn func(*txn.Record)) { change(w.journal, i, fn); change(w.ledger, i, fn) }

func (w *world) addBoth(r *txn.Record) {
	w.journal, w.ledger = append(w.journal, r), append(w.ledger, r)
}

func sold(r *txn.Record) bool {
	return r.Kind == txn.RecordOutcome && r.Outcome == txn.OutcomeApproved && r.Request == txn.KindSale
}
func hasFindings(r *txn.Record) bool { return r.Kind == txn.RecordOutcome && r.Findings.Len() > 0 }

func settles(r *txn.Record) bool { return r.Request == txn.KindSettlement }
func kindIs(k txn.RecordKind) func(*txn.Record) bool {
	return func(r *txn.Record) bool { return r.Kind == k }
}
func outcomeIs(o txn.Outcome) func(*txn.Record) bool {
	return func(r *txn.Record) bool { return r.Kind == txn.RecordOutcome && r.Outcome == o }
}

// vanish makes a record one that leaves no row and changes nothing.
func vanish(r *txn.Record) {
	*r = txn.Record{Kind: txn.RecordLate, At: r.At, Day: r.Day, ID: r.ID}
}

func reversesPart(kind txn.RecordKind) func(*txn.Record) bool {
	return func(r *txn.Record) bool { return r.Kind == kind && r.Stays > 1 }
}

var mutations = []struct {
	name string
	do   func(*world)
	want Rule
}{
	{"the ledger lost a row", func(w *world) {
		i := w.pick(w.ledger, sold)
		change(w.ledger, i, func(r *txn.Record) { r.Kind = txn.RecordIntent })
	}, RuleCopied},
	{"the ledger has a row too many", func(w *world) {
		i := w.pick(w.ledger, kindIs(txn.RecordIntent))
		change(w.ledger, i, func(r *txn.Record) { r.Kind, r.Outcome, r.ID = txn.RecordOutcome, txn.OutcomeLocal, r.ID+1_000_000 })
	}, RuleCopied},
	{"a finding changed in the ledger", func(w *world) {
		i := w.pick(w.ledger, hasFindings)
		change(w.ledger, i, func(r *txn.Record) {
			r.Findings = txn.Findings{Policy: 7}
			r.Findings.Add(txn.Finding{Rule: txn.MakeRule('T', 11), Action: txn.ActionAlert, Seen: int64(r.ID), Bound: 501})
			r.Findings.Add(txn.Finding{Rule: txn.RuleCustom, Action: txn.ActionHold, Shadow: true})
		})
	}, RuleFinding},
	{"the ledger lost findings", func(w *world) {
		change(w.ledger, w.pick(w.ledger, hasFindings), func(r *txn.Record) { r.Findings = txn.Findings{} })
	}, RuleFinding},
	{"the ledger has findings of its own", func(w *world) {
		i := w.pick(w.ledger, func(r *txn.Record) bool { return sold(r) && !hasFindings(r) })
		change(w.ledger, i, func(r *txn.Record) { r.Findings.Add(txn.Finding{Rule: txn.RuleCustom, Action: txn.ActionHold}) })
	}, RuleFinding},
	{"an amount changed in the ledger", func(w *world) {
		change(w.ledger, w.pick(w.ledger, sold), func(r *txn.Record) { r.Amount.Minor++ })
	}, RuleCopied},
	{"an amount changed in the ledger, seen by its sums", func(w *world) {
		i := w.pick(w.ledger, func(r *txn.Record) bool {
			return sold(r) && !slices.ContainsFunc(w.ledger, func(d *txn.Record) bool { return d.Kind == txn.RecordReversalDone && d.Original == r.ID })
		})
		change(w.ledger, i, func(r *txn.Record) { r.Amount.Minor++ })
	}, RuleUsage},
	{"an outcome changed in the ledger", func(w *world) {
		change(w.ledger, w.pick(w.ledger, outcomeIs(txn.OutcomeDeclined)), func(r *txn.Record) { r.Outcome = txn.OutcomeApproved })
	}, RuleCopied},
	{"the ledger lost a reversal done", func(w *world) {
		change(w.ledger, w.pick(w.ledger, kindIs(txn.RecordReversalDone)), vanish)
	}, RuleReversal},
	{"the ledger lost a reversal due", func(w *world) {
		i := w.pick(w.ledger, kindIs(txn.RecordReversalDue))
		id := w.ledger[i].Original
		change(w.ledger, i, vanish)
		for k, r := range w.journal { // still open, or nobody would miss it
			if r.Kind == txn.RecordReversalDone && r.Original == id {
				w.both(k, vanish)
			}
		}
		w.live = liveOf(w.journal)
	}, RuleReversal},
	{"an outcome is repeated", func(w *world) {
		w.journal = append(w.journal, w.journal[w.pick(w.journal, kindIs(txn.RecordOutcome))])
	}, RuleOutcome},
	{"a sale is approved without an issuer", func(w *world) {
		w.both(w.pick(w.journal, sold), func(r *txn.Record) { r.Outcome = txn.OutcomeLocal })
	}, RuleOutcome},
	{"a terminal is told yes when the issuer said no", func(w *world) {
		w.both(w.pick(w.journal, outcomeIs(txn.OutcomeDeclined)), func(r *txn.Record) { r.Reason = txn.Approved })
	}, RuleOutcome},
	{"an outcome lost its intent", func(w *world) {
		w.both(w.pick(w.journal, kindIs(txn.RecordIntent)), vanish)
	}, RuleIntent},
	{"an outcome is for more than its intent", func(w *world) {
		w.both(w.pick(w.journal, sold), func(r *txn.Record) { r.Amount.Minor *= 10 })
	}, RuleIntent},
	{"the intent comes after the outcome", func(w *world) {
		i := w.pick(w.journal, outcomeIs(txn.OutcomeDeclined))
		k := slices.IndexFunc(w.journal, func(r *txn.Record) bool {
			return r.Kind == txn.RecordIntent && r.ID == w.journal[i].ID
		})
		w.journal[i], w.journal[k] = w.journal[k], w.journal[i]
		w.ledger[i], w.ledger[k] = w.ledger[k], w.ledger[i]
	}, RuleIntent},
	{"a reversal is done that nothing owed", func(w *world) {
		r := *w.journal[w.pick(w.journal, outcomeIs(txn.OutcomeDeclined))]
		r.Kind, r.Original, r.OriginalKey, r.Key, r.ID = txn.RecordReversalDone, r.ID, r.Key, txn.Key{}, 5_000_000
		w.addBoth(&r)
	}, RuleReversal},
	{"an approval is reversed without a reversal due", func(w *world) {
		w.both(w.pick(w.journal, kindIs(txn.RecordReversalDue)), vanish)
	}, RuleReversal},
	{"a reversal takes more than is left", func(w *world) {
		w.both(w.pick(w.journal, reversesPart(txn.RecordReversalDue)), func(r *txn.Record) { r.Gone-- })
	}, RuleReversal},
	{"a reversal in part is done as a whole", func(w *world) {
		w.both(w.pick(w.journal, reversesPart(txn.RecordReversalDone)), func(r *txn.Record) { r.Stays = 0 })
	}, RuleReversal},
	{"a reversal leaves something else in the ledger", func(w *world) {
		change(w.ledger, w.pick(w.ledger, reversesPart(txn.RecordReversalDone)), func(r *txn.Record) { r.Stays-- })
	}, RuleUsage},
	{"a reversal is done twice", func(w *world) {
		r := *w.journal[w.pick(w.journal, kindIs(txn.RecordReversalDone))]
		r.ID = 5_000_000
		w.addBoth(&r)
	}, RuleReversal},
	{"a declined sale is due to be reversed", func(w *world) {
		r := *w.journal[w.pick(w.journal, outcomeIs(txn.OutcomeDeclined))]
		r.Kind, r.Original, r.OriginalKey, r.Key, r.ID = txn.RecordReversalDue, r.ID, r.Key, txn.Key{}, 5_000_000
		w.addBoth(&r)
	}, RuleReversal},
	{"a settlement had other totals", func(w *world) {
		w.both(w.pick(w.journal, settles), func(r *txn.Record) {
			var f txn.BatchFact
			f.Unmarshal(r.Data)
			f.Ours.Debit.Minor++
			r.Data = f.Append(nil)
		})
	}, RuleBatch},
	{"a settlement was told that even totals differ", func(w *world) {
		w.both(w.pick(w.journal, settles), func(r *txn.Record) {
			var f txn.BatchFact
			f.Unmarshal(r.Data)
			even := [2]txn.Comparison{txn.Even, txn.Even}
			if f.Result == even {
				even[1] = txn.Uneven
			}
			f.Result = even
			r.Data = f.Append(nil)
		})
	}, RuleBatch},
	{"the live totals of a batch are others", func(w *world) {
		w.live.book.Apply(w.journal[w.pick(w.journal, sold)], 1)
	}, RuleLive},
	{"a batch is not live", func(w *world) { w.live.book = batch.NewBook() }, RuleLive},
	{"an RRN is given twice", func(w *world) {
		i, k := w.pick(w.journal, sold), w.pick(w.journal, outcomeIs(txn.OutcomeLocal))
		w.both(k, func(r *txn.Record) { r.RRN, r.Day = w.journal[i].RRN, w.journal[i].Day })
	}, RuleRRN},
	{"a key is used for two requests", func(w *world) {
		i, k := w.pick(w.journal, sold), w.pick(w.journal, outcomeIs(txn.OutcomeLocal))
		w.both(k, func(r *txn.Record) { r.Key, r.Day = w.journal[i].Key, w.journal[i].Day })
	}, RuleKey},
	{"one request gets two answers", func(w *world) {
		i, k := w.pick(w.journal, sold), w.pick(w.journal, outcomeIs(txn.OutcomeLocal))
		w.both(k, func(r *txn.Record) {
			r.Key, r.Day, r.Fingerprint = w.journal[i].Key, w.journal[i].Day, w.journal[i].Fingerprint
		})
	}, RuleKey},
	{"an approved sale holds no limits", func(w *world) {
		w.both(w.pick(w.journal, sold), func(r *txn.Record) { r.Held = txn.NoEffect })
	}, RuleHold},
	{"a declined sale holds limits", func(w *world) {
		w.both(w.pick(w.journal, outcomeIs(txn.OutcomeDeclined)), func(r *txn.Record) { r.Held = txn.Debit })
	}, RuleHold},
	{"a counter has leaked", func(w *world) {
		w.live.use[day][ledger.Party{Scope: txn.ScopeTerminal, Currency: txn.CNY}] = ledger.Use{Minor: 1, Count: 1}
	}, RuleLive},
	{"a counter has lost", func(w *world) {
		for p, u := range w.live.use[day] {
			if u.Count > 0 {
				w.live.use[day][p] = ledger.Use{Minor: u.Minor - 1, Count: u.Count}
				break
			}
		}
	}, RuleLive},
	{"the switch forgot a reversal", func(w *world) { w.live.owed-- }, RuleLive},
	{"an idle switch left a request open", func(w *world) {
		w.both(w.pick(w.journal, sold), vanish)
		w.live = liveOf(w.journal)
	}, RuleLive},
	{"the journal lost its end", func(w *world) { w.journal = w.journal[:len(w.journal)-1] }, RulePosition},
}

func TestVerifyNamesEveryMutation(t *testing.T) {
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			for seed := range uint64(3) {
				recs := newHistoryMaker(seed).history(100)
				w := &world{t: t, journal: slices.Clone(recs), ledger: slices.Clone(recs), live: liveOf(recs), rng: rand.New(rand.NewPCG(seed, 1))}
				m.do(w)
				r := verify(t, freshLedger(t), newMemJournal(t, w.journal...), w.ledger, w.live)
				if r.check(m.want).Breaks == 0 {
					t.Fatalf("seed %d: rule %s did not notice\n%s", seed, m.want, text(t, r))
				}
			}
		})
	}
}

func TestVerifyOnBothEngines(t *testing.T) {
	recs := newHistoryMaker(7).history(300)
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		l, err := ledger.Open(dsn)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(l.Migrate(t.Context()), l.Close()); err != nil {
			t.Fatal(err)
		}
		r := verify(t, dsn, newMemJournal(t, recs...), recs, liveOf(recs))
		if !r.OK() {
			t.Fatal(text(t, r))
		}
		for _, c := range r.Checks {
			if c.Checked == 0 && !slices.Contains([]Rule{RulePosting, RulePayout, RuleCase}, c.Rule) {
				t.Errorf("%s checked nothing", c.Rule)
			}
		}
	})
}

func TestVerifySaysWhatItCouldNotCheck(t *testing.T) {
	recs := newHistoryMaker(7).history(50)
	live := liveOf(recs)
	live.idle = false
	for want, in := range map[string]Live{"no switch runs in this process": nil, "was at work": live} {
		r := verify(t, freshLedger(t), newMemJournal(t, recs...), recs, in)
		if c := r.check(RuleLive); !r.OK() || c.Checked != 0 || !strings.Contains(c.Note, want) {
			t.Errorf("want %q: %+v", want, c)
		}
		if s := text(t, r); !strings.Contains(s, want) || !strings.Contains(s, "no day has been settled") {
			t.Error(s)
		}
	}
}

// An old backup of the ledger, and the journal's head is gone: nobody has what was
// between.
func TestVerifyOfALedgerBehindTheJournal(t *testing.T) {
	recs := newHistoryMaker(7).history(100)
	for behind, breaks := range []int64{0, 1, 1} {
		j := newMemJournal(t, recs...)
		j.truncate(50)
		if r := verify(t, freshLedger(t), j, recs[:49-behind], nil); r.check(RulePosition).Breaks != breaks {
			t.Errorf("%d behind: %s", behind, text(t, r))
		}
	}
}

func TestVerifyOfATruncatedJournal(t *testing.T) {
	m := newHistoryMaker(7)
	m.day = day - 5
	recs := m.history(100)
	old := len(recs)
	m.day = day
	recs = append(recs, m.history(100)...)
	for _, first := range []int{2, 57, old, old + 1, old + 57, len(recs)} {
		j := newMemJournal(t, recs...)
		j.truncate(first)
		r := verify(t, freshLedger(t), j, recs, liveOf(recs))
		noRowIsOlder := first == 2 // the first record is an intent
		if !r.OK() || (r.check(RuleCopied).Note == "") != noRowIsOlder {
			t.Errorf("from %d: %s", first, text(t, r))
		}
		if n := r.check(RuleUsage).Checked; (first <= old+1) != (n > 0) {
			t.Errorf("from %d, with the last days from %d: %d uses checked", first, old+1, n)
		}
	}
}

// What the running month has used is the same after a restart, whatever the
// journal has let go of and however far the ledger is behind it: what the ledger
// has from before the journal, and the journal.
func TestMonthIsWholeHoweverShortTheJournal(t *testing.T) {
	m := newHistoryMaker(11)
	m.day = day - 5
	recs := m.history(150)
	m.day = day
	recs = append(recs, m.history(150)...)
	uses := func(e *risk.Engine) map[risk.Cell]risk.Use { return maps.Collect(e.MonthUsage(day)) }
	restart := func(t *testing.T, l *ledger.Ledger, first int) *risk.Engine {
		e, err := risk.New(risk.Config{CardsPerMonthMax: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range recs[first-1:] {
			switch {
			case r.Kind != txn.RecordOutcome && r.Kind != txn.RecordReversalDone:
			case r.Day < day-1:
				e.Recall(r.Hold(), r.Held)
			case r.Held == txn.Debit:
				e.Restore(r.Hold())
			case r.Held == txn.Credit:
				e.Undo(r.Hold())
			}
		}
		if len(e.Months()) != 0 {
			t.Fatal("the month is called whole before the ledger was asked")
		}
		err = e.LoadMonth(day, func(add func(risk.Cell, risk.Use)) error {
			return l.UsageBefore(t.Context(), day/100*100+1, day, uint64(first), func(p ledger.Party, u ledger.Use) error {
				add(risk.Cell{Party: risk.Party{Scope: p.Scope, Currency: p.Currency, ID: p.ID}, Method: p.Method, CardType: p.CardType}, risk.Use(u))
				return nil
			})
		})
		if err != nil || !slices.Equal(e.Months(), []txn.Date{day/100*100 + 1}) {
			t.Fatalf("months %v are whole: %v", e.Months(), err)
		}
		return e
	}
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		l, err := ledger.Open(dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if err := l.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		want, stored := uses(restart(t, l, 1)), 0
		for _, first := range []int{2, 40, 150, 290, len(recs)} { // the ledger has what the journal lacks, and a little more
			for end := min(first+20, len(recs)); stored < end; stored++ {
				if err := l.Store(t.Context(), []ledger.Entry{{Pos: uint64(stored + 1), Rec: recs[stored]}}); err != nil {
					t.Fatal(err)
				}
			}
			if got := uses(restart(t, l, first)); !maps.Equal(got, want) || len(got) == 0 {
				t.Errorf("journal from %d, ledger to %d: %d cells, want %d", first, stored, len(got), len(want))
			}
		}
	})
}

func TestReportTellsTheHistory(t *testing.T) {
	recs := newHistoryMaker(7).history(100)
	i := slices.IndexFunc(recs, sold)
	stored := slices.Clone(recs)
	change(stored, i, func(r *txn.Record) { r.Amount.Minor++ })
	r := verify(t, freshLedger(t), newMemJournal(t, recs...), stored, nil)
	s := text(t, r)
	for _, want := range []string{"NOT CLEAN", "BROKEN copied", "differs from the journal in Amount", "sale intent of", "sale outcome of", "622202******0128"} {
		if !strings.Contains(s, want) {
			t.Errorf("no %q in\n%s", want, s)
		}
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(b, &back); err != nil || back.OK() {
		t.Errorf("%v: %s", err, b)
	}
}
