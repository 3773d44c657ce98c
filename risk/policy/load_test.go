package policy

import (
	"reflect"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/risk/rules"
	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/testdata"
)

func sample(t testing.TB) []byte {
	t.Helper()
	text, err := testdata.Files.ReadFile("policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestSampleIsTheDefault holds that the values which the sample states are those
// that are said to apply where it is silent.
func TestSampleIsTheDefault(t *testing.T) {
	got, err := Load(sample(t), "policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := risk.DefaultPolicy()
	want.Plans, want.Own = got.Plans, got.Own
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if empty, err := Load([]byte("version: 1\n"), "x"); err != nil || !reflect.DeepEqual(empty, risk.DefaultPolicy()) {
		t.Errorf("a document that says nothing is %+v, %v", empty, err)
	}
	if len(got.Plans) != 1 || len(got.Plans[0].Limits) != 1 || len(got.Own) == 0 {
		t.Errorf("the sample has %+v and %+v", got.Plans, got.Own)
	}
}

// full sets every field of a policy.
const full = `version: 1
builtin:
  - {rule: T12, mode: shadow}
  - {rule: L02, mode: enforce, action: alert}
places: {info_from: 2027-01-01, silent_max: 3, radius_m: 400, far_max: 2, far_m: 40000, speed_max_kmh: 150}
patterns: {repeats: 4, repeats_day: 6, repeats_max: 8, credit_percent: 80, credit_from: 1000.50, near_count: 4, near: [999.00, 1999.00, 2999.00, 3999.00], night_percent: 40, night_from: 10, declines: 6, declined_cards: 11, refund_percent: 20, refunds_from: 4, provinces: 3, backwards_max: 7}
legal: {micro_credit_day: 900.50, micro_credit_month: 9000, code_day_a: 10000, code_day_b: 4000, code_day_c: 900, code_day_d: 400, no_pin: 300}
crossings:
  - {merchants: micro, city: alert, province: review, border: hold}
  - {merchants: enterprise, city: pass}
permits:
  - {merchant: "999290054110001", terminal: T1, region: 320500, from: 2026-12-01, until: 2026-12-14}
  - {merchant: "999290054110001", country: "344"}
plans:
  - {number: 0, name: standard}
  - number: 7
    name: small shops
    code_level: C
    no_pin: refuse
    limits:
      - {of: card, currency: JPY, transaction: 50000, day_amount: 200000, day_count: 5, month_amount: 900000, month_count: 50}
      - {of: identity, methods: [chip, contactless-pin], cards: [credit, unknown], mcc: 742, region: 310000, from: 2026-12-01, until: 2026-12-31, day_amount: 0.01}
overrides:
  - {id: T1, of: terminal, day_count: 9}
  - {id: "999290054110001", of: merchant, day_amount: 500000.00, until: 2026-12-31}
  - {id: 0f1e2d3c4b5a69788796a5b4c3d2e1f0, of: card, transaction: 1}
blocked_cards:
  - {card: 0f1e2d3c4b5a69788796a5b4c3d2e1f0, why: stolen, from: 2026-11-20, until: 2026-11-21}
  - {card: 00000000000000000000000000000001}
shunned_persons: [11111111111111111111111111111111]
lists:
  - name: jewellers
    of: merchant.mcc
    entries: [5094, "5944", 59_45]
  - {name: tried_cards, of: card.token, entries: [0f1e2d3c4b5a69788796a5b4c3d2e1f0]}
  - {name: none, of: kind}
rules:
  - {number: 1000, name: one, when: "amount > 5 && card.bin == \"622202\"", action: refuse, refuse_as: frequency, on_error: refuse, mode: shadow, from: 2026-11-20, until: 2026-11-21}
  - number: 1001
    name: two
    when: |
      amount > 5
      && hour < 6
    action: hold
    mode: "off"
`

func TestRoundTrip(t *testing.T) {
	for _, text := range []string{full, string(sample(t)), "version: 1\n"} {
		p, err := Load([]byte(text), "x")
		if err != nil {
			t.Fatal(err)
		}
		again := export(&p)
		q, err := Load(again, "again")
		if err != nil {
			t.Fatalf("%v\n%s", err, again)
		}
		if !reflect.DeepEqual(p, q) {
			t.Errorf("read, written and read again it is\n%+v\nand was\n%+v\n%s", q, p, again)
		}
		if third := export(&q); string(third) != string(again) {
			t.Errorf("written twice:\n%s\nand\n%s", again, third)
		}
	}
}

// TestEveryFieldCanBeWritten holds the document to the policy: a field that the
// document cannot say is one nobody can decide on.
func TestEveryFieldCanBeWritten(t *testing.T) {
	p, err := Load([]byte(full), "x")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	var walk func(name string, v reflect.Value)
	walk = func(name string, v reflect.Value) {
		switch v.Kind() {
		case reflect.Struct:
			if v.Type() == reflect.TypeFor[risk.Limit]() {
				name = "Limit" // wherever one stands
			}
			for i := range v.NumField() {
				walk(name+"."+v.Type().Field(i).Name, v.Field(i))
			}
		case reflect.Slice, reflect.Array:
			if v.Kind() == reflect.Array && v.Type().Elem().Kind() == reflect.Uint8 {
				said[name] = said[name] || !v.IsZero()
				return
			}
			for i := range v.Len() {
				walk(name+"[]", v.Index(i))
			}
			said[name] = said[name] || v.Len() > 0
		case reflect.Map:
			said[name] = said[name] || v.Len() > 0
			for _, k := range v.MapKeys() {
				walk(name+"[]", v.MapIndex(k))
			}
		default:
			said[name] = said[name] || !v.IsZero()
		}
	}
	p.Number = 1 // not of the document: of the version
	walk("Policy", reflect.ValueOf(p))
	for name, yes := range said {
		if !yes {
			t.Errorf("no document says %s", name)
		}
	}
}

func TestWhatIsNoPolicy(t *testing.T) {
	const head = "version: 1\n"
	rule := func(fields string) string {
		return head + "rules:\n  - {number: 1000, name: r, when: pin, action: alert" + fields + "}\n"
	}
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "x:1: the file is empty: a policy without decisions"},
		{"no YAML", "version: [", "x:1:"},
		{"other version", "version: 2\n", "x:1: version: this program reads version 1"},
		{"unknown key", head + "limit: 5\n", `x:2: unknown field "limit": correct or remove it`},
		{"key twice", head + "places: {}\nplaces: {}\n", "x:3:"},
		{"unknown rule", head + "builtin:\n  - {rule: T99}\n", `x:3: builtin[].rule: "T99" is no built-in rule`},
		{"rule twice", head + "builtin:\n  - {rule: T12}\n  - {rule: T12}\n", "x:4: builtin[].rule: T12 stands here twice"},
		{"binding off", head + "builtin:\n  - {rule: T02, mode: off}\n", "x:3: builtin[].rule: T02 cannot be changed"},
		{"no mode", head + "builtin:\n  - {rule: T12, mode: on}\n", `builtin[].mode: "on" must be enforce, shadow or off`},
		{"no action", head + "builtin:\n  - {rule: T12, action: decline}\n", `"decline" must be one of alert, review, hold, refuse`},
		{"radius", head + "places: {radius_m: 2001}\n", `x:2: places.radius_m: "2001" must be a number from 0 to 2000`},
		{"day", head + "places: {info_from: 2026-02-30}\n", `"2026-02-30" must be a day`},
		{"fraction of a fen", head + "legal: {no_pin: 1.005}\n", `legal.no_pin: amount "1.005"`},
		{"repeats", head + "patterns: {repeats: 16}\n", `patterns.repeats: "16" must be a number from 0 to 15`},
		{"provinces", head + "patterns: {provinces: 1}\n", "patterns.provinces: \"1\" is every card"},
		{"amounts", head + "patterns: {near: [1, 2, 3, 4, 5]}\n", "patterns.near: are 5 amounts"},
		{"class", head + "crossings:\n  - {merchants: shops}\n", `"shops" must be one of enterprise, individual-business`},
		{"crossing", head + "crossings:\n  - {merchants: micro, city: stop}\n", `"stop" must be one of alert, review, hold, refuse, pass`},
		{"region", head + "permits:\n  - {merchant: M1, region: 319999}\n", `x:3: permits[].region: "319999" is no region of GB/T 2260`},
		{"no region", head + "permits:\n  - {merchant: M1}\n", "permits[].region: is missing"},
		{"country", head + "permits:\n  - {merchant: M1, country: US}\n", `"US" must be the three digits`},
		{"permit of nobody", head + "permits:\n  - {region: 310000}\n", `permits[].merchant: "" must be 1 to 15`},
		{"permit that ends first", head + "permits:\n  - {merchant: M1, region: 310000, from: 2026-12-02, until: 2026-12-01}\n", "permits[].until: 2026-12-01 is before from, 2026-12-02"},
		{"plan without number", head + "plans:\n  - {name: a}\n", "x:3: plans[].number: is missing"},
		{"plan twice", head + "plans:\n  - {number: 1, name: a}\n  - {number: 1, name: b}\n", "x:4: plans[].number: 1 is used twice"},
		{"plan without name", head + "plans:\n  - {number: 1}\n", "plans[].name"},
		{"level", head + "plans:\n  - {number: 1, name: a, code_level: E}\n", `"E" must be A, B, C or D`},
		{"too many limits", head + "plans:\n  - number: 1\n    name: a\n    limits:\n" + strings.Repeat("      - {of: card, day_count: 1}\n", 33), "are 33, at most 20"},
		{"limit of nobody", head + "plans:\n  - {number: 1, name: a, limits: [{of: shop, day_count: 1}]}\n", `"shop" must be terminal, merchant, card or identity`},
		{"limit of nothing", head + "plans:\n  - {number: 1, name: a, limits: [{of: card}]}\n", "bounds nothing"},
		{"limit of zero", head + "plans:\n  - {number: 1, name: a, limits: [{of: card, day_amount: 0}]}\n", "must be more than 0"},
		{"currency", head + "plans:\n  - {number: 1, name: a, limits: [{of: card, currency: RMB, day_count: 1}]}\n", `"RMB" is no ISO 4217 currency`},
		{"method", head + "plans:\n  - {number: 1, name: a, limits: [{of: card, methods: [swipe], day_count: 1}]}\n", `"swipe" must be a way`},
		{"card in clear", head + "blocked_cards:\n  - {card: 6222020000000007}\n", "x:3: blocked_cards[].card: must be a token of 32 hexadecimal digits"},
		{"card twice", head + "blocked_cards:\n  - {card: 00000000000000000000000000000001}\n  - {card: 00000000000000000000000000000001}\n", "x:4: blocked_cards[].card: the card stands here twice"},
		{"person in clear", head + "shunned_persons: [310101199001011234]\n", "shunned_persons[]: must be a token"},
		{"override without id", head + "overrides:\n  - {of: merchant, day_count: 1}\n", "overrides[].id"},
		{"plan named by a card", head + "plans:\n  - {number: 1, name: of 6222 0200 0000 0007}\n", "x:3: plans[].name: holds what looks like a card number"},
		{"list named by a card", head + "lists:\n  - {name: \"6222020000000007\", of: kind}\n", "x:3: lists[].name: holds what looks like a card number"},
		{"rule named by a card", head + "rules:\n  - {number: 1000, name: stop-6222020000000007, when: pin, action: alert}\n", "x:3: rules[].name: holds what looks like a card number"},
		{"list of nothing", head + "lists:\n  - {name: a, of: card.pan}\n", `x:3: lists[].of: "card.pan" is no fact`},
		{"list twice", head + "lists:\n  - {name: a, of: kind}\n  - {name: a, of: kind}\n", `x:4: lists[].name: another list is called "a"`},
		{"list badly named", head + "lists:\n  - {name: bad-bins, of: card.bin}\n", `x:3: lists[].name: "bad-bins" must be of lower-case letters, digits and underscores`},
		{"cards in clear in a list", head + "lists:\n  - name: a\n    of: card.token\n    entries:\n      - 6222020000000007\n", "x:6: lists[].entries[]: must be a token of 32 hexadecimal digits"},
		{"entry twice", head + "lists:\n  - {name: a, of: card.bin, entries: [\"622202\", \"622202\"]}\n", `x:3: lists[].entries[]: it stands in list "a" twice`},
		{"rule of no list", head + "rules:\n  - {number: 1000, name: r, when: card.bin in list.b, action: alert}\n", `x:3: rules[].when: rule "r": column 13: there is no list "b"`},
		{"rule without condition", head + "rules:\n  - {number: 1000, name: r, action: alert}\n", "x:3: rules[].when: is missing"},
		{"rule without action", head + "rules:\n  - {number: 1000, name: r, when: pin}\n", "rules[].action"},
		{"refusal without reason", head + "rules:\n  - {number: 1000, name: r, when: pin, action: refuse}\n", `rules[].refuse_as: "" must be card (57)`},
		{"reason without refusal", rule(", refuse_as: card"), "means nothing to a rule that does not refuse"},
		{"alert that refuses on error", rule(", on_error: refuse"), `rules[].on_error: "refuse" must be pass`},
		{"rule that ends first", rule(", from: 2026-12-02, until: 2026-12-01"), "x:3: rules[].until: rule \"r\": 2026-12-01 is before from"},
		{"rule of a built-in number", head + "rules:\n  - {number: 999, name: r, when: pin, action: alert}\n", "999 must be 1000 or more"},
		{"same number", head + "rules:\n  - {number: 1000, name: r, when: pin, action: alert}\n  - {number: 1000, name: s, when: pin, action: alert}\n", `x:4: rules[].number: rule "s": another rule has 1000`},
		{"misspelt fact", head + "rules:\n  - number: 1000\n    name: typo\n    when: pin && amout > 5\n    action: alert\n", `x:5: rules[].when: rule "typo": column 8: "amout" is not known`},
		{"misspelt fact on the second line", head + "rules:\n  - number: 1000\n    name: typo\n    when: |\n      pin\n      && amout > 5\n    action: alert\n", `x:7: rules[].when: rule "typo": column 4: "amout" is not known`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Load([]byte(c.text), "x")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "6222020000000007") {
				t.Errorf("the error quotes a card number")
			}
		})
	}
}

func TestWhatADocumentSays(t *testing.T) {
	p, err := Load([]byte(full), "x")
	if err != nil {
		t.Fatal(err)
	}
	if p.Places.InfoFrom != 20270101 || p.Legal.MicroCreditDay != 900_50 || p.Classes[txn.Micro] != (risk.Crossing{City: txn.ActionAlert, Province: txn.ActionReview, Border: txn.ActionHold}) ||
		p.Classes[txn.Enterprise].City != 0 || p.Permits[1].Country != 344 {
		t.Errorf("%+v", p)
	}
	small := p.Plans[1]
	if small.CodeLevel != risk.CodeC || !small.NoPINRefused || small.Limits[0].Bounds != (txn.Limits{Transaction: 50000, DayAmount: 200000, DayCount: 5, MonthAmount: 900000, MonthCount: 50}) ||
		small.Limits[1].Bounds.DayAmount != 1 || small.Limits[1].MCC != 742 || small.Limits[1].Cards != 1<<txn.CardCredit|1<<txn.CardUnknown {
		t.Errorf("%+v", small)
	}
	if r := p.Own[0]; r.Reason != txn.FrequencyIsRefusedByRule || !r.RefuseOnError || r.Mode != rules.Shadow || p.Own[1].When != "amount > 5\n&& hour < 6\n" {
		t.Errorf("%+v", p.Own)
	}
	if b := p.Blocked[txn.CardToken{15: 1}]; b.Why != risk.BlockRestricted || len(p.Blocked) != 2 {
		t.Errorf("%+v", p.Blocked)
	}
}

func FuzzLoad(f *testing.F) {
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Load(text, "x")
		if err != nil {
			return
		}
		again := export(&p)
		q, err := Load(again, "again")
		if err != nil || !reflect.DeepEqual(p, q) {
			t.Fatalf("%v\n%s", err, again)
		}
	})
}
