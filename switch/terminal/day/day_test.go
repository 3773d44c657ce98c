package day

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/terminal/terminaltest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const shipped = "../../../testdata/scripts/day.yaml"

// The shipped day has every kind that a terminal starts.
func TestShippedDayHasEveryKind(t *testing.T) {
	f, err := os.Open(shipped)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := Read(f)
	if err != nil {
		t.Fatal(err)
	}
	done := map[string]bool{}
	for i := range s.Steps {
		done[s.Steps[i].Do] = true
	}
	for k := txn.KindSale; int(k) < txn.Kinds; k++ {
		if sends(k) != done[k.String()] {
			t.Errorf("%s is in the day: %v", k, done[k.String()])
		}
	}
}

func TestBadScripts(t *testing.T) {
	const card = `card: {number: "9999010000090012", expiry: "4912"}` + "\n"
	for _, row := range []struct{ name, script, want string }{
		{"empty", "", "it has 0 steps"},
		{"no step", "steps: []", "it has 0 steps"},
		{"unknown key", "steps: [{do: sale, amonut: '1'}]", "amonut"},
		{"unknown deed", "steps: [{do: dance}]", "step 1 (dance): do must be restart, or what a terminal does"},
		{"upload", "steps: [{do: upload}]", "step 1 (upload): do must be"},
		{"void of nothing", card + "steps: [{do: void}]", "of must say which step"},
		{"void of what comes later", card + "steps: [{do: void, of: a}, {do: sale, amount: '1', as: a}]", `of "a" is no earlier step`},
		{"name used twice", card + "steps: [{do: sale, amount: '1', as: a}, {do: sale, amount: '1', as: a}]", `step 2 (sale): as "a" is the name of an earlier step`},
		{"amount", card + "steps: [{do: sale, amount: '1.234'}]", "step 1 (sale): amount:"},
		{"card", "card: {number: '12'}\nsteps: [{do: balance}]", "step 1 (balance): card:"},
		{"wait", card + "steps: [{do: balance, after: 25h}]", "after 25h0m0s must be up to 1h0m0s"},
		{"entry", "card: {number: '9999010000090012', entry: nose}\nsteps: [{do: balance}]", "card entry"},
		{"PIN", "card: {number: '9999010000090012', pin: '123x'}\nsteps: [{do: balance}]", "pin must be 4 to 12 digits"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Read(strings.NewReader(row.script))
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v, want %q in it", err, row.want)
			}
			if err != nil && strings.Contains(err.Error(), "9999010000090012") {
				t.Error("the card is quoted")
			}
		})
	}
}

// A day with a step that goes otherwise, a lost answer and a restart comes to its
// end, and says what was off.
func TestRun(t *testing.T) {
	p := terminaltest.Start(t, "cup-pos")
	p.SetAnswers(func(req *txn.Request, answer []byte) []byte {
		if req.Kind == txn.KindSale && req.Amount.Minor == 6_66 {
			return nil
		}
		return answer
	})
	s, err := Read(strings.NewReader(`
card: {number: "9999010000090012", expiry: "4912"}
steps:
  - {do: sign-on}
  - {do: sale, amount: "12.50", as: coffee}
  - {do: tip, amount: "2.00", of: coffee}
  - {do: sale, amount: "6.66", expect: none}
  - {do: restart}
  - {do: void, of: coffee}
  - {do: sale, amount: "1.00", expect: "51"}
  - {do: settlement}
`))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "store")
	var store *terminal.Store
	dial := func(ctx context.Context) (*terminal.Client, error) {
		if store != nil {
			store.Close()
		}
		var err error
		if store, err = terminal.OpenStore(path); err != nil {
			return nil, err
		}
		return terminal.Dial(ctx, p.Addr, "cup-pos", terminal.Profile{Terminal: txn.MakeTerminalID("10000001"), Merchant: txn.MakeMerchantID("999290054110001")},
			terminal.Options{Store: store, Patience: 200 * time.Millisecond})
	}
	var shown []string
	r, err := Run(t.Context(), s, dial, func(d *Done) { shown = append(shown, d.Step+": "+d.Got) })
	store.Close()
	if err != nil {
		t.Fatal(err)
	}
	want := "sign-on: 00, sale 12.50 as coffee: 00, tip 2.00 of coffee: 00, sale 6.66: none, restart: 00, void of coffee: 00, sale 1.00: 00, settlement: even"
	if got := strings.Join(shown, ", "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if r.Off != 1 || r.Done[6].OK || !r.Settled || r.Terminal != r.Host || r.Terminal.Debit != (txn.Sum{Count: 3, Minor: 15_50}) {
		t.Errorf("%+v", r)
	}
	if _, reversed := p.Sale("10000001", 1, 4); !reversed {
		t.Error("the sale without an answer is not reversed")
	}
}

func FuzzRead(f *testing.F) {
	day, err := os.ReadFile(shipped)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(day))
	f.Add("steps: [{do: sale, amount: 1, card: {number: 1}}]")
	f.Add("steps:\n- do: restart\n- {do: settlement, expect: even}\n")
	f.Fuzz(func(t *testing.T, script string) {
		s, err := Read(strings.NewReader(script))
		if err == nil && (len(s.Steps) == 0 || len(s.Steps) > stepsMax) {
			t.Errorf("%d steps were read", len(s.Steps))
		}
	})
}
