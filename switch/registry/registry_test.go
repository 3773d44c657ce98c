package registry

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

const sampleFile = "../../testdata/registry.yaml"

func sample(t testing.TB) *Snapshot {
	t.Helper()
	f, err := os.Open(sampleFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := Load(f, "registry.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSample(t *testing.T) {
	s := sample(t)
	if m, n := s.Len(); m < 36 || n < 100 {
		t.Fatalf("%d merchants, %d terminals", m, n)
	}
	m, ok := s.Merchant(txn.MakeMerchantID("999290054110001"))
	if !ok || m.MCC != 5411 || m.Country != 156 || m.Currency != txn.CNY || m.Region != 310101 || m.Status != txn.StatusActive ||
		m.Policy != txn.RegionRefuse || !m.Allows(txn.KindSale) || m.Limits.Transaction != 50_000_00 || m.Card.DayAmount != 200_000_00 {
		t.Errorf("merchant: %+v", m)
	}
	term, ok := s.Terminal(txn.MakeTerminalID("10000001"))
	if !ok || term.Merchant != m.ID || term.Status != txn.StatusActive || term.Mobility != txn.Fixed || term.Region != 310101 ||
		term.Lat != 31_230400 || term.Lng != 121_473700 || term.RadiusMetres != 500 || term.Limits.Transaction != 20_000_00 {
		t.Errorf("terminal: %+v", term)
	}
	if m, ok := s.Merchant(txn.MakeMerchantID("MERCHANT0000001")); !ok || m.Currency != 392 || m.Limits.Transaction != 300_000 {
		t.Errorf("a currency without decimals: %+v", m)
	}
}

func TestWriteRoundTrips(t *testing.T) {
	file, err := os.ReadFile(sampleFile)
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string][]byte{"sample": file, "with MACs": []byte(small)}
	for _, security := range []string{"mac: none, keys: dukpt-tdes, ksn: FFFF9876543210E0", "mac: cmac, keys: dukpt-aes256, ksn: 1234567890123456",
		"mac: x9.19", "mac: cup-ecb, double_tak: true", "mac: none, keys: master-session, pin: iso-3"} {
		cases[security] = []byte(strings.Replace(small, "mac: none, premises", security+", premises", 1))
	}
	for name, text := range cases {
		t.Run(name, func(t *testing.T) {
			again, first := rewrite(t, text)
			s, err := Load(bytes.NewReader(text), name)
			if err != nil {
				t.Fatal(err)
			}
			mustEqual(t, s, again)
			if _, second := rewrite(t, first); !bytes.Equal(first, second) {
				t.Fatalf("written twice it differs:\n%s\n%s", first, second)
			}
		})
	}
}

// rewrite reads a file as a book, writes that, and loads what was written.
func rewrite(t *testing.T, text []byte) (*Snapshot, []byte) {
	t.Helper()
	book, err := Read(bytes.NewReader(text), "f")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := book.Write(&out); err != nil {
		t.Fatal(err)
	}
	s, err := Load(bytes.NewReader(out.Bytes()), "written")
	if err != nil {
		t.Fatalf("%v\n%s", err, out.Bytes())
	}
	return s, out.Bytes()
}

func mustEqual(t *testing.T, a, b *Snapshot) {
	t.Helper()
	if !slices.Equal(a.rows.Circles, b.rows.Circles) || !slices.Equal(a.rows.Models, b.rows.Models) ||
		!slices.Equal(a.rows.Merchants, b.rows.Merchants) || !slices.Equal(a.rows.Terminals, b.rows.Terminals) {
		t.Fatalf("\n%+v\n%+v", a, b)
	}
}

// Each act is tried on each status; what is not in the table is refused.
func TestMerchantLife(t *testing.T) {
	allowed := map[string]string{
		"draft submit": "submitted", "rejected submit": "submitted", "submitted review": "under-review", "under-review approve": "active", "under-review reject": "rejected",
		"active hold": "hold", "active suspend": "suspended", "hold suspend": "frozen", "hold resume": "active", "suspended resume": "active",
		"suspended hold": "frozen", "frozen resume": "hold",
		"draft close": "closed", "submitted close": "closed", "under-review close": "closed", "rejected close": "closed", "active close": "closed", "suspended close": "closed",
	}
	n := 0
	for s := MerchantDraft; s <= MerchantFrozen; s++ {
		for _, act := range []string{"submit", "review", "approve", "reject", "hold", "suspend", "resume", "close", "burn"} {
			to, ok := s.Step(act)
			if want, may := allowed[s.String()+" "+act]; ok != may || ok && to.String() != want || !ok && to != s {
				t.Errorf("%s %s: %s, %v", s, act, to, ok)
			}
			n++
		}
	}
	if n != 9*9 || MerchantFrozen.Serves() != txn.StatusSuspended || !MerchantFrozen.Held() || MerchantSuspended.Held() || MerchantReviewing.Acts() != "approve, reject, close" || MerchantHeld.Serves() != txn.StatusActive || MerchantSubmitted.Serves() != txn.StatusInactive {
		t.Error(n, MerchantReviewing.Acts())
	}
}

func TestMachineLife(t *testing.T) {
	allowed := map[string]string{
		"stock bind": "bound", "bound activate": "active", "active idle": "unverified",
		"active suspend": "suspended", "unverified suspend": "suspended", "unverified resume": "active", "suspended resume": "active",
		"bound repair": "repair", "active repair": "repair", "unverified repair": "repair", "suspended repair": "repair", "repair return": "bound",
		"bound move": "bound", "active move": "bound", "unverified move": "bound", "suspended move": "bound",
		"bound release": "stock", "active release": "stock", "unverified release": "stock", "suspended release": "stock", "repair release": "stock",
		"stock retire": "retired", "bound retire": "retired", "active retire": "retired", "unverified retire": "retired", "suspended retire": "retired", "repair retire": "retired",
	}
	for s := MachineStock; s <= MachineRetired; s++ {
		for _, act := range []string{"bind", "activate", "idle", "suspend", "resume", "repair", "return", "move", "release", "retire", "burn"} {
			to, ok := s.Step(act)
			if want, may := allowed[s.String()+" "+act]; ok != may || ok && to.String() != want || !ok && to != s {
				t.Errorf("%s %s: %s, %v", s, act, to, ok)
			}
		}
	}
}

// TestS01Software: below the minimum nobody is served; below the target one is
// told, and refused from the day after the deadline.
func TestS01Software(t *testing.T) {
	model := Model{Deadline: 20261130}
	copy(model.Name[:], "N910")
	copy(model.Minimum[:], "1.9")
	copy(model.Target[:], "1.10.2")
	s := &Snapshot{rows: Rows{Models: []Model{model, {}}}}
	for _, row := range []struct {
		app   string
		model uint16
		day   txn.Date
		want  txn.Software
	}{
		{"1.8.9", 1, 20261101, txn.SoftwareTooOld},
		{"1.9", 1, 20261101, txn.SoftwareOld},
		{"1.9", 1, 20261130, txn.SoftwareOld},
		{"1.9", 1, 20261201, txn.SoftwareTooOld},
		{"1.10.1", 1, 20261130, txn.SoftwareOld},
		{"1.10.1", 1, 20261201, txn.SoftwareTooOld},
		{"1.10.2", 1, 20261201, txn.SoftwareServed},
		{"1.10.2  ", 1, 20261201, txn.SoftwareServed},
		{"2", 1, 20261201, txn.SoftwareServed},
		{"", 1, 20261201, txn.SoftwareServed},
		{"0.1", 2, 20261201, txn.SoftwareServed},
		{"0.1", 0, 20261201, txn.SoftwareServed},
	} {
		var app [8]byte
		copy(app[:], row.app)
		if got := s.Software(&txn.Terminal{Model: row.model}, app, row.day); got != row.want {
			t.Errorf("%q of model %d on %s: %d", row.app, row.model, row.day, got)
		}
	}
}

func TestCompareVersions(t *testing.T) {
	rising := []string{"", "0", "1", "1.2", "1.02.1", "1.9", "1.10", "1.10.0", "9", "310003", "320001", "320001a", "v1"}
	for i, a := range rising {
		for j, b := range rising {
			want := sign(i - j)
			if a == "" && b == "0" || a == "0" && b == "" {
				continue // nothing and zero
			}
			if got := compareVersions([]byte(a), []byte(b)); got != want {
				t.Errorf("%q and %q: %d, want %d", a, b, got, want)
			}
		}
	}
	if compareVersions([]byte("01.2"), []byte("1.02\x00")) != 0 || compareVersions([]byte("320001  "), []byte("320001")) != 0 {
		t.Error("zeros before a number or padding count")
	}
}

func TestTables(t *testing.T) {
	book, err := Read(strings.NewReader(small), "f")
	if err != nil {
		t.Fatal(err)
	}
	for what, entries := range map[string][]Entry{"merchants": book.Merchants, "terminals": book.Terminals} {
		names := map[string][]string{"merchants": MerchantKeys(), "terminals": TerminalKeys()}[what]
		var out bytes.Buffer
		if err := WriteTable(&out, names, entries); err != nil {
			t.Fatal(err)
		}
		again, err := ReadTable(&out, "f.csv")
		if err != nil || len(again) != len(entries) {
			t.Fatalf("%d of %d, %v", len(again), len(entries), err)
		}
		for i := range entries {
			if a, b := entries[i].Text(), again[i].Text(); a != b {
				t.Errorf("%s\n%s", a, b)
			}
			parsed, err := parseEntry(entries[i].keys, entries[i].Text())
			if err != nil || parsed.Text() != entries[i].Text() {
				t.Errorf("%v\n%s", err, parsed.Text())
			}
		}
	}
	formula := NewMerchant()
	formula.Put("mid", "SHOP1")
	formula.Put("name", `=HYPERLINK("x")`)
	var table bytes.Buffer
	if err := WriteTable(&table, MerchantKeys(), []Entry{formula}); err != nil || !strings.Contains(table.String(), `SHOP1,"'=HYPERLINK(""x"")"`) {
		t.Errorf("%v\n%s", err, table.String())
	}
	if again, err := ReadTable(&table, "f.csv"); err != nil || again[0].Text() != formula.Text() {
		t.Errorf("%v, %v", again, err)
	}
	for text, want := range map[string]string{
		"":                          "f.csv:1: this is no table of CSV: EOF",
		"mid,nme\n":                 `f.csv:1: a merchant has no key "nme", or it is there twice`,
		"mid,mid\n":                 `f.csv:1: a merchant has no key "mid", or it is there twice`,
		"name\n":                    "f.csv:1: mid: is missing",
		"mid,name\nA,Shop\nB\n":     "f.csv:3: this is no table of CSV: wrong number of fields",
		"mid,name\nA,\"Shop\nB\n\n": `f.csv:`,
	} {
		if _, err := ReadTable(strings.NewReader(text), "f.csv"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	old, err := ReadTable(strings.NewReader("serial,tid,model\nA,1,N910\n"), "f")
	if err != nil {
		t.Fatal(err)
	}
	change, err := ReadTable(strings.NewReader("serial,tid\nA,\n"), "f")
	if err != nil {
		t.Fatal(err)
	}
	old[0].Merge(change[0])
	if got := old[0].Text(); got != "serial A\nmodel N910\n" {
		t.Errorf("an empty cell, and a column left out: %q", got)
	}
}

func TestSameName(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"Corner Shop Ltd", "CORNER SHOP  LTD", true},
		{"上海（浦东）商行", "上海 (浦东) 商行", true},
		{"ＡＢＣ", "abc", true},
		{"a\u00adb", "ab", true},
		{"上海\ufe00商行\u3164", "上海商行", true},        // a variation selector, a filler
		{"Corner\u2800Shop", "Corner Shop", true}, // a blank of Braille
		{"上海商行", "上海商号", false},
		{"Shop 1", "Shop 11", false},
	} {
		if sameName(c.a, c.b) != c.same {
			t.Errorf("%q and %q: %v", c.a, c.b, !c.same)
		}
	}
}

// FuzzTable: no input breaks ReadTable, and entries survive their text.
func FuzzTable(f *testing.F) {
	f.Add([]byte("mid,name\nA,Shop\n"))
	f.Add([]byte("\ufeffserial,limits.day_count,areas\nA,1,\"310000, 330100\"\n"))
	f.Add([]byte("serial,tid,class,cells,phone\nA,1,fixed,\"460-0-6243-7, 1-2-3\",02112345678\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := ReadTable(bytes.NewReader(b), "f")
		if err != nil {
			return
		}
		c := NewChecker("f", true, nil, nil)
		for _, e := range entries {
			if e.Has("mid") {
				c.Merchant(e)
			} else {
				c.Stock(e)
			}
		}
		if c.Err() != nil {
			return
		}
		for _, e := range entries {
			if again, err := parseEntry(e.keys, e.Text()); err != nil || again.Text() != e.Text() {
				t.Fatalf("%v\n%q\n%q", err, e.Text(), again.Text())
			}
		}
	})
}
