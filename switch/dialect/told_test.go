package dialect

import (
	"bytes"
	"encoding/hex"
	"slices"
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// TestAdviceIsTheRequestAgain: what is told again is the first telling, field by field,
// less track, PIN and what of DE55 may hold card data. Nothing of these is kept.
func TestAdviceIsTheRequestAgain(t *testing.T) {
	const kept = "9F2608AABBCCDDEEFF0011" + "9F36020001" + "9F0206000000012345"
	track2Equivalent, unknown := "5712"+"6222021234567890128D301220100000123F", "DF7F021234"
	chip, err := hex.DecodeString(track2Equivalent + kept + unknown)
	if err != nil {
		t.Fatal(err)
	}
	pan, err := txn.ParsePAN(testPAN)
	if err != nil {
		t.Fatal(err)
	}
	acceptor := &txn.Merchant{MCC: 5411, Country: 156}
	copy(acceptor.Acceptor[:], "BUND BOOKS               SHANGHAI     CN")
	for k := range txn.Kind(txn.Kinds) {
		if k.Remedy() != txn.Repeat || k == txn.KindStandIn { // which has no first telling
			continue
		}
		for _, silent := range []bool{false, true} { // about all that may be absent
			req := txn.Request{
				Kind: k, MTI: 0x0220, PAN: pan, Merchant: txn.MakeMerchantID("999290054110001"), Acceptor: acceptor,
				Key: txn.Key{Terminal: txn.MakeTerminalID("10000001"), STAN: 42, Class: txn.ClassAdvice}, ProcessingCode: [6]byte([]byte("000000")),
				Amount: txn.Amount{Minor: 12345, Currency: txn.CNY}, Entry: txn.EntryChip, Condition: [2]byte{'0', '0'},
			}
			if !silent {
				req.Expiry, req.CardSequence, req.PINCapability = [4]byte([]byte("3012")), [3]byte([]byte("001")), '1'
				req.LocalTime, req.LocalDate, req.ReadsCards, req.ChipCondition = [6]byte([]byte("173005")), [4]byte([]byte("1121")), '6', '1'
				req.Track2, req.Chip = txn.Secret("6222021234567890128=30122010000012300"), chip
				req.PINBlock, req.SecurityInfo = bytes.Repeat([]byte{0xA5}, 8), [16]byte([]byte("2600000000000000"))
				req.Original.AuthCode, req.OriginalMTI, req.OriginalAmount = [6]byte([]byte("A1B2C3")), 0x0200, txn.Amount{Minor: 20000, Currency: txn.CNY}
				if k.NamesOriginal() {
					req.OriginalLeg = txn.Leg{STAN: 70, Time: [10]byte([]byte("1122090000"))}
				}
			}
			rec := txn.Record{
				Kind: txn.RecordOutcome, Request: k, Key: req.Key, MTI: 0x0220, Merchant: req.Merchant, MCC: 5411, Entry: req.Entry, Condition: req.Condition,
				ProcessingCode: req.ProcessingCode, Amount: req.Amount, Leg: testLeg, RRN: testRRN, Data: AppendOriginal(nil, &req), Told: AppendTold(nil, &req),
			}
			for _, secret := range [][]byte{[]byte("6222021234567890128"), {0x62, 0x22, 0x02, 0x12}, {0xA5, 0xA5}, {0x12, 0x34, 0x12, 0x34}} {
				if bytes.Contains(rec.Told, secret) {
					t.Fatalf("%s: its record keeps %x of what it must not", k, secret)
				}
			}
			links := iso87Links(t)
			links[NameCUPS] = issuerLink(t, NameCUPS)
			for name, link := range links {
				first := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendRequest(dst, &req, &testLeg, testRRN) })
				for _, repeat := range []bool{false, true} {
					again := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendAdvice(dst, &rec, []byte(testPAN), repeat) })
					for field := 2; field <= 128; field++ {
						want, got := first.Value(field), again.Value(field)
						switch {
						case slices.Contains([]int{26, 35, 52, 53}, field):
							want = nil
						case field == 55 && !silent:
							want, _ = hex.DecodeString(kept)
						}
						if !bytes.Equal(want, got) {
							t.Errorf("%s on %s, silent %v: DE%d is %q, was %q", k, name, silent, field, got, want)
						}
					}
				}
			}
		}
	}
}

// A stand-in is told for the first time from its record, with all that its sale said.
func TestStandInTellsWhatItsSaleSaid(t *testing.T) {
	_, x := saleExchange(t)
	req := &x.Request
	rec := txn.Record{Kind: txn.RecordOutcome, Request: txn.KindStandIn, Key: req.Key, MTI: 0x0220, Merchant: req.Merchant, MCC: 5411, Entry: req.Entry,
		Condition: req.Condition, ProcessingCode: req.ProcessingCode, Amount: req.Amount, Leg: testLeg, RRN: testRRN, Told: AppendTold(nil, req)}
	link := issuerLink(t, "iso87")
	m := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendAdvice(dst, &rec, []byte(testPAN), false) })
	if string(m.Value(14)) != "3012" || string(m.Value(23)) != "001" || !bytes.HasPrefix(m.Value(55), []byte("\x9F\x26\x08")) || len(m.Value(35)) > 0 {
		t.Errorf("DE14 %q, DE23 %q, DE35 %q, DE55 %x", m.Value(14), m.Value(23), m.Value(35), m.Value(55))
	}
	rec.Told = AppendTold(rec.Told[:0], &txn.Request{Kind: txn.KindSale, Chip: bytes.Repeat([]byte("\x9F\x10\x7E"+string(make([]byte, 126))), 3)})
	if n := len(rec.Told); n > 100 {
		t.Errorf("more of DE55 than a message holds is kept: %d bytes", n)
	}
}
