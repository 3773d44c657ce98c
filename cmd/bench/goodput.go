package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// goodputAt are the parts of its capacity that are offered to the switch.
var goodputAt = [...]float64{0.5, 1, 2, 5, 10}

const (
	// goodputBar is what must be left of the best goodput of a curve at its end.
	goodputBar = 0.9
	// goodputPatience is how long a terminal waits, and so what a switch is set to
	// that has such terminals.
	goodputPatience = 2 * time.Second
	goodputWarm     = 2 * time.Second

	// The issuer of the second curve decides windowOfIssuer requests at a time, and
	// takes latencyOfIssuer for each.
	windowOfIssuer  = 64
	latencyOfIssuer = 50 * time.Millisecond

	// filesBeside are the open files of a process beside one for each terminal.
	filesBeside = 150
)

// goodput lets more and more people sell than the switch can serve, and prints how
// many sales are approved in time. A person's terminal has one sale in flight, and
// rests for the mean of think between its answer and the next: so many terminals
// that they would ask for ten times the capacity, were they answered at once.
//
// The switch has one processor for itself, and terminals and issuer have the others,
// so that what is measured is the switch's doing and not the generator's share.
// There are two curves: the capacity is that processor's, or an issuer's that has a
// window and a latency; there people rest ten times as long. Loads are offered in
// turn, rounds times, and figures are medians. Every reversal must be acknowledged.
type goodput struct {
	*bench
	think     time.Duration
	rounds    int
	limit     string // of the curves only this one; empty: both
	processor string // the switch's own
}

func runGoodput(ctx context.Context, args []string, out, progress io.Writer) error {
	f := flag.NewFlagSet("bench goodput", flag.ContinueOnError)
	f.SetOutput(progress)
	g := goodput{bench: &bench{progress: progress}}
	f.StringVar(&g.opts.binary, "binary", "bin/acqswitch", "the switch to measure")
	f.StringVar(&g.opts.dir, "dir", "", "directory for the journal and the ledger; empty is the system's temporary one")
	f.DurationVar(&g.opts.duration, "duration", 5*time.Second, "measured time of each load")
	f.DurationVar(&g.think, "think", 50*time.Millisecond, "mean time that a person takes before the next sale; ten times the capacity needs that much more terminals, each with a session")
	f.IntVar(&g.rounds, "rounds", 3, "how often each load is offered; figures are medians")
	f.StringVar(&g.limit, "limit", "", "processor or issuer: of the two curves only the one with this limit")
	if err := f.Parse(args); err != nil {
		return err
	}
	switch {
	case f.NArg() > 0:
		return fmt.Errorf("unknown argument %q; see -help", f.Arg(0))
	case g.rounds < 1 || g.rounds > 100:
		return errors.New("-rounds must be 1 to 100")
	case g.limit != "" && g.limit != "processor" && g.limit != "issuer":
		return fmt.Errorf("-limit %q must be processor or issuer", g.limit)
	case g.think < 10*time.Millisecond || g.think > time.Minute:
		return errors.New("-think must be 10ms to a minute")
	case g.opts.duration <= 0 || g.opts.duration > time.Minute:
		return errors.New("-duration must be up to a minute")
	}
	if _, err := os.Stat(g.opts.binary); err != nil {
		return fmt.Errorf("find the switch: %w; run 'make build' or give -binary", err)
	}
	var err error
	if g.processor, err = spareProcessor(); err != nil {
		return fmt.Errorf("give the switch a processor of its own: %w", err)
	}
	return g.run(ctx, out)
}

// spareProcessor keeps this process off the first processor that it may use, and
// says which that is. Processes that it starts inherit that.
func spareProcessor() (spared string, err error) {
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		return "", err
	}
	if may.Count() < 2 {
		return "", errors.New("there is one only")
	}
	if _, err := exec.LookPath("taskset"); err != nil {
		return "", err
	}
	first := 0
	for !may.IsSet(first) {
		first++
	}
	may.Clear(first)
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return "", err
	}
	for _, t := range threads { // a new one inherits from one of them
		id, err := strconv.Atoi(t.Name())
		if err == nil {
			err = unix.SchedSetaffinity(id, &may)
		}
		if err != nil && !errors.Is(err, syscall.ESRCH) {
			return "", err
		}
	}
	runtime.GOMAXPROCS(may.Count())
	return strconv.Itoa(first), nil
}

func (g *goodput) run(ctx context.Context, out io.Writer) error {
	var errs []error
	if g.limit != "issuer" {
		errs = append(errs, g.curve(ctx, out, "The processor is the limit", g.think, variant{shape: shape{1000, 1}}))
	}
	if g.limit != "processor" {
		errs = append(errs, g.curve(ctx, out, fmt.Sprintf("An issuer is the limit, %d at a time, %v each", windowOfIssuer, latencyOfIssuer), 10*g.think,
			variant{shape: shape{windowOfIssuer, 1}, window: windowOfIssuer, latency: latencyOfIssuer}))
	}
	return errors.Join(errs...)
}

// curve measures v's capacity, which its shape reaches without rest, and what is
// left of it under load.
func (g *goodput) curve(ctx context.Context, out io.Writer, name string, think time.Duration, v variant) error {
	v.name, v.engine, v.within, v.processor = "goodput", "sqlite", goodputPatience, g.processor
	full, err := g.offer(ctx, v, 0)
	if err != nil {
		return fmt.Errorf("measure the capacity: %w", err)
	}
	capacity := full.goodput()
	people := func(times float64) int { return max(1, int(times*capacity*think.Seconds())) }
	if err := enoughFiles(people(goodputAt[len(goodputAt)-1])); err != nil {
		return err
	}
	var seen [len(goodputAt)][]experience
	for range g.rounds {
		for i, times := range goodputAt {
			v.shape.sessions = people(times)
			x, err := g.offer(ctx, v, think)
			if err != nil {
				return fmt.Errorf("offer %g times the capacity: %w", times, err)
			}
			seen[i] = append(seen[i], x)
			fmt.Fprintf(g.progress, "%s: %gx, %d terminals: %.0f/s approved in time\n", name, times, v.shape.sessions, x.goodput())
		}
	}
	fmt.Fprintf(out, "%s: %.0f/s with %d terminals that do not rest; the others rest %v on average\n", name, capacity, full.people, think)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "offered\tterminals\tapproved in time\tof the best\tp50\tp99\trefused\tnot answered\treversals acknowledged")
	best, last, missing := 0.0, 0.0, int64(0)
	for i := range seen {
		best = max(best, median(seen[i], experience.goodput))
	}
	for i, times := range goodputAt {
		x := seen[i]
		last = median(x, experience.goodput)
		at := func(p float64) time.Duration {
			return time.Duration(median(x, func(x experience) float64 { return float64(x.latency.ValueAtPercentile(p)) })).Round(time.Millisecond)
		}
		rate := func(n func(experience) int64) float64 {
			return median(x, func(x experience) float64 { return float64(n(x)) / x.took.Seconds() })
		}
		var begun, done int64
		for _, x := range x {
			begun, done = begun+x.reversals, done+x.acknowledged
		}
		missing += begun - done
		fmt.Fprintf(w, "%gx, %.0f/s\t%d\t%.0f/s\t%.2f\t%v\t%v\t%.0f/s\t%.0f/s\t%d of %d\n", times, capacity*times, people(times), last, last/best, at(50), at(99),
			rate(func(x experience) int64 { return x.refused }), rate(func(x experience) int64 { return x.silent }), done, begun)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	var errs []error
	if last < goodputBar*best {
		errs = append(errs, fmt.Errorf("%s: at %g times the capacity %.2f of the best goodput are left, less than %g", name, goodputAt[len(goodputAt)-1], last/best, goodputBar))
	}
	if missing > 0 {
		errs = append(errs, fmt.Errorf("%s: %d reversals were not acknowledged", name, missing))
	}
	return errors.Join(errs...)
}

// enoughFiles says whether a process may have a session for each of n terminals.
func enoughFiles(n int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if n > int(limit.Cur)-filesBeside {
		return fmt.Errorf("%d terminals are needed, and a process may have %d open files: give a shorter -think or more files", n, limit.Cur)
	}
	return nil
}

// offer lets v's terminals sell on a system of its own.
func (g *goodput) offer(ctx context.Context, v variant, think time.Duration) (experience, error) {
	s, err := g.switchSystem(ctx, v, "")
	if err != nil {
		return experience{}, err
	}
	defer s.close()
	c := crowd{address: s.address, terminals: v.shape.sessions, think: think, patience: goodputPatience, warm: goodputWarm, duration: g.opts.duration}
	return c.run(ctx)
}
