package replay

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/capture"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
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

// beEcho in the environment makes the test binary a host, on an address that it
// prints: one that sends every frame back as an answer, or with "keys" one that
// hands out keys and approves with a MAC.
const beEcho = "REPLAY_BENCH_ECHO"

// echo serves until its standard input ends.
func echo(how string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(ln.Addr())
	go func() { io.Copy(io.Discard, os.Stdin); os.Exit(0) }()
	answer := func(out, frame []byte) []byte {
		frame[2+5+6+1] |= 0x10 // 0200 becomes 0210
		return append(out, frame...)
	}
	if how == "keys" {
		answer = approver()
	}
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
				out = answer(out, frame)
				in.Discard(n)
				if in.Buffered() < 2 || len(out) > 32<<10 {
					conn.Write(out)
					out = out[:0]
				}
			}
		}()
	}
}

// benchTMK is the master key of all terminals, benchKey their TPK and, cut to a DES
// key, their TAK.
var benchTMK, benchKey = bytes.Repeat([]byte{0x13}, 16), bytes.Repeat([]byte{0x31}, 16)

// approver hands out keys and approves with a MAC.
func approver() func(out, frame []byte) []byte {
	d := capture.Dialects()[0]
	local := func(kind algo.Kind, key []byte) *algo.Local {
		c, err := algo.NewLocal(kind, key)
		if err != nil {
			panic(err)
		}
		return c
	}
	master, tpk, tak := local(algo.TDES2, benchTMK), local(algo.TDES2, benchKey), local(algo.DES, benchKey[:8])
	var de62 []byte
	for _, key := range [...]struct {
		c    *algo.Local
		text []byte
	}{{tpk, benchKey}, {tak, append(bytes.Clone(benchKey[:8]), make([]byte, 8)...)}} {
		n := 16
		if key.c == tak {
			n = 8
		}
		master.Encrypt(key.text[:n:n], bytes.Clone(key.text[:n]))
		kcv, err := algo.CheckValue(key.c)
		if err != nil {
			panic(err)
		}
		de62 = append(append(de62, key.text...), kcv[:]...)
	}
	return func(out, frame []byte) []byte {
		var m iso.Message
		if d.Parse(&m, frame) != nil {
			return out
		}
		tpdu := m.TPDU()
		e := d.Codec.Begin(out, []byte{tpdu[0], tpdu[3], tpdu[4], tpdu[1], tpdu[2]}, m.Header(), m.MTI()+0x10)
		for _, f := range [...]int{3, 4, 11} {
			e.Copy(f, &m)
		}
		e.Text(39, []byte("00"))
		for _, f := range [...]int{41, 42, 49, 60} {
			e.Copy(f, &m)
		}
		if m.MTI() == 0x0800 {
			e.Bytes(62, de62)
		} else {
			e.Bytes(64, make([]byte, 8))
		}
		all, err := e.Finish()
		if err != nil {
			panic(err)
		}
		if m.MTI() != 0x0800 {
			var answer iso.Message
			d.Parse(&answer, all[len(out):])
			mac, err := algo.MACCUPECB.MAC(algo.MACKey{Whole: tak}, answer.Before(64))
			if err != nil {
				panic(err)
			}
			copy(answer.Value(64), mac[:])
		}
		return all
	}
}

// benchHost starts a host as a process of its own.
func benchHost(b *testing.B, how string) (addr string) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), beEcho+"="+how)
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
	b.Cleanup(func() { in.Close(); cmd.Wait() })
	if addr, err = bufio.NewReader(out).ReadString('\n'); err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(addr)
}

// BenchmarkLoad is what the generator costs, kernel included: the host is a
// process of its own that only sends frames back, or makes a MAC of each.
func BenchmarkLoad(b *testing.B) {
	var all []Identity
	for i := range 4000 {
		all = append(all, Identity{fmt.Sprintf("%08d", 10000001+i), "999290054110001"})
	}
	cpu := func() time.Duration {
		var u syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	const plain, keyed = "sign_on: false\nright: [\"\\0\\0\"]\n", "mac: true\npin: 100\n"
	for _, row := range []struct{ name, host, profile string }{
		{"closed", "frames", plain + "closed: {for: 2s}"},
		{"open", "frames", plain + "arrivals: [{for: 2s, rate: 100000}]"},
		{"open at 200,000", "frames", plain + "arrivals: [{for: 2s, rate: 200000}]"},
		{"open at 10,000", "frames", plain + "arrivals: [{for: 2s, rate: 10000}]"},
		{"closed with MACs and PINs", "keys", keyed + "closed: {for: 2s}"},
		{"open with MACs and PINs", "keys", keyed + "arrivals: [{for: 2s, rate: 100000}]"},
	} {
		b.Run(row.name, func(b *testing.B) {
			addr := benchHost(b, row.host)
			var used time.Duration
			var answers, took float64
			var lag Percentiles
			for b.Loop() {
				p, err := ReadProfile(strings.NewReader("sessions: 8\n" + row.profile))
				if err != nil {
					b.Fatal(err)
				}
				var before time.Duration // without the sign-ons
				var first Progress
				progress := func(now Progress) {
					if before == 0 {
						before, first = cpu(), now
					}
				}
				r, err := RunLoad(context.Background(), p, LoadOptions{Addr: addr, Identities: all, Keys: map[string]Key{"": {TMK: benchTMK}}, PIN: txn.Secret("123456"), Progress: progress})
				if err != nil || r.Answered == 0 || !r.OK() {
					b.Fatalf("%+v, %q, %v", *r.Load, r.Problems, err)
				}
				used, lag = used+cpu()-before, r.Lag
				answers, took = answers+float64(r.Answered-first.Answered), took+(r.Took-first.Elapsed).Seconds()
			}
			b.ReportMetric(float64(used)/answers/1e3, "us-cpu/request")
			b.ReportMetric(answers/took, "requests/s")
			b.ReportMetric(float64(lag.P50.Microseconds()), "us-late-p50")
			b.ReportMetric(float64(lag.P99.Microseconds()), "us-late-p99")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// reported is the report of n requests within an hour, of which one in a hundred
// differs, and how much memory it took.
func reported(tb testing.TB, n int) (used uint64) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse
	}
	before := heap()
	t := newTally()
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range n {
		latency := time.Duration(rng.ExpFloat64() * float64(20*time.Millisecond))
		at := time.Hour / time.Duration(n) * time.Duration(i)
		s := subject{kind: "sale", mti: 0x0200, example: Example{Terminal: fmt.Sprintf("%08d", i%100_000)}}
		s.traits[0] = s.example.Terminal
		code := fmt.Sprintf("%02d", rng.IntN(100))
		t.r.Sent++
		t.r.Answered++
		record(t.latency, latency)
		record(t.service, latency)
		record(t.lag, latency/100)
		t.series.add(at, latency)
		t.code(s.kind, code, 1, 1)
		t.groups.compared(&s)
		if i%100 == 0 {
			t.groups.differs(&s, 0x0210, difference{i % 128, code, fmt.Sprint(i)})
		}
	}
	r := t.report(time.Hour)
	var page bytes.Buffer
	if err := r.WriteHTML(&page); err != nil || r.Latency.N != int64(n) {
		tb.Fatalf("%d latencies, %v", r.Latency.N, err)
	}
	used = heap() - before
	runtime.KeepAlive(t)
	runtime.KeepAlive(&page)
	if used > 100<<20 {
		tb.Errorf("the report of %d requests takes %d MB", n, used>>20)
	}
	return used
}

func TestReportIsSmall(t *testing.T) { reported(t, 100_000) }

// BenchmarkReport is the memory of the report of ten million requests.
func BenchmarkReport(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(float64(reported(b, 10_000_000))/1e6, "MB")
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
