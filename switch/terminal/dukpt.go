package terminal

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// InitialKey is what a DUKPT terminal is loaded with: the key that all those of
// its messages come from, clear, and the number of that key. Test terminals'
// only. The zero value is none.
type InitialKey struct {
	Scheme txn.KeyScheme // one of the DUKPT ones
	Key    txn.Secret
	Device txn.DeviceID
}

// ErrKeysUsedUp says that a DUKPT terminal has counted to its end: it needs
// another initial key. Nothing was sent.
var ErrKeysUsedUp = errors.New("the terminal has used all keys of its initial key")

// dukptSchemes are the kinds of keys, with the MAC a terminal makes with them:
// the registry's mac must be the same.
var dukptSchemes = map[txn.KeyScheme]struct {
	kind algo.Kind
	mac  algo.MACAlgorithm
	pin  algo.PINFormat
}{
	txn.KeysDUKPTTDES:   {algo.TDES2, algo.MACX919, algo.PINISO0},
	txn.KeysDUKPTAES128: {algo.AES128, algo.MACCMAC, algo.PINISO4},
	txn.KeysDUKPTAES192: {algo.AES192, algo.MACCMAC, algo.PINISO4},
	txn.KeysDUKPTAES256: {algo.AES256, algo.MACCMAC, algo.PINISO4},
}

// ParseInitialKey reads a scheme as the registry names it, such as dukpt-tdes,
// the initial key and its number without the counter (16 hexadecimal digits). Its
// errors quote no key.
func ParseInitialKey(scheme, key, ksn string) (InitialKey, error) {
	var i InitialKey
	for s := range dukptSchemes {
		if s.String() == scheme {
			i.Scheme = s
		}
	}
	device, err := hex.DecodeString(ksn)
	size := dukptSchemes[i.Scheme].kind.KeySize()
	switch {
	case i.Scheme == txn.KeysNone:
		return i, fmt.Errorf("%q must be dukpt-tdes, dukpt-aes128, dukpt-aes192 or dukpt-aes256", scheme)
	case err != nil || len(device) != len(i.Device):
		return i, fmt.Errorf("the serial number of an initial key must be %d hexadecimal digits", 2*len(i.Device))
	case i.Scheme == txn.KeysDUKPTTDES && device[len(device)-1]&0x1f != 0:
		return i, errors.New("the serial number of an initial key must end with five zero bits: they count")
	}
	i.Device = txn.DeviceID(device)
	if i.Key, err = hex.DecodeString(key); err != nil || len(i.Key) != size {
		return InitialKey{}, fmt.Errorf("an initial key of %s must be %d hexadecimal digits", scheme, 2*size)
	}
	return i, nil
}

// dukpt is the terminal's side of DUKPT. Only Seal moves last: the PIN of a
// message is enciphered before, under the same number.
type dukpt struct {
	InitialKey
	last     uint32      // number of the last message that was sealed
	response algo.MACKey // of the answer to that; none before the first
}

func newDUKPT(d *dialect.Terminal, i InitialKey) (*Keys, error) {
	switch s, ok := dukptSchemes[i.Scheme]; {
	case !ok || len(i.Key) != s.kind.KeySize():
		return nil, fmt.Errorf("initial key: it has %d bytes, which is none of %s", len(i.Key), i.Scheme)
	case IsCUP(d):
		return nil, fmt.Errorf("initial key: dialect %s has no place for its serial number; use iso87", d.Name())
	}
	return &Keys{dukpt: &dukpt{InitialKey: i}}, nil
}

// next is the number of the next message: one with no more one bits than keys
// are derived for (X9.24-1 ten, X9.24-3 sixteen).
func (k *dukpt) next() (uint32, error) {
	ones, most := 16, ^uint32(0)
	if k.Scheme == txn.KeysDUKPTTDES {
		ones, most = 10, 1<<21-1
	}
	n := uint64(k.last) + 1
	for bits.OnesCount64(n) > ones {
		n += n & -n
	}
	if n > uint64(most) {
		return 0, ErrKeysUsedUp
	}
	return uint32(n), nil
}

// serial is the key serial number of message n.
func (k *dukpt) serial(n uint32) []byte {
	if k.Scheme == txn.KeysDUKPTTDES { // its last 21 bits count
		b := append(k.Device[:], 0, 0)
		binary.BigEndian.PutUint32(b[6:], binary.BigEndian.Uint32(b[6:])|n)
		return b
	}
	return binary.BigEndian.AppendUint32(k.Device[:], n)
}

func (k *dukpt) derive() (n uint32, keys *algo.DUKPTKeys, err error) {
	if n, err = k.next(); err == nil {
		keys, err = algo.DUKPTDerive(dukptSchemes[k.Scheme].kind, k.Key, k.serial(n))
	}
	return n, keys, err
}

// encipher is a PIN block under the key of the next message.
func (k *dukpt) encipher(pin, pan []byte) ([]byte, error) {
	_, derived, err := k.derive()
	if err != nil {
		return nil, err
	}
	defer derived.Clear()
	s := dukptSchemes[k.Scheme]
	key, err := algo.NewLocal(s.kind, derived.PIN)
	if err != nil {
		return nil, err
	}
	defer key.Close()
	return algo.EncipherPIN(nil, key, s.pin, pin, pan)
}

// seal gives a message its number and its MAC, in the field that has the place.
func (k *dukpt) seal(m *iso.Message, field int) error {
	n, derived, err := k.derive()
	if err != nil {
		return err
	}
	defer derived.Clear()
	place, ok := findElement(m.Value(63), elementKSN)
	if !ok || len(place) != len(k.placeKSN())-5 {
		return errors.New("there is no place for the key serial number")
	}
	copy(place, strings.ToUpper(hex.EncodeToString(k.serial(n))))
	request, err := k.macKey(derived.MACRequest)
	if err != nil {
		return err
	}
	defer closeMAC(request)
	mac, err := dukptSchemes[k.Scheme].mac.MAC(request, m.Before(field))
	if err != nil {
		return err
	}
	response, err := k.macKey(derived.MACResponse)
	if err != nil {
		return err
	}
	closeMAC(k.response)
	k.last, k.response = n, response
	return fillPlace(m.Value(field), mac[:])
}

func (k *dukpt) macKey(clearKey []byte) (algo.MACKey, error) {
	return algo.NewLocalMACKey(dukptSchemes[k.Scheme].kind, clearKey)
}

func closeMAC(k algo.MACKey) {
	for _, part := range [...]algo.Cipher{k.Whole, k.Left} {
		if l, ok := part.(*algo.Local); ok && l != nil {
			l.Close()
		}
	}
}

// Elements of DE63 (ISO 8583:1987), which the dialect reads.
const (
	elementKSN      = "KS" // the key serial number, in hexadecimal
	elementPINBlock = "PB" // a PIN block of 16 bytes, likewise
)

// placeKSN is the element that the serial number of a message will be in.
func (k *dukpt) placeKSN() string { return zeroElement(elementKSN, 2*len(k.serial(0))) }

func zeroElement(tag string, size int) string {
	return fmt.Sprintf("%s%03d%s", tag, size, strings.Repeat("0", size))
}

// fillPlace puts bytes into a place of a frame, which may be one for hexadecimal.
func fillPlace(place, b []byte) error {
	switch len(place) {
	case len(b):
		copy(place, b)
	case 2 * len(b):
		copy(place, strings.ToUpper(hex.EncodeToString(b)))
	default:
		return fmt.Errorf("the frame has room for %d bytes, the terminal's keys make %d", len(place), len(b))
	}
	return nil
}
