package dialect

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// cupRows is the CUP transaction table (cup-pos A6), a row of it a test.
var cupRows = []struct {
	name                  string
	mti                   uint16
	processing, condition string
	detail                string // DE60.1
	kind                  txn.Kind
	more                  fields
}{
	{"余额查询", 0x0200, "310000", "00", "01", txn.KindBalance, nil},
	{"消费", 0x0200, "000000", "00", "22", txn.KindSale, nil},
	{"消费撤销", 0x0200, "200000", "00", "23", txn.KindVoid, fields{37: "112109310002", 61: "000001000002"}},
	{"退货", 0x0220, "200000", "00", "25", txn.KindRefund, fields{37: "112109310002", 61: "0000010000021121"}},
	{"EC脱机退货", 0x0220, "200000", "00", "27", txn.KindRefund, fields{37: "112109310002", 61: "0000010000021121"}},
	{"预授权", 0x0100, "030000", "06", "10", txn.KindPreauth, nil},
	{"追加预授权", 0x0100, "030000", "60", "10", txn.KindIncrement, fields{38: "B1B2B3", 61: "0000000000000000"}},
	{"预授权撤销", 0x0100, "200000", "06", "11", txn.KindPreauthVoid, fields{38: "B1B2B3", 61: "0000010000051121"}},
	{"预授权完成(请求)", 0x0200, "000000", "06", "20", txn.KindCompletion, fields{38: "B1B2B3", 61: "0000010000051121"}},
	{"预授权完成撤销", 0x0200, "200000", "06", "21", txn.KindCompletionVoid, fields{37: "112109350007", 38: "B1B2B3", 61: "0000010000071121"}},
	{"预授权完成(通知)", 0x0220, "000000", "06", "24", txn.KindCompletionAdvice, fields{38: "B1B2B3", 61: "0000000000001121"}},
	{"离线结算", 0x0220, "000000", "00", "30", txn.KindOfflineSale, fields{61: "00000100000211210048802900000"}},
	{"结算调整", 0x0220, "000000", "00", "32", txn.KindAdjustment, fields{37: "112109310002", 61: "00000100000211210048802900000"}},
	{"小费", 0x0220, "000000", "00", "34", txn.KindTip, fields{37: "112109310002", 61: "00000100000211210048802900000"}},
	{"EC脱机消费", 0x0200, "000000", "00", "36", txn.KindOfflineSale, nil},
	{"分期消费", 0x0200, "000000", "64", "22", txn.KindInstalment, fields{62: "12"}},
	{"分期消费撤销", 0x0200, "200000", "64", "23", txn.KindInstalmentVoid, fields{37: "112109310002", 61: "000001000002"}},
	{"MOTO消费", 0x0200, "000000", "08", "22", txn.KindSale, nil},
	{"MOTO消费撤销", 0x0200, "200000", "08", "23", txn.KindVoid, fields{37: "112109310002", 61: "000001000002"}},
	{"MOTO预授权", 0x0100, "030000", "18", "10", txn.KindPreauth, nil},
	{"MOTO预授权撤销", 0x0100, "200000", "18", "11", txn.KindPreauthVoid, fields{38: "B1B2B3", 61: "0000010000051121"}},
	{"MOTO预授权完成(请求)", 0x0200, "000000", "18", "20", txn.KindCompletion, fields{38: "B1B2B3", 61: "0000010000051121"}},
	{"MOTO预授权完成撤销", 0x0200, "200000", "18", "21", txn.KindCompletionVoid, fields{37: "112109350007", 38: "B1B2B3", 61: "0000010000071121"}},
	{"MOTO预授权完成(通知)", 0x0220, "000000", "18", "24", txn.KindCompletionAdvice, fields{38: "B1B2B3", 61: "0000000000001121"}},
	{"账户验证", 0x0100, "330000", "00", "01", txn.KindVerify, nil},
	{"脚本结果通知", 0x0620, "000000", "00", "00", txn.KindScriptResult, fields{55: "hex:9F3602000195050000000800", 61: "0000010000021121"}},
	{"QR消费", 0x0200, "000000", "00", "22", txn.KindSale, fields{2: "", 14: "", 22: "032", 35: "", 52: "", 53: "", 55: "", 59: "A30196222020000000000123"}},
	{"积分消费 is not offered", 0x0200, "000000", "65", "22", txn.KindUnknown, nil},
	{"积分消费撤销 is not offered", 0x0200, "200000", "65", "23", txn.KindUnknown, fields{37: "112109310002", 61: "000001000002"}},
	{"积分查询 is not offered", 0x0200, "310000", "65", "03", txn.KindUnknown, nil},
	{"电子钱包 is not offered", 0x0200, "000000", "91", "40", txn.KindUnknown, nil},
	{"圈存(指定) is not offered", 0x0200, "600000", "91", "45", txn.KindUnknown, nil},
	{"圈存(非指定) is not offered", 0x0200, "620000", "91", "47", txn.KindUnknown, nil},
	{"圈存(现金充值) is not offered", 0x0200, "630000", "91", "46", txn.KindUnknown, nil},
	{"圈存(撤销) is not offered", 0x0200, "170000", "91", "51", txn.KindUnknown, nil},
	{"磁条卡充值 is not offered", 0x0200, "630000", "00", "48", txn.KindUnknown, nil},
	{"磁条卡充值(账户) is not offered", 0x0200, "630000", "66", "49", txn.KindUnknown, nil},
	{"预约消费 is not offered", 0x0200, "000000", "67", "54", txn.KindUnknown, nil},
	{"预约消费撤销 is not offered", 0x0200, "200000", "67", "53", txn.KindUnknown, fields{37: "112109310002", 61: "000001000002"}},
}

// TestCUPKinds decodes each row, finds each field missing that the kind needs,
// answers it, and decodes its reversal where it has one.
func TestCUPKinds(t *testing.T) {
	d := terminal(t, "cup-pos")
	for _, row := range cupRows {
		t.Run(row.name, func(t *testing.T) {
			good := cupSale.with(fields{3: row.processing, 25: row.condition, 60: row.detail + "00000100060"}).with(row.more)
			if row.kind == txn.KindBalance || row.kind == txn.KindVerify {
				delete(good, 4)
			}
			x := decoded(t, d, build(t, d.Codec(), row.mti, good))
			if x.Fault != nil || x.Request.Kind != row.kind {
				t.Fatalf("%v, %v", x.Request.Kind, x.Fault)
			}
			for _, n := range cupNeeds[row.kind] {
				x := decoded(t, d, build(t, d.Codec(), row.mti, good.with(fields{n: ""})))
				if want := fmt.Sprintf("field %d is missing", n); x.Fault == nil || x.Fault.Error() != want {
					t.Errorf("without field %d: %v", n, x.Fault)
				}
			}
			if row.kind == txn.KindUnknown {
				return
			}
			decide(x, txn.Approved)
			m := answered(t, d, x)
			if m.MTI() != row.mti+0x10 {
				t.Errorf("answered with %04x", m.MTI())
			}
			for _, n := range []int{3, 11, 12, 13, 25, 32, 37, 39, 41, 42, 60} {
				if !m.Has(n) {
					t.Errorf("the answer has no field %d", n)
				}
			}
			for _, n := range []int{22, 26, 35, 36, 48, 52, 61, 62} { // of requests only
				if m.Has(n) {
					t.Errorf("the answer has field %d", n)
				}
			}
			t.Run("冲正", func(t *testing.T) {
				reversal := decoded(t, d, build(t, d.Codec(), 0x0400, good.with(fields{4: "000000012345", 39: "98"})))
				want := txn.KindUnknown
				if row.kind.Remedy() == txn.Reverse {
					want = txn.KindReversal
				}
				if reversal.Request.Kind != want {
					t.Errorf("its reversal is %v", reversal.Request.Kind)
				}
				if v := row.more[61]; v != "" && reversal.Request.Pointed != (txn.Number{Batch: decimal([]byte(v[:6])), STAN: decimal([]byte(v[6:12]))}) {
					t.Errorf("its reversal points to %+v", reversal.Request.Pointed)
				}
			})
		})
	}
}

// A tip's own field is the money added, of which DE4 may be the whole bill.
func TestTip(t *testing.T) {
	for name, tip := range map[string]struct {
		in    fields
		field int
	}{
		"cup-pos": {cupSale.with(fields{4: "000000012345", 37: "112109310002", 60: "3400000100060", 61: "00000100000211210048802900000"}), 48},
		"iso87":   {isoSale.with(fields{3: "020000", 4: "000000012345", 90: isoOriginal}), 54},
	} {
		d := terminal(t, name)
		for said, want := range map[string]struct{ added, bill int64 }{
			"000000012345": {123_45, 0},
			"000000001000": {10_00, 123_45},
			"":             {123_45, 0}, // of ISO 8583:1987 an adjustment
		} {
			x := decoded(t, d, build(t, d.Codec(), 0x0220, tip.in.with(fields{tip.field: said})))
			if x.Fault != nil {
				t.Fatal(x.Fault)
			}
			if req := &x.Request; req.Amount.Minor != want.added || req.Bill != want.bill {
				t.Errorf("%s, %q: %d are added to make %d, want %+v", name, said, req.Amount.Minor, req.Bill, want)
			}
		}
		checkFault(t, decoded(t, d, build(t, d.Codec(), 0x0220, tip.in.with(fields{tip.field: "000000012346"}))), fmt.Sprintf("field %d", tip.field))
	}
}

// A payment code stands for the card.
func TestCUPPaymentCode(t *testing.T) {
	d := terminal(t, "cup-pos")
	for code, want := range map[string]string{
		"A30196222020000000000123":           "622202*********0123",
		"A20090100204xxA3015999901001234567": "999901*****4567",
		"A3016999901001234567 ":              "999901*****4567",
		"A3019999901001234567890x":           "fault",
		"A301162220200000":                   "fault",
		"A3099622202":                        "",
	} {
		x := &Exchange{Frame: build(t, d.Codec(), 0x0200, cupSale.with(fields{2: "", 14: "", 22: "032", 59: code}))}
		if err := d.Decode(x, time.Now()); err != nil {
			t.Fatal(err)
		}
		got := ""
		switch {
		case x.Fault != nil:
			got = "fault"
		case !x.Request.PAN.IsZero():
			got = x.Request.PAN.Masked()
		}
		if got != want {
			t.Errorf("%s: %s (%v), want %s", code, got, x.Fault, want)
		}
	}
}

// A chip's copy of its track ends with F where it is of an odd length, and terminals
// send it on as it is.
func TestTrackEndsWithF(t *testing.T) {
	frame := fixtureFrame(t, "cup-06")
	track, err := hex.DecodeString("6222021234567890128D301220100000123000")
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(frame, track)
	frame[at+len(track)-1] |= 0x0F
	x := decoded(t, terminal(t, "cup-pos"), frame)
	if got := string(x.Request.PAN.Append(nil)); x.Fault != nil || got != testPAN || string(x.Request.Expiry[:]) != "3012" {
		t.Errorf("card %s of %s, %v", x.Request.PAN.Masked(), x.Request.Expiry, x.Fault)
	}
	frame[at+len(track)-1] = 0x01
	checkFault(t, decoded(t, terminal(t, "cup-pos"), frame), "field 35")
}

// Some terminals end a card number of an odd length as chips do.
func TestCardNumberEndsWithF(t *testing.T) {
	frame := fixtureFrame(t, "cup-03")
	at := bytes.Index(frame, []byte{0x19, 0x62, 0x22}) + 10
	frame[at] |= 0x0F
	x := decoded(t, terminal(t, "cup-pos"), frame)
	if got := string(x.Request.PAN.Append(nil)); x.Fault != nil || got != testPAN {
		t.Errorf("card %s, %v", x.Request.PAN.Masked(), x.Fault)
	}
	frame[at] = 0x8A
	checkFault(t, decoded(t, terminal(t, "cup-pos"), frame), "field 2")
}
