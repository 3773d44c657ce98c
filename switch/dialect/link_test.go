package dialect

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// iso87Links are the link dialects of ISO 8583:1987, by name.
func iso87Links(t testing.TB) map[string]*Issuer {
	t.Helper()
	all := map[string]*Issuer{}
	for _, name := range LinkNames() {
		if name != NameCUPS {
			all[name] = issuerLink(t, name)
		}
	}
	if len(all) != 4 {
		t.Fatalf("link dialects: %v", LinkNames())
	}
	return all
}

// issuerLink is the test acquirer's link of a dialect.
func issuerLink(t testing.TB, name string) *Issuer {
	t.Helper()
	return linkOf(t, name, testAcquirer)
}

func linkOf(t testing.TB, name, acquirer string) *Issuer {
	t.Helper()
	d, err := ForIssuer(name, acquirer, CUPS{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// sent is a frame as its issuer reads it, behind bytes that were queued before.
func sent(t *testing.T, d *Issuer, encode func([]byte) ([]byte, error)) *iso.Message {
	t.Helper()
	queue := []byte("what is queued")
	frame, err := encode(bytes.Clone(queue))
	if err != nil {
		t.Fatal(err)
	}
	frame, ok := bytes.CutPrefix(frame, queue)
	if !ok {
		t.Fatal("the frame was written over what was queued")
	}
	size := d.PrefixSize()
	if n, err := d.BodySize(frame[:size]); err != nil || n != len(frame)-size {
		t.Fatalf("length prefix: got %d, %v, want %d", n, err, len(frame)-size)
	}
	m := new(iso.Message)
	if err := d.Codec().Parse(m, frame[size:]); err != nil {
		t.Fatal(err)
	}
	return m
}

// checkMessage holds a message to its type and to exactly its fields.
func checkMessage(t *testing.T, m *iso.Message, mti uint16, want fields) {
	t.Helper()
	if m.MTI() != mti {
		t.Errorf("MTI: got %04x, want %04x", m.MTI(), mti)
	}
	for n := range m.Fields() {
		if _, ok := want[n]; !ok {
			t.Errorf("field %d (%q) is not wanted", n, text(m, n))
		}
	}
	for n, v := range want {
		if got := text(m, n); got != v || !m.Has(n) {
			t.Errorf("field %d: got %q, want %q", n, got, v)
		}
	}
}

// TestKeepAlive: a length of nothing is no fault, at terminals and on links.
func TestKeepAlive(t *testing.T) {
	for name, link := range iso87Links(t) {
		d := terminal(t, name)
		for prefix, want := range map[string]int{"\x00\x00\x00\x00": 0, "0000": 0, "\x00\x01": -1, "0001": -1, "\x00\x64": 100, "0100": 100} {
			if name == "iso87-ascii4" != (len(prefix) == 4 && prefix[0] == '0') {
				continue
			}
			p := []byte(prefix[:d.PrefixSize()])
			n, err := d.ReadLength(p)
			m, linkErr := link.BodySize(p)
			if n != m || err == nil != (linkErr == nil) || err == nil != (want >= 0) || err == nil && n != want {
				t.Errorf("%s, prefix %q: %d, %v; link %d, %v; want %d", name, p, n, err, m, linkErr, want)
			}
		}
	}
}

// testOriginal is DE90 of an earlier request under its issuer's name.
const testOriginal = "0200" + "000070" + "1122090000" + "00048802900" + "00000000000"

// TestAppendRequest follows terminals' requests to the issuer.
func TestAppendRequest(t *testing.T) {
	const place = "Bund Books \xC9\xCF\xBA\xA3          Shanghai     CN"
	owner := &txn.Merchant{MCC: 5411, Country: 156, Acceptor: [40]byte([]byte(place))}
	const placeAbroad = "Ginza Noodles            Tokyo        JP"
	abroad := &txn.Merchant{MCC: 5812, Country: 392, Acceptor: [40]byte([]byte(placeAbroad))}

	sale := fields{2: testPAN, 3: "000000", 4: "000000012345", 7: "1122093105", 11: "000077", 12: "093105", 13: "1122", 14: "3012",
		18: "5411", 19: "156", 22: "051", 25: "00", 32: "48802900", 37: string(testRRN[:]), 41: "10000001", 42: "999290054110001", 43: place, 49: "156"}
	for _, c := range []struct {
		name    string
		dialect string
		mti     uint16
		request fields
		owner   *txn.Merchant
		wantMTI uint16
		want    fields
	}{
		{"cup sale, the link's time", "cup-pos", 0x0200, cupSale, owner, 0x0200, sale},
		{"cup sale, the terminal's time", "cup-pos", 0x0200, cupSale.with(fields{12: "173000", 13: "1121"}), owner, 0x0200, sale.with(fields{12: "173000", 13: "1121"})},
		{"cup sale, half a terminal's time", "cup-pos", 0x0200, cupSale.with(fields{12: "173000"}), owner, 0x0200, sale},
		{"cup sale, the clock stands at no time", "cup-pos", 0x0200, cupSale.with(fields{12: "240000", 13: "1121"}), owner, 0x0200, sale},
		{"cup sale, the clock stands at no minute", "cup-pos", 0x0200, cupSale.with(fields{12: "236000", 13: "1121"}), owner, 0x0200, sale},
		{"cup sale, the clock stands at no second", "cup-pos", 0x0200, cupSale.with(fields{12: "235960", 13: "1121"}), owner, 0x0200, sale},
		{"cup sale, the clock stands at no day", "cup-pos", 0x0200, cupSale.with(fields{12: "173000", 13: "0230"}), owner, 0x0200, sale},
		{"cup sale, the clock was never set", "cup-pos", 0x0200, cupSale.with(fields{12: "000000", 13: "0000"}), owner, 0x0200, sale},
		{"cup sale said again is one sale", "cup-pos", 0x0201, cupSale, owner, 0x0200, sale},
		{"cup sale from track, with PIN and chip", "cup-pos", 0x0200,
			cupSale.with(fields{2: "", 14: "", 23: "001", 35: testPAN + "=30122201000", 52: "hex:BDFD42DCF960C8B6", 53: "2600000000000000", 55: "hex:9F260101"}), owner, 0x0200,
			sale.with(fields{23: "001", 35: testPAN + "=30122201000", 52: "\xBD\xFD\x42\xDC\xF9\x60\xC8\xB6", 53: "2600000000000000", 55: "\x9F\x26\x01\x01"})},
		{"cup balance has no amount", "cup-pos", 0x0200, cupSale.with(fields{3: "310000", 4: "", 60: "0100000100060"}), owner, 0x0200, sale.with(fields{3: "310000", 4: ""})},
		{"cup sale by fallback", "cup-pos", 0x0200, cupSale.with(fields{22: "801"}), owner, 0x0200, sale.with(fields{22: "801"})},
		{"cup scanned code has no card", "cup-pos", 0x0200, cupSale.with(fields{2: "", 14: "", 22: "032"}), owner, 0x0200, sale.with(fields{2: "", 14: "", 22: "032"})},
		{"cup void is no refund", "cup-pos", 0x0200, cupSale.with(fields{3: "200000", 37: "326112000041", 38: "A1B2C3", 60: "2300000100060", 61: "000001000002"}), owner, 0x0200,
			sale.with(fields{3: "020000", 38: "A1B2C3", 90: testOriginal})},
		{"cup refund", "cup-pos", 0x0220, cupSale.with(fields{3: "200000", 37: "326112000041", 60: "2500000100060", 61: "0000010000021121"}), owner, 0x0220,
			sale.with(fields{3: "200000", 90: testOriginal})},
		{"cup pre-authorization by telephone", "cup-pos", 0x0100, cupSale.with(fields{3: "030000", 25: "18", 60: "1000000100060"}), owner, 0x0100, sale.with(fields{25: "18"})},
		{"cup offline sale, authorized by telephone", "cup-pos", 0x0220, cupSale.with(fields{38: "VOICE1", 60: "3000000100060"}), owner, 0x0220, sale.with(fields{38: "VOICE1"})},
		{"iso offline sale, authorized by telephone", "iso87", 0x0220, isoSale.with(fields{38: "VOICE1"}), owner, 0x0220, sale.with(fields{12: "173105", 25: "", 38: "VOICE1"})},
		{"iso offline sale with a blank code", "iso87", 0x0220, isoSale.with(fields{38: "      "}), owner, 0x0220, sale.with(fields{12: "173105", 25: ""})},
		{"iso sale with a code of nobody's", "iso87", 0x0200, isoSale.with(fields{38: "VOICE1"}), owner, 0x0200, sale.with(fields{12: "173105", 25: ""})},
		{"iso refund as a request goes as an advice", "iso87", 0x0201, isoSale.with(fields{3: "201000", 90: isoOriginal}), owner, 0x0220,
			sale.with(fields{3: "201000", 12: "173105", 25: "", 90: testOriginal})},
		{"iso sale without entry mode, abroad", "iso87", 0x0200, isoSale.with(fields{14: "", 22: "", 49: "392"}), abroad, 0x0200,
			sale.with(fields{12: "173105", 14: "", 18: "5812", 19: "392", 22: "000", 25: "", 43: placeAbroad, 49: "392"})},
		{"iso sale of a merchant nobody knows", "iso87", 0x0200, isoSale, nil, 0x0200, sale.with(fields{12: "173105", 18: "", 19: "", 25: "", 43: ""})},
		{"iso PIN without security information", "iso87", 0x0200, isoSale.with(fields{52: "hex:BDFD42DCF960C8B6"}), owner, 0x0200, sale.with(fields{12: "173105", 25: "", 52: "\xBD\xFD\x42\xDC\xF9\x60\xC8\xB6"})},
		{"iso balance as authorization", "iso87", 0x0100, isoSale.with(fields{3: "310000", 4: "", 49: ""}), owner, 0x0100, sale.with(fields{3: "310000", 4: "", 12: "173105", 25: "", 49: ""})},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := terminal(t, c.dialect)
			x := decoded(t, d, build(t, d.Codec(), c.mti, c.request))
			checkFault(t, x, "")
			x.Request.Acceptor = c.owner
			if x.Request.Kind.NamesOriginal() {
				x.Request.OriginalMTI, x.Request.OriginalLeg = 0x0200, txn.Leg{STAN: 70, Time: [10]byte([]byte("1122090000"))}
			}
			for name, link := range iso87Links(t) {
				m := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendRequest(dst, &x.Request, &testLeg, testRRN) })
				t.Log(name)
				checkMessage(t, m, c.wantMTI, c.want)
			}
		})
	}
}

// TestAppendRequestRefuses holds that a request which cannot be spelled leaves
// the queue as it was and names the field, not its content.
func TestAppendRequestRefuses(t *testing.T) {
	d := terminal(t, "iso87")
	x := decoded(t, d, build(t, d.Codec(), 0x0200, isoSale))
	x.Request.Amount.Minor = txn.AmountMax + 1
	for _, link := range iso87Links(t) {
		queue := []byte("what is queued")
		got, err := link.AppendRequest(queue, &x.Request, &testLeg, testRRN)
		if err == nil || !strings.Contains(err.Error(), "field 4") || strings.Contains(err.Error(), testPAN) {
			t.Errorf("got %v, want an error that names field 4", err)
		}
		if string(got) != "what is queued" {
			t.Errorf("the queue holds %q", got)
		}
	}
}

// TestAppendReversal holds what an issuer needs to undo a request: its own
// numbers in DE11, DE7 and DE90, and the reason.
func TestAppendReversal(t *testing.T) {
	original := txn.Record{
		Kind: txn.RecordOutcome, Key: txn.Key{Terminal: txn.MakeTerminalID("10000001"), STAN: 42}, Request: txn.KindSale, MTI: 0x0200,
		ProcessingCode: [6]byte([]byte("000000")), Merchant: txn.MakeMerchantID("999290054110001"), MCC: 5411, Entry: txn.EntryChip,
		Amount: txn.Amount{Minor: 12345, Currency: txn.CNY}, Leg: testLeg, Outcome: txn.OutcomeUnknown, Reason: txn.IssuerDidNotAnswer, RRN: testRRN, Time: [6]byte([]byte("123059")), Date: [4]byte([]byte("1121")),
	}
	due := original // what the terminal's own reversal makes of it
	due.Kind, due.Reason, due.AuthCode = txn.RecordReversalDue, txn.Approved, [6]byte([]byte("A1B2C3"))
	due.RRN, due.Data = [12]byte([]byte("633012000099")), AppendUndone(nil, &original)
	due.Time, due.Date = [6]byte([]byte("123105")), original.Date
	due.Key, due.OriginalKey = txn.Key{Terminal: txn.MakeTerminalID("10000001"), STAN: 43, Class: txn.ClassReversal}, original.Key
	part := due
	part.Gone, part.Stays = 2345, 400
	// of is what the terminal's reversal makes of a request of another kind.
	of := func(kind txn.Kind, mti uint16, code, condition string) txn.Record {
		undone, rec := original, due
		undone.Request = kind
		rec.MTI, rec.ProcessingCode, rec.Condition, rec.Data = mti, [6]byte([]byte(code)), [2]byte([]byte(condition)), AppendUndone(nil, &undone)
		return rec
	}
	// before is one that was recorded before it had more of its original than its number.
	before := func(rec txn.Record) txn.Record {
		rec.Data = testRRN[:]
		return rec
	}
	dueVoid := before(of(txn.KindVoid, 0x0400, "200000", "00"))
	gone := original // a pre-authorization given back, without an answer
	gone.Request, gone.MTI, gone.ProcessingCode = txn.KindPreauthVoid, 0x0100, [6]byte([]byte("020000"))
	undelivered := due
	undelivered.Key, undelivered.Reason = txn.Key{}, txn.AnswerWasNotDelivered
	bare := due // as it was recorded before it had the original's number, and its own type, for only sales could be undone
	bare.Data, bare.MTI = nil, 0x0400
	late := original
	late.Reason, late.Amount = txn.IssuerAnsweredNonsense, txn.Amount{Minor: 500, Currency: 36}

	want := fields{2: testPAN, 3: "000000", 4: "000000012345", 7: "1122093105", 11: "000077", 12: "123059", 13: "1121", 18: "5411", 22: "050", 32: "48802900",
		37: string(testRRN[:]), 39: "98", 41: "10000001", 42: "999290054110001", 49: "156",
		90: "0200" + "000077" + "1122093105" + "00048802900" + "00000000000"}
	linkTime := fields{12: "093105", 13: "1122"}
	for _, c := range []struct {
		name string
		rec  txn.Record
		mti  uint16
		want fields
	}{
		{"no answer came", original, 0x0400, want},
		{"no answer came, asked again", original, 0x0401, want},
		{"the answer was nonsense, in another currency", late, 0x0400, want.with(fields{4: "000000000500", 49: "036"})},
		{"the terminal asks", due, 0x0400, want.with(fields{38: "A1B2C3", 39: "06"})},
		{"the terminal asks, of a record without the original's number", bare, 0x0400, want.with(linkTime).with(fields{37: "", 38: "A1B2C3", 39: "06"})},
		{"the terminal asks, of a record without the original's time", before(due), 0x0400, want.with(linkTime).with(fields{38: "A1B2C3", 39: "06"})},
		{"the terminal asks for a part", part, 0x0400, want.with(fields{38: "A1B2C3", 39: "06", 95: "000000000400" + strings.Repeat("0", 30)})},
		{"a part, asked again", part, 0x0401, want.with(fields{38: "A1B2C3", 39: "06", 95: "000000000400" + strings.Repeat("0", 30)})},
		{"a void", of(txn.KindVoid, 0x0200, "200000", "00"), 0x0400, want.with(fields{3: "020000", 25: "00", 38: "A1B2C3", 39: "06"})},
		{"a void as an ISO 8583:1987 terminal has it", of(txn.KindVoid, 0x0200, "020000", "00"), 0x0400, want.with(fields{3: "020000", 25: "00", 38: "A1B2C3", 39: "06"})},
		{"a void whose own type nobody kept", dueVoid, 0x0400, want.with(linkTime).with(fields{3: "020000", 25: "00", 38: "A1B2C3", 39: "06"})},
		{"a sale by mail", of(txn.KindSale, 0x0200, "000000", "08"), 0x0400, want.with(fields{25: "08", 38: "A1B2C3", 39: "06"})},
		{"more of a pre-authorization", of(txn.KindIncrement, 0x0100, "000000", "60"), 0x0400, want.with(fields{25: "60", 38: "A1B2C3", 39: "06", 90: "0100" + want[90][4:]})},
		{"more of a pre-authorization, before", before(of(txn.KindIncrement, 0x0100, "030000", "60")), 0x0400,
			want.with(linkTime).with(fields{25: "60", 38: "A1B2C3", 39: "06", 90: "0100" + want[90][4:]})},
		{"a pre-authorization by telephone", of(txn.KindPreauth, 0x0100, "000000", "18"), 0x0400, want.with(fields{25: "18", 38: "A1B2C3", 39: "06", 90: "0100" + want[90][4:]})},
		{"a pre-authorization", of(txn.KindPreauth, 0x0100, "030000", "00"), 0x0400, want.with(fields{25: "06", 38: "A1B2C3", 39: "06", 90: "0100" + want[90][4:]})},
		{"a pre-authorization, before", before(of(txn.KindPreauth, 0x0100, "030000", "00")), 0x0400,
			want.with(linkTime).with(fields{25: "06", 38: "A1B2C3", 39: "06", 90: "0100" + want[90][4:]})},
		{"a completion that was said twice", of(txn.KindCompletion, 0x0201, "000000", "06"), 0x0401, want.with(fields{25: "06", 38: "A1B2C3", 39: "06"})},
		{"a completion by its DE90", of(txn.KindCompletion, 0x0200, "000000", "00"), 0x0400, want.with(fields{25: "06", 38: "A1B2C3", 39: "06"})},
		{"instalments by their DE67", of(txn.KindInstalment, 0x0200, "000000", "00"), 0x0400, want.with(fields{25: "64", 38: "A1B2C3", 39: "06"})},
		{"a stand-in, of which its issuer was told", of(txn.KindStandIn, 0x0200, "000000", "00"), 0x0400, want.with(fields{25: "00", 38: "A1B2C3", 39: "06", 90: "0220" + want[90][4:]})},
		{"a pre-authorization's void", gone, 0x0400, want.with(fields{3: "200000", 25: "06", 90: "0100" + want[90][4:]})},
		{"a pre-authorization's void, before", before(of(txn.KindPreauthVoid, 0x0100, "020000", "00")), 0x0400,
			want.with(linkTime).with(fields{3: "200000", 25: "06", 38: "A1B2C3", 39: "06", 90: "0100" + want[90][4:]})},
		{"the terminal cannot be told", undelivered, 0x0400, want.with(fields{38: "A1B2C3", 39: "06"})},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, link := range iso87Links(t) {
				m := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendReversal(dst, &c.rec, []byte(testPAN), c.mti) })
				checkMessage(t, m, c.mti, c.want)
			}
		})
	}

	// The acquirer's code is sent as it is written; in UnionPay's network it has 8 digits at least.
	for _, c := range [...]struct{ link, code, sent string }{
		{"iso87", "012345", "012345"},
		{"iso87", "99999999999", "99999999999"},
		{NameCUPS, "012345", "00012345"},
		{NameCUPS, "123456789", "123456789"},
	} {
		link := linkOf(t, c.link, c.code)
		m := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendReversal(dst, &original, []byte(testPAN), 0x0400) })
		named := strings.Repeat("0", 11-len(c.sent)) + c.sent // in DE90
		if got := string(m.Value(32)); got != c.sent || string(m.Value(90)[20:31]) != named {
			t.Errorf("%s, acquirer %s: DE32 %s, DE90 %s", c.link, c.code, got, m.Value(90))
		}
	}
}

// TestAppendAdvice holds that a repeat tells an issuer what the first telling
// did, as far as its record goes.
func TestAppendAdvice(t *testing.T) {
	req := txn.Request{Kind: txn.KindCompletionAdvice, OriginalMTI: 0x0101, OriginalLeg: txn.Leg{STAN: 70, Time: [10]byte([]byte("1122090000"))}}
	copy(req.Original.AuthCode[:], "A1B2C3")
	voice := req
	voice.OriginalMTI, voice.OriginalLeg = 0, txn.Leg{}
	plain := req
	plain.Original.AuthCode = [6]byte{}
	phoned := txn.Request{Kind: txn.KindOfflineSale, Original: req.Original}
	rec := txn.Record{
		Kind: txn.RecordOutcome, Key: txn.Key{Terminal: txn.MakeTerminalID("10000001"), STAN: 42, Class: txn.ClassAdvice}, MTI: 0x0220,
		Merchant: txn.MakeMerchantID("999290054110001"), MCC: 5411, Entry: txn.EntryManual, Condition: [2]byte{'0', '0'},
		ProcessingCode: [6]byte([]byte("200000")), Amount: txn.Amount{Minor: 12345, Currency: txn.CNY}, Leg: testLeg, RRN: testRRN,
	}
	want := fields{2: testPAN, 4: "000000012345", 7: "1122093105", 11: "000077", 12: "093105", 13: "1122", 18: "5411", 22: "010", 25: "00", 32: "48802900",
		37: string(testRRN[:]), 41: "10000001", 42: "999290054110001", 49: "156"}
	for _, c := range []struct {
		kind  txn.Kind
		about *txn.Request
		want  fields
	}{
		{txn.KindOfflineSale, nil, want.with(fields{3: "000000"})},
		{txn.KindOfflineSale, &phoned, want.with(fields{3: "000000", 38: "A1B2C3"})},
		{txn.KindRefund, &plain, want.with(fields{3: "200000", 90: "0100" + testOriginal[4:]})},
		{txn.KindCompletionAdvice, &req, want.with(fields{3: "000000", 25: "06", 38: "A1B2C3", 90: "0100" + testOriginal[4:]})},
		{txn.KindCompletionAdvice, &voice, want.with(fields{3: "000000", 25: "06", 38: "A1B2C3"})},
		{txn.KindAdjustment, &plain, want.with(fields{3: "020000", 90: "0100" + testOriginal[4:]})},
		{txn.KindTip, &plain, want.with(fields{3: "020000", 54: "0057156D000000012345", 90: "0100" + testOriginal[4:]})},
	} {
		t.Run(c.kind.String(), func(t *testing.T) {
			rec := rec
			rec.Request = c.kind
			if c.about != nil {
				rec.Data = AppendOriginal(nil, c.about)
			}
			for _, link := range iso87Links(t) {
				for mti, repeat := range map[uint16]bool{0x0220: false, 0x0221: true} {
					m := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendAdvice(dst, &rec, []byte(testPAN), repeat) })
					checkMessage(t, m, mti, c.want)
					if KindISO87(m) != c.kind {
						t.Errorf("it reaches the issuer as a %s", KindISO87(m))
					}
				}
			}
		})
	}
	told := rec // what we approved in the issuer's stead
	told.Request, told.AuthCode, told.Code = txn.KindStandIn, [6]byte([]byte("S00042")), [2]byte{'0', '0'}
	uncarded := rec
	uncarded.Request = txn.KindOfflineSale
	for name, link := range iso87Links(t) {
		m := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendAdvice(dst, &told, []byte(testPAN), false) })
		checkMessage(t, m, 0x0220, want.with(fields{3: "000000", 38: "S00042", 39: "00"}))
		m = sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendAdvice(dst, &uncarded, nil, false) })
		checkMessage(t, m, 0x0220, want.with(fields{2: "", 3: "000000"}))
		if t.Failed() {
			t.Fatal(name)
		}
	}
	if data := AppendOriginal(nil, &txn.Request{Kind: txn.KindOfflineSale}); len(data) != 0 {
		t.Errorf("a request about nothing leaves %q in its record", data)
	}
}

// TestLinkFormsAreAdvicesWhereTheyAreRepeated holds the forms to the kinds'
// remedies, by which a link knows what its answer will be.
func TestLinkFormsAreAdvicesWhereTheyAreRepeated(t *testing.T) {
	for k := range txn.Kind(txn.Kinds) {
		form := linkForms[k]
		if k.Forwarded() != (form.operation != "") {
			t.Errorf("%s: forwarded %v, form %+v", k, k.Forwarded(), form)
		}
		if advice := form.mti == 0x0220; advice != (k.Remedy() == txn.Repeat) {
			t.Errorf("%s goes as %04x", k, form.mti)
		}
	}
}

func TestAppendAnswer(t *testing.T) {
	for name, link := range iso87Links(t) {
		for asked, answer := range map[uint16]uint16{0x0800: 0x0810, 0x0801: 0x0810, 0x0820: 0x0830} {
			h := txn.ReplyHead{MTI: asked, STAN: 9, Time: [10]byte([]byte("1122093105")), Network: 301}
			m := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendAnswer(dst, &h, [2]byte{'0', '0'}) })
			t.Log(name)
			checkMessage(t, m, answer, fields{7: "1122093105", 11: "000009", 39: "00", 70: "301"})
			h.Network = 0
			m = sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendAnswer(dst, &h, [2]byte{'3', '0'}) })
			checkMessage(t, m, answer, fields{7: "1122093105", 11: "000009", 39: "30"})
			h.Time = [10]byte{}
			m = sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendAnswer(dst, &h, [2]byte{'3', '0'}) })
			checkMessage(t, m, answer, fields{11: "000009", 39: "30"})
		}
		h := txn.ReplyHead{MTI: 0x0221, STAN: 9, Time: [10]byte([]byte("1122093105")), RRN: testRRN, Terminal: txn.MakeTerminalID("10000001")}
		want := fields{7: "1122093105", 11: "000009", 37: string(testRRN[:]), 39: "12", 41: "10000001"}
		m := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendAnswer(dst, &h, [2]byte{'1', '2'}) })
		checkMessage(t, m, 0x0230, want)
		link.Authenticate(testZAK(t, algo.TDES2, zakText))
		m = sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendAnswer(dst, &h, [2]byte{'1', '2'}) })
		if !m.Has(64) {
			t.Errorf("%s: an answer on a link with MACs has none", name)
		}
	}
}

func TestAppendNetwork(t *testing.T) {
	at := time.Date(2026, 11, 22, 9, 31, 5, 0, time.FixedZone("", 8*3600))
	for name, link := range iso87Links(t) {
		for _, code := range []string{"001", "002", "301"} {
			m := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendNetwork(dst, code, 5, at) })
			checkMessage(t, m, 0x0800, fields{7: "1122093105", 11: "000005", 70: code})
		}
		if _, err := link.AppendNetwork(nil, "30x", 5, at); err == nil {
			t.Errorf("%s: a network code of letters was encoded", name)
		}
	}
}

// TestReadReply holds what is read from an issuer, and that what is not there
// is zero.
func TestReadReply(t *testing.T) {
	full := fields{4: "000000012345", 7: "1122093105", 11: "000077", 15: "1122", 38: "A1B2C3", 39: "00", 41: "10000001", 44: "01020000", 49: "156", 54: "1002156C000000500000", 55: "hex:91023030"}
	head := txn.ReplyHead{MTI: 0x0210, STAN: 77, Terminal: txn.MakeTerminalID("10000001"), Time: [10]byte([]byte("1122093105")), Amount: txn.Amount{Minor: 12345, Currency: txn.CNY}, HasAmount: true}
	code := func(s string) (b [2]byte) { copy(b[:], s); return b }
	longest := strings.Repeat("x", txn.ResponseDataMax)
	for _, c := range []struct {
		name  string
		mti   uint16
		f     fields
		head  txn.ReplyHead
		reply txn.Reply
	}{
		{"approval", 0x0210, full, head, txn.Reply{Code: code("00"), AuthCode: [6]byte([]byte("A1B2C3")), SettlementDate: [4]byte([]byte("1122")), Amount: head.Amount,
			IssuerData: []byte("01020000"), Balance: []byte("1002156C000000500000"), Chip: []byte{0x91, 0x02, 0x30, 0x30}}},
		{"refusal with nothing but its number", 0x0210, fields{11: "000077", 39: "51"}, txn.ReplyHead{MTI: 0x0210, STAN: 77}, txn.Reply{Code: code("51")}},
		{"amount without a currency", 0x0210, fields{4: "000000012345", 11: "000077", 39: "00"},
			txn.ReplyHead{MTI: 0x0210, STAN: 77, Amount: txn.Amount{Minor: 12345}, HasAmount: true}, txn.Reply{Code: code("00"), Amount: txn.Amount{Minor: 12345}}},
		{"currency without an amount", 0x0210, fields{11: "000077", 39: "00", 49: "156"}, txn.ReplyHead{MTI: 0x0210, STAN: 77, Amount: txn.Amount{Currency: txn.CNY}}, txn.Reply{Code: code("00")}},
		{"letters for a currency, without an amount", 0x0210, fields{11: "000077", 39: "00", 49: "CNY"}, txn.ReplyHead{MTI: 0x0210, STAN: 77}, txn.Reply{Code: code("00")}},
		{"zero amount", 0x0210, fields{4: "000000000000", 11: "000077"}, txn.ReplyHead{MTI: 0x0210, STAN: 77, HasAmount: true}, txn.Reply{}},
		{"the longest chip data", 0x0210, fields{11: "000077", 39: "00", 55: longest}, txn.ReplyHead{MTI: 0x0210, STAN: 77}, txn.Reply{Code: code("00"), Chip: []byte(longest)}},
		{"a reference number", 0x0210, fields{11: "000077", 37: "326112000042", 39: "51"}, txn.ReplyHead{MTI: 0x0210, STAN: 77, RRN: [12]byte([]byte("326112000042"))}, txn.Reply{Code: code("51")}},
		{"no authorization code, of its length", 0x0210, fields{11: "000077", 38: "      ", 39: "00"}, txn.ReplyHead{MTI: 0x0210, STAN: 77}, txn.Reply{Code: code("00")}},
		{"a blank response code", 0x0210, fields{11: "000077", 39: "  "}, txn.ReplyHead{MTI: 0x0210, STAN: 77}, txn.Reply{}},
		{"a response code of zero bytes", 0x0210, fields{11: "000077", 39: "\x00\x00"}, txn.ReplyHead{MTI: 0x0210, STAN: 77}, txn.Reply{}},
		{"half a response code", 0x0230, fields{11: "000077", 39: "0 "}, txn.ReplyHead{MTI: 0x0230, STAN: 77}, txn.Reply{}},
		{"an authorization code that nobody can read", 0x0210, fields{11: "000077", 38: "12\x0045\xFF", 39: "00"}, txn.ReplyHead{MTI: 0x0210, STAN: 77}, txn.Reply{Code: code("00")}},
		{"a short authorization code", 0x0210, fields{11: "000077", 38: "1234  ", 39: "00"}, txn.ReplyHead{MTI: 0x0210, STAN: 77}, txn.Reply{Code: code("00"), AuthCode: [6]byte([]byte("1234  "))}},
		{"settled on no day", 0x0210, fields{11: "000077", 15: "0000", 39: "00"}, txn.ReplyHead{MTI: 0x0210, STAN: 77}, txn.Reply{Code: code("00")}},
		{"settled on a day that no month has", 0x0210, fields{11: "000077", 15: "0431", 39: "00"}, txn.ReplyHead{MTI: 0x0210, STAN: 77}, txn.Reply{Code: code("00")}},
		{"settled on the last day of a year", 0x0210, fields{11: "000077", 15: "1231", 39: "00"}, txn.ReplyHead{MTI: 0x0210, STAN: 77}, txn.Reply{Code: code("00"), SettlementDate: [4]byte([]byte("1231"))}},
		{"settled in a thirteenth month", 0x0210, fields{11: "000077", 15: "1301", 39: "00"}, txn.ReplyHead{MTI: 0x0210, STAN: 77}, txn.Reply{Code: code("00")}},
		{"settled on the last day of a month", 0x0210, fields{11: "000077", 15: "0229", 39: "00"}, txn.ReplyHead{MTI: 0x0210, STAN: 77}, txn.Reply{Code: code("00"), SettlementDate: [4]byte([]byte("0229"))}},
		{"cut-over to no day: the link's to refuse", 0x0800, fields{11: "000077", 15: "1301", 70: "201"}, txn.ReplyHead{MTI: 0x0800, STAN: 77, Network: 201}, txn.Reply{SettlementDate: [4]byte([]byte("1301"))}},
		{"reversal answer", 0x0410, fields{11: "000077", 39: "25", 41: "10000001"}, txn.ReplyHead{MTI: 0x0410, STAN: 77, Terminal: head.Terminal}, txn.Reply{Code: code("25")}},
		{"echo", 0x0810, fields{7: "1122093105", 11: "000005", 39: "00", 70: "301"}, txn.ReplyHead{MTI: 0x0810, STAN: 5, Time: head.Time, Network: 301}, txn.Reply{Code: code("00")}},
		{"an issuer's own echo", 0x0800, fields{7: "1122093105", 11: "000009", 70: "301"}, txn.ReplyHead{MTI: 0x0800, STAN: 9, Time: head.Time, Network: 301}, txn.Reply{}},
		{"a message without any field", 0x0210, fields{}, txn.ReplyHead{MTI: 0x0210}, txn.Reply{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, link := range iso87Links(t) {
				frame := build(t, link.Codec(), c.mti, c.f)
				var got txn.ReplyHead
				var reply txn.Reply
				if err := link.ReadReply(frame, &got, &reply); err != nil {
					t.Fatal(err)
				}
				clear(frame) // the reply has its own memory
				if got != c.head {
					t.Errorf("\n got %+v\nwant %+v", got, c.head)
				}
				for _, v := range [...][2][]byte{{reply.IssuerData, c.reply.IssuerData}, {reply.Balance, c.reply.Balance}, {reply.Chip, c.reply.Chip}} {
					if !bytes.Equal(v[0], v[1]) {
						t.Errorf("variable field: got %q, want %q", v[0], v[1])
					}
				}
				if reply.Code != c.reply.Code || reply.AuthCode != c.reply.AuthCode || reply.SettlementDate != c.reply.SettlementDate || reply.Amount != c.reply.Amount {
					t.Errorf("\n got %+v\nwant %+v", reply, c.reply)
				}
			}
		})
	}
}

func TestReadReplyRefuses(t *testing.T) {
	for name, link := range iso87Links(t) {
		good := build(t, link.Codec(), 0x0210, fields{11: "000077", 39: "00", 49: "156", 4: "000000000001"})
		letters := build(t, link.Codec(), 0x0210, fields{11: "000077", 39: "00", 49: "CNY", 4: "000000000001"})
		for what, frame := range map[string][]byte{
			"nothing":             nil,
			"a frame cut short":   good[:len(good)-1],
			"a byte too many":     append(bytes.Clone(good), '0'),
			"currency by letters": letters,
			"an oversized frame":  make([]byte, txn.FrameSizeMax+1),
		} {
			var head txn.ReplyHead
			var reply txn.Reply
			err := link.ReadReply(frame, &head, &reply)
			var field *iso.FieldError
			var own errField
			if !errors.As(err, &field) && !errors.As(err, &own) {
				t.Errorf("%s, %s: got %v, want an error that names the field", name, what, err)
			}
		}
	}
}

// TestReplyDataFitsARecord holds the field table to the limit that records are
// made for.
func TestReplyDataFitsARecord(t *testing.T) {
	spec := iso.ISO87(iso.SpelledHex)
	for _, n := range []int{44, 54, 55} {
		if size := spec.Fields[n].Spec().Length; size > txn.ResponseDataMax {
			t.Errorf("field %d of an issuer may have %d bytes, a record holds %d", n, size, txn.ResponseDataMax)
		}
	}
}

func TestIsDay(t *testing.T) {
	last := map[string]int{"01": 31, "02": 29, "03": 31, "04": 30, "05": 31, "06": 30, "07": 31, "08": 31, "09": 30, "10": 31, "11": 30, "12": 31}
	for n := range 100 {
		for day := range 100 {
			mmdd := fmt.Sprintf("%02d%02d", n, day)
			if want := day >= 1 && day <= last[mmdd[:2]]; isDay([4]byte([]byte(mmdd))) != want {
				t.Errorf("%s: %v", mmdd, !want)
			}
		}
	}
}

// TestCoded: a response code is two letters or digits.
func TestCoded(t *testing.T) {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	for c := range 256 {
		want := strings.IndexByte(alphabet, byte(c)) >= 0
		if coded([]byte{'0', byte(c)}) != want || coded([]byte{byte(c), 'z'}) != want {
			t.Errorf("%q: %v", rune(c), !want)
		}
	}
	for _, code := range []string{"", "0", "000"} {
		if coded([]byte(code)) {
			t.Errorf("%q is one", code)
		}
	}
}
