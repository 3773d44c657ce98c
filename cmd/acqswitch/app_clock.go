package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	acquirer "github.com/acqswitch/acqswitch/switch"
)

const (
	// clockStep is how far the clock may be put at once: less than the time for which a
	// day is left alone after its end (settlement.After).
	clockStep = 10 * time.Minute
	// clockBelieved is for how long a clock that was put further must stand so until it is
	// believed: long enough for people to put it right, who are told at once. A machine
	// that slept has such a clock and is right.
	clockBelieved = 24 * time.Hour
	// clockEvery is how often the clock is looked at.
	clockEvery = 10 * time.Second
)

// clock is the time by which the switch ends business days: settles them, closes their
// batches, lets deadlines pass. What is done about a day that is not over cannot be
// undone, so it is the earlier of two: the clock of the machine, which people and the
// network put right or wrong, and the time since it was last believed, which only passes.
//
// Not promised: anything of a clock that is ahead when the process starts. Requests are
// dated by the machine's, at most a day ahead of this (acquirer.Config.Believed).
type clock struct {
	read func() (wall time.Time, up time.Duration) // the machine's, and for how long the process has run
	log  *slog.Logger

	mu    sync.Mutex
	wall  time.Time     // the last that was believed,
	up    time.Duration // and when that was
	off   time.Duration // by how much it has been put ahead since; below zero: back
	since time.Duration // when it was put there
}

func newClock(log *slog.Logger) *clock {
	began := time.Now()
	c := &clock{log: log, wall: began.Round(0), read: func() (time.Time, time.Duration) {
		now := time.Now()
		return now.Round(0), now.Sub(began)
	}}
	return c
}

// set refuses a clock that was never set, as that of a machine whose battery is dead until
// the network tells it the time.
func (c *clock) set() error {
	if wall, _ := c.read(); wall.Before(acquirer.Epoch) {
		return fmt.Errorf("the clock of this machine says %s: set it first", wall.UTC().Format(time.DateTime))
	}
	return nil
}

// follows tells it when the journal's newest record was made: it has not been put back since.
func (c *clock) follows(newest time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if newest.Sub(c.wall) > clockStep {
		c.wall = newest
	}
}

// now is the time that can be believed.
func (c *clock) now() time.Time {
	wall, up := c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	passed := c.wall.Add(up - c.up)
	off := wall.Sub(passed)
	log := c.log.With("off", off.Round(time.Second), "clock", wall, "expected", passed)
	switch {
	case off.Abs() <= clockStep:
		if c.off != 0 {
			log.Warn("the clock is right again")
		}
		c.wall, c.up, c.off = wall, up, 0
		return wall
	case c.off == 0 || (off-c.off).Abs() > clockStep:
		c.off, c.since = off, up
		log.Error("the clock was put ahead or back: no business day ends by it until it is right again, or has stood so for a day")
	case up-c.since >= clockBelieved:
		log.Warn("the clock has stood so for a day, and is believed")
		c.wall, c.up, c.off = wall, up, 0
		return wall
	}
	if off > 0 {
		return passed
	}
	return wall
}

// wrongBy is by how much the clock has been put ahead, below zero back, since it was
// last believed.
func (c *clock) wrongBy() time.Duration {
	c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.off
}

// run looks at the clock until ctx ends.
func (c *clock) run(ctx context.Context) error {
	tick := time.NewTicker(clockEvery)
	defer tick.Stop()
	for {
		c.now()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
