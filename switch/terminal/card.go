package terminal

import (
	"fmt"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Entry is how the card is read.
type Entry uint8

// The entries.
const (
	Chip Entry = iota
	Contactless
	Stripe
	Manual
	Code // the customer shows a code; CUP POS only
)

// entryModes are the first two digits of DE22.
var entryModes = [...]string{Chip: "05", Contactless: "07", Stripe: "02", Manual: "01", Code: "03"}

var entryNames = [...]string{Chip: "chip", Contactless: "contactless", Stripe: "stripe", Manual: "manual", Code: "code"}

func (e Entry) String() string { return entryNames[e] }

// ParseEntry reads String's form.
func ParseEntry(s string) (Entry, error) {
	for e, name := range entryNames {
		if s == name {
			return Entry(e), nil
		}
	}
	return 0, fmt.Errorf("card entry %q must be one of %v", s, entryNames)
}

// Card is a card at the terminal.
type Card struct {
	PAN    txn.PAN // or the number that a code shows
	Expiry string  // YYMM; empty leaves it out
	Entry  Entry
	// PIN is what the cardholder types, 4 to 12 digits; empty is none. A
	// terminal needs working keys to send it.
	PIN txn.Secret
	// Sequence is DE23. Default 001 of a chip.
	Sequence string
	// Track2 is DE35 with = between its parts. A stripe's default is made of
	// number and expiry, and of a service code that tells of no chip.
	Track2 txn.Secret
	// ChipData is DE55. Nil, of a chip or contactless card, is a sample with the
	// message's amount and date; empty is none.
	ChipData txn.Secret
}

// number is the card number, or what the code shows.
func (c *Card) number() string {
	var digits [txn.PANDigitsMax]byte
	return string(c.PAN.Append(digits[:0]))
}

// track is DE35, empty when the card has none.
func (c *Card) track() string {
	if len(c.Track2) == 0 && c.Entry == Stripe {
		expiry := c.Expiry
		if expiry == "" {
			expiry = "0000"
		}
		return c.number() + "=" + expiry + "1010000000000"
	}
	return string(c.Track2)
}

// TestPAN is the 16-digit card number of an account under a prefix, with the
// right check digit.
func TestPAN(prefix string, account uint64) (txn.PAN, error) {
	const digits = 16
	if len(prefix) > digits-1 {
		return txn.PAN{}, fmt.Errorf("card prefix of %d digits leaves no room for an account", len(prefix))
	}
	body := fmt.Sprintf("%s%0*d", prefix, digits-1-len(prefix), account)
	if len(body) != digits-1 {
		return txn.PAN{}, fmt.Errorf("account %d does not fit behind a card prefix of %d digits", account, len(prefix))
	}
	return txn.ParsePAN(body + string(txn.CheckDigit([]byte(body))))
}
