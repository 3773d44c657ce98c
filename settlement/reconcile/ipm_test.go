package reconcile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/encoding/charmap"

	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

// clearing is a file of Mastercard's clearing, as it is written: messages of
// elements by number.
type clearing struct {
	ebcdic, blocked bool
	messages        []map[int]string // 0: type
}

func pds(tag int, value string) string { return fmt.Sprintf("%04d%03d%s", tag, len(value), value) }

const fileID = "0022611230000001234500001"

// clearingOf is a file of messages with their header and trailer.
func clearingOf(messages ...map[int]string) clearing {
	sum := 0
	for _, m := range messages {
		n := 0
		fmt.Sscanf(m[4], "%d", &n) //nolint:errcheck // none is 0
		sum += n
	}
	all := append([]map[int]string{{0: "1644", 24: "697", 48: pds(105, fileID) + pds(122, "T"), 71: "00000001"}}, messages...)
	trailer := pds(105, fileID) + pds(301, fmt.Sprintf("%016d", sum)) + pds(306, fmt.Sprintf("%08d", len(all)+1))
	return clearing{messages: append(all, map[int]string{0: "1644", 24: "695", 48: trailer, 71: fmt.Sprintf("%08d", len(all)+1)})}
}

// presentment is how a Mastercard file should have r.
func presentment(r *txn.Record) map[int]string {
	processing := "000000"
	if r.Request.Totals() == txn.Credit {
		processing = "200000"
	}
	return map[int]string{0: "1240", 2: "6222020000000000128", 3: processing, 4: fmt.Sprintf("%012d", r.Amount.Minor), 12: "26" + string(r.Leg.Time[:]), 22: "510101510150", 24: "200",
		26: "5411", 31: "55555556326012345678908", 33: "012345", 37: string(r.RRN[:]), 38: string(r.AuthCode[:]), 41: r.Key.Terminal.String(), 42: r.Merchant.String(),
		43: `SHOP\STREET 1\SHANGHAI\200000     SH CHN`, 48: pds(158, "MCC") + pds(165, "M"), 49: "156", 55: "\x9f\x27\x01\x80", 63: " MCC123456", 71: "00000002", 94: "012345"}
}

// but is a message with some elements changed; empty: without it.
func but(m map[int]string, changes ...any) map[int]string {
	m = maps.Clone(m)
	for i := 0; i < len(changes); i += 2 {
		if n := changes[i].(int); changes[i+1] == "" {
			delete(m, n)
		} else {
			m[n] = changes[i+1].(string)
		}
	}
	return m
}

func (c clearing) record(m map[int]string) []byte {
	text := func(s string) []byte {
		if !c.ebcdic {
			return []byte(s)
		}
		b, err := charmap.CodePage1047.NewEncoder().Bytes([]byte(s))
		if err != nil {
			panic(err)
		}
		return b
	}
	bitmap := make([]byte, 16)
	bitmap[0] = 0x80
	var rest []byte
	for _, n := range slices.Sorted(maps.Keys(m)) {
		if n == 0 {
			continue
		}
		bitmap[(n-1)/8] |= 0x80 >> ((n - 1) % 8)
		if e := elements[n]; e.prefix > 0 {
			rest = append(rest, text(fmt.Sprintf("%0*d", e.prefix, len(m[n])))...)
		}
		if elements[n].binary {
			rest = append(rest, m[n]...)
		} else {
			rest = append(rest, text(m[n])...)
		}
	}
	return slices.Concat(text(m[0]), bitmap, rest)
}

func (c clearing) bytes() []byte {
	var b []byte
	for _, m := range c.messages {
		r := c.record(m)
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(r))), r...)
	}
	b = append(b, 0, 0, 0, 0)
	if !c.blocked {
		return b
	}
	var blocks []byte
	for len(b) > 0 {
		n := min(len(b), blockData)
		block := bytes.Repeat([]byte{filler}, blockSize)
		copy(block, b[:n])
		blocks, b = append(blocks, block...), b[n:]
	}
	return blocks
}

func ipmLayout(t testing.TB) *Layout {
	l, ok := Builtin("ipm")
	if !ok {
		t.Fatal("there is no layout ipm")
	}
	return l
}

// readIPM is every line of a file in short, and how it ended.
func readIPM(t testing.TB, file []byte) (all []string, r *Reader, err error) {
	r = NewReader("f", bytes.NewReader(file), ipmLayout(t))
	for {
		var line Line
		if err := r.Next(&line); errors.Is(err, io.EOF) {
			return all, r, nil
		} else if err != nil {
			return all, r, err
		}
		c := line.Columns()
		all = append(all, fmt.Sprintf("%s %s %v/%v %s %s %010d %s %s", line.RRN, line.Amount, line.Credit, line.Reversal, c["de2"], c["de31"], line.Time, c["de63"], c["pds0158"]))
	}
}

// TestIPM: the same file in both codes, in blocks and not, of one block and of many.
func TestIPM(t *testing.T) {
	refund := with(sale(today, 2), func(r *txn.Record) { r.Request = txn.KindRefund })
	messages := []map[int]string{
		presentment(sale(today, 1)), presentment(refund),
		but(presentment(sale(today, 3)), 48, pds(158, "MCC"), 62, pds(25, "R261123")),
		but(presentment(sale(today, 4)), 24, "205"),
		{0: "1442", 2: "6222020000000000128", 4: "000000000500", 24: "450", 71: "00000005"},
		{0: "1442", 2: "6222020000000000128", 4: "000000000500", 24: "453", 71: "00000006"},
		{0: "1740", 4: "000000000100", 24: "700", 71: "00000007"},
		{0: "1644", 24: "603", 71: "00000008", 72: "please send 6222020000000000128"},
	}
	want := []string{
		"326000000001 100.01 156 false/false 622202*********0128 55555556326012345678908 1122101112 MCC123456 MCC",
		"326000000002 100.02 156 true/false 622202*********0128 55555556326012345678908 1122101112 MCC123456 MCC",
		"326000000003 100.03 156 false/true 622202*********0128 55555556326012345678908 1122101112 MCC123456 MCC",
	}
	others := map[string]int64{"second presentments (1240)": 1, "chargebacks (1442)": 2, "fee collections (1740)": 1, "administrative records (1644)": 1}
	for _, ebcdic := range []bool{false, true} {
		for _, blocked := range []bool{false, true} {
			for _, times := range []int{1, 100} {
				all, lines := []map[int]string{}, []string{}
				for range times {
					all, lines = append(all, messages...), append(lines, want...)
				}
				c := clearingOf(all...)
				c.ebcdic, c.blocked = ebcdic, blocked
				got, r, err := readIPM(t, c.bytes())
				for k := range others {
					if r.NotLines[k] != others[k]*int64(times) {
						t.Errorf("%s: %d", k, r.NotLines[k])
					}
				}
				if err != nil || !slices.Equal(got, lines) || len(r.NotLines) != len(others) || r.ipm.records.blocked != blocked || r.ipm.ebcdic != ebcdic || r.Sums.Count != int64(3*times) {
					t.Errorf("EBCDIC %v, blocks %v, %d times: %v, %d lines, %q", ebcdic, blocked, times, err, len(got), got[:min(3, len(got))])
				}
			}
		}
	}
	short := clearingOf(presentment(sale(today, 1)))
	short.blocked = true
	if got, _, err := readIPM(t, short.bytes()); err != nil || len(got) != 1 {
		t.Errorf("of one block: %q, %v", got, err)
	}
	two := clearingOf(presentment(sale(today, 1)))
	two.messages = append(two.messages, clearingOf(presentment(sale(today, 2))).messages...)
	if got, _, err := readIPM(t, two.bytes()); err != nil || len(got) != 2 {
		t.Errorf("two logical files: %q, %v", got, err)
	}
}

// TestIPMFixture: a message that others made, in both codes.
func TestIPMFixture(t *testing.T) {
	want := map[int]string{2: "4444555544445555", 3: "111111", 4: "000000009999", 12: "150815171500", 22: "123456789012", 24: "333", 26: "1234", 31: "57995799120000001230612", 33: "123456",
		38: "123456", 42: "579942111111111", 43: `BIG BOBS\80 KERNDALE ST\DANERLEY\3103      VICAUS`, 48: "0001001Y", 49: "999", 63: "0000000000000001", 71: "12345678", 94: "999999"}
	for _, code := range []string{"ascii", "ebcdic"} {
		record, err := os.ReadFile("testdata/adelosa+cardutil/ipm_record_" + code + ".bin")
		if err != nil {
			t.Fatal(err)
		}
		r := NewReader("f", nil, ipmLayout(t))
		r.n = 1
		if err := r.message(record); err != nil {
			t.Fatalf("%s: %v", code, err)
		}
		got := map[int]string{}
		for n, v := range r.ipm.de {
			if v != nil {
				got[n] = string(v)
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: %v", code, got)
		}
		if v, err := r.value(sourceOf("pds0001")); err != nil || string(v) != "Y" {
			t.Errorf("%s: PDS 0001 is %q, %v", code, v, err)
		}
	}
}

// TestIPMRefused: each thing that is wrong is named, with where it is.
func TestIPMRefused(t *testing.T) {
	one, two := presentment(sale(today, 1)), presentment(sale(today, 2))
	good := clearingOf(one, two)
	right := good.bytes()
	second := 4 + len(good.record(good.messages[0])) + 4 + len(good.record(one)) + 4 // where it begins
	at := func(n int) string { return fmt.Sprintf("f: record %d at byte %d: ", n, second) }
	changed := func(change func(c *clearing)) []byte {
		c := clearingOf(one, two)
		change(&c)
		return c.bytes()
	}
	trailer := func(id, sum, count string) []byte {
		return changed(func(c *clearing) { c.messages[3] = but(c.messages[3], 48, pds(105, id)+pds(301, sum)+pds(306, count)) })
	}
	message := func(changes ...any) []byte {
		return changed(func(c *clearing) { c.messages[2] = but(two, changes...) })
	}
	blocked := clearingOf(slices.Repeat([]map[int]string{one}, 20)...)
	blocked.blocked = true
	for _, row := range []struct {
		name, want string
		file       []byte
	}{
		{"empty", "f: the file is empty", nil},
		{"padding only", "f: the file is empty", make([]byte, 9)},
		{"cut off in a record", at(3) + "the file is cut off here", right[:second+30]},
		{"cut off in a length", fmt.Sprintf("f: record 3 at byte %d: the file is cut off here", second-2), right[:second-2]},
		{"cut off between records", fmt.Sprintf("f: record 3 at byte %d: the file is cut off: it has no trailer (1644/695)", second-4), right[:second-4]},
		{"cut off in a block", "the file is cut off here", blocked.bytes()[:5*blockSize+500]},
		{"cut off between blocks", "the file is cut off here", blocked.bytes()[:5*blockSize]},
		{"without the last padding", "the file is cut off here", blocked.bytes()[:len(blocked.bytes())-9]},
		{"a message is missing", "pds0306: it says 4, the messages come to 3", changed(func(c *clearing) { c.messages = slices.Delete(c.messages, 2, 3) })},
		{"another amount", "pds0301: it says 20003, the messages come to 20004", message(4, "000000010003")},
		{"another count", "pds0306: it says 5, the messages come to 4", trailer(fileID, "0000000000020003", "00000005")},
		{"another total", "pds0301: it says 20004, the messages come to 20003", trailer(fileID, "0000000000020004", "00000004")},
		{"no total", `pds0301: "" is no number of 16 digits`, trailer(fileID, "", "00000004")},
		{"another file's trailer", "pds0105: it is the trailer of file 002261***************0002", trailer(fileID[:24]+"2", "0000000000020003", "00000004")},
		{"no header", "f: record 1 at byte 4: a message 1240/200 is before the header", changed(func(c *clearing) { c.messages = c.messages[1:] })},
		{"behind the trailer", "a message 1240/200 is before the header (1644/697) or behind the trailer", changed(func(c *clearing) { c.messages = append(c.messages, one) })},
		{"a header inside", at(3) + "a header (1644/697) is where the trailer", changed(func(c *clearing) { c.messages[2] = c.messages[0] })},
		{"behind the end", "there is something behind the end", append(slices.Clone(right), 'x')},
		{"another format", "f: record 1 at byte 4: the record's length is none of 20 to 16384", []byte("48802900    01020000    000001\n")},
		{"a length that nothing has", at(3) + "the record's length is none", func() []byte { b := slices.Clone(right); b[second-4] = 1; return b }()},
		{"type", at(3) + "mti: 39 32 34 30 is no type of message", message(0, "9240")},
		{"another type", at(3) + "a message 1241/200 is not known", message(0, "1241")},
		{"another function", at(3) + "a message 1240/999 is not known", message(24, "999")},
		{"another code", at(3) + "mti: the record is in another code", func() []byte {
			r := clearing{ebcdic: true}.record(one)
			return append(binary.BigEndian.AppendUint32(slices.Clone(right[:second-4]), uint32(len(r))), r...)
		}()},
		{"element", at(3) + "de11: messages of this form have no such element", message(11, "000001")},
		{"length of an element", at(3) + `de31: its length "99" is none of 0 to 23`, message(31, strings.Repeat("5", 99))},
		{"a record ends in an element", at(3) + "de94: the record ends in it", func() []byte {
			b := slices.Clone(right)
			n := binary.BigEndian.Uint32(b[second-4:])
			binary.BigEndian.PutUint32(b[second-4:], n-1)
			return b
		}()},
		{"private subelement", at(3) + "de48: its private subelements are not tag, length and value", message(48, "0158009MCC")},
		{"half a subelement", at(3) + "de48: it ends in a private subelement", message(48, pds(158, "MCC")+"01")},
		{"amount", at(3) + `de4: "00000001000x" is no amount of 12 digits`, message(4, "00000001000x")},
		{"no amount", at(3) + `de4: "" is no amount of 1 to 12 digits`, message(4, "")},
		{"time", at(3) + `de12: "261322**1112" is no time of the form 060102150405`, message(12, "261322101112")},
		{"currency", at(3) + `de49: "998" is no ISO 4217 currency`, message(49, "998")},
		{"direction", at(3) + `de3: "" is no sign of which way money goes`, message(3, "")},
	} {
		_, _, err := readIPM(t, row.file)
		if wrong := (*yamlfile.Problem)(nil); !errors.As(err, &wrong) || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v; want %s", row.name, err, row.want)
		}
	}
	if _, _, err := readIPM(t, right); err != nil {
		t.Error(err)
	}
	r := NewReader("f", io.MultiReader(bytes.NewReader(right[:second]), broken{}), ipmLayout(t))
	var err error
	for err == nil {
		err = r.Next(&Line{})
	}
	if err.Error() != "read f, record 3: disk" {
		t.Error(err)
	}
}

// TestIPMBreaks: what does not match is found by the reference number alone, on both
// engines, and what another day's file settles is settled.
func TestIPMBreaks(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		b := newBank(t, dsn)
		next := today.After()
		b.put(sale(today, 1), with(sale(today, 2), func(r *txn.Record) { r.Request = txn.KindRefund }), sale(today, 3), sale(today, 4), sale(today, 5), sale(today, 6), sale(next, 7),
			with(sale(today, 8), func(r *txn.Record) { r.Leg.Issuer = txn.MakeIssuerID("west") }),
			with(sale(today, 9), func(r *txn.Record) { r.Outcome, r.Reason = txn.OutcomeDeclined, txn.IssuerDeclined }), sale(today, 10))
		b.settled(today, next)
		in := func(day txn.Date, c clearing) Input {
			in := b.input(day, string(c.bytes()))
			in.Layout = ipmLayout(t)
			return in
		}
		back := but(presentment(sale(today, 10)), 48, pds(25, "R261122"))
		c := clearingOf(presentment(sale(today, 1)), presentment(with(sale(today, 2), func(r *txn.Record) { r.Request = txn.KindRefund })),
			but(presentment(sale(today, 3)), 4, "000000010002"), but(presentment(sale(today, 4)), 38, "ABCDEF"), presentment(sale(today, 5)), presentment(sale(today, 5)),
			presentment(sale(next, 7)), presentment(sale(today, 8)), presentment(sale(today, 9)), presentment(sale(today, 10)), back,
			but(presentment(sale(today, 11)), 37, ""), but(presentment(sale(today, 12)), 37, "ABCDEF000012"), but(presentment(sale(today, 13)), 37, "326000000018"),
			map[int]string{0: "1442", 24: "450", 71: "00000009"})
		r := b.imported(in(today, c))
		want := map[string]int64{AmountDiffers.String(): 1, AuthCodeDiffers.String(): 1, ItIsTwiceInTheFile.String(): 1, IssuerDoesNotHaveIt.String(): 1, IssuerReversedIt.String(): 1,
			ItIsOfAnotherDay.String(): 1, ItWentToAnotherIssuer.String(): 1, WeDeclinedIt.String(): 1, WeDoNotHaveIt.String(): 3}
		if !maps.Equal(r.Causes, want) || r.Matched != 3 || r.NotLines["chargebacks (1442)"] != 1 {
			t.Fatalf("%+v", r)
		}
		all, err := b.queue.List(t.Context(), Filter{})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			if text := fmt.Sprint(e); strings.Contains(text, "6222020000000000128") {
				t.Errorf("a card number in clear: %s", text)
			}
			// 18 is one whose twelve digits have a card number's check digit.
			if e.Line > 0 && e.Theirs.Minor == 10_013 && (e.RRN != "326000000018" || e.Columns["de31"] != "55555556326012345678908") {
				t.Errorf("%+v", e)
			}
		}
		// What the file of today had is undone a day later: the money goes back then.
		undone := but(presentment(sale(today, 3)), 48, pds(25, "R261123"))
		r = b.imported(in(next, clearingOf(presentment(sale(today, 6)), presentment(sale(today, 1)), undone)))
		if r.Late != 2 || r.Matched != 0 || r.NoMoney != 0 || !maps.Equal(r.Causes, map[string]int64{ItWasGivenBefore.String(): 2}) {
			t.Errorf("the next day's: %+v", r)
		}
		all, err = b.queue.List(t.Context(), Filter{})
		if err != nil || !slices.ContainsFunc(all, func(e Exception) bool { return e.RRN == "326000000003" && e.Theirs.Minor == -10_003 }) {
			t.Errorf("what is undone: %+v, %v", all, err)
		}
	})
}

// FuzzIPM: any file is read or refused; nothing panics, and no card number is kept.
func FuzzIPM(f *testing.F) {
	c := clearingOf(presentment(sale(today, 1)), map[int]string{0: "1442", 24: "450", 71: "00000003"})
	f.Add(c.bytes())
	c.ebcdic, c.blocked = true, true
	f.Add(c.bytes())
	l := ipmLayout(f)
	f.Fuzz(func(t *testing.T, file []byte) {
		r := NewReader("f", bytes.NewReader(file), l)
		var line Line
		for {
			err := r.Next(&line)
			if errors.Is(err, io.EOF) {
				return
			}
			if wrong := (*yamlfile.Problem)(nil); err != nil {
				if !errors.As(err, &wrong) {
					t.Fatal(err)
				}
				return
			}
			if line.Amount.Minor < 0 || line.Amount.Minor > txn.AmountMax || len(r.NotLines) > len(notLines) {
				t.Fatalf("%+v", line)
			}
			if pan, err := txn.ParsePAN(line.Card); err == nil && line.Columns()["de2"] != pan.Masked() {
				t.Fatalf("the card is kept as %s", line.Columns()["de2"])
			}
		}
	})
}

// BenchmarkIPM reads a file of 100,000 presentments in EBCDIC and blocks.
func BenchmarkIPM(b *testing.B) {
	const n = 100_000
	c := clearingOf(slices.Repeat([]map[int]string{presentment(sale(today, 1))}, n)...)
	c.ebcdic, c.blocked = true, true
	file := c.bytes()
	l := ipmLayout(b)
	b.ReportAllocs()
	for b.Loop() {
		r := NewReader("f", bytes.NewReader(file), l)
		var line Line
		var err error
		for err == nil {
			err = r.Next(&line)
		}
		if err != io.EOF {
			b.Fatal(err)
		}
	}
	b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}
