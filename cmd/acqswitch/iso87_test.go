package main

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/issuer/simulator"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// spellings are the two ways in which terminals that a test plays itself write.
var spellings = map[string]iso.Spelling{"iso87": iso.SpelledHex, "iso87-bcd": iso.SpelledBCD}

// isoTerminal is an ISO 8583:1987 terminal on one connection.
type isoTerminal struct {
	t     *testing.T
	codec *iso.Codec
	tpdu  []byte
	conn  net.Conn
	auth  map[uint32]string // DE38 of its answers, by STAN
	// leaves is DE95 of what it asks for next, in minor units; 0: none.
	leaves int64
}

// newISOTerminal is a terminal of s, not connected, that puts tpdu before what it sends.
func newISOTerminal(t *testing.T, s *stack, tpdu string) *isoTerminal {
	framing := iso.Framing{Prefix: iso.PrefixBinary2, MayTPDU: tpdu != "", SizeMax: txn.FrameSizeMax}
	return &isoTerminal{t: t, codec: iso.MustCompile(iso.ISO87(spellings[s.spoken]), framing), tpdu: []byte(tpdu), auth: map[uint32]string{}}
}

// ask sends what row says, about an earlier request of the terminal's own (0:
// none), and returns DE39. "0200 02 06" is MTI, DE3 and DE25.
func (c *isoTerminal) ask(spelled string, stan, about uint32, minor int64) string {
	c.t.Helper()
	var mti uint16
	var operation, condition string
	if _, err := fmt.Sscanf(spelled, "%x %s %s", &mti, &operation, &condition); err != nil {
		c.t.Fatal(err)
	}
	e := c.codec.Begin(nil, c.tpdu, nil, mti)
	e.Digits(2, []byte(testPAN))
	e.Digits(3, []byte(operation+"0000"))
	e.Uint(4, uint64(minor))
	e.Digits(7, []byte("0101000000")) // a clock that was never set
	e.Uint(11, uint64(stan))
	e.Digits(14, []byte("4912"))
	e.Digits(22, []byte("051"))
	if condition != "-" {
		e.Digits(25, []byte(condition))
	}
	if code := c.auth[about]; code != "" && mti>>8 != 0x04 {
		e.Text(38, []byte(code))
	}
	e.Text(41, []byte("10000001"))
	e.Text(42, []byte("999290054110001"))
	e.Text(49, []byte("156"))
	if about != 0 {
		e.Digits(90, fmt.Appendf(nil, "0200%06d%032d", about, 0))
	}
	if c.leaves != 0 {
		e.Digits(95, fmt.Appendf(nil, "%012d%030d", c.leaves, 0))
	}
	frame, err := e.Finish()
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.conn.Write(frame); err != nil {
		c.t.Fatal(err)
	}
	answer, err := receive(c.conn)
	if err != nil {
		c.t.Fatal(err)
	}
	m := new(iso.Message)
	if err := c.codec.Parse(m, answer); err != nil {
		c.t.Fatal(err)
	}
	if len(m.TPDU()) != len(c.tpdu) || len(c.tpdu) > 0 && string(m.TPDU()[1:3]) != string(c.tpdu[3:]) {
		c.t.Errorf("answered behind %x to %x", m.TPDU(), c.tpdu)
	}
	if got, _ := m.Uint(11); m.MTI() != mti&^1+0x10 || got != uint64(stan) {
		c.t.Errorf("%s, STAN %d: answered %04x, STAN %d", spelled, stan, m.MTI(), got)
	}
	c.auth[stan] = string(m.Value(38))
	return string(m.Value(39))
}

// TestReversalInPart has a terminal take back parts of sales while reversals'
// answers are lost and the switch is killed, and holds terminal, ledger, issuer and
// limits to what stands.
func TestReversalInPart(t *testing.T) {
	t.Parallel()
	s := newStack(t, "rules: [{kind: reversal, times: 3, drop: true}]")
	live := func(verb string, args ...string) result {
		t.Helper()
		return s.terminal("", verb, append([]string{"--dialect", "iso87", "--addr", s.iso87, "--store", "t1"}, args...)...)
	}
	live("sale", "--card", testPAN, "--amount", "10.00", "--stan", "1").check(t, exitOK, "approved", "")
	live("sale", "--card", testPAN, "--amount", "20.00").check(t, exitOK, "approved", "")
	live("sale", "--card", testPAN, "--amount", "30.00").check(t, exitOK, "approved", "")
	live("reversal", "--stan", "1", "--replacement", "4.00").check(t, exitOK, "approved", "")
	live("reversal", "--stan", "2", "--replacement", "12.00").check(t, exitOK, "approved", "")
	if code := s.server.stop(syscall.SIGKILL); code == exitOK {
		t.Fatal("the switch ended by itself")
	}
	s.start()
	live("reversal", "--stan", "1", "--replacement", "4.00").check(t, exitOK, "approved", "") // so it is already
	live("reversal", "--stan", "1", "--replacement", "5.00").check(t, exitRefused, "13", "")
	live("reversal", "--stan", "1", "--replacement", "3.00").check(t, exitOK, "approved", "")
	live("reversal", "--stan", "2").check(t, exitOK, "approved", "") // the rest
	standing := func() (all []string) {
		entries, err := simulator.ReadBook(filepath.Join(s.dir, "issuer.book"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range simulator.Standing(entries) {
			all = append(all, fmt.Sprint(e.Txn, " ", e.Amount))
		}
		return all
	}
	s.until("nothing is owed", func() bool { r := s.verify(); return r.OpenReversals == 0 && r.OpenRequests == 0 })
	if got, want := standing(), []string{"sale 300", "sale 3000"}; !slices.Equal(got, want) {
		t.Errorf("the issuer stands by %q, want %q", got, want)
	}
	if r := s.verify(); len(r.Breaks) != 0 {
		t.Errorf("verify: %s", r.Breaks)
	}
	live("settlement").check(t, exitOK, "debit 33.00 156 in 2", "")
	live("reversal", "--stan", "3", "--replacement", "x").check(t, exitUsage, "", "--replacement")
	s.terminal("", "reversal", "--stan", "3", "--amount", "30.00", "--replacement", "1.00").check(t, exitUsage, "", "of dialect iso87")
}

// TestReversalInPartToldAgain repeats reversals in part under the numbers that
// terminals give them: of their own, and their sale's. The same is told the same,
// also when it says that it is a repeat and after a kill; another is no repeat.
func TestReversalInPartToldAgain(t *testing.T) {
	t.Parallel()
	s := newStack(t, "")
	c := newISOTerminal(t, s, "")
	told := func(mti string, stan, about uint32, leaves int64, code string) {
		t.Helper()
		if c.leaves = leaves; leaves == 0 {
			about = 0
		}
		if got := c.ask(mti+" 00 -", stan, about, 1000); got != code {
			t.Errorf("%s under %d that leaves %d of %d: %s, want %s", mti, stan, leaves, about, got, code)
		}
	}
	for range 2 {
		c.conn = dial(t, s.iso87)
		told("0200", 1, 0, 0, "00")
		told("0200", 2, 0, 0, "00")
		for _, mti := range []string{"0400", "0400", "0401", "0420", "0421"} {
			told(mti, 3, 1, 400, "00")
			told(mti, 2, 2, 500, "00")
		}
		told("0400", 3, 1, 300, "94")
		told("0400", 2, 2, 300, "94")
		s.server.stop(syscall.SIGKILL)
		s.start()
	}
	s.until("nothing is owed", func() bool { r := s.verify(); return r.OpenReversals == 0 && r.OpenRequests == 0 })
	if r := s.verify(); len(r.Breaks) != 0 {
		t.Errorf("verify: %s", r.Breaks)
	}
}

// TestISO87Day has a terminal make one transaction of each kind through a switch
// to an issuer, and holds the three of them to one result, in characters and in packed
// digits behind a TPDU.
func TestISO87Day(t *testing.T) {
	t.Parallel()
	for dialect, tpdu := range map[string]string{"iso87": "", "iso87-bcd": "\x60\x00\x03\x00\x12"} {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			testISO87Day(t, dialect, tpdu)
		})
	}
}

func testISO87Day(t *testing.T, dialect, tpdu string) {
	// The second refund's answer is lost: its terminal is not told, the issuer is told again.
	s := newStackIn(t, dialect, "rules: [{kind: refund, amount: 11, times: 1, drop: true}]")
	write(t, s.dir, "merchants.yaml", strings.Replace(registryText, "[sale, balance]",
		"[sale, balance, refund, preauth, offline-sale, adjustment, tip, instalment, verify]", 1))
	s.cli("registry", "import", "--config", "acqswitch.yaml", "merchants.yaml").check(t, exitOK, "", "")
	if code := s.server.stop(syscall.SIGTERM); code != exitOK {
		t.Fatalf("the switch ended with %d", code)
	}
	s.start()
	c := newISOTerminal(t, s, tpdu)
	c.conn = dial(t, s.iso87)
	for i, step := range []struct {
		asks        string
		stan, about uint32
		minor       int64
		code        string
	}{
		{"0100 33 -", 1, 0, 0, "00"},
		{"0200 31 -", 2, 0, 0, "00"},
		{"0200 00 -", 3, 0, 1000, "00"},
		{"0200 02 -", 4, 3, 999, "64"},
		{"0200 02 -", 5, 3, 1000, "00"},
		{"0201 02 -", 5, 3, 1000, "00"}, // a repeat
		{"0200 02 -", 6, 3, 1000, "25"},
		{"0400 02 -", 7, 5, 1000, "00"}, // the void never was
		{"0420 02 -", 8, 5, 1000, "00"},
		{"0200 02 -", 9, 77, 1000, "25"},
		{"0100 00 06", 10, 0, 2000, "00"},
		{"0100 00 60", 11, 10, 500, "00"},
		{"0200 00 06", 12, 10, 2900, "64"}, // over 115 percent
		{"0200 00 06", 13, 10, 2800, "00"},
		{"0200 00 06", 14, 10, 100, "12"},
		{"0200 02 06", 15, 13, 2800, "00"},
		{"0100 00 -", 16, 0, 300, "00"},
		{"0100 20 06", 17, 16, 300, "00"},
		{"0220 00 -", 18, 0, 400, "00"},
		{"0220 20 -", 19, 18, 100, "00"},
		{"0220 20 -", 20, 18, 11, "00"},
	} {
		if got := c.ask(step.asks, step.stan, step.about, step.minor); got != step.code {
			t.Errorf("step %d, %s: %s, want %s", i+1, step.asks, got, step.code)
		}
	}
	standing := func() (all []string) {
		entries, err := simulator.ReadBook(filepath.Join(s.dir, "issuer.book"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range simulator.Standing(entries) {
			all = append(all, fmt.Sprint(e.Txn, " ", e.Amount))
		}
		return all
	}
	want := []string{"sale 1000", "preauth 2000", "increment 500", "completion 2800", "completion-void 2800", "preauth 300", "preauth-void 300",
		"offline-sale 400", "refund 100", "refund 11"}
	s.until("the issuer undid the void", func() bool { return slices.Equal(standing(), want) || t.Failed() })
	if got := standing(); !slices.Equal(got, want) {
		t.Errorf("the issuer stands by\n%q, want\n%q", got, want)
	}
	s.until("nothing is owed", func() bool { r := s.verify(); return r.OpenReversals == 0 && r.OpenRequests == 0 })
	if r := s.verify(); len(r.Breaks) != 0 {
		t.Errorf("verify: %s", r.Breaks)
	}
}
