package keys

import (
	"bytes"
	"errors"
	"testing"

	"github.com/acqswitch/acqswitch/switch/keys/algo"
)

// The published set of keys of a terminal (three independent programs agree).
const (
	pubTMK  = "CA5D92598DCA48CE8A4C76361A9269E9"
	pubDE62 = "6701EAD6A9AD51E51AA406E2C27FCFA98D0A74B8B651F9E9BACE9AE10000000000000000AB7153CA"
	pubTPK  = "807A23AD32B36D457AE91FDF927570EA"
	pubTAK  = "5BB5C72CD00B7338"
)

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
	{"B1 001 单倍长, DE62 of 24", KeySetSingle, IssueOptions{}, algo.TDES2, 24, []algo.Kind{algo.DES, algo.DES}, []algo.MACAlgorithm{algo.MACCUPECB, algo.MACX99, algo.MACX919}, algo.PINISO0},
	{"B1 003 双倍长, DE62 of 40", KeySetDouble, IssueOptions{}, algo.TDES2, 40, []algo.Kind{algo.TDES2, algo.DES}, []algo.MACAlgorithm{algo.MACCUPECB, algo.MACX99, algo.MACX919}, algo.PINISO0},
	{"B1 003 with a TAK of 16 full bytes", KeySetDouble, IssueOptions{DoubleTAK: true}, algo.TDES2, 40, []algo.Kind{algo.TDES2, algo.TDES2}, []algo.MACAlgorithm{algo.MACCUPECB, algo.MACCUPFold, algo.MACX919, algo.MACCMAC}, algo.PINISO3},
	{"B1 004 双倍长 and track, DE62 of 60", KeySetDoubleTrack, IssueOptions{}, algo.TDES2, 60, []algo.Kind{algo.TDES2, algo.DES, algo.TDES2}, []algo.MACAlgorithm{algo.MACCUPECB}, algo.PINCUPPlain},
	{"B1 005 SM4, DE62 of 60", KeySetSM4, IssueOptions{}, algo.SM4, 60, []algo.Kind{algo.SM4, algo.SM4, algo.SM4}, []algo.MACAlgorithm{algo.MACCUPECB, algo.MACCBC}, algo.PINCUPSM4},
	{"B1 006 SM4, DE62 of 60", KeySetSM4Alt, IssueOptions{}, algo.SM4, 60, []algo.Kind{algo.SM4, algo.SM4, algo.SM4}, []algo.MACAlgorithm{algo.MACCUPECB}, algo.PINCUPSM4},
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
