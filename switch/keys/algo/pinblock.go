package algo

import (
	"crypto/rand"
	"errors"
	"fmt"
)

// PINFormat is how a PIN is laid out in a block before it is enciphered.
type PINFormat uint8

// The formats. P is a PIN digit, L its length, R random, the rest is filler.
const (
	PINISO0     PINFormat = iota // 0L PPPP..FF XOR 0000 and the PAN's 12 digits
	PINISO1                      // 1L PPPP..RR, no PAN
	PINISO2                      // 2L PPPP..FF, no PAN: between reader and chip only
	PINISO3                      // 3L PPPP..RR with R of A to F, XOR as format 0
	PINISO4                      // 16 bytes: 4L PPPP..AA RRRRRRRR, enciphered, XOR the PAN's field, enciphered
	PINCUPPlain                  // UnionPay "without PAN" (DE53 starts with 1): 0L PPPP..FF
	PINCUPSM4                    // UnionPay with SM4, 16 bytes: 0L PPPP..FF XOR zeros and the PAN's 12 digits
)

var pinFormatNames = [...]string{"iso-0", "iso-1", "iso-2", "iso-3", "iso-4", "cup-plain", "cup-sm4"}

func (f PINFormat) String() string {
	if int(f) < len(pinFormatNames) {
		return pinFormatNames[f]
	}
	return "invalid"
}

// The PIN lengths of ISO 9564-1.
const (
	PINDigitsMin = 4
	PINDigitsMax = 12
)

// ErrPINBlock says that a PIN block does not decipher to a PIN under this key,
// format and card number. It does not say which of them is wrong: answers
// that tell a bad digit from bad filler let an attacker search for a PIN.
var ErrPINBlock = errors.New("PIN block does not hold a PIN under this key, format and card number")

// ErrPINTranslation says that a translation is not allowed, whatever the block.
var ErrPINTranslation = errors.New("PIN translation is not allowed")

var (
	errPIN = errors.New("PIN must be 4 to 12 digits")
	errPAN = errors.New("card number does not suit the PIN block format")
)

// size is the bytes of a block of format f under keys of kind k, 0 when the
// two do not go together.
func (f PINFormat) size(k Kind) int {
	switch {
	case f <= PINISO3 || f == PINCUPPlain:
		if k.IsDES() {
			return 8
		}
	case f == PINISO4:
		if k.IsAES() {
			return 16
		}
	case f == PINCUPSM4:
		if k == SM4 {
			return 16
		}
	}
	return 0
}

// bindsPAN says that a block of this format is worth nothing with another card.
func (f PINFormat) bindsPAN() bool {
	return f == PINISO0 || f == PINISO3 || f == PINISO4 || f == PINCUPSM4
}

// EncipherPIN is what a PIN pad does: it appends the enciphered block to dst.
// PIN and PAN are ASCII digits.
func EncipherPIN(dst []byte, c Cipher, f PINFormat, pin, pan []byte) ([]byte, error) {
	size := f.size(c.Kind())
	if size == 0 {
		return dst, fmt.Errorf("encipher a PIN block: format %v does not go with a %v key", f, c.Kind())
	}
	s := getScratch()
	defer s.put()
	return encipherPIN(dst, s, c, f, pin, pan)
}

func encipherPIN(dst []byte, s *scratch, c Cipher, f PINFormat, pin, pan []byte) ([]byte, error) {
	block, mask := s.block[:f.size(c.Kind())], s.block[blockSizeMax:][:f.size(c.Kind())]
	if err := encodePIN(block, f, pin); err != nil {
		return dst, err
	}
	if err := panMask(mask, f, pan); err != nil {
		return dst, err
	}
	if f == PINISO4 {
		if err := c.Encrypt(block, block); err != nil {
			return dst, fmt.Errorf("encipher a PIN block: %w", err)
		}
	}
	xor(block, mask)
	if err := c.Encrypt(block, block); err != nil {
		return dst, fmt.Errorf("encipher a PIN block: %w", err)
	}
	return append(dst, block...), nil
}

// DecipherPIN is what an issuer does: it appends the PIN's digits to dst.
func DecipherPIN(dst []byte, c Cipher, f PINFormat, block, pan []byte) ([]byte, error) {
	s := getScratch()
	defer s.put()
	return decipherPIN(dst, s, c, f, block, pan)
}

func decipherPIN(dst []byte, s *scratch, c Cipher, f PINFormat, block, pan []byte) ([]byte, error) {
	size := f.size(c.Kind())
	if size == 0 {
		return dst, fmt.Errorf("decipher a PIN block: format %v does not go with a %v key", f, c.Kind())
	}
	clearBlock, mask := s.block[:size], s.block[blockSizeMax:][:size]
	if len(block) != size {
		return dst, ErrPINBlock
	}
	if err := panMask(mask, f, pan); err != nil {
		return dst, err
	}
	copy(clearBlock, block)
	if err := c.Decrypt(clearBlock, clearBlock); err != nil {
		return dst, fmt.Errorf("decipher a PIN block: %w", err)
	}
	xor(clearBlock, mask)
	if f == PINISO4 {
		if err := c.Decrypt(clearBlock, clearBlock); err != nil {
			return dst, fmt.Errorf("decipher a PIN block: %w", err)
		}
	}
	return decodePIN(dst, f, clearBlock)
}

// TranslatePIN deciphers a block under one key and enciphers its PIN, for the
// same card, under another key and in another format, and appends that to dst.
// The clear PIN is in scratch memory only, cleared before it returns.
//
// A block bound to its card is not translated to a format that is not, and
// format 2, meant for chips, is neither taken nor given (ISO 9564-1, PCI PIN).
func TranslatePIN(dst []byte, from Cipher, in PINFormat, to Cipher, out PINFormat, block, pan []byte) ([]byte, error) {
	if in == PINISO2 || out == PINISO2 || in.bindsPAN() && !out.bindsPAN() {
		return dst, fmt.Errorf("%w: from format %v to %v", ErrPINTranslation, in, out)
	}
	if out.size(to.Kind()) == 0 {
		return dst, fmt.Errorf("%w: format %v does not go with a %v key", ErrPINTranslation, out, to.Kind())
	}
	s := getScratch()
	defer s.put()
	pin, err := decipherPIN(s.data[:0], s, from, in, block, pan)
	if err != nil {
		return dst, err
	}
	return encipherPIN(dst, s, to, out, pin, pan)
}

// encodePIN writes the PIN's field, as yet without a PAN.
func encodePIN(block []byte, f PINFormat, pin []byte) error {
	if len(pin) < PINDigitsMin || len(pin) > PINDigitsMax {
		return errPIN
	}
	switch f {
	case PINISO1, PINISO3, PINISO4:
		if _, err := rand.Read(block); err != nil {
			return fmt.Errorf("draw a PIN block's filler: %w", err)
		}
	default:
		for i := range block {
			block[i] = 0xff
		}
	}
	switch f {
	case PINISO3:
		// Six fillers A to F: the draw is reduced to them, evenly enough that
		// nothing about the PIN follows from the bias.
		for i, b := range block {
			block[i] = (0xa+b>>4%6)<<4 | (0xa + b&15%6)
		}
	case PINISO4:
		for i := range block[:8] {
			block[i] = 0xaa
		}
	}
	block[0] = f.control()<<4 | byte(len(pin))
	for i, d := range pin {
		if d < '0' || d > '9' {
			return errPIN
		}
		setNibble(block, 2+i, d-'0')
	}
	return nil
}

// decodePIN reads what encodePIN wrote and refuses anything else.
func decodePIN(dst []byte, f PINFormat, block []byte) ([]byte, error) {
	n := int(block[0] & 15)
	ok := block[0]>>4 == f.control() && n >= PINDigitsMin && n <= PINDigitsMax
	n = min(n, PINDigitsMax)
	end := 2 * len(block)
	if f == PINISO4 {
		end = 16 // the rest is random
	}
	start := len(dst)
	for i := 2; i < end; i++ {
		d := nibble(block, i)
		switch {
		case i < 2+n:
			ok = ok && d <= 9
			dst = append(dst, '0'+d)
		case f == PINISO1:
		case f == PINISO3:
			ok = ok && d >= 0xa
		case f == PINISO4:
			ok = ok && d == 0xa
		default:
			ok = ok && d == 0xf
		}
	}
	if !ok {
		clear(dst[start:])
		return dst[:start], ErrPINBlock
	}
	return dst, nil
}

func (f PINFormat) control() byte {
	if f > PINISO4 {
		return 0
	}
	return byte(f)
}

// panMask writes what is XORed with a block of format f.
func panMask(mask []byte, f PINFormat, pan []byte) error {
	clear(mask)
	if !f.bindsPAN() {
		return nil
	}
	if !digits(pan) {
		return errPAN
	}
	if f == PINISO4 {
		return panField(mask, pan)
	}
	if len(pan) < 13 || len(pan) > 19 {
		return errPAN
	}
	for i, d := range pan[len(pan)-13 : len(pan)-1] { // the last 12 but for the check digit
		setNibble(mask, 2*len(mask)-12+i, d-'0')
	}
	return nil
}

// panField is format 4's: M is how many digits there are beyond twelve, then
// the digits, right-justified in twelve when fewer, then zeros.
func panField(mask, pan []byte) error {
	if len(pan) < 1 || len(pan) > 19 {
		return errPAN
	}
	at := 1
	if len(pan) < 12 {
		at += 12 - len(pan)
	} else {
		mask[0] = byte(len(pan)-12) << 4
	}
	for i, d := range pan {
		setNibble(mask, at+i, d-'0')
	}
	return nil
}

func nibble(b []byte, i int) byte {
	if i%2 == 0 {
		return b[i/2] >> 4
	}
	return b[i/2] & 15
}

func setNibble(b []byte, i int, v byte) {
	if i%2 == 0 {
		b[i/2] = v<<4 | b[i/2]&15
	} else {
		b[i/2] = b[i/2]&0xf0 | v
	}
}

func digits(b []byte) bool {
	for _, d := range b {
		if d < '0' || d > '9' {
			return false
		}
	}
	return true
}
