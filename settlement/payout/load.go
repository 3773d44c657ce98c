package payout

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

// Limits of the files.
const (
	FileSizeMax = 128 << 20 // each: some 200,000 merchants

	nameMax        = 70 // of an account's owner: what all banks take
	numberMax      = 34
	reserveDaysMax = 3660
)

// Terms are checked: how merchants are paid, and when banks work. They are
// immutable and safe for concurrent use.
type Terms struct {
	Calendar *Calendar
	Payer    string // our name
	// Unusable are merchants whose registered accounts no bank can pay to, and why.
	Unusable []string

	text, calendarText []byte
	sum                string
	payer              []Account
	merchants          map[txn.MerchantID]*Merchant
}

// Sum is the SHA-256 of both texts, in hexadecimal: what a run paid by.
func (t *Terms) Sum() string { return t.sum }

// Text and CalendarText are the two files as they were read, the first with what
// the registry said: Load reads them again.
func (t *Terms) Text() []byte         { return t.text }
func (t *Terms) CalendarText() []byte { return t.calendarText }

// SameDay says that some merchant asks to be paid on the day itself.
func (t *Terms) SameDay() bool {
	for _, m := range t.merchants {
		if m.Cycle.sameDay() {
			return true
		}
	}
	return false
}

// File is a file's name, for errors, and what is in it.
type File struct {
	Name string
	Text []byte
}

// document is the file of merchants. The keys are explained in testdata/payouts.yaml.
type document struct {
	Version   yamlfile.Scalar `yaml:"version"`
	Payer     *payerYAML      `yaml:"payer"`
	Merchants []merchantYAML  `yaml:"merchants"`
}

type payerYAML struct {
	Name     yamlfile.Scalar `yaml:"name"`
	Accounts []accountYAML   `yaml:"accounts"`
}

type merchantYAML struct {
	ID        yamlfile.Scalar   `yaml:"mid"`
	Cycle     yamlfile.Scalar   `yaml:"cycle"`
	On        []yamlfile.Scalar `yaml:"on"`
	Onboarded yamlfile.Scalar   `yaml:"onboarded"`
	Licence   yamlfile.Scalar   `yaml:"licence_until"`
	Held      yamlfile.Scalar   `yaml:"held"`
	Reserve   *reserveYAML      `yaml:"reserve"`
	Accounts  []accountYAML     `yaml:"accounts"`
}

type reserveYAML struct {
	PPM  yamlfile.Scalar `yaml:"ppm"`
	Days yamlfile.Scalar `yaml:"days"`
}

type accountYAML struct {
	Currency yamlfile.Scalar `yaml:"currency"`
	Name     yamlfile.Scalar `yaml:"name"`
	Number   yamlfile.Scalar `yaml:"number"`
	Sealed   yamlfile.Scalar `yaml:"sealed"`
	Bank     yamlfile.Scalar `yaml:"bank"`
	Min      yamlfile.Scalar `yaml:"min"`
}

// Load reads how merchants are paid, and the calendar. What a registry says of
// merchants is joined to the file, and with it is Text: a run that is taken up
// loads that, whatever the registry says by then. It returns terms or, as joined
// *yamlfile.Problem errors, the first problems of the files; never parts of a bad
// one.
func Load(merchants, calendar File, registry Registry) (*Terms, error) {
	for _, f := range [...]File{merchants, calendar} {
		if len(f.Text) > FileSizeMax {
			return nil, fmt.Errorf("read %s: it is larger than %d bytes", f.Name, FileSizeMax)
		}
	}
	t := &Terms{text: merchants.Text, calendarText: calendar.Text, merchants: map[txn.MerchantID]*Merchant{}}
	doc, err := yamlfile.Decode[document](merchants.Text, merchants.Name, `it must say "version: 1" and list merchants`)
	if err != nil {
		return nil, err
	}
	days, err := yamlfile.Decode[calendarYAML](calendar.Text, calendar.Name, `it must say "version: 1" and list years`)
	if err != nil {
		return nil, err
	}
	l := loader{Problems: yamlfile.Problems{File: merchants.Name}, registry: registry}
	if len(registry.Merchants) > 0 {
		l.join(t, doc)
		if t.text = yamlfile.Encode(doc); len(t.text) > FileSizeMax {
			return nil, fmt.Errorf("%s and the registry have more than %d bytes to say of payouts", merchants.Name, FileSizeMax)
		}
	}
	l.document(t, doc)
	l.File = calendar.Name
	t.Calendar = l.calendar(days)
	if err := l.Err(); err != nil {
		return nil, err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d\n", len(t.text)) // so that no byte can move from one file to the other
	h.Write(t.text)
	h.Write(t.calendarText)
	t.sum = hex.EncodeToString(h.Sum(nil))
	return t, nil
}

// loader collects what is wrong.
type loader struct {
	yamlfile.Problems
	registry Registry
	merchant string // whose accounts are read
}

func (l *loader) document(t *Terms, d *document) {
	l.Version(d.Version)
	if d.Payer != nil {
		t.Payer = d.Payer.Name.Text
		if n := len(t.Payer); n == 0 || n > nameMax {
			l.Add(d.Payer.Name, "payer.name", "%q must be 1 to %d bytes", t.Payer, nameMax)
		}
		t.payer = l.accounts(d.Payer.Accounts, d.Payer.Name, "payer.accounts[]")
	}
	for i := range d.Merchants {
		y := &d.Merchants[i]
		at := yamlfile.First(y.ID, y.Cycle, y.Onboarded, y.Licence)
		id := txn.MakeMerchantID(y.ID.Text)
		if n := len(y.ID.Text); n == 0 || n > len(id) {
			l.Add(at.Or(y.ID), "merchants[].mid", "%q must be 1 to %d characters", y.ID.Text, len(id))
		} else if t.merchants[id] != nil {
			l.Add(y.ID, "merchants[].mid", "%q is here twice: join them", y.ID.Text)
		}
		m := &Merchant{Onboarded: l.day(y.Onboarded, "merchants[].onboarded"), LicenceUntil: l.day(y.Licence, "merchants[].licence_until")}
		if y.Cycle.Line > 0 {
			c := slices.Index(cycleNames[:], y.Cycle.Text)
			if m.Cycle = Cycle(max(c, 0)); c < 0 {
				l.Add(y.Cycle, "merchants[].cycle", "%q must be one of %s", y.Cycle.Text, strings.Join(cycleNames[:], ", "))
			}
		}
		for _, s := range y.On {
			m.Weekdays = append(m.Weekdays, l.weekday(s))
		}
		if r := y.Reserve; r != nil {
			m.ReservePPM = l.number(at.Or(r.PPM), "merchants[].reserve.ppm", txn.PPMMax)
			m.ReserveDays = int(l.number(at.Or(r.Days), "merchants[].reserve.days", reserveDaysMax))
		}
		switch y.Held.Text {
		case "":
		case "yes":
			m.Held = true
		default:
			l.Add(y.Held, "merchants[].held", "%q must be yes, or be left out", y.Held.Text)
		}
		l.merchant = y.ID.Text
		m.Accounts = l.accounts(y.Accounts, at, "merchants[].accounts[]")
		t.merchants[id] = m
	}
}

func (l *loader) day(s yamlfile.Scalar, field string) txn.Date {
	if s.Line == 0 {
		return 0
	}
	d, err := txn.ParseDate(s.Text)
	if err != nil {
		l.Add(s, field, "%q must be a day as 2026-01-31, or be left out", s.Text)
	}
	return d
}

func (l *loader) weekday(s yamlfile.Scalar) time.Weekday {
	for d := time.Sunday; d <= time.Saturday; d++ {
		if s.Text == strings.ToLower(d.String()[:3]) {
			return d
		}
	}
	l.Add(s, "merchants[].on[]", "%q must be mon, tue, wed, thu, fri, sat or sun", s.Text)
	return 0
}

func (l *loader) number(s yamlfile.Scalar, field string, most int64) int64 {
	n, err := strconv.ParseInt(s.Text, 10, 64)
	if err != nil || n < 1 || n > most {
		l.Add(s, field, "%q must be a whole number from 1 to %d", s.Text, most)
	}
	return n
}

func (l *loader) accounts(ys []accountYAML, at yamlfile.Scalar, field string) (accounts []Account) {
	for i := range ys {
		y := &ys[i]
		at := at.Or(yamlfile.First(y.Currency, y.Name, y.Number, y.Bank, y.Min))
		a := Account{Name: y.Name.Text, Number: y.Number.Text, Bank: y.Bank.Text, Currency: yamlfile.Parse(&l.Problems, at.Or(y.Currency), field+".currency", txn.ParseCurrency)}
		if find(accounts, a.Currency) != nil {
			l.Add(at.Or(y.Currency), field+".currency", "%s has an account already", y.Currency.Text)
		}
		if n := len(a.Name); n == 0 || n > nameMax {
			l.Add(at.Or(y.Name), field+".name", "%q must be the owner's name, 1 to %d bytes", a.Name, nameMax)
		}
		if y.Sealed.Line > 0 {
			a.Number = l.open(y, field)
		}
		switch {
		case len(a.Number) > numberMax || !txn.Alphanumeric(a.Number):
			l.Add(at.Or(y.Number), field+".number", "must be 1 to %d letters and digits", numberMax)
		case looksLikeIBAN(a.Number) && !validIBAN(a.Number):
			l.Add(at.Or(y.Number), field+".number", "looks like an IBAN and its check digits are wrong")
		}
		if !isBIC(a.Bank) && !isCNAPS(a.Bank) {
			l.Add(at.Or(y.Bank), field+".bank", "%q must be a BIC of 8 or 11 characters or a CNAPS code of 12 digits", a.Bank)
		}
		if y.Min.Line > 0 && a.Currency != 0 {
			m, err := txn.ParseAmount(y.Min.Text, a.Currency)
			if err != nil {
				l.Add(y.Min, field+".min", "%v", err)
			}
			a.Min = m.Minor
		}
		accounts = append(accounts, a)
	}
	return accounts
}

// open is the number of a sealed account.
func (l *loader) open(y *accountYAML, field string) string {
	switch {
	case y.Number.Line > 0:
		l.Add(y.Number, field+".number", "is sealed: it cannot stand here, too")
	case l.registry.Open == nil:
		l.Add(y.Sealed, field+".sealed", "is for accounts of the registry, and there is none: say number")
	default:
		number, err := l.registry.Open(l.merchant, y.Sealed.Text)
		if err != nil {
			l.Add(y.Sealed, field+".sealed", "%v", err)
		}
		return number
	}
	return ""
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' }

func all(s string, is func(byte) bool) bool {
	for i := range len(s) {
		if !is(s[i]) {
			return false
		}
	}
	return true
}

// isBIC: ISO 9362, six letters and two or five letters or digits.
func isBIC(s string) bool {
	return (len(s) == 8 || len(s) == 11) && all(s[:6], isUpper) && all(s[6:], func(c byte) bool { return isDigit(c) || isUpper(c) })
}

// isCNAPS: a member of China's national payment system, twelve digits.
func isCNAPS(s string) bool { return len(s) == 12 && txn.Digits(s) }

// looksLikeIBAN: ISO 13616, a country, two check digits, at least eleven more.
func looksLikeIBAN(s string) bool {
	return len(s) >= 15 && all(s[:2], isUpper) && all(s[2:4], isDigit)
}

// validIBAN: the check digits make the whole 1 modulo 97.
func validIBAN(s string) bool {
	rest := 0
	for _, c := range []byte(s[4:] + s[:4]) {
		switch {
		case isDigit(c):
			rest = (rest*10 + int(c-'0')) % 97
		case isUpper(c):
			rest = (rest*100 + int(c-'A') + 10) % 97
		default:
			return false
		}
	}
	return rest == 1
}
