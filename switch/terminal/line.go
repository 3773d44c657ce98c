package terminal

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/transport"
)

// ErrNoAnswer says that a request was sent and no answer came in time. Nobody
// knows what became of it.
var ErrNoAnswer = errors.New("no answer came")

// Recorder is told of sessions as they open.
type Recorder interface {
	// Open returns nil when it does not record this one.
	Open(terminal string, d *dialect.Terminal) Tap
}

// Tap is told the bytes of one session, in order.
type Tap interface {
	Sent(frame []byte)
	Received(frame []byte)
	Close()
}

// connectTimeout bounds dialing.
const connectTimeout = 5 * time.Second

// Line is a terminal's way to the switch: dialed when it is first used, and
// again after it broke. One request is on it at a time. A line on which an
// answer failed to come is hung up, so that a late answer is never taken for
// the next one's.
type Line struct {
	Addr     string
	TLS      *tls.Config // nil: plain
	Dialect  *dialect.Terminal
	Recorder Recorder // nil: not recorded
	Name     string   // the terminal, for the recorder
	Keys     *Keys    // nil: answers carry no MAC

	conn net.Conn
	tap  Tap // nil: not recorded
	in   []byte
}

// Exchange sends a frame, length prefix included, and waits for its answer.
func (l *Line) Exchange(ctx context.Context, frame []byte, patience time.Duration) (Answer, error) {
	if err := l.dial(ctx); err != nil {
		return Answer{}, err
	}
	conn := l.conn
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	began := time.Now()
	body, err := l.roundTrip(frame, began.Add(patience))
	latency := time.Since(began)
	var answer Answer
	if err == nil {
		answer, err = readAnswer(l.Dialect, l.Keys, frame[l.Dialect.PrefixSize():], body)
		answer.Latency = latency
	}
	if err != nil || transport.Last(conn) {
		l.HangUp()
	}
	if err != nil {
		if cause := ctx.Err(); cause != nil {
			err = cause
		}
		return Answer{}, err
	}
	return answer, nil
}

func (l *Line) dial(ctx context.Context) error {
	if l.conn != nil {
		return nil
	}
	conn, err := transport.Dial(ctx, l.Addr, l.Dialect, l.TLS, connectTimeout)
	if err != nil {
		return fmt.Errorf("connect to the switch: %w", err)
	}
	l.conn = conn
	if l.Recorder != nil {
		l.tap = l.Recorder.Open(l.Name, l.Dialect)
	}
	return nil
}

// roundTrip writes the frame and reads the next one.
func (l *Line) roundTrip(frame []byte, deadline time.Time) ([]byte, error) {
	l.conn.SetDeadline(deadline)
	if l.tap != nil {
		l.tap.Sent(frame)
	}
	if _, err := l.conn.Write(frame); err != nil {
		return nil, fmt.Errorf("send request: %w", timely(err))
	}
	size, n := l.Dialect.PrefixSize(), 0
	l.in = append(l.in[:0], make([]byte, size)...)
	for n == 0 { // keep-alives come before it
		if _, err := io.ReadFull(l.conn, l.in); err != nil {
			return nil, fmt.Errorf("wait for answer: %w", timely(err))
		}
		var err error
		if n, err = l.Dialect.ReadLength(l.in); err != nil {
			return nil, fmt.Errorf("read answer: %w", err)
		}
	}
	whole := make([]byte, size+n)
	copy(whole, l.in)
	if _, err := io.ReadFull(l.conn, whole[size:]); err != nil {
		return nil, fmt.Errorf("read answer: %w", timely(err))
	}
	if l.tap != nil {
		l.tap.Received(whole)
	}
	return whole[size:], nil
}

// timely names a passed deadline and a closed session as what they mean here.
func timely(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w in time", ErrNoAnswer)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: the switch closed the session", ErrNoAnswer)
	}
	return err
}

// HangUp ends the session, if there is one.
func (l *Line) HangUp() {
	if l.conn == nil {
		return
	}
	l.conn.Close()
	if l.tap != nil {
		l.tap.Close()
	}
	l.conn, l.tap = nil, nil
}
