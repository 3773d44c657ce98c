package main

import (
	"io"
	"runtime/pprof"
	"strings"
	"time"
)

// stopMax is how long a stop may take beyond terminals.drain_within: longer than its
// parts may together.
const stopMax = 50 * time.Second

// lastWords bounds the line about it: who reads the log may be what hangs.
const lastWords = time.Second

// endLate ends the process some time from now, unless it has ended: a disk, a driver or
// a security module can hang a stop for ever, and a process that neither sells nor ends
// is restarted by nobody. What was acknowledged is in the journal, so the next start
// finds things as after a kill.
func (a *app) endLate(within time.Duration, logs io.Writer, exit func(code int)) {
	time.AfterFunc(within, func() {
		said := make(chan struct{})
		go func() {
			defer close(said)
			waits, _ := a.stages.ending.Load().(string)
			var stacks strings.Builder
			pprof.Lookup("goroutine").WriteTo(&stacks, 1) // 2 has arguments, and card data among them
			if log, err := newLogger(a.cfg, logs); err == nil {
				log.Error("the stop took too long: the process ends as if it was killed", "waits_for", waits, "after", within, "goroutines", stacks.String())
			}
		}()
		select {
		case <-said:
		case <-time.After(lastWords):
		}
		exit(exitFailed)
	})
}
