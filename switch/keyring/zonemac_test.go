package keyring

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// bank is an issuer that sends keys under a ZMK.
type bank struct {
	d   *desk
	id  txn.IssuerID
	zmk *algo.Local
}

func (d *desk) bank(kind algo.Kind) *bank {
	d.t.Helper()
	clearKey := bytes.Repeat([]byte{0x2C, 0x4F, 0x91}, 8)[:kind.KeySize()]
	id := txn.MakeIssuerID("east")
	if err := d.ring.SetZMK(id, d.combine(keys.OfIssuer(id), keys.PurposeZMK, kind, clearKey)); err != nil {
		d.t.Fatal(err)
	}
	zmk, err := algo.NewLocal(kind, clearKey)
	if err != nil {
		d.t.Fatal(err)
	}
	return &bank{d, id, zmk}
}

// sends is a message with a key, which is seed repeated, and what MACs under it are.
func (b *bank) sends(mac bool, kind algo.Kind, seed byte) (*txn.NewKey, *algo.Local) {
	b.d.t.Helper()
	clearKey := bytes.Repeat([]byte{seed, seed ^ 0x3C, seed ^ 0x51}, 8)[:kind.KeySize()]
	key, err := algo.NewLocal(kind, clearKey)
	if err != nil {
		b.d.t.Fatal(err)
	}
	kcv, err := algo.CheckValue(key)
	if err != nil {
		b.d.t.Fatal(err)
	}
	b.zmk.Encrypt(clearKey, clearKey)
	return &txn.NewKey{MAC: mac, SM4: kind == algo.SM4, Cryptogram: clearKey, CheckValue: kcv[:]}, key
}

// set has the ring take a key, and says whether it changed anything.
func (b *bank) set(k *txn.NewKey) bool {
	b.d.t.Helper()
	sent, err := b.d.ring.Receive(b.id, k)
	if err != nil {
		b.d.t.Fatal(err)
	}
	defer sent.Close()
	_, changed, err := sent.Set()
	if err != nil {
		b.d.t.Fatal(err)
	}
	return changed
}

func macOf(t *testing.T, key *algo.Local) [algo.MACSize]byte {
	t.Helper()
	mac, err := algo.MACX99.MAC(algo.MACKey{Whole: key}, testLine)
	if err != nil {
		t.Fatal(err)
	}
	return mac
}

// An issuer's new MAC key is used at once; what it signed with the one before is taken for a
// while, over a restart, and not after that. The same key again changes nothing.
func TestIssuerSendsMACKeys(t *testing.T) {
	d := newDesk(t)
	b := d.bank(algo.TDES2)
	check := func(what string, now, before *algo.Local) {
		t.Helper()
		if got, err := d.ring.ZoneMAC(b.id, algo.MACX99, testLine); err != nil || got != macOf(t, now) {
			t.Errorf("%s: %X, %v, want %X", what, got, err, macOf(t, now))
		}
		got, err := d.ring.ZoneMACBefore(b.id, algo.MACX99, testLine)
		if before == nil {
			if !errors.Is(err, ErrNoKey) {
				t.Errorf("%s: before: %X, %v", what, got, err)
			}
		} else if err != nil || got != macOf(t, before) {
			t.Errorf("%s: before: %X, %v, want %X", what, got, err, macOf(t, before))
		}
	}
	sendFirst, first := b.sends(true, algo.TDES2, 1)
	sendSecond, second := b.sends(true, algo.TDES2, 2)
	sendThird, third := b.sends(true, algo.DES, 3)
	sent, err := d.ring.Receive(b.id, sendFirst)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := sent.MAC(testLine); err != nil || got != macOf(t, first) {
		t.Errorf("its proof: %X, %v", got, err)
	}
	sent.Close()
	if _, err := d.ring.ZoneMAC(b.id, algo.MACX99, nil); !errors.Is(err, ErrNoKey) {
		t.Errorf("a key that was not set is used: %v", err)
	}

	b.set(sendFirst)
	check("the first", first, nil)
	var links sync.WaitGroup
	changed := new(atomic.Int32)
	for range 4 { // by several links at a time
		links.Go(func() {
			if b.set(sendSecond) {
				changed.Add(1)
			}
		})
	}
	if links.Wait(); changed.Load() != 1 {
		t.Errorf("one key was taken for %d", changed.Load())
	}
	check("the second", second, first)
	stored := d.last()
	if b.set(sendSecond) || d.last() != stored {
		t.Error("the same key again is another")
	}
	check("the second again", second, first)
	d.restart()
	check("after a restart", second, first)
	if b.set(sendSecond) { // its answer was lost with the process
		t.Error("the same key after a restart is another")
	}
	check("the second after a restart", second, first)
	if _, err := d.ring.store.Rewrite(d.ring.counting); err != nil {
		t.Fatal(err)
	}
	d.restart()
	check("written anew", second, first)
	if !b.set(sendThird) {
		t.Error("a third key was not taken")
	}
	check("a single-length one", third, second)
	d.ring.replacedMACs[b.id].until = time.Now().Add(-time.Second)
	check("later", third, nil)
	if _, err := d.ring.store.Rewrite(d.ring.counting); err != nil {
		t.Fatal(err)
	}
	d.restart()
	check("later, after a restart", third, nil)

	b.set(sendFirst)
	check("back to the first", first, third)
	if err := d.ring.SetZoneMAC(b.id, d.combine(keys.OfIssuer(b.id), keys.PurposeZAK, algo.TDES2, bytes.Repeat([]byte{9, 8}, 8))); err != nil {
		t.Fatal(err)
	}
	if _, err := d.ring.ZoneMACBefore(b.id, algo.MACX99, testLine); !errors.Is(err, ErrNoKey) {
		t.Errorf("a key that people replaced is taken: %v", err)
	}
	d.restart()
	if _, err := d.ring.ZoneMACBefore(b.id, algo.MACX99, testLine); !errors.Is(err, ErrNoKey) {
		t.Errorf("a key that people replaced is taken after a restart: %v", err)
	}
	swap := []*txn.NewKey{sendFirst, sendSecond}
	var n int
	replacedBeside(t, func() error { n++; b.set(swap[n%2]); return nil }, func() {
		if _, err := d.ring.ZoneMAC(b.id, algo.MACX99, testLine); err != nil {
			t.Errorf("while keys change: %v", err)
		}
		if _, err := d.ring.ZoneMACBefore(b.id, algo.MACX99, testLine); err != nil && !errors.Is(err, ErrNoKey) && !errors.Is(err, keys.ErrClosed) {
			t.Errorf("before, while keys change: %v", err)
		}
	})
}

// An issuer's new PIN key is the one that PINs go to it under.
func TestIssuerSendsPINKeys(t *testing.T) {
	d := newDesk(t)
	b := d.bank(algo.TDES3)
	for _, kind := range []algo.Kind{algo.TDES2, algo.TDES3} {
		k, key := b.sends(false, kind, byte(kind))
		if !b.set(k) || b.set(k) {
			t.Errorf("%v: it is not set once", kind)
		}
		d.restart()
		stored, err := d.ring.ZonePIN(b.id)
		info, _ := stored.Sealed.Info()
		if kcv, _ := algo.CheckValue(key); err != nil || info.Kind != kind || info.KCV != kcv {
			t.Errorf("%v: %v, %v, want %v", kind, info, err, kcv)
		}
	}
}

// What is no key of the issuer's changes nothing.
func TestKeysNotTakenFromIssuers(t *testing.T) {
	d := newDesk(t)
	nobody, _ := (&bank{d: d, zmk: d.bank(algo.TDES2).zmk}).sends(false, algo.TDES2, 5)
	if _, err := d.ring.Receive(txn.MakeIssuerID("west"), nobody); !errors.Is(err, ErrNoKey) {
		t.Errorf("without a ZMK: %v", err)
	}
	b := d.bank(algo.TDES2)
	wrong, _ := b.sends(true, algo.TDES2, 5)
	wrong.CheckValue[1] ^= 1
	single, _ := b.sends(false, algo.DES, 5)
	strong, _ := b.sends(false, algo.TDES3, 5)
	cut, _ := b.sends(true, algo.TDES2, 5)
	cut.Cryptogram = cut.Cryptogram[:15]
	sm4, _ := b.sends(true, algo.SM4, 5)
	before := d.last()
	for name, row := range map[string]struct {
		k    *txn.NewKey
		want error
	}{
		"a wrong check value": {wrong, keys.ErrCheckValue}, "a single-length PIN key": {single, keys.ErrPurpose}, "a key stronger than the ZMK": {strong, keys.ErrPurpose},
		"a key cut off": {cut, keys.ErrPurpose}, "an SM4 key under TDES": {sm4, keys.ErrPurpose}, "nothing": {&txn.NewKey{}, keys.ErrPurpose},
	} {
		if sent, err := d.ring.Receive(b.id, row.k); !errors.Is(err, row.want) || sent != nil {
			t.Errorf("%s: %v, want %v", name, err, row.want)
		}
	}
	if d.last() != before {
		t.Error("something was stored")
	}
	if err := d.ring.restore(7, append(record(recordZoneMACs, tid, 0), 1, 2, 3)); err == nil || !strings.HasPrefix(err.Error(), "record 7: ") {
		t.Errorf("a record that is cut off: %v", err)
	}
	if err := d.ring.restore(7, append(record(recordZoneMACs, tid, 0), 0, 0, 0, 0, 0, 0, 0, 0, 9, 1)); err == nil {
		t.Error("a key that is cut off was read")
	}
}
