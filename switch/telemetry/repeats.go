package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	repeatsMax = 100 // lines of one message in repeatsPer
	repeatsPer = time.Minute

	// messagesMax bounds the messages that are known. The program's own are some
	// hundred; libraries put addresses into theirs.
	messagesMax = 1024
)

// bounded is a handler that writes at most repeatsMax lines of one message in
// repeatsPer: what goes wrong at every sale must not fill a disk, least of all when the
// disk is what goes wrong. The last line that is written says until when others are
// withheld, and the next one after that how many were.
type bounded struct {
	slog.Handler
	said *said
}

func bound(h slog.Handler) slog.Handler {
	return bounded{h, &said{of: map[string]*repeats{}}}
}

// said is what was written of each message. It is shared by all loggers that were made
// of one.
type said struct {
	mu sync.Mutex
	of map[string]*repeats
}

type repeats struct {
	until time.Time
	lines int
}

func (b bounded) Handle(ctx context.Context, r slog.Record) error {
	n, until, withheld := b.said.count(r.Message, r.Time)
	switch {
	case n > repeatsMax:
		return nil
	case n == repeatsMax:
		r = r.Clone()
		r.AddAttrs(slog.Time("withheld_until", until))
	case withheld > 0:
		r = r.Clone()
		r.AddAttrs(slog.Int("withheld", withheld))
	}
	return b.Handler.Handle(ctx, r)
}

func (b bounded) WithAttrs(attrs []slog.Attr) slog.Handler {
	return bounded{b.Handler.WithAttrs(attrs), b.said}
}

func (b bounded) WithGroup(name string) slog.Handler {
	return bounded{b.Handler.WithGroup(name), b.said}
}

// count counts a line of a message: it is the n-th until then. With the first come
// those that were withheld of the ones before it.
func (s *said) count(message string, at time.Time) (n int, until time.Time, withheld int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.of[message]
	if r == nil {
		if len(s.of) >= messagesMax {
			clear(s.of)
		}
		r = &repeats{}
		s.of[message] = r
	}
	if !at.Before(r.until) || r.until.Sub(at) > repeatsPer { // the clock may have been put back
		*r, withheld = repeats{until: at.Add(repeatsPer)}, max(0, r.lines-repeatsMax)
	}
	r.lines++
	return r.lines, r.until, withheld
}
