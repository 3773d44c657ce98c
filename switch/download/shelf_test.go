package download

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Walking the pages as a terminal does yields the whole list once, in order,
// whatever its size and its entries' sizes, and each page fits a message.
func TestPagesOfNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := make([][]byte, rapid.IntRange(0, listMax).Draw(t, "names"))
		for i := range names {
			names[i] = bytes.Repeat([]byte{byte(i)}, rapid.IntRange(1, payloadMax-1).Draw(t, "size"))
		}
		var got [][]byte
		for page := 0; ; page++ {
			body, state := appendNames(nil, names, len(got))
			if len(body) > payloadMax {
				t.Fatalf("page of %d bytes", len(body))
			}
			for rest := body[1:]; len(rest) > 0; {
				n := len(names[rest[0]])
				got, rest = append(got, rest[:n]), rest[n:]
			}
			want := byte(complete)
			switch {
			case len(names) == 0:
				want = none
			case len(got) < len(names):
				want = more
			case page > 0:
				want = lastOfMany
			}
			if body[0] != want || (state == pageMore) != (want == more) {
				t.Fatalf("page %d ends at %d of %d with flag %c, state %d; want flag %c", page, len(got), len(names), body[0], state, want)
			}
			if state == pageLast {
				break
			}
		}
		if !slices.EqualFunc(got, names, bytes.Equal) {
			t.Fatalf("got %d names of %d", len(got), len(names))
		}
	})
}

func TestPagesOfBINs(t *testing.T) {
	for n := range binsMax + 1 {
		if n > 3*binPage && n < binsMax-binPage {
			continue // as the others
		}
		all := make([][binSize]byte, n)
		for i := range all {
			copy(all[i][:], fmt.Sprintf("19%010d", i))
		}
		var got [][binSize]byte
		for ask := "000"; ; {
			r, ok := parse(390, []byte(ask))
			if !ok {
				t.Fatalf("%d BINs: %s is no request", n, ask)
			}
			body, state := appendBINs(nil, all, r.start)
			for rest := body[4:]; len(rest) > 0; rest = rest[binSize:] {
				got = append(got, [binSize]byte(rest))
			}
			want := fmt.Sprintf("1%03d", len(got))
			switch {
			case n == 0:
				want = "0000"
			case state == pageMore:
				want = fmt.Sprintf("2%03d", len(got))
			}
			if string(body[:4]) != want || len(body) > payloadMax {
				t.Fatalf("%d BINs: page of %d bytes begins %s, want %s", n, len(body), body[:4], want)
			}
			if state == pageLast {
				break
			}
			ask = fmt.Sprintf("%03d", len(got)+1) // the last one's number and one
		}
		if !slices.Equal(got, all) {
			t.Fatalf("got %d BINs of %d", len(got), n)
		}
	}
}

// Requests in the forms of the reference, and one step beside each.
func TestParse(t *testing.T) {
	const key = "\x9F\x06\x05\xA0\x00\x00\x03\x33\x9F\x22\x01\x02"
	for _, row := range []struct {
		network uint16
		de62    string
		want    string // empty: no request
	}{
		{360, "", "parameters 0 from 0"},
		{361, "", "parameters 2 from 0"},
		{364, "", "tms 0 from 0"},
		{362, "0110210310410511160", "status 3 from 0"},
		{362, "", ""},
		{362, "01\x00", ""},
		{362, "\xB2\xE2", ""},
		{372, "100", "capks 0 from 0"},
		{372, "117", "capks 0 from 17"},
		{382, "199", "aids 0 from 99"},
		{372, "", "capks 0 from 0"},
		{372, "10", ""},
		{372, "1000", ""},
		{372, "200", ""},
		{372, "1 0", ""},
		{370, key, "capks 1 from 0"},
		{370, key + "\x00", ""},
		{370, key[:8], ""},
		{370, "\x9F\x22\x01\x02\x9F\x06\x05\xA0\x00\x00\x03\x33", ""},
		{371, key, "capks 2 from 0"},
		{380, "\x9F\x06\x08\xA0\x00\x00\x03\x33\x01\x01\x01", "aids 1 from 0"},
		{380, "\x9F\x06\x07\xA0\x00\x00\x03\x33\x01\x01\x01", ""},
		{380, "\x9F\x06\x04\xA0\x00\x00\x03", ""},
		{380, "", ""},
		{381, "", "aids 2 from 0"},
		{390, "000", "black_list 0 from 0"},
		{390, "001", "black_list 0 from 0"},
		{396, "043", "no_pin_new 0 from 42"},
		{398, "999", "no_pin_black 0 from 998"},
		{390, "", "black_list 0 from 0"},
		{390, "00A", ""},
		{394, "", "contactless 0 from 0"},
		{395, "", "contactless 2 from 0"},
		{0, "", ""},
		{1, "", ""},
		{373, "100", ""},
	} {
		got := ""
		if r, ok := parse(row.network, []byte(row.de62)); ok {
			got = fmt.Sprintf("%s %d from %d", shelf[r.content].name, r.step, r.start)
		}
		if got != row.want {
			t.Errorf("%d %q: got %q, want %q", row.network, row.de62, got, row.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(uint16(372), []byte("100"))
	f.Add(uint16(390), []byte("043"))
	f.Add(uint16(370), []byte("\x9F\x06\x05\xA0\x00\x00\x03\x33\x9F\x22\x01\x02"))
	f.Add(uint16(380), []byte("\x9F\x06\x08\xA0\x00\x00\x03\x33\x01\x01\x01"))
	f.Add(uint16(362), []byte("0110210310410511160"))
	f.Fuzz(func(t *testing.T, network uint16, de62 []byte) {
		r, ok := parse(network, de62)
		if !ok {
			return
		}
		if r.content >= contents || r.start < 0 || r.start >= 1000 || len(r.name) > 3+aidSizeMax {
			t.Fatalf("%d %X: %+v", network, de62, r)
		}
		b := &shelf[r.content]
		if network != b.get && network != b.query && network != b.end {
			t.Fatalf("%d is about %s", network, b.name)
		}
	})
}
