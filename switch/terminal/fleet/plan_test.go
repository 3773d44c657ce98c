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

// exceptions are the reasons that no message of the day is answered with, and why.
var exceptions = map[txn.Reason]string{
	txn.TurnoverIsOverDeclared:   "R05 is about a merchant's first 30 days, and the sample's dates do not move",
	txn.AmountIsOverMaximum:      "no field of a message holds such an amount",
	txn.TerminalIsTooFast:        "the pace of terminals is bounded by settings, and depends on the machine",
	txn.TerminalHasNoKeys:        "all terminals are given their test keys",
	txn.ChipAmountDiffers:        "an alert, unless a policy refuses it",
	txn.OriginalIsBusy:           "needs two requests of one terminal at the same time",
	txn.OriginalIsTooOld:         "needs more than one day",
	txn.OriginalIsOfAnotherDay:   "needs more than one day",
	txn.OriginalIsOfAnotherBatch: "a terminal of the day has one batch",
	txn.BatchIsNotSettling:       "a terminal uploads only what it was asked for",
	txn.ItemIsUnknown:            "likewise",
	txn.ReplacementIsNotLess:     "no terminal of the day reverses a part",
	txn.SwitchIsOverloaded:       "needs load",
	txn.IssuerIsBusy:             "needs load",
	txn.IssuerIsUnavailable:      "needs an issuer that is away",
	txn.DiskIsNearlyFull:         "a fault",
	txn.RecordsAreUnavailable:    "a fault",
	txn.JournalIsUnavailable:     "a fault",
	txn.SwitchFailed:             "a fault",
	txn.PINCannotBeTranslated:    "a fault: an issuer's key is missing",
	txn.ResolvedByHand:           "of a debt, not of a request",
}

// Every refusal that a request can meet occurs in the day, or is an exception.
func TestPlanPlaysEveryReason(t *testing.T) {
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
		switch n, why := count[r.String()], exceptions[r]; {
		case n == 0 && why == "":
			t.Errorf("%q does not occur: give the plan a step for it, or the exceptions a reason", r)
		case n > 0 && why != "":
			t.Errorf("%q occurs %d times and is excepted: %s", r, n, why)
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
