package fleet

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/acqswitch/acqswitch/switch/dialect"
)

// heldMax is how many segments may wait for an earlier one. A sender has at
// most a window under way; terminals' windows hold far fewer.
const heldMax = 256

// stream puts the segments of one direction of a TCP connection in order:
// repeats are dropped, segments that came early wait. It starts with the SYN,
// or, when the capture began later, with the first bytes seen.
type stream struct {
	started bool
	first   uint32    // sequence number of the first byte
	next    uint32    // of the next byte
	held    []segment // early ones, by sequence number
	data    []byte    // in order, not yet a frame
}

type segment struct {
	seq     uint32
	payload []byte
}

// before compares sequence numbers, which wrap.
func before(a, b uint32) bool { return int32(a-b) < 0 }

// segment adds one segment. An error means that bytes are lacking for good.
func (s *stream) segment(seq uint32, syn bool, payload []byte) error {
	if syn {
		seq++
	}
	if !s.started && (syn || len(payload) > 0) {
		s.started, s.first, s.next = true, seq, seq
	}
	if len(payload) == 0 {
		return nil
	}
	if before(s.next, seq) {
		if len(s.held) == heldMax {
			return s.lacks()
		}
		at, _ := slices.BinarySearchFunc(s.held, seq, func(h segment, seq uint32) int { return int(int32(h.seq - seq)) })
		s.held = slices.Insert(s.held, at, segment{seq, bytes.Clone(payload)})
		return nil
	}
	s.add(seq, payload)
	for len(s.held) > 0 && !before(s.next, s.held[0].seq) {
		s.add(s.held[0].seq, s.held[0].payload)
		s.held = s.held[1:]
	}
	return nil
}

// add appends what is new of a segment that does not come early.
func (s *stream) add(seq uint32, payload []byte) {
	if old := int(s.next - seq); old < len(payload) {
		s.data = append(s.data, payload[old:]...)
		s.next += uint32(len(payload) - old)
	}
}

func (s *stream) lacks() error {
	return fmt.Errorf("the capture lacks %d bytes after byte %d of the session", s.held[0].seq-s.next, s.next-s.first)
}

// frame takes the next whole frame, length prefix included, off the stream; nil
// when there is none yet.
func (s *stream) frame(d *dialect.Terminal) ([]byte, error) {
	size := d.PrefixSize()
	if len(s.data) < size {
		return nil, nil
	}
	n, err := d.ReadLength(s.data[:size])
	if err != nil {
		return nil, fmt.Errorf("no %s message: %w", d.Name(), err)
	}
	if len(s.data) < size+n {
		return nil, nil
	}
	frame := bytes.Clone(s.data[:size+n])
	s.data = s.data[size+n:]
	return frame, nil
}
