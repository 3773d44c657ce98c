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
	case 46, 57, 59:
		if shown, shape := maskInfo(n, v); shape != nil {
			return show(m, n, shown), !bytes.Equal(shown, v)
		} else if n != 57 { // which has other uses
			return hidden, true
		}
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
