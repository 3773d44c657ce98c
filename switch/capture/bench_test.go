package capture

import (
	"bytes"
	"io"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"
)

// nobody is a Sink that wants nothing.
type nobody struct{}

func (nobody) Open(*Session) error                             { return nil }
func (nobody) Message(*Session, bool, []byte, time.Time) error { return nil }
func (nobody) Trouble(*Session, string) error                  { return nil }
func (nobody) Close(*Session) error                            { return nil }

// processor is the processor time that was used so far.
func processor() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkFollow reads the sample day's pcap from memory: packets, TCP, frames;
// told to nobody, and cleaned and written. MB/cpu-s is of processor time, which a
// busy machine does not stretch.
func BenchmarkFollow(b *testing.B) {
	file, err := os.ReadFile("../../testdata/day/day.pcap")
	if err != nil {
		b.Fatal(err)
	}
	dialects := Dialects()
	o := Options{Dialects: dialects, Ports: map[uint16]*Dialect{8583: dialects[0], 8587: dialects[1]}}
	measured := func(b *testing.B) func() {
		b.SetBytes(int64(len(file)))
		b.ReportAllocs()
		before := processor()
		return func() { b.ReportMetric(float64(len(file)*b.N)/1e6/(processor()-before).Seconds(), "MB/cpu-s") }
	}
	b.Run("read", func(b *testing.B) {
		defer measured(b)()
		for b.Loop() {
			if _, err := Follow(bytes.NewReader(file), o, nobody{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("capture", func(b *testing.B) {
		defer measured(b)()
		for b.Loop() {
			w, err := NewWriter(io.Discard, testCleaner(b, 8))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := Follow(bytes.NewReader(file), o, w); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkRecorder is what one message costs the session that is recorded.
func BenchmarkRecorder(b *testing.B) {
	r, err := NewRecorder(io.Discard, testCleaner(b, 8), RecorderConfig{Percent: 100, SizeMax: 1 << 40})
	if err != nil {
		b.Fatal(err)
	}
	body := message(b, Dialects()[0], 0x0200, 1)[2:]
	tap := r.Open(netip.AddrPort{}, netip.AddrPort{}, "cup-pos")
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		tap.Asked("10000001", body, now)
		select {
		case m := <-r.queue:
			r.release(m)
		default:
		}
	}
}
