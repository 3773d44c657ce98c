package iso

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/text/encoding/simplifiedchinese"
)

// fixture is one line of testdata/messages/*/messages.jsonl.
type fixture struct {
	ID, Kind, Dialect, Framing, TPDU, Header, MTI, Bitmap, Status string
	Hex                                                           string
	Fields                                                        map[string]string
}

func (f fixture) negative() bool { return strings.HasPrefix(f.Status, "NEGATIVE") }

// ours says whether the record is of a dialect of this package. Records whose
// own specification we lack say so in their status.
func (f fixture) ours() bool {
	if strings.HasPrefix(f.Status, "NEEDS SOURCE SPEC") {
		return false
	}
	return f.Dialect == "" || f.Dialect == "cup-pos" || f.network() ||
		strings.HasPrefix(f.Dialect, "ascii87") || strings.HasPrefix(f.Dialect, "base-I")
}

// network says that it is of UnionPay's network, whose header was left out.
func (f fixture) network() bool {
	return strings.HasPrefix(f.Dialect, "cup-network") && f.Kind != "header"
}

// codec picks the codec the record says it is written in, and strips what its
// framing says precedes the body.
func (f fixture) codec(t testing.TB) (c *Codec, frame []byte) {
	raw, err := hex.DecodeString(f.Hex)
	if err != nil {
		t.Fatalf("%s: %v", f.ID, err)
	}
	if f.Dialect == "" || f.Dialect == "cup-pos" {
		switch {
		case f.Framing == "none":
			return testBare, raw
		case strings.HasPrefix(f.Framing, "len2"):
			return testCUP, raw
		}
		return testCUPUnprefixed, raw
	}
	if f.network() {
		return testNetwork, raw
	}
	if len(f.Bitmap) == 32 && f.Bitmap < "8" || strings.HasPrefix(f.Dialect, "base-I") {
		return testHex32, raw
	}
	return testHex, raw
}

var (
	testCUP           = MustCompile(CUPPOS(), CUPPOSFraming(4096))
	testCUPUnprefixed = MustCompile(CUPPOS(), Framing{TPDU: true, LRI: true, Header: 6, SizeMax: 4096})
	testBare          = MustCompile(CUPPOS(), Framing{SizeMax: 4096})
	testHex           = MustCompile(ISO87(SpelledHex), Framing{SizeMax: 4096})
	testHex32         = MustCompile(ISO87(SpelledHex32), Framing{SizeMax: 4096})
	testNetwork       = MustCompile(CUPS(), Framing{SizeMax: 4096})
	testCUPS          = MustCompile(CUPS(), CUPSFraming(4096))
	testBinary        = MustCompile(ISO87(SpelledBinary), Framing{Prefix: PrefixASCII4, SizeMax: 4096})
	testBCD           = MustCompile(ISO87(SpelledBCD), Framing{Prefix: PrefixBinary2, MayTPDU: true, SizeMax: 4096})
)

func fixtures(t testing.TB) []fixture {
	t.Helper()
	paths, err := filepath.Glob("../testdata/messages/*/messages.jsonl")
	if err != nil || len(paths) == 0 {
		t.Fatalf("find message fixtures: %v", err)
	}
	var all []fixture
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var f fixture
			if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if f.ours() {
				all = append(all, f)
			}
		}
		file.Close()
	}
	return all
}

// TestFixtures reads every message of our dialects that somebody else (or the
// specification) wrote, and writes it back.
func TestFixtures(t *testing.T) {
	all := fixtures(t)
	if want := 35 + 3 + 1 + 8 + 18 + 10 + 9; len(all) != want {
		t.Errorf("fixtures: got %d, want %d", len(all), want)
	}
	for _, f := range all {
		t.Run(f.ID, func(t *testing.T) {
			c, raw := f.codec(t)
			body := raw[c.framing.PrefixSize():]
			if size := c.framing.PrefixSize(); size > 0 {
				if n, err := c.ReadLength(raw[:size]); err != nil || n != len(body) {
					t.Fatalf("length prefix: got %d, %v, want %d", n, err, len(body))
				}
			}
			var m Message
			err := c.Parse(&m, body)
			if f.negative() {
				var bad *FieldError
				if !errors.As(err, &bad) || bad.Field < 2 {
					t.Fatalf("negative fixture: got %v, want an error naming the field", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkFields(t, &m, f)
			out, err := c.Append(nil, &m)
			if err != nil {
				t.Fatal(err)
			}
			if string(out) != string(raw) {
				t.Errorf("written back:\n got %X\nwant %X", out, raw)
			}
		})
	}
}

func checkFields(t *testing.T, m *Message, f fixture) {
	t.Helper()
	if got := strconv.FormatUint(uint64(m.MTI())|0x10000, 16)[1:]; got != f.MTI {
		t.Errorf("MTI: got %s, want %s", got, f.MTI)
	}
	if want, _ := hex.DecodeString(f.TPDU); string(m.TPDU()) != string(want) {
		t.Errorf("TPDU: got %X, want %s", m.TPDU(), f.TPDU)
	}
	if want, _ := hex.DecodeString(f.Header); string(m.Header()) != string(want) {
		t.Errorf("header: got %X, want %s", m.Header(), f.Header)
	}
	var got []string
	for n := range m.Fields() {
		key := strconv.Itoa(n)
		got = append(got, key)
		if want := f.Fields[key]; !slices.Contains(spellings(m, n), want) {
			t.Errorf("field %d: got %q, want %q", n, spellings(m, n), want)
		}
	}
	slices.Sort(got)
	if want := slices.Sorted(maps.Keys(f.Fields)); !slices.Equal(got, want) {
		t.Errorf("fields present: got %v, want %v", got, want)
	}
}

// spellings are the ways the fixtures' authors write a value down: characters
// (from GBK), hexadecimal with or without a mark, a track with D.
func spellings(m *Message, n int) []string {
	raw := m.AppendText(nil, n)
	text, _ := simplifiedchinese.GBK.NewDecoder().String(string(raw))
	upper := strings.ToUpper(hex.EncodeToString(raw))
	all := []string{text, upper, "hex:" + upper}
	if n == 35 || n == 36 {
		all = append(all, strings.ReplaceAll(text, "=", "D"))
	}
	return all
}
