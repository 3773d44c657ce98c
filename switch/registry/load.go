package registry

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Limits of a registry file.
const (
	// FileSizeMax bounds what Load reads. Parsing takes about a hundred times
	// the file in memory for a moment.
	FileSizeMax = 64 << 20

	// problemsMax is how many problems of a file are told at once.
	problemsMax = 20

	radiusDefault  = 500       // metres, of a fixed terminal's premises
	radiusMax      = 2_000     // metres
	circleMax      = 2_000_000 // metres, of a region
	formatVersion  = "1"
	merchantIDSize = len(txn.MerchantID{})
)

// document is the file. The keys are explained in testdata/registry.yaml.
type document struct {
	Version   scalar         `yaml:"version"`
	Regions   []circleYAML   `yaml:"regions"`
	Merchants []merchantYAML `yaml:"merchants"`
}

type circleYAML struct {
	Code   scalar `yaml:"code"`
	Name   scalar `yaml:"name"`
	Lat    scalar `yaml:"lat"`
	Lng    scalar `yaml:"lng"`
	Radius scalar `yaml:"radius_km"`
}

type merchantYAML struct {
	ID         scalar         `yaml:"mid"`
	Name       scalar         `yaml:"name"`
	City       scalar         `yaml:"city"`
	MCC        scalar         `yaml:"mcc"`
	Region     scalar         `yaml:"region"`
	Country    scalar         `yaml:"country"`
	Currency   scalar         `yaml:"currency"`
	Status     scalar         `yaml:"status"`
	Policy     scalar         `yaml:"policy"`
	Kinds      []scalar       `yaml:"kinds"`
	Limits     limitsYAML     `yaml:"limits"`
	CardLimits limitsYAML     `yaml:"card_limits"`
	Terminals  []terminalYAML `yaml:"terminals"`
}

type limitsYAML struct {
	Transaction scalar `yaml:"transaction"`
	DayAmount   scalar `yaml:"day_amount"`
	DayCount    scalar `yaml:"day_count"`
}

type terminalYAML struct {
	ID              scalar       `yaml:"tid"`
	Serial          scalar       `yaml:"serial"`
	Class           scalar       `yaml:"class"`
	Status          scalar       `yaml:"status"`
	MAC             scalar       `yaml:"mac"`
	Keys            scalar       `yaml:"keys"`
	KSN             scalar       `yaml:"ksn"`
	DoubleTAK       scalar       `yaml:"double_tak"`
	PIN             scalar       `yaml:"pin"`
	Region          scalar       `yaml:"region"`
	Premises        premisesYAML `yaml:"premises"`
	Areas           []scalar     `yaml:"areas"`
	Info            scalar       `yaml:"info"`
	SerialCheck     scalar       `yaml:"serial_check"`
	RequirePosition scalar       `yaml:"require_position"`
	Limits          limitsYAML   `yaml:"limits"`
}

type premisesYAML struct {
	Lat    scalar `yaml:"lat"`
	Lng    scalar `yaml:"lng"`
	Radius scalar `yaml:"radius_m"`
}

// Problem is one thing wrong with a registry file, for the person who wrote it.
type Problem struct {
	File  string
	Line  int
	Field string // empty when the file is not YAML at all
	What  string // what is wrong and what to do
}

func (p *Problem) Error() string {
	if p.Field == "" {
		return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.What)
	}
	return fmt.Sprintf("%s:%d: %s: %s", p.File, p.Line, p.Field, p.What)
}

// Load reads a registry file; name is what errors call it. It returns a
// snapshot or, as joined *Problem errors, the first problems of the file:
// unknown keys, ids bound twice, codes that no table has. Parts of a bad file
// are never returned.
func Load(r io.Reader, name string) (*Snapshot, error) {
	b, err := io.ReadAll(io.LimitReader(r, FileSizeMax+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(b) > FileSizeMax {
		return nil, fmt.Errorf("read %s: it is larger than %d bytes", name, FileSizeMax)
	}
	doc, err := decode(b, name)
	if err != nil {
		return nil, err
	}
	l := loader{file: name, areas: map[txn.Region]txn.Area{}, seen: map[string]int{}}
	l.document(doc)
	if len(l.problems) > 0 {
		return nil, errors.Join(l.problems...)
	}
	s, err := New(l.circles, l.merchants, l.terminals)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", name, err)
	}
	return s, nil
}

// decode checks the file's form: YAML, known keys, each once, one document.
// The YAML library panics on some inputs that are none (the corpus of FuzzLoad has
// one); to the person who wrote the file that is a syntax error.
func decode(b []byte, name string) (doc *document, err error) {
	defer func() {
		if r := recover(); r != nil {
			doc, err = nil, &Problem{File: name, Line: 1, What: fmt.Sprintf("this is not YAML (%v)", r)}
		}
	}()
	d := yaml.NewDecoder(strings.NewReader(string(b)), yaml.Strict())
	doc = &document{}
	switch err := d.Decode(doc); {
	case errors.Is(err, io.EOF):
		return nil, &Problem{File: name, Line: 1, What: "the file is empty: an empty registry says \"version: 1\""}
	case err != nil:
		p := &Problem{File: name, Line: 1, What: err.Error()}
		if y := yaml.Error(nil); errors.As(err, &y) {
			p.What = y.GetMessage()
			if t := y.GetToken(); t != nil && t.Position != nil {
				p.Line = t.Position.Line
			}
		}
		if u := (*yaml.UnknownFieldError)(nil); errors.As(err, &u) {
			p.What += ": correct or remove it"
		}
		return nil, p
	}
	if err := d.Decode(&document{}); !errors.Is(err, io.EOF) {
		return nil, &Problem{File: name, Line: 1, What: "there is a second YAML document: join them into one"}
	}
	return doc, nil
}

// loader turns the document into rows and collects what is wrong.
type loader struct {
	file     string
	problems []error
	seen     map[string]int // kind and id -> line
	areas    map[txn.Region]txn.Area

	circles   []Circle
	merchants []txn.Merchant
	terminals []txn.Terminal
}

// problem notes what is wrong with a field. Fields that are not there are
// looked for at the line of the entry they are missing from.
func (l *loader) problem(s scalar, field, format string, args ...any) {
	if len(l.problems) < problemsMax {
		l.problems = append(l.problems, &Problem{l.file, max(s.line, 1), field, fmt.Sprintf(format, args...)})
	}
}

// once refuses a second use of an id.
func (l *loader) once(s scalar, field, kind, rule string) {
	if s.text == "" {
		return
	}
	id := kind + " " + s.text
	if line, twice := l.seen[id]; twice {
		l.problem(s, field, "%s is already used on line %d: %s", id, line, rule)
		return
	}
	l.seen[id] = s.line
}

func (l *loader) document(d *document) {
	if d.Version.text != formatVersion {
		l.problem(d.Version, "version", "this program reads version %s: the file must say \"version: %s\"", formatVersion, formatVersion)
	}
	for i := range d.Regions {
		l.circle(&d.Regions[i])
	}
	for i := range d.Merchants {
		l.merchant(&d.Merchants[i])
	}
}

func (l *loader) circle(y *circleYAML) {
	at := first(y.Code, y.Name, y.Lat, y.Lng, y.Radius)
	var c Circle
	c.Area.Region = l.region(at.or(y.Code), "regions[].code", true)
	l.once(y.Code, "regions[].code", "region", "a region has one circle, remove one")
	l.name(at.or(y.Name), "regions[].name", c.Name[:])
	c.Area.Lat, c.Area.Lng = l.point(at, y.Lat, y.Lng, "regions[]")
	c.Area.RadiusMetres = uint32(l.decimal(at.or(y.Radius), "regions[].radius_km", 3, 1, circleMax))
	l.areas[c.Area.Region] = c.Area
	l.circles = append(l.circles, c)
}

func (l *loader) merchant(y *merchantYAML) {
	at := first(y.ID, y.Name, y.City, y.MCC, y.Region, y.Country, y.Currency, y.Status, y.Policy)
	var m txn.Merchant
	m.Country = l.country(at.or(y.Country), "merchants[].country")
	chinese := m.Country == china
	m.MCC = l.mcc(at.or(y.MCC), "merchants[].mcc")
	m.ID = l.merchantID(at.or(y.ID), y.MCC.text, chinese)
	l.name(at.or(y.Name), "merchants[].name", m.Name[:])
	l.name(at.or(y.City), "merchants[].city", m.City[:])
	m.Region = l.region(at.or(y.Region), "merchants[].region", chinese)
	m.Currency = l.currency(at.or(y.Currency), "merchants[].currency")
	m.Status = oneOf[txn.Status](l, at.or(y.Status), "merchants[].status")
	m.Policy = oneOf[txn.RegionPolicy](l, at.or(y.Policy), "merchants[].policy")
	if len(y.Kinds) == 0 {
		l.problem(at, "merchants[].kinds", "is empty: list what the merchant may ask for, such as [sale, balance, refund]")
	}
	for _, k := range y.Kinds {
		m.Kinds |= 1 << l.kind(k, "merchants[].kinds[]")
	}
	m.Limits = l.limits(&y.Limits, "merchants[].limits", m.Currency)
	m.Card = l.limits(&y.CardLimits, "merchants[].card_limits", m.Currency)
	for i := range y.Terminals {
		l.terminal(&y.Terminals[i], &m, at)
	}
	l.merchants = append(l.merchants, m)
}

func (l *loader) merchantID(s scalar, mcc string, chinese bool) txn.MerchantID {
	const field = "merchants[].mid"
	switch {
	case !alphanumeric(s.text, merchantIDSize):
		l.problem(s, field, "%q must be 1 to %d letters and digits", s.text, merchantIDSize)
	case chinese && (len(s.text) != merchantIDSize || !digits(s.text)):
		l.problem(s, field, "%q must be 15 digits: institution 3, CUP area 4, MCC 4, number 4", s.text)
	case chinese && s.text[7:11] != mcc:
		l.problem(s, field, "%s says MCC %s in its digits 8 to 11, the merchant's mcc is %q: one of them is wrong", s.text, s.text[7:11], mcc)
	}
	l.once(s, field, "merchant", "a merchant id names one merchant, remove one or give it a new id")
	return txn.MakeMerchantID(s.text)
}

func (l *loader) terminal(y *terminalYAML, m *txn.Merchant, parent scalar) {
	at := parent
	if s := first(y.ID, y.Serial, y.Class, y.Status, y.MAC, y.Region); s.line > 0 {
		at = s
	}
	chinese := m.Country == china
	t := txn.Terminal{ID: txn.MakeTerminalID(y.ID.text), Merchant: m.ID}
	id, serial := at.or(y.ID), at.or(y.Serial)
	if !alphanumeric(id.text, len(t.ID)) {
		l.problem(id, "terminals[].tid", "%q must be 1 to %d letters and digits", id.text, len(t.ID))
	}
	l.once(id, "terminals[].tid", "terminal", "a terminal is bound to one merchant, remove one or give it a new id")
	l.machine(y, serial, &t)
	t.Mobility = oneOf[txn.Mobility](l, at.or(y.Class), "terminals[].class")
	t.Status = oneOf[txn.Status](l, at.or(y.Status), "terminals[].status")
	l.security(y, &t, at)
	t.Region = l.region(at.or(y.Region), "terminals[].region", chinese)
	t.RequirePosition = l.yes(y.RequirePosition, "terminals[].require_position")
	t.Limits = l.limits(&y.Limits, "terminals[].limits", m.Currency)
	l.premises(&y.Premises, &t, at, chinese)
	l.listAreas(y.Areas, &t, at)
	l.terminals = append(l.terminals, t)
}

// machine reads which machine the terminal is and how it says so.
func (l *loader) machine(y *terminalYAML, serial scalar, t *txn.Terminal) {
	if !printable(serial.text) || len(serial.text) > len(t.Serial) {
		l.problem(serial, "terminals[].serial", "%q must be 1 to %d printable characters", serial.text, len(t.Serial))
	}
	l.once(serial, "terminals[].serial", "serial", "one machine serves one merchant, unbind it there first")
	t.Serial = txn.MakeSerial(serial.text)
	if y.Info.line > 0 {
		t.Carrier = oneOf[txn.Carrier](l, y.Info, "terminals[].info")
	}
	if y.SerialCheck.line > 0 {
		t.SerialCheck = oneOf[txn.SerialCheck](l, y.SerialCheck, "terminals[].serial_check")
	}
	if t.SerialCheck != txn.SerialIgnored && t.Carrier == txn.CarrierNone {
		l.problem(y.SerialCheck, "terminals[].serial_check", "means nothing to a terminal whose info is none: name its field, such as de59")
	}
}

func (l *loader) premises(y *premisesYAML, t *txn.Terminal, at scalar, chinese bool) {
	const field = "terminals[].premises"
	if s := first(y.Lat, y.Lng, y.Radius); s.line == 0 {
		if t.Mobility == txn.Fixed {
			l.problem(at, field, "is missing: a fixed terminal needs its premises' lat and lng")
		}
		return
	}
	t.Lat, t.Lng = l.point(at, y.Lat, y.Lng, field)
	if chinese && (t.Lat < 3_000000 || t.Lat > 54_000000 || t.Lng < 73_000000 || t.Lng > 136_000000) {
		l.problem(at.or(y.Lat), field, "is not in China, where the merchant is: check for lat and lng changed over")
	}
	if t.RadiusMetres = radiusDefault; y.Radius.line > 0 {
		t.RadiusMetres = uint32(l.decimal(y.Radius, field+".radius_m", 0, 1, radiusMax))
	}
}

func (l *loader) listAreas(ys []scalar, t *txn.Terminal, at scalar) {
	const field = "terminals[].areas"
	switch {
	case len(ys) > txn.AreasMax:
		l.problem(ys[0], field, "are %d, at most %d may be listed: list their province", len(ys), txn.AreasMax)
		return
	case len(ys) == 0 && t.Mobility == txn.Mobile:
		l.problem(at, field, "is empty: a mobile terminal works in the areas it lists")
	case len(ys) > 0 && t.Mobility == txn.Fixed:
		l.problem(ys[0], field, "mean nothing to a fixed terminal: remove them, or make it mobile or chain")
	}
	for i, y := range ys {
		r := l.region(y, field+"[]", true)
		a, ok := l.areas[r]
		if !ok && r != 0 {
			l.problem(y, field+"[]", "%s has no circle: add it to the regions at the head of the file", y.text)
		}
		if slices.ContainsFunc(t.Areas[:i], func(b txn.Area) bool { return b.Region == r }) {
			l.problem(y, field+"[]", "%s is listed twice", y.text)
		}
		t.Areas[i] = a
		t.AreaCount++
	}
}
