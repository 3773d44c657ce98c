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

func (l *loader) model(s yamlfile.Scalar) {
	const field = "models[].name"
	var m Model
	l.name(s, field, m.Name[:])
	l.once(s, field, "model", "a model is listed once, remove one")
	if len(l.rows.Models) == modelsMax {
		l.problem(s, field, "is one too many: at most %d models may be listed", modelsMax)
		return
	}
	l.rows.Models = append(l.rows.Models, m)
	l.models[s.Text] = uint16(len(l.rows.Models))
}

// party reads what rules ask of a merchant. All of it may be left out.
func (l *loader) party(y *merchantYAML, m *txn.Merchant) {
	if y.Type.Line > 0 {
		m.Type = oneOf[txn.MerchantType](l, y.Type, "merchants[].type")
	}
	if y.Identity.Line > 0 {
		id, err := hex.DecodeString(y.Identity.Text)
		if err != nil || len(id) != len(m.Identity) {
			l.problem(y.Identity, "merchants[].identity", "must be %d hexadecimal digits: the keyed hash of a document's number, never the number", 2*len(m.Identity))
		} else {
			m.Identity = txn.Identity(id)
		}
	}
	m.Grade = uint8(l.number(y.Grade, "merchants[].grade", 1, gradeMax))
	m.Plan = uint16(l.number(y.Plan, "merchants[].plan", 1, math.MaxUint16))
	m.Entries = l.entries(y.Entries, "merchants[].entries[]")
	for _, s := range y.Cards {
		m.Cards |= 1 << oneOf[txn.CardType](l, s, "merchants[].cards[]")
	}
	m.Since = l.date(y.Since, "merchants[].since")
	m.LicenceEnds = l.date(y.LicenceEnds, "merchants[].licence_ends")
	m.Unmatched = l.yes(y.Unmatched, "merchants[].unmatched")
}

// equipment reads what rules ask of a terminal. All of it may be left out.
func (l *loader) equipment(y *terminalYAML, t *txn.Terminal) {
	t.Plan = uint16(l.number(y.Plan, "terminals[].plan", 1, math.MaxUint16))
	if y.Model.Line > 0 {
		if t.Model = l.models[y.Model.Text]; t.Model == 0 {
			l.problem(y.Model, "terminals[].model", "%q is not among the models at the head of the file", y.Model.Text)
		}
	}
	t.Capabilities = l.entries(y.Capabilities, "terminals[].capabilities[]")
	t.Since = l.date(y.Since, "terminals[].since")
	t.Inspected = l.date(y.Inspected, "terminals[].inspected")
}

// number is 0 where it is left out.
func (l *loader) number(s yamlfile.Scalar, field string, from, to int64) int64 {
	if s.Line == 0 {
		return 0
	}
	return l.decimal(s, field, 0, from, to)
}

// date is 0 where it is left out.
func (l *loader) date(s yamlfile.Scalar, field string) txn.Date {
	if s.Line == 0 {
		return 0
	}
	d, err := txn.ParseDate(s.Text)
	if err != nil || d < 19000101 {
		l.problem(s, field, "%q must be a date of this or the last century as yyyy-mm-dd", s.Text)
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
			l.problem(s, field, "%q must be one of %s", s.Text, strings.Join(names, ", "))
			continue
		}
		e |= 1 << entryModes[i].mode
	}
	return e
}
