package policy

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/risk/rules"
	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

// export is a document that Load reads as p: every key with its value, one entry
// a line, lists of parties in order, so that two policies can be compared line
// by line.
func export(p *risk.Policy) []byte {
	var w strings.Builder
	f := func(format string, args ...any) { fmt.Fprintf(&w, format, args...) }
	f("version: %s\n", yamlfile.FormatVersion)
	section(&w, "builtin", len(p.Rules))
	for _, r := range slices.Sorted(maps.Keys(p.Rules)) {
		s := p.Rules[r]
		entry(&w, "rule", r.String(), "mode", s.Mode.String(), "action", actionName(s.Action, ""))
	}
	x := &p.Places
	f("places: {%ssilent_max: %d, radius_m: %d, far_max: %d, far_m: %d, speed_max_kmh: %d}\n",
		optional("info_from", dateName(x.InfoFrom)), x.SilentMax, x.RadiusMetres, x.FarMax, x.FarMetres, x.SpeedMax)
	y := &p.Patterns
	var near []string
	for _, n := range y.Near {
		near = append(near, cny(n))
	}
	f("patterns: {repeats: %d, repeats_day: %d, repeats_max: %d, credit_percent: %d, credit_from: %s, near_count: %d, near: %s, night_percent: %d, "+
		"night_from: %d, surge_times: %d, declines: %d, declined_cards: %d, refund_percent: %d, refunds_from: %d, provinces: %d, backwards_max: %d}\n",
		y.Repeats, y.RepeatsDay, y.RepeatsMax, y.CreditPercent, cny(y.CreditFrom), y.NearCount, flow(near), y.NightPercent,
		y.NightFrom, y.SurgeTimes, y.Declines, y.DeclinedCards, y.RefundPercent, y.RefundsFrom, y.Provinces, y.BackwardsMax)
	g := &p.Legal
	f("legal: {micro_credit_day: %s, micro_credit_month: %s, code_day_a: %s, code_day_b: %s, code_day_c: %s, code_day_d: %s, no_pin: %s}\n",
		cny(g.MicroCreditDay), cny(g.MicroCreditMonth), cny(g.CodeDay[risk.CodeA]), cny(g.CodeDay[risk.CodeB]),
		cny(g.CodeDay[risk.CodeC]), cny(g.CodeDay[risk.CodeD]), cny(g.NoPIN))
	section(&w, "crossings", len(p.Classes))
	for t, c := range p.Classes {
		entry(&w, "merchants", txn.MerchantType(t).String(), "city", actionName(c.City, passes),
			"province", actionName(c.Province, passes), "border", actionName(c.Border, passes))
	}
	section(&w, "permits", len(p.Permits))
	for _, x := range p.Permits {
		entry(&w, "merchant", quoted(x.Merchant.String()), "terminal", quoted(x.Terminal.String()), "region", number(x.Region), "country", country(x.Country),
			"from", dateName(x.From), "until", dateName(x.To))
	}
	section(&w, "plans", len(p.Plans))
	for i := range p.Plans {
		x := &p.Plans[i]
		noPIN := "allow"
		if x.NoPINRefused {
			noPIN = "refuse"
		}
		f("  - number: %d\n    name: %s\n    code_level: %s\n    no_pin: %s\n", x.Number, quoted(x.Name), x.CodeLevel, noPIN)
		if len(x.Limits) > 0 {
			f("    limits:\n")
		}
		for j := range x.Limits {
			w.WriteString("    ")
			entry(&w, limitFields(&x.Limits[j])...)
		}
	}
	section(&w, "overrides", len(p.Overrides))
	for i := range p.Overrides {
		x := &p.Overrides[i]
		entry(&w, append([]string{"id", quoted(partyName(x.Scope, x.ID))}, limitFields(&x.Limit)...)...)
	}
	section(&w, "blocked_cards", len(p.Blocked))
	for _, c := range sortedTokens(p.Blocked) {
		b := p.Blocked[c]
		entry(&w, "card", quoted(hex.EncodeToString(c[:])), "why", blockNames[b.Why], "from", dateName(b.From), "until", dateName(b.To))
	}
	section(&w, "shunned_persons", len(p.Shunned))
	for _, id := range sortedTokens(p.Shunned) {
		f("  - %s\n", quoted(hex.EncodeToString(id[:])))
	}
	section(&w, "lists", len(p.Lists))
	for i := range p.Lists {
		x := &p.Lists[i]
		f("  - name: %s\n    of: %s\n", x.Name, x.Of)
		if len(x.Entries) > 0 {
			f("    entries:\n")
		}
		for _, e := range x.Entries {
			f("      - %s\n", quoted(e))
		}
	}
	section(&w, "rules", len(p.Own))
	for i := range p.Own {
		r := &p.Own[i]
		refusal, onError := "", ""
		if r.Action == txn.ActionRefuse {
			onError = passes
			if r.RefuseOnError {
				onError = "refuse"
			}
			for name, reason := range rules.Refusals {
				if reason == r.Reason {
					refusal = name
				}
			}
		}
		entry(&w, "number", number(r.Number), "name", r.Name, "action", r.Action.String(), "refuse_as", refusal, "on_error", onError,
			"mode", r.Mode.String(), "from", dateName(r.From), "until", dateName(r.Until), "when", quoted(r.When))
	}
	return []byte(w.String())
}

func limitFields(l *risk.Limit) []string {
	amount := func(n int64) string {
		if n == 0 {
			return ""
		}
		return txn.Amount{Minor: n, Currency: l.Currency}.Major()
	}
	var methods, cards []string
	for m := range txn.Method(txn.MethodCount) {
		if !l.Methods.Has(m) {
			continue
		}
		with := "-pin"
		if m.PIN() {
			with = "+pin"
		}
		methods = append(methods, m.Way().String()+with)
	}
	for t := txn.CardUnknown; t.String() != "invalid"; t++ {
		if l.Cards.Has(t) {
			cards = append(cards, t.String())
		}
	}
	b := &l.Bounds
	return []string{"of", l.Scope.String(), "currency", l.Currency.Letters(), "methods", flow(methods), "cards", flow(cards),
		"mcc", number(l.MCC), "region", number(l.Region), "from", dateName(l.From), "until", dateName(l.To),
		"transaction", amount(b.Transaction), "day_amount", amount(b.DayAmount), "day_count", number(b.DayCount),
		"month_amount", amount(b.MonthAmount), "month_count", number(b.MonthCount)}
}

// section begins a list, which is left out where it has no entries.
func section(w *strings.Builder, key string, entries int) {
	if entries > 0 {
		w.WriteString(key + ":\n")
	}
}

// entry is one entry of a list: keys with their values, of which empty ones are
// left out.
func entry(w *strings.Builder, fields ...string) {
	w.WriteString("  - {")
	comma := ""
	for i := 0; i < len(fields); i += 2 {
		if fields[i+1] != "" {
			w.WriteString(comma + fields[i] + ": " + fields[i+1])
			comma = ", "
		}
	}
	w.WriteString("}\n")
}

func optional(key, value string) string {
	if value == "" {
		return ""
	}
	return key + ": " + value + ", "
}

// quoted is a text in double quotes, empty for an empty one. YAML has Go's
// escapes of printable text.
func quoted(s string) string {
	if s == "" {
		return ""
	}
	return strconv.Quote(s)
}

func flow(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return "[" + strings.Join(words, ", ") + "]"
}

func number[T ~uint16 | ~uint32](n T) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(n), 10)
}

func country(n uint16) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("\"%03d\"", n)
}

func dateName(d txn.Date) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

func actionName(a txn.Action, none string) string {
	if a == 0 {
		return none
	}
	return a.String()
}

func cny(minor int64) string { return txn.Amount{Minor: minor, Currency: txn.CNY}.Major() }

func sortedTokens[K ~[16]byte, V any](m map[K]V) []K {
	return slices.SortedFunc(maps.Keys(m), func(a, b K) int { return strings.Compare(string(a[:]), string(b[:])) })
}
