package capture

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
)

// stored is a capture of two sessions, whose second request has no answer.
func stored(t testing.TB) ([]byte, *Index) {
	t.Helper()
	d := Dialects()[0]
	p := newTape(t, "ethernet", false)
	p.open()
	p.send(0, message(t, d, 0x0200, 1))
	p.send(1, message(t, d, 0x0210, 1))
	p.send(0, message(t, d, 0x0200, 2))
	p.send(0, message(t, d, 0x0200, 3))
	p.send(1, message(t, d, 0x0210, 3))
	p.send(1, message(t, d, 0x0210, 9)) // of no request
	p.ports[0]++
	p.seq = [2]uint32{1, 1}
	p.open()
	p.send(0, message(t, Dialects()[1], 0x0200, 4))
	p.send(1, message(t, Dialects()[1], 0x0210, 4))
	return storedOf(t, p, Dialects())
}

// storedOf is what is stored of a tape in some dialects.
func storedOf(t testing.TB, p *tape, dialects []*Dialect) ([]byte, *Index) {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, testCleaner(t, 8))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Follow(bytes.NewReader(p.file()), Options{Dialects: dialects}, w); err != nil {
		t.Fatal(err)
	}
	index, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), index
}

func readAll(file []byte) (all []*Exchange, r *Reader, err error) {
	if r, err = NewReader(bytes.NewReader(file)); err != nil {
		return nil, nil, err
	}
	for {
		e, err := r.Next()
		if err != nil {
			return all, r, err
		}
		all = append(all, e)
	}
}

func TestStored(t *testing.T) {
	file, index := stored(t)
	if bytes.Contains(file, []byte(secretPAN)) || bytes.Contains(file, []byte("\x62\x22\x02\x12\x34\x56\x78\x90\x12")) {
		t.Error("a card number is in the file")
	}
	all, r, err := readAll(file)
	if err != io.EOF || r.Index == nil {
		t.Fatal(err)
	}
	var said []string
	for _, e := range all {
		var m iso.Message
		if err := e.Session.Dialect.Parse(&m, e.Request); err != nil {
			t.Fatal(err)
		}
		line := e.Session.Dialect.Name + " " + string(m.AppendDigits(nil, 11))
		if e.Answer != nil {
			line += " answered after " + e.AnsweredAt.Sub(e.At).String()
		}
		said = append(said, line)
	}
	want := "cup-pos 000001 answered after 1ms; cup-pos 000002; cup-pos 000003 answered after 1ms; iso87 000004 answered after 1ms"
	if got := strings.Join(said, "; "); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if index.Requests != 4 || index.Answers != 3 || index.Sessions != 2 || index.Unmatched != 1 || len(index.Terminals) != 1 || len(index.Dialects) != 2 {
		t.Errorf("%+v", index)
	}
	found, err := ReadIndex(bytes.NewReader(file))
	if err != nil || found.Requests != 4 || found.KeyID != index.KeyID {
		t.Errorf("%+v, %v", found, err)
	}
	in := bytes.NewReader(file[index.Places[0].Offset:])
	back := Reader{in: bufio.NewReader(in), dialects: r.dialects, sessions: map[uint32]*Stored{1: {ID: 1, Dialect: r.dialects[1]}}, byNumber: map[uint64]*Exchange{}}
	if err := back.read(); err != nil || back.ahead[0].Number != index.Places[0].Message {
		t.Errorf("the index's place is not that of message %d: %v", index.Places[0].Message, err)
	}
}

// An answer that comes late is paired, however many others did before, as long as not too
// many requests of the session wait; those that were forgotten for that are counted.
func TestLateAnswers(t *testing.T) {
	d := Dialects()[0]
	var out bytes.Buffer
	w, err := NewWriter(&out, testCleaner(t, 8))
	if err != nil {
		t.Fatal(err)
	}
	s := &Session{Dialect: d}
	if err := w.Open(s); err != nil {
		t.Fatal(err)
	}
	said := func(mti uint16, stan int) {
		if err := w.Message(s, mti == 0x0200, message(t, d, mti, stan), time.Unix(int64(stan), 0)); err != nil {
			t.Fatal(err)
		}
	}
	said(0x0200, 1)
	for stan := 2; stan < 5000; stan++ {
		said(0x0200, stan)
		said(0x0210, stan)
	}
	said(0x0210, 1)
	for stan := 10_000; stan <= 10_000+waitingMax; stan++ {
		said(0x0200, stan)
	}
	said(0x0210, 10_000)
	said(0x0210, 10_001)
	index, err := w.Finish()
	if err != nil || index.Answers != 4999+1 || index.Unmatched != 1 || index.Forgotten != 1 {
		t.Errorf("%d answers, %d of no request, %d forgotten: %v", index.Answers, index.Unmatched, index.Forgotten, err)
	}
}

// A request that was never answered does not take the answer of a later one under its
// trace number.
func TestTraceNumberAgain(t *testing.T) {
	d := Dialects()[0]
	p := newTape(t, "ethernet", false)
	p.open()
	for n := range 3 {
		p.send(0, message(t, d, 0x0200, 1))
		if n > 0 {
			p.send(1, message(t, d, 0x0210, 1))
		}
		p.at = p.at.Add(time.Hour)
	}
	file, _ := storedOf(t, p, Dialects())
	all, _, err := readAll(file)
	if err != io.EOF || len(all) != 3 {
		t.Fatalf("%d requests, %v", len(all), err)
	}
	for i, e := range all {
		if (e.Answer != nil) != (i > 0) {
			t.Errorf("request %d is answered: %v", i+1, e.Answer != nil)
		}
	}
}

// A file that is cut off anywhere gives what it has and says so; one that is
// damaged is not believed.
func TestStoredCutOrDamaged(t *testing.T) {
	file, _ := stored(t)
	last := 0
	for n := len(Magic); n < len(file)-trailer-1; n += 7 {
		all, _, err := readAll(file[:n])
		if !errors.Is(err, ErrCutOff) {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if len(all) < last {
			t.Fatalf("cut at %d: %d requests, fewer than before", n, len(all))
		}
		last = len(all)
		if x, err := ReadIndex(bytes.NewReader(file[:n])); len(all) > 0 && (err != nil || x.Requests != len(all)) {
			t.Fatalf("cut at %d: %+v, %v", n, x, err)
		}
	}
	if last != 4 {
		t.Errorf("%d requests are read of a file without an index", last)
	}
	for n := len(Magic); n < len(file)-trailer; n += 11 {
		bad := bytes.Clone(file)
		bad[n] ^= 0x40
		if _, _, err := readAll(bad); err == nil || err == io.EOF {
			t.Fatalf("a bit of byte %d is wrong, and it was read as whole", n)
		}
	}
	if _, err := NewReader(strings.NewReader("0200...")); !errors.Is(err, ErrNotCapture) {
		t.Error(err)
	}
}

// What stands at the end of a file is believed only of that file, and nothing may follow it.
func TestStoredEnd(t *testing.T) {
	file, index := stored(t)
	var other bytes.Buffer
	w, err := NewWriter(&other, testCleaner(t, 8))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	at := binary.BigEndian.Uint64(file[len(file)-trailer:])
	pointing := func(at uint64) []byte {
		return append(binary.BigEndian.AppendUint64(bytes.Clone(file[:len(file)-trailer]), at), ending...)
	}
	for _, row := range []struct {
		name, says string
		file       []byte
	}{
		{"another capture", "goes on behind its end", append(bytes.Clone(file), file...)},
		{"a byte", "goes on behind its end", append(bytes.Clone(file), 0)},
		{"another file's index", "is of 0 requests, the file has 4", append(bytes.Clone(file[:at]), other.Bytes()[len(Magic):]...)},
		{"an end that is a dialect's place", "EOF", pointing(uint64(len(Magic)))},
		{"an end that is a session's place", "EOF", pointing(uint64(index.Places[0].Offset))},
		{"another version", "version '2', and this program reads '1'", append([]byte("ACQCAPT2"), file[len(Magic):]...)},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, _, err := readAll(row.file); err == nil || !strings.Contains(err.Error(), row.says) {
				t.Errorf("%v", err)
			}
			if x, err := ReadIndex(bytes.NewReader(row.file)); err == nil && x.Requests != 4 && row.name != "another file's index" {
				t.Errorf("%+v", x)
			}
		})
	}
}

func TestReadLines(t *testing.T) {
	d := Dialects()
	text := "# a comment\n\n" +
		hex.EncodeToString(message(t, d[0], 0x0200, 1)) + "\n" + hex.EncodeToString(message(t, d[0], 0x0210, 1)[2:]) + "\n" + // the second without its length
		`{"0":"0200","3":"0","4":"1250","11":7,"41":"10000002","42":"999290054110001","49":"156"}` + "\nnonsense\n"
	var out bytes.Buffer
	w, err := NewWriter(&out, testCleaner(t, 8))
	if err != nil {
		t.Fatal(err)
	}
	text += `{"0":"0200","3":"000000","4":"twelve"}` + "\n"
	stats, err := ReadLines(strings.NewReader(text), d, time.Unix(0, 0), w)
	if err != nil || stats.Unreadable != 2 {
		t.Fatalf("%+v, %v", stats, err)
	}
	index, err := w.Finish()
	if err != nil || index.Requests != 2 || index.Answers != 1 || len(index.Terminals) != 2 {
		t.Errorf("%+v, %v", index, err)
	}
}

// A line that is no message says why, where its dialect is known.
func TestReadLinesSaysWhy(t *testing.T) {
	d := Dialects()
	one := hex.EncodeToString(message(t, d[0], 0x0200, 1))
	for _, row := range []struct {
		dialects []*Dialect
		text     string
		want     string
	}{
		{d, one[:len(one)-2], "line 1: no message of any dialect"},
		{d, one + "\n" + one[:len(one)-2], "line 2: no cup-pos message: its length says 70 bytes, and there are 69"},
		{d[:1], one + "00", "line 1: no cup-pos message: its length says 70 bytes, and there are 71"},
		{d[:1], one[4 : len(one)-2], "line 1: no cup-pos message: field 49 at byte 67: needs 3 bytes, 2 are left"},
	} {
		var h heard
		if _, err := ReadLines(strings.NewReader(row.text), row.dialects, time.Unix(0, 0), &h); err != nil || len(h.troubles) != 1 || !strings.HasPrefix(h.troubles[0], row.want) {
			t.Errorf("%q, %v; want %q", h.troubles, err, row.want)
		}
	}
}

// A text that is something else is given up at once.
func TestReadLinesOfSomethingElse(t *testing.T) {
	var h heard
	stats, err := ReadLines(strings.NewReader(strings.Repeat("GET / HTTP/1.1\n", 100)), Dialects(), time.Unix(0, 0), &h)
	if err == nil || !strings.Contains(err.Error(), "none of the first 3 lines is a message") || stats.Packets != 3 {
		t.Errorf("%v after %d lines", err, stats.Packets)
	}
}

func FuzzReader(f *testing.F) {
	file, _ := stored(f)
	f.Add(file)
	f.Add(file[:len(file)/2])
	f.Add([]byte(Magic))
	f.Fuzz(func(t *testing.T, file []byte) {
		_, _, err := readAll(file)
		if err == nil {
			t.Error("no end")
		}
		ReadIndex(bytes.NewReader(file))
	})
}

func FuzzReadLines(f *testing.F) {
	f.Add("0010" + "60000300006031003100000200")
	f.Add(`{"0":"0200","11":"1"}`)
	f.Add(jposLog)
	f.Add(jposLog[:len(jposLog)/2] + jposLog)
	f.Add(templateCSV)
	f.Add("0,2,times\n0200,{card:9},9999999\n0200,{pick:},1\n0200,{cycle:9-1},\n")
	f.Fuzz(func(t *testing.T, text string) {
		var h heard
		ReadLines(strings.NewReader(text), Dialects(), time.Unix(0, 0), &h)
	})
}

// A link to UnionPay's network is captured where its dialect is named: requests
// find their answers, and who the holder is and PINs are taken out.
func TestStoredNetwork(t *testing.T) {
	ds, err := FindDialects("cups")
	if err != nil {
		t.Fatal(err)
	}
	header := iso.MakeCUPSHeader("00010000", "48802900")
	build := func(mti uint16) []byte {
		e := ds[0].Codec.Begin(nil, nil, header[:], mti)
		e.Digits(2, []byte(secretPAN))
		e.Digits(7, []byte("1122093105"))
		e.Digits(11, []byte("000077"))
		e.Text(41, []byte("10000001"))
		e.Text(61, []byte("01110101199001011234"))
		e.Text(63, []byte("SM016"+strings.Repeat("\xC7", 16)))
		frame, err := e.Finish()
		if err != nil {
			t.Fatal(err)
		}
		return frame
	}
	p := newTape(t, "ethernet", false)
	p.open()
	p.send(0, build(0x0200))
	p.send(1, build(0x0210))
	file, _ := storedOf(t, p, ds)
	for _, secret := range []string{secretPAN, "199001011234", "\xC7\xC7"} {
		if bytes.Contains(file, []byte(secret)) {
			t.Errorf("%q is in the file", secret)
		}
	}
	all, _, err := readAll(file)
	if err != io.EOF || len(all) != 1 || all[0].Answer == nil || all[0].Session.Dialect.Name != "cups" {
		t.Fatalf("%v, %v", all, err)
	}
	var m iso.Message
	if err := all[0].Session.Dialect.Parse(&m, all[0].Answer); err != nil || m.MTI() != 0x0210 || len(m.Header()) != 46 {
		t.Errorf("the answer reads as %04x, %v", m.MTI(), err)
	}
}

// A dialect of one's own is stored with its length prefix, and its messages behind the
// TPDU they came with.
func TestStoredOwnDialect(t *testing.T) {
	text, err := os.ReadFile("../../testdata/messages/moov-io+iso8583/specification_ver_1987.json")
	if err != nil {
		t.Fatal(err)
	}
	for prefix, length := range map[string]string{"binary2": "\x00\x29", "ascii4": "0041", "bcd2": "\x00\x41", "binary4": "\x00\x00\x00\x29"} {
		d, err := LoadDialect(bytes.NewReader(text), prefix)
		if err != nil {
			t.Fatal(err)
		}
		e := d.Codec.Begin(nil, []byte("\x60\x00\x03\x00\x12"), nil, 0x0800)
		e.Digits(7, []byte("1122093105"))
		e.Digits(11, []byte("000077"))
		frame, err := e.Finish()
		if err != nil || !strings.HasPrefix(string(frame), length+"\x60\x00\x03\x00\x120800") {
			t.Fatalf("%s: %q, %v", prefix, frame, err)
		}
		p := newTape(t, "ethernet", false)
		p.open()
		p.send(0, frame)
		file, _ := storedOf(t, p, []*Dialect{d})
		all, _, err := readAll(file)
		if err != io.EOF || len(all) != 1 || !bytes.Equal(all[0].Request, frame) || all[0].Session.Dialect.PrefixSize() != len(length) {
			t.Errorf("%s: %v, %v; %q", prefix, all, err, frame)
		}
	}
	if _, err := LoadDialect(bytes.NewReader(text), ""); err == nil || !strings.Contains(err.Error(), "must be "+Prefixes) {
		t.Errorf("no prefix: %v", err)
	}
}
