package capture

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// RecorderConfig is what a Recorder keeps.
type RecorderConfig struct {
	// Percent of the terminals, each with all that it asks: the same ones as long
	// as the process runs. 0 to 100.
	Percent float64
	// SizeMax is the size of the file at which recording ends, in bytes.
	SizeMax int64
}

// recorderQueue is how many messages may wait to be cleaned and written.
const recorderQueue = 4096

// flushEvery is how long what is written may wait in memory.
const flushEvery = time.Second

// Recorder records the traffic of a running switch. Taps never wait for it: what
// finds no room in its queue, or comes when the file is full, is dropped and
// counted. Card data is in memory until it was cleaned; nothing uncleaned is
// written.
type Recorder struct {
	cfg      RecorderConfig
	dialects map[string]*Dialect
	queue    chan *recorded
	free     sync.Pool // of *recorded
	seed     maphash.Seed
	written  atomic.Uint64
	dropped  atomic.Uint64
	full     atomic.Bool

	// mu guards ended.
	mu    sync.Mutex
	ended []*Tap // whose sessions are over

	// Owned by Run.
	writer *Writer
	ids    uint32
}

// recorded is one message on its way to the file.
type recorded struct {
	tap   *Tap
	asked bool
	at    time.Time
	frame []byte // length prefix included
}

// Tap records one session. Its methods may be called by several goroutines.
type Tap struct {
	r       *Recorder
	session Session
	waiting atomic.Int64 // messages in the queue
	open    bool         // owned by Run
}

// NewRecorder begins a capture on w, of messages that c cleans.
func NewRecorder(w io.Writer, c *Cleaner, cfg RecorderConfig) (*Recorder, error) {
	if !(cfg.Percent >= 0 && cfg.Percent <= 100) || cfg.SizeMax <= 0 {
		return nil, fmt.Errorf("record %v percent of the terminals in %d bytes: must be 0 to 100 in at least 1", cfg.Percent, cfg.SizeMax)
	}
	writer, err := NewWriter(w, c)
	if err != nil {
		return nil, err
	}
	r := &Recorder{cfg: cfg, dialects: map[string]*Dialect{}, queue: make(chan *recorded, recorderQueue), seed: maphash.MakeSeed(), writer: writer}
	for _, d := range Dialects() {
		r.dialects[d.Name] = d
	}
	r.free.New = func() any { return new(recorded) }
	return r, nil
}

// Figures are how many messages were written and dropped.
func (r *Recorder) Figures() (written, dropped uint64) { return r.written.Load(), r.dropped.Load() }

// Open begins a session in a dialect of the switch's.
func (r *Recorder) Open(client, server netip.AddrPort, dialect string) *Tap {
	now := time.Now()
	return &Tap{r: r, session: Session{Client: client, Server: server, Dialect: r.dialects[dialect], Start: now, End: now}}
}

// Asked takes a copy of a terminal's request, without its length prefix.
func (t *Tap) Asked(terminal string, body []byte, at time.Time) { t.take(terminal, body, true, at) }

// Answered takes a copy of its answer, without its length prefix.
func (t *Tap) Answered(terminal string, body []byte, at time.Time) {
	t.take(terminal, body, false, at)
}

func (t *Tap) take(terminal string, body []byte, asked bool, at time.Time) {
	r := t.r
	if t.session.Dialect == nil || !r.wants(terminal) {
		return
	}
	if r.full.Load() {
		r.dropped.Add(1)
		return
	}
	m := r.free.Get().(*recorded)
	m.tap, m.asked, m.at, m.frame = t, asked, at, t.session.Dialect.appendFrame(m.frame[:0], body)
	t.waiting.Add(1)
	select {
	case r.queue <- m:
	default:
		t.waiting.Add(-1)
		r.dropped.Add(1)
		r.release(m)
	}
}

// Close says that the session is over.
func (t *Tap) Close() {
	t.r.mu.Lock()
	t.r.ended = append(t.r.ended, t)
	t.r.mu.Unlock()
}

// wants says that a terminal is one of those that are recorded.
func (r *Recorder) wants(terminal string) bool {
	return r.cfg.Percent >= 100 || float64(maphash.String(r.seed, terminal)>>11)/(1<<53) < r.cfg.Percent/100
}

func (r *Recorder) release(m *recorded) {
	clear(m.frame)
	m.tap = nil
	r.free.Put(m)
}

// Run writes until ctx ends, then what is queued and the index. An error is the
// file's; from then on everything is dropped.
func (r *Recorder) Run(ctx context.Context) error {
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	for {
		var err error
		select {
		case m := <-r.queue:
			err = r.write(m)
		case <-ticker.C:
			if err = r.end(false); err == nil {
				err = r.writer.out.Flush()
			}
		case <-ctx.Done():
			return r.finish()
		}
		if err != nil {
			r.full.Store(true)
			for ; ctx.Err() == nil; r.discard(ctx) {
			}
			return err
		}
	}
}

// discard drops one message.
func (r *Recorder) discard(ctx context.Context) {
	select {
	case m := <-r.queue:
		r.dropped.Add(1)
		r.release(m)
	case <-ctx.Done():
	}
}

func (r *Recorder) write(m *recorded) error {
	defer r.release(m)
	t := m.tap
	defer t.waiting.Add(-1)
	if r.full.Load() || r.writer.offset+int64(len(m.frame)) > r.cfg.SizeMax {
		r.full.Store(true)
		r.dropped.Add(1)
		return nil
	}
	if !t.open {
		t.open = true
		r.ids++
		t.session.ID = r.ids
		if err := r.writer.Open(&t.session); err != nil {
			return err
		}
	}
	t.session.End = m.at
	t.session.Read++
	if err := r.writer.Message(&t.session, m.asked, m.frame, m.at); err != nil {
		return err
	}
	r.written.Add(1)
	return nil
}

// end closes the sessions that are over and of which nothing is queued, or all
// of them.
func (r *Recorder) end(all bool) error {
	r.mu.Lock()
	ended := r.ended
	r.ended = nil
	r.mu.Unlock()
	var err error
	for _, t := range ended {
		switch {
		case !all && t.waiting.Load() > 0:
			r.mu.Lock()
			r.ended = append(r.ended, t)
			r.mu.Unlock()
		case t.open:
			t.open = false
			err = errors.Join(err, r.writer.Close(&t.session))
		}
	}
	return err
}

// finish writes what is queued, and the index. Nobody taps any more.
func (r *Recorder) finish() error {
	for {
		select {
		case m := <-r.queue:
			if err := r.write(m); err != nil {
				return err
			}
			continue
		default:
		}
		break
	}
	if err := r.end(true); err != nil {
		return err
	}
	_, err := r.writer.Finish()
	return err
}

// appendFrame puts a length prefix before a body.
func (d *Dialect) appendFrame(dst, body []byte) []byte {
	return append(d.Codec.Framing().AppendLength(dst, len(body)), body...)
}
