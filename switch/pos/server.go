// Package pos is the terminals' front end: listeners, sessions, frames.
//
// Promises: a length prefix is checked before a byte is allocated for it; a
// frame must be whole within FrameDeadline of its first byte, however slowly
// its bytes drip; a session holds at most InFlightMax requests, the server at
// most SessionsMax sessions; a bad frame has one outcome and one counter and
// costs other sessions nothing; every request decoded is answered on the
// session it came on, or the acquirer hears that it was not. Drain order: stop
// accepting, stop reading, answer what is in flight, close; or, after Keep, leave
// the sockets open for the process that comes next.
//
// Not here: what a message means (switch/dialect) and what becomes of it
// (package acquirer).
package pos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/acqswitch/acqswitch/switch/certs"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Acquirer decides requests.
type Acquirer interface {
	// Authorize fills ans for req. It blocks until the answer may be sent, at
	// most a little over the request's deadline. Safe for concurrent use.
	Authorize(req *txn.Request, ans *txn.Answer)
	// Sign makes the MAC of an answer that asks for one.
	Sign(req *txn.Request, signed []byte) ([8]byte, error)
	// Undelivered hears of an answer that could not be written.
	Undelivered(req *txn.Request, ans *txn.Answer)
}

// Observer counts. Its methods are called from every session and must not
// block.
type Observer interface {
	// Finish is called once for each request, after its answer was written.
	Finish(req *txn.Request, ans *txn.Answer, dialect string)
	// BadFrame is called for what could not become a request.
	BadFrame(dialect string, cause Cause)
}

// Recorder keeps copies of traffic.
type Recorder interface {
	// Open begins a session.
	Open(client, server net.Addr, dialect string) Tap
}

// Tap keeps copies of one session's messages. Its methods must not block, and
// may use what they are given only until they return.
type Tap interface {
	// Asked is a request and Answered its answer, without their length prefixes.
	Asked(terminal string, body []byte, at time.Time)
	Answered(terminal string, body []byte, at time.Time)
	// Close comes after all of them.
	Close()
}

// Cause is why bytes did not become a request, or a session not a session.
type Cause string

// The causes.
const (
	CauseLength      Cause = "length"       // the prefix announces nothing we accept: closed
	CauseTruncated   Cause = "truncated"    // the peer left inside a frame
	CauseSlow        Cause = "slow"         // the frame, or TLS, was not whole in time: closed
	CauseHandshake   Cause = "handshake"    // TLS was not agreed on: closed
	CauseUnparsable  Cause = "unparsable"   // no request can be made out, no POST where there is HTTP: closed
	CauseFormat      Cause = "format"       // a request with bad fields: answered 30
	CauseResponse    Cause = "response_mti" // a terminal sent a response: ignored
	CauseUnencodable Cause = "unencodable"  // our answer does not fit its dialect: closed
	CauseSessions    Cause = "sessions"     // a cap on sessions: closed at accept
	CauseStalled     Cause = "stalled"      // the peer does not read its answers: closed
	CausePanic       Cause = "panic"        // a bug of ours: closed
)

// Causes lists them all.
var Causes = []Cause{CauseLength, CauseTruncated, CauseSlow, CauseHandshake, CauseUnparsable, CauseFormat, CauseResponse,
	CauseUnencodable, CauseSessions, CauseStalled, CausePanic}

// Config is the front end's part of the configuration.
type Config struct {
	// Listeners are the addresses terminals connect to.
	Listeners []Listener
	// SessionsMax bounds the sessions of all listeners; a connection above it is
	// closed at once. Default 20,000.
	SessionsMax int
	// SessionsPerAddressMax bounds the sessions of one remote address. Default
	// SessionsMax: terminals behind one NAT share an address.
	SessionsPerAddressMax int
	// InFlightMax bounds the requests of one session that are being decided; the
	// session is not read while it is reached. 1 serves each session strictly in
	// order. Default 128.
	InFlightMax int
	// FrameDeadline runs from a frame's first byte to its last, and from a connection
	// to its TLS session. Default 10 s.
	FrameDeadline time.Duration
	// WriteDeadline is how long a terminal may leave an answer unread before its
	// session is closed. Default 10 s.
	WriteDeadline time.Duration
	// IdleMax closes a session without a request for so long. Default 1 h.
	IdleMax time.Duration
	// Recorder, when given, is told of every request that could be read and its
	// answer.
	Recorder Recorder
	// DrainWithin bounds the drain: what is in flight after it is cut off. It
	// should be at least the switch's answer_within. Default 35 s.
	DrainWithin time.Duration
}

// Listener is one address and the dialect spoken there.
type Listener struct {
	Address string
	Dialect *dialect.Terminal
	// TLS secures its sessions; nil: they are plain.
	TLS *certs.Server
	// HTTP has each frame come in a POST of its own, and its answer go in the response.
	HTTP bool
}

func (c *Config) setDefaults() {
	c.FrameDeadline = cmp.Or(c.FrameDeadline, txn.FrameDeadlineDefault)
	c.WriteDeadline = cmp.Or(c.WriteDeadline, 10*time.Second)
	c.IdleMax = cmp.Or(c.IdleMax, time.Hour)
	c.DrainWithin = cmp.Or(c.DrainWithin, 35*time.Second)
	c.SessionsMax = cmp.Or(c.SessionsMax, 20_000)
	c.SessionsPerAddressMax = cmp.Or(c.SessionsPerAddressMax, c.SessionsMax)
	c.InFlightMax = cmp.Or(c.InFlightMax, 128)
}

// Server is the front end. Listen binds, Run serves.
type Server struct {
	cfg       Config
	acquirer  Acquirer
	observer  Observer
	log       *slog.Logger
	listeners []net.Listener
	secured   []*certs.Kept // by listener; nil where it is plain
	exchanges sync.Pool     // of *dialect.Exchange
	jobs      chan job      // to workers that wait for one
	turns     chan struct{} // taken by handshakes that compute
	began     time.Time     // what the sweeper compares counts from here
	workers   sync.WaitGroup
	open      atomic.Int64
	accepts   atomic.Int64

	// mu guards the rest.
	mu       sync.Mutex
	sessions map[*session]struct{}
	perAddr  map[string]int
	draining bool
	kept     *Sockets // not nil: the drain keeps the sockets open
	adopted  *Sockets // until they are served
	// inherited is used by Adopt and Listen only, before Run, held until then.
	inherited []inherited
	held      []*os.File // what adopted listeners are duplicates of
}

// New makes a front end that has not bound an address yet.
func New(cfg Config, a Acquirer, o Observer, log *slog.Logger) *Server {
	cfg.setDefaults()
	s := &Server{cfg: cfg, acquirer: a, observer: o, log: log, began: time.Now(), sessions: map[*session]struct{}{}, perAddr: map[string]int{}}
	s.jobs = make(chan job)
	s.turns = make(chan struct{}, runtime.GOMAXPROCS(0))
	s.exchanges.New = func() any { return new(dialect.Exchange) }
	return s
}

// Listen reads every certificate and binds every address, or none.
func (s *Server) Listen(ctx context.Context) error {
	if err := s.secure(); err != nil {
		return err
	}
	var lc net.ListenConfig
	bound := s.takeOver()
	for i, l := range s.cfg.Listeners {
		var err error
		if bound[i] == nil {
			bound[i], err = lc.Listen(ctx, "tcp", l.Address)
		}
		if err != nil {
			for _, ln := range bound {
				if ln != nil {
					ln.Close()
				}
			}
			return fmt.Errorf("listen for %s terminals on %s: %w", l.Dialect.Name(), l.Address, err)
		}
	}
	s.listeners = bound
	return nil
}

// Addrs are the bound addresses in the order of the configuration.
func (s *Server) Addrs() []net.Addr {
	addrs := make([]net.Addr, len(s.listeners))
	for i, ln := range s.listeners {
		addrs[i] = ln.Addr()
	}
	return addrs
}

// Sessions is the number of open sessions, and of all ever accepted.
func (s *Server) Sessions() (open, accepted int64) { return s.open.Load(), s.accepts.Load() }

// Run serves until ctx ends and everything in flight is answered or
// DrainWithin is over. Listen comes before it.
func (s *Server) Run(ctx context.Context) error {
	var accepting, serving sync.WaitGroup
	s.resume(func(ss *session) { s.begin(ss, &serving) })
	for i, ln := range s.listeners {
		accepting.Go(func() { s.accept(ln, &s.cfg.Listeners[i], s.secured[i], &serving) })
	}
	stopSweep := make(chan struct{})
	var sweeping sync.WaitGroup
	sweeping.Go(func() { s.sweep(stopSweep) })

	<-ctx.Done()
	s.keepListeners()
	for _, ln := range s.listeners {
		ln.Close()
	}
	accepting.Wait()
	s.drain(&serving)
	close(stopSweep)
	sweeping.Wait()
	close(s.jobs) // nobody is left to give one
	s.workers.Wait()
	return nil
}

// job is one frame and the session it came on.
type job struct {
	session  *session
	x        *dialect.Exchange
	received time.Time
}

// hand gives a job to a worker. Workers stay for the next job: a goroutine for
// each frame would grow its stack anew each time, which costs more than
// decoding does. There are at most as many as frames were in flight together,
// which SessionsMax and InFlightMax bound; the sweeper sends those of a peak away.
func (s *Server) hand(j job) {
	select {
	case s.jobs <- j:
	default:
		first := j // j itself would be on the heap also where a worker waits
		s.workers.Go(func() {
			for j := first; j.session != nil; j = <-s.jobs {
				j.session.work(j.x, j.received)
			}
		})
	}
}

// accept takes connections until the listener closes. It backs off while the
// process has no file descriptors left: that passes when sessions close.
func (s *Server) accept(ln net.Listener, l *Listener, by *certs.Kept, serving *sync.WaitGroup) {
	for pause := time.Duration(0); ; {
		conn, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.log.Warn("cannot accept a terminal", "address", ln.Addr().String(), "error", err, "retry_in", pause)
			time.Sleep(pause)
			continue
		}
		pause = 0
		s.accepts.Add(1)
		s.begin(newSession(s, conn, l, by), serving)
	}
}

// begin serves a session, or closes it where a cap is reached.
func (s *Server) begin(ss *session, serving *sync.WaitGroup) {
	if !s.admit(ss) {
		s.observer.BadFrame(ss.dialect.Name(), CauseSessions)
		ss.socket.Close()
		return
	}
	serving.Go(func() {
		defer s.leave(ss)
		ss.serve()
	})
}

func (s *Server) admit(ss *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining || len(s.sessions) >= s.cfg.SessionsMax || s.perAddr[ss.host] >= s.cfg.SessionsPerAddressMax {
		return false
	}
	s.sessions[ss] = struct{}{}
	s.perAddr[ss.host]++
	s.open.Add(1)
	return true
}

func (s *Server) leave(ss *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, ss)
	if s.perAddr[ss.host]--; s.perAddr[ss.host] == 0 {
		delete(s.perAddr, ss.host)
	}
	s.open.Add(-1)
}

// drain stops the sessions' reading, waits for what is in flight, and cuts the
// rest off.
func (s *Server) drain(serving *sync.WaitGroup) {
	s.mu.Lock()
	s.draining = true
	for ss := range s.sessions {
		ss.conn.SetReadDeadline(time.Unix(1, 0))
	}
	s.mu.Unlock()
	cut := time.AfterFunc(s.cfg.DrainWithin, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for ss := range s.sessions {
			ss.socket.Close()
		}
	})
	serving.Wait()
	cut.Stop()
}

// elapsed is how long the server had run at an instant, and never 0: the clock of the
// machine may be put ahead or back, and no session's time is up by that.
func (s *Server) elapsed(at time.Time) int64 { return int64(at.Sub(s.began)) + 1 }

// sweep enforces the deadlines of all sessions from one goroutine: arming a
// timer for each frame would cost more than decoding it. Each time it sends away a
// few of the workers that wait: as many a second are soon made again.
func (s *Server) sweep(stop <-chan struct{}) {
	every := min(s.cfg.FrameDeadline, s.cfg.WriteDeadline, s.cfg.IdleMax) / 8
	ticker := time.NewTicker(min(max(every, time.Millisecond), time.Second))
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case now := <-ticker.C:
			s.mu.Lock()
			for ss := range s.sessions {
				ss.check(now)
			}
			s.mu.Unlock()
			for range 8 {
				select {
				case s.jobs <- job{}:
				default:
				}
			}
		}
	}
}
