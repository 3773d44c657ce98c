package keyring

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// desk is a ring on a real vault and log, and the terminal's side of it.
type desk struct {
	t    testing.TB
	dir  string
	ring *Ring
	stop func()
	tmk  []byte // clear, as the terminal has it
	tak  *algo.Local
	day  txn.Date
	// holder is the terminal's registration, cfg the ring's configuration, log all
	// that it logged.
	holder txn.Terminal
	cfg    Config
	log    bytes.Buffer
}

var (
	tid      = txn.MakeTerminalID("10000001")
	testTMK  = []byte{0xCA, 0x5D, 0x92, 0x59, 0x8D, 0xCA, 0x48, 0xCE, 0x8A, 0x4C, 0x76, 0x36, 0x1A, 0x92, 0x69, 0xE9}
	testLine = []byte("0200 and all the rest of a message up to its MAC")
)

func newDesk(t testing.TB) *desk {
	d := &desk{t: t, dir: t.TempDir(), tmk: testTMK, day: 20261122}
	d.holder = txn.Terminal{ID: tid, MAC: txn.MACCUPECB, Keys: txn.KeysMasterSession}
	d.cfg = Config{Day: txn.BusinessDay{Zone: time.FixedZone("", 8*3600), CutOver: 23 * time.Hour}}
	d.open()
	t.Cleanup(func() { d.stop() })
	return d
}

// last is the last position of the ring's log.
func (d *desk) last() journal.Position { return d.ring.store.(*journal.Journal).Last() }

func (d *desk) open() {
	d.t.Helper()
	must := func(err error) {
		d.t.Helper()
		if err != nil {
			d.t.Fatal(err)
		}
	}
	vault, err := keys.OpenSoft(filepath.Join(d.dir, "lmk"))
	must(err)
	log, err := journal.Open(filepath.Join(d.dir, "keys"), journal.Config{SegmentSize: 1 << 20, QueueSize: 256 << 10})
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- log.Run(ctx) }()
	d.ring = New(d.cfg, vault, log, slog.New(slog.NewJSONHandler(&d.log, nil)))
	must(d.ring.Recover())
	d.stop = func() {
		d.ring.Close()
		cancel()
		<-done
		log.Close()
	}
}

// restart is a new process on the same files.
func (d *desk) restart() {
	d.stop()
	d.open()
}

// load gives the terminal its master key, as two custodians would.
func (d *desk) load() {
	d.t.Helper()
	first := bytes.Repeat([]byte{0x5A}, len(d.tmk))
	second := make([]byte, len(d.tmk))
	for i := range second {
		second[i] = d.tmk[i] ^ first[i]
	}
	key, err := d.ring.vault.Combine(keys.OfTerminal(tid), keys.PurposeTMK, algo.TDES2, d.component(first), d.component(second))
	if err != nil {
		d.t.Fatal(err)
	}
	if err := d.ring.SetMaster(tid, key); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) component(part []byte) keys.Component {
	k, err := algo.NewLocal(algo.TDES2, part)
	if err != nil {
		d.t.Fatal(err)
	}
	kcv, err := algo.CheckValue(k)
	if err != nil {
		d.t.Fatal(err)
	}
	return keys.Component{Part: part, KCV: kcv[:]}
}

// signOn signs on with key set 003 and takes the MAC key out of DE62 as a
// terminal does.
func (d *desk) signOn() txn.Reason {
	d.t.Helper()
	req := txn.Request{Kind: txn.KindSignOn, Key: txn.Key{Terminal: tid, Class: txn.ClassNetwork}, Day: d.day, KeySet: 3, Terminal: &d.holder, Deadline: time.Now().Add(time.Minute)}
	var ans txn.Answer
	reason := d.ring.SignOn(&req, &ans)
	if reason != txn.Approved {
		return reason
	}
	if len(ans.Keys) != 40 {
		d.t.Fatalf("DE62 has %d bytes, want 40", len(ans.Keys))
	}
	master, err := algo.NewLocal(algo.TDES2, d.tmk)
	if err != nil {
		d.t.Fatal(err)
	}
	clearKey := make([]byte, 8)
	if err := master.Decrypt(clearKey, ans.Keys[20:28]); err != nil {
		d.t.Fatal(err)
	}
	if d.tak, err = algo.NewLocal(algo.DES, clearKey); err != nil {
		d.t.Fatal(err)
	}
	kcv, err := algo.CheckValue(d.tak)
	if err != nil || !bytes.Equal(kcv[:], ans.Keys[36:40]) {
		d.t.Fatalf("check value %X of the delivered TAK, want %v", ans.Keys[36:40], kcv)
	}
	return reason
}

// request is a sale with the terminal's MAC, one byte of which is changed by
// flip (0 leaves it).
func (d *desk) request(flip byte) *txn.Request {
	req := &txn.Request{Kind: txn.KindSale, Key: txn.Key{Terminal: tid, Class: txn.ClassFinancial}, Day: d.day, Signed: testLine, Terminal: &d.holder}
	if d.tak != nil {
		mac, err := algo.MACCUPECB.MAC(algo.MACKey{Whole: d.tak}, testLine)
		if err != nil {
			d.t.Fatal(err)
		}
		mac[3] ^= flip
		req.MAC = mac[:]
	}
	return req
}

func (d *desk) want(what string, got, want txn.Reason) {
	d.t.Helper()
	if got != want {
		d.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestS02SignOnIsDueOncePerDay(t *testing.T) {
	d := newDesk(t)
	d.want("sign-on without a master key", d.signOn(), txn.TerminalHasNoKeys)
	d.want("sale without keys", d.ring.Check(d.request(0)), txn.SignOnIsRequired)
	d.load()
	d.want("sale before the sign-on", d.ring.Check(d.request(0)), txn.SignOnIsRequired)
	d.want("sign-on", d.signOn(), txn.Approved)
	d.want("sale", d.ring.Check(d.request(0)), txn.Approved)
	d.restart()
	req := d.request(0)
	d.want("sale after a restart", d.ring.Check(req), txn.Approved)
	mac, err := d.ring.Sign(req, testLine)
	if err != nil || !bytes.Equal(mac[:], req.MAC) {
		t.Errorf("answer's MAC %q %v, want %q", mac, err, req.MAC)
	}
	d.day++
	d.want("sale after the cut-over", d.ring.Check(d.request(0)), txn.SignOnIsRequired)
	d.want("sign-on of the next day", d.signOn(), txn.Approved)
	d.want("sale of the next day", d.ring.Check(d.request(0)), txn.Approved)
}

// S03: two wrong MACs in a row are that, the third asks for new keys, and a right one
// begins anew.
func TestS03ThreeWrongMACs(t *testing.T) {
	d := newDesk(t)
	d.load()
	d.signOn()
	told := 0
	d.ring.cfg.WrongMACs = func(m txn.MerchantID, id txn.TerminalID) {
		if told++; m != d.holder.Merchant || id != tid {
			t.Errorf("told of %s of %s", id, m)
		}
	}
	for _, flip := range []byte{1, 1, 0, 1, 1} {
		want := txn.MACIsWrong
		if flip == 0 {
			want = txn.Approved
		}
		d.want("up to two wrong", d.ring.Check(d.request(flip)), want)
	}
	if told != 0 {
		t.Error("told of two wrong ones")
	}
	d.want("the third", d.ring.Check(d.request(1)), txn.SignOnIsRequired)
	d.want("the fourth", d.ring.Check(d.request(1)), txn.SignOnIsRequired)
	if told != 1 {
		t.Errorf("told %d times of four in a row", told)
	}
}

func TestF15WrongMACs(t *testing.T) {
	d := newDesk(t)
	d.load()
	d.signOn()
	for bit := range 8 {
		d.want("one bit flipped", d.ring.Check(d.request(1<<bit)), map[bool]txn.Reason{true: txn.MACIsWrong, false: txn.SignOnIsRequired}[bit < FailuresMax-1])
	}
	d.want("right again: the terminal works on", d.ring.Check(d.request(0)), txn.Approved)
	req := d.request(0)
	req.MAC = nil
	d.want("no MAC", d.ring.Check(req), txn.MACIsWrong)
	req = d.request(0)
	req.MAC = req.MAC[:7]
	d.want("short MAC", d.ring.Check(req), txn.MACIsWrong)
}

// The answer of a sign-on may be lost: the terminal then still has its old key.
func TestF17LostSignOnLeavesTheOldKeyGoodForOneMessage(t *testing.T) {
	d := newDesk(t)
	d.load()
	d.signOn()
	old := d.tak
	d.signOn()
	lost := d.tak
	d.tak = old
	req := d.request(0)
	d.want("under the old key", d.ring.Check(req), txn.Approved)
	if mac, err := d.ring.Sign(req, testLine); err != nil || !bytes.Equal(mac[:], req.MAC) {
		t.Errorf("the answer is not under the old key: %v", err)
	}
	d.want("under the old key once more", d.ring.Check(d.request(0)), txn.MACIsWrong)
	d.tak = lost
	d.want("under the new key", d.ring.Check(d.request(0)), txn.Approved)
}

func TestNewMasterKeyEndsTheWorkingKeys(t *testing.T) {
	d := newDesk(t)
	d.load()
	d.signOn()
	d.load()
	d.want("sale under keys of the old master key", d.ring.Check(d.request(0)), txn.SignOnIsRequired)
	d.restart()
	d.want("and after a restart", d.ring.Check(d.request(0)), txn.SignOnIsRequired)
}

// The log is written anew while terminals sign on: none loses the keys that it was given.
func TestStoreIsWrittenAnew(t *testing.T) {
	d := newDesk(t)
	d.load()
	enough, ended := make(chan struct{}), make(chan int)
	go func() {
		rewritten := 0
		defer func() { ended <- rewritten }()
		for {
			select {
			case <-enough:
				return
			default:
			}
			d.ring.records.Store(compactAbove + 100) // without ten thousand sign-ons
			if err := d.ring.Tidy(); err != nil {
				t.Error(err)
				return
			}
			if d.ring.records.Load() < compactAbove {
				rewritten++
			}
		}
	}()
	for range 40 {
		d.signOn()
		d.want("sale", d.ring.Check(d.request(0)), txn.Approved)
		if t.Failed() {
			break
		}
	}
	close(enough)
	if n := <-ended; n < 10 {
		t.Errorf("it was written anew %d times", n)
	}
	d.restart()
	d.want("sale after the log was written anew", d.ring.Check(d.request(0)), txn.Approved)
	if len(d.ring.terminals) != 1 {
		t.Errorf("%d terminals", len(d.ring.terminals))
	}
}

func TestPINsAreTranslatedToTheIssuersKey(t *testing.T) {
	d := newDesk(t)
	d.load()
	req := txn.Request{Kind: txn.KindSignOn, Key: txn.Key{Terminal: tid, Class: txn.ClassNetwork}, Day: d.day, KeySet: 3, Terminal: &d.holder, Deadline: time.Now().Add(time.Minute)}
	var ans txn.Answer
	d.want("sign-on", d.ring.SignOn(&req, &ans), txn.Approved)
	decipher := func(kind algo.Kind, cipher []byte) *algo.Local {
		master, err := algo.NewLocal(algo.TDES2, d.tmk)
		if err != nil {
			t.Fatal(err)
		}
		clearKey := make([]byte, len(cipher))
		if err := master.Decrypt(clearKey, cipher); err != nil {
			t.Fatal(err)
		}
		k, err := algo.NewLocal(kind, clearKey)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	tpk := decipher(algo.TDES2, ans.Keys[:16])
	const pan, other = "6222021234567890128", "6222021234567890136"
	block, err := algo.EncipherPIN(nil, tpk, algo.PINISO0, []byte("123456"), []byte(pan))
	if err != nil {
		t.Fatal(err)
	}
	sale := func(pan string) *txn.Request {
		r := &txn.Request{Kind: txn.KindSale, Key: txn.Key{Terminal: tid}, Day: d.day, Terminal: &d.holder, PINBlock: bytes.Clone(block)}
		copy(r.SecurityInfo[:], "2600000000000000")
		r.PAN, _ = txn.ParsePAN(pan)
		return r
	}
	east := txn.MakeIssuerID("east")
	d.want("issuer without a key", d.ring.TranslatePIN(sale(pan), east), txn.PINCannotBeTranslated)
	zpkClear := bytes.Repeat([]byte{0x13, 0x57}, 8)
	zpkClear[15] ^= 0x31
	mask := bytes.Repeat([]byte{0x31}, 16)
	second := make([]byte, 16)
	for i := range second {
		second[i] = zpkClear[i] ^ mask[i]
	}
	zpk, err := d.ring.vault.Combine(keys.OfIssuer(east), keys.PurposeZPK, algo.TDES2, d.component(mask), d.component(second))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.ring.SetZone(east, zpk); err != nil {
		t.Fatal(err)
	}
	check := func(what string) {
		t.Helper()
		r := sale(pan)
		d.want(what, d.ring.TranslatePIN(r, east), txn.Approved)
		issuer, _ := algo.NewLocal(algo.TDES2, zpkClear)
		pin, err := algo.DecipherPIN(nil, issuer, algo.PINISO0, r.PINBlock, []byte(pan))
		if err != nil || string(pin) != "123456" {
			t.Errorf("%s: the issuer deciphers %d digits: %v", what, len(pin), err)
		}
	}
	check("translated")
	d.restart()
	check("translated after a restart")
	if _, err := d.ring.store.Rewrite(d.ring.counting); err != nil {
		t.Fatal(err)
	}
	d.restart()
	check("translated after the log was written anew")
	replacedBeside(t, func() error { return d.ring.SetZone(east, zpk) }, func() { check("translated while the key is replaced") })
	d.want("PIN of another card", d.ring.TranslatePIN(sale(other), east), txn.PINBlockIsWrong)
	garbage := sale(pan)
	garbage.PINBlock[0] ^= 0xFF
	d.want("garbage", d.ring.TranslatePIN(garbage, east), txn.PINBlockIsWrong)
	undeclared := sale(pan)
	undeclared.SecurityInfo[0] = '0'
	d.want("DE53 names no PIN", d.ring.TranslatePIN(undeclared, east), txn.PINBlockIsWrong)
}

func BenchmarkCheck(b *testing.B) {
	d := newDesk(b)
	d.load()
	d.signOn()
	req := d.request(0)
	req.Signed = bytes.Repeat([]byte{0x42}, 256)
	mac, _ := algo.MACCUPECB.MAC(algo.MACKey{Whole: d.tak}, req.Signed)
	req.MAC = mac[:]
	b.ReportAllocs()
	for b.Loop() {
		if d.ring.Check(req) != txn.Approved {
			b.Fatal("wrong MAC")
		}
	}
}

// replacedBeside uses a key a thousand times while it is replaced again and again.
func replacedBeside(t *testing.T, replace func() error, use func()) {
	t.Helper()
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			default:
			}
			if err := replace(); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for range 1000 {
		use()
	}
	close(end)
	<-ended
}

// TestZoneMAC: an issuer's MAC key is kept as its PIN key is, beside it.
func TestZoneMAC(t *testing.T) {
	d := newDesk(t)
	east := txn.MakeIssuerID("east")
	if _, err := d.ring.ZoneMAC(east, algo.MACX99, nil); !errors.Is(err, ErrNoKey) {
		t.Errorf("without a key: %v", err)
	}
	first, second := bytes.Repeat([]byte{0x13, 0x57}, 8), bytes.Repeat([]byte{0x31, 0x9A}, 8)
	second[15] ^= 0x22
	clearKey := make([]byte, 16)
	for i := range clearKey {
		clearKey[i] = first[i] ^ second[i]
	}
	combine := func(p keys.Purpose, owner keys.Owner) keys.Key {
		t.Helper()
		k, err := d.ring.vault.Combine(owner, p, algo.TDES2, d.component(first), d.component(second))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	for what, k := range map[string]keys.Key{
		"a PIN key": combine(keys.PurposeZPK, keys.OfIssuer(east)), "another's key": combine(keys.PurposeZAK, keys.OfIssuer(txn.MakeIssuerID("west"))),
	} {
		if err := d.ring.SetZoneMAC(east, k); err == nil {
			t.Errorf("%s was taken", what)
		}
	}
	if err := d.ring.SetZone(east, combine(keys.PurposeZPK, keys.OfIssuer(east))); err != nil {
		t.Fatal(err)
	}
	if err := d.ring.SetZoneMAC(east, combine(keys.PurposeZAK, keys.OfIssuer(east))); err != nil {
		t.Fatal(err)
	}
	cipher, err := algo.NewLocal(algo.TDES2, clearKey)
	if err != nil {
		t.Fatal(err)
	}
	text := []byte("0200 196222021234567890128 000000")
	want, err := algo.MACX99.MAC(algo.MACKey{Whole: cipher}, text)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string) {
		t.Helper()
		if got, err := d.ring.ZoneMAC(east, algo.MACX99, text); err != nil || got != want {
			t.Errorf("%s: %X, %v, want %X", what, got, err, want)
		}
		if _, err := d.ring.ZonePIN(east); err != nil {
			t.Errorf("%s: the PIN key: %v", what, err)
		}
	}
	check("set")
	d.restart()
	check("after a restart")
	if _, err := d.ring.store.Rewrite(d.ring.counting); err != nil {
		t.Fatal(err)
	}
	d.restart()
	check("after the log was written anew")
	zak := combine(keys.PurposeZAK, keys.OfIssuer(east))
	replacedBeside(t, func() error { return d.ring.SetZoneMAC(east, zak) }, func() { check("while it is replaced") })
	entries, err := d.ring.List()
	if err != nil || !slices.ContainsFunc(entries, func(e Entry) bool { return e.Purpose == keys.PurposeZAK && e.Owner == keys.OfIssuer(east) }) {
		t.Errorf("it is not listed: %v, %v", entries, err)
	}
}

// A newer local master key takes all keys over at the next start; from then on the older
// one may go, although what it sealed still stands further up in the log.
func TestLMKIsRotated(t *testing.T) {
	d := newDesk(t)
	d.load()
	d.signOn()
	d.signOn() // with a TAK of before
	issuer, path := txn.MakeIssuerID("east"), filepath.Join(d.dir, "lmk")
	clearKey := bytes.Repeat([]byte{0x13, 0x57}, 8)
	for _, err := range []error{
		d.ring.SetZone(issuer, d.combine(keys.OfIssuer(issuer), keys.PurposeZPK, algo.TDES2, clearKey)),
		d.ring.SetZoneMAC(issuer, d.combine(keys.OfIssuer(issuer), keys.PurposeZAK, algo.TDES2, clearKey)),
		d.ring.replaceZoneMAC(issuer, d.combine(keys.OfIssuer(issuer), keys.PurposeZAK, algo.TDES2, testTMK)),
		d.ring.SetBaseKey("FFFF987654", d.combine(keys.OfBaseKey("FFFF987654"), keys.PurposeBDK, algo.TDES2, testTMK)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	sealedUnder := func(version byte) {
		t.Helper()
		all, err := d.ring.List()
		if err != nil || len(all) < 6 {
			t.Fatalf("%d keys, %v", len(all), err)
		}
		for _, e := range all {
			if e.LMK != version {
				t.Errorf("the %v of %s is sealed under version %d, want %d", e.Purpose, e.Owner, e.LMK, version)
			}
		}
	}
	sealedUnder(1)
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	second := []byte("lmk 2 " + strings.Repeat("cd", 32) + "\n")
	for _, lmks := range [][]byte{append(first, second...), second, second} {
		d.stop()
		if err := os.WriteFile(path, lmks, 0o600); err != nil {
			t.Fatal(err)
		}
		d.open()
		sealedUnder(2)
		d.want("sale", d.ring.Check(d.request(0)), txn.Approved)
		if _, err := d.ring.ZoneMAC(issuer, algo.MACX919, []byte("12345678")); err != nil {
			t.Error(err)
		}
		if _, err := d.ring.ZoneMACBefore(issuer, algo.MACX919, []byte("12345678")); err != nil {
			t.Errorf("the key before: %v", err)
		}
		if d.ring.zoneOf(issuer).open == nil {
			t.Error("the issuer's PIN key is not open")
		}
	}
	if n := strings.Count(d.log.String(), "sealed under the newest local master key"); n != 1 {
		t.Errorf("it was said %d times", n)
	}
}

// Keys that are set at one time are after a restart those that were used before it.
func TestKeysSetAtOneTime(t *testing.T) {
	d := newDesk(t)
	east := txn.MakeIssuerID("east")
	drawn := func(owner keys.Owner, purpose keys.Purpose, kind algo.Kind) keys.Key {
		k, err := d.ring.vault.Generate(owner, purpose, kind)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	for range 10 {
		var group sync.WaitGroup
		for range 4 {
			zpk, zak := drawn(keys.OfIssuer(east), keys.PurposeZPK, algo.TDES2), drawn(keys.OfIssuer(east), keys.PurposeZAK, algo.TDES2)
			kbpk, bdk := drawn(keys.OfBlocks("bank"), keys.PurposeKBPK, algo.AES128), drawn(keys.OfBaseKey("FFFF987654"), keys.PurposeBDK, algo.TDES2)
			tmk, serial := drawn(keys.OfTerminal(tid), keys.PurposeTMK, algo.TDES2), drawn(keys.OfTerminal(tid), keys.PurposeSerial, algo.SM4)
			for _, set := range []func() error{
				func() error { return d.ring.SetZone(east, zpk) },
				func() error { return d.ring.SetZoneMAC(east, zak) },
				func() error { return d.ring.SetBlocks("bank", kbpk) },
				func() error { return d.ring.SetBaseKey("FFFF987654", bdk) },
				func() error { return d.ring.SetMaster(tid, tmk) },
				func() error { return d.ring.SetSerial(tid, serial) },
			} {
				group.Go(func() {
					if err := set(); err != nil {
						t.Error(err)
					}
				})
			}
		}
		group.Wait()
		used, err := d.ring.List()
		if err != nil {
			t.Fatal(err)
		}
		d.restart()
		if kept, err := d.ring.List(); err != nil || len(kept) != 6 || !slices.Equal(kept, used) {
			t.Fatalf("kept are %v, used were %v; %v", kept, used, err)
		}
	}
}
