package dialect

import (
	"crypto/subtle"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// MACKey is a key that both ends of an issuer link have, with the algorithm agreed
// on. It is safe for concurrent use.
type MACKey interface {
	MAC(data []byte) (mac [macSize]byte, err error)
}

// macFunc makes MACs under one key.
type macFunc = func(data []byte) (mac [macSize]byte, err error)

// replacing is a MACKey that has lately taken another's place: what was signed with that is taken
// for a while.
type replacing interface {
	MACBefore(data []byte) (mac [macSize]byte, err error)
}

// Finish completes a financial message that was begun behind dst, with its MAC under
// key unless that is nil. Network management has no MAC.
func (l *Link) Finish(e *iso.Encoder, dst []byte, key MACKey) ([]byte, error) {
	if key == nil {
		return e.Finish()
	}
	field := macField
	if l.isCUPS() || e.Last() > macField {
		field = macFieldWide
	}
	return l.signed(e, dst, field, cupsMACFields, key.MAC)
}

// signed completes a message that was begun behind dst, with its MAC in field.
func (l *Link) signed(e *iso.Encoder, dst []byte, field int, covered []int, under macFunc) ([]byte, error) {
	e.Bytes(field, noMAC[:])
	frame, err := e.Finish()
	if err != nil {
		return frame, err
	}
	var m iso.Message
	var mac [macSize]byte
	if err = l.codec.Parse(&m, frame[len(dst)+l.codec.Framing().PrefixSize():]); err == nil {
		mac, err = l.mac(&m, field, covered, under)
	}
	if err != nil {
		return frame[:len(dst)], err
	}
	placeMAC(m.Value(field), mac)
	return frame, nil
}

// Authentic holds the MAC of a financial message against the one it has under key, or under
// the one before it while that is taken: nil, txn.ErrMAC, or why the key cannot be used.
func (l *Link) Authentic(m *iso.Message, key MACKey) error {
	field := macField
	if l.isCUPS() || m.Has(macFieldWide) {
		field = macFieldWide
	}
	var room [macSize]byte
	got := m.AppendText(room[:0], field)
	want, err := l.mac(m, field, cupsMACFields, key.MAC)
	if err != nil || subtle.ConstantTimeCompare(want[:], got) == 1 {
		return err
	}
	if key, ok := key.(replacing); ok {
		if want, err = l.mac(m, field, cupsMACFields, key.MACBefore); err == nil && subtle.ConstantTimeCompare(want[:], got) == 1 {
			return nil
		}
	}
	return txn.ErrMAC
}

// mac is what the field of m's MAC should hold. In ISO 8583:1987 it is the MAC of the
// message as sent, from its MTI to that field, in UnionPay's network that of some fields.
func (l *Link) mac(m *iso.Message, field int, covered []int, under macFunc) ([macSize]byte, error) {
	if l.isCUPS() {
		return cupsMAC(m, covered, under)
	}
	return under(m.Before(field))
}

// cupsMACFields are what the MAC of a message of UnionPay's network covers besides its
// type (cup-pos A10).
var cupsMACFields = []int{2, 3, 4, 7, 11, 18, 25, 28, 32, 33, 38, 39, 41, 42, 90, 102, 103}

// cupsMACName is how many characters of DE90 it covers: type, trace number and time.
const cupsMACName = 20

// macText appends what the MAC of m covers: its type and the fields with their lengths where
// these vary, in capitals, of letters, digits, commas and points, blanks between
// them and never two.
func macText(dst []byte, m *iso.Message, covered []int) []byte {
	start := len(dst)
	put := func(v []byte) {
		for _, c := range v {
			switch {
			case c >= 'a' && c <= 'z':
				c -= 'a' - 'A'
			case c == ' ' && (len(dst) == start || dst[len(dst)-1] == ' '):
				continue
			case c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == ',', c == '.', c == ' ':
			default:
				continue
			}
			dst = append(dst, c)
		}
	}
	var mti [4]byte
	for i := range mti {
		mti[i] = '0' + byte(m.MTI()>>(12-4*i)&0xF)
	}
	put(mti[:])
	for _, n := range covered {
		if !m.Has(n) {
			continue
		}
		put([]byte(" "))
		v := m.Value(n)
		if n == 90 {
			v = v[:min(len(v), cupsMACName)]
		}
		if size, _ := m.Codec().Width(n); size == 0 {
			put([]byte{'0' + byte(len(v)/10), '0' + byte(len(v)%10)})
		}
		put(v)
	}
	for len(dst) > start && dst[len(dst)-1] == ' ' {
		dst = dst[:len(dst)-1]
	}
	return dst
}

// macMax is enough for what a MAC covers.
const macMax = 512

// cupsMAC is DE128 of m: the first four bytes of the MAC of these fields, in hexadecimal.
func cupsMAC(m *iso.Message, covered []int, under macFunc) (spelled [macSize]byte, err error) {
	var text [macMax]byte
	mac, err := under(macText(text[:0], m, covered))
	clear(text[:])
	hexMAC(spelled[:], mac[:len(spelled)/2])
	return spelled, err
}
