package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// framed is a fixture with another DE48 or another batch in DE60.
func framed(t *testing.T, id string, over map[int]string) []byte {
	t.Helper()
	old := frame(t, id)
	m := new(iso.Message)
	if err := cupCodec.Parse(m, old[2:]); err != nil {
		t.Fatal(err)
	}
	e := cupCodec.Begin(nil, m.TPDU(), m.Header(), m.MTI())
	for n := 2; n <= 64; n++ {
		switch v, ok := over[n]; {
		case ok:
			e.Text(n, []byte(v))
		case m.Has(n):
			e.Copy(n, m)
		}
	}
	f, err := e.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestBatchOverTCP settles the constructed messages' batch with a switch that is
// killed after every answer: each answer is repeated byte for byte, and the
// ledger names every difference.
func TestBatchOverTCP(t *testing.T) {
	t.Parallel()
	s := newStack(t, "balance: 500000")
	checkAnswer(t, s.tell(frame(t, "cup-03")), 0x0210, "00")                   // 000002 of 123.45
	checkAnswer(t, s.tell(renumbered(t, frame(t, "cup-03"), 8)), 0x0210, "00") // 000008, which is not uploaded
	checkAnswer(t, s.tell(framed(t, "cup-19", nil)), 0x0330, "95")             // no upload before the settlement
	step := func(what string, f []byte, mti uint16, de48 string) {
		t.Helper()
		first := s.tell(f)
		m := checkAnswer(t, first, mti, "00")
		if got := string(m.AppendText(nil, 48)); got != de48 {
			t.Errorf("%s: DE48 %s, want %s", what, got, de48)
		}
		s.server.stop(syscall.SIGKILL)
		s.start()
		if again := s.tell(f); !bytes.Equal(again, first) {
			t.Errorf("%s again, after a crash:\n%X, first\n%X", what, again, first)
		}
	}
	const none = "00000000000000000000000000000"
	step("settlement", frame(t, "cup-16"), 0x0510, "000000024690002"+"000000000000000"+"2"+"0"+none+"1")
	checkAnswer(t, s.tell(renumbered(t, frame(t, "cup-03"), 9)), 0x0210, "77")
	step("upload", frame(t, "cup-19"), 0x0330, "03")
	step("end", frame(t, "cup-21"), 0x0330, "0003")
	checkAnswer(t, s.tell(renumbered(t, frame(t, "cup-03"), 9)), 0x0210, "77")
	// A sign-on with the closed batch is told the next one.
	m := checkAnswer(t, s.tell(frame(t, "cup-01")), 0x0810, "00")
	if got := string(m.AppendDigits(nil, 60)); got != "00000002003" {
		t.Errorf("sign-on: DE60 %s", got)
	}
	// The next batch is settled even.
	checkAnswer(t, s.tell(framed(t, "cup-03", map[int]string{11: "000020", 60: "2200000200060"})), 0x0210, "00")
	even := "000000012345001" + "000000000000000" + "0" + "0" + none + "0"
	step("even settlement", framed(t, "cup-16", map[int]string{11: "000021", 48: even, 60: "00000002201"}), 0x0510, even[:30]+"1"+even[31:61]+"1")
	step("balanced end", framed(t, "cup-22", map[int]string{11: "000022", 60: "00000002207"}), 0x0330, "0000")
	// And the one after that is left open.
	checkAnswer(t, s.tell(framed(t, "cup-03", map[int]string{11: "000030", 60: "2200000300060"})), 0x0210, "00")

	s.until("verify sees everything finished", func() bool { r := s.verify(); return r.OpenRequests+r.OpenReversals == 0 })
	s.cli("batches", "close", "--config", "acqswitch.yaml").check(t, exitRefused, "", "a switch runs on data: stop it, then try again\n")
	if code := s.server.stop(syscall.SIGTERM); code != exitOK {
		t.Errorf("SIGTERM: exit %d", code)
	}
	r := s.batches("list")
	if len(r.Open) != 1 || r.Open[0].Batch != 3 || r.Open[0].Ours.Debit != 12345 {
		t.Errorf("open: %+v", r.Open)
	}
	if len(r.Settled) != 5 || r.Settled[0].Result[0] != "uneven" || r.Settled[4].State != "closed" {
		t.Errorf("settled: %+v", r.Settled)
	}
	got := ""
	for _, x := range r.Exceptions {
		got += fmt.Sprintf("%d/%d %s %d %d %s\n", x.Batch, x.STAN, x.Verdict, x.Theirs, x.Ours, x.Card)
	}
	if want := "1/3 is not ours 12345 0 622202*********0128\n1/7 is not ours 95000 0 622202*********0128\n1/8 is not uploaded 0 12345 \n"; got != want {
		t.Errorf("exceptions\n%s, want\n%s", got, want)
	}
	s.cli("batches", "close", "--config", "acqswitch.yaml").check(t, exitOK, "1 batches of", "")
	s.cli("batches", "close", "--config", "acqswitch.yaml").check(t, exitOK, "0 batches of", "")
	if r := s.batches("list"); len(r.Open) != 0 || r.Settled[len(r.Settled)-1].Step != "close" {
		t.Errorf("after closing: %+v", r)
	}
	list := s.cli("batches", "list", "--config", "acqswitch.yaml")
	for _, line := range []string{
		"3 items for people to decide about", "0 batches with transactions of this day that nobody closed", "3 settlements",
		"000003  is not ours      ", "0.00 CNY    123.45 CNY",
		"000001  closed  2 for 246.90 CNY, 0 for 0.00 CNY  ", "uneven, 3 of 3 items uploaded, 1 of ours not",
		"000002  closed  1 for 123.45 CNY, 0 for 0.00 CNY  1 for 123.45 CNY, 0 for 0.00 CNY     even\n", "closed by the switch, not settled",
	} {
		list.check(t, exitOK, line, "")
	}
	if r := s.verify(); len(r.Breaks) != 0 {
		t.Errorf("verify: %+v", r)
	}
	s.checkNoCardInClear()
}

// Totals that were told before the cut-over are in the list of that day; what followed says so.
func TestBatchEndedAfterTheCutOver(t *testing.T) {
	r := batchesReport{Settled: []batchLine{{Batch: 1, State: "closed", Step: "end", Missing: &totalsLine{}, Items: &uploadedItems{3, 3}}}}
	if got := r.rows()[0].verdict; got != "began on an earlier day, 3 of 3 items uploaded" {
		t.Errorf("verdict %q", got)
	}
}

// batches is the report of a business day.
func (s *stack) batches(verb string) (r batchesReport) {
	s.t.Helper()
	out := s.cli("batches", verb, "--config", "acqswitch.yaml", "-o", "json")
	out.check(s.t, exitOK, "", "")
	if err := json.Unmarshal([]byte(out.out), &r); err != nil {
		s.t.Fatalf("%v in %s", err, out.out)
	}
	return r
}

// TestISO87BatchOverTCP settles a terminal whose dialect has no batch numbers:
// uneven, uploaded and ended; then the next period, even.
func TestISO87BatchOverTCP(t *testing.T) {
	t.Parallel()
	s := newStack(t, "balance: 500000")
	codec := iso.MustCompile(iso.ISO87(iso.SpelledHex), iso.Framing{Prefix: iso.PrefixBinary2, SizeMax: txn.FrameSizeMax})
	tell := func(mti uint16, code string, f map[int]string) *iso.Message {
		t.Helper()
		e := codec.Begin(nil, nil, nil, mti)
		for n := 2; n <= 128; n++ {
			if n == 41 || n == 42 {
				e.Text(n, []byte(map[int]string{41: "10000001", 42: "999290054110001"}[n]))
			} else if v, ok := f[n]; ok {
				e.Text(n, []byte(v))
			}
		}
		frame, err := e.Finish()
		if err != nil {
			t.Fatal(err)
		}
		conn := dial(t, s.iso87)
		defer conn.Close()
		if _, err := conn.Write(frame); err != nil {
			t.Fatal(err)
		}
		answer, err := receive(conn)
		if err != nil {
			t.Fatal(err)
		}
		m := new(iso.Message)
		if err := codec.Parse(m, answer); err != nil {
			t.Fatal(err)
		}
		if got := string(m.Value(39)); m.MTI() != mti&^1+0x10 || got != code {
			t.Errorf("%04x was answered %04x with %s, want %s", mti, m.MTI(), got, code)
		}
		return m
	}
	sale := func(stan, minor int) map[int]string {
		return map[int]string{2: testPAN, 3: "000000", 4: fmt.Sprintf("%012d", minor), 11: fmt.Sprintf("%06d", stan), 14: "4912", 22: "072", 49: "156"}
	}
	settle := func(stan, debits, debit int) *iso.Message {
		return tell(0x0500, "00", map[int]string{11: fmt.Sprintf("%06d", stan), 74: "0000000000", 76: fmt.Sprintf("%010d", debits),
			86: "0000000000000000", 88: fmt.Sprintf("%016d", debit)})
	}
	ours := func(m *iso.Message) string {
		return fmt.Sprintf("%s: %s of %s", m.AppendText(nil, 66), m.AppendText(nil, 76), m.AppendText(nil, 88))
	}
	tell(0x0200, "00", sale(1, 500))
	tell(0x0200, "00", sale(2, 700))
	if got, want := ours(settle(3, 1, 500)), "2: 0000000002 of 0000000000001200"; got != want {
		t.Errorf("uneven: %s, want %s", got, want)
	}
	tell(0x0320, "00", sale(1, 500))
	tell(0x0520, "00", map[int]string{3: "960000", 11: "000004", 74: "0000000000", 76: "0000000001", 86: "0000000000000000", 88: "0000000000000500"})
	tell(0x0200, "00", sale(5, 900))
	for range 2 { // the second is the answer told again
		if got, want := ours(settle(6, 1, 900)), "1: 0000000001 of 0000000000000900"; got != want {
			t.Errorf("even: %s, want %s", got, want)
		}
	}
	s.until("the ledger has the last settlement", func() bool {
		return strings.Count(s.cli("batches", "list", "--config", "acqswitch.yaml", "-o", "json").out, `"step"`) == 4
	})
	if code := s.server.stop(syscall.SIGTERM); code != exitOK {
		t.Errorf("SIGTERM: exit %d", code)
	}
	r := s.batches("list")
	if len(r.Open) != 0 || len(r.Exceptions) != 1 || r.Exceptions[0].STAN != 2 || r.Exceptions[0].Verdict != "is not uploaded" {
		t.Errorf("%+v", r)
	}
	if r := s.verify(); len(r.Breaks) != 0 {
		t.Errorf("verify: %+v", r)
	}
}
