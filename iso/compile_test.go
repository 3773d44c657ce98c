package iso

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/moov-io/iso8583"
	"github.com/moov-io/iso8583/encoding"
	"github.com/moov-io/iso8583/field"
	"github.com/moov-io/iso8583/padding"
	"github.com/moov-io/iso8583/prefix"
	"github.com/moov-io/iso8583/sort"
)

func TestCompileRefuses(t *testing.T) {
	ascii := func(length int, p prefix.Prefixer) *field.Spec {
		return &field.Spec{Length: length, Enc: encoding.ASCII, Pref: p}
	}
	for _, x := range []struct {
		name    string
		n       int
		field   field.Field
		framing Framing
		want    string
	}{
		{"no MTI", 0, nil, Framing{}, "MTI field (0) is required"},
		{"MTI length", 0, field.NewString(ascii(3, prefix.ASCII.Fixed)), Framing{}, "field 0 (MTI): length must be fixed and 4"},
		{"MTI encoding", 0, field.NewString(&field.Spec{Length: 4, Enc: encoding.Binary, Pref: prefix.Binary.Fixed}), Framing{}, "field 0 (MTI): encoding must be BCD or ASCII"},
		{"bitmap length", 1, field.NewBitmap(&field.Spec{Length: 4, Enc: encoding.Binary, Pref: prefix.Binary.Fixed}), Framing{}, "field 1 (bitmap): length must be 8 or 16 bytes, is 4"},
		{"bitmap encoding", 1, field.NewBitmap(&field.Spec{Length: 8, Enc: encoding.EBCDIC, Pref: prefix.Binary.Fixed}), Framing{}, "field 1 (bitmap): encoding *encoding.ebcdicEncoder is not supported"},
		{"above 128", 129, field.NewString(ascii(1, prefix.ASCII.Fixed)), Framing{}, "field 129: is above 128"},
		{"beyond the bitmap", 70, field.NewString(ascii(3, prefix.ASCII.Fixed)), Framing{}, "field 70: lies beyond the dialect's 64-bit bitmap"},
		{"no length", 3, field.NewString(ascii(0, prefix.ASCII.Fixed)), Framing{}, "field 3: length must be 1 to 9999, is 0"},
		{"EBCDIC", 3, field.NewString(&field.Spec{Length: 3, Enc: encoding.EBCDIC, Pref: prefix.EBCDIC.Fixed}), Framing{}, "field 3: encoding *encoding.ebcdicEncoder is not supported"},
		{"composite", 55, field.NewComposite(&field.Spec{Length: 3, Pref: prefix.ASCII.LLL, Tag: &field.TagSpec{Length: 2, Enc: encoding.ASCII, Sort: sort.StringsByInt}, Subfields: map[string]field.Field{"1": field.NewString(ascii(3, prefix.ASCII.Fixed))}}), Framing{}, "field 55: composite fields cannot be compiled"},
		{"second bitmap", 3, field.NewBitmap(ascii(8, prefix.ASCII.Fixed)), Framing{}, "field 3: only field 1 may be a bitmap"},
		{"custom packer", 35, field.NewTrack2(&field.Spec{Length: 37, Enc: encoding.ASCII, Pref: prefix.ASCII.LL, Packer: field.Track2Packer{}}), Framing{}, "field 35: a custom packer or unpacker cannot be compiled"},
		{"no prefix", 3, field.NewString(ascii(3, nil)), Framing{}, "field 3: has no length prefix"},
		{"prefix kind", 3, field.NewString(ascii(3, prefix.EBCDIC.LL)), Framing{}, "field 3: length prefix EBCDIC.LL is not supported"},
		{"prefix too short", 3, field.NewString(ascii(100, prefix.ASCII.LL)), Framing{}, "field 3: length 100 does not fit the prefix ASCII.LL"},
		{"variable hexadecimal", 3, field.NewString(&field.Spec{Length: 8, Enc: encoding.BytesToASCIIHex, Pref: prefix.ASCII.LL}), Framing{}, "field 3: a variable hexadecimal field cannot be compiled"},
		{"variable padding", 3, field.NewString(&field.Spec{Length: 8, Enc: encoding.ASCII, Pref: prefix.ASCII.LL, Pad: padding.Left('0')}), Framing{}, "field 3: padding of a variable-length field cannot be compiled"},
		{"wide padding", 3, field.NewString(&field.Spec{Length: 8, Enc: encoding.ASCII, Pref: prefix.ASCII.Fixed, Pad: padding.Left('零')}), Framing{}, "field 3: the padding must be one byte"},
		{"frame limit too small", 3, nil, Framing{SizeMax: 9}, "framing: SizeMax must be 10 to 65535, is 9"},
		{"frame limit over four digits", 3, nil, Framing{Prefix: PrefixASCII4, SizeMax: 10000}, "framing: SizeMax must be 10 to 9999, is 10000"},
		{"LRI without TPDU", 3, nil, Framing{LRI: true, SizeMax: 100}, "framing: an LRI block needs a TPDU before it"},
	} {
		t.Run(x.name, func(t *testing.T) {
			spec := CUPPOS()
			if x.field != nil {
				spec.Fields[x.n] = x.field
			} else {
				delete(spec.Fields, x.n)
			}
			if x.framing == (Framing{}) {
				x.framing = CUPPOSFraming(1000)
			}
			_, err := Compile(spec, x.framing)
			if err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("got %v\nwant %q", err, x.want)
			}
		})
	}
}

// TestLoadSpec1987 compiles the table that moov's fixtures are written in, and
// reads those fixtures by it.
func TestLoadSpec1987(t *testing.T) {
	spec := loadSpec(t, "../testdata/messages/moov-io+iso8583/specification_ver_1987.json")
	c, err := Compile(spec, Framing{SizeMax: 4096})
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for _, f := range fixtures(t) {
		if !strings.HasPrefix(f.Dialect, "ascii87") {
			continue
		}
		_, raw := f.codec(t)
		var m Message
		if err := c.Parse(&m, raw); (err != nil) != f.negative() {
			t.Errorf("%s: %v", f.ID, err)
		}
		read++
	}
	if read != 18 {
		t.Errorf("read %d fixtures, want 18", read)
	}
}

// TestLoadSpecIsMoovs compares the loaded spec with the one it spells.
func TestLoadSpecPads(t *testing.T) {
	c := MustCompile(loadSpec(t, "testdata/custom_spec.json"), Framing{SizeMax: 4096})
	e := c.Begin(nil, nil, nil, 0x0200)
	e.Text(4, []byte("42"))
	e.Text(43, []byte("ACME"))
	e.Bytes(52, []byte("\x01\x02\x03\x04\x05\x06\x07\x08"))
	frame, err := e.Finish()
	want := "\x02\x00\x10\x00\x00\x00\x00\x20\x10\x00000000000042ACME                                    0102030405060708"
	if err != nil || string(frame) != want {
		t.Errorf("got %q, %v\nwant %q", frame, err, want)
	}
}

func TestLoadSpecRefuses(t *testing.T) {
	field := func(row string) string {
		return `{"name":"x","fields":{"0":{"type":"String","length":4,"enc":"ASCII","prefix":"ASCII.Fixed"},"1":{"type":"Bitmap","length":8,"enc":"Binary","prefix":"Binary.Fixed"},"3":` + row + `}}`
	}
	raw, err := os.ReadFile("../testdata/messages/moov-io+iso8583/specification_ver_1987.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ name, in, want string }{
		{"no JSON", `nam`, "read spec: invalid character"},
		{"unknown key", `{"name":"x","colour":1}`, `read spec: json: unknown field "colour"`},
		{"two objects", `{"name":"x"} {}`, "read spec: something follows the JSON object"},
		{"empty", `{"name":"x"}`, `read spec "x": MTI field (0) is required`},
		{"field key", `{"name":"x","fields":{"three":{}}}`, `field "three": the key must be a number`},
		{"unknown field key", field(`{"type":"String","len":3}`), `unknown field "len"`},
		{"type", field(`{"type":"Money","length":3,"enc":"ASCII","prefix":"ASCII.Fixed"}`), `field 3: unknown type "Money"`},
		{"encoding", field(`{"type":"String","length":3,"enc":"EBCDIC","prefix":"ASCII.Fixed"}`), `field 3: encoding "EBCDIC" is not supported`},
		{"prefix", field(`{"type":"String","length":3,"enc":"ASCII","prefix":"ASCII.fixed"}`), `field 3: length prefix "ASCII.fixed" is not supported`},
		{"padding", field(`{"type":"String","length":3,"enc":"ASCII","prefix":"ASCII.Fixed","padding":{"type":"Up","pad":"0"}}`), `field 3: unknown padding "Up"`},
		{"padding character", field(`{"type":"String","length":3,"enc":"ASCII","prefix":"ASCII.Fixed","padding":{"type":"Left","pad":""}}`), `field 3: padding must be one character, is 0`},
		{"composite", field(`{"type":"Composite","length":3,"prefix":"ASCII.LLL","subfields":{}}`), "field 3: composite fields cannot be compiled"},
		{"elements and fields", strings.Replace(string(raw), "{", `{"fields":{"3":{}},`, 1), "has both fields and elements"},
		{"element encoding", strings.Replace(string(raw), `"CHAR"`, `"BCD"`, 1), `"BCD" is not supported, use CHAR`},
		{"element class", strings.Replace(string(raw), `"n 8"`, `"q 8"`, 1), `format "q 8": unknown class`},
		{"too big", strings.Repeat(" ", specSizeMax+1), "read spec: more than 1048576 bytes"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := LoadSpec(strings.NewReader(x.in))
			if err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("got %v\nwant %q", err, x.want)
			}
		})
	}
}

// TestCodingsAreMoovs holds this package's encodings and prefixes to moov's on
// every input that both take.
func TestCodingsAreMoovs(t *testing.T) {
	for _, x := range []struct {
		name         string
		ours, theirs encoding.Encoder
	}{
		{"BCD", encBCD, encoding.BCD},
		{"LBCD", encBCDLeft, encoding.LBCD},
		{"ASCII digits", encDigits, encoding.ASCII},
		{"text", encText, encoding.Binary},
	} {
		for n := 1; n <= 37; n++ {
			v := []byte("1234567890123456789012345678901234567")[:n]
			want, err := x.theirs.Encode(append([]byte(nil), v...))
			if err != nil {
				t.Fatal(err)
			}
			got, err := x.ours.Encode(v)
			if err != nil || string(got) != string(want) {
				t.Errorf("%s: encode %d digits: got %X, %v, want %X", x.name, n, got, err, want)
			}
			wantV, wantRead, _ := x.theirs.Decode(want, n)
			gotV, gotRead, err := x.ours.Decode(want, n)
			if err != nil || string(gotV) != string(wantV) || gotRead != wantRead {
				t.Errorf("%s: decode %d digits: got %q, %d, %v, want %q, %d", x.name, n, gotV, gotRead, err, wantV, wantRead)
			}
		}
	}
	for _, x := range []struct{ ours, theirs prefix.Prefixer }{
		{prefBCDFixed, prefix.BCD.Fixed},
		{prefBCDLL, prefix.BCD.LL},
		{prefBCDLLL, prefix.BCD.LLL},
		{bcdPrefix{1}, prefix.BCD.L},
		{bcdPrefix{4}, prefix.BCD.LLLL},
	} {
		if x.ours.Inspect() != x.theirs.Inspect() {
			t.Errorf("name: got %s, want %s", x.ours.Inspect(), x.theirs.Inspect())
		}
		for n := range 1100 {
			want, wantErr := x.theirs.EncodeLength(min(n+n%2, 999), n)
			got, err := x.ours.EncodeLength(min(n+n%2, 999), n)
			if string(got) != string(want) || (err == nil) != (wantErr == nil) {
				if n > 9 && x.ours == (bcdPrefix{1}) || n > 99 && x.ours == prefBCDLL {
					continue // Compile keeps lengths within the prefix
				}
				t.Fatalf("%s: encode %d: got %X, %v, want %X, %v", x.ours.Inspect(), n, got, err, want, wantErr)
			}
			if len(got) == 0 {
				continue
			}
			length, read, err := x.ours.DecodeLength(999, got)
			if err != nil || length != n || read != len(got) {
				t.Fatalf("%s: decode %X: got %d, %d, %v", x.ours.Inspect(), got, length, read, err)
			}
		}
	}
}

// TestSpecsServeMoov checks that a spec of this package is a spec of moov's.
func TestSpecsServeMoov(t *testing.T) {
	m := iso8583.NewMessage(CUPPOS())
	m.MTI("0800")
	if err := m.Field(11, "000001"); err != nil {
		t.Fatal(err)
	}
	got, err := m.Pack()
	if err != nil || string(got) != "\x08\x00\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x01" {
		t.Errorf("got %X, %v", got, err)
	}
	if _, err := json.Marshal(m); err != nil {
		t.Error(err)
	}
}
