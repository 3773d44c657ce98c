package fleet

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/terminal/terminaltest"
)

// The recording is that of the plan: its registry, scenarios and expectations
// have not changed since. If this fails, record the sample day again.
func TestSampleDayIsTheRecordedPlan(t *testing.T) {
	f, err := os.Open("../../../testdata/day/expected.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	expected, err := ReadExpected(f)
	if err != nil {
		t.Fatal(err)
	}
	pcap, err := os.Open("../../../testdata/day/day.pcap")
	if err != nil {
		t.Fatal(err)
	}
	defer pcap.Close()
	c, err := ReadCapture(pcap, Ports())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range c.Sessions {
		if s.Broken != "" {
			t.Errorf("session of %s: %s", s.Client, s.Broken)
		}
	}
	day, err := c.Day(expected)
	if err != nil {
		t.Fatal(err)
	}
	sameDay(t, day, samplePlan(t))
	// Without the expectations, what was answered is what should be.
	day, err = c.Day(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range day.Expected() {
		if e.Code != expected[i].Code {
			t.Errorf("terminal %s step %d: answered %q, expected %q", e.Terminal, e.Step, e.Code, expected[i].Code)
		}
	}
}

// packet is one of a capture file.
type packet struct {
	info gopacket.CaptureInfo
	data []byte
}

// recordedPackets are the packets of a short day.
func recordedPackets(t testing.TB) ([]packet, *Day) {
	t.Helper()
	p := terminaltest.Start(t, "cup-pos")
	day := shortDay(t, "cup-pos")
	p.SetAnswers(silentFor(day))
	var pcap, expected bytes.Buffer
	if _, err := Record(context.Background(), day, map[string]string{"cup-pos": p.Addr}, &pcap, &expected, PlayOptions{}); err != nil {
		t.Fatal(err)
	}
	r, err := pcapgo.NewReader(&pcap)
	if err != nil {
		t.Fatal(err)
	}
	var all []packet
	for {
		data, info, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return all, day
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, packet{info, data})
	}
}

func writePcap(t testing.TB, link layers.LinkType, all []packet) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	if err := w.WriteFileHeader(65535, link); err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if err := w.WritePacket(p.info, p.data); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// cut is a packet with a part of its payload.
func (p packet) cut(t testing.TB, from, to int) packet {
	t.Helper()
	parsed := gopacket.NewPacket(p.data, layers.LayerTypeEthernet, gopacket.Default)
	ip := parsed.NetworkLayer().(*layers.IPv4)
	tcp := parsed.TransportLayer().(*layers.TCP)
	payload := tcp.Payload
	tcp.Seq += uint32(from)
	tcp.SetNetworkLayerForChecksum(ip)
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		parsed.LinkLayer().(*layers.Ethernet), ip, tcp, gopacket.Payload(payload[from:min(to, len(payload))]))
	if err != nil {
		t.Fatal(err)
	}
	p.data = bytes.Clone(b.Bytes())
	p.info.CaptureLength, p.info.Length = len(p.data), len(p.data)
	return p
}

// payload is by the IP header's length: short Ethernet frames are padded.
func (p packet) payload() int { return int(binary.BigEndian.Uint16(p.data[14+2:])) - 20 - 20 }

// However its packets come, a capture holds the same day.
func TestCaptureOrder(t *testing.T) {
	all, day := recordedPackets(t)
	rng := rand.New(rand.NewPCG(3, 4))
	for _, row := range []struct {
		name string
		file func() []byte
	}{
		{"as recorded", func() []byte { return writePcap(t, layers.LinkTypeEthernet, all) }},
		{"gzipped", func() []byte {
			var b bytes.Buffer
			w := gzip.NewWriter(&b)
			w.Write(writePcap(t, layers.LinkTypeEthernet, all))
			w.Close()
			return b.Bytes()
		}},
		{"pcapng", func() []byte {
			var b bytes.Buffer
			w, err := pcapgo.NewNgWriter(&b, layers.LinkTypeEthernet)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range all {
				p.info.InterfaceIndex = 0
				if err := w.WritePacket(p.info, p.data); err != nil {
					t.Fatal(err)
				}
			}
			w.Flush()
			return b.Bytes()
		}},
		{"raw IP", func() []byte {
			var raw []packet
			for _, p := range all {
				p.data = p.data[14:]
				p.info.CaptureLength, p.info.Length = len(p.data), len(p.data)
				raw = append(raw, p)
			}
			return writePcap(t, layers.LinkTypeRaw, raw)
		}},
		{"each packet twice", func() []byte {
			var twice []packet
			for _, p := range all {
				twice = append(twice, p, p)
			}
			return writePcap(t, layers.LinkTypeEthernet, twice)
		}},
		{"in small, overlapping, shuffled segments", func() []byte {
			var small []packet
			for _, p := range all {
				if p.payload() == 0 {
					small = append(small, p)
					continue
				}
				var parts []packet
				for at := 0; at < p.payload(); at += 7 {
					parts = append(parts, p.cut(t, at, at+12))
				}
				rng.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
				small = append(small, parts...)
			}
			return writePcap(t, layers.LinkTypeEthernet, small)
		}},
		{"among others' packets", func() []byte {
			other := all[0]
			other.data = bytes.Clone(other.data)
			binary.BigEndian.PutUint16(other.data[14+20+2:], 443)
			return writePcap(t, layers.LinkTypeEthernet, slices.Concat([]packet{other, {gopacket.CaptureInfo{CaptureLength: 3, Length: 3}, []byte("arp")}}, all))
		}},
		{"begun without the handshakes", func() []byte {
			return writePcap(t, layers.LinkTypeEthernet, slices.DeleteFunc(slices.Clone(all), func(p packet) bool { return p.data[14+20+13]&2 != 0 }))
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, err := ReadCapture(bytes.NewReader(row.file()), Ports())
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Day(day.Expected())
			if err != nil {
				t.Fatal(err)
			}
			sameDay(t, got, day)
		})
	}
}

// A session that lacks bytes ends there and says so; the others do not suffer.
func TestCaptureWithALostPacket(t *testing.T) {
	all, day := recordedPackets(t)
	requests := func(c *Capture) (n int) {
		for _, s := range c.Sessions {
			n += len(s.Exchanges)
		}
		return n
	}
	first := slices.IndexFunc(all, func(p packet) bool { return p.payload() > 0 })
	c, err := ReadCapture(bytes.NewReader(writePcap(t, layers.LinkTypeEthernet, slices.Delete(slices.Clone(all), first, first+1))), Ports())
	if err != nil {
		t.Fatal(err)
	}
	broken := 0
	for _, s := range c.Sessions {
		if s.Broken != "" {
			broken++
			if !strings.Contains(s.Broken, "the capture lacks") || len(s.Exchanges) != 0 {
				t.Errorf("%d exchanges, %s", len(s.Exchanges), s.Broken)
			}
		}
	}
	if n := requests(c); broken != 1 || n >= day.Len() || n < day.Len()-3 {
		t.Errorf("%d sessions are broken, %d of %d requests are left", broken, n, day.Len())
	}
}

// Bad files each have one clear error.
func TestBadCaptures(t *testing.T) {
	all, _ := recordedPackets(t)
	good := writePcap(t, layers.LinkTypeEthernet, all)
	part := all[slices.IndexFunc(all, func(p packet) bool { return p.payload() > 0 })]
	part.data = part.data[:60]
	part.info.CaptureLength = 60
	for _, row := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "the file is empty"},
		{"text", []byte("0200 1234567890 this is no capture at all"), "neither a pcap nor a pcapng file"},
		{"a header cut off", good[:20], "neither a pcap nor a pcapng file"},
		{"pcapng cut off", []byte("\x0A\x0D\x0D\x0A\x00\x00"), "no pcapng file"},
		{"cut off in a packet", good[:len(good)-5], "is cut off"},
		{"no packets", good[:24], "none of its 0 packets"},
		{"packets in part", writePcap(t, layers.LinkTypeEthernet, []packet{part}), "packet 1: was captured in part only"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := ReadCapture(bytes.NewReader(row.file), Ports())
			if err == nil || !strings.Contains(err.Error(), row.want) || !strings.HasPrefix(err.Error(), "read capture: ") {
				t.Errorf("error is %v, want %q", err, row.want)
			}
		})
	}
	if _, err := ReadCapture(bytes.NewReader(good), map[uint16]*dialect.Terminal{9999: nil}); err == nil || !strings.Contains(err.Error(), "none of its") {
		t.Error(err)
	}
}

// Bytes that are no messages break their session only.
func TestCaptureOfAnotherProtocol(t *testing.T) {
	var b bytes.Buffer
	r, err := NewRecorder(&b)
	if err != nil {
		t.Fatal(err)
	}
	d := Ports()[PortCUP]
	s := r.Open("T", d)
	s.Sent([]byte("GET / HTTP/1.1\r\n\r\n"))
	s.Close()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := ReadCapture(&b, Ports())
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Sessions) != 1 || !strings.Contains(c.Sessions[0].Broken, "no cup-pos message") {
		t.Errorf("%+v", c.Sessions[0])
	}
}

func TestExpectedOfAnotherRecording(t *testing.T) {
	all, day := recordedPackets(t)
	c, err := ReadCapture(bytes.NewReader(writePcap(t, layers.LinkTypeEthernet, all)), Ports())
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name   string
		change func([]Expected) []Expected
		want   string
	}{
		{"fewer", func(e []Expected) []Expected { return e[1:] }, "are expected"},
		{"another terminal", func(e []Expected) []Expected { e[0].Terminal = "X"; return e }, "not in the capture"},
		{"another number", func(e []Expected) []Expected { e[0].STAN++; return e }, "expected to be"},
		{"an answer where none was", func(e []Expected) []Expected { e[6].Code = "00"; return e }, "disagree"},
	} {
		if _, err := c.Day(row.change(day.Expected())); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	if _, err := ReadExpected(strings.NewReader(`{"tid":"1","colour":"red"}`)); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Error(err)
	}
}

// FuzzReadCapture holds the reader to an error or a capture whose messages are
// whole: never a panic.
func FuzzReadCapture(f *testing.F) {
	day, err := os.ReadFile("../../../testdata/day/day.pcap")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(day[:24+1400]) // some sessions' beginnings, the last packet torn
	f.Add(day[:24+16+60])
	f.Add([]byte("\x0A\x0D\x0D\x0A\x00\x00\x00\x1c"))
	f.Fuzz(func(t *testing.T, file []byte) {
		c, err := ReadCapture(bytes.NewReader(file), Ports())
		if err != nil {
			return
		}
		for _, s := range c.Sessions {
			for _, e := range s.Exchanges {
				if n, err := s.Dialect.ReadLength(e.Request); err != nil || n+s.Dialect.PrefixSize() != len(e.Request) {
					t.Errorf("a request of %d bytes announces %d: %v", len(e.Request), n, err)
				}
			}
		}
		if _, err := c.Day(nil); err != nil {
			t.Error(err)
		}
	})
}
