package keyring

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// The algorithms of terminals are those of package algo, number by number.
func TestProfilesAreTheAlgorithms(t *testing.T) {
	for p := txn.MACCUPECB; p.String() != "invalid"; p++ {
		if got, want := algorithm(p).String(), p.String(); got != want {
			t.Errorf("%s is algorithm %s", want, got)
		}
	}
	if next := algorithm(txn.MACCBC + 1); next.String() != "invalid" {
		t.Errorf("algorithm %s is no terminal's", next)
	}
}

// opened are a terminal's working keys as it has them.
type opened struct{ tpk, tak, takLeft, tdk *algo.Local }

// signOnFor signs on with a key set and opens DE62 as a terminal does.
func (d *desk) signOnFor(set keys.KeySet) opened {
	d.t.Helper()
	req := txn.Request{Kind: txn.KindSignOn, Key: txn.Key{Terminal: tid, Class: txn.ClassNetwork}, Day: d.day, KeySet: uint16(set), Terminal: &d.holder, Deadline: time.Now().Add(time.Minute)}
	var ans txn.Answer
	d.want(fmt.Sprintf("sign-on for set %03d", set), d.ring.SignOn(&req, &ans), txn.Approved)
	kind, size, under := algo.TDES2, 16, algo.TDES2
	switch set {
	case keys.KeySetSingle:
		kind, size = algo.DES, 8
	case keys.KeySetSM4, keys.KeySetSM4Alt:
		kind, under = algo.SM4, algo.SM4
	}
	master, err := algo.NewLocal(under, d.tmk)
	if err != nil {
		d.t.Fatal(err)
	}
	var o opened
	for i, b := 0, []byte(ans.Keys); len(b) > 0; i, b = i+1, b[size+4:] {
		text, kind := bytes.Clone(b[:size]), kind
		if i == 1 && kind == algo.TDES2 && bytes.Equal(text[8:], make([]byte, 8)) {
			text, kind = text[:8], algo.DES
		}
		if err := master.Decrypt(text, text); err != nil {
			d.t.Fatal(err)
		}
		k, err := algo.NewLocal(kind, text)
		if err != nil {
			d.t.Fatal(err)
		}
		if kcv, _ := algo.CheckValue(k); !bytes.Equal(kcv[:], b[size:size+4]) {
			d.t.Errorf("check value of key %d of set %03d is wrong", i, set)
		}
		switch i {
		case 0:
			o.tpk = k
		case 1:
			o.tak = k
			if kind == algo.TDES2 {
				o.takLeft, _ = algo.NewLocal(algo.DES, text[:8])
			}
		case 2:
			o.tdk = k
		}
	}
	return o
}

func (o opened) mac(t testing.TB, a txn.MACAlgorithm, data []byte) []byte {
	t.Helper()
	key := algo.MACKey{Whole: o.tak}
	if o.takLeft != nil {
		key.Left = o.takLeft
	}
	mac, err := algorithm(a).MAC(key, data)
	if err != nil {
		t.Fatal(err)
	}
	return mac[:]
}

// loadKind gives the terminal a master key of a kind.
func (d *desk) loadKind(kind algo.Kind) {
	d.t.Helper()
	key := d.combine(keys.OfTerminal(tid), keys.PurposeTMK, kind, d.tmk)
	if err := d.ring.SetMaster(tid, key); err != nil {
		d.t.Fatal(err)
	}
}

// combine makes a key of two components, as two custodians would.
func (d *desk) combine(owner keys.Owner, purpose keys.Purpose, kind algo.Kind, clearKey []byte) keys.Key {
	d.t.Helper()
	first := bytes.Repeat([]byte{0x5A}, len(clearKey))
	second := make([]byte, len(clearKey))
	var parts []keys.Component
	for i := range second {
		second[i] = clearKey[i] ^ first[i]
	}
	for _, part := range [][]byte{first, second} {
		k, err := algo.NewLocal(kind, part)
		if err != nil {
			d.t.Fatal(err)
		}
		kcv, err := algo.CheckValue(k)
		if err != nil {
			d.t.Fatal(err)
		}
		parts = append(parts, keys.Component{Part: part, KCV: kcv[:]})
	}
	key, err := d.ring.vault.Combine(owner, purpose, kind, parts...)
	if err != nil {
		d.t.Fatal(err)
	}
	return key
}

// zone gives an issuer a PIN key and returns it as the issuer has it.
func (d *desk) zone(name string, kind algo.Kind) (txn.IssuerID, *algo.Local) {
	d.t.Helper()
	issuer := txn.MakeIssuerID(name)
	clearKey := bytes.Repeat([]byte{0x13, 0x57, 0x9B}, 11)[:kind.KeySize()]
	if err := d.ring.SetZone(issuer, d.combine(keys.OfIssuer(issuer), keys.PurposeZPK, kind, clearKey)); err != nil {
		d.t.Fatal(err)
	}
	k, err := algo.NewLocal(kind, clearKey)
	if err != nil {
		d.t.Fatal(err)
	}
	return issuer, k
}

// Every algorithm with every key set that has keys for it: right is approved and
// answered under the same key, and one bit anywhere is not.
func TestEveryProfile(t *testing.T) {
	message := bytes.Repeat([]byte("0200 a message of no whole number of blocks "), 3)
	for _, row := range []struct {
		mac    txn.MACAlgorithm
		set    keys.KeySet
		double bool
	}{
		{txn.MACCUPECB, keys.KeySetSingle, false},
		{txn.MACCUPECB, keys.KeySetDouble, false},
		{txn.MACCUPECB, keys.KeySetDouble, true},
		{txn.MACCUPECB, keys.KeySetDoubleTrack, false},
		{txn.MACCUPECB, keys.KeySetSM4, false},
		{txn.MACCUPECB, keys.KeySetSM4Alt, false},
		{txn.MACCUPFold, keys.KeySetDouble, true},
		{txn.MACCUPFold, keys.KeySetSM4, false},
		{txn.MACX99, keys.KeySetDouble, false},
		{txn.MACX99, keys.KeySetSM4, false},
		{txn.MACX919, keys.KeySetDoubleTrack, true},
		{txn.MACCMAC, keys.KeySetDouble, true},
		{txn.MACCMAC, keys.KeySetSM4, false},
		{txn.MACCBC, keys.KeySetSM4, false},
	} {
		t.Run(fmt.Sprintf("%s, set %03d, double %v", row.mac, row.set, row.double), func(t *testing.T) {
			d := newDesk(t)
			d.holder.MAC, d.holder.DoubleTAK = row.mac, row.double
			kind := algo.TDES2
			if row.set >= keys.KeySetSM4 {
				kind = algo.SM4
			}
			d.loadKind(kind)
			o := d.signOnFor(row.set)
			mac := o.mac(t, row.mac, message)
			req := &txn.Request{Kind: txn.KindSale, Key: txn.Key{Terminal: tid}, Day: d.day, Terminal: &d.holder, Signed: message, MAC: mac}
			d.want("right", d.ring.Check(req), txn.Approved)
			answer, err := d.ring.Sign(req, message)
			if err != nil || !bytes.Equal(answer[:], mac) {
				t.Errorf("answer's MAC %X %v, want %X", answer, err, mac)
			}
			refused := func(what string) {
				t.Helper()
				if r := d.ring.Check(req); r != txn.MACIsWrong && r != txn.SignOnIsRequired {
					t.Errorf("%s: %v", what, r)
				}
			}
			for bit := range 8 * len(mac) {
				mac[bit/8] ^= 1 << (bit % 8)
				refused(fmt.Sprintf("bit %d of the MAC flipped", bit))
				mac[bit/8] ^= 1 << (bit % 8)
			}
			for bit := 0; bit < 8*len(message); bit += 7 {
				message[bit/8] ^= 1 << (bit % 8)
				refused(fmt.Sprintf("bit %d of the message flipped", bit))
				message[bit/8] ^= 1 << (bit % 8)
			}
			d.want("right again", d.ring.Check(req), txn.Approved)
			if d.ring.Count(MACWrong) != uint64(8*len(mac)+(8*len(message)+6)/7) || d.ring.Count(MACsWrong) == 0 {
				t.Errorf("%d wrong MACs counted", d.ring.Count(MACWrong))
			}
		})
	}
}

// A message of yesterday, and its exact repeat, authenticate nobody today.
func TestF16YesterdaysMessage(t *testing.T) {
	d := newDesk(t)
	d.load()
	d.signOn()
	old := d.request(0)
	d.want("today", d.ring.Check(old), txn.Approved)
	d.day++
	old.Day = d.day
	d.want("the day after, before the sign-on", d.ring.Check(old), txn.SignOnIsRequired)
	d.signOn()
	d.want("the day after, right after anybody's sign-on", d.ring.Check(old), txn.MACIsWrong)
	d.restart()
	d.want("and after a restart", d.ring.Check(old), txn.MACIsWrong)
	d.want("the terminal's first", d.ring.Check(d.request(0)), txn.Approved)
	d.want("the day after, after the terminal's first", d.ring.Check(old), txn.MACIsWrong)
}

// A terminal that signed off is told to sign on, also after a restart, and the
// keys that it had do not come back.
func TestSignOff(t *testing.T) {
	d := newDesk(t)
	d.load()
	d.want("before any sign-on", d.ring.SignOff(d.request(0)), txn.Approved)
	d.signOn()
	old := d.request(0)
	d.want("signed on", d.ring.Check(old), txn.Approved)
	d.want("sign-off", d.ring.SignOff(old), txn.Approved)
	d.want("signed off", d.ring.Check(old), txn.SignOnIsRequired)
	if _, err := d.ring.Sign(old, []byte("an approval of what was taken before")); err != nil {
		t.Error(err)
	}
	d.restart()
	d.want("and after a restart", d.ring.Check(old), txn.SignOnIsRequired)
	d.signOn()
	d.want("the keys of before", d.ring.Check(old), txn.MACIsWrong)
	d.want("the new ones", d.ring.Check(d.request(0)), txn.Approved)
}

// The keys of the day before are taken as long after the cut-over as the
// configuration says, and never those of the day before that.
func TestGraceAfterTheCutOver(t *testing.T) {
	for _, row := range []struct {
		name  string
		grace time.Duration
		after time.Duration // the cut-over of the day after the sign-on
		want  txn.Reason
	}{
		{"none: at the cut-over", 0, 0, txn.SignOnIsRequired},
		{"within", 30 * time.Minute, 30*time.Minute - time.Second, txn.Approved},
		{"over", 30 * time.Minute, 30 * time.Minute, txn.SignOnIsRequired},
		{"a day later", 30 * time.Minute, 24*time.Hour + time.Minute, txn.SignOnIsRequired},
	} {
		d := newDesk(t)
		d.cfg.Grace = row.grace
		d.restart()
		d.load()
		d.signOn()
		req := d.request(0)
		req.Received = d.cfg.Day.Start(d.day + 1).Add(row.after)
		req.Day = d.cfg.Day.Of(req.Received)
		d.want(row.name, d.ring.Check(req), row.want)
	}
}

// A terminal whose master key is another's signs on again and again.
func TestSignOnsWhoseKeysAreNotUsed(t *testing.T) {
	d := newDesk(t)
	d.load()
	for range FailuresMax {
		d.signOn()
		d.want("a sale", d.ring.Check(d.request(0)), txn.Approved)
	}
	if n := d.ring.Count(KeysUnused); n != 0 {
		t.Errorf("keys in use are counted as unused %d times", n)
	}
	for range FailuresMax {
		d.signOn()
	}
	if n := d.ring.Count(KeysUnused); n != 1 || !strings.Contains(d.log.String(), "its master key may be another") {
		t.Errorf("counted %d times, log %s", n, &d.log)
	}
}

const (
	pinPAN   = "6222021234567890128"
	otherPAN = "6222021234567890136"
	pin      = "123456"
)

// PIN blocks of every format, key and place, translated to issuers of every
// kind: the issuer finds the PIN with its own format, and DE53 says which.
func TestF18PINFormats(t *testing.T) {
	d := newDesk(t)
	des, desKey := d.zone("des", algo.TDES2)
	aes, aesKey := d.zone("aes", algo.AES128)
	sm4, sm4Key := d.zone("sm4", algo.SM4)
	issuers := []struct {
		id     txn.IssuerID
		key    *algo.Local
		format algo.PINFormat
		de53   string
	}{
		{des, desKey, algo.PINISO0, "2600000000000000"},
		{aes, aesKey, algo.PINISO4, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"},
		{sm4, sm4Key, algo.PINCUPSM4, "2300000000000000"},
	}
	for _, row := range []struct {
		name   string
		set    keys.KeySet
		option txn.PINFormat
		de53   string
		format algo.PINFormat
		binds  bool // the block is of one card
		want   txn.Reason
	}{
		{"B2 d1=2 含PAN, d2=0 单DES", keys.KeySetSingle, 0, "2000", algo.PINISO0, true, txn.Approved},
		{"B2 d1=2 含PAN, d2=6 双倍长3DES", keys.KeySetDouble, 0, "2600", algo.PINISO0, true, txn.Approved},
		{"B2 d1=1 不含PAN", keys.KeySetDouble, 0, "1600", algo.PINCUPPlain, false, txn.Approved},
		{"B2 d2=3 SM4", keys.KeySetSM4, 0, "2300", algo.PINCUPSM4, true, txn.Approved},
		{"B2 d2=4 SM4 as some number it", keys.KeySetSM4Alt, 0, "2400", algo.PINCUPSM4, true, txn.Approved},
		{"DE53 absent", keys.KeySetDouble, 0, "", algo.PINISO0, true, txn.Approved},
		{"registered as ISO-0", keys.KeySetDouble, txn.PINISO0, "9701", algo.PINISO0, true, txn.Approved},
		{"registered as ISO-1", keys.KeySetDouble, txn.PINISO1, "", algo.PINISO1, false, txn.Approved},
		// With another card its random filler mostly stays filler: the PIN then differs, and the issuer says so.
		{"registered as ISO-3", keys.KeySetDouble, txn.PINISO3, "", algo.PINISO3, false, txn.Approved},
		{"B2 d1=0 无PIN", keys.KeySetDouble, 0, "0600", algo.PINISO0, true, txn.PINBlockIsWrong},
		{"DE53 says SM4, the keys are TDES", keys.KeySetDouble, 0, "2300", algo.PINISO0, true, txn.PINBlockIsWrong},
		{"DE53 says TDES, the keys are SM4", keys.KeySetSM4, 0, "2600", algo.PINCUPSM4, true, txn.PINBlockIsWrong},
		{"SM4 without the card number", keys.KeySetSM4, 0, "1300", algo.PINCUPSM4, true, txn.PINBlockIsWrong},
		{"with said, without sent", keys.KeySetDouble, 0, "2600", algo.PINCUPPlain, false, txn.PINBlockIsWrong},
		{"registered as ISO-4, the keys are TDES", keys.KeySetDouble, txn.PINISO4, "", algo.PINISO0, true, txn.PINBlockIsWrong},
	} {
		t.Run(row.name, func(t *testing.T) {
			d.t = t
			kind := algo.TDES2
			if row.set >= keys.KeySetSM4 {
				kind = algo.SM4
			}
			d.loadKind(kind)
			d.holder.PINFormat = row.option
			o := d.signOnFor(row.set)
			sale := func(pan string) *txn.Request {
				block, err := algo.EncipherPIN(nil, o.tpk, row.format, []byte(pin), []byte(pinPAN))
				if err != nil {
					t.Fatal(err)
				}
				req := &txn.Request{Kind: txn.KindSale, Key: txn.Key{Terminal: tid}, Day: d.day, Terminal: &d.holder, PINBlock: block}
				if copy(req.SecurityInfo[:], row.de53) > 0 {
					copy(req.SecurityInfo[len(row.de53):], "000000000000")
				}
				req.PAN, _ = txn.ParsePAN(pan)
				return req
			}
			for _, issuer := range issuers {
				req := sale(pinPAN)
				d.want(issuer.id.String(), d.ring.TranslatePIN(req, issuer.id), row.want)
				if row.want != txn.Approved {
					continue
				}
				got, err := algo.DecipherPIN(nil, issuer.key, issuer.format, req.PINBlock, []byte(pinPAN))
				if err != nil || string(got) != pin {
					t.Errorf("issuer %s finds %d digits: %v", issuer.id, len(got), err)
				}
				if string(req.SecurityInfo[:]) != issuer.de53 {
					t.Errorf("DE53 to issuer %s is %q, want %q", issuer.id, req.SecurityInfo, issuer.de53)
				}
			}
			if row.want != txn.Approved {
				return
			}
			if row.binds {
				d.want("PIN of another card", d.ring.TranslatePIN(sale(otherPAN), des), txn.PINBlockIsWrong)
			}
			for _, garbage := range [][]byte{{}, make([]byte, 7), bytes.Repeat([]byte{0xA5}, 8), bytes.Repeat([]byte{0xA5}, 16), make([]byte, 17)} {
				req := sale(pinPAN)
				req.PINBlock = garbage
				d.want(fmt.Sprintf("%d bytes of garbage", len(garbage)), d.ring.TranslatePIN(req, des), txn.PINBlockIsWrong)
			}
		})
	}
	if d.ring.Count(PINWrong) == 0 {
		t.Error("wrong PIN blocks are not counted")
	}
}

// The track's enciphered block is the one of cup-pos B2 for the specification's
// example; the card is read from it after deciphering.
func TestEncipheredTracks(t *testing.T) {
	for _, row := range []struct {
		name string
		set  keys.KeySet
		want txn.Reason
	}{
		{"B2 track under a TDES TDK", keys.KeySetDoubleTrack, txn.Approved},
		{"B2 track under an SM4 TDK", keys.KeySetSM4, txn.Approved},
		{"a set without a key for it", keys.KeySetDouble, txn.FormatIsWrong},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := newDesk(t)
			kind := algo.TDES2
			if row.set >= keys.KeySetSM4 {
				kind = algo.SM4
			}
			d.loadKind(kind)
			o := d.signOnFor(row.set)
			packed, _ := hex.DecodeString("6222021234567890128D301220100000123000")
			req := &txn.Request{Kind: txn.KindSale, Key: txn.Key{Terminal: tid}, Day: d.day, Terminal: &d.holder, TrackDigits: 37}
			req.Track2 = append(make([]byte, 0, 40), packed...)
			if o.tdk != nil {
				block := req.Track2[len(packed)-1-kind.BlockSize() : len(packed)-1]
				if err := o.tdk.Encrypt(block, block); err != nil {
					t.Fatal(err)
				}
			}
			d.want("decipher", d.ring.DecipherTrack(req), row.want)
			if row.want != txn.Approved {
				return
			}
			if err := dialect.ReadTrack(req); err != nil {
				t.Fatal(err)
			}
			if got := string(req.PAN.Append(nil)); got != pinPAN || string(req.Expiry[:]) != "3012" || string(req.Track2) != "6222021234567890128=30122010000012300" || req.TrackDigits != 0 {
				t.Errorf("card %d digits, expiry %s, track of %d, %d digits open", len(got), req.Expiry, len(req.Track2), req.TrackDigits)
			}
			req.Track2, req.TrackDigits = make([]byte, 8), 16
			d.want("a track without room for a block", d.ring.DecipherTrack(req), txn.FormatIsWrong)
		})
	}
}

// dukptTerminal is a DUKPT terminal's side.
type dukptTerminal struct {
	d      *desk
	kind   algo.Kind
	bdk    []byte
	device []byte
}

// ksn is the serial number of the n-th message.
func (x dukptTerminal) ksn(n uint32) []byte {
	if x.kind == algo.TDES2 {
		b := append(bytes.Clone(x.device), 0, 0)
		b[7] |= byte(n >> 16)
		b[8], b[9] = byte(n>>8), byte(n)
		return b
	}
	return append(bytes.Clone(x.device), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

func (x dukptTerminal) keys(n uint32) *algo.DUKPTKeys {
	x.d.t.Helper()
	ik, err := algo.DUKPTInitialKey(x.kind, x.bdk, x.ksn(n))
	if err != nil {
		x.d.t.Fatal(err)
	}
	k, err := algo.DUKPTDerive(x.kind, ik, x.ksn(n))
	if err != nil {
		x.d.t.Fatal(err)
	}
	return k
}

func (x dukptTerminal) mac(key []byte, data []byte) []byte {
	whole, err := algo.NewLocal(x.kind, key)
	if err != nil {
		x.d.t.Fatal(err)
	}
	k := algo.MACKey{Whole: whole}
	if x.kind == algo.TDES2 {
		k.Left, _ = algo.NewLocal(algo.DES, key[:8])
	}
	mac, err := algorithm(x.d.holder.MAC).MAC(k, data)
	if err != nil {
		x.d.t.Fatal(err)
	}
	return mac[:]
}

// sale is the terminal's n-th message.
func (x dukptTerminal) sale(n uint32) *txn.Request {
	k := x.keys(n)
	format := algo.PINISO0
	if x.kind.IsAES() {
		format = algo.PINISO4
	}
	key, _ := algo.NewLocal(x.kind, k.PIN)
	block, err := algo.EncipherPIN(nil, key, format, []byte(pin), []byte(pinPAN))
	if err != nil {
		x.d.t.Fatal(err)
	}
	req := &txn.Request{Kind: txn.KindSale, Key: txn.Key{Terminal: tid}, Day: x.d.day, Terminal: &x.d.holder, Signed: testLine, PINBlock: block,
		KSN: []byte(strings.ToUpper(hex.EncodeToString(x.ksn(n)))), MAC: x.mac(k.MACRequest, testLine)}
	req.PAN, _ = txn.ParsePAN(pinPAN)
	return req
}

func TestDUKPTTerminals(t *testing.T) {
	bdk128 := bytes.Repeat([]byte{0xFE, 0xDC, 0xBA, 0x98}, 4)
	for _, row := range []struct {
		scheme txn.KeyScheme
		mac    txn.MACAlgorithm
		kind   algo.Kind
		bdk    []byte
		device string
		base   string
	}{
		{txn.KeysDUKPTTDES, txn.MACX919, algo.TDES2, testTMK, "FFFF9876543210E0", "FFFF987654"},
		{txn.KeysDUKPTTDES, txn.MACCMAC, algo.TDES2, testTMK, "FFFF9876543210E0", "FFFF987654"},
		{txn.KeysDUKPTAES128, txn.MACCMAC, algo.AES128, bdk128, "1234567890123456", "12345678"},
		{txn.KeysDUKPTAES256, txn.MACCMAC, algo.AES256, append(bytes.Clone(bdk128), bdk128...), "1234567890123456", "12345678"},
	} {
		t.Run(fmt.Sprintf("%s, %s", row.scheme, row.mac), func(t *testing.T) {
			d := newDesk(t)
			device, _ := hex.DecodeString(row.device)
			d.holder = txn.Terminal{ID: tid, MAC: row.mac, Keys: row.scheme, Device: txn.DeviceID(device)}
			x := dukptTerminal{d, row.kind, row.bdk, device}
			d.want("without a base key", d.ring.Check(x.sale(1)), txn.TerminalHasNoKeys)
			base := d.combine(keys.OfBaseKey(row.base), keys.PurposeBDK, row.kind, row.bdk)
			if err := d.ring.SetBaseKey("FFFF98", base); err == nil {
				t.Error("a base key of another name was taken")
			}
			if err := d.ring.SetBaseKey(row.base, base); err != nil {
				t.Fatal(err)
			}
			sale := x.sale(1)
			d.want("first sale", d.ring.Check(sale), txn.Approved)
			mac, err := d.ring.Sign(sale, []byte("0210"))
			if want := x.mac(x.keys(1).MACResponse, []byte("0210")); err != nil || !bytes.Equal(mac[:], want) {
				t.Errorf("answer's MAC %X %v, want %X", mac, err, want)
			}
			issuer, zpk := d.zone("east", algo.TDES2)
			d.want("its PIN", d.ring.TranslatePIN(sale, issuer), txn.Approved)
			if got, err := algo.DecipherPIN(nil, zpk, algo.PINISO0, sale.PINBlock, []byte(pinPAN)); err != nil || string(got) != pin {
				t.Errorf("the issuer finds %d digits: %v", len(got), err)
			}
			d.want("its repeat", d.ring.Check(x.sale(1)), txn.Approved)
			d.want("a later one", d.ring.Check(x.sale(5)), txn.Approved)
			d.want("an older one", d.ring.Check(x.sale(4)), txn.MACIsWrong)
			var ans txn.Answer
			d.want("sign-on", d.ring.SignOn(x.sale(1), &ans), txn.Approved)
			if len(ans.Keys) != 0 {
				t.Error("a DUKPT terminal was given keys")
			}
			for name, change := range map[string]func(*txn.Request){
				"another device":      func(r *txn.Request) { r.KSN[9] ^= 1 },
				"no serial number":    func(r *txn.Request) { r.KSN = nil },
				"short serial number": func(r *txn.Request) { r.KSN = r.KSN[2:] },
				"not hexadecimal":     func(r *txn.Request) { r.KSN[0] = 'x' },
				"counter zero":        func(r *txn.Request) { copy(r.KSN[len(r.KSN)-4:], "0000") },
				"MAC":                 func(r *txn.Request) { r.MAC[0] ^= 1 },
				"content":             func(r *txn.Request) { r.Signed = []byte("0220") },
			} {
				req := x.sale(6)
				change(req)
				d.want(name, d.ring.Check(req), txn.MACIsWrong)
			}
			wrong := x.sale(6)
			wrong.KSN[9] ^= 1
			d.want("PIN under another device's key", d.ring.TranslatePIN(wrong, issuer), txn.PINBlockIsWrong)

			d.day++
			d.want("the next day", d.ring.Check(x.sale(6)), txn.Approved)
			d.restart()
			d.want("yesterday's after a restart", d.ring.Check(x.sale(5)), txn.MACIsWrong)
			if _, err := d.ring.store.Rewrite(d.ring.counting); err != nil {
				t.Fatal(err)
			}
			d.restart()
			d.want("yesterday's after the log was written anew", d.ring.Check(x.sale(5)), txn.MACIsWrong)
			d.want("today's", d.ring.Check(x.sale(7)), txn.Approved)
			d.holder.Keys = txn.KeysDUKPTAES192
			d.want("a base key of another kind, or a number of another size", d.ring.Check(x.sale(8)), map[bool]txn.Reason{true: txn.MACIsWrong, false: txn.TerminalHasNoKeys}[row.kind == algo.TDES2])
		})
	}
}

// quick is a log that keeps nothing and says when records came.
type quick struct {
	*journal.Journal
	began time.Time
	mu    sync.Mutex
	at    []time.Duration
}

func (q *quick) Append([]byte) (journal.Position, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.at = append(q.at, time.Since(q.began))
	return 0, nil
}

// A herd of sign-ons is served at the pace of the configuration; those whose
// turn would come too late are told so at once. A few are served at once.
func TestF80SignOnsTakeTurns(t *testing.T) {
	d := newDesk(t)
	synctest.Test(t, func(t *testing.T) {
		store := &quick{began: time.Now()}
		ring := New(Config{SignOnsPerSecond: 500}, d.ring.vault, store, d.ring.log)
		signOns := func(n int, patience time.Duration) (reasons map[txn.Reason]int, took time.Duration) {
			answers := make(chan txn.Reason, n)
			began := time.Now()
			for i := range n {
				id := txn.MakeTerminalID(fmt.Sprintf("2%07d", i))
				if ring.terminal(id, false) == nil {
					ring.terminal(id, true).master = d.combine(keys.OfTerminal(id), keys.PurposeTMK, algo.TDES2, d.tmk).Sealed
				}
				holder := &txn.Terminal{ID: id, MAC: txn.MACCUPECB, Keys: txn.KeysMasterSession}
				go func() {
					req := txn.Request{Kind: txn.KindSignOn, Key: txn.Key{Terminal: id}, Day: 20261122, KeySet: 3, Terminal: holder, Deadline: began.Add(patience)}
					var ans txn.Answer
					answers <- ring.SignOn(&req, &ans)
				}()
			}
			reasons = map[txn.Reason]int{}
			for range n {
				reasons[<-answers]++
			}
			return reasons, time.Since(began)
		}
		if got, took := signOns(5, time.Minute); got[txn.Approved] != 5 || took != 0 {
			t.Errorf("five sign-ons: %v after %v", got, took)
		}
		time.Sleep(time.Second)
		store.began, store.at = time.Now(), nil
		got, took := signOns(2000, 3*time.Second)
		// Of 500 a second 1501 have their turn within three seconds, the first at once.
		if got[txn.Approved] != 1501 || got[txn.SwitchIsOverloaded] != 499 || took < 2900*time.Millisecond || took > 3*time.Second+turnSlot {
			t.Errorf("a herd: %v after %v", got, took)
		}
		for _, end := range []time.Duration{time.Second, 2 * time.Second} {
			n := 0
			for _, at := range store.at {
				if at > end-time.Second && at <= end {
					n++
				}
			}
			if n > 500+5 {
				t.Errorf("%d were served in the second before %v", n, end)
			}
		}
		if n := ring.Count(SignOnRefused); n != 499 {
			t.Errorf("%d are counted as refused", n)
		}
	})
}

// What goes wrong is logged without anything of what is secret in it.
func TestLogsHoldNoSecrets(t *testing.T) {
	d := newDesk(t)
	d.load()
	o := d.signOnFor(keys.KeySetDoubleTrack)
	issuer, _ := d.zone("east", algo.TDES2)
	block, err := algo.EncipherPIN(nil, o.tpk, algo.PINISO0, []byte(pin), []byte(pinPAN))
	if err != nil {
		t.Fatal(err)
	}
	req := &txn.Request{Kind: txn.KindSale, Key: txn.Key{Terminal: tid}, Day: d.day, Terminal: &d.holder, Signed: testLine, MAC: []byte("12345678"), PINBlock: bytes.Clone(block)}
	copy(req.SecurityInfo[:], "2610000000000000")
	req.PAN, _ = txn.ParsePAN(pinPAN)
	track, _ := hex.DecodeString("6222021234567890128D301220100000123000")
	req.Track2, req.TrackDigits = track, 37
	for range 2 * FailuresMax {
		d.ring.Check(req)
		d.signOn()
	}
	d.ring.TranslatePIN(req, txn.MakeIssuerID("nobody"))
	d.ring.TranslatePIN(req, issuer)
	d.ring.DecipherTrack(req)
	d.holder.MAC = txn.MACCBC // of which its keys know nothing
	d.ring.Check(req)
	d.holder.Keys, d.holder.Device = txn.KeysDUKPTTDES, txn.DeviceID{0xFF, 0xFF, 0x98}
	req.KSN = []byte("FFFF9800000000000001")
	d.ring.Check(req)
	var ans txn.Answer
	d.holder.Keys = txn.KeysMasterSession
	d.ring.SignOn(&txn.Request{Key: txn.Key{Terminal: tid}, Day: d.day, Terminal: &d.holder, KeySet: 5, Deadline: time.Now().Add(time.Minute)}, &ans)

	log := strings.ToUpper(d.log.String())
	if n := strings.Count(log, "\n"); n < 4 {
		t.Fatalf("only %d lines were logged: %s", n, &d.log)
	}
	for what, secret := range map[string][]byte{"master key": d.tmk, "its half": d.tmk[:8], "PIN block": block, "track": track[:8], "MAC": []byte("12345678")} {
		if strings.Contains(log, strings.ToUpper(hex.EncodeToString(secret))) || strings.Contains(log, strings.ToUpper(string(secret))) {
			t.Errorf("the log holds the %s", what)
		}
	}
	for what, secret := range map[string]string{"card number": pinPAN, "its middle": pinPAN[6:15], "PIN": `"` + pin + `"`} {
		if strings.Contains(log, secret) {
			t.Errorf("the log holds the %s", what)
		}
	}
}

// A key that cannot be what it is said to be is not kept.
func TestSharedKeys(t *testing.T) {
	d := newDesk(t)
	kbpk := d.combine(keys.OfBlocks("factory"), keys.PurposeKBPK, algo.AES256, bytes.Repeat([]byte{7}, 32))
	if err := d.ring.SetBlocks("bank", kbpk); !errors.Is(err, keys.ErrPurpose) {
		t.Errorf("a key of another name: %v", err)
	}
	if err := d.ring.SetBaseKey("FFFF987654", kbpk); err == nil {
		t.Error("a key for blocks was taken for a base key")
	}
	if err := d.ring.SetBlocks("factory", kbpk); err != nil {
		t.Fatal(err)
	}
	d.load()
	d.signOn()
	east, _ := d.zone("east", algo.TDES2)
	if err := d.ring.SetZMK(east, d.combine(keys.OfIssuer(east), keys.PurposeZMK, algo.TDES3, bytes.Repeat([]byte{7, 1}, 12))); err != nil {
		t.Fatal(err)
	}
	if _, err := d.ring.store.Rewrite(d.ring.counting); err != nil {
		t.Fatal(err)
	}
	d.restart()
	if zmk, err := d.ring.ZMK(east); err != nil || d.ring.vault.Check(zmk, keys.PurposeZMK) != nil {
		t.Errorf("ZMK: %v, %v", zmk, err)
	}
	if _, err := d.ring.ZMK(txn.MakeIssuerID("nobody")); !errors.Is(err, ErrNoKey) {
		t.Error(err)
	}
	all, err := d.ring.List()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range all {
		got = append(got, fmt.Sprintf("%s %v %v %v", e.Owner, e.Purpose, e.Kind, e.Day != 0))
	}
	want := []string{"issuer east ZMK TDES-3 false", "issuer east ZPK TDES-2 false", "key blocks factory KBPK AES-256 false",
		"terminal 10000001 TMK TDES-2 false", "terminal 10000001 TPK TDES-2 true", "terminal 10000001 TAK DES true"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q, want %q", got, want)
	}
	if _, err := d.ring.Blocks("nobody"); !errors.Is(err, ErrNoKey) {
		t.Error(err)
	}
	if _, err := d.ring.Master(txn.MakeTerminalID("nobody")); !errors.Is(err, ErrNoKey) {
		t.Error(err)
	}
	if _, err := d.ring.ZonePIN(txn.MakeIssuerID("nobody")); !errors.Is(err, ErrNoKey) {
		t.Error(err)
	}
}

func BenchmarkTranslatePIN(b *testing.B) {
	d := newDesk(b)
	d.load()
	o := d.signOnFor(keys.KeySetDouble)
	issuer, _ := d.zone("east", algo.TDES2)
	block, err := algo.EncipherPIN(nil, o.tpk, algo.PINISO0, []byte(pin), []byte(pinPAN))
	if err != nil {
		b.Fatal(err)
	}
	req := &txn.Request{Key: txn.Key{Terminal: tid}, Day: d.day, Terminal: &d.holder}
	req.PAN, _ = txn.ParsePAN(pinPAN)
	memory := make([]byte, 16)
	b.ReportAllocs()
	for b.Loop() {
		req.PINBlock = append(memory[:0], block...)
		copy(req.SecurityInfo[:], "2600000000000000")
		if d.ring.TranslatePIN(req, issuer) != txn.Approved {
			b.Fatal("not translated")
		}
	}
}

func BenchmarkCheckDUKPT(b *testing.B) {
	d := newDesk(b)
	device, _ := hex.DecodeString("FFFF9876543210E0")
	d.holder = txn.Terminal{ID: tid, MAC: txn.MACX919, Keys: txn.KeysDUKPTTDES, Device: txn.DeviceID(device)}
	if err := d.ring.SetBaseKey("FFFF987654", d.combine(keys.OfBaseKey("FFFF987654"), keys.PurposeBDK, algo.TDES2, testTMK)); err != nil {
		b.Fatal(err)
	}
	req := dukptTerminal{d, algo.TDES2, testTMK, device}.sale(0x0FF8)
	b.ReportAllocs()
	for b.Loop() {
		if d.ring.Check(req) != txn.Approved {
			b.Fatal("wrong MAC")
		}
	}
}
