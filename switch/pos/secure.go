package pos

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/acqswitch/acqswitch/switch/certs"
)

// secured is how the sessions of one listener are secured.
type secured struct {
	terms  *tls.Config // of every session; asks for what is loaded
	loaded atomic.Pointer[certs.Loaded]
}

// secure reads the certificates for the first time.
func (s *Server) secure() error {
	s.secured = make([]*secured, len(s.cfg.Listeners))
	for i, l := range s.cfg.Listeners {
		if l.TLS == nil {
			continue
		}
		by := new(secured)
		// One for all sessions has the keys of their tickets: a terminal that connects
		// for each request, as is usual, resumes its last session.
		by.terms = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return by.loaded.Load().TLS, nil
		}}
		s.secured[i] = by
	}
	return s.ReloadTLS()
}

// ReloadTLS reads the certificates of all listeners again. Sessions that stand are
// not touched; the next ones are made with them. Where a file is wrong the old ones
// stay in force, of that listener.
func (s *Server) ReloadTLS() error {
	var errs []error
	for i, by := range s.secured {
		if by == nil {
			continue
		}
		l := s.cfg.Listeners[i]
		loaded, err := l.TLS.Load()
		if err != nil {
			errs = append(errs, fmt.Errorf("secure %s terminals on %s: %w", l.Dialect.Name(), l.Address, err))
			continue
		}
		by.loaded.Store(loaded)
	}
	return errors.Join(errs...)
}

// CertificateEnds is when the first certificate ends that the sessions of a listener
// need, in the order of the configuration; zero where it is plain, and before Listen.
func (s *Server) CertificateEnds() []time.Time {
	ends := make([]time.Time, len(s.cfg.Listeners))
	for i, by := range s.secured {
		if by != nil {
			ends[i] = by.loaded.Load().Ends
		}
	}
	return ends
}

// handshake agrees on TLS where the session has it. The sweeper looks at it as at a
// frame that has begun. A peer that left before a word, or that the drain caught, is
// no news.
func (ss *session) handshake() error {
	if ss.tls == nil {
		return nil
	}
	ss.frameBegan.Store(time.Now().UnixNano())
	defer ss.frameBegan.Store(0)
	err := ss.tls.Handshake()
	ss.pace.end()
	switch {
	case err == nil:
		return nil
	case ss.closedFor.Load() != nil || err == io.EOF || errors.Is(err, os.ErrDeadlineExceeded):
		return err // end knows the sweeper's cause
	}
	return &errSession{CauseHandshake, err}
}

// pace is the socket under TLS. While it is agreed on, its goroutine computes only in
// its turn, and there are as many turns as processors: a handshake is the work of
// twenty sales and more, so that a thousand that begin at once would have the sales of
// all other sessions wait for each of them at every step. Who waits for the peer has
// no turn.
type pace struct {
	net.Conn
	session *session
	turns   chan struct{} // nil: it is agreed
	has     bool
	came    int // bytes
}

// handshakeMax is what a peer may say until TLS is agreed on, in bytes: a hello and a
// chain of three certificates with RSA keys take 8 KB. TLS itself would keep 64 KB of a
// hello and 256 KB of certificates in memory, of each stranger that announces them.
const handshakeMax = 32 << 10

var errTalks = errors.New("the peer says too much before TLS is agreed on")

func (p *pace) Read(b []byte) (int, error) {
	if p.turns == nil {
		return p.Conn.Read(b)
	}
	p.leave()
	n, err := p.Conn.Read(b)
	p.turns <- struct{}{} // bounded: what is written under a turn fits a socket's buffer
	p.has = true
	p.came += n
	switch {
	case err == nil && p.session.closedFor.Load() != nil:
		return 0, net.ErrClosed // its time was over before its turn
	case p.came > handshakeMax:
		return 0, errTalks
	}
	return n, err
}

func (p *pace) leave() {
	if p.has {
		<-p.turns
		p.has = false
	}
}

// end comes before anybody but the handshake's goroutine uses the connection.
func (p *pace) end() {
	p.leave()
	p.turns = nil
}
