package fleet

import (
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// The sample registry has terminals for people, which can trade, and the sample
// day has no message of theirs.
func TestDayLeavesTheDemoAlone(t *testing.T) {
	reg := sampleRegistry(t)
	merchant := txn.MakeMerchantID(DemoMerchant)
	m, ok := reg.Merchant(merchant)
	demo, found := reg.Terminal(txn.MakeTerminalID(DemoTerminal))
	if !ok || m.Status != txn.StatusActive || !found || demo.Merchant != merchant {
		t.Fatalf("merchant %+v, terminal %+v", m, demo)
	}
	scripts := map[string]bool{}
	for _, s := range samplePlan(t).Scripts {
		scripts[s.Terminal] = true
	}
	left := 0
	for term := range reg.Terminals() {
		if scripts[term.ID.String()] == (term.Merchant == merchant) {
			t.Errorf("terminal %s of merchant %s is in the day: %v", term.ID, term.Merchant, scripts[term.ID.String()])
		}
		if term.Merchant == merchant {
			left++
		}
	}
	if left != 4 {
		t.Errorf("%d terminals are left alone", left)
	}
}
