package policy

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/acqswitch/acqswitch/risk/rules"
	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

func (l *loader) mode(s yamlfile.Scalar, field string) rules.Mode {
	m, ok := rules.ParseMode(cmp.Or(s.Text, "enforce"))
	if !ok {
		l.Add(s, field, "%q must be enforce, shadow or off", s.Text)
	}
	return m
}

func (l *loader) action(s yamlfile.Scalar, field string, mayPass bool) txn.Action {
	if mayPass && s.Text == passes {
		return 0
	}
	var names []string
	for a := txn.ActionAlert; a <= txn.ActionRefuse; a++ {
		if a.String() == s.Text {
			return a
		}
		names = append(names, a.String())
	}
	if mayPass {
		names = append(names, passes)
	}
	l.Add(s, field, "%q must be one of %s", s.Text, strings.Join(names, ", "))
	return txn.ActionAlert
}

func (l *loader) scope(s yamlfile.Scalar, field string) txn.LimitScope {
	for x := txn.ScopeTerminal; x <= txn.ScopeIdentity; x++ {
		if x.String() == s.Text {
			return x
		}
	}
	l.Add(s, field, "%q must be terminal, merchant, card or identity", s.Text)
	return txn.ScopeTerminal
}

func oneOf[T interface {
	~uint8
	fmt.Stringer
}](l *loader, s yamlfile.Scalar, field string) T {
	return yamlfile.Parse(&l.Problems, s, field, registry.Parse[T])
}

// whole reads a number from 0 to most into to, if it is there.
func whole[T ~uint8 | ~uint16 | ~uint32](l *loader, s yamlfile.Scalar, field string, to *T, most uint64) {
	if s.Line == 0 {
		return
	}
	n, err := strconv.ParseUint(s.Text, 10, 64)
	if err != nil || n > most {
		l.Add(s, field, "%q must be a number from 0 to %d", s.Text, most)
		return
	}
	*to = T(n)
}

func (l *loader) amount(s yamlfile.Scalar, field string, c txn.Currency) int64 {
	a, err := txn.ParseAmount(s.Text, c)
	if err != nil {
		l.Add(s, field, "%v", err)
	}
	return a.Minor
}

func (l *loader) currency(s yamlfile.Scalar, field string) txn.Currency {
	c, err := txn.ParseCurrency(s.Text)
	if err != nil {
		l.Add(s, field, "%v", err)
		return txn.CNY
	}
	return c
}

// country is a numeric code of ISO 3166, as messages have it.
func (l *loader) country(s yamlfile.Scalar, field string) uint16 {
	n, err := strconv.ParseUint(s.Text, 10, 16)
	if err != nil || len(s.Text) != 3 || n == 0 {
		l.Add(s, field, "%q must be the three digits of a country in ISO 3166, such as 840", s.Text)
	}
	if n == china {
		return 0
	}
	return uint16(n)
}

func (l *loader) region(s yamlfile.Scalar, field string) txn.Region {
	if s.Line == 0 {
		return 0
	}
	return yamlfile.Parse(&l.Problems, s, field, registry.ParseDivision)
}

func (l *loader) date(s yamlfile.Scalar, field string) txn.Date {
	if s.Line == 0 {
		return 0
	}
	d, err := txn.ParseDate(s.Text)
	if err != nil {
		l.Add(s, field, "%q must be a day as 2026-11-22", s.Text)
	}
	return d
}

func (l *loader) ordered(s yamlfile.Scalar, field string, from, until txn.Date) {
	if until != 0 && until < from {
		l.Add(s, field, "%s is before from, %s", until, from)
	}
}

func (l *loader) id(s yamlfile.Scalar, field string, size int) string {
	if len(s.Text) > size || !txn.Alphanumeric(s.Text) {
		l.Add(s, field, "%q must be 1 to %d letters and digits", s.Text, size)
	}
	return s.Text
}

// token is a keyed hash. Anything else is not quoted: it may be a card number.
func (l *loader) token(s yamlfile.Scalar, field string) (t [16]byte) {
	b, err := hex.DecodeString(s.Text)
	if err != nil || len(b) != len(t) {
		l.Add(s, field, "must be a token of 32 hexadecimal digits, as acqswitch risk card-token makes them: never a card number")
		return t
	}
	return [16]byte(b)
}
