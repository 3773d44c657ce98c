package dialect

import (
	"bytes"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// An issuer sends a new key in an 0800 with DE70 101. DE53 says which: 1 the PIN key or 2 the MAC
// key, and then 4 if it is an SM4 key. UnionPay's network has a single-length key in
// DE96, a longer one in DE48 behind NK, and proves it by the message's MAC, which
// is made with the new key itself and covers DE53, 70 and 100 as well. ISO 8583:1987 says nothing: there
// DE48 is NK, the key and its check value, in hexadecimal.

// newKeyCode is the network management code (DE70) of new keys.
const newKeyCode = "101"

// newKeyMark is what a new key stands behind in DE48.
const newKeyMark = "NK"

// checkValueSize is that of a check value in DE48, in bytes.
const checkValueSize = 4

// newKeyMACFields are what the MAC of a message with a new key covers (cup-pos A10).
var newKeyMACFields = []int{2, 3, 4, 7, 11, 18, 25, 28, 32, 33, 38, 39, 41, 42, 53, 70, 90, 100}

var errNewKey = errors.New("it has no key that is known here (DE48, 53, 96)")

// ReadNewKey reads the key that an issuer's frame brings.
func (d *Issuer) ReadNewKey(frame []byte) (k txn.NewKey, err error) {
	var m iso.Message
	if err := d.codec.Parse(&m, frame); err != nil {
		return k, err
	}
	security := m.AppendDigits(nil, 53)
	if len(security) < 2 || security[0] != '1' && security[0] != '2' {
		return k, errNewKey
	}
	k.MAC, k.SM4 = security[0] == '2', security[1] == '4'
	text, marked := bytes.CutPrefix(m.Value(48), []byte(newKeyMark))
	switch single := m.Value(96); {
	case d.cups == nil:
		if !marked || len(single) > 0 {
			return k, errNewKey
		}
		key := make([]byte, hex.DecodedLen(len(text)))
		if _, err := hex.Decode(key, text); err != nil || len(key) <= checkValueSize {
			return k, errNewKey // hex's own error would quote the key
		}
		at := len(key) - checkValueSize
		k.Cryptogram, k.CheckValue = key[:at], key[at:]
	case marked == (len(single) > 0): // both, or neither
		return k, errNewKey
	case marked:
		k.Cryptogram = bytes.Clone(text)
	default:
		k.Cryptogram = bytes.Clone(single)
	}
	return k, nil
}

// CheckNewKey holds a frame with a new key, or the answer to it, against its MAC, which mac
// makes with that key: nil, txn.ErrMAC, or why it cannot be used.
func (l *Link) CheckNewKey(frame []byte, mac macFunc) error {
	if !l.isCUPS() {
		return nil // there the check value is proof
	}
	var m iso.Message
	if err := l.codec.Parse(&m, frame); err != nil {
		return err
	}
	want, err := cupsMAC(&m, newKeyMACFields, mac)
	if err == nil && subtle.ConstantTimeCompare(want[:], m.Value(macFieldWide)) != 1 {
		err = txn.ErrMAC
	}
	return err
}

// AppendNewKeyAnswer appends the answer to a frame with a new key; mac makes MACs with that
// key, and is nil where it is not taken.
func (d *Issuer) AppendNewKeyAnswer(dst, frame []byte, code [2]byte, mac macFunc) ([]byte, error) {
	var m iso.Message
	if err := d.codec.Parse(&m, frame); err != nil {
		return dst, err
	}
	e := d.begin(dst, m.MTI()&^1+0x0010)
	for _, n := range [...]int{7, 11, 33} {
		e.Copy(n, &m)
	}
	e.Text(39, code[:])
	for _, n := range [...]int{53, 70, 100} {
		e.Copy(n, &m)
	}
	if d.cups == nil || mac == nil {
		return e.Finish()
	}
	return d.signed(&e, dst, macFieldWide, newKeyMACFields, mac)
}

// AppendKeyRequest appends a request for a new key, for MACs or for PINs, of a link's acquirer.
// It has no MAC: one asks because there is no key to make it with.
func (d *Issuer) AppendKeyRequest(dst []byte, mac bool, stan uint32, at time.Time) ([]byte, error) {
	e := d.beginNetwork(dst, 0x0820, stan, at)
	e.Digits(53, keySecurity(mac))
	return d.endNetwork(&e, newKeyCode)
}

// AsksForKey is whether a message of a link's acquirer asks for a new key, and for which.
func (l *Link) AsksForKey(m *iso.Message) (mac, ok bool) {
	security := m.AppendDigits(nil, 53)
	ok = m.MTI() == 0x0820 && string(m.AppendDigits(nil, 70)) == newKeyCode && len(security) > 0 && (security[0] == '1' || security[0] == '2')
	return ok && security[0] == '2', ok
}

// keySecurity is the DE53 of messages about a key.
func keySecurity(mac bool) []byte {
	security := []byte("1600000000000000")
	if mac {
		security[0] = '2'
	}
	return security
}

// AppendNewKey appends an issuer's message that brings k, for the other end of the link; mac
// makes MACs with the clear key.
func (l *Link) AppendNewKey(dst []byte, k *txn.NewKey, stan uint32, time [10]byte, mac macFunc) ([]byte, error) {
	var header []byte
	if l.isCUPS() {
		h := iso.MakeCUPSHeader("", cupsDestination)
		header = h[:]
	}
	e := l.codec.Begin(dst, nil, header, 0x0800)
	if l.isCUPS() {
		e.Widen()
	}
	e.Digits(7, time[:])
	e.Uint(11, uint64(stan))
	single := l.isCUPS() && len(k.Cryptogram) == 8
	switch {
	case !l.isCUPS():
		text := hex.AppendEncode([]byte(newKeyMark), k.Cryptogram)
		e.Text(48, bytes.ToUpper(hex.AppendEncode(text, k.CheckValue)))
	case !single:
		e.Text(48, append([]byte(newKeyMark), k.Cryptogram...))
	}
	security := keySecurity(k.MAC)
	if k.SM4 {
		security[1] = '4'
	}
	e.Digits(53, security)
	e.Digits(70, []byte(newKeyCode))
	if single {
		e.Bytes(96, k.Cryptogram)
	}
	if !l.isCUPS() {
		return e.Finish()
	}
	e.Digits(100, []byte(cupsDestination))
	return l.signed(&e, dst, macFieldWide, newKeyMACFields, mac)
}
