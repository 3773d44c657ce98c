package telemetry

import (
	"context"
	"io"
	"sync/atomic"
	"time"
)

// LogQueue is a writer of log lines that never waits: a pipe that nobody reads or a
// disk that is full must not stop a sale. Up to linesMax lines wait for Run; what
// comes beyond them is lost, and counted.
type LogQueue struct {
	w     io.Writer
	lines chan []byte
	lost  atomic.Uint64
}

const (
	linesMax    = 4096
	linesWithin = time.Second // for what waits when Run is told to end
)

// NewLogQueue makes the queue in front of w.
func NewLogQueue(w io.Writer) *LogQueue {
	return &LogQueue{w: w, lines: make(chan []byte, linesMax)}
}

// Write takes one line.
func (q *LogQueue) Write(line []byte) (int, error) {
	select {
	case q.lines <- append([]byte(nil), line...):
	default:
		q.lost.Add(1)
	}
	return len(line), nil
}

// Lost is how many lines found the queue full.
func (q *LogQueue) Lost() uint64 { return q.lost.Load() }

// Run writes lines until ctx ends, and then what waits, unless that takes over
// linesWithin: a write that hangs ends with the process.
func (q *LogQueue) Run(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case line := <-q.lines:
				q.w.Write(line) // nobody could be told
			case <-ctx.Done():
				q.Flush()
				return
			}
		}
	}()
	<-ctx.Done()
	select {
	case <-done:
	case <-time.After(linesWithin):
	}
	return nil
}

// Flush writes what waits. It is for a queue without Run.
func (q *LogQueue) Flush() {
	for {
		select {
		case line := <-q.lines:
			q.w.Write(line)
		default:
			return
		}
	}
}
