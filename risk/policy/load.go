// Package policy is the document in which the risk officer writes down what he
// decides: how far built-in rules go, limits, permits, lists and rules of his
// own; and the store of its versions, of which the last is in force.
//
// Promises: a document is read as a whole or refused with everything that is
// wrong with it, by line and field; no card number stands in one, only the
// tokens that `acqswitch risk card-token` makes of them; a version is never
// changed, and two people stand behind it.
//
// Not here: what a policy does with a request (package risk).
package policy

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/risk/rules"
	"github.com/acqswitch/acqswitch/switch/telemetry"
	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

const (
	// DocumentMax bounds a document, in bytes, as approval.DocumentMax does.
	DocumentMax = 4 << 20
	emptyFile   = `a policy without decisions says "version: 1"`
	passes      = "pass" // the word for no action
	china       = 156
)

// Load reads a document; name is what errors call it. It returns the policy,
// which has no number yet, or the first problems of the document as joined
// *yamlfile.Problems: unknown keys, words and regions that there are not, a
// condition that does not compile. What is not in the document is as
// risk.DefaultPolicy has it.
func Load(text []byte, name string) (risk.Policy, error) {
	if len(text) > DocumentMax {
		return risk.Policy{}, fmt.Errorf("read %s: it is larger than %d bytes", name, DocumentMax)
	}
	doc, err := yamlfile.Decode[document](text, name, emptyFile)
	if err != nil {
		return risk.Policy{}, err
	}
	l := loader{Problems: yamlfile.Problems{File: name}, p: risk.DefaultPolicy()}
	l.document(doc)
	if err := l.Err(); err != nil {
		return risk.Policy{}, err
	}
	if err := l.p.Check(); err != nil {
		return risk.Policy{}, fmt.Errorf("%s: %w", name, err)
	}
	return l.p, nil
}

// loader fills the policy and collects what is wrong.
type loader struct {
	yamlfile.Problems
	p risk.Policy
}

// name is a name that is shown to people and kept for ever.
func (l *loader) name(s yamlfile.Scalar, field string) string {
	if telemetry.Mask(s.Text) != s.Text {
		l.Add(s, field, "holds what looks like a card number: call it otherwise")
		return "a-name"
	}
	return s.Text
}

func (l *loader) document(d *document) {
	l.Version(d.Version)
	l.builtins(d.Builtin)
	l.places(&d.Places)
	l.patterns(&d.Patterns)
	l.legal(&d.Legal)
	for i := range d.Crossings {
		l.crossing(&d.Crossings[i])
	}
	for i := range d.Permits {
		l.permit(&d.Permits[i])
	}
	for i := range d.Plans {
		l.plan(&d.Plans[i])
	}
	for i := range d.Overrides {
		l.override(&d.Overrides[i])
	}
	l.parties(d)
	for i := range d.Lists {
		l.list(&d.Lists[i])
	}
	l.rules(d.Rules)
}

func (l *loader) builtins(ys []builtinYAML) {
	known := map[string]risk.Builtin{}
	for _, b := range risk.Catalogue() {
		known[b.Rule.String()] = b
	}
	for i := range ys {
		y := &ys[i]
		at := yamlfile.First(y.Rule, y.Mode, y.Action).Or(y.Rule)
		b, ok := known[y.Rule.Text]
		s := risk.Setting{Mode: l.mode(y.Mode, "builtin[].mode")}
		if y.Action.Line > 0 {
			s.Action = l.action(y.Action, "builtin[].action", false)
		}
		if _, twice := l.p.Rules[b.Rule]; twice {
			l.Add(y.Rule, "builtin[].rule", "%s stands here twice", y.Rule.Text)
		}
		switch {
		case !ok:
			l.Add(at.Or(y.Rule), "builtin[].rule", "%q is no built-in rule: docs/risk.md lists them", y.Rule.Text)
			continue
		case b.Fixed && (s.Mode != rules.Enforce || s.Action != 0 && s.Action != b.Action):
			l.Add(y.Rule, "builtin[].rule", "%s cannot be changed: without it there is nothing to decide on", y.Rule.Text)
			continue
		}
		if l.p.Rules == nil {
			l.p.Rules = map[txn.Rule]risk.Setting{}
		}
		l.p.Rules[b.Rule] = s
	}
}

func (l *loader) places(y *placesYAML) {
	p := &l.p.Places
	p.InfoFrom = l.date(y.InfoFrom, "places.info_from")
	whole(l, y.SilentMax, "places.silent_max", &p.SilentMax, math.MaxUint8)
	whole(l, y.Radius, "places.radius_m", &p.RadiusMetres, 2_000)
	whole(l, y.FarMax, "places.far_max", &p.FarMax, math.MaxUint8)
	whole(l, y.Far, "places.far_m", &p.FarMetres, 20_000_000)
	whole(l, y.Speed, "places.speed_max_kmh", &p.SpeedMax, 10_000)
}

func (l *loader) patterns(y *patternsYAML) {
	p := &l.p.Patterns
	for _, f := range []struct {
		s     yamlfile.Scalar
		field string
		to    *uint8
		most  uint64
	}{
		{y.Repeats, "repeats", &p.Repeats, 15}, {y.RepeatsDay, "repeats_day", &p.RepeatsDay, 255}, {y.RepeatsMax, "repeats_max", &p.RepeatsMax, 15},
		{y.CreditPercent, "credit_percent", &p.CreditPercent, 99}, {y.NearCount, "near_count", &p.NearCount, 255},
		{y.NightPercent, "night_percent", &p.NightPercent, 99}, {y.NightFrom, "night_from", &p.NightFrom, 255},
		{y.SurgeTimes, "surge_times", &p.SurgeTimes, 255}, {y.Declines, "declines", &p.Declines, 15}, {y.DeclinedCards, "declined_cards", &p.DeclinedCards, 16},
		{y.RefundPercent, "refund_percent", &p.RefundPercent, 255}, {y.RefundsFrom, "refunds_from", &p.RefundsFrom, 255},
		{y.Provinces, "provinces", &p.Provinces, 3}, {y.BackwardsMax, "backwards_max", &p.BackwardsMax, 254},
	} {
		whole(l, f.s, "patterns."+f.field, f.to, f.most)
	}
	if p.Provinces == 1 {
		l.Add(y.Provinces, "patterns.provinces", "\"1\" is every card: give 0, 2 or 3")
	}
	if y.CreditFrom.Line > 0 {
		p.CreditFrom = l.amount(y.CreditFrom, "patterns.credit_from", txn.CNY)
	}
	if len(y.Near) > risk.NearMax {
		l.Add(y.Near[0], "patterns.near", "are %d amounts, at most %d may be", len(y.Near), risk.NearMax)
		return
	}
	if y.Near != nil {
		p.Near = [risk.NearMax]int64{}
	}
	for i, s := range y.Near {
		p.Near[i] = l.amount(s, "patterns.near[]", txn.CNY)
	}
}

func (l *loader) legal(y *legalYAML) {
	p := &l.p.Legal
	for _, f := range []struct {
		s     yamlfile.Scalar
		field string
		to    *int64
	}{
		{y.MicroDay, "micro_credit_day", &p.MicroCreditDay}, {y.MicroMonth, "micro_credit_month", &p.MicroCreditMonth},
		{y.CodeA, "code_day_a", &p.CodeDay[risk.CodeA]}, {y.CodeB, "code_day_b", &p.CodeDay[risk.CodeB]},
		{y.CodeC, "code_day_c", &p.CodeDay[risk.CodeC]}, {y.CodeD, "code_day_d", &p.CodeDay[risk.CodeD]},
		{y.NoPIN, "no_pin", &p.NoPIN},
	} {
		if f.s.Line > 0 {
			*f.to = l.amount(f.s, "legal."+f.field, txn.CNY)
		}
	}
}

func (l *loader) crossing(y *crossingYAML) {
	t := oneOf[txn.MerchantType](l, yamlfile.First(y.City, y.Province, y.Border).Or(y.Merchants), "crossings[].merchants")
	c := &l.p.Classes[t]
	for _, f := range []struct {
		s     yamlfile.Scalar
		field string
		to    *txn.Action
	}{{y.City, "city", &c.City}, {y.Province, "province", &c.Province}, {y.Border, "border", &c.Border}} {
		if f.s.Line > 0 {
			*f.to = l.action(f.s, "crossings[]."+f.field, true)
		}
	}
}

func (l *loader) permit(y *permitYAML) {
	at := yamlfile.First(y.Merchant, y.Terminal, y.Region, y.Country, y.From, y.Until)
	p := risk.Permit{Region: l.region(y.Region, "permits[].region"), From: l.date(y.From, "permits[].from"), To: l.date(y.Until, "permits[].until")}
	p.Merchant = txn.MakeMerchantID(l.id(at.Or(y.Merchant), "permits[].merchant", len(p.Merchant)))
	if y.Terminal.Line > 0 {
		p.Terminal = txn.MakeTerminalID(l.id(y.Terminal, "permits[].terminal", len(p.Terminal)))
	}
	if y.Country.Line > 0 {
		p.Country = l.country(y.Country, "permits[].country")
	}
	if p.Region == 0 && p.Country == 0 && y.Region.Line == 0 {
		l.Add(at, "permits[].region", "is missing: give a region of GB/T 2260, or a country abroad")
	}
	l.ordered(y.Until, "permits[].until", p.From, p.To)
	l.p.Permits = append(l.p.Permits, p)
}

func (l *loader) plan(y *planYAML) {
	at := yamlfile.First(y.Number, y.Name, y.Level, y.NoPIN)
	p := risk.Plan{Name: l.name(y.Name, "plans[].name")}
	if y.Number.Line == 0 {
		l.Add(at, "plans[].number", "is missing: 0 is the plan of merchants that name none")
	}
	whole(l, y.Number, "plans[].number", &p.Number, math.MaxUint16)
	if len(p.Name) == 0 || len(p.Name) > 40 {
		l.Add(at.Or(y.Name), "plans[].name", "%q must be 1 to 40 characters", p.Name)
	}
	if slices.ContainsFunc(l.p.Plans, func(q risk.Plan) bool { return q.Number == p.Number }) {
		l.Add(at.Or(y.Number), "plans[].number", "%d is used twice: give one of the plans another number", p.Number)
	}
	if y.Level.Line > 0 {
		if i := strings.Index("ABCD", y.Level.Text); len(y.Level.Text) == 1 && i >= 0 {
			p.CodeLevel = risk.CodeLevel(i)
		} else {
			l.Add(y.Level, "plans[].code_level", "%q must be A, B, C or D", y.Level.Text)
		}
	}
	if y.NoPIN.Line > 0 {
		if p.NoPINRefused = y.NoPIN.Text == "refuse"; !p.NoPINRefused && y.NoPIN.Text != "allow" {
			l.Add(y.NoPIN, "plans[].no_pin", "%q must be allow or refuse", y.NoPIN.Text)
		}
	}
	if len(y.Limits) > risk.PlanLimits {
		l.Add(at, "plans[].limits", "are %d, at most %d may be", len(y.Limits), risk.PlanLimits)
		y.Limits = nil
	}
	for i := range y.Limits {
		p.Limits = append(p.Limits, l.limit(&y.Limits[i], at, "plans[].limits[]"))
	}
	l.p.Plans = append(l.p.Plans, p)
}

func (l *loader) limit(y *limitYAML, at yamlfile.Scalar, field string) risk.Limit {
	if s := yamlfile.First(y.Of, y.Currency, y.MCC, y.Region, y.From, y.Until, y.Transaction, y.DayAmount, y.DayCount, y.MonthAmount, y.MonthCount); s.Line > 0 {
		at = s
	}
	x := risk.Limit{Scope: l.scope(at.Or(y.Of), field+".of"), Currency: txn.CNY, Region: l.region(y.Region, field+".region"),
		From: l.date(y.From, field+".from"), To: l.date(y.Until, field+".until")}
	if y.Currency.Line > 0 {
		x.Currency = l.currency(y.Currency, field+".currency")
	}
	for _, s := range y.Methods {
		m, ok := txn.ParseMethods(s.Text)
		if !ok {
			l.Add(s, field+".methods[]", "%q must be a way of reading a card, such as chip or contactless, alone or with +pin or -pin", s.Text)
		}
		x.Methods |= m
	}
	for _, s := range y.Cards {
		x.Cards |= 1 << oneOf[txn.CardType](l, s, field+".cards[]")
	}
	whole(l, y.MCC, field+".mcc", &x.MCC, 9999)
	l.ordered(y.Until, field+".until", x.From, x.To)
	b, bounded := &x.Bounds, false
	for _, f := range []struct {
		s    yamlfile.Scalar
		name string
		to   *int64
	}{{y.Transaction, "transaction", &b.Transaction}, {y.DayAmount, "day_amount", &b.DayAmount}, {y.MonthAmount, "month_amount", &b.MonthAmount}} {
		if f.s.Line > 0 {
			if *f.to, bounded = l.amount(f.s, field+"."+f.name, x.Currency), true; *f.to == 0 {
				l.Add(f.s, field+"."+f.name, "%q must be more than 0: leave it out for no limit", f.s.Text)
			}
		}
	}
	for _, f := range []struct {
		s    yamlfile.Scalar
		name string
		to   *uint32
	}{{y.DayCount, "day_count", &b.DayCount}, {y.MonthCount, "month_count", &b.MonthCount}} {
		if f.s.Line > 0 {
			if whole(l, f.s, field+"."+f.name, f.to, math.MaxUint32); *f.to == 0 {
				l.Add(f.s, field+"."+f.name, "%q must be more than 0: leave it out for no limit", f.s.Text)
			}
			bounded = true
		}
	}
	if !bounded {
		l.Add(at, field, "bounds nothing: give transaction, day_amount, day_count, month_amount or month_count")
	}
	return x
}

func (l *loader) override(y *overrideYAML) {
	const field = "overrides[]"
	o := risk.Override{Limit: l.limit(&y.Limit, y.ID, field)}
	at := yamlfile.First(y.ID, y.Limit.Of).Or(y.ID)
	switch o.Scope {
	case txn.ScopeTerminal:
		id := txn.MakeTerminalID(l.id(at, field+".id", len(txn.TerminalID{})))
		copy(o.ID[:], id[:])
	case txn.ScopeMerchant:
		id := txn.MakeMerchantID(l.id(at, field+".id", len(txn.MerchantID{})))
		copy(o.ID[:], id[:])
	default:
		o.ID = l.token(at, field+".id")
	}
	l.p.Overrides = append(l.p.Overrides, o)
}

// blockNames are the reasons for which a card is refused.
var blockNames = [...]string{risk.BlockRestricted: "restricted", risk.BlockLost: "lost", risk.BlockStolen: "stolen"}

func (l *loader) parties(d *document) {
	for i := range d.Cards {
		y := &d.Cards[i]
		const field = "blocked_cards[]"
		at := yamlfile.First(y.Card, y.Why, y.From, y.Until)
		b := risk.Block{From: l.date(y.From, field+".from"), To: l.date(y.Until, field+".until")}
		if y.Why.Line > 0 {
			n := slices.Index(blockNames[:], y.Why.Text)
			if n < 0 {
				l.Add(y.Why, field+".why", "%q must be one of %s", y.Why.Text, strings.Join(blockNames[:], ", "))
			}
			b.Why = risk.BlockReason(max(n, 0))
		}
		l.ordered(y.Until, field+".until", b.From, b.To)
		if l.p.Blocked == nil {
			l.p.Blocked = map[txn.CardToken]risk.Block{}
		}
		card := txn.CardToken(l.token(at.Or(y.Card), field+".card"))
		if _, twice := l.p.Blocked[card]; twice {
			l.Add(y.Card, field+".card", "the card stands here twice")
		}
		l.p.Blocked[card] = b
	}
	for _, s := range d.Persons {
		if l.p.Shunned == nil {
			l.p.Shunned = map[txn.Identity]struct{}{}
		}
		l.p.Shunned[l.token(s, "shunned_persons[]")] = struct{}{}
	}
}

func (l *loader) list(y *listYAML) {
	const field = "lists[]"
	x := rules.List{Name: l.name(y.Name, field+".name")}
	at := yamlfile.First(y.Name, y.Of)
	if !rules.ListNamed(x.Name) {
		l.Add(at.Or(y.Name), field+".name", "%q must be of lower-case letters, digits and underscores, a letter first, at most 40", x.Name)
	}
	if slices.ContainsFunc(l.p.Lists, func(z rules.List) bool { return z.Name == x.Name }) {
		l.Add(at.Or(y.Name), field+".name", "another list is called %q", x.Name)
	}
	if len(l.p.Lists) == rules.ListsMax {
		l.Add(at, "lists", "there are more than %d lists", rules.ListsMax)
		return
	}
	var ok bool
	if x.Of, ok = rules.ParseFact(y.Of.Text); !ok {
		l.Add(at.Or(y.Of), field+".of", "%q is no fact: acqswitch risk facts lists them, such as merchant.mcc", y.Of.Text)
		return
	}
	if len(y.Entries) > rules.ListEntriesMax {
		l.Add(at, field+".entries", "are %d, at most %d may be", len(y.Entries), rules.ListEntriesMax)
		return
	}
	seen := make(map[string]bool, len(y.Entries))
	for _, s := range y.Entries {
		if err := rules.CheckEntry(x.Of, s.Text); err != nil {
			l.Add(s, field+".entries[]", "%v", err)
		} else if seen[s.Text] {
			l.Add(s, field+".entries[]", "it stands in list %q twice", x.Name)
		}
		seen[s.Text] = true
		x.Entries = append(x.Entries, s.Text)
	}
	l.p.Lists = append(l.p.Lists, x)
}

func (l *loader) rules(ys []ruleYAML) {
	before := l.Len()
	for i := range ys {
		y := &ys[i]
		const field = "rules[]"
		at := yamlfile.First(y.Number, y.Name, y.When, y.Action, y.Refuse, y.OnError, y.Mode, y.From, y.Until)
		r := rules.Rule{Name: l.name(y.Name, field+".name"), When: y.When.Text, Mode: l.mode(y.Mode, field+".mode"),
			From: l.date(y.From, field+".from"), Until: l.date(y.Until, field+".until")}
		whole(l, y.Number, field+".number", (*uint16)(&r.Number), math.MaxUint16)
		if y.When.Line == 0 {
			l.Add(at, field+".when", "is missing: it is the condition, such as amount > 1000_00")
		}
		r.Action = l.action(at.Or(y.Action), field+".action", false)
		if reason, ok := rules.Refusals[y.Refuse.Text]; ok && r.Action == txn.ActionRefuse {
			r.Reason = reason
		} else if r.Action == txn.ActionRefuse {
			l.Add(at.Or(y.Refuse), field+".refuse_as", "%q must be card (57), transaction (58), amount (61) or frequency (65)", y.Refuse.Text)
		} else if y.Refuse.Line > 0 {
			l.Add(y.Refuse, field+".refuse_as", "means nothing to a rule that does not refuse: remove it")
		}
		switch {
		case y.OnError.Line == 0 || y.OnError.Text == passes:
		case y.OnError.Text == "refuse" && r.Action == txn.ActionRefuse:
			r.RefuseOnError = true
		default:
			l.Add(y.OnError, field+".on_error", "%q must be pass, or refuse for a rule that refuses", y.OnError.Text)
		}
		l.p.Own = append(l.p.Own, r)
	}
	if l.Len() > before {
		return
	}
	if _, err := rules.New(l.p.Own, l.p.Lists...); err != nil {
		l.ruleProblems(ys, err)
	}
}

// ruleProblems puts what is wrong with rules on the lines where they stand.
func (l *loader) ruleProblems(ys []ruleYAML, err error) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		l.Add(yamlfile.Scalar{}, "rules", "%v", err)
		return
	}
	for _, err := range joined.Unwrap() {
		var p *rules.Problem
		if !errors.As(err, &p) {
			l.Add(yamlfile.Scalar{}, "rules", "%v", err)
			continue
		}
		y := &ys[p.At]
		at := map[string]yamlfile.Scalar{"name": y.Name, "number": y.Number, "until": y.Until, "when": y.When}[p.Field]
		at = yamlfile.First(y.Number, y.Name, y.When).Or(at)
		what := p.Err.Error()
		if e := (*rules.Error)(nil); errors.As(p.Err, &e) {
			at.Line += e.Line - 1
			what = fmt.Sprintf("column %d: %s", e.Column, e.What)
		}
		l.Add(at, "rules[]."+p.Field, "rule %q: %s", p.Name, what)
	}
}
