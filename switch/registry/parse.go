package registry

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
	"golang.org/x/text/unicode/norm"

	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

// china is the country whose merchants have GB/T 2260 regions and CUP ids.
const china = 156

// enum is a byte with names, of which the one after the last is "invalid".
type enum interface {
	~uint8
	fmt.Stringer
}

func oneOf[T enum](l *loader, s yamlfile.Scalar, field string) T {
	return yamlfile.Parse(&l.Problems, s, field, Parse[T])
}

// kind is one that merchants are allowed apart: what an issuer answers and what
// does not come with another kind.
func (l *loader) kind(s yamlfile.Scalar, field string) txn.Kind {
	var names []string
	for k := txn.Kind(0); k.String() != "invalid"; k++ {
		if !k.Forwarded() || k.Licence() != k {
			continue
		}
		if k.String() == s.Text {
			return k
		}
		names = append(names, k.String())
	}
	l.Add(s, field, "%q must be one of %s", s.Text, strings.Join(names, ", "))
	return 0
}

func (l *loader) yes(s yamlfile.Scalar, field string) bool {
	if s.Line > 0 && s.Text != "true" && s.Text != "false" {
		l.Add(s, field, "%q must be true or false", s.Text)
	}
	return s.Text == "true"
}

// region is a code of GB/T 2260. Outside of China it may be left out.
func (l *loader) region(s yamlfile.Scalar, field string, needed bool) txn.Region {
	if s.Text == "" && !needed {
		return 0
	}
	return yamlfile.Parse(&l.Problems, s, field, ParseDivision)
}

func (l *loader) mcc(s yamlfile.Scalar, field string) uint16 {
	n, err := strconv.Atoi(s.Text)
	if err != nil || len(s.Text) != 4 || !mccs()[n] {
		l.Add(s, field, "%q is no merchant category code: give four digits, such as 5411", s.Text)
		return 0
	}
	return uint16(n)
}

func (l *loader) country(s yamlfile.Scalar, field string) uint16 {
	r, err := language.ParseRegion(s.Text)
	if err != nil || len(s.Text) != 2 || !r.IsCountry() || r.String() != s.Text {
		l.Add(s, field, "%q is no ISO 3166 country: give two capital letters, such as CN", s.Text)
		return 0
	}
	return uint16(r.M49())
}

func (l *loader) limits(y *limitsYAML, field string, c txn.Currency) (v txn.Limits) {
	exp, ok := c.Exponent()
	if !ok {
		return v // the currency was refused
	}
	if y.Transaction.Line > 0 {
		v.Transaction = l.decimal(y.Transaction, field+".transaction", exp, 1, txn.AmountMax)
	}
	if y.DayAmount.Line > 0 {
		v.DayAmount = l.decimal(y.DayAmount, field+".day_amount", exp, 1, math.MaxInt64)
	}
	if y.DayCount.Line > 0 {
		v.DayCount = uint32(l.decimal(y.DayCount, field+".day_count", 0, 1, math.MaxUint32))
	}
	return v
}

func (l *loader) point(at, lat, lng yamlfile.Scalar, field string) (int32, int32) {
	a := l.decimal(at.Or(lat), field+".lat", 6, -90_000000, 90_000000)
	o := l.decimal(at.Or(lng), field+".lng", 6, -180_000000, 180_000000)
	return int32(a), int32(o)
}

// decimal reads an exact decimal number in steps of its last place.
func (l *loader) decimal(s yamlfile.Scalar, field string, places int, from, to int64) int64 {
	n, err := parseDecimal(s.Text, places)
	if err != nil || n < from || n > to {
		l.Add(s, field, "%q must be a number from %s to %s with at most %d decimals",
			s.Text, txn.Decimal(from, places), txn.Decimal(to, places), places)
		return 0
	}
	return n
}

// parseDecimal reads digits, an optional minus and an optional point, as an
// integer of the unit in the given decimal place. No other form is a number.
func parseDecimal(s string, places int) (int64, error) {
	abs, negative := strings.CutPrefix(s, "-")
	whole, frac, point := strings.Cut(abs, ".")
	if !txn.Digits(whole) || point && !txn.Digits(frac) || len(frac) > places {
		return 0, strconv.ErrSyntax
	}
	n, err := strconv.ParseInt(whole+frac+strings.Repeat("0", places-len(frac)), 10, 64)
	if negative {
		n = -n
	}
	return n, err
}

// name puts a text of people into a fixed field.
func (l *loader) name(s yamlfile.Scalar, field string, dst []byte) {
	if !printable(s.Text) || len(s.Text) > len(dst) {
		l.Add(s, field, "%q must be 1 to %d bytes of printable text", s.Text, len(dst))
		return
	}
	copy(dst, s.Text)
}

// sameName says that two names of people or enterprises are one, however they are
// written: in full or half width, in capitals or not, with or without spaces and
// what is not seen.
func sameName(a, b string) bool { return a == b || FoldName(a) == FoldName(b) }

// FoldName is what all ways of writing a name have in common.
func FoldName(name string) string {
	seen := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.In(r, unicode.Cf, unicode.Cc, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) || r == '\u2800' {
			return -1
		}
		return r
	}, name)
	return norm.NFKC.String(cases.Fold().String(norm.NFKC.String(seen)))
}

func text(b []byte) string { return string(bytes.TrimRight(b, "\x00")) }

func printable(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return s != "" && utf8.ValidString(s) && strings.TrimSpace(s) == s
}

func hexadecimal(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && s != ""
}
