package fee

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

// Limits of the files.
const (
	FileSizeMax = 16 << 20 // each

	ratesMax = 10_000 // of one plan
	nameMax  = 40
)

// defaults are interchange and network as CUP has them since 2016-09-06 (cup-pos
// E3); a file that states its own replaces them.
//
//go:embed defaults.yaml
var defaults []byte

// document is the file. The keys are explained in testdata/fees.yaml.
type document struct {
	Version     yamlfile.Scalar `yaml:"version"`
	Interchange *planYAML       `yaml:"interchange"`
	Network     *planYAML       `yaml:"network"`
	Plans       []planYAML      `yaml:"plans"`
	Merchants   []merchantYAML  `yaml:"merchants"`
}

type planYAML struct {
	Name    yamlfile.Scalar `yaml:"name"`
	Refunds yamlfile.Scalar `yaml:"refunds"`
	Rates   []rateYAML      `yaml:"rates"`
}

type rateYAML struct {
	Card     yamlfile.Scalar   `yaml:"card"`
	Currency yamlfile.Scalar   `yaml:"currency"`
	MCC      []yamlfile.Scalar `yaml:"mcc"`
	Entry    []yamlfile.Scalar `yaml:"entry"`
	From     yamlfile.Scalar   `yaml:"from"`
	To       yamlfile.Scalar   `yaml:"to"`
	PPM      yamlfile.Scalar   `yaml:"ppm"`
	Fixed    yamlfile.Scalar   `yaml:"fixed"`
	Min      yamlfile.Scalar   `yaml:"min"`
	Cap      yamlfile.Scalar   `yaml:"cap"`
	Tiers    []tierYAML        `yaml:"tiers"`
}

type tierYAML struct {
	Above yamlfile.Scalar `yaml:"above"`
	PPM   yamlfile.Scalar `yaml:"ppm"`
	Fixed yamlfile.Scalar `yaml:"fixed"`
	Min   yamlfile.Scalar `yaml:"min"`
	Cap   yamlfile.Scalar `yaml:"cap"`
}

type merchantYAML struct {
	ID       yamlfile.Scalar `yaml:"mid"`
	Plan     yamlfile.Scalar `yaml:"plan"`
	From     yamlfile.Scalar `yaml:"from"`
	To       yamlfile.Scalar `yaml:"to"`
	Agencies []agencyYAML    `yaml:"agencies"`
}

type agencyYAML struct {
	Code yamlfile.Scalar `yaml:"code"`
	PPM  yamlfile.Scalar `yaml:"ppm"`
}

// emptyFile is what is wrong with a file that says nothing.
const emptyFile = "it must say \"version: 1\" and list plans and merchants"

// File is a file's name, for errors, and what is in it.
type File struct {
	Name string
	Text []byte
}

// Load reads plans and the table of cards. registered are plans that a registry
// gives to merchants, by their ids; they are joined to the file, and with them it
// is Plans: a run that is taken up loads that, whatever the registry says by then.
// Load returns a schedule or, as joined *Problem errors, the first problems of the
// files; never parts of a bad one.
func Load(plans, bins File, registered map[string]string) (*Schedule, error) {
	for _, f := range [...]File{plans, bins} {
		if len(f.Text) > FileSizeMax {
			return nil, fmt.Errorf("read %s: it is larger than %d bytes", f.Name, FileSizeMax)
		}
	}
	s := &Schedule{plansText: plans.Text, bins: bins.Text, merchants: map[txn.MerchantID][]assignment{}}
	builtIn, err := yamlfile.Decode[document](defaults, "built-in fees", emptyFile)
	if err != nil {
		return nil, err
	}
	doc, err := yamlfile.Decode[document](plans.Text, plans.Name, emptyFile)
	if err != nil {
		return nil, err
	}
	l := loader{Problems: yamlfile.Problems{File: plans.Name}, s: s, plans: map[string]*tariff{}}
	if len(registered) > 0 {
		l.join(doc, registered)
		if s.plansText = yamlfile.Encode(doc); len(s.plansText) > FileSizeMax {
			return nil, fmt.Errorf("%s and the registry have more than %d bytes to say of fees", plans.Name, FileSizeMax)
		}
	}
	l.document(doc, builtIn)
	l.File = bins.Name
	l.cards(bins.Text)
	if err := l.Err(); err != nil {
		return nil, err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d\n", len(s.plansText)) // so that no byte can move from one file to the other
	h.Write(s.plansText)
	h.Write(s.bins)
	s.sum = hex.EncodeToString(h.Sum(nil))
	return s, nil
}

// anyDay is before all sales: the registry gives a merchant one plan, for all days
// that are not settled yet.
const anyDay = "2000-01-01"

// join puts the plans of the registry into the document. The file says of these
// merchants who has shares, and nothing twice.
func (l *loader) join(d *document, registered map[string]string) {
	there := map[string]bool{}
	for i := range d.Plans {
		there[d.Plans[i].Name.Text] = true
	}
	said := map[string]bool{}
	for i := range d.Merchants {
		y := &d.Merchants[i]
		plan := registered[y.ID.Text]
		switch {
		case plan == "":
			continue
		case y.Plan.Line > 0:
			l.Add(y.Plan, "merchants[].plan", "the registry gives merchant %s the plan %q: change it there and remove it here", y.ID.Text, plan)
		default:
			y.Plan = yamlfile.Scalar{Text: plan, Line: y.ID.Line}
		}
		if y.From.Line == 0 && !said[y.ID.Text] {
			y.From = yamlfile.Scalar{Text: anyDay, Line: y.ID.Line}
		}
		said[y.ID.Text] = true
	}
	for _, id := range slices.Sorted(maps.Keys(registered)) {
		if plan := registered[id]; !there[plan] {
			l.Add(yamlfile.Scalar{}, "plans[].name", "there is no plan %q, which merchant %s has in the registry: add it here or change it there (merchant set)", plan, id)
		} else if !said[id] {
			d.Merchants = append(d.Merchants, merchantYAML{ID: scalar(id), Plan: scalar(plan), From: scalar(anyDay)})
		}
	}
}

func scalar(text string) yamlfile.Scalar { return yamlfile.Scalar{Text: text, Line: 1} }

// loader fills the schedule and collects what is wrong.
type loader struct {
	yamlfile.Problems
	s     *Schedule
	plans map[string]*tariff
}

func (l *loader) document(d, builtIn *document) {
	l.Version(d.Version)
	l.s.interchange = l.tariff(cmp.Or(d.Interchange, builtIn.Interchange), "interchange")
	l.s.network = l.tariff(cmp.Or(d.Network, builtIn.Network), "network")
	for i := range d.Plans {
		y := &d.Plans[i]
		t := l.tariff(y, "plans[]")
		switch _, twice := l.plans[t.name]; {
		case t.name == "" || len(t.name) > nameMax:
			l.Add(y.Name, "plans[].name", "%q must be 1 to %d characters", t.name, nameMax)
		case twice:
			l.Add(y.Name, "plans[].name", "%q is used twice: give one of them another name", t.name)
		}
		l.plans[t.name] = &t
	}
	l.merchants(d.Merchants)
}

// span is one period of a group and where it is written.
type span struct {
	period
	at yamlfile.Scalar
}

func (l *loader) tariff(y *planYAML, field string) tariff {
	t := tariff{name: y.Name.Text, rates: map[group][]dated{}}
	switch y.Refunds.Text {
	case "", "return":
	case "keep":
		t.keeps = true
	default:
		l.Add(y.Refunds, field+".refunds", "%q must be return or keep", y.Refunds.Text)
	}
	at := yamlfile.First(y.Name, y.Refunds)
	if len(y.Rates) == 0 || len(y.Rates) > ratesMax {
		l.Add(at, field+".rates", "are %d: 1 to %d are needed", len(y.Rates), ratesMax)
	}
	spans := map[group][]span{}
	var order []group
	for i := range y.Rates {
		r := &y.Rates[i]
		at := yamlfile.First(r.Card, r.Currency, r.From, r.To, r.PPM, r.Fixed, r.Min, r.Cap)
		currency := yamlfile.Parse(&l.Problems, at.Or(r.Currency), field+".rates[].currency", txn.ParseCurrency)
		d := dated{l.period(at.Or(r.From), r.To, field+".rates[]"),
			l.rate(&tierYAML{PPM: r.PPM, Fixed: r.Fixed, Min: r.Min, Cap: r.Cap}, at, field+".rates[]", currency), l.tiers(r.Tiers, at, field+".rates[].tiers[]", currency)}
		mccs := []uint16{0}
		if len(r.MCC) > 0 {
			mccs = nil
		}
		for _, m := range r.MCC {
			n, err := strconv.ParseUint(m.Text, 10, 16)
			if err != nil || len(m.Text) != 4 || n == 0 {
				l.Add(m, field+".rates[].mcc", "%q must be a merchant category of four digits, such as 5411", m.Text)
			}
			mccs = append(mccs, uint16(n))
		}
		ways := []uint8{0}
		if len(r.Entry) > 0 {
			ways = nil
		}
		for _, e := range r.Entry {
			ways = append(ways, l.way(e, field+".rates[].entry"))
		}
		for _, card := range l.cardsOf(at.Or(r.Card), field+".rates[].card") {
			for _, mcc := range mccs {
				for _, way := range ways {
					g := group{card, currency, mcc, way}
					if len(spans[g]) == 0 {
						order = append(order, g)
					}
					spans[g] = append(spans[g], span{d.period, at.Or(r.From)})
					t.rates[g] = append(t.rates[g], d)
				}
			}
		}
	}
	for _, g := range order {
		l.contiguous(spans[g], field+".rates[].from")
		other := group{Debit + Credit - g.card, g.currency, 0, 0}
		if _, both := spans[other]; !both {
			l.Add(spans[g][0].at, field+".rates[].card", "%s cards have a rate in currency %s, %s cards of any category have none: add one", g.card, g.currency, other.card)
		}
	}
	return t
}

// contiguous refuses a gap or an overlap between the periods of one thing.
func (l *loader) contiguous(spans []span, field string) {
	slices.SortStableFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for i := 1; i < len(spans); i++ {
		before, this := spans[i-1], spans[i]
		switch {
		case before.to == 0 || this.from <= before.to:
			l.Add(this.at, field, "%s is in the period of line %d: that must end before", this.from, before.at.Line)
		case this.from != before.to.After():
			l.Add(this.at, field, "between %s, when the period of line %d ends, and %s there is a gap: close it", before.to, before.at.Line, this.from)
		}
	}
}

func (l *loader) period(from, to yamlfile.Scalar, field string) (p period) {
	var err error
	if p.from, err = txn.ParseDate(from.Text); err != nil {
		l.Add(from, field+".from", "%q must be a day as 2026-01-31", from.Text)
	}
	if to.Line == 0 {
		return p
	}
	if p.to, err = txn.ParseDate(to.Text); err != nil {
		l.Add(to, field+".to", "%q must be a day as 2026-01-31, or be left out", to.Text)
	} else if p.to < p.from {
		l.Add(to, field+".to", "%s is before %s, when the period begins", p.to, p.from)
	}
	return p
}

// way is one of txn.Way, as a group has it.
func (l *loader) way(s yamlfile.Scalar, field string) uint8 {
	var names []string
	for w := txn.WayOther; w <= txn.WayContactless; w++ {
		if names = append(names, w.String()); s.Text == w.String() {
			return uint8(w) + 1
		}
	}
	l.Add(s, field, "%q must be one of %s", s.Text, strings.Join(names, ", "))
	return 0
}

// tiers are those of a rate, with rising volumes.
func (l *loader) tiers(ys []tierYAML, at yamlfile.Scalar, field string, c txn.Currency) (tiers []tier) {
	for i := range ys {
		y := &ys[i]
		at := at.Or(yamlfile.First(y.Above, y.PPM, y.Fixed, y.Min, y.Cap))
		t := tier{rate: l.rate(y, at, field, c)}
		if c != 0 {
			a, err := txn.ParseAmount(y.Above.Text, c)
			if err != nil {
				l.Add(at.Or(y.Above), field+".above", "%v", err)
			}
			if t.above = a.Minor; err == nil && (t.above == 0 || i > 0 && t.above <= tiers[i-1].above) {
				l.Add(y.Above, field+".above", "%s must be above zero and above that of the tier before", y.Above.Text)
			}
		}
		tiers, l.s.tiers = append(tiers, t), true
	}
	return tiers
}

// agencies are those of a merchant; together they have no more than all.
func (l *loader) agencies(ys []agencyYAML, at yamlfile.Scalar) (all []Agency) {
	left := int64(txn.PPMMax)
	for i := range ys {
		y := &ys[i]
		at := at.Or(yamlfile.First(y.Code, y.PPM))
		a := Agency{Code: y.Code.Text}
		if n := len(a.Code); n == 0 || n > CodeMax || strings.Trim(strings.ToLower(a.Code), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			l.Add(at.Or(y.Code), "merchants[].agencies[].code", "%q must be 1 to %d letters, digits and hyphens", a.Code, CodeMax)
		}
		if slices.ContainsFunc(all, func(b Agency) bool { return b.Code == a.Code }) {
			l.Add(y.Code, "merchants[].agencies[].code", "%q has a share already", a.Code)
		}
		var err error
		if a.PPM, err = strconv.ParseInt(y.PPM.Text, 10, 64); err != nil || a.PPM <= 0 || a.PPM > left {
			l.Add(at.Or(y.PPM), "merchants[].agencies[].ppm", "%q must be a whole number of millionths of our income, 1 to %d that are left; 30 %% is 300000", y.PPM.Text, left)
		}
		left -= max(0, min(a.PPM, left))
		all = append(all, a)
	}
	return all
}

func (l *loader) rate(y *tierYAML, at yamlfile.Scalar, field string, c txn.Currency) (r Rate) {
	ppm, err := strconv.ParseInt(y.PPM.Text, 10, 64)
	if err != nil || ppm < 0 || ppm > txn.PPMMax {
		l.Add(at.Or(y.PPM), field+".ppm", "%q must be a whole number of millionths of the amount, 0 to %d; 0.35 %% is 3500", y.PPM.Text, txn.PPMMax)
	}
	r.PPM = ppm
	for _, m := range [...]struct {
		name string
		s    yamlfile.Scalar
		to   *int64
	}{{"fixed", y.Fixed, &r.Fixed}, {"min", y.Min, &r.Min}, {"cap", y.Cap, &r.Cap}} {
		if m.s.Line == 0 || c == 0 {
			continue
		}
		a, err := txn.ParseAmount(m.s.Text, c)
		if err != nil {
			l.Add(m.s, field+"."+m.name, "%v", err)
		}
		*m.to = a.Minor
	}
	r.Capped = y.Cap.Line > 0
	if r.Capped && r.Cap < max(r.Min, r.Fixed) {
		l.Add(y.Cap, field+".cap", "is below min or fixed: no fee can be both")
	}
	return r
}

func (l *loader) cardsOf(s yamlfile.Scalar, field string) []Card {
	switch s.Text {
	case "debit":
		return []Card{Debit}
	case "credit":
		return []Card{Credit}
	case "any":
		return []Card{Debit, Credit}
	}
	l.Add(s, field, "%q must be debit, credit or any", s.Text)
	return nil
}

func (l *loader) merchants(ys []merchantYAML) {
	spans := map[txn.MerchantID][]span{}
	var order []txn.MerchantID
	for i := range ys {
		y := &ys[i]
		at := yamlfile.First(y.ID, y.Plan, y.From, y.To)
		id := txn.MakeMerchantID(y.ID.Text)
		if n := len(y.ID.Text); n == 0 || n > len(id) {
			l.Add(at.Or(y.ID), "merchants[].mid", "%q must be 1 to %d characters", y.ID.Text, len(id))
		}
		plan := l.plans[y.Plan.Text]
		if plan == nil && y.Plan.Text == "" {
			l.Add(at.Or(y.Plan), "merchants[].plan", "merchant %s has none: name it here, or in its fee_plan where the registry is in the database", y.ID.Text)
		} else if plan == nil {
			l.Add(at.Or(y.Plan), "merchants[].plan", "there is no plan %q", y.Plan.Text)
		}
		p := l.period(at.Or(y.From), y.To, "merchants[]")
		if len(spans[id]) == 0 {
			order = append(order, id)
		}
		spans[id] = append(spans[id], span{p, at.Or(y.From)})
		l.s.merchants[id] = append(l.s.merchants[id], assignment{p, plan, l.agencies(y.Agencies, at)})
	}
	for _, id := range order {
		l.contiguous(spans[id], "merchants[].from")
	}
}

// cards reads the table of card prefixes.
func (l *loader) cards(text []byte) {
	table, problems := txn.ParseCardTable(text)
	for _, p := range problems {
		l.Add(yamlfile.Scalar{Line: p.Line}, p.Field, "%s", p.What)
	}
	l.s.table = table
}
