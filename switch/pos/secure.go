package pos

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/acqswitch/acqswitch/switch/certs"
)

// secure reads the certificates for the first time.
func (s *Server) secure() error {
	s.secured = make([]*certs.Kept, len(s.cfg.Listeners))
	var errs []error
	for i := range s.cfg.Listeners {
		if l := &s.cfg.Listeners[i]; l.TLS != nil {
			var err error
			s.secured[i], err = l.TLS.Keep()
			errs = append(errs, l.unsecured(err))
		}
	}
	return errors.Join(errs...)
}

// unsecured says whose certificates cannot be read.
func (l *Listener) unsecured(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("secure %s terminals on %s: %w", l.Dialect.Name(), l.Address, err)
}

// ReloadTLS reads the certificates of all listeners again, for the sessions that begin
// from then on. A listener of which a file is wrong keeps those it has.
func (s *Server) ReloadTLS() error {
	var errs []error
	for i, kept := range s.secured {
		if kept != nil {
			errs = append(errs, s.cfg.Listeners[i].unsecured(kept.Reload()))
		}
	}
	return errors.Join(errs...)
}

// CertificateEnds are, for each listener in the order of the configuration, when the
// first of the certificates that its sessions need expires; zero where it has no TLS,
// and before Listen.
func (s *Server) CertificateEnds() []time.Time {
	ends := make([]time.Time, len(s.cfg.Listeners))
	for i, kept := range s.secured {
		if kept != nil {
			ends[i] = kept.Ends()
		}
	}
	return ends
}

// handshake agrees on TLS where the session has it. The sweeper bounds it like a frame
// that has begun. A peer that leaves before it says anything, or while the server
// drains, is no failed handshake.
func (ss *session) handshake() error {
	if ss.tls == nil {
		return nil
	}
	ss.frameBegan.Store(ss.server.elapsed(time.Now()))
	defer ss.frameBegan.Store(0)
	err := ss.tls.Handshake()
	ss.handshaker.end()
	switch {
	case err == nil:
		return nil
	case ss.closedFor.Load() != nil || err == io.EOF || errors.Is(err, os.ErrDeadlineExceeded):
		return err // end knows the sweeper's cause
	}
	return &errSession{CauseHandshake, err}
}

// handshaker is the socket under TLS. During the handshake its goroutine computes only
// while it has a turn, and there are as many turns as processors: a handshake costs as
// much as twenty sales or more, so of a thousand that began at once each would delay the
// sales of all other sessions. While it waits for its peer it has no turn.
type handshaker struct {
	net.Conn
	session *session
	turns   chan struct{} // nil once the handshake is over
	has     bool          // a turn
	read    int           // bytes, until TLS is agreed on
}

// handshakeMax is how many bytes a peer may send until TLS is agreed on: a hello and a
// chain of three certificates with RSA keys take 8 KB. Without this limit a stranger
// could have crypto/tls buffer a hello of 64 KB and certificates of 256 KB.
const handshakeMax = 32 << 10

var errTalks = errors.New("the peer says too much before TLS is agreed on")

func (p *handshaker) Read(b []byte) (int, error) {
	if p.turns == nil {
		return p.Conn.Read(b)
	}
	p.leave()
	n, err := p.Conn.Read(b)
	p.turns <- struct{}{} // bounded: what is written under a turn fits a socket's buffer
	p.has = true
	p.read += n
	switch {
	case err == nil && p.session.closedFor.Load() != nil:
		return 0, net.ErrClosed // its time was over before its turn
	case p.read > handshakeMax:
		return 0, errTalks
	}
	return n, err
}

func (p *handshaker) leave() {
	if p.has {
		<-p.turns
		p.has = false
	}
}

// end is called when the handshake is over, before another goroutine uses the
// connection.
func (p *handshaker) end() {
	p.leave()
	p.turns = nil
}
