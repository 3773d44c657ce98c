package registry

import (
	"encoding/hex"
	"math"
	"slices"
	"strings"

	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

// gradeMax is the riskiest grade of a merchant.
const gradeMax = 5

// modelsMax is how many models a registry knows.
const modelsMax = math.MaxUint16

type entryMode struct {
	name string
	mode txn.EntryMode
}

// entryModes are the ways of reading a card that a registry tells apart.
var entryModes = [...]entryMode{
	{"manual", txn.EntryManual}, {"stripe", txn.EntryStripe}, {"code", txn.EntryCode},
	{"chip", txn.EntryChip}, {"contactless", txn.EntryContactless},
}

func (l *loader) model(y *modelYAML) {
	const field = "models[].name"
	var m Model
	s := yamlfile.First(y.Minimum, y.Target, y.Deadline).Or(y.Name)
	l.name(s, field, m.Name[:])
	l.version(y.Minimum, "models[].minimum", m.Minimum[:])
	l.version(y.Target, "models[].target", m.Target[:])
	m.Deadline = l.date(y.Deadline, "models[].deadline")
	switch {
	case m.Deadline != 0 && y.Target.Line == 0:
		l.Add(y.Deadline, "models[].deadline", "is of a target, and there is none: say target")
	case y.Target.Line > 0 && compareVersions(m.Target[:], m.Minimum[:]) < 0:
		l.Add(y.Target, "models[].target", "%s is below the minimum, %s", y.Target.Text, y.Minimum.Text)
	}
	l.once(s, field, "model", "a model is listed once, remove one")
	if len(l.rows.Models) == modelsMax {
		l.Add(s, field, "is one too many: at most %d models may be listed", modelsMax)
		return
	}
	l.rows.Models = append(l.rows.Models, m)
	l.models[s.Text] = uint16(len(l.rows.Models))
}

func (l *loader) version(s yamlfile.Scalar, field string, dst []byte) {
	l.text(s, field, len(dst), printable, "printable text")
	copy(dst, s.Text)
}

// party reads what rules ask of a merchant. All of it may be left out.
func (l *loader) party(y *merchantYAML, m *txn.Merchant) {
	if y.Type.Line > 0 {
		m.Type = oneOf[txn.MerchantType](l, y.Type, "merchants[].type")
	}
	if y.Identity.Line > 0 {
		id, err := hex.DecodeString(y.Identity.Text)
		if err != nil || len(id) != len(m.Identity) {
			l.Add(y.Identity, "merchants[].identity", "must be %d hexadecimal digits: the keyed hash of a document's number, never the number", 2*len(m.Identity))
		} else {
			m.Identity = txn.Identity(id)
		}
	}
	m.Grade = uint8(l.number(y.Grade, "merchants[].grade", gradeMax))
	m.Plan = uint16(l.number(y.Plan, "merchants[].plan", math.MaxUint16))
	m.Entries = l.entries(y.Entries, "merchants[].entries[]")
	for _, s := range y.Cards {
		m.Cards |= 1 << oneOf[txn.CardType](l, s, "merchants[].cards[]")
	}
	m.Since = l.date(y.Since, "merchants[].since")
	m.LicenceEnds = l.date(y.LicenceEnds, "merchants[].licence_ends")
	m.Unmatched = l.yes(y.Unmatched, "merchants[].unmatched")
	if exp, ok := m.Currency.Exponent(); ok && y.Turnover.Line > 0 {
		m.Turnover = l.decimal(y.Turnover, "merchants[].turnover", exp, 1, math.MaxInt64)
	}
}

// dossier checks what people keep of a merchant and requests do not need. All of
// it may be left out.
func (l *loader) dossier(y *merchantYAML, m *txn.Merchant) {
	for _, f := range []struct {
		s       yamlfile.Scalar
		key     string
		sizeMax int
		ok      func(string) bool
		what    string
	}{
		{y.LegalName, "legal_name", 80, printable, "printable text"},
		{y.Licence, "licence", 32, txn.Alphanumeric[string], "letters and digits"},
		{y.IdentityNumber, "identity_number", 32, txn.Alphanumeric[string], "letters and digits"},
		{y.IdentitySealed, "identity_sealed", 256, hexadecimal, "hexadecimal digits"},
		{y.Account, "account", 34, txn.Alphanumeric[string], "letters and digits"},
		{y.AccountMasked, "account_masked", 34, printable, "printable text"},
		{y.AccountSealed, "account_sealed", 256, hexadecimal, "hexadecimal digits"},
		{y.AccountOwner, "account_owner", 80, printable, "printable text"},
		{y.Bank, "bank", 40, printable, "printable text"},
		{y.FeePlan, "fee_plan", 40, printable, "printable text"},
		{y.Agency, "agency", 11, txn.Digits[string], "digits"},
		{y.Address, "address", 160, printable, "printable text"},
		{y.Phone, "phone", 20, printable, "printable text"},
	} {
		l.text(f.s, "merchants[]."+f.key, f.sizeMax, f.ok, f.what)
	}
	if y.Payout.Line > 0 {
		oneOf[PayoutCycle](l, y.Payout, "merchants[].payout")
	}
	if yamlfile.First(y.Premises.Lat, y.Premises.Lng).Line > 0 {
		l.point(y.ID, y.Premises.Lat, y.Premises.Lng, "merchants[].premises")
	}
	if y.LegalName.Text != "" && y.AccountOwner.Text != "" && !sameName(y.LegalName.Text, y.AccountOwner.Text) {
		m.Unmatched = true
	}
}

// PayoutCycle is when a merchant is paid for a business day.
type PayoutCycle uint8

// The cycles. T counts working days, D any.
const (
	PayoutT1 PayoutCycle = iota
	PayoutD1
	PayoutT0
	PayoutD0
)

var payoutCycleNames = [...]string{"t+1", "d+1", "t+0", "d+0"}

func (c PayoutCycle) String() string { return nameOf(payoutCycleNames[:], c) }

// MachineKind is how regulators tell machines apart.
type MachineKind uint8

// The kinds.
const (
	MachineTraditional MachineKind = iota
	MachineSmart
	MachineMobile
	MachineQRBox
)

var machineKindNames = [...]string{"traditional", "smart", "mobile", "qr-box"}

func (k MachineKind) String() string { return nameOf(machineKindNames[:], k) }

// text checks one that may be left out.
func (l *loader) text(s yamlfile.Scalar, field string, sizeMax int, ok func(string) bool, what string) {
	if s.Line > 0 && (len(s.Text) > sizeMax || !ok(s.Text)) {
		l.Add(s, field, "must be 1 to %d bytes of %s", sizeMax, what)
	}
}

// equipment reads what rules ask of a terminal. All of it may be left out.
func (l *loader) equipment(y *terminalYAML, t *txn.Terminal) {
	t.Plan = uint16(l.number(y.Plan, "terminals[].plan", math.MaxUint16))
	if y.Model.Line > 0 {
		if t.Model = l.models[y.Model.Text]; t.Model == 0 {
			l.Add(y.Model, "terminals[].model", "%q is no known model: add it at the head of the file, or with registry model", y.Model.Text)
		}
	}
	t.Capabilities = l.entries(y.Capabilities, "terminals[].capabilities[]")
	t.Since = l.date(y.Since, "terminals[].since")
	t.Inspected = l.date(y.Inspected, "terminals[].inspected")
	if y.Kind.Line > 0 {
		oneOf[MachineKind](l, y.Kind, "terminals[].kind")
	}
	l.text(y.Label, "terminals[].label", 50, printable, "printable text")
	l.text(y.Certification, "terminals[].certification", 32, printable, "printable text")
	l.text(y.App, "terminals[].app", 8, printable, "printable text")
	l.text(y.Parameters, "terminals[].parameters", 40, printable, "printable text")
	l.text(y.SIM, "terminals[].sim", 20, txn.Digits, "digits")
}

// number is 0 where it is left out.
func (l *loader) number(s yamlfile.Scalar, field string, most int64) int64 {
	if s.Line == 0 {
		return 0
	}
	return l.decimal(s, field, 0, 1, most)
}

// date is 0 where it is left out.
func (l *loader) date(s yamlfile.Scalar, field string) txn.Date {
	if s.Line == 0 {
		return 0
	}
	d, err := txn.ParseDate(s.Text)
	if err != nil || d < 19000101 {
		l.Add(s, field, "%q must be a date of this or the last century as yyyy-mm-dd", s.Text)
		return 0
	}
	return d
}

func (l *loader) entries(ys []yamlfile.Scalar, field string) (e txn.Entries) {
	for _, s := range ys {
		i := slices.IndexFunc(entryModes[:], func(m entryMode) bool { return m.name == s.Text })
		if i < 0 {
			var names []string
			for _, m := range entryModes {
				names = append(names, m.name)
			}
			l.Add(s, field, "%q must be one of %s", s.Text, strings.Join(names, ", "))
			continue
		}
		e |= 1 << entryModes[i].mode
	}
	return e
}
