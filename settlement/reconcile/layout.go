package reconcile

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

// Limits of a layout.
const (
	LayoutSizeMax = 1 << 20

	columnsMax = 200
	widthMax   = 4096
)

// Layout is how lines of a file are read. It is immutable.
type Layout struct {
	Name     string
	Currency txn.Currency // of files that do not say it line by line; 0: they do

	form            form
	byRRN           bool // lines are known by reference number, not by STAN and time
	separator       byte // fixed: between columns, 0: none
	major           bool // amounts are in major units, with a point
	names           bool // the first line names the columns
	detail          record
	header, trailer *record
	trailerMust     bool
}

type form uint8

const (
	fixed form = iota
	csvForm
	ipmForm // of Mastercard's clearing, see ipm.go
)

// record is one kind of line.
type record struct {
	mark    string
	columns []column
	width   int // fixed: of the whole line
}

type column struct {
	name                       string
	width                      int
	source                     int // ipm: which element or subelement it is
	role                       role
	format                     string // of times and dates, as package time has them
	credit, reversal, approved []string
}

// role is what a column means to the match; all others are kept as they are.
type role uint8

const (
	kept role = iota
	roleSTAN
	roleTime
	roleAcquirer
	roleAmount
	roleCurrency
	roleDirection
	roleMTI
	roleTerminal
	roleMerchant
	roleRRN
	roleCard
	roleAuthCode
	roleCode
	roleOriginalSTAN
	roleOriginalTime
	roleDate
	roleCount
	roleTotal
	roleDebits
	roleCredits
	roleReference
)

var roleNames = [...]string{"", "stan", "time", "acquirer", "amount", "currency", "direction", "mti", "terminal", "merchant", "rrn", "card", "auth-code", "code",
	"original-stan", "original-time", "date", "count", "total", "debits", "credits", "reference"}

// legTime is the form of a transmission time (DE7).
const legTime = "0102150405"

type layoutYAML struct {
	Version   yamlfile.Scalar `yaml:"version"`
	Form      yamlfile.Scalar `yaml:"form"`
	Key       yamlfile.Scalar `yaml:"key"`
	Separator yamlfile.Scalar `yaml:"separator"`
	Currency  yamlfile.Scalar `yaml:"currency"`
	Amounts   yamlfile.Scalar `yaml:"amounts"`
	Names     yamlfile.Scalar `yaml:"names"`
	Header    *recordYAML     `yaml:"header"`
	Trailer   *recordYAML     `yaml:"trailer"`
	Columns   []columnYAML    `yaml:"columns"`
}

type recordYAML struct {
	Mark    yamlfile.Scalar `yaml:"mark"`
	Must    yamlfile.Scalar `yaml:"must"`
	Columns []columnYAML    `yaml:"columns"`
}

type columnYAML struct {
	Name     yamlfile.Scalar   `yaml:"name"`
	Width    yamlfile.Scalar   `yaml:"width"`
	As       yamlfile.Scalar   `yaml:"as"`
	Format   yamlfile.Scalar   `yaml:"format"`
	Credit   []yamlfile.Scalar `yaml:"credit"`
	Reversal []yamlfile.Scalar `yaml:"reversal"`
	Approved []yamlfile.Scalar `yaml:"approved"`
}

//go:embed layouts/*.yaml
var layouts embed.FS

// Builtin is a layout that needs no file: acom, zm or ipm.
func Builtin(name string) (*Layout, bool) {
	text, err := layouts.ReadFile("layouts/" + name + ".yaml")
	if err != nil {
		return nil, false
	}
	l, err := LoadLayout(name, text)
	if err != nil {
		panic(fmt.Sprintf("reconcile: the built-in layout %s is wrong: %v", name, err))
	}
	return l, true
}

// LoadLayout reads a layout. It returns it or, as joined *yamlfile.Problem errors,
// what is wrong with it; never part of a bad one.
func LoadLayout(name string, text []byte) (*Layout, error) {
	if len(text) > LayoutSizeMax {
		return nil, fmt.Errorf("read %s: it is larger than %d bytes", name, LayoutSizeMax)
	}
	doc, err := yamlfile.Decode[layoutYAML](text, name, `it must say "version: 1", a form and columns`)
	if err != nil {
		return nil, err
	}
	d := loader{file: name}
	l := &Layout{Name: name}
	if doc.Version.Text != "1" {
		d.problem(doc.Version, "version", `must be 1`)
	}
	switch doc.Form.Text {
	case "fixed":
	case "csv":
		l.form, l.separator = csvForm, ','
	case "ipm":
		l.form = ipmForm
		if s := yamlfile.First(doc.Separator, doc.Amounts, doc.Names); s.Line > 0 || doc.Header != nil || doc.Trailer != nil {
			d.problem(doc.Form.Or(s), "form", "of ipm the separator, amounts, names, header and trailer are what they are: leave them out")
		}
	default:
		d.problem(doc.Form, "form", "%q must be fixed, csv or ipm", doc.Form.Text)
	}
	key := []role{roleSTAN, roleTime}
	switch doc.Key.Text {
	case "", "trace":
	case "rrn":
		l.byRRN, key = true, []role{roleRRN}
	default:
		d.problem(doc.Key, "key", "%q must be trace or rrn", doc.Key.Text)
	}
	if s := doc.Separator; s.Line > 0 {
		if len(s.Text) != 1 || strings.ContainsAny(s.Text, "\"\r\n") {
			d.problem(s, "separator", "%q must be one character", s.Text)
		} else {
			l.separator = s.Text[0]
		}
	}
	if s := doc.Currency; s.Text != "" {
		if l.Currency, err = txn.ParseCurrency(s.Text); err != nil {
			d.problem(s, "currency", "%v", err)
		}
	}
	switch doc.Amounts.Text {
	case "", "minor":
	case "major":
		l.major = true
	default:
		d.problem(doc.Amounts, "amounts", "%q must be minor or major", doc.Amounts.Text)
	}
	l.names = d.flag(doc.Names, "names")
	if l.names && l.form != csvForm {
		d.problem(doc.Names, "names", "only csv names its columns in the first line")
	}
	l.detail = d.record(l, doc.Columns, "columns")
	for _, r := range append(key, roleAmount) {
		if !l.detail.has(r) {
			d.problem(doc.Form, "columns", "one must be read as %s", roleNames[r])
		}
	}
	if l.Currency == 0 && !l.detail.has(roleCurrency) {
		d.problem(doc.Currency, "currency", "must be given, since no column is read as currency")
	}
	if doc.Header != nil {
		l.header = d.marked(l, doc.Header, "header")
	}
	if doc.Trailer != nil {
		l.trailer = d.marked(l, doc.Trailer, "trailer")
		l.trailerMust = d.flag(doc.Trailer.Must, "trailer.must")
	}
	return l, errors.Join(d.problems...)
}

type loader struct {
	file     string
	problems []error
}

func (d *loader) problem(s yamlfile.Scalar, field, format string, args ...any) {
	if len(d.problems) < 20 {
		d.problems = append(d.problems, s.Problem(d.file, field, format, args...))
	}
}

func (d *loader) flag(s yamlfile.Scalar, field string) bool {
	switch s.Text {
	case "yes", "true":
		return true
	case "", "no", "false":
	default:
		d.problem(s, field, "%q must be yes or no", s.Text)
	}
	return false
}

func (d *loader) marked(l *Layout, y *recordYAML, field string) *record {
	r := d.record(l, y.Columns, field+".columns")
	if r.mark = y.Mark.Text; r.mark == "" {
		d.problem(y.Mark, field+".mark", "must say what the line begins with")
	}
	return &r
}

func (d *loader) record(l *Layout, columns []columnYAML, field string) (r record) {
	if len(columns) == 0 || len(columns) > columnsMax {
		d.problem(yamlfile.Scalar{}, field, "must be 1 to %d", columnsMax)
		return r
	}
	seen := map[role]bool{}
	for i := range columns {
		y := &columns[i]
		at := yamlfile.First(y.Name, y.Width, y.As)
		c := column{name: y.Name.Text, format: y.Format.Text, credit: texts(y.Credit), reversal: texts(y.Reversal), approved: texts(y.Approved)}
		if c.name == "" || slices.ContainsFunc(r.columns, func(x column) bool { return x.name == c.name }) {
			d.problem(at.Or(y.Name), field+"[].name", "%q must be a name that no other column has", c.name)
		}
		if l.form == fixed {
			n, err := strconv.Atoi(y.Width.Text)
			if err != nil || n < 1 || n > widthMax {
				d.problem(at.Or(y.Width), field+"[].width", "%q must be 1 to %d", y.Width.Text, widthMax)
			}
			c.width = n
		}
		if l.form == ipmForm {
			if c.source = sourceOf(c.name); c.source == 0 {
				d.problem(at.Or(y.Name), field+"[].name", "%q must be de2 to de127, as far as the format has it, or pds0001 to pds9999", c.name)
			}
		}
		n := slices.Index(roleNames[:], y.As.Text)
		if n < 0 {
			d.problem(at.Or(y.As), field+"[].as", "%q must be one of %s", y.As.Text, strings.Join(roleNames[1:], ", "))
		} else if c.role = role(n); c.role != kept && seen[c.role] {
			d.problem(at.Or(y.As), field+"[].as", "two columns are read as %s", y.As.Text)
		}
		seen[c.role] = true
		switch {
		case c.format != "" && c.role != roleTime && c.role != roleOriginalTime && c.role != roleDate:
			d.problem(y.Format, field+"[].format", "is for times and dates only")
		case c.role == roleTime || c.role == roleOriginalTime:
			c.format = cmp.Or(c.format, legTime)
		case c.role == roleDate:
			c.format = cmp.Or(c.format, "20060102")
		case c.role == roleMTI && c.reversal == nil:
			c.reversal = []string{"04"}
		case c.role == roleCode && c.approved == nil:
			c.approved = []string{"00"}
		}
		if c.format != "" && !tells(c.format, c.role == roleDate) {
			d.problem(y.Format, field+"[].format", "%q is not 2006-01-02 15:04:05 in another order", c.format)
		}
		r.columns = append(r.columns, c)
		r.width += c.width
	}
	if l.separator != 0 {
		r.width += len(r.columns) - 1
	}
	return r
}

// tells says that a format has a whole date or, of a transmission time, all that DE7
// has.
func tells(format string, date bool) bool {
	t := time.Date(2026, 11, 22, 13, 14, 15, 0, time.UTC)
	got, err := time.Parse(format, t.Format(format))
	if date {
		return err == nil && txn.MakeDate(got) == txn.MakeDate(t)
	}
	return err == nil && got.Format(legTime) == t.Format(legTime)
}

func (r *record) has(x role) bool {
	return slices.ContainsFunc(r.columns, func(c column) bool { return c.role == x })
}

func texts(ss []yamlfile.Scalar) (all []string) {
	for _, s := range ss {
		all = append(all, s.Text)
	}
	return all
}
