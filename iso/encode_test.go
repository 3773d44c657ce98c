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
	for _, c := range []*Codec{testHex, testHex32, testBinary} {
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
	binary := MustCompile(ISO87(BitmapBinary), Framing{SizeMax: 100})
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
