package capture

import (
	"bytes"
	"flag"
	"io"
	"os"
	"runtime"
	"testing"
)

var streamed = flag.Int64("capture.megabytes", 0, "megabytes that TestStreamIsFlat reads; 0 is 200, with the race detector 20")

// days is a pcap file that repeats the packets of a day, each time between other
// addresses, and notes how much of the heap is in use meanwhile.
type days struct {
	day   []byte // without the file's header
	left  int64
	part  []byte // of day, not yet read
	turns int
	read  int64
	looks int64
	heap  uint64
}

const (
	pcapHeader, packetHeader = 24, 16
	clientAt, serverAt       = 14 + 12, 14 + 16 // of Ethernet and IPv4
)

func (d *days) Read(b []byte) (int, error) {
	if len(d.part) == 0 {
		if d.left <= 0 {
			return 0, io.EOF
		}
		d.turn()
	}
	n := copy(b, d.part)
	d.part, d.left, d.read = d.part[n:], d.left-int64(n), d.read+int64(n)
	if d.read/(8<<20) > d.looks {
		d.looks++
		var m runtime.MemStats
		runtime.GC() // how far it is behind is not what is looked for
		runtime.ReadMemStats(&m)
		d.heap = max(d.heap, m.HeapInuse)
	}
	return n, nil
}

// turn begins the day again. Both addresses are 10.a.b.c; their second numbers are
// the client's or the server's, plus twice the turn.
func (d *days) turn() {
	for at := 0; at < len(d.day); {
		size := int(d.day[at+8]) | int(d.day[at+9])<<8
		packet := d.day[at+packetHeader:]
		for _, end := range [...]int{clientAt, serverAt} {
			if d.turns > 0 {
				packet[end+1] += 2
			}
		}
		at += packetHeader + size
	}
	d.turns++
	d.part = d.day
}

// A capture of any size is read, cleaned and written in the same memory.
func TestStreamIsFlat(t *testing.T) {
	megabytes := *streamed
	if megabytes == 0 {
		if megabytes = 200; raceEnabled {
			megabytes = 20
		}
	}
	file, err := os.ReadFile("../../testdata/day/day.pcap")
	if err != nil {
		t.Fatal(err)
	}
	one, err := os.ReadFile("../../testdata/day/day.pcap")
	if err != nil {
		t.Fatal(err)
	}
	requests := func(r io.Reader) int {
		w, err := NewWriter(io.Discard, testCleaner(t, 8))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Follow(r, Options{Dialects: Dialects()}, w); err != nil {
			t.Fatal(err)
		}
		index, err := w.Finish()
		if err != nil {
			t.Fatal(err)
		}
		return index.Requests
	}
	d := &days{day: file[pcapHeader:]}
	whole := (megabytes<<20 + int64(len(d.day)) - 1) / int64(len(d.day))
	d.left = whole * int64(len(d.day))
	once := requests(bytes.NewReader(one))
	if n := requests(io.MultiReader(bytes.NewReader(one[:pcapHeader]), d)); n != int(whole)*once {
		t.Errorf("%d requests in %d days, %d in one", n, whole, once)
	}
	t.Logf("%d MB, %d days: the heap was %d MB at most", d.read>>20, whole, d.heap>>20)
	if d.heap > 64<<20 {
		t.Errorf("the heap was %d MB", d.heap>>20)
	}
}
