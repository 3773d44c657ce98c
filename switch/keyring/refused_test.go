package keyring

import (
	"bytes"
	"encoding/hex"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// A terminal without keys for what it asks is told so, whoever asked first.
func TestTerminalsWithoutKeys(t *testing.T) {
	d := newDesk(t)
	issuer, _ := d.zone("east", algo.TDES2)
	ask := func(when string, signOn txn.Reason) {
		t.Helper()
		req := d.request(0)
		req.MAC = make([]byte, 8)
		req.PINBlock, req.Track2, req.Deadline, req.KeySet = make([]byte, 8), make([]byte, 20), time.Now().Add(time.Minute), 3
		d.want(when+"MAC", d.ring.Check(req), txn.SignOnIsRequired)
		d.want(when+"PIN", d.ring.TranslatePIN(req, issuer), txn.SignOnIsRequired)
		d.want(when+"track", d.ring.DecipherTrack(req), txn.SignOnIsRequired)
		if mac, err := d.ring.Sign(req, testLine); err == nil || mac != [8]byte{} {
			t.Errorf("%san answer is signed with %X", when, mac)
		}
		var ans txn.Answer
		if d.want(when+"sign-on", d.ring.SignOn(req, &ans), signOn); (len(ans.Keys) > 0) != (signOn == txn.Approved) {
			t.Errorf("%sgiven %d bytes of keys", when, len(ans.Keys))
		}
	}
	ask("nobody knows it: ", txn.TerminalHasNoKeys)
	serial, err := d.ring.vault.Generate(keys.OfTerminal(tid), keys.PurposeSerial, algo.SM4)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.ring.SetSerial(tid, serial); err != nil {
		t.Fatal(err)
	}
	ask("it has a serial key alone: ", txn.TerminalHasNoKeys)
	d.load()
	ask("it has not signed on: ", txn.Approved)
}

// An issuer's single-length PIN key is said to be one, in DE53.
func TestPINUnderASingleLengthKey(t *testing.T) {
	d := newDesk(t)
	issuer, key := d.zone("old", algo.DES)
	d.load()
	o := d.signOnFor(keys.KeySetDouble)
	block, err := algo.EncipherPIN(nil, o.tpk, algo.PINISO0, []byte(pin), []byte(pinPAN))
	if err != nil {
		t.Fatal(err)
	}
	req := &txn.Request{Kind: txn.KindSale, Key: txn.Key{Terminal: tid}, Day: d.day, Terminal: &d.holder, PINBlock: block}
	req.PAN, _ = txn.ParsePAN(pinPAN)
	d.want("translated", d.ring.TranslatePIN(req, issuer), txn.Approved)
	if got, err := algo.DecipherPIN(nil, key, algo.PINISO0, req.PINBlock, []byte(pinPAN)); err != nil || string(got) != pin || string(req.SecurityInfo[:]) != "2000000000000000" {
		t.Errorf("the issuer finds %d digits, %v, and DE53 %q", len(got), err, req.SecurityInfo)
	}
}

// A key of another use, of another owner, or that does not open is not kept.
func TestKeysThatAreRefused(t *testing.T) {
	d := newDesk(t)
	east := txn.MakeIssuerID("east")
	zak, err := d.ring.vault.Generate(keys.OfIssuer(east), keys.PurposeZAK, algo.TDES2)
	if err != nil {
		t.Fatal(err)
	}
	tdk, err := d.ring.vault.Generate(keys.OfTerminal(tid), keys.PurposeTDK, algo.TDES2)
	if err != nil {
		t.Fatal(err)
	}
	broken := zak
	broken.Sealed = bytes.Clone(zak.Sealed)
	broken.Sealed[len(broken.Sealed)-1] ^= 1
	nothing := keys.Key{Owner: keys.OfTerminal(tid)}
	other, err := keys.OpenSoft(filepath.Join(t.TempDir(), "lmk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	foreign := func(owner keys.Owner, purpose keys.Purpose) keys.Key {
		k, err := other.Generate(owner, purpose, algo.TDES2)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	before := d.last()
	for name, err := range map[string]error{
		"a MAC key for PINs":            d.ring.SetZone(east, zak),
		"a MAC key that does not open":  d.ring.SetZoneMAC(east, broken),
		"a track key for a master key":  d.ring.SetMaster(tid, tdk),
		"another vault's master key":    d.ring.SetMaster(tid, foreign(keys.OfTerminal(tid), keys.PurposeTMK)),
		"another vault's key of blocks": d.ring.SetBlocks("factory", foreign(keys.OfBlocks("factory"), keys.PurposeKBPK)),
		"nothing for a master key":      d.ring.SetMaster(tid, nothing),
		"nothing for a serial key":      d.ring.SetSerial(tid, nothing),
		"a track key for a base key":    d.ring.SetBaseKey("FFFF987654", tdk),
		"nothing for a key of blocks":   d.ring.SetBlocks("factory", nothing),
		"a MAC key for a key of blocks": d.ring.SetBlocks("east", zak),
		"a MAC key for a ZMK":           d.ring.SetZMK(east, zak),
		"another issuer's ZMK":          d.ring.SetZMK(east, foreign(keys.OfIssuer(east), keys.PurposeZMK)),
	} {
		if err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if last := d.last(); last != before {
		t.Errorf("something was stored: %d, before %d", last, before)
	}
	d.restart()
	if all, err := d.ring.List(); err != nil || len(all) != 0 {
		t.Errorf("the ring has %v, %v", all, err)
	}
}

func TestBaseKeyNames(t *testing.T) {
	for name, kind := range map[string]algo.Kind{"FFFF987654": algo.TDES2, "12345678": algo.AES128, "0A0B0C0D": algo.AES256} {
		if err := CheckBaseKeyName(name, kind); err != nil {
			t.Error(err)
		}
	}
	for name, kind := range map[string]algo.Kind{"FFFF9876": algo.TDES2, "FFFF987654": algo.AES128, "ffff987654": algo.TDES2, "FFFF98765X": algo.TDES2, "": algo.AES128} {
		if CheckBaseKeyName(name, kind) == nil {
			t.Errorf("%q is taken for the name of a %v base key", name, kind)
		}
	}
}

// A new MAC key of an issuer takes the old one's place at once.
func TestZoneMACIsReplaced(t *testing.T) {
	d := newDesk(t)
	east := txn.MakeIssuerID("east")
	var macs [2][algo.MACSize]byte
	for i := range macs {
		clearKey := bytes.Repeat([]byte{0x13, 0x57 + byte(i)<<1}, 8)
		if err := d.ring.SetZoneMAC(east, d.combine(keys.OfIssuer(east), keys.PurposeZAK, algo.TDES2, clearKey)); err != nil {
			t.Fatal(err)
		}
		var err error
		if macs[i], err = d.ring.ZoneMAC(east, algo.MACX99, testLine); err != nil {
			t.Fatal(err)
		}
	}
	if macs[0] == macs[1] {
		t.Errorf("the old key is still in use: %X", macs)
	}
	d.restart()
	if got, err := d.ring.ZoneMAC(east, algo.MACX99, testLine); err != nil || got != macs[1] {
		t.Errorf("after a restart: %X, %v, want %X", got, err, macs[1])
	}
}

// A log with a record that cannot be read is none to begin with.
func TestRecordsThatCannotBeRead(t *testing.T) {
	d := newDesk(t)
	for want, b := range map[string][]byte{
		"record 7 is cut off":                        record(recordMaster, tid, 0)[:recordHead-1],
		"record 7 is of kind 99, written by a newer": record(99, tid, 0),
		"record 7 has a counter of 3 bytes":          append(record(recordCounter, tid, 0), 1, 2, 3),
		"record 7: ":                                 append(record(recordWorking, tid, 0), 1, 2, 3),
	} {
		if err := d.ring.restore(7, b); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for _, row := range []struct {
		record []byte
		want   string
	}{
		{append(record(recordZone, tid, 0), 1, 2, 3), "open PIN key of issuer"},
		{record(99, tid, 0), "written by a newer version"},
	} {
		if _, err := d.ring.store.Append(row.record); err != nil {
			t.Fatal(err)
		}
		if err := d.ring.Recover(); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("it was recovered: %v, want %q", err, row.want)
		}
	}
}

// A DUKPT terminal counts to the end of its counter's bits; another machine in its
// place begins anew, and each day's first message alone is written down.
func TestDUKPTCounters(t *testing.T) {
	for _, row := range []struct {
		scheme  txn.KeyScheme
		kind    algo.Kind
		bdk     []byte
		devices [2]string
		base    string
		high    uint32 // with bits above the lower sixteen
	}{
		{txn.KeysDUKPTTDES, algo.TDES2, testTMK, [2]string{"FFFF9876543210E0", "FFFF9876543220E0"}, "FFFF987654", 0x1E0000},
		{txn.KeysDUKPTAES128, algo.AES128, bytes.Repeat([]byte{0xFE, 0xDC, 0xBA, 0x98}, 4), [2]string{"1234567890123456", "1234567890123457"}, "12345678", 0x10E0000},
	} {
		d := newDesk(t)
		var machines [2]dukptTerminal
		for i, text := range row.devices {
			device, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			machines[i] = dukptTerminal{d, row.kind, row.bdk, device}
		}
		d.holder = txn.Terminal{ID: tid, MAC: txn.MACCMAC, Keys: row.scheme, Device: txn.DeviceID(machines[0].device)}
		if err := d.ring.SetBaseKey(row.base, d.combine(keys.OfBaseKey(row.base), keys.PurposeBDK, row.kind, row.bdk)); err != nil {
			t.Fatal(err)
		}
		before := d.last()
		for _, n := range []uint32{1, 0x18001, row.high, row.high + 1} {
			d.want(row.scheme.String(), d.ring.Check(machines[0].sale(n)), txn.Approved)
		}
		for _, n := range []uint32{row.high, 0x18001, 2} {
			d.want(row.scheme.String()+", an older one", d.ring.Check(machines[0].sale(n)), txn.MACIsWrong)
		}
		if got := d.ring.Count(KSNOld); got != 3 {
			t.Errorf("%d old serial numbers are counted", got)
		}
		d.holder.Device = txn.DeviceID(machines[1].device)
		for _, n := range []uint32{3, 4} {
			d.want(row.scheme.String()+", another machine", d.ring.Check(machines[1].sale(n)), txn.Approved)
		}
		if got := d.last() - before; got != 2 {
			t.Errorf("%d records were written of two machines' day", got)
		}
		d.day++
		d.want("the next day", d.ring.Check(machines[1].sale(5)), txn.Approved)
		if got := d.last() - before; got != 3 {
			t.Errorf("%d records were written of two days", got)
		}
		gone := machines[1].sale(6)
		d.stop()
		if got := d.ring.Check(gone); got == txn.Approved {
			t.Error("a MAC was taken without keys")
		}
		d.open()
	}
}
