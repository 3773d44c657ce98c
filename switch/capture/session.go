package capture

import (
	"container/list"
	"net/netip"
	"slices"
	"time"

	"github.com/gopacket/gopacket/layers"
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
	if s != nil && (tcp.SYN && s.streams[side].started && tcp.Seq+1 != s.streams[side].first ||
		!tcp.SYN && len(tcp.Payload) > 0 && s.streams[side].elsewhere(tcp.Seq)) {
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
		data := d.awake(st.data)
		n, whole, reads := d.whole(data)
		switch {
		case !whole:
			wait = true
		case reads && found == nil:
			found = d
			var m messageType
			mti = m.of(d, data[:n])
		case reads:
			rivals = append(rivals, d)
		}
	}
	if fresh := st.anew(); found == nil && slices.ContainsFunc(candidates, func(d *Dialect) bool { return d.begins(fresh) }) {
		st.data = fresh // what was before it announced more than there is
		return f.guess(s, side)
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

func (f *Follower) foreign(s *followed) {
	f.stats.Foreign++
	f.retire(s)
	s.early = nil
	s.streams[0].over()
	s.streams[1].over()
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
	s.streams[0].over()
	s.streams[1].over()
	return told(f.sink.Close(&s.Session))
}
