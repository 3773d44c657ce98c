package keys

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/acqswitch/acqswitch/switch/txn"
)

const (
	keySize     = 32
	nonceSize   = 12
	paddedSize  = txn.PANDigitsMax + 1 // length byte and digits: every seal is the same size
	versionsMax = 256
)

// ErrSealBroken says that a sealed card number does not open: another key,
// another transaction, or damaged bytes.
var ErrSealBroken = errors.New("sealed card number does not open under this key and transaction")

// Cards protects card numbers at rest: each is sealed with AES-256-GCM under a
// versioned key, with the transaction's id as associated data, so a sealed
// number moved to another record does not open; and each is matched and
// counted under HMAC-SHA-256 with another key, cut to 16 bytes. The two keys
// are never the same (PCI DSS 3.5.1.1). It is safe for concurrent use.
type Cards struct {
	current byte // version that seals
	aeads   [versionsMax]cipher.AEAD
	desks   sync.Pool // of *desk
}

// desk is HMAC-SHA-256 under the index key, and the memory of one use of a key:
// what is given to a cipher leaves the stack.
type desk struct {
	hash.Hash
	digits [txn.PANDigitsMax]byte
	sum    [sha256.Size]byte
	about  [8]byte
}

// OpenCards reads the key file, or makes one with fresh random keys (mode
// 0600) where none exists. Losing the file makes every stored card number
// unreadable; its backup belongs where keys are kept, not beside the database.
//
// The file is lines of "index HEX" (one) and "seal VERSION HEX" (one or more,
// the highest version seals, all open); # starts a comment.
func OpenCards(path string) (*Cards, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if text, err = createKeyFile(path); err != nil {
			return nil, fmt.Errorf("create card key file: %w", err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("read card key file: %w", err)
	}
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("read card key file: %w", err)
	} else if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("card key file %s: others may read it (mode %o); chmod 600 it, and draw new keys if they did", path, info.Mode().Perm())
	}
	return parseCards(string(text), path)
}

func parseCards(text, path string) (*Cards, error) {
	c := &Cards{}
	var index []byte
	var seals [][]byte
	sc := bufio.NewScanner(strings.NewReader(text))
	for line := 1; sc.Scan(); line++ {
		words := strings.Fields(strings.SplitN(sc.Text(), "#", 2)[0])
		if len(words) == 0 {
			continue
		}
		refuse := func(why string) error { return fmt.Errorf("card key file %s line %d: %s", path, line, why) }
		key, err := hex.DecodeString(words[len(words)-1])
		if err != nil || len(key) != keySize {
			return nil, refuse("a key must be 64 hex digits")
		}
		switch {
		case words[0] == "index" && len(words) == 2:
			if index != nil {
				return nil, refuse("a second index key; there must be one")
			}
			index = key
		case words[0] == "seal" && len(words) == 3:
			v, err := strconv.ParseUint(words[1], 10, 8)
			if err != nil || v == 0 {
				return nil, refuse("a version must be 1 to 255")
			}
			if c.aeads[v] != nil {
				return nil, refuse("a version appears twice")
			}
			block, err := aes.NewCipher(key)
			if err != nil {
				return nil, refuse("the key is not an AES-256 key")
			}
			if c.aeads[v], err = cipher.NewGCM(block); err != nil {
				return nil, refuse("the key is not usable with GCM")
			}
			c.current, seals = max(c.current, byte(v)), append(seals, key)
		default:
			return nil, refuse(`want "index HEX" or "seal VERSION HEX"`)
		}
	}
	if index == nil || len(seals) == 0 {
		return nil, fmt.Errorf("card key file %s: needs one index key and at least one seal key", path)
	}
	for _, seal := range seals {
		if bytes.Equal(seal, index) {
			return nil, fmt.Errorf("card key file %s: the index key is also a seal key; draw another", path)
		}
	}
	c.desks.New = func() any { return &desk{Hash: hmac.New(sha256.New, index)} }
	return c, nil
}

func createKeyFile(path string) ([]byte, error) {
	var keys [2][keySize]byte
	for i := range keys {
		if _, err := rand.Read(keys[i][:]); err != nil {
			return nil, err
		}
	}
	return writeNewFile(path, fmt.Appendf(nil, "# Card number keys. Keep a copy where keys are kept; never beside the data.\nindex %x\nseal 1 %x\n", keys[0], keys[1]))
}

// Token is the keyed hash a card is counted and matched under.
func (c *Cards) Token(pan *txn.PAN) (t txn.CardToken) {
	d := c.desks.Get().(*desk)
	d.Reset()
	d.Write(pan.Append(d.digits[:0]))
	clear(d.digits[:])
	copy(t[:], d.Sum(d.sum[:0]))
	c.desks.Put(d)
	return t
}

// Seal encrypts pan for the transaction id: version, nonce, ciphertext, tag. It
// cannot fail: a machine without randomness ends the process.
func (c *Cards) Seal(dst *[txn.SealedPANSize]byte, pan *txn.PAN, id txn.ID) {
	nonce, text := dst[1:1+nonceSize], dst[1+nonceSize:1+nonceSize+paddedSize]
	dst[0] = c.current
	rand.Read(nonce)
	clear(text)
	text[0] = byte(pan.Len())
	pan.Append(text[:1])
	d := c.desks.Get().(*desk)
	binary.BigEndian.PutUint64(d.about[:], uint64(id))
	c.aeads[c.current].Seal(text[:0], nonce, text, d.about[:]) // in its place
	c.desks.Put(d)
}

// Open decrypts what Seal sealed for the same id.
func (c *Cards) Open(sealed *[txn.SealedPANSize]byte, id txn.ID) (txn.PAN, error) {
	aead := c.aeads[sealed[0]]
	if aead == nil {
		return txn.PAN{}, fmt.Errorf("%w: no seal key of version %d", ErrSealBroken, sealed[0])
	}
	var aad [8]byte
	binary.BigEndian.PutUint64(aad[:], uint64(id))
	var buf [paddedSize]byte
	plain, err := aead.Open(buf[:0], sealed[1:1+nonceSize], sealed[1+nonceSize:], aad[:])
	if err != nil {
		return txn.PAN{}, ErrSealBroken
	}
	defer clear(buf[:])
	if int(plain[0]) > txn.PANDigitsMax {
		return txn.PAN{}, ErrSealBroken
	}
	pan, err := txn.ParsePAN(plain[1 : 1+plain[0]])
	if err != nil {
		return txn.PAN{}, ErrSealBroken
	}
	return pan, nil
}

// A sealed number is exactly what Record keeps.
const _ = uint(txn.SealedPANSize-1-nonceSize-paddedSize-16) + uint(1+nonceSize+paddedSize+16-txn.SealedPANSize)

// SealText encrypts a text about something, such as the account of a merchant,
// as hexadecimal digits. It opens only as a text about the same.
func (c *Cards) SealText(text, about string) (string, error) {
	sealed := make([]byte, 1+nonceSize, 1+nonceSize+len(text)+16)
	sealed[0] = c.current
	if _, err := io.ReadFull(rand.Reader, sealed[1:]); err != nil {
		return "", fmt.Errorf("draw a nonce: %w", err)
	}
	return hex.EncodeToString(c.aeads[c.current].Seal(sealed, sealed[1:], []byte(text), []byte("text "+about))), nil
}

// OpenText decrypts what SealText sealed about the same.
func (c *Cards) OpenText(sealed, about string) (string, error) {
	b, err := hex.DecodeString(sealed)
	if err != nil || len(b) < 1+nonceSize || c.aeads[b[0]] == nil {
		return "", fmt.Errorf("open what is sealed about %s: %w", about, ErrSealBroken)
	}
	text, err := c.aeads[b[0]].Open(nil, b[1:1+nonceSize], b[1+nonceSize:], []byte("text "+about))
	if err != nil {
		return "", fmt.Errorf("open what is sealed about %s: %w", about, ErrSealBroken)
	}
	return string(text), nil
}

// Hash is the keyed hash under which a number of some kind is matched, such as
// that of an identity document. Equal numbers of one kind have one hash; no card
// has it as its Token.
func (c *Cards) Hash(kind, number string) (h [16]byte) {
	d := c.desks.Get().(*desk)
	d.Reset()
	fmt.Fprintf(d, "%s\x00%s", kind, number)
	copy(h[:], d.Sum(d.sum[:0]))
	c.desks.Put(d)
	return h
}
