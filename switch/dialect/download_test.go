package dialect

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// The management requests of the reference, and the fields of their answers: 12,
// 13, 32, 37, 39, 41, 42 and 60, with 62 where there is something to take.
func TestDownloadPresence(t *testing.T) {
	const bare, carrying = "[12 13 32 37 39 41 42 60]", "[12 13 32 37 39 41 42 60 62]"
	for _, row := range []struct {
		id      string // of the fixture
		kind    txn.Kind
		network uint16
		custom  string // DE62 as asked
	}{
		{"cup-25", txn.KindDownload, 360, ""},
		{"cup-27", txn.KindDownload, 372, "100"},
		{"cup-28", txn.KindDownload, 370, "\x9F\x06\x05\xA0\x00\x00\x03\x33\x9F\x22\x01\x02"},
		{"cup-29", txn.KindDownload, 380, "\x9F\x06\x08\xA0\x00\x00\x03\x33\x01\x01\x01"},
		{"cup-30", txn.KindDownload, 381, ""},
		{"cup-31", txn.KindDownload, 364, ""},
		{"cup-32", txn.KindStatus, 362, "0110210310410511160"},
	} {
		d := terminal(t, "cup-pos")
		x := decoded(t, d, fixtureFrame(t, row.id))
		req := &x.Request
		if req.Kind != row.kind || req.Network != row.network || string(req.Custom) != row.custom || req.Key.Class != txn.ClassNetwork {
			t.Errorf("%s: got %v %d %q", row.id, req.Kind, req.Network, req.Custom)
		}
		for _, answer := range []struct {
			reason txn.Reason
			custom string
			want   string
		}{{txn.Approved, "\x31\x00\xFF", carrying}, {txn.Approved, "", bare}, {txn.ItemIsUnknown, "\x31", bare}, {txn.FormatIsWrong, "", bare}} {
			decide(x, answer.reason)
			x.Answer.Custom = append(x.Answer.Custom, answer.custom...)
			m := answered(t, d, x)
			var has []int
			for n := 2; n <= 64; n++ {
				if m.Has(n) {
					has = append(has, n)
				}
			}
			if got := fmt.Sprint(has); got != answer.want {
				t.Errorf("%s, %v: answered with %s, want %s", row.id, answer.reason, got, answer.want)
			}
			if answer.want == carrying && string(m.Value(62)) != answer.custom {
				t.Errorf("%s: field 62 is %q", row.id, m.Value(62))
			}
			if m.MTI() != req.MTI+0x10 {
				t.Errorf("%s: answered %04x", row.id, m.MTI())
			}
		}
	}
}

// The header is repeated, but for its sixth digit, which is the answer's.
func TestHeaderAsks(t *testing.T) {
	d := terminal(t, "cup-pos")
	echo := fixtureFrame(t, "cup-23")
	for _, row := range []struct {
		header string
		asks   uint8
		want   string
	}{
		{"\x60\x31\x00\x31\x00\x00", 0, "\x60\x31\x00\x31\x00\x00"},
		{"\x60\x31\x00\x31\x00\x03", 4, "\x60\x31\x04\x31\x00\x03"},
		{"\x61\x31\x10\x31\x10\x03", 3, "\x61\x31\x13\x31\x10\x03"},
		{"\x61\x31\x10\x31\x10\x03", 0xC, "\x61\x31\x1C\x31\x10\x03"},
		{"\x60\x31\x1C\x31\x00\x00", 0, "\x60\x31\x10\x31\x00\x00"}, // a terminal says 0; what it says is not repeated
	} {
		frame := bytes.Clone(echo)
		copy(frame[5:], row.header)
		x := decoded(t, d, frame)
		decide(x, txn.Approved)
		x.Answer.Asks = row.asks
		if got := answered(t, d, x).Header(); string(got) != row.want {
			t.Errorf("%X asking %x: answered %X, want %X", row.header, row.asks, got, row.want)
		}
		if string(frame[5:11]) != row.header {
			t.Error("the request's own bytes were changed")
		}
	}
}
