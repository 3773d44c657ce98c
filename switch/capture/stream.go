package capture

import (
	"bytes"
	"fmt"
	"slices"
	"time"
)

// Limits of one direction of a TCP session.
const (
	// heldMax is how many segments may wait for an earlier one. A sender has at
	// most a window under way; terminals' windows hold far fewer.
	heldMax = 256
	// heldFor is how long an earlier segment may fail to come when the receiver
	// has said that it has it: then the capture lacks it, and did not only see the
	// two directions out of order.
	heldFor = 5 * time.Millisecond
	// apart is how far a segment may be from the next byte of its session. What is
	// farther is another session's, under the same ports, whose beginning the capture lacks.
	apart = 1 << 22
	// pendingMax bounds the bytes of a session in which no dialect was found.
	pendingMax = 1 << 16
)

// stream puts the segments of one direction of a TCP connection in order:
// repeats are dropped, segments that came early wait. It starts with the SYN,
// or, when the capture began later, with the first bytes seen.
type stream struct {
	started bool
	first   uint32    // sequence number of the first byte
	next    uint32    // of the next byte
	held    []segment // early ones, by sequence number
	since   time.Time // when the first of them came
	data    []byte    // in order, not yet a frame
	tail    int       // bytes of the segment that data ends with
	borrows bool      // data lies in the packet that is being read
	lost    bool      // data may begin within a frame
}

type segment struct {
	seq     uint32
	payload []byte
}

// before compares sequence numbers, which wrap.
func before(a, b uint32) bool { return int32(a-b) < 0 }

// segment adds one segment and is false when bytes are lacking for good.
func (s *stream) segment(seq uint32, syn bool, payload []byte, at time.Time) bool {
	if syn {
		seq++
	}
	if !s.started && !syn && len(payload) <= 1 {
		return true // a probe of one byte that the receiver has, or has no room for
	}
	if !s.started {
		s.started, s.first, s.next, s.lost = true, seq, seq, !syn
	}
	if len(payload) == 0 {
		return true
	}
	if before(s.next, seq) {
		if len(s.held) == heldMax {
			return false
		}
		if len(s.held) == 0 {
			s.since = at
		}
		i, _ := slices.BinarySearchFunc(s.held, seq, func(h segment, seq uint32) int { return int(int32(h.seq - seq)) })
		s.held = slices.Insert(s.held, i, segment{seq, bytes.Clone(payload)})
		return true
	}
	s.add(seq, payload)
	s.release()
	return true
}

func (s *stream) release() {
	for len(s.held) > 0 && !before(s.next, s.held[0].seq) {
		s.add(s.held[0].seq, s.held[0].payload)
		s.held = s.held[1:]
	}
}

// add appends what is new of a segment that does not come early.
func (s *stream) add(seq uint32, payload []byte) {
	if old := int(s.next - seq); old >= 0 && old < len(payload) {
		if fresh := payload[old:]; len(s.data) == 0 { // most segments are whole messages
			s.data, s.borrows = fresh[:len(fresh):len(fresh)], true
		} else {
			s.data, s.borrows = append(s.data, fresh...), s.borrows && len(fresh) == 0
		}
		s.tail = len(payload) - old
		s.next += uint32(s.tail)
	}
}

// elsewhere says that a segment is none of this stream's: no repeat, and not early.
func (s *stream) elsewhere(seq uint32) bool {
	ahead := int32(seq - s.next)
	return s.started && (ahead > apart || ahead < -apart)
}

// anew is the last segment of data, nil where that is all of it.
func (s *stream) anew() []byte {
	if s.tail == 0 || s.tail >= len(s.data) {
		return nil
	}
	return s.data[len(s.data)-s.tail:]
}

// over forgets all but where the stream ended, by which a packet of it that is repeated
// late is known.
func (s *stream) over() { *s = stream{started: s.started, first: s.first, next: s.next} }

// keep takes a copy of what is left of the packet that was read.
func (s *stream) keep() {
	if s.borrows && len(s.data) > 0 {
		s.data = bytes.Clone(s.data)
	}
	s.borrows = false
}

// acknowledged says that the receiver has what the stream waits for: it went
// past the place of the capture.
func (s *stream) acknowledged(ack uint32, at time.Time) bool {
	return len(s.held) > 0 && before(s.held[0].seq, ack) && at.Sub(s.since) >= heldFor
}

// skip goes on behind a gap, and says what it was.
func (s *stream) skip() string {
	why := fmt.Sprintf("the capture lacks %d bytes after byte %d of the session", s.held[0].seq-s.next, s.next-s.first)
	s.next, s.data, s.lost = s.held[0].seq, nil, true
	s.release()
	return why
}
