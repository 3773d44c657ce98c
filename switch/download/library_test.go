package download

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

var (
	quiet  = slog.New(slog.NewTextHandler(io.Discard, nil))
	tid    = txn.MakeTerminalID("10000001")
	shop   = merchantNamed("999290054110001", "店")
	noName = func(txn.TerminalID) (b [50]byte) { return b }
)

// opened is a library on the log in dir. Its end is the returned function.
func opened(t testing.TB, dir string, s *Snapshot) (*Library, func()) {
	t.Helper()
	j, err := journal.Open(dir, journal.Config{SegmentSize: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- j.Run(ctx) }()
	l := New(s, j, noName, quiet)
	if err := l.Recover(j); err != nil {
		t.Fatal(err)
	}
	ended := false
	end := func() {
		if ended {
			return
		}
		ended = true
		cancel()
		<-done
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(end)
	return l, end
}

// asks is one request; its answer is the reason, or DE62 of an approval.
func asks(l *Library, network uint16, de62 string) string {
	req := txn.Request{Kind: txn.KindDownload, Network: network, Custom: []byte(de62), Acceptor: shop, Received: time.UnixMicro(1_764_000_000_000_000)}
	req.Key.Terminal = tid
	var ans txn.Answer
	if r := l.Serve(&req, &ans); r != txn.Approved {
		return r.String()
	}
	return string(ans.Custom)
}

// pending is the digit that a sale's answer carries.
func pending(l *Library) uint8 {
	req := txn.Request{Kind: txn.KindSale, Acceptor: shop}
	req.Key.Terminal = tid
	return l.Pending(&req)
}

const (
	keyOne = "\x9F\x06\x05\xA0\x00\x00\x03\x33\x9F\x22\x01\x02"
	aidOne = "\x9F\x06\x08\xA0\x00\x00\x03\x33\x01\x01\x01"
)

// all is a file with every content, and how a terminal takes each.
func all(t testing.TB) *Snapshot {
	return load(t, sampleText(t)+"\ntms: 请更新\nstatus: first\n")
}

// A terminal that does what the digit says is asked for everything once, in
// order, and after a restart for nothing.
func TestDigitsInOrder(t *testing.T) {
	dir := t.TempDir()
	l, end := opened(t, dir, all(t))
	for _, row := range []struct {
		digit uint8
		steps []string
	}{
		{4, []string{"372 100", "370 " + keyOne, "371 "}},
		{5, []string{"382 100", "380 " + aidOne, "381 "}},
		{1, []string{"360 ", "361 "}},
		{6, []string{"364 ", "365 "}},
		{7, []string{"390 000", "391 "}},
		{9, []string{"394 ", "395 "}},
		{0xB, []string{"396 000", "397 "}},
		{0xC, []string{"398 000", "399 "}},
		{2, []string{"362 0110210310410511160"}},
	} {
		for _, step := range row.steps {
			if got := pending(l); got != row.digit {
				t.Fatalf("before %s: digit %x, want %x", step, got, row.digit)
			}
			var network uint16
			fmt.Sscan(step[:3], &network)
			if got := asks(l, network, step[4:]); strings.Contains(got, "is ") {
				t.Fatalf("%s: %s", step, got)
			}
		}
	}
	if got := pending(l); got != 0 {
		t.Errorf("in the end: digit %x", got)
	}
	end()
	l, _ = opened(t, dir, all(t))
	if got := pending(l); got != 0 {
		t.Errorf("after a restart: digit %x", got)
	}
	if st := l.Status(tid); st.Text != "0110210310410511160" || st.At.UnixMicro() != 1_764_000_000_000_000 {
		t.Errorf("after a restart: status %+v", st)
	}
	// What is told as text here is what a terminal gets.
	if got := asks(l, 370, keyOne); !strings.HasPrefix(got, "1"+keyOne+"\xDF\x05\x04\x20\x30\x12\x31\xDF\x06\x01\x01\xDF\x07\x01\x01\xDF\x02\x81\x90\xA3\x76") ||
		!strings.HasSuffix(got, "\xDF\x04\x01\x03\xDF\x03\x14\x03\xBB\x33\x5A\x85\x49\xA0\x3B\x87\xAB\x08\x9D\x00\x6F\x60\x85\x2E\x4B\x80\x60") {
		t.Errorf("the key is told as %X", got)
	}
	if got, want := asks(l, 394, ""), "FF805D0010FF803A003010FF803C003060FF8058012000000100000FF80540011FF80550010FF80560010FF80570011FF8059012000000100000FF805A0011"; got != want {
		t.Errorf("contactless parameters\n got %s\nwant %s", got, want)
	}
	if got, want := asks(l, 390, "000"), "100216999911    199999220   "; got != want {
		t.Errorf("black list: got %q, want %q", got, want)
	}
	if got, want := asks(l, 364, ""), "\xC7\xEB\xB8\xFC\xD0\xC2"; got != want {
		t.Errorf("notice: got %X, want %X", got, want)
	}
}

// What an end is worth: each row is what a terminal asks before the last thing,
// and whether the library then takes it to have the BINs of the file in force.
func TestWhatCounts(t *testing.T) {
	one, other := load(t, "version: 1\nblack_list:\n"+bins(60)), load(t, "version: 1\nblack_list:\n"+bins(61))
	for _, row := range []struct {
		name  string
		steps string
		has   bool
	}{
		{"nothing taken", "391", false},
		{"first page only", "000 391", false},
		{"last page only", "043 391", false},
		{"both pages, no end", "000 043", false},
		{"both pages", "000 043 391", true},
		{"both pages, end twice", "000 043 391 391", true},
		{"again from the start, and cut off", "000 043 000 391", false},
		{"file changes between the pages", "000 change 043 391", false},
		{"file changes back meanwhile", "000 change 043 change 043 391", false},
		{"file changes before the end", "000 043 change 391", false},
		{"anew after the change", "000 change 043 000 043 391", true},
		{"restart before the end", "000 043 restart 391", false},
		{"restart after the end", "000 043 391 restart", true},
		{"twice without end", "000 043 000 043", false},
		{"three times without end", "000 043 000 043 000 043", true},
		{"malformed", "000 04X 391", false},
	} {
		dir := t.TempDir()
		current := one
		l, end := opened(t, dir, current)
		for _, step := range strings.Fields(row.steps) {
			switch step {
			case "391":
				asks(l, 391, "")
			case "change":
				if current == one {
					current = other
				} else {
					current = one
				}
				l.Replace(current)
			case "restart":
				end()
				l, end = opened(t, dir, current)
			default:
				asks(l, 390, step)
			}
		}
		if got := pending(l) == 0; got != row.has {
			t.Errorf("%s: has it %v, want %v", row.name, got, row.has)
		}
		end()
	}
}

// Keys of another file than their list count for nothing, also when the first
// file is back before the end.
func TestItemsOfAnotherFile(t *testing.T) {
	one := load(t, sampleText(t))
	other := load(t, strings.ReplaceAll(sampleText(t), "20301231", "20291231"))
	l, _ := opened(t, t.TempDir(), one)
	asks(l, 372, "100")
	l.Replace(other)
	asks(l, 370, keyOne)
	l.Replace(one)
	asks(l, 371, "")
	if got := pending(l); got != 4 {
		t.Errorf("digit %x, want 4", got)
	}
}

// A list of keys is never taken to be had without its end: its items may have
// failed to come.
func TestKeysNeedTheirEnd(t *testing.T) {
	l, _ := opened(t, t.TempDir(), load(t, sampleText(t)))
	for range 2 * DeliveriesMax {
		asks(l, 372, "100")
	}
	if got := pending(l); got != 4 {
		t.Errorf("digit %x, want 4", got)
	}
}

func TestRefusals(t *testing.T) {
	full, empty := load(t, sampleText(t)), load(t, "version: 1\n")
	for _, row := range []struct {
		name    string
		s       *Snapshot
		network uint16
		de62    string
		want    string
	}{
		{"malformed", full, 372, "1", "format is wrong"},
		{"no such key", full, 370, "\x9F\x06\x05\xA0\x00\x00\x03\x33\x9F\x22\x01\xFE", "item is unknown"},
		{"no such application", full, 380, "\x9F\x06\x05\xA0\x00\x00\x03\x33", "item is unknown"},
		{"no notice", full, 364, "", "item is unknown"},
		{"no parameters", empty, 360, "", "item is unknown"},
		{"no contactless parameters", empty, 394, "", "item is unknown"},
		{"no keys", empty, 372, "100", "0"},
		{"no list", empty, 390, "000", "0000"},
		{"end of what is not there", empty, 371, "", ""},
	} {
		l, end := opened(t, t.TempDir(), row.s)
		if got := asks(l, row.network, row.de62); got != row.want {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
		end()
	}
}

// Only the gray list is asked, and whoever asks gets it.
func TestGrayList(t *testing.T) {
	for text, want := range map[string]uint8{
		"version: 1\ntms: a\n":                              6,
		"version: 1\ntms: a\ngray: {tms: [\"10000001\"]}\n": 6,
		"version: 1\ntms: a\ngray: {tms: [\"10000009\"]}\n": 0,
		"version: 1\ntms: a\ngray: {tms: []}\n":             0,
		"version: 1\ntms: a\ngray: {capks: []}\n":           6,
	} {
		l, end := opened(t, t.TempDir(), load(t, text))
		if got := pending(l); got != want {
			t.Errorf("%s: digit %x, want %x", text, got, want)
		}
		if got := asks(l, 364, ""); got != "a" {
			t.Errorf("%s: told %q", text, got)
		}
		end()
	}
}

// While it takes something a terminal is not asked again; at the end it is told
// what comes next.
func TestNoDigitMeanwhile(t *testing.T) {
	l, _ := opened(t, t.TempDir(), load(t, sampleText(t)))
	for network, want := range map[uint16]uint8{372: 0, 370: 0, 390: 0, 360: 0, 371: 4, 391: 4} {
		req := txn.Request{Kind: txn.KindDownload, Network: network, Acceptor: shop}
		if got := l.Pending(&req); got != want {
			t.Errorf("answer to %d: digit %x, want %x", network, got, want)
		}
	}
}

func TestPendingAllocatesNothing(t *testing.T) {
	l, _ := opened(t, t.TempDir(), load(t, sampleText(t)))
	asks(l, 372, "100")
	req := txn.Request{Kind: txn.KindSale, Acceptor: shop}
	req.Key.Terminal = tid
	if n := testing.AllocsPerRun(100, func() { l.Pending(&req) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The log does not grow without bound, and says the same after it is written
// anew.
func TestLogIsWrittenAnew(t *testing.T) {
	dir := t.TempDir()
	l, end := opened(t, dir, load(t, sampleText(t)))
	asks(l, 360, "")
	asks(l, 361, "")
	l.records.Store(l.recordsMax())
	if got := asks(l, 362, "011"); got != "" {
		t.Fatal(got)
	}
	if n := l.records.Load(); n != 2 {
		t.Errorf("the log has %d records that count, want 2", n)
	}
	lacks := l.Lacks(tid, shop)
	end()
	l, _ = opened(t, dir, load(t, sampleText(t)))
	if got := l.Lacks(tid, shop); fmt.Sprint(got) != fmt.Sprint(lacks) || l.Status(tid).Text != "011" {
		t.Errorf("after it the terminal lacks %v, before it %v; status %+v", got, lacks, l.Status(tid))
	}
}

// broken is a log whose disk has failed.
type broken struct{ Store }

var errDisk = errors.New("disk failed")

func (broken) Append([]byte) (journal.Position, error) { return 0, errDisk }

// What cannot be recorded is not believed.
func TestFailedLog(t *testing.T) {
	l := New(load(t, sampleText(t)), broken{}, noName, quiet)
	asks(l, 360, "")
	if got := asks(l, 361, ""); got != txn.SwitchFailed.String() {
		t.Errorf("end: %s", got)
	}
	if got := asks(l, 362, "011"); got != txn.SwitchFailed.String() {
		t.Errorf("status: %s", got)
	}
	if got := l.Lacks(tid, shop); fmt.Sprint(got) != "[capks aids parameters black_list contactless no_pin_new no_pin_black]" || l.Status(tid).Text != "" {
		t.Errorf("the terminal lacks %v, status %+v", got, l.Status(tid))
	}
}

// A status that says the same is not written again.
func TestSameStatusIsNotLogged(t *testing.T) {
	l, _ := opened(t, t.TempDir(), load(t, "version: 1\n"))
	for _, text := range []string{"011", "011", "010", "010"} {
		asks(l, 362, text)
	}
	if n := l.records.Load(); n != 2 {
		t.Errorf("%d records, want 2", n)
	}
}
