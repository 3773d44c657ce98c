package iso

import (
	"errors"
	"fmt"
	"strings"

	"github.com/moov-io/iso8583/encoding"
	"github.com/moov-io/iso8583/prefix"
)

// The encodings and length prefixes of this package's own specs. On valid
// input they are wire-identical to moov's, and a MessageSpec that carries them
// packs and unpacks with moov's Message too; moov's own BCD ones rebuild a
// 256-entry table for every field (8 us each).
var (
	encDigits   encoding.Encoder = digitsCoding{}        // ASCII digits
	encSigned   encoding.Encoder = signedCoding{}        // C or D, then ASCII digits
	encText     encoding.Encoder = textCoding{}          // any bytes: ASCII, GBK
	encBCD      encoding.Encoder = bcdCoding{}           // packed, an odd digit padded left
	encBCDLeft  encoding.Encoder = bcdCoding{left: true} // packed, an odd digit padded right
	encBCDTrack encoding.Encoder = bcdCoding{left: true, track: true}

	prefBCDFixed prefix.Prefixer = bcdPrefix{}
	prefBCDLL    prefix.Prefixer = bcdPrefix{digits: 2}
	prefBCDLLL   prefix.Prefixer = bcdPrefix{digits: 3}
)

// Errors of the encodings. They never quote the value.
var (
	errNotDigits  = errors.New("must be decimal digits")
	errNotTrack   = errors.New("must be track characters: 0 to ?, or D for the separator")
	errNotSigned  = errors.New("must be C or D followed by digits")
	errNotASCII   = errors.New("must be ASCII")
	errNotHex     = errors.New("must be hexadecimal digits")
	errPadNotZero = errors.New("must be padded with a zero nibble")
	errPadRight   = errors.New("must be padded with a nibble of 0 or F")
)

type digitsCoding struct{}

func (digitsCoding) Encode(v []byte) ([]byte, error) {
	if !asciiDigits(v) {
		return nil, errNotDigits
	}
	return append([]byte(nil), v...), nil
}

func (digitsCoding) Decode(b []byte, n int) ([]byte, int, error) {
	if err := need(b, n); err != nil {
		return nil, 0, err
	}
	v, err := digitsCoding{}.Encode(b[:n])
	return v, n, err
}

type signedCoding struct{}

func (signedCoding) Encode(v []byte) ([]byte, error) {
	if !signedDigits(v) {
		return nil, errNotSigned
	}
	return append([]byte(nil), v...), nil
}

func (signedCoding) Decode(b []byte, n int) ([]byte, int, error) {
	if err := need(b, n); err != nil {
		return nil, 0, err
	}
	v, err := signedCoding{}.Encode(b[:n])
	return v, n, err
}

func signedDigits(v []byte) bool {
	return len(v) > 0 && (v[0] == 'C' || v[0] == 'D') && asciiDigits(v[1:])
}

type textCoding struct{}

func (textCoding) Encode(v []byte) ([]byte, error) { return append([]byte(nil), v...), nil }

func (textCoding) Decode(b []byte, n int) ([]byte, int, error) {
	if err := need(b, n); err != nil {
		return nil, 0, err
	}
	return append([]byte(nil), b[:n]...), n, nil
}

// bcdCoding packs two digits into a byte. With left the value is left-justified
// and an odd last digit is followed by a zero nibble, read also with F; without, an odd
// first digit is preceded by one. With track every nibble is a character.
type bcdCoding struct{ left, track bool }

func (c bcdCoding) Encode(v []byte) ([]byte, error) {
	out := make([]byte, (len(v)+1)/2)
	if c.track {
		if !packTrack(out, 0, v) {
			return nil, errNotTrack
		}
	} else if !pack(out, 0, v, c.left) {
		return nil, errNotDigits
	}
	return out, nil
}

func (c bcdCoding) Decode(b []byte, n int) ([]byte, int, error) {
	size := (n + 1) / 2
	if err := need(b, size); err != nil {
		return nil, 0, err
	}
	b = b[:size]
	f := formBCD
	switch {
	case c.track:
		f = formBCDTrack
	case c.left:
		f = formBCDLeft
	}
	if err := f.check(b, n); err != nil {
		return nil, 0, err
	}
	out := appendUnpacked(make([]byte, 0, 2*size), b)
	if n%2 == 1 {
		if c.left {
			out = out[:n]
		} else {
			out = out[1:]
		}
	}
	return out, size, nil
}

// padNibble is the unused nibble of an odd number of packed digits.
func padNibble(b []byte, left bool) byte {
	if left {
		return b[len(b)-1] & 15
	}
	return b[0] >> 4
}

// padRight says that a nibble can stand behind an odd number of digits or track
// characters: 0, or the F that ends a chip's own card number and track (EMV tags 5A and
// 57), which terminals send on and some pad all with.
func padRight(nibble byte) bool { return nibble == 0 || nibble == 0xF }

func need(b []byte, n int) error {
	if n < 0 || len(b) < n {
		return fmt.Errorf("needs %d bytes, has %d", n, len(b))
	}
	return nil
}

// bcdPrefix is a length of packed digits in (digits+1)/2 bytes; no digits is a
// fixed length.
type bcdPrefix struct{ digits int }

func (p bcdPrefix) EncodeLength(max, n int) ([]byte, error) {
	if p.digits == 0 {
		if n != max {
			return nil, fmt.Errorf("length must be %d, is %d", max, n)
		}
		return nil, nil
	}
	if n > max {
		return nil, fmt.Errorf("length must be at most %d, is %d", max, n)
	}
	if p.digits <= 2 {
		return []byte{packed2(uint32(n))}, nil
	}
	return []byte{packed2(uint32(n) / 100), packed2(uint32(n) % 100)}, nil
}

func (p bcdPrefix) DecodeLength(max int, b []byte) (n, size int, err error) {
	if p.digits == 0 {
		return max, 0, nil
	}
	size = (p.digits + 1) / 2
	if err := need(b, size); err != nil {
		return 0, 0, err
	}
	if !packedDigits(b[:size]) || p.digits%2 == 1 && b[0]>>4 != 0 {
		return 0, 0, errNotDigits
	}
	for _, c := range b[:size] {
		n = n*100 + int(c>>4)*10 + int(c&15)
	}
	if n > max {
		return 0, 0, fmt.Errorf("length must be at most %d, is %d", max, n)
	}
	return n, size, nil
}

func (p bcdPrefix) Inspect() string {
	if p.digits == 0 {
		return "BCD.Fixed"
	}
	return "BCD." + strings.Repeat("L", p.digits)
}
