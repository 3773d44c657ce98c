package iso

import "bytes"

// Mark says of one byte of a value whether it is card data.
type Mark uint8

// The marks.
const (
	MarkNone  Mark = iota
	MarkCard       // the first digit of a card number
	MarkDigit      // a further digit of it, or what separates two of them
	MarkBlank      // what is not to be kept: behind a card number, or a card verification code
)

// Card numbers have from 12 to 19 digits (ISO/IEC 7812); fewer are not looked
// for among other digits.
const (
	cardMin  = 12
	cardMax  = 19
	guessMin = 13 // of a number that only its issuer and check digit give away
)

// fixedMeaning are fields that hold no card number but by mistake, and would be
// useless if part of one were taken for it.
var fixedMeaning = [fieldMax + 1]bool{3: true, 4: true, 5: true, 6: true, 7: true, 11: true, 12: true, 13: true, 14: true, 15: true, 16: true,
	18: true, 19: true, 22: true, 23: true, 24: true, 25: true, 26: true, 32: true, 33: true, 37: true, 38: true, 39: true,
	41: true, 42: true, 49: true, 50: true, 51: true, 53: true, 54: true, 66: true, 67: true, 70: true, 74: true, 75: true, 76: true, 77: true,
	78: true, 79: true, 80: true, 81: true, 82: true, 83: true, 84: true, 85: true, 86: true, 87: true, 88: true, 89: true,
	90: true, 95: true, 97: true}

// guessable says that a field is free: digits in it may be anything. Of fields
// of a fixed meaning, chip data, and the fields of CUP POS whose digits are joined
// from several values, a run of digits means nothing.
func guessable(m *Message, n int) bool {
	joined := m.codec.framing.TPDU && (n == 48 || n == 59 || n == 60 || n == 61 || n == 62 && m.mti&^0x11 == 0x0800)
	return n > fieldMax || !fixedMeaning[n] && n != 55 && !joined
}

// OwnCards are the message's own card numbers: of DE2, and of the tracks and
// accounts that begin with one.
func (m *Message) OwnCards() (own [][]byte) {
	for _, n := range []int{2, 34, 35, 102, 103} {
		v := m.AppendDigits(nil, n)
		end := 0
		for end < len(v) && v[end]-'0' <= 9 {
			end++
		}
		if end >= cardMin && end <= cardMax && v[0] != '0' {
			own = append(own, v[:end])
		}
	}
	return own
}

// MarkCards marks card data in v, the text of field n (AppendText), one mark a
// byte, and says whether there is any. It finds
//
//   - the card numbers own, anywhere, and also with up to three marks between digits,
//     as blanks, dashes and dots;
//   - in free fields any number of an issuer known by its first digits, with the
//     check digit right, also with a blank or a dash between digits, inside longer runs of digits too, and any run of 13 to 19
//     digits whose check digit is right or that a track's separator follows;
//   - behind a card number the digits that follow at once (free fields), and all of
//     the value behind a track's separator;
//   - the digits behind CVV, CVC and CVN.
//
// It would rather mark too much than too little.
func MarkCards(marks []Mark, m *Message, n int, v []byte, own [][]byte) ([]Mark, bool) {
	marks = append(marks[:0], make([]Mark, len(v))...)
	found := false
	mark := func(at, end int) {
		found = true
		marks[at] = MarkCard
		for i := at + 1; i < end; i++ {
			marks[i] = MarkDigit
		}
	}
	free := guessable(m, n)
	var digits [cardMax]byte
	var ends [cardMax]int
	for _, guess := range []bool{false, true} {
		if guess && !free {
			break
		}
		for i := 0; i < len(v); i++ {
			count := spread(v[i:], marks[i:], guess, &digits, &ends)
			size := 0
			if guess {
				size = guessCard(v, i, digits[:count], ends[:count])
			} else {
				for _, pan := range own {
					if bytes.HasPrefix(digits[:count], pan) {
						size = max(size, len(pan))
					}
				}
			}
			if size > 0 {
				mark(i, i+ends[size-1])
				i += ends[size-1] - 1
			}
		}
	}
	blank := func(at, end int) {
		for i := at; i < end; i++ {
			marks[i] = MarkBlank
		}
	}
	for i := 1; found && i < len(v); i++ {
		if marks[i] != MarkNone || marks[i-1] == MarkNone {
			continue
		}
		switch c := v[i]; {
		case c == '=' || c == 'D' || c == 'd' || c == '^':
			blank(i+1, len(v))
			return marks, true
		case free && c-'0' <= 9:
			marks[i] = MarkBlank // and so the next digit, or a separator
		}
	}
	for i := 0; free && i+3 < len(v); i++ {
		if v[i]|0x20 != 'c' || v[i+1]|0x20 != 'v' || bytes.IndexByte([]byte("vcn"), v[i+2]|0x20) < 0 {
			continue
		}
		const near = 12 // bytes, for "CVV2 is 987" and the like
		for j := i + 3; j < min(i+3+near, len(v)); j++ {
			if v[j]-'0' <= 9 && marks[j] == MarkNone {
				marks[j], found = MarkBlank, true
			}
		}
	}
	return marks, found
}

// spread collects up to 19 digits that v begins with, and where each of them
// ends. Between two there may be a blank or a dash, or, unless narrow, up to three marks
// of any kind but a track's separators; what is marked is the end.
func spread(v []byte, marks []Mark, narrow bool, digits *[cardMax]byte, ends *[cardMax]int) (count int) {
	for i, between := 0, 0; i < len(v) && count < cardMax && marks[i] == MarkNone; i++ {
		switch c := v[i]; {
		case c-'0' <= 9:
			digits[count], ends[count] = c, i+1
			count++
			between = 0
		case count == 0, between == 3, c >= 0x7F, c == '=', c == '^', (c|0x20)-'a' < 26,
			narrow && (between == 1 || c != ' ' && c != '-'):
			return count
		default:
			between++
		}
	}
	return count
}

// guessCard is how many of the digits, spread from v[at] on, are somebody's
// card number.
func guessCard(v []byte, at int, digits []byte, ends []int) int {
	first := len(bytes.TrimRight(v[:at], "0"))
	starts := first == 0 || v[first-1]-'0' > 9
	for size := len(digits); size >= guessMin; size-- {
		end := at + ends[size-1]
		whole := starts && digits[0] != '0' && ends[size-1] == size && (end == len(v) || v[end]-'0' > 9)
		onTrack := whole && end < len(v) && (v[end] == '=' || v[end] == '^')
		if onTrack || (whole || issued(digits, size)) && luhn(digits[:size]) {
			return size
		}
	}
	return 0
}

// issued says that a card scheme gives out numbers of this size that begin with
// these digits.
func issued(digits []byte, size int) bool {
	head := 0
	for _, d := range digits[:4] {
		head = head*10 + int(d-'0')
	}
	switch two := head / 100; {
	case two/10 == 4:
		return size == 13 || size == 16 || size == 19
	case two == 34 || two == 37:
		return size == 15
	case two == 30 || two == 36 || two == 38:
		return size == 14
	case two >= 51 && two <= 55, head >= 2221 && head <= 2720, two == 35:
		return size == 16
	case two == 50 || two >= 56 && two <= 69 || two == 81 || two/10 == 9:
		return size >= 16
	}
	return false
}

// ReplacePacked replaces, in bytes that may be anything, the card number pan
// wherever it stands as packed digits, by what with makes of it in place, and the
// digits behind it and a track's separator by zeros.
func ReplacePacked(v, pan []byte, with func(pan []byte)) {
	nibble := func(i int) byte { return v[i/2] >> (4 * (1 - i&1)) & 15 }
	set := func(i int, to byte) {
		shift := 4 * (1 - i&1)
		v[i/2] = v[i/2]&^(15<<shift) | to<<shift
	}
	for at := 0; at+len(pan) <= 2*len(v); at++ {
		n := 0
		for n < len(pan) && nibble(at+n) == pan[n]-'0' {
			n++
		}
		if n < len(pan) || n == 0 {
			continue
		}
		as := bytes.Clone(pan)
		with(as)
		for i, d := range as {
			set(at+i, d-'0')
		}
		at += n
		if at < 2*len(v) && nibble(at) == 0xD {
			for at++; at < 2*len(v) && nibble(at) <= 9; at++ {
				set(at, 0)
			}
		}
		at--
	}
}
