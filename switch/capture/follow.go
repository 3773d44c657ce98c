package capture

import (
	"bytes"
	"cmp"
	"container/list"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/transport"
)

// Limits of Follow.
const (
	// OpenMax is how many TCP sessions are followed at one time. Beyond it the one
	// that was silent longest is taken as ended.
	OpenMax = 1 << 16
	// endedMax is how many ended sessions are remembered, so that a packet of theirs
	// that is repeated late begins no new one.
	endedMax = 4096
	// missesMax is how many segments of a session may begin with no message of any
	// dialect before the session is taken as another protocol's.
	missesMax = 16
	// rivalsUntil is for how many messages it is asked whether another dialect
	// would read them too.
	rivalsUntil = 32
	// earlyMax is how many segments of a session may wait for the other direction.
	earlyMax = 16
)

// Sink is told what is found. An error ends the reading with that error.
type Sink interface {
	// Open begins a session: its dialect and its client are known.
	Open(s *Session) error
	// Message gives a frame, length prefix included. It is valid until Message
	// returns; the dialect may be unable to take it apart.
	Message(s *Session, fromClient bool, frame []byte, at time.Time) error
	// Trouble says in one line what a session lacks. It goes on where its next
	// message can be made out.
	Trouble(s *Session, why string) error
	// Close ends a session.
	Close(s *Session) error
}

// Options are what is looked for.
type Options struct {
	// Dialects are tried in this order, where Ports does not say which it is.
	Dialects []*Dialect
	// Ports are those of servers; sessions to others are left out. Empty: all
	// sessions. A nil dialect is found out.
	Ports map[uint16]*Dialect
	// Whole refuses a packet that was captured in part only.
	Whole bool
}

// Stats are of all that was read.
type Stats struct {
	Packets   int   `json:"packets"`
	Bytes     int64 `json:"bytes"`
	Partial   int   `json:"partial"`   // packets that were captured in part only
	Foreign   int   `json:"foreign"`   // TCP sessions in which no dialect was found
	Other     int   `json:"other"`     // packets that are no TCP over IP, or on a link that is not known
	Fragments int   `json:"fragments"` // of these, fragments of IPv4
	// Unreadable are lines of a text that are no message.
	Unreadable int `json:"unreadable"`
}

// Follow reads one file to its end with a Follower.
func Follow(r io.Reader, o Options, sink Sink) (Stats, error) {
	f := NewFollower(o, sink)
	err := f.Read(r)
	if errors.Is(err, ErrSink) {
		return f.stats, err
	}
	return f.stats, errors.Join(err, f.Finish())
}

// Follower reads pcap and pcapng files, gzipped or not, puts their TCP sessions
// together and tells a sink their messages. Packets may be repeated and out of
// order, sessions may have begun before the capture and go on from one file to
// the next.
type Follower struct {
	o      Options
	sink   Sink
	stats  Stats
	last   uint32    // session ID
	at     time.Time // of the last packet that has one
	open   map[flow]*followed
	silent *list.List // of *followed that go on, the one silent longest first
	ended  *list.List // of *followed that do not, the one ended longest first

	message iso.Message // that is being read
	layers  decoded
	parsers map[gopacket.LayerType]*gopacket.DecodingLayerParser
	types   []gopacket.LayerType
}

// NewFollower begins with no file.
func NewFollower(o Options, sink Sink) *Follower {
	f := &Follower{o: o, sink: sink, open: map[flow]*followed{}, silent: list.New(), ended: list.New()}
	f.parsers = newParsers(&f.layers)
	return f
}

// Read reads a file. After an error what the sink was told is right as far as it
// goes, and another file can be read: one that is cut off is told to its last
// whole packet. Only after an error of the sink's own it is over.
func (f *Follower) Read(r io.Reader) error {
	packets, err := openPcap(r)
	for err == nil {
		err = f.packet(packets)
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// Stats are of what was read so far.
func (f *Follower) Stats() Stats { return f.stats }

// Finish ends all sessions that are open.
func (f *Follower) Finish() error {
	all := make([]*followed, 0, len(f.open))
	for _, s := range f.open {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *followed) int { return cmp.Compare(a.ID, b.ID) })
	for _, s := range all {
		if err := f.end(s); err != nil {
			return err
		}
	}
	return nil
}

// ErrSink is what errors of the sink are, beside themselves.
var ErrSink = errors.New("capture: the sink failed")

type sinkError struct{ error }

func (e sinkError) Is(target error) bool { return target == ErrSink }
func (e sinkError) Unwrap() error        { return e.error }

func told(err error) error {
	if err != nil {
		return sinkError{err}
	}
	return nil
}

// segment adds a segment to its stream, unless it answers bytes that the capture
// has not come to: those are waited for, since a request is told before its answer.
func (f *Follower) segment(s *followed, side int, tcp *layers.TCP, at time.Time) error {
	if s.ended {
		return nil
	}
	if back := &s.streams[1-side]; len(tcp.Payload) > 0 && tcp.ACK && !tcp.RST && back.started && before(back.next, tcp.Ack) {
		if len(s.early) == earlyMax {
			if err := f.late(s, s.early[0].at.Add(heldFor)); err != nil || s.ended {
				return err
			}
		}
		s.early = append(s.early, early{side, layers.TCP{Seq: tcp.Seq, Ack: tcp.Ack, ACK: true, SYN: tcp.SYN, FIN: tcp.FIN}, at})
		s.early[len(s.early)-1].tcp.Payload = bytes.Clone(tcp.Payload)
		return f.late(s, at)
	}
	if err := f.add(s, side, tcp, at, at); err != nil {
		return err
	}
	return f.late(s, at)
}

// late adds the segments that waited for the other direction, and need not any more.
func (f *Follower) late(s *followed, at time.Time) error {
	for i := 0; i < len(s.early) && !s.ended; i++ {
		e := s.early[i]
		if before(s.streams[1-e.side].next, e.tcp.Ack) && at.Sub(e.at) < heldFor {
			continue
		}
		s.early = slices.Delete(s.early, i, i+1)
		if err := f.add(s, e.side, &e.tcp, e.at, at); err != nil {
			return err
		}
		i = -1
	}
	return nil
}

// add adds a segment of some time to its stream, now, and tells the messages it
// completes.
func (f *Follower) add(s *followed, side int, tcp *layers.TCP, at, now time.Time) error {
	defer s.streams[side].keep()
	if !s.hungUp {
		s.End = at
	}
	if side == s.client && (tcp.FIN || tcp.RST) {
		s.hungUp = true
	}
	// What is acknowledged is told before what the packet brings: a request before
	// its answer.
	if back := &s.streams[1-side]; tcp.ACK && back.acknowledged(tcp.Ack, now) {
		if err := f.skip(s, 1-side, at); err != nil {
			return err
		}
	}
	st := &s.streams[side]
	for !st.segment(tcp.Seq, tcp.SYN, tcp.Payload, at) {
		if err := f.skip(s, side, at); err != nil {
			return err
		}
	}
	if err := f.frames(s, side, at); err != nil {
		return err
	}
	if tcp.FIN {
		s.finned[side], s.fins[side] = true, tcp.Seq+uint32(len(tcp.Payload))
	}
	for i := range s.streams {
		if st := &s.streams[i]; !tcp.RST && (!s.finned[i] || st.started && before(st.next, s.fins[i])) {
			return nil
		}
	}
	return f.end(s)
}

// skip goes on behind a gap.
func (f *Follower) skip(s *followed, side int, at time.Time) error {
	why := s.streams[side].skip()
	s.Gaps++
	if s.known {
		if err := f.sink.Trouble(&s.Session, why); err != nil {
			return told(err)
		}
	}
	return f.frames(s, side, at)
}

// frames tells the whole messages that a stream begins with.
func (f *Follower) frames(s *followed, side int, at time.Time) error {
	st := &s.streams[side]
	for len(st.data) > 0 && !s.ended {
		if head := transport.Head(st.data); head != 0 { // of the HTTP that a frame travels in
			if head < 0 {
				return nil
			}
			if st.data = st.data[head:]; len(st.data) == 0 {
				st.data = nil
			}
			continue
		}
		if !s.known {
			if wait, err := f.guess(s, side); wait || err != nil {
				return err
			}
			continue
		}
		if st.data = s.Dialect.awake(st.data); len(st.data) == 0 {
			st.data = nil
			return nil
		}
		n, err := s.Dialect.next(st.data)
		partial := err == nil && (n == 0 || n > len(st.data))
		if partial {
			if !s.Dialect.begins(st.anew()) {
				return nil
			}
			err = fmt.Errorf("of a message of %d bytes there are %d, and then the next begins", n, len(st.data)-st.tail)
		}
		reads := err == nil && s.Dialect.Parse(&f.message, st.data[:n]) == nil
		if err != nil || st.lost && !reads { // messages begin with a segment
			if err != nil && !st.lost {
				if err := f.sink.Trouble(&s.Session, err.Error()); err != nil {
					return told(err)
				}
			}
			if st.data, st.lost = st.anew(), true; !s.Dialect.begins(st.data) {
				st.data = nil
			}
			continue
		}
		st.lost = false
		s.count(st.data[:n], reads)
		if err := f.sink.Message(&s.Session, side == s.client, st.data[:n], at); err != nil {
			return told(err)
		}
		if st.data = st.data[n:]; len(st.data) == 0 {
			st.data = nil
		}
	}
	return nil
}
