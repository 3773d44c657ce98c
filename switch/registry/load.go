package registry

import (
	"fmt"
	"io"

	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

// Limits of a registry file.
const (
	// FileSizeMax bounds what Load reads.
	FileSizeMax = 64 << 20

	radiusDefault  = 500       // metres, of a fixed terminal's premises
	radiusMax      = 2_000     // metres
	phoneDigitsMax = 16        // of a landline block's caller
	circleMax      = 2_000_000 // metres, of a region
	merchantIDSize = len(txn.MerchantID{})
)

// document is the file. The keys are explained in testdata/registry.yaml.
type document struct {
	Version   yamlfile.Scalar `yaml:"version"`
	Regions   []circleYAML    `yaml:"regions"`
	Models    []modelYAML     `yaml:"models"`
	Merchants []merchantYAML  `yaml:"merchants"`
	Stock     []terminalYAML  `yaml:"stock"`
}

type circleYAML struct {
	Code   yamlfile.Scalar `yaml:"code"`
	Name   yamlfile.Scalar `yaml:"name"`
	Lat    yamlfile.Scalar `yaml:"lat"`
	Lng    yamlfile.Scalar `yaml:"lng"`
	Radius yamlfile.Scalar `yaml:"radius_km"`
}

type modelYAML struct {
	Name     yamlfile.Scalar `yaml:"name"`
	Minimum  yamlfile.Scalar `yaml:"minimum"`
	Target   yamlfile.Scalar `yaml:"target"`
	Deadline yamlfile.Scalar `yaml:"deadline"`
}

type merchantYAML struct {
	ID             yamlfile.Scalar   `yaml:"mid"`
	Name           yamlfile.Scalar   `yaml:"name"`
	City           yamlfile.Scalar   `yaml:"city"`
	MCC            yamlfile.Scalar   `yaml:"mcc"`
	Region         yamlfile.Scalar   `yaml:"region"`
	Country        yamlfile.Scalar   `yaml:"country"`
	Currency       yamlfile.Scalar   `yaml:"currency"`
	Status         yamlfile.Scalar   `yaml:"status"`
	Policy         yamlfile.Scalar   `yaml:"policy"`
	Kinds          []yamlfile.Scalar `yaml:"kinds"`
	Limits         limitsYAML        `yaml:"limits"`
	CardLimits     limitsYAML        `yaml:"card_limits"`
	Type           yamlfile.Scalar   `yaml:"type"`
	Identity       yamlfile.Scalar   `yaml:"identity"`
	IdentityNumber yamlfile.Scalar   `yaml:"identity_number"`
	IdentitySealed yamlfile.Scalar   `yaml:"identity_sealed"`
	LegalName      yamlfile.Scalar   `yaml:"legal_name"`
	Licence        yamlfile.Scalar   `yaml:"licence"`
	LicenceEnds    yamlfile.Scalar   `yaml:"licence_ends"`
	Turnover       yamlfile.Scalar   `yaml:"turnover"`
	Account        yamlfile.Scalar   `yaml:"account"`
	AccountMasked  yamlfile.Scalar   `yaml:"account_masked"`
	AccountSealed  yamlfile.Scalar   `yaml:"account_sealed"`
	AccountOwner   yamlfile.Scalar   `yaml:"account_owner"`
	Bank           yamlfile.Scalar   `yaml:"bank"`
	Unmatched      yamlfile.Scalar   `yaml:"unmatched"`
	Payout         yamlfile.Scalar   `yaml:"payout"`
	FeePlan        yamlfile.Scalar   `yaml:"fee_plan"`
	Agency         yamlfile.Scalar   `yaml:"agency"`
	Address        yamlfile.Scalar   `yaml:"address"`
	Premises       pointYAML         `yaml:"premises"`
	Phone          yamlfile.Scalar   `yaml:"phone"`
	Grade          yamlfile.Scalar   `yaml:"grade"`
	Plan           yamlfile.Scalar   `yaml:"plan"`
	Entries        []yamlfile.Scalar `yaml:"entries"`
	Cards          []yamlfile.Scalar `yaml:"cards"`
	Since          yamlfile.Scalar   `yaml:"since"`
	Terminals      []terminalYAML    `yaml:"terminals"`
}

type pointYAML struct {
	Lat yamlfile.Scalar `yaml:"lat"`
	Lng yamlfile.Scalar `yaml:"lng"`
}

type limitsYAML struct {
	Transaction yamlfile.Scalar `yaml:"transaction"`
	DayAmount   yamlfile.Scalar `yaml:"day_amount"`
	DayCount    yamlfile.Scalar `yaml:"day_count"`
}

type terminalYAML struct {
	Merchant        yamlfile.Scalar   `yaml:"merchant"`
	ID              yamlfile.Scalar   `yaml:"tid"`
	Serial          yamlfile.Scalar   `yaml:"serial"`
	Class           yamlfile.Scalar   `yaml:"class"`
	Status          yamlfile.Scalar   `yaml:"status"`
	MAC             yamlfile.Scalar   `yaml:"mac"`
	Keys            yamlfile.Scalar   `yaml:"keys"`
	KSN             yamlfile.Scalar   `yaml:"ksn"`
	DoubleTAK       yamlfile.Scalar   `yaml:"double_tak"`
	PIN             yamlfile.Scalar   `yaml:"pin"`
	Region          yamlfile.Scalar   `yaml:"region"`
	Premises        premisesYAML      `yaml:"premises"`
	Cells           []yamlfile.Scalar `yaml:"cells"`
	Phone           yamlfile.Scalar   `yaml:"phone"`
	Areas           []yamlfile.Scalar `yaml:"areas"`
	Info            yamlfile.Scalar   `yaml:"info"`
	SerialCheck     yamlfile.Scalar   `yaml:"serial_check"`
	RequirePosition yamlfile.Scalar   `yaml:"require_position"`
	Limits          limitsYAML        `yaml:"limits"`
	Plan            yamlfile.Scalar   `yaml:"plan"`
	Model           yamlfile.Scalar   `yaml:"model"`
	Capabilities    []yamlfile.Scalar `yaml:"capabilities"`
	Since           yamlfile.Scalar   `yaml:"since"`
	Inspected       yamlfile.Scalar   `yaml:"inspected"`
	Kind            yamlfile.Scalar   `yaml:"kind"`
	Label           yamlfile.Scalar   `yaml:"label"`
	Certification   yamlfile.Scalar   `yaml:"certification"`
	App             yamlfile.Scalar   `yaml:"app"`
	Parameters      yamlfile.Scalar   `yaml:"parameters"`
	SIM             yamlfile.Scalar   `yaml:"sim"`
}

type premisesYAML struct {
	Lat    yamlfile.Scalar `yaml:"lat"`
	Lng    yamlfile.Scalar `yaml:"lng"`
	Radius yamlfile.Scalar `yaml:"radius_m"`
}

// Load reads a registry file; name is what errors call it. It returns a
// snapshot or, as joined *Problem errors, the first problems of the file:
// unknown keys, ids bound twice, codes that no table has. Parts of a bad file
// are never returned.
func Load(r io.Reader, name string) (*Snapshot, error) {
	doc, err := decode(r, name)
	if err != nil {
		return nil, err
	}
	l := newLoader(name)
	l.document(doc)
	if err := l.Err(); err != nil {
		return nil, err
	}
	s, err := New(l.rows)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", name, err)
	}
	return s, nil
}

func decode(r io.Reader, name string) (*document, error) {
	b, err := readAll(r, name)
	if err != nil {
		return nil, err
	}
	return yamlfile.Decode[document](b, name, "an empty registry says \"version: 1\"")
}

func readAll(r io.Reader, name string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, FileSizeMax+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(b) > FileSizeMax {
		return nil, fmt.Errorf("read %s: it is larger than %d bytes", name, FileSizeMax)
	}
	return b, nil
}

// loader turns the document into rows and collects what is wrong.
type loader struct {
	yamlfile.Problems
	clear  bool           // numbers of identity documents may be there
	seen   map[string]int // kind and id -> line; nil where ids are known to be used once
	areas  map[txn.Region]txn.Area
	models map[string]uint16 // their numbers

	rows Rows
}

func newLoader(file string) *loader {
	return &loader{Problems: yamlfile.Problems{File: file}, areas: map[txn.Region]txn.Area{}, models: map[string]uint16{}, seen: map[string]int{}}
}

// once refuses a second use of an id.
func (l *loader) once(s yamlfile.Scalar, field, kind, rule string) {
	if s.Text == "" || l.seen == nil {
		return
	}
	id := kind + " " + s.Text
	if line, twice := l.seen[id]; twice {
		l.Add(s, field, "%s is already used on line %d: %s", id, line, rule)
		return
	}
	l.seen[id] = s.Line
}

func (l *loader) document(d *document) {
	l.Version(d.Version)
	for i := range d.Regions {
		l.circle(&d.Regions[i])
	}
	for i := range d.Models {
		l.model(&d.Models[i])
	}
	for i := range d.Merchants {
		y := &d.Merchants[i]
		m, at := l.merchant(y)
		if y.IdentityNumber.Line > 0 && !l.clear {
			l.Add(y.IdentityNumber, "merchants[].identity_number", "is a number in clear: give identity, its keyed hash, or import the file into the database")
		}
		for j := range y.Terminals {
			l.rows.Terminals = append(l.rows.Terminals, l.terminal(&y.Terminals[j], &m, at))
		}
		l.rows.Merchants = append(l.rows.Merchants, m)
	}
	for i := range d.Stock {
		l.stock(&d.Stock[i])
	}
}

func (l *loader) circle(y *circleYAML) {
	at := yamlfile.First(y.Code, y.Name, y.Lat, y.Lng, y.Radius)
	var c Circle
	c.Area.Region = l.region(at.Or(y.Code), "regions[].code", true)
	l.once(y.Code, "regions[].code", "region", "a region has one circle, remove one")
	l.name(at.Or(y.Name), "regions[].name", c.Name[:])
	c.Area.Lat, c.Area.Lng = l.point(at, y.Lat, y.Lng, "regions[]")
	c.Area.RadiusMetres = uint32(l.decimal(at.Or(y.Radius), "regions[].radius_km", 3, 1, circleMax))
	l.areas[c.Area.Region] = c.Area
	l.rows.Circles = append(l.rows.Circles, c)
}

// merchant reads one, and where it begins.
func (l *loader) merchant(y *merchantYAML) (m txn.Merchant, at yamlfile.Scalar) {
	at = yamlfile.First(y.ID, y.Name, y.City, y.MCC, y.Region, y.Country, y.Currency, y.Status, y.Policy)
	m.Country = l.country(at.Or(y.Country), "merchants[].country")
	chinese := m.Country == china
	m.MCC = l.mcc(at.Or(y.MCC), "merchants[].mcc")
	m.ID = l.merchantID(at.Or(y.ID), y.MCC.Text, chinese)
	l.name(at.Or(y.Name), "merchants[].name", m.Name[:])
	var city [13]byte
	l.name(at.Or(y.City), "merchants[].city", city[:])
	m.Acceptor = acceptor(y.Name.Text, y.City.Text, y.Country.Text)
	m.Region = l.region(at.Or(y.Region), "merchants[].region", chinese)
	m.Currency = yamlfile.Parse(&l.Problems, at.Or(y.Currency), "merchants[].currency", txn.ParseCurrency)
	m.Status = oneOf[MerchantStatus](l, at.Or(y.Status), "merchants[].status").Serves()
	m.Policy = oneOf[txn.RegionPolicy](l, at.Or(y.Policy), "merchants[].policy")
	if len(y.Kinds) == 0 {
		l.Add(at, "merchants[].kinds", "is empty: list what the merchant may ask for, such as [sale, balance, refund]")
	}
	for _, k := range y.Kinds {
		m.Kinds |= 1 << l.kind(k, "merchants[].kinds[]")
	}
	m.Limits = l.limits(&y.Limits, "merchants[].limits", m.Currency)
	m.Card = l.limits(&y.CardLimits, "merchants[].card_limits", m.Currency)
	l.party(y, &m)
	l.dossier(y, &m)
	return m, at
}

func (l *loader) merchantID(s yamlfile.Scalar, mcc string, chinese bool) txn.MerchantID {
	const field = "merchants[].mid"
	switch {
	case !txn.Alphanumeric(s.Text) || len(s.Text) > merchantIDSize:
		l.Add(s, field, "%q must be 1 to %d letters and digits", s.Text, merchantIDSize)
	case chinese && (len(s.Text) != merchantIDSize || !txn.Digits(s.Text)):
		l.Add(s, field, "%q must be 15 digits: institution 3, CUP area 4, MCC 4, number 4", s.Text)
	case chinese && s.Text[7:11] != mcc:
		l.Add(s, field, "%s says MCC %s in its digits 8 to 11, the merchant's mcc is %q: one of them is wrong", s.Text, s.Text[7:11], mcc)
	}
	l.once(s, field, "merchant", "a merchant id names one merchant, remove one or give it a new id")
	return txn.MakeMerchantID(s.Text)
}

func (l *loader) terminal(y *terminalYAML, m *txn.Merchant, parent yamlfile.Scalar) txn.Terminal {
	at := parent
	if s := yamlfile.First(y.ID, y.Serial, y.Class, y.Status, y.MAC, y.Region); s.Line > 0 {
		at = s
	}
	chinese := m.Country == china
	t := txn.Terminal{ID: txn.MakeTerminalID(y.ID.Text), Merchant: m.ID}
	id, serial := at.Or(y.ID), at.Or(y.Serial)
	if !txn.Alphanumeric(id.Text) || len(id.Text) > len(t.ID) {
		l.Add(id, "terminals[].tid", "%q must be 1 to %d letters and digits", id.Text, len(t.ID))
	}
	l.once(id, "terminals[].tid", "terminal", "a terminal is bound to one merchant, remove one or give it a new id")
	l.machine(y, serial, &t)
	t.Mobility = oneOf[txn.Mobility](l, at.Or(y.Class), "terminals[].class")
	status := oneOf[MachineStatus](l, at.Or(y.Status), "terminals[].status")
	if t.Status = status.serves(); status == MachineStock {
		l.Add(at.Or(y.Status), "terminals[].status", "is stock, and it is at a merchant's: move it to the file's stock, or say bound")
	}
	if y.Merchant.Line > 0 && y.Merchant.Text != m.ID.String() {
		l.Add(y.Merchant, "terminals[].merchant", "%q is not the merchant it stands at, %s", y.Merchant.Text, m.ID)
	}
	l.security(y, &t, at)
	t.Region = l.region(at.Or(y.Region), "terminals[].region", chinese)
	t.RequirePosition = l.yes(y.RequirePosition, "terminals[].require_position")
	t.Limits = l.limits(&y.Limits, "terminals[].limits", m.Currency)
	l.premises(&y.Premises, &t, at, chinese)
	l.cells(y.Cells, &t)
	l.phone(y.Phone, &t)
	l.equipment(y, &t)
	l.listAreas(y.Areas, &t, at)
	return t
}

// stock reads a machine that is at nobody's.
func (l *loader) stock(y *terminalYAML) {
	at := yamlfile.First(y.Serial, y.Status, y.Model, y.Kind)
	for _, f := range []struct {
		key string
		s   yamlfile.Scalar
	}{
		{"tid", y.ID}, {"merchant", y.Merchant}, {"class", y.Class}, {"region", y.Region}, {"areas", yamlfile.First(y.Areas...)},
		{"cells", yamlfile.First(y.Cells...)}, {"phone", y.Phone},
		{"premises", yamlfile.First(y.Premises.Lat, y.Premises.Lng, y.Premises.Radius)}, {"require_position", y.RequirePosition},
		{"limits", yamlfile.First(y.Limits.Transaction, y.Limits.DayAmount, y.Limits.DayCount)}, {"plan", y.Plan}, {"since", y.Since},
	} {
		if f.s.Line > 0 {
			l.Add(f.s, "stock[]."+f.key, "is of a machine at a merchant's, and this one is in stock")
		}
	}
	if y.Status.Line > 0 {
		if s := oneOf[MachineStatus](l, y.Status, "stock[].status"); s.Bound() {
			l.Add(y.Status, "stock[].status", "%q must be stock or retired", y.Status.Text)
		}
	}
	var t txn.Terminal
	l.machine(y, at.Or(y.Serial), &t)
	if yamlfile.First(y.MAC, y.Keys, y.KSN, y.DoubleTAK, y.PIN).Line > 0 {
		l.security(y, &t, at)
	}
	l.equipment(y, &t)
}

// machine reads which machine the terminal is and how it says so.
func (l *loader) machine(y *terminalYAML, serial yamlfile.Scalar, t *txn.Terminal) {
	if !printable(serial.Text) || len(serial.Text) > len(t.Serial) {
		l.Add(serial, "terminals[].serial", "%q must be 1 to %d printable characters", serial.Text, len(t.Serial))
	}
	l.once(serial, "terminals[].serial", "serial", "one machine serves one merchant, unbind it there first")
	t.Serial = txn.MakeSerial(serial.Text)
	if y.Info.Line > 0 {
		t.Carrier = oneOf[txn.Carrier](l, y.Info, "terminals[].info")
	}
	if y.SerialCheck.Line > 0 {
		t.SerialCheck = oneOf[txn.SerialCheck](l, y.SerialCheck, "terminals[].serial_check")
	}
	if t.SerialCheck != txn.SerialIgnored && t.Carrier == txn.CarrierNone {
		l.Add(y.SerialCheck, "terminals[].serial_check", "means nothing to a terminal whose info is none: name its field, such as de59")
	}
}
