package acquirer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// StandIn says what we may approve in the place of an issuer that cannot be
// reached. Whatever is approved so is ours to lose until the issuer has taken
// note of it: the exposures bound that. Amounts are minor units of Currency.
type StandIn struct {
	Currency    txn.Currency
	Transaction int64     // the most of one sale
	MCCs        []uint16  // of merchants; none is any
	Cards       txn.Cards // types of cards; none is any
	// WithPIN also approves a sale with a PIN, which nobody has checked then.
	WithPIN bool
	// The exposures: the most that sales approved so, and not taken note of yet,
	// may come to together. All are needed.
	Issuer, Merchant, Terminal, Card int64
}

// Check says what is wrong with the rules.
func (r *StandIn) Check() error {
	if _, ok := r.Currency.Exponent(); !ok {
		return fmt.Errorf("currency %s is not in ISO 4217", r.Currency)
	}
	if min(r.Transaction, r.Issuer, r.Merchant, r.Terminal, r.Card) <= 0 {
		return errors.New("transaction and the exposures of issuer, merchant, terminal and card must each be given, in minor units")
	}
	return nil
}

// standInCheck is one thing that is asked of a request before its exposures are.
type standInCheck struct {
	asks string
	fits func(*StandIn, *txn.Request) bool
	said func(*StandIn, *txn.Request) (seen, bound string)
}

// standInChecks are in the order in which they are asked.
var standInChecks = [...]standInCheck{
	{"kind of request", func(_ *StandIn, req *txn.Request) bool { return req.Kind == txn.KindSale },
		func(_ *StandIn, req *txn.Request) (string, string) { return req.Kind.String(), txn.KindSale.String() }},
	{"currency", func(r *StandIn, req *txn.Request) bool { return req.Amount.Currency == r.Currency },
		func(r *StandIn, req *txn.Request) (string, string) {
			return req.Amount.Currency.Letters(), r.Currency.Letters()
		}},
	{"amount of one sale", func(r *StandIn, req *txn.Request) bool { return req.Amount.Minor <= r.Transaction },
		func(r *StandIn, req *txn.Request) (string, string) {
			return req.Amount.InLetters(), txn.Amount{Minor: r.Transaction, Currency: r.Currency}.InLetters()
		}},
	{"merchant's category", func(r *StandIn, req *txn.Request) bool {
		return len(r.MCCs) == 0 || slices.Contains(r.MCCs, req.Acceptor.MCC)
	},
		func(r *StandIn, req *txn.Request) (string, string) {
			return fmt.Sprintf("%04d", req.Acceptor.MCC), listed(r.MCCs, func(m uint16) string { return fmt.Sprintf("%04d", m) })
		}},
	{"type of card", func(r *StandIn, req *txn.Request) bool { return r.Cards == 0 || r.Cards.Has(req.CardType) },
		func(r *StandIn, req *txn.Request) (string, string) {
			var types []txn.CardType
			for t := txn.CardUnknown; t <= txn.CardPrepaid; t++ {
				if r.Cards.Has(t) {
					types = append(types, t)
				}
			}
			return req.CardType.String(), listed(types, txn.CardType.String)
		}},
	{"PIN that nobody would check", func(r *StandIn, req *txn.Request) bool { return r.WithPIN || len(req.PINBlock) == 0 },
		func(r *StandIn, req *txn.Request) (seen, bound string) {
			if seen, bound = "none", "none"; len(req.PINBlock) > 0 {
				seen = "entered"
			}
			if r.WithPIN {
				bound = "any"
			}
			return seen, bound
		}},
}

func listed[T any](list []T, say func(T) string) string {
	if len(list) == 0 {
		return "any"
	}
	var words []string
	for _, v := range list {
		words = append(words, say(v))
	}
	return strings.Join(words, ", ")
}

// permits says that the request is of the sort that may be approved.
func (r *StandIn) permits(req *txn.Request) bool {
	return !slices.ContainsFunc(standInChecks[:], func(c standInCheck) bool { return !c.fits(r, req) })
}

// standIns holds what is approved in issuers' places and not taken note of yet.
// It is memory of what the journal says: recovery fills it again.
type standIns struct {
	rules map[txn.IssuerID]*StandIn // immutable

	mu   sync.Mutex
	sums map[exposed]int64
	open map[txn.ID]exposure
	// lost are those that their issuer refused: they count until their business day
	// is over, so that a card that is refused every time is not approved every time.
	lost []txn.ID
}

// exposed is a party that may lose, or cost, money: an issuer by itself, or one
// of its merchants, terminals or cards.
type exposed struct {
	issuer txn.IssuerID
	scope  txn.LimitScope // ScopeNone: the issuer
	id     [16]byte
}

type exposure struct {
	parties [4]exposed
	minor   int64
	day     txn.Date
}

func newStandIns(rules map[txn.IssuerID]StandIn) (*standIns, error) {
	byID := map[txn.IssuerID]*StandIn{}
	for id, r := range rules {
		if err := r.Check(); err != nil {
			return nil, fmt.Errorf("stand_in of issuer %s: %w", id, err)
		}
		byID[id] = &r
	}
	return &standIns{rules: byID, sums: map[exposed]int64{}, open: map[txn.ID]exposure{}}, nil
}

func exposureOf(rec *txn.Record) exposure {
	issuer := rec.Leg.Issuer
	e := exposure{minor: rec.Amount.Minor, day: rec.Day, parties: [4]exposed{{issuer: issuer}, {issuer: issuer, scope: txn.ScopeMerchant},
		{issuer: issuer, scope: txn.ScopeTerminal}, {issuer: issuer, scope: txn.ScopeCard, id: rec.Card}}}
	copy(e.parties[1].id[:], rec.Merchant[:])
	copy(e.parties[2].id[:], rec.Key.Terminal[:])
	return e
}

// reserve adds rec's amount to the exposures it counts for, unless one of them
// would pass its most: all or none.
func (s *standIns) reserve(rec *txn.Record, r *StandIn) bool {
	e := exposureOf(rec)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(rec.Day)
	for i := range e.parties {
		if sum, most := s.with(&e, i, r); sum > most {
			return false
		}
	}
	s.add(rec.ID, e)
	return true
}

// with is what party i of e would have with it, and the most that it may have. mu
// is held.
func (s *standIns) with(e *exposure, i int, r *StandIn) (sum, most int64) {
	return s.sums[e.parties[i]] + e.minor, [...]int64{r.Issuer, r.Merchant, r.Terminal, r.Card}[i]
}

// StandInCheck is one thing that is asked before a sale is approved in an issuer's
// place, in the order in which they are asked, with what was compared.
type StandInCheck struct {
	Asks  string `json:"asks"`
	Came  string `json:"came"` // fits; does not fit; not asked: then nothing was compared
	Seen  string `json:"seen,omitempty"`
	Bound string `json:"bound,omitempty"`
}

// Explain says what the rules would make of req, which would leave rec, while its
// issuer, rec.Leg.Issuer, cannot be reached. open are those approved in issuers'
// places before that count against the exposures. It is the deciding code that
// writes this down.
func (r *StandIn) Explain(req *txn.Request, rec *txn.Record, open []*txn.Record) (checks []StandInCheck, approved bool) {
	approved = true
	ask := func(asks string, fits bool, seen, bound string) {
		c := StandInCheck{Asks: asks, Came: "not asked"}
		if approved {
			c.Came, c.Seen, c.Bound = "fits", seen, bound
			if !fits {
				c.Came, approved = "does not fit", false
			}
		}
		checks = append(checks, c)
	}
	for _, c := range standInChecks {
		seen, bound := c.said(r, req)
		ask(c.asks, c.fits(r, req), seen, bound)
	}
	s := &standIns{sums: map[exposed]int64{}, open: map[txn.ID]exposure{}}
	for _, o := range open {
		s.restore(o)
	}
	e := exposureOf(rec)
	for i, p := range e.parties {
		who := "issuer"
		if p.scope != txn.ScopeNone {
			who = p.scope.String()
		}
		sum, most := s.with(&e, i, r)
		money := func(minor int64) string { return txn.Amount{Minor: minor, Currency: r.Currency}.InLetters() }
		ask(who+"'s exposure with it", sum <= most, money(sum), money(most))
	}
	return checks, approved
}

// restore adds what was approved before the start, whatever the rules say now.
func (s *standIns) restore(rec *txn.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(rec.ID, exposureOf(rec))
}

func (s *standIns) add(id txn.ID, e exposure) {
	for _, p := range e.parties {
		s.sums[p] += e.minor
	}
	s.open[id] = e
}

// lose keeps the exposure of a transaction that its issuer refused until the day
// is over.
func (s *standIns) lose(rec *txn.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.open[rec.Original]; !ok { // at recovery
		x := *rec
		x.Key = rec.OriginalKey
		s.add(rec.Original, exposureOf(&x))
	}
	s.lost = append(s.lost, rec.Original)
}

// forget ends what was lost before a business day. mu is held.
func (s *standIns) forget(day txn.Date) {
	s.lost = slices.DeleteFunc(s.lost, func(id txn.ID) bool {
		gone := s.open[id].day < day
		if gone {
			s.remove(id)
		}
		return gone
	})
}

// release ends the exposure of a transaction, if it has one: its issuer has taken
// note of it, or it was undone.
func (s *standIns) release(id txn.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(id)
}

func (s *standIns) remove(id txn.ID) {
	e, ok := s.open[id]
	if !ok {
		return
	}
	delete(s.open, id)
	for _, p := range e.parties {
		if s.sums[p] -= e.minor; s.sums[p] == 0 {
			delete(s.sums, p)
		}
	}
}

// untold says that rec is an approval in an issuer's place. If it is reversed before the
// issuer has taken note of it, only the reversal is told.
func untold(rec *txn.Record) bool {
	return rec.Kind == txn.RecordOutcome && rec.Request == txn.KindStandIn
}

// refusedStandIn takes what an issuer refused out of what may be built upon: its
// cardholder was never charged, so nothing is voided or refunded.
func (s *Switch) refusedStandIn(done *txn.Record) bool {
	if done.Kind != txn.RecordAdviceDone || done.Request != txn.KindStandIn || done.Reason == txn.Approved {
		return false
	}
	s.standIns.lose(done)
	s.slots.undo(&done.OriginalKey, done.Original, false)
	return true
}

// Exposure is what was approved in an issuer's place and not taken note of yet.
type Exposure struct {
	Issuer   txn.IssuerID
	Currency txn.Currency
	Minor    int64
}

// Exposures are those of the issuers with a stand-in, in the order of their names.
func (s *Switch) Exposures() []Exposure {
	x := s.standIns
	x.mu.Lock()
	defer x.mu.Unlock()
	var all []Exposure
	for id, r := range x.rules {
		all = append(all, Exposure{id, r.Currency, x.sums[exposed{issuer: id}]})
	}
	slices.SortFunc(all, func(a, b Exposure) int { return slices.Compare(a.Issuer[:], b.Issuer[:]) })
	return all
}

// standIn approves req in the place of an issuer that cannot be reached, where
// the rules allow it; false leaves everything as it was. Nothing was sent, so no
// intent is needed: a crash before the outcome leaves a request that nobody heard
// of, one after it an approval that its issuer is told of.
func (s *Switch) standIn(req *txn.Request, ans *txn.Answer, w *work, issuer txn.IssuerID) bool {
	rules, ok := s.standIns.rules[issuer]
	if !ok || !rules.permits(req) {
		return false
	}
	rec := &w.rec
	rec.Leg.Issuer = issuer
	if !s.standIns.reserve(rec, rules) {
		rec.Leg = txn.Leg{}
		return false
	}
	if rec.Leg, ok = s.issuers.Number(req); !ok {
		s.standIns.release(rec.ID)
		return false
	}
	s.cards.Seal(&rec.SealedPAN, &req.PAN, req.ID)
	rec.Request, rec.MTI = txn.KindStandIn, dialect.AdviceMTI
	w.keepTold(req)
	ans.Issuer = issuer
	ans.Reply.Reset()
	n := req.ID
	for i := range ans.Reply.AuthCode {
		ans.Reply.AuthCode[len(ans.Reply.AuthCode)-1-i] = '0' + byte(n%10)
		n /= 10
	}
	s.conclude(req, ans, w, txn.OutcomeUnknown, txn.Approved)
	return true
}
