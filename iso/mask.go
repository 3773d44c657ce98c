package iso

import (
	"bytes"
	"strings"
)

// hidden stands for a whole value. It does not give its length away.
const hidden = "****"

// masked spells field n without what must not be seen. It fails closed: a
// sensitive value that cannot be taken apart is hidden whole.
func masked(m *Message, n int) (value string, isMasked bool) {
	v := m.AppendText(nil, n)
	if len(v) == 0 {
		return "", false
	}
	switch n {
	case 2, 34, 102, 103:
		return maskPAN(v), true
	case 14, 35, 36, 45, 52, 55:
		return hidden, true
	case 46, 59:
		shown, ok := maskTLV(v)
		if !ok {
			return hidden, true
		}
		return show(m, n, shown), !bytes.Equal(shown, v)
	case 48:
		if m.mti&0xFF0F == 0x0300 { // batch upload: details with card numbers
			return hidden, true
		}
	case 62:
		if m.mti == 0x0810 { // working keys of a sign-on answer
			return hidden, true
		}
	}
	switch m.codec.fields[n].form {
	case formASCII, formText:
		shown := maskCardNumbers(v)
		return show(m, n, shown), !bytes.Equal(shown, v)
	}
	return show(m, n, v), false
}

// maskPAN shows the first six and the last four digits of a card number.
func maskPAN(v []byte) string {
	if len(v) < 12 || !asciiDigits(v) {
		return hidden
	}
	return string(v[:6]) + strings.Repeat("*", len(v)-10) + string(v[len(v)-4:])
}

// maskCardNumbers masks what looks like a card number inside free text: a run
// of 13 to 19 digits whose check digit is right.
func maskCardNumbers(v []byte) []byte {
	v = bytes.Clone(v)
	for start := 0; start < len(v); {
		end := start
		for end < len(v) && v[end]-'0' <= 9 {
			end++
		}
		if run := v[start:end]; len(run) >= 13 && len(run) <= 19 && run[0] != '0' && luhn(run) {
			copy(run, maskPAN(run))
		}
		start = end + 1
	}
	return v
}

func luhn(digits []byte) bool {
	sum := 0
	for i, d := range digits {
		x := int(d - '0')
		if (len(digits)-i)%2 == 0 {
			if x *= 2; x > 9 {
				x -= 9
			}
		}
		sum += x
	}
	return sum%10 == 0
}

// tlv is one shape of the terminal information that CUP dialects carry in text:
// a two-character tag, a length, a value.
type tlv struct {
	lenSize int
	base    int
	hide    map[string]bool // tags whose value is hidden
	nested  string          // tag whose value is of the same shape, with nest hidden
	nest    map[string]bool
}

var (
	// terminalInfo59 is DE59: A1 is a PIN, A3 a payment code, A4 its voucher;
	// A2.03 are the last digits of the card.
	terminalInfo59 = tlv{
		lenSize: 3, base: 10,
		hide:   map[string]bool{"A1": true, "A3": true, "A4": true},
		nested: "A2", nest: map[string]bool{"03": true},
	}
	// terminalInfo46 is DE46 behind "PI" and a length; 06 are the last digits of
	// the card.
	terminalInfo46 = tlv{lenSize: 2, base: 16, hide: map[string]bool{"06": true}}
)

// maskTLV hides the sensitive parts of DE46 and DE59, or says that v is neither.
func maskTLV(v []byte) ([]byte, bool) {
	v = bytes.Clone(v)
	if bytes.HasPrefix(v, []byte("PI")) && len(v) >= 5 {
		return v, terminalInfo46.mask(v[5:])
	}
	return v, terminalInfo59.mask(v)
}

func (t tlv) mask(v []byte) bool {
	for len(v) > 0 {
		if len(v) < 2+t.lenSize {
			return false
		}
		n := 0
		for _, c := range v[2 : 2+t.lenSize] {
			d := int(hexNibble(c))
			if d >= t.base {
				return false
			}
			n = n*t.base + d
		}
		tag := string(v[:2])
		v = v[2+t.lenSize:]
		if n > len(v) {
			return false
		}
		if tag == t.nested && !(tlv{lenSize: t.lenSize, base: t.base, hide: t.nest}).mask(v[:n]) {
			return false
		}
		if t.hide[tag] {
			copy(v[:n], bytes.Repeat([]byte("*"), n))
		}
		v = v[n:]
	}
	return true
}
