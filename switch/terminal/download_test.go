package terminal_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/settlement/journal"
	acquirer "github.com/acqswitch/acqswitch/switch"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/download"
	"github.com/acqswitch/acqswitch/switch/issuer"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/pos"
	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/testdata"
)

type observer struct{}

func (observer) Finish(*txn.Request, *txn.Answer, string) {}
func (observer) BadFrame(string, pos.Cause)               {}

func sampleFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := testdata.Files.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sampleDownloads(t testing.TB, more string) *download.Snapshot {
	t.Helper()
	s, err := download.Load(strings.NewReader(string(sampleFile(t, "downloads.yaml"))+more), "downloads.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// startLibrary is a switch for CUP terminals with the sample registry in dir,
// which hands out contents. Its issuer is nobody: nothing is sold here.
func startLibrary(t testing.TB, dir string, contents *download.Snapshot) (addr string, l *download.Library, stop func()) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var stops []func()
	run := func(f func(context.Context) error) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); f(ctx) }()
		stops = append(stops, func() { cancel(); <-done })
	}
	stop = func() {
		for len(stops) > 0 {
			stops[len(stops)-1]()
			stops = stops[:len(stops)-1]
		}
	}
	t.Cleanup(func() { stop() })
	parties, err := registry.Load(bytes.NewReader(sampleFile(t, "registry.yaml")), "registry.yaml")
	must(err)
	codecs := func(cfg *issuer.Config) (issuer.Codec, error) {
		return dialect.ForIssuer(cfg.Dialect, "48802900", dialect.CUPS{})
	}
	router, err := issuer.New([]issuer.Config{{Name: "nobody", Hosts: issuer.Hosts{"127.0.0.1:1"}, BINs: []string{"9"}}}, codecs, nil, issuer.Hooks{})
	must(err)
	rules, err := risk.New(risk.Config{})
	must(err)
	cards, err := keys.OpenCards(filepath.Join(dir, "card.keys"))
	must(err)
	open := func(name string) *journal.Journal {
		j, err := journal.Open(filepath.Join(dir, name), journal.Config{SegmentSize: 8 << 20})
		must(err)
		stops = append(stops, func() { j.Close() })
		run(j.Run)
		return j
	}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	taken := open("downloads")
	l = download.New(contents, taken, func(id txn.TerminalID) [50]byte { return parties.Serial(id) }, quiet)
	must(l.Recover(taken))
	s, err := acquirer.New(acquirer.Config{Acquirer: "48802900", Day: txn.BusinessDay{Zone: time.UTC, CutOver: 12 * time.Hour}},
		acquirer.Parts{Registry: func() acquirer.Registry { return parties }, Risk: rules, Issuers: router, Journal: open("journal"), Cards: cards, Librarian: l, Log: quiet})
	must(err)
	_, err = s.Recover()
	must(err)
	d, err := dialect.ForTerminal("cup-pos")
	must(err)
	front := pos.New(pos.Config{Listeners: []pos.Listener{{Address: "127.0.0.1:0", Dialect: d}}, DrainWithin: time.Second}, s, observer{}, quiet)
	must(front.Listen(context.Background()))
	run(front.Run)
	return front.Addrs()[0].(*net.TCPAddr).String(), l, stop
}

func dialTerminal(t testing.TB, addr, id string) *terminal.Client {
	t.Helper()
	parties, err := registry.Load(bytes.NewReader(sampleFile(t, "registry.yaml")), "registry.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := terminal.Dial(t.Context(), addr, "cup-pos", terminal.Profile{Terminal: txn.MakeTerminalID(id),
		Merchant: txn.MakeMerchantID("999290054110001"), Serial: parties.Serial(txn.MakeTerminalID(id)).String()}, terminal.Options{Patience: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// The frames of the reference (cup-pos A8), to a switch that has the sample
// file: 0810/360 comes byte for byte, but for time and reference number.
func TestReferenceDownloads(t *testing.T) {
	const key = "9F0605A0000003339F220102"
	addr, _, _ := startLibrary(t, t.TempDir(), sampleDownloads(t, "\ntms: 请更新\n"))
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	d, err := dialect.ForTerminal("cup-pos")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, ask, want string }{
		{"parameters 360",
			"6000030000 603100310000 0800 0000000000C00010 3130303030303031 393939323930303534313130303031 0011000000013600",
			"6000000003 603100310000 0810 001800010AC00014 TTTTTT DDDD 0848802900 RRRRRRRRRRRRRRRRRRRRRRRR 3030 3130303030303031 393939323930303534313130303031 0011000000013600" +
				"0125313136303132363031333331343032313132333435363738202020313830313930303230303231313232B2E2CAD4C9CCBBA7202020202020202020202020202020202020202020202020202020202020202032333332343132353132363131313130303030303030303030303030303030303030303030303030303030"},
		{"CAPK query 372",
			"6000030000 603100310000 0820 0000000000C00014 3130303030303031 393939323930303534313130303031 0011000000013720 0003313030",
			"6000000003 603100310000 0830 001800010AC00014 TTTTTT DDDD 0848802900 RRRRRRRRRRRRRRRRRRRRRRRR 3030 3130303030303031 393939323930303534313130303031 0011000000013720" +
				"0058 31 9F0605A0000003339F220102DF050420301231 9F0605A0000003339F220103DF050420301231 9F0605A0000003339F220108DF050420301231"},
		{"CAPK 370",
			"6000030000 603100310000 0800 0000000000C00014 3130303030303031 393939323930303534313130303031 0011000000013700 0012" + key,
			"6000000003 603100310000 0810 001800010AC00014 TTTTTT DDDD 0848802900 RRRRRRRRRRRRRRRRRRRRRRRR 3030 3130303030303031 393939323930303534313130303031 0011000000013700" +
				"0203 31" + key + "DF050420301231DF060101DF070101DF028190A3767ABD1B6AA69D7F3FBF28C092DE9ED1E658BA5F0909AF7A1CCD907373B7210FDEB16287BA8E78E1529F443976FD27F991EC67D95E5F4E96B127CAB2396A94D6E45CDA44CA4C4867570D6B07542F8D4BF9FF97975DB9891515E66F525D2B3CBEB6D662BFB6C3F338E93B02142BFC44173A3764C56AADD202075B26DC2F9F7D7AE74BD7D00FD05EE430032663D27A57" +
				"DF040103DF031403BB335A8549A03B87AB089D006F60852E4B8060"},
		{"AID 380",
			"6000030000 603100310000 0800 0000000000C00014 3130303030303031 393939323930303534313130303031 0011000000013800 00119F0608A000000333010101",
			"6000000003 603100310000 0810 001800010AC00014 TTTTTT DDDD 0848802900 RRRRRRRRRRRRRRRRRRRRRRRR 3030 3130303030303031 393939323930303534313130303031 0011000000013800" +
				"0113 31 9F0608A000000333010101 DF010100 9F08020020 DF1105D84000A800 DF1205D84004F800 DF13050010000000 9F1B0400000000 DF150400000000 DF160199 DF170199 DF14039F3704 DF180101 9F7B06000000100000 DF1906000000100000 DF2006000000100000 DF2106000000100000"},
		{"end 381, which counts for nothing without its query: the keys are asked for",
			"6000030000 603100310000 0800 0000000000C00010 3130303030303031 393939323930303534313130303031 0011000000013810",
			"6000000003 603104310000 0810 001800010AC00010 TTTTTT DDDD 0848802900 RRRRRRRRRRRRRRRRRRRRRRRR 3030 3130303030303031 393939323930303534313130303031 0011000000013810"},
		{"TMS 364",
			"6000030000 603100310000 0800 0000000000C00010 3130303030303031 393939323930303534313130303031 0011000000013640",
			"6000000003 603100310000 0810 001800010AC00014 TTTTTT DDDD 0848802900 RRRRRRRRRRRRRRRRRRRRRRRR 3030 3130303030303031 393939323930303534313130303031 0011000000013640 0006C7EBB8FCD0C2"},
		{"status 362",
			"6000030000 603100310000 0820 0000000000C00014 3130303030303031 393939323930303534313130303031 0011000000013620 001930313130323130333130343130353131313630",
			"6000000003 603104310000 0830 001800010AC00010 TTTTTT DDDD 0848802900 RRRRRRRRRRRRRRRRRRRRRRRR 3030 3130303030303031 393939323930303534313130303031 0011000000013620"},
		{"a key that is not there",
			"6000030000 603100310000 0800 0000000000C00014 3130303030303031 393939323930303534313130303031 0011000000013700 00129F0605A0000003339F2201FE",
			"6000000003 603100310000 0810 001800010AC00010 TTTTTT DDDD 0848802900 RRRRRRRRRRRRRRRRRRRRRRRR 3235 3130303030303031 393939323930303534313130303031 0011000000013700"},
		{"a query without its index, which is of the first page",
			"6000030000 603100310000 0820 0000000000C00010 3130303030303031 393939323930303534313130303031 0011000000013720",
			"6000000003 603100310000 0830 001800010AC00014 TTTTTT DDDD 0848802900 RRRRRRRRRRRRRRRRRRRRRRRR 3030 3130303030303031 393939323930303534313130303031 0011000000013720" +
				"0058 31 9F0605A0000003339F220102DF050420301231 9F0605A0000003339F220103DF050420301231 9F0605A0000003339F220108DF050420301231"},
		{"SM2 keys, which are not offered",
			"6000030000 603100310000 0820 0000000000C00014 3130303030303031 393939323930303534313130303031 0011000000013730 0003313030",
			"6000000003 603100310000 0830 001800010AC00010 TTTTTT DDDD 0848802900 RRRRRRRRRRRRRRRRRRRRRRRR 3430 3130303030303031 393939323930303534313130303031 0011000000013730"},
	} {
		if _, err := conn.Write(framed(t, row.ask)); err != nil {
			t.Fatal(err)
		}
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		body := make([]byte, int(size[0])<<8|int(size[1]))
		if _, err := io.ReadFull(conn, body); err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		var m iso.Message
		if err := d.Codec().Parse(&m, body); err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		want := strings.ReplaceAll(row.want, " ", "")
		want = strings.Replace(want, "TTTTTTDDDD", fmt.Sprintf("%X%X", m.Value(12), m.Value(13)), 1)
		want = strings.Replace(want, strings.Repeat("R", 24), fmt.Sprintf("%X", m.Value(37)), 1)
		if got := fmt.Sprintf("%X", body); got != want {
			t.Errorf("%s\n got %s\nwant %s", row.name, got, want)
		}
	}
}

// framed is the frame of labelled hex.
func framed(t testing.TB, text string) []byte {
	t.Helper()
	body, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{byte(len(body) >> 8), byte(len(body))}, body...)
}

// A terminal that does what its answers ask for takes everything once, whatever
// the size of the lists, and is asked for nothing afterwards, across a restart
// of the switch.
func TestObey(t *testing.T) {
	var long strings.Builder
	long.WriteString("version: 1\nparameters: {default: {timeout: 60}}\ncontactless: {no_pin: 1}\ntms: 请更新\nstatus: first\naids:\n")
	for i := range 99 {
		fmt.Fprintf(&long, "  - {aid: A000000333%04d, asi: \"00\", version: \"0020\", tac_default: D84000A800, tac_online: D84004F800, tac_denial: \"0010000000\", floor_limit: \"00000000\", threshold: \"00000000\", target_percent_max: \"99\", target_percent: \"99\", ddol: 9F3704, online_pin: \"01\"}\n", i)
	}
	for _, list := range []struct {
		name string
		n    int
	}{{"black_list", 999}, {"no_pin_new", 43}, {"no_pin_black", 0}} {
		fmt.Fprintf(&long, "%s:\n", list.name)
		if list.n == 0 {
			fmt.Fprintf(&long, "  []\n")
		}
		for i := range list.n {
			fmt.Fprintf(&long, "  - {length: 16, bin: \"9%04d\"}\n", i)
		}
	}
	contents, err := download.Load(strings.NewReader(long.String()), "long.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	addr, l, stop := startLibrary(t, dir, contents)
	c := dialTerminal(t, addr, "10000003")
	answer, err := c.SignOn(t.Context())
	if err != nil || answer.Asks() != 5 {
		t.Fatalf("sign-on: asked for %x, %v", answer.Asks(), err)
	}
	var order []string
	err = c.Obey(t.Context(), answer, func(d terminal.Download, items [][]byte) {
		order = append(order, fmt.Sprintf("%s %d", d, len(items)))
		for i, item := range items {
			want := ""
			switch d {
			case terminal.TakeAIDs:
				want = "\x9F\x06\x07\xA0\x00\x00\x03\x33" + string([]byte{byte(i/1000<<4 | i/100%10), byte(i/10%10<<4 | i%10)})
			case terminal.TakeBlackList, terminal.TakeNoPINNew:
				want = fmt.Sprintf("169%04d     ", i)
			}
			if !strings.HasPrefix(string(item), want) {
				t.Fatalf("%s: item %d is %q, want %q", d, i, item, want)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(order, ", "), "applications 99, parameters 2, TMS notice 1, BIN black list 999, contactless parameters 1, BINs without PIN 43, BINs with PIN 0"; got != want {
		t.Errorf("took %s\nwant %s", got, want)
	}
	if got := l.Status(txn.MakeTerminalID("10000003")).Text; got != "011021031041051" {
		t.Errorf("its status is %q", got)
	}
	asked := func(c *terminal.Client) byte {
		t.Helper()
		answer, err := c.Echo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return answer.Asks()
	}
	if got := asked(c); got != 0 {
		t.Errorf("asked for %x again", got)
	}
	if got := asked(dialTerminal(t, addr, "10000001")); got != 5 {
		t.Errorf("another terminal is asked for %x, want 5", got)
	}
	c.Close()
	stop()
	addr, l, _ = startLibrary(t, dir, contents)
	c = dialTerminal(t, addr, "10000003")
	if got := asked(c); got != 0 {
		t.Errorf("after a restart: asked for %x", got)
	}
	l.Replace(sampleDownloads(t, ""))
	if got := asked(c); got != 4 {
		t.Errorf("after a new file: asked for %x, want 4", got)
	}
}

// Whoever is not registered, or not with this merchant, is told nothing.
func TestStrangersDownloadNothing(t *testing.T) {
	addr, _, _ := startLibrary(t, t.TempDir(), sampleDownloads(t, ""))
	for id, want := range map[string]string{"99999999": "answered 97", "10000008": "answered 58"} {
		_, _, err := dialTerminal(t, addr, id).Download(t.Context(), terminal.TakeParameters)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", id, err, want)
		}
	}
}
