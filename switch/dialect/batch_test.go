package dialect

import (
	"fmt"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

const (
	emptyHalf = "000000000000000" + "000000000000000"
	totals48  = "000000107345002" + "000000012345001" + "0" + emptyHalf + "0"
)

// Each upload of the table in cup-pos A5 (DE60.3), and what makes one badly
// formed.
func TestUploads(t *testing.T) {
	d := terminal(t, "cup-pos")
	base := fields{11: "000012", 41: "10000001", 42: "999290054110001"}
	single := base.with(fields{2: testPAN, 4: "000000012345", 22: "050", 23: "001", 55: "hex:9F2701409F36020001", 62: "hex:363130303030303030303030303132333435313536"})
	one := "item %s 12 12345 622202*********0128"
	chip, refund := fmt.Sprintf(one, "unknown"), fmt.Sprintf(one, "refund")
	detail := "00" + "000002" + "0" + testPAN + "000000012345"
	for _, c := range []struct {
		name  string
		msg   fields
		items string // as facts spells them
		end   uint32
		fault string
		de48  string // of the answer
	}{
		{"201 details", base.with(fields{48: "02" + detail + strings.Replace(detail, "000002", "000003", 1), 60: "00000001201"}),
			"item unknown 2 12345 622202*********0128 item unknown 3 12345 622202*********0128", 0, "", "02"},
		{"201 paid by a code", base.with(fields{48: "01" + "00" + "000002" + strings.Repeat("0", 20) + "000000012345", 60: "00000001201"}), "item unknown 2 12345 ****", 0, "", "01"},
		{"201 without items", base.with(fields{48: "00", 60: "00000001201"}), "", 0, "field 48 must be a count", ""},
		{"201 with nine", base.with(fields{48: "09" + strings.Repeat("0", 320), 60: "00000001201"}), "", 0, "field 48", ""},
		{"201 cut short", base.with(fields{48: "02" + detail, 60: "00000001201"}), "", 0, "field 48 must be a count", ""},
		{"201 with a card that is none", base.with(fields{48: "01" + "00" + "000002" + "00000000000000012345" + "000000012345", 60: "00000001201"}), "", 0, "card numbers of 12", ""},
		{"201 without DE48", base.with(fields{60: "00000001201"}), "", 0, "field 48 is missing", ""},
		{"202 end, uneven", base.with(fields{48: "0003", 60: "00000001202"}), "", 3, "", "0003"},
		{"207 end, balanced", base.with(fields{48: "0000", 60: "00000001207"}), "", 0, "", "0000"},
		{"202 without the count", base.with(fields{48: "03", 60: "00000001202"}), "", 0, "field 48 must be the number of all", ""},
		{"203 chip data, balanced", single.with(fields{60: "0000000120360"}), chip, 0, "", ""},
		{"204 chip failure, balanced", single.with(fields{60: "0000000120460"}), chip, 0, "", ""},
		{"205 chip data, uneven", single.with(fields{60: "0000000120560"}), chip, 0, "", ""},
		{"206 chip failure, uneven", single.with(fields{60: "0000000120660"}), chip, 0, "", ""},
		{"203 without an amount", single.with(fields{4: "", 60: "0000000120360"}), "", 0, "field 4 is missing", ""},
		{"refund inside", single.with(fields{3: "200000", 25: "00", 60: "2500000100060", 61: "0000010000021121"}), refund, 0, "", ""},
		{"completion advice inside", single.with(fields{25: "06", 60: "2400000100060"}), fmt.Sprintf(one, "completion-advice"), 0, "", ""},
		{"offline sale inside", single.with(fields{60: "3000000100060"}), fmt.Sprintf(one, "offline-sale"), 0, "", ""},
		{"adjustment inside", single.with(fields{60: "3200000100060"}), fmt.Sprintf(one, "adjustment"), 0, "", ""},
		{"tip inside", single.with(fields{60: "3400000100060"}), fmt.Sprintf(one, "tip"), 0, "", ""},
		{"208 load of an electronic purse", single.with(fields{60: "0000000120860"}), "", 0, "field 60 must say what", ""},
		{"an item's kind, but a network code of something else", single.with(fields{60: "3000000199960"}), "", 0, "field 60 must say what", ""},
		{"nothing said", single.with(fields{60: "0000000100060"}), "", 0, "field 60 must say what", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := decoded(t, d, build(t, d.Codec(), 0x0320, c.msg))
			checkFault(t, x, c.fault)
			req := &x.Request
			if req.Kind != txn.KindUpload || req.Key.Class != txn.ClassUpload {
				t.Errorf("%s of class %d", req.Kind, req.Key.Class)
			}
			if c.fault != "" {
				return
			}
			if f := facts(req); !strings.HasSuffix(f, c.items) || req.Announced != c.end || (len(req.Items) == 0) != (c.items == "") {
				t.Errorf("%s, %d announced; want %q, %d", f, req.Announced, c.items, c.end)
			}
			decide(x, txn.Approved)
			x.Answer.Count = max(uint32(len(req.Items)), req.Announced)
			m := answered(t, d, x)
			if got := text(m, 48); m.MTI() != 0x0330 || got != c.de48 || m.Has(15) {
				t.Errorf("%04x with DE48 %q, want %q", m.MTI(), got, c.de48)
			}
			decide(x, txn.BatchIsNotSettling)
			if m := answered(t, d, x); m.Has(48) || text(m, 39) != "95" {
				t.Errorf("refused: DE39 %s, DE48 %s", text(m, 39), text(m, 48))
			}
		})
	}
}

// DE48 of a 0510: the terminal's totals when even, ours when not, and "cannot be
// compared" for whatever else.
func TestSettlementAnswers(t *testing.T) {
	d := terminal(t, "cup-pos")
	both := [2]txn.Totals{{Debit: txn.Sum{Count: 2, Minor: 107345}, Credit: txn.Sum{Count: 1, Minor: 12345}}, {}}
	ours := both
	ours[0].Debit = txn.Sum{Count: 1, Minor: 95000}
	many := both
	many[0].Debit.Count = 1000
	full := both
	full[0].Debit = txn.Sum{Count: 999, Minor: txn.AmountMax}
	large := both
	large[0].Debit.Minor = txn.AmountMax + 1
	refusedAs := "000000107345002" + "000000012345001" + "3" + emptyHalf + "3"
	for _, c := range []struct {
		name    string
		reason  txn.Reason
		totals  [2]txn.Totals
		result  [2]txn.Comparison
		fixture string // the constructed answer, which is the same but for time and numbers
		de48    string
	}{
		{"even", txn.Approved, both, [2]txn.Comparison{txn.Even, txn.Even}, "cup-17", ""},
		{"uneven", txn.Approved, ours, [2]txn.Comparison{txn.Uneven, txn.Even}, "cup-18", ""},
		{"not comparable", txn.Approved, both, [2]txn.Comparison{txn.NotComparable, txn.NotComparable}, "", refusedAs},
		{"refused", txn.BatchIsNotCurrent, [2]txn.Totals{}, [2]txn.Comparison{}, "", refusedAs},
		{"as much as the field holds", txn.Approved, full, [2]txn.Comparison{txn.Uneven, txn.Even}, "", "999999999999999" + "000000012345001" + "2" + emptyHalf + "1"},
		{"a larger amount", txn.Approved, large, [2]txn.Comparison{txn.Uneven, txn.Even}, "", refusedAs},
		{"more than the field holds", txn.Approved, many, [2]txn.Comparison{txn.Uneven, txn.Even}, "", refusedAs},
	} {
		x := decoded(t, d, fixtureFrame(t, "cup-16"))
		if x.Fault != nil || x.Request.Totals != both {
			t.Fatalf("decoded %v, %v", x.Request.Totals, x.Fault)
		}
		decide(x, c.reason)
		x.Answer.Totals, x.Answer.Result = c.totals, c.result
		m := answered(t, d, x)
		want := c.de48
		if c.fixture != "" {
			f := decodedAnswer(t, c.fixture)
			want = text(f, 48)
			for n := 2; n <= 64; n++ {
				if n != 39 && m.Has(n) != f.Has(n) { // DE39 is optional
					t.Errorf("%s: field %d is there: %v, in %s: %v", c.name, n, m.Has(n), c.fixture, f.Has(n))
				}
			}
		}
		if got := text(m, 48); got != want || m.MTI() != 0x0510 {
			t.Errorf("%s: %04x with DE48 %s, want %s", c.name, m.MTI(), got, want)
		}
	}
	nines := txn.Sum{Count: 999, Minor: txn.AmountMax}
	x := decoded(t, d, build(t, d.Codec(), 0x0500, fields{11: "000011", 41: "10000001", 42: "999290054110001",
		48: strings.Repeat("999999999999999"+"999999999999999"+"0", 2), 49: "156", 60: "00000001201", 63: "001"}))
	checkFault(t, x, "")
	if want := (txn.Totals{Debit: nines, Credit: nines}); x.Request.Totals != [2]txn.Totals{want, want} {
		t.Errorf("the largest totals are %v", x.Request.Totals)
	}
	for _, bad := range []string{totals48[:61], totals48 + "0", "0"} {
		x := decoded(t, d, build(t, d.Codec(), 0x0500, fields{11: "000011", 41: "10000001", 42: "999290054110001", 48: bad, 49: "156", 60: "00000001201", 63: "001"}))
		checkFault(t, x, "field 48 must be 62 digits")
		decide(x, txn.FormatIsWrong)
		if m := answered(t, d, x); text(m, 39) != "30" {
			t.Errorf("answered %s", text(m, 39))
		}
	}
}

// A sign-on's answer names another batch only where the switch says so.
func TestSignOnNamesTheBatch(t *testing.T) {
	d := terminal(t, "cup-pos")
	for number, want := range map[uint32]string{0: "00000001003", 1: "00000001003", 654321: "00654321003"} {
		x := decoded(t, d, fixtureFrame(t, "cup-01"))
		decide(x, txn.Approved)
		x.Answer.Batch = number
		if got := text(answered(t, d, x), 60); got != want {
			t.Errorf("batch %d: DE60 %s, want %s", number, got, want)
		}
	}
}

// decodedAnswer is a constructed answer's message.
func decodedAnswer(t *testing.T, id string) *iso.Message {
	t.Helper()
	m := new(iso.Message)
	if err := terminal(t, "cup-pos").Codec().Parse(m, fixtureFrame(t, id)); err != nil {
		t.Fatal(err)
	}
	return m
}
