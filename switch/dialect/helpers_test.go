package dialect

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

const (
	testPAN      = "6222021234567890128"
	testAcquirer = "48802900"
)

var (
	testRRN = [12]byte([]byte("326112000042"))
	testLeg = txn.Leg{Issuer: txn.MakeIssuerID("east"), STAN: 77, Time: [10]byte([]byte("1122093105"))}
)

func terminal(tb testing.TB, name string) *Terminal {
	tb.Helper()
	d, err := ForTerminal(name)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// fields is a message to be built: characters by field number. A value that
// begins with "hex:" is raw bytes.
type fields map[int]string

// with is f with other fields over it; an empty value takes a field out.
func (f fields) with(over fields) fields {
	m := maps.Clone(f)
	for n, v := range over {
		if m[n] = v; v == "" {
			delete(m, n)
		}
	}
	return m
}

// build encodes a message of the codec, without its length prefix.
func build(tb testing.TB, c *iso.Codec, mti uint16, f fields) []byte {
	tb.Helper()
	var tpdu, header []byte
	if c.Framing().TPDU {
		tpdu, header = []byte{0x60, 0x00, 0x03, 0x12, 0x34}, []byte{0x60, 0x31, 0x00, 0x31, 0x00, 0x00}
	}
	if c.Framing().Measured {
		h := iso.MakeCUPSHeader("48802900", cupsDestination)
		header = h[:]
	}
	e := c.Begin(nil, tpdu, header, mti)
	for _, n := range slices.Sorted(maps.Keys(f)) {
		if raw, ok := strings.CutPrefix(f[n], "hex:"); ok {
			b, err := hex.DecodeString(raw)
			if err != nil {
				tb.Fatal(err)
			}
			e.Bytes(n, b)
			continue
		}
		e.Text(n, []byte(f[n]))
	}
	frame, err := e.Finish()
	if err != nil {
		tb.Fatal(err)
	}
	return frame[c.Framing().PrefixSize():]
}

// decoded is the exchange of a frame that some request can be made out in.
func decoded(tb testing.TB, d *Terminal, frame []byte) *Exchange {
	tb.Helper()
	x := &Exchange{Frame: frame}
	if err := d.Decode(x, time.Now()); err != nil {
		tb.Fatalf("decode: %v", err)
	}
	return x
}

// decide fills the answer as the switch does. An approval carries all that an
// issuer may say.
func decide(x *Exchange, reason txn.Reason) {
	a := &x.Answer
	a.Reset()
	a.Reason, a.RRN, a.Acquirer = reason, testRRN, testAcquirer
	copy(a.Time[:], "093105")
	copy(a.Date[:], "1121")
	if reason == txn.Approved && x.Request.Key.Class != txn.ClassNetwork {
		copy(a.Reply.SettlementDate[:], "1122")
		if x.Request.Kind.Forwarded() {
			copy(a.Reply.Code[:], "00")
			copy(a.Reply.AuthCode[:], "A1B2C3")
			a.Reply.Balance = append(a.Reply.Balance, "1002156C000000500000"...)
			a.Reply.Chip = append(a.Reply.Chip, 0x91, 0x02, 0x30, 0x30)
		}
	}
	a.Code = Code(x.Request.Dialect, reason, a.Reply.Code)
}

// answered is the answer to x as its terminal reads it.
func answered(tb testing.TB, d *Terminal, x *Exchange) *iso.Message {
	tb.Helper()
	before := []byte("what stands before")
	frame, err := d.AppendAnswer(bytes.Clone(before), x, nil)
	if err != nil {
		tb.Fatalf("append answer: %v", err)
	}
	frame, ok := bytes.CutPrefix(frame, before)
	if !ok {
		tb.Fatalf("append answer wrote over what stood before")
	}
	size := d.PrefixSize()
	if n, err := d.ReadLength(frame[:size]); err != nil || n != len(frame)-size {
		tb.Fatalf("length prefix: got %d, %v, want %d", n, err, len(frame)-size)
	}
	m := new(iso.Message)
	if err := d.Codec().Parse(m, frame[size:]); err != nil {
		tb.Fatalf("parse answer: %v", err)
	}
	return m
}

func text(m *iso.Message, n int) string { return string(m.AppendText(nil, n)) }

// fixture is one message that others, or the specification, wrote.
type fixture struct {
	ID, Dialect, Framing, Bitmap, Hex string
}

// fixtures are the messages of the terminal dialects in testdata/messages, by id.
func fixtures(tb testing.TB) map[string]fixture {
	tb.Helper()
	all := map[string]fixture{}
	for _, source := range []string{"cup-pos-constructed", "vfwz+iso8583-parser", "Ajsgn+Java8583", "moov-io+iso8583", "nao1215+iso8583tool"} {
		file, err := os.Open(filepath.Join("../../testdata/messages", source, "messages.jsonl"))
		if err != nil {
			tb.Fatal(err)
		}
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var f struct {
				fixture
				Status string
			}
			if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
				tb.Fatalf("%s: %v", source, err)
			}
			if !strings.HasPrefix(f.Status, "NEEDS SOURCE SPEC") {
				all[f.ID] = f.fixture
			}
		}
		file.Close()
	}
	return all
}

// read is the dialect the fixture is written in, and its body.
func (f fixture) read(tb testing.TB) (*Terminal, []byte) {
	tb.Helper()
	raw, err := hex.DecodeString(f.Hex)
	if err != nil {
		tb.Fatalf("%s: %v", f.ID, err)
	}
	switch {
	case strings.HasPrefix(f.Framing, "len2"):
		return terminal(tb, "cup-pos"), raw[2:]
	case f.Dialect == "cup-pos":
		return terminal(tb, "cup-pos"), raw
	case len(f.Bitmap) == 32 && f.Bitmap < "8" || strings.HasPrefix(f.Dialect, "base-I"):
		return terminal(tb, "iso87-hex32"), raw
	}
	return terminal(tb, "iso87"), raw
}

func fixtureFrame(tb testing.TB, id string) []byte {
	tb.Helper()
	f, ok := fixtures(tb)[id]
	if !ok {
		tb.Fatalf("fixture %s is not there", id)
	}
	_, frame := f.read(tb)
	return frame
}

// approvedReply is an issuer's yes to testLeg, with all that it may say.
func approvedReply(tb testing.TB, d *Issuer) []byte {
	tb.Helper()
	return build(tb, d.Codec(), 0x0210, fields{
		4: "000000012345", 7: string(testLeg.Time[:]), 11: "000077", 15: "1122", 38: "A1B2C3", 39: "00", 41: "10000001",
		44: "01020000   48802900   ", 49: "156", 54: "1002156C000000500000", 55: "hex:91023030",
	})
}
