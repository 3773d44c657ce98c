package iso

import (
	"fmt"
	"strings"
	"testing"
)

// withCheckDigit is a card number of so many digits that begins with head.
func withCheckDigit(head string, size int) []byte {
	n := []byte(head + strings.Repeat("5", size-len(head)))
	for d := range byte(10) {
		if n[size-1] = '0' + d; luhn(n) {
			break
		}
	}
	return n
}

// TestIssued: a number inside other digits is taken for a card's where a scheme gives out
// such numbers, on both sides of each range.
func TestIssued(t *testing.T) {
	for _, c := range []struct {
		heads string
		sizes string
	}{
		{"4000 4999", "13 16 19"},
		{"3400 3499 3700 3799", "15"},
		{"3000 3099 3600 3699 3800 3899", "14"},
		{"5100 5599 2221 2720 3500 3599", "16"},
		{"5000 5099 5600 5699 6000 6220 6999 8100 8199 9000 9999", "16 17 18 19"},
		{"0000 1000 2000 2220 2721 2999 3100 3200 3300 3900 7000 7999 8000 8200 8900", ""},
	} {
		for _, head := range strings.Fields(c.heads) {
			for size := guessMin; size <= cardMax; size++ {
				want := strings.Contains(" "+c.sizes+" ", fmt.Sprintf(" %d ", size))
				if got := issued(withCheckDigit(head, size), size); got != want {
					t.Errorf("%s of %d digits: %v", head, size, got)
				}
			}
		}
	}
}

// TestOwnCards: a message's own cards are those of all its fields that name one.
func TestOwnCards(t *testing.T) {
	c := MustCompile(ISO87(BitmapHex), ISO87Framing(PrefixBinary2, 4096))
	pans := map[int]string{2: "6222021234567890128", 34: "6222021234567890136", 35: "6222021234567890144=3012", 102: "6222021234567890151", 103: "622202123456"}
	e := c.Begin(nil, nil, nil, 0x0200)
	for _, n := range []int{2, 34, 35, 102, 103} {
		e.Text(n, []byte(pans[n]))
	}
	frame, err := e.Finish()
	if err != nil {
		t.Fatal(err)
	}
	var m Message
	if err := c.Parse(&m, frame[2:]); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, own := range m.OwnCards(nil) {
		got = append(got, string(own))
	}
	if want := []string{pans[2], pans[34], pans[35][:19], pans[102], pans[103]}; strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%q, want %q", got, want)
	}
}
