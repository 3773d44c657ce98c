package iso

import (
	"github.com/moov-io/iso8583"
	"github.com/moov-io/iso8583/encoding"
	"github.com/moov-io/iso8583/field"
	"github.com/moov-io/iso8583/prefix"
)

// CUPPOSFraming is a CUP terminal's frame:
//
//	| length 2, big endian | TPDU 5 | [LRI 5+n] | header 6 | MTI 2 | bitmap 8 | fields |
func CUPPOSFraming(sizeMax int) Framing {
	return Framing{Prefix: PrefixBinary2, TPDU: true, LRI: true, Header: 6, SizeMax: sizeMax}
}

// CUPPOS is the dialect of China UnionPay terminals: packed digits, a 64-bit
// binary bitmap, GBK text. Variable lengths are packed too and count digits
// where the value is packed. DE22 is left-justified, every other odd fixed
// number right-justified.
func CUPPOS() *iso8583.MessageSpec {
	bitmap := &field.Spec{
		Length: 8, Description: "bitmap", DisableAutoExpand: true,
		Enc: encoding.Binary, Pref: prefix.Binary.Fixed,
	}
	return newSpec("cup-pos", packedWire, bitmap, cupposFields)
}

var cupposFields = []row{
	{2, "n..19", "primary account number"},
	{3, "n 6", "processing code"},
	{4, "n 12", "amount"},
	{11, "n 6", "system trace audit number"},
	{12, "n 6", "local time hhmmss"},
	{13, "n 4", "local date MMDD"},
	{14, "n 4", "expiry YYMM"},
	{15, "n 4", "settlement date MMDD"},
	{22, "n 3 left", "point of service entry mode"},
	{23, "n 3", "card sequence number"},
	{25, "n 2", "point of service condition code"},
	{26, "n 2", "PIN capture code"},
	{27, "n 1", "debit or credit mark"},
	{32, "n..11", "acquiring institution"},
	{35, "z..37", "track 2"},
	{36, "z...104", "track 3"},
	{37, "an 12", "retrieval reference number"},
	{38, "an 6", "authorization code"},
	{39, "an 2", "response code"},
	{41, "ans 8", "terminal"},
	{42, "ans 15", "merchant"},
	{43, "ans 40", "merchant name and place"},
	{44, "ans..25", "additional response data"},
	{46, "ans...999", "terminal information"},
	{47, "ans...999", "private additional data"},
	{48, "n...322", "settlement totals or batch details"},
	{49, "an 3", "currency"},
	{52, "b 8", "PIN block"},
	{53, "n 16", "security control"},
	{54, "an...120", "balances"},
	{55, "b...255", "chip data"},
	{56, "ans...999", "response text"},
	{57, "ans...999", "private data"},
	{58, "ans...100", "electronic purse data"},
	{59, "ans...600", "terminal information or detail"},
	{60, "n...17", "transaction kind, batch and network code"},
	{61, "n...29", "original transaction"},
	{62, "b...512", "private data"},
	{63, "ans...163", "private data"},
	{64, "b 8", "message authentication code"},
}
