package replay

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/capture"
)

var epoch = time.Unix(1_700_000_000, 0)

// BenchmarkPlay plays as fast as a host answers that only repeats what it is
// asked: what it costs is the player's and the host's.
func BenchmarkPlay(b *testing.B) {
	d := capture.Dialects()[0]
	addr := server(b, func(conn net.Conn) {
		r := bufio.NewReader(conn)
		var m iso.Message
		var out []byte
		for {
			prefix, err := r.Peek(2)
			if err != nil {
				return
			}
			n, err := d.Codec.ReadLength(prefix)
			if err != nil {
				return
			}
			frame := make([]byte, 2+n)
			if _, err := io.ReadFull(r, frame); err != nil || d.Parse(&m, frame) != nil {
				return
			}
			e := d.Codec.Begin(out[:0], m.TPDU(), m.Header(), m.MTI()+0x10)
			for _, f := range [...]int{3, 4, 11} {
				e.Copy(f, &m)
			}
			e.Text(39, []byte("00"))
			for _, f := range [...]int{41, 42, 49, 60} {
				e.Copy(f, &m)
			}
			out, _ = e.Finish()
			if _, err := conn.Write(out); err != nil {
				return
			}
		}
	})
	var file bytes.Buffer
	cleaner, _ := capture.NewCleaner(capture.NewKey(), 8)
	w, err := capture.NewWriter(&file, cleaner)
	if err != nil {
		b.Fatal(err)
	}
	makeCapture(b, w, d, b.N, 64)
	index, err := capture.ReadIndex(bytes.NewReader(file.Bytes()))
	if err != nil {
		b.Fatal(err)
	}
	in, err := capture.NewReader(bytes.NewReader(file.Bytes()))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	r, err := Run(context.Background(), in, index, Options{Addrs: to(addr), Rules: DefaultRules(), STAN: 1})
	b.StopTimer()
	if err != nil || r.Answered != b.N || !r.OK() {
		b.Fatalf("%+v, %v", r, err)
	}
}

// makeCapture writes n sales of some terminals, each with a session of its own,
// and their answers.
func makeCapture(b *testing.B, w *capture.Writer, d *capture.Dialect, n, terminals int) {
	b.Helper()
	tpdu, header := []byte{0x60, 0, 3, 0, 0}, []byte{0x60, 0x31, 0, 0x31, 0, 0}
	sessions := make([]*capture.Session, terminals)
	for i := range sessions {
		sessions[i] = &capture.Session{ID: uint32(i + 1), Dialect: d, Start: epoch, End: epoch}
		if err := w.Open(sessions[i]); err != nil {
			b.Fatal(err)
		}
	}
	for i := range n {
		tid := six(int64(10_0000 + i%terminals))
		for _, mti := range [...]uint16{0x0200, 0x0210} {
			e := d.Codec.Begin(nil, tpdu, header, mti)
			if mti == 0x0200 {
				e.Digits(2, []byte("9999010000090012"))
			}
			e.Digits(3, []byte("000000"))
			e.Digits(4, []byte("000000001250"))
			e.Digits(11, six(int64(i/terminals%999_999+1)))
			if mti == 0x0210 {
				e.Text(39, []byte("00"))
			}
			e.Text(41, append([]byte("00"), tid...))
			e.Text(42, []byte("999290054110001"))
			e.Text(49, []byte("156"))
			e.Digits(60, []byte("22000001000"))
			frame, err := e.Finish()
			if err != nil {
				b.Fatal(err)
			}
			if err := w.Message(sessions[i%terminals], mti == 0x0200, frame, epoch); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, s := range sessions {
		if err := w.Close(s); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := w.Finish(); err != nil {
		b.Fatal(err)
	}
}
