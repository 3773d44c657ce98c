package issuer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moov-io/iso8583"
	connection "github.com/moov-io/iso8583-connection"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/failpoint"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// wire is one TCP connection of a link, from dialed to lost. Frames are
// appended to one shared buffer; its writer hands the whole buffer to the
// connection at once, so what queued up during a write leaves with the next.
type wire struct {
	link *link
	host string // that it leads to, as configured
	conn *connection.Connection

	frames  atomic.Uint64 // frames read since dialed: a peer that adds none is silent
	doubted atomic.Bool   // it was silent and is asked whether it is there
	// unanswered is how many requests in a row had no answer within the issuer's timeout.
	unanswered atomic.Int64

	wake     chan struct{} // holds one: the buffer is not empty
	readDone chan struct{} // closed when the reader has read its last frame
	failed   chan error    // holds one: why the connection ended

	// mu guards the queue. It is held for appending a frame, never across I/O.
	mu       sync.Mutex
	closed   bool
	queue    []byte
	intent   journal.Position // the last record that a frame of the queue must wait for
	handoffs []func()         // to be called when the frames of the queue wait for the peer alone, or will never leave
	watched  bool             // look is to come
	flush    uint64           // number of the flush that takes the queue next; from 1
	flushed  uint64           // the last flush taken: it may have left

	written atomic.Uint64 // the last flush that has left

	watch *time.Timer // calls look

	made  time.Time
	times [timesKept]atomic.Uint64 // see left
}

// timesKept is for how many flushes a wire knows when they left: more than go
// out between a request and its answer.
const timesKept = 256

// errQueueFull says that the peer reads slower than we are asked to send. Messages are
// shorter than queueEach on average, so that in_flight_max binds first, but for many
// reversals and advices beside as many requests.
var errQueueFull = errors.New("link has too much to write already")

// errClosed says that the wire takes no more frames.
var errClosed = errors.New("link is down")

// newWire takes over a dialed connection and starts the library's goroutines
// on it. They end when the connection does.
func newWire(l *link, nc net.Conn, host string) (*wire, error) {
	w := &wire{link: l, host: host, wake: make(chan struct{}, 1), readDone: make(chan struct{}), failed: make(chan error, 1), flush: 1, made: time.Now()}
	w.watch = time.AfterFunc(time.Hour, w.look)
	w.watch.Stop()
	conn, err := connection.NewFrom(&boundedConn{Conn: nc, timeout: l.is.cfg.WriteTimeout}, nil, nil, nil,
		connection.SetMessageReader(&reader{wire: w}),
		connection.WithConnectionFailedHandler(func(_ *connection.Connection, err error) { w.failed <- err }))
	if err != nil {
		return nil, fmt.Errorf("take over connection: %w", err)
	}
	w.conn = conn
	return w, nil
}

// send queues the frame that encode appends. After a nil error the frame leaves
// with a coming flush, not before the record at intent is durable, unless the
// wire is lost before it.
func (w *wire) send(c *call, intent journal.Position, handedOff func(), encode func(dst []byte) ([]byte, error)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.enqueue(encode); err != nil {
		return err
	}
	w.intent = max(w.intent, intent)
	if handedOff != nil {
		w.handoffs = append(w.handoffs, handedOff)
		if !w.watched && w.written.Load() < w.flushed {
			w.watched = true
			w.watch.Reset(stuckAfter)
		}
	}
	c.flush = w.flush
	c.wire.Store(w)
	return nil
}

// heard notes that a request was answered.
func (w *wire) heard() {
	if w.unanswered.Load() != 0 { // to store 0 each time would take the cache line from the other processors
		w.unanswered.Store(0)
	}
}

// unheard notes that a request was not answered in time. A host that answers none, as
// many in a row as open the breaker, is left where there is another.
func (w *wire) unheard() {
	l := w.link
	if n := w.unanswered.Add(1); n >= int64(l.is.cfg.Breaker.Failures) && l.elsewhere() {
		w.fail(fmt.Errorf("issuer %s at %s: %w", l.is.name(), w.host, errMute))
	}
}

// post queues a frame that waits for no answer.
func (w *wire) post(encode func(dst []byte) ([]byte, error)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.enqueue(encode)
}

func (w *wire) enqueue(encode func(dst []byte) ([]byte, error)) error {
	switch {
	case w.closed:
		return errClosed
	case len(w.queue) >= queueEach*w.link.is.cfg.InFlightMax:
		return errQueueFull
	}
	queue, err := guarded(encode, w.queue)
	if err != nil {
		return err
	}
	w.queue = queue
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return nil
}

// guarded is encode with its panics as errors: a message that a bug of ours cannot
// spell costs itself alone, not the place it holds, nor the process when it is a
// reversal that every start sends again.
func guarded(encode func(dst []byte) ([]byte, error), dst []byte) (queue []byte, err error) {
	defer rescue(&err)
	return encode(dst)
}

// read is the codec's ReadReply, guarded as encode is: an issuer repeats its
// messages, too.
func (is *issuer) read(body []byte, head *txn.ReplyHead, reply *txn.Reply) (err error) {
	defer rescue(&err)
	return is.codec.ReadReply(body, head, reply)
}

// rescue makes a panic an error. Of what it says only the type is kept: the rest
// may hold card data.
func rescue(err *error) {
	if cause := recover(); cause != nil {
		*err = fmt.Errorf("the codec panicked: %T\n%s", cause, debug.Stack())
	}
}

// write is the writer. It returns when the connection has ended.
func (w *wire) write() {
	var spare flush
	for {
		select {
		case <-w.wake:
		case <-w.conn.Done():
			return
		}
		// Whoever is about to queue a frame gets to do it now. Fewer, larger writes
		// serve 1.6 times the requests with 16 or more in flight on two cores.
		runtime.Gosched()
		f := w.takeQueue(spare)
		if len(f.frames) == 0 {
			continue
		}
		if !w.carry(&f) {
			return
		}
		spare = f // as large as it had to be
	}
}

// flush is what leaves with one write.
type flush struct {
	frames   []byte
	n        uint64
	intent   journal.Position // the last record that it must wait for; 0: none
	handoffs []func()
}

// handOff tells that its frames wait for the peer alone, or will never leave.
func (f *flush) handOff() {
	for _, handedOff := range f.handoffs {
		handedOff()
	}
}

// carry hands a flush to the connection once its intents are durable. False is the
// end of the wire.
func (w *wire) carry(f *flush) bool {
	if f.intent > 0 {
		// Nothing may reach an issuer that a restart would not know of. The wait is
		// for a flush under way or the next; a disk that stalls ends the journal.
		if err := w.link.is.journal.Wait(context.Background(), f.intent-1); err != nil {
			f.handOff()
			w.fail(err)
			return false
		}
		failpoint.Hit(failpoint.Intended)
	}
	f.handOff()
	w.times[f.n%timesKept].Store(uint64(time.Since(w.made).Microseconds())<<16 | f.n&0xffff)
	if _, err := w.conn.Write(f.frames); err != nil {
		return false // the library ends the connection after a failed write
	}
	w.written.Store(f.n)
	failpoint.Hit(failpoint.Sent)
	return true
}

// stuckAfter is how long a write takes that waits for its peer. What is queued behind
// it waits for that, too, and for nothing here.
const stuckAfter = 10 * time.Millisecond

// look tells, while a write is stuck, that what is queued behind it waits for the
// peer alone; it comes again until no flush is under way.
func (w *wire) look() {
	var behind flush
	w.mu.Lock()
	if w.watched = !w.closed && w.written.Load() < w.flushed; w.watched {
		if at, ok := w.left(w.flushed); ok && time.Since(at) >= stuckAfter {
			behind.handoffs, w.handoffs = w.handoffs, nil
		}
		w.watch.Reset(stuckAfter)
	}
	w.mu.Unlock()
	behind.handOff()
}

// takeQueue is everything queued so far; spare's memory becomes the queue's unless
// there was nothing.
func (w *wire) takeQueue(spare flush) flush {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		return flush{}
	}
	f := flush{w.queue, w.flush, w.intent, w.handoffs}
	w.queue, w.intent, w.handoffs = spare.frames[:0], 0, spare.handoffs[:0]
	w.flushed = f.n
	w.flush++
	return f
}

// left is when flush n was handed to the connection. It is not known before
// that, nor after timesKept more.
func (w *wire) left(n uint64) (at time.Time, ok bool) {
	t := w.times[n%timesKept].Load()
	return w.made.Add(time.Duration(t>>16) * time.Microsecond), t != 0 && t&0xffff == n&0xffff
}

// fail ends the connection; the first reason stands.
func (w *wire) fail(why error) { w.conn.TriggerFailure(why) }

// close takes no more frames and decides every call that was queued here.
func (w *wire) close() {
	w.mu.Lock()
	w.closed = true
	flushed, never := w.flushed, flush{handoffs: w.handoffs}
	w.handoffs = nil
	w.mu.Unlock()
	never.handOff()
	w.link.is.table.lost(w, flushed, w.link.is.up())
}

// reader is the library's MessageReader. It keeps the frames to itself: its
// one ReadMessage returns when the connection is broken.
type reader struct{ wire *wire }

// ReadMessage reads frames and completes calls until the stream fails.
func (rd *reader) ReadMessage(r io.Reader) (*iso8583.Message, error) {
	defer close(rd.wire.readDone)
	w, is := rd.wire, rd.wire.link.is
	// The library's own buffer is 4 KB; an empty one lets larger reads through.
	br := bufio.NewReaderSize(r, readSize)
	prefix := make([]byte, is.codec.PrefixSize())
	body := make([]byte, 0, 512)
	var head txn.ReplyHead
	var reply txn.Reply
	for {
		if _, err := io.ReadFull(br, prefix); err != nil {
			return nil, fmt.Errorf("read frame length: %w", err)
		}
		n, err := is.codec.BodySize(prefix)
		if err == nil && n > txn.FrameSizeMax {
			err = fmt.Errorf("frame of %d bytes is over the maximum of %d", n, txn.FrameSizeMax)
		}
		if err != nil {
			return nil, err // the stream is out of step: nothing after it can be trusted
		}
		if n == 0 { // a keep-alive: the line stands, which says nothing of who should answer
			continue
		}
		if cap(body) < n {
			body = make([]byte, 0, n)
		}
		body = body[:n]
		if _, err := io.ReadFull(br, body); err != nil {
			return nil, fmt.Errorf("read frame of %d bytes: %w", n, err)
		}
		w.frames.Add(1)
		failpoint.Hit(failpoint.Replied)
		head = txn.ReplyHead{}
		reply.Reset()
		if err := is.read(body, &head, &reply); err != nil {
			// The frame is whole, so the stream is in step. Whatever it answered
			// runs into its timeout and is reversed.
			is.hooks.malformed(is.name(), fmt.Errorf("read issuer's message: %w", err))
			if errors.Is(err, txn.ErrMAC) {
				is.disproved()
			}
			continue
		}
		is.received(w, body, &head, &reply)
	}
}

// boundedConn gives every write a deadline, and closes at once: a TLS close
// would wait for a peer that may be gone.
type boundedConn struct {
	net.Conn
	timeout time.Duration
}

func (c *boundedConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c *boundedConn) Close() error {
	if t, ok := c.Conn.(interface{ NetConn() net.Conn }); ok {
		return t.NetConn().Close()
	}
	return c.Conn.Close()
}
