package dialect

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// zak is a MAC key of a test.
type zak struct{ algo.Cipher }

func (k zak) MAC(data []byte) ([8]byte, error) {
	return algo.MACX99.MAC(algo.MACKey{Whole: k.Cipher}, data)
}

func testZAK(t testing.TB, kind algo.Kind, text string) MACKey {
	t.Helper()
	key, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	c, err := algo.NewLocal(kind, key)
	if err != nil {
		t.Fatal(err)
	}
	return zak{c}
}

const zakText = "0123456789ABCDEFFEDCBA9876543210"

// TestCUPSMACText: what a MAC covers. The codes were computed by another program.
func TestCUPSMACText(t *testing.T) {
	c := issuerLink(t, NameCUPS).Codec()
	sale := fields{2: testPAN, 3: "000000", 4: "000000012345", 7: "1122093105", 11: "000077", 12: "093105", 18: "5411", 25: "00", 32: "48802900", 33: "48802900",
		37: string(testRRN[:]), 41: "10000001", 42: "999290054110001", 49: "156", 60: cupsChip}
	const saleText = "196222021234567890128 000000 000000012345 1122093105 000077 5411 00 0848802900 0848802900 10000001 999290054110001"
	for _, row := range []struct {
		name      string
		mti       uint16
		f         fields
		text      string
		tdes, sm4 string
	}{
		{"sale", 0x0200, sale, "0200 " + saleText, "24D564B1", "170E0182"},
		{"reversal: of DE90, what the network knows the original by", 0x0420, sale.with(fields{90: "0200" + "000077" + "1122093105" + "00048802900" + "00048802900"}),
			"0420 " + saleText + " 02000000771122093105", "DAD11656", "8B519E35"},
		{"letters, blanks and signs", 0x0210, fields{11: "000077", 38: "a1-b2c", 39: "00", 41: " pos*1  ", 42: "shop  no. 7,  x"}, "0210 000077 A1B2C 00 POS1 SHOP NO. 7, X", "999917EF", "25D9D3BC"},
	} {
		var m iso.Message
		if err := c.Parse(&m, build(t, c, row.mti, row.f)); err != nil {
			t.Fatal(err)
		}
		if got := string(macText(nil, &m, cupsMACFields)); got != row.text {
			t.Errorf("%s:\n got %q\nwant %q", row.name, got, row.text)
		}
		for want, key := range map[string]MACKey{row.tdes: testZAK(t, algo.TDES2, zakText), row.sm4: testZAK(t, algo.SM4, zakText)} {
			mac, err := cupsMAC(&m, cupsMACFields, key.MAC)
			if err != nil || string(mac[:]) != want {
				t.Errorf("%s: %s, %v, want %s", row.name, mac, err, want)
			}
		}
	}
}

// TestCUPSMACCovers: which fields, and which characters of them.
func TestCUPSMACCovers(t *testing.T) {
	c := issuerLink(t, NameCUPS).Codec()
	account := strings.Repeat("7", 28)
	for _, row := range []struct {
		name string
		f    fields
		text string
	}{
		{"the charge, who forwards, and both accounts", fields{28: "C00000100", 32: "48802900", 33: "00010344", 102: account, 103: "1"},
			"0200 C00000100 0848802900 0800010344 28" + account + " 011"},
		{"letters and digits to the last", fields{38: "azAZ09", 41: "@[`{/:,."}, "0200 AZAZ09 ,."},
		{"no blanks at the end", fields{42: "SHOP           "}, "0200 SHOP"},
		{"no field of blanks", fields{38: "      ", 39: "00"}, "0200 00"},
	} {
		var m iso.Message
		if err := c.Parse(&m, build(t, c, 0x0200, row.f)); err != nil {
			t.Fatal(err)
		}
		if got := string(macText([]byte("before"), &m, cupsMACFields)); got != "before"+row.text {
			t.Errorf("%s:\n got %q\nwant %q", row.name, got, row.text)
		}
	}
}

// TestCUPSMAC: what moves money has a MAC, network management has none; an answer
// whose MAC is wrong or missing is none.
func TestCUPSMAC(t *testing.T) {
	link := issuerLink(t, NameCUPS)
	link.Authenticate(testZAK(t, algo.TDES2, zakText))
	x := decoded(t, terminal(t, "cup-pos"), build(t, terminal(t, "cup-pos").Codec(), 0x0200, cupSale))
	rec := txn.Record{Kind: txn.RecordOutcome, Request: txn.KindOfflineSale, MTI: 0x0220, ProcessingCode: [6]byte([]byte("000000")), Leg: testLeg, RRN: testRRN,
		Amount: txn.Amount{Minor: 12345, Currency: txn.CNY}, Merchant: txn.MakeMerchantID("999290054110001")}
	for name, encode := range map[string]func([]byte) ([]byte, error){
		"sale":     func(dst []byte) ([]byte, error) { return link.AppendRequest(dst, &x.Request, &testLeg, testRRN) },
		"reversal": func(dst []byte) ([]byte, error) { return link.AppendReversal(dst, &rec, []byte(testPAN), 0x0400) },
		"advice":   func(dst []byte) ([]byte, error) { return link.AppendAdvice(dst, &rec, []byte(testPAN), false) },
	} {
		m := sent(t, link, encode)
		if want, err := cupsMAC(m, cupsMACFields, link.key.MAC); err != nil || text(m, 128) != string(want[:]) {
			t.Errorf("%s: MAC %q, want %q, %v", name, text(m, 128), want, err)
		}
	}
	if m := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendNetwork(dst, "301", 5, x.Request.Received) }); m.Has(128) {
		t.Error("an echo has a MAC")
	}

	answer := fields{7: "1122093105", 11: "000077", 39: "00", 41: "10000001"}
	var m iso.Message
	if err := link.Codec().Parse(&m, build(t, link.Codec(), 0x0210, answer)); err != nil {
		t.Fatal(err)
	}
	mac, err := cupsMAC(&m, cupsMACFields, link.key.MAC)
	if err != nil {
		t.Fatal(err)
	}
	good := build(t, link.Codec(), 0x0210, answer.with(fields{128: string(mac[:])}))
	changed := build(t, link.Codec(), 0x0210, answer.with(fields{39: "51", 128: string(mac[:])}))
	for _, row := range []struct {
		name  string
		frame []byte
		want  error
	}{
		{"right", good, nil},
		{"of another answer", changed, txn.ErrMAC},
		{"in small letters", build(t, link.Codec(), 0x0210, answer.with(fields{128: string(bytes.ToLower(mac[:]))})), txn.ErrMAC},
		{"missing", build(t, link.Codec(), 0x0210, answer), txn.ErrMAC},
		{"missing in network management", build(t, link.Codec(), 0x0830, fields{11: "000005", 39: "00", 70: "301"}), nil},
		{"of what was given back", reject(build(t, link.Codec(), 0x0200, answer), "30004"), nil},
	} {
		var head txn.ReplyHead
		var reply txn.Reply
		if err := link.ReadReply(row.frame, &head, &reply); !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", row.name, err, row.want)
		}
	}
	link.Authenticate(noKey{})
	if frame, err := link.AppendRequest([]byte("before"), &x.Request, &testLeg, testRRN); !errors.Is(err, errNoKey) || string(frame) != "before" {
		t.Errorf("without a key a sale is %q, %v", frame, err)
	}
	var head txn.ReplyHead
	var reply txn.Reply
	if err := link.ReadReply(good, &head, &reply); !errors.Is(err, errNoKey) {
		t.Errorf("without a key an answer is read: %v", err)
	}
}

var errNoKey = errors.New("no key")

type noKey struct{}

func (noKey) MAC([]byte) ([8]byte, error) { return [8]byte{}, errNoKey }

// TestISO87MAC: on a link of ISO 8583:1987 the last field is the MAC of the message as
// sent up to there, 64 or, behind a field above that, 128. The codes were computed by
// another program.
func TestISO87MAC(t *testing.T) {
	x := decoded(t, terminal(t, "cup-pos"), build(t, terminal(t, "cup-pos").Codec(), 0x0200, cupSale))
	rec := txn.Record{Kind: txn.RecordOutcome, Request: txn.KindSale, MTI: 0x0200, ProcessingCode: [6]byte([]byte("000000")), Leg: testLeg, RRN: testRRN,
		Amount: txn.Amount{Minor: 12345, Currency: txn.CNY}, Merchant: txn.MakeMerchantID("999290054110001")}
	for _, row := range []struct {
		dialect    string
		sale, undo string // MACs
	}{
		{"iso87", "1F14CA24D17E0EEC", "6752C9945AC81F21"},
		{"iso87-binary", "3390A9C304102265", "4D8FD405E2617A0D"},
		{"iso87-ascii4", "1F14CA24D17E0EEC", "6752C9945AC81F21"},
	} {
		link := issuerLink(t, row.dialect)
		link.Authenticate(testZAK(t, algo.TDES2, zakText))
		sale := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendRequest(dst, &x.Request, &testLeg, testRRN) })
		undo := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendReversal(dst, &rec, []byte(testPAN), 0x0400) })
		for _, c := range []struct {
			m     *iso.Message
			field int
			want  string
		}{{sale, 64, row.sale}, {undo, 128, row.undo}} {
			if got := fmt.Sprintf("%X", c.m.AppendText(nil, c.field)); got != c.want {
				t.Errorf("%s: %s, want %s of %X", row.dialect, got, c.want, c.m.Before(c.field))
			}
		}
		if m := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendNetwork(dst, "301", 5, x.Request.Received) }); m.Has(64) || m.Has(128) {
			t.Errorf("%s: an echo has a MAC", row.dialect)
		}
		var head txn.ReplyHead
		var reply txn.Reply
		answer := func(f fields, key MACKey) []byte {
			e := link.Codec().Begin(nil, nil, nil, 0x0210)
			for _, n := range slices.Sorted(maps.Keys(f)) {
				e.Text(n, []byte(f[n]))
			}
			frame, err := link.Finish(&e, nil, key)
			if err != nil {
				t.Fatal(err)
			}
			return frame[link.PrefixSize():]
		}
		plain := fields{7: "1122093105", 11: "000077", 39: "00", 41: "10000001"}
		for _, c := range []struct {
			name  string
			frame []byte
			want  error
		}{
			{"right", answer(plain, link.key), nil},
			{"right, in 128", answer(plain.with(fields{102: "1"}), link.key), nil},
			{"under another key", answer(plain, testZAK(t, algo.SM4, zakText)), txn.ErrMAC},
			{"missing", answer(plain, nil), txn.ErrMAC},
		} {
			if err := link.ReadReply(c.frame, &head, &reply); !errors.Is(err, c.want) {
				t.Errorf("%s: an answer whose MAC is %s: %v, want %v", row.dialect, c.name, err, c.want)
			}
		}
	}
}
