package algo

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"errors"
	"fmt"
	"math/bits"
	"reflect"
	"slices"
	"sync"

	"github.com/emmansun/gmsm/sm4"
)

// Kind is a cipher with its key length.
type Kind uint8

// The kinds. DES alone is only for what terminals still ask for.
const (
	DES    Kind = iota + 1 // 8 bytes
	TDES2                  // 16 bytes: double length
	TDES3                  // 24 bytes: triple length
	AES128                 // 16 bytes
	AES192                 // 24 bytes
	AES256                 // 32 bytes
	SM4                    // 16 bytes
)

var kinds = [...]struct {
	name      string
	key, size int // bytes of a key and of a block
}{
	{"invalid", 0, 0}, {"DES", 8, 8}, {"TDES-2", 16, 8}, {"TDES-3", 24, 8},
	{"AES-128", 16, 16}, {"AES-192", 24, 16}, {"AES-256", 32, 16}, {"SM4", 16, 16},
}

// KeySizeMax is the longest key.
const KeySizeMax = 32

const blockSizeMax = 16

// Valid says that k is one of the kinds.
func (k Kind) Valid() bool { return k >= DES && k <= SM4 }

// KeySize is the bytes of a key.
func (k Kind) KeySize() int { return kinds[k.clamp()].key }

// BlockSize is the bytes of a block.
func (k Kind) BlockSize() int { return kinds[k.clamp()].size }

// IsDES says that keys of this kind are DES keys with parity bits.
func (k Kind) IsDES() bool { return k >= DES && k <= TDES3 }

// IsAES says that keys of this kind are AES keys.
func (k Kind) IsAES() bool { return k >= AES128 && k <= AES256 }

func (k Kind) String() string { return kinds[k.clamp()].name }

func (k Kind) clamp() Kind {
	if !k.Valid() {
		return 0
	}
	return k
}

// Cipher enciphers whole blocks under one key, wherever that key is. It is
// safe for concurrent use. dst and src have one length, a multiple of the
// block size, and are the same memory or do not overlap. An error means that
// the key could not be used; what dst then holds is undefined.
type Cipher interface {
	Kind() Kind
	Encrypt(dst, src []byte) error // each block by itself (ECB)
	Decrypt(dst, src []byte) error // each block by itself (ECB)
	Chain(tag, src []byte) error   // CBC with a zero IV; tag gets the last block only, zeros for no block
}

// Local is a key schedule in this process's memory.
type Local struct {
	kind  Kind
	block cipher.Block
}

// ErrKeyInvalid says that bytes cannot be a key of the kind asked for.
var ErrKeyInvalid = errors.New("key is not valid for its kind")

// NewLocal expands key; the caller may clear key afterwards. DES and TDES take
// microseconds for it, which is why a Local is kept and not made per message.
func NewLocal(kind Kind, key []byte) (*Local, error) {
	if !kind.Valid() || len(key) != kind.KeySize() {
		return nil, fmt.Errorf("expand a %v key of %d bytes: %w", kind, len(key), ErrKeyInvalid)
	}
	var block cipher.Block
	var err error
	switch {
	case kind == DES:
		block, err = des.NewCipher(key)
	case kind == TDES2:
		whole := slices.Concat(key, key[:8])
		block, err = des.NewTripleDESCipher(whole)
		clear(whole)
	case kind == TDES3:
		block, err = des.NewTripleDESCipher(key)
	case kind == SM4:
		block, err = sm4.NewCipher(key)
	default:
		block, err = aes.NewCipher(key)
	}
	if err != nil {
		return nil, fmt.Errorf("expand a %v key: %w", kind, ErrKeyInvalid)
	}
	return &Local{kind, block}, nil
}

// Kind is the key's kind.
func (l *Local) Kind() Kind { return l.kind }

// Encrypt enciphers each block by itself. Local's methods never fail.
func (l *Local) Encrypt(dst, src []byte) error {
	for size := l.kind.BlockSize(); len(src) > 0; dst, src = dst[size:], src[size:] {
		l.block.Encrypt(dst, src)
	}
	return nil
}

// Decrypt deciphers each block by itself.
func (l *Local) Decrypt(dst, src []byte) error {
	for size := l.kind.BlockSize(); len(src) > 0; dst, src = dst[size:], src[size:] {
		l.block.Decrypt(dst, src)
	}
	return nil
}

// Chain is CBC with a zero IV of which tag gets the last block.
func (l *Local) Chain(tag, src []byte) error {
	size := l.kind.BlockSize()
	tag = tag[:size]
	clear(tag)
	for ; len(src) > 0; src = src[size:] {
		xor(tag, src)
		l.block.Encrypt(tag, tag)
	}
	return nil
}

// Close overwrites the key schedule. Nothing may use l any more.
func (l *Local) Close() {
	if v := reflect.ValueOf(l.block); v.Kind() == reflect.Pointer {
		v.Elem().SetZero()
	}
}

// String names the kind, never the key.
func (l *Local) String() string { return "[" + l.kind.String() + " key]" }

// GoString is String.
func (l *Local) GoString() string { return l.String() }

// KCV is a key's check value: the first four bytes of a zero block enciphered.
type KCV [4]byte

// String is eight hexadecimal digits; a check value is not secret.
func (k KCV) String() string { return fmt.Sprintf("%X", k[:]) }

// CheckValue computes a key's check value.
func CheckValue(c Cipher) (kcv KCV, err error) {
	var b [blockSizeMax]byte
	block := b[:c.Kind().BlockSize()]
	if err := c.Encrypt(block, block); err != nil {
		return KCV{}, err
	}
	copy(kcv[:], block)
	return kcv, nil
}

// OddParity sets the lowest bit of each byte so that its bits are odd in
// number, as DES keys should have.
func OddParity(key []byte) {
	for i, b := range key {
		key[i] = b&^1 | byte(bits.OnesCount8(b&^1)+1)&1
	}
}

func xor(dst, src []byte) {
	for i := range dst {
		dst[i] ^= src[i]
	}
}

// scratch holds what must not be allocated per message: the bytes handed to a
// Cipher escape, since an interface receives them.
type scratch struct {
	block [8 * blockSizeMax]byte
	data  []byte
}

var scratches = sync.Pool{New: func() any { return &scratch{data: make([]byte, 0, 1024)} }}

func getScratch() *scratch { return scratches.Get().(*scratch) }

// put clears s and gives it back.
func (s *scratch) put() {
	clear(s.block[:])
	clear(s.data[:cap(s.data)])
	scratches.Put(s)
}
