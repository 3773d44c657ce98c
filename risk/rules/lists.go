package rules

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Bounds of lists.
const (
	ListsMax       = 100
	ListEntriesMax = 100_000
)

// List is a list with a name, which conditions look things up in however long it
// is: merchant.mcc in list.jewellers.
type List struct {
	Name    string // lower-case letters, digits and underscores
	Of      Fact   // whose values these are
	Entries []string
}

// lookup is a list as conditions use it: of numbers and words, or of texts.
type lookup struct {
	of    Fact
	ns    map[int64]struct{}
	texts map[string]struct{}
}

// ParseFact reads String's form.
func ParseFact(s string) (Fact, bool) {
	f, ok := byName[s]
	return f, ok
}

// CheckEntry says what keeps a text from being an entry of a list of a fact's
// values. It never quotes what may be a card number.
func CheckEntry(of Fact, entry string) error {
	_, err := entryOf(of, entry)
	return err
}

// entryOf is the number that an entry means, 0 of a text.
func entryOf(of Fact, entry string) (int64, error) {
	m := &table[of]
	switch {
	case m.sort == flag:
		return 0, fmt.Errorf("%s is true or false, of which there are no lists", of)
	case of == CardToken:
		if b, err := hex.DecodeString(entry); err != nil || 2*len(b) != tokenSize || strings.ToLower(entry) != entry {
			return 0, errors.New("must be a token of 32 hexadecimal digits, as acqswitch risk card-token makes them: never a card number")
		}
	case of == CardBIN:
		if len(entry) != 6 || !txn.Digits(entry) {
			return 0, errors.New("must be the first six digits of card numbers")
		}
	case m.sort == text:
		if most := textSizes[of]; len(entry) > most || !txn.Alphanumeric(entry) {
			return 0, fmt.Errorf("%q must be 1 to %d letters and digits", entry, most)
		}
	case m.sort == word:
		n, ok := m.words.parse(entry)
		if !ok {
			return 0, fmt.Errorf("%q is none of %s", entry, m.words.list)
		}
		return n, nil
	default:
		n, err := strconv.ParseInt(strings.ReplaceAll(entry, "_", ""), 10, 64)
		if err != nil {
			return 0, errors.New("must be a whole number")
		}
		return n, nil
	}
	return 0, nil
}

// lookups are lists by their names, or all that is wrong with them.
func lookups(lists []List) (map[string]*lookup, error) {
	var problems []error
	if len(lists) > ListsMax {
		problems = append(problems, fmt.Errorf("there are %d lists, at most %d may be", len(lists), ListsMax))
		lists = lists[:ListsMax]
	}
	all := make(map[string]*lookup, len(lists))
	for i := range lists {
		l := &lists[i]
		x := &lookup{l.Of, map[int64]struct{}{}, map[string]struct{}{}}
		switch {
		case !ListNamed(l.Name):
			problems = append(problems, fmt.Errorf("list %q must be named by lower-case letters, digits and underscores, a letter first, at most 40", l.Name))
		case all[l.Name] != nil:
			problems = append(problems, fmt.Errorf("list %q stands there twice", l.Name))
		case l.Of >= facts:
			problems = append(problems, fmt.Errorf("list %q is of nothing", l.Name))
			continue
		case len(l.Entries) > ListEntriesMax:
			problems = append(problems, fmt.Errorf("list %q has %d entries, at most %d may be", l.Name, len(l.Entries), ListEntriesMax))
			continue
		}
		for j, e := range l.Entries {
			n, err := entryOf(l.Of, e)
			if err != nil && len(problems) < ListsMax {
				problems = append(problems, fmt.Errorf("list %q: entry %d: %w", l.Name, j+1, err))
			}
			if table[l.Of].sort == text {
				x.texts[e] = struct{}{}
			} else {
				x.ns[n] = struct{}{}
			}
		}
		all[l.Name] = x
	}
	return all, errors.Join(problems...)
}

// ListNamed says that a list may be called so.
func ListNamed(s string) bool {
	return s != "" && len(s) <= 40 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == "" && s[0] >= 'a'
}

// values is the fact whose values these are too: a merchant's city is a city.
func (f Fact) values() Fact {
	switch f {
	case MerchantCity:
		return City
	case MerchantProvince:
		return Province
	}
	return f
}
