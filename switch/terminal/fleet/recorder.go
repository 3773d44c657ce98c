package fleet

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/terminal"
)

// The ports under which sessions of a dialect stand in a capture.
const (
	PortCUP   = 8583
	PortISO87 = 8587
)

// segmentMax is the payload of one recorded TCP segment.
const segmentMax = 1460

// Recorder writes the sessions of a fleet as a capture file: each as TCP over
// IPv4 over Ethernet, with its own times, from an address of the terminal's own
// to the dialect's port. The bytes are those the terminals wrote and read; the
// packets around them are made up. It is safe for concurrent use.
type Recorder struct {
	// mu guards the rest, and keeps packets in the order of their times.
	mu        sync.Mutex
	out       *bufio.Writer
	pcap      *pcapgo.Writer
	scratch   gopacket.SerializeBuffer
	terminals map[string]*hostPort
	err       error // sticks
}

// hostPort is the next client port of a terminal's address.
type hostPort struct {
	ip   net.IP
	port uint16
}

// NewRecorder starts a capture file on w.
func NewRecorder(w io.Writer) (*Recorder, error) {
	r := &Recorder{out: bufio.NewWriterSize(w, 1<<16), scratch: gopacket.NewSerializeBuffer(), terminals: map[string]*hostPort{}}
	r.pcap = pcapgo.NewWriter(r.out)
	if err := r.pcap.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		return nil, fmt.Errorf("start capture: %w", err)
	}
	return r, nil
}

// Close writes what is buffered. Its error is the first of the recording; the
// file is then of no use. It does not close the writer below.
func (r *Recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = r.out.Flush()
	}
	if r.err != nil {
		return fmt.Errorf("record capture: %w", r.err)
	}
	return nil
}

// tap is one session being recorded.
type tap struct {
	recorder       *Recorder
	client, server endpoint
}

// endpoint is one end of a recorded session.
type endpoint struct {
	mac  net.HardwareAddr
	ip   net.IP
	port layers.TCPPort
	next uint32 // sequence number of its next byte
}

// Open records the handshake of a terminal's new session.
func (r *Recorder) Open(name string, d *dialect.Terminal) terminal.Tap {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.terminals[name]
	if h == nil {
		n := len(r.terminals) + 10
		h = &hostPort{ip: net.IPv4(10, byte(1+n>>16), byte(n>>8), byte(n)).To4(), port: 40000}
		r.terminals[name] = h
	}
	h.port++
	port := layers.TCPPort(PortISO87)
	if terminal.IsCUP(d) {
		port = PortCUP
	}
	t := &tap{
		recorder: r,
		client:   endpoint{net.HardwareAddr{2, 0, h.ip[0], h.ip[1], h.ip[2], h.ip[3]}, h.ip, layers.TCPPort(h.port), 1000},
		server:   endpoint{net.HardwareAddr{2, 0, 10, 0, 0, 1}, net.IPv4(10, 0, 0, 1).To4(), port, 5000},
	}
	at := time.Now()
	r.packet(at, &t.client, &t.server, layers.TCP{SYN: true}, nil)
	r.packet(at, &t.server, &t.client, layers.TCP{SYN: true, ACK: true}, nil)
	r.packet(at, &t.client, &t.server, layers.TCP{ACK: true}, nil)
	return t
}

// Sent records what the terminal wrote.
func (t *tap) Sent(b []byte) { t.recorder.data(&t.client, &t.server, b) }

// Received records what it read.
func (t *tap) Received(b []byte) { t.recorder.data(&t.server, &t.client, b) }

// Close records that the terminal hung up.
func (t *tap) Close() {
	r := t.recorder
	r.mu.Lock()
	defer r.mu.Unlock()
	at := time.Now()
	r.packet(at, &t.client, &t.server, layers.TCP{FIN: true, ACK: true}, nil)
	r.packet(at, &t.server, &t.client, layers.TCP{FIN: true, ACK: true}, nil)
	r.packet(at, &t.client, &t.server, layers.TCP{ACK: true}, nil)
}

func (r *Recorder) data(from, to *endpoint, b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := time.Now()
	for len(b) > 0 {
		n := min(len(b), segmentMax)
		r.packet(at, from, to, layers.TCP{PSH: n == len(b), ACK: true}, b[:n])
		b = b[n:]
	}
}

// packet writes one packet and moves from's sequence number past it.
func (r *Recorder) packet(at time.Time, from, to *endpoint, tcp layers.TCP, payload []byte) {
	if r.err != nil {
		return
	}
	tcp.SrcPort, tcp.DstPort, tcp.Seq, tcp.Window = from.port, to.port, from.next, 65535
	if tcp.ACK {
		tcp.Ack = to.next
	}
	ip := layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, Flags: layers.IPv4DontFragment, SrcIP: from.ip, DstIP: to.ip}
	tcp.SetNetworkLayerForChecksum(&ip)
	ether := layers.Ethernet{SrcMAC: from.mac, DstMAC: to.mac, EthernetType: layers.EthernetTypeIPv4}
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if r.err = gopacket.SerializeLayers(r.scratch, options, &ether, &ip, &tcp, gopacket.Payload(payload)); r.err != nil {
		return
	}
	b := r.scratch.Bytes()
	r.err = r.pcap.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(b), Length: len(b)}, b)
	from.next += uint32(len(payload))
	if tcp.SYN || tcp.FIN {
		from.next++
	}
}
