package algo

import (
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// KeyBlockHeader says what a key in a TR-31 (X9.143) key block is and may do.
// The block's MAC covers it, so nobody can change a key's purpose on the way.
//
//	D 0112 P0 A E 00 E 00 00 | optional blocks | enciphered key, hex | MAC, hex
//	| |    |  | | |  | |  reserved
//	| |    |  | | |  | number of optional blocks
//	| |    |  | | |  exportability
//	| |    |  | | version of the key
//	| |    |  | mode of use
//	| |    |  algorithm
//	| |    usage
//	| length of the whole block
//	version of the format
type KeyBlockHeader struct {
	Version       byte   // 'B' (TDES) or 'D' (AES)
	Usage         string // two characters, such as P0 (PIN), M3 (X9.19), K0 (key encryption), B0 (BDK)
	Algorithm     byte   // 'D' DES, 'T' TDES, 'A' AES
	Mode          byte   // such as 'E' encrypt, 'D' decrypt, 'B' both, 'G' generate, 'V' verify, 'C' both, 'N' no limit, 'X' derive
	KeyVersion    string // two characters, 00 for none
	Exportability byte   // 'E' under a trusted key, 'N' not, 'S' as well under others
	Optional      []KeyBlockOption
}

// KeyBlockOption is one optional block, such as KS (a key serial number).
type KeyBlockOption struct{ ID, Data string }

// ErrKeyBlock says that a key block is malformed, is not whole, or was made
// under another key. What is wrong follows it; never a byte of the key.
var ErrKeyBlock = errors.New("key block is not acceptable")

func refuseBlock(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrKeyBlock, fmt.Sprintf(format, args...))
}

// keyBlockSizeMax bounds a block: its length has four decimal digits.
const keyBlockSizeMax = 9999

const headerSize = 16

// keyBlockKeys are derived from the block protection key for one version.
type keyBlockKeys struct{ encrypt, mac *Local }

func (k keyBlockKeys) close() {
	k.encrypt.Close()
	k.mac.Close()
}

// UnwrapTR31 checks a key block and deciphers its key. Versions A and C, whose
// header is bound to the key by a variant only, are refused (PCI PIN 18-3).
func UnwrapTR31(kbpk Cipher, block string) (KeyBlockHeader, []byte, error) {
	header, rest, err := parseKeyBlock(block)
	if err != nil {
		return header, nil, err
	}
	keys, err := deriveKeyBlockKeys(header.Version, kbpk)
	if err != nil {
		return header, nil, err
	}
	defer keys.close()
	size := keys.mac.kind.BlockSize()
	if len(rest) < 2*size {
		return header, nil, refuseBlock("it ends before its MAC")
	}
	mac, err := hex.DecodeString(rest[len(rest)-2*size:])
	if err != nil {
		return header, nil, refuseBlock("its MAC is not hexadecimal")
	}
	data, err := hex.DecodeString(rest[:len(rest)-2*size])
	if err != nil || len(data) == 0 || len(data)%size != 0 {
		return header, nil, refuseBlock("its key must be hexadecimal and %d bytes or a multiple of them", size)
	}
	defer clear(data)
	cipher.NewCBCDecrypter(keys.encrypt.block, mac).CryptBlocks(data, data)
	want, err := keyBlockMAC(keys.mac, block[:len(block)-len(rest)], data)
	if err != nil {
		return header, nil, err
	}
	if subtle.ConstantTimeCompare(want, mac) != 1 {
		return header, nil, refuseBlock("its MAC is wrong: the block was changed, or made under another key")
	}
	n := int(binary.BigEndian.Uint16(data))
	if n == 0 || n%8 != 0 || 2+n/8 > len(data) {
		return header, nil, refuseBlock("the length of its key is wrong")
	}
	return header, slices.Clone(data[2 : 2+n/8]), nil
}

// WrapTR31 makes a key block. The key is padded with random bytes to the
// longest of its algorithm, so that the block does not tell its length.
func WrapTR31(kbpk Cipher, header KeyBlockHeader, key []byte) (string, error) {
	keys, err := deriveKeyBlockKeys(header.Version, kbpk)
	if err != nil {
		return "", err
	}
	defer keys.close()
	size := keys.mac.kind.BlockSize()
	padded := max(len(key), 24)
	if header.Algorithm == 'A' {
		padded = max(len(key), 32)
	}
	data := make([]byte, (2+padded+size-1)/size*size)
	defer clear(data)
	if _, err := rand.Read(data); err != nil {
		return "", fmt.Errorf("draw a key block's padding: %w", err)
	}
	binary.BigEndian.PutUint16(data, uint16(8*len(key)))
	copy(data[2:], key)
	text, err := header.format(2*len(data)+2*size, size)
	if err != nil {
		return "", err
	}
	mac, err := keyBlockMAC(keys.mac, text, data)
	if err != nil {
		return "", err
	}
	cipher.NewCBCEncrypter(keys.encrypt.block, mac).CryptBlocks(data, data)
	return text + strings.ToUpper(hex.EncodeToString(data)+hex.EncodeToString(mac)), nil
}

func keyBlockMAC(c *Local, header string, data []byte) ([]byte, error) {
	s := getScratch()
	defer s.put()
	all := append([]byte(header), data...)
	defer clear(all)
	tag, err := cmac(s, c, all)
	return slices.Clone(tag), err
}

// deriveKeyBlockKeys derives the block's two keys with CMAC over derivation
// data: counter, usage (0 encipher, 1 MAC), zero, algorithm, length in bits.
func deriveKeyBlockKeys(version byte, kbpk Cipher) (keys keyBlockKeys, err error) {
	kind := kbpk.Kind()
	var algorithm byte
	switch {
	case version == 'B' && (kind == TDES2 || kind == TDES3):
		algorithm = byte(kind - TDES2)
	case version == 'D' && kind.IsAES():
		algorithm = byte(kind-AES128) + 2
	case version == 'A' || version == 'C':
		return keys, refuseBlock("version %c is out of use; ask for B or D", version)
	default:
		return keys, refuseBlock("version %q does not go with a %v protection key", version, kind)
	}
	derive := func(usage byte) (*Local, error) {
		s := getScratch()
		defer s.put()
		data := [8]byte{2: usage, 5: algorithm}
		binary.BigEndian.PutUint16(data[6:], uint16(8*kind.KeySize()))
		key := make([]byte, 0, KeySizeMax)
		defer func() { clear(key[:cap(key)]) }()
		for len(key) < kind.KeySize() {
			data[0]++
			tag, err := cmac(s, kbpk, data[:])
			if err != nil {
				return nil, err
			}
			key = append(key, tag...)
		}
		return NewLocal(kind, key[:kind.KeySize()])
	}
	if keys.encrypt, err = derive(0); err != nil {
		return keys, fmt.Errorf("derive a key block's keys: %w", err)
	}
	if keys.mac, err = derive(1); err != nil {
		keys.encrypt.Close()
		return keys, fmt.Errorf("derive a key block's keys: %w", err)
	}
	return keys, nil
}

// parseKeyBlock reads the header and its options; rest is what follows them.
func parseKeyBlock(block string) (h KeyBlockHeader, rest string, err error) {
	if len(block) < headerSize || len(block) > keyBlockSizeMax {
		return h, "", refuseBlock("its length is not 16 to %d characters", keyBlockSizeMax)
	}
	if n, ok := decimal(block[1:5]); !ok || n != len(block) {
		return h, "", refuseBlock("its header does not give its length")
	}
	h = KeyBlockHeader{Version: block[0], Usage: block[5:7], Algorithm: block[7], Mode: block[8],
		KeyVersion: block[9:11], Exportability: block[11]}
	if err := h.check(); err != nil {
		return h, "", err
	}
	count, ok := decimal(block[12:14])
	if !ok {
		return h, "", refuseBlock("its number of optional blocks is not decimal")
	}
	rest = block[headerSize:]
	for range count {
		var o KeyBlockOption
		if o, rest, err = parseOption(rest); err != nil {
			return h, "", err
		}
		h.Optional = append(h.Optional, o)
	}
	if size := len(block) - len(rest); count > 0 && size%blockSizeOf(h.Version) != 0 {
		return h, "", refuseBlock("its header is %d characters, not a multiple of the cipher's block", size)
	}
	return h, rest, nil
}

func blockSizeOf(version byte) int {
	if version == 'D' {
		return 16
	}
	return 8
}

// parseOption reads one optional block: two characters of id, two hexadecimal
// ones of length (id and length included), data. Length 00 says that the
// length follows in as many hexadecimal characters as the next two double.
func parseOption(s string) (o KeyBlockOption, rest string, err error) {
	if len(s) < 4 || !alnum(s[:2]) {
		return o, "", refuseBlock("an optional block is cut off or has no id")
	}
	head := 4
	n, ok := hexadecimal(s[2:4])
	if ok && n == 0 {
		width := 0
		if len(s) < 6 {
			return o, "", refuseBlock("an optional block's length is cut off")
		}
		if width, ok = hexadecimal(s[4:6]); !ok || width == 0 || width > 4 || len(s) < 6+2*width {
			return o, "", refuseBlock("an optional block's length is malformed")
		}
		head = 6 + 2*width
		n, ok = hexadecimal(s[6:head])
	}
	if !ok || n < head || n > len(s) {
		return o, "", refuseBlock("an optional block's length is wrong")
	}
	o = KeyBlockOption{ID: s[:2], Data: s[head:n]}
	for i := range len(o.Data) {
		if o.Data[i] < ' ' || o.Data[i] > '~' {
			return o, "", refuseBlock("an optional block is not printable")
		}
	}
	return o, s[n:], nil
}

// format is the header's text for a block whose key and MAC take size
// characters. A padding option fills it to a multiple of the cipher's block.
func (h KeyBlockHeader) format(size, block int) (string, error) {
	if err := h.check(); err != nil {
		return "", err
	}
	var options strings.Builder
	count := len(h.Optional)
	add := func(id, data string) error {
		if len(id) != 2 || !alnum(id) || len(data) > 0xff-4 {
			return refuseBlock("optional block %q must have two characters of id and at most 251 of data", id)
		}
		fmt.Fprintf(&options, "%s%02X%s", id, 4+len(data), data)
		return nil
	}
	for _, o := range h.Optional {
		if err := add(o.ID, o.Data); err != nil {
			return "", err
		}
	}
	if short := options.Len() % block; short != 0 {
		n := block - short
		if n < 4 {
			n += block
		}
		count++
		if err := add("PB", strings.Repeat("0", n-4)); err != nil {
			return "", err
		}
	}
	size += headerSize + options.Len()
	if size > keyBlockSizeMax || count > 99 {
		return "", refuseBlock("it would be longer than %d characters", keyBlockSizeMax)
	}
	return fmt.Sprintf("%c%04d%s%c%c%s%c%02d00%s", h.Version, size, h.Usage, h.Algorithm, h.Mode,
		h.KeyVersion, h.Exportability, count, options.String()), nil
}

func (h KeyBlockHeader) check() error {
	switch {
	case len(h.Usage) != 2 || !alnum(h.Usage):
		return refuseBlock("its usage must be two letters or digits")
	case len(h.KeyVersion) != 2 || !alnum(h.KeyVersion):
		return refuseBlock("its key version must be two letters or digits")
	case !alnum(string([]byte{h.Version, h.Algorithm, h.Mode, h.Exportability})):
		return refuseBlock("its version, algorithm, mode and exportability must be letters or digits")
	}
	return nil
}

func alnum(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

func decimal(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return int(n), err == nil
}

func hexadecimal(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 16, 32)
	return int(n), err == nil
}
