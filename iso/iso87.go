package iso

import (
	"github.com/moov-io/iso8583"
	"github.com/moov-io/iso8583/encoding"
	"github.com/moov-io/iso8583/field"
	"github.com/moov-io/iso8583/prefix"
)

// Spelling is how ISO 8583:1987 peers write numbers and the bitmap.
type Spelling uint8

// The spellings of ISO87.
const (
	SpelledHex    Spelling = iota // characters; 16 hexadecimal ones for the bitmap, 32 when bit 1 is set
	SpelledBinary                 // characters; 8 bytes for the bitmap, 16 when bit 1 is set
	SpelledHex32                  // characters; always 32 hexadecimal ones for the bitmap, bit 1 clear
	SpelledBCD                    // two digits a byte; the bitmap as in SpelledBinary
)

// ISO87 is ISO 8583:1987. Numbers and lengths are characters or, in BCD, packed:
// then an odd digit is preceded by a zero in a fixed field and followed by one in a
// variable one, and tracks 2 and 3 are packed too. Else tracks are text, since hosts
// send them in their own character sets. The eight-byte binary fields (52, 64, 96,
// 128) are spelled as the bitmap is: raw or in hexadecimal; DE55 takes any bytes.
func ISO87(spelling Spelling) *iso8583.MessageSpec {
	b := &field.Spec{Length: 8, Description: "bitmap", Enc: encoding.Binary, Pref: prefix.Binary.Fixed}
	name, wire := "iso87-binary", asciiWire
	switch spelling {
	case SpelledBCD:
		name, wire = "iso87-bcd", packedWire
	case SpelledHex, SpelledHex32:
		b.Enc, b.Pref = encoding.BytesToASCIIHex, prefix.Hex.Fixed
		name, wire.binary = "iso87", encoding.BytesToASCIIHex
	}
	if spelling == SpelledHex32 {
		name, b.Length, b.DisableAutoExpand = "iso87-hex32", 16, true
	}
	rows := iso87Fields
	for n := 105; n <= 127; n++ {
		rows = append(rows[:len(rows):len(rows)], row{n, "ans...999", "reserved"})
	}
	return newSpec(name, wire, b, rows)
}

var iso87Fields = []row{
	{2, "n..19", "primary account number"},
	{3, "n 6", "processing code"},
	{4, "n 12", "amount"},
	{5, "n 12", "amount, settlement"},
	{6, "n 12", "amount, cardholder billing"},
	{7, "n 10", "transmission time MMDDhhmmss"},
	{8, "n 8", "amount, cardholder billing fee"},
	{9, "n 8", "conversion rate, settlement"},
	{10, "n 8", "conversion rate, cardholder billing"},
	{11, "n 6", "system trace audit number"},
	{12, "n 6", "local time hhmmss"},
	{13, "n 4", "local date MMDD"},
	{14, "n 4", "expiry YYMM"},
	{15, "n 4", "settlement date MMDD"},
	{16, "n 4", "conversion date MMDD"},
	{17, "n 4", "capture date MMDD"},
	{18, "n 4", "merchant category code"},
	{19, "n 3", "acquiring institution country"},
	{20, "n 3", "primary account number country"},
	{21, "n 3", "forwarding institution country"},
	{22, "n 3", "point of service entry mode"},
	{23, "n 3", "card sequence number"},
	{24, "n 3", "network international identifier"},
	{25, "n 2", "point of service condition code"},
	{26, "n 2", "point of service PIN capture code"},
	{27, "n 1", "length of authorization code"},
	{28, "x+n 8", "amount, transaction fee"},
	{29, "x+n 8", "amount, settlement fee"},
	{30, "x+n 8", "amount, transaction processing fee"},
	{31, "x+n 8", "amount, settlement processing fee"},
	{32, "n..11", "acquiring institution"},
	{33, "n..11", "forwarding institution"},
	{34, "ns..28", "primary account number, extended"},
	{35, "z..37", "track 2 data"},
	{36, "z...104", "track 3 data"},
	{37, "an 12", "retrieval reference number"},
	{38, "an 6", "authorization code"},
	{39, "an 2", "response code"},
	{40, "an 3", "service restriction code"},
	{41, "ans 8", "terminal"},
	{42, "ans 15", "merchant"},
	{43, "ans 40", "merchant name and place"},
	{44, "an..25", "additional response data"},
	{45, "an..76", "track 1 data"},
	{46, "an...999", "additional data, ISO"},
	{47, "an...999", "additional data, national"},
	{48, "an...999", "additional data, private"},
	{49, "an 3", "currency, transaction"},
	{50, "an 3", "currency, settlement"},
	{51, "an 3", "currency, cardholder billing"},
	{52, "b 8", "PIN block"},
	{53, "n 16", "security control"},
	{54, "an...120", "additional amounts"},
	{55, "ans...999", "chip data"},
	{56, "ans...999", "reserved"},
	{57, "ans...999", "reserved"},
	{58, "ans...999", "reserved"},
	{59, "ans...999", "reserved"},
	{60, "ans...999", "reserved"},
	{61, "ans...999", "private data"},
	{62, "ans...999", "private data"},
	{63, "ans...999", "private data"},
	{64, "b 8", "message authentication code"},
	{66, "n 1", "settlement code"},
	{67, "n 2", "extended payment code"},
	{68, "n 3", "receiving institution country"},
	{69, "n 3", "settlement institution country"},
	{70, "n 3", "network management information code"},
	{71, "n 4", "message number"},
	{72, "n 4", "last message's number"},
	{73, "n 6", "action date YYMMDD"},
	{74, "n 10", "number of credits"},
	{75, "n 10", "credits, reversal number"},
	{76, "n 10", "number of debits"},
	{77, "n 10", "debits, reversal number"},
	{78, "n 10", "transfer number"},
	{79, "n 10", "transfer, reversal number"},
	{80, "n 10", "number of inquiries"},
	{81, "n 10", "number of authorizations"},
	{82, "n 12", "credits, processing fee amount"},
	{83, "n 12", "credits, transaction fee amount"},
	{84, "n 12", "debits, processing fee amount"},
	{85, "n 12", "debits, transaction fee amount"},
	{86, "n 16", "total amount of credits"},
	{87, "n 16", "credits, reversal amount"},
	{88, "n 16", "total amount of debits"},
	{89, "n 16", "debits, reversal amount"},
	{90, "n 42", "original data elements"},
	{91, "an 1", "file update code"},
	{92, "an 2", "file security code"},
	{93, "an 5", "response indicator"},
	{94, "an 7", "service indicator"},
	{95, "an 42", "replacement amounts"},
	{96, "b 8", "message security code"},
	{97, "x+n 16", "net settlement amount"},
	{98, "ans 25", "payee"},
	{99, "n..11", "settlement institution identification code"},
	{100, "n..11", "receiving institution identification code"},
	{101, "ans..17", "file name"},
	{102, "ans..28", "account identification 1"},
	{103, "ans..28", "account identification 2"},
	{104, "ans...100", "transaction description"},
	{128, "b 8", "message authentication code"},
}
