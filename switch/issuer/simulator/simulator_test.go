package simulator

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// killed names the book of a child process that is to be killed.
const killed = "SIMULATOR_TEST_BOOK"

func TestMain(m *testing.M) {
	if book := os.Getenv(killed); book != "" {
		serveUntilKilled(book)
		return
	}
	goleak.VerifyTestMain(m)
}

func serveUntilKilled(book string) {
	s, err := New(Config{Book: book})
	if err != nil {
		panic(err)
	}
	fmt.Println(s.Addr())
	panic(s.Run(context.Background()))
}

// What has no right MAC is refused and moves nothing; what is answered has one, unless
// a rule says otherwise. Network management has none.
func TestMACs(t *testing.T) {
	for _, c := range []struct{ dialect, mac, key, other string }{
		{"iso87", "x9.19", "0123456789ABCDEFFEDCBA9876543210", "1123456789ABCDEFFEDCBA9876543210"},
		{"iso87-binary", "x9.9", "sm4 0123456789ABCDEFFEDCBA9876543210", "0123456789ABCDEFFEDCBA9876543210"},
	} {
		t.Run(c.dialect, func(t *testing.T) {
			bad := int64(666)
			s, _ := serve(t, Config{Dialect: c.dialect, MAC: c.mac, MACKey: c.key, Rules: []Rule{{Amount: &bad, Echo: Echo{MAC: true}}}})
			acquirer := dial(t, s.Addr(), c.dialect)
			keyOf := func(text string) dialect.MACKey {
				k, err := readKeys(&Config{Dialect: c.dialect, MAC: c.mac, MACKey: text})
				if err != nil {
					t.Fatal(err)
				}
				return k.signer()
			}
			key := keyOf(c.key)
			for i, step := range []struct {
				name, kind string
				stan       uint32
				minor      int64
				key        dialect.MACKey
				code       string
				authentic  error
			}{
				{"a sale", "0200", 1, 5, key, "00", nil},
				{"a sale under another key", "0200", 2, 5, keyOf(c.other), "63", nil},
				{"a sale without", "0200", 3, 5, nil, "63", nil},
				{"a balance without", "balance", 4, 0, nil, "63", nil},
				{"a reversal in part", "0400 3", 1, 5, key, "00", nil},
				{"a reversal without", "0400", 1, 5, nil, "63", nil},
				{"an echo", "301", 5, 0, nil, "00", txn.ErrMAC},
				{"a sale that is answered wrongly", "0200", 6, bad, key, "00", txn.ErrMAC},
			} {
				acquirer.key = step.key
				if _, err := acquirer.conn.Write(acquirer.message(nil, step.kind, step.stan, step.minor)); err != nil {
					t.Fatal(err)
				}
				m, ok := acquirer.read(5 * time.Second)
				if !ok {
					t.Fatalf("%d, %s: no answer", i, step.name)
				}
				if code := string(m.Value(39)); code != step.code {
					t.Errorf("%s: %s, want %s", step.name, code, step.code)
				}
				if err := acquirer.link.Authentic(m, key); !errors.Is(err, step.authentic) {
					t.Errorf("%s: the answer's MAC: %v, want %v", step.name, err, step.authentic)
				}
			}
			entries, err := s.Book()
			if err != nil {
				t.Fatal(err)
			}
			var book []string
			for _, e := range entries {
				book = append(book, fmt.Sprint(e.Kind, " ", e.STAN))
			}
			if want := []string{"approved 1", "reversed 1", "approved 6"}; !slices.Equal(book, want) {
				t.Errorf("the book has %q, want %q", book, want)
			}
			if n := s.Figures().Forged.Load(); n != 4 {
				t.Errorf("%d messages were refused, want 4", n)
			}
		})
	}
}

// What a conversation is answered and what it leaves in the book.
func TestDesk(t *testing.T) {
	type step struct {
		kind  string
		stan  uint32
		minor int64
		code  string
	}
	for _, c := range []struct {
		name  string
		rules []Rule
		steps []step
		book  []string
	}{
		{"network management", nil, []step{{"001", 1, 0, "00"}, {"301", 2, 0, "00"}, {"002", 3, 0, "00"}}, nil},
		{"a repeat gets the first answer", []Rule{{Times: 1, Code: "51"}}, []step{{"0200", 1, 5, "51"}, {"0201", 1, 5, "51"}, {"0200", 2, 5, "00"}, {"0200", 2, 5, "00"}},
			[]string{"declined 1", "approved 2"}},
		{"a repeat with another amount is a duplicate", nil, []step{{"0200", 1, 5, "00"}, {"0200", 1, 6, "94"}}, []string{"approved 1"}},
		{"an approval is undone once", nil, []step{{"0200", 1, 5, "00"}, {"0400", 1, 5, "00"}, {"0401", 1, 5, "00"}, {"0400", 1, 5, "00"}}, []string{"approved 1", "reversed 1"}},
		{"an advice undoes as well", nil, []step{{"0200", 1, 5, "00"}, {"0420", 1, 5, "00"}, {"0421", 1, 5, "00"}}, []string{"approved 1", "reversed 1"}},
		{"a reversal must have the amount", nil, []step{{"0200", 1, 5, "00"}, {"0400", 1, 4, "64"}}, []string{"approved 1"}},
		{"a part is undone once, less later, and then the rest", nil,
			[]step{{"0200", 1, 9, "00"}, {"0400 5", 1, 9, "00"}, {"0401 5", 1, 9, "00"}, {"0400 3", 1, 9, "00"}, {"0401 5", 1, 9, "64"}, {"0400 9", 1, 9, "64"}, {"0200", 1, 9, "00"}, {"0400", 1, 9, "00"}, {"0400 2", 1, 9, "12"}},
			[]string{"approved 1", "reversed 1", "reversed 1", "reversed 1"}},
		{"a part of what never came", nil, []step{{"0400 5", 1, 9, "25"}}, []string{"unknown 1"}},
		{"a decline is reversed without effect", []Rule{{Code: "51"}}, []step{{"0200", 1, 5, "51"}, {"0400", 1, 5, "00"}}, []string{"declined 1"}},
		{"a request after its reversal is declined", nil, []step{{"0400", 1, 5, "25"}, {"0401", 1, 5, "25"}, {"0200", 1, 5, "94"}, {"0200", 1, 5, "94"}}, []string{"unknown 1", "declined 1"}},
		{"a reversal that a rule refuses moves nothing", []Rule{{Kind: "reversal", Code: "96", Times: 1}}, []step{{"0200", 1, 5, "00"}, {"0400", 1, 5, "96"}, {"0401", 1, 5, "00"}}, []string{"approved 1", "reversed 1"}},
		{"a balance moves no money", nil, []step{{"balance", 1, 0, "00"}}, nil},
		{"an unknown message type", nil, []step{{"0600", 1, 0, "12"}}, nil},
		{"the first rule that matches decides", []Rule{{Card: "5", Code: "14"}, {Card: "622202", AmountMin: new(int64), AmountMax: ptr[int64](9), Code: "13"}, {Card: card, Amount: ptr[int64](10), Code: "61"}, {Code: "05"}},
			[]step{{"0200", 1, 9, "13"}, {"0200", 2, 10, "61"}, {"0200", 3, 11, "05"}, {"balance", 4, 11, "05"}}, []string{"declined 1", "declined 2", "declined 3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, dialect := range []string{"iso87", "iso87-binary", "iso87-ascii4", "iso87-bcd"} {
				s, _ := serve(t, Config{Rules: c.rules, Dialect: dialect})
				cl := dial(t, s.Addr(), dialect)
				for i, st := range c.steps {
					if got := cl.ask(st.kind, st.stan, st.minor); got != st.code {
						t.Fatalf("%s, step %d: code %q, want %q", dialect, i+1, got, st.code)
					}
				}
				if got := booked(t, s); !slices.Equal(got, c.book) {
					t.Errorf("book %v, want %v", got, c.book)
				}
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

func booked(t testing.TB, s *Simulator) (kinds []string) {
	t.Helper()
	entries, err := s.Book()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		kinds = append(kinds, fmt.Sprint(e.Kind, " ", e.STAN))
		if e.Card != "622202*********0128" || e.Time != "1122120000" || e.Terminal != "10000001" {
			t.Errorf("entry %+v", e)
		}
	}
	return kinds
}

func TestAnswerEchoesTheRequest(t *testing.T) {
	s, _ := serve(t, Config{Balance: 123_456})
	c := dial(t, s.Addr(), "iso87")
	c.conn.Write(c.message(nil, "balance", 7, 0))
	m, _ := c.read(10 * time.Second)
	for n, want := range map[int]string{2: card, 3: "310000", 4: "000000000000", 7: "1122120000", 11: "000007", 37: "112200000042", 39: "00", 41: "10000001", 49: "156",
		54: "0002156C000000123456"} {
		if got := string(m.Value(n)); got != want {
			t.Errorf("field %d: %q, want %q", n, got, want)
		}
	}
	if m.Has(38) || m.MTI() != 0x0210 {
		t.Errorf("MTI %04x, authorization code %v", m.MTI(), m.Has(38))
	}
}

// What a script can do to an answer on its way.
func TestMischief(t *testing.T) {
	for _, c := range []struct {
		name    string
		rule    Rule
		answers int
		delay   time.Duration
		hungUp  bool
		booked  int
	}{
		{"lose", Rule{Lose: true}, 0, 0, false, 0},
		{"drop", Rule{Drop: true}, 0, 0, false, 1},
		{"disconnect", Rule{Disconnect: true}, 0, 0, true, 1},
		{"copies", Rule{Copies: 3}, 3, 0, false, 1},
		{"late", Rule{Latency: Latency{Fixed: 80 * time.Millisecond}}, 1, 80 * time.Millisecond, false, 1},
		{"late copies", Rule{Copies: 2, Latency: Latency{Fixed: 50 * time.Millisecond}}, 2, 50 * time.Millisecond, false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _ := serve(t, Config{Rules: []Rule{c.rule}})
			cl := dial(t, s.Addr(), "iso87")
			began := time.Now()
			cl.conn.Write(cl.message(nil, "0200", 1, 5))
			for i := range c.answers {
				if m, ok := cl.read(10 * time.Second); !ok || string(m.Value(39)) != "00" {
					t.Fatalf("answer %d did not come", i+1)
				}
			}
			if d := time.Since(began); c.answers > 0 && d < c.delay {
				t.Errorf("answered after %v, want %v", d, c.delay)
			}
			if _, ok := cl.read(20 * time.Millisecond); ok {
				t.Error("one answer too many")
			}
			cl.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			if !c.hungUp {
				if code := cl.ask("301", 2, 0); code != "00" {
					t.Errorf("the connection did not live on: %q", code)
				}
			} else if _, err := cl.br.ReadByte(); err != io.EOF {
				t.Errorf("connection: %v, want EOF", err)
			}
			if got := booked(t, s); len(got) != c.booked {
				t.Errorf("booked %v", got)
			}
		})
	}
}

func TestSlowAnswersDoNotHoldFastOnesBack(t *testing.T) {
	s, _ := serve(t, Config{Rules: []Rule{{Amount: ptr[int64](1), Latency: Latency{Fixed: 2 * time.Second}}, {Amount: ptr[int64](2), Latency: Latency{Fixed: time.Second}}}})
	c := dial(t, s.Addr(), "iso87")
	var all []byte
	for stan := uint32(1); stan <= 3; stan++ {
		all = c.message(all, "0200", stan, int64(stan))
	}
	c.conn.Write(all)
	var order []uint64
	for range 3 {
		m, ok := c.read(10 * time.Second)
		if !ok {
			t.Fatal("no answer")
		}
		stan, _ := m.Uint(11)
		order = append(order, stan)
	}
	if !slices.Equal(order, []uint64{3, 2, 1}) {
		t.Errorf("answered in order %v", order)
	}
}

func TestBadFramesAreNotAnswered(t *testing.T) {
	s, _ := serve(t, Config{})
	for _, c := range []struct {
		name, bytes string
		hungUp      bool
	}{
		{"length over the maximum", "\xff\xff", true},
		{"length of nothing", "\x00\x00", true},
		{"no message", "\x00\x1cthis is no ISO 8583 message!", false},
		{"an answer", "\x00\x1e0210" + "0000000000000000" + "0000000000", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := dial(t, s.Addr(), "iso87")
			cl.conn.Write([]byte(c.bytes))
			if !c.hungUp {
				if code := cl.ask("301", 2, 0); code != "00" {
					t.Errorf("code %q", code)
				}
			} else if _, err := cl.br.ReadByte(); err != io.EOF {
				t.Errorf("connection: %v, want EOF", err)
			}
		})
	}
}

func TestRestartRemembers(t *testing.T) {
	book := filepath.Join(t.TempDir(), "book")
	s, stop := serve(t, Config{Book: book, Seed: 1})
	c := dial(t, s.Addr(), "iso87")
	c.ask("0200", 1, 5)
	c.ask("0200", 2, 5)
	c.ask("0400", 2, 5)
	c.ask("0400", 3, 5)
	stop()
	f, err := os.OpenFile(book, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(`{"kind":"approved","stan":9,"ti`)
	f.Close()

	s, _ = serve(t, Config{Book: book, Seed: 2, LogSync: "every"})
	c = dial(t, s.Addr(), "iso87")
	for _, st := range []struct {
		kind string
		stan uint32
		code string
	}{{"0200", 1, "00"}, {"0401", 2, "00"}, {"0401", 3, "25"}, {"0200", 3, "94"}, {"0200", 9, "00"}} {
		if got := c.ask(st.kind, st.stan, 5); got != st.code {
			t.Errorf("%s %d: %q, want %q", st.kind, st.stan, got, st.code)
		}
	}
	if got, want := booked(t, s), []string{"approved 1", "approved 2", "reversed 2", "unknown 3", "declined 3", "approved 9"}; !slices.Equal(got, want) {
		t.Errorf("book %v, want %v", got, want)
	}
}

func TestForgetsTheOldestFirst(t *testing.T) {
	for _, c := range []struct{ remember, apart int }{{2, 1}, {memoriesEach, 1}, {memoriesEach + 1, 1}, {memoriesEach + 1, 64}} {
		cfg := Config{Remember: c.remember}.withDefaults()
		d := newDesk(&cfg, nil)
		ask := func(kind txn.Kind, n int) string {
			code := d.decide(&request{kind: kind, id: transaction{stan: uint32(n * c.apart)}, amount: int64(n)}).code
			return string(code[:])
		}
		last := 3 * c.remember
		for n := range last + 1 {
			ask(txn.KindSale, n)
		}
		for n := last; n > last-c.remember; n-- {
			if code := ask(txn.KindReversal, n); code != "00" {
				t.Fatalf("%+v: the reversal of %d is answered %s", c, n, code)
			}
		}
		if code := ask(txn.KindReversal, last-c.remember); code != "25" {
			t.Errorf("%+v: the reversal of a forgotten one is answered %s", c, code)
		}
	}
}

// A second issuer on a book would cut off what the first is writing.
func TestBookHasOneIssuer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "book")
	first, _, err := openBook(path, "none")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := openBook(path, "none"); err == nil || !strings.Contains(err.Error(), "another issuer writes it") {
		t.Errorf("opened twice: %v", err)
	}
	if err := first.close(); err != nil {
		t.Fatal(err)
	}
	second, _, err := openBook(path, "none")
	if err != nil {
		t.Fatal(err)
	}
	second.close()
}

// Whatever was answered before kill -9 is in the book after it.
func TestKilledBookHoldsEveryAnswer(t *testing.T) {
	for round := range 3 {
		book := filepath.Join(t.TempDir(), "book")
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killed+"="+book)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		addr, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		c := dial(t, strings.TrimSpace(addr), "iso87")
		var all []byte
		for stan := uint32(1); stan <= 2000; stan++ {
			all = c.message(all, "0200", stan, 5)
		}
		go c.conn.Write(all)
		var answered []uint32
		enough := 1 + rand.IntN(1500)
		for {
			m, ok := c.read(10 * time.Second)
			if !ok {
				break
			}
			stan, _ := m.Uint(11)
			if answered = append(answered, uint32(stan)); len(answered) == enough {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
		entries, err := ReadBook(book)
		if err != nil {
			t.Fatal(err)
		}
		in := map[uint32]bool{}
		for _, e := range entries {
			in[e.STAN] = e.Kind == Approved
		}
		for _, stan := range answered {
			if !in[stan] {
				t.Errorf("round %d: STAN %d was approved and is not in the book", round, stan)
			}
		}
	}
}

func TestBookRefusesDamage(t *testing.T) {
	book := filepath.Join(t.TempDir(), "book")
	os.WriteFile(book, []byte("{\"kind\":\"approved\"}\nnot json\n{\"kind\":\"approved\"}\n"), 0o600)
	if _, err := New(Config{Book: book}); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a damaged line in the middle: %v", err)
	}
}

// One entry is one line, whatever the acquirer put into its fields.
func FuzzEntry(f *testing.F) {
	f.Add([]byte("10000001"), []byte("112200000042"), int64(100))
	f.Add([]byte("\"}\n{\"kin"), []byte("\\\xff\x00\u2028"), int64(-1))
	f.Fuzz(func(t *testing.T, terminal, rrn []byte, minor int64) {
		r := &request{amount: minor, id: transaction{stan: 42, time: 1122120000}}
		about := transaction{stan: 41, time: 101000000}
		r.cardSize = copy(r.card[:], card)
		copy(r.terminal[:], terminal)
		copy(r.rrn[:], rrn)
		d := &decision{code: code00, entry: Approved, kind: txn.KindRefund, about: about}
		entries, _, err := parseBook(appendEntry(appendEntry(nil, r, d), r, d))
		if err != nil || len(entries) != 2 {
			t.Fatalf("%d entries, %v", len(entries), err)
		}
		if e := entries[1]; e.STAN != 42 || e.Time != "1122120000" || e.Amount != minor || e.Kind != Approved || e.Code != "00" ||
			e.Transaction() != txn.KindRefund || e.OriginalSTAN != 41 || e.OriginalTime != "0101000000" {
			t.Errorf("%+v", e)
		}
	})
}

func TestLatency(t *testing.T) {
	ms := func(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }
	percentiles := Latency{Percentiles: []Percentile{{50, ms(2)}, {99, ms(51)}, {100, ms(1000)}}}
	for _, c := range []struct {
		l    Latency
		u, z float64
		want time.Duration
	}{
		{Latency{}, 0.5, 0, 0},
		{Latency{Fixed: ms(3)}, 0.5, 0, ms(3)},
		{percentiles, 0, 0, ms(2)},
		{percentiles, 0.5, 0, ms(2)},
		{percentiles, 0.75, 0, ms(27)},
		{percentiles, 0.995, 0, ms(525.5)},
		{Latency{Percentiles: []Percentile{{90, ms(1)}}}, 0.95, 0, ms(1)},
	} {
		if got := c.l.draw(c.u, c.z); got.Round(time.Microsecond) != c.want {
			t.Errorf("%+v at %v: %v, want %v", c.l, c.u, got, c.want)
		}
	}
	cfg, err := Load(strings.NewReader("rules:\n- latency: {normal: {mean: 10ms, deviation: 5ms}}\n- latency: {uniform: {min: 1ms, max: 3ms}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if n := cfg.Rules[0].Latency; n.draw(0, 1) != ms(15) || n.draw(0, -3) != 0 {
		t.Error("normal latency")
	}
	if u := cfg.Rules[1].Latency; u.draw(0, 0) != ms(1) || u.draw(0.5, 0) != ms(2) {
		t.Error("uniform latency")
	}
}

func TestScriptNamesWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ script, want string }{
		{"rulez: []", "rulez"},
		{"rules: [{card: 6222x}]", "rule 1: card"},
		{"rules: [{code: '00'}, {amount: 1, amount_min: 2}]", "rule 2: amount"},
		{"rules: [{kind: settlement}]", "kind"},
		{"rules: [{percent: 101}]", "percent"},
		{"rules: [{times: -1}]", "times"},
		{"rules: [{code: '0'}]", "code"},
		{"rules: [{copies: 11}]", "copies"},
		{"rules: [{echo: {terminal: '123456789'}}]", "echo.terminal"},
		{"rules: [{latency: {fixed: 1s, uniform: {max: 1s}}}]", "latency"},
		{"rules: [{latency: {fixed: -1s}}]", "latency.fixed"},
		{"rules: [{latency: {uniform: {min: 2s, max: 1s}}}]", "latency.uniform"},
		{"rules: [{latency: {normal: {mean: -2s}}}]", "latency.normal"},
		{"rules: [{latency: {percentiles: [{at: 50, is: 2s}, {at: 40, is: 3s}]}}]", "latency.percentiles"},
		{"dialect: iso93", "dialect"},
		{"mac: x9.7", "mac: "},
		{"{dialect: cups, mac: x9.19, mac_key: 0123456789ABCDEFFEDCBA9876543210}", "mac: "},
		{"mac: x9.9", "mac_key"},
		{"mac_key: 0123456789ABCDEFFEDCBA9876543210", "mac_key"},
		{"{mac: x9.9, mac_key: 0123456789ABCDEF}", "mac_key"},
		{"{mac: x9.9, mac_key: 0123456789ABCDEFFEDCBA9876543210x}", "mac_key"},
		{"{mac: x9.19, mac_key: sm4 0123456789ABCDEFFEDCBA9876543210}", "mac_key"},
		{"pin_key: sm4 0123456789ABCDEFFEDCBA9876543210", "pin_key"},
		{"zmk: 0123", "zmk"},
		{"new_keys: 1s", "new_keys"},
		{"{zmk: 0123456789ABCDEFFEDCBA9876543210, new_keys: -1s}", "new_keys"},
		{"log_sync: sometimes", "log_sync"},
		{"remember: -1", "remember"},
		{"seed: 1", "book"},
	} {
		cfg, err := Load(strings.NewReader(c.script))
		if c.want != "book" {
			cfg.Book = "x"
		}
		if err == nil {
			err = cfg.Validate()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.script, err)
		}
	}
}

// BenchmarkPipelined is one connection with 256 requests in flight, the book
// on the disk as each mode says.
func BenchmarkPipelined(b *testing.B) {
	for _, sync := range []string{"none", "group"} {
		b.Run(sync, func(b *testing.B) {
			s, _ := serve(b, Config{LogSync: sync})
			c := dial(b, s.Addr(), "iso87")
			frames := make([]byte, 0, 64<<10)
			b.ReportAllocs()
			b.ResetTimer()
			for sent := 0; sent < b.N; {
				n := min(256, b.N-sent)
				frames = frames[:0]
				for i := range n {
					frames = c.message(frames, "0200", uint32((sent+i)%999_999+1), 100)
				}
				if _, err := c.conn.Write(frames); err != nil {
					b.Fatal(err)
				}
				for range n {
					prefix, err := c.br.Peek(2)
					if err != nil {
						b.Fatal(err)
					}
					c.br.Discard(2 + int(prefix[0])<<8 + int(prefix[1]))
				}
				sent += n
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
		})
	}
}
