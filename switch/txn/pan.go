package txn

import (
	"errors"
	"log/slog"
)

// PAN is a primary account number. It masks itself wherever it is printed,
// logged or marshalled; only Append gives the digits.
type PAN struct {
	digits [PANDigitsMax]byte // ASCII
	n      uint8
}

// ErrPANInvalid says that a value is no card number. It does not quote it.
var ErrPANInvalid = errors.New("card number must be 12 to 19 digits")

// ParsePAN takes 12 to 19 ASCII digits.
func ParsePAN[T string | []byte](s T) (PAN, error) {
	if len(s) < PANDigitsMin || len(s) > PANDigitsMax {
		return PAN{}, ErrPANInvalid
	}
	var p PAN
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return PAN{}, ErrPANInvalid
		}
		p.digits[i] = s[i]
	}
	p.n = uint8(len(s))
	return p, nil
}

// Len is the number of digits; 0 is no card number.
func (p *PAN) Len() int { return int(p.n) }

// IsZero says that no card number was given.
func (p PAN) IsZero() bool { return p.n == 0 }

// Append appends the clear digits to dst: for the wire, the sealer and the
// keyed index only.
func (p *PAN) Append(dst []byte) []byte { return append(dst, p.digits[:p.n]...) }

// Digit is the i-th digit's value.
func (p *PAN) Digit(i int) byte { return p.digits[i] - '0' }

// LuhnValid says whether the check digit is right (ISO/IEC 7812-1 annex B).
func (p *PAN) LuhnValid() bool { return p.n > 0 && Luhn(p.digits[:p.n]) }

// Luhn says whether the last of some digits is the check digit of the others.
func Luhn(digits []byte) bool {
	last := len(digits) - 1
	return CheckDigit(digits[:last]) == digits[last]
}

// CheckDigit is Luhn's of the digits before it.
func CheckDigit(digits []byte) byte {
	sum, double := 0, true
	for i := len(digits) - 1; i >= 0; i-- {
		d := int(digits[i] - '0')
		if double {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum, double = sum+d, !double
	}
	return '0' + byte((10-sum%10)%10)
}

// Masked is the first six and last four digits with the rest starred, the most
// that PCI DSS 3.4.1 lets people see.
func (p PAN) Masked() string {
	if p.n < PANDigitsMin {
		return "****"
	}
	var b [PANDigitsMax]byte
	return string(p.AppendMasked(b[:0]))
}

// AppendMasked appends Masked's form to dst; nothing for no card number.
func (p *PAN) AppendMasked(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, p.digits[:p.n]...)
	for i := 6; i < int(p.n)-4; i++ {
		dst[start+i] = '*'
	}
	return dst
}

// String is Masked.
func (p PAN) String() string { return p.Masked() }

// GoString is Masked.
func (p PAN) GoString() string { return p.Masked() }

// LogValue is Masked.
func (p PAN) LogValue() slog.Value { return slog.StringValue(p.Masked()) }

// MarshalText is Masked.
func (p PAN) MarshalText() ([]byte, error) { return []byte(p.Masked()), nil }

// Secret is data that leaves the process on the wire only: a track, a PIN
// block, chip data. It aliases the frame it came in and prints as its length.
type Secret []byte

// String says how long the secret is and nothing else.
func (s Secret) String() string {
	if len(s) == 0 {
		return ""
	}
	return "[masked]"
}

// GoString is String.
func (s Secret) GoString() string { return s.String() }

// LogValue is String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
