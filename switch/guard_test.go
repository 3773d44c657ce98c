package acquirer

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/keyring"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// secured is a house whose terminal 10000001 has keys, and that terminal's side
// of them. Everything goes through frames.
type secured struct {
	*house
	dialect       *dialect.Terminal
	log           bytes.Buffer
	tmk           []byte
	tpk, tak, tdk *algo.Local
	zpk           *algo.Local
	asked         []txn.Request // what the bank got
	ring          *keyring.Ring
	vault         *keys.Vault
	mac           algo.MACAlgorithm
}

func newSecured(t *testing.T, dialectName string, change func(*txn.Terminal)) *secured {
	x := &secured{house: newHouse(t), mac: algo.MACCUPECB}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	x.dialect, err = dialect.ForTerminal(dialectName)
	must(err)
	logger := slog.New(slog.NewTextHandler(&x.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	vault, err := keys.OpenSoft(filepath.Join(x.dir, "lmk.keys"))
	must(err)
	keyLog, err := journal.Open(filepath.Join(x.dir, "keys"), journal.Config{SegmentSize: 1 << 20, QueueSize: 256 << 10})
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- keyLog.Run(ctx) }()
	ring := keyring.New(keyring.Config{Day: x.s.cfg.Day}, vault, keyLog, logger)
	must(ring.Recover())
	t.Cleanup(func() {
		ring.Close()
		cancel()
		<-ended
		keyLog.Close()
	})
	x.tmk, _ = hex.DecodeString("CA5D92598DCA48CE8A4C76361A9269E9")
	id := txn.MakeTerminalID("10000001")
	must(ring.SetMaster(id, combined(t, vault, keys.OfTerminal(id), keys.PurposeTMK, algo.TDES2, x.tmk)))
	bank, zpk := txn.MakeIssuerID("bank"), bytes.Repeat([]byte{0x13, 0x57}, 8)
	must(ring.SetZone(bank, combined(t, vault, keys.OfIssuer(bank), keys.PurposeZPK, algo.TDES2, zpk)))
	x.zpk, err = algo.NewLocal(algo.TDES2, zpk)
	must(err)

	plain := x.s.registry()
	terminal, _ := plain.Terminal(id)
	row := *terminal
	row.MAC, row.Keys = txn.MACCUPECB, txn.KeysMasterSession
	if change != nil {
		change(&row)
	}
	merchant, _ := plain.Merchant(row.Merchant)
	snapshot, err := registry.New(registry.Rows{Merchants: []txn.Merchant{*merchant}, Terminals: []txn.Terminal{row}})
	must(err)
	x.s.registry = func() Registry { return snapshot }
	x.s.guard, x.s.log, x.ring, x.vault = ring, logger, ring, vault
	x.bank.behave = func(req *txn.Request) (txn.Outcome, txn.Reason, string) {
		seen := *req
		seen.PINBlock, seen.Track2 = bytes.Clone(req.PINBlock), bytes.Clone(req.Track2)
		x.asked = append(x.asked, seen)
		return txn.OutcomeApproved, txn.Approved, "00"
	}
	return x
}

// combined makes a key of two components, as two custodians would.
func combined(t *testing.T, vault *keys.Vault, owner keys.Owner, purpose keys.Purpose, kind algo.Kind, clearKey []byte) keys.Key {
	t.Helper()
	first, second := bytes.Repeat([]byte{0x5A}, len(clearKey)), bytes.Clone(clearKey)
	var parts []keys.Component
	for i := range second {
		second[i] ^= first[i]
	}
	for _, part := range [][]byte{first, second} {
		k, err := algo.NewLocal(kind, part)
		if err != nil {
			t.Fatal(err)
		}
		kcv, _ := algo.CheckValue(k)
		parts = append(parts, keys.Component{Part: part, KCV: kcv[:]})
	}
	key, err := vault.Combine(owner, purpose, kind, parts...)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

type put struct {
	field int
	value string
	raw   bool
}

// frame builds a request's body with the MAC in a field, 0 for none.
func (x *secured) frame(mti uint16, macField int, fields ...put) []byte {
	x.t.Helper()
	var tpdu, header []byte
	if x.dialect.Name() == "cup-pos" {
		tpdu, header = []byte("\x60\x00\x03\x00\x00"), []byte("\x60\x31\x00\x31\x00\x00")
	}
	e := x.dialect.Codec().Begin(nil, tpdu, header, mti)
	for _, f := range fields {
		switch {
		case f.raw:
			e.Bytes(f.field, []byte(f.value))
		case strings.Trim(f.value, "0123456789D=") == "" && f.field != 41 && f.field != 42 && f.field != 49 && f.field != 39:
			e.Digits(f.field, []byte(f.value))
		default:
			e.Text(f.field, []byte(f.value))
		}
	}
	if macField > 0 {
		e.Bytes(macField, make([]byte, 8))
	}
	b, err := e.Finish()
	if err != nil {
		x.t.Fatal(err)
	}
	b = b[x.dialect.PrefixSize():]
	if macField > 0 {
		x.seal(b, macField)
	}
	return b
}

// seal makes the frame's MAC.
func (x *secured) seal(b []byte, field int) {
	var m iso.Message
	if err := x.dialect.Codec().Parse(&m, b); err != nil {
		x.t.Fatal(err)
	}
	mac, err := x.mac.MAC(algo.MACKey{Whole: x.tak}, m.Before(field))
	if err != nil {
		x.t.Fatal(err)
	}
	place := m.Value(field)
	if len(place) == 16 {
		copy(place, strings.ToUpper(hex.EncodeToString(mac[:])))
	} else {
		copy(place, mac[:])
	}
}

// tell sends a frame and returns the answer, parsed; nil when there is none.
func (x *secured) tell(body []byte) (*iso.Message, txn.Answer) {
	x.t.Helper()
	var e dialect.Exchange
	e.Frame = bytes.Clone(body)
	if err := x.dialect.Decode(&e, time.Now()); err != nil {
		return nil, e.Answer
	}
	x.s.Authorize(&e.Request, &e.Answer)
	out, err := x.dialect.AppendAnswer(nil, &e, x.s.Sign)
	if err != nil {
		x.t.Fatal(err)
	}
	var m iso.Message
	if err := x.dialect.Codec().Parse(&m, out[x.dialect.PrefixSize():]); err != nil {
		x.t.Fatal(err)
	}
	return &m, e.Answer
}

// take opens the keys of a sign-on's answer: set 003 or 004.
func (x *secured) take(de62 []byte) {
	x.t.Helper()
	master, _ := algo.NewLocal(algo.TDES2, x.tmk)
	open := func(kind algo.Kind, text []byte) *algo.Local {
		clearKey := make([]byte, len(text))
		if err := master.Decrypt(clearKey, text); err != nil {
			x.t.Fatal(err)
		}
		k, err := algo.NewLocal(kind, clearKey)
		if err != nil {
			x.t.Fatal(err)
		}
		return k
	}
	x.tpk, x.tak = open(algo.TDES2, de62[:16]), open(algo.DES, de62[20:28])
	if len(de62) == 60 {
		x.tdk = open(algo.TDES2, de62[40:56])
	}
}

func (x *secured) signOn() {
	x.t.Helper()
	m, ans := x.tell(x.frame(0x0800, 0, put{11, "000001", false}, put{41, "10000001", false}, put{42, "999290054110001", false},
		put{60, "00000001004", false}))
	x.want("sign-on", ans, txn.Approved, "00")
	x.take(m.Value(62))
}

// sale is a magstripe sale with PIN, its track enciphered if so asked.
func (x *secured) sale(stan string, enciphered bool) []byte {
	x.t.Helper()
	block, err := algo.EncipherPIN(nil, x.tpk, algo.PINISO0, []byte("123456"), []byte(testPAN))
	if err != nil {
		x.t.Fatal(err)
	}
	security := "2600000000000000"
	if enciphered {
		security = "2610000000000000"
	}
	b := x.frame(0x0200, 64, put{3, "000000", false}, put{4, "000000001000", false}, put{11, stan, false}, put{22, "021", false}, put{25, "00", false}, put{26, "12", false},
		put{35, testPAN + "D491210100000123000"[:18], false}, put{41, "10000001", false}, put{42, "999290054110001", false}, put{49, "156", false},
		put{52, string(block), true}, put{53, security, false}, put{60, "2200000100020", false})
	if enciphered {
		var m iso.Message
		if err := x.dialect.Codec().Parse(&m, b); err != nil {
			x.t.Fatal(err)
		}
		track := m.Value(35)
		part := track[len(track)-9 : len(track)-1]
		if err := x.tdk.Encrypt(part, part); err != nil {
			x.t.Fatal(err)
		}
		x.seal(b, 64)
	}
	return b
}

// A sale is the same to the bank whether its track was enciphered or not, and
// has a PIN under the bank's own key.
func TestSecuredSale(t *testing.T) {
	x := newSecured(t, "cup-pos", nil)
	x.signOn()
	for i, enciphered := range []bool{false, true} {
		m, ans := x.tell(x.sale([]string{"000002", "000003"}[i], enciphered))
		x.want("sale", ans, txn.Approved, "00")
		if want, _ := algo.MACCUPECB.MAC(algo.MACKey{Whole: x.tak}, m.Before(64)); !bytes.Equal(m.Value(64), want[:]) {
			t.Error("the answer's MAC is wrong")
		}
		got := x.asked[i]
		if pan := string(got.PAN.Append(nil)); pan != testPAN || string(got.Track2) != testPAN+"=49121010000012300" || string(got.Expiry[:]) != "4912" {
			t.Errorf("the bank got a card of %d digits and a track of %d", len(pan), len(got.Track2))
		}
		if pin, err := algo.DecipherPIN(nil, x.zpk, algo.PINISO0, got.PINBlock, []byte(testPAN)); err != nil || string(pin) != "123456" {
			t.Errorf("the bank finds a PIN of %d digits: %v", len(pin), err)
		}
	}
	if x.asked[0].CardToken != x.asked[1].CardToken || x.asked[0].Fingerprint != x.asked[1].Fingerprint {
		t.Error("one card has two tokens or one content two fingerprints")
	}
	// A terminal that says its track is enciphered and sends it in clear.
	b := x.sale("000004", false)
	var m iso.Message
	if err := x.dialect.Codec().Parse(&m, b); err != nil {
		t.Fatal(err)
	}
	m.Value(53)[1] = 0x10
	x.seal(b, 64)
	if _, ans := x.tell(b); ans.Reason != txn.FormatIsWrong {
		t.Errorf("a clear track said to be enciphered: %v", ans.Reason)
	}
	x.noSecrets()
}

// A terminal that signed off sells nothing until it signs on again.
func TestSignedOff(t *testing.T) {
	x := newSecured(t, "cup-pos", nil)
	x.signOn()
	_, ans := x.tell(x.frame(0x0820, 0, put{11, "000002", false}, put{41, "10000001", false}, put{42, "999290054110001", false}, put{60, "00000001002", false}))
	x.want("sign-off", ans, txn.Approved, "00")
	_, ans = x.tell(x.sale("000003", false))
	x.want("a sale under the keys of before", ans, txn.SignOnIsRequired, "77")
	x.signOn()
	_, ans = x.tell(x.sale("000003", false))
	x.want("a sale under new keys", ans, txn.Approved, "00")
}

// Whatever bit of a message or its MAC is turned over, nothing happens.
func TestF15ForgedMessagesChangeNothing(t *testing.T) {
	x := newSecured(t, "cup-pos", nil)
	x.signOn()
	for _, enciphered := range []bool{false, true} {
		b := x.sale("000002", enciphered)
		const head = 5 + 6 // TPDU and header are not covered
		before, used := x.journal.Last(), x.used("10000001")
		for bit := 8 * head; bit < 8*len(b); bit++ {
			if bit < 8*(len(b)-8) && bit%5 != 0 {
				continue // of the covered bytes, a sample
			}
			b[bit/8] ^= 1 << (bit % 8)
			if m, ans := x.tell(b); m != nil && ans.Reason == txn.Approved {
				t.Errorf("bit %d turned over: %v", bit-8*head, ans.Reason)
			}
			b[bit/8] ^= 1 << (bit % 8)
		}
		if x.journal.Last() != before || len(x.asked) != 0 || x.used("10000001") != used {
			t.Fatal("a forged message left something behind")
		}
	}
	_, ans := x.tell(x.sale("000002", true))
	x.want("the right one after them", ans, txn.Approved, "00")
	x.noSecrets()
}

// A message of today that is sent again is told its answer again; one of
// yesterday must sign on, and then has a wrong MAC. Nothing happens twice.
func TestF16ReplayedMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newSecured(t, "cup-pos", nil)
		x.signOn()
		old := x.sale("000002", false)
		_, first := x.tell(old)
		x.want("today", first, txn.Approved, "00")
		_, again := x.tell(old)
		if x.want("today again", again, txn.Approved, "00"); !again.Replayed || again.RRN != first.RRN {
			t.Errorf("told another answer: %+v", again)
		}
		time.Sleep(24 * time.Hour)
		before := x.journal.Last()
		_, ans := x.tell(old)
		x.want("the day after", ans, txn.SignOnIsRequired, "77")
		x.signOn()
		if x.journal.Last() != before {
			t.Error("a replay left a record")
		}
		_, ans = x.tell(x.sale("000003", false))
		x.want("a new sale", ans, txn.Approved, "00")
		before = x.journal.Last()
		_, ans = x.tell(old)
		x.want("the day after, after the sign-on", ans, txn.MACIsWrong, "A0")
		if x.journal.Last() != before || len(x.asked) != 2 {
			t.Error("a replay left a record")
		}
	})
}

// A PIN block that holds no PIN for its card is refused before the bank is
// asked: 99 in CUP.
func TestF18PINBlockGarbage(t *testing.T) {
	x := newSecured(t, "cup-pos", nil)
	x.signOn()
	b := x.sale("000002", false)
	var m iso.Message
	if err := x.dialect.Codec().Parse(&m, b); err != nil {
		t.Fatal(err)
	}
	m.Value(52)[0] ^= 1
	x.seal(b, 64)
	_, ans := x.tell(b)
	x.want("garbage", ans, txn.PINBlockIsWrong, "99")
	if len(x.asked) != 0 || x.used("10000001") != 0 {
		t.Error("the bank was asked, or limits are used")
	}
	x.noSecrets()
}

// elsewhere asks the guard for PINs of an issuer that has no key.
type elsewhere struct{ Guard }

func (e elsewhere) TranslatePIN(req *txn.Request, _ txn.IssuerID) txn.Reason {
	return e.Guard.TranslatePIN(req, txn.MakeIssuerID("elsewhere"))
}

// A refund whose PIN cannot be sent on for want of the issuer's key is decided when
// it is said again with that in place; one with a wrong PIN block is refused for good.
func TestPINThatCannotBeSentOnIsOurTrouble(t *testing.T) {
	x := newSecured(t, "cup-pos", nil)
	x.signOn()
	_, ans := x.tell(x.sale("000002", false))
	x.want("sale", ans, txn.Approved, "00")
	refund := func(stan string, spoil byte) []byte {
		block, err := algo.EncipherPIN(nil, x.tpk, algo.PINISO0, []byte("123456"), []byte(testPAN))
		if err != nil {
			t.Fatal(err)
		}
		block[0] ^= spoil
		return x.frame(0x0220, 64, put{3, "200000", false}, put{4, "000000000400", false}, put{11, stan, false}, put{22, "021", false}, put{25, "00", false}, put{26, "12", false},
			put{35, testPAN + "D491210100000123000"[:18], false}, put{37, string(ans.RRN[:]), false}, put{41, "10000001", false}, put{42, "999290054110001", false}, put{49, "156", false},
			put{52, string(block), true}, put{53, "2600000000000000", false}, put{60, "25000001000", false}, put{61, "0000010000020000000", false})
	}
	told := func(what string, b []byte, reason txn.Reason, code string) {
		t.Helper()
		_, ans := x.tell(b)
		x.want(what, ans, reason, code)
	}
	x.s.guard = elsewhere{x.ring}
	before, asked := x.journal.Last(), len(x.asked)
	told("refund without the issuer's key", refund("000003", 0), txn.PINCannotBeTranslated, "96")
	if x.journal.Last() != before || len(x.asked) != asked {
		t.Error("it is remembered, or the bank was asked")
	}
	told("refund with garbage for a PIN", refund("000004", 1), txn.PINCannotBeTranslated, "96")
	x.s.guard = x.ring
	told("again, with the key", refund("000003", 0), txn.Approved, "00")
	told("garbage, with the key", refund("000004", 1), txn.PINBlockIsWrong, "99")
	told("and again", refund("000004", 1), txn.PINBlockIsWrong, "99")
	x.noSecrets()
}

// ISO 8583:1987 terminals have their MAC in DE64, or in DE128 with the bitmap
// that has it, raw or in hexadecimal, and their keys in DE62.
func TestMACsOfISO8583(t *testing.T) {
	for _, name := range []string{"iso87", "iso87-binary", "iso87-hex32", "iso87-bcd"} {
		t.Run(name, func(t *testing.T) {
			x := newSecured(t, name, nil)
			m, ans := x.tell(x.frame(0x0800, 0, put{11, "000001", false}, put{41, "10000001", false}, put{70, "001", false}))
			x.want("sign-on", ans, txn.Approved, "00")
			de62, err := hex.DecodeString(string(m.Value(62)))
			if err != nil {
				t.Fatal(err)
			}
			x.take(de62)
			for i, field := range []int{64, 128} {
				b := x.frame(0x0200, field, put{2, testPAN, false}, put{3, "000000", false}, put{4, "000000001000", false}, put{11, []string{"000002", "000003"}[i], false},
					put{22, "012", false}, put{41, "10000001", false}, put{42, "999290054110001", false}, put{49, "156", false})
				m, ans := x.tell(b)
				x.want("sale", ans, txn.Approved, "00")
				want, _ := algo.MACCUPECB.MAC(algo.MACKey{Whole: x.tak}, m.Before(field))
				if got := m.AppendText(nil, field); !m.Has(field) || !bytes.Equal(got, want[:]) {
					t.Errorf("MAC %q in field %d of the answer, want %q", got, field, want)
				}
				b[len(b)-1] ^= 1
				_, ans = x.tell(b)
				x.want("one bit of it turned over", ans, txn.MACIsWrong, "63")
			}
			// The answer to a reversal repeats DE90, behind which its MAC stands.
			m, ans = x.tell(x.frame(0x0400, 128, put{3, "000000", false}, put{4, "000000001000", false}, put{11, "000002", false}, put{41, "10000001", false},
				put{42, "999290054110001", false}, put{49, "156", false}, put{90, "0200" + "000002" + strings.Repeat("0", 32), false}))
			x.want("reversal", ans, txn.Approved, "00")
			want, _ := algo.MACCUPECB.MAC(algo.MACKey{Whole: x.tak}, m.Before(128))
			if got := m.AppendText(nil, 128); !bytes.Equal(got, want[:]) {
				t.Errorf("MAC %q of the answer with field 90, want %q", got, want)
			}
			x.settle()
			x.noSecrets()
		})
	}
}

// A DUKPT terminal has keys of its own for every message, whose number is in
// field 63 together with a PIN block that field 52 has no room for.
func TestDUKPTOverISO8583(t *testing.T) {
	device, _ := hex.DecodeString("1234567890123456")
	x := newSecured(t, "iso87", func(r *txn.Terminal) {
		r.MAC, r.Keys, r.Device = txn.MACCMAC, txn.KeysDUKPTAES128, txn.DeviceID(device)
	})
	bdk, _ := hex.DecodeString("FEDCBA9876543210F1F1F1F1F1F1F1F1")
	if err := x.ring.SetBaseKey("12345678", combined(t, x.vault, keys.OfBaseKey("12345678"), keys.PurposeBDK, algo.AES128, bdk)); err != nil {
		t.Fatal(err)
	}
	sale := func(stan string, n byte) (body []byte, answer *algo.Local) {
		ksn := append(bytes.Clone(device), 0, 0, 0, n)
		ik, err := algo.DUKPTInitialKey(algo.AES128, bdk, ksn)
		if err != nil {
			t.Fatal(err)
		}
		derived, err := algo.DUKPTDerive(algo.AES128, ik, ksn)
		if err != nil {
			t.Fatal(err)
		}
		local := func(b []byte) *algo.Local {
			k, err := algo.NewLocal(algo.AES128, b)
			if err != nil {
				t.Fatal(err)
			}
			return k
		}
		block, err := algo.EncipherPIN(nil, local(derived.PIN), algo.PINISO4, []byte("123456"), []byte(testPAN))
		if err != nil {
			t.Fatal(err)
		}
		x.tak = local(derived.MACRequest)
		x.mac = algo.MACCMAC
		return x.frame(0x0200, 64, put{2, testPAN, false}, put{3, "000000", false}, put{4, "000000001000", false}, put{11, stan, false}, put{22, "051", false},
			put{41, "10000001", false}, put{42, "999290054110001", false}, put{49, "156", false},
			put{63, fmt.Sprintf("KS024%XPB032%X", ksn, block), false}), local(derived.MACResponse)
	}
	body, key := sale("000002", 1)
	m, ans := x.tell(body)
	x.want("sale", ans, txn.Approved, "00")
	if want, _ := algo.MACCMAC.MAC(algo.MACKey{Whole: key}, m.Before(64)); !bytes.Equal(m.AppendText(nil, 64), want[:]) {
		t.Error("the answer's MAC is wrong")
	}
	if pin, err := algo.DecipherPIN(nil, x.zpk, algo.PINISO0, x.asked[0].PINBlock, []byte(testPAN)); err != nil || string(pin) != "123456" {
		t.Errorf("the bank finds a PIN of %d digits: %v", len(pin), err)
	}
	later, _ := sale("000003", 2)
	_, ans = x.tell(later)
	x.want("the next sale", ans, txn.Approved, "00")
	before := x.journal.Last()
	_, ans = x.tell(body)
	if x.want("the first one again, out of order", ans, txn.MACIsWrong, "63"); x.journal.Last() != before {
		t.Error("a replay left a record")
	}
	x.noSecrets()
}

// A terminal without MACs may have PINs under keys that its messages number.
func TestRegisteredWithoutMAC(t *testing.T) {
	x := newSecured(t, "cup-pos", func(r *txn.Terminal) { r.MAC = txn.MACNone })
	x.signOn()
	var m iso.Message
	b := x.sale("000002", true)
	if err := x.dialect.Codec().Parse(&m, b); err != nil {
		t.Fatal(err)
	}
	copy(m.Value(64), "ignored!")
	answer, ans := x.tell(b)
	x.want("sale", ans, txn.Approved, "00")
	if answer.Has(64) {
		t.Error("the answer has a MAC")
	}
	if pin, err := algo.DecipherPIN(nil, x.zpk, algo.PINISO0, x.asked[0].PINBlock, []byte(testPAN)); err != nil || string(pin) != "123456" {
		t.Errorf("the bank finds a PIN of %d digits: %v", len(pin), err)
	}
}

// noSecrets holds the log to hold none.
func (x *secured) noSecrets() {
	x.t.Helper()
	text := strings.ToUpper(x.log.String())
	for what, secret := range map[string]string{"card number": testPAN, "its middle": testPAN[6:15], "track": "0121010000", "PIN": "123456",
		"master key": strings.ToUpper(hex.EncodeToString(x.tmk))} {
		if strings.Contains(text, secret) {
			x.t.Errorf("the log holds the %s", what)
		}
	}
}
