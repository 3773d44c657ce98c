package keys

import (
	"bytes"
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

// The published set of keys of a terminal (three independent programs agree).
const (
	pubTMK  = "CA5D92598DCA48CE8A4C76361A9269E9"
	pubDE62 = "6701EAD6A9AD51E51AA406E2C27FCFA98D0A74B8B651F9E9BACE9AE10000000000000000AB7153CA"
	pubTPK  = "807A23AD32B36D457AE91FDF927570EA"
	pubTAK  = "5BB5C72CD00B7338"
)

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

// device is a terminal's side: it has its TMK in clear and takes DE62.
type device struct {
	tpk, tdk *algo.Local
	tak      algo.MACKey
}

func takeKeys(t testing.TB, tmkKind algo.Kind, tmk, de62 []byte, kinds ...algo.Kind) device {
	t.Helper()
	master, err := algo.NewLocal(tmkKind, tmk)
	if err != nil {
		t.Fatal(err)
	}
	width := len(de62)/len(kinds) - 4
	var keys []*algo.Local
	var takClear []byte
	for i, kind := range kinds {
		field := bytes.Clone(de62[i*(width+4) : (i+1)*(width+4)])
		key := field[:kind.KeySize()]
		if rest := field[kind.KeySize():width]; !bytes.Equal(rest, make([]byte, len(rest))) {
			t.Fatalf("key %d is followed by %X, want zeros", i, rest)
		}
		master.Decrypt(key, key)
		if got := kcv(t, kind, key); !bytes.Equal(got, field[width:]) {
			t.Fatalf("key %d: KCV %X, its field says %X", i, got, field[width:])
		}
		l, _ := algo.NewLocal(kind, key)
		keys = append(keys, l)
		if i == 1 {
			takClear = key
		}
	}
	d := device{tpk: keys[0], tak: algo.MACKey{Whole: keys[1]}}
	if kinds[1] == algo.TDES2 {
		d.tak.Left, _ = algo.NewLocal(algo.DES, takClear[:8])
	}
	if len(keys) > 2 {
		d.tdk = keys[2]
	}
	return d
}

func TestPublishedKeysAreTakenFromDE62(t *testing.T) {
	d := takeKeys(t, algo.TDES2, unhex(t, pubTMK), unhex(t, pubDE62), algo.TDES2, algo.DES)
	zero := make([]byte, 8)
	d.tpk.Encrypt(zero, zero)
	tpk, _ := algo.NewLocal(algo.TDES2, unhex(t, pubTPK))
	want := make([]byte, 8)
	tpk.Encrypt(want, want)
	if !bytes.Equal(zero, want) {
		t.Error("TPK differs from the published one")
	}
}

var keySets = []struct {
	name  string
	set   KeySet
	opt   IssueOptions
	tmk   algo.Kind
	size  int
	kinds []algo.Kind
	macs  []algo.MACAlgorithm
	pin   algo.PINFormat
}{
	{"001 single", KeySetSingle, IssueOptions{}, algo.TDES2, 24, []algo.Kind{algo.DES, algo.DES}, []algo.MACAlgorithm{algo.MACCUPECB, algo.MACX99, algo.MACX919}, algo.PINISO0},
	{"003 double", KeySetDouble, IssueOptions{}, algo.TDES2, 40, []algo.Kind{algo.TDES2, algo.DES}, []algo.MACAlgorithm{algo.MACCUPECB, algo.MACX99, algo.MACX919}, algo.PINISO0},
	{"003 with a double-length TAK", KeySetDouble, IssueOptions{DoubleTAK: true}, algo.TDES2, 40, []algo.Kind{algo.TDES2, algo.TDES2}, []algo.MACAlgorithm{algo.MACCUPECB, algo.MACCUPFold, algo.MACX919, algo.MACCMAC}, algo.PINISO3},
	{"004 double and track", KeySetDoubleTrack, IssueOptions{}, algo.TDES2, 60, []algo.Kind{algo.TDES2, algo.DES, algo.TDES2}, []algo.MACAlgorithm{algo.MACCUPECB}, algo.PINCUPPlain},
	{"005 SM4", KeySetSM4, IssueOptions{}, algo.SM4, 60, []algo.Kind{algo.SM4, algo.SM4, algo.SM4}, []algo.MACAlgorithm{algo.MACCUPECB, algo.MACCBC}, algo.PINCUPSM4},
	{"006 SM4", KeySetSM4Alt, IssueOptions{}, algo.SM4, 60, []algo.Kind{algo.SM4, algo.SM4, algo.SM4}, []algo.MACAlgorithm{algo.MACCUPECB}, algo.PINCUPSM4},
}

// TestSignOn issues every key set and uses it from both sides: the terminal's
// MACs verify, ours verify there, its PINs reach the issuer.
func TestSignOn(t *testing.T) {
	eachVault(t, func(t *testing.T, v *Vault) {
		zpkClear := unhex(t, "0123456789ABCDEFFEDCBA9876543210")
		zone, err := v.OpenZone(load(t, v, theIssuer, PurposeZPK, algo.TDES2, zpkClear))
		if err != nil {
			t.Fatal(err)
		}
		defer zone.Close()
		zpk, _ := algo.NewLocal(algo.TDES2, zpkClear)
		for _, row := range keySets {
			t.Run(row.name, func(t *testing.T) {
				tmkClear := unhex(t, pubTMK)
				if row.tmk == algo.SM4 && v.isHSM() {
					zero := make([]byte, len(tmkClear))
					_, err := v.Combine(OfTerminal(theTerminal), PurposeTMK, row.tmk, Component{tmkClear, kcv(t, row.tmk, tmkClear)}, Component{zero, kcv(t, row.tmk, zero)})
					if !errors.Is(err, ErrUnsupported) {
						t.Fatalf("SM4 in a module: %v", err)
					}
					return
				}
				tmk := load(t, v, OfTerminal(theTerminal), PurposeTMK, row.tmk, tmkClear)
				de62, keys, err := v.Issue(tmk, theTerminal, row.set, row.opt, nil)
				if err != nil {
					t.Fatal(err)
				}
				if len(de62) != row.size {
					t.Fatalf("DE62 has %d bytes, want %d", len(de62), row.size)
				}
				d := takeKeys(t, row.tmk, tmkClear, de62, row.kinds...)
				stored, err := keys.AppendBinary(nil)
				if err != nil {
					t.Fatal(err)
				}
				keys, err = ParseTerminalKeys(theTerminal, stored)
				if err != nil {
					t.Fatal(err)
				}
				term, err := v.OpenTerminal(keys)
				if err != nil {
					t.Fatal(err)
				}
				defer term.Close()
				message := []byte("0200 a message of no whole number of blocks")
				for _, alg := range row.macs {
					mac, err := alg.MAC(d.tak, message)
					if err != nil {
						t.Fatal(err)
					}
					if g, err := term.VerifyMAC(alg, message, mac[:]); err != nil || g != Current {
						t.Errorf("%v: %v %v", alg, g, err)
					}
					answer, err := term.MAC(Current, alg, message)
					if err != nil || answer != mac {
						t.Errorf("%v: answer's MAC differs: %v", alg, err)
					}
					mac[3] ^= 1
					if _, err := term.VerifyMAC(alg, message, mac[:]); err != ErrMACWrong {
						t.Errorf("%v: wrong MAC: %v", alg, err)
					}
				}
				pan := thePAN.Append(nil)
				block, err := algo.EncipherPIN(nil, d.tpk, row.pin, []byte(thePIN), pan)
				if err != nil {
					t.Fatal(err)
				}
				out, err := term.TranslatePIN([]byte{9}, row.pin, block, &thePAN, zone, algo.PINISO0)
				if err != nil || len(out) != 9 || out[0] != 9 {
					t.Fatalf("translated to %d bytes: %v", len(out), err)
				}
				if pin, err := algo.DecipherPIN(nil, zpk, algo.PINISO0, out[1:], pan); err != nil || string(pin) != thePIN {
					t.Errorf("the issuer reads another PIN: %v", err)
				}
				if _, err := term.TranslatePIN(nil, row.pin, out[1:], &thePAN, zone, algo.PINISO0); !errors.Is(err, ErrPINBlock) {
					t.Errorf("PIN block of another key: %v", err)
				}
				track := unhex(t, "376222021234567890128D301220100000123000")
				enciphered := bytes.Clone(track)
				if d.tdk != nil {
					size := d.tdk.Kind().BlockSize()
					d.tdk.Encrypt(enciphered[len(track)-1-size:len(track)-1], track[len(track)-1-size:len(track)-1])
					if err := term.DecipherTrack(enciphered); err != nil || !bytes.Equal(enciphered, track) {
						t.Errorf("track: %v", err)
					}
					if err := term.DecipherTrack(track[:size]); err == nil {
						t.Error("a short track was deciphered")
					}
				} else if err := term.DecipherTrack(track); !errors.Is(err, ErrPurpose) {
					t.Errorf("track without a key: %v", err)
				}
			})
		}
	})
}

// isHSM says that keys are in a module, which has no SM4 and reveals none.
func (v *Vault) isHSM() bool { _, ok := v.engine.(*soft); return !ok }

// TestLostSignOnAnswer holds the previous MAC key to one message.
func TestLostSignOnAnswer(t *testing.T) {
	eachVault(t, func(t *testing.T, v *Vault) {
		tmkClear := unhex(t, pubTMK)
		tmk := load(t, v, OfTerminal(theTerminal), PurposeTMK, algo.TDES2, tmkClear)
		sign := func(previous *TerminalKeys) (*Terminal, *TerminalKeys, device) {
			de62, keys, err := v.Issue(tmk, theTerminal, KeySetDouble, IssueOptions{}, previous)
			if err != nil {
				t.Fatal(err)
			}
			term, err := v.OpenTerminal(keys)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(term.Close)
			return term, keys, takeKeys(t, algo.TDES2, tmkClear, de62, algo.TDES2, algo.DES)
		}
		message, alg := []byte("0400 the reversal"), algo.MACCUPECB
		macOf := func(d device) []byte { m, _ := alg.MAC(d.tak, message); return m[:] }

		first, keys, old := sign(nil)
		if _, err := first.MAC(Previous, alg, message); !errors.Is(err, ErrPurpose) {
			t.Errorf("a previous key before there was one: %v", err)
		}
		second, keys, fresh := sign(keys)
		if _, err := second.VerifyMAC(alg, message, make([]byte, 8)); err != ErrMACWrong {
			t.Errorf("wrong under both keys: %v", err)
		}
		if g, err := second.VerifyMAC(alg, message, macOf(old)); err != nil || g != Previous {
			t.Fatalf("first message under the old key: %v %v", g, err)
		}
		if m, err := second.MAC(Previous, alg, message); err != nil || !bytes.Equal(m[:], macOf(old)) {
			t.Errorf("its answer is not under the old key: %v", err)
		}
		if _, err := second.VerifyMAC(alg, message, macOf(old)); err != ErrMACWrong {
			t.Errorf("second message under the old key: %v", err)
		}
		if g, err := second.VerifyMAC(alg, message, macOf(fresh)); err != nil || g != Current {
			t.Errorf("new key: %v %v", g, err)
		}
		third, _, _ := sign(keys)
		if g, err := third.VerifyMAC(alg, message, macOf(old)); err != ErrMACWrong {
			t.Errorf("key before the previous one: %v %v", g, err)
		}
		if g, err := third.VerifyMAC(alg, message, macOf(fresh)); err != nil || g != Previous {
			t.Errorf("previous key: %v %v", g, err)
		}

		fourth, _, newest := sign(keys)
		if g, err := fourth.VerifyMAC(alg, message, macOf(newest)); err != nil || g != Current {
			t.Errorf("new key: %v %v", g, err)
		}
		if _, err := fourth.VerifyMAC(alg, message, macOf(fresh)); err != ErrMACWrong {
			t.Errorf("old key after the new one was used: %v", err)
		}
		fourth.Close()
		fourth.Close()
		if _, err := fourth.VerifyMAC(alg, message, macOf(newest)); err != ErrClosed {
			t.Errorf("closed: %v", err)
		}
		if _, err := fourth.MAC(Current, alg, message); err != ErrClosed {
			t.Errorf("closed: %v", err)
		}
	})
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

// TestComponents follows the published key chain: two components of a ZMK,
// and a PIN and a MAC key under it.
func TestComponentsAndCryptograms(t *testing.T) {
	var f struct {
		Parts   []string `json:"zmk_parts"`
		PartKCV []string `json:"zmk_part_kcv"`
		PIKEnc  string   `json:"pik_enc"`
		PIKKCV  string   `json:"pik_kcv"`
		MAKEnc  string   `json:"mak_enc"`
		MAKKCV  string   `json:"mak_kcv"`
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
		for purpose, c := range map[Purpose][2]string{PurposeZPK: {f.PIKEnc, f.PIKKCV}, PurposeZAK: {f.MAKEnc, f.MAKKCV}} {
			k, err := v.ImportCryptogram(theIssuer, purpose, algo.TDES2, zmk, unhex(t, c[0]), unhex(t, c[1]))
			if err != nil {
				t.Fatal(err)
			}
			if info, _ := k.Sealed.Info(); info.KCV.String() != c[1] {
				t.Errorf("%v: KCV %v, want %s", purpose, info.KCV, c[1])
			}
		}
		zpk, _ := v.Generate(theIssuer, PurposeZPK, algo.TDES2)
		pik, kcv := unhex(t, f.PIKEnc), unhex(t, f.PIKKCV)
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
			"short component": {func() (Key, error) {
				return v.Combine(theIssuer, PurposeZMK, algo.TDES2, Component{one.Part[:8], one.KCV}, two)
			}, nil},
			"cryptogram under a ZPK":      {func() (Key, error) { return v.ImportCryptogram(theIssuer, PurposeZPK, algo.TDES2, zpk, pik, kcv) }, ErrPurpose},
			"cryptogram with another KCV": {func() (Key, error) { return v.ImportCryptogram(theIssuer, PurposeZPK, algo.TDES2, zmk, pik, one.KCV) }, ErrCheckValue},
			"cryptogram cut":              {func() (Key, error) { return v.ImportCryptogram(theIssuer, PurposeZPK, algo.TDES2, zmk, pik[:8], kcv) }, nil},
			"AES key under a TDES ZMK":    {func() (Key, error) { return v.ImportCryptogram(theIssuer, PurposeZPK, algo.AES128, zmk, pik, kcv) }, ErrPurpose},
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
	if err := v.VerifySerial(key, "00002304SN0000000001", "890128", []byte("1A773210")); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"", "1A773211", "1a773210", "1A7732100"} {
		if err := v.VerifySerial(key, "00002304SN0000000001", "890128", []byte(text)); !errors.Is(err, ErrMACWrong) {
			t.Errorf("%q: %v", text, err)
		}
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
	if _, err := softVault(t).OpenZone(fresh); !errors.Is(err, ErrSealedKey) {
		t.Errorf("another vault's: %v", err)
	}
}
