package algo

import (
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MACAlgorithm is how a message authentication code is computed.
type MACAlgorithm uint8

// The algorithms. With a double-length key the CBC ones run TDES throughout
// but for X9.19, which runs DES and finishes with TDES.
const (
	// MACCUPECB is UnionPay's "ECB" algorithm: the XOR of all zero-padded
	// blocks as hexadecimal text, its first half enciphered, XORed with the
	// second half and enciphered again; of that as hexadecimal text the first 8
	// characters. With DES, TDES and SM4 keys.
	MACCUPECB MACAlgorithm = iota + 1
	// MACCUPFold is a processor's variant: the XOR of all zero-padded blocks
	// enciphered once, binary.
	MACCUPFold
	// MACX99 is CBC over zero-padded blocks: ANSI X9.9 with a DES key.
	MACX99
	// MACX919 is the retail MAC over zero-padded blocks: ANSI X9.19, ISO 9797-1
	// algorithm 3. A single-length key makes it X9.9.
	MACX919
	// MACCMAC is NIST SP 800-38B, ISO 9797-1 algorithm 5.
	MACCMAC
	// MACCBC is CBC over blocks padded with one 1 bit: GB/T 15852.1 and
	// ISO 9797-1 algorithm 1, padding method 2.
	MACCBC
)

var macNames = [...]string{"none", "cup-ecb", "cup-fold", "x9.9", "x9.19", "cmac", "cbc-mac"}

func (a MACAlgorithm) String() string {
	if int(a) < len(macNames) {
		return macNames[a]
	}
	return "invalid"
}

// ParseMAC is the algorithm of that name.
func ParseMAC(name string) (MACAlgorithm, error) {
	if i := slices.Index(macNames[:], name); i > 0 {
		return MACAlgorithm(i), nil
	}
	return 0, fmt.Errorf("MAC algorithm %q must be one of %s", name, strings.Join(macNames[1:], ", "))
}

// MACSize is the length of a MAC on the wire (DE64, DE128): a longer one is
// cut to its first bytes.
const MACSize = 8

// MACKey is a key as MAC algorithms use it. Left is the key's first eight
// bytes as a DES key, which X9.19 needs of a double-length key and nothing
// else does; it may be nil otherwise.
type MACKey struct{ Whole, Left Cipher }

// NewLocalMACKey is a key in this process's memory, for any of the algorithms.
func NewLocalMACKey(kind Kind, key []byte) (k MACKey, err error) {
	whole, err := NewLocal(kind, key)
	if err != nil {
		return MACKey{}, err
	}
	k.Whole = whole
	if kind == TDES2 {
		left, err := NewLocal(DES, key[:DES.KeySize()])
		if err != nil {
			return MACKey{}, err
		}
		k.Left = left
	}
	return k, nil
}

// ErrMACWrong says that a MAC is not the one its data and key give.
var ErrMACWrong = errors.New("MAC is wrong")

// MAC computes the MAC of data.
func (a MACAlgorithm) MAC(k MACKey, data []byte) (mac [MACSize]byte, err error) {
	s := getScratch()
	defer s.put()
	tag, err := a.tag(s, k, data)
	copy(mac[:], tag)
	return mac, err
}

// Verify compares mac, in constant time, with the MAC of data. ErrMACWrong
// says that it differs; another error, that the key could not be used.
func (a MACAlgorithm) Verify(k MACKey, data, mac []byte) error {
	want, err := a.MAC(k, data)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(want[:], mac) != 1 {
		return ErrMACWrong
	}
	return nil
}

// tag is the whole MAC, in s: a cipher block, or eight characters.
func (a MACAlgorithm) tag(s *scratch, k MACKey, data []byte) ([]byte, error) {
	size := k.Whole.Kind().BlockSize()
	tag := s.block[:size]
	switch a {
	case MACCUPECB:
		return cupECB(s, k.Whole, data)
	case MACCUPFold:
		fold(tag, data)
		return tag, k.Whole.Encrypt(tag, tag)
	case MACX99:
		s.data = padZero(s.data[:0], data, size)
		return tag, k.Whole.Chain(tag, s.data)
	case MACX919:
		s.data = padZero(s.data[:0], data, size)
		return tag, retail(tag, k, s.data)
	case MACCMAC:
		return cmac(s, k.Whole, data)
	case MACCBC:
		s.data = padBit(s.data[:0], data, size)
		return tag, k.Whole.Chain(tag, s.data)
	}
	return nil, fmt.Errorf("compute a MAC: algorithm %d is not known", a)
}

func cupECB(s *scratch, c Cipher, data []byte) ([]byte, error) {
	size := c.Kind().BlockSize()
	folded, text, out := s.block[:size], s.block[size:3*size], s.block[3*size:4*size]
	fold(folded, data)
	hexUpper(text, folded)
	if err := c.Encrypt(out, text[:size]); err != nil {
		return nil, err
	}
	xor(out, text[size:])
	if err := c.Encrypt(out, out); err != nil {
		return nil, err
	}
	hexUpper(text[:MACSize], out[:MACSize/2])
	return text[:MACSize], nil
}

// fold XORs data's blocks, the last one filled with zeros, into dst.
func fold(dst, data []byte) {
	var even, odd uint64 // of groups of eight bytes: a block is one or two
	for ; len(data) >= 16; data = data[16:] {
		even ^= binary.NativeEndian.Uint64(data)
		odd ^= binary.NativeEndian.Uint64(data[8:])
	}
	var rest [16]byte
	copy(rest[:], data)
	even ^= binary.NativeEndian.Uint64(rest[:])
	odd ^= binary.NativeEndian.Uint64(rest[8:])
	if len(dst) == 8 {
		binary.NativeEndian.PutUint64(dst, even^odd)
		return
	}
	binary.NativeEndian.PutUint64(dst, even)
	binary.NativeEndian.PutUint64(dst[8:], odd)
}

// retail is ISO 9797-1 algorithm 3 over padded data: DES under the left half
// for all blocks, and TDES for the last. DES under the left half and then
// decipher right, encipher left is TDES of the last block's input.
func retail(tag []byte, k MACKey, data []byte) error {
	size := len(tag)
	if k.Whole.Kind() == DES {
		return k.Whole.Chain(tag, data)
	}
	if k.Whole.Kind() != TDES2 || k.Left == nil {
		return fmt.Errorf("compute an X9.19 MAC: key is %v, must be DES or TDES-2 with its left half", k.Whole.Kind())
	}
	last := len(data) - size
	if err := k.Left.Chain(tag, data[:last]); err != nil {
		return err
	}
	xor(tag, data[last:])
	return k.Whole.Encrypt(tag, tag)
}

func cmac(s *scratch, c Cipher, data []byte) ([]byte, error) {
	size := c.Kind().BlockSize()
	tag, subkey := s.block[:size], s.block[size:2*size]
	clear(subkey)
	if err := c.Encrypt(subkey, subkey); err != nil {
		return nil, err
	}
	double(subkey)
	whole := len(data) > 0 && len(data)%size == 0
	if whole {
		s.data = append(s.data[:0], data...)
	} else {
		double(subkey)
		s.data = padBit(s.data[:0], data, size)
	}
	xor(s.data[len(s.data)-size:], subkey)
	return tag, c.Chain(tag, s.data)
}

// double multiplies by x in GF(2^64) or GF(2^128), in constant time.
func double(b []byte) {
	poly := byte(0x87)
	if len(b) == 8 {
		poly = 0x1b
	}
	carry := b[0] >> 7
	for i := range b[:len(b)-1] {
		b[i] = b[i]<<1 | b[i+1]>>7
	}
	b[len(b)-1] = b[len(b)-1]<<1 ^ poly&-carry
}

// padZero is ISO 9797-1 padding method 1: zeros, a whole block for no data.
func padZero(dst, data []byte, size int) []byte {
	if len(data) == 0 {
		return append(dst, make([]byte, size)...)
	}
	return fill(append(dst, data...), size)
}

// padBit is ISO 9797-1 padding method 2: a 1 bit, then zeros.
func padBit(dst, data []byte, size int) []byte {
	return fill(append(append(dst, data...), 0x80), size)
}

func fill(b []byte, size int) []byte {
	for len(b)%size != 0 {
		b = append(b, 0)
	}
	return b
}

func hexUpper(dst, src []byte) {
	const digits = "0123456789ABCDEF"
	for i, b := range src {
		dst[2*i], dst[2*i+1] = digits[b>>4], digits[b&15]
	}
}

// SerialCipher is the ciphertext of a terminal's serial number that UnionPay's
// terminal information carries (DE59 A2.04): MACCUPECB with an SM4 key over
// the serial number and the random factor.
func SerialCipher(key Cipher, serial, factor []byte) (text [MACSize]byte, err error) {
	if key.Kind() != SM4 {
		return text, fmt.Errorf("encipher a serial number: key is %v, must be SM4", key.Kind())
	}
	s := getScratch()
	defer s.put()
	s.data = append(append(s.data[:0], serial...), factor...)
	return MACCUPECB.MAC(MACKey{Whole: key}, s.data)
}
