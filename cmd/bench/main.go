// Command bench measures the whole switch: terminals, switch, issuer and ledger
// as processes of their own on one machine, over real sockets, with the fsynced
// journal on. The figure that travels is the ratio to a plain byte forwarder of
// the same shape that ran seconds before: absolute figures drift with the
// machine, ratios much less.
//
// Terminals sell in a closed loop: each sends its next sale when it has the
// answer to the one before. "drain may lag" lets them sell as fast as they are
// answered while the SQL ledger is loaded behind, and then waits for it to catch
// up. "drain keeps up" configures the drain to give way for no more than a tenth
// of a second of sales (ledger.lag_max), holds the terminals back whenever the
// ledger is half a second behind nevertheless, and takes off the sales by which
// it fell behind in the measured time: what counts has reached the ledger.
//
// bench quote measures one canonical workload and prints the two lines that a
// person can quote. bench herd measures what a morning's sign-ons do to sales, and
// bench goodput what is left of the sales when ten times as many are asked for as
// can be served; see their -help.
//
// Rounds are interleaved and figures are medians over them. Every answer but an
// approval is an error, and any error makes the exit status 1. Nothing is left
// behind, however this process ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	binary    string
	rounds    int
	warm      time.Duration
	duration  time.Duration
	terminals int
	only      *regexp.Regexp
	postgres  string
	profile   string
	dir       string
	output    string
}

func parse(args []string, errs io.Writer) (o options, err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(errs)
	f.StringVar(&o.binary, "binary", "bin/acqswitch", "the switch to measure")
	f.IntVar(&o.rounds, "rounds", 3, "how often everything runs; figures are medians")
	f.DurationVar(&o.warm, "warm", time.Second, "load before the measured time of a run")
	f.DurationVar(&o.duration, "duration", 3*time.Second, "measured time of a run")
	f.IntVar(&o.terminals, "terminals", 1000, "terminals with one sale in flight each")
	only := f.String("only", "", "regular expression of the runs wanted, as \"sqlite\" or \"keeps up\"; their forwarders run too")
	f.StringVar(&o.postgres, "postgres", "", "postgres:// URL of a server, as a role that may create databases; empty starts a private one")
	f.StringVar(&o.profile, "profile", "", "directory for CPU profiles of the switch")
	f.StringVar(&o.dir, "dir", "", "directory for journals and SQLite files: the disk that is measured; empty is the system's temporary one")
	f.StringVar(&o.output, "output", "table", "table or json")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, fmt.Errorf("-only: %w", err)
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unknown argument %q; see -help", f.Arg(0))
	case o.rounds < 1 || o.rounds > 100:
		return o, errors.New("-rounds must be 1 to 100")
	case o.duration <= 0 || o.duration > time.Minute || o.warm < 0 || o.warm > time.Minute:
		return o, errors.New("-duration and -warm must be at most a minute")
	case o.terminals < 1 || o.terminals > 20_000:
		return o, errors.New("-terminals must be 1 to 20000: the switch takes no more sessions")
	case o.output != "table" && o.output != "json":
		return o, fmt.Errorf("-output %q must be table or json", o.output)
	}
	return o, nil
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	if len(args) > 0 && args[0] == "child" {
		return child(args[1:])
	}
	if len(args) > 0 && args[0] == "herd" {
		return runHerd(ctx, args[1:], out, progress)
	}
	if len(args) > 0 && args[0] == "goodput" {
		return runGoodput(ctx, args[1:], out, progress)
	}
	quoting := len(args) > 0 && args[0] == "quote"
	if quoting {
		args = args[1:]
	}
	opts, err := parse(args, progress)
	if err != nil {
		return err
	}
	if _, err := os.Stat(opts.binary); err != nil {
		return fmt.Errorf("find the switch: %w; run 'make build' or give -binary", err)
	}
	if opts.profile != "" {
		if err := os.MkdirAll(opts.profile, 0o755); err != nil {
			return err
		}
	}
	b := &bench{opts: opts, progress: progress}
	if quoting {
		return b.quote(ctx, out)
	}
	if err := b.findPostgres(); err != nil {
		return err
	}
	report, err := b.all(ctx)
	if err != nil {
		return err
	}
	if opts.output == "json" {
		err = report.writeJSON(out)
	} else {
		err = report.writeText(out)
	}
	if err == nil && report.wrong() > 0 {
		err = fmt.Errorf("%d answers were no approvals", report.wrong())
	}
	return err
}

// findPostgres starts a server when a run needs one. It is durable, as an
// installed one would be.
func (b *bench) findPostgres() (err error) {
	needed := false
	for _, v := range variants(b.opts) {
		needed = needed || v.engine == "postgres"
	}
	switch {
	case !needed:
	case b.opts.postgres != "":
		b.postgres, err = url.Parse(b.opts.postgres)
	default:
		b.postgres, err = ledgertest.Start()
	}
	return err
}
