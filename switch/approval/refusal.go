package approval

import (
	"cmp"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Refusal is a no to the person who wants something done. Nothing was changed.
type Refusal string

func (r Refusal) Error() string { return string(r) }

// Refuse makes a Refusal.
func Refuse(format string, args ...any) error { return Refusal(fmt.Sprintf(format, args...)) }

// Said refuses what nobody says, or gives no reason for.
func Said(by, reason string) error {
	if strings.TrimSpace(reason) == "" || strings.ContainsFunc(reason, unicode.IsControl) {
		return cmp.Or(Person(by), Refuse("the reason must be given, in one line"))
	}
	return cmp.Or(Person(by), Short("reason", reason))
}

// Person refuses what is no name of a person.
func Person(name string) error {
	if name == "" || name != strings.TrimSpace(name) || len(name) > NameMax || !utf8.ValidString(name) || strings.ContainsFunc(name, invisible) {
		return Refuse("%q must be a person's name of 1 to %d bytes, without what is not seen or is put on a letter", name, NameMax)
	}
	return nil
}

// SamePerson says that two names are one person's: they look alike but for case,
// width and how wide a blank is.
func SamePerson(a, b string) bool { return fold(a) == fold(b) }

func fold(name string) string {
	name = strings.Join(strings.Fields(name), " ")
	return norm.NFKC.String(cases.Fold().String(norm.NFKC.String(name)))
}

// Short refuses a text of more than TextMax bytes, or one that is no text: PostgreSQL
// keeps none such.
func Short(what, text string) error {
	if !utf8.ValidString(text) {
		return Refuse("the %s must be UTF-8", what)
	}
	if len(text) > TextMax {
		return Refuse("the %s is %d bytes long, at most %d are kept", what, len(text), TextMax)
	}
	return nil
}

// invisible says that a rune is not seen, or changes the one before it: two names
// that differ in such only would look like one person's.
func invisible(r rune) bool {
	return !unicode.IsPrint(r) || unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point) || r == '\u2800'
}
