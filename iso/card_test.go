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
	c := MustCompile(ISO87(SpelledHex), Framing{Prefix: PrefixBinary2, SizeMax: 4096})
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
	for _, own := range m.OwnCards() {
		got = append(got, string(own))
	}
	if want := []string{pans[2], pans[34], pans[35][:19], pans[102], pans[103]}; strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestCardInTerminalInformation: what a terminal says of itself is shown, and a card
// number that it put there is not.
func TestCardInTerminalInformation(t *testing.T) {
	const pan = "6222021234567890128"
	c := MustCompile(CUPPOS(), CUPPOSFraming(4096))
	for _, info := range []string{"A2019" + pan, "A201304008" + "310000  A6" + "019" + pan} {
		e := c.Begin(nil, []byte{0x60, 0, 3, 0x12, 0x34}, []byte{0x60, 0x31, 0, 0x31, 0, 0}, 0x0200)
		e.Text(2, []byte(pan))
		e.Text(59, []byte(info))
		frame, err := e.Finish()
		if err != nil {
			t.Fatal(err)
		}
		var m Message
		if err := c.Parse(&m, frame[2:]); err != nil {
			t.Fatal(err)
		}
		if value, isMasked := masked(&m, 59); !isMasked || strings.Contains(value, pan[6:15]) {
			t.Errorf("%q is shown as %q", info, value)
		}
	}
}

// TestParseHoldsTheLimit: a body of the size that a framing allows is read, and one byte
// more is not, however it came here.
func TestParseHoldsTheLimit(t *testing.T) {
	e := MustCompile(ISO87(SpelledHex), Framing{SizeMax: 4096}).Begin(nil, nil, nil, 0x0800)
	e.Text(11, []byte("000001"))
	frame, err := e.Finish()
	if err != nil {
		t.Fatal(err)
	}
	var m Message
	if err := MustCompile(ISO87(SpelledHex), Framing{SizeMax: len(frame)}).Parse(&m, frame); err != nil {
		t.Error(err)
	}
	if err := MustCompile(ISO87(SpelledHex), Framing{SizeMax: len(frame) - 1}).Parse(&m, frame); err == nil {
		t.Error("a body over the limit is read")
	}
}
