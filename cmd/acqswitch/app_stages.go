package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/acqswitch/acqswitch/settlement/journal"
)

// stages are the parts of the app that run. They start in order and stop in reverse:
// whoever uses another stops before it. One goroutine starts and stops them.
type stages struct {
	stops  []func()
	failed chan struct{} // closed when the first one fails
	ending atomic.Value  // the name of the one that is being stopped

	// mu guards err, which is of all that failed.
	mu  sync.Mutex
	err error
}

func newStages() *stages { return &stages{failed: make(chan struct{})} }

// start runs a stage until stop. It has ctx's values, but does not end with ctx.
func (s *stages) start(ctx context.Context, name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			s.fail(fmt.Errorf("%s: %w", name, err))
		}
	}()
	s.stops = append(s.stops, func() {
		s.ending.Store(name)
		cancel()
		<-done
	})
}

func (s *stages) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		close(s.failed)
	}
	s.err = both(s.err, err)
}

// failure is what stages have failed with so far.
func (s *stages) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// stop stops all but the first ones, the last one first, and says what stages failed
// with.
func (s *stages) stop(but int) error {
	for len(s.stops) > but {
		last := len(s.stops) - 1
		s.stops[last]()
		s.stops = s.stops[:last]
	}
	return s.failure()
}

// both is what two stages failed with. When a journal fails, whoever writes to it
// says so as well: its own error is told, or one of theirs.
func both(a, b error) error {
	switch {
	case a != nil && errors.Is(b, journal.ErrClosed):
		return a
	case errors.Is(a, journal.ErrClosed):
		return b
	}
	return errors.Join(a, b)
}
