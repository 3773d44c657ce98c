package telemetry

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Logger makes a logger that writes lines of JSON or text to w and masks every
// card number in messages and values, first six and last four digits staying. A
// run of 13 to 19 digits, with single spaces or dashes between them or not, is
// taken for a card number when its check digit is right; a longer run always. Of one
// message no more than 100 lines a minute are written; see bounded. The format is
// "json" or "text".
func Logger(w io.Writer, level slog.Leveler, format string) (*slog.Logger, error) {
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: maskAttr}
	switch format {
	case "json":
		return slog.New(bound(slog.NewJSONHandler(w, opts))), nil
	case "text":
		return slog.New(bound(slog.NewTextHandler(w, opts))), nil
	}
	return nil, fmt.Errorf("log format %q must be json or text", format)
}

// maskAttr masks one attribute, and gives a duration its unit. Numbers stay: card numbers are never numbers
// here (txn.PAN masks itself), and transaction ids are as long.
func maskAttr(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(Mask(a.Value.String()))
	case slog.KindDuration: // JSON would have nanoseconds, without a unit
		a.Value = slog.StringValue(a.Value.String())
	case slog.KindAny:
		a.Value = maskAny(a.Value)
	}
	return a
}

// maskAny masks whatever a handler would print of v, by printing it.
func maskAny(v slog.Value) slog.Value {
	switch x := v.Any().(type) {
	case error:
		return slog.StringValue(Mask(x.Error()))
	case []byte:
		return slog.StringValue(Mask(string(x)))
	case *slog.Source, nil:
		return v
	case fmt.Stringer:
		return slog.StringValue(Mask(x.String()))
	default:
		plain := fmt.Sprintf("%+v", x)
		if masked := Mask(plain); masked != plain {
			return slog.StringValue(masked)
		}
		if b, err := json.Marshal(x); err == nil {
			if masked := Mask(string(b)); masked != string(b) {
				return slog.StringValue(masked)
			}
		}
		return v
	}
}

// Mask masks the card numbers in s and the discretionary data of tracks.
func Mask(s string) string {
	m := masker{in: s}
	for i := 0; i < len(s); i++ {
		if isDigit(s[i]) {
			i = m.run(i) - 1
		}
	}
	if m.out == nil {
		return s
	}
	return string(m.out)
}

// masker masks in a copy of in; out is nil until something was masked.
type masker struct {
	in  string
	out []byte
}

// run masks within the groups of digits that start at i, with single spaces or
// dashes between them, and returns where they end. Any neighbouring groups may
// make up a card number, so an amount before one does not hide it.
func (m *masker) run(i int) (end int) {
	for end = i; end < len(m.in); {
		next := groupEnd(m.in, end)
		m.from(end, next)
		end = next
		if end+1 >= len(m.in) || m.in[end] != ' ' && m.in[end] != '-' || !isDigit(m.in[end+1]) {
			return end
		}
		end++
	}
	return end
}

// from masks the card numbers that start with the group at i and end with it or
// with a later one.
func (m *masker) from(i, end int) {
	digits := end - i
	for {
		if digits >= 13 && digits <= 19 && txn.Luhn(together(m.in[i:end])) || digits > 19 && end-i == digits && !small(m.in[i:end]) {
			m.star(i, end, digits)
		}
		if digits >= 19 || end+1 >= len(m.in) || m.in[end] != ' ' && m.in[end] != '-' || !isDigit(m.in[end+1]) {
			return
		}
		next := groupEnd(m.in, end+1)
		digits += next - end - 1
		end = next
	}
}

// star overwrites all digits from i to end but the first six and the last four,
// and a track's digits behind them.
func (m *masker) star(i, end, digits int) {
	if m.out == nil {
		m.out = []byte(m.in)
	}
	for n, at := 0, i; at < end; at++ {
		if isDigit(m.in[at]) {
			if n++; n > 6 && n <= digits-4 {
				m.out[at] = '*'
			}
		}
	}
	if end < len(m.in) && (m.in[end] == '=' || m.in[end] == 'D' || m.in[end] == 'd') {
		for at := end + 1; at < len(m.in) && isDigit(m.in[at]); at++ {
			m.out[at] = '*'
		}
	}
}

// small says that a number without its leading zeros is too short for a card's:
// the journal's files are named so.
func small(number string) bool { return len(strings.TrimLeft(number, "0")) < 13 }

// groupEnd is the end of the digits that start at i.
func groupEnd(s string, i int) int {
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	return i
}

// together are the digits of groups.
func together(groups string) (digits []byte) {
	for i := range len(groups) {
		if isDigit(groups[i]) {
			digits = append(digits, groups[i])
		}
	}
	return digits
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
