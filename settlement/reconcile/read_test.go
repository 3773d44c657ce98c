package reconcile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
	"github.com/acqswitch/acqswitch/testdata"
)

// read is every line of a file in short, and how it ended.
func read(l *Layout, text string) (all []string, err error) {
	r := NewReader("f", strings.NewReader(text), l)
	for {
		var line Line
		if err := r.Next(&line); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return all, err
		}
		all = append(all, fmt.Sprintf("%d/%010d %s %v %s", line.STAN, line.Time, line.Amount, line.Credit, line.Columns()["note"]))
	}
}

// bankLayout is the sample layout, which explains every key.
func bankLayout(t testing.TB) *Layout {
	t.Helper()
	text, err := testdata.Files.ReadFile("layout.yaml")
	if err != nil {
		t.Fatal(err)
	}
	l, err := LoadLayout("layout.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestCSV(t *testing.T) {
	const names = "trace,when,kind,amount,currency,card,ref,note\n"
	for _, row := range []struct{ name, text, want, err string }{
		{"two lines", names + "1,2026-11-22 10:11:12,S,12.50,CNY,6222020000000128,1,a\n000002,2026-11-22 10:11:13,R,7,392,,2,\"b \"\"c\"\", d\"\nSUM,2\n",
			`1/1122101112 12.50 156 false a|2/1122101113 7 392 true b "c", d`, ""},
		{"in another order, with a column of theirs", "note,x,amount,currency,trace,when,kind,card,ref\r\na,9,1.00,USD,1,2026-11-22 10:11:12,S,,\r\nSUM,1\r\n", "1/1122101112 1.00 840 false a", ""},
		{"no trailer", names + "1,2026-11-22 10:11:12,S,12.50,CNY,,1,a\n", "1/1122101112 12.50 156 false a", `f:2: the file is cut off: it has no line "SUM" at its end`},
		{"a column missing", "trace,when,kind,amount,currency,card,note\n", "", "f:1: ref: the column is missing"},
		{"a column twice", "trace,trace\n", "", "f:1: trace: the column is there twice"},
		{"too few columns", names + "1,2026\n", "", "f:2: it has 2 columns, 8 are expected"},
		{"too many decimals", names + "1,2026-11-22 10:11:12,S,12.505,CNY,,1,a\n", "", "f:2: amount: amount"},
		{"currency", names + "1,2026-11-22 10:11:12,S,12.50,XXZ,,1,a\n", "", `f:2: currency: "XXZ" is no ISO 4217 currency`},
		{"time", names + "1,2026-11-22,S,12.50,CNY,,1,a\n", "", `f:2: when: "2026-11-22" is no time of the form 2006-01-02 15:04:05`},
		{"a card where the number should be", names + "6222020000000128,2026-11-22 10:11:12,S,12.50,CNY,,1,a\n", "", `f:2: trace: "622202******0128" is no trace number`},
		{"quote", names + "\"1,2026\n", "", "f:2: a quote in it does not end"},
		{"behind a quote", names + "\"1\"x,2026\n", "", "f:2: behind a quote in it is 'x' where ',' should be"},
		{"count", names + "SUM,3\n", "", "f:2: count: it says 3, the lines come to 0"},
		{"count is none", names + "SUM,x\n", "", `f:2: count: "x" is no number`},
		{"a long line", names + strings.Repeat("x", lineMax+1) + "\n", "", "f:2: the line is longer than 65536 bytes"},
	} {
		got, err := read(bankLayout(t), row.text)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if s := strings.Join(got, "|"); s != row.want || row.err == "" != (err == nil) || !strings.HasPrefix(text, row.err) {
			t.Errorf("%s: %q, %v; want %q, %s", row.name, s, err, row.want, row.err)
		}
	}
}

// TestControl: a file begins and ends with lines that say what is between them, and each
// figure of these is held to it.
func TestControl(t *testing.T) {
	l, err := LoadLayout("l", []byte(`version: 1
form: csv
currency: CNY
header: {mark: HDR, columns: [{name: file}, {name: day, as: date, format: "20060102"}]}
trailer: {mark: END, must: "yes", columns: [{name: line}, {name: n, as: count}, {name: sum, as: total}, {name: dr, as: debits}, {name: cr, as: credits}]}
columns: [{name: trace, as: stan}, {name: at, as: time}, {name: fen, as: amount}, {name: side, as: direction, credit: [C]}]
`))
	if err != nil {
		t.Fatal(err)
	}
	const lines = "1,1122101112,1250,D\n2,1122101113,250,C\n"
	for _, row := range []struct{ name, text, err string }{
		{"as it should be", "HDR,20261122\n" + lines + "END,2,1500,1250,250\n", ""},
		{"no header", lines + "END,2,1500,1250,250\n", `f:1: the file must begin with a line "HDR": is it of this layout?`},
		{"another header", "HDX,20261122\n" + lines + "END,2,1500,1250,250\n", `f:1: the file must begin with a line "HDR": is it of this layout?`},
		{"no day", "HDR,tomorrow\n" + lines, `f:1: day: "tomorrow" is no date`},
		{"count", "HDR,20261122\n" + lines + "END,3,1500,1250,250\n", "f:4: n: it says 3, the lines come to 2"},
		{"total", "HDR,20261122\n" + lines + "END,2,1501,1250,250\n", "f:4: sum: it says 1501, the lines come to 1500"},
		{"debits", "HDR,20261122\n" + lines + "END,2,1500,1249,250\n", "f:4: dr: it says 1249, the lines come to 1250"},
		{"credits", "HDR,20261122\n" + lines + "END,2,1500,1250,0\n", "f:4: cr: it says 0, the lines come to 250"},
		{"behind the trailer", "HDR,20261122\n" + lines + "END,2,1500,1250,250\n" + lines, "f:5: there is a line behind the trailer"},
	} {
		got, err := read(l, row.text)
		if row.err == "" && (err != nil || len(got) != 2) || row.err != "" && (err == nil || !strings.HasPrefix(err.Error(), row.err)) {
			t.Errorf("%s: %d lines, %v; want %s", row.name, len(got), err, row.err)
		}
	}
}

// TestByReference: a layout without trace numbers is matched by reference numbers.
func TestByReference(t *testing.T) {
	l, err := LoadLayout("l", []byte("version: 1\nform: csv\nkey: rrn\ncurrency: CNY\ncolumns:\n  - {name: ref, as: rrn}\n  - {name: fen, as: amount}\n"))
	if err != nil {
		t.Fatal(err)
	}
	bk := newBank(t, ledgertest.SQLite(t))
	bk.put(sale(today, 1), sale(today, 2))
	bk.settled(today)
	in := bk.input(today, "326000000001,10001\n326000000002,10003\n,5\n")
	in.Layout = l
	if r := bk.imported(in); r.Matched != 1 || r.Causes[AmountDiffers.String()] != 1 || r.Causes[WeDoNotHaveIt.String()] != 1 || r.Exceptions != 2 {
		t.Errorf("%+v", r)
	}
}

func TestZM(t *testing.T) {
	l, ok := Builtin("zm")
	if !ok || len(l.detail.columns) != 40 {
		t.Fatal("the merchant layout has 40 columns")
	}
	values := map[string]string{"acquirer": "48802900", "stan": "000007", "time": "1122101112", "card": "6222020000000128", "amount": "000000010007", "settled-amount": "D000000010000",
		"merchant": mid, "terminal": "10000001"}
	var b strings.Builder
	for i, c := range l.detail.columns {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%-*s", c.width, values[c.name])
	}
	got, err := read(l, b.String()+"\n")
	if err != nil || len(got) != 1 || got[0] != "7/1122101112 100.07 156 true " {
		t.Errorf("%q, %v", got, err)
	}
	bk := newBank(t, ledgertest.SQLite(t))
	other := with(sale(today, 8), func(r *txn.Record) { r.Merchant = txn.MakeMerchantID("999290054110002") })
	bk.put(with(sale(today, 7), func(r *txn.Record) { r.Request = txn.KindRefund }), other)
	bk.settled(today)
	in := bk.input(today, b.String()+"\n")
	in.Layout, in.Merchant = l, txn.MakeMerchantID(mid)
	if r := bk.imported(in); r.Matched != 1 || r.Exceptions != 0 {
		t.Errorf("of one merchant: %+v", r)
	}
}

func TestLoadLayout(t *testing.T) {
	const good = "version: 1\nform: csv\ncurrency: CNY\ncolumns:\n  - {name: a, as: stan}\n  - {name: b, as: time}\n  - {name: c, as: amount}\n"
	for _, row := range []struct{ name, from, to, want string }{
		{"good", "", "", ""},
		{"version", "version: 1", "version: 2", "l:1: version: must be 1"},
		{"form", "csv", "xml", `l:2: form: "xml" must be fixed, csv or ipm`},
		{"currency", "currency: CNY", "currency: FEN", `l:3: currency: "FEN" is no ISO 4217`},
		{"no currency", "currency: CNY\n", "", "l:1: currency: must be given"},
		{"role", "as: stan", "as: trace", `l:5: columns[].as: "trace" must be one of stan, time`},
		{"a role twice", "as: time", "as: stan", "l:6: columns[].as: two columns are read as stan"},
		{"a role missing", "as: amount", `as: ""`, "columns: one must be read as amount"},
		{"a name twice", "name: b", "name: a", `l:6: columns[].name: "a" must be a name that no other column has`},
		{"width", "form: csv", "form: fixed", `l:5: columns[].width: "" must be 1 to 4096`},
		{"format", "as: time", "as: time, format: yyyy", `l:6: columns[].format: "yyyy" is not 2006-01-02`},
		{"a format of a number", "as: stan", `as: stan, format: "2006"`, "l:5: columns[].format: is for times and dates only"},
		{"separator", "form: csv", "form: csv\nseparator: ab", `l:3: separator: "ab" must be one character`},
		{"amounts", "form: csv", "form: csv\namounts: cents", `l:3: amounts: "cents" must be minor or major`},
		{"mark", "columns:", "trailer: {columns: [{name: n, as: count}]}\ncolumns:", "trailer.mark: must say what the line begins with"},
		{"key", "form:", "from:", "l:2: unknown field"},
		{"by reference number", "form: csv", "form: csv\nkey: rrn", `columns: one must be read as rrn`},
		{"by nothing", "form: csv", "form: csv\nkey: card", `l:3: key: "card" must be trace or rrn`},
		{"an element that no message has", "form: csv", "form: ipm", `l:5: columns[].name: "a" must be de2 to de127`},
		{"amounts of messages", "form: csv", "form: ipm\namounts: major", "l:3: form: of ipm the separator, amounts"},
		{"empty", good, "", "l:1: the file is empty"},
	} {
		_, err := LoadLayout("l", []byte(strings.Replace(good, row.from, row.to, 1)))
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v; want %s", row.name, err, row.want)
		}
	}
}

// FuzzReader: any file of any layout is read or refused; nothing panics, and what
// is kept of a line shows no card number.
func FuzzReader(f *testing.F) {
	f.Add(uint8(0), acom(today, rowOf(sale(today, 1)), rowOf(sale(today, 2))))
	f.Add(uint8(2), "trace,when,kind,amount,currency,card,ref,note\n1,2026-11-22 10:11:12,S,12.50,CNY,6222020000000128,\"1\",a\nSUM,1\n")
	acom, _ := Builtin("acom")
	zm, _ := Builtin("zm")
	all := []*Layout{acom, zm, bankLayout(f)}
	f.Fuzz(func(t *testing.T, n uint8, text string) {
		r := NewReader("f", strings.NewReader(text), all[int(n)%len(all)])
		var line Line
		for {
			err := r.Next(&line)
			if errors.Is(err, io.EOF) {
				return
			}
			if wrong := (*yamlfile.Problem)(nil); err != nil {
				if !errors.As(err, &wrong) || strings.ContainsAny(err.Error(), "\n") && wrong.Field == "" {
					t.Fatalf("%v", err)
				}
				return
			}
			if line.STAN == 0 || line.Amount.Minor < 0 || line.Amount.Minor > txn.AmountMax {
				t.Fatalf("%+v", line)
			}
			if pan, err := txn.ParsePAN(line.Card); err == nil && line.Columns()["card"] != pan.Masked() {
				t.Fatalf("the card is kept as %s", line.Columns()["card"])
			}
		}
	})
}

// FuzzLoadLayout: any layout is taken or refused.
func FuzzLoadLayout(f *testing.F) {
	for _, name := range []string{"acom", "zm", "ipm"} {
		text, err := os.ReadFile("layouts/" + name + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := LoadLayout("l", []byte(text))
		if err == nil {
			read(l, "a\nb\n") //nolint:errcheck // any end will do, but no panic
		}
	})
}
