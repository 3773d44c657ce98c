package backtest

import (
	"fmt"
	"reflect"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/risk/rules"
	"github.com/acqswitch/acqswitch/switch/txn"
)

const today = txn.Date(20261122)

// parties is a registry of one merchant with one terminal.
type parties struct {
	m txn.Merchant
	t txn.Terminal
}

func (p *parties) Terminal(id txn.TerminalID) (*txn.Terminal, bool) { return &p.t, id == p.t.ID }
func (p *parties) Merchant(id txn.MerchantID) (*txn.Merchant, bool) { return &p.m, id == p.m.ID }

func registered() *parties {
	m := txn.Merchant{ID: txn.MakeMerchantID("999290054110001"), Status: txn.StatusActive, Region: 310101, Country: 156, MCC: 5411,
		Currency: txn.CNY, Kinds: 1<<txn.Kinds - 1}
	return &parties{m, txn.Terminal{ID: txn.MakeTerminalID("10000001"), Merchant: m.ID, Status: txn.StatusActive, Region: 310101,
		Lat: 31_230400, Lng: 121_473700, RadiusMetres: 500}}
}

// sale is the n-th sale of 100.00 of a day that a switch without limits approved.
func sale(n int, change ...func(*txn.Record)) *txn.Record {
	p := registered()
	r := &txn.Record{Kind: txn.RecordOutcome, ID: txn.ID(n), Request: txn.KindSale, Outcome: txn.OutcomeApproved, Merchant: p.m.ID, Day: today,
		Key: txn.Key{Terminal: p.t.ID, STAN: uint32(n)}, Amount: txn.Amount{Minor: 100_00, Currency: txn.CNY}, Held: txn.Debit, Entry: txn.EntryChip,
		At: time.Date(2026, 11, 22, 4, n, 0, 0, time.UTC), Card: txn.CardToken{1}, Region: p.t.Region}
	copy(r.Masked[:], "622202******0007")
	copy(r.RRN[:], fmt.Sprintf("%012d", n))
	for _, c := range change {
		c(r)
	}
	return r
}

func run(t testing.TB, after func(*risk.Policy), records ...*txn.Record) (*Report, []string) {
	t.Helper()
	cfg := Config{Before: risk.DefaultPolicy(), After: risk.DefaultPolicy(), Registry: registered(), Zone: time.UTC, From: today}
	for _, p := range []*risk.Policy{&cfg.Before, &cfg.After} {
		p.Patterns = risk.Patterns{}
	}
	after(&cfg.After)
	var changes []string
	cfg.Changed = func(c *Change) {
		s := fmt.Sprintf("%d: %s -> %s", c.Rec.ID, c.Was, c.Is)
		for _, x := range c.Lost {
			s += " -" + x.Rule.String()
		}
		for _, x := range c.Came {
			s += " +" + x.Rule.String()
		}
		changes = append(changes, s)
	}
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		b.Take(r)
	}
	return b.Report(), changes
}

func limit(b txn.Limits) func(*risk.Policy) {
	return func(p *risk.Policy) {
		p.Plans = []risk.Plan{{Limits: []risk.Limit{{Scope: txn.ScopeMerchant, Currency: txn.CNY, Bounds: b}}}}
	}
}

func own(when string, action txn.Action) func(*risk.Policy) {
	return func(p *risk.Policy) {
		p.Own = []rules.Rule{{Number: 1000, Name: "own", When: when, Action: action, Reason: txn.AmountIsRefusedByRule}}
	}
}

// TestWhatWouldChange holds what is told of transactions against what the
// candidate does with them.
func TestWhatWouldChange(t *testing.T) {
	three := []*txn.Record{sale(1), sale(2), sale(3)}
	undone := func(n, of int) *txn.Record {
		return sale(n, func(r *txn.Record) { r.Kind, r.Original, r.Held = txn.RecordReversalDone, txn.ID(of), txn.Credit })
	}
	for _, c := range []struct {
		name    string
		after   func(*risk.Policy)
		records []*txn.Record
		want    []string
	}{
		{"the same", func(*risk.Policy) {}, three, nil},
		{"a limit", limit(txn.Limits{DayAmount: 200_00}), three, []string{"3: approved -> day amount is over limit +L03"}},
		{"a limit of each", limit(txn.Limits{Transaction: 99_99}), three[:1], []string{"1: approved -> amount is over transaction limit +L02"}},
		{"a reversal gives back", limit(txn.Limits{DayAmount: 200_00}), []*txn.Record{sale(1), undone(9, 1), sale(2), sale(3)}, nil},
		{"but not what was refused", limit(txn.Limits{DayAmount: 200_00}), []*txn.Record{sale(1), sale(2), sale(3), undone(9, 3), sale(4)},
			[]string{"3: approved -> day amount is over limit +L03", "4: approved -> day amount is over limit +L03"}},
		{"a void gives back", limit(txn.Limits{DayAmount: 200_00}), []*txn.Record{sale(1), sale(2),
			sale(8, func(r *txn.Record) { r.Request, r.Original, r.Held = txn.KindVoid, 2, txn.Credit }), sale(3)}, nil},
		{"what the issuer declined uses nothing", limit(txn.Limits{DayAmount: 200_00}), []*txn.Record{sale(1),
			sale(2, func(r *txn.Record) { r.Outcome, r.Reason, r.Held = txn.OutcomeDeclined, txn.IssuerDeclined, 0 }), sale(3)}, nil},
		{"what has happened is only counted", limit(txn.Limits{DayAmount: 50_00}), []*txn.Record{
			sale(1, func(r *txn.Record) { r.Request = txn.KindOfflineSale })}, nil},
		{"an alert", own("amount >= 100_00 && card.bin == \"622202\"", txn.ActionAlert), three[:1], []string{"1: approved -> approved +C1000"}},
		{"a window", own("recent.card_at_merchant >= 2", txn.ActionRefuse), three, []string{"3: approved -> amount is refused by rule +C1000"}},
		{"yesterday fills counters only", own("recent.card_at_merchant_day >= 1 || recent.merchant_sales >= 1", txn.ActionAlert),
			[]*txn.Record{sale(1, func(r *txn.Record) { r.Day-- }), sale(2), sale(3)}, []string{"3: approved -> approved +C1000"}},
		{"what was not asked for is not judged", own("true", txn.ActionAlert),
			[]*txn.Record{sale(1, func(r *txn.Record) { r.Outcome, r.Reason, r.Held = txn.OutcomeLocal, txn.MACIsWrong, 0 })}, nil},
		{"a stranger now", own("true", txn.ActionAlert), []*txn.Record{sale(1, func(r *txn.Record) { r.Merchant[0] = 'X' })}, nil},
		{"a position", own("distance > 400", txn.ActionAlert), []*txn.Record{
			sale(1, func(r *txn.Record) { r.Lat, r.Lng = 31_234500, 121_473700 }), sale(2)}, []string{"1: approved -> approved +C1000"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, got := run(t, c.after, c.records...); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// A sale that was approved in its issuer's place is judged as the sale it was.
func TestStandInsAreSales(t *testing.T) {
	standIn := func(r *txn.Record) { r.Request, r.Outcome = txn.KindStandIn, txn.OutcomeUnknown }
	if _, changes := run(t, func(*risk.Policy) {}, sale(1, standIn)); len(changes) > 0 {
		t.Errorf("the same policy decides otherwise: %v", changes)
	}
	if _, changes := run(t, limit(txn.Limits{Transaction: 99_99}), sale(1, standIn)); len(changes) != 1 {
		t.Errorf("a lower limit changes %v, want the one", changes)
	}
}

func TestReport(t *testing.T) {
	refusedThen := sale(4, func(r *txn.Record) {
		r.Outcome, r.Reason, r.Held = txn.OutcomeLocal, txn.AmountIsOverTransactionLimit, 0
		r.Amount.Minor = 5
	})
	mac := sale(5, func(r *txn.Record) { r.Outcome, r.Reason, r.Held = txn.OutcomeLocal, txn.MACIsWrong, 0 })
	r, _ := run(t, func(p *risk.Policy) {
		own("region > 0 || instalments > 1", txn.ActionAlert)(p)
		limit(txn.Limits{DayAmount: 200_05})(p)
	}, sale(1), sale(2), sale(3), refusedThen, mac)
	hundred := Sum{1, map[string]int64{"CNY": 100_00}}
	want := &Report{
		Transactions: 4, NotJudged: 1, Changed: hundred, NowRefused: hundred,
		Strayed: 1, Strays: []Stray{{"amount is over transaction limit", "approved", 1}},
		Rules:     []RuleChange{{Rule: "L03", Name: r.Rules[0].Name, Action: "refuse", After: 1, Came: hundred}},
		Merchants: []PartyChange{{Name: "999290054110001", NowRefused: hundred}},
		Regions:   []PartyChange{{Name: "310000", NowRefused: hundred}},
		Silent:    []Silence{{"C1000", "own", 4, 0}},
		Lacks:     Lacks,
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got %+v\nwant %+v", r, want)
	}
}

// BenchmarkTake judges sales of many cards under two policies, the second of
// which has 20 rules of its own.
func BenchmarkTake(b *testing.B) {
	cfg := Config{Before: risk.DefaultPolicy(), After: risk.DefaultPolicy(), Registry: registered(), Zone: time.UTC, From: today}
	for i := range 20 {
		cfg.After.Own = append(cfg.After.Own, rules.Rule{Number: txn.RuleCustom + txn.Rule(i), Name: fmt.Sprintf("r-%d", i), Action: txn.ActionAlert,
			When: `amount > 5000_00 && (hour >= 23 || hour < 6) && card.day.count > 3 && recent.card_declines > 2`})
	}
	t, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	rec := sale(1)
	processor := func() int64 {
		var u syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return u.Utime.Nano() + u.Stime.Nano()
	}
	b.ReportAllocs()
	n, before := 0, processor()
	for b.Loop() {
		n++
		rec.ID = txn.ID(n)
		rec.Card[1], rec.Card[2], rec.Card[3] = byte(n), byte(n>>8), byte(n>>16)
		t.Take(rec)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "txn/s")
	b.ReportMetric(float64(processor()-before)/float64(n), "cpu-ns/txn")
}
