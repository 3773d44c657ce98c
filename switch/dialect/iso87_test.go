package dialect

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

var update = flag.Bool("update", false, "rewrite golden files")

// isoDay is one request of each kind that an ISO 8583:1987 terminal makes.
var isoDay = []struct {
	mti uint16
	f   fields
}{
	{0x0800, fields{11: "000001", 41: "10000001", 70: "001"}},
	{0x0800, fields{11: "000002", 41: "10000001", 70: "301"}},
	{0x0100, isoSale.with(fields{3: "330000", 4: "", 49: ""})},
	{0x0100, isoSale.with(fields{3: "310000", 4: ""})},
	{0x0200, isoSale},
	{0x0200, isoSale.with(fields{67: "12"})},
	{0x0200, isoSale.with(fields{3: "020000", 90: isoOriginal})},
	{0x0200, isoSale.with(fields{3: "020000", 25: "64", 90: isoOriginal})},
	{0x0220, isoSale.with(fields{3: "200000", 37: "326112000041", 38: "A1B2C3", 90: isoOriginal})},
	{0x0100, isoSale.with(fields{25: "06"})},
	{0x0100, isoSale.with(fields{25: "60", 38: "A1B2C3", 90: isoOriginal})},
	{0x0100, isoSale.with(fields{3: "200000", 25: "06", 38: "A1B2C3", 90: isoOriginal})},
	{0x0200, isoSale.with(fields{25: "06", 38: "A1B2C3", 90: isoOriginal})},
	{0x0220, isoSale.with(fields{25: "06", 38: "A1B2C3"})},
	{0x0200, isoSale.with(fields{3: "020000", 25: "06", 90: isoOriginal})},
	{0x0220, isoSale},
	{0x0220, isoSale.with(fields{3: "020000", 90: isoOriginal})},
	{0x0220, isoSale.with(fields{3: "020000", 54: "000000012345", 90: isoOriginal})},
	{0x0420, isoReversal.with(fields{90: isoOriginal, 95: "000000010000" + zeros30})},
	{0x0620, isoSale.with(fields{55: "hex:9F260101", 90: isoOriginal})},
	{0x0500, isoTotals},
	{0x0320, isoSale.with(fields{90: isoOriginal})},
	{0x0500, isoTotals.with(fields{3: "960000"})},
	{0x0800, fields{11: "000003", 41: "10000001", 70: "002"}},
}

// TestISO87Frames holds every byte that a day costs: what the terminal asks,
// what its issuer is asked, and what the terminal is answered.
func TestISO87Frames(t *testing.T) {
	const golden = "testdata/iso87.golden"
	d := terminal(t, "iso87")
	link := issuerLink(t, "iso87")
	seen := map[txn.Kind]bool{}
	var out strings.Builder
	for _, row := range isoDay {
		frame := build(t, d.Codec(), row.mti, row.f)
		x := decoded(t, d, frame)
		checkFault(t, x, "")
		req := &x.Request
		seen[req.Kind] = true
		fmt.Fprintf(&out, "%s\nasked     %q\n", req.Kind, frame)
		if req.Kind.Forwarded() {
			if req.Kind.NamesOriginal() {
				req.OriginalMTI, req.OriginalLeg = 0x0201, txn.Leg{STAN: 70, Time: [10]byte([]byte("1122090000"))}
			}
			m := sent(t, link, func(dst []byte) ([]byte, error) { return link.AppendRequest(dst, req, &testLeg, testRRN) })
			if KindISO87(m) != req.Kind {
				t.Errorf("a %s reaches the issuer as a %s", req.Kind, KindISO87(m))
			}
			fmt.Fprintf(&out, "forwarded %q\n", m.Frame())
		}
		decide(x, txn.Approved)
		if req.Kind == txn.KindSettlement { // we know of one debit less
			x.Answer.Totals[0] = txn.Totals{Debit: txn.Sum{Count: 1, Minor: 95000}, Credit: txn.Sum{Count: 1, Minor: 12345}}
			x.Answer.Result = [2]txn.Comparison{txn.Uneven, txn.Even}
		}
		m := answered(t, d, x)
		checkAnswer(t, x, m)
		fmt.Fprintf(&out, "answered  %q\n\n", m.Frame())
	}
	for k := range txn.Kind(txn.Kinds) {
		if !seen[k] && iso87Needs[k] != nil {
			t.Errorf("no request for a %s", k)
		}
	}
	if *update {
		if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	got, lines := strings.Split(out.String(), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(got), len(lines)) {
		if i >= len(got) || i >= len(lines) || got[i] != lines[i] {
			t.Fatalf("%s, line %d:\n got %s\nwant %s", golden, i+1, strings.Join(got[i:min(i+1, len(got))], ""), strings.Join(lines[i:min(i+1, len(lines))], ""))
		}
	}
}

// TestISO87KeysAreInDE62 holds where a terminal that asked for keys finds them.
func TestISO87KeysAreInDE62(t *testing.T) {
	d := terminal(t, "iso87")
	for _, reason := range []txn.Reason{txn.Approved, txn.TerminalIsNotActive} {
		x := decoded(t, d, build(t, d.Codec(), 0x0800, fields{11: "000001", 41: "10000001", 70: "161"}))
		decide(x, reason)
		x.Answer.Keys = append(x.Answer.Keys, 0x80, 0, 'k')
		if got, want := text(answered(t, d, x), 62), map[bool]string{true: "80006b"}[reason == txn.Approved]; got != want {
			t.Errorf("%s: DE62 %q, want %q", reason, got, want)
		}
	}
}

// TestAnswersNameTheAcquirer: a request without DE32 is told ours as it is written, a
// CUP terminal always, with eight digits at least.
func TestAnswersNameTheAcquirer(t *testing.T) {
	for _, c := range [...]struct {
		dialect, code, want string
		base                fields
	}{{"iso87", "012345", "012345", isoSale}, {"cup-pos", "012345", "00012345", cupSale}, {"cup-pos", "123456789", "123456789", cupSale}} {
		d := terminal(t, c.dialect)
		x := decoded(t, d, build(t, d.Codec(), 0x0200, c.base))
		decide(x, txn.Approved)
		x.Answer.Acquirer = c.code
		if got := text(answered(t, d, x), 32); got != c.want {
			t.Errorf("%s, acquirer %s: DE32 %s, want %s", c.dialect, c.code, got, c.want)
		}
	}
}

// TestISO87Allocations holds a sale's decoding and answering to no allocation.
func TestISO87Allocations(t *testing.T) {
	d := terminal(t, "iso87")
	x := decoded(t, d, build(t, d.Codec(), 0x0200, isoSale))
	now := time.Now()
	var err error
	if n := testing.AllocsPerRun(200, func() { err = d.Decode(x, now) }); n != 0 || err != nil {
		t.Errorf("decode: %v allocations, %v", n, err)
	}
	decide(x, txn.Approved)
	if n := testing.AllocsPerRun(200, func() { x.Out, err = d.AppendAnswer(x.Out[:0], x, nil) }); n != 0 || err != nil {
		t.Errorf("answer: %v allocations, %v", n, err)
	}
}
