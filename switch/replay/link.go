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
	"github.com/acqswitch/acqswitch/switch/carriage"
)

// Why a request has no answer. Each is said with its number of requests.
var (
	errSilent   = errors.New("no answer came in time")
	errClosed   = errors.New("the host closed the session")
	errLost     = errors.New("no answer came before the session ended")
	errNonsense = errors.New("the host answered nonsense")
	errRefused  = errors.New("no session could be opened")
)

const dialTimeout = 5 * time.Second

// link is one session with the host: dialed when it is first used, and again
// after it broke. Several terminals may share it.
type link struct {
	addr    string
	tls     *tls.Config // nil: plain
	dialect *capture.Dialect
	strays  func()

	// dialing is held while a session is opened.
	dialing sync.Mutex

	// mu guards the rest. It is held for map operations and writes.
	mu      sync.Mutex
	conn    net.Conn
	pending map[string]chan reply
	reading sync.WaitGroup
	users   int // terminals whose session this is
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
	conn, err := l.open(ctx)
	if err != nil {
		return reply{err: err}, time.Time{}
	}
	key := answerKey(m.MTI()&^1+0x10, m)
	answered := make(chan reply, 1)
	sent = time.Now()
	l.mu.Lock()
	if l.conn != conn {
		l.mu.Unlock()
		return reply{err: errClosed}, time.Time{}
	}
	if l.pending[key] != nil { // a repeat while the first is on its way: the later one gets the answer
		l.pending[key] <- reply{err: errSilent}
	}
	l.pending[key] = answered
	conn.SetWriteDeadline(sent.Add(patience))
	_, err = conn.Write(frame)
	l.mu.Unlock()
	if err != nil {
		l.drop(conn, errClosed)
	}
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
	if l.pending[key] == answered {
		delete(l.pending, key)
	}
	l.mu.Unlock()
	return r, sent
}

func (l *link) open(ctx context.Context) (net.Conn, error) {
	l.dialing.Lock()
	defer l.dialing.Unlock()
	l.mu.Lock()
	conn := l.conn
	l.mu.Unlock()
	if conn != nil {
		return conn, nil
	}
	conn, err := carriage.Dial(ctx, l.addr, l.dialect, l.tls, dialTimeout)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	l.mu.Lock()
	l.conn, l.pending = conn, map[string]chan reply{}
	l.mu.Unlock()
	l.reading.Go(func() { l.drop(conn, l.read(conn)) })
	return conn, nil
}

// read gives answers to those who wait, until the session ends.
func (l *link) read(conn net.Conn) error {
	in := bufio.NewReaderSize(conn, 8<<10)
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
		waits := l.pending[key]
		if waits == nil && !m.Has(41) {
			for other, w := range l.pending {
				if len(other) > len(key) && other[:len(key)] == key {
					waits, key = w, other
				}
			}
		}
		delete(l.pending, key)
		l.mu.Unlock()
		if waits == nil {
			l.strays()
			continue
		}
		waits <- reply{frame: frame, at: at}
	}
}

// over is why a session is, of which a read failed with err.
func over(err error) error {
	if errors.Is(err, carriage.ErrHTTP) || errors.Is(err, carriage.ErrFrame) {
		return fmt.Errorf("%w: %w", errNonsense, err)
	}
	return errClosed
}

// drop ends a session, and tells those who wait why.
func (l *link) drop(conn net.Conn, why error) {
	conn.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != conn {
		return
	}
	for _, waits := range l.pending {
		waits <- reply{err: why}
	}
	l.conn, l.pending = nil, nil
}

// close hangs up and waits for the reader.
func (l *link) close() {
	l.mu.Lock()
	conn := l.conn
	l.mu.Unlock()
	if conn != nil {
		l.drop(conn, errClosed)
	}
	l.reading.Wait()
}
