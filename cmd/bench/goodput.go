package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/acqswitch/acqswitch/switch/replay"
	"github.com/acqswitch/acqswitch/switch/terminal"
)

// goodputAt are the parts of its capacity that are offered to the switch.
var goodputAt = [...]float64{0.5, 1, 2, 5, 10}

// goodputBar is what must be left of the best goodput of the curve at its end.
const goodputBar = 0.9

// goodputPatience is how long a sale's answer is good for.
const goodputPatience = 2 * time.Second

// goodput offers more and more sales than the switch can carry, whether answers
// come or not, and prints how many are approved in time.
//
// So that the rest of the machine can offer ten times what the switch can carry,
// the switch has a part of its processor's time only, as a container's quota gives
// it: it is stopped for the rest of every periodOfShare.
type goodput struct {
	*bench
	share    float64
	sessions int
}

const periodOfShare = 10 * time.Millisecond

func runGoodput(ctx context.Context, args []string, out, progress io.Writer) error {
	f := flag.NewFlagSet("bench goodput", flag.ContinueOnError)
	f.SetOutput(progress)
	g := goodput{bench: &bench{progress: progress, opts: options{terminals: 2000}}}
	f.StringVar(&g.opts.binary, "binary", "bin/acqswitch", "the switch to measure")
	f.StringVar(&g.opts.dir, "dir", "", "directory for the journal and the ledger; empty is the system's temporary one")
	f.DurationVar(&g.opts.duration, "duration", 5*time.Second, "time of each load")
	f.Float64Var(&g.share, "share", 0.1, "part of the time that the switch may run")
	f.IntVar(&g.sessions, "sessions", 200, "connections of the terminals")
	if err := f.Parse(args); err != nil {
		return err
	}
	switch {
	case f.NArg() > 0:
		return fmt.Errorf("unknown argument %q; see -help", f.Arg(0))
	case !(g.share > 0 && g.share <= 1):
		return errors.New("-share must be over 0 and at most 1")
	case g.opts.duration < goodputPatience || g.opts.duration > time.Minute:
		return fmt.Errorf("-duration must be %v to a minute", goodputPatience)
	}
	if _, err := os.Stat(g.opts.binary); err != nil {
		return fmt.Errorf("find the switch: %w; run 'make build' or give -binary", err)
	}
	return g.run(ctx, out)
}

func (g *goodput) run(ctx context.Context, out io.Writer) error {
	full, err := g.offer(ctx, fmt.Sprintf("closed: {for: %s}", g.opts.duration))
	if err != nil {
		return fmt.Errorf("measure the capacity: %w", err)
	}
	capacity := full.good
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "capacity, 1,000 terminals with one sale in flight each: %.0f/s\n", capacity)
	fmt.Fprintln(w, "offered\tapproved in time\tof the best\tp50\tp99\trefused\tlate or silent\tthe sender's lag p99")
	best, last := 0.0, 0.0
	for _, times := range goodputAt {
		l, err := g.offer(ctx, fmt.Sprintf("arrivals: [{for: %s, rate: %g}]", g.opts.duration, capacity*times))
		if err != nil {
			return fmt.Errorf("offer %g times the capacity: %w", times, err)
		}
		best, last = max(best, l.good), l.good
		r := l.report
		fmt.Fprintf(w, "%gx, %.0f/s\t%.0f/s\t%.2f\t%v\t%v\t%d\t%d\t%v\n", times, capacity*times, l.good, l.good/best,
			r.Latency.P50.Round(time.Millisecond), r.Latency.P99.Round(time.Millisecond), r.Load.Wrong, r.Load.Silent, r.Lag.P99.Round(time.Millisecond))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if last < goodputBar*best {
		return fmt.Errorf("at %g times the capacity %.2f of the best goodput are left, less than %g", goodputAt[len(goodputAt)-1], last/best, goodputBar)
	}
	return nil
}

// offered is what came of one load.
type offered struct {
	report *replay.Report
	good   float64 // approved in time, a second
}

// offer makes one load on a system of its own.
func (g *goodput) offer(ctx context.Context, when string) (o offered, err error) {
	s, err := g.switchSystem(ctx, variant{name: "goodput", engine: "sqlite", shape: shape{(g.opts.terminals + 127) / 128, 128}, within: goodputPatience}, "")
	if err != nil {
		return o, err
	}
	defer s.close()
	p, err := replay.ReadProfile(strings.NewReader(fmt.Sprintf("sessions: %d\nsign_on: false\npatience: %s\ncards: {prefixes: {\"622202\": 1}, count: 1000000}\n%s\n", g.sessions, goodputPatience, when)))
	if err != nil {
		return o, err
	}
	terminals := g.opts.terminals
	if p.Closed != nil {
		terminals = 1000
	}
	load := replay.LoadOptions{Name: "goodput", Addr: s.address}
	for n := range terminals {
		load.Identities = append(load.Identities, replay.Identity{Terminal: terminalID(n), Merchant: merchantID(n)})
	}
	loading, stop := context.WithCancel(ctx)
	defer stop()
	var beside sync.WaitGroup
	defer beside.Wait()
	defer stop()
	beside.Go(func() { throttle(loading, s.processes[len(s.processes)-1].pid, g.share) })
	o.report, err = replay.RunLoad(ctx, p, load)
	stop()
	beside.Wait()
	o.good = float64(o.report.Answered-o.report.Load.Wrong) / g.opts.duration.Seconds()
	return o, err
}

// throttle lets a process run for a part of the time until ctx ends.
func throttle(ctx context.Context, pid int, share float64) {
	if share >= 1 {
		return
	}
	defer syscall.Kill(pid, syscall.SIGCONT)
	on := time.Duration(float64(periodOfShare) * share)
	for ctx.Err() == nil {
		syscall.Kill(pid, syscall.SIGCONT)
		terminal.Pause(ctx, on)
		syscall.Kill(pid, syscall.SIGSTOP)
		terminal.Pause(ctx, periodOfShare-on)
	}
}
