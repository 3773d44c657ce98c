package iso

import "encoding/binary"

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
		x := binary.LittleEndian.Uint64(b)
		bad |= x & (x<<1 | x<<2) // bit 3 with bit 2 or bit 1: the nibble is over 9
		b = b[8:]
	}
	for _, c := range b {
		x := uint64(c)
		bad |= x & (x<<1 | x<<2)
	}
	return bad&nibbles8 == 0
}

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

// appendPacked packs ASCII digits, the first in the high nibble. An even
// number of digits is required.
func appendPacked(dst, digits []byte) ([]byte, bool) {
	for len(digits) >= 8 {
		x := binary.LittleEndian.Uint64(digits)
		if !digits8(x) {
			return dst, false
		}
		dst = binary.LittleEndian.AppendUint32(dst, pack8(x))
		digits = digits[8:]
	}
	if len(digits) >= 4 {
		x := uint64(binary.LittleEndian.Uint32(digits)) | zeros&^(1<<32-1)
		if !digits8(x) {
			return dst, false
		}
		dst = binary.LittleEndian.AppendUint16(dst, uint16(pack8(x)))
		digits = digits[4:]
	}
	if len(digits) >= 2 {
		h, l := digits[0]-'0', digits[1]-'0'
		if h > 9 || l > 9 {
			return dst, false
		}
		dst = append(dst, h<<4|l)
	}
	return dst, true
}

// pack8 packs eight ASCII digits, the first in the lowest byte.
func pack8(x uint64) uint32 {
	x &= lowBytes
	x = (x<<4 | x>>8) & 0x00FF00FF00FF00FF
	x = (x | x>>8) & 0x0000FFFF0000FFFF
	return uint32(x | x>>16)
}

// appendPackedOdd packs ASCII digits of any number; an odd one gets a zero
// nibble, on the right when left-justified.
func appendPackedOdd(dst, digits []byte, left bool) ([]byte, bool) {
	if len(digits)%2 == 0 {
		return appendPacked(dst, digits)
	}
	if !left {
		if digits[0]-'0' > 9 {
			return dst, false
		}
		return appendPacked(append(dst, digits[0]-'0'), digits[1:])
	}
	last := digits[len(digits)-1] - '0'
	dst, ok := appendPacked(dst, digits[:len(digits)-1])
	return append(dst, last<<4), ok && last <= 9
}

// appendPackedTrack packs track characters, left-justified. Their alphabet is
// that of tracks 2 and 3 (ISO/IEC 7811), the sixteen characters from 0 to ?, of
// which = separates; D is another way to write it. An enciphered track has them
// all.
func appendPackedTrack(dst, track []byte) ([]byte, bool) {
	for len(track) >= 8 {
		x := binary.LittleEndian.Uint64(track)
		if x&highs == zeros {
			dst = binary.LittleEndian.AppendUint32(dst, pack8(x))
			track = track[8:]
			continue
		}
		var ok bool // a D, or no track at all
		if dst, ok = appendTrackPairs(dst, track[:8]); !ok {
			return dst, false
		}
		track = track[8:]
	}
	return appendTrackPairs(dst, track)
}

func appendTrackPairs(dst, track []byte) ([]byte, bool) {
	for ; len(track) > 0; track = track[min(2, len(track)):] {
		h, l := trackDigit(track[0]), byte(0)
		if len(track) > 1 {
			l = trackDigit(track[1])
		}
		if h|l > 15 {
			return dst, false
		}
		dst = append(dst, h<<4|l)
	}
	return dst, true
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
	for len(b) >= 4 {
		dst = binary.LittleEndian.AppendUint64(dst, unpack4(binary.LittleEndian.Uint32(b)))
		b = b[4:]
	}
	if len(b) >= 2 {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(unpack4(uint32(binary.LittleEndian.Uint16(b)))))
		b = b[2:]
	}
	if len(b) == 1 {
		dst = append(dst, '0'+b[0]>>4, '0'+b[0]&15)
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

// packed2 packs a number of two digits.
func packed2(n uint) byte { return byte(n/10<<4 | n%10) }

// unpacked2 is the number that a byte of two packed digits spells, or over 99.
var unpacked2 = func() (t [256]uint8) {
	for c := range t {
		t[c] = 0xFF
		if c>>4 <= 9 && c&15 <= 9 {
			t[c] = uint8(c>>4*10 + c&15)
		}
	}
	return t
}()

const hexUpper = "0123456789ABCDEF"

// hexNibble is the value of an upper-case hexadecimal digit, or over 15.
func hexNibble(c byte) byte {
	switch {
	case c-'0' <= 9:
		return c - '0'
	case c-'A' <= 5:
		return c - 'A' + 10
	}
	return 0xFF
}

func upperHex(b []byte) bool {
	for _, c := range b {
		if hexNibble(c) > 15 {
			return false
		}
	}
	return true
}

func appendHex(dst, b []byte) []byte {
	for _, c := range b {
		dst = append(dst, hexUpper[c>>4], hexUpper[c&15])
	}
	return dst
}
