package iso

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/moov-io/iso8583"
	"github.com/moov-io/iso8583/encoding"
	"github.com/moov-io/iso8583/field"
	"github.com/moov-io/iso8583/prefix"
)

// fuzzed are the codecs that FuzzParseAgainstMoov chooses from; their frames
// are bare messages, as moov's are.
func fuzzed(t testing.TB) []*Codec {
	bare := Framing{SizeMax: 4096}
	return []*Codec{
		testBare, testHex, testHex32,
		MustCompile(ISO87(SpelledBinary), bare),
		MustCompile(loadSpec(t, "testdata/custom_spec.json"), bare),
		MustCompile(stockSpec(), bare),
		testNetwork,
		MustCompile(ISO87(SpelledBCD), bare),
	}
}

// stockSpec is CUPPOS with moov's own encodings wherever it has one, so that
// the comparison does not rest on code that both sides share.
func stockSpec() *iso8583.MessageSpec {
	spec := CUPPOS()
	spec.Name = "stock"
	for _, f := range spec.Fields {
		s := f.Spec()
		switch s.Enc {
		case encBCD:
			s.Enc = encoding.BCD
		case encBCDLeft:
			s.Enc = encoding.LBCD
		case encText:
			s.Enc = encoding.Binary
		}
		switch s.Pref {
		case prefBCDLL:
			s.Pref = prefix.BCD.LL
		case prefBCDLLL:
			s.Pref = prefix.BCD.LLL
		}
	}
	return spec
}

func loadSpec(t testing.TB, path string) *iso8583.MessageSpec {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	spec, err := LoadSpec(file)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// FuzzParseAgainstMoov holds the codec to moov's Message.
//
// What Parse accepts, moov unpacks to the same values, and both write back the
// same bytes. What moov unpacks and packs to the same bytes, Parse accepts: the
// rules by which Parse is stricter (no trailing bytes, no signs in lengths, zero pad nibbles, a bitmap of the dialect's size) are all
// rules by which moov would write other bytes than it read. Three things moov
// writes differently and Parse takes: a secondary bitmap without a field in it,
// hexadecimal in lower case, and an F behind an odd digit, which its own encodings
// refuse.
func FuzzParseAgainstMoov(f *testing.F) {
	codecs := fuzzed(f)
	for _, x := range fixtures(f) {
		c, raw := x.codec(f)
		body := raw[c.framing.PrefixSize():]
		if c.framing.TPDU {
			body = body[tpduSize+c.framing.Header:]
		}
		for i, known := range codecs {
			if known.name == c.name {
				f.Add(uint8(i), body)
			}
		}
	}
	rng := rand.New(rand.NewPCG(8583, 1987))
	for i, c := range codecs {
		f.Add(uint8(i), randomMessage(f, c, rng))
	}
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		c := codecs[int(which)%len(codecs)]
		if len(body) <= c.framing.SizeMax {
			compareWithMoov(t, c, body)
		}
	})
}

// TestRandomMessagesAgainstMoov writes messages of random fields and values,
// and damages each in one place: depths that bytes at random seldom reach.
func TestRandomMessagesAgainstMoov(t *testing.T) {
	for _, c := range fuzzed(t) {
		t.Run(c.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(8583, 1987))
			for range 500 {
				body := randomMessage(t, c, rng)
				if !compareWithMoov(t, c, body) {
					t.Fatalf("Parse refuses what the Encoder wrote: %X", body)
				}
				var m Message
				if err := c.Parse(&m, body); err != nil {
					t.Fatal(err)
				}
				if padded := padRightWith(0x0F, &m, body); !compareWithMoov(t, c, padded) {
					t.Fatalf("Parse refuses an F behind an odd digit: %X", padded)
				}
				for range 4 {
					damaged := bytes.Clone(body)
					switch at := rng.IntN(len(body)); rng.IntN(3) {
					case 0:
						damaged[at] ^= 1 << rng.IntN(8)
					case 1:
						damaged = slices.Delete(damaged, at, at+1)
					case 2:
						damaged = slices.Insert(damaged, at, byte(rng.Uint32()))
					}
					compareWithMoov(t, c, damaged)
				}
			}
		})
	}
}

// randomMessage writes a message of up to 12 random fields.
func randomMessage(t testing.TB, c *Codec, rng *rand.Rand) []byte {
	var numbers []int
	for n, d := range c.fields {
		if d.form != formUnknown {
			numbers = append(numbers, n)
		}
	}
	rng.Shuffle(len(numbers), func(i, j int) { numbers[i], numbers[j] = numbers[j], numbers[i] })
	numbers = numbers[:rng.IntN(min(12, len(numbers))+1)]
	slices.Sort(numbers)
	e := c.Begin(nil, nil, nil, 0x0200)
	for _, n := range numbers {
		d := &c.fields[n]
		size := int(d.max)
		if d.length != lenFixed {
			size = rng.IntN(min(size, 40) + 1)
		}
		v := make([]byte, size)
		for i := range v {
			v[i] = '0' + byte(rng.IntN(10))
		}
		switch d.form {
		case formSigned:
			v[0] = 'C' + byte(rng.IntN(2))
			e.Text(n, v)
		case formBinary, formHex, formText:
			for i := range v {
				v[i] = byte(rng.Uint32())
			}
			e.Bytes(n, v)
		case formASCII:
			e.Text(n, v)
		case formBCDTrack:
			for i := range v {
				v[i] = '0' + byte(rng.IntN(16))
			}
			fallthrough
		default:
			e.Digits(n, v)
		}
	}
	body, err := e.Finish()
	if err != nil {
		t.Fatalf("%s: write fields %v: %v", c.name, numbers, err)
	}
	return body
}

// padRightWith is body, of which m was parsed, with another nibble behind each odd
// number of left-justified digits.
func padRightWith(nibble byte, m *Message, body []byte) []byte {
	padded := bytes.Clone(body)
	for n := range m.Fields() {
		if s := m.spans[n]; (s.form() == formBCDTrack || s.form() == formBCDLeft) && s.len()&1 == 1 {
			padded[s.end()-1] = padded[s.end()-1]&0xF0 | nibble
		}
	}
	return padded
}

// compareWithMoov says whether Parse accepts body, after checking the promises
// of FuzzParseAgainstMoov on it.
func compareWithMoov(t *testing.T, c *Codec, body []byte) bool {
	t.Helper()
	theirs := iso8583.NewMessage(c.Spec())
	moovErr := theirs.Unpack(body)
	var ours Message
	if err := c.Parse(&ours, body); err != nil {
		checkRefused(t, &ours, body, err)
		var rest Message
		if salvaged := c.Salvage(&rest, body); salvaged == nil || salvaged.Error() != err.Error() {
			t.Fatalf("%s: Parse refuses %X: %v, Salvage: %v", c.name, body, err, salvaged)
		}
		Describe(&rest, true)
		if moovErr != nil {
			return false
		}
		if packed, packErr := theirs.Pack(); packErr == nil && bytes.Equal(packed, body) {
			t.Fatalf("%s: moov reads and rewrites %X, Parse refuses it: %v", c.name, body, err)
		}
		return false
	}
	plain := padRightWith(0, &ours, body)
	if !bytes.Equal(plain, body) {
		theirs = iso8583.NewMessage(c.Spec())
		moovErr = theirs.Unpack(plain)
	}
	if moovErr != nil {
		t.Fatalf("%s: Parse reads %X, moov refuses it: %v", c.name, body, moovErr)
	}
	compareValues(t, &ours, theirs)
	same := bytes.Equal
	if c.bitmap.hex || slices.ContainsFunc(c.fields[:], func(d descriptor) bool { return d.form == formHex }) {
		same = bytes.EqualFold
	}
	rewritten, err := c.Append(nil, &ours)
	if err != nil || !same(rewritten, body) {
		t.Fatalf("%s: rewrote %X\nas %X, %v", c.name, body, rewritten, err)
	}
	if c.bitmap.expand && ours.wide && ours.has[1] == 0 {
		return true
	}
	if packed, err := theirs.Pack(); err != nil || !same(packed, plain) {
		t.Fatalf("%s: moov packs %X\nas %X, %v", c.name, body, packed, err)
	}
	return true
}

// checkRefused wants an error inside the frame and a message that is safe to
// ask, as far as it was read.
func checkRefused(t *testing.T, m *Message, body []byte, err error) {
	t.Helper()
	bad, ok := err.(*FieldError)
	if !ok || bad.Offset < 0 || bad.Offset > len(body) || bad.Field < FieldFrame || bad.Field > fieldMax {
		t.Fatalf("refused %X with %#v", body, err)
	}
	for n := range m.Fields() {
		if n >= bad.Field && bad.Offset < m.Offset(n) {
			t.Fatalf("field %d was kept behind the error %v", n, err)
		}
	}
	Describe(m, false)
	Describe(m, true)
}

func compareValues(t *testing.T, ours *Message, theirs *iso8583.Message) {
	t.Helper()
	mti, _ := theirs.GetMTI()
	if want := strconv.FormatUint(uint64(ours.MTI())|0x10000, 16)[1:]; mti != want {
		t.Fatalf("MTI: moov reads %s, Parse %s", mti, want)
	}
	present := theirs.GetFields()
	for n := 2; n <= fieldMax; n++ {
		f, has := present[n]
		if has != ours.Has(n) {
			t.Fatalf("field %d: moov has it: %v, Parse: %v", n, has, ours.Has(n))
		}
		if !has {
			continue
		}
		want, err := f.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		got := ours.AppendText(nil, n)
		switch x := f.(type) {
		case *field.Hex:
			text, _ := x.String()
			want, _ = hex.DecodeString(text)
		case *field.Numeric:
			v, err := ours.Uint(n)
			if err != nil {
				t.Fatalf("field %d: %v", n, err)
			}
			got, want = nil, nil
			if v != uint64(x.Value()) {
				t.Fatalf("field %d: moov reads %d, Parse %d", n, x.Value(), v)
			}
		}
		if pad := f.Spec().Pad; pad != nil {
			got = pad.Unpad(got) // moov's values are without padding
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("field %d: moov reads %X, Parse %X", n, want, got)
		}
	}
}

// FuzzInspect wants no input to end in a panic.
func FuzzInspect(f *testing.F) {
	codecs := Known()
	for _, x := range fixtures(f) {
		f.Add([]byte(x.Hex))
	}
	for _, frame := range networkFrames(f) {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		if m, err := Inspect(input, codecs); m != nil {
			if _, jsonErr := Describe(m, err == nil).MarshalJSON(); jsonErr != nil {
				t.Fatal(jsonErr)
			}
		}
	})
}
