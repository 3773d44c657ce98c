package fleet

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/capture"
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
}

// Session is one TCP connection of a terminal or a concentrator.
type Session struct {
	Client    netip.AddrPort
	Dialect   *dialect.Terminal
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
	o := capture.Options{Ports: map[uint16]*capture.Dialect{}, Whole: true}
	for port, d := range ports {
		o.Ports[port] = nil
		if d != nil {
			o.Ports[port] = capture.OfTerminal(d)
		}
	}
	c := collector{open: map[*capture.Session]*collected{}}
	stats, err := capture.Follow(r, o, &c)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read capture: %w", err)
	case len(c.capture.Sessions) == 0:
		return nil, fmt.Errorf("read capture: none of its %d packets belongs to a TCP session with one of the switch's ports", stats.Packets)
	}
	return &c.capture, nil
}

// collector keeps the sessions that it is told of. One that lacks bytes ends
// there.
type collector struct {
	open    map[*capture.Session]*collected
	capture Capture
	bytes   int
}

// collected is a session while it is open.
type collected struct {
	*Session
	pairs capture.Pairs
}

func (c *collector) Open(s *capture.Session) error {
	if len(c.capture.Sessions) == captureSessionsMax {
		return fmt.Errorf("is the first of a session beyond the limit of %d", captureSessionsMax)
	}
	kept := &Session{Client: s.Client, Dialect: s.Dialect.Terminal}
	c.open[s] = &collected{Session: kept}
	c.capture.Sessions = append(c.capture.Sessions, kept)
	return nil
}

func (c *collector) Message(s *capture.Session, fromClient bool, frame []byte, at time.Time) error {
	kept := c.open[s]
	if kept.Broken != "" {
		return nil
	}
	if c.bytes += len(frame); c.bytes > captureBytesMax {
		return fmt.Errorf("goes beyond the limit of %d bytes of messages", captureBytesMax)
	}
	var m iso.Message
	s.Dialect.Parse(&m, frame) // as far as it can be read
	if fromClient {
		kept.pairs.Asked(&m, uint64(len(kept.Exchanges)), at)
		kept.Exchanges = append(kept.Exchanges, Exchange{At: at, Request: bytes.Clone(frame)})
	} else if n, ok := kept.pairs.Answered(&m, at); ok {
		e := &kept.Exchanges[n]
		e.Answer, e.AnsweredAt = bytes.Clone(frame), at
	}
	return nil
}

func (c *collector) Trouble(s *capture.Session, why string) error {
	if kept := c.open[s]; kept.Broken == "" {
		kept.Broken = why
	}
	return nil
}

func (c *collector) Close(s *capture.Session) error {
	c.open[s].End = s.End
	delete(c.open, s)
	return nil
}
