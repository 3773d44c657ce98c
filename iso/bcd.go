package iso

import (
	"encoding/binary"
	"slices"
)

// Digits are checked and converted eight bytes at a time: each constant below
// repeats one nibble or byte through a 64-bit word.
const (
	nibbles8 = 0x8888888888888888
	lowBytes = 0x0F0F0F0F0F0F0F0F
	zeros    = 0x3030303030303030
	highs    = 0xF0F0F0F0F0F0F0F0
	sixes    = 0x0606060606060606
)

// packedDigits says whether every nibble of b is 0 to 9.
func packedDigits(b []byte) bool {
	var bad uint64
	for len(b) >= 8 {
		bad |= overNine(binary.LittleEndian.Uint64(b))
		b = b[8:]
	}
	for _, c := range b {
		bad |= overNine(uint64(c))
	}
	return bad == 0
}

// overNine is not zero where a nibble is over nine: its bit 3 comes with bit 2 or bit 1.
func overNine(x uint64) uint64 { return x & (x<<1 | x<<2) & nibbles8 }

// asciiDigits says whether every byte of b is '0' to '9'.
func asciiDigits(b []byte) bool {
	for len(b) >= 8 {
		if !digits8(binary.LittleEndian.Uint64(b)) {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c-'0' > 9 {
			return false
		}
	}
	return true
}

// digits8 says whether all eight bytes are '0' to '9': the high nibble is 3, and
// still is after adding six.
func digits8(x uint64) bool {
	return x&highs == zeros && (x+sixes)&highs == zeros
}

// pack packs ASCII digits into buf from offset at on, two to a byte. Of an odd number
// of digits one shares its byte with a zero nibble, on the right when left-justified.
// It is false when a character is no digit.
func pack(buf []byte, at int, digits []byte, left bool) bool {
	if len(digits)&1 == 1 && !left {
		first := digits[0] - '0'
		buf[at] = first
		return first <= 9 && pack(buf, at+1, digits[1:], false)
	}
	i := 0
	for ; i+8 <= len(digits); i, at = i+8, at+4 {
		x := binary.LittleEndian.Uint64(digits[i : i+8])
		if !digits8(x) {
			return false
		}
		binary.LittleEndian.PutUint32(buf[at:at+4], pack8(x))
	}
	for ; i+2 <= len(digits); i, at = i+2, at+1 {
		h, l := digits[i]-'0', digits[i+1]-'0'
		if h > 9 || l > 9 {
			return false
		}
		buf[at] = h<<4 | l
	}
	if i == len(digits) {
		return true
	}
	last := digits[i] - '0'
	buf[at] = last << 4
	return last <= 9
}

// pack8 packs eight ASCII digits, the first in the lowest byte.
func pack8(x uint64) uint32 {
	x &= lowBytes
	x = (x<<4 | x>>8) & 0x00FF00FF00FF00FF
	x = (x | x>>8) & 0x0000FFFF0000FFFF
	return uint32(x | x>>16)
}

// packTrack packs track characters, left-justified. Their alphabet is
// that of tracks 2 and 3 (ISO/IEC 7811), the sixteen characters from 0 to ?, of
// which = separates; D is another way to write it. An enciphered track has them
// all.
func packTrack(buf []byte, at int, track []byte) bool {
	i := 0
	for ; i+8 <= len(track); i, at = i+8, at+4 {
		x := binary.LittleEndian.Uint64(track[i : i+8])
		if x&highs != zeros { // a D, or no track at all
			if x = separated(x); x&highs != zeros {
				return false
			}
		}
		binary.LittleEndian.PutUint32(buf[at:at+4], pack8(x))
	}
	for ; i < len(track); i, at = i+2, at+1 {
		h, l := trackDigit(track[i]), byte(0)
		if i+1 < len(track) {
			l = trackDigit(track[i+1])
		}
		if h|l > 15 {
			return false
		}
		buf[at] = h<<4 | l
	}
	return true
}

// separated has = in place of every D among eight track characters.
func separated(x uint64) uint64 {
	for i := 0; i < 64; i += 8 {
		if byte(x>>i) == 'D' {
			x ^= ('D' ^ '=') << i
		}
	}
	return x
}

// trackDigit is the nibble of a track character, or over 15.
func trackDigit(c byte) byte {
	switch {
	case c-'0' <= 15:
		return c - '0'
	case c == 'D':
		return 0xD
	}
	return 0xFF
}

// appendUnpacked appends every nibble of b as an ASCII digit, or as the track
// character that follows the digits: the separator D is '=', which is '0'+13.
func appendUnpacked(dst, b []byte) []byte {
	at, end := len(dst), len(dst)+2*len(b)
	if end > cap(dst) {
		dst = slices.Grow(dst, 2*len(b))
	}
	dst = dst[:end]
	i := 0
	for ; i+4 <= len(b); i, at = i+4, at+8 {
		binary.LittleEndian.PutUint64(dst[at:at+8], unpack4(binary.LittleEndian.Uint32(b[i:i+4])))
	}
	for ; i < len(b); i, at = i+1, at+2 {
		dst[at], dst[at+1] = '0'+b[i]>>4, '0'+b[i]&15
	}
	return dst
}

// unpack4 is the eight characters of four packed bytes, the first in the lowest.
func unpack4(b uint32) uint64 {
	x := uint64(b)
	x = (x | x<<16) & 0x0000FFFF0000FFFF
	x = (x | x<<8) & 0x00FF00FF00FF00FF
	return (x>>4|x<<8)&lowBytes | zeros
}

const notLength = 10000

// packed2 packs a number of two digits.
func packed2(n uint32) byte { return byte(n + n/10*6) }

// unpacked2 is the number that a byte of two packed digits spells, or more than any
// length.
var unpacked2 = func() (t [256]uint16) {
	for c := range t {
		t[c] = notLength
		if c>>4 <= 9 && c&15 <= 9 {
			t[c] = uint16(c>>4*10 + c&15)
		}
	}
	return t
}()

const hexUpper = "0123456789ABCDEF"

// hexNibble is the value of a hexadecimal digit, or over 15.
func hexNibble(c byte) byte {
	switch {
	case c-'0' <= 9:
		return c - '0'
	case c-'A' <= 5:
		return c - 'A' + 10
	case c-'a' <= 5:
		return c - 'a' + 10
	}
	return 0xFF
}

func hexadecimal(b []byte) bool {
	for _, c := range b {
		if hexNibble(c) > 15 {
			return false
		}
	}
	return true
}

// putHex writes b as hexadecimal digits, two a byte.
func putHex(to, b []byte) {
	for i, c := range b {
		to[2*i], to[2*i+1] = hexUpper[c>>4], hexUpper[c&15]
	}
}
