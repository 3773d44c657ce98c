package pos

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/acqswitch/acqswitch/switch/dialect"
)

// Sockets are what a front end gives to the process that takes its place: file
// descriptors that stay open over exec. Between the two nobody reads or accepts;
// the kernel keeps what arrives.
type Sockets struct {
	Listeners []KeptListener `json:"listeners"`
	Sessions  []KeptSession  `json:"sessions"`
}

// KeptListener is a bound address.
type KeptListener struct {
	FD      int    `json:"fd"`
	Address string `json:"address"` // as the configuration has it
	Dialect string `json:"dialect"`
}

// KeptSession is a session with nothing in flight.
type KeptSession struct {
	FD      int    `json:"fd"`
	Dialect string `json:"dialect"`
	// Unread was read from the socket and not yet taken: whole frames, and the
	// beginning of one.
	Unread []byte `json:"unread,omitempty"`
}

// Keep makes Run, when its context ends, keep every socket open that it can,
// for Kept. It is called before that.
func (s *Server) Keep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = &Sockets{}
}

// Kept are the sockets that Run kept open. The caller owns them.
func (s *Server) Kept() *Sockets { return s.kept }

// keepListeners duplicates the listeners before they are closed.
func (s *Server) keepListeners() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		return
	}
	for i, ln := range s.listeners {
		l := s.cfg.Listeners[i]
		fd, err := duplicate(ln)
		if err != nil {
			s.log.Error("a listener cannot be handed over", "address", l.Address, "error", err)
			continue
		}
		s.kept.Listeners = append(s.kept.Listeners, KeptListener{fd, l.Address, l.Dialect.Name()})
	}
}

// keep notes a session that stopped reading because the drain told it to, and
// whose answers are written. A session that was cut off is not kept.
func (s *Server) keep(ss *session, unread []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		return
	}
	fd, err := duplicate(ss.conn)
	if err != nil {
		if !errors.Is(err, net.ErrClosed) {
			s.log.Warn("a session cannot be handed over", "remote", ss.host, "error", err)
		}
		return
	}
	s.kept.Sessions = append(s.kept.Sessions, KeptSession{fd, ss.dialect.Name(), unread})
}

// duplicate gives a socket a second descriptor, which exec leaves open.
func duplicate(socket any) (fd int, err error) {
	c, ok := socket.(syscall.Conn)
	if !ok {
		return 0, fmt.Errorf("%T has no file descriptor", socket)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	if failed := raw.Control(func(of uintptr) { fd, err = syscall.Dup(int(of)) }); failed != nil {
		return 0, failed
	}
	return fd, err
}

// Adopt takes over what another process kept, before Listen. A session whose
// dialect is spoken at no listener any more is closed.
func (s *Server) Adopt(k *Sockets) { s.adopted = k }

// inherited is the kept listener of an address and dialect, nil when there is
// none.
func (s *Server) inherited(l Listener) (net.Listener, error) {
	if s.adopted == nil {
		return nil, nil
	}
	for i, k := range s.adopted.Listeners {
		if k.Address == l.Address && k.Dialect == l.Dialect.Name() {
			s.adopted.Listeners[i].Address = "" // an address may stand twice, with port 0
			f := os.NewFile(uintptr(k.FD), k.Address)
			defer f.Close()
			return net.FileListener(f)
		}
	}
	return nil, nil
}

// resume serves the kept sessions.
func (s *Server) resume(serve func(*session)) {
	if s.adopted == nil {
		return
	}
	for _, k := range s.adopted.Listeners {
		if k.Address != "" { // the configuration has dropped it
			syscall.Close(k.FD)
		}
	}
	for _, k := range s.adopted.Sessions {
		d := s.dialect(k.Dialect)
		f := os.NewFile(uintptr(k.FD), "session")
		conn, err := net.FileConn(f)
		f.Close()
		if err != nil || d == nil {
			s.log.Warn("a session cannot be taken over", "dialect", k.Dialect, "error", err)
			if conn != nil {
				conn.Close()
			}
			continue
		}
		s.accepts.Add(1)
		ss := newSession(s, conn, d)
		ss.unread = k.Unread
		serve(ss)
	}
	s.adopted = nil
}

func (s *Server) dialect(name string) *dialect.Terminal {
	for _, l := range s.cfg.Listeners {
		if l.Dialect.Name() == name {
			return l.Dialect
		}
	}
	return nil
}

// input is what the session reads: first what the process before had read.
func (ss *session) input() io.Reader {
	if len(ss.unread) == 0 {
		return ss.conn
	}
	return io.MultiReader(bytes.NewReader(ss.unread), ss.conn)
}
