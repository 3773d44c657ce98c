package txn

import (
	"fmt"
	"strings"
)

// CardTable says what type a card is by its first digits. It is read once and
// never changed.
type CardTable struct{ types map[string]CardType }

// CardPrefixMax is the most digits that a table tells cards apart by: the most
// of a number that is not hidden.
const CardPrefixMax = 6

// CardTableProblem is what is wrong with one line of a table.
type CardTableProblem struct {
	Line  int // 0 is of the whole
	Field string
	What  string
}

// ParseCardTable reads a table: a header, then lines of a prefix and a type, such
// as 622202,debit. An empty prefix is all other cards; lines that begin with #
// are remarks. A table with problems is of no use.
func ParseCardTable(text []byte) (*CardTable, []CardTableProblem) {
	t := &CardTable{types: map[string]CardType{}}
	var problems []CardTableProblem
	problem := func(line int, field, format string, args ...any) {
		problems = append(problems, CardTableProblem{line, field, fmt.Sprintf(format, args...)})
	}
	const header = "prefix,card"
	seen := map[string]int{}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimRight(line, "\r\n")
		prefix, card, _ := strings.Cut(line, ",")
		switch {
		case n == 1:
			if strings.TrimPrefix(line, "\uFEFF") != header { // spreadsheets put a mark before UTF-8
				problem(n, header, "%q must be the header %s", line, header)
			}
			continue
		case line == "" || line[0] == '#':
			continue
		case len(prefix) > CardPrefixMax || strings.Trim(prefix, "0123456789") != "":
			problem(n, "prefix", "%q must be up to %d digits, or nothing for all other cards", prefix, CardPrefixMax)
		case seen[prefix] > 0:
			problem(n, "prefix", "%q is on line %d already", prefix, seen[prefix])
		}
		seen[prefix] = n
		switch card {
		case "debit":
			t.types[prefix] = CardDebit
		case "credit":
			t.types[prefix] = CardCredit
		case "prepaid":
			t.types[prefix] = CardPrepaid
		default:
			problem(n, "card", "%q must be debit, credit or prepaid", card)
		}
	}
	if n == 0 {
		problem(0, header, "the file is empty: it must begin with the header %s", header)
	}
	return t, problems
}

// Type is the type of a card by the longest prefix of its number, which may be
// masked behind the first six digits.
func (t *CardTable) Type(number []byte) CardType {
	for n := min(CardPrefixMax, len(number)); n >= 0; n-- {
		if c := t.types[string(number[:n])]; c != CardUnknown {
			return c
		}
	}
	return CardUnknown
}

// TypeOf is Type of a card number; no number is of no type.
func (t *CardTable) TypeOf(pan *PAN) CardType {
	if pan.IsZero() {
		return CardUnknown
	}
	var buf [PANDigitsMax]byte
	return t.Type(pan.AppendMasked(buf[:0]))
}
