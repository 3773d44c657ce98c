package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/switch/replay"
)

// quoteAt are the parts of its capacity at which the switch's latency is quoted.
var quoteAt = [...]float64{0.25, 0.5, 0.8}

// quote measures the canonical workload: terminals with one CUP sale in flight
// each, journal fsynced, SQLite ledger behind. Its capacity is the median closed
// loop; latency is then that of an open loop at parts of it, counted from when each
// sale was due, of the switch and of the forwarder at the same rates.
func (b *bench) quote(ctx context.Context, out io.Writer) error {
	many := shape{b.opts.terminals, 1}
	v := variant{name: "sqlite, drain may lag", engine: "sqlite", shape: many}
	base := variant{name: forwarderName(many), shape: many}
	var sales, ratios []float64
	var answers, wrong int64
	for round := range b.opts.rounds {
		var forwarded float64
		for _, v := range [...]variant{base, v} {
			res, err := b.one(ctx, v, round)
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", v.name, round+1, err)
			}
			if v.engine == "" {
				forwarded = res.TPS
			} else {
				res.Ratio = res.TPS / forwarded
				sales, ratios = append(sales, res.TPS), append(ratios, res.Ratio)
				answers, wrong = answers+res.Answers, wrong+res.Wrong
			}
			fmt.Fprintln(b.progress, res.line())
		}
	}
	slices.Sort(sales)
	slices.Sort(ratios)
	capacity := sales[len(sales)/2]
	var switched, forwarded []*replay.Report
	for _, part := range quoteAt {
		for _, v := range [...]variant{base, v} {
			r, err := b.openLoop(ctx, v, capacity*part)
			if err == nil && r.Answered == 0 {
				err = errors.New("nothing was answered")
			}
			if err != nil {
				return fmt.Errorf("%s, open loop at %.0f/s: %w", v.name, capacity*part, err)
			}
			fmt.Fprintf(b.progress, "open loop at %.0f%%, %-22s %8.0f/s  p50 %v  p99 %v  p99.9 %v, the generator's lag p99 %v\n",
				100*part, v.name, r.PerSecond, r.Latency.P50, r.Latency.P99, r.Latency.P999, r.Lag.P99)
			if r.Load.Errors() > 0 {
				fmt.Fprintf(b.progress, "    %d not answered, %d not well: %+v\n", r.Load.Silent+r.Load.Broken, r.Load.Wrong, r.Codes)
			}
			if v.engine == "" {
				forwarded = append(forwarded, r)
				continue
			}
			switched = append(switched, r)
			answers, wrong = answers+int64(r.Sent), wrong+int64(r.Load.Errors())
		}
	}
	each := func(all []*replay.Report, figure func(replay.Percentiles) time.Duration) string {
		var text []string
		for _, r := range all {
			text = append(text, fmt.Sprintf("%.1f", float64(figure(r.Latency))/1e6))
		}
		return strings.Join(text, "/")
	}
	p50 := func(p replay.Percentiles) time.Duration { return p.P50 }
	p99 := func(p replay.Percentiles) time.Duration { return p.P99 }
	p999 := func(p replay.Percentiles) time.Duration { return p.P999 }
	fmt.Fprintf(out, "%.0f card sales a second, each fsynced twice, on %d cores with all parties: %.2f of a plain byte forwarder; %d of %d answers wrong\n",
		capacity, runtime.NumCPU(), ratios[len(ratios)/2], wrong, answers)
	_, err := fmt.Fprintf(out, "at 25/50/80 %% of that, open loop: p50 %s ms, p99 %s ms, p99.9 %s ms (the forwarder at the same rates: p99.9 %s ms)\n",
		each(switched, p50), each(switched, p99), each(switched, p999), each(forwarded, p999))
	if err == nil && wrong > 0 {
		err = fmt.Errorf("%d answers were no approvals", wrong)
	}
	return err
}

// quoteSessions are the connections of the open loop's terminals.
const quoteSessions = 100

// openLoop has the terminals sell at a rate, on a system of their own.
func (b *bench) openLoop(ctx context.Context, v variant, rate float64) (*replay.Report, error) {
	var s *system
	var err error
	right := "00"
	if v.engine == "" {
		s, err = forwarderSystem()
		right = "\\0\\0" // what comes back has no code
	} else {
		v.shape = shape{(b.opts.terminals + 127) / 128, 128} // as many terminals, and a session's ask at the same time
		s, err = b.switchSystem(ctx, v, "")
	}
	if err != nil {
		return nil, err
	}
	defer s.close()
	p, err := replay.ReadProfile(strings.NewReader(fmt.Sprintf(`
sessions: %d
sign_on: false
arrivals: [{for: %s, rate: %g}]
cards: {prefixes: {"622202": 1}, count: 1000000}
right: ["%s"]
`, min(quoteSessions, b.opts.terminals), b.opts.warm+b.opts.duration, rate, right)))
	if err != nil {
		return nil, err
	}
	o := replay.LoadOptions{Name: v.name, Addr: s.address}
	for n := range b.opts.terminals {
		o.Identities = append(o.Identities, replay.Identity{Terminal: terminalID(n), Merchant: merchantID(n)})
	}
	return replay.RunLoad(ctx, p, o)
}
