package dialect

import (
	"crypto/subtle"
	"encoding/hex"
	"errors"

	"github.com/acqswitch/acqswitch/iso"
)

// MACKey is a key that UnionPay's network shares with us. It is safe for
// concurrent use.
type MACKey interface {
	// MAC computes the MAC of data; what is sent of it is its first four bytes.
	MAC(data []byte) (mac [8]byte, err error)
}

// errMAC says that what came is not what the network sent: it is as if it had not
// come.
var errMAC = errors.New("field 128 (MAC) is not the message's")

// cupsMACFields are what the MAC of a message covers besides its type (cup-pos A10).
var cupsMACFields = [...]int{2, 3, 4, 7, 11, 18, 25, 28, 32, 33, 38, 39, 41, 42, 90, 102, 103}

// cupsMACName is how many characters of DE90 it covers: type, trace number and time.
const cupsMACName = 20

// macText appends what the MAC of m covers: the fields with their lengths where
// these vary, in capitals, of letters, digits, commas and points, blanks between
// them and never two.
func macText(dst []byte, m *iso.Message) []byte {
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
	for _, n := range cupsMACFields {
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

// spelledMAC is DE128 of m.
func (c *cups) spelledMAC(m *iso.Message) (spelled [8]byte, err error) {
	var text [macMax]byte
	mac, err := c.key.MAC(macText(text[:0], m))
	clear(text[:])
	hex.Encode(spelled[:], mac[:4])
	for i, b := range spelled {
		if b >= 'a' {
			spelled[i] = b - 'a' + 'A'
		}
	}
	return spelled, err
}

// finish completes a financial message that was begun behind dst, with its MAC
// where one was agreed on.
func (d *Issuer) finish(e *iso.Encoder, dst []byte) ([]byte, error) {
	if d.cups == nil || d.cups.key == nil {
		return e.Finish()
	}
	var mac [8]byte
	e.Bytes(128, mac[:])
	frame, err := e.Finish()
	if err != nil {
		return frame, err
	}
	var m iso.Message
	if err = d.codec.Parse(&m, frame[len(dst)+d.PrefixSize():]); err == nil {
		mac, err = d.cups.spelledMAC(&m)
	}
	if err != nil {
		return frame[:len(dst)], err
	}
	copy(frame[len(frame)-len(mac):], mac[:])
	return frame, nil
}

// authentic checks the MAC of what the network answers; its network management has
// none.
func (c *cups) authentic(m *iso.Message) error {
	if c.key == nil || m.MTI()>>8 == 0x08 {
		return nil
	}
	want, err := c.spelledMAC(m)
	if err == nil && subtle.ConstantTimeCompare(want[:], m.Value(128)) != 1 {
		err = errMAC
	}
	return err
}
