package iso

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
)

// TestInspectFindsTheDialect feeds every fixture in every form of input.
func TestInspectFindsTheDialect(t *testing.T) {
	known := Known()
	for _, f := range fixtures(t) {
		if f.negative() || f.ID == "iso8583-23" || f.network() {
			// The second is ASCII and, read as hexadecimal, a whole bare cup-pos message;
			// those of the network are iso87-binary, too, where the header is missing.
			continue
		}
		raw, _ := hex.DecodeString(f.Hex)
		want, body := f.codec(t)
		body = body[want.framing.PrefixSize():]
		for name, input := range map[string]string{
			"hex":         f.Hex,
			"lower hex":   strings.ToLower(f.Hex),
			"spaced hex":  "0x" + f.Hex[:8] + " \r\n" + f.Hex[8:] + "\n",
			"base64":      base64.StdEncoding.EncodeToString(raw),
			"raw":         string(raw),
			"with length": string(rune(len(body)>>8)) + string([]byte{byte(len(body))}) + string(body),
		} {
			t.Run(f.ID+"/"+name, func(t *testing.T) {
				m, err := Inspect([]byte(input), known)
				if err != nil {
					t.Fatal(err)
				}
				if m.Codec().Name() != want.Name() || string(m.Frame()) != string(body) {
					t.Errorf("got %s, %X", m.Codec().Name(), m.Frame())
				}
			})
		}
	}
}

func TestDescribeJSON(t *testing.T) {
	for _, f := range fixtures(t) {
		if f.negative() {
			continue
		}
		t.Run(f.ID, func(t *testing.T) {
			c, raw := f.codec(t)
			var m Message
			if err := c.Parse(&m, raw[c.framing.PrefixSize():]); err != nil {
				t.Fatal(err)
			}
			out, err := json.Marshal(Describe(&m, true))
			if err != nil {
				t.Fatal(err)
			}
			var got struct {
				Dialect, TPDU, Header, MTI, Bitmap string
				Fields                             map[string]string
			}
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatalf("%v in %s", err, out)
			}
			if got.Dialect != c.Name() || got.TPDU != f.TPDU || got.Header != f.Header || got.MTI != f.MTI || got.Bitmap != f.Bitmap {
				t.Errorf("got %+v", got)
			}
			for n, want := range f.Fields {
				if n == "62" && f.ID == "iso8583-parser-02" {
					want = hex.EncodeToString([]byte(want)) // the author shows this binary field as text
				}
				want, got := strings.TrimPrefix(want, "hex:"), strings.TrimPrefix(got.Fields[n], "hex:")
				if !strings.EqualFold(want, got) {
					t.Errorf("field %s: got %q, want %q", n, got, want)
				}
			}
		})
	}
}

// TestInspectNamesTheFault damages messages and wants the dialect, the field
// and the byte.
func TestInspectNamesTheFault(t *testing.T) {
	sale := hex.EncodeToString(cupSale(t))
	negative := map[string]string{}
	for _, f := range fixtures(t) {
		if f.negative() {
			negative[f.ID] = f.Hex
		}
	}
	for _, x := range []struct{ name, in, want string }{
		{"empty", " \n", "inspect: the input is empty"},
		{"too big", strings.Repeat("00 ", inspectInputMax), "inspect: the input has 119988 bytes, the limit is 39996"},
		{"length of another message", "01BB" + sale, "as cup-pos, behind a 2-byte length: read frame length: 443 bytes announced, 444 follow"},
		{"cut", "01BC" + sale[:len(sale)-2], "as cup-pos, behind a 2-byte length: field 64 at byte 436: needs 8 bytes, 7 are left"},
		{"cut, no length", sale[:len(sale)-2], "as cup-pos, without a length: field 64 at byte 436: needs 8 bytes, 7 are left"},
		{"amount not decimal", "01BC" + strings.Replace(sale, "000000012345", "00000001234f", 1), "as cup-pos, behind a 2-byte length: field 4 at byte 35: must be decimal digits"},
		{"truncated reversal", negative["iso8583-01"], "as iso87, without a length: field 55 at byte 185: needs 30 bytes, 21 are left"},
		{"sign F", negative["iso8583-13"], "as iso87, without a length: field 28 at byte 66: needs 9 bytes, 8 are left"},
		{"HTTP", "GET / HTTP/1.1\r\n\r\n", "inspect: no message can be made out of 18 bytes"},
		{"two letters", "zz", "no message can be made out of 2 bytes"},
		{"one zero", "00", "no message can be made out of 1 bytes"},
		{"zeros", strings.Repeat("00", 21), "no message can be made out of 21 bytes"},
		{"a digit too many", "01BC" + sale + "0", "inspect: the input has 893 hexadecimal digits, and each byte takes two"},
		{"a digit lost, with spaces", "0x01 BC " + sale[1:], "inspect: the input has 891 hexadecimal digits"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := Inspect([]byte(x.in), Known())
			if err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("got %v\nwant %q", err, x.want)
			}
		})
	}
}

func TestDescribeMasks(t *testing.T) {
	for _, x := range []struct {
		name  string
		mti   uint16
		n     int
		value string
		want  string
	}{
		{"card number", 0x0200, 2, "6222021234567890128", "622202*********0128"},
		{"card number too short to be one", 0x0200, 2, "62220212345", hidden},
		{"expiry", 0x0200, 14, "3012", hidden},
		{"track 2", 0x0200, 35, "6222021234567890128=3012", hidden},
		{"track 3", 0x0200, 36, "996222021234567890128", hidden},
		{"PIN block", 0x0200, 52, "12345678", hidden},
		{"chip data", 0x0200, 55, "\x5A\x0A\x62\x22", hidden},
		{"keys of a sign-on answer", 0x0810, 62, "12345678", hidden},
		{"other use of field 62", 0x0820, 62, "101", "313031"},
		{"cards of a batch upload", 0x0320, 48, "01000000020622202123456789012800000001", hidden},
		{"settlement totals", 0x0500, 48, "000000107345002", "000000107345002"},
		{"PIN and codes of field 59", 0x0200, 59, "A1004PIN!A3006134567A4002XYA2026" + "0100204" + "03006890128" + "04003ABC", "A1004****A3006******A4002**A2026" + "0100204" + "03006******" + "04003***"},
		{"field 59 that is no list", 0x0210, 59, "EF0133", hidden},
		{"field 59 cut", 0x0210, 59, "A2099", hidden},
		{"card digits of field 46", 0x0200, 46, "PI0240402020606000069080212", "PI0240402020606******080212"},
		{"field 46 that is no list", 0x0200, 46, "622202", hidden},
		{"card number in text", 0x0210, 63, "CUP 6222021234567890128 ok", "CUP 622202*********0128 ok"},
		{"long number in text that is no card", 0x0210, 63, "2026112612345678901", "2026112612345678901"},
		{"card number and expiry", 0x0210, 63, "62220212345678901284912", "622202*********0128****"},
		{"card number padded with zeros", 0x0210, 63, "00006222020000000007", "0000622202******0007"},
		{"card number with blanks", 0x0210, 63, "6222 0212 3456 7890 128.", "6222 02** **** ***0 128."},
		{"card number with dashes", 0x0210, 63, "4111-1111-1111-1111", "4111-11**-****-1111"},
		{"track 2 in text", 0x0210, 63, "6222021234567890128=49122011234567890", "622202*********0128=*****************"},
		{"track 2 of a card with a wrong check digit", 0x0210, 63, "6222021234567890129=4912", "622202*********0129=****"},
		{"track 1 in text", 0x0210, 63, "B4111111111111111^DOE/J^4912", "B411111******1111^**********"},
		{"card verification code", 0x0210, 63, "CVV2=987 cvc 987", "CVV*=*** cvc ***"},
		{"card number in bytes", 0x0200, 62, "4111111111111111", "3431313131312A2A2A2A2A2A31313131"},
		{"authentication code", 0x0200, 64, "\x01\x02\x03\x04\x05\x06\x07\x08", "0102030405060708"},
		{"text that is no GBK", 0x0200, 63, "\x00\x01", "hex:0001"},
		{"GBK", 0x0200, 56, "\xB3\xC9\xB9\xA6", "成功"},
		{"empty card number", 0x0200, 2, "", ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			e := testBare.Begin(nil, nil, nil, x.mti)
			if testBare.fields[x.n].packed() {
				e.Digits(x.n, []byte(x.value))
			} else {
				e.Bytes(x.n, []byte(x.value))
			}
			frame, err := e.Finish()
			if err != nil {
				t.Fatal(err)
			}
			var m Message
			if err := testBare.Parse(&m, frame); err != nil {
				t.Fatal(err)
			}
			f := Describe(&m, false).Fields[0]
			if f.Value != x.want || f.Number != x.n {
				t.Errorf("got %q, want %q", f.Value, x.want)
			}
			plain := Describe(&m, true).Fields[0]
			if plain.Masked || f.Masked != (f.Value != plain.Value) {
				t.Errorf("masked: %v for %q of %q", f.Masked, f.Value, plain.Value)
			}
		})
	}
}

// TestDescribeHidesCards looks for every card number of the fixtures in the
// masked breakdown of its message.
func TestDescribeHidesCards(t *testing.T) {
	for _, f := range fixtures(t) {
		card := f.Fields["2"]
		if len(card) < 13 || strings.Trim(card[6:len(card)-1], "0") == "" {
			continue // none, or zeros for the most part, which stand in any field
		}
		c, raw := f.codec(t)
		var m Message
		if err := c.Parse(&m, raw[c.framing.PrefixSize():]); err != nil {
			t.Fatal(err)
		}
		out, err := json.Marshal(Describe(&m, false))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(out), card[6:]) {
			t.Errorf("%s: the card number is in %s", f.ID, out)
		}
	}
}

// The message's own card number is masked in fields whose meaning rules cards
// out, in longer runs of digits, and packed.
func TestDescribeMasksTheOwnCard(t *testing.T) {
	const pan = "6222021234567890129" // its check digit is wrong
	codec := MustCompile(ISO87(SpelledHex), Framing{SizeMax: inspectFrameMax})
	e := codec.Begin(nil, nil, nil, 0x0200)
	e.Digits(2, []byte(pan))
	e.Text(43, []byte(pan+strings.Repeat(" ", 40-len(pan))))
	e.Text(54, []byte("12"+pan+"34"))
	packed, _ := hex.DecodeString("0" + pan + "D4912F")
	e.Text(63, packed)
	frame, err := e.Finish()
	if err != nil {
		t.Fatal(err)
	}
	var m Message
	if err := codec.Parse(&m, frame); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"622202*********0129", "622202*********0129" + strings.Repeat(" ", 21), "12622202*********012934", "hex:06222020000000000129D0000F"} {
		if got := Describe(&m, false).Fields[i]; got.Value != want || !got.Masked {
			t.Errorf("field %d is shown as %q, want %q", got.Number, got.Value, want)
		}
	}
}
