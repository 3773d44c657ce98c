package capture

import (
	"bytes"
	"cmp"
	"container/list"
	"errors"
	"io"
	"net/netip"
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

// Session is one TCP connection, or one group of lines.
type Session struct {
	ID             uint32 // 1, 2, ... in the order in which they were found
	Client, Server netip.AddrPort
	Dialect        *Dialect
	Start, End     time.Time // of its first packet, of the client's hanging up or the last packet
	Read, Unread   int       // messages that the dialect takes apart, and that it does not
	Gaps           int

	rivals []*Dialect // others that read every message so far
}

// Sure is how sure the session's dialect is, 0 to 1: the part of its messages
// that the dialect takes apart to the last byte, divided by the number of
// dialects that do.
func (s *Session) Sure() float64 {
	if s.Read == 0 {
		return 0
	}
	return float64(s.Read) / float64(s.Read+s.Unread) / float64(1+len(s.rivals))
}

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
	Packets int   `json:"packets"`
	Bytes   int64 `json:"bytes"`
	Partial int   `json:"partial"` // packets that were captured in part only
	Foreign int   `json:"foreign"` // TCP sessions in which no dialect was found
	Other   int   `json:"other"`   // packets that are no TCP over IP, or on a link that is not known
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
	last   uint32 // session ID
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

// flow is the two ends of a TCP connection, the smaller address first.
type flow [2]netip.AddrPort

// followed is a session with its two streams, one from each end of its flow.
type followed struct {
	Session
	flow    flow
	streams [2]stream
	fins    [2]uint32 // sequence number behind the last byte
	finned  [2]bool
	client  int // index of the client's end, -1: not known
	known   bool
	hungUp  bool
	misses  int
	early   []early
	ended   bool // told or given up: nothing more is looked at
	place   *list.Element
}

// early is a segment that came before the bytes that it answers.
type early struct {
	side int
	tcp  layers.TCP
	at   time.Time
}

// session finds or begins the session of a packet, nil for one that is not
// looked for.
func (f *Follower) session(key flow, side int, tcp *layers.TCP, at time.Time) (*followed, error) {
	s := f.open[key]
	if s != nil && tcp.SYN && !tcp.ACK && s.streams[side].started && tcp.Seq+1 != s.streams[side].first {
		if err := f.end(s); err != nil {
			return nil, err
		}
		f.forget(s)
		s = nil
	}
	if s != nil {
		return s, nil
	}
	client := -1
	switch {
	case tcp.SYN && tcp.ACK:
		client = 1 - side
	case tcp.SYN:
		client = side
	}
	var fixed *Dialect
	if len(f.o.Ports) > 0 {
		d0, at0 := f.o.Ports[key[0].Port()]
		d1, at1 := f.o.Ports[key[1].Port()]
		switch {
		case !at0 && !at1:
			return nil, nil
		case at0 && at1 && client < 0:
		case at0 && at1:
			fixed = [...]*Dialect{d1, d0}[client]
		case at0:
			client, fixed = 1, d0
		default:
			client, fixed = 0, d1
		}
	}
	if f.silent.Len() == OpenMax {
		oldest := f.silent.Front().Value.(*followed)
		if err := f.end(oldest); err != nil {
			return nil, err
		}
		f.forget(oldest)
	}
	f.last++
	s = &followed{Session: Session{ID: f.last, Start: at, End: at}, flow: key, client: client}
	s.place = f.silent.PushBack(s)
	f.open[key] = s
	if fixed != nil {
		return s, f.known(s, fixed, client)
	}
	return s, nil
}

func (f *Follower) forget(s *followed) {
	delete(f.open, s.flow)
	f.silent.Remove(s.place)
	f.ended.Remove(s.place)
}

// retire takes a session out of those that go on.
func (f *Follower) retire(s *followed) {
	s.ended = true
	f.silent.Remove(s.place)
	s.place = f.ended.PushBack(s)
	if f.ended.Len() > endedMax {
		f.forget(f.ended.Front().Value.(*followed))
	}
}

// known tells a session whose dialect and client have been found out.
func (f *Follower) known(s *followed, d *Dialect, client int) error {
	s.Dialect, s.client, s.known = d, client, true
	s.Client, s.Server = s.flow[client], s.flow[1-client]
	return told(f.sink.Open(&s.Session))
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
	if err := f.add(s, side, tcp, at); err != nil {
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
		if err := f.add(s, e.side, &e.tcp, e.at); err != nil {
			return err
		}
		i = -1
	}
	return nil
}

// add adds a segment to its stream and tells the messages it completes.
func (f *Follower) add(s *followed, side int, tcp *layers.TCP, at time.Time) error {
	defer s.streams[side].keep()
	if !s.hungUp {
		s.End = at
	}
	if side == s.client && (tcp.FIN || tcp.RST) {
		s.hungUp = true
	}
	// What is acknowledged is told before what the packet brings: a request before
	// its answer.
	if back := &s.streams[1-side]; tcp.ACK && back.acknowledged(tcp.Ack, at) {
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
		n, err := s.Dialect.next(st.data)
		if err != nil && !st.lost {
			if err := f.sink.Trouble(&s.Session, err.Error()); err != nil {
				return told(err)
			}
		}
		if err != nil {
			st.data, st.lost = nil, true
			return nil
		}
		if n == 0 || n > len(st.data) {
			return nil
		}
		reads := s.Dialect.Parse(&f.message, st.data[:n]) == nil
		if st.lost && !reads {
			st.data = nil // messages begin with a segment
			return nil
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

func (s *followed) count(frame []byte, reads bool) {
	if !reads {
		s.Unread++
		return
	}
	if s.Read++; s.Read > 1 && s.Read <= rivalsUntil {
		s.rivals = slices.DeleteFunc(s.rivals, func(d *Dialect) bool {
			n, _, reads := d.whole(frame)
			return !reads || n != len(frame)
		})
	}
}

// guess finds the dialect that reads what a stream begins with, and by the
// message's type who the client is. It says whether to wait for more.
func (f *Follower) guess(s *followed, side int) (wait bool, err error) {
	st := &s.streams[side]
	var found *Dialect
	var rivals []*Dialect
	mti := uint16(0)
	candidates := f.o.Dialects
	for i := 0; i < 2 && len(f.o.Ports) > 0; i++ {
		if d := f.o.Ports[s.flow[i].Port()]; d != nil {
			candidates = []*Dialect{d}
		}
	}
	for _, d := range candidates {
		n, whole, reads := d.whole(st.data)
		switch {
		case !whole:
			wait = true
		case reads && found == nil:
			found = d
			var m messageType
			mti = m.of(d, st.data[:n])
		case reads:
			rivals = append(rivals, d)
		}
	}
	switch {
	case found != nil:
		client := s.client
		if client < 0 {
			client = side
			if isAnswer(mti) {
				client = 1 - side
			}
		}
		s.rivals = rivals
		return false, f.known(s, found, client)
	case wait && len(st.data) <= pendingMax:
		return true, nil
	}
	st.data = nil // messages begin with a segment
	if s.misses++; s.misses == missesMax {
		f.foreign(s)
	}
	return true, nil
}

func (f *Follower) foreign(s *followed) {
	f.stats.Foreign++
	f.retire(s)
	s.early = nil
	s.streams = [2]stream{}
}

// end tells what is left of a session, and that it is over.
func (f *Follower) end(s *followed) error {
	if s.ended {
		return nil
	}
	for len(s.early) > 0 {
		if err := f.late(s, s.early[0].at.Add(heldFor)); err != nil || s.ended {
			return err
		}
	}
	for i := range s.streams {
		for len(s.streams[i].held) > 0 {
			if err := f.skip(s, i, s.End); err != nil {
				return err
			}
		}
	}
	carried := s.streams[0].started || s.streams[1].started
	if !s.known {
		if s.misses > 0 || carried && len(s.streams[0].data)+len(s.streams[1].data) > 0 {
			f.foreign(s)
		} else {
			f.retire(s)
		}
		return nil
	}
	f.retire(s)
	// Only the two ends' numbers are kept, so that a packet that is repeated late
	// begins no new session.
	s.streams = [2]stream{{started: s.streams[0].started, first: s.streams[0].first}, {started: s.streams[1].started, first: s.streams[1].first}}
	return told(f.sink.Close(&s.Session))
}
