package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

// variant is one thing to measure.
type variant struct {
	name    string
	engine  string // sqlite or postgres; empty is the forwarder
	shape   shape
	keepUp  bool    // the ledger is loaded as fast as terminals sell
	bar     float64 // the ratio it should reach; 0 is none
	guarded bool    // MACs are checked and made, PINs translated
	// within is what terminals have patience for, and so the switch and its issuer;
	// 0: as it comes.
	within time.Duration
	// window is how many requests the issuer takes at a time, 0 whatever there is,
	// and latency what it takes for each.
	window  int
	latency time.Duration
	// processor is the only one that the switch may use; empty: any.
	processor string
}

// In records, of which a sale makes two: how far behind the drain stops giving
// way to sales, by default and, one of its batches, in a run that keeps up; and
// where the terminals of such a run are held back.
const (
	mayLagMax    = 500_000
	keepUpLagMax = 8192
	holdBackFrom = 5 * keepUpLagMax
)

// variants are the wanted ones. Each is compared with a forwarder of its shape
// that runs just before it.
func variants(o options) (wanted []variant) {
	many := shape{o.terminals, 1}
	for _, v := range []variant{
		{name: "sqlite, drain may lag", engine: "sqlite", shape: many, bar: 0.5},
		{name: "sqlite, drain keeps up", engine: "sqlite", shape: many, keepUp: true, bar: 0.25},
		{name: "postgres, drain may lag", engine: "postgres", shape: many, bar: 0.5},
		{name: "postgres, drain keeps up", engine: "postgres", shape: many, keepUp: true, bar: 0.25},
		{name: "sqlite, MACs and PINs", engine: "sqlite", shape: many, guarded: true},
		{name: "pipelined, sqlite", engine: "sqlite", shape: shape{8, 128}},
		{name: "one terminal, sqlite", engine: "sqlite", shape: shape{1, 1}},
	} {
		if o.only.MatchString(v.name) {
			wanted = append(wanted, v)
		}
	}
	return wanted
}

// result is one run of one variant.
type result struct {
	Round   int     `json:"round"`
	Name    string  `json:"name"`
	TPS     float64 `json:"tps"`
	P50     float64 `json:"p50_us"`
	P99     float64 `json:"p99_us"`
	P999    float64 `json:"p999_us"`
	Answers int64   `json:"answers"`
	Wrong   int64   `json:"errors"`
	// CPU is processor microseconds per sale, by role.
	CPU map[string]float64 `json:"cpu_us"`

	// Of the switch only.
	Ratio   float64 `json:"ratio,omitempty"`       // to the forwarder before it
	Lag     int64   `json:"lag_records,omitempty"` // of the ledger when the load ended
	CatchUp float64 `json:"catch_up_s,omitempty"`  // seconds from there to none
	Held    int64   `json:"held_back,omitempty"`   // times the terminals were
	Begun   string  `json:"begun"`                 // when, for the drift of the machine
}

// bench runs everything.
type bench struct {
	opts     options
	postgres *url.URL // the server; nil when no run needs it
	progress io.Writer
}

func (b *bench) all(ctx context.Context) (*report, error) {
	r := &report{opts: b.opts, results: map[string][]result{}}
	for round := range b.opts.rounds {
		for _, v := range variants(b.opts) {
			base := variant{name: forwarderName(v.shape), shape: v.shape}
			var tps float64
			for _, v := range []variant{base, v} {
				res, err := b.one(ctx, v, round)
				if err != nil {
					return nil, fmt.Errorf("%s, round %d: %w", v.name, round+1, err)
				}
				if v.engine == "" {
					tps = res.TPS
				} else {
					res.Ratio = res.TPS / tps
				}
				r.add(v, res)
				fmt.Fprintln(b.progress, res.line())
			}
		}
	}
	return r, nil
}

func forwarderName(s shape) string {
	return fmt.Sprintf("forwarder, %d x %d", s.sessions, s.inFlight)
}

// one runs one variant once, on a system of its own.
func (b *bench) one(ctx context.Context, v variant, round int) (result, error) {
	res := result{Round: round + 1, Name: v.name, Begun: time.Now().Format(time.TimeOnly)}
	var s *system
	var err error
	profile := ""
	if v.engine == "" {
		s, err = forwarderSystem()
	} else {
		if b.opts.profile != "" {
			name := strings.NewReplacer(", ", "-", " ", "-").Replace(v.name)
			profile = filepath.Join(b.opts.profile, fmt.Sprintf("%s-%d.pprof", name, round+1))
		}
		s, err = b.switchSystem(ctx, v, profile)
	}
	if err != nil {
		return res, err
	}
	defer s.close()

	l := &load{shape: v.shape, address: s.address, right: s.right, warm: b.opts.warm, duration: b.opts.duration, guarded: v.guarded}
	pacing := func() error { return nil }
	if v.keepUp {
		l.gate = new(gate)
		pacing = pace(ctx, s, l.gate)
	}
	var used map[string]time.Duration
	var before, behind int64 // the ledger's lag at the ends of the measured time
	var errs [3]error
	m, err := l.run(ctx, func() {
		used = s.used()
		before, errs[0] = s.lag(ctx)
	}, func() {
		for role, t := range s.used() {
			used[role] = t - used[role]
		}
		errs[1] = pacing()
		behind, errs[2] = s.lag(ctx)
	})
	if err := errors.Join(err, errors.Join(errs[:]...)); err != nil {
		return res, err
	}
	sales := float64(m.answers)
	if v.keepUp { // what fell behind by more than the drain is meant to be
		sales -= float64(max(0, behind-max(before, keepUpLagMax))) / 2
		res.Held = l.gate.shut.Load()
	}
	res.TPS = sales / m.took.Seconds()
	res.Answers, res.Wrong, res.Lag = m.answers, m.wrong, behind
	us := func(p float64) float64 { return float64(m.latency.ValueAtPercentile(p)) / 1e3 }
	res.P50, res.P99, res.P999 = us(50), us(99), us(99.9)
	res.CPU = map[string]float64{}
	for role, t := range used {
		res.CPU[role] = float64(t.Nanoseconds()) / 1e3 / max(1, float64(m.answers))
	}
	switch {
	case profile != "":
		s.processes[len(s.processes)-1].stop() // the switch: its profile ends here
	case v.engine != "" && v.shape.inFlight == 1:
		res.CatchUp, err = catchUp(ctx, s)
	}
	return res, err
}

// pace closes the gate while the ledger is more than holdBackFrom records
// behind, until it is stopped.
func pace(ctx context.Context, s *system, g *gate) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- every(ctx, 100*time.Millisecond, func() error {
			lag, err := s.lag(ctx)
			if err != nil && ctx.Err() == nil {
				return err
			}
			g.set(lag <= holdBackFrom)
			return nil
		})
	}()
	return func() error { cancel(); return <-ended }
}

// catchUpMax bounds the wait for the ledger after a load.
const catchUpMax = time.Minute

// catchUp waits until the ledger has everything, and says for how many seconds.
func catchUp(ctx context.Context, s *system) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, catchUpMax)
	defer cancel()
	from := time.Now()
	for {
		switch lag, err := s.lag(ctx); {
		case err != nil:
			return 0, fmt.Errorf("wait for the ledger to catch up: %w", err)
		case lag == 0:
			return time.Since(from).Seconds(), nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}
