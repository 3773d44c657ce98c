package risk

import (
	"errors"
	"fmt"

	"github.com/acqswitch/acqswitch/risk/rules"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Setting is how a built-in rule is applied: Action 0 is the catalogue's.
type Setting struct {
	Mode   rules.Mode
	Action txn.Action
}

// Policy is what the risk officer decides, besides the registry. It is a value:
// once an Engine has it, it must not be changed any more; a change is another
// policy. DefaultPolicy says what each field is without one.
//
// Days are business days; To is the last one, 0 is open. Amounts are minor units.
type Policy struct {
	Number uint32 // in every finding made under it; 0 is the one built in

	// Rules says how built-in rules are applied, where not as in the Catalogue.
	Rules map[txn.Rule]Setting

	// Own are the risk officer's own rules, in the order in which they are asked.
	Own []rules.Rule
	// Lists are what their conditions look things up in.
	Lists []rules.List

	Places   Places
	Patterns Patterns
	Classes  [MerchantTypes]Crossing // by txn.MerchantType
	Permits  []Permit

	Plans     []Plan
	Overrides []Override
	Legal     Legal

	// Blocked are cards that are refused (R08).
	Blocked map[txn.CardToken]Block
	// Shunned are persons and enterprises whose merchants are refused (M02).
	Shunned map[txn.Identity]struct{}
}

// MerchantTypes is the number of classes of merchants.
const MerchantTypes = int(txn.Micro) + 1

// Places are the parameters of where a terminal may be.
type Places struct {
	InfoFrom     txn.Date // T04: before this day missing information alerts only; 0 is always refused
	SilentMax    uint8    // T10: so many requests in a row may be without a place, and alert
	RadiusMetres uint32   // T11: of premises that state no radius
	FarMax       uint8    // T11: so many requests in a row may be away from the premises, and alert
	FarMetres    uint32   // T11: what is further away is refused at once
	SpeedMax     uint32   // T14: kilometres an hour between two requests
}

// Crossing is what is done where a place is outside the merchant's own city,
// province or country, and the merchant's row or a permit does not allow it
// (T13); 0 lets it pass.
type Crossing struct{ City, Province, Border txn.Action }

// Permit lets a merchant's terminal work in a region for a time, as chain stores and
// travelling merchants ask for. A zero Terminal means all of the merchant's.
type Permit struct {
	Merchant txn.MerchantID
	Terminal txn.TerminalID
	Region   txn.Region // 0: anywhere in Country
	Country  uint16     // ISO 3166 numeric; 0 is China
	From, To txn.Date
}

// Plan are the limits of the merchants and terminals whose row names it. Plan 0
// is of those that name none. A terminal that names a plan has the plan's
// terminal limits; all others are its merchant's.
type Plan struct {
	Number uint16
	Name   string
	Limits []Limit
	// CodeLevel is by how much payers identify themselves where a code is scanned
	// (L05); a static code at the counter is D, whatever stands here.
	CodeLevel CodeLevel
	// NoPINRefused refuses contactless payments without a PIN of any amount (L06).
	NoPINRefused bool
}

// Limit bounds the use of one party. What it says nothing of is not bounded.
// Of several the smallest applies.
type Limit struct {
	Scope    txn.LimitScope // whose use
	Currency txn.Currency
	Methods  txn.Methods // of payments by these alone; 0 is all
	Cards    txn.Cards   // of cards of these types alone; 0 is all
	MCC      uint16      // at merchants of this category alone; 0 is all
	Region   txn.Region  // at merchants in it alone; 0 is all
	From, To txn.Date
	Bounds   txn.Limits
}

// Override is a limit of one party in place of its plan's that counts the same.
// ID is the terminal's or merchant's, zero padded, or the card's or identity's
// keyed hash.
type Override struct {
	ID [16]byte
	Limit
}

// CodeLevel is by how much a payer is identified who shows a code or scans one
// (Yinfa [2017] 296).
type CodeLevel uint8

// The levels.
const (
	CodeA CodeLevel = iota // by a certificate: as agreed
	CodeB                  // by two elements
	CodeC                  // by fewer
	CodeD                  // static codes
)

// CodeLevels is the number of levels.
const CodeLevels = 4

func (l CodeLevel) String() string { return string('A' + rune(l)) }

// Legal are limits that the regulator sets, in minor units of CNY; 0 is none.
type Legal struct {
	MicroCreditDay   int64 // M05: credit cards a day at all merchants of one micro merchant's person
	MicroCreditMonth int64
	CodeDay          [CodeLevels]int64 // L05: codes a day of one payer, by level
	NoPIN            int64             // L06: one contactless payment without PIN
}

// Block is why a card is refused, and when.
type Block struct {
	Why      BlockReason
	From, To txn.Date
}

// BlockReason is what a list says of a card.
type BlockReason uint8

// The reasons.
const (
	BlockRestricted BlockReason = iota
	BlockLost
	BlockStolen
)

// Bounds of a policy. A plan's limits are compared with every request of it.
const (
	PlansMax     = 10_000
	PlanLimits   = 20
	BlockedMax   = 10_000_000
	PermitsMax   = 1_000_000
	OverridesMax = 1_000_000
)

// DefaultPolicy is the policy where nobody has decided otherwise: the
// catalogue's own actions and numbers, and no limits but the registry's.
func DefaultPolicy() Policy {
	p := Policy{
		Patterns: defaultPatterns,
		Places:   Places{SilentMax: 2, RadiusMetres: 500, FarMax: 2, FarMetres: 50_000, SpeedMax: 200},
		Legal: Legal{MicroCreditDay: 1_000_00, MicroCreditMonth: 10_000_00,
			CodeDay: [CodeLevels]int64{CodeB: 5_000_00, CodeC: 1_000_00, CodeD: 500_00}, NoPIN: 1_000_00},
	}
	for i := range p.Classes {
		p.Classes[i] = Crossing{txn.ActionRefuse, txn.ActionRefuse, txn.ActionRefuse}
	}
	return p
}

// rulebook is a policy as requests are held to it; immutable.
type rulebook struct {
	policy   Policy
	settings [txn.RuleCustom]Setting
	plans    []*Plan // by number; where there is none, 0 is meant
	permit   map[txn.MerchantID][]Permit
	override map[partyKey][]Limit
	own      *rules.Set
	windows  windows // that a rule asks
	counted  windows // that Learn counts
	useAsked [2]scopeSet
}

type partyKey struct {
	scope txn.LimitScope
	id    [16]byte
}

// problemsMax is how many faults of a policy are named at one time.
const problemsMax = 20

// faults are what is wrong with a policy, each about one entry.
type faults []error

func (f *faults) add(format string, args ...any) {
	if len(*f) < problemsMax {
		*f = append(*f, fmt.Errorf(format, args...))
	}
}

// newRulebook checks p for an engine that counts cards by month or does not. Its
// errors are joined, each about one entry.
func newRulebook(p Policy, cardMonths bool) (*rulebook, error) {
	b := &rulebook{policy: p, plans: make([]*Plan, 1), permit: map[txn.MerchantID][]Permit{}, override: map[partyKey][]Limit{}}
	var wrong faults
	own, err := rules.New(p.Own, p.Lists...)
	if err != nil {
		wrong = append(wrong, err)
	}
	b.own = own
	b.setBuiltins(&wrong)
	for _, most := range []struct {
		what   string
		n, max int
	}{{"plans", len(p.Plans), PlansMax}, {"permits", len(p.Permits), PermitsMax}, {"overrides", len(p.Overrides), OverridesMax}, {"blocked cards", len(p.Blocked), BlockedMax}} {
		if most.n > most.max {
			wrong.add("%s are %d, at most %d may be", most.what, most.n, most.max)
		}
	}
	b.setPlans(cardMonths, &wrong)
	b.setParties(cardMonths, &wrong)
	if err := p.Patterns.check(); err != nil {
		wrong.add("%w", err)
	}
	for i, c := range p.Classes {
		if max(c.City, c.Province, c.Border) > txn.ActionRefuse {
			wrong.add("what crossings of %s merchants do is invalid", txn.MerchantType(i))
		}
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	b.windows, b.counted = b.windowsAsked(), ofBuiltin|b.ownWindows()
	b.useAsked = b.usesAsked()
	return b, nil
}

// setBuiltins works out how each built-in rule is set: as the policy says, else as the
// catalogue does.
func (b *rulebook) setBuiltins(wrong *faults) {
	for i := range b.settings {
		b.settings[i].Mode = rules.Off
	}
	for _, r := range builtins {
		s := b.policy.Rules[r.Rule]
		if r.Fixed && s != (Setting{}) && s != (Setting{Action: r.Action}) {
			wrong.add("rule %s cannot be changed: without it there is nothing to decide on", r.Rule)
		}
		if s.Mode > rules.Off || s.Action > txn.ActionRefuse {
			wrong.add("rule %s has mode %d and action %d: one of them is none", r.Rule, s.Mode, s.Action)
			continue
		}
		if s.Action == 0 {
			s.Action = r.Action
		}
		b.settings[r.Rule] = s
	}
	for r := range b.policy.Rules {
		if r >= txn.RuleCustom || b.settings[r].Action == 0 {
			wrong.add("rule %s is not built in", r)
		}
	}
}

// setPlans puts each plan at its number. Plan 0, of merchants without one, is empty
// where the policy has none.
func (b *rulebook) setPlans(cardMonths bool, wrong *faults) {
	for i := range b.policy.Plans {
		plan := &b.policy.Plans[i]
		if n := int(plan.Number) + 1; n > len(b.plans) {
			b.plans = append(b.plans, make([]*Plan, n-len(b.plans))...)
		}
		if b.plans[plan.Number] != nil {
			wrong.add("plan %d is there twice", plan.Number)
		}
		if len(plan.Limits) > PlanLimits {
			wrong.add("plan %d has %d limits, at most %d may be", plan.Number, len(plan.Limits), PlanLimits)
		}
		if int(plan.CodeLevel) >= CodeLevels {
			wrong.add("plan %d has code level %d: A to D are 0 to 3", plan.Number, plan.CodeLevel)
		}
		for j := range plan.Limits {
			if err := plan.Limits[j].check(cardMonths); err != nil {
				wrong.add("plan %d %s, limit %d: %w", plan.Number, plan.Name, j+1, err)
			}
		}
		b.plans[plan.Number] = plan
	}
	if b.plans[0] == nil {
		b.plans[0] = &Plan{}
	}
}

// setParties gives each party its overrides and permits.
func (b *rulebook) setParties(cardMonths bool, wrong *faults) {
	for i := range b.policy.Overrides {
		o := &b.policy.Overrides[i]
		if err := o.check(cardMonths); err != nil {
			wrong.add("override %d: %w", i+1, err)
		}
		k := partyKey{o.Scope, o.ID}
		b.override[k] = append(b.override[k], o.Limit)
	}
	for i, permit := range b.policy.Permits {
		if permit.To != 0 && permit.To < permit.From {
			wrong.add("permit %d of merchant %s ends on %s, before it begins on %s", i+1, permit.Merchant, permit.To, permit.From)
		}
		b.permit[permit.Merchant] = append(b.permit[permit.Merchant], permit)
	}
}

// check says what is wrong with a limit, apart from what else the policy has.
func (l *Limit) check(cardMonths bool) error {
	x := &l.Bounds
	switch _, known := l.Currency.Exponent(); {
	case l.Scope < txn.ScopeTerminal || l.Scope > txn.ScopeIdentity:
		return errors.New("it is of nobody: give terminal, merchant, card or identity")
	case !known:
		return fmt.Errorf("currency %s is not in ISO 4217", l.Currency)
	case min(x.Transaction, x.DayAmount, x.MonthAmount) < 0:
		return errors.New("an amount is negative: leave it out for no limit")
	case l.Scope == txn.ScopeCard && (x.MonthAmount > 0 || x.MonthCount > 0) && !cardMonths:
		return errors.New("it is of a card's month, and cards are not counted by month: set risk.cards_per_month_max and start again")
	case l.To != 0 && l.To < l.From:
		return fmt.Errorf("it ends on %s, before it begins on %s", l.To, l.From)
	case l.Methods>>txn.MethodCount != 0:
		return errors.New("a method of payment is none")
	}
	return nil
}

// Check says what is wrong with p, whatever engine it is for.
func (p Policy) Check() error {
	_, err := newRulebook(p, true)
	return err
}

// SetPolicy puts p in force for every request assessed from now on, or says all
// that is wrong with it and leaves the one before in force.
func (e *Engine) SetPolicy(p Policy) error {
	b, err := newRulebook(p, e.cardsMonthMax > 0)
	if err != nil {
		return fmt.Errorf("policy %d: %w", p.Number, err)
	}
	if before := e.rules.Load(); before != nil {
		b.own.Inherit(before.own)
	}
	e.rules.Store(b)
	return nil
}

// Own are the risk officer's rules in force, with how often they found something.
func (e *Engine) Own() *rules.Set { return e.rules.Load().own }

// Policy is the policy in force. Nothing in it may be changed.
func (e *Engine) Policy() Policy { return e.rules.Load().policy }
