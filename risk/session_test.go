package risk

import (
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

func ahead(n uint32) func(*txn.Request) { return func(r *txn.Request) { r.Ahead = n } }

// A trace number that is not behind is nothing, the third of a day that is alerts,
// the fourth is refused, and the next day is another.
func TestS06TraceNumbersGoBack(t *testing.T) {
	e := policed(t, func(p *Policy) { p.Rules = map[txn.Rule]Setting{ruleS06: {Action: txn.ActionRefuse}} })
	back, refused := visit{fs(ahead(8)), 0, ruleS06, txn.ActionAlert}, visit{fs(ahead(8)), txn.TraceNumberWentBack, ruleS06, txn.ActionRefuse}
	visits(t, e, visit{}, back, visit{fs(ahead(0)), 0, 0, 0}, back, back, refused, visit{fs(ahead(0)), 0, 0, 0}, refused,
		visit{fs(ahead(8), kind(txn.KindRefund)), txn.TraceNumberWentBack, ruleS06, txn.ActionRefuse}, visit{fs(ahead(8), kind(txn.KindOfflineSale)), 0, 0, 0},
		visit{fs(ahead(8), on(today.After())), 0, ruleS06, txn.ActionAlert})
	strict := policed(t, func(p *Policy) {
		p.Rules, p.Patterns.BackwardsMax = map[txn.Rule]Setting{ruleS06: {Action: txn.ActionRefuse}}, 0
	})
	visits(t, strict, refused)
	visits(t, policed(t, func(*Policy) {}), back, back, back, back, back) // unless a policy says so, it alerts
}

// A payment of another amount than its chip was told alerts, and is refused where a
// policy says so; what cannot be compared, or differs by right, does not.
func TestS07AmountIsNotTheChips(t *testing.T) {
	told := func(minor, other int64, c txn.Currency) func(*txn.Request) {
		return func(r *txn.Request) {
			r.Amount = txn.Amount{Minor: 12_345, Currency: txn.CNY}
			r.ChipAmount, r.ChipOther = txn.Amount{Minor: minor, Currency: c}, other
		}
	}
	differs := told(345, 0, txn.CNY)
	alerts := func(do ...func(*txn.Request)) visit { return visit{do, txn.Approved, ruleS07, txn.ActionAlert} }
	passes := func(do ...func(*txn.Request)) visit { return visit{do: do} }
	visits(t, policed(t, func(*Policy) {}),
		alerts(differs), alerts(differs, kind(txn.KindPreauth)), alerts(told(345, 0, 0)), alerts(told(12_000, 100, txn.CNY)),
		passes(told(0, 0, 0)), passes(told(12_345, 0, txn.CNY)),
		passes(told(12_345, 2_345, txn.CNY)), passes(told(10_000, 2_345, txn.CNY)), // cash back, in the amount or beside it
		passes(told(1_700, 0, 840)), // in the cardholder's currency
		passes(differs, kind(txn.KindTip)), passes(differs, kind(txn.KindCompletion)), passes(differs, kind(txn.KindCompletionAdvice)),
		passes(differs, kind(txn.KindIncrement)), passes(differs, kind(txn.KindVoid)), passes(differs, kind(txn.KindOfflineSale)),
		passes(differs, kind(txn.KindBalance)), passes(differs, kind(txn.KindRefund), func(r *txn.Request) { r.Amount.Minor = 1 }))
	strict := policed(t, func(p *Policy) { p.Rules = map[txn.Rule]Setting{ruleS07: {Action: txn.ActionRefuse}} })
	visits(t, strict, visit{fs(differs), txn.ChipAmountDiffers, ruleS07, txn.ActionRefuse}, passes(told(12_345, 0, txn.CNY)))
}
