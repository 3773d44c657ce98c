package main

import (
	"log/slog"
	"sync"
	"time"
)

// linkLog says what becomes of issuers' links. An outage of hours is tried twice a
// minute by each link: it is said when a link is lost, at its first two tries, and at
// every eleventh failure: an even number would be of one host of two for ever.
type linkLog struct {
	log *slog.Logger

	mu   sync.Mutex
	down map[linkName]outage
}

type linkName struct {
	issuer string
	link   int
}

type outage struct {
	since    time.Time
	failures int // the loss of the link, and the tries since
}

func newLinkLog(log *slog.Logger) *linkLog {
	return &linkLog{log: log, down: map[linkName]outage{}}
}

func (l *linkLog) lost(name string, link int, err error) {
	l.mu.Lock()
	o := l.down[linkName{name, link}]
	if o.failures == 0 {
		o.since = time.Now()
	}
	o.failures++
	l.down[linkName{name, link}] = o
	l.mu.Unlock()
	if o.failures <= 3 || o.failures%11 == 0 {
		l.log.Warn("issuer link is down", "issuer", name, "link", link, "for", time.Since(o.since).Round(time.Millisecond), "error", err)
	}
}

func (l *linkLog) won(name string, link int, host string) {
	l.mu.Lock()
	o := l.down[linkName{name, link}]
	delete(l.down, linkName{name, link})
	l.mu.Unlock()
	said := l.log.With("issuer", name, "link", link, "host", host)
	if o.failures > 0 {
		said = said.With("after", time.Since(o.since).Round(time.Millisecond))
	}
	said.Info("issuer link is up")
}

// linePace bounds the log lines about one issuer's messages: one that says the same
// without end would fill the disk. Metrics count what is left out.
type linePace struct {
	mu      sync.Mutex
	second  int64 // of the clock
	lines   int   // in it
	leftOut int   // since the last line
}

// linesPerSecond is the most that a linePace lets through.
const linesPerSecond = 20

// on is where the next line goes, nil if it is left out.
func (p *linePace) on(log *slog.Logger) *slog.Logger {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now().Unix(); now != p.second {
		p.second, p.lines = now, 0
	}
	if p.lines == linesPerSecond {
		p.leftOut++
		return nil
	}
	p.lines++
	if p.leftOut > 0 {
		log, p.leftOut = log.With("left_out", p.leftOut), 0
	}
	return log
}
