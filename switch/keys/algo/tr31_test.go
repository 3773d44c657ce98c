package algo

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// protection is a block protection key of size bytes for a version.
func protection(t testing.TB, version byte, k []byte) Cipher {
	kinds := map[int]Kind{16: TDES2, 24: TDES3}
	if version == 'D' {
		kinds = map[int]Kind{16: AES128, 24: AES192, 32: AES256}
	}
	c, err := NewLocal(kinds[len(k)], k)
	if err != nil {
		return nil
	}
	return c
}

func TestPublishedKeyBlocks(t *testing.T) {
	opened := 0
	for i, row := range psec(t, "psec_tr31.json") {
		name := fmt.Sprintf("row %d %s", i, row.Test)
		switch row.Test {
		case "test_kb_known_values":
			kbpk := protection(t, row.KB[0], unhex(t, row.KBPK))
			header, got, err := UnwrapTR31(kbpk, row.KB)
			if v := row.KB[0]; v == 'A' || v == 'C' {
				if !errors.Is(err, ErrKeyBlock) || !strings.Contains(err.Error(), "out of use") {
					t.Errorf("%s: version %c: %v", name, v, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			opened++
			equal(t, name, got, unhex(t, row.Key))
			if again, err := WrapTR31(kbpk, header, got); err != nil {
				t.Errorf("%s: wrapped again: %v", name, err)
			} else if _, back, err := UnwrapTR31(kbpk, again); err != nil || !bytes.Equal(back, got) {
				t.Errorf("%s: wrapped again: %v", name, err)
			}
			for at := range len(row.KB) {
				changed := []byte(row.KB)
				changed[at] = "01"[changed[at]&1]
				if changed[at] == row.KB[at] {
					changed[at] ^= 1
				}
				if _, _, err := UnwrapTR31(kbpk, string(changed)); !errors.Is(err, ErrKeyBlock) {
					t.Errorf("%s: character %d changed: %v", name, at, err)
				}
			}
		case "test_kb_masking_key_length":
			if row.MaskedKeyLen != nil && *row.MaskedKeyLen < 24 || row.Algorithm == "A" && row.MaskedKeyLen != nil && *row.MaskedKeyLen < 32 || strings.Contains("AC", row.Version) {
				continue // we always hide the length
			}
			size := map[byte]int{'B': 24, 'D': 32}[row.Version[0]]
			h := KeyBlockHeader{Version: row.Version[0], Usage: "P0", Algorithm: row.Algorithm[0], Mode: 'E', KeyVersion: "00", Exportability: 'N'}
			block, err := WrapTR31(protection(t, row.Version[0], make([]byte, size)), h, make([]byte, row.KeyLen))
			if err != nil || len(block) != row.KBLen {
				t.Errorf("%s: %d characters %v, want %d", name, len(block), err, row.KBLen)
			}
		case "test_kb_wrap_exceptions":
			if strings.Contains("AC", row.Version) {
				continue
			}
			if c := protection(t, row.Version[0], make([]byte, row.KBPKLen)); c != nil {
				t.Errorf("%s: protection key of %d bytes", name, row.KBPKLen)
			}
		case "test_kb_unwrap_exceptions":
			if row.KBPKLen == 0 {
				row.KBPKLen = 16
			}
			c := protection(t, row.KB[0], bytes.Repeat([]byte{0xAA}, row.KBPKLen))
			if c == nil {
				continue // refused before
			}
			if _, key, err := UnwrapTR31(c, row.KB); !errors.Is(err, ErrKeyBlock) || key != nil {
				t.Errorf("%s: %v, want %s", name, err, row.Error)
			}
		case "test_header_block_load_exceptions", "test_header_load_exceptions":
			text := []byte(row.Header)
			if len(text) >= headerSize {
				copy(text[1:], fmt.Sprintf("%04d", len(text))) // so that only what the row names is wrong
			}
			if _, _, err := parseKeyBlock(string(text)); !errors.Is(err, ErrKeyBlock) || strings.Contains(err.Error(), "give its length") {
				t.Errorf("%s %q: %v, want %s", name, row.Header, err, row.Error)
			}
		case "test_header_attributes_exceptions":
			one := func(s string) byte {
				if len(s) != 1 {
					return 0
				}
				return s[0]
			}
			h := KeyBlockHeader{one(row.Version), row.Usage, one(row.Algorithm), one(row.Mode), row.KeyVersion, one(row.Exportable), nil}
			if _, err := WrapTR31(key(t, TDES2, testKey), h, make([]byte, 16)); err == nil {
				t.Errorf("%s: %+v accepted, want %s", name, h, row.Error)
			}
		default:
			t.Error("no test for", name)
		}
	}
	if opened != 7 {
		t.Errorf("%d key blocks of versions B and D opened, want 7", opened)
	}
}

// TestKeyBlocksThatMustFail are blocks whose MAC is right and whose content is
// not: only the holder of the protection key can make them.
func TestKeyBlocksThatMustFail(t *testing.T) {
	for _, version := range []byte("BD") {
		c := protection(t, version, unhex(t, testKey))
		for name, bits := range map[string]uint16{"no key": 0, "key of odd bits": 127, "key longer than its block": 8 * 40} {
			block := forge(t, c, version, bits)
			if _, _, err := UnwrapTR31(c, block); !errors.Is(err, ErrKeyBlock) || !strings.Contains(err.Error(), "length of its key") {
				t.Errorf("version %c, %s: %v", version, name, err)
			}
		}
	}
}

// forge wraps 16 bytes and claims that they are bits long.
func forge(t *testing.T, c Cipher, version byte, bits uint16) string {
	t.Helper()
	keys, err := deriveKeyBlockKeys(version, c)
	if err != nil {
		t.Fatal(err)
	}
	size := keys.mac.kind.BlockSize()
	data := make([]byte, 32)
	data[0], data[1] = byte(bits>>8), byte(bits)
	h := KeyBlockHeader{Version: version, Usage: "P0", Algorithm: 'T', Mode: 'E', KeyVersion: "00", Exportability: 'N'}
	text, err := h.format(2*(len(data)+size), size)
	if err != nil {
		t.Fatal(err)
	}
	mac, err := keyBlockMAC(keys.mac, text, data)
	if err != nil {
		t.Fatal(err)
	}
	chain := mac
	for at := 0; at < len(data); at += size {
		block := data[at : at+size]
		xor(block, chain)
		keys.encrypt.Encrypt(block, block)
		chain = block
	}
	return text + hex.EncodeToString(data) + hex.EncodeToString(mac)
}

func TestOptionalBlocksAreKept(t *testing.T) {
	c := protection(t, 'D', unhex(t, testKey))
	h := KeyBlockHeader{Version: 'D', Usage: "B0", Algorithm: 'T', Mode: 'X', KeyVersion: "12", Exportability: 'S',
		Optional: []KeyBlockOption{{"KS", "00604B120F9292800000"}, {"LB", "x"}}}
	block, err := WrapTR31(c, h, unhex(t, testKey))
	if err != nil {
		t.Fatal(err)
	}
	got, key, err := UnwrapTR31(c, block)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "key", key, unhex(t, testKey))
	if len(got.Optional) != 3 || got.Optional[0] != h.Optional[0] || got.Optional[1] != h.Optional[1] || got.Optional[2].ID != "PB" {
		t.Errorf("options %+v", got.Optional)
	}
	long := h
	long.Optional = []KeyBlockOption{{"KS", strings.Repeat("0", 300)}}
	if _, err := WrapTR31(c, long, unhex(t, testKey)); !errors.Is(err, ErrKeyBlock) {
		t.Errorf("option of 300 characters: %v", err)
	}
	if _, _, err := UnwrapTR31(broken{}, block); !errors.Is(err, errBroken) {
		t.Errorf("broken protection key: %v", err)
	}
}

func FuzzUnwrapTR31(f *testing.F) {
	for _, s := range []string{
		"B0096M3TC00E0000B6CD513680EF255FC0DC590726FD0129A7CF6602E7F271631AB4EE7350642F11181AF4CC12F12FD9",
		"B0104B0TX12S0100KS1800604B120F9292800000BB68BE8680A400D9191AD4ECE45B6E6C0D21C4738A52190E248719E24B433627",
		"D0112P0AE00E0000B82679114F470F540165EDFBF7E250FCEA43F810D215F8D207E2E417C07156A27E8E31DA05F7425509593D03A457DC34",
		"B0024P0TE00N0200KS0001FF",
	} {
		f.Add(s)
	}
	tdes, aes := key(f, TDES2, "AAAAAAAAAAAAAAAABBBBBBBBBBBBBBBB"), key(f, AES128, testKey)
	f.Fuzz(func(t *testing.T, block string) {
		for _, c := range []Cipher{tdes, aes} {
			h, key, err := UnwrapTR31(c, block)
			if (err == nil) != (key != nil) {
				t.Fatalf("%v with a key of %d bytes", err, len(key))
			}
			if err == nil {
				if _, err := WrapTR31(c, h, key); err != nil {
					t.Fatalf("what was opened does not close: %v", err)
				}
			}
		}
	})
}
