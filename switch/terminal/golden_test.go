package terminal

import (
	"bytes"
	"encoding/hex"
	"slices"
	"testing"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// The constructed messages of the reference that are not among the fixtures.
const (
	goldenChipUpload   = "00F7600003000060310031000003205020060000C00214196222021234567890128000000001234500001205000001313030303030303139393932393030353431313030303101459F260811223344556677889F2701409F101307010103A0A802010A010000000000112233449F3704010203049F36020001950500000008009A032611219C01009F02060000000123455F2A02015682027C009F1A0201569F03060000000000009F3303E0E1C89F34030203009F3501229F1E0831323334353637388408A0000003330101019F090200309F4104000000010013000000012036000021363130303030303030303030303132333435313536"
	goldenRefundUpload = "007360000300006031003100000320702004800CC0801A19622202123456789012802000000000000100000000040220003131323130393331303030324131423243333130303030303031393939323930303534313130303031313536001325000002000600001600000100000211210003435550"
	goldenCode         = "00B3600003000060310031000002003020048000C080310000000000000001000000160320003130303030303031393939323930303534313130303031313536009841323036393031303032303430323032303030303032333034534E30303030303030303031303330303638393031323830343030383141373733323130303530303833313030303120204133303139363232323032313233343536373839303132380013220000010006004533393035333737"
)

// goldenProfile is the terminal of the constructed messages.
var goldenProfile = Profile{
	Terminal: txn.MakeTerminalID("10000001"), Merchant: txn.MakeMerchantID("999290054110001"),
	Serial: "SN000001", TUSN: "00002304SN0000000001", Version: "310001",
	SerialKey: txn.Secret("\x01\x23\x45\x67\x89\xAB\xCD\xEF\xFE\xDC\xBA\x98\x76\x54\x32\x10"),
	Currency:  txn.CNY, Batch: 1, Position: txn.Position{Lat: 31_230400, Lng: 121_473700, Known: true},
	Cell: Cell{Country: "460", Network: "00", Area: "6243", ID: "12345678", Signal: "-71"},
}

// golden says how each constructed message that a terminal sends comes about;
// every one of them is made byte for byte. Only the purchase's and the
// pre-authorization's proof of serial number is a placeholder in the reference:
// the expected frame is given the proof of the QR sale, which is that of the
// same card's last digits.
func TestConstructedMessages(t *testing.T) {
	d, err := dialect.ForTerminal("cup-pos")
	if err != nil {
		t.Fatal(err)
	}
	frames := constructed(t)
	frames["chip upload"], frames["refund upload"], frames["code"] = unhex(t, goldenChipUpload), unhex(t, goldenRefundUpload), unhex(t, goldenCode)
	k, err := NewKeys(d, keys.KeySetDouble, 0, unhex(t, publishedTMK))
	if err != nil {
		t.Fatal(err)
	}
	if err := k.take(unhex(t, publishedDE62)); err != nil {
		t.Fatal(err)
	}
	pan, err := txn.ParsePAN("6222021234567890128")
	if err != nil {
		t.Fatal(err)
	}
	value := func(id string, field int) []byte {
		var m iso.Message
		if err := d.Codec().Parse(&m, frames[id][2:]); err != nil {
			t.Fatal(err)
		}
		return m.Value(field)
	}
	track := txn.Secret("6222021234567890128=30122010000012300")
	chip := Card{PAN: pan, Expiry: "3012", Track2: track, PIN: txn.Secret("123456"), ChipData: value("cup-03", 55)}
	plain := chip
	plain.ChipData = txn.Secret{}
	stripe := Card{PAN: pan, Expiry: "3012", Track2: track, Entry: Stripe}
	manual := Card{PAN: pan, Expiry: "3012", Entry: Manual}
	cny := func(minor int64) txn.Amount { return txn.Amount{Minor: minor, Currency: txn.CNY} }
	sale := Original{Kind: txn.KindSale, Batch: 1, STAN: 2, Date: "1121", RRN: "112109310002", AuthCode: "A1B2C3", Acquirer: "48802900", Entry: "051"}
	preauth := Original{Kind: txn.KindPreauth, Batch: 1, STAN: 5, Date: "1121", AuthCode: "B1B2B3"}
	completion := preauth
	completion.STAN, completion.RRN = 7, "112109350007"
	fees := totalsOf(2, 1073_45, 1, 123_45)
	c := Client{}
	settlement := c.settlementMessage(fees)
	settlement.STAN = 11
	certificate := Message{Kind: txn.KindUpload, STAN: 12, Network: netChip, fields: []int{2, 4, 11, 22, 23, 41, 42, 55, 60, 62}, Detail: "610000000000012345156"}

	for _, row := range []struct {
		id    string
		m     Message
		alter func(*Profile)
	}{
		{"cup-01", Message{Kind: txn.KindSignOn, STAN: 1}, nil},
		{"cup-03", Message{Kind: txn.KindSale, STAN: 2, Amount: cny(123_45), Card: chip}, nil},
		{"cup-05", Message{Kind: txn.KindVoid, STAN: 3, Amount: cny(123_45), Card: plain, Original: sale, NoPlace: true}, nil},
		{"cup-06", Message{Kind: txn.KindRefund, STAN: 4, Amount: cny(100_00), Card: stripe, Original: sale, NoPlace: true}, func(p *Profile) { p.Batch = 2 }},
		{"cup-07", Message{Kind: txn.KindPreauth, STAN: 5, Amount: cny(1000_00), Card: chip}, nil},
		{"cup-08", Message{Kind: txn.KindPreauthVoid, STAN: 6, Amount: cny(1000_00), Card: plain, Original: preauth, NoPlace: true}, nil},
		{"cup-09", Message{Kind: txn.KindCompletion, STAN: 7, Amount: cny(950_00), Card: plain, Original: preauth, NoPlace: true}, nil},
		{"cup-10", Message{Kind: txn.KindCompletionVoid, STAN: 8, Amount: cny(950_00), Card: plain, Original: completion, NoPlace: true}, nil},
		{"cup-11", Message{Kind: txn.KindCompletionAdvice, STAN: 9, Amount: cny(950_00), Card: manual, Original: Original{Date: "1121", AuthCode: "B1B2B3"}}, nil},
		{"cup-12", Message{Kind: txn.KindBalance, STAN: 10, Card: plain, NoPlace: true}, nil},
		{"cup-16", *settlement, nil},
		{"cup-19", Message{Kind: txn.KindUpload, STAN: 12, Network: netBatch, Detail: "03" +
			"00000002" + "06222021234567890128" + "000000012345" +
			"00000003" + "06222021234567890128" + "000000012345" +
			"00000007" + "06222021234567890128" + "000000095000"}, nil},
		{"cup-21", Message{Kind: txn.KindUpload, STAN: 13, Network: netEndUnequal, Detail: "0003"}, nil},
		{"cup-22", Message{Kind: txn.KindUpload, STAN: 13, Network: netEndEqual, Detail: "0000"}, nil},
		{"cup-23", Message{Kind: txn.KindEcho}, nil},
		{"cup-33", Message{Kind: txn.KindSignOff, STAN: 14}, nil},
		{"cup-35", Message{Kind: txn.KindScriptResult, STAN: 15, Amount: cny(123_45), Card: Card{PAN: pan, Expiry: "3012", ChipData: value("cup-35", 55)}, Original: sale}, nil},
		{"code", Message{Kind: txn.KindSale, STAN: 16, Amount: cny(1_00), Card: Card{PAN: pan, Entry: Code}}, func(p *Profile) { p.Position.Known = false }},
		{"chip upload", certificate, nil},
	} {
		t.Run(row.id, func(t *testing.T) {
			p, want := goldenProfile, slices.Clone(frames[row.id])
			if row.alter != nil {
				row.alter(&p)
			}
			m := row.m
			if m.PINBlock, err = k.encipher(&m.Card); err != nil {
				t.Fatal(err)
			}
			m.MAC = carriesCard(m.Kind)
			if row.id == "chip upload" { // of a sale whose cryptogram became a certificate
				of := chip
				of.PIN, of.ChipData = nil, bytes.Replace(value(row.id, 55), unhex(t, "9F270140"), unhex(t, "9F270180"), 1)
				frame, err := (&Message{Kind: txn.KindSale, STAN: 12, Amount: cny(123_45), Card: of}).Append(nil, d, &p)
				if err != nil {
					t.Fatal(err)
				}
				m.of = new(iso.Message)
				if err := d.Codec().Parse(m.of, frame[2:]); err != nil {
					t.Fatal(err)
				}
			}
			if at := bytes.Index(want, []byte("1A2B3C4D")); at >= 0 {
				copy(want[at:], value("code", 59)[bytes.Index(value("code", 59), []byte("04008"))+5:][:8])
				if err := k.Seal(d, want); err != nil {
					t.Fatal(err)
				}
			}
			frame, err := m.Append(nil, d, &p)
			if err == nil {
				err = k.Seal(d, frame)
			}
			sameFrame(t, d, frame, want, err)
		})
	}

	t.Run("cup-14", func(t *testing.T) { // the reversal of cup-03
		frame, err := ReversalOf(nil, d, frames["cup-03"][2:], "98")
		if err == nil {
			err = k.Seal(d, frame)
		}
		sameFrame(t, d, frame, frames["cup-14"], err)
	})
	t.Run("refund upload", func(t *testing.T) { // of cup-06
		store := NewStore()
		without, err := withoutSecrets(d, frames["cup-06"])
		if err != nil {
			t.Fatal(err)
		}
		c := Client{store: store, line: Line{Dialect: d}}
		m, err := c.notice(&fact{Kind: "refund", STAN: 4, Frame: store.keep(without)})
		if err != nil {
			t.Fatal(err)
		}
		frame, err := m.Append(nil, d, &goldenProfile)
		sameFrame(t, d, frame, frames["refund upload"], err)
	})
	if _, err := algo.CheckValue(k.tpk.Whole); err != nil {
		t.Error(err)
	}
}

// sameFrame names the fields in which two frames differ.
func sameFrame(t *testing.T, d *dialect.Terminal, got, want []byte, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(got, want) {
		return
	}
	var g, w iso.Message
	gerr, werr := d.Codec().Parse(&g, got[2:]), d.Codec().Parse(&w, want[2:])
	t.Errorf("got  %x\nwant %x (%v, %v)", got, want, gerr, werr)
	for n := 2; n <= 64; n++ {
		if !bytes.Equal(g.Value(n), w.Value(n)) {
			t.Errorf("field %d: got %s, want %s", n, hex.EncodeToString(g.Value(n)), hex.EncodeToString(w.Value(n)))
		}
	}
}
