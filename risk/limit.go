package risk

import (
	"cmp"
	"math"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// needsMax is how many limits one request may have to stay within: those of two
// plans, the rows' and overrides' of each party, and the regulator's.
const needsMax = 2*PlanLimits + 2*scopes + 2

// need is one limit that a request must stay within: which use of which party
// it counts, how far it goes, and what has been used.
type need struct {
	scope   txn.LimitScope
	methods txn.Methods
	cards   txn.Cards
	rule    txn.Rule // 0: L03 of amounts, L04 of counts
	bounds  bounds
	day     Use
	month   Use
}

// limitsOf gathers in ns, which has room for needsMax and may hold anything, the limits that bind req.
// First come what the rows of terminal, merchant and card state, filled up by
// their plans; then what plans say of parts of their use; then the regulator's.
// What has happened at a terminal already meets none but that of a counter.
func (j *judgement) limitsOf(req *txn.Request, ns []need) []need {
	t, m := req.Terminal, req.Acceptor
	ns = ns[:scopes]
	for i := range ns {
		ns[i] = need{scope: scopeOf(i)}
	}
	if req.Kind.Told() {
		return ns
	}
	method := req.Method()
	plan := j.planOf(req)
	own := plan
	if t.Plan != 0 {
		own = j.plan(t.Plan)
	}
	for _, p := range [...]*Plan{plan, own} {
		for i := range p.Limits {
			l := &p.Limits[i]
			if (l.Scope == txn.ScopeTerminal) != (p == own) && plan != own || !l.binds(req, method) {
				continue
			}
			if l.whole() {
				ns[indexOf(l.Scope)].bounds.tighten(&l.Bounds)
				j.sink.plan(l.Scope, p, &l.Bounds)
			} else {
				ns = append(ns, need{scope: l.Scope, methods: l.Methods, cards: l.Cards, bounds: bounds{l.Bounds}})
			}
		}
		if plan == own {
			break
		}
	}
	ns[0].bounds.replace(&t.Limits)
	ns[1].bounds.replace(&m.Limits)
	ns[2].bounds.replace(&m.Card)
	j.sink.source(txn.ScopeTerminal, "terminal's row", &t.Limits)
	j.sink.source(txn.ScopeMerchant, "merchant's row", &m.Limits)
	j.sink.source(txn.ScopeCard, "merchant's row", &m.Card)
	if len(j.override) > 0 {
		h := HoldOf(req)
		for i, p := range partiesOf(h) {
			for k := range j.override[partyKey{p.Scope, p.ID}] {
				l := &j.override[partyKey{p.Scope, p.ID}][k]
				if l.binds(req, method) {
					ns[i].bounds.replace(&l.Bounds)
					j.sink.source(p.Scope, "override", &l.Bounds)
				}
			}
		}
	}
	return j.legal(req, method, ns)
}

// bounds are limits that are put together from several sources.
type bounds struct{ txn.Limits }

// tighten takes the smaller of both, where there are two.
func (b *bounds) tighten(l *txn.Limits) {
	b.Transaction = smaller(b.Transaction, l.Transaction)
	b.DayAmount = smaller(b.DayAmount, l.DayAmount)
	b.MonthAmount = smaller(b.MonthAmount, l.MonthAmount)
	b.DayCount = smaller(b.DayCount, l.DayCount)
	b.MonthCount = smaller(b.MonthCount, l.MonthCount)
}

// replace takes l's, where it states any.
func (b *bounds) replace(l *txn.Limits) {
	b.Transaction = cmp.Or(l.Transaction, b.Transaction)
	b.DayAmount = cmp.Or(l.DayAmount, b.DayAmount)
	b.MonthAmount = cmp.Or(l.MonthAmount, b.MonthAmount)
	b.DayCount = cmp.Or(l.DayCount, b.DayCount)
	b.MonthCount = cmp.Or(l.MonthCount, b.MonthCount)
}

func smaller[T int64 | uint32](a, b T) T {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// planOf is the plan of the request's merchant.
func (j *judgement) planOf(req *txn.Request) *Plan { return j.plan(req.Acceptor.Plan) }

// plan is the plan of a number, the default one where there is none.
func (j *judgement) plan(n uint16) *Plan {
	if int(n) < len(j.plans) && j.plans[n] != nil {
		return j.plans[n]
	}
	return j.plans[0]
}

// binds says that the limit is one of those that req must stay within.
func (l *Limit) binds(req *txn.Request, method txn.Method) bool {
	return l.Currency == req.Amount.Currency &&
		(l.Methods == 0 || l.Methods.Has(method)) && (l.Cards == 0 || l.Cards.Has(req.CardType)) &&
		(l.MCC == 0 || l.MCC == req.Acceptor.MCC) && (l.Region == 0 || l.Region.Contains(req.Acceptor.Region)) &&
		during(req.Day, l.From, l.To)
}

// whole says that the limit counts all of its party's use, so that a row may
// state another in its place.
func (l *Limit) whole() bool { return l.Methods == 0 && l.Cards == 0 && l.MCC == 0 && l.Region == 0 }

// during says that d is in a span of days; what is 0 is open.
func during(d, from, to txn.Date) bool { return d >= from && (to == 0 || d <= to) }

// legal adds the regulator's limits, which are in CNY.
func (j *judgement) legal(req *txn.Request, method txn.Method, ns []need) []need {
	legal := &j.policy.Legal
	if req.Amount.Currency != txn.CNY {
		return ns
	}
	if m := req.Acceptor; m.Type == txn.Micro && req.CardType == txn.CardCredit {
		n := need{scope: txn.ScopeIdentity, cards: 1 << txn.CardCredit, rule: ruleM05}
		if m.Identity == (txn.Identity{}) {
			n.scope = txn.ScopeMerchant // its person is not known: at least it has this merchant
		}
		n.bounds.DayAmount, n.bounds.MonthAmount = legal.MicroCreditDay, legal.MicroCreditMonth
		ns = append(ns, n)
	}
	if method.Way() == txn.WayCode {
		n := need{scope: txn.ScopeCard, methods: codes, rule: ruleL05}
		n.bounds.DayAmount = legal.CodeDay[j.codeLevel(req)]
		ns = append(ns, n)
	}
	return ns
}

// deviceStaticCode is a code on paper at the counter, as terminals tell their
// type (cup-pos A5).
const deviceStaticCode = 11

// codes are the methods of paying by a code.
const codes = txn.Methods(3) << (2 * txn.WayCode)

// overTransaction compares one amount with the limits per transaction. Of
// several that it passes the smallest is told.
func (j *judgement) overTransaction(needs []need, minor int64) bool {
	var v txn.Verdict
	for i := range needs {
		l := needs[i].bounds.Transaction
		if l > 0 && minor > l && (v.Reason == txn.Approved || l < v.Limit) {
			v = txn.Verdict{Reason: txn.AmountIsOverTransactionLimit, Scope: needs[i].scope, Limit: l, Used: minor}
		}
	}
	if v.Reason == txn.Approved || !j.counts(ruleL02, 0, v.Used, v.Limit, v.Reason) {
		return false
	}
	j.v.Scope, j.v.Limit, j.v.Used = v.Scope, v.Limit, v.Used
	return true
}

// limitClass is what a limit bounds.
type limitClass uint8

// The classes, in the order in which they are told.
const (
	dayAmount limitClass = iota
	monthAmount
	dayCount
	monthCount
	limitClasses
)

var classReasons = [limitClasses]txn.Reason{txn.DayAmountIsOverLimit, txn.MonthAmountIsOverLimit, txn.DayCountIsOverLimit, txn.MonthCountIsOverLimit}

// of is the limit of a class and what counts against it. Where there is none, it
// is what a counter holds.
func (n *need) of(c limitClass, minor int64) (limit, used, more int64, set bool) {
	switch c {
	case dayAmount:
		limit, used, more = n.bounds.DayAmount, n.day.Minor, minor
	case monthAmount:
		limit, used, more = n.bounds.MonthAmount, n.month.Minor, minor
	case dayCount:
		limit, used, more = int64(n.bounds.DayCount), n.day.Count, 1
	case monthCount:
		limit, used, more = int64(n.bounds.MonthCount), n.month.Count, 1
	}
	if limit > 0 {
		return limit, used, more, true
	}
	if c == dayAmount || c == monthAmount {
		return math.MaxInt64, used, more, false
	}
	return math.MaxInt32, used, more, false
}

// within says that what would be used passes no limit: first all amounts, then
// all counts. Of several passed the smallest is told.
func (j *judgement) within(needs []need, minor int64) bool {
	for c := range limitClasses {
		var over txn.Verdict
		var rule txn.Rule
		for i := range needs {
			limit, used, more, set := needs[i].of(c, minor)
			if used <= limit-more || over.Reason != txn.Approved && over.Limit <= limit {
				continue
			}
			r := needs[i].rule
			if r == 0 && c <= monthAmount {
				r = ruleL03
			} else if r == 0 {
				r = ruleL04
			}
			if set && !j.refuses(r) {
				if j.told(r) {
					continue
				}
				j.counts(r, 0, saturated(used, more), limit, classReasons[c])
				continue
			}
			over = txn.Verdict{Reason: classReasons[c], Scope: needs[i].scope, Limit: limit, Used: saturated(used, more)}
			rule = r
		}
		if over.Reason != txn.Approved {
			j.v.Reason, j.v.Scope, j.v.Limit, j.v.Used = over.Reason, over.Scope, over.Limit, over.Used
			j.counts(rule, 0, over.Used, over.Limit, over.Reason)
			return false
		}
	}
	return true
}
