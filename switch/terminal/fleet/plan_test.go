package fleet

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
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

// What the day brings about. The others need load, a fault, other settings or more
// than one day; tests of their own rooms bring them about.
var played = []txn.Reason{
	txn.Approved, txn.FormatIsWrong, txn.KindIsNotOffered, txn.MACIsWrong,
	txn.MerchantIsUnknown, txn.MerchantIsNotActive, txn.TerminalIsUnknown, txn.TerminalIsNotActive, txn.TerminalIsBoundToAnotherMerchant,
	txn.CallerIsNotTheTerminals, txn.TerminalInfoIsRequired, txn.SerialIsNotTheTerminals, txn.SerialCipherIsWrong, txn.SoftwareIsTooOld, txn.SignOnIsRequired,
	txn.DuplicateWithOtherContent, txn.ReversedBeforeRequest,
	txn.CountryIsNotAccepted, txn.PositionIsRequired, txn.TerminalIsFarFromPremises, txn.TerminalIsOutsideItsAreas, txn.RegionIsNotTheMerchants,
	txn.TerminalMovesTooFast, txn.CategoryIsNotTheMerchants, txn.KindIsNotAllowed, txn.EntryIsNotAllowed, txn.ManualEntryIsNotAllowed, txn.FallbackIsNotAllowed, txn.PINIsRequired,
	txn.CurrencyIsNotAccepted, txn.AmountMustNotBeZero, txn.CardNumberIsInvalid, txn.CardIsExpired,
	txn.AmountIsOverTransactionLimit, txn.DayAmountIsOverLimit, txn.DayCountIsOverLimit,
	txn.IssuerIsUnknown, txn.PINBlockIsWrong, txn.IssuerDeclined, txn.IssuerDidNotAnswer, txn.IssuerAnsweredNonsense,
	txn.OriginalIsOfAnotherKind, txn.OriginalDoesNotStand, txn.OriginalIsCompleted, txn.CardIsNotTheOriginals, txn.OriginalAmountDiffers,
	txn.AnswerWasNotDelivered,
}

// A reason that the day brings about and the list does not have belongs on it.
func TestPlanPlaysItsReasons(t *testing.T) {
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
		if listed := slices.Contains(played, r); listed != (count[r.String()] > 0) {
			t.Errorf("%q is played %d times; the list has it: %v", r, count[r.String()], listed)
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
