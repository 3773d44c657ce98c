package keys

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"sync/atomic"

	"github.com/acqswitch/acqswitch/switch/keys/algo"
)

// OpenSoft opens the software vault: its local master keys are in the file at
// path, which is made with a fresh one where it does not exist, and clear keys
// are in this process's memory. Whoever reads the file and the database has
// every key; losing it makes every stored key unreadable.
//
// The file must be readable by its owner only (0600). It is lines of "lmk
// VERSION HEX" (64 digits, an AES-256 key); the highest version seals, all
// open; # starts a comment.
func OpenSoft(path string) (*Vault, error) {
	text, err := readSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = createLMK(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open the local master key file: %w", err)
	}
	defer clear(text)
	s, err := parseLMK(text)
	if err != nil {
		return nil, fmt.Errorf("local master key file %s: %w", path, err)
	}
	return &Vault{s}, nil
}

// readSecret reads a file that only its owner may read.
func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %04o: others may read it; run chmod 600 %s and change its keys if they did", path, mode, path)
	}
	if info.Size() > secretSizeMax {
		return nil, fmt.Errorf("%s has %d bytes, at most %d are expected", path, info.Size(), secretSizeMax)
	}
	b := make([]byte, info.Size())
	_, err = f.ReadAt(b, 0)
	return b, err
}

const secretSizeMax = 64 << 10

func createLMK(path string) ([]byte, error) {
	var key [keySize]byte
	defer clear(key[:])
	if _, err := rand.Read(key[:]); err != nil {
		return nil, err
	}
	return writeNewFile(path, fmt.Appendf(nil, "# Local master key: terminals' and issuers' keys are sealed under it. Keep a copy where keys are kept; never beside the data.\nlmk 1 %x\n", key))
}

// soft is the engine whose keys are in memory.
type soft struct {
	current byte                     // version that seals
	lmks    [versionsMax]cipher.AEAD // immutable after parseLMK
	closed  atomic.Bool
}

func parseLMK(text []byte) (*soft, error) {
	s := &soft{}
	sc := bufio.NewScanner(bytes.NewReader(text))
	for line := 1; sc.Scan(); line++ {
		entry, _, _ := bytes.Cut(sc.Bytes(), []byte("#"))
		words := bytes.Fields(entry)
		if len(words) == 0 {
			continue
		}
		if len(words) != 3 || string(words[0]) != "lmk" {
			return nil, fmt.Errorf(`line %d: want "lmk VERSION HEX"`, line)
		}
		v, err := strconv.ParseUint(string(words[1]), 10, 8)
		if err != nil || v == 0 || s.lmks[v] != nil {
			return nil, fmt.Errorf("line %d: a version must be 1 to 255, and appear once", line)
		}
		var key [keySize]byte
		n, err := hex.Decode(key[:], words[2][:min(len(words[2]), 2*keySize)])
		if err != nil || n != keySize || len(words[2]) != 2*keySize {
			return nil, fmt.Errorf("line %d: a key must be %d hex digits", line, 2*keySize)
		}
		block, err := aes.NewCipher(key[:])
		clear(key[:])
		if err != nil {
			return nil, fmt.Errorf("line %d: the key is not an AES-256 key", line)
		}
		if s.lmks[v], err = cipher.NewGCM(block); err != nil {
			return nil, fmt.Errorf("line %d: the key is not usable with GCM", line)
		}
		s.current = max(s.current, byte(v))
	}
	if err := sc.Err(); err != nil {
		return nil, errors.New("a line is too long")
	}
	if s.current == 0 {
		return nil, errors.New("it holds no key")
	}
	return s, nil
}

func (s *soft) version() byte { return s.current }

func (s *soft) random(b []byte) error {
	_, err := rand.Read(b)
	return err
}

func (s *soft) generate(kind algo.Kind, head func(algo.KCV) []byte) ([]byte, error) {
	key := make([]byte, kind.KeySize())
	defer clear(key)
	if err := s.random(key); err != nil {
		return nil, err
	}
	if kind.IsDES() {
		algo.OddParity(key)
	}
	kcv, err := kcvOf(kind, key)
	if err != nil {
		return nil, err
	}
	return s.seal(head(kcv), kind, false, key)
}

// seal is AES-256-GCM with a random nonce and the head as associated data:
// nonce, ciphertext, tag. One LMK may seal 2^32 keys: three a day for a million
// terminals over three years.
func (s *soft) seal(head []byte, _ algo.Kind, _ bool, key []byte) ([]byte, error) {
	body := make([]byte, nonceSize, nonceSize+len(key)+16)
	if err := s.random(body); err != nil {
		return nil, fmt.Errorf("draw a nonce: %w", err)
	}
	aead, err := s.lmk(head[1])
	if err != nil {
		return nil, err
	}
	return aead.Seal(body, body, key, head), nil
}

func (s *soft) lmk(version byte) (cipher.AEAD, error) {
	switch aead := s.lmks[version]; {
	case s.closed.Load():
		return nil, ErrClosed
	case aead == nil:
		return nil, fmt.Errorf("%w: there is no local master key of version %d", ErrSealedKey, version)
	default:
		return aead, nil
	}
}

func (s *soft) reveal(head []byte, kind algo.Kind, body []byte) ([]byte, error) {
	aead, err := s.lmk(head[1])
	if err != nil {
		return nil, err
	}
	if len(body) != nonceSize+kind.KeySize()+aead.Overhead() {
		return nil, ErrSealedKey
	}
	key, err := aead.Open(nil, body[:nonceSize], body[nonceSize:], head)
	if err != nil {
		return nil, ErrSealedKey
	}
	return key, nil
}

func (s *soft) open(head []byte, kind algo.Kind, left bool, body []byte) (held, held, error) {
	key, err := s.reveal(head, kind, body)
	if err != nil {
		return nil, nil, err
	}
	defer clear(key)
	whole, err := algo.NewLocal(kind, key)
	if err != nil {
		return nil, nil, err
	}
	if !left {
		return whole, nil, nil
	}
	half, err := algo.NewLocal(algo.DES, key[:8])
	if err != nil {
		return nil, nil, err
	}
	return whole, half, nil
}

// close ends sealing and opening. The master keys' schedules inside the GCM
// type cannot be overwritten from here; they go when the vault does.
func (s *soft) close() error {
	s.closed.Store(true)
	return nil
}
