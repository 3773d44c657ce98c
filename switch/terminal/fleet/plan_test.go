package fleet

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

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
	txn.MACIsWrong:             "the day's terminals have no MACs",
	txn.TerminalHasNoKeys:      "the day's terminals have no MACs",
	txn.SerialCipherIsWrong:    "the day's terminals have no serial keys",
	txn.SignOnIsRequired:       "the day's terminals have no MACs",
	txn.PINBlockIsWrong:        "the day's terminals send no PINs",
	txn.PINCannotBeTranslated:  "the day's terminals send no PINs",
	txn.SwitchIsOverloaded:     "depends on load",
	txn.BatchIsNotCurrent:      "the day's terminals do not settle yet",
	txn.BatchIsNotSettling:     "the day's terminals do not settle yet",
	txn.AmountIsOverMaximum:    "DE4 cannot hold it",
	txn.IssuerIsUnavailable:    "both issuers are up",
	txn.IssuerIsBusy:           "depends on load",
	txn.OriginalIsUnknown:      "reversals of nothing are answered 00",
	txn.OriginalIsOfAnotherDay: "the day is one day",
	txn.RecordsAreUnavailable:  "the ledger is up",
	txn.OriginalIsBusy:         "depends on load",
	txn.OriginalIsTooOld:       "the day is one day",
	txn.ItemIsUnknown:          "the day has no downloads",

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
