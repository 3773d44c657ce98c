package keys

import (
	"bytes"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// openers open an empty vault of each kind; pkcs11_test.go adds its own.
var openers = map[string]func(testing.TB) *Vault{"software": softVault}

func softVault(t testing.TB) *Vault {
	t.Helper()
	v, err := OpenSoft(filepath.Join(t.TempDir(), "keys", "lmk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

// eachVault runs fn on each kind of vault. Whatever error fn collects with
// must not tell a secret: see secrets.
func eachVault(t *testing.T, fn func(t *testing.T, v *Vault)) {
	for name, open := range openers {
		t.Run(name, func(t *testing.T) { fn(t, open(t)) })
	}
}

var (
	theTerminal = txn.MakeTerminalID("10000001")
	thePAN, _   = txn.ParsePAN("6222021234567890128")
	theIssuer   = OfIssuer(txn.MakeIssuerID("east"))
)

const thePIN = "123456"

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func kcv(t testing.TB, kind algo.Kind, key []byte) []byte {
	t.Helper()
	v, err := kcvOf(kind, key)
	if err != nil {
		t.Fatal(err)
	}
	return v[:]
}

// load puts a known key into a vault, as two custodians would.
func load(t testing.TB, v *Vault, owner Owner, p Purpose, kind algo.Kind, key []byte) Key {
	t.Helper()
	one := bytes.Repeat([]byte{0x5a, 0xc3}, len(key)/2)
	two := bytes.Clone(key)
	for i := range two {
		two[i] ^= one[i]
	}
	k, err := v.Combine(owner, p, kind, Component{one, kcv(t, kind, one)}, Component{two, kcv(t, kind, two)[:3]})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestSealedKeysOpenOnlyForTheirUse changes whatever can be changed.
func TestSealedKeysOpenOnlyForTheirUse(t *testing.T) {
	eachVault(t, func(t *testing.T, v *Vault) {
		zpk, err := v.Generate(theIssuer, PurposeZPK, algo.TDES2)
		if err != nil {
			t.Fatal(err)
		}
		zone, err := v.OpenZone(zpk)
		if err != nil {
			t.Fatal(err)
		}
		zone.Close()
		if info, err := zpk.Sealed.Info(); err != nil || info.Purpose != PurposeZPK || info.Kind != algo.TDES2 {
			t.Errorf("%v %v", info, err)
		}
		if _, err := v.OpenZone(Key{"issuer west", zpk.Sealed}); !errors.Is(err, ErrSealedKey) {
			t.Errorf("another owner's: %v", err)
		}
		if _, err := v.OpenZone(Key{theIssuer + "\x00", zpk.Sealed}); !errors.Is(err, ErrSealedKey) {
			t.Errorf("a longer owner's: %v", err)
		}
		for i := range zpk.Sealed {
			bad := bytes.Clone(zpk.Sealed)
			bad[i] ^= 1
			if _, err := v.OpenZone(Key{theIssuer, bad}); !errors.Is(err, ErrSealedKey) && !errors.Is(err, ErrPurpose) {
				t.Errorf("byte %d flipped: %v", i, err)
			}
			if _, err := v.OpenZone(Key{theIssuer, zpk.Sealed[:i]}); !errors.Is(err, ErrSealedKey) {
				t.Errorf("cut to %d: %v", i, err)
			}
		}
		relabelled := bytes.Clone(zpk.Sealed)
		relabelled[2] = byte(PurposeTPK)
		keys := &TerminalKeys{Terminal: theTerminal, TPK: relabelled}
		if _, err := v.OpenTerminal(keys); !errors.Is(err, ErrSealedKey) {
			t.Errorf("a ZPK relabelled as TPK: %v", err)
		}
		keys.TPK = zpk.Sealed
		if _, err := v.OpenTerminal(keys); !errors.Is(err, ErrPurpose) {
			t.Errorf("a ZPK as TPK: %v", err)
		}
		tmk, err := v.Generate(OfTerminal(theTerminal), PurposeTMK, algo.TDES2)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := v.Issue(tmk, txn.MakeTerminalID("10000002"), KeySetDouble, IssueOptions{}, nil); !errors.Is(err, ErrPurpose) {
			t.Errorf("another terminal's TMK: %v", err)
		}
		if _, _, err := v.Issue(tmk, theTerminal, KeySetSM4, IssueOptions{}, nil); !errors.Is(err, ErrPurpose) {
			t.Errorf("SM4 keys under a TDES TMK: %v", err)
		}
		if _, _, err := v.Issue(tmk, theTerminal, 2, IssueOptions{}, nil); !errors.Is(err, ErrUnsupported) {
			t.Errorf("set 002: %v", err)
		}
		if _, err := v.Generate("", PurposeZPK, algo.TDES2); err == nil {
			t.Error("a key of nobody was made")
		}
		if _, err := v.Generate(theIssuer, 0, algo.TDES2); !errors.Is(err, ErrPurpose) {
			t.Errorf("a key for nothing: %v", err)
		}
		zak, err := v.Generate(theIssuer, PurposeZAK, algo.TDES2)
		if err != nil {
			t.Fatal(err)
		}
		if k, err := v.openMAC(zak, PurposeZAK); err != nil {
			t.Errorf("generated MAC key: %v", err)
		} else {
			k.close()
		}
		if err := v.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if _, err := v.OpenZone(zpk); !errors.Is(err, ErrClosed) {
			t.Errorf("vault closed: %v", err)
		}
		if _, err := v.Generate(theIssuer, PurposeZPK, algo.TDES2); !errors.Is(err, ErrClosed) {
			t.Errorf("vault closed: %v", err)
		}
	})
}

// TestComponents makes the ZMK of the published key chain of its two components.
func TestComponents(t *testing.T) {
	var f struct {
		Parts   []string `json:"zmk_parts"`
		PartKCV []string `json:"zmk_part_kcv"`
	}
	text, err := os.ReadFile("../../testdata/crypto/Ajsgn+Java8583/ajsgn_x919_chain.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	eachVault(t, func(t *testing.T, v *Vault) {
		one := Component{unhex(t, f.Parts[0]), unhex(t, f.PartKCV[0])}
		two := Component{unhex(t, f.Parts[1]), unhex(t, f.PartKCV[1])}
		zmk, err := v.Combine(theIssuer, PurposeZMK, algo.TDES2, one, two)
		if err != nil {
			t.Fatal(err)
		}
		sum := bytes.Clone(one.Part)
		subtle.XORBytes(sum, sum, two.Part)
		if info, _ := zmk.Sealed.Info(); !bytes.Equal(info.KCV[:], kcv(t, algo.TDES2, sum)) {
			t.Errorf("KCV %v is not that of the components' XOR", info.KCV)
		}
		for name, row := range map[string]struct {
			fn   func() (Key, error)
			want error
		}{
			"one component": {func() (Key, error) { return v.Combine(theIssuer, PurposeZMK, algo.TDES2, one) }, nil},
			"components exchanged check values": {func() (Key, error) {
				return v.Combine(theIssuer, PurposeZMK, algo.TDES2, Component{one.Part, two.KCV}, two)
			}, ErrCheckValue},
			"check value of one byte": {func() (Key, error) {
				return v.Combine(theIssuer, PurposeZMK, algo.TDES2, Component{one.Part, one.KCV[:1]}, two)
			}, ErrCheckValue},
			"the same component twice": {func() (Key, error) { return v.Combine(theIssuer, PurposeZMK, algo.TDES2, one, one) }, nil},
			"check value of too many bytes": {func() (Key, error) {
				return v.Combine(theIssuer, PurposeZMK, algo.TDES2, Component{one.Part, append(bytes.Clone(one.KCV), 0, 0, 0)}, two)
			}, ErrCheckValue},
			"long component": {func() (Key, error) {
				return v.Combine(theIssuer, PurposeZMK, algo.TDES2, Component{append(bytes.Clone(one.Part), one.Part[:8]...), one.KCV}, two)
			}, nil},
			"short component": {func() (Key, error) {
				return v.Combine(theIssuer, PurposeZMK, algo.TDES2, Component{one.Part[:8], one.KCV}, two)
			}, nil},
		} {
			if k, err := row.fn(); err == nil || k.Sealed != nil || row.want != nil && !errors.Is(err, row.want) {
				t.Errorf("%s: %v, want %v", name, err, row.want)
			}
		}
	})
}

func TestKeyBlocks(t *testing.T) {
	eachVault(t, func(t *testing.T, v *Vault) {
		kbpkClear := unhex(t, "88E1AB2A2E3DD38C1FA039A536500CC8A87AB9D62DC92C01058FA79F44657DE6")
		kbpk := load(t, v, theIssuer, PurposeKBPK, algo.AES256, kbpkClear)
		const published = "D0112P0AE00E0000B82679114F470F540165EDFBF7E250FCEA43F810D215F8D207E2E417C07156A27E8E31DA05F7425509593D03A457DC34"
		zpk, err := v.ImportTR31(theIssuer, PurposeZPK, kbpk, published)
		if err != nil {
			t.Fatal(err)
		}
		if info, _ := zpk.Sealed.Info(); info.Kind != algo.AES128 || !bytes.Equal(info.KCV[:], kcv(t, algo.AES128, unhex(t, "3F419E1CB7079442AA37474C2EFBF8B8"))) {
			t.Errorf("imported as %v", info)
		}
		if _, err := v.ImportTR31(theIssuer, PurposeZAK, kbpk, published); !errors.Is(err, ErrPurpose) {
			t.Errorf("a PIN key as a MAC key: %v", err)
		}
		if _, err := v.ImportTR31(theIssuer, PurposeZPK, zpk, published); !errors.Is(err, ErrPurpose) {
			t.Errorf("under a ZPK: %v", err)
		}
		if _, err := v.ImportTR31(theIssuer, PurposeZPK, kbpk, strings.Replace(published, "P0", "M3", 1)); !errors.Is(err, algo.ErrKeyBlock) {
			t.Errorf("header changed: %v", err)
		}
		block, err := v.ExportTR31(kbpk, zpk)
		if v.isHSM() {
			if !errors.Is(err, ErrUnsupported) {
				t.Errorf("export from a module: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		again, err := v.ImportTR31("issuer west", PurposeTPK, kbpk, block)
		if err != nil {
			t.Fatal(err)
		}
		if again.Sealed.String() != strings.Replace(zpk.Sealed.String(), "ZPK", "TPK", 1) {
			t.Errorf("came back as %v from %v", again.Sealed, zpk.Sealed)
		}
		weak := load(t, v, theIssuer, PurposeKBPK, algo.TDES2, kbpkClear[:16])
		if _, err := v.ExportTR31(weak, zpk); !errors.Is(err, ErrPurpose) {
			t.Errorf("an AES key under a TDES key: %v", err)
		}
		if _, err := v.ExportTR31(kbpk, load(t, v, theIssuer, PurposeZPK, algo.SM4, kbpkClear[:16])); !errors.Is(err, ErrPurpose) {
			t.Errorf("a kind that key blocks have no letter for: %v", err)
		}
		// What somebody wrapped under a weaker key than it is may be known to whoever broke that.
		protect, err := algo.NewLocal(algo.TDES2, kbpkClear[:16])
		if err != nil {
			t.Fatal(err)
		}
		for kind, row := range map[algo.Kind]struct {
			letter byte
			want   error
		}{algo.TDES2: {'T', nil}, algo.AES128: {'A', ErrPurpose}} {
			block, err := algo.WrapTR31(protect, algo.KeyBlockHeader{Version: 'B', Usage: "P0", Algorithm: row.letter, Mode: 'E', KeyVersion: "00", Exportability: 'E'}, kbpkClear[16:32])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := v.ImportTR31(theIssuer, PurposeZPK, weak, block); !errors.Is(err, row.want) {
				t.Errorf("a %v key under a TDES-2 one: %v, want %v", kind, err, row.want)
			}
		}
	})
}

func TestDUKPT(t *testing.T) {
	eachVault(t, func(t *testing.T, v *Vault) {
		bdk := load(t, v, "maker", PurposeBDK, algo.TDES2, unhex(t, "0123456789ABCDEFFEDCBA9876543210"))
		ksn := unhex(t, "FFFF9876543210E00001")
		term, err := v.OpenDUKPT(bdk, ksn)
		if v.isHSM() {
			if !errors.Is(err, ErrUnsupported) {
				t.Errorf("in a module: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		defer term.Close()
		data := []byte("4012345678909D987")
		if g, err := term.VerifyMAC(algo.MACX919, data, unhex(t, "9CCC78173FC4FB64")); err != nil || g != Current {
			t.Errorf("request: %v", err)
		}
		if m, err := term.MAC(Current, algo.MACX919, data); err != nil || !bytes.Equal(m[:], unhex(t, "20364223C1FF00FA")) {
			t.Errorf("response: %X %v", m, err)
		}
		for _, purpose := range []Purpose{PurposeZPK, PurposeKBPK, PurposeTMK} {
			if _, err := v.OpenDUKPT(load(t, v, "maker", purpose, algo.TDES2, unhex(t, "0123456789ABCDEFFEDCBA9876543210")), ksn); !errors.Is(err, ErrPurpose) {
				t.Errorf("derived from a %v: %v", purpose, err)
			}
		}
		zpkClear := unhex(t, pubTPK)
		zone, err := v.OpenZone(load(t, v, theIssuer, PurposeZPK, algo.TDES2, zpkClear))
		if err != nil {
			t.Fatal(err)
		}
		defer zone.Close()
		pan, _ := txn.ParsePAN("4012345678909")
		out, err := term.TranslatePIN(nil, algo.PINISO0, unhex(t, "1B9C1845EB993A7A"), &pan, zone, algo.PINISO0)
		if err != nil {
			t.Fatal(err)
		}
		zpk, _ := algo.NewLocal(algo.TDES2, zpkClear)
		if pin, err := algo.DecipherPIN(nil, zpk, algo.PINISO0, out, pan.Append(nil)); err != nil || string(pin) != "1234" {
			t.Errorf("PIN: %v", err)
		}
		if _, err := v.OpenDUKPT(bdk, ksn[:9]); !errors.Is(err, algo.ErrKSN) {
			t.Errorf("short serial number: %v", err)
		}
		aes := load(t, v, "maker", PurposeBDK, algo.AES128, unhex(t, "FEDCBA9876543210F1F1F1F1F1F1F1F1"))
		if term, err := v.OpenDUKPT(aes, unhex(t, "123456789012345600000001")); err != nil {
			t.Errorf("AES: %v", err)
		} else {
			term.Close()
		}
	})
}

func TestSerialCipher(t *testing.T) {
	v := softVault(t)
	key := load(t, v, "maker", PurposeSerial, algo.SM4, unhex(t, "0123456789ABCDEFFEDCBA9876543210"))
	k, err := v.OpenSerial(key)
	if err != nil {
		t.Fatal(err)
	}
	serial, factor := []byte("00002304SN0000000001"), []byte("890128")
	if err := k.Verify(serial, factor, []byte("1A773210")); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"", "1A773211", "1a773210", "1A7732100"} {
		if err := k.Verify(serial, factor, []byte(text)); !errors.Is(err, ErrMACWrong) {
			t.Errorf("%q: %v", text, err)
		}
	}
	k.Close()
	if err := k.Verify(serial, factor, []byte("1A773210")); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := v.OpenSerial(load(t, v, "maker", PurposeTDK, algo.SM4, unhex(t, "0123456789ABCDEFFEDCBA9876543210"))); !errors.Is(err, ErrPurpose) {
		t.Errorf("another key: %v", err)
	}
}

func TestStoredFormRefusals(t *testing.T) {
	good := []byte{1, 'a', 1, 'b', 0, 1, 'd'}
	if k, err := ParseTerminalKeys(theTerminal, good); err != nil || string(k.PreviousTAK) != "d" || k.TDK != nil {
		t.Errorf("%v %v", k, err)
	}
	for i := range good {
		if _, err := ParseTerminalKeys(theTerminal, good[:i]); !errors.Is(err, ErrSealedKey) {
			t.Errorf("cut to %d: %v", i, err)
		}
	}
	if _, err := ParseTerminalKeys(theTerminal, append(good, 0)); !errors.Is(err, ErrSealedKey) {
		t.Errorf("a byte too many: %v", err)
	}
}

func FuzzParseTerminalKeys(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{1, 'a', 1, 'b', 0, 1, 'd'})
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseTerminalKeys(theTerminal, b)
		if err != nil {
			return
		}
		for _, s := range []Sealed{k.TPK, k.TAK, k.TDK, k.PreviousTAK} {
			_ = s.String()
		}
		if again, err := k.AppendBinary(nil); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x became %x: %v", b, again, err)
		}
	})
}

func TestLMKFileRefusals(t *testing.T) {
	key := strings.Repeat("ab", 32)
	for text, want := range map[string]string{
		"":                                "it holds no key",
		"# nothing\n":                     "it holds no key",
		"lmk 1 12":                        "line 1: a key must be 64 hex digits",
		"lmk 1 " + key + "00":             "line 1: a key must be 64 hex digits",
		"lmk 1 " + key[:63] + "g":         "line 1: a key must be 64 hex digits",
		"lmk 0 " + key:                    "line 1: a version must be 1 to 255",
		"lmk 1 " + key + "\nlmk 1 " + key: "line 2: a version must be 1 to 255, and appear once",
		"seal 1 " + key:                   `line 1: want "lmk VERSION HEX"`,
		strings.Repeat("x", 70000):        "line is too long",
	} {
		_, err := parseLMK([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), key) {
			t.Errorf("%.20q: %v, want %q", text, err, want)
		}
	}
	path := filepath.Join(t.TempDir(), "lmk")
	if err := os.WriteFile(path, []byte("lmk 1 "+key), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSoft(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file that the group reads: %v", err)
	}
}

func TestLMKRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lmk")
	v, err := OpenSoft(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi, _ := os.Stat(path); fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", fi.Mode())
	}
	old, err := v.Generate(theIssuer, PurposeZPK, algo.TDES2)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(path)
	os.WriteFile(path, fmt.Appendf(text, "lmk 2 %s\n", strings.Repeat("cd", 32)), 0o600)
	if v, err = OpenSoft(path); err != nil {
		t.Fatal(err)
	}
	if z, err := v.OpenZone(old); err != nil {
		t.Errorf("sealed under version 1: %v", err)
	} else {
		z.Close()
	}
	fresh, err := v.Generate(theIssuer, PurposeZPK, algo.TDES2)
	if info, _ := fresh.Sealed.Info(); err != nil || info.LMK != 2 {
		t.Errorf("sealed under version %d: %v", info.LMK, err)
	}
	if moved, err := v.Reseal(old); err != nil || moved.Sealed[1] != 2 || moved.Sealed.String() != old.Sealed.String() {
		t.Errorf("resealed as %v: %v", moved.Sealed, err)
	} else if z, err := v.OpenZone(moved); err != nil {
		t.Errorf("resealed: %v", err)
	} else {
		z.Close()
	}
	if _, err := v.Reseal(Key{"issuer west", old.Sealed}); !errors.Is(err, ErrSealedKey) {
		t.Errorf("resealed for another owner: %v", err)
	}
	if _, err := softVault(t).OpenZone(fresh); !errors.Is(err, ErrSealedKey) {
		t.Errorf("another vault's: %v", err)
	}
}
