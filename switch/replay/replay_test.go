package replay

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moov-io/iso8583"
	connection "github.com/moov-io/iso8583-connection"
	isoserver "github.com/moov-io/iso8583-connection/server"
	"github.com/moov-io/iso8583/network"
	"github.com/moov-io/iso8583/specs"
	"go.uber.org/goleak"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/capture"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/terminal/fleet"
	"github.com/acqswitch/acqswitch/switch/terminal/terminaltest"
	"github.com/acqswitch/acqswitch/switch/txn"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestMain(m *testing.M) {
	if how := os.Getenv(beEcho); how != "" {
		echo(how)
	}
	goleak.VerifyTestMain(m)
}

const testTMK = "CA5D92598DCA48CE8A4C76361A9269E9"

func merchantOf(n int) string { return fmt.Sprintf("99929005411000%d", n%3+1) }

// recorded has terminals trade with a peer and makes a capture of it, as tcpdump
// and acqswitch capture would.
func recorded(t testing.TB, p *terminaltest.Peer, terminals int, change func(*terminal.Profile)) []byte {
	t.Helper()
	var pcap bytes.Buffer
	rec, err := fleet.NewRecorder(&pcap)
	if err != nil {
		t.Fatal(err)
	}
	var trading sync.WaitGroup
	for n := range terminals {
		trading.Go(func() {
			profile := terminal.Profile{Terminal: txn.MakeTerminalID(fmt.Sprintf("%08d", 10000001+n)), Merchant: txn.MakeMerchantID(merchantOf(n)), Serial: "00002304SN0000000001", Batch: 1}
			if change != nil {
				change(&profile)
			}
			if err := trade(t.Context(), p, &profile, rec, n); err != nil {
				t.Error(err)
			}
		})
	}
	trading.Wait()
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cleaner, err := capture.NewCleaner(bytes.Repeat([]byte{1}, capture.KeySize), 8)
	if err != nil {
		t.Fatal(err)
	}
	w, err := capture.NewWriter(&out, cleaner)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := capture.Follow(&pcap, capture.Options{Dialects: capture.Dialects()}, w); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// trade is a terminal's morning: eight requests, with a void and a reversal.
func trade(ctx context.Context, p *terminaltest.Peer, profile *terminal.Profile, rec *fleet.Recorder, n int) error {
	c, err := terminal.Dial(ctx, p.Addr, p.Dialect.Name(), *profile, terminal.Options{Recorder: rec})
	if err != nil {
		return err
	}
	defer c.Close()
	pan, err := terminal.TestPAN([]string{"99990100", "99990200"}[n%2], uint64(n))
	if err != nil {
		return err
	}
	card := terminal.Card{PAN: pan, Expiry: "4912", Entry: terminal.Chip}
	if len(profile.TMK) > 0 {
		card.PIN = txn.Secret("123456")
	}
	_, err = c.SignOn(ctx)
	var first terminal.Answer
	for i := range 3 {
		if err != nil {
			return err
		}
		var a terminal.Answer
		if a, err = c.Do(ctx, txn.KindSale, terminal.Transaction{Card: card, Amount: txn.Amount{Minor: int64(1000 + i)}}); i == 0 {
			first = a
		}
	}
	if err == nil {
		_, err = c.Do(ctx, txn.KindVoid, terminal.Transaction{Card: card, Original: terminal.Original{Kind: txn.KindSale, STAN: 2, Batch: 1, RRN: first.RRN, AuthCode: first.AuthCode, Date: first.Date}})
	}
	if err == nil {
		_, err = c.Do(ctx, txn.KindBalance, terminal.Transaction{Card: card})
	}
	if err == nil {
		_, err = c.Do(ctx, txn.KindSale, terminal.Transaction{Card: card, Amount: txn.Amount{Minor: 2000}})
	}
	if err == nil {
		_, err = c.Reversal(ctx, txn.Amount{Minor: 2000}, terminal.Original{Kind: txn.KindSale, STAN: c.STAN(), Batch: 1})
	}
	return err
}

func play(t testing.TB, file []byte, o Options) (*Report, error) {
	t.Helper()
	index, err := capture.ReadIndex(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	in, err := capture.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if o.Rules.Compare == nil {
		o.Rules = DefaultRules()
	}
	return Run(t.Context(), in, index, o)
}

func to(addr string) map[string]string { return map[string]string{"": addr} }

// A capture is played twice against one host, each time under new numbers, and
// all answers are as recorded: voids and reversals find what they are about.
func TestReplayTwice(t *testing.T) {
	for _, name := range []string{"cup-pos", "iso87"} {
		t.Run(name, func(t *testing.T) {
			file := recorded(t, terminaltest.Start(t, name), 6, nil)
			p := terminaltest.Start(t, name)
			for run := 1; run <= 2; run++ {
				r, err := play(t, file, Options{Addrs: to(p.Addr), STAN: uint32(run * 1000)})
				if err != nil || !r.OK() || r.Requests != 48 || r.Same != 48 || r.Terminals != 6 {
					t.Fatalf("%+v, %v", r, err)
				}
				reversed := 0
				for n := range 6 {
					tid := fmt.Sprintf("%08d", 10000001+n)
					for stan := uint32(run * 1000); stan < uint32(run*1000+10); stan++ {
						batch := uint32(1)
						if name == "iso87" {
							batch = 0
						}
						if known, yes := p.Sale(tid, batch, stan); known && yes {
							reversed++
						}
					}
				}
				if name == "cup-pos" && reversed != 6 {
					t.Errorf("run %d: %d sales are reversed, want each terminal's one", run, reversed)
				}
			}
		})
	}
}

// Each seeded change of the host's is named by one cause; the golden file has
// them.
func TestSeededChanges(t *testing.T) {
	file := recorded(t, terminaltest.Start(t, "cup-pos"), 9, nil)
	over := func(p *terminaltest.Peer, answer []byte, field int, v string) []byte {
		var m iso.Message
		if err := p.Dialect.Codec().Parse(&m, answer[2:]); err != nil || !m.Overwrite(field, 0, []byte(v)) {
			t.Errorf("field %d cannot be changed: %v", field, err)
		}
		return answer
	}
	var got strings.Builder
	for _, row := range []struct {
		name   string
		change func(p *terminaltest.Peer, req *txn.Request, answer []byte) []byte
		rules  string
	}{
		{"nothing", nil, ""},
		{"one code, for the sales of a merchant", func(p *terminaltest.Peer, req *txn.Request, answer []byte) []byte {
			if req.Kind == txn.KindSale && req.Merchant.String() == merchantOf(1) {
				return over(p, answer, 39, "58")
			}
			return answer
		}, ""},
		{"one code, for all that a terminal asks", func(p *terminaltest.Peer, req *txn.Request, answer []byte) []byte {
			if req.Key.Terminal.String() == "10000005" {
				return over(p, answer, 39, "97")
			}
			return answer
		}, ""},
		{"one field, for cards of an issuer", func(p *terminaltest.Peer, req *txn.Request, answer []byte) []byte {
			if req.Kind == txn.KindSale && strings.HasPrefix(string(req.PAN.Append(nil)), "999902") {
				return over(p, answer, 49, "344")
			}
			return answer
		}, ""},
		{"one field, which may differ", func(p *terminaltest.Peer, req *txn.Request, answer []byte) []byte {
			if req.Kind == txn.KindSale {
				return over(p, answer, 49, "344")
			}
			return answer
		}, "compare: {\"0210.49\": ignore}"},
		{"another message type", func(p *terminaltest.Peer, req *txn.Request, answer []byte) []byte {
			if req.Kind == txn.KindReversal {
				answer[2+5+6+1] = 0x30 // 0430: an answer of another kind
			}
			return answer
		}, ""},
		{"silence about balances", func(p *terminaltest.Peer, req *txn.Request, answer []byte) []byte {
			if req.Kind == txn.KindBalance {
				return nil
			}
			return answer
		}, ""},
	} {
		p := terminaltest.Start(t, "cup-pos")
		if row.change != nil {
			p.SetAnswers(func(req *txn.Request, answer []byte) []byte { return row.change(p, req, answer) })
		}
		rules, err := ReadRules(strings.NewReader(row.rules))
		if err != nil {
			t.Fatal(err)
		}
		var patience time.Duration // the default, unless answers are lacking
		if row.name == "another message type" || row.name == "silence about balances" {
			patience = 300 * time.Millisecond
		}
		r, err := play(t, file, Options{Addrs: to(p.Addr), STAN: 1, Patience: patience, Rules: rules})
		if err != nil && row.name != "silence about balances" {
			t.Errorf("%s: %v", row.name, err)
		}
		fmt.Fprintf(&got, "# %s\n", row.name)
		for _, g := range r.Groups {
			fmt.Fprintln(&got, g.Cause)
		}
		if wrong := row.name != "nothing" && row.rules == ""; r.OK() == wrong {
			t.Errorf("%s: the verdict is %v", row.name, r.OK())
		}
	}
	golden(t, "causes.golden", got.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("not as in %s (-update rewrites it):\n%s", path, got)
	}
}

// With test keys terminals sign on, and MACs and PIN blocks are made anew; without
// them the host's refusal is named.
func TestReplayWithKeys(t *testing.T) {
	tmk, err := hex.DecodeString(testTMK)
	if err != nil {
		t.Fatal(err)
	}
	host := func() *terminaltest.Peer {
		p := terminaltest.Start(t, "cup-pos")
		p.Host = &terminaltest.Host{TMK: tmk, Signed: map[string]int{}}
		return p
	}
	p := host()
	file := recorded(t, p, 1, func(pr *terminal.Profile) { pr.TMK, pr.KeySet = tmk, keys.KeySetDouble })
	p.With(func(h *terminaltest.Host) {
		for _, key := range h.Issued {
			if bytes.Contains(file, key) {
				t.Error("a working key is in the capture")
			}
		}
	})
	p = host()
	r, err := play(t, file, Options{Addrs: to(p.Addr), Keys: map[string]Key{"": {TMK: tmk}}, PIN: txn.Secret("123456")})
	if err != nil || !r.OK() || r.BadMACs != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	p.With(func(h *terminaltest.Host) {
		if h.Signed["sale"] != 4 || h.Signed["reversal"] != 1 {
			t.Errorf("the host took %v with right MACs", h.Signed)
		}
	})
	p = host()
	r, err = play(t, file, Options{Addrs: to(p.Addr)})
	if err != nil || r.OK() || !slices.ContainsFunc(r.Groups, func(g Group) bool { return strings.HasPrefix(g.Cause, "A0 instead of 00 (DE39)") }) {
		t.Errorf("without keys: %+v, %v", r.Groups, err)
	}
	p = host()
	r, err = play(t, file, Options{Addrs: to(p.Addr), Keys: map[string]Key{"": {TMK: bytes.Repeat([]byte{5}, 16)}}})
	if err != nil || r.OK() || r.BadMACs == 0 {
		t.Errorf("with other keys: %+v, %v", r, err)
	}
}

// framing is how lengths precede messages, in moov-io's own words.
type framing struct {
	read  connection.MessageLengthReader
	write connection.MessageLengthWriter
}

var binary2 = framing{
	func(r io.Reader) (int, error) {
		h := network.NewBinary2BytesHeader()
		_, err := h.ReadFrom(r)
		return h.Length(), err
	},
	func(w io.Writer, n int) (int, error) {
		h := network.NewBinary2BytesHeader()
		if err := h.SetLength(n); err != nil {
			return 0, err
		}
		return h.WriteTo(w)
	},
}

var ascii4 = framing{
	func(r io.Reader) (int, error) {
		h := network.NewASCII4BytesHeader()
		_, err := h.ReadFrom(r)
		return h.Length(), err
	},
	func(w io.Writer, n int) (int, error) {
		h := network.NewASCII4BytesHeader()
		h.SetLength(n)
		return h.WriteTo(w)
	},
}

// unrelated is an ISO 8583 server that has nothing to do with the switch:
// moov-io's.
func unrelated(t *testing.T, spec *iso8583.MessageSpec, f framing, code func(amount string) string) (addr string) {
	t.Helper()
	s := isoserver.New(spec, f.read, f.write, connection.InboundMessageHandler(func(c *connection.Connection, m *iso8583.Message) {
		mti, _ := m.GetMTI()
		m.MTI(mti[:2] + "1" + mti[3:])
		amount, _ := m.GetString(4)
		m.Field(39, code(amount))
		m.Field(37, fmt.Sprintf("%012d", time.Now().UnixNano()%1e12))
		if err := c.Reply(m); err != nil {
			t.Error(err)
		}
	}))
	if err := s.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s.Addr
}

func approveAll(string) string { return "00" }

// moov-io's own server and client, under its own ISO 8583:1987 specification: what
// they say to each other is found out to be one of the switch's dialects, and can
// be replayed against such a server, which a load can be made on too.
func TestUnrelatedServer(t *testing.T) {
	addr := unrelated(t, specs.Spec87ASCII, binary2, approveAll)
	client, err := connection.New(addr, specs.Spec87ASCII, binary2.read, binary2.write)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Connect(); err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var lines strings.Builder
	for stan := 1; stan <= 20; stan++ {
		m := iso8583.NewMessage(specs.Spec87ASCII)
		m.MTI("0200")
		for field, v := range map[int]string{2: "4111111111111111", 3: "0", 4: fmt.Sprint(100 * stan), 7: "1125120000", 11: fmt.Sprintf("%06d", stan), 12: "120000", 13: "1125",
			22: "021", 25: "00", 41: fmt.Sprintf("TERM000%d", stan%4), 42: "MERCHANT0000001", 49: "840"} {
			if err := m.Field(field, v); err != nil {
				t.Fatal(err)
			}
		}
		answer, err := client.Send(m)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range [...]*iso8583.Message{m, answer} {
			body, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&lines, "%X\n", body)
		}
	}
	file, index := linesCaptured(t, lines.String(), capture.Dialects())
	if index.Requests != 20 || index.Answers != 20 {
		t.Fatalf("%+v", index)
	}
	addr = keptAlive(t, addr)
	r, err := play(t, file, Options{Addrs: to(addr)})
	if err != nil || !r.OK() || r.Same != 20 {
		t.Errorf("%+v, %v", r, err)
	}
	other := unrelated(t, specs.Spec87ASCII, binary2, func(amount string) string {
		if strings.TrimLeft(amount, "0") == "1200" {
			return "61"
		}
		return "00"
	})
	r, err = play(t, file, Options{Addrs: to(other)})
	if err != nil || len(r.Groups) != 1 || r.Groups[0].Cause != "61 instead of 00 (DE39) at 1 request: sale" {
		t.Errorf("%+v, %v", r.Groups, err)
	}
	// Its specification has no field 70 for sign-ons and takes text alone in field 55.
	p := profile(t, "dialect: "+index.Dialects[0].Name+"\nsessions: 4\npatience: 5s\nsign_on: false\narrivals: [{for: 500ms, rate: 200}]\nmix: {sale: 60, balance: 20, preauth: 10, void: 10}\ncards: {entry: manual}")
	r, err = RunLoad(t.Context(), p, LoadOptions{Addr: addr, Identities: identities(8)})
	if err != nil || !r.OK() || r.Answered < 50 || len(r.Problems) > 0 {
		t.Errorf("%v: %d answered, %+v, %q", err, r.Answered, r.Load, r.Problems)
	}
}

// keptAlive is a host that has keep-alives, lengths of nothing, in front of what it says.
func keptAlive(t *testing.T, addr string) string {
	return server(t, func(conn net.Conn) {
		host, err := net.Dial("tcp", addr)
		if err != nil {
			t.Error(err)
			return
		}
		go func() {
			io.Copy(host, conn)
			host.Close()
		}()
		for b := make([]byte, 1<<16); ; {
			if _, err := io.ReadFull(host, b[2:4]); err != nil {
				return
			}
			n := 4 + int(binary.BigEndian.Uint16(b[2:]))
			if _, err := io.ReadFull(host, b[4:n]); err != nil {
				return
			}
			conn.Write(b[:n])
		}
	})
}

// linesCaptured makes a capture of lines.
func linesCaptured(t *testing.T, text string, dialects []*capture.Dialect) ([]byte, *capture.Index) {
	t.Helper()
	var out bytes.Buffer
	cleaner, _ := capture.NewCleaner(capture.NewKey(), 6)
	w, err := capture.NewWriter(&out, cleaner)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := capture.ReadLines(strings.NewReader(text), dialects, time.Now(), w); err != nil {
		t.Fatal(err)
	}
	index, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), index
}

// server serves each connection until the test ends.
func server(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var conns []net.Conn
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			serving.Go(func() { defer conn.Close(); serve(conn) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return ln.Addr().String()
}

// An unrelated host, whose field table is given as JSON, is captured as lines and
// replayed.
func TestReplayUnrelatedHost(t *testing.T) {
	text, err := os.ReadFile("../../testdata/messages/moov-io+iso8583/specification_ver_1987.json")
	if err != nil {
		t.Fatal(err)
	}
	d, err := capture.LoadDialect(bytes.NewReader(text), "ascii4")
	if err != nil {
		t.Fatal(err)
	}
	addr := unrelated(t, d.Codec.Spec(), ascii4, approveAll)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var lines strings.Builder
	for stan := 1; stan <= 20; stan++ {
		e := d.Codec.Begin(nil, nil, nil, 0x0200)
		e.Digits(2, []byte("4111111111111111"))
		e.Digits(3, []byte("000000"))
		e.Digits(4, fmt.Appendf(nil, "%012d", stan*100))
		e.Digits(7, []byte("1125120000"))
		e.Digits(11, fmt.Appendf(nil, "%06d", stan))
		e.Text(41, fmt.Appendf(nil, "TERM000%d", stan%4))
		frame, err := e.Finish()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(frame); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 4)
		if _, err := io.ReadFull(conn, answer); err != nil {
			t.Fatal(err)
		}
		n, err := d.Codec.ReadLength(answer)
		if err != nil {
			t.Fatal(err)
		}
		answer = append(answer, make([]byte, n)...)
		if _, err := io.ReadFull(conn, answer[4:]); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&lines, "%X\n%X\n", frame, answer)
	}
	file, index := linesCaptured(t, lines.String(), []*capture.Dialect{d})
	if index.Requests != 20 || index.Answers != 20 {
		t.Fatalf("%+v", index)
	}
	r, err := play(t, file, Options{Addrs: to(addr)})
	if err != nil || !r.OK() || r.Same != 20 {
		t.Errorf("%+v, %v", r, err)
	}
	other := unrelated(t, d.Codec.Spec(), ascii4, func(amount string) string {
		if strings.TrimLeft(amount, "0") == "1200" {
			return "61"
		}
		return "00"
	})
	r, err = play(t, file, Options{Addrs: to(other)})
	if err != nil || len(r.Groups) != 1 || r.Groups[0].Cause != "61 instead of 00 (DE39) at 1 request: 0200 000000" {
		t.Errorf("%+v, %v", r.Groups, err)
	}
}

// A host that refuses, hangs up, hangs or answers nonsense is said, and there is a
// report.
func TestBadHosts(t *testing.T) {
	file := recorded(t, terminaltest.Start(t, "cup-pos"), 3, nil)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, row := range []struct {
		name  string
		addr  string
		given bool // up
		want  string
	}{
		{"refuses", closed.Addr().String(), true, "the host cannot be reached"},
		{"hangs up", server(t, func(net.Conn) {}), false, "the host closed the session"},
		{"hangs", server(t, func(c net.Conn) { io.Copy(io.Discard, c) }), true, "no answer came in time"},
		{"answers another protocol", server(t, func(c net.Conn) { io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n"); io.Copy(io.Discard, c) }), false, "nonsense"},
		{"answers no message", server(t, func(c net.Conn) {
			c.Write(append(binary.BigEndian.AppendUint16(nil, 40), make([]byte, 40)...))
			io.Copy(io.Discard, c)
		}), false, "nonsense"},
		{"answers HTTP otherwise", "http://" + server(t, func(c net.Conn) {
			c.Read(make([]byte, 4096))
			io.WriteString(c, "HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n")
		}), false, "nonsense: no frame in HTTP: the host answers 502 Bad Gateway"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var patience time.Duration // the default, unless it is lost
			if row.given {
				patience = 50 * time.Millisecond
			}
			r, err := play(t, file, Options{Addrs: to(row.addr), Patience: patience})
			if errors.Is(err, ErrGivenUp) != row.given {
				t.Errorf("error is %v", err)
			}
			if r == nil || r.OK() || r.Answered != 0 || !strings.Contains(strings.Join(r.Problems, "; "), row.want) {
				t.Fatalf("%+v", r)
			}
			if len(r.Problems) > 6 {
				t.Errorf("too many lines: %q", r.Problems)
			}
			if r.Sent > 0 && (r.Missing == 0 || len(r.Groups) != 1 || r.Groups[0].Count != r.Missing || !strings.HasPrefix(r.Groups[0].Cause, "no answer ")) {
				t.Errorf("%d not answered, causes %+v", r.Missing, r.Groups)
			}
			var page bytes.Buffer
			if err := r.WriteHTML(&page); err != nil || !strings.Contains(page.String(), "</html>") {
				t.Error(err)
			}
		})
	}
}

// A reference that is gone ends the replay, and is said to be it, however well the host
// goes on answering.
func TestReferenceThatIsGone(t *testing.T) {
	host := terminaltest.Start(t, "cup-pos")
	file := recorded(t, host, 3, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if c, err := ln.Accept(); err == nil {
			ln.Close()
			c.Close()
		}
	}()
	r, err := play(t, file, Options{Addrs: to(host.Addr), Reference: to(ln.Addr().String()), Terminals: 300})
	if !errors.Is(err, ErrGivenUp) || !strings.Contains(strings.Join(r.Problems, "; "), "the reference: no session could be opened") {
		t.Errorf("%v, %q", err, r.Problems)
	}
}

// One thing that comes instead of several others, at several kinds of requests of
// terminals that have nothing in common, is one cause; the rest of a long list is
// counted.
func TestFolded(t *testing.T) {
	g := newGroups()
	ask := func(n int, kind, expected, got string, times int) {
		for i := range times {
			s := subject{kind: kind, mti: 0x0200, example: Example{Number: uint64(n + i)}}
			s.traits[ofTerminal], s.traits[ofMerchant] = fmt.Sprint("T", n, i), fmt.Sprint("M", n, i)
			g.compared(&s)
			if expected != got {
				g.differs(&s, 0x0210, difference{39, expected, got})
			}
		}
	}
	ask(0, "sale", "00", "00", 50)
	ask(100, "sale", "00", "77", 7)
	ask(200, "sale", "51", "77", 2)
	ask(300, "void", "00", "77", 3)
	ask(400, "sale", "00", "A0", 2)
	ask(450, "echo", "00", "77", 1) // of a terminal that asked nothing else
	for i := range 12 {
		ask(500+10*i, fmt.Sprintf("kind %c", 'a'+i), "00", "96", 20-i)
	}
	var got []string
	for _, one := range folded(g.list()) {
		got = append(got, one.Cause)
	}
	want := []string{
		"96 instead of 00 (DE39) at 174 requests: kind a (20), kind b (19), kind c (18), kind d (17), kind e (16), kind f (15), kind g (14), kind h (13), kind i (12), kind j (11), 2 others (19)",
		"77 instead of 00 (11), 51 (2) (DE39) at 13 requests: sale (9), void (3), echo (1)",
		"A0 instead of 00 (DE39) at 2 requests: sale",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A template expects no answers; a host that gives none at all is given up on.
func TestMuteHost(t *testing.T) {
	var lines strings.Builder
	for n := range 400 {
		fmt.Fprintf(&lines, `{"0":"0200","3":"0","4":"1250","11":%d,"41":"1000000%d","49":"156"}`+"\n", n, n%4)
	}
	file, _ := linesCaptured(t, lines.String(), capture.Dialects())
	mute := server(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	r, err := play(t, file, Options{Addrs: to(mute), Patience: 50 * time.Millisecond})
	if !errors.Is(err, ErrGivenUp) || r.OK() || r.Sent > 50 {
		t.Errorf("%v after %d requests", err, r.Sent)
	}
}

// At a fixed rate a host that stalls once is charged with every request that was
// due meanwhile, not with the one that it held up.
func TestOpenLoop(t *testing.T) {
	const stall = 400 * time.Millisecond
	file := recorded(t, terminaltest.Start(t, "cup-pos"), 4, nil)
	p := terminaltest.Start(t, "cup-pos")
	var once sync.Once
	p.SetAnswers(func(_ *txn.Request, answer []byte) []byte {
		once.Do(func() { time.Sleep(stall) }) // the peer's lock is held: everybody waits
		return answer
	})
	r, err := play(t, file, Options{Addrs: to(p.Addr), Rate: 100})
	if err != nil || !r.OK() {
		t.Fatalf("%+v, %v", r, err)
	}
	if r.Took < 300*time.Millisecond {
		t.Errorf("32 requests at 100 a second took %s", r.Took)
	}
	// 32 requests are due within 320 ms: none can be answered before the stall ends.
	if r.Latency.P50 < stall/4 || r.Service.P50 > r.Latency.P50/2 {
		t.Errorf("half of the latencies are over %s, from sending %s", r.Latency.P50, r.Service.P50)
	}
}

// Pauses are kept at 1x, and are shorter by as much as is asked for.
func TestSpeed(t *testing.T) {
	p := terminaltest.Start(t, "cup-pos")
	slow := func(_ *txn.Request, answer []byte) []byte { time.Sleep(10 * time.Millisecond); return answer }
	p.SetAnswers(slow)
	file := recorded(t, p, 2, nil)
	index, err := capture.ReadIndex(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	span := index.Last.Sub(index.First)
	quick := terminaltest.Start(t, "cup-pos")
	r, err := play(t, file, Options{Addrs: to(quick.Addr), Speed: 1, STAN: 1})
	if err != nil || !r.OK() || r.Took < span*3/4 {
		t.Errorf("the capture's %s took %s, %v", span, r.Took, err)
	}
	for try := range 5 { // the machine may be held up
		if r, err = play(t, file, Options{Addrs: to(quick.Addr), Speed: 8, STAN: 100 * uint32(try+1)}); err != nil || r.Took <= span/2 {
			break
		}
	}
	if err != nil || !r.OK() || r.Took > span/2 {
		t.Errorf("at 8 times the speed the capture's %s took %s, %v", span, r.Took, err)
	}
}

// Copies are terminals of their own.
func TestCopies(t *testing.T) {
	file := recorded(t, terminaltest.Start(t, "cup-pos"), 3, nil)
	p := terminaltest.Start(t, "cup-pos")
	var mu sync.Mutex
	who := map[string]string{}
	p.SetAnswers(func(req *txn.Request, answer []byte) []byte {
		mu.Lock()
		defer mu.Unlock()
		who[req.Key.Terminal.String()] = req.Merchant.String()
		return answer
	})
	r, err := play(t, file, Options{Addrs: to(p.Addr), Terminals: 8})
	if err != nil || !r.OK() || r.Terminals != 8 || r.Requests != 8*8 {
		t.Errorf("%+v, %v", r, err)
	}
	if got := strings.Join(sortedKeys(who), " "); got != "10000001 10000002 10000003 10000004 10000005 10000006 10000007 10000008" {
		t.Errorf("terminals %s", got)
	}
	clear(who)
	var names []Identity
	for n := range 5 {
		names = append(names, Identity{fmt.Sprintf("T%d", n), fmt.Sprintf("M%d", n)})
	}
	if r, err = play(t, file, Options{Addrs: to(p.Addr), Terminals: 5, Identities: names}); err != nil || !r.OK() {
		t.Errorf("%+v, %v", r, err)
	}
	if got := strings.Join(sortedKeys(who), " "); got != "T0 T1 T2 T3 T4" || who["T3"] != "M3" {
		t.Errorf("%v", who)
	}
	if _, err := play(t, file, Options{Addrs: to(p.Addr), Terminals: 8, Identities: names}); err == nil {
		t.Error("eight terminals played under five identities")
	}
}

func TestRules(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"compare: {\"54\": ignore, \"0810.62\": same}", ""},
		{"rewrite: {stan: keep}", ""},
		{"", ""},
		{"rewrite: {stan: sometimes}", "rewrite.stan must be next or keep"},
		{"compare: {\"54\": maybe}", "compare.54 must be same, present or ignore"},
		{"compare: {\"154\": same}", "no field 2 to 128"},
		{"compare: {\"8.54\": same}", "is no message type"},
		{"colour: red", "unknown field"},
	} {
		_, err := ReadRules(strings.NewReader(row.text))
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%q: %v", row.text, err)
		}
	}
}

// The page needs nothing from anywhere.
func TestHTML(t *testing.T) {
	file := recorded(t, terminaltest.Start(t, "cup-pos"), 3, nil)
	p := terminaltest.Start(t, "cup-pos")
	p.SetAnswers(func(req *txn.Request, answer []byte) []byte {
		if req.Kind == txn.KindBalance {
			var m iso.Message
			p.Dialect.Codec().Parse(&m, answer[2:])
			m.Overwrite(39, 0, []byte("<5"))
		}
		return answer
	})
	r, err := play(t, file, Options{Name: "a<b>.acq", Addrs: to(p.Addr)})
	if err != nil {
		t.Fatal(err)
	}
	var page bytes.Buffer
	if err := r.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	text := page.String()
	for _, bad := range []string{"http:", "https:", "src=", "<script", "a<b>", "<5", "NaN", "Inf"} {
		if strings.Contains(text, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if n := strings.Count(text, "<svg"); n != 4 {
		t.Errorf("the page has %d plots", n)
	}
	if !slices.ContainsFunc(r.Groups, func(g Group) bool { return strings.Contains(g.Cause, "<5 instead of") }) {
		t.Errorf("%+v", r.Groups)
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		r    Report
		ok   bool
		want string
	}{
		{Report{}, false, "Nothing was answered."},
		{Report{Sent: 5, Silent: 5}, false, "Nothing was answered."},
		{Report{Sent: 5, Answered: 4, Same: 4, NotPlayed: 1}, false, "Not as recorded."},
		{Report{Sent: 5, Answered: 5, Unrecorded: 5}, true, "There was no answer to hold these against."},
		{Report{Sent: 5, Answered: 5, Same: 4, Unrecorded: 1}, true, "Every answer is as recorded."},
		{Report{Sent: 5, Answered: 5, Same: 5, Reference: []string{"a:1"}}, true, "Every answer is as the reference answers."},
	} {
		if got := c.r.Verdict(); got != c.want || c.r.OK() != c.ok {
			t.Errorf("%+v: %v, %s; want %v, %s", c.r, c.r.OK(), got, c.ok, c.want)
		}
	}
}
