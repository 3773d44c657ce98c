package fee

import (
	"fmt"
	"math"
	"math/big"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/acqswitch/acqswitch/switch/txn"
)

const (
	head  = "version: 1\n"
	cards = "prefix,card\n622202,debit\n62220,credit\n"
)

func load(t testing.TB, plans string) *Schedule {
	t.Helper()
	s, err := Load(File{"fees.yaml", []byte(plans)}, File{"cards.csv", []byte(cards)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const retail = head + `
plans:
  - name: retail
    rates:
      - {card: debit, currency: CNY, from: 2020-01-01, ppm: 5000, cap: "20.00"}
      - {card: credit, currency: CNY, from: 2020-01-01, to: 2026-06-30, ppm: 6000}
      - {card: credit, currency: CNY, from: 2026-07-01, ppm: 5500, fixed: "0.10", min: "0.50"}
      - {card: any, currency: CNY, mcc: ["8062", "8211"], from: 2020-01-01, ppm: 0}
merchants:
  - {mid: "999290054110001", plan: retail, from: 2020-01-01, to: 2026-12-31}
  - {mid: "999290054110001", plan: retail, from: 2027-01-01}
`

func deal(bin string, day txn.Date) *Deal {
	d := &Deal{Merchant: txn.MakeMerchantID("999290054110001"), Day: day, MCC: 5411, Currency: txn.CNY}
	copy(d.Masked[:], bin+"*********0128")
	return d
}

// TestVectors are the worked examples of cup-pos E3 and the plan's own.
func TestVectors(t *testing.T) {
	s := load(t, retail)
	for _, c := range []struct {
		bin                            string
		day                            txn.Date
		minor                          int64
		merchant, interchange, network int64
	}{
		{"622202", 20261122, 1000_00, 5_00, 3_50, 33}, // 0.325 half up
		{"622202", 20261122, 10000_00, 20_00, 13_00, 3_25},
		{"622201", 20261122, 10000_00, 55_10, 45_00, 3_25},
		{"622201", 20260630, 10000_00, 60_00, 45_00, 3_25},
		{"622201", 20260701, 10_00, 50, 5, 0}, // 4.5 half up; 0.325 down
		{"622202", 20261122, 1, 0, 0, 0},
		{"622202", 20261122, 100, 1, 0, 0}, // 0.5 up, 0.35 down
		{"622202", 20261122, 999_999_999_999, 20_00, 13_00, 3_25},
	} {
		terms, why := s.Terms(deal(c.bin, c.day))
		if why != Priced {
			t.Fatal(why)
		}
		want := Fees{c.merchant, c.interchange, c.network}
		if got := terms.Price(txn.KindSale, 0, c.minor); got != want {
			t.Errorf("%s of %d: %+v, want %+v", c.bin, c.minor, got, want)
		}
		if got := terms.Price(txn.KindVoid, c.minor, 0); got != (Fees{-c.merchant, -c.interchange, -c.network}) {
			t.Errorf("void of %d: %+v", c.minor, got)
		}
	}
	free := deal("622202", 20261122)
	free.MCC = 8062
	if terms, why := s.Terms(free); why != Priced || terms.Merchant.Rate.PPM != 0 || terms.Interchange.Rate.PPM != 3500 {
		t.Errorf("a hospital: %v, %+v", why, terms)
	}
}

func TestUnpriced(t *testing.T) {
	s := load(t, retail)
	for want, change := range map[Unpriced]func(*Deal){
		CurrencyIsUnknown:    func(d *Deal) { d.Currency = 1 },
		MerchantHasNoPlan:    func(d *Deal) { d.Day = 20191231 },
		CardTypeIsUnknown:    func(d *Deal) { copy(d.Masked[:], "411111") },
		PlanHasNoRate:        func(d *Deal) { d.Currency = 840 },
		Priced:               func(*Deal) {},
		InterchangeHasNoRate: nil,
		NetworkHasNoRate:     nil,
	} {
		d := deal("622202", 20261122)
		schedule := s
		if change == nil { // the plan has a rate in a currency that the built-in ones do not have
			text := strings.ReplaceAll(retail, "CNY", "USD")
			if want == NetworkHasNoRate {
				text = strings.Replace(text, "plans:", "interchange: {rates: [{card: any, currency: USD, from: 2020-01-01, ppm: 1}]}\nplans:", 1)
			}
			schedule, d.Currency = load(t, text), 840
		} else {
			change(d)
		}
		if _, why := schedule.Terms(d); why != want {
			t.Errorf("%q, want %q", why, want)
		}
	}
}

// A deal that is changed any number of times has paid, in sum, the fee of what
// it came to; with big integers for the share.
func TestF73ChargesAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rate{PPM: rapid.Int64Range(0, txn.PPMMax).Draw(t, "ppm"), Fixed: rapid.Int64Range(0, 1000).Draw(t, "fixed"), Min: rapid.Int64Range(0, 2000).Draw(t, "min")}
		if r.Capped = rapid.Bool().Draw(t, "capped"); r.Capped {
			r.Cap = max(r.Min, r.Fixed) + rapid.Int64Range(0, 100_000).Draw(t, "cap")
		}
		l := Line{Rate: r}
		var deal, paid int64
		for range rapid.IntRange(1, 6).Draw(t, "changes") {
			after := rapid.Int64Range(0, txn.AmountMax).Draw(t, "after")
			paid += l.Charge(txn.KindRefund, deal, after)
			deal = after
		}
		want := new(big.Int)
		if deal > 0 {
			want.Mul(big.NewInt(deal), big.NewInt(r.PPM))
			want.Add(want, big.NewInt(500_000)).Div(want, big.NewInt(1_000_000)).Add(want, big.NewInt(r.Fixed))
			if m := big.NewInt(r.Min); want.Cmp(m) < 0 {
				want = m
			}
			if m := big.NewInt(r.Cap); r.Capped && want.Cmp(m) > 0 {
				want = m
			}
		}
		if want.Cmp(big.NewInt(paid)) != 0 {
			t.Fatalf("%+v of %d: %d, want %s", r, deal, paid, want)
		}
	})
}

// TestRounding: half a minor unit is up, anything less is down, of the least amount
// and of the most.
func TestRounding(t *testing.T) {
	for _, c := range []struct{ minor, ppm, want int64 }{
		{1, 499_999, 0}, {1, 500_000, 1}, {3, 499_999, 1}, {3, 500_000, 2},
		{math.MaxInt64, 2, 18446744073710}, // the half carries into the upper 64 bits
		{math.MaxInt64, 1, 9223372036855}, {math.MaxInt64, txn.PPMMax, math.MaxInt64},
	} {
		r := Rate{PPM: c.ppm}
		if got := r.Of(c.minor); got != c.want {
			t.Errorf("%d ppm of %d: %d, want %d", c.ppm, c.minor, got, c.want)
		}
	}
}

// TestDeal is the deal of docs/settlement.md.
func TestDeal(t *testing.T) {
	l := Line{Rate: Rate{PPM: 5000, Cap: 20_00, Capped: true}}
	for _, c := range []struct {
		kind          txn.Kind
		before, after int64
		want          int64
	}{
		{txn.KindSale, 0, 4000_00, 20_00},
		{txn.KindTip, 4000_00, 4400_00, 0},
		{txn.KindRefund, 4400_00, 3400_00, -3_00},
		{txn.KindRefund, 3400_00, 0, -17_00},
	} {
		if got := l.Charge(c.kind, c.before, c.after); got != c.want {
			t.Errorf("%s: %d, want %d", c.kind, got, c.want)
		}
	}
}

func TestRefundKeeps(t *testing.T) {
	l := Line{Rate: Rate{PPM: 5000}, Keeps: true}
	if got := l.Charge(txn.KindRefund, 1000_00, 0); got != 0 {
		t.Errorf("refund: %d", got)
	}
	if got := l.Charge(txn.KindVoid, 1000_00, 0); got != -5_00 {
		t.Errorf("void: %d", got)
	}
}

func TestExplain(t *testing.T) {
	for want, c := range map[string]struct {
		r     Rate
		minor int64
	}{
		"1000.00 x 325 ppm = 0.33":                                         {Rate{PPM: 325, Cap: 3_25, Capped: true}, 1000_00},
		"10000.00 x 3500 ppm = 35.00, at most 13.00: 13.00":                {Rate{PPM: 3500, Cap: 13_00, Capped: true}, 10000_00},
		"1.00 x 5500 ppm = 0.01, + 0.10 fixed = 0.11, at least 0.50: 0.50": {Rate{PPM: 5500, Fixed: 10, Min: 50}, 100},
		"100.00 x 5000 ppm = 0.50, + 0.01 fixed = 0.51":                    {Rate{PPM: 5000, Fixed: 1}, 100_00},
		"100.00 x 5000 ppm = 0.50, at least 0.80: 0.80":                    {Rate{PPM: 5000, Min: 80, Cap: 1_00, Capped: true}, 100_00},
		"nothing: 0": {Rate{Fixed: 10}, 0},
	} {
		if got := c.r.Explain(txn.Amount{Minor: c.minor, Currency: txn.CNY}); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestRefusals holds that a bad file is refused with the line and field.
func TestRefusals(t *testing.T) {
	const ok = "plans: [{name: a, rates: [{card: any, currency: CNY, from: 2020-01-01, ppm: 1}]}]\n"
	rates := func(lines ...string) string {
		return head + "plans:\n  - name: a\n    rates:\n      - {" + strings.Join(lines, "}\n      - {") + "}\n"
	}
	for _, c := range []struct{ name, plans, want string }{
		{"nothing", "", "fees.yaml:1: the file is empty"},
		{"no YAML", "plans: [", "fees.yaml:1: "},
		{"version", "version: 2\n" + ok, "fees.yaml:1: version: this program reads version 1"},
		{"unknown key", head + "colour: red\n", `fees.yaml:2: unknown field "colour"`},
		{"two documents", head + "---\n" + head, "second YAML document"},
		{"gap", rates("card: any, currency: CNY, from: 2020-01-01, to: 2020-06-30, ppm: 1", "card: any, currency: CNY, from: 2020-07-02, ppm: 1"),
			"fees.yaml:6: plans[].rates[].from: between 2020-06-30, when the period of line 5 ends, and 2020-07-02 there is a gap"},
		{"overlap", rates("card: any, currency: CNY, from: 2020-01-01, to: 2020-06-30, ppm: 1", "card: debit, currency: CNY, from: 2020-06-30, ppm: 1"),
			"fees.yaml:6: plans[].rates[].from: 2020-06-30 is in the period of line 5"},
		{"overlap of what has no end", rates("card: any, currency: CNY, from: 2020-01-01, ppm: 1", "card: any, currency: CNY, from: 2021-01-01, ppm: 1"), "fees.yaml:6: plans[].rates[].from: 2021-01-01 is in the period of line 5"},
		{"ends before it begins", rates("card: any, currency: CNY, from: 2020-01-02, to: 2020-01-01, ppm: 1"), "fees.yaml:5: plans[].rates[].to: 2020-01-01 is before"},
		{"one card only", rates("card: debit, currency: CNY, from: 2020-01-01, ppm: 1"), "fees.yaml:5: plans[].rates[].card: debit cards have a rate in currency 156, credit cards"},
		{"one category only", rates("card: any, currency: CNY, mcc: [\"5411\"], from: 2020-01-01, ppm: 1"), "fees.yaml:5: plans[].rates[].card"},
		{"no day", rates("card: any, currency: CNY, from: soon, ppm: 1"), `fees.yaml:5: plans[].rates[].from: "soon" must be a day`},
		{"no day of the year", rates("card: any, currency: CNY, from: 2026-02-30, ppm: 1"), `fees.yaml:5: plans[].rates[].from`},
		{"ppm", rates("card: any, currency: CNY, from: 2020-01-01, ppm: 1000001"), "fees.yaml:5: plans[].rates[].ppm"},
		{"negative ppm", rates("card: any, currency: CNY, from: 2020-01-01, ppm: -1"), "fees.yaml:5: plans[].rates[].ppm"},
		{"no ppm", rates("card: any, currency: CNY, from: 2020-01-01"), "fees.yaml:5: plans[].rates[].ppm"},
		{"cap of too many decimals", rates("card: any, currency: JPY, from: 2020-01-01, ppm: 1, cap: 1.5"), "fees.yaml:5: plans[].rates[].cap"},
		{"cap below min", rates("card: any, currency: CNY, from: 2020-01-01, ppm: 1, cap: 1, min: 2"), "fees.yaml:5: plans[].rates[].cap: is below min"},
		{"currency", rates("card: any, currency: XYZ, from: 2020-01-01, ppm: 1"), "fees.yaml:5: plans[].rates[].currency"},
		{"card", rates("card: gold, currency: CNY, from: 2020-01-01, ppm: 1"), "fees.yaml:5: plans[].rates[].card"},
		{"mcc", rates("card: any, currency: CNY, from: 2020-01-01, ppm: 1", "card: any, currency: CNY, from: 2020-01-01, ppm: 1, mcc: [541]"), "fees.yaml:6: plans[].rates[].mcc"},
		{"mcc of all", rates("card: any, currency: CNY, from: 2020-01-01, ppm: 1", "card: any, currency: CNY, from: 2020-01-01, ppm: 1, mcc: [\"0000\"]"), `fees.yaml:6: plans[].rates[].mcc: "0000" must be`},
		{"refunds", head + "plans: [{name: a, refunds: maybe, rates: [{card: any, currency: CNY, from: 2020-01-01, ppm: 1}]}]\n", "plans[].refunds"},
		{"plan twice", head + "plans:\n  - {name: a, rates: [{card: any, currency: CNY, from: 2020-01-01, ppm: 1}]}\n  - {name: a, rates: [{card: any, currency: CNY, from: 2020-01-01, ppm: 1}]}\n", "fees.yaml:4: plans[].name"},
		{"no rates", head + "plans:\n  - {name: a}\n", "fees.yaml:3: plans[].rates: are 0"},
		{"no plan of the merchant", head + ok + "merchants: [{mid: a, plan: b, from: 2020-01-01}]\n", `fees.yaml:3: merchants[].plan: there is no plan "b"`},
		{"tiers that do not rise", rates(`card: any, currency: CNY, from: 2020-01-01, ppm: 1, tiers: [{above: "5", ppm: 1}, {above: "5", ppm: 1}]`), "fees.yaml:5: plans[].rates[].tiers[].above: 5 must be above zero and above that of the tier before"},
		{"tier of no amount", rates(`card: any, currency: JPY, from: 2020-01-01, ppm: 1, tiers: [{above: "5.00", ppm: 1}]`), "fees.yaml:5: plans[].rates[].tiers[].above: amount"},
		{"tier of everything", rates(`card: any, currency: CNY, from: 2020-01-01, ppm: 1, tiers: [{above: "0", ppm: 1}]`), "fees.yaml:5: plans[].rates[].tiers[].above: 0 must be above zero"},
		{"plan without a name", head + "plans:\n  - {rates: [{card: any, currency: CNY, from: 2020-01-01, ppm: 1}]}\n", "plans[].name"},
		{"agency without a code", head + ok + "merchants: [{mid: a, plan: a, from: 2020-01-01, agencies: [{code: \"\", ppm: 1}]}]\n", "merchants[].agencies[].code"},
		{"mcc of letters", rates("card: any, currency: CNY, from: 2020-01-01, ppm: 1", "card: any, currency: CNY, from: 2020-01-01, ppm: 1, mcc: [54x1]"), "fees.yaml:6: plans[].rates[].mcc"},
		{"tier without ppm", rates(`card: any, currency: CNY, from: 2020-01-01, ppm: 1, tiers: [{above: "5"}]`), "fees.yaml:5: plans[].rates[].tiers[].ppm"},
		{"entry", rates("card: any, currency: CNY, from: 2020-01-01, ppm: 1, entry: [radio]"), `fees.yaml:5: plans[].rates[].entry: "radio" must be one of other, manual`},
		{"one entry only", rates("card: any, currency: CNY, from: 2020-01-01, ppm: 1, mcc: [\"5411\"]", "card: debit, currency: CNY, from: 2020-01-01, ppm: 1", "card: credit, currency: CNY, from: 2020-01-01, ppm: 1, entry: [code]"), "plans[].rates[].card: "},
		{"overlap of an entry", rates("card: any, currency: CNY, from: 2020-01-01, ppm: 1", "card: any, currency: CNY, from: 2020-01-01, ppm: 1, entry: [code, chip]", "card: any, currency: CNY, from: 2021-01-01, ppm: 1, entry: [chip]"), "fees.yaml:7: plans[].rates[].from: 2021-01-01 is in the period of line 6"},
		{"agencies with more than all", head + ok + "merchants: [{mid: a, plan: a, from: 2020-01-01, agencies: [{code: x, ppm: 600000}, {code: y, ppm: 400001}]}]\n", `fees.yaml:3: merchants[].agencies[].ppm: "400001" must be a whole number of millionths of our income, 1 to 400000 that are left`},
		{"agency twice", head + ok + "merchants: [{mid: a, plan: a, from: 2020-01-01, agencies: [{code: x, ppm: 1}, {code: x, ppm: 1}]}]\n", `merchants[].agencies[].code: "x" has a share already`},
		{"agency's code", head + ok + "merchants: [{mid: a, plan: a, from: 2020-01-01, agencies: [{code: a.b, ppm: 1}]}]\n", `merchants[].agencies[].code: "a.b" must be`},
		{"agency without a share", head + ok + "merchants: [{mid: a, plan: a, from: 2020-01-01, agencies: [{code: x, ppm: 0}]}]\n", `merchants[].agencies[].ppm: "0" must be`},
		{"agency's code of 13", head + ok + "merchants: [{mid: a, plan: a, from: 2020-01-01, agencies: [{code: abcdefghijklm, ppm: 1}]}]\n", "merchants[].agencies[].code"},
		{"merchant of 16", head + ok + "merchants: [{mid: \"1234567890123456\", plan: a, from: 2020-01-01}]\n", "fees.yaml:3: merchants[].mid"},
		{"merchant without an id", head + ok + "merchants: [{plan: a, from: 2020-01-01}]\n", "fees.yaml:3: merchants[].mid"},
		{"merchant with a gap", head + ok + "merchants:\n  - {mid: a, plan: a, from: 2020-01-01, to: 2020-01-31}\n  - {mid: a, plan: a, from: 2020-03-01}\n", "fees.yaml:5: merchants[].from: between 2020-01-31"},
		{"merchant twice", head + ok + "merchants:\n  - {mid: a, plan: a, from: 2020-01-01}\n  - {mid: a, plan: a, from: 2020-03-01}\n", "fees.yaml:5: merchants[].from: 2020-03-01 is in the period of line 4"},
		{"interchange with a gap", head + "interchange:\n  rates:\n    - {card: any, currency: CNY, from: 2020-01-01, to: 2020-01-31, ppm: 1}\n    - {card: any, currency: CNY, from: 2020-02-02, ppm: 1}\n", "fees.yaml:5: interchange.rates[].from"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Load(File{"fees.yaml", []byte(c.plans)}, File{"cards.csv", []byte(cards)}, nil); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	for text, want := range map[string]string{
		"":                                   "cards.csv:1: prefix,card: the file is empty",
		"622202,debit\n":                     "cards.csv:1: prefix,card",
		"prefix,card\n6222021,debit\n":       "cards.csv:2: prefix",
		"prefix,card\n62x,debit\n":           "cards.csv:2: prefix",
		"prefix,card\n62,debit\n62,credit\n": "cards.csv:3: prefix: \"62\" is on line 2",
		"prefix,card\n62,gold\n":             "cards.csv:2: card",
	} {
		if _, err := Load(File{"fees.yaml", []byte(head + ok)}, File{"cards.csv", []byte(text)}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestTiersAndWays holds which rate a deal gets.
func TestTiersAndWays(t *testing.T) {
	s, err := Load(File{"fees.yaml", []byte(head + `plans:
  - name: a
    rates:
      - {card: any, currency: CNY, from: 2020-01-01, ppm: 1, tiers: [{above: "100", ppm: 2}, {above: "200", ppm: 3, cap: "1"}]}
      - {card: any, currency: CNY, entry: [code], from: 2020-01-01, ppm: 4}
      - {card: any, currency: CNY, mcc: ["5812"], from: 2020-01-01, ppm: 5}
      - {card: any, currency: CNY, mcc: ["5812"], entry: [manual, code], from: 2020-01-01, ppm: 6}
merchants: [{mid: M1, plan: a, from: 2020-01-01}]
`)}, File{"cards.csv", []byte(cards)}, nil)
	if err != nil || !s.Tiers() {
		t.Fatal(err)
	}
	for _, c := range []struct {
		mcc    uint16
		way    txn.Way
		volume int64
		ppm    int64
		above  int64
	}{
		{5411, txn.WayChip, 0, 1, 0}, {5411, txn.WayChip, 100_00, 1, 0}, {5411, txn.WayChip, 100_01, 2, 100_00}, {5411, txn.WayChip, 200_01, 3, 200_00},
		{5411, txn.WayOther, -1, 1, 0}, {5411, txn.WayCode, 200_01, 4, 0}, {5812, txn.WayChip, 0, 5, 0}, {5812, txn.WayManual, 0, 6, 0}, {5812, txn.WayCode, 0, 6, 0},
	} {
		d := deal("622202", 20261122)
		d.Merchant, d.MCC, d.Way, d.Volume = txn.MakeMerchantID("M1"), c.mcc, c.way, c.volume
		terms, why := s.Terms(d)
		if why != Priced || terms.Merchant.Rate.PPM != c.ppm || terms.Merchant.Above != c.above {
			t.Errorf("%+v: %s, %+v", c, why, terms.Merchant)
		}
	}
}

// TestAccepted: bounds that are reached and not passed, in any order of lines.
func TestAccepted(t *testing.T) {
	s := load(t, head+`plans:
  - name: kept
    refunds: keep
    rates:
      - {card: any, currency: CNY, from: 2026-07-01, ppm: 1000000, min: "2", cap: "2"}
      - {card: any, currency: CNY, from: 2020-01-01, to: 2026-06-30, ppm: 0, fixed: "3", cap: "3"}
      - {card: any, currency: CNY, entry: [contactless, other], from: 2020-01-01, to: 2020-01-01, ppm: 7}
merchants: [{mid: "123456789012345", plan: kept, from: 2020-01-01}]
`)
	for day, want := range map[txn.Date]int64{20260630: 3_00, 20260701: 2_00, 20200101: 0} {
		d := deal("622202", day)
		d.Merchant, d.Way = txn.MakeMerchantID("123456789012345"), txn.WayContactless
		terms, why := s.Terms(d)
		if got := terms.Price(txn.KindSale, 0, 100_00); why != Priced || got.Merchant != want || !terms.Merchant.Keeps || terms.Interchange.Keeps {
			t.Errorf("%s: %s, %+v of %+v", day, why, got, terms.Merchant)
		}
		if got := terms.Price(txn.KindRefund, 100_00, 0); got.Merchant != 0 {
			t.Errorf("%s: a refund gives back %d", day, got.Merchant)
		}
	}
}

// TestAgenciesOfADay: a share is of the days it was agreed for, and agencies may have
// the whole of an income or a millionth.
func TestAgenciesOfADay(t *testing.T) {
	s := load(t, retail+`  - {mid: M1, plan: retail, from: 2026-01-01, to: 2026-06-30, agencies: [{code: abcdefghijkl, ppm: 1000000}]}
  - {mid: M1, plan: retail, from: 2026-07-01, agencies: [{code: north, ppm: 1}, {code: south-2, ppm: 999999}]}
`)
	for day, want := range map[txn.Date]string{20251231: "[]", 20260101: "[{abcdefghijkl 1000000}]", 20260630: "[{abcdefghijkl 1000000}]", 20260701: "[{north 1} {south-2 999999}]"} {
		if got := fmt.Sprint(s.Agencies(txn.MakeMerchantID("M1"), day)); got != want {
			t.Errorf("%s: %s, want %s", day, got, want)
		}
	}
	if s.Tiers() {
		t.Error("some rate is said to depend on a volume")
	}
}

// TestSum: it is another one for any other text, and for a byte that moves from one
// file to the other.
func TestSum(t *testing.T) {
	seen := map[string]string{}
	for name, texts := range map[string][2]string{
		"the files": {retail, cards}, "other plans": {strings.Replace(retail, "5000", "5001", 1), cards}, "more plans": {retail + "#", cards},
		"another card": {retail, strings.Replace(cards, "62220,", "62221,", 1)}, "other cards": {retail, cards + "4111,credit\n"},
		"a line that moved": {retail + "\n", strings.TrimSuffix(cards, "\n")},
	} {
		s, err := Load(File{"fees.yaml", []byte(texts[0])}, File{"cards.csv", []byte(texts[1])}, nil)
		if err != nil {
			t.Fatal(name, err)
		}
		if same := seen[s.Sum()]; same != "" || len(s.Sum()) != 64 {
			t.Errorf("%s: %q, as %s", name, s.Sum(), same)
		}
		seen[s.Sum()] = name
	}
}

// TestShares holds that shares are whole, and that what they cost is what was
// agreed.
func TestShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []Agency
		left := int64(txn.PPMMax)
		for range rapid.IntRange(0, 4).Draw(t, "agencies") {
			ppm := rapid.Int64Range(0, left).Draw(t, "ppm")
			left -= ppm
			all = append(all, Agency{PPM: ppm})
		}
		income := rapid.Int64Range(-1<<50, 1<<50).Draw(t, "income")
		shares, total, remainder := Shares(income, all)
		sum := remainder
		for i, s := range shares {
			exact := new(big.Int).Quo(new(big.Int).Mul(big.NewInt(income), big.NewInt(all[i].PPM)), big.NewInt(txn.PPMMax))
			if s != exact.Int64() {
				t.Fatalf("%d ppm of %d: %d, want %s", all[i].PPM, income, s, exact)
			}
			sum += s
		}
		if sum != total || remainder*income < 0 || abs(remainder) >= int64(max(len(all), 1)) || abs(total) > abs(income) {
			t.Fatalf("%d for %+v: %v, %d, %d", income, all, shares, total, remainder)
		}
	})
}

func abs(n int64) int64 { return max(n, -n) }

// TestSample holds the sample files to what they say.
func TestSample(t *testing.T) {
	read := func(name string) File {
		b, err := os.ReadFile("../../testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return File{name, b}
	}
	s, err := Load(read("fees.yaml"), read("cards.csv"), map[string]string{"999290054110002": "retail"})
	if err != nil {
		t.Fatal(err)
	}
	if s.card([]byte("622202*")) != Debit || s.card([]byte("622209*")) != Credit || s.card([]byte("411111*")) != CardUnknown {
		t.Error("cards")
	}
}

// TestRegistry holds the plans that a registry gives, and that what a run keeps of
// them is the same schedule again.
func TestRegistry(t *testing.T) {
	const file = "version: 1\nplans: [{name: a, rates: [{card: any, currency: CNY, from: 2020-01-01, ppm: 1}]}, {name: b, rates: [{card: any, currency: CNY, from: 2020-01-01, ppm: 2}]}]\n"
	const theirs = "merchants: [{mid: F, plan: a, from: 2020-01-01}, {mid: M2, agencies: [{code: north, ppm: 5}]}, {mid: M4, from: 2026-11-22, agencies: [{code: north, ppm: 5}]}]\n"
	table := File{"cards.csv", []byte(cards)}
	first, err := Load(File{"f", []byte(file + theirs)}, table, map[string]string{"M1": "b", "M2": "b", "M4": "b"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := Load(File{"kept", first.Plans()}, File{"kept", first.BINs()}, nil)
	if err != nil || again.Sum() != first.Sum() {
		t.Fatal(again, err)
	}
	for _, s := range []*Schedule{first, again} {
		for id, want := range map[string]string{"F": "a", "M1": "b", "M2": "b", "M3": ""} {
			d := deal("622202", 20261122)
			d.Merchant = txn.MakeMerchantID(id)
			if terms, _ := s.Terms(d); terms.Plan != want {
				t.Errorf("%s has %q, want %q", id, terms.Plan, want)
			}
		}
		for _, c := range []struct {
			id  string
			day txn.Date
			n   int
		}{{"M2", 20261122, 1}, {"M4", 20261121, 0}, {"M4", 20261122, 1}} {
			if n := len(s.Agencies(txn.MakeMerchantID(c.id), c.day)); n != c.n {
				t.Errorf("%s on %s: %d agencies", c.id, c.day, n)
			}
		}
	}
	for theirs, want := range map[string]string{
		"merchants: [{mid: M1, plan: a, from: 2020-01-01}]": `f:3: merchants[].plan: the registry gives merchant M1 the plan "b": change it there and remove it here`,
		"merchants: [{mid: M2}]":                            `f:3: merchants[].plan: merchant M2 has none: name it here, or in its fee_plan where the registry is in the database`,
		"":                                                  `plans[].name: there is no plan "c", which merchant M9 has in the registry: add it here or change it there`,
	} {
		if _, err := Load(File{"f", []byte(file + theirs)}, table, map[string]string{"M1": "b", "M9": "c"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", theirs, err, want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(retail), []byte(cards))
	f.Fuzz(func(t *testing.T, plans, bins []byte) {
		s, err := Load(File{"fees.yaml", plans}, File{"cards.csv", bins}, nil)
		if (s == nil) == (err == nil) {
			t.Fatal("neither schedule nor error, or both")
		}
		if s != nil {
			s.Terms(deal("622202", 20261122))
			again, err := Load(File{"a", plans}, File{"b", bins}, nil)
			if err != nil || again.Sum() != s.Sum() {
				t.Fatal(fmt.Sprint("another schedule from the same files: ", err))
			}
		}
	})
}
