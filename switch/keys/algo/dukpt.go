package algo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

// DUKPT gives a terminal a new key for every transaction, which the host finds
// again from the base derivation key and the key serial number in the message.
//
// The two schemes are X9.24-1 (TDES, a serial number of 10 bytes whose last 21
// bits count) and X9.24-3 (AES, 12 bytes whose last 32 bits count).

// ErrKSN says that a key serial number is none that a terminal sends.
var ErrKSN = errors.New("key serial number is not one a terminal sends")

// Serial number sizes.
const (
	KSNSizeTDES = 10
	KSNSizeAES  = 12
)

// DUKPTKeys are one transaction's keys, all of kind Kind.
type DUKPTKeys struct {
	Kind                         Kind
	PIN, MACRequest, MACResponse []byte
}

// Clear overwrites the keys.
func (k *DUKPTKeys) Clear() {
	clear(k.PIN)
	clear(k.MACRequest)
	clear(k.MACResponse)
}

// String names the kind, never a key.
func (k *DUKPTKeys) String() string { return "[" + k.Kind.String() + " transaction keys]" }

// GoString is String.
func (k *DUKPTKeys) GoString() string { return k.String() }

// DUKPTInitialKey derives the key that is loaded into the terminal whose
// serial number is ksn's first part. The scheme follows from kind: TDES2 or AES.
func DUKPTInitialKey(kind Kind, bdk, ksn []byte) ([]byte, error) {
	if err := checkKSN(kind, ksn); err != nil {
		return nil, err
	}
	if kind.IsAES() {
		return deriveAES(kind, bdk, usageInitial, kind, ksn[:8])
	}
	serial := slices.Clone(ksn[:8])
	serial[7] &= 0xe0
	left, err := NewLocal(TDES2, bdk)
	if err != nil {
		return nil, err
	}
	defer left.Close()
	variant := maskKey(bdk, 0xC0C0C0C000000000)
	defer clear(variant)
	right, err := NewLocal(TDES2, variant)
	if err != nil {
		return nil, err
	}
	defer right.Close()
	ik := make([]byte, 16)
	left.block.Encrypt(ik[:8], serial)
	right.block.Encrypt(ik[8:], serial)
	return ik, nil
}

// DUKPTDerive derives the keys of the transaction that ksn numbers from the
// terminal's initial key.
func DUKPTDerive(kind Kind, ik, ksn []byte) (*DUKPTKeys, error) {
	if err := checkKSN(kind, ksn); err != nil {
		return nil, err
	}
	if len(ik) != kind.KeySize() {
		return nil, fmt.Errorf("derive a transaction's keys: initial key: %w", ErrKeyInvalid)
	}
	if kind.IsAES() {
		return deriveKeysAES(kind, ik, ksn)
	}
	key, err := transactionKeyTDES(ik, ksn)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return &DUKPTKeys{
		Kind:        TDES2,
		PIN:         maskKey(key, 0xFF),
		MACRequest:  maskKey(key, 0xFF00),
		MACResponse: maskKey(key, 0xFF000000),
	}, nil
}

// checkKSN holds ksn to its scheme: its size, and a counter that is not zero
// and has no more one bits than a terminal counts to (X9.24-1 ten, X9.24-3
// sixteen), which also bounds the work.
func checkKSN(kind Kind, ksn []byte) error {
	switch {
	case kind == TDES2 && len(ksn) == KSNSizeTDES:
		if n := bits.OnesCount32(counterTDES(ksn)); n >= 1 && n <= 10 {
			return nil
		}
	case kind.IsAES() && len(ksn) == KSNSizeAES:
		if n := bits.OnesCount32(binary.BigEndian.Uint32(ksn[8:])); n >= 1 && n <= 16 {
			return nil
		}
	}
	return fmt.Errorf("derive keys of kind %v: %w", kind, ErrKSN)
}

func counterTDES(ksn []byte) uint32 { return binary.BigEndian.Uint32(ksn[6:]) & 0x1fffff }

// transactionKeyTDES walks the counter's one bits from the highest down
// (X9.24-1 A.3): each gives the next key from the one before.
func transactionKeyTDES(ik, ksn []byte) ([]byte, error) {
	key := slices.Clone(ik)
	counter := counterTDES(ksn)
	register := binary.BigEndian.Uint64(ksn[2:]) &^ 0x1fffff
	for bit := uint32(1) << 20; bit > 0; bit >>= 1 {
		if counter&bit == 0 {
			continue
		}
		register |= uint64(bit)
		right, err := nonReversible(key, register)
		if err != nil {
			return nil, err
		}
		variant := maskKey(key, 0xC0C0C0C000000000)
		left, err := nonReversible(variant, register)
		clear(variant)
		if err != nil {
			return nil, err
		}
		copy(key, left[:])
		copy(key[8:], right[:])
		clear(left[:])
		clear(right[:])
	}
	return key, nil
}

// nonReversible is X9.24-1's key generation step: the register, XORed with the
// key's right half, DES-enciphered under its left half, XORed with the right.
func nonReversible(key []byte, register uint64) (out [8]byte, err error) {
	c, err := NewLocal(DES, key[:8])
	if err != nil {
		return out, err
	}
	defer c.Close()
	binary.BigEndian.PutUint64(out[:], register)
	xor(out[:], key[8:])
	c.block.Encrypt(out[:], out[:])
	xor(out[:], key[8:])
	return out, nil
}

// maskKey is key with mask XORed onto both halves.
func maskKey(key []byte, mask uint64) []byte {
	out := slices.Clone(key)
	for half := out; len(half) >= 8; half = half[8:] {
		binary.BigEndian.PutUint64(half, binary.BigEndian.Uint64(half)^mask)
	}
	return out
}

// Key usages of X9.24-3. The MAC ones are named from the terminal's side: it
// generates over requests and verifies over responses.
const (
	usageInitial     = 0x8001
	usageDerivation  = 0x8000
	usagePIN         = 0x1000
	usageMACGenerate = 0x2000
	usageMACVerify   = 0x2001
)

func deriveKeysAES(kind Kind, ik, ksn []byte) (*DUKPTKeys, error) {
	counter := binary.BigEndian.Uint32(ksn[8:])
	var context [8]byte // the initial key id's last half, and the counter
	copy(context[:4], ksn[4:8])
	key := slices.Clone(ik)
	defer func() { clear(key) }()
	reached := uint32(0)
	for bit := uint32(1) << 31; bit > 0; bit >>= 1 {
		if counter&bit == 0 {
			continue
		}
		reached |= bit
		binary.BigEndian.PutUint32(context[4:], reached)
		next, err := deriveAES(kind, key, usageDerivation, kind, context[:])
		if err != nil {
			return nil, err
		}
		clear(key)
		key = next
	}
	keys := &DUKPTKeys{Kind: kind}
	var errs [3]error
	keys.PIN, errs[0] = deriveAES(kind, key, usagePIN, kind, context[:])
	keys.MACRequest, errs[1] = deriveAES(kind, key, usageMACGenerate, kind, context[:])
	keys.MACResponse, errs[2] = deriveAES(kind, key, usageMACVerify, kind, context[:])
	if err := errors.Join(errs[:]...); err != nil {
		keys.Clear()
		return nil, err
	}
	return keys, nil
}

// deriveAES is X9.24-3's derivation: the derivation data, numbered from one,
// enciphered block by block under the key and cut to the wanted length.
func deriveAES(kind Kind, key []byte, usage uint16, want Kind, context []byte) ([]byte, error) {
	c, err := NewLocal(kind, key)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	data := [16]byte{0: 1, 1: 0}
	binary.BigEndian.PutUint16(data[2:], usage)
	binary.BigEndian.PutUint16(data[4:], uint16(want-AES128)+2)
	binary.BigEndian.PutUint16(data[6:], uint16(8*want.KeySize()))
	copy(data[8:], context)
	out := make([]byte, KeySizeMax)
	for at := 0; at < want.KeySize(); at += 16 {
		data[1]++
		c.block.Encrypt(out[at:], data[:])
	}
	clear(out[want.KeySize():])
	return out[:want.KeySize()], nil
}
