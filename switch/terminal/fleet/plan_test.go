package fleet

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func sampleRegistry(t testing.TB) *registry.Snapshot {
	t.Helper()
	b, err := os.ReadFile("../../../testdata/registry.yaml")
	if err != nil {
		t.Fatal(err)
	}
	reg, err := registry.Load(bytes.NewReader(b), "registry.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return reg
}

func samplePlan(t testing.TB) *Day {
	t.Helper()
	day, err := Plan(sampleRegistry(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	return day
}

func samplePlanner() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// The refusals that no well-behaved fleet can bring about, and why.
var beyondTheDay = map[txn.Reason]string{
	txn.TerminalHasNoKeys:      "the day's terminals with MACs have keys",
	txn.SerialCipherIsWrong:    "the day's terminals have no serial keys",
	txn.SoftwareIsTooOld:       "the models of the sample registry have no policy",
	txn.PINCannotBeTranslated:  "both issuers have PIN keys",
	txn.SwitchIsOverloaded:     "depends on load",
	txn.BatchIsNotCurrent:      "the day's terminals do not settle yet",
	txn.BatchIsNotSettling:     "the day's terminals do not settle yet",
	txn.AmountIsOverMaximum:    "DE4 cannot hold it",
	txn.IssuerIsUnavailable:    "both issuers are up",
	txn.IssuerIsBusy:           "depends on load",
	txn.OriginalIsUnknown:      "reversals of nothing are answered 00",
	txn.OriginalIsOfAnotherDay: "the day is one day",
	txn.ReplacementIsNotLess:   "the day's terminals reverse nothing in part",
	txn.MonthAmountIsOverLimit: "the day's parties have no limits of a month",
	txn.MonthCountIsOverLimit:  "the day's parties have no limits of a month",
	txn.TurnoverIsOverDeclared: "the day's merchants declared no turnover",
	txn.PartyIsHighRisk:        "the day's parties are held for no alert",
	txn.RecordsAreUnavailable:  "the ledger is up",
	txn.OriginalIsBusy:         "depends on load",
	txn.OriginalIsTooOld:       "the day is one day",
	txn.ItemIsUnknown:          "the day has no downloads",

	txn.TerminalIsTooFast:          "the day's switch holds no terminal to a pace",
	txn.CardIsRefusedByRule:        "the day's switch has no rules of a risk officer",
	txn.TransactionIsRefusedByRule: "the day's switch has no rules of a risk officer",
	txn.AmountIsRefusedByRule:      "the day's switch has no rules of a risk officer",
	txn.FrequencyIsRefusedByRule:   "the day's switch has no rules of a risk officer",

	txn.MachineServesAnotherMerchant: "only alerts unless a policy says otherwise",
	txn.RefundsAreTooMany:            "only alerts unless a policy says otherwise",
	txn.CardIsDeclinedTooOften:       "only alerts unless a policy says otherwise",
	txn.TerminalTestsCards:           "only alerts unless a policy says otherwise",
	txn.CardRepeatsAtMerchant:        "only alerts unless a policy says otherwise",
	txn.CardMovesTooFast:             "only alerts unless a policy says otherwise",
	txn.PaymentsLookLikeCash:         "only alerts unless a policy says otherwise",

	txn.CategoryIsNotTheMerchants:     "the sample registry contradicts itself nowhere",
	txn.MerchantMustBeVerified:        "only holds payouts unless a policy says otherwise",
	txn.MerchantIsShunned:             "the sample policy lists nobody",
	txn.CardIsLost:                    "the sample policy lists no card: its keyed hash is another with every key",
	txn.CardIsStolen:                  "the sample policy lists no card",
	txn.CardIsRestricted:              "the sample policy lists no card",
	txn.CardTypeIsNotAllowed:          "merchants of the sample take all cards",
	txn.PaymentWithoutPINIsNotAllowed: "no plan of the sample says so",

	txn.OriginalIsOfAnotherBatch: "the day is one batch",
	txn.JournalIsUnavailable:     "the disk works",
	txn.SwitchFailed:             "the switch works",
}

func TestPlanHasEveryReachableReason(t *testing.T) {
	day := samplePlan(t)
	count := map[string]int{}
	for _, e := range day.Expected() {
		count[e.Reason]++
	}
	t.Log(len(day.Scripts), "terminals,", day.Len(), "messages", count)
	if n := day.Len(); n < 3000 || n > 6000 {
		t.Errorf("the day has %d messages", n)
	}
	for r := txn.Reason(0); int(r) < txn.Reasons; r++ {
		if _, beyond := beyondTheDay[r]; beyond == (count[r.String()] > 0) {
			t.Errorf("%q is played %d times", r, count[r.String()])
		}
	}
}

// Terminals with keys make MACs and send PINs, under TDES and under SM4.
func TestPlanHasKeys(t *testing.T) {
	type count struct{ terminals, macs, pins int }
	got := map[keys.KeySet]*count{keys.KeySetDouble: {}, keys.KeySetSM4: {}}
	for _, s := range samplePlan(t).Scripts {
		c := got[s.Steps[0].keySet] // of its sign-on
		sealed := false
		for _, step := range s.Steps {
			if !step.sealed {
				continue
			}
			sealed = true
			c.macs++
			x := dialect.Exchange{Frame: step.Frame[step.Dialect.PrefixSize():]}
			if err := step.Dialect.Decode(&x, time.Now()); err != nil {
				t.Fatal(err)
			}
			if len(x.Request.PINBlock) > 0 {
				c.pins++
			}
		}
		if sealed {
			c.terminals++
		}
	}
	for set, c := range got {
		t.Logf("key set %03d: %+v", set, *c)
		if c.terminals < 2 || c.macs < 20*c.terminals || c.pins < c.terminals {
			t.Errorf("key set %03d: %+v", set, *c)
		}
	}
	if n := got[keys.KeySetDouble].terminals + got[keys.KeySetSM4].terminals; n < 20 {
		t.Errorf("%d terminals have keys", n)
	}
}

func TestPlanIsDeterministic(t *testing.T) {
	reg := sampleRegistry(t)
	render := func(seed uint64) string {
		day, err := Plan(reg, seed)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		for _, s := range day.Scripts {
			for _, step := range s.Steps {
				fmt.Fprintf(&b, "%+v %x %d %v\n", step.Expected.Code, step.Frame, step.Session, step.GiveUp)
			}
		}
		return b.String()
	}
	if render(7) != render(7) {
		t.Error("one seed gives two days")
	}
	if render(7) == render(8) {
		t.Error("two seeds give one day")
	}
}
