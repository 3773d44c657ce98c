package rules

import (
	"errors"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// sale is a night sale of 6,000.00 yuan by a chip card, of which the position
// is not known.
func sale() *Facts {
	f := &Facts{}
	f.Set(Amount, 6000_00)
	f.Set(Currency, int64(txn.CNY))
	f.Set(Kind, int64(txn.KindSale))
	f.Set(Entry, int64(txn.WayChip))
	f.SetFlag(PIN, false)
	f.Set(Hour, 23)
	f.Set(MerchantMCC, 5411)
	f.Set(MerchantType, int64(txn.Micro))
	f.Set(CardType, int64(txn.CardCredit))
	f.SetText(CardBIN, []byte("622202"))
	f.SetText(CardToken, []byte("0f1e2d3c4b5a69788796a5b4c3d2e1f0"))
	f.Set(MerchantCity, 310000)
	f.SetText(MerchantID, []byte("999290054110001"))
	f.SetText(TerminalID, []byte("T1      "))
	f.Set(CardDayCount, 0)
	f.Set(TerminalDayAmount, math.MaxInt64)
	return f
}

func TestWhatConditionsComeTo(t *testing.T) {
	for _, c := range []struct {
		when string
		want Result
	}{
		{`true`, Hits},
		{`amount == 6000_00`, Hits},
		{`amount != 600000`, Misses},
		{`amount > 6000_00`, Misses},
		{`amount > 5999_99`, Hits},
		{`amount >= 6000_00 and amount <= 6000_00`, Hits},
		{`amount < 6000_01`, Hits},
		{`amount < 6000_00`, Misses},
		{`6000_01 > amount`, Hits},
		{`6000_00 < amount`, Misses},
		{`5000_00 < amount < 7000_00`, Hits},
		{`amount % 1000_00 == 0`, Hits},
		{`amount + 1 > amount`, Hits},
		{`-amount == -600000`, Hits},
		{`amount * 2 - 6000_00 == amount`, Hits},
		{`amount / 7 == 85714`, Hits},
		{`currency == "CNY"`, Hits},
		{`currency != "USD"`, Hits},
		{`kind == "sale"`, Hits},
		{`"sale" == kind`, Hits},
		{`kind in ["preauth", "sale"]`, Hits},
		{`kind not in ["preauth", "sale"]`, Misses},
		{`entry == "stripe" || entry == "manual"`, Misses},
		{`pin`, Misses},
		{`!pin`, Hits},
		{`not pin && pin == false`, Hits},
		{`pin != (amount > 1)`, Hits},
		{`hour >= 23 or hour < 6`, Hits},
		{`merchant.mcc in 5411..5499`, Hits},
		{`merchant.mcc in 5412..5499`, Misses},
		{`merchant.mcc in [5812, 5411]`, Hits},
		{`merchant.type == "micro" && card.type == "credit"`, Hits},
		{`card.bin == "622202"`, Hits},
		{`card.bin startsWith "62"`, Hits},
		{`card.bin startsWith "63"`, Misses},
		{`card.bin in ["622201", "622202"]`, Hits},
		{`merchant.id endsWith "0001"`, Hits},
		{`terminal.id == "T1"`, Hits},
		{`terminal.id != merchant.id`, Hits},
		{`(pin ? 10000_00 : 1000_00) < amount`, Hits},
		{`if pin { amount > 10000_00 } else { amount > 1000_00 }`, Hits},

		{`merchant.mcc in list.grocers`, Hits},
		{`merchant.mcc not in list.grocers`, Misses},
		{`merchant.mcc in list.jewellers`, Misses},
		{`card.bin in list.bins && merchant.id in list.shops && terminal.id in list.machines`, Hits},
		{`kind in list.payments`, Hits},
		{`merchant.city in list.cities`, Hits},
		{`card.token in list.cards`, Hits},
		{`card.token == "0f1e2d3c4b5a69788796a5b4c3d2e1f1"`, Misses},

		// What is not known.
		{`city in list.cities`, Undecided},
		{`distance > 500`, Undecided},
		{`distance <= 500`, Undecided},
		{`!(distance > 500)`, Undecided},
		{`distance > 500 && amount > 1`, Undecided},
		{`distance > 500 && amount < 1`, Misses},
		{`amount < 1 && distance > 500`, Misses},
		{`distance > 500 || amount > 1`, Hits},
		{`distance > 500 || amount < 1`, Undecided},
		{`distance > amount`, Undecided},
		{`distance + 1 > 0`, Undecided},
		{`distance in [1, 2]`, Undecided},
		{`qr_level == "D"`, Undecided},
		{`known(distance)`, Misses},
		{`known(amount)`, Hits},
		{`known(distance) && distance > 500`, Misses},
		{`(distance ?? 0) > 500`, Misses},
		{`(distance ?? 501) > 500`, Hits},
		{`(distance > 500) ?? true`, Hits},
		{`distance > 500 ? true : true`, Undecided},

		// What cannot be computed.
		{`amount / card.day.count > 1`, Fails},
		{`amount % card.day.count > 1`, Fails},
		{`terminal.day.amount + amount > 1`, Fails},
		{`-2 - terminal.day.amount < 1`, Fails},
		{`terminal.day.amount * 2 > 1`, Fails},
		{`terminal.day.amount * -2 > 1`, Fails},
		{`(amount / card.day.count ?? 1) > 0`, Fails},
		{`amount / card.day.count > 1 && distance > 1`, Fails},
		{`amount > 1 || amount / card.day.count > 1`, Hits},
		{`(amount / card.day.count > 1 || amount > 1) && (distance ?? 1) == 1`, Hits},
	} {
		s, err := New([]Rule{{Number: txn.RuleCustom, Name: "r", When: c.when, Action: txn.ActionAlert}}, lists...)
		if err != nil {
			t.Errorf("%s: %v", c.when, err)
			continue
		}
		var got Result
		s.Judge(sale(), 20261126, false, new(txn.Findings), func(_ *Rule, r Result) { got = r })
		if got != c.want {
			t.Errorf("%s: %v, want %v", c.when, got, c.want)
		}
	}
}

var lists = []List{
	{"grocers", MerchantMCC, []string{"5411", "54_99"}}, {"jewellers", MerchantMCC, []string{"5094"}}, {"bins", CardBIN, []string{"622202"}},
	{"shops", MerchantID, []string{"999290054110001"}}, {"machines", TerminalID, []string{"T1"}}, {"payments", Kind, []string{"sale", "preauth"}},
	{"cities", City, []string{"310000"}}, {"cards", CardToken, []string{"0f1e2d3c4b5a69788796a5b4c3d2e1f0"}},
}

func TestWhatIsNoList(t *testing.T) {
	for _, c := range []struct {
		list List
		want string
	}{
		{List{"Big", MerchantMCC, nil}, `list "Big" must be named by lower-case letters`},
		{List{"grocers", MerchantMCC, nil}, `list "grocers" stands there twice`},
		{List{"x", facts, nil}, `list "x" is of nothing`},
		{List{"x", PIN, []string{"true"}}, `list "x": entry 1: pin is true or false`},
		{List{"x", MerchantMCC, []string{"5411", "food"}}, `list "x": entry 2: must be a whole number`},
		{List{"x", Kind, []string{"sael"}}, `"sael" is none of sale`},
		{List{"x", CardBIN, []string{"6222020000000000"}}, "must be the first six digits of card numbers"},
		{List{"x", CardToken, []string{"6222020000000000"}}, "never a card number"},
		{List{"x", CardToken, []string{strings.Repeat("AB", 16)}}, "32 hexadecimal digits"},
		{List{"x", TerminalID, []string{"123456789"}}, "must be 1 to 8 letters and digits"},
		{List{"x", MerchantMCC, make([]string, ListEntriesMax+1)}, `list "x" has 100001 entries, at most 100000 may be`},
	} {
		if _, err := New(nil, append(lists[:1:1], c.list)...); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "6222020") {
			t.Errorf("%s: %v, want %q", c.list.Name, err, c.want)
		}
	}
	if _, err := New(nil, make([]List, ListsMax+1)...); err == nil || !strings.Contains(err.Error(), "there are 101 lists, at most 100 may be") {
		t.Errorf("%d lists: %v", ListsMax+1, err)
	}
}

func TestWhatIsNoCondition(t *testing.T) {
	for _, c := range []struct{ when, want string }{
		{``, "line 1, column 1: unexpected token EOF"},
		{`amount >`, "line 1, column 8: unexpected token EOF"},
		{`amount`, "line 1, column 1: the whole is a number: a rule needs a condition"},
		{`amuont > 1`, `line 1, column 1: "amuont" is not known`},
		{"amount > 1 &&\n  card.pan == \"6\"", `line 2, column 3: "card.pan" is not known`},
		{`pan startsWith "62"`, `line 1, column 1: "pan" is not known`},
		{`kind == "sael"`, `line 1, column 9: "sael" is none of sale, balance`},
		{`kind in ["sale", "sael"]`, `line 1, column 18: "sael" is none of`},
		{`currency == "cny"`, `line 1, column 13: "cny" is none of CNY, USD`},
		{`kind > "sale"`, "a word is equal or not, it is not more or less"},
		{`kind == entry`, "a word is compared with a word"},
		{`amount == "6000"`, "line 1, column 1: a number is compared with a text"},
		{`amount && pin`, "line 1, column 1: && needs true or false, this is a number"},
		{`pin && amount`, "line 1, column 8: && needs true or false, this is a number"},
		{`!amount`, "! needs true or false, this is a number"},
		{`-pin`, "- needs a number, this is true or false"},
		{`amount + pin > 1`, "+ needs two numbers, these are a number and true or false"},
		{`amount / 0 > 1`, "line 1, column 8: this divides by zero"},
		{`amount > 12.5`, "line 1, column 10: numbers are whole"},
		{`amount > 99999999999999999999`, "value out of range"},
		{`merchant.mcc in list.nothing`, `line 1, column 17: there is no list "nothing"`},
		{`merchant.mcc in list.bins`, `list "bins" is of card.bin, and that is what is looked for in it`},
		{`terminal.id in list.shops`, `list "shops" is of merchant.id`},
		{`5 in list.grocers`, `list "grocers" is of merchant.mcc`},
		{`list.grocers == 5411`, "a list stands behind in only"},
		{`card.bin == "6222"`, "line 1, column 13: card.bin is never that: must be the first six digits"},
		{`card.bin in ["622202", "6222020000000000"]`, "line 1, column 24: card.bin is never that: must be the first six digits"},
		{`merchant.id == "6222020000000000"`, `merchant.id is never that: "6222020000000000" must be 1 to 15 letters and digits`},
		{`card.bin startsWith "6222021"`, "card.bin is at most 6 long"},
		{`card.token == "6222020000000000"`, "never a card number"},
		{`amount in []`, "in needs a list or a range"},
		{`amount in [amount]`, "a list is of numbers or texts that stand there"},
		{`amount in ["a"]`, "a number is looked for among others, this is a text"},
		{`amount in 5..1`, "a range is of a fact and from a smaller to a larger number"},
		{`card.bin matches "(a+)+$"`, "matches is not offered"},
		{`all(1..1000000000, # > 0)`, "functions, loops and variables are not offered"},
		{`len("a") > 1`, "functions, loops and variables are not offered"},
		{`let x = amount; x > 1`, "functions, loops and variables are not offered"},
		{`amount ** 2 > 1`, "** is not offered"},
		{`amount | max(1) > 1`, "functions, loops and variables are not offered"},
		{`{"a": 1}.a > 1`, "is not known"},
		{`amount?.x > 1`, "is not offered"},
		{`foo(amount)`, "the one function is known"},
		{`known(amount > 1)`, "the one function is known"},
		{`known(nothing)`, `"nothing" is not known`},
		{`(distance ?? pin) > 1`, "?? needs two numbers or two conditions"},
		{`card.bin startsWith merchant.id`, "compares a text with one in quotes"},
		{`pin ? 1 : true`, "a choice is between two numbers or two conditions"},
		{`amount ? true : true`, "a choice needs a condition"},
		{`amount > 1 ` + strings.Repeat(`|| amount > 1 `, 60), "exceeds maximum allowed nodes"},
		{strings.Repeat(`(`, 1999) + `1`, "line 1, column"},
		{strings.Repeat(` `, 2001), "longer than 2000 bytes"},
	} {
		_, err := New([]Rule{{Number: txn.RuleCustom, Name: "a-rule", When: c.when, Action: txn.ActionAlert}}, lists...)
		where := (*Error)(nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), `rule "a-rule": when: line `) || !errors.As(err, &where) {
			t.Errorf("%s: %v, want %q", c.when, err, c.want)
		}
	}
}

func TestWhatIsNoRule(t *testing.T) {
	good := Rule{Number: 1000, Name: "good", When: "true", Action: txn.ActionAlert}
	with := func(change func(*Rule)) Rule { r := good; change(&r); return r }
	for _, c := range []struct {
		rule Rule
		want string
	}{
		{with(func(r *Rule) { r.Name = "Big" }), `rule "Big": name: "Big" must be of lower-case letters`},
		{with(func(r *Rule) { r.Name = "" }), "must be of lower-case letters"},
		{with(func(r *Rule) { r.Number = 1001 }), "another rule is called so"},
		{with(func(r *Rule) { r.Name = "other" }), "another rule has 1000"},
		{with(func(r *Rule) { r.Name, r.Number = "other", 999 }), "999 must be 1000 or more"},
		{with(func(r *Rule) { r.Name, r.Number, r.From, r.Until = "other", 1001, 20261127, 20261126 }), "until: 2026-11-26 is before from, 2026-11-27"},
	} {
		if _, err := New([]Rule{good, c.rule}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.rule, err, c.want)
		}
	}
	if _, err := New(make([]Rule, RulesMax+1)); err == nil || !strings.Contains(err.Error(), "more than 500 rules") {
		t.Errorf("%d rules: %v", RulesMax+1, err)
	}
}

// TestWhatRulesSay holds what comes of a rule against its action, mode and dates,
// and against what kind of request it is.
func TestWhatRulesSay(t *testing.T) {
	const today = txn.Date(20261126)
	refuse := Rule{When: "true", Action: txn.ActionRefuse, Reason: txn.CardIsRefusedByRule}
	with := func(r Rule, change func(*Rule)) Rule { change(&r); return r }
	fails := with(refuse, func(r *Rule) { r.When = "1 / card.day.count == 1" })
	for _, c := range []struct {
		name    string
		rule    Rule
		told    bool
		reason  txn.Reason
		finding txn.Finding
	}{
		{"refuse", refuse, false, txn.CardIsRefusedByRule, txn.Finding{Rule: 1000, Action: txn.ActionRefuse}},
		{"what has happened is reviewed", refuse, true, txn.Approved, txn.Finding{Rule: 1000, Action: txn.ActionReview}},
		{"shadow", with(refuse, func(r *Rule) { r.Mode = Shadow }), false, txn.Approved, txn.Finding{Rule: 1000, Action: txn.ActionRefuse, Shadow: true}},
		{"off", with(refuse, func(r *Rule) { r.Mode = Off }), false, txn.Approved, txn.Finding{}},
		{"from today", with(refuse, func(r *Rule) { r.From = today }), false, txn.CardIsRefusedByRule, txn.Finding{Rule: 1000, Action: txn.ActionRefuse}},
		{"from tomorrow", with(refuse, func(r *Rule) { r.From = today + 1 }), false, txn.Approved, txn.Finding{}},
		{"until today", with(refuse, func(r *Rule) { r.Until = today }), false, txn.CardIsRefusedByRule, txn.Finding{Rule: 1000, Action: txn.ActionRefuse}},
		{"until yesterday", with(refuse, func(r *Rule) { r.Until = today - 1 }), false, txn.Approved, txn.Finding{}},
		{"undecided", with(refuse, func(r *Rule) { r.When = "distance > 1" }), false, txn.Approved, txn.Finding{}},
		{"failing lets go on", fails, false, txn.Approved, txn.Finding{Rule: 1000, Action: txn.ActionAlert}},
		{"failing refuses", with(fails, func(r *Rule) { r.RefuseOnError = true }), false, txn.CardIsRefusedByRule, txn.Finding{Rule: 1000, Action: txn.ActionRefuse}},
		{"failing shadow", with(fails, func(r *Rule) { r.RefuseOnError, r.Mode = true, Shadow }), false, txn.Approved, txn.Finding{Rule: 1000, Action: txn.ActionRefuse, Shadow: true}},
		{"failing hold", with(fails, func(r *Rule) { r.Action = txn.ActionHold }), false, txn.Approved, txn.Finding{Rule: 1000, Action: txn.ActionAlert}},
		{"hold", with(refuse, func(r *Rule) { r.Action = txn.ActionHold }), false, txn.Approved, txn.Finding{Rule: 1000, Action: txn.ActionHold}},
	} {
		c.rule.Number, c.rule.Name = 1000, "r"
		s, err := New([]Rule{c.rule})
		if err != nil {
			t.Fatal(err)
		}
		var found txn.Findings
		reason := s.Judge(sale(), today, c.told, &found, nil)
		got := txn.Finding{}
		for x := range found.All() {
			got = x
		}
		if reason != c.reason || got != c.finding {
			t.Errorf("%s: %v %+v, want %v %+v", c.name, reason, got, c.reason, c.finding)
		}
	}
}

func TestARuleThatPanicsStopsNobody(t *testing.T) {
	s, err := New([]Rule{
		{Number: 1000, Name: "broken", When: "true", Action: txn.ActionRefuse, Reason: txn.CardIsRefusedByRule},
		{Number: 1001, Name: "sound", When: "true", Action: txn.ActionReview},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.rules[0].is = func(*Facts) truth { panic("boom") }
	var found txn.Findings
	if r := s.Judge(sale(), 20261126, false, &found, nil); r != txn.Approved {
		t.Errorf("the sale was refused: %v", r)
	}
	want := []txn.Finding{{Rule: 1000, Action: txn.ActionAlert}, {Rule: 1001, Action: txn.ActionReview}}
	if got := slices.Collect(found.All()); !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
	for r, n := range s.All() {
		if failed := n.Of(Fails); (failed == 1) != (r.Number == 1000) {
			t.Errorf("%s failed %d times", r.Name, failed)
		}
	}
}

func TestTheFirstThatRefusesIsTold(t *testing.T) {
	rules := []Rule{
		{Number: 1005, Name: "alert", When: "true", Action: txn.ActionAlert},
		{Number: 1004, Name: "shadow", When: "true", Action: txn.ActionRefuse, Reason: txn.CardIsRefusedByRule, Mode: Shadow},
		{Number: 1003, Name: "first", When: "true", Action: txn.ActionRefuse, Reason: txn.AmountIsRefusedByRule},
		{Number: 1002, Name: "second", When: "true", Action: txn.ActionRefuse, Reason: txn.FrequencyIsRefusedByRule},
	}
	s, err := New(rules)
	if err != nil {
		t.Fatal(err)
	}
	var found txn.Findings
	if r := s.Judge(sale(), 20261126, false, &found, nil); r != txn.AmountIsRefusedByRule {
		t.Errorf("reason is %v", r)
	}
	if found.Len() != len(rules) {
		t.Errorf("%d findings, want one of each rule", found.Len())
	}
	next, err := New(rules[:2])
	if err != nil {
		t.Fatal(err)
	}
	next.Inherit(s)
	for r, n := range next.All() {
		if n.Of(Hits) != 1 {
			t.Errorf("%s lost its count with its next version", r.Name)
		}
	}
}

// TestTheExamplesOfTheDocs holds that the rules which docs/risk.md recommends
// load.
func TestTheExamplesOfTheDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/risk.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?m)^\\| ([a-z-]+) \\| `(.*)` \\| ([a-z]+).* \\|$").FindAllStringSubmatch(string(page), -1)
	if len(examples) < 10 {
		t.Fatalf("%d examples, want ten", len(examples))
	}
	for _, x := range examples {
		when := strings.ReplaceAll(x[2], `\|`, "|")
		if _, err := New([]Rule{{Number: 1000, Name: x[1], When: when, Action: txn.ActionAlert}}); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
}

// fifty are rules of five comparisons each, as people write them.
func fifty() []Rule {
	var rs []Rule
	for i := range 50 {
		rs = append(rs, Rule{Number: txn.RuleCustom + txn.Rule(i), Name: fmt.Sprintf("r-%d", i), Action: txn.ActionAlert,
			When: fmt.Sprintf(`amount > %d && kind == "sale" && (hour >= 23 || hour < 6) && merchant.mcc in [5411, 5812] && pin`, i)})
	}
	return rs
}

func TestJudgingAllocatesNothing(t *testing.T) {
	rules := append(fifty(),
		Rule{Number: 2000, Name: "bins", When: `card.bin in ["622201", "622202"] && merchant.id endsWith "1" && merchant.id != terminal.id`, Action: txn.ActionAlert},
		Rule{Number: 2002, Name: "lists", When: `card.bin in list.bins && card.token in list.cards && merchant.mcc in list.jewellers`, Action: txn.ActionAlert},
		Rule{Number: 2001, Name: "fails", When: `amount / card.day.count > (distance ?? 1) * 2`, Action: txn.ActionHold})
	s, err := New(rules, lists...)
	if err != nil {
		t.Fatal(err)
	}
	f := sale()
	if n := testing.AllocsPerRun(100, func() {
		var found txn.Findings
		s.Judge(f, 20261126, false, &found, nil)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFiftyRules(b *testing.B) {
	s, err := New(fifty())
	if err != nil {
		b.Fatal(err)
	}
	f := sale()
	b.ReportAllocs()
	for b.Loop() {
		var found txn.Findings
		s.Judge(f, 20261126, false, &found, nil)
	}
}

// FuzzCompile holds that no text panics, and that what compiles is evaluated
// without one.
func FuzzCompile(f *testing.F) {
	f.Fuzz(func(t *testing.T, when string) {
		s, err := New([]Rule{{Number: 1000, Name: "r", When: when, Action: txn.ActionAlert}}, lists...)
		if err != nil {
			if e := (*Error)(nil); !errors.As(err, &e) || e.Line < 1 || e.Column < 1 {
				t.Fatalf("no place in %v", err)
			}
			return
		}
		for _, facts := range []*Facts{sale(), {}} {
			s.next(0, facts, 20261126, true)
			if facts.fault == panicked {
				t.Fatalf("%q panicked", when)
			}
		}
	})
}
