package risk

import (
	"github.com/acqswitch/acqswitch/risk/rules"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// The built-in rules, as the regulator's catalogue numbers them.
const (
	ruleT01 txn.Rule = 101
	ruleT02 txn.Rule = 102
	ruleT03 txn.Rule = 103
	ruleT04 txn.Rule = 104
	ruleT05 txn.Rule = 105
	ruleT07 txn.Rule = 107
	ruleT09 txn.Rule = 109
	ruleT10 txn.Rule = 110
	ruleT11 txn.Rule = 111
	ruleT12 txn.Rule = 112
	ruleT13 txn.Rule = 113
	ruleM01 txn.Rule = 201
	ruleM02 txn.Rule = 202
	ruleM05 txn.Rule = 205
	ruleM07 txn.Rule = 207
	ruleL01 txn.Rule = 301
	ruleL02 txn.Rule = 302
	ruleL03 txn.Rule = 303
	ruleL04 txn.Rule = 304
	ruleL05 txn.Rule = 305
	ruleR03 txn.Rule = 403
	ruleR04 txn.Rule = 404
	ruleR05 txn.Rule = 405
	ruleR06 txn.Rule = 406
	ruleR07 txn.Rule = 407
	ruleR09 txn.Rule = 409
	ruleR11 txn.Rule = 411
	ruleS01 txn.Rule = 501
	ruleS06 txn.Rule = 506
	ruleS07 txn.Rule = 507 // ours, not the regulator's
	ruleT14 txn.Rule = 114
	ruleM03 txn.Rule = 203
	ruleM04 txn.Rule = 204
	ruleL06 txn.Rule = 306
	ruleR01 txn.Rule = 401
	ruleR02 txn.Rule = 402
	ruleR08 txn.Rule = 408
)

// Builtin is one rule that needs no writing: its number in the regulator's
// catalogue, what it looks for, and what it does where a policy does not say
// otherwise.
type Builtin struct {
	Rule   txn.Rule
	Finds  string
	Action txn.Action
	// Fixed rules cannot be weakened: without them there is nothing to decide on.
	Fixed bool
}

// builtins are in the order in which they are asked.
var builtins = []Builtin{
	{ruleM01, "merchant is unknown", txn.ActionRefuse, true},
	{ruleM02, "merchant is not active", txn.ActionRefuse, true},
	{ruleT01, "terminal is unknown or not active", txn.ActionRefuse, true},
	{ruleT02, "terminal is bound to another merchant", txn.ActionRefuse, true},
	{ruleT09, "message came by another telephone line than the registered one", txn.ActionRefuse, false},
	{ruleT04, "message says nothing of the machine, and must", txn.ActionRefuse, false},
	{ruleT03, "serial is not the registered one", txn.ActionRefuse, false},
	{ruleT05, "random factor or ciphertext of the serial is wrong", txn.ActionRefuse, false},
	{ruleS01, "software is older than its model's policy allows", txn.ActionRefuse, false},
	{ruleS06, "trace number is behind the last of its batch, as where two machines share a number", txn.ActionAlert, false},
	{ruleT10, "message says nothing of the place, and must", txn.ActionRefuse, false},
	{ruleT11, "fixed terminal is away from its premises", txn.ActionRefuse, false},
	{ruleT12, "terminal that moves is outside its areas", txn.ActionRefuse, false},
	{ruleT13, "place is not in the merchant's region", txn.ActionRefuse, false},
	{ruleT14, "terminal moved faster than anything does", txn.ActionRefuse, false},
	{ruleM03, "category in the merchant number is not the registered one", txn.ActionRefuse, false},
	{ruleM04, "licence or document has ended, or the settlement account is in another name", txn.ActionHold, false},
	{ruleM07, "kind, type of card or way of reading it is not allowed to the merchant, or the terminal has no reader for it", txn.ActionRefuse, true},
	{ruleR02, "card is keyed in at a merchant that may not, or for a refund", txn.ActionRefuse, false},
	{ruleR01, "stripe is read of a card that has a chip", txn.ActionRefuse, false},
	{ruleL01, "amount is zero or beyond what a message can say", txn.ActionRefuse, true},
	{ruleS07, "amount is not the one that the chip was told (9F02), as where a message was changed", txn.ActionAlert, false},
	{ruleR08, "card is on the list of blocked cards", txn.ActionRefuse, false},
	{ruleL06, "contactless payment without PIN is too large, or not allowed", txn.ActionRefuse, false},
	{ruleR11, "merchant or terminal is watched: attention alerts, warning holds payouts, high-risk is refused", txn.ActionAlert, false},
	{ruleT07, "machine worked for another merchant within 24 hours", txn.ActionRefuse, false},
	{ruleR07, "refunds are too large a part of the day's sales", txn.ActionAlert, false},
	{ruleR06, "cards are tried out: refusals of one card, or different cards refused, at a terminal", txn.ActionRefuse, false},
	{ruleR03, "card repeats at a merchant; refused where a policy says from which count on", txn.ActionAlert, false},
	{ruleR09, "card is used in several provinces within two hours", txn.ActionAlert, false},
	{ruleR04, "payments look like cash for credit", txn.ActionAlert, false},
	{ruleR05, "new merchant sells more than it declared", txn.ActionHold, false},
	{ruleL02, "amount is over a limit per transaction", txn.ActionRefuse, false},
	{ruleM05, "credit cards of a micro merchant's person come to more than the regulator allows", txn.ActionRefuse, false},
	{ruleL05, "codes of a payer come to more than his level allows", txn.ActionRefuse, false},
	{ruleL03, "sum of a day or month is over a limit", txn.ActionRefuse, false},
	{ruleL04, "count of a day or month is over a limit", txn.ActionRefuse, false},
}

// Catalogue is every built-in rule, in the order in which they are asked.
func Catalogue() []Builtin { return append([]Builtin(nil), builtins...) }

// judgement is one request being assessed: the policy it is held to, and what
// has been said so far.
type judgement struct {
	*rulebook
	v      txn.Verdict
	lately lately
	sink   *Explanation // nil: nobody asks why
}

// finds notes that a rule found something, and says whether the request is
// refused for it. The reason is then told.
func (j *judgement) finds(r txn.Rule, reason txn.Reason) bool { return j.counts(r, 0, 0, 0, reason) }

// counts is finds of a rule that compares numbers. It does what the policy says
// or more: at least what is given here.
func (j *judgement) counts(r txn.Rule, least txn.Action, seen, bound int64, reason txn.Reason) bool {
	s := j.settings[r]
	if s.Mode == rules.Off {
		return false
	}
	return j.does(r, s.Mode, max(s.Action, least), seen, bound, reason)
}

// does notes the finding and says whether the request is refused for it.
func (j *judgement) does(r txn.Rule, mode rules.Mode, action txn.Action, seen, bound int64, reason txn.Reason) bool {
	f := txn.Finding{Rule: r, Action: action, Shadow: mode == rules.Shadow, Seen: seen, Bound: bound}
	j.v.Findings.Add(f)
	j.sink.finding(f)
	if mode == rules.Shadow || action != txn.ActionRefuse {
		return false
	}
	j.v.Reason = reason
	return true
}

// atMost is counts of a rule that here does no more than most.
func (j *judgement) atMost(r txn.Rule, most txn.Action, seen, bound int64, reason txn.Reason) bool {
	s := j.settings[r]
	if s.Mode == rules.Off {
		return false
	}
	return j.does(r, s.Mode, min(s.Action, most), seen, bound, reason)
}

// escalates is counts of a rule that alerts as long as it has found the same no
// more than most times in a row.
func (j *judgement) escalates(r txn.Rule, before, most int64, reason txn.Reason) bool {
	if before >= most {
		return j.counts(r, 0, before+1, most, reason)
	}
	return j.atMost(r, txn.ActionAlert, before+1, most, reason)
}

// asked says that a rule is not off.
func (j *judgement) asked(r txn.Rule) bool { return j.settings[r].Mode != rules.Off }

// told says that a rule's finding is noted already.
func (j *judgement) told(r txn.Rule) bool {
	for f := range j.v.Findings.All() {
		if f.Rule == r {
			return true
		}
	}
	return false
}

// refuses says that what the rule finds is refused.
func (j *judgement) refuses(r txn.Rule) bool {
	s := j.settings[r]
	return s.Mode == rules.Enforce && s.Action == txn.ActionRefuse
}

// refuse is for what no rule of the catalogue names.
func (j *judgement) refuse(reason txn.Reason) bool {
	j.v.Reason = reason
	return false
}
