package replay

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/capture"
	"github.com/acqswitch/acqswitch/switch/dialect"
)

// Limits of the comparison.
const (
	groupsMax   = 256  // causes told apart; the rest are one group
	valuesMax   = 64   // values of a trait told apart within a group
	overallMax  = 1024 // and among all requests
	examplesMax = 3
)

// Group is the differences of one cause.
type Group struct {
	Count int `json:"count"`
	// Cause is one sentence: what came instead of what, of which requests.
	Cause    string `json:"cause"`
	Kind     string `json:"kind"` // of the requests
	MTI      string `json:"mti"`  // of the answer
	Field    int    `json:"field"`
	Expected string `json:"expected"`
	Got      string `json:"got"`
	Of       string `json:"of,omitempty"`    // what all its requests have in common and not all others
	Whole    int    `json:"whole,omitempty"` // requests of the kind that have that in common
	// Why is what the host's own books say of all the examples, where they were
	// asked (Report.Because).
	Why      string    `json:"why,omitempty"`
	Examples []Example `json:"examples"`

	kinds, expected, types map[string]int // requests by what Kind, Expected and MTI name
}

// Example is one request of a group.
type Example struct {
	Number   uint64 `json:"number"` // in the capture
	Terminal string `json:"terminal"`
	STAN     uint32 `json:"stan"` // as it was sent
	// ReferenceSTAN is the number as it was sent to the host that is compared with.
	ReferenceSTAN uint32 `json:"reference_stan,omitempty"`
}

func (e Example) String() string {
	return fmt.Sprintf("message %d, terminal %s, STAN %06d", e.Number, e.Terminal, e.STAN)
}

// trait is something that requests can have in common.
type trait uint8

const (
	ofTerminal trait = iota
	ofMerchant
	ofIssuer
	ofEntry
	ofCurrency
	traits
)

var traitNames = [traits]string{"terminal", "terminals of merchant", "cards of", "cards read in mode", "amounts in currency"}

// subject is what is kept of a request to say where its answer differs.
type subject struct {
	kind    string
	mti     uint16 // of the request
	traits  [traits]string
	example Example
}

func subjectOf(d *capture.Dialect, m *iso.Message, number uint64) subject {
	s := subject{mti: m.MTI(), kind: kindOf(d, m)}
	s.traits[ofTerminal] = strings.TrimSpace(string(m.AppendText(nil, 41)))
	s.traits[ofMerchant] = strings.TrimSpace(string(m.AppendText(nil, 42)))
	if pan := cardOf(m); len(pan) > 6 {
		s.traits[ofIssuer] = string(pan[:6])
	}
	s.traits[ofEntry] = string(m.AppendDigits(nil, 22))
	s.traits[ofCurrency] = string(m.AppendText(nil, 49))
	s.example = Example{Number: number, Terminal: s.traits[ofTerminal], STAN: uint32(digits(m.AppendDigits(nil, 11)))}
	return s
}

// cardOf is the card number of a request.
func cardOf(m *iso.Message) []byte {
	if m.Has(2) {
		return m.AppendDigits(nil, 2)
	}
	track := m.AppendDigits(nil, 35)
	if n := bytes.IndexByte(track, '='); n > 0 {
		return track[:n]
	}
	return nil
}

// kindOf names what a request asks for: a sale, or its type and processing code
// where nobody knows.
func kindOf(d *capture.Dialect, m *iso.Message) string {
	if d.Terminal != nil {
		x := dialect.Exchange{Frame: m.Frame()}
		if err := d.Terminal.Decode(&x, time.Now()); err == nil && x.Request.Kind != 0 {
			return x.Request.Kind.String()
		}
	}
	if code := m.AppendDigits(nil, 3); len(code) > 0 {
		return fmt.Sprintf("%04x %s", m.MTI(), code)
	}
	return fmt.Sprintf("%04x", m.MTI())
}

type groupKey struct {
	kind          string
	mti           uint16
	field         int
	expected, got string
}

// groups gathers differences. It is not safe for concurrent use.
type groups struct {
	all     map[groupKey]*group
	more    int                 // differences beyond groupsMax
	overall map[string]*tallies // by kind
	total   tallies
}

type group struct {
	count    int
	traits   tallies
	examples []Example
}

// tallies counts the values of each trait, as far as they can be told apart.
type tallies struct {
	count  int
	values [traits]map[string]int
	many   [traits]bool
}

func (t *tallies) add(s *subject, most int) {
	t.count++
	for i, v := range s.traits {
		if t.values[i] == nil {
			t.values[i] = map[string]int{}
		}
		if _, known := t.values[i][v]; !known && len(t.values[i]) >= most {
			t.many[i] = true
			continue
		}
		t.values[i][v]++
	}
}

func newGroups() *groups { return &groups{all: map[groupKey]*group{}, overall: map[string]*tallies{}} }

// compared notes a request that was compared.
func (g *groups) compared(s *subject) {
	g.total.add(s, overallMax)
	t := g.overall[s.kind]
	if t == nil {
		if len(g.overall) >= groupsMax {
			return
		}
		t = &tallies{}
		g.overall[s.kind] = t
	}
	t.add(s, overallMax)
}

// differs notes a difference. Where a code or a message type differs, every pair
// of values is a cause of its own; where another field does, the field is, unless
// its pairs are few.
func (g *groups) differs(s *subject, mti uint16, d difference) {
	k := groupKey{s.kind, mti, d.field, d.expected, d.got}
	found := g.all[k]
	if found == nil && d.field != wholeAnswer && d.field != 0 && d.field != 39 && g.pairs(k) >= 4 {
		k.expected, k.got = "what was recorded", "other values"
		found = g.all[k]
	}
	if found == nil {
		if len(g.all) >= groupsMax {
			g.more++
			return
		}
		found = &group{}
		g.all[k] = found
	}
	found.count++
	found.traits.add(s, valuesMax)
	if len(found.examples) < examplesMax {
		found.examples = append(found.examples, s.example)
	}
}

func (g *groups) pairs(k groupKey) (n int) {
	for other := range g.all {
		if other.kind == k.kind && other.mti == k.mti && other.field == k.field {
			n++
		}
	}
	return n
}

// list is the causes, the largest first. Differences at several kinds of request, or
// from several recorded values, are one cause if the same came instead of each, and if
// their requests have something in common that not all requests have.
func (g *groups) list() []Group {
	clusters := map[groupKey][]groupKey{}
	for k := range g.all {
		c := groupKey{field: k.field, got: k.got}
		clusters[c] = append(clusters[c], k)
	}
	var all []Group
	for c, keys := range clusters {
		if len(keys) > 1 {
			if one, ok := g.merged(c, keys); ok {
				all = append(all, one)
				continue
			}
		}
		for _, k := range keys {
			all = append(all, g.single(k))
		}
	}
	sortGroups(all)
	return all
}

func (g *groups) single(k groupKey) Group {
	found := g.all[k]
	one := Group{Field: k.field, Got: k.got}
	one.add(found.count, map[string]int{k.kind: found.count}, map[string]int{k.expected: found.count}, map[string]int{fmt.Sprintf("%04x", k.mti): found.count}, found.examples)
	one.Of, one.Whole = common(g.overall[k.kind], &found.traits)
	one.Cause = one.sentence()
	return one
}

func (g *groups) merged(c groupKey, keys []groupKey) (Group, bool) {
	var traits tallies
	one := Group{Field: c.field, Got: c.got}
	slices.SortFunc(keys, func(a, b groupKey) int {
		return cmp.Or(g.all[b].count-g.all[a].count, cmp.Compare(a.kind, b.kind), cmp.Compare(a.expected, b.expected))
	})
	for _, k := range keys {
		single := g.single(k)
		traits.merge(&g.all[k].traits)
		one.add(single.Count, single.kinds, single.expected, single.types, single.Examples[:1])
	}
	one.Of, one.Whole = common(&g.total, &traits)
	one.Cause = one.sentence()
	return one, one.Of != ""
}

// add counts requests of another cause as of this one.
func (g *Group) add(count int, kinds, expected, types map[string]int, examples []Example) {
	g.Count += count
	for _, row := range [...]struct {
		to   *map[string]int
		from map[string]int
		name *string
	}{{&g.kinds, kinds, &g.Kind}, {&g.expected, expected, &g.Expected}, {&g.types, types, &g.MTI}} {
		if *row.to == nil {
			*row.to = map[string]int{}
		}
		for name, n := range row.from {
			(*row.to)[name] += n
		}
		*row.name = listed(*row.to)
	}
	g.Examples = append(g.Examples, examples...)
	g.Examples = g.Examples[:min(len(g.Examples), examplesMax)]
}

// listedMax is how many of what was counted are named.
const listedMax = 10

// listed names what was counted, the most frequent first.
func listed(counts map[string]int) string {
	names := sortedKeys(counts)
	if len(names) == 1 {
		return names[0]
	}
	slices.SortStableFunc(names, func(a, b string) int { return counts[b] - counts[a] })
	rest := 0
	for i, name := range names {
		names[i] = fmt.Sprintf("%s (%d)", name, counts[name])
		if i >= listedMax {
			rest += counts[name]
		}
	}
	if n := len(names) - listedMax; n > 1 {
		names = append(names[:listedMax], fmt.Sprintf("%d others (%d)", n, rest))
	}
	return strings.Join(names, ", ")
}

func (t *tallies) merge(o *tallies) {
	t.count += o.count
	for i := range t.values {
		t.many[i] = t.many[i] || o.many[i]
		for v, n := range o.values[i] {
			if t.values[i] == nil {
				t.values[i] = map[string]int{}
			}
			t.values[i][v] += n
		}
	}
}

// shareMin is the part of the requests with something in common that must differ
// for that to be named as what the difference is about.
const shareMin = 0.25

// common is what the requests of a group share and others of their kind do not: of
// the traits with one value in the whole group, the one whose value the fewest other
// requests have. whole is how many requests have it.
func common(overall, t *tallies) (of string, whole int) {
	if overall == nil {
		return "", 0
	}
	for i := range traits {
		if t.many[i] || len(t.values[i]) != 1 || len(overall.values[i]) < 2 {
			continue
		}
		for v := range t.values[i] {
			if n := overall.values[i][v]; v != "" && n >= t.count && float64(t.count) >= shareMin*float64(n) && (of == "" || n < whole) {
				of, whole = traitNames[i]+" "+v, n
			}
		}
	}
	return of, whole
}

func (g *Group) sentence() string {
	where := fmt.Sprintf(" (DE%d)", g.Field)
	switch g.Field {
	case 0:
		where = " (the message type)"
	case wholeAnswer:
		where = ""
	}
	unquoted := func(s string) string {
		if g.Field == 39 {
			return strings.ReplaceAll(s, `"`, "")
		}
		return s
	}
	s := fmt.Sprintf("%s instead of %s%s at %d requests", unquoted(g.Got), unquoted(g.Expected), where, g.Count)
	if g.Count == 1 {
		s = strings.TrimSuffix(s, "s")
	}
	if g.Of != "" {
		s += " of " + g.Of
	}
	s += ": " + g.Kind
	if g.Whole > 0 && g.Count > 1 {
		s += fmt.Sprintf("; %d of the %d of theirs", g.Count, g.Whole)
	}
	if g.Why != "" {
		s += ", " + g.Why
	}
	return s
}

// Because asks why the host answered with a code as it did, and why the reference
// did ("" is not known). Causes whose examples all have one reason are named by it,
// and those that have the same code for the same reason are one.
func (r *Report) Because(why func(e Example, code string, reference bool) string) {
	type reasoned struct{ got, why string }
	named := map[reasoned]*Group{}
	var all []Group
	for _, g := range r.causes {
		host, same := g.reason(why)
		if host == "" {
			all = append(all, g)
			continue
		}
		k := reasoned{g.Got, host}
		if same {
			k.why = "the reason being the same: " + host
		}
		one := named[k]
		if one == nil {
			g.Why = k.why
			named[k] = &g
			continue
		}
		one.add(g.Count, g.kinds, g.expected, g.types, g.Examples)
		if one.Of != g.Of {
			one.Of, one.Whole = "", 0
		} else {
			one.Whole = max(one.Whole, g.Whole)
		}
	}
	for _, g := range named {
		g.Cause = g.sentence()
		all = append(all, *g)
	}
	r.Groups = folded(all)
}

// folded joins causes whose requests have only the answer in common, whatever their
// kind and whatever was expected: a host that lacks a field or does not know a key is
// then one line. Causes of a single request are joined likewise, since one request has
// nothing in common with others. The result is sorted.
func folded(all []Group) []Group {
	type came struct {
		field int
		got   string
	}
	alike := map[came][]Group{}
	left := []Group{}
	for _, g := range all {
		if k := (came{g.Field, g.Got}); (g.Of == "" || g.Count == 1) && g.Why == "" {
			alike[k] = append(alike[k], g)
		} else {
			left = append(left, g)
		}
	}
	for k, some := range alike {
		if len(some) == 1 {
			left = append(left, some[0])
			continue
		}
		sortGroups(some)
		one := Group{Field: k.field, Got: k.got}
		for _, g := range some {
			one.add(g.Count, g.kinds, g.expected, g.types, g.Examples[:1])
		}
		one.Cause = one.sentence()
		left = append(left, one)
	}
	sortGroups(left)
	return left
}

// reason is the reason, if there is one, for which the host answered all the examples as
// it did, and whether the reference's different answers have the same one.
func (g *Group) reason(why func(Example, string, bool) string) (host string, same bool) {
	if g.Field != 39 || len(g.expected) != 1 {
		return "", false
	}
	for i, e := range g.Examples {
		h := why(e, strings.Trim(g.Got, `"`), false)
		if h == "" || i > 0 && h != host {
			return "", false
		}
		host, same = h, h == why(e, strings.Trim(g.Expected, `"`), true)
	}
	return host, same
}

func sortGroups(all []Group) {
	slices.SortFunc(all, func(a, b Group) int {
		return cmp.Or(b.Count-a.Count, cmp.Compare(a.MTI, b.MTI), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Cause, b.Cause))
	})
}
