package replay

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
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

// beEcho in the environment makes the test binary a host that sends every frame
// back as an answer, on an address that it prints.
const beEcho = "REPLAY_BENCH_ECHO"

// echo serves until its standard input ends.
func echo() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(ln.Addr())
	go func() { io.Copy(io.Discard, os.Stdin); os.Exit(0) }()
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			in := bufio.NewReaderSize(conn, 64<<10)
			out := make([]byte, 0, 64<<10)
			for {
				prefix, err := in.Peek(2)
				if err != nil {
					return
				}
				n := 2 + int(prefix[0])<<8 + int(prefix[1])
				frame, err := in.Peek(n)
				if err != nil {
					return
				}
				frame[2+5+6+1] |= 0x10 // 0200 becomes 0210
				out = append(out, frame...)
				in.Discard(n)
				if in.Buffered() < 2 || len(out) > 32<<10 {
					conn.Write(out)
					out = out[:0]
				}
			}
		}()
	}
}

// BenchmarkLoad is what the generator costs, kernel included: the host is a
// process of its own that only sends frames back.
func BenchmarkLoad(b *testing.B) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), beEcho+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	var all []Identity
	for i := range 4000 {
		all = append(all, Identity{fmt.Sprintf("%08d", 10000001+i), "999290054110001"})
	}
	cpu := func() time.Duration {
		var u syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	for _, row := range []struct{ name, profile string }{
		{"closed", "closed: {for: 2s}"},
		{"open", "arrivals: [{for: 2s, rate: 100000}]"},
	} {
		b.Run(row.name, func(b *testing.B) {
			var used time.Duration
			var answers, took float64
			for b.Loop() {
				p, err := ReadProfile(strings.NewReader("sessions: 8\nsign_on: false\nright: [\"\"]\n" + row.profile))
				if err != nil {
					b.Fatal(err)
				}
				before := cpu()
				r, err := RunLoad(context.Background(), p, LoadOptions{Addr: strings.TrimSpace(addr), Identities: all})
				if err != nil || r.Answered == 0 || r.Load.Silent+r.Load.Broken > 0 {
					b.Fatalf("%+v, %v", r, err)
				}
				used += cpu() - before
				answers, took = answers+float64(r.Answered), took+r.Took.Seconds()
			}
			b.ReportMetric(float64(used)/answers/1e3, "us-cpu/request")
			b.ReportMetric(answers/took, "requests/s")
			b.ReportMetric(0, "ns/op")
		})
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
