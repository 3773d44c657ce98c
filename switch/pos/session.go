package pos

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/acqswitch/acqswitch/switch/certs"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/failpoint"
	"github.com/acqswitch/acqswitch/switch/transport"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// readBufferSize holds a typical burst of a concentrator; longer frames are
// read past it.
const readBufferSize = 4096

// socketBufferSize bounds what the kernel keeps of a session in each direction:
// answers for a peer that does not read them, and what one sends that is not read.
// Left to itself the kernel takes megabytes of either.
const socketBufferSize = 64 << 10

// session is one terminal's (or concentrator's) connection.
type session struct {
	server     *Server
	conn       net.Conn    // what is read and written
	socket     net.Conn    // under it, to be closed at once: TLS would say goodbye first, to a peer that may not read
	tls        *tls.Conn   // between them, nil: there is none
	handshaker *handshaker // under TLS
	dialect    *dialect.Terminal
	host       string // of the remote address
	places     chan struct{}
	inFlight   sync.WaitGroup // frames given to workers

	// Read by the sweeper. Nanoseconds of Server.elapsed; 0 is "not now".
	frameBegan atomic.Int64
	writeBegan atomic.Int64
	lastActive atomic.Int64
	closedFor  atomic.Pointer[Cause] // set before the sweeper closes the conn

	tap Tap // nil: not recorded

	// out collects answers while another goroutine is writing.
	out outbox

	unread []byte  // read from the socket and not handled: by the process before, or left by this one
	prefix [4]byte // of the frame being read
}

// newSession is the session of a connection to l, secured unless by is nil.
func newSession(s *Server, conn net.Conn, l *Listener, by *certs.Kept) *session {
	host, _, err := net.SplitHostPort(conn.RemoteAddr().String())
	if err != nil {
		host = conn.RemoteAddr().String()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetWriteBuffer(socketBufferSize)
		tcp.SetReadBuffer(socketBufferSize)
	}
	places := s.cfg.InFlightMax
	if l.HTTP { // it answers in order
		places = 1
	}
	ss := &session{server: s, conn: conn, socket: conn, dialect: l.Dialect, host: host, places: make(chan struct{}, places)}
	ss.lastActive.Store(ss.server.elapsed(time.Now()))
	ss.out.write = ss.write
	if by != nil {
		ss.handshaker = &handshaker{Conn: conn, session: ss, turns: s.turns}
		ss.tls = tls.Server(ss.handshaker, by.TLS())
		ss.conn = ss.tls
	}
	if l.HTTP {
		ss.conn = transport.Serve(ss.conn, l.Dialect, func() { ss.frameBegan.Store(ss.server.elapsed(time.Now())) })
	}
	return ss
}

// serve reads frames until the peer leaves or breaks the rules, and returns
// when the answers under way are written.
func (ss *session) serve() {
	cfg := &ss.server.cfg
	defer ss.conn.Close()
	if cfg.Recorder != nil {
		ss.tap = cfg.Recorder.Open(ss.conn.RemoteAddr(), ss.conn.LocalAddr(), ss.dialect.Name())
		defer ss.tap.Close()
	}
	defer ss.inFlight.Wait()
	if err := ss.handshake(); err != nil {
		ss.end(err)
		return
	}
	r := bufio.NewReaderSize(ss.input(), readBufferSize)
	for n := 0; ; n++ {
		x, err := ss.read(r)
		switch {
		case err != nil:
			if !errors.Is(err, os.ErrDeadlineExceeded) || ss.closedFor.Load() != nil {
				ss.end(err)
				return
			}
			// The drain set the deadline: nothing is wrong with the session.
			ss.inFlight.Wait()
			rest, _ := r.Peek(r.Buffered())
			ss.server.keep(ss, append(ss.unread, rest...))
			return
		case x == nil:
			continue
		}
		failpoint.Hit(failpoint.FrameRead)
		if n > 0 { // a terminal that asks again has heard its answer
			failpoint.Hit(failpoint.Heard)
		}
		received := time.Now()  // waiting for a place counts against its deadline
		ss.places <- struct{}{} // back-pressure: the peer is not read meanwhile
		if cap(ss.places) == 1 {
			ok := ss.handle(x, received)
			<-ss.places
			if !ok {
				return
			}
			continue
		}
		ss.inFlight.Add(1)
		ss.server.hand(job{ss, x, received})
	}
}

// work handles one frame beside the reader.
func (ss *session) work(x *dialect.Exchange, received time.Time) {
	defer ss.inFlight.Done()
	if !ss.handle(x, received) {
		ss.socket.Close()
	}
	<-ss.places
}

// errSession ends a session for a cause that is counted.
type errSession struct {
	cause Cause
	err   error
}

func (e *errSession) Error() string { return string(e.cause) + ": " + e.err.Error() }
func (e *errSession) Unwrap() error { return e.err }

// read reads one frame into an exchange. It takes the exchange only when a frame begins:
// the one put back last is still in the caches then, and a session that waits holds
// none. A keep-alive returns neither an exchange nor an error; a clean end between frames
// is io.EOF. When it fails inside a frame, unread is what it took of it from r.
func (ss *session) read(r *bufio.Reader) (*dialect.Exchange, error) {
	ss.unread = nil
	if _, err := r.Peek(1); err != nil {
		return nil, ss.carried(err)
	}
	size := ss.dialect.PrefixSize()
	// The usual frame is buffered whole by now and needs no clock.
	if r.Buffered() < size {
		ss.frameBegan.Store(ss.server.elapsed(time.Now()))
	}
	defer ss.frameBegan.Store(0)
	prefix, err := r.Peek(size)
	if err != nil {
		return nil, ss.cut(err)
	}
	n, err := ss.dialect.ReadLength(prefix)
	if err != nil {
		return nil, &errSession{CauseLength, err}
	}
	if n == 0 {
		ss.lastActive.Store(ss.server.elapsed(time.Now()))
		r.Discard(size)
		return nil, nil
	}
	if r.Buffered() < size+n && ss.frameBegan.Load() == 0 {
		ss.frameBegan.Store(ss.server.elapsed(time.Now()))
	}
	copy(ss.prefix[:], prefix)
	r.Discard(size)
	x := ss.server.exchanges.Get().(*dialect.Exchange)
	x.Frame = grow(x.Frame, n)
	if n, err := io.ReadFull(r, x.Frame); err != nil {
		ss.unread = append(append(ss.unread, ss.prefix[:size]...), x.Frame[:n]...)
		ss.server.exchanges.Put(x)
		return nil, ss.cut(err)
	}
	return x, nil
}

// carried gives a failure to read before a frame began its cause, where it is the
// HTTP around frames that failed. Without HTTP only the connection can have, which is
// not counted.
func (ss *session) carried(err error) error {
	switch {
	case ss.closedFor.Load() != nil:
		return err
	case errors.Is(err, transport.ErrFrame):
		return &errSession{CauseLength, err}
	case errors.Is(err, transport.ErrHTTP):
		return &errSession{CauseUnparsable, err}
	case errors.Is(err, io.ErrUnexpectedEOF), ss.frameBegan.Load() != 0:
		return &errSession{CauseTruncated, err}
	}
	return err
}

// cut is the end of a session inside a frame.
func (ss *session) cut(err error) error {
	if cause := ss.closedFor.Load(); cause != nil {
		return &errSession{*cause, err}
	}
	return &errSession{CauseTruncated, err}
}

func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

// end counts how a session ended, unless its peer simply left between two frames.
func (ss *session) end(err error) {
	var why *errSession
	if !errors.As(err, &why) {
		cause := ss.closedFor.Load()
		if cause == nil {
			return
		}
		why = &errSession{*cause, err}
	}
	ss.server.observer.BadFrame(ss.dialect.Name(), why.cause)
	ss.server.log.Debug("session closed", "dialect", ss.dialect.Name(), "remote", ss.host, "cause", string(why.cause), "error", why.err)
}

// handle takes one frame, whose last byte was read at received, to its written
// answer. It says whether the session may go on. x is given back.
func (ss *session) handle(x *dialect.Exchange, received time.Time) (ok bool) {
	s := ss.server
	name := ss.dialect.Name()
	defer func() {
		if cause := recover(); cause != nil {
			s.observer.BadFrame(name, CausePanic)
			s.log.Error("a frame made the front end panic", "dialect", name, "cause", fmt.Sprintf("%T", cause), "stack", string(debug.Stack()))
			return // ok is false; x is not reused
		}
		s.exchanges.Put(x)
	}()
	req, ans := &x.Request, &x.Answer
	ss.lastActive.Store(ss.server.elapsed(received))
	if err := ss.dialect.Decode(x, received); err != nil {
		if errors.Is(err, dialect.ErrResponse) {
			s.observer.BadFrame(name, CauseResponse)
			return true
		}
		s.observer.BadFrame(name, CauseUnparsable)
		s.log.Debug("frame is no request", "dialect", name, "remote", ss.host, "error", err)
		return false
	}
	if ss.tap != nil {
		ss.tap.Asked(req.Key.Terminal.String(), x.Frame, received)
	}
	if ans.Reason == txn.FormatIsWrong {
		s.observer.BadFrame(name, CauseFormat)
		s.log.Debug("request is badly formed", "dialect", name, "remote", ss.host, "error", x.Fault)
	}
	s.acquirer.Authorize(req, ans)
	if ans.Silent {
		s.observer.Finish(req, ans, name)
		return false
	}
	frame, err := ss.dialect.AppendAnswer(x.Out[:0], x, s.acquirer.Sign)
	if err != nil {
		s.acquirer.Undelivered(req, ans)
		s.observer.BadFrame(name, CauseUnencodable)
		s.log.Error("answer cannot be encoded", "dialect", name, "id", ans.ID, "error", err)
		return false
	}
	x.Out = frame
	if ss.tap != nil {
		ss.tap.Answered(req.Key.Terminal.String(), frame[ss.dialect.PrefixSize():], time.Now())
	}
	if err := ss.out.send(frame, len(ss.places) <= 1); err != nil {
		s.acquirer.Undelivered(req, ans)
		s.log.Debug("answer cannot be written", "dialect", name, "id", ans.ID, "error", err)
	} else {
		ok = true
		failpoint.Hit(failpoint.Answered)
	}
	req.Trace.Mark(txn.StageAnswered, received)
	s.observer.Finish(req, ans, name)
	return ok
}

// write is one write to the socket, watched by the sweeper.
func (ss *session) write(b []byte) error {
	ss.writeBegan.Store(ss.server.elapsed(time.Now()))
	_, err := ss.conn.Write(b)
	ss.writeBegan.Store(0)
	return err
}

// drainStalledMax is how long a drain waits for a terminal that does not read its answers:
// all others wait for it, and it has been sent more than its socket holds.
const drainStalledMax = time.Second

// check is the sweeper's look at one session, under Server.mu.
func (ss *session) check(now time.Time) {
	cfg := &ss.server.cfg
	stalledMax := cfg.WriteDeadline
	if ss.server.draining {
		stalledMax = min(stalledMax, drainStalledMax)
	}
	elapsed := ss.server.elapsed(now)
	over := func(at int64, limit time.Duration) bool { return at != 0 && elapsed-at > int64(limit) }
	var cause Cause
	switch {
	case over(ss.frameBegan.Load(), cfg.FrameDeadline):
		cause = CauseSlow
	case over(ss.writeBegan.Load(), stalledMax):
		cause = CauseStalled
	case len(ss.places) == 0 && ss.frameBegan.Load() == 0 && over(ss.lastActive.Load(), cfg.IdleMax):
		ss.socket.Close() // nothing is wrong with it
		return
	default:
		return
	}
	if ss.closedFor.CompareAndSwap(nil, &cause) {
		ss.socket.Close()
	}
}

// outbox joins the answers that become ready while one is being written into
// the next write. Each sender learns whether its own bytes were written.
type outbox struct {
	write func([]byte) error

	mu      sync.Mutex
	writing bool
	next    []byte // answers waiting for the write under way to end
	spare   []byte
	batch   *batch // of next; nil while next is empty
}

type batch struct {
	err  error
	done chan struct{}
}

// send returns when frame is written or cannot be. alone says that no other request of
// the session is being decided; else those get to run first, so that their answers leave
// in the same write.
func (o *outbox) send(frame []byte, alone bool) error {
	o.mu.Lock()
	if o.writing {
		if o.batch == nil {
			o.batch = &batch{done: make(chan struct{})}
		}
		o.next = append(o.next, frame...)
		b := o.batch
		o.mu.Unlock()
		<-b.done // bounded: the sweeper closes a session whose write stalls
		return b.err
	}
	o.writing = true
	if !alone {
		o.mu.Unlock()
		runtime.Gosched()
		o.mu.Lock()
	}
	var err error
	for own := true; own || o.batch != nil; own = false {
		b, bytes := o.batch, o.next
		o.batch, o.next = nil, o.spare[:0]
		o.mu.Unlock()
		switch {
		case b == nil:
			err = o.write(frame)
		case own:
			bytes = append(bytes, frame...)
			err = o.write(bytes)
			b.err = err
		default:
			b.err = o.write(bytes)
		}
		if b != nil {
			close(b.done)
		}
		o.mu.Lock()
		o.spare = bytes
	}
	o.writing = false
	o.mu.Unlock()
	return err
}
