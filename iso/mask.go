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
	case 14, 35, 36, 45, 52, 55, 96:
		return hidden, true
	case 61, 63:
		if m.codec.name == nameCUPS { // who the holder is, security codes, PINs
			return hidden, true
		}
	case 46, 57, 59:
		if shown, shape := maskInfo(n, v); shape != nil {
			shown = maskCards(m, n, shown)
			return show(m, n, shown), !bytes.Equal(shown, v)
		} else if n != 57 { // which has other uses
			return hidden, true
		}
	case 48:
		if m.mti&0xFF0F == 0x0300 || m.mti&0xFF0F == 0x0800 && (m.codec.name == nameCUPS || bytes.HasPrefix(v, []byte("NK"))) { // details with card numbers, new keys
			return hidden, true
		}
	case 62:
		if m.mti == 0x0810 { // working keys of a sign-on answer
			return hidden, true
		}
	}
	shown := maskCards(m, n, v)
	return show(m, n, shown), !bytes.Equal(shown, v)
}

// maskPAN shows the first six and the last four digits of a card number.
func maskPAN(v []byte) string {
	if len(v) < 12 || !asciiDigits(v) {
		return hidden
	}
	return string(v[:6]) + strings.Repeat("*", len(v)-10) + string(v[len(v)-4:])
}

// maskCards is v, the text of field n, without the card data that MarkCards and
// ReplacePacked find in it: of a card number the first six and the last four
// digits stay.
func maskCards(m *Message, n int, v []byte) []byte {
	own := m.OwnCards()
	v = bytes.Clone(v)
	marks, _ := MarkCards(nil, m, n, v, own)
	for i := 0; i < len(v); i++ {
		switch marks[i] {
		case MarkBlank:
			v[i] = '*'
		case MarkCard:
			end := i + 1
			for end < len(v) && marks[end] == MarkDigit {
				end++
			}
			maskSpread(v[i:end])
			i = end - 1
		}
	}
	if form := m.codec.fields[n].form; form == formText || form == formBinary {
		for _, pan := range own {
			ReplacePacked(v, pan, func(digits []byte) { copy(digits[6:len(digits)-4], "0000000000000") })
		}
	}
	return v
}

// maskSpread stars the digits of a card number but for the first six and the
// last four, whatever stands between them.
func maskSpread(v []byte) {
	size := 0
	for _, c := range v {
		if c-'0' <= 9 {
			size++
		}
	}
	seen := 0
	for i, c := range v {
		if c-'0' > 9 {
			continue
		}
		if seen++; seen > 6 && seen <= size-4 {
			v[i] = '*'
		}
	}
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
