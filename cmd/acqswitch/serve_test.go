package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/issuer/simulator"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// stack is a switch and an issuer as two processes, with the merchant and the
// terminal of the constructed messages.
type stack struct {
	t      *testing.T
	dir    string
	issuer string // address
	bank   *process
	server *process
	cup    string // addresses of the running switch
	iso87  string
	spoken string // the dialect there and of the issuer's link; empty: iso87
	admin  string
	env    []string // of the switch
}

// newStack starts an issuer of script and a switch in a fresh directory.
func newStack(t *testing.T, script string) *stack { return newStackIn(t, "iso87", script) }

// What an issuer's script says is overridden by flags that are given, not by their
// defaults.
func TestIssuersFlagsAndScript(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "issuer.yaml", "listen: 127.0.0.1:0\nbook: of-script.book\ndialect: cups\n")
	for book, args := range map[string][]string{"of-script.book": nil, "of-flag.book": {"--book", "of-flag.book"}} {
		p := start(t, dir, append([]string{"issuer", "--script", "issuer.yaml"}, args...)...)
		if addr := p.await("issuer listens on"); strings.HasSuffix(addr, ":9101") {
			t.Errorf("it listens on %s, not where its script says", addr)
		}
		if _, err := os.Stat(filepath.Join(dir, book)); err != nil {
			t.Error(err)
		}
		p.stop(syscall.SIGTERM)
	}
	acqswitch(t, dir, nil, "", "issuer", "--script", "issuer.yaml", "--dialect", "cups9").check(t, exitUsage, "", `"cups9"`)
}

// newStackIn is newStack with another dialect in the place of iso87.
func newStackIn(t *testing.T, dialect, script string) *stack {
	t.Helper()
	s := &stack{t: t, dir: t.TempDir(), spoken: dialect}
	write(t, s.dir, "issuer.yaml", script)
	write(t, s.dir, "merchants.yaml", registryText)
	s.bank = start(t, s.dir, "issuer", "--listen", "127.0.0.1:0", "--script", "issuer.yaml", "--book", "issuer.book", "--dialect", dialect)
	s.issuer = s.bank.await("issuer listens on")
	write(t, s.dir, "acqswitch.yaml", fmt.Sprintf(`
answer_within: 5s
cut_over: %[3]q
terminals:
  drain_within: 10s
  listeners: [{address: "127.0.0.1:0", dialect: cup-pos}, {address: "127.0.0.1:0", dialect: %[2]s}]
reversals: {retry: 20ms, retry_max: 100ms}
admin: {address: "127.0.0.1:0"}
issuers:
  - {name: east, address: %[1]q, dialect: %[2]s, bins: ["62"], timeout: 3s, reconnect_max: 100ms, utc_offset: 8h}
`, s.issuer, dialect, cutOver()))
	s.cli("registry", "import", "--config", "acqswitch.yaml", "merchants.yaml").check(t, exitOK, "", "")
	s.start()
	return s
}

// cutOver is a time at which no test runs: what is sold in one is of one business day.
func cutOver() string {
	return time.Now().Add(12 * time.Hour).In(time.FixedZone("CST", 8*3600)).Format("15:04")
}

// start starts the switch and waits until sales can be made.
func (s *stack) start() {
	s.t.Helper()
	s.startAs(binary(s.t, context.Background(), s.dir, s.env, "serve", "--config", "acqswitch.yaml"))
}

// startAs is start with the command of a test.
func (s *stack) startAs(cmd *exec.Cmd) {
	s.t.Helper()
	s.server = startCommand(s.t, s.dir, cmd)
	s.cup = s.server.await("cup-pos terminals can connect to")
	s.iso87 = s.server.await(cmp.Or(s.spoken, "iso87") + " terminals can connect to")
	s.admin = s.server.await("metrics and health are on")
	s.until("the switch is ready", func() bool {
		code, _ := s.get("/readyz")
		return code == http.StatusOK
	})
}

// terminal is the registered terminal on the command line, with a master key
// unless that is empty.
func (s *stack) terminal(tmk, verb string, args ...string) result {
	s.t.Helper()
	who := []string{"terminal", verb, "--addr", s.cup, "--terminal", "10000001", "--merchant", "999290054110001"}
	return acqswitch(s.t, s.dir, []string{tmkVariable + "=" + tmk}, "", append(who, args...)...)
}

// cli runs another command of the binary beside the switch.
func (s *stack) cli(args ...string) result {
	s.t.Helper()
	return acqswitch(s.t, s.dir, nil, "", args...)
}

func (s *stack) get(path string) (int, string) {
	s.t.Helper()
	client := http.Client{Timeout: binaryWait}
	r, err := client.Get(s.admin + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

func (s *stack) until(what string, ok func() bool) {
	s.t.Helper()
	late, cancel := running(binaryWait)
	defer cancel()
	for ; !ok(); time.Sleep(10 * time.Millisecond) {
		if late.Err() != nil {
			s.t.Fatalf("waited %v in vain: %s", binaryWait, what)
		}
	}
}

// booked counts the entries of one kind in the issuer's book.
func (s *stack) booked(kind string) (n int) {
	s.t.Helper()
	entries, err := simulator.ReadBook(filepath.Join(s.dir, "issuer.book"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// tell sends a CUP frame on a connection of its own and returns the answer.
func (s *stack) tell(frame []byte) []byte {
	s.t.Helper()
	conn := dial(s.t, s.cup)
	defer conn.Close()
	if _, err := conn.Write(frame); err != nil {
		s.t.Fatal(err)
	}
	answer, err := receive(conn)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer
}

// report is what verify -o json says.
type report struct {
	OpenRequests  int `json:"open_requests_count"`
	OpenReversals int `json:"open_reversals_count"`
	Intents       int
	Outcomes      int
	Breaks        []json.RawMessage
}

func (s *stack) verify() (r report) {
	s.t.Helper()
	var v result
	s.until("the ledger has its tables", func() bool {
		v = s.cli("verify", "--config", "acqswitch.yaml", "-o", "json")
		return !strings.Contains(v.errs, "a switch makes them when it starts")
	})
	v.check(s.t, exitOK, "", "")
	if err := json.Unmarshal([]byte(v.out), &r); err != nil {
		s.t.Fatalf("verify: %v in %s", err, v.out)
	}
	return r
}

var cupCodec = iso.MustCompile(iso.CUPPOS(), iso.CUPPOSFraming(txn.FrameSizeMax))

// checkAnswer holds a CUP answer to its type and code, and returns it.
func checkAnswer(t *testing.T, answer []byte, mti uint16, code string) *iso.Message {
	t.Helper()
	m := new(iso.Message)
	if err := cupCodec.Parse(m, answer); err != nil {
		t.Fatal(err)
	}
	if got := string(m.Value(39)); m.MTI() != mti || got != code {
		t.Errorf("got %04x with code %s, want %04x with %s", m.MTI(), got, mti, code)
	}
	return m
}

// renumbered is a CUP frame of the fixtures under another trace number. Its
// DE11 lies behind a card number of 19 digits where it has one.
func renumbered(t *testing.T, frame []byte, stan uint32) []byte {
	t.Helper()
	m := new(iso.Message)
	if err := cupCodec.Parse(m, frame[2:]); err != nil {
		t.Fatal(err)
	}
	f := bytes.Clone(frame)
	digits, err := hex.DecodeString(fmt.Sprintf("%06d", stan))
	if err != nil {
		t.Fatal(err)
	}
	copy(f[2+m.Offset(11):], digits)
	return f
}

// TestServe follows sales, their repeats and their reversals through a switch,
// and looks at it as an operator does.
func TestServe(t *testing.T) {
	t.Parallel()
	s := newStack(t, "balance: 500000\nrules: [{amount: 66600, code: \"51\"}]")
	sale, reversal := frame(t, "cup-03"), frame(t, "cup-14")

	checkAnswer(t, s.tell(frame(t, "cup-01")), 0x0810, "00") // sign-on
	checkAnswer(t, s.tell(frame(t, "cup-23")), 0x0830, "00") // echo
	first := s.tell(sale)
	m := checkAnswer(t, first, 0x0210, "00")
	for n, want := range map[int]string{2: testPAN, 3: "000000", 4: "000000012345", 11: "000002", 41: "10000001", 42: "999290054110001"} {
		if got := string(m.AppendText(nil, n)); got != want {
			t.Errorf("field %d: got %q, want %q", n, got, want)
		}
	}
	if !m.Has(37) || !m.Has(38) || !bytes.Equal(m.TPDU(), []byte{0x60, 0, 0, 0, 3}) {
		t.Errorf("RRN %v, authorization code %v, TPDU %X", m.Has(37), m.Has(38), m.TPDU())
	}
	if again := s.tell(sale); !bytes.Equal(again, first) {
		t.Errorf("the same sale again was answered\n%X, first\n%X", again, first)
	}
	if n := s.booked(simulator.Approved); n != 1 {
		t.Errorf("the issuer booked the sale %d times", n)
	}
	void := uint32(900_000) // of another RRN: unknown, as soon as there is a ledger to look into
	s.until("a void of an unknown sale is refused", func() bool {
		void++
		m := new(iso.Message)
		return cupCodec.Parse(m, s.tell(renumbered(t, frame(t, "cup-05"), void))) == nil && string(m.Value(39)) == "25"
	})
	checkAnswer(t, s.tell(frame(t, "cup-12")), 0x0210, "00") // balance
	checkAnswer(t, s.tell(reversal), 0x0410, "00")
	checkAnswer(t, s.tell(reversal), 0x0410, "00")
	s.until("the issuer undid the sale", func() bool { return s.booked(simulator.Reversed) == 1 })

	// The terminal on the command line, of the other dialect.
	terminal := func(verb string, args ...string) result {
		return s.terminal("", verb, append([]string{"--dialect", "iso87", "--addr", s.iso87}, args...)...)
	}
	terminal("sign-on").check(t, exitOK, "approved: code 00", "")
	terminal("echo").check(t, exitOK, "approved: code 00", "")
	terminal("sale", "--amount", "12.50", "--card", testPAN, "--stan", "42").check(t, exitOK, "622202*********0128", "")
	terminal("balance", "--card", testPAN, "--stan", "43").check(t, exitOK, "000000500000", "")
	terminal("sale", "--amount", "666.00", "--card", testPAN, "--stan", "44").check(t, exitRefused, "refused: code 51", "")
	terminal("sale", "--amount", "12.50", "--card", testPAN, "--terminal", "99999999", "--stan", "45").check(t, exitRefused, "refused: code 58", "")
	terminal("reversal", "--amount", "12.50", "--stan", "42").check(t, exitOK, "approved: code 00", "")
	s.until("the issuer undid the second sale", func() bool { return s.booked(simulator.Reversed) == 2 })

	s.until("verify sees everything finished", func() bool { r := s.verify(); return r.OpenRequests+r.OpenReversals == 0 })
	if code, body := s.get("/metrics"); code != http.StatusOK || !strings.Contains(body, `dialect="cup-pos"`) {
		t.Errorf("/metrics: %d\n%s", code, body)
	}
	if code := s.server.stop(syscall.SIGTERM); code != exitOK {
		t.Errorf("SIGTERM: exit %d", code)
	}
	if r := s.verify(); len(r.Breaks) != 0 || r.OpenRequests+r.OpenReversals != 0 || r.Intents != 5 {
		t.Errorf("verify of the stopped switch: %+v", r)
	}
	s.checkDump()
	s.checkNoCardInClear()
}

// checkDump reads the journal as an operator does.
func (s *stack) checkDump() {
	t := s.t
	t.Helper()
	dump := s.cli("journal", "dump", "--config", "acqswitch.yaml")
	dump.check(t, exitOK, "card=622202*********0128", "")
	dump.check(t, exitOK, "outcome=approved code=00", "")
	count := strings.Count(dump.out, "\n")
	lines := json.NewDecoder(strings.NewReader(s.cli("journal", "dump", "--data", "data", "-o", "json").out))
	read := 0
	for ; ; read++ {
		var line struct {
			Position uint64
			Record   string
			Card     string
		}
		if err := lines.Decode(&line); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if line.Position != uint64(read+1) || line.Record == "" {
			t.Errorf("line %d: %+v", read+1, line)
		}
	}
	if read != count || read < 10 {
		t.Errorf("%d lines of text, %d of JSON", count, read)
	}
	if r := s.cli("journal", "dump", "--data", "data", "--from", "3", "-n", "2"); strings.Count(r.out, "\n") != 2 || !strings.HasPrefix(r.out, "3 ") {
		t.Errorf("two records from 3:\n%s", r.out)
	}
}

// checkNoCardInClear looks for the card, its track and its PIN block in
// everything the switch left: journal, ledger, logs.
func (s *stack) checkNoCardInClear() {
	t := s.t
	t.Helper()
	packed, err := hex.DecodeString(testPAN + "0")
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string][]byte{
		"card number": []byte(testPAN), "packed card number": packed[:9], "track": []byte(testPAN[:12]),
		"PIN block": {0xBD, 0xFD, 0x42, 0xDC, 0xF9, 0x60, 0xC8, 0xB6}, "chip cryptogram": {0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF, 0x00, 0x11},
	}
	searched := 0
	err = filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		searched += len(b)
		for name, secret := range secrets {
			if bytes.Contains(b, secret) {
				t.Errorf("the %s is in %s", name, path)
			}
		}
		return err
	})
	if err != nil || searched < 10_000 {
		t.Errorf("searched %d bytes: %v", searched, err)
	}
}

// TestF83ServeDrain stops a switch that has a sale at the issuer: the terminal
// still gets its answer, and nobody new is served.
func TestF83ServeDrain(t *testing.T) {
	t.Parallel()
	s := newStack(t, "rules: [{latency: {fixed: 700ms}}]")
	s.verify() // the ledger has its tables
	idle, conn := dial(t, s.cup), dial(t, s.cup)
	if _, err := conn.Write(frame(t, "cup-03")); err != nil {
		t.Fatal(err)
	}
	s.until("the issuer has the sale", func() bool { return s.booked(simulator.Approved) == 1 })
	stopped := make(chan int)
	go func() { stopped <- s.server.stop(syscall.SIGTERM) }()
	answer, err := receive(conn)
	if err != nil {
		t.Fatalf("the sale in flight: %v", err)
	}
	checkAnswer(t, answer, 0x0210, "00")
	if code := <-stopped; code != exitOK {
		t.Errorf("exit %d, want %d", code, exitOK)
	}
	if _, err := receive(idle); err == nil {
		t.Error("the idle session was answered")
	}
	if c, err := net.Dial("tcp", s.cup); err == nil {
		c.Close()
		t.Error("a stopped switch accepts")
	}
	if r := s.verify(); r.OpenRequests+r.OpenReversals != 0 {
		t.Errorf("after the drain: %+v", r)
	}
	s.cli("terminal", "echo", "--addr", s.cup).check(t, exitUnreachable, "", "connection refused")
}

// TestF85ServeReload puts another registry in force under a running switch, and
// then a broken one.
func TestF85ServeReload(t *testing.T) {
	t.Parallel()
	s := newStack(t, "{}")
	sale := frame(t, "cup-03")
	checkAnswer(t, s.tell(sale), 0x0210, "00")
	write(t, s.dir, "closed.yaml", strings.Replace(registryText, "status: active\n", "status: closed\n", 1))
	s.cli("registry", "import", "--config", "acqswitch.yaml", "closed.yaml").check(t, exitOK, "", "")
	hup := func(logged string) {
		t.Helper()
		if err := s.server.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		s.until(logged, func() bool { return strings.Contains(read(t, s.server.log), logged) })
	}
	hup("registry reloaded")
	checkAnswer(t, s.tell(renumbered(t, sale, 3)), 0x0210, "03")
	write(t, s.dir+"/data", "registry.yaml", "version: 1\nmerchants: [")
	hup("registry not reloaded")
	checkAnswer(t, s.tell(renumbered(t, sale, 4)), 0x0210, "03")
	if code := s.server.stop(os.Interrupt); code != exitOK {
		t.Errorf("SIGINT: exit %d", code)
	}
}

// TestServeRefuses holds starts that cannot work: one line, no listener left.
func TestServeRefuses(t *testing.T) {
	t.Parallel()
	s := newStack(t, "{}")
	config := read(t, s.dir+"/acqswitch.yaml")
	for _, c := range []struct {
		name     string
		old, new string
		code     int
		want     string
	}{
		{"address in use", `"127.0.0.1:0", dialect: iso87`, fmt.Sprintf("%q, dialect: iso87", s.iso87), exitFailed, "address already in use"},
		{"admin address in use", `admin: {address: "127.0.0.1:0"}`, fmt.Sprintf("admin: {address: %q}", strings.TrimPrefix(s.admin, "http://")), exitFailed, "address already in use"},
		{"issuer's prefix", `bins: ["62"]`, `bins: ["6x"]`, exitUsage, `prefix "6x" must be digits`},
	} {
		other := t.TempDir()
		write(t, other, "acqswitch.yaml", strings.Replace(config, c.old, c.new, 1))
		write(t, other, "merchants.yaml", registryText)
		acqswitch(t, other, nil, "", "registry", "import", "--config", "acqswitch.yaml", "merchants.yaml").check(t, exitOK, "", "")
		r := acqswitch(t, other, []string{"ACQ_LOG_LEVEL=error"}, "", "serve")
		lines := strings.Split(strings.TrimSpace(r.errs), "\n")
		if r.code != c.code || !strings.Contains(lines[len(lines)-1], c.want) {
			t.Errorf("%s: exit %d, want %d; %q, want %q", c.name, r.code, c.code, r.errs, c.want)
		}
	}

	// Two switches must not write one journal.
	r := acqswitch(t, s.dir, []string{"ACQ_LOG_LEVEL=error", "ACQ_ADMIN_ADDRESS="}, "", "serve")
	if r.code != exitFailed || !strings.Contains(r.errs, "journal") {
		t.Errorf("a second switch on one data directory: exit %d, %s", r.code, r.errs)
	}
	checkAnswer(t, s.tell(frame(t, "cup-03")), 0x0210, "00") // the first is not disturbed
}

// A client of the operators' address that never ends its request is let go.
func TestF19OperatorsAddressWaitsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := pipeListener{make(chan net.Conn), make(chan struct{})}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- serveHTTP(ctx, l, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), controlStopMax, slog.New(slog.DiscardHandler))
		}()
		here, there := net.Pipe()
		l.conns <- there
		here.SetDeadline(time.Now().Add(time.Hour))
		go here.Write([]byte("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf"))
		began := time.Now()
		if _, err := io.Copy(io.Discard, here); err != nil {
			t.Errorf("it is still waited for after %v: %v", time.Since(began), err)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// pipeListener accepts what it is given.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l pipeListener) Close() error { close(l.closed); return nil }

func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{} }
