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
		if f.negative() || f.ID == "iso8583-23" {
			continue // the latter is ASCII and, read as hexadecimal, a whole bare cup-pos message
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
