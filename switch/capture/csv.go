package capture

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Limits of a template.
const (
	timesMax  = 1_000_000 // messages of one row
	columnMax = 130
)

// template makes messages of a CSV file: a header row of field numbers (0 is the
// message type) and, if wanted, times; each row then is a message, made so many
// times. Values have generators in braces:
//
//	{n:6}                         the number of the message in the file, 6 digits
//	{cycle:10000001-10000147}     the numbers in turn, one a message
//	{random:000000000100-000000050000}  any of the numbers
//	{pick:051|071|072}            any of the texts
//	{card:999901}                 a card number of 16 digits with that beginning
//	{time:MMDDhhmmss}             the moment of reading
//
// The same file makes the same messages each time, but for the time.
type template struct {
	l       *lines
	columns []string
	made    int
}

// isTemplate says that a line is the header of a template.
func isTemplate(line []byte) bool {
	if !bytes.Contains(line, []byte(",")) {
		return false
	}
	for name := range bytes.SplitSeq(line, []byte(",")) {
		if n, err := strconv.Atoi(string(bytes.Trim(name, " \""))); string(bytes.Trim(name, " \"")) != "times" && (err != nil || n < 0 || n > 128) {
			return false
		}
	}
	return true
}

func (t *template) next(number int, line []byte) error {
	r := csv.NewReader(bytes.NewReader(line))
	r.TrimLeadingSpace = true
	row, err := r.Read()
	switch {
	case err != nil:
		return t.l.trouble(number, errors.New("no row of a CSV file"))
	case t.columns == nil:
		if t.columns = row; len(row) > columnMax {
			return fmt.Errorf("line %d: %d columns are more than %d", number, len(row), columnMax)
		}
		return nil
	case len(row) != len(t.columns):
		return t.l.trouble(number, fmt.Errorf("the row has %d columns, the first has %d", len(row), len(t.columns)))
	}
	times := 1
	for i, name := range t.columns {
		if name == "times" && row[i] != "" {
			if times, err = strconv.Atoi(row[i]); err != nil || times < 0 || times > timesMax {
				return t.l.trouble(number, fmt.Errorf("times must be a number up to %d", timesMax))
			}
		}
	}
	for range times {
		t.made++
		fields := map[string]string{}
		for i, name := range t.columns {
			if name == "times" || row[i] == "" {
				continue
			}
			if fields[name], err = generate(row[i], t.made, t.l.at, uint64(i)); err != nil {
				return t.l.trouble(number, fmt.Errorf("field %s: %w", name, err))
			}
		}
		text, err := json.Marshal(fields)
		if err != nil {
			return err
		}
		d, frame, err := t.l.json(text, nil)
		if err != nil {
			return t.l.trouble(number, err)
		}
		if err := t.l.message(number, d, frame, t.l.at); err != nil {
			return err
		}
	}
	return nil
}

// generate replaces the generators of a value for the n-th message.
func generate(value string, n int, at time.Time, column uint64) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(value, "{")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		what, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "", errors.New("a brace is not closed")
		}
		v, err := generated(what, n, at, rand.New(rand.NewPCG(column, uint64(n))))
		if err != nil {
			return "", err
		}
		out.WriteString(v)
		value = after
	}
}

func generated(what string, n int, at time.Time, rng *rand.Rand) (string, error) {
	name, of, _ := strings.Cut(what, ":")
	// Not quoted: what stands there by mistake may be a card number.
	wrong := errors.New("what is in braces must be as {n:6}, {cycle:1-9}, {random:1-9}, {pick:a|b}, {card:999901} or {time:MMDDhhmmss}")
	switch name {
	case "n":
		width, err := strconv.Atoi(of)
		if err != nil || width < 1 || width > 20 {
			return "", wrong
		}
		s := fmt.Sprintf("%0*d", width, n)
		return s[len(s)-width:], nil
	case "cycle", "random":
		low, high, ok := strings.Cut(of, "-")
		a, err1 := strconv.ParseUint(low, 10, 62)
		b, err2 := strconv.ParseUint(high, 10, 62)
		if !ok || err1 != nil || err2 != nil || b < a || len(high) > 20 {
			return "", wrong
		}
		v := a + uint64(n-1)%(b-a+1)
		if name == "random" {
			v = a + rng.Uint64N(b-a+1)
		}
		return fmt.Sprintf("%0*d", len(high), v), nil
	case "pick":
		all := strings.Split(of, "|")
		return all[rng.IntN(len(all))], nil
	case "card":
		if !txn.Digits(of) || len(of) > 14 {
			return "", wrong
		}
		body := []byte(of)
		for len(body) < 15 {
			body = append(body, byte('0'+rng.IntN(10)))
		}
		return string(append(body, txn.CheckDigit(body))), nil
	case "time":
		form := strings.NewReplacer("YY", "06", "MM", "01", "DD", "02", "hh", "15", "mm", "04", "ss", "05").Replace(of)
		if form == of {
			return "", wrong
		}
		return at.Format(form), nil
	}
	return "", wrong
}
