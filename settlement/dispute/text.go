package dispute

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// said holds that somebody says why, without a card number.
func said(by, reason string) error {
	return cmp.Or(approval.Said(by, reason), cardless("reason", reason))
}

// short holds a text to one line of so many bytes.
func short(what, text string, most int) error {
	if len(text) > most || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return refuse("the %s must be one line of at most %d bytes of UTF-8", what, most)
	}
	return nil
}

// free is short for what people write.
func free(what, text string, most int) error {
	return cmp.Or(short(what, text, most), cardless(what, text))
}

func cardless(what, text string) error {
	if cardIn(text) {
		return refuse("the %s has what looks like a card number in it: it is not kept", what)
	}
	return nil
}

// cardIn says that a text has a run of digits, perhaps grouped, that is as long as a
// card number and has its check digit.
func cardIn(text string) bool {
	for _, run := range runsOf(text) {
		if p, err := txn.ParsePAN(run); err == nil && len(run) > 12 && run[0] != '0' && p.LuhnValid() {
			return true
		}
	}
	return false
}

// cardOf says that a text has the card number of which the masked form is known.
func cardOf(masked, text string) bool {
	return len(masked) >= txn.PANDigitsMin && slices.ContainsFunc(runsOf(text), func(run string) bool {
		return len(run) == len(masked) && run[:6] == masked[:6] && run[len(run)-4:] == masked[len(masked)-4:]
	})
}

// runsOf are the runs of digits of a text, without what groups them.
func runsOf(text string) (runs []string) {
	var run []byte
	for _, b := range append([]byte(text), 'x') {
		switch {
		case b >= '0' && b <= '9':
			run = append(run, b)
		case b != ' ' && b != '-' && len(run) > 0:
			runs, run = append(runs, string(run)), nil
		}
	}
	return runs
}
