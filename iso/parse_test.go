package iso

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// unhex takes hexadecimal with spaces.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestParseRefuses has one row per rule; a frame also breaks the rules of the
// rows below its own where that is possible.
func TestParseRefuses(t *testing.T) {
	const head = "6000030000 603100310000 "
	small := MustCompile(CUPPOS(), Framing{TPDU: true, LRI: true, Header: 6, SizeMax: 30})
	for _, x := range []struct {
		name   string
		codec  *Codec
		frame  []byte
		field  int
		offset int
		why    string
	}{
		{"over the size limit", small, make([]byte, 31), FieldFrame, 0, "has 31 bytes, the limit is 30"},
		{"LRI block past the end", testCUP, unhex(t, "6000030000 4C5249 001C 0000"), FieldFrame, 5, "the LRI block runs past the end"},
		{"ends before the MTI", testCUP, unhex(t, "6000030000 6031"), FieldMTI, 7, "the frame ends before it"},
		{"packed MTI", testCUP, unhex(t, head+"0A00"), FieldMTI, 11, "must be packed decimal digits"},
		{"ASCII MTI", testHex, []byte("02x0"), FieldMTI, 0, "must be four ASCII digits"},
		{"ends inside the bitmap", testCUP, unhex(t, head+"0200 80"), FieldBitmap, 13, "needs 8 bytes, 1 are left"},
		{"bitmap not hexadecimal", testHex, []byte("0200800000000000000g"), FieldBitmap, 19, "must be hexadecimal digits"},
		{"bit 1 without a secondary bitmap", testCUP, unhex(t, head+"0200 8100000000000000"), FieldBitmap, 13, "bit 1 is set, this dialect's bitmap has a fixed size"},
		{"ends inside the secondary bitmap", testHex, []byte("08008220000000000000040000"), FieldBitmap, 20, "needs 16 bytes, 6 are left"},
		{"third bitmap", testHex, []byte("08008220000000000000840000000000000000"), FieldBitmap, 20, "bit 65 announces a third bitmap, there is none"},
		{"unknown field", testCUP, unhex(t, head+"0200 0100000000000000 00"), 8, 21, "the dialect does not know this field"},
		{"ends before a length", testCUP, unhex(t, head+"0200 4000000000000000"), 2, 21, "the frame ends before its length"},
		{"length not decimal", testCUP, unhex(t, head+"0200 4000000000000000 1F"), 2, 21, "its length must be decimal digits"},
		{"length over the maximum", testCUP, unhex(t, head+"0200 4000000000000000 20"), 2, 21, "its length must be at most 19, is 20"},
		{"value past the end", testCUP, unhex(t, head+"0200 4000000000000000 19 6222"), 2, 22, "needs 10 bytes, 2 are left"},
		{"packed digit over 9", testCUP, unhex(t, head+"0200 2000000000000000 0000A0"), 3, 21, "must be decimal digits"},
		{"left pad nibble", testCUP, unhex(t, head+"0200 0000020000000000 1001"), 23, 21, "must be padded with a zero nibble"},
		{"right pad nibble", testCUP, unhex(t, head+"0200 0000040000000000 0511"), 22, 21, "must be padded with a nibble of 0 or F"},
		{"right pad nibble that is nearly F", testCUP, unhex(t, head+"0200 0000040000000000 051E"), 22, 21, "must be padded with a nibble of 0 or F"},
		{"packed digit before a right pad", testCUP, unhex(t, head+"0200 4000000000000000 03 62AF"), 2, 22, "must be decimal digits"},
		{"right pad nibble of a track", testCUP, unhex(t, head+"0200 0000000020000000 05 62E201"), 35, 22, "must be padded with a nibble of 0 or F"},
		{"ASCII digit", testHex, []byte("0200200000000000000000 000"), 3, 20, "must be decimal digits"},
		{"sign of an x+n field", testHex, []byte("02000000001000000000F00000000"), 28, 20, "must be C or D followed by digits"},
		{"hexadecimal field", testHex, []byte("020000000000000010000123456789abcdeg"), 52, 20, "must be hexadecimal digits"},
		{"trailing byte", testCUP, unhex(t, head+"0200 2000000000000000 000000 00"), 3, 24, "1 bytes follow the last field that the bitmap names"},
		{"trailing byte, no fields", testCUP, unhex(t, head+"0200 0000000000000000 00"), FieldBitmap, 21, "1 bytes follow the last field that the bitmap names"},
	} {
		t.Run(x.name, func(t *testing.T) {
			var m Message
			err := x.codec.Parse(&m, x.frame)
			var bad *FieldError
			if !errors.As(err, &bad) {
				t.Fatalf("got %v, want a FieldError", err)
			}
			if bad.Field != x.field || bad.Offset != x.offset || bad.Why != x.why {
				t.Errorf("got  %v\nwant %v", bad, &FieldError{Field: x.field, Offset: x.offset, Why: x.why})
			}
		})
	}
}

// TestSalvage finds whose a message is behind a field that is wrong.
func TestSalvage(t *testing.T) {
	const head = "6000030000 603100310000 0200 "
	text := func(m *Message, n int) string { return string(m.AppendText(nil, n)) }
	for _, x := range []struct {
		name  string
		codec *Codec
		frame []byte
		want  string // its fields, as n=value
		why   string
	}{
		{"nothing is wrong", testHex, []byte("02002020000000800000" + "000000" + "000007" + "10000001"), "3=000000 11=000007 41=10000001", ""},
		{"value", testHex, []byte("02002020000000800000" + "00000x" + "000007" + "10000001"), "11=000007 41=10000001", "field 3 at byte 20: must be decimal digits"},
		{"the first fault counts", testHex, []byte("02003020000000800000" + "00000x" + "00000000000x" + "000007" + "10000001"), "11=000007 41=10000001", "field 3 at byte 20: must be decimal digits"},
		{"packed value", testCUP, unhex(t, head+"2020000000000000 00000A 000007"), "11=000007", "field 3 at byte 21: must be decimal digits"},
		{"too long, and all there", testHex, []byte("02004020000000800000" + "20" + "12345678901234567890" + "000007" + "10000001"), "11=000007 41=10000001", "field 2 at byte 20: its length must be at most 19, is 20"},
		{"longer than the frame", testHex, []byte("02004020000000800000" + "99" + "12345678901234567890" + "000007" + "10000001"), "", "field 2 at byte 20: its length must be at most 19, is 99"},
		{"length", testHex, []byte("02004020000000800000" + "1x" + "1234567890" + "000007" + "10000001"), "", "field 2 at byte 20: its length must be decimal digits"},
		{"behind the secondary bitmap too", testHex, []byte("0200A0000000000000000000004000000000" + "00000x" + strings.Repeat("1", 42)), "90=" + strings.Repeat("1", 42), "field 3 at byte 36: must be decimal digits"},
		{"too long, and then nothing fits", testHex, []byte("02004020000000800000" + "20" + "1234567890123456789" + "000007" + "10000001"), "", "field 2 at byte 20: its length must be at most 19, is 20"},
		{"cut short behind it", testHex, []byte("02003020000000800000" + "000000" + "00000000000x" + "000007" + "1000"), "3=000000", "field 4 at byte 26: must be decimal digits"},
		{"bytes behind it", testHex, []byte("02003020000000800000" + "000000" + "00000000000x" + "000007" + "10000001" + "1"), "3=000000", "field 4 at byte 26: must be decimal digits"},
		{"bytes behind the last", testHex, []byte("02002000000000000000" + "000000" + "x"), "3=000000", "field 3 at byte 26: 1 bytes follow the last field that the bitmap names"},
	} {
		t.Run(x.name, func(t *testing.T) {
			var m, p Message
			err, parseErr := x.codec.Salvage(&m, x.frame), x.codec.Parse(&p, x.frame)
			if fmt.Sprint(err) != fmt.Sprint(parseErr) || err == nil != (x.why == "") || err != nil && err.Error() != x.why {
				t.Errorf("got %v, Parse %v, want %s", err, parseErr, x.why)
			}
			var got []string
			for n := range m.Fields() {
				got = append(got, fmt.Sprintf("%d=%s", n, text(&m, n)))
			}
			if strings.Join(got, " ") != x.want {
				t.Errorf("got %s, want %s", got, x.want)
			}
		})
	}
}

// TestHexadecimalInAnyCase reads a peer that spells bytes in lower case as one that
// spells them in upper case, and answers in upper case.
func TestHexadecimalInAnyCase(t *testing.T) {
	var m Message
	if err := testHex.Parse(&m, []byte("02000000000000001001"+"0123456789abcdef"+"fedcba9876543210")); err != nil {
		t.Fatal(err)
	}
	if got := string(m.AppendText(nil, 52)); got != "\x01\x23\x45\x67\x89\xab\xcd\xef" {
		t.Errorf("field 52 is %x", got)
	}
	if err := testHex.Parse(&m, []byte("08008238000000c00000"+"0400000000000000"+"1122093105"+"000001"+"093105"+"1122"+"10000001"+"999290054110001"+"301")); err != nil || string(m.Value(70)) != "301" {
		t.Errorf("bitmap: %v, field 70 %q", err, m.Value(70))
	}
}

// TestF26ParseDamaged cuts and flips a sale everywhere. Nothing may panic, no
// error may quote the frame, and what was read before the error must be right.
func TestF26ParseDamaged(t *testing.T) {
	frame := cupSale(t)
	var whole, m Message
	if err := testCUP.Parse(&whole, frame); err != nil {
		t.Fatal(err)
	}
	ask := func(name string, frame []byte, err error) {
		t.Helper()
		if err != nil {
			for _, secret := range []string{"622202", "0128", "3012", "BDFD42", "AABBCC"} {
				if strings.Contains(strings.ToUpper(err.Error()), secret) {
					t.Errorf("%s: error quotes the message: %v", name, err)
				}
			}
		}
		for n := range 130 {
			m.Value(n)
			m.AppendDigits(nil, n)
			m.AppendText(nil, n)
			m.Uint(n)
		}
		Describe(&m, false)
	}
	for cut := range frame {
		err := testCUP.Parse(&m, frame[:cut])
		var bad *FieldError
		if !errors.As(err, &bad) || bad.Offset > cut {
			t.Fatalf("cut to %d bytes: got %v", cut, err)
		}
		for n := range m.Fields() {
			if !bytes.Equal(m.Value(n), whole.Value(n)) {
				t.Errorf("cut to %d bytes: field %d is %X", cut, n, m.Value(n))
			}
		}
		ask(fmt.Sprint("cut ", cut), frame[:cut], err)
		ask(fmt.Sprint("cut and salvaged ", cut), frame[:cut], testCUP.Salvage(&m, frame[:cut]))
	}
	for at := range frame {
		for _, flip := range []byte{0x01, 0x80, 0xFF} {
			damaged := bytes.Clone(frame)
			damaged[at] ^= flip
			ask(fmt.Sprint("flip ", at), damaged, testCUP.Parse(&m, damaged))
			ask(fmt.Sprint("flip and salvaged ", at), damaged, testCUP.Salvage(&m, damaged))
		}
	}
}

func TestMessageForgetsTheOneBefore(t *testing.T) {
	var m Message
	if err := testCUP.Parse(&m, cupSale(t)); err != nil {
		t.Fatal(err)
	}
	if err := testCUP.Parse(&m, []byte{0x60}); err == nil {
		t.Fatal("one byte was taken for a message")
	}
	if m.MTI() != 0 || m.TPDU() != nil || m.Header() != nil || m.Bitmap() != nil || m.Has(2) || m.Value(2) != nil {
		t.Errorf("got MTI %04X, TPDU %X, header %X, bitmap %X of the message before", m.MTI(), m.TPDU(), m.Header(), m.Bitmap())
	}
}

func TestMessageAccessors(t *testing.T) {
	var m Message
	if err := testCUP.Parse(&m, cupSale(t)); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		n            int
		digits, text string
		uint         uint64
		err          error
	}{
		{2, "6222021234567890128", "6222021234567890128", 6222021234567890128, nil},
		{4, "000000012345", "000000012345", 12345, nil},
		{22, "051", "051", 51, nil},
		{23, "001", "001", 1, nil},
		{35, "6222021234567890128=30122010000012300", "6222021234567890128=30122010000012300", 0, ErrNotNumber},
		{41, "10000001", "10000001", 10000001, nil},
		{42, "999290054110001", "999290054110001", 999290054110001, nil},
		{52, "\xBD\xFD\x42\xDC\xF9\x60\xC8\xB6", "\xBD\xFD\x42\xDC\xF9\x60\xC8\xB6", 0, ErrNotNumber},
		{7, "", "", 0, ErrAbsent},
	} {
		t.Run(fmt.Sprint(x.n), func(t *testing.T) {
			if got := string(m.AppendDigits([]byte("+"), x.n)); got != "+"+x.digits {
				t.Errorf("digits: got %q, want %q", got, x.digits)
			}
			if got := string(m.AppendText([]byte("+"), x.n)); got != "+"+x.text {
				t.Errorf("text: got %q, want %q", got, x.text)
			}
			if got, err := m.Uint(x.n); got != x.uint || !errors.Is(err, x.err) {
				t.Errorf("number: got %d, %v, want %d, %v", got, err, x.uint, x.err)
			}
		})
	}
	for _, n := range []int{-1, 0, 1, 65, 128, 129, 1 << 40} {
		if m.Has(n) || m.Value(n) != nil || m.Len(n) != 0 || m.Offset(n) != 0 {
			t.Errorf("field %d is there", n)
		}
	}
	if m.Len(35) != 37 || m.Offset(2) != 22 {
		t.Errorf("length of field 35: %d; offset of field 2: %d", m.Len(35), m.Offset(2))
	}
}

func TestLRI(t *testing.T) {
	sale := cupSale(t)
	block := append(unhex(t, "4C5249 001C"), bytes.Repeat([]byte{0x12}, 28)...)
	frame := slices.Concat(sale[:5], block, sale[5:])
	var m Message
	if err := testCUP.Parse(&m, frame); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(m.LRI(), block) || !bytes.Equal(m.Header(), sale[5:11]) || m.MTI() != 0x0200 {
		t.Errorf("LRI %X, header %X, MTI %04X", m.LRI(), m.Header(), m.MTI())
	}
	out, err := testCUP.Append(nil, &m)
	if err != nil || !bytes.Equal(out[2:], frame) {
		t.Errorf("written back: %X, %v", out, err)
	}
}

func TestF20ReadLength(t *testing.T) {
	ascii := MustCompile(ISO87(SpelledHex), Framing{Prefix: PrefixASCII4, SizeMax: 500})
	cup := MustCompile(CUPPOS(), CUPPOSFraming(500))
	for _, x := range []struct {
		name   string
		codec  *Codec
		prefix string
		want   int
		err    string
	}{
		{"no number", ascii, "00 4", 0, "read frame length: the prefix is not four decimal digits"},
		{"no prefix", testHex, "", 0, "read frame length: this framing has no length prefix"},
		{"zero", cup, "\x00\x00", 0, "read frame length: 0 bytes announced, the smallest cup-pos message has 21"},
		{"under the smallest", cup, "\x00\x14", 0, "read frame length: 20 bytes announced, the smallest cup-pos message has 21"},
		{"over the limit", cup, "\x01\xF5", 0, "read frame length: 501 bytes announced, the limit is 500"},
		{"HTTP", cup, "GE", 0, "read frame length: 18245 bytes announced, the limit is 500"},
		{"smallest", cup, "\x00\x15", 21, ""},
		{"largest", cup, "\x01\xF4", 500, ""},
		{"ASCII", ascii, "0123", 123, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			got, err := x.codec.ReadLength([]byte(x.prefix))
			if got != x.want || err == nil != (x.err == "") || err != nil && err.Error() != x.err {
				t.Errorf("got %d, %v, want %d, %q", got, err, x.want, x.err)
			}
		})
	}
}
