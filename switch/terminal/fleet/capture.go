package fleet

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
)

// Limits of a capture. The file is read packet by packet; what is kept are the
// messages.
const (
	captureBytesMax    = 1 << 30 // of messages
	captureSessionsMax = 1 << 20
)

// Capture is the traffic of terminals found in a capture file.
type Capture struct {
	Sessions []*Session // in the order of their first packets
	Packets  int        // in the file, others' too
}

// Session is one TCP connection of a terminal or a concentrator.
type Session struct {
	Client    netip.AddrPort
	Port      uint16 // of the switch
	Dialect   *dialect.Terminal
	Start     time.Time
	End       time.Time // when the terminal hung up, or of the last packet
	Exchanges []Exchange
	// Broken says why the session's bytes could be followed no further, empty if
	// they could: packets the capture lacks, or no message of the dialect.
	Broken string
}

// Exchange is a request and what was answered.
type Exchange struct {
	At         time.Time
	Request    []byte // length prefix included
	Answer     []byte // nil when there was none
	AnsweredAt time.Time
}

// Ports are the ports that a Recorder uses.
func Ports() map[uint16]*dialect.Terminal {
	ports := map[uint16]*dialect.Terminal{}
	for port, name := range map[uint16]string{PortCUP: "cup-pos", PortISO87: "iso87"} {
		d, err := dialect.ForTerminal(name)
		if err != nil {
			panic("terminal: " + err.Error())
		}
		ports[port] = d
	}
	return ports
}

// ReadCapture reads a pcap or pcapng file, gzipped or not, and finds in it the
// sessions of terminals to the switch's ports. Packets may be repeated and out
// of order. A file that is damaged or cut off is refused.
func ReadCapture(r io.Reader, ports map[uint16]*dialect.Terminal) (*Capture, error) {
	packets, err := openCapture(r)
	if err != nil {
		return nil, fmt.Errorf("read capture: %w", err)
	}
	t := tracker{ports: ports, open: map[flow]*tracked{}}
	for {
		data, info, err := packets.ReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		}
		t.capture.Packets++
		if err == nil && info.CaptureLength < info.Length {
			err = errors.New("was captured in part only; capture whole packets (snaplen 0)")
		}
		if err == nil {
			err = t.packet(gopacket.NewPacket(data, packets.LinkType(), gopacket.DecodeOptions{Lazy: true, NoCopy: true}), info.Timestamp)
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("is cut off")
		}
		if err != nil {
			return nil, fmt.Errorf("read capture: packet %d: %w", t.capture.Packets, err)
		}
	}
	if len(t.capture.Sessions) == 0 {
		return nil, fmt.Errorf("read capture: none of its %d packets belongs to a TCP session with one of the switch's ports", t.capture.Packets)
	}
	for _, s := range t.open {
		s.finish()
	}
	return &t.capture, nil
}

// packetReader is what pcap and pcapng readers share.
type packetReader interface {
	ReadPacketData() ([]byte, gopacket.CaptureInfo, error)
	LinkType() layers.LinkType
}

func openCapture(r io.Reader) (packetReader, error) {
	br := bufio.NewReaderSize(r, 1<<16)
	magic, err := br.Peek(4)
	if err != nil {
		return nil, errors.New("the file is empty")
	}
	if string(magic) == "\x0A\x0D\x0D\x0A" {
		ng, err := pcapgo.NewNgReader(br, pcapgo.DefaultNgReaderOptions)
		if err != nil {
			return nil, fmt.Errorf("no pcapng file: %w", err)
		}
		return ng, nil
	}
	pcap, err := pcapgo.NewReader(br)
	if err != nil {
		return nil, errors.New("neither a pcap nor a pcapng file")
	}
	return pcap, nil
}

// flow is the two ends of a TCP connection, the terminal's first.
type flow struct{ client, server netip.AddrPort }

// tracker follows the sessions of a capture.
type tracker struct {
	ports   map[uint16]*dialect.Terminal
	open    map[flow]*tracked
	capture Capture
	bytes   int
}

// tracked is a session with its two streams.
type tracked struct {
	*Session
	up, down stream
	waiting  []waiting // requests without an answer, oldest first
	hungUp   bool
}

// waiting is what an answer must repeat to be that of an exchange.
type waiting struct {
	exchange       int
	mti            uint16
	stan, terminal string
}

func (t *tracker) packet(p gopacket.Packet, at time.Time) error {
	tcp, ok := p.TransportLayer().(*layers.TCP)
	if !ok {
		return nil
	}
	src, dst, ok := addresses(p.NetworkLayer())
	if !ok {
		return nil
	}
	from := netip.AddrPortFrom(src, uint16(tcp.SrcPort))
	to := netip.AddrPortFrom(dst, uint16(tcp.DstPort))
	up, f := true, flow{from, to}
	d := t.ports[to.Port()]
	// Of two ports of ours the one that is called is the switch's.
	if back := t.ports[from.Port()]; d == nil || back != nil && (tcp.SYN && tcp.ACK || t.open[flow{to, from}] != nil) {
		up, d, f = false, back, flow{to, from}
	}
	if d == nil {
		return nil
	}
	s := t.open[f]
	if again := s != nil && up && tcp.SYN && s.up.started && tcp.Seq+1 != s.up.first; s == nil || again {
		if again {
			s.finish()
		}
		if len(t.capture.Sessions) == captureSessionsMax {
			return fmt.Errorf("is the first of a session beyond the limit of %d", captureSessionsMax)
		}
		s = &tracked{Session: &Session{Client: f.client, Port: f.server.Port(), Dialect: d, Start: at}}
		t.open[f] = s
		t.capture.Sessions = append(t.capture.Sessions, s.Session)
	}
	if t.bytes += s.take(up, tcp, at); t.bytes > captureBytesMax {
		return fmt.Errorf("goes beyond the limit of %d bytes of messages", captureBytesMax)
	}
	return nil
}

func addresses(l gopacket.NetworkLayer) (src, dst netip.Addr, ok bool) {
	switch ip := l.(type) {
	case *layers.IPv4:
		src, ok = netip.AddrFromSlice(ip.SrcIP)
		dst, _ = netip.AddrFromSlice(ip.DstIP)
	case *layers.IPv6:
		src, ok = netip.AddrFromSlice(ip.SrcIP)
		dst, _ = netip.AddrFromSlice(ip.DstIP)
	}
	return src, dst, ok
}

// take adds a segment to its stream, and the frames it completes to the
// session. It returns the bytes that are kept.
func (s *tracked) take(up bool, tcp *layers.TCP, at time.Time) (kept int) {
	if !s.hungUp {
		s.End = at
	}
	if up && (tcp.FIN || tcp.RST) {
		s.hungUp = true
	}
	if s.Broken != "" {
		return 0
	}
	st := &s.down
	if up {
		st = &s.up
	}
	if err := st.segment(tcp.Seq, tcp.SYN, tcp.Payload); err != nil {
		s.Broken = err.Error()
		return 0
	}
	for {
		frame, err := st.frame(s.Dialect)
		if err != nil {
			s.Broken = err.Error()
			return kept
		}
		if frame == nil {
			return kept
		}
		kept += len(frame)
		if up {
			s.asked(frame, at)
		} else {
			s.answered(frame, at)
		}
	}
}

func (s *tracked) asked(frame []byte, at time.Time) {
	mti, stan, terminal := s.names(frame)
	s.waiting = append(s.waiting, waiting{len(s.Exchanges), mti&^1 + 0x10, stan, terminal})
	s.Exchanges = append(s.Exchanges, Exchange{At: at, Request: frame})
}

// answered gives an answer to the oldest request that it can be of. One that
// is of none is left out.
func (s *tracked) answered(frame []byte, at time.Time) {
	mti, stan, terminal := s.names(frame)
	for i, w := range s.waiting {
		if w.mti == mti && w.stan == stan && w.terminal == terminal {
			e := &s.Exchanges[w.exchange]
			e.Answer, e.AnsweredAt = frame, at
			s.waiting = append(s.waiting[:i], s.waiting[i+1:]...)
			return
		}
	}
}

// names reads what requests and answers have in common, as far as the frame
// can be read.
func (s *tracked) names(frame []byte) (mti uint16, stan, terminal string) {
	var m iso.Message
	s.Dialect.Codec().Parse(&m, frame[s.Dialect.PrefixSize():])
	return m.MTI(), string(m.Value(11)), string(m.Value(41))
}

// finish notes what the capture lacks of the session.
func (s *tracked) finish() {
	for _, st := range [...]*stream{&s.up, &s.down} {
		if s.Broken == "" && len(st.held) > 0 {
			s.Broken = st.lacks().Error()
		}
	}
}
