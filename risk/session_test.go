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
