// Package backtest judges recorded transactions again under two policies and
// says what another one would have changed.
//
// Both policies start with empty counters and windows and fill them from the
// same records in the journal's order, each by what it would have let through.
// So a limit that is lower refuses the sale that passes it, not those before.
// What an issuer answered stays as it was; what was refused then and would be
// let through is taken for approved.
//
// Promises: no card data in clear is needed, nor kept; memory is the engines',
// and one entry for each party and rule of the report. A transaction that both
// policies treat alike is not in the report.
//
// Not here: what records do not say (Unknown). Rules that ask for it are
// undecided, and the built-in rules about it find nothing.
package backtest

import (
	"fmt"
	"slices"
	"time"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/risk/rules"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Unknown is what a record does not say of its request: own rules find it not
// known.
var Unknown = []rules.Fact{rules.Instalments, rules.CodeLevel, rules.Region, rules.City, rules.Province}

// Lacks says in words what records do not have, for people.
var Lacks = []string{
	"instalments, and the region that a message reports (its position is there)",
	"whether a payment by code used a static one: the plan's level is taken",
	"a card's expiry and check digit; a message's country; a serial's ciphertext; the software's version: taken for good",
	"the registry as it was then: the present one is taken",
}

// Registry is who is who, now.
type Registry interface {
	Terminal(txn.TerminalID) (*txn.Terminal, bool)
	Merchant(txn.MerchantID) (*txn.Merchant, bool)
}

// Config is a test.
type Config struct {
	Before, After risk.Policy
	Registry      Registry
	Zone          *time.Location
	CountCards    int // as risk.Config.CardsPerMonthMax
	// From is the first business day that is compared. Records of the days before
	// fill counters and windows only.
	From txn.Date
	// Changed is told of every transaction that the policies treat otherwise, if it
	// is not nil. It keeps nothing of the change.
	Changed func(*Change)
}

// Change is one transaction that two policies treat otherwise.
type Change struct {
	Rec        *txn.Record
	Was, Is    txn.Reason // Approved: it goes to the issuer
	Lost, Came []txn.Finding
}

// Test is one comparison. It is of one goroutine.
type Test struct {
	cfg    Config
	sides  [2]side
	req    txn.Request
	report Report

	parties  map[partyKey]*PartyChange
	rules    map[ruleKey]*RuleChange
	strayed  map[[2]txn.Reason]int64
	silent   map[txn.Rule][2]uint64 // before the first day that is compared
	lost     []txn.Finding
	came     []txn.Finding
	verdicts [2]txn.Verdict
}

// side is one policy at work.
type side struct {
	engine *risk.Engine
	// refused are transactions that were approved and are refused here: what undoes
	// them has nothing to give back.
	refused map[txn.ID]struct{}
}

// New is a test without records.
func New(cfg Config) (*Test, error) {
	t := &Test{cfg: cfg, parties: map[partyKey]*PartyChange{}, rules: map[ruleKey]*RuleChange{}, strayed: map[[2]txn.Reason]int64{}}
	for i, p := range []*risk.Policy{&cfg.Before, &cfg.After} {
		e, err := risk.New(risk.Config{Policy: p, SkipCheckDigit: true, Zone: cfg.Zone, CardsPerMonthMax: cfg.CountCards, Unknown: Unknown})
		if err != nil {
			return nil, err
		}
		t.sides[i] = side{e, map[txn.ID]struct{}{}}
	}
	return t, nil
}

// Take judges a record. Records come in the journal's order; a day is begun by
// its first.
func (t *Test) Take(rec *txn.Record) {
	switch {
	case rec.Kind == txn.RecordReversalDone:
		t.undo(rec)
	case rec.Kind != txn.RecordOutcome || !rec.Request.Forwarded():
	case rec.Outcome == txn.OutcomeApproved && rec.Held == txn.Credit:
		t.judge(rec)
		t.undo(rec)
	default:
		t.judge(rec)
	}
}

// undo gives back, or takes again, what a record says; a void, a reversal.
func (t *Test) undo(rec *txn.Record) {
	for i := range t.sides {
		s := &t.sides[i]
		if _, refused := s.refused[rec.Original]; refused {
			continue
		}
		switch rec.Held {
		case txn.Credit:
			s.engine.Undo(rec.Hold())
		case txn.Debit:
			s.engine.Restore(rec.Hold())
		}
	}
}

func (t *Test) judge(rec *txn.Record) {
	if t.silent == nil && rec.Day >= t.cfg.From {
		t.silent = t.silence()
	}
	refused, judged := refusedByRisk(rec)
	if !judged || !t.request(rec) {
		if rec.Day >= t.cfg.From {
			t.report.NotJudged++
		}
		return
	}
	stands := rec.Held == txn.Debit || refused // what was refused is taken for approved
	for i := range t.sides {
		s := &t.sides[i]
		v := s.engine.Assess(&t.req)
		t.verdicts[i] = v
		switch {
		case v.Reason != txn.Approved:
			if rec.Held == txn.Debit {
				s.refused[rec.ID] = struct{}{}
			}
			continue
		case t.req.Kind.Limits() != txn.Debit:
		case stands:
			s.engine.Confirm(risk.HoldOf(&t.req))
		default:
			s.engine.Release(risk.HoldOf(&t.req))
		}
		t.learn(s, rec, refused)
	}
	if rec.Day >= t.cfg.From {
		t.compare(rec, refused)
	}
}

// silence is how often rules of the new policy could not tell, or failed.
func (t *Test) silence() map[txn.Rule][2]uint64 {
	m := map[txn.Rule][2]uint64{}
	for r, n := range t.sides[1].engine.Own().All() {
		m[r.Number] = [2]uint64{n.Of(rules.Undecided), n.Of(rules.Fails)}
	}
	return m
}

// learn tells a side what became of a request that it let through.
func (t *Test) learn(s *side, rec *txn.Record, refused bool) {
	if !refused {
		s.engine.Learn(rec)
		return
	}
	approved := *rec
	approved.Outcome, approved.Reason = txn.OutcomeApproved, txn.Approved
	s.engine.Learn(&approved)
}

// request makes the record's request again, as far as it is known.
func (t *Test) request(rec *txn.Record) bool {
	terminal, ok := t.cfg.Registry.Terminal(rec.Key.Terminal)
	acceptor, known := t.cfg.Registry.Merchant(rec.Merchant)
	if !ok || !known {
		return false
	}
	r := &t.req
	r.Reset()
	r.Kind, r.MTI, r.Key, r.Merchant, r.Amount = rec.Request.Asked(), rec.MTI, rec.Key, rec.Merchant, rec.Amount
	r.Entry, r.CardToken, r.CardType = rec.Entry, rec.Card, rec.CardType
	r.Received, r.Day, r.ID = rec.At, rec.Day, rec.ID
	r.Terminal, r.Acceptor = terminal, acceptor
	if rec.PIN {
		r.PINBlock = enteredPIN
	}
	r.PAN = standIn(rec.Masked)
	if len(rec.Serial) > 0 {
		r.Info.Serial = txn.MakeSerial(rec.Serial)
	}
	if rec.Lat != 0 || rec.Lng != 0 {
		r.Info.Position = txn.Position{Lat: rec.Lat, Lng: rec.Lng, Known: true}
	} else if terminal.RequirePosition && rec.Reason != txn.PositionIsRequired {
		r.Region = terminal.Region // it was one that fitted, or it was refused
	}
	return true
}

// enteredPIN stands for a PIN that was entered.
var enteredPIN = txn.Secret("00000000")

// standIn is a card number with the first six digits of a masked one, for rules
// that look at these.
func standIn(masked [txn.PANDigitsMax]byte) (p txn.PAN) {
	for i, b := range masked {
		switch {
		case b == 0:
			p, _ = txn.ParsePAN(masked[:i])
			return p
		case i >= 6:
			masked[i] = '0'
		}
	}
	p, _ = txn.ParsePAN(masked[:])
	return p
}

// refusedByRisk says whether risk refused a recorded request, and whether it was
// asked at all: what is refused before it by others is none of its business.
func refusedByRisk(rec *txn.Record) (refused, asked bool) {
	switch rec.Reason {
	case txn.FormatIsWrong, txn.KindIsNotOffered, txn.MACIsWrong, txn.MerchantIsUnknown, txn.TerminalIsUnknown, txn.TerminalHasNoKeys, txn.SignOnIsRequired,
		txn.TraceNumberWentBack, txn.ChipAmountDiffers, txn.TerminalIsTooFast, txn.BatchIsNotCurrent, txn.BatchIsNotSettling, txn.DuplicateWithOtherContent, txn.ReversedBeforeRequest,
		txn.SwitchIsOverloaded, txn.RecordsAreUnavailable, txn.OriginalIsUnknown, txn.OriginalIsOfAnotherKind, txn.OriginalDoesNotStand,
		txn.OriginalIsBusy, txn.OriginalIsTooOld, txn.OriginalIsOfAnotherBatch, txn.OriginalIsCompleted, txn.CardIsNotTheOriginals,
		txn.OriginalAmountDiffers, txn.OriginalIsOfAnotherDay, txn.ItemIsUnknown, txn.JournalIsUnavailable, txn.SwitchFailed,
		txn.CardNumberIsInvalid, txn.CardIsExpired: // these two under every policy, and records do not say why
		return false, false
	case txn.Approved, txn.IssuerIsUnknown, txn.IssuerIsUnavailable, txn.IssuerIsBusy, txn.IssuerDeclined, txn.IssuerDidNotAnswer,
		txn.IssuerAnsweredNonsense, txn.PINBlockIsWrong, txn.PINCannotBeTranslated, txn.AnswerWasNotDelivered:
		return false, true
	}
	return true, true
}

// compare puts what is different into the report.
func (t *Test) compare(rec *txn.Record, refused bool) {
	before, after := &t.verdicts[0], &t.verdicts[1]
	r := &t.report
	r.Transactions++
	if (before.Reason != txn.Approved) != refused {
		r.Strayed++
		then := txn.Approved
		if refused {
			then = rec.Reason
		}
		t.strayed[[2]txn.Reason{then, before.Reason}]++
	}
	t.lost, t.came = t.lost[:0], t.came[:0]
	for x := range before.Findings.All() {
		t.rule(x).Before++
		if !has(&after.Findings, x) {
			t.lost = append(t.lost, x)
		}
	}
	for x := range after.Findings.All() {
		t.rule(x).After++
		if !has(&before.Findings, x) {
			t.came = append(t.came, x)
		}
	}
	if before.Reason == after.Reason && len(t.lost)+len(t.came) == 0 {
		return
	}
	for _, x := range t.lost {
		t.rule(x).Lost.add(rec.Amount)
	}
	for _, x := range t.came {
		t.rule(x).Came.add(rec.Amount)
	}
	r.Changed.add(rec.Amount)
	kind := found
	switch {
	case before.Reason == txn.Approved && after.Reason != txn.Approved:
		kind = refusals
		r.NowRefused.add(rec.Amount)
	case before.Reason != txn.Approved && after.Reason == txn.Approved:
		kind = passes
		r.NowPassed.add(rec.Amount)
	}
	t.party(partyKey{merchant: rec.Merchant}, rec.Merchant.String()).add(kind, rec.Amount)
	province := t.req.Terminal.Region.Province()
	t.party(partyKey{region: province}, fmt.Sprint(uint32(province))).add(kind, rec.Amount)
	if t.cfg.Changed != nil {
		t.cfg.Changed(&Change{rec, before.Reason, after.Reason, t.lost, t.came})
	}
}

// has says that a rule did the same; what it compared may be another number.
func has(fs *txn.Findings, x txn.Finding) bool {
	for y := range fs.All() {
		if y.Rule == x.Rule && y.Action == x.Action && y.Shadow == x.Shadow {
			return true
		}
	}
	return false
}

// Report is what came out. It may be asked for again after more records.
func (t *Test) Report() *Report {
	r := t.report
	r.Lacks = Lacks
	names := map[txn.Rule]string{}
	for _, s := range t.sides {
		for rule := range s.engine.Own().All() {
			names[rule.Number] = rule.Name
		}
	}
	for _, b := range risk.Catalogue() {
		names[b.Rule] = b.Finds
	}
	for k, c := range t.rules {
		x := *c
		x.Rule, x.Name, x.Action, x.Shadow = k.rule.String(), names[k.rule], k.action.String(), k.shadow
		r.Rules = append(r.Rules, x)
	}
	slices.SortFunc(r.Rules, func(a, b RuleChange) int { return compareStrings(a.Rule, b.Rule, a.Action, b.Action) })
	for number, n := range t.silence() {
		first := t.silent[number]
		if u, f := n[0]-first[0], n[1]-first[1]; u+f > 0 {
			r.Silent = append(r.Silent, Silence{number.String(), names[number], u, f})
		}
	}
	slices.SortFunc(r.Silent, func(a, b Silence) int { return compareStrings(a.Rule, b.Rule) })
	for k, c := range t.parties {
		if k.region != 0 || k.merchant == (txn.MerchantID{}) {
			r.Regions = append(r.Regions, *c)
		} else {
			r.Merchants = append(r.Merchants, *c)
		}
	}
	for _, list := range [][]PartyChange{r.Merchants, r.Regions} {
		slices.SortFunc(list, func(a, b PartyChange) int {
			if d := b.total() - a.total(); d != 0 {
				return int(max(-1, min(1, d)))
			}
			return compareStrings(a.Name, b.Name)
		})
	}
	for k, n := range t.strayed {
		r.Strays = append(r.Strays, Stray{k[0].String(), k[1].String(), n})
	}
	slices.SortFunc(r.Strays, func(a, b Stray) int { return compareStrings(a.Recorded, b.Recorded, a.Replayed, b.Replayed) })
	return &r
}

// Explain says what the new policy makes of a record, behind the records that
// were taken, and why, with the request that it judged, which the next call
// overwrites. It counts nothing. Both are nil for a record of parties that are
// registered no more.
func (t *Test) Explain(rec *txn.Record) (*risk.Explanation, *txn.Request) {
	if !t.request(rec) {
		return nil, nil
	}
	return t.sides[1].engine.Explain(&t.req), &t.req
}
