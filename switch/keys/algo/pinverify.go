package algo

import (
	"errors"
	"fmt"
)

// What follows is the issuers' side: how an issuer knows a PIN that it does not
// store. It is for those who play an issuer; the switch verifies no PIN.

var errPINCheck = errors.New("PIN verification parameters are not valid")

// VisaPVV is Visa's PIN verification value: four digits of the enciphered
// last eleven digits of the card number (without the check digit), the key's
// index and the PIN's first four.
func VisaPVV(c Cipher, index byte, pan, pin []byte) (pvv [4]byte, err error) {
	switch {
	case !c.Kind().IsDES():
		return pvv, fmt.Errorf("%w: the key must be DES or TDES", errPINCheck)
	case !digits(pan) || len(pan) < 12 || len(pan) > 19:
		return pvv, fmt.Errorf("%w: the card number must be 12 to 19 digits", errPINCheck)
	case index < '0' || index > '9':
		return pvv, fmt.Errorf("%w: the key's index must be a digit", errPINCheck)
	case !digits(pin) || len(pin) != 4:
		return pvv, fmt.Errorf("%w: the PIN must be 4 digits", errPINCheck)
	}
	s := getScratch()
	defer s.put()
	block := s.block[:8]
	for i, d := range pan[len(pan)-12 : len(pan)-1] {
		setNibble(block, i, d-'0')
	}
	setNibble(block, 11, index-'0')
	for i, d := range pin {
		setNibble(block, 12+i, d-'0')
	}
	if err := c.Encrypt(block, block); err != nil {
		return pvv, fmt.Errorf("compute a PVV: %w", err)
	}
	// Decimal digits first, in order; then the others less ten.
	n := 0
	for _, letters := range []bool{false, true} {
		for i := 0; i < 16 && n < len(pvv); i++ {
			if d := nibble(block, i); (d > 9) == letters {
				pvv[n] = '0' + d%10
				n++
			}
		}
	}
	return pvv, nil
}

// IBM3624 is IBM's natural PIN with an offset: part of the card number,
// padded, is enciphered and its hexadecimal digits are turned to decimal ones.
type IBM3624 struct {
	Table  string // the decimal digit for each hexadecimal one
	From   int    // where in the card number the validation data starts
	Length int    // how many digits of it are taken
	Pad    byte   // a hexadecimal digit that fills it to sixteen
}

// PIN is the natural PIN plus offset, digit by digit without carry.
func (p IBM3624) PIN(c Cipher, pan, offset []byte) ([]byte, error) {
	return p.combine(c, pan, offset, func(natural, d byte) byte { return (natural + d) % 10 })
}

// Offset is the PIN less the natural PIN, digit by digit without borrow.
func (p IBM3624) Offset(c Cipher, pan, pin []byte) ([]byte, error) {
	return p.combine(c, pan, pin, func(natural, d byte) byte { return (10 + d - natural) % 10 })
}

func (p IBM3624) combine(c Cipher, pan, with []byte, fn func(natural, d byte) byte) ([]byte, error) {
	pad, ok := hexadecimal(string(p.Pad))
	switch {
	case !c.Kind().IsDES():
		return nil, fmt.Errorf("%w: the key must be DES or TDES", errPINCheck)
	case !digits([]byte(p.Table)) || len(p.Table) != 16:
		return nil, fmt.Errorf("%w: the table must be 16 digits", errPINCheck)
	case !digits(with) || len(with) < PINDigitsMin || len(with) > 16:
		return nil, fmt.Errorf("%w: a PIN or offset must be 4 to 16 digits", errPINCheck)
	case !digits(pan) || len(pan) > 19:
		return nil, fmt.Errorf("%w: the card number must be at most 19 digits", errPINCheck)
	case !ok:
		return nil, fmt.Errorf("%w: the pad must be a hexadecimal digit", errPINCheck)
	case p.From < 0 || p.Length < 0 || p.Length > 16 || p.From+p.Length > len(pan):
		return nil, fmt.Errorf("%w: the validation data lies outside the card number", errPINCheck)
	}
	s := getScratch()
	defer s.put()
	block := s.block[:8]
	for i := range 16 {
		v := byte(pad)
		if i < p.Length {
			v = pan[p.From+i] - '0'
		}
		setNibble(block, i, v)
	}
	if err := c.Encrypt(block, block); err != nil {
		return nil, fmt.Errorf("compute a natural PIN: %w", err)
	}
	out := make([]byte, len(with))
	for i, d := range with {
		out[i] = '0' + fn(p.Table[nibble(block, i)]-'0', d-'0')
	}
	return out, nil
}

func digits(b []byte) bool {
	for _, d := range b {
		if d < '0' || d > '9' {
			return false
		}
	}
	return true
}
