package pos

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
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

// keep notes a session that stopped reading because the drain told it to, and whose
// answers are written. A session that was cut off is not kept, nor is one with TLS,
// whose keys another process does not have, or with HTTP: those terminals connect again.
func (s *Server) keep(ss *session, unread []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil || ss.conn != ss.socket {
		return
	}
	fd, err := duplicate(ss.socket)
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
// dialect is spoken at no listener with neither TLS nor HTTP any more is closed.
// Until Run the descriptors stay open, but for those of addresses that are no
// listener's any more: a process that cannot begin may give them back.
func (s *Server) Adopt(k *Sockets) {
	s.adopted = k
	for _, l := range k.Listeners {
		f := os.NewFile(uintptr(l.FD), l.Address)
		ln, err := net.FileListener(f)
		if err != nil {
			f.Close()
			s.log.Warn("a listener cannot be taken over", "address", l.Address, "error", err)
			continue
		}
		s.inherited = append(s.inherited, inherited{ln, l.Address, l.Dialect, f})
	}
}

// inherited is a listener that another process kept.
type inherited struct {
	net.Listener
	address string // as its configuration had it
	dialect string
	kept    *os.File // what the listener is a duplicate of
}

func (in inherited) close() {
	in.Close()
	in.kept.Close()
}

// is says that l names the address and dialect of the listener, however the two spell
// the address.
func (in inherited) is(l Listener) bool {
	if in.dialect != l.Dialect.Name() {
		return false
	}
	return in.address == l.Address || sameAddress(in.Addr().String(), l.Address)
}

// sameAddress says that a socket bound to bound is the one that address, as a
// configuration spells it, asks for.
func sameAddress(bound, address string) bool {
	have, want, ok := resolve(bound, address)
	return ok && (want.IP == nil && have.IP.IsUnspecified() || want.IP.Equal(have.IP))
}

// InTheWay says that a socket bound to bound keeps address from being bound.
func InTheWay(bound, address string) bool {
	have, want, ok := resolve(bound, address)
	return ok && (want.IP == nil || want.IP.IsUnspecified() || have.IP.IsUnspecified() || want.IP.Equal(have.IP))
}

// resolve reads both addresses; ok is false where their ports differ.
func resolve(bound, address string) (have, want *net.TCPAddr, ok bool) {
	have, err := net.ResolveTCPAddr("tcp", bound)
	if err != nil {
		return nil, nil, false
	}
	want, err = net.ResolveTCPAddr("tcp", address)
	return have, want, err == nil && have.Port == want.Port
}

// takeOver gives each listener of the configuration the kept one that is its own,
// nil where there is none, and closes the others: what is left may keep an address
// that is spelled otherwise now.
func (s *Server) takeOver() []net.Listener {
	own := make([]net.Listener, len(s.cfg.Listeners))
	for i, l := range s.cfg.Listeners {
		if k := slices.IndexFunc(s.inherited, func(in inherited) bool { return in.is(l) }); k >= 0 {
			own[i] = s.inherited[k].Listener
			s.held = append(s.held, s.inherited[k].kept)
			s.inherited = slices.Delete(s.inherited, k, k+1) // an address may stand twice, with port 0
		}
	}
	for _, in := range s.inherited {
		in.close()
	}
	s.inherited = nil
	return own
}

// resume serves the kept sessions.
func (s *Server) resume(serve func(*session)) {
	if s.adopted == nil {
		return
	}
	for _, f := range s.held {
		f.Close()
	}
	s.held = nil
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
		if conn.RemoteAddr() == nil { // its terminal was gone before the socket was ours
			conn.Close()
			continue
		}
		s.accepts.Add(1)
		ss := newSession(s, conn, &Listener{Dialect: d}, nil)
		ss.unread = k.Unread
		serve(ss)
	}
	s.adopted = nil
}

// dialect is the one of a name in which plain sessions are served, if any.
func (s *Server) dialect(name string) *dialect.Terminal {
	for _, l := range s.cfg.Listeners {
		if l.Dialect.Name() == name && l.TLS == nil && !l.HTTP {
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
