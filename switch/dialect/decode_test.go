package dialect

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// cupSale, cupReversal, isoSale and isoReversal are the requests that the tables
// below change one thing of.
var (
	cupSale = fields{2: testPAN, 3: "000000", 4: "000000012345", 11: "000042", 14: "3012", 22: "051", 25: "00",
		41: "10000001", 42: "999290054110001", 49: "156", 60: "2200000100060"}
	cupReversal = cupSale.with(fields{39: "98"})
	isoSale     = fields{2: testPAN, 3: "000000", 4: "000000012345", 7: "1122093105", 11: "000042", 12: "173105", 13: "1122", 14: "3012", 22: "051",
		41: "10000001", 42: "999290054110001", 49: "156"}
	isoReversal = isoSale.with(fields{39: "06"})
)

// isoTotals is a batch's end, isoOriginal DE90 of an earlier request and
// isoNothing one that names none.
var isoTotals = fields{3: "920000", 11: "000042", 41: "10000001", 42: "999290054110001", 49: "156",
	74: "0000000001", 76: "0000000002", 86: "0000000000012345", 88: "0000000000107345"}

const (
	isoOriginal = "0200" + "000011" + "1122093105" + "00048802900" + "00000000000"
	isoNothing  = "0000" + "000000" + "0000000000" + "00000000000" + "00000000000"
	zeros30     = "000000000000000000000000000000"
)

// isoFacts are isoSale's facts as another kind's, with more at their end.
func isoFacts(kind, more string) string {
	return strings.Replace(isoSaleFacts, "sale", kind, 1) + more
}

const (
	cupSaleFacts = "sale 10000001 999290054110001 batch 1 stan 42 123.45 156 622202*********0128 exp 3012 entry 051"
	isoSaleFacts = "sale 10000001 999290054110001 batch 0 stan 42 123.45 156 622202*********0128 exp 3012 entry 051"
)

// positionField is DE59 with a position only.
func positionField(lng, lat string) string {
	place := fmt.Sprintf("01%03d%s02%03d%s", len(lng), lng, len(lat), lat)
	return fmt.Sprintf("A5%03d%s", len(place), place)
}

// TestCaller reads the calling line of a landline block (cup-pos A1: T09).
func TestCaller(t *testing.T) {
	d := terminal(t, "cup-pos")
	sale := build(t, d.codec, 0x0200, cupSale)
	for _, c := range []struct {
		name, block string // behind "LRI" and its length
		want        uint64
	}{
		{"right-justified", "0000002112345678 0000095516000000 58000000 4900000000 4E4F4445", 2112345678},
		{"left-justified", "02112345678FFFFF", 2112345678},
		{"filled in front", "FFFFF02112345678", 2112345678},
		{"sixteen digits", "9999999999999999", 9999999999999999},
		{"not told", "FFFFFFFFFFFFFFFF", 0},
		{"zeros", "0000000000000000", 0},
		{"digits behind the filling", "02112FFFFFF12345", 0},
		{"cut short", "02112345678FFF", 0},
		{"empty", "", 0},
	} {
		block, err := hex.DecodeString(strings.ReplaceAll(c.block, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		x := &Exchange{Frame: called(sale, block)}
		if err := d.Decode(x, time.Now()); err != nil || x.Fault != nil || x.Request.Caller != c.want {
			t.Errorf("%s: caller %d, %v, %v, want %d", c.name, x.Request.Caller, err, x.Fault, c.want)
		}
	}
	x := &Exchange{Frame: sale}
	if err := d.Decode(x, time.Now()); err != nil || x.Request.Caller != 0 {
		t.Errorf("no block: %d, %v", x.Request.Caller, err)
	}
}

// called is a frame with a landline block.
func called(frame, block []byte) []byte {
	return slices.Concat(frame[:5], []byte("LRI"), []byte{0, byte(len(block))}, block, frame[5:])
}

// TestDecode changes one thing of a good request at a time. In each dialect's
// block rows are in precedence order: what a row breaks, no row above it does.
func TestDecode(t *testing.T) {
	for _, c := range []struct {
		name    string
		dialect string
		mti     uint16
		base    fields
		change  fields
		facts   string
		fault   string
	}{
		{name: "cup sale", dialect: "cup-pos", mti: 0x0200, base: cupSale, facts: cupSaleFacts},
		{name: "cup sale said again", dialect: "cup-pos", mti: 0x0201, base: cupSale, facts: strings.Replace(cupSaleFacts, "sale", "sale again", 1)},
		{name: "cup sale by mail", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{25: "08"}, facts: cupSaleFacts},
		{name: "cup sale for points is not offered", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{25: "65"}, facts: strings.Replace(cupSaleFacts, "sale", "unknown", 1)},
		{name: "cup not offered, whatever it lacks", dialect: "cup-pos", mti: 0x0200, base: fields{3: "000000", 25: "00", 60: "9900000100060"}, facts: "unknown   batch 1 stan 0"},

		{name: "cup without DE60", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{60: ""}, fault: "field 60 is missing"},
		{name: "cup DE60 without a batch", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{60: "2200000"}, fault: "field 60 must have at least a transaction type and a batch"},
		{name: "cup DE60 just long enough", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{60: "22000001"}, facts: cupSaleFacts},
		{name: "cup currency by letters", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{49: "CNY"}, fault: "field 49 must be a numeric"},
		{name: "cup without amount", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{4: ""}, fault: "field 4 is missing"},
		{name: "cup without trace number", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{11: ""}, fault: "field 11 is missing"},
		{name: "cup without entry mode", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{22: ""}, fault: "field 22 is missing"},
		{name: "cup without terminal", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{41: ""}, fault: "field 41 is missing"},
		{name: "cup without merchant", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{42: ""}, fault: "field 42 is missing"},
		{name: "cup without currency", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{49: ""}, fault: "field 49 is missing"},
		{name: "cup trace number 0", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{11: "000000"}, fault: "field 11 must be 000001 to 999999"},
		{name: "cup without card", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{2: ""}, fault: "field 2 is missing"},

		{name: "cup card from track 2 only", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{2: "", 14: "", 35: testPAN + "=30122201000"}, facts: cupSaleFacts + " track"},
		{name: "cup card from both", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{35: testPAN + "D30122201000"}, facts: cupSaleFacts + " track"},
		{name: "cup DE14 stands above the track", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{35: testPAN + "=29012201000"}, facts: cupSaleFacts + " track"},
		{name: "cup track without an expiry", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{14: "", 35: testPAN + "==2201000"}, facts: strings.Replace(cupSaleFacts, " exp 3012", "", 1) + " track"},
		{name: "cup track with half an expiry", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{14: "", 35: testPAN + "=30=2"}, facts: strings.Replace(cupSaleFacts, " exp 3012", "", 1) + " track"},
		{name: "cup track cut short", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{14: "", 35: testPAN + "=301"}, facts: strings.Replace(cupSaleFacts, " exp 3012", "", 1) + " track"},
		{name: "cup track of another card", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{35: "6222020000000000=3012"}, fault: "field 2 and track 2 must be one card"},
		{name: "cup track that ends with its expiry", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{14: "", 35: testPAN + "=3012"}, facts: cupSaleFacts + " track"},
		{name: "cup code beside a card is not the card", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{22: "032", 59: "A30196222020000000000123"}, facts: strings.Replace(cupSaleFacts, "051", "032", 1)},
		{name: "cup track without a separator", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{2: "", 35: testPAN}, fault: "field 35 must start with a card number"},
		{name: "cup track without a card", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{2: "", 35: "=3012"}, fault: "field 35 must start with a card number"},
		{name: "cup card too short", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{2: "62220212345"}, fault: "field 2 must be a card number"},
		{name: "cup manual entry", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{22: "012"}, facts: strings.Replace(cupSaleFacts, "051", "012", 1)},
		{name: "cup code scanned: the card is not in DE2", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{2: "", 14: "", 22: "032"}, facts: "sale 10000001 999290054110001 batch 1 stan 42 123.45 156 entry 032"},
		{name: "cup PIN", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{52: "hex:BDFD42DCF960C8B6", 53: "2600000000000000"}, facts: cupSaleFacts + " PIN"},

		{name: "cup position", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{59: positionField("+121.47373", "+31.23040")}, facts: cupSaleFacts + " at 31230400,121473730"},
		{name: "cup position in the south west, padded", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{59: "A2003abc" + positionField("-70.66927 ", "-33.4489  ")}, facts: cupSaleFacts + " at -33448900,-70669270"},
		{name: "cup position without signs, to the last digit", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{59: positionField("121.473737", "31.2304099")}, facts: cupSaleFacts + " at 31230409,121473737"},
		{name: "cup position without fractions", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{59: positionField("180", "-90")}, facts: cupSaleFacts + " at -90000000,180000000"},
		{name: "cup position without latitude", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{59: "A501501010+121.47373"}, facts: cupSaleFacts},
		{name: "cup position with an empty latitude", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{59: positionField("+121.47373", "")}, facts: cupSaleFacts},
		{name: "cup position with a blank latitude", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{59: positionField("+121.47373", "+         ")}, facts: cupSaleFacts},
		{name: "cup position off the globe", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{59: positionField("+121.47373", "+90.00001")}, facts: cupSaleFacts},
		{name: "cup position of many digits", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{59: positionField("+121.47373", "99999999999999999999")}, facts: cupSaleFacts},
		{name: "cup position that is no number", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{59: positionField("NaN", "NaN")}, facts: cupSaleFacts},
		{name: "cup position in hexadecimal", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{59: positionField("0x1p4", "0x1p4")}, facts: cupSaleFacts},
		{name: "cup position with two points", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{59: positionField("1.2000000.3", "1.2")}, facts: cupSaleFacts},
		{name: "cup element longer than the field", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{59: "A5099" + positionField("+121.47373", "+31.23040")[5:]}, facts: cupSaleFacts},
		{name: "cup element length that is no number", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{59: "A50x9" + positionField("+121.47373", "+31.23040")[5:]}, facts: cupSaleFacts},
		{name: "cup terminal information only", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{59: "A2007" + "0100204"}, facts: cupSaleFacts},

		{name: "cup balance", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{3: "310000", 4: "", 60: "0100000100060"}, facts: "balance 10000001 999290054110001 batch 1 stan 42 0.00 156 622202*********0128 exp 3012 entry 051"},
		{name: "cup balance without currency", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{3: "310000", 4: "", 49: "", 60: "0100000100060"}, fault: "field 49 is missing"},

		{name: "cup void", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{3: "200000", 37: "326112000041", 60: "2300000100060", 61: "000123000002"},
			facts: strings.Replace(cupSaleFacts, "sale", "void", 1) + " of 123/2 RRN 326112000041"},
		{name: "cup refund of another day", dialect: "cup-pos", mti: 0x0220, base: cupSale, change: fields{3: "200000", 37: "326112000041", 60: "2500000100060", 61: "6543210123451121"},
			facts: strings.Replace(cupSaleFacts, "sale", "refund", 1) + " of 654321/12345 on 1121 RRN 326112000041"},
		{name: "cup refund of no day", dialect: "cup-pos", mti: 0x0220, base: cupSale, change: fields{3: "200000", 37: "326112000041", 60: "2500000100060", 61: "0000010000020000"},
			facts: strings.Replace(cupSaleFacts, "sale", "refund", 1) + " of 1/2 RRN 326112000041"},
		{name: "cup void without a trace number", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{3: "200000", 37: "326112000041", 60: "2300000100060", 61: "00000100000"}, fault: "field 61 must have a batch number and a trace number"},
		{name: "cup sale by fallback", dialect: "cup-pos", mti: 0x0200, base: cupSale, change: fields{22: "801"}, facts: strings.Replace(cupSaleFacts, "051", "801", 1)},
		{name: "cup reversal", dialect: "cup-pos", mti: 0x0400, base: cupReversal, facts: strings.Replace(cupSaleFacts, "sale", "reversal", 1) + " of 1/42 because 98"},
		{name: "cup reversal said again", dialect: "cup-pos", mti: 0x0401, base: cupReversal, facts: strings.Replace(cupSaleFacts, "sale", "reversal again", 1) + " of 1/42 because 98"},
		{name: "cup reversal of a void", dialect: "cup-pos", mti: 0x0400, base: cupReversal, change: fields{3: "200000", 60: "2300000100060"}, facts: strings.Replace(cupSaleFacts, "sale", "reversal", 1) + " of 1/42 because 98"},
		{name: "cup reversal of a refund is not offered", dialect: "cup-pos", mti: 0x0400, base: cupReversal, change: fields{3: "200000", 60: "2500000100060"}, facts: strings.Replace(cupSaleFacts, "sale", "unknown", 1) + " of 1/42 because 98"},
		{name: "cup reversal without its reason", dialect: "cup-pos", mti: 0x0400, base: cupReversal, change: fields{39: ""}, fault: "field 39 is missing"},
		{name: "cup reversal without amount", dialect: "cup-pos", mti: 0x0400, base: cupReversal, change: fields{4: ""}, fault: "field 4 is missing"},
		{name: "cup reversal of trace number 0", dialect: "cup-pos", mti: 0x0400, base: cupReversal, change: fields{11: "000000"}, fault: "field 11 must be 000001 to 999999"},
		{name: "cup reversal without card", dialect: "cup-pos", mti: 0x0400, base: cupReversal, change: fields{2: "", 14: ""}, facts: "reversal 10000001 999290054110001 batch 1 stan 42 123.45 156 entry 051 of 1/42 because 98"},

		{name: "cup network without a code", dialect: "cup-pos", mti: 0x0800, base: fields{11: "000001", 41: "10000001", 42: "999290054110001", 60: "00000001"}, fault: "field 60 must have a network management code"},
		{name: "cup network without terminal", dialect: "cup-pos", mti: 0x0820, base: fields{42: "999290054110001", 60: "00000001301"}, fault: "field 41 is missing"},
		{name: "cup sign-on, single-length keys", dialect: "cup-pos", mti: 0x0800, base: fields{11: "000001", 41: "10000001", 42: "999290054110001", 60: "00000001001"}, facts: "sign-on 10000001 999290054110001 batch 1 stan 1"},
		{name: "cup sign-on, SM4 keys", dialect: "cup-pos", mti: 0x0800, base: fields{11: "000001", 41: "10000001", 42: "999290054110001", 60: "00000001006"}, facts: "sign-on 10000001 999290054110001 batch 1 stan 1"},
		{name: "cup sign-off is no 0800", dialect: "cup-pos", mti: 0x0800, base: fields{11: "000001", 41: "10000001", 42: "999290054110001", 60: "00000001002"}, facts: "unknown 10000001 999290054110001 batch 1 stan 1"},

		{name: "iso sale", dialect: "iso87", mti: 0x0200, base: isoSale, facts: isoSaleFacts},
		{name: "iso sale, binary bitmap", dialect: "iso87-binary", mti: 0x0200, base: isoSale, facts: isoSaleFacts},
		{name: "iso sale, wide bitmap", dialect: "iso87-hex32", mti: 0x0200, base: isoSale, facts: isoSaleFacts},
		{name: "iso sale said again", dialect: "iso87-ascii4", mti: 0x0201, base: isoSale, facts: strings.Replace(isoSaleFacts, "sale", "sale again", 1)},
		{name: "iso credit adjustment is not offered, whatever it lacks", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{3: "220000", 41: ""}, facts: strings.NewReplacer("sale", "unknown", "10000001 ", " ").Replace(isoSaleFacts)},
		{name: "iso authorization advice is not offered", dialect: "iso87", mti: 0x0120, base: isoSale, facts: isoFacts("unknown", "")},
		{name: "iso inquiry is not offered", dialect: "iso87", mti: 0x0600, base: isoSale, facts: isoFacts("unknown", "")},
		{name: "iso without processing code", dialect: "iso87", mti: 0x0100, base: isoSale, change: fields{3: ""}, fault: "field 3 is missing"},
		{name: "iso file update without processing code is not offered", dialect: "iso87", mti: 0x0302, base: isoSale, change: fields{3: ""}, facts: isoFacts("unknown", "")},
		{name: "iso currency by letters", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{49: "CNY"}, fault: "field 49 must be a numeric"},
		{name: "iso track of another alphabet", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{35: ";" + testPAN + "=3012?"}, fault: "field 35 must be digits and separators"},
		{name: "iso track with what comes behind 9", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{35: testPAN + "=3012:"}, fault: "field 35 must be digits and separators"},
		{name: "iso without amount", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{4: ""}, fault: "field 4 is missing"},
		{name: "iso without merchant", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{42: ""}, fault: "field 42 is missing"},
		{name: "iso trace number 0", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{11: "000000"}, fault: "field 11 must be 000001 to 999999"},
		{name: "iso without card", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{2: ""}, fault: "field 2 is missing"},
		{name: "iso card from track 2 only", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{2: "", 14: "", 35: testPAN + "=30122201000"}, facts: isoSaleFacts + " track"},
		{name: "iso PIN in hexadecimal", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{52: "hex:BDFD42DCF960C8B6"}, facts: isoSaleFacts + " PIN"},
		{name: "iso PIN in binary", dialect: "iso87-binary", mti: 0x0200, base: isoSale, change: fields{52: "hex:BDFD42DCF960C8B6"}, facts: isoSaleFacts + " PIN"},
		{name: "iso balance", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{3: "311000", 4: ""}, facts: "balance 10000001 999290054110001 batch 0 stan 42 0.00 156 622202*********0128 exp 3012 entry 051"},
		{name: "iso balance as authorization, no currency", dialect: "iso87", mti: 0x0100, base: isoSale, change: fields{3: "310000", 4: "", 49: ""}, facts: "balance 10000001 999290054110001 batch 0 stan 42 622202*********0128 exp 3012 entry 051"},
		{name: "iso reversal of its own number", dialect: "iso87", mti: 0x0400, base: isoReversal, facts: strings.Replace(isoSaleFacts, "sale", "reversal", 1) + " of 0/42 because 06"},
		{name: "iso reversal that names its original", dialect: "iso87", mti: 0x0400, base: isoReversal, change: fields{90: "020000001111220931050004880290000000000000"}, facts: strings.Replace(isoSaleFacts, "sale", "reversal", 1) + " of 0/11 on 1122 because 06"},
		{name: "iso reversal advice said again", dialect: "iso87-hex32", mti: 0x0421, base: isoReversal, change: fields{39: "", 90: "020000001111220931050004880290000000000000"}, facts: strings.Replace(isoSaleFacts, "sale", "reversal again", 1) + " of 0/11 on 1122"},
		{name: "iso reversal by reference", dialect: "iso87", mti: 0x0400, base: isoReversal, change: fields{37: "326112000041"}, facts: strings.Replace(isoSaleFacts, "sale", "reversal", 1) + " of 0/42 RRN 326112000041 because 06"},
		{name: "iso reversal without amount", dialect: "iso87", mti: 0x0400, base: isoReversal, change: fields{4: ""}, fault: "field 4 is missing"},
		{name: "iso network without a code", dialect: "iso87", mti: 0x0800, base: fields{11: "000001", 41: "10000001"}, fault: "field 70 is missing"},
		{name: "iso sign-on without terminal", dialect: "iso87", mti: 0x0800, base: fields{11: "000001", 70: "001"}, fault: "field 41 is missing"},
		{name: "iso echo of a line", dialect: "iso87", mti: 0x0800, base: fields{11: "000001", 70: "301"}, facts: "echo   batch 0 stan 1"},
		{name: "iso sign-on", dialect: "iso87", mti: 0x0800, base: fields{11: "000001", 41: "10000001", 70: "001"}, facts: "sign-on 10000001  batch 0 stan 1"},
		{name: "iso sign-on, 061", dialect: "iso87", mti: 0x0820, base: fields{11: "000001", 41: "10000001", 70: "061"}, facts: "sign-on 10000001  batch 0 stan 1"},
		{name: "iso sign-off", dialect: "iso87", mti: 0x0800, base: fields{11: "000001", 41: "10000001", 70: "002"}, facts: "sign-off 10000001  batch 0 stan 1"},
		{name: "iso echo", dialect: "iso87", mti: 0x0800, base: fields{11: "000001", 41: "10000001", 70: "301"}, facts: "echo 10000001  batch 0 stan 1"},
		{name: "iso authorization", dialect: "iso87", mti: 0x0100, base: isoSale, facts: isoFacts("preauth", "")},
		{name: "iso sale in no instalments", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{67: "00"}, facts: isoSaleFacts},
		{name: "iso void of a sale in no instalments", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{3: "020000", 67: "00", 90: isoOriginal}, facts: isoFacts("void", " of 0/11 on 1122")},
		{name: "iso instalments without their number", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{25: "64", 67: "00"}, fault: "field 67 must be the number"},
		{name: "iso authorization of what was pre-authorized", dialect: "iso87", mti: 0x0101, base: isoSale, change: fields{25: "06"}, facts: isoFacts("preauth again", "")},
		{name: "iso authorization, as CUP terminals code it", dialect: "iso87", mti: 0x0100, base: isoSale, change: fields{3: "030000", 25: "06"}, facts: isoFacts("preauth", "")},
		{name: "iso authorization with a reference of its own", dialect: "iso87", mti: 0x0100, base: isoSale, change: fields{37: string(testRRN[:])}, facts: isoFacts("preauth", "")},
		{name: "iso authorization without amount", dialect: "iso87", mti: 0x0100, base: isoSale, change: fields{4: ""}, fault: "field 4 is missing"},
		{name: "iso increment", dialect: "iso87", mti: 0x0100, base: isoSale, change: fields{25: "60", 38: "A1B2C3", 90: isoOriginal}, facts: isoFacts("increment", " of 0/11 on 1122 auth A1B2C3")},
		{name: "iso increment without the promise's code", dialect: "iso87", mti: 0x0100, base: isoSale, change: fields{25: "60", 90: isoOriginal}, fault: "field 38 is missing"},
		{name: "iso pre-authorization given back", dialect: "iso87", mti: 0x0100, base: isoSale, change: fields{3: "200000", 25: "06", 38: "A1B2C3"}, facts: isoFacts("preauth-void", " auth A1B2C3")},
		{name: "iso pre-authorization voided", dialect: "iso87", mti: 0x0100, base: isoSale, change: fields{3: "020000", 38: "A1B2C3", 37: "326112000041"}, facts: isoFacts("preauth-void", " auth A1B2C3")},
		{name: "iso pre-authorization voided without its code", dialect: "iso87", mti: 0x0100, base: isoSale, change: fields{3: "020000"}, fault: "field 38 is missing"},
		{name: "iso account verification", dialect: "iso87", mti: 0x0100, base: isoSale, change: fields{3: "330000", 4: "", 49: ""}, facts: strings.Replace(isoFacts("verify", ""), " 123.45 156", "", 1)},
		{name: "iso account verification by condition", dialect: "iso87", mti: 0x0100, base: isoSale, change: fields{4: "000000000000", 25: "51"}, facts: strings.Replace(isoFacts("verify", ""), "123.45", "0.00", 1)},
		{name: "iso account verification without a card", dialect: "iso87", mti: 0x0100, base: isoSale, change: fields{2: "", 3: "330000"}, fault: "field 2 is missing"},
		{name: "iso completion", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{25: "06", 38: "A1B2C3", 90: isoOriginal}, facts: isoFacts("completion", " of 0/11 on 1122 auth A1B2C3")},
		{name: "iso completion by telephone", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{25: "18", 38: "A1B2C3"}, facts: isoFacts("completion", " auth A1B2C3")},
		{name: "iso completion by what it is about", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{25: "00", 38: "A1B2C3", 90: "0100" + isoOriginal[4:]}, facts: isoFacts("completion", " of 0/11 on 1122 auth A1B2C3")},
		{name: "iso completion advice by what it is about", dialect: "iso87", mti: 0x0220, base: isoSale, change: fields{38: "A1B2C3", 90: "0100" + isoOriginal[4:]}, facts: isoFacts("completion-advice", " of 0/11 on 1122 auth A1B2C3")},
		{name: "iso completion advice by what it is about, without its code", dialect: "iso87", mti: 0x0220, base: isoSale, change: fields{90: "0100" + isoOriginal[4:]}, fault: "field 38 is missing"},
		{name: "iso completion without its code", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{25: "06", 90: isoOriginal}, fault: "field 38 is missing"},
		{name: "iso completion advice", dialect: "iso87", mti: 0x0220, base: isoSale, change: fields{25: "06", 38: "A1B2C3", 90: isoNothing}, facts: isoFacts("completion-advice", " auth A1B2C3")},
		{name: "iso completion advice without its code", dialect: "iso87", mti: 0x0221, base: isoSale, change: fields{25: "06"}, fault: "field 38 is missing"},
		{name: "iso completion void", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{3: "020000", 25: "06", 37: "326112000041"}, facts: isoFacts("completion-void", " RRN 326112000041")},
		{name: "iso completion void of nothing", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{3: "020000", 25: "06", 38: "A1B2C3"}, fault: "field 90 or field 37 must name"},
		{name: "iso void", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{3: "020000", 90: isoOriginal}, facts: isoFacts("void", " of 0/11 on 1122")},
		{name: "iso void by reference, without the card", dialect: "iso87", mti: 0x0201, base: isoSale, change: fields{2: "", 3: "022000", 37: "326112000041", 38: "A1B2C3"}, facts: strings.Replace(isoFacts("void again", " RRN 326112000041 auth A1B2C3"), " 622202*********0128", "", 1)},
		{name: "iso void without amount", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{3: "020000", 4: "", 90: isoOriginal}, fault: "field 4 is missing"},
		{name: "iso void of nothing", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{3: "020000", 90: isoNothing}, fault: "field 90 or field 37 must name"},
		{name: "iso refund", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{3: "200000", 37: "326112000041", 90: isoOriginal}, facts: isoFacts("refund", " of 0/11 on 1122")},
		{name: "iso refund advice", dialect: "iso87", mti: 0x0221, base: isoSale, change: fields{3: "200000", 90: isoOriginal}, facts: isoFacts("refund again", " of 0/11 on 1122")},
		{name: "iso refund of nothing", dialect: "iso87", mti: 0x0220, base: isoSale, change: fields{3: "200000"}, fault: "field 90 or field 37 must name"},
		{name: "iso refund without a card", dialect: "iso87", mti: 0x0220, base: isoSale, change: fields{2: "", 3: "200000", 90: isoOriginal}, fault: "field 2 is missing"},
		{name: "iso instalment", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{67: "12"}, facts: isoFacts("instalment", " in 12")},
		{name: "iso instalment by condition, without their number", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{25: "64"}, fault: "field 67 is missing"},
		{name: "iso instalment void", dialect: "iso87", mti: 0x0200, base: isoSale, change: fields{3: "020000", 25: "64", 90: isoOriginal}, facts: isoFacts("instalment-void", " of 0/11 on 1122")},
		{name: "iso offline sale", dialect: "iso87", mti: 0x0220, base: isoSale, facts: isoFacts("offline-sale", "")},
		{name: "iso offline sale without currency", dialect: "iso87", mti: 0x0220, base: isoSale, change: fields{49: ""}, fault: "field 49 is missing"},
		{name: "iso adjustment", dialect: "iso87", mti: 0x0220, base: isoSale, change: fields{3: "020000", 90: isoOriginal}, facts: isoFacts("adjustment", " of 0/11 on 1122")},
		{name: "iso adjustment of nothing", dialect: "iso87", mti: 0x0220, base: isoSale, change: fields{3: "020000"}, fault: "field 90 or field 37 must name"},
		{name: "iso tip", dialect: "iso87", mti: 0x0220, base: isoSale, change: fields{3: "020000", 54: "000000012345", 90: isoOriginal}, facts: isoFacts("tip", " of 0/11 on 1122")},
		{name: "iso tip of more than the bill", dialect: "iso87", mti: 0x0220, base: isoSale, change: fields{3: "020000", 54: "0044156D000000012346", 90: isoOriginal}, fault: "field 54 must be the tip"},
		{name: "iso tip by letters", dialect: "iso87", mti: 0x0220, base: isoSale, change: fields{3: "020000", 54: "ten yuan", 90: isoOriginal}, fault: "field 54 must end with the tip"},
		{name: "iso reversal of a void", dialect: "iso87", mti: 0x0400, base: isoReversal, change: fields{3: "020000", 90: isoOriginal}, facts: isoFacts("reversal", " of 0/11 on 1122 because 06")},
		{name: "iso reversal of an authorization", dialect: "iso87", mti: 0x0420, base: isoReversal, change: fields{90: "0100" + isoOriginal[4:]}, facts: isoFacts("reversal", " of 0/11 on 1122 because 06")},
		{name: "iso reversal of an advice is not offered", dialect: "iso87", mti: 0x0400, base: isoReversal, change: fields{90: "0220" + isoOriginal[4:]}, facts: isoFacts("unknown", " of 0/11 on 1122 because 06")},
		{name: "iso reversal of nothing", dialect: "iso87", mti: 0x0400, base: isoReversal, change: fields{90: isoNothing}, fault: "field 90 must name the original's trace number"},
		{name: "iso partial reversal", dialect: "iso87", mti: 0x0400, base: isoReversal, change: fields{95: "000000010000" + zeros30}, facts: isoFacts("reversal", " of 0/42 leaving 100.00 156 because 06")},
		{name: "iso reversal of the whole, said so", dialect: "iso87", mti: 0x0400, base: isoReversal, change: fields{95: "000000000000" + zeros30}, facts: isoFacts("reversal", " of 0/42 because 06")},
		{name: "iso partial reversal that leaves all", dialect: "iso87", mti: 0x0400, base: isoReversal, change: fields{95: "000000012345" + zeros30}, facts: isoFacts("reversal", " of 0/42 leaving 123.45 156 because 06")},
		{name: "iso partial reversal without digits", dialect: "iso87", mti: 0x0400, base: isoReversal, change: fields{95: "00000001234X" + zeros30}, fault: "field 95 must begin with 12 digits"},
		{name: "iso partial reversal by letters", dialect: "iso87", mti: 0x0400, base: isoReversal, change: fields{95: "C00000010000" + zeros30}, fault: "field 95 must begin with 12 digits"},
		{name: "iso script result", dialect: "iso87", mti: 0x0620, base: isoSale, change: fields{55: "hex:9F260101", 90: isoOriginal}, facts: strings.Replace(isoFacts("script-result", " of 0/11 on 1122"), "entry 051", "entry 051 chip", 1)},
		{name: "iso script result without one", dialect: "iso87", mti: 0x0621, base: isoSale, change: fields{90: isoOriginal}, fault: "field 55 is missing"},
		{name: "iso settlement", dialect: "iso87", mti: 0x0500, base: isoTotals, facts: "settlement 10000001 999290054110001 batch 0 stan 42 0.00 156 totals " + "000000107345002" + "000000012345001" + "0" + zeros30 + "0"},
		{name: "iso settlement advice", dialect: "iso87", mti: 0x0521, base: isoTotals, facts: "settlement again 10000001 999290054110001 batch 0 stan 42 0.00 156 totals " + "000000107345002" + "000000012345001" + "0" + zeros30 + "0"},
		{name: "iso settlement without its debits", dialect: "iso87", mti: 0x0500, base: isoTotals, change: fields{88: ""}, fault: "field 88 is missing"},
		{name: "iso settlement of too much", dialect: "iso87", mti: 0x0500, base: isoTotals, change: fields{86: "0001000000000000"}, fault: "field 86 must be at most 12 digits"},
		{name: "iso settlement of too many", dialect: "iso87", mti: 0x0500, base: isoTotals, change: fields{76: "0000001000"}, fault: "field 76 must be at most 999"},
		{name: "iso upload", dialect: "iso87", mti: 0x0320, base: isoSale, change: fields{90: isoOriginal}, facts: isoFacts("upload", " of 0/11 on 1122 item unknown 11 12345 622202*********0128")},
		{name: "iso upload under its own number", dialect: "iso87", mti: 0x0321, base: isoSale, facts: isoFacts("upload again", " of 0/42 item unknown 42 12345 622202*********0128")},
		{name: "iso upload without a terminal", dialect: "iso87", mti: 0x0320, base: isoSale, change: fields{41: ""}, fault: "field 41 is missing"},
		{name: "iso end of an upload", dialect: "iso87", mti: 0x0500, base: isoTotals, change: fields{3: "960000"}, facts: "upload 10000001 999290054110001 batch 0 stan 42 0.00 156 of 0/42 totals 0003"},
		{name: "iso asks for keys", dialect: "iso87", mti: 0x0800, base: fields{11: "000001", 41: "10000001", 70: "161"}, facts: "sign-on 10000001  batch 0 stan 1"},
		{name: "iso cut-over is taken note of", dialect: "iso87", mti: 0x0800, base: fields{11: "000001", 41: "10000001", 70: "201"}, facts: "echo 10000001  batch 0 stan 1"},
		{name: "iso code that nobody offers", dialect: "iso87", mti: 0x0800, base: fields{11: "000001", 41: "10000001", 70: "081"}, facts: "unknown 10000001  batch 0 stan 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dialects := []string{c.dialect}
			if c.dialect == "iso87" { // however it is spelled, it asks for the same
				dialects = []string{"iso87", "iso87-binary", "iso87-bcd"}
			}
			for _, name := range dialects {
				d := terminal(t, name)
				frame := build(t, d.Codec(), c.mti, c.base.with(c.change))
				x := decoded(t, d, frame)
				checkFault(t, x, c.fault)
				if got := facts(&x.Request); c.fault == "" && got != c.facts {
					t.Errorf("%s\n got %s\nwant %s", name, got, c.facts)
				}
				reason := x.Answer.Reason
				decide(x, reason)
				m := answered(t, d, x)
				checkAnswer(t, x, m)
				if !d.Codec().Framing().MayTPDU {
					continue
				}
				if m.TPDU() != nil {
					t.Errorf("%s: a TPDU that nobody asked with: %x", name, m.TPDU())
				}
				x = decoded(t, d, append([]byte("\x60\x00\x03\x00\x12"), frame...))
				checkFault(t, x, c.fault)
				decide(x, reason)
				routed := answered(t, d, x)
				if string(routed.TPDU()) != "\x60\x00\x12\x00\x03" || !bytes.Equal(routed.Frame()[5:], m.Frame()) {
					t.Errorf("%s, behind a TPDU: %x, without one %x", name, routed.Frame(), m.Frame())
				}
			}
		})
	}
}

// TestRequestFields holds the fields that facts leaves out.
func TestRequestFields(t *testing.T) {
	d := terminal(t, "cup-pos")
	x := decoded(t, d, build(t, d.Codec(), 0x0200, cupSale.with(fields{12: "093105", 13: "1122", 23: "001", 52: "hex:BDFD42DCF960C8B6", 53: "2600000000000000"})))
	r := &x.Request
	for _, f := range []struct{ name, got, want string }{
		{"processing code", string(r.ProcessingCode[:]), "000000"},
		{"condition", string(r.Condition[:]), "00"},
		{"local time", string(r.LocalTime[:]), "093105"},
		{"local date", string(r.LocalDate[:]), "1122"},
		{"card sequence", string(r.CardSequence[:]), "001"},
		{"security information", string(r.SecurityInfo[:]), "2600000000000000"},
		{"PIN block", string(r.PINBlock), "\xBD\xFD\x42\xDC\xF9\x60\xC8\xB6"},
	} {
		if f.got != f.want {
			t.Errorf("%s: got %q, want %q", f.name, f.got, f.want)
		}
	}
	if r.Key.Class != txn.ClassFinancial || r.Dialect != idCUPPOS {
		t.Errorf("class %d of dialect %d", r.Key.Class, r.Dialect)
	}

	iso := terminal(t, "iso87")
	x = decoded(t, iso, build(t, iso.Codec(), 0x0200, isoSale.with(fields{19: "156", 52: "hex:BDFD42DCF960C8B6"})))
	if x.Request.Country != 156 || string(x.Request.PINBlock) != "\xBD\xFD\x42\xDC\xF9\x60\xC8\xB6" {
		t.Errorf("country %d, PIN block %X", x.Request.Country, []byte(x.Request.PINBlock))
	}
}

// TestF25NobodyToAnswer holds the frames that get no answer: the terminal's
// session ends, or the frame is ignored.
func TestF25NobodyToAnswer(t *testing.T) {
	d := terminal(t, "cup-pos")
	sale := build(t, d.Codec(), 0x0200, cupSale)
	change := func(at int, b byte) []byte {
		f := append([]byte(nil), sale...)
		f[at] = b
		return f
	}
	var field *iso.FieldError
	for _, c := range []struct {
		name  string
		frame []byte
		is    error
		as    any
	}{
		{"no byte", nil, nil, &field},
		{"a TPDU", sale[:5], nil, &field},
		{"cut in its bitmap", sale[:15], nil, &field},
		{"a message type of hexadecimal digits", change(11, 0xFF), nil, &field},
		{"a first bitmap bit", change(13, sale[13]|0x80), nil, &field},
		{"a fault before trace number and terminal", change(21, 0x99), nil, &field}, // the length of DE2
		{"a response", change(12, 0x10), ErrResponse, nil},
		{"longer than any frame", make([]byte, txn.FrameSizeMax+1), nil, &field},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := d.Decode(&Exchange{Frame: c.frame}, time.Now())
			switch {
			case err == nil:
				t.Error("got a request")
			case c.is != nil && !errors.Is(err, c.is), c.as != nil && !errors.As(err, c.as):
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestFaultInFront answers a request whose fault stands before its trace number and
// terminal: both are found behind a field of which only the value is wrong.
func TestFaultInFront(t *testing.T) {
	for _, c := range []struct {
		dialect     string
		base        fields
		good, wrong string // part of the frame
		fault       string
	}{
		{"iso87", isoSale, "19" + testPAN, "19" + "X" + testPAN[1:], "field 2 at byte 22: must be decimal digits"},
		{"iso87-binary", isoSale, "19" + testPAN, "20" + testPAN + "1", "field 2 at byte 12: its length must be at most 19, is 20"},
		{"iso87-ascii4", isoSale, "000000000000012345", "000000" + "ABCDEFGHIJKL", "field 4 at byte 47: must be decimal digits"},
		{"iso87-hex32", isoSale, "1122093105", "          ", "field 7 at byte 75: must be decimal digits"},
		{"iso87", isoSale, "000042173105", "00004x173105", "field 11 at byte 69: must be decimal digits"},
		{"cup-pos", cupSale, "\x00\x00\x00\x00\x01\x23\x45", "\x00\x00\x00\x00\x0A\x23\x45", "field 4 at byte 35: must be decimal digits"},
	} {
		d := terminal(t, c.dialect)
		frame := bytes.Replace(build(t, d.Codec(), 0x0200, c.base), []byte(c.good), []byte(c.wrong), 1)
		x := decoded(t, d, frame)
		checkFault(t, x, c.fault)
		if string(x.Request.Key.Terminal[:]) != "10000001" || x.Request.Key.STAN != 42 && !strings.Contains(c.fault, "field 11") {
			t.Errorf("%s, %s: of terminal %q, number %d", c.dialect, c.fault, x.Request.Key.Terminal[:], x.Request.Key.STAN)
		}
		decide(x, txn.FormatIsWrong)
		if m := answered(t, d, x); text(m, 39) != "30" || text(m, 41) != "10000001" {
			t.Errorf("%s, %s: answered %q at terminal %q", c.dialect, c.fault, text(m, 39), text(m, 41))
		}
	}
}

// TestExchangeIsReused decodes a poor request into an exchange that held a rich
// one: nothing of the first may show.
func TestExchangeIsReused(t *testing.T) {
	d := terminal(t, "cup-pos")
	x := decoded(t, d, fixtureFrame(t, "cup-03"))
	decide(x, txn.Approved)
	answered(t, d, x)
	x.Frame = build(t, d.Codec(), 0x0820, fields{41: "10000009", 42: "999290054110009", 60: "00000001301"})
	if err := d.Decode(x, time.Now()); err != nil {
		t.Fatal(err)
	}
	if got, want := facts(&x.Request), "echo 10000009 999290054110009 batch 1 stan 0"; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if a := &x.Answer; len(a.Reply.Balance)+len(a.Reply.Chip)+len(a.Reply.IssuerData) != 0 || a.Reply.AuthCode != [6]byte{} {
		t.Errorf("the answer still says %+v", a.Reply)
	}
}

// TestDialects holds the names of the dialects, and that records keep theirs.
func TestDialects(t *testing.T) {
	for id, name := range map[uint8]string{1: "cup-pos", 2: "iso87", 3: "iso87-binary", 4: "iso87-ascii4", 5: "iso87-hex32", 6: "iso87-bcd"} {
		d := terminal(t, name)
		if d.id != id || d.Name() != name || NameOf(id) != name {
			t.Errorf("dialect %q has number %d, is called %q, and %d is %q", name, d.id, d.Name(), id, NameOf(id))
		}
	}
	if len(Names()) != 6 {
		t.Errorf("%d dialects: %v", len(Names()), Names())
	}
	for _, name := range []string{"", "cup", "CUP-POS"} {
		if _, err := ForTerminal(name); err == nil || !strings.Contains(err.Error(), "cup-pos") {
			t.Errorf("ForTerminal(%q): %v, want an error that names the dialects", name, err)
		}
	}
	if NameOf(0) != "dialect 0" || NameOf(99) != "dialect 99" {
		t.Errorf("unknown dialects are %q and %q", NameOf(0), NameOf(99))
	}
}

// TestErrorsQuoteNoCard holds the faults of requests with bad card data.
func TestErrorsQuoteNoCard(t *testing.T) {
	d := terminal(t, "iso87")
	for _, change := range []fields{
		{35: "6222021234567890129=3012"}, {35: "6222021234567890128"}, {35: "x222021234567890128=3012"}, {2: "62220212345"}, {2: "", 35: "62220212345=3012"},
	} {
		x := decoded(t, d, build(t, d.Codec(), 0x0200, isoSale.with(change)))
		if x.Fault == nil || strings.Contains(x.Fault.Error(), "22202") {
			t.Errorf("%v: fault %v", change, x.Fault)
		}
	}
}

// TestAnswerThatCannotBeSigned: a terminal whose answer must have a MAC gets none
// without.
func TestAnswerThatCannotBeSigned(t *testing.T) {
	for _, name := range Names() {
		d := terminal(t, name)
		sale := isoSale
		if name == "cup-pos" {
			sale = cupSale
		}
		x := decoded(t, d, build(t, d.Codec(), 0x0200, sale))
		decide(x, txn.Approved)
		x.Answer.Signed = true
		keyless := errors.New("the key is gone")
		frame, err := d.AppendAnswer([]byte("before"), x, func(*txn.Request, []byte) ([8]byte, error) { return [8]byte{}, keyless })
		if !errors.Is(err, keyless) || string(frame) != "before" {
			t.Errorf("%s: %q, %v", name, frame, err)
		}
	}
}

// TestClasses: what makes two messages one request, by their types.
func TestClasses(t *testing.T) {
	for name, rows := range map[string]map[uint16]txn.Class{
		"cup-pos": {0x0100: txn.ClassFinancial, 0x0200: txn.ClassFinancial, 0x0201: txn.ClassFinancial, 0x0220: txn.ClassAdvice, 0x0221: txn.ClassAdvice, 0x0400: txn.ClassReversal, 0x0401: txn.ClassReversal,
			0x0320: txn.ClassUpload, 0x0500: txn.ClassUpload, 0x0620: txn.ClassAdvice, 0x0800: txn.ClassNetwork, 0x0820: txn.ClassNetwork},
		"iso87": {0x0100: txn.ClassFinancial, 0x0101: txn.ClassFinancial, 0x0200: txn.ClassFinancial, 0x0220: txn.ClassAdvice, 0x0221: txn.ClassAdvice, 0x0400: txn.ClassReversal, 0x0421: txn.ClassReversal,
			0x0320: txn.ClassUpload, 0x0500: txn.ClassUpload, 0x0520: txn.ClassUpload, 0x0620: txn.ClassAdvice, 0x0800: txn.ClassNetwork, 0x0820: txn.ClassNetwork},
	} {
		d := terminal(t, name)
		for mti, want := range rows {
			f := isoSale.with(fields{70: "301"})
			if name == "cup-pos" {
				f = cupSale
			}
			if x := decoded(t, d, build(t, d.Codec(), mti, f)); x.Request.Key.Class != want {
				t.Errorf("%s %04x: class %d, want %d", name, mti, x.Request.Key.Class, want)
			}
		}
	}
}
