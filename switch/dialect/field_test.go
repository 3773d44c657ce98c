package dialect

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

func TestF29CheckChip(t *testing.T) {
	for _, c := range []struct {
		name, hex string
		want      error
	}{
		{"nothing", "", nil},
		{"one element", "9F36020001", nil},
		{"two whose tags end alike", "82027C009F8202027C00", nil},
		{"tags of one, two and three bytes that end alike", "0101AA" + "5F0101AA" + "9F0101AA" + "DF810101AA", nil},
		{"element without a value", "9F3600", nil},
		{"length in two bytes", "9F368180" + strings.Repeat("00", 128), nil},
		{"length in three bytes", "9F36820100" + strings.Repeat("00", 256), nil},
		{"zero bytes before, between and behind", "009F3602000100008202000000", nil},
		{"private class", "FF000201FFFF0101AA", nil},

		{"tag only", "95", errChipCut},
		{"first byte of a tag only", "9F", errChipCut},
		{"tag without end", "9F8181", errChipCut},
		{"two bytes of a tag only", "9F36", errChipCut},
		{"value shorter than it says", "9F360200", errChipCut},
		{"length cut", "9F3681", errChipCut},
		{"long length cut", "9F368201", errChipCut},
		{"rest behind the last", "9F36020001009F", errChipCut},
		{"indefinite length", "9F368000010000", errChipLength},
		{"length in four bytes", "9F3683000002AABB", errChipLength},
		{"reserved length", "9F36FF", errChipLength},
		{"template", "70059F36020001", errChipNested},
		{"issuer's script", "72079F180000000000", errChipNested},
		{"application class, of two bytes", "7F210101", errChipNested},
		{"context class", "A50101", errChipNested},
		{"nested behind a good one", "9F36020001E10101", errChipNested},
		{"twice", "9F360200019F36020001", errChipTwice},
		{"twice, a zero byte between", "9F36020001009F36020001", errChipTwice},
		{"twice, apart", "9F3602000195050000000000" + "9F1A020156" + "9505000000000A", errChipTwice},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := hex.DecodeString(c.hex)
			if err != nil {
				t.Fatal(err)
			}
			if got := checkChip(v, new(txn.Request)); !errors.Is(got, c.want) || (got == nil) != (c.want == nil) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// What the card was told to pay is taken where it is a number, and of no other tag.
func TestS07ChipAmount(t *testing.T) {
	for _, c := range []struct {
		name, hex string
		amount    txn.Amount
		other     int64
	}{
		{"all", "9F02060000000123459F03060000000010005F2A020156", txn.Amount{Minor: 12345, Currency: txn.CNY}, 1000},
		{"greatest, without a currency", "9F0206999999999999", txn.Amount{Minor: 999_999_999_999}, 0},
		{"none", "9F3602000195050000000800", txn.Amount{}, 0},
		{"no number", "9F020600000001234A5F2A020A56", txn.Amount{}, 0},
		{"another length", "9F0205000001234500", txn.Amount{}, 0},
		{"tags that end alike", "DF02060000000123455F28020156", txn.Amount{}, 0},
		{"in another's value", "9F1E089F02060000000001", txn.Amount{}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := hex.DecodeString(c.hex)
			if err != nil {
				t.Fatal(err)
			}
			var req txn.Request
			if err := checkChip(v, &req); err != nil || req.ChipAmount != c.amount || req.ChipOther != c.other {
				t.Errorf("got %+v and %d besides, want %+v and %d: %v", req.ChipAmount, req.ChipOther, c.amount, c.other, err)
			}
		})
	}
}

func TestF31CheckAmounts(t *testing.T) {
	const group = "1002156C000000500000"
	for v, want := range map[string]bool{
		"": true, group: true, "1001156D000000000001" + group: true, strings.Repeat(group, 6): true,
		strings.Repeat(group, 7): false, group[:19]: false, group + "1": false, "1002156E000000500000": false,
		"10021A6C000000500000": false, "1002156C00000050000x": false, "1002156c000000500000": false,
	} {
		if checkAmounts([]byte(v)) != want {
			t.Errorf("%q: %v", v, !want)
		}
	}
}

// Text in GBK: 银联 is D2 F8 C1 AA.
func TestWhole(t *testing.T) {
	for v, want := range map[string]string{
		"": "", "CUP": "CUP", "\xD2\xF8\xC1\xAA": "\xD2\xF8\xC1\xAA", "A\xD2\xF8": "A\xD2\xF8",
		"\xD2\xF8\xC1": "\xD2\xF8", "A\xD2": "A", "\xD2": "", "\xD2\x20": "", "\xD2\x7F": "", "\x80A": "", "\xFFA": "", "\x81\x40": "\x81\x40", "\xFE\xFE": "\xFE\xFE", "\xD2\xFF": "",
	} {
		if got := whole([]byte(v)); string(got) != want {
			t.Errorf("% X: got % X, want % X", v, got, want)
		}
	}
}

// What a message says that is not well formed is refused naming the field, and
// half a character is not said again.
func TestF28FieldsAreChecked(t *testing.T) {
	half := "99929005411000\xD2"
	for _, c := range []struct {
		name    string
		dialect string
		base    fields
		change  fields
		fault   string
	}{
		{"chip data cut", "cup-pos", cupSale, fields{55: "hex:9F360200"}, "field 55 has an element that is cut short"},
		{"chip data nested", "cup-pos", cupSale, fields{55: "hex:70059F36020001"}, "field 55 has an element that holds others"},
		{"chip data twice", "cup-pos", cupSale, fields{55: "hex:9F360200019F36020001"}, "field 55 has an element twice"},
		{"chip data of a stripe", "cup-pos", cupSale, fields{22: "021", 55: "hex:9F"}, "field 55 has an element that is cut short"},
		{"amounts cut", "cup-pos", cupSale, fields{54: "1002156C00000050000"}, "field 54 must be groups"},
		{"half a character in the merchant", "cup-pos", cupSale, fields{42: half}, "field 42 has half a character"},
		{"half a character in the terminal", "cup-pos", cupSale, fields{41: "1000000\xD2"}, "field 41 has half a character"},
		{"whole characters", "cup-pos", cupSale, fields{42: "9992900541100\xD2\xF8"}, ""},
		{"chip data cut", "iso87", isoSale, fields{55: "hex:9F360200"}, "field 55 has an element that is cut short"},
		{"contactless data twice", "iso87", isoSale, fields{22: "071", 55: "hex:9F360200019F36020001"}, "field 55 has an element twice"},
		{"reserved text in the place of chip data", "iso87", isoSale, fields{22: "021", 55: "0033170003"}, ""},
		{"a tip alone", "iso87", isoSale, fields{54: "000000000100"}, ""},
	} {
		t.Run(c.dialect+", "+c.name, func(t *testing.T) {
			d := terminal(t, c.dialect)
			x := decoded(t, d, build(t, d.Codec(), 0x0200, c.base.with(c.change)))
			checkFault(t, x, c.fault)
			decide(x, x.Answer.Reason)
			checkAnswer(t, x, answered(t, d, x))
		})
	}
}

func TestF30HalfCharacters(t *testing.T) {
	d := terminal(t, "cup-pos")
	for said, want := range map[string]string{"VIS": "VIS", "\xD2\xF8\xC1\xAA": "CUP", "A\xD2\xF8\xC1\xAA": "CUP", "CU": "CUP", "01 ": "CUP", "SM016": "CUP"} {
		x := decoded(t, d, build(t, d.Codec(), 0x0200, cupSale.with(fields{63: said})))
		decide(x, txn.Approved)
		if got := text(answered(t, d, x), 63); got != want {
			t.Errorf("card organization % X: answered % X, want % X", said, got, want)
		}
	}
	x := decoded(t, d, build(t, d.Codec(), 0x0200, cupSale))
	decide(x, txn.Approved)
	x.Answer.Reply.IssuerData = []byte("\xD2\xF8\xC1\xAA \xD2")
	if got := text(answered(t, d, x), 44); got != "\xD2\xF8\xC1\xAA " {
		t.Errorf("issuer's text: answered % X", got)
	}
}

// FuzzCheckChip holds the check to the slow and simple reading of the same.
func FuzzCheckChip(f *testing.F) {
	for _, s := range []string{"9F36020001", "70059F36020001", "9F360200019F36020001", "9F3681800000", "DF812904AABBCCDD82020000", "FF0002AABB"} {
		v, err := hex.DecodeString(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v []byte) {
		if len(v) > 999 {
			return
		}
		err := checkChip(v, new(txn.Request))
		if err != nil && err != errChipTwice {
			return
		}
		tags := map[string]bool{}
		twice := false
		for rest := v; len(rest) > 0; {
			n, size, err := chipElement(rest)
			if err != nil {
				if twice {
					return
				}
				t.Fatalf("% X: passed, and then %v", v, err)
			}
			if n == 0 {
				rest = rest[size:]
				continue
			}
			tag := string(rest[:n])
			twice = twice || tags[tag]
			tags[tag] = true
			rest = rest[size:]
		}
		if twice != (err == errChipTwice) {
			t.Fatalf("% X: twice %v, checked %v", v, twice, err)
		}
	})
}

// FuzzWhole: what is left of text has no half character and is its beginning.
func FuzzWhole(f *testing.F) {
	f.Add([]byte("\xD2\xF8\xC1"))
	f.Fuzz(func(t *testing.T, v []byte) {
		got := whole(v)
		if !bytes.HasPrefix(v, got) || len(whole(got)) != len(got) {
			t.Fatalf("% X becomes % X", v, got)
		}
		checkAmounts(v)
	})
}

func TestCheckChipDoesNotAllocate(t *testing.T) {
	_, x := saleExchange(t)
	if n := testing.AllocsPerRun(100, func() { checkChip(x.Request.Chip, &x.Request) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCheckChip(b *testing.B) {
	_, x := saleExchange(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := checkChip(x.Request.Chip, &x.Request); err != nil {
			b.Fatal(err)
		}
	}
}
