package iso

import (
	"fmt"

	"github.com/moov-io/iso8583"
	"github.com/moov-io/iso8583/encoding"
	"github.com/moov-io/iso8583/field"
	"github.com/moov-io/iso8583/prefix"
)

// nameCUPS is the name of UnionPay's network dialect.
const nameCUPS = "cups"

// CUPSFraming is a frame between China UnionPay's network and its members:
//
//	| length 4 digits | header 46 | MTI 4 | bitmap 16 | fields |
func CUPSFraming(sizeMax int) Framing {
	return Framing{Prefix: PrefixASCII4, Header: len(CUPSHeader{}), Measured: true, SizeMax: sizeMax}
}

// CUPS is the dialect of China UnionPay's network, CUPS, and its members: numbers
// and lengths in ASCII, binary fields raw, GBK text. Its bitmap has 16 bytes,
// bit 1 set, also where no field is above 64: a writer calls Encoder.Widen.
func CUPS() *iso8583.MessageSpec {
	bitmap := &field.Spec{Length: 8, Description: "bitmap", Enc: encoding.Binary, Pref: prefix.Hex.Fixed}
	return newSpec(nameCUPS, asciiWire, bitmap, cupsFields)
}

// CUPSHeader is the header of a CUPS frame:
//
//	| own size 1 | version 1 | frame size 4 digits | destination 11 | source 11 |
//	| reserved 3 | batch 1 | transaction 8 | user 1 | reject code 5 |
//
// The Encoder fills in the frame's size, which counts the header and not the
// length before it.
type CUPSHeader [46]byte

// cupsVersion is the version of the header that is written.
const cupsVersion = 2

// MakeCUPSHeader is a header from source to destination, institutions of up to
// 11 digits, blank on the right.
func MakeCUPSHeader(destination, source string) (h CUPSHeader) {
	h[0], h[1] = byte(len(h)), cupsVersion
	copy(h[2:], "0000")
	copy(h[6:], fmt.Sprintf("%-11.11s%-11.11s"+"000"+"\x00"+"00000000"+"\x00"+"00000", destination, source))
	return h
}

// CUPSReject is the reject code of a CUPS header, nothing where the network took
// the message.
func CUPSReject(header []byte) string {
	code := header[len(CUPSHeader{})-5:]
	for _, c := range code {
		if c != '0' && c != ' ' && c != 0 {
			return string(code)
		}
	}
	return ""
}

// CUPSAnswer is the header of an answer to a message with that header.
func CUPSAnswer(header []byte) (h CUPSHeader) {
	copy(h[:], header)
	copy(h[6:17], header[17:28])
	copy(h[17:28], header[6:17])
	return h
}

var cupsFields = []row{
	{2, "n..19", "primary account number"},
	{3, "n 6", "processing code"},
	{4, "n 12", "amount"},
	{5, "n 12", "amount, settlement"},
	{6, "n 12", "amount, cardholder billing"},
	{7, "n 10", "transmission time MMDDhhmmss"},
	{9, "n 8", "conversion rate, settlement"},
	{10, "n 8", "conversion rate, cardholder billing"},
	{11, "n 6", "system trace audit number"},
	{12, "n 6", "local time hhmmss"},
	{13, "n 4", "local date MMDD"},
	{14, "n 4", "expiry YYMM"},
	{15, "n 4", "settlement date MMDD"},
	{16, "n 4", "conversion date MMDD"},
	{18, "n 4", "merchant category code"},
	{19, "n 3", "merchant's country"},
	{22, "n 3", "point of service entry mode"},
	{23, "n 3", "card sequence number"},
	{25, "n 2", "point of service condition code"},
	{26, "n 2", "PIN capture code"},
	{28, "x+n 8", "amount, transaction fee"},
	{32, "n..11", "acquiring institution"},
	{33, "n..11", "forwarding institution"},
	{35, "z..37", "track 2 data"},
	{36, "z...104", "track 3 data"},
	{37, "an 12", "retrieval reference number"},
	{38, "an 6", "authorization code"},
	{39, "an 2", "response code"},
	{41, "ans 8", "terminal"},
	{42, "ans 15", "merchant"},
	{43, "ans 40", "merchant name and place"},
	{44, "ans..25", "additional response data"},
	{45, "ans..76", "track 1 data"},
	{48, "ans...512", "additional data, private"},
	{49, "an 3", "currency, transaction"},
	{50, "an 3", "currency, settlement"},
	{51, "an 3", "currency, cardholder billing"},
	{52, "b 8", "PIN block"},
	{53, "n 16", "security control"},
	{54, "an...40", "balances"},
	{55, "b...255", "chip data"},
	{56, "ans...512", "additional data"},
	{57, "ans...100", "additional transaction data"},
	{59, "ans...600", "details inquired"},
	{60, "ans...100", "reason, terminal and circumstances"},
	{61, "ans...200", "cardholder's identification"},
	{62, "ans...200", "switching data"},
	{63, "ans...512", "network data"},
	{70, "n 3", "network management information code"},
	{90, "n 42", "original data elements"},
	{96, "b 8", "message security code"},
	{100, "n..11", "receiving institution"},
	{102, "ans..28", "account identification 1"},
	{103, "ans..28", "account identification 2"},
	{104, "ans...512", "additional data"},
	{113, "ans...512", "additional data"},
	{116, "ans...512", "additional data"},
	{117, "ans...256", "additional data"},
	{121, "ans...100", "network's reserved data"},
	{122, "ans...100", "acquirer's reserved data"},
	{123, "ans...999", "issuer's reserved data"},
	{125, "ans...256", "additional data"},
	{126, "ans...256", "additional data"},
	{128, "b 8", "message authentication code"},
}
