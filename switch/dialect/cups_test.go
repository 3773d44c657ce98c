package dialect

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// reject is a message as the network gives it back, with a code in its header.
func reject(frame []byte, code string) []byte {
	frame = bytes.Clone(frame)
	copy(frame[41:], code)
	return frame
}

// agreed is a link for which everything was agreed on.
func agreed(t testing.TB) *Issuer {
	t.Helper()
	d, err := ForIssuer(NameCUPS, testAcquirer, CUPS{Source: "48800000", Destination: "00010344", Forwarder: "48800000", Receiver: "00010000", Reserved: "003800"})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// DE60 of a chip sale at a terminal that reads every card.
const (
	cupsChip     = "000006000300000000000012000"
	cupsChipOnly = "435105000300000000000012000" // of its reversal, from the record
	cupsOriginal = "0200" + "000070" + "1122090000" + "00048802900" + "00048802900"
)

// TestCUPSRequests: each kind as the network has it, from both kinds of terminals.
func TestCUPSRequests(t *testing.T) {
	const place = "Bund Books               Shanghai     CN"
	owner := &txn.Merchant{MCC: 5411, Country: 156, Acceptor: [40]byte([]byte(place))}
	sale := fields{2: testPAN, 3: "000000", 4: "000000012345", 7: "1122093105", 11: "000077", 12: "093105", 13: "1122", 14: "3012",
		18: "5411", 19: "156", 22: "051", 25: "00", 32: "48802900", 33: "48802900", 37: string(testRRN[:]), 41: "10000001", 42: "999290054110001", 43: place, 49: "156",
		60: cupsChip}
	about := fields{37: "326112000041", 38: "A1B2C3"}
	for _, c := range []struct {
		name    string
		dialect string
		mti     uint16
		request fields
		wantMTI uint16
		want    fields
	}{
		{"sale", "cup-pos", 0x0200, cupSale, 0x0200, sale},
		{"sale with PIN and chip, of whose data what the network takes", "cup-pos", 0x0200,
			cupSale.with(fields{23: "001", 35: testPAN + "=30122201000", 52: "hex:BDFD42DCF960C8B6", 53: "2600000000000000",
				55: "hex:9F2608AABBCCDDEEFF0011" + "5A0A6222021234567890128F" + "9F360200AA" + "DF320101" + "FF01020304" + "950500000080009F1E083132333435363738"}), 0x0200,
			sale.with(fields{23: "001", 26: "06", 35: testPAN + "D30122201000", 52: "\xBD\xFD\x42\xDC\xF9\x60\xC8\xB6", 53: "2600000000000000",
				55: "\x9F\x26\x08\xAA\xBB\xCC\xDD\xEE\xFF\x00\x11\x9F\x36\x02\x00\xAA\x95\x05\x00\x00\x00\x80\x00\x9F\x1E\x0812345678"})},
		{"sale by fallback to the stripe", "cup-pos", 0x0200, cupSale.with(fields{22: "021", 60: "2200000100051"}), 0x0200,
			sale.with(fields{22: "021", 60: "000005100300000000000011000"})},
		{"sale without contact", "cup-pos", 0x0200, cupSale.with(fields{22: "072"}), 0x0200, sale.with(fields{22: "072"})},
		{"sale of a terminal that does not say what it reads", "iso87", 0x0200, isoSale, 0x0200, sale.with(fields{12: "173105", 25: "", 60: "000005000300000000000012000"})},
		{"sale with a number typed in", "iso87", 0x0200, isoSale.with(fields{22: "012"}), 0x0200, sale.with(fields{12: "173105", 22: "012", 25: "", 60: "000000000300000000000010000"})},
		{"sale by mail", "cup-pos", 0x0200, cupSale.with(fields{25: "08"}), 0x0200, sale.with(fields{25: "08"})},
		{"balance", "cup-pos", 0x0200, cupSale.with(fields{3: "310000", 4: "", 60: "0100000100060"}), 0x0200, sale.with(fields{3: "300000", 4: ""})},
		{"balance as authorization", "iso87", 0x0100, isoSale.with(fields{3: "310000", 4: ""}), 0x0200, sale.with(fields{3: "300000", 4: "", 12: "173105", 25: "", 60: "000005000300000000000012000"})},
		{"void", "cup-pos", 0x0200, cupSale.with(about).with(fields{3: "200000", 60: "2300000100060", 61: "000001000002"}), 0x0200,
			sale.with(fields{3: "200000", 38: "A1B2C3", 90: cupsOriginal})},
		{"void of another terminal's spelling", "iso87", 0x0200, isoSale.with(fields{3: "020000", 90: isoOriginal}), 0x0200,
			sale.with(fields{3: "200000", 12: "173105", 25: "", 60: "000005000300000000000012000", 90: cupsOriginal})},
		{"refund", "cup-pos", 0x0220, cupSale.with(about).with(fields{3: "200000", 60: "2500000100060", 61: "0000010000021121"}), 0x0220,
			sale.with(fields{3: "200000", 38: "A1B2C3", 48: "ASOA012000000099999", 90: cupsOriginal})},
		{"pre-authorization", "cup-pos", 0x0100, cupSale.with(fields{3: "030000", 25: "06", 60: "1000000100060"}), 0x0100, sale.with(fields{3: "030000", 25: "06"})},
		{"pre-authorization of another terminal's spelling", "iso87", 0x0100, isoSale, 0x0100, sale.with(fields{3: "030000", 12: "173105", 25: "06", 60: "000005000300000000000012000"})},
		{"more of it", "cup-pos", 0x0100, cupSale.with(fields{3: "030000", 25: "60", 38: "A1B2C3", 60: "1000000100060", 61: "0000000000000000"}), 0x0100,
			sale.with(fields{3: "030000", 25: "60", 38: "A1B2C3", 90: cupsOriginal})},
		{"its void", "cup-pos", 0x0100, cupSale.with(fields{3: "200000", 25: "06", 38: "A1B2C3", 60: "1100000100060", 61: "0000010000021121"}), 0x0100,
			sale.with(fields{3: "200000", 25: "06", 38: "A1B2C3", 90: cupsOriginal})},
		{"completion", "cup-pos", 0x0200, cupSale.with(fields{25: "06", 38: "A1B2C3", 60: "2000000100060", 61: "0000010000021121"}), 0x0200,
			sale.with(fields{25: "06", 38: "A1B2C3", 90: cupsOriginal})},
		{"its void", "cup-pos", 0x0200, cupSale.with(about).with(fields{3: "200000", 25: "06", 60: "2100000100060", 61: "0000010000021121"}), 0x0200,
			sale.with(fields{3: "200000", 25: "06", 38: "A1B2C3", 90: cupsOriginal})},
		{"completion that is told", "cup-pos", 0x0220, cupSale.with(fields{25: "06", 38: "A1B2C3", 60: "2400000100060", 61: "0000010000021121"}), 0x0220,
			sale.with(fields{25: "06", 38: "A1B2C3", 90: cupsOriginal})},
		{"sale that is told", "cup-pos", 0x0220, cupSale.with(fields{60: "3000000100060"}), 0x0220, sale},
		{"tip", "cup-pos", 0x0220, cupSale.with(about).with(fields{48: "000000012345", 60: "3400000100060", 61: "0000010000021121"}), 0x0220,
			sale.with(fields{3: "020000", 38: "A1B2C3", 90: cupsOriginal})},
		{"instalments", "cup-pos", 0x0200, cupSale.with(fields{25: "64", 62: "12"}), 0x0200,
			sale.with(fields{25: "64", 48: "ASIP06212" + strings.Repeat(" ", 32) + strings.Repeat("0", 12) + strings.Repeat(" ", 16)})},
		{"instalments whose number nobody can read", "cup-pos", 0x0200, cupSale.with(fields{25: "64", 62: "xx"}), 0x0200, sale.with(fields{25: "64"})},
		{"is this card good", "cup-pos", 0x0100, cupSale.with(fields{3: "330000", 4: "", 60: "0100000100060"}), 0x0100, sale.with(fields{3: "330000", 4: ""})},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := terminal(t, c.dialect)
			x := decoded(t, d, build(t, d.Codec(), c.mti, c.request))
			checkFault(t, x, "")
			x.Request.Acceptor = owner
			if x.Request.Kind.NamesOriginal() {
				x.Request.OriginalMTI, x.Request.OriginalLeg = 0x0200, txn.Leg{STAN: 70, Time: [10]byte([]byte("1122090000"))}
				x.Request.OriginalAmount = txn.Amount{Minor: 999_99, Currency: txn.CNY}
			}
			link := issuerLink(t, NameCUPS)
			m := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendRequest(dst, &x.Request, &testLeg, testRRN) })
			checkMessage(t, m, c.wantMTI, c.want)
			checkNetworkFrame(t, m, "48802900", cupsDestination)
			want := x.Request.Kind
			if want == txn.KindTip {
				want = txn.KindAdjustment // there is no telling
			}
			if got := link.Kind(m); got != want {
				t.Errorf("it reaches the network as a %s, and is a %s", got, want)
			}
			with := agreed(t)
			m = sent(t, with, func(dst []byte) ([]byte, error) { return with.AppendRequest(dst, &x.Request, &testLeg, testRRN) })
			from := fields{33: "48800000", 100: "00010000", 122: "003800"}
			if v := c.want[90]; v != "" {
				from[90] = v[:31] + "00048800000"
			}
			checkMessage(t, m, c.wantMTI, c.want.with(from))
			checkNetworkFrame(t, m, "48800000", "00010344")
		})
	}
}

// checkNetworkFrame holds a frame to its header and its wide bitmap.
func checkNetworkFrame(t *testing.T, m *iso.Message, source, destination string) {
	t.Helper()
	header := m.Header()
	if string(header[6:17]) != (destination + "           ")[:11] || string(header[17:28]) != (source + "           ")[:11] || header[0] != 46 || iso.CUPSReject(header) != "" {
		t.Errorf("header %q", header)
	}
	if b := m.Bitmap(); len(b) != 16 || b[0]&0x80 == 0 {
		t.Errorf("bitmap %X", b)
	}
}

// TestCUPSChip: the network is told the elements of cup-pos A5, as many as fit, and
// nothing of data that is not well formed.
func TestCUPSChip(t *testing.T) {
	element := func(tag string) string { return tag + "0101" }
	var all string
	for _, tag := range []string{"9F26", "9F27", "9F10", "9F37", "9F36", "95", "9A", "9C", "9F02", "5F2A", "82", "9F1A", "9F03", "9F33", "9F34", "9F35", "9F1E", "84", "9F09", "9F41",
		"9F63", "8A", "9F74"} {
		all += element(tag)
	}
	longest := "9F1081FB" + strings.Repeat("00", 251) // 255 bytes
	for _, c := range []struct{ name, chip, want string }{
		{"all that it takes", all, all},
		{"and nothing else", element("9F26") + element("9F06") + element("DF32"), element("9F26")},
		{"only what it does not take", element("9F06"), ""},
		{"as long as it takes", longest, longest},
		{"longer", "9F1081FC" + strings.Repeat("00", 252), ""},
		{"cut short behind a good element", element("9F26") + "9F1A02", ""},
	} {
		v, err := hex.DecodeString(c.chip)
		if err != nil {
			t.Fatal(err)
		}
		x := decoded(t, terminal(t, "cup-pos"), build(t, terminal(t, "cup-pos").Codec(), 0x0200, cupSale))
		x.Request.Chip = v
		link := issuerLink(t, NameCUPS)
		m := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendRequest(dst, &x.Request, &testLeg, testRRN) })
		if got := fmt.Sprintf("%X", m.Value(55)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

// TestCUPSSM4PIN: the network's digit for SM4, and where the block is.
func TestCUPSSM4PIN(t *testing.T) {
	x := decoded(t, terminal(t, "cup-pos"), build(t, terminal(t, "cup-pos").Codec(), 0x0200, cupSale))
	block := []byte("0123456789ABCDEF")
	x.Request.PINBlock = block
	copy(x.Request.SecurityInfo[:], "2300000000000000")
	link := issuerLink(t, NameCUPS)
	m := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendRequest(dst, &x.Request, &testLeg, testRRN) })
	for n, want := range map[int]string{26: "06", 52: string(zeroPIN[:]), 53: "2400000000000000", 63: "SM016" + string(block)} {
		if got := text(m, n); got != want {
			t.Errorf("field %d: got %q, want %q", n, got, want)
		}
	}
}

// TestCUPSReversal: what a reversal undoes, and that it is the same again.
func TestCUPSReversal(t *testing.T) {
	original := txn.Record{
		Kind: txn.RecordOutcome, Key: txn.Key{Terminal: txn.MakeTerminalID("10000001"), STAN: 42}, Request: txn.KindSale, MTI: 0x0200,
		ProcessingCode: [6]byte([]byte("000000")), Condition: [2]byte{'0', '0'}, Merchant: txn.MakeMerchantID("999290054110001"), MCC: 5411, Entry: txn.EntryChip,
		Amount: txn.Amount{Minor: 12345, Currency: txn.CNY}, Leg: testLeg, Outcome: txn.OutcomeUnknown, Reason: txn.IssuerDidNotAnswer, RRN: testRRN,
	}
	void, preauth, gone := original, original, original
	void.Request, void.ProcessingCode = txn.KindVoid, [6]byte([]byte("020000"))
	preauth.Request, preauth.MTI = txn.KindPreauth, 0x0100
	gone.Request, gone.MTI, gone.ProcessingCode, gone.Condition = txn.KindPreauthVoid, 0x0100, [6]byte([]byte("200000")), [2]byte{'0', '6'}
	want := fields{2: testPAN, 3: "000000", 4: "000000012345", 7: "1122093105", 11: "000077", 12: "093105", 13: "1122", 18: "5411", 22: "050", 25: "00", 32: "48802900",
		33: "48802900", 37: string(testRRN[:]), 41: "10000001", 42: "999290054110001", 49: "156", 60: cupsChipOnly,
		90: "0200" + "000077" + "1122093105" + "00048802900" + "00048802900"}
	preauthorized := fields{25: "06", 90: "0100" + want[90][4:]}
	link := issuerLink(t, NameCUPS)
	for _, c := range []struct {
		name string
		rec  txn.Record
		want fields
	}{
		{"a sale", original, want},
		{"a void", void, want.with(fields{3: "200000"})},
		{"a pre-authorization", preauth, want.with(preauthorized).with(fields{3: "030000"})},
		{"its void", gone, want.with(preauthorized).with(fields{3: "200000"})},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, asked := range []uint16{0x0400, 0x0401, 0x0420, 0x0421} {
				m := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendReversal(dst, &c.rec, []byte(testPAN), asked) })
				checkMessage(t, m, 0x0420, c.want)
				with := agreed(t)
				m = sent(t, with, func(dst []byte) ([]byte, error) { return with.AppendReversal(dst, &c.rec, []byte(testPAN), asked) })
				checkMessage(t, m, 0x0420, c.want.with(fields{33: "48800000", 90: c.want[90][:31] + "00048800000", 100: "00010000", 122: "003800"}))
				if link.Kind(m) != txn.KindReversal {
					t.Errorf("it is a %s", link.Kind(m))
				}
			}
		})
	}
	original.Stays = 400
	if frame, err := link.AppendReversal([]byte("queued"), &original, []byte(testPAN), 0x0400); !errors.Is(err, errPartCUPS) || string(frame) != "queued" {
		t.Errorf("a reversal of a part became %q, %v", frame, err)
	}
}

// TestCUPSAdvice: a repeat is told as the first telling was, as far as its record
// goes; of a refund, what its original was of is in that.
func TestCUPSAdvice(t *testing.T) {
	req := txn.Request{Kind: txn.KindRefund, OriginalMTI: 0x0200, OriginalLeg: txn.Leg{STAN: 70, Time: [10]byte([]byte("1122090000"))},
		OriginalAmount: txn.Amount{Minor: 999_99, Currency: txn.CNY}}
	named := req
	copy(named.Original.AuthCode[:], "A1B2C3")
	completion := named
	completion.Kind = txn.KindCompletionAdvice
	before := req
	before.OriginalAmount = txn.Amount{} // by a record of before it was kept
	rec := txn.Record{
		Kind: txn.RecordOutcome, Key: txn.Key{Terminal: txn.MakeTerminalID("10000001"), STAN: 42, Class: txn.ClassAdvice}, MTI: 0x0220,
		Merchant: txn.MakeMerchantID("999290054110001"), MCC: 5411, Entry: txn.EntryStripe, Condition: [2]byte{'0', '0'},
		ProcessingCode: [6]byte([]byte("200000")), Amount: txn.Amount{Minor: 12345, Currency: txn.CNY}, Leg: testLeg, RRN: testRRN,
	}
	want := fields{2: testPAN, 3: "200000", 4: "000000012345", 7: "1122093105", 11: "000077", 12: "093105", 13: "1122", 18: "5411", 22: "020", 25: "00", 32: "48802900",
		33: "48802900", 37: string(testRRN[:]), 41: "10000001", 42: "999290054110001", 49: "156", 60: "000002000300000000000011000", 90: cupsOriginal}
	link := issuerLink(t, NameCUPS)
	for _, c := range []struct {
		name  string
		about *txn.Request
		want  fields
	}{
		{"refund", &req, want.with(fields{48: "ASOA012000000099999"})},
		{"refund with an authorization code", &named, want.with(fields{38: "A1B2C3", 48: "ASOA012000000099999"})},
		{"refund of before", &before, want},
		{"completion", &completion, want.with(fields{3: "000000", 25: "06", 38: "A1B2C3"})},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec := rec
			rec.Request, rec.Data = c.about.Kind, AppendOriginal(nil, c.about)
			if len(rec.Data) > OriginalSizeMax {
				t.Errorf("its record keeps %d bytes", len(rec.Data))
			}
			for _, repeat := range []bool{false, true} {
				m := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendAdvice(dst, &rec, []byte(testPAN), repeat) })
				checkMessage(t, m, 0x0220, c.want)
				with := agreed(t)
				m = sent(t, with, func(dst []byte) ([]byte, error) { return with.AppendAdvice(dst, &rec, []byte(testPAN), repeat) })
				checkMessage(t, m, 0x0220, c.want.with(fields{33: "48800000", 90: c.want[90][:31] + "00048800000", 100: "00010000", 122: "003800"}))
			}
		})
	}
}

// TestCUPSNetwork: signing on and off and asking for life are 0820; the network's
// own are answered to who sent them.
func TestCUPSNetwork(t *testing.T) {
	at := time.Date(2026, 11, 22, 9, 31, 5, 0, time.FixedZone("", 8*3600))
	link, with := issuerLink(t, NameCUPS), agreed(t)
	for code, kind := range map[string]txn.Kind{"001": txn.KindSignOn, "002": txn.KindSignOff, "301": txn.KindEcho} {
		m := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendNetwork(dst, code, 5, at) })
		checkMessage(t, m, 0x0820, fields{7: "1122093105", 11: "000005", 33: "48802900", 70: code})
		if link.Kind(m) != kind {
			t.Errorf("%s is a %s", code, link.Kind(m))
		}
		m = sent(t, with, func(dst []byte) ([]byte, error) { return with.AppendNetwork(dst, code, 5, at) })
		checkMessage(t, m, 0x0820, fields{7: "1122093105", 11: "000005", 33: "48800000", 70: code, 100: "00010000"})
	}
	for code, want := range map[string]txn.Kind{"001": txn.KindSignOn, "002": txn.KindSignOff, "201": txn.KindEcho, "202": txn.KindEcho, "301": txn.KindEcho,
		"003": txn.KindUnknown, "203": txn.KindUnknown, "302": txn.KindUnknown} {
		m := new(iso.Message)
		if err := link.Codec().Parse(m, build(t, link.Codec(), 0x0820, fields{11: "000009", 70: code})); err != nil || link.Kind(m) != want {
			t.Errorf("%s is a %s, want %s, %v", code, link.Kind(m), want, err)
		}
	}
	for mti, want := range map[uint16]uint16{0x0820: 0x0830, 0x0800: 0x0810} {
		asked := build(t, link.Codec(), mti, fields{7: "1122093105", 11: "000009", 15: "1123", 33: "00010000", 70: "201", 100: "48802900"})
		var head txn.ReplyHead
		var reply txn.Reply
		if err := link.ReadReply(asked, &head, &reply); err != nil || head.Network != 201 || string(reply.SettlementDate[:]) != "1123" {
			t.Fatalf("%+v, %+v, %v", head, reply, err)
		}
		m := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendAnswer(dst, &head, [2]byte{'0', '0'}) })
		checkMessage(t, m, want, fields{7: "1122093105", 11: "000009", 33: "00010000", 39: "00", 70: "201", 100: "48802900"})
	}
}

// TestCUPSReplies: what the captured answers say, and what is done about messages
// that the network gives back.
func TestCUPSReplies(t *testing.T) {
	link := issuerLink(t, NameCUPS)
	answer := build(t, link.Codec(), 0x0210, fields{3: "300000", 7: "0825123011", 11: "863787", 15: "0825", 38: "A1B2C3", 39: "00", 41: "12345678",
		44: "01020000   48802900   ", 54: "3001156C0000017971003002156C000004810938", 55: "hex:9F36023788910AE9D1DC942D1F3D673030", 60: "000006000100000000004022102100"})
	sale := build(t, link.Codec(), 0x0200, fields{3: "000000", 4: "000000012345", 7: "0825123011", 11: "863787", 41: "12345678", 49: "156"})
	head := txn.ReplyHead{MTI: 0x0210, STAN: 863787, Terminal: txn.MakeTerminalID("12345678"), Time: [10]byte([]byte("0825123011"))}
	refused := head
	refused.Rejected, refused.Amount, refused.HasAmount = "30004", txn.Amount{Minor: 12345, Currency: txn.CNY}, true
	outer := append(reject(sale, "30004")[:46], sale...)
	for _, c := range []struct {
		name  string
		frame []byte
		head  txn.ReplyHead
		reply txn.Reply
	}{
		{"balance", answer, head, txn.Reply{Code: [2]byte{'0', '0'}, AuthCode: [6]byte([]byte("A1B2C3")), SettlementDate: [4]byte([]byte("0825")),
			IssuerData: []byte("01020000   48802900   "), Balance: []byte("3001156C0000017971003002156C000004810938"), Chip: []byte("\x9F\x36\x02\x37\x88\x91\x0A\xE9\xD1\xDC\x94\x2D\x1F\x3D\x67\x30\x30")}},
		{"given back", reject(sale, "30004"), refused, txn.Reply{Code: [2]byte{'3', '0'}}},
		{"given back behind a header of its own", outer, refused, txn.Reply{Code: [2]byte{'3', '0'}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got txn.ReplyHead
			var reply txn.Reply
			if err := link.ReadReply(c.frame, &got, &reply); err != nil {
				t.Fatal(err)
			}
			if got != c.head {
				t.Errorf("\n got %+v\nwant %+v", got, c.head)
			}
			if reply.Code != c.reply.Code || reply.AuthCode != c.reply.AuthCode || reply.SettlementDate != c.reply.SettlementDate ||
				!bytes.Equal(reply.IssuerData, c.reply.IssuerData) || !bytes.Equal(reply.Balance, c.reply.Balance) || !bytes.Equal(reply.Chip, c.reply.Chip) {
				t.Errorf("\n got %+v\nwant %+v", reply, c.reply)
			}
		})
	}
	for name, frame := range map[string][]byte{
		"nothing":                   nil,
		"a header alone":            answer[:46],
		"another size of header":    append([]byte{41}, answer[1:]...),
		"a frame that was cut":      answer[:len(answer)-1],
		"bytes behind the last one": append(bytes.Clone(answer), '0'),
	} {
		var got txn.ReplyHead
		var reply txn.Reply
		var field *iso.FieldError
		if err := link.ReadReply(frame, &got, &reply); !errors.As(err, &field) {
			t.Errorf("%s: got %v, want an error that names where it is", name, err)
		}
	}
}

// TestCUPSForms: what is repeated goes as an advice, and each form is read as its
// own kind, or as one that is told alike.
func TestCUPSForms(t *testing.T) {
	alike := map[txn.Kind]txn.Kind{txn.KindTip: txn.KindAdjustment, txn.KindStandIn: txn.KindOfflineSale}
	link := issuerLink(t, NameCUPS)
	for k := range txn.Kind(txn.Kinds) {
		form := cupsForms[k]
		if k.Forwarded() != (form.operation != "") || (form.mti == 0x0220) != (k.Remedy() == txn.Repeat) {
			t.Errorf("%s has the form %+v", k, form)
		}
		if form.operation == "" {
			continue
		}
		condition := form.condition
		if condition == "" {
			condition = "00"
		}
		m := new(iso.Message)
		if err := link.Codec().Parse(m, build(t, link.Codec(), form.mti, fields{3: form.operation + "0000", 25: condition})); err != nil {
			t.Fatal(err)
		}
		want := k
		if same, ok := alike[k]; ok {
			want = same
		}
		if got := link.Kind(m); got != want {
			t.Errorf("%s is read as %s", k, got)
		}
		if form.condition != "06" {
			continue
		}
		byMail := build(t, link.Codec(), form.mti, fields{3: form.operation + "0000", 25: "18"})
		if err := link.Codec().Parse(m, byMail); err != nil || link.Kind(m) != want {
			t.Errorf("%s by mail or telephone is read as %s, %v", k, link.Kind(m), err)
		}
	}
}

// TestCUPSRefusesWhatWasAgreed: each setting that cannot be sent is named.
func TestCUPSRefusesWhatWasAgreed(t *testing.T) {
	for field, c := range map[string]CUPS{
		"cups.source": {Source: "4880290x"}, "cups.destination": {Destination: "123456789012"}, "cups.forwarder": {Forwarder: "-1"},
		"cups.receiver": {Receiver: "UnionPay"}, "cups.reserved": {Reserved: strings.Repeat("x", 101)},
	} {
		if _, err := ForIssuer(NameCUPS, testAcquirer, c); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := ForIssuer(NameCUPS, testAcquirer, CUPS{Source: "12345678901", Reserved: strings.Repeat("x", 100)}); err != nil {
		t.Error(err)
	}
	if _, err := ForIssuer("klingon", testAcquirer, CUPS{}); err == nil || !strings.Contains(err.Error(), "must be one of cups, iso87") {
		t.Error(err)
	}
}
