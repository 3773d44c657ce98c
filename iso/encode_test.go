package iso

import (
	"errors"
	"strings"
	"testing"
)

func TestEncoderWrites(t *testing.T) {
	tpdu, header := unhex(t, "6000000003"), unhex(t, "603100310000")
	for _, x := range []struct {
		name  string
		write func(e *Encoder)
		want  string
	}{
		{"amount", func(e *Encoder) { e.Uint(4, 12345) }, "1000000000000000 000000012345"},
		{"zero", func(e *Encoder) { e.Uint(11, 0) }, "0020000000000000 000000"},
		{"entry mode, left-justified", func(e *Encoder) { e.Digits(22, []byte("051")) }, "0000040000000000 0510"},
		{"sequence number, right-justified", func(e *Encoder) { e.Digits(23, []byte("001")) }, "0000020000000000 0001"},
		{"PAN of 19", func(e *Encoder) { e.Digits(2, []byte("6222021234567890128")) }, "4000000000000000 19 62220212345678901280"},
		{"PAN of 16", func(e *Encoder) { e.Digits(2, []byte("6222021234567890")) }, "4000000000000000 16 6222021234567890"},
		{"track with =", func(e *Encoder) { e.Digits(35, []byte("6222=3012")) }, "0000000020000000 09 6222D30120"},
		{"track with D", func(e *Encoder) { e.Digits(35, []byte("6222D3012")) }, "0000000020000000 09 6222D30120"},
		{"institution as number", func(e *Encoder) { e.Uint(32, 48802900) }, "0000000100000000 08 48802900"},
		{"padded text", func(e *Encoder) { e.Text(41, []byte("T1")) }, "0000000000800000 5431202020202020"},
		{"text of digits into digits", func(e *Encoder) { e.Text(13, []byte("1121")) }, "0008000000000000 1121"},
		{"variable text", func(e *Encoder) { e.Text(63, []byte("CUP")) }, "0000000000000002 0003 435550"},
		{"empty variable text", func(e *Encoder) { e.Text(63, nil) }, "0000000000000002 0000"},
		{"binary", func(e *Encoder) { e.Bytes(64, []byte("12345678")) }, "0000000000000001 3132333435363738"},
		{"long binary", func(e *Encoder) { e.Bytes(62, make([]byte, 512)) }, "0000000000000004 0512" + strings.Repeat("00", 512)},
	} {
		t.Run(x.name, func(t *testing.T) {
			body := append(append(append([]byte{}, tpdu...), header...), unhex(t, "0210"+x.want)...)
			want := "before" + string([]byte{byte(len(body) >> 8), byte(len(body))}) + string(body)
			used := []byte("before" + strings.Repeat("\xEE", 1000))
			for _, dst := range [][]byte{[]byte("before"), used[:6]} {
				e := testCUP.Begin(dst, tpdu, header, 0x0210)
				x.write(&e)
				got, err := e.Finish()
				if err != nil {
					t.Fatal(err)
				}
				if string(got) != want {
					t.Errorf("\ngot  %X\nwant %X", got, want)
				}
			}
			if used[len(want)-1] == 0xEE || used[len(want)] != 0xEE {
				t.Error("the frame is not where its buffer has room, or does not end there")
			}
		})
	}
}

func TestEncoderRefuses(t *testing.T) {
	tpdu, header := make([]byte, 5), make([]byte, 6)
	for _, x := range []struct {
		name  string
		tpdu  []byte
		mti   uint16
		write func(e *Encoder)
		want  string
	}{
		{"TPDU missing", nil, 0x0210, func(*Encoder) {}, "encode cup-pos: the TPDU must have 5 bytes, has 0"},
		{"MTI not decimal", tpdu, 0x02A0, func(*Encoder) {}, "encode cup-pos: MTI at byte 0: must be four decimal digits, as 0x0200"},
		{"no data field", tpdu, 0x0210, func(e *Encoder) { e.Uint(129, 1) }, "field 129 at byte 23: is no data field"},
		{"unknown field", tpdu, 0x0210, func(e *Encoder) { e.Uint(7, 1) }, "field 7 at byte 23: the dialect does not know this field"},
		{"order", tpdu, 0x0210, func(e *Encoder) { e.Uint(11, 1); e.Uint(4, 1) }, "field 4 at byte 26: comes after field 11, fields must ascend"},
		{"twice", tpdu, 0x0210, func(e *Encoder) { e.Uint(11, 1); e.Uint(11, 1) }, "comes after field 11"},
		{"digits too short", tpdu, 0x0210, func(e *Encoder) { e.Digits(4, []byte("123")) }, "field 4 at byte 23: the length must be 12, is 3"},
		{"digits too long", tpdu, 0x0210, func(e *Encoder) { e.Digits(2, []byte("12345678901234567890")) }, "field 2 at byte 23: the length must be at most 19, is 20"},
		{"digits that are none", tpdu, 0x0210, func(e *Encoder) { e.Digits(3, []byte("00000x")) }, "field 3"},
		{"digits into binary", tpdu, 0x0210, func(e *Encoder) { e.Digits(64, []byte("12345678")) }, "field 64"},
		{"number too long", tpdu, 0x0210, func(e *Encoder) { e.Uint(11, 1_000_000) }, "field 11 at byte 23: the value has 7 digits, the field 6"},
		{"text too long", tpdu, 0x0210, func(e *Encoder) { e.Text(41, []byte("123456789")) }, "field 41 at byte 23: the length must be 8, is 9"},
		{"variable text too long", tpdu, 0x0210, func(e *Encoder) { e.Text(44, make([]byte, 26)) }, "field 44 at byte 23: the length must be at most 25, is 26"},
		{"bytes into digits", tpdu, 0x0210, func(e *Encoder) { e.Bytes(4, make([]byte, 6)) }, "field 4 at byte 23: is numeric and takes no raw bytes"},
		{"frame too big", tpdu, 0x0210, func(e *Encoder) { e.Text(46, make([]byte, 999)); e.Text(47, make([]byte, 999)) }, "encode cup-pos: the frame has 2023 bytes, the limit is 1500"},
		{"the first error stays", tpdu, 0x0210, func(e *Encoder) { e.Uint(7, 1); e.Uint(4, 1); e.Digits(3, nil) }, "field 7"},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := MustCompile(CUPPOS(), CUPPOSFraming(1500))
			e := c.Begin([]byte("before"), x.tpdu, header, x.mti)
			x.write(&e)
			got, err := e.Finish()
			if err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("got %v, want %q", err, x.want)
			}
			if string(got) != "before" {
				t.Errorf("a frame that failed left %q", got)
			}
			var bad *FieldError
			if strings.HasPrefix(x.want, "field") && !errors.As(err, &bad) {
				t.Errorf("%v is no FieldError", err)
			}
		})
	}
}

// TestTranscode carries a sale from one dialect to another and back.
func TestTranscode(t *testing.T) {
	var sale, there, back Message
	if err := testCUP.Parse(&sale, cupSale(t)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*Codec{testHex, testHex32, testBinary, testBCD} {
		t.Run(c.Name(), func(t *testing.T) {
			e := c.Begin(nil, nil, nil, sale.MTI())
			for n := range sale.Fields() {
				e.Copy(n, &sale)
			}
			e.Copy(90, &sale) // absent: nothing is written
			frame, err := e.Finish()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Parse(&there, frame[c.Framing().PrefixSize():]); err != nil {
				t.Fatal(err)
			}
			e = testCUP.Begin(nil, sale.TPDU(), sale.Header(), there.MTI())
			for n := range there.Fields() {
				e.Copy(n, &there)
			}
			frame, err = e.Finish()
			if err != nil {
				t.Fatal(err)
			}
			if err := testCUP.Parse(&back, frame[2:]); err != nil {
				t.Fatal(err)
			}
			if string(frame[2:]) != string(sale.Frame()) {
				t.Errorf("\ngot  %X\nwant %X", frame[2:], sale.Frame())
			}
		})
	}
}

// TestSecondaryBitmap wants one when a field needs it, and wants the one that a
// peer sends without need to be kept.
func TestSecondaryBitmap(t *testing.T) {
	binary := MustCompile(ISO87(SpelledBinary), Framing{SizeMax: 100})
	for _, x := range []struct {
		name  string
		codec *Codec
		want  string
		write func(e *Encoder)
	}{
		{"hex, none", testHex, "08000020000000000000000001", func(e *Encoder) { e.Uint(11, 1) }},
		{"hex", testHex, "080080200000000000000400000000000000000001301", func(e *Encoder) { e.Uint(11, 1); e.Uint(70, 301) }},
		{"hex32, none", testHex32, "080000200000000000000000000000000000000001", func(e *Encoder) { e.Uint(11, 1) }},
		{"hex32", testHex32, "080000200000000000000400000000000000000001301", func(e *Encoder) { e.Uint(11, 1); e.Uint(70, 301) }},
		{"binary", binary, "0800\x80\x20\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00000001301", func(e *Encoder) { e.Uint(11, 1); e.Uint(70, 301) }},
		{"only field 128", binary, "0800\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0112345678", func(e *Encoder) { e.Bytes(128, []byte("12345678")) }},
	} {
		t.Run(x.name, func(t *testing.T) {
			e := x.codec.Begin(nil, nil, nil, 0x0800)
			x.write(&e)
			got, err := e.Finish()
			if err != nil || string(got) != x.want {
				t.Errorf("got %q, %v\nwant %q", got, err, x.want)
			}
		})
	}
	const empty = "080080200000000000000000000000000000000001"
	var m Message
	if err := testHex.Parse(&m, []byte(empty)); err != nil {
		t.Fatal(err)
	}
	if got, err := testHex.Append(nil, &m); err != nil || string(got) != empty {
		t.Errorf("got %q, %v\nwant %q", got, err, empty)
	}
}

// TestISO87BCD holds the packed spelling against a message that was put together by
// hand, as a terminal of an acquirer's network sends it, and a TPDU before it.
func TestISO87BCD(t *testing.T) {
	body := unhex(t, "0200 F220059120C094000000004200000001 19 62220212345678901280 000000 000000012345 1122093105 000042 0051 0003 00 44 00000150"+
		"11 488029001230 37 6222021234567890128D30122010000012345 0 3130303030303031 393939323930303534313130303031 313536 BDFD42DCF960C8B6"+
		"0012 303030303030303030313030 020000004111220900000000000000000000000000 303030303030303130303030"+strings.Repeat("30", 30)+"0011223344556677")
	for _, tpdu := range []string{"", "\x60\x00\x03\x00\x12", "\x6F\x00\x03\x00\x12"} {
		var m Message
		if err := testBCD.Parse(&m, append([]byte(tpdu), body...)); err != nil {
			t.Fatal(err)
		}
		if string(m.TPDU()) != tpdu || m.MTI() != 0x0200 || string(m.Before(128)) != string(body[:len(body)-8]) {
			t.Errorf("TPDU %x, type %04x, MAC over %x", m.TPDU(), m.MTI(), m.Before(128))
		}
		e := testBCD.Begin(nil, []byte(tpdu), nil, 0x0200)
		for n, want := range map[int]string{2: "6222021234567890128", 3: "000000", 4: "000000012345", 7: "1122093105", 11: "000042", 22: "051", 24: "003",
			25: "00", 28: "D\x00\x00\x01\x50", 32: "48802900123", 35: "6222021234567890128=30122010000012345", 41: "10000001", 42: "999290054110001", 49: "156",
			52: "\xBD\xFD\x42\xDC\xF9\x60\xC8\xB6", 54: "000000000100", 90: "02000000411122090000" + strings.Repeat("0", 22),
			95: "000000010000" + strings.Repeat("0", 30), 128: "\x00\x11\x22\x33\x44\x55\x66\x77"} {
			if got := string(m.AppendText(nil, n)); got != want {
				t.Errorf("field %d is %q, want %q", n, got, want)
			}
		}
		for n := range m.Fields() {
			e.Text(n, m.AppendText(nil, n))
		}
		frame, err := e.Finish()
		if want := append(append([]byte{0, byte(len(body) + len(tpdu))}, tpdu...), body...); err != nil || string(frame) != string(want) {
			t.Errorf("written anew %X, %v\nwant %X", frame, err, want)
		}
	}
	var m Message
	for _, cut := range []string{"\x60\x00\x03", "\x60\x00\x03\x00\x12\x02", "\x50\x00\x03\x00\x12\x02\x00"} {
		if err := testBCD.Parse(&m, []byte(cut)); err == nil || m.TPDU() != nil && m.MTI() == 0 {
			t.Errorf("%x is taken, as behind %x, of type %04x", cut, m.TPDU(), m.MTI())
		}
	}
	if e := testBCD.Begin(nil, []byte("\x60\x00"), nil, 0x0200); e.err == nil {
		t.Error("two bytes are a TPDU")
	}
}

// TestPrefixes reads and writes each length prefix.
func TestPrefixes(t *testing.T) {
	for _, x := range []struct {
		prefix Prefix
		wire   string
		bad    string
	}{
		{PrefixBinary2, "\x01\x2C", "\xFF\xFF"},
		{PrefixASCII4, "0300", "03x0"},
		{PrefixBCD2, "\x03\x00", "\x03\x0A"},
		{PrefixBinary4, "\x00\x00\x01\x2C", "\x00\x01\x00\x2C"},
	} {
		c := MustCompile(ISO87(SpelledBCD), Framing{Prefix: x.prefix, SizeMax: 4096})
		if got := c.Framing().AppendLength([]byte("x"), 300); string(got) != "x"+x.wire {
			t.Errorf("300 bytes %s: %X", x.prefix, got)
		}
		if n, err := c.ReadLength([]byte(x.wire)); n != 300 || err != nil {
			t.Errorf("%X %s: %d, %v", x.wire, x.prefix, n, err)
		}
		if n, err := c.ReadLength([]byte(x.bad)); err == nil {
			t.Errorf("%X %s: %d", x.bad, x.prefix, n)
		}
		e := c.Begin(nil, nil, nil, 0x0800)
		e.Uint(11, 1)
		if frame, err := e.Finish(); err != nil || string(frame[:len(x.wire)]) != string(c.Framing().AppendLength(nil, 13)) {
			t.Errorf("%s: %X, %v", x.prefix, frame, err)
		}
	}
}
