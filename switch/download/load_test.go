package download

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

const samplePath = "../../testdata/downloads.yaml"

func sampleText(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(samplePath)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func load(t testing.TB, text string) *Snapshot {
	t.Helper()
	s, err := Load(strings.NewReader(text), "downloads.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Each row is a file with one fault, and how the person who wrote it is told.
func TestLoadNamesTheFault(t *testing.T) {
	const set = "version: 1\nparameters:\n  default:\n    "
	for _, row := range []struct{ name, text, want string }{
		{"nothing", "", `downloads.yaml:1: the file is empty`},
		{"no YAML", "version: [1", `downloads.yaml:1: `},
		{"other version", "version: 2\n", `downloads.yaml:1: version: this program reads version 1`},
		{"unknown key", "version: 1\ncapk: []\n", `downloads.yaml:2: unknown field "capk"`},
		{"unknown parameter", set + "tips: 1\n", `downloads.yaml:4: unknown field "tips"`},
		{"twice", "version: 1\ntms: a\ntms: b\n", `downloads.yaml:3: `},
		{"second document", "version: 1\n---\nversion: 1\n", `there is a second YAML document`},
		{"list for a value", "version: 1\ntms: [a]\n", `downloads.yaml:2: a single value is needed here`},
		{"digits missing", set + "timeout: 5\n", `downloads.yaml:4: parameters.default.timeout: "5" must be 2 digits`},
		{"no digits", set + "phone_1: 021-1\n", `parameters.default.phone_1: "021-1" must be 1 to 14 digits`},
		{"no flag", set + "tip: 2\n", `parameters.default.tip: "2" must be 0 or 1`},
		{"no bitmap", set + "transactions: \"1\"\n", `parameters.default.transactions: "1" must be 32 of 0 and 1`},
		{"not in GBK", set + "merchant_name: \"\\U0001F600\"\n", `parameters.default.merchant_name: "😀" must be text that GBK has`},
		{"for nobody", "version: 1\nparameters:\n  overrides:\n    - set: {tip: 1}\n", `overrides[]: number 1 is for nobody`},
		{"terminal twice", "version: 1\nparameters:\n  overrides:\n    - {terminals: [A], set: {tip: 1}}\n    - {terminals: [A], set: {tip: 0}}\n", `downloads.yaml:5: parameters.overrides[].terminals[]: A is already there on line 4`},
		{"hash of another key", strings.Replace(sampleText(t), "hash: 03BB", "hash: 13BB", 1), `capks[].hash: is not that of the key: SHA-1 of RID, index, modulus and exponent is 03BB335A`},
		{"key without expiry", strings.Replace(sampleText(t), "    expiry: \"20301231\"\n", "", 1), `capks[].expiry: "" must be a day as 20301231`},
		{"no such day", strings.Replace(sampleText(t), "20301231\"\n", "20300231\"\n", 1), `"20300231" must be a day`},
		{"key twice", strings.Replace(sampleText(t), "\ncapks:\n", "\ncapks:\n"+capkEntry(t), 1), `is already there on line`},
		{"short AID", "version: 1\naids: [{aid: A000}]\n", `downloads.yaml:2: aids[].aid: "A000" must be 10 to 32 hexadecimal digits`},
		{"BIN of a short card", "version: 1\nblack_list: [{length: 11, bin: 62}]\n", `black_list[].length: "11" must be the digits of a card number, 12 to 19`},
		{"BIN too long", "version: 1\nno_pin_new: [{length: 19, bin: \"62220212345\"}]\n", `no_pin_new[].bin: "62220212345" must be 1 to 10 digits`},
		{"BIN twice", "version: 1\nblack_list:\n  - {length: 19, bin: 62}\n  - {length: 19, bin: 62}\n", `downloads.yaml:4: black_list[]: 19 62 is already there on line 3`},
		{"too many BINs", "version: 1\nblack_list:\n" + bins(1000), `black_list: has 1000 entries, terminals can ask for 999`},
		{"long limit", "version: 1\ncontactless: {no_pin_limit: 1000.00}\n", `contactless.no_pin_limit: "1000.00" must be 12 digits`},
		{"long notice", "version: 1\ntms: " + strings.Repeat("更", 257) + "\n", `tms: must be a line of text that GBK has, 1 to 512 bytes`},
		{"gray of nothing", "version: 1\ngray: {keys: [\"1\"]}\n", `unknown field "keys"`},
		{"gray terminal too long", "version: 1\ngray: {tms: [\"123456789\"]}\n", `gray.tms[]: "123456789" must be 1 to 8 characters`},
	} {
		_, err := Load(strings.NewReader(row.text), "downloads.yaml")
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %s", row.name, err, row.want)
		}
	}
}

// capkEntry is the first key of the sample.
func capkEntry(t testing.TB) string {
	_, rest, _ := strings.Cut(sampleText(t), "\ncapks:\n")
	lines := strings.SplitAfter(rest, "\n")
	return strings.Join(lines[:6], "")
}

func bins(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("  - {length: 19, bin: \"")
		for _, d := range []int{9, i / 100 % 10, i / 10 % 10, i % 10, i / 1000} {
			b.WriteByte('0' + byte(d))
		}
		b.WriteString("\"}\n")
	}
	return b.String()
}

// A list that is there and empty is something to take; one that is not there is
// nothing.
func TestEmptyListIsAContent(t *testing.T) {
	s := load(t, "version: 1\nblack_list: []\ncapks: []\n")
	for c := range content(contents) {
		if got, want := s.versions[c] != 0, c == blackList || c == capks; got != want {
			t.Errorf("%s: is there %v, want %v", shelf[c].name, got, want)
		}
	}
}

func TestParameterLayers(t *testing.T) {
	s := load(t, `version: 1
parameters:
  default: {timeout: 10, retries: 1, tip: 0}
  overrides:
    - {models: [SUN], set: {timeout: 20, retries: 2}}
    - {models: [SUNMI], set: {timeout: 30}}
    - {merchants: [M1], set: {timeout: 40, merchant_name: 店}}
    - {terminals: [T1], set: {timeout: 50}}
`)
	shop, other := merchantNamed("M1", "上海"), merchantNamed("M2", "上海")
	named := func(gbk string) string { return "22" + gbk + strings.Repeat(" ", 40-len(gbk)) }
	for _, row := range []struct {
		name, terminal, serial string
		m                      *txn.Merchant
		want                   string
	}{
		{"default and the registry's name", "T9", "PAX1", other, "1210131180" + named("\xC9\xCF\xBA\xA3")},
		{"model", "T9", "SUN1", other, "1220132180" + named("\xC9\xCF\xBA\xA3")},
		{"longest model", "T9", "SUNMI1", other, "1230131180" + named("\xC9\xCF\xBA\xA3")},
		{"merchant over model", "T9", "SUN1", shop, "1240132180" + named("\xB5\xEA")},
		{"terminal over all", "T1", "SUN1", shop, "1250132180" + named("\xB5\xEA")},
	} {
		serial := func(txn.TerminalID) (b [50]byte) { copy(b[:], row.serial); return b }
		got, state := s.layers.append(nil, txn.MakeTerminalID(row.terminal), serial, row.m)
		if string(got) != row.want || state != pageLast {
			t.Errorf("%s:\n got %q\nwant %q", row.name, got, row.want)
		}
	}
	// A name that changes in the registry is a new version for who is told it.
	serial := func(txn.TerminalID) (b [50]byte) { return b }
	v := func(m *txn.Merchant) uint64 { return s.version(parameters, txn.MakeTerminalID("T9"), serial, m) }
	if v(other) == v(merchantNamed("M2", "北京")) {
		t.Error("the registry's name is in the parameters and not in their version")
	}
	if v(shop) != v(merchantNamed("M1", "北京")) {
		t.Error("the registry's name is in the version and not in the parameters")
	}
}

func merchantNamed(id, name string) *txn.Merchant {
	m := &txn.Merchant{ID: txn.MakeMerchantID(id)}
	copy(m.Name[:], name)
	return m
}

func TestCutKeepsCharactersWhole(t *testing.T) {
	for _, row := range []struct {
		text  string
		width int
		want  string
	}{{"店店", 4, "店店"}, {"店店", 3, "店"}, {"a店", 2, "a"}, {"ab", 1, "a"}, {"店", 1, ""}, {"", 4, ""}} {
		gbk, err := chinese(row.text)
		want, err2 := chinese(row.want)
		if got := cut(gbk, row.width); err != nil || err2 != nil || got != want {
			t.Errorf("%q to %d bytes: got %q, want %q", row.text, row.width, got, want)
		}
	}
}

// All payloads of the sample fit a message.
func TestSampleFits(t *testing.T) {
	s := load(t, sampleText(t))
	for c := range s.items {
		for _, it := range s.items[c] {
			if len(it.body)+1 > payloadMax {
				t.Errorf("%s %X takes %d bytes", shelf[c].name, it.key, len(it.body))
			}
		}
	}
	if !slices.ContainsFunc(s.items[capks], func(it item) bool { return it.key == "\x9F\x06\x05\xA0\x00\x00\x03\x33\x9F\x22\x01\x02" }) {
		t.Error("the sample lacks the key that the reference's terminal asks for")
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(sampleText(f))
	f.Add("version: 1\nparameters: {default: {merchant_name: 店}}\ngray: {tms: [A]}\n")
	f.Add("version: 1\nblack_list: [{length: 19, bin: 62}]\ncapks: []\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Load(strings.NewReader(text), "f")
		if (s == nil) == (err == nil) {
			t.Fatalf("a snapshot and an error: %v", err)
		}
		if s == nil {
			return
		}
		serial := func(txn.TerminalID) (b [50]byte) { return b }
		for network := range uint16(400) {
			for _, de62 := range []string{"", "000", "001", "100"} {
				r, ok := parse(network, []byte(de62))
				if !ok || r.step == stepEnd || r.step == stepUpload {
					continue
				}
				if got, _ := s.serve(nil, &r, txn.TerminalID{}, serial, &txn.Merchant{}); len(got) > payloadMax {
					t.Fatalf("%d %q: %d bytes", network, de62, len(got))
				}
			}
		}
	})
}
