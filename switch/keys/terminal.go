package keys

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Generation is which of a terminal's MAC keys a message was made with: its
// answer is made with the same.
type Generation uint8

// The generations.
const (
	Current Generation = iota
	Previous
)

func (g Generation) String() string {
	if g == Previous {
		return "previous"
	}
	return "current"
}

// Terminal is a terminal's working keys, ready for use. Key schedules are
// expanded once, here. It is safe for concurrent use.
//
// The previous MAC key verifies one message: the reversal or the repeat of a
// terminal to which the answer of its last sign-on was lost. The first message
// under the current key ends that, since then the answer did arrive. A restart
// before either grants the one message again.
type Terminal struct {
	// mu is held for reading while a key is used and for writing by Close.
	mu     sync.RWMutex
	closed bool

	tpk, tdk held    // nil where the set has none
	tak      *macKey // verifies; answers too unless answer is there
	answer   *macKey // DUKPT's for answers, nil else
	previous *macKey // nil when there is none

	spent atomic.Bool // the previous MAC key has verified its message, or may not any more
}

// macKey is a MAC key with the left half that X9.19 needs.
type macKey struct{ whole, left held }

func (k *macKey) algo() algo.MACKey {
	m := algo.MACKey{Whole: k.whole}
	if k.left != nil {
		m.Left = k.left
	}
	return m
}

// suits says that both keys go with the same algorithms.
func (k *macKey) suits(o *macKey) bool {
	return k.whole.Kind().BlockSize() == o.whole.Kind().BlockSize()
}

func (k *macKey) close() {
	if k == nil {
		return
	}
	k.whole.Close()
	if k.left != nil {
		k.left.Close()
	}
}

// OpenTerminal opens a terminal's stored keys.
func (v *Vault) OpenTerminal(k *TerminalKeys) (t *Terminal, err error) {
	t = &Terminal{}
	defer func() {
		if err != nil {
			t.Close()
			t = nil
		}
	}()
	owner := OfTerminal(k.Terminal)
	if t.tpk, _, err = v.use(Key{owner, k.TPK}, PurposeTPK); err != nil {
		return t, err
	}
	if t.tak, err = v.openMAC(Key{owner, k.TAK}, PurposeTAK); err != nil {
		return t, err
	}
	if len(k.TDK) > 0 {
		if t.tdk, _, err = v.use(Key{owner, k.TDK}, PurposeTDK); err != nil {
			return t, err
		}
	}
	if len(k.PreviousTAK) > 0 {
		t.previous, err = v.openMAC(Key{owner, k.PreviousTAK}, PurposeTAK)
	}
	return t, err
}

func (v *Vault) openMAC(k Key, purpose Purpose) (*macKey, error) {
	whole, left, _, err := v.open(k, purpose)
	if err != nil {
		return nil, err
	}
	return &macKey{whole, left}, nil
}

// VerifyMAC checks a message's MAC and says which key it was made with.
// ErrMACWrong is the message's fault; any other error is ours, and tells
// nothing about the message.
func (t *Terminal) VerifyMAC(alg algo.MACAlgorithm, data, mac []byte) (Generation, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return Current, ErrClosed
	}
	err := alg.Verify(t.tak.algo(), data, mac)
	if err == nil {
		if !t.spent.Load() {
			t.spent.Store(true)
		}
		return Current, nil
	}
	if !errors.Is(err, ErrMACWrong) || t.previous == nil || t.spent.Load() || !t.previous.suits(t.tak) {
		return Current, verifyError(err)
	}
	if err := alg.Verify(t.previous.algo(), data, mac); err != nil {
		return Current, verifyError(err)
	}
	if !t.spent.CompareAndSwap(false, true) { // another message was first
		return Current, ErrMACWrong
	}
	return Previous, nil
}

func verifyError(err error) error {
	if errors.Is(err, ErrMACWrong) {
		return ErrMACWrong
	}
	return fmt.Errorf("verify a MAC: %w", err)
}

// MAC makes the MAC of an answer to a message of generation g.
func (t *Terminal) MAC(g Generation, alg algo.MACAlgorithm, data []byte) ([algo.MACSize]byte, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	key := t.tak
	switch {
	case t.closed:
		return [algo.MACSize]byte{}, ErrClosed
	case g == Previous && t.previous == nil:
		return [algo.MACSize]byte{}, fmt.Errorf("make a MAC: %w: there is no previous key", ErrPurpose)
	case g == Previous:
		key = t.previous
	case t.answer != nil:
		key = t.answer
	}
	mac, err := alg.MAC(key.algo(), data)
	if err != nil {
		return mac, fmt.Errorf("make a MAC: %w", err)
	}
	return mac, nil
}

// TranslatePIN deciphers the terminal's PIN block and enciphers its PIN for an
// issuer, appending that to dst. ErrPINBlock says that there is no PIN for
// this card in the block, and does not say why.
func (t *Terminal) TranslatePIN(dst []byte, in algo.PINFormat, block []byte, pan *txn.PAN, zone *Zone, out algo.PINFormat) ([]byte, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	zone.mu.RLock()
	defer zone.mu.RUnlock()
	if t.closed || zone.closed {
		return dst, ErrClosed
	}
	digits := panDigits.Get().(*[txn.PANDigitsMax]byte)
	defer func() {
		clear(digits[:])
		panDigits.Put(digits)
	}()
	translated, err := algo.TranslatePIN(dst, t.tpk, in, zone.zpk, out, block, pan.Append(digits[:0]))
	if err != nil && !errors.Is(err, ErrPINBlock) {
		return dst, fmt.Errorf("translate a PIN: %w", err)
	}
	return translated, err
}

// PINKind is the kind of the terminal's PIN key: it says which formats its
// blocks can have.
func (t *Terminal) PINKind() algo.Kind {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return 0
	}
	return t.tpk.Kind()
}

var panDigits = sync.Pool{New: func() any { return new([txn.PANDigitsMax]byte) }}

// DecipherTrack deciphers, in place, track data in BCD of which the terminal
// enciphered one block: the one that ends before the last byte.
func (t *Terminal) DecipherTrack(track []byte) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return ErrClosed
	}
	if t.tdk == nil {
		return fmt.Errorf("decipher a track: %w: the terminal has no key for it", ErrPurpose)
	}
	size, end := t.tdk.Kind().BlockSize(), len(track)-1
	if end < size {
		return fmt.Errorf("decipher a track of %d bytes: %w", len(track), ErrTrack)
	}
	block := track[end-size : end]
	if err := t.tdk.Decrypt(block, block); err != nil {
		return fmt.Errorf("decipher a track: %w", err)
	}
	return nil
}

// Close ends the keys and overwrites them. It waits for calls in progress.
func (t *Terminal) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.closed = true
	for _, k := range []held{t.tpk, t.tdk} {
		if k != nil {
			k.Close()
		}
	}
	t.tak.close()
	t.answer.close()
	t.previous.close()
}

// String says nothing of what is inside.
func (t *Terminal) String() string { return "[terminal's keys]" }

// GoString is String.
func (t *Terminal) GoString() string { return t.String() }

// Zone is the keys shared with an issuer, ready for use.
type Zone struct {
	mu     sync.RWMutex // as Terminal's
	closed bool
	zpk    held
}

// OpenZone opens an issuer's stored PIN key.
func (v *Vault) OpenZone(zpk Key) (*Zone, error) {
	k, _, err := v.use(zpk, PurposeZPK)
	if err != nil {
		return nil, err
	}
	return &Zone{zpk: k}, nil
}

// Kind is the kind of the issuer's PIN key.
func (z *Zone) Kind() algo.Kind {
	z.mu.RLock()
	defer z.mu.RUnlock()
	if z.closed {
		return 0
	}
	return z.zpk.Kind()
}

// Close ends the keys and overwrites them. It waits for calls in progress.
func (z *Zone) Close() {
	z.mu.Lock()
	defer z.mu.Unlock()
	if !z.closed {
		z.closed = true
		z.zpk.Close()
	}
}

// String says nothing of what is inside.
func (z *Zone) String() string { return "[issuer's keys]" }

// GoString is String.
func (z *Zone) GoString() string { return z.String() }

// ZoneMAC is the MAC key shared with an issuer, ready for use. It is safe for
// concurrent use.
type ZoneMAC struct {
	mu     sync.RWMutex // as Terminal's
	closed bool
	key    *macKey
}

// OpenZoneMAC opens an issuer's stored MAC key.
func (v *Vault) OpenZoneMAC(zak Key) (*ZoneMAC, error) {
	k, err := v.openMAC(zak, PurposeZAK)
	if err != nil {
		return nil, err
	}
	return &ZoneMAC{key: k}, nil
}

// MAC is the MAC of data.
func (z *ZoneMAC) MAC(alg algo.MACAlgorithm, data []byte) ([algo.MACSize]byte, error) {
	z.mu.RLock()
	defer z.mu.RUnlock()
	if z.closed {
		return [algo.MACSize]byte{}, ErrClosed
	}
	return alg.MAC(z.key.algo(), data)
}

// Close ends the key and overwrites it. It waits for calls in progress.
func (z *ZoneMAC) Close() {
	z.mu.Lock()
	defer z.mu.Unlock()
	if !z.closed {
		z.closed = true
		z.key.close()
	}
}

// String says nothing of what is inside.
func (z *ZoneMAC) String() string { return "[issuer's MAC key]" }

// GoString is String.
func (z *ZoneMAC) GoString() string { return z.String() }

// SerialKey is the key under which a terminal enciphers its serial number,
// ready for use. It is safe for concurrent use.
type SerialKey struct {
	mu     sync.RWMutex // as Terminal's
	closed bool
	key    held
}

// OpenSerial opens a stored serial key.
func (v *Vault) OpenSerial(key Key) (*SerialKey, error) {
	k, _, err := v.use(key, PurposeSerial)
	if err != nil {
		return nil, err
	}
	return &SerialKey{key: k}, nil
}

// Verify checks, in constant time, the ciphertext of a serial number that a
// terminal reports with its random factor (DE59 A2.04). ErrMACWrong is the
// message's fault; any other error is ours, and tells nothing about it.
func (s *SerialKey) Verify(serial, factor, text []byte) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ErrClosed
	}
	want, err := algo.SerialCipher(s.key, serial, factor)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(want[:], text) != 1 {
		return ErrMACWrong
	}
	return nil
}

// Close ends the key and overwrites it. It waits for calls in progress.
func (s *SerialKey) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		s.key.Close()
	}
}

// String says nothing of what is inside.
func (s *SerialKey) String() string { return "[serial key]" }

// GoString is String.
func (s *SerialKey) GoString() string { return s.String() }
