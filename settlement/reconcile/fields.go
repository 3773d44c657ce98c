package reconcile

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// fill makes a line of the values of its columns.
func (r *Reader) fill(line *Line) error {
	*line = Line{Number: r.n, columns: r.columns, values: r.values, Amount: txn.Amount{Currency: r.layout.Currency}}
	var amount []byte
	for i := range r.columns {
		c, v := &r.columns[i], r.values[i]
		ok := true
		switch c.role {
		case roleSTAN:
			line.STAN, ok = digits(v, 6)
			ok = ok && line.STAN > 0
		case roleOriginalSTAN:
			line.OriginalSTAN, ok = digits(v, 6)
			ok = ok || len(v) == 0
		case roleTime, roleOriginalTime:
			var at uint32
			if at, ok = legTimeOf(v, c.format); c.role == roleTime {
				line.Time = at
			} else {
				line.OriginalTime = at
				ok = ok || strings.Trim(string(v), "0") == ""
			}
		case roleAcquirer:
			n, err := strconv.ParseUint(string(v), 10, 64)
			line.Acquirer, ok = txn.AcquirerID(n), err == nil && len(v) <= 11
		case roleAmount:
			amount = v
		case roleCurrency:
			line.Amount.Currency, ok = currencyOf(v)
		case roleDirection:
			line.Credit = begins(v, c.credit)
			ok = len(v) > 0
		case roleMTI:
			line.Reversal = begins(v, c.reversal)
		case roleCode:
			line.Declined = !begins(v, c.approved)
		case roleTerminal:
			line.Terminal = v
		case roleMerchant:
			line.Merchant = v
		case roleRRN:
			line.RRN = v
		case roleAuthCode:
			line.AuthCode = v
		case roleCard:
			line.Card = v
		}
		if !ok {
			return r.wrong(c.name, "%q is no %s", clip(v), c.noun())
		}
	}
	if err := r.amount(line, amount); err != nil {
		return err
	}
	side := &r.Sums.Debits
	if line.Credit {
		side = &r.Sums.Credits
	}
	if r.Sums.Count++; *side > sumMax-line.Amount.Minor {
		return r.wrong("", "the amounts do not fit 63 bits")
	}
	*side += line.Amount.Minor
	return nil
}

// noun is what a value of the column must be.
func (c *column) noun() string {
	switch c.role {
	case roleTime, roleOriginalTime:
		return "time of the form " + c.format
	case roleAcquirer:
		return "institution code of 1 to 11 digits"
	case roleCurrency:
		return "ISO 4217 currency"
	case roleDirection:
		return "sign of which way money goes"
	default:
		return "trace number of 1 to 6 digits"
	}
}

// amount reads the amount of a line whose currency is known.
func (r *Reader) amount(line *Line, v []byte) error {
	i := slices.IndexFunc(r.columns, func(c column) bool { return c.role == roleAmount })
	if r.layout.major {
		a, err := txn.ParseAmount(string(v), line.Amount.Currency)
		if err != nil {
			return r.wrong(r.columns[i].name, "%v", err)
		}
		line.Amount = a
		return nil
	}
	minor, err := strconv.ParseUint(string(v), 10, 63)
	if err != nil || minor > txn.AmountMax {
		return r.wrong(r.columns[i].name, "%q is no amount of 1 to 12 digits", clip(v))
	}
	line.Amount.Minor = int64(minor)
	return nil
}

// Columns are all columns of the line by name, with card numbers masked: what is
// kept of a line that somebody has to look at.
func (l *Line) Columns() map[string]string {
	m := make(map[string]string, len(l.columns))
	for i := range l.columns {
		if v := l.values[i]; len(v) > 0 {
			m[l.columns[i].name] = maskedAs(v, l.columns[i].role)
		}
	}
	return m
}

// masked is a column's value for people, of printable ASCII, at most 200 bytes.
// Of a card number, and of what may be one in any other column, it shows six and
// four digits.
func masked(v []byte, card bool) string {
	b := bytes.Clone(v[:min(len(v), 200)])
	for i := 0; i < len(b); {
		end := i
		for end < len(b) && b[end] >= '0' && b[end] <= '9' {
			end++
		}
		if n := end - i; n >= txn.PANDigitsMin && (card || b[i] != '0' && (n > txn.PANDigitsMax || txn.Luhn(b[i:end]))) {
			for at := i + 6; at < end-4; at++ {
				b[at] = '*'
			}
		}
		i = end + 1
	}
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}

// maskedAs is masked, of a column's role: a reference number has up to twelve digits,
// and what the acquirer refers to it by (ARD) 23, as no card number has.
func maskedAs(v []byte, as role) string {
	if (as == roleRRN && len(v) <= 12 || as == roleReference && len(v) == 23) && txn.Digits(v) {
		return string(v)
	}
	return masked(v, as == roleCard)
}

// clip is a value for an error, without what may be a card number.
func clip(v []byte) string {
	s := masked(v, true)
	if len(s) > 40 {
		s = s[:40] + "..."
	}
	return s
}

func begins(v []byte, prefixes []string) bool {
	for _, p := range prefixes {
		if len(v) >= len(p) && string(v[:len(p)]) == p {
			return true
		}
	}
	return false
}

func digits(v []byte, most int) (n uint32, ok bool) {
	if len(v) > most {
		return 0, false
	}
	number, ok := txn.ParseDigits(v)
	return uint32(number), ok
}

// legTimeOf is DE7 as a number.
func legTimeOf(v []byte, format string) (uint32, bool) {
	if format != legTime {
		at, err := time.Parse(format, string(v))
		if err != nil {
			return 0, false
		}
		v = at.AppendFormat(nil, legTime)
	}
	if len(v) != len(legTime) || !txn.Digits(v) {
		return 0, false
	}
	month, day, hour, minute, second := two(v), two(v[2:]), two(v[4:]), two(v[6:]), two(v[8:])
	ok := month >= 1 && month <= 12 && day >= 1 && day <= 31 && hour < 24 && minute < 60 && second < 60
	return (((month*100+day)*100+hour)*100+minute)*100 + second, ok
}

func two(v []byte) uint32 { return uint32(v[0]-'0')*10 + uint32(v[1]-'0') }

func currencyOf(v []byte) (txn.Currency, bool) {
	if n, ok := digits(v, 3); ok {
		_, known := txn.Currency(n).Exponent()
		return txn.Currency(n), known
	}
	c, err := txn.ParseCurrency(string(v))
	return c, err == nil
}
