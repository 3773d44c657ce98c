package replay

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/capture"
	"github.com/acqswitch/acqswitch/switch/transport"
)

// Why a request has no answer. A report counts the requests of each.
var (
	errSilent   = errors.New("no answer came in time")
	errClosed   = errors.New("the host closed the session")
	errLost     = errors.New("no answer came before the session ended")
	errNonsense = errors.New("the host answered nonsense")
	errRefused  = errors.New("no session could be opened")
)

const dialTimeout = 5 * time.Second

// lastWords is how long a session is still read after a write to it failed: what the
// host said before it hung up, which is the cause, has arrived by then.
const lastWords = 100 * time.Millisecond

// link is the way to the host that terminals of one recorded session share: a session
// dialed when it is first used, and another one after that broke.
type link struct {
	addr    string
	tls     *tls.Config // nil: plain
	dialect *capture.Dialect
	strays  func()

	// dialing is held while a session is opened.
	dialing sync.Mutex

	// mu guards the rest. It is held for map operations and writes.
	mu      sync.Mutex
	session *session // nil: the next request opens one
	reading sync.WaitGroup
	users   int // terminals whose session this is
}

// session is a connection to the host, and the requests that wait for an answer on it.
// Only its reader ends it and tells them why, so that all get the same cause. The
// link's mu guards pending.
type session struct {
	conn    net.Conn
	pending map[string]chan reply
}

// reply is an answer, length prefix included, or why there is none.
type reply struct {
	frame []byte
	at    time.Time
	err   error
}

// answerKey is what an answer must repeat.
func answerKey(mti uint16, m *iso.Message) string {
	return string(binary.BigEndian.AppendUint16(nil, mti)) + string(m.Value(11)) + "/" + string(m.Value(41))
}

// exchange sends a request and waits for its answer. sent is zero when nothing
// was sent.
func (l *link) exchange(ctx context.Context, m *iso.Message, frame []byte, patience time.Duration) (r reply, sent time.Time) {
	s, err := l.open(ctx)
	if err != nil {
		return reply{err: err}, time.Time{}
	}
	key := answerKey(m.MTI()&^1+0x10, m)
	answered := make(chan reply, 1)
	sent = time.Now()
	if s.pending[key] != nil { // a repeat while the first is on its way: the later one gets the answer
		s.pending[key] <- reply{err: errSilent}
	}
	s.pending[key] = answered
	s.conn.SetWriteDeadline(sent.Add(patience))
	if _, err := s.conn.Write(frame); err != nil {
		l.session = nil
		s.conn.SetReadDeadline(time.Now().Add(lastWords))
	}
	l.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case r = <-answered:
		return r, sent
	case <-timer.C:
		r.err = errSilent
	case <-ctx.Done():
		r.err = ctx.Err()
	}
	l.mu.Lock()
	if s.pending[key] == answered {
		delete(s.pending, key)
	}
	l.mu.Unlock()
	return r, sent
}

// open is the link's session, dialed if there is none. Without an error l.mu is held:
// a session cannot end between open and the request that is put into it.
func (l *link) open(ctx context.Context) (*session, error) {
	l.dialing.Lock()
	defer l.dialing.Unlock()
	l.mu.Lock()
	if l.session != nil {
		return l.session, nil
	}
	l.mu.Unlock()
	conn, err := transport.Dial(ctx, l.addr, l.dialect, l.tls, dialTimeout)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	s := &session{conn: conn, pending: map[string]chan reply{}}
	l.mu.Lock()
	l.session = s
	l.reading.Go(func() { l.end(s, l.read(s)) })
	return s, nil
}

// read gives answers to those who wait, until the session ends.
func (l *link) read(s *session) error {
	in := bufio.NewReaderSize(s.conn, 8<<10)
	size := l.dialect.PrefixSize()
	var m iso.Message
	for {
		prefix, err := in.Peek(size)
		if err != nil {
			return over(err)
		}
		n, err := l.dialect.ReadLength(prefix)
		if err != nil {
			return fmt.Errorf("%w: %w", errNonsense, err)
		}
		if n == 0 { // a keep-alive
			in.Discard(size)
			continue
		}
		frame := make([]byte, size+n)
		if _, err := io.ReadFull(in, frame); err != nil {
			return over(err)
		}
		at := time.Now()
		if err := l.dialect.Parse(&m, frame); err != nil {
			return fmt.Errorf("%w: %w", errNonsense, err)
		}
		key := answerKey(m.MTI(), &m)
		l.mu.Lock()
		waits := s.pending[key]
		if waits == nil && !m.Has(41) {
			for other, w := range s.pending {
				if len(other) > len(key) && other[:len(key)] == key {
					waits, key = w, other
				}
			}
		}
		delete(s.pending, key)
		l.mu.Unlock()
		if waits == nil {
			l.strays()
			continue
		}
		waits <- reply{frame: frame, at: at}
	}
}

// over is the cause of a session's end after a read failed with err.
func over(err error) error {
	if errors.Is(err, transport.ErrHTTP) || errors.Is(err, transport.ErrFrame) {
		return fmt.Errorf("%w: %w", errNonsense, err)
	}
	return errClosed
}

// end closes a session and tells those who wait why.
func (l *link) end(s *session, why error) {
	s.conn.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, waits := range s.pending {
		waits <- reply{err: why}
	}
	s.pending = nil
	if l.session == s {
		l.session = nil
	}
}

// close hangs up and waits for the reader. No request comes after it.
func (l *link) close() {
	l.mu.Lock()
	s := l.session
	l.mu.Unlock()
	if s != nil {
		s.conn.Close()
	}
	l.reading.Wait()
}
