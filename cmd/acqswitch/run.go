package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/switch/terminal/fleet"
	"github.com/acqswitch/acqswitch/testdata"
)

// runOptions are the flags of run.
type runOptions struct {
	data      string
	dsn       string
	cup       string
	iso87     string
	admin     string
	exit      bool
	details   bool
	settleMax time.Duration
}

func runCommand(c *console) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run a switch with two simulated issuers and a sample day",
		Long: `run starts a switch, two simulated issuers over TCP and an embedded ledger in a
fresh directory below --data, plays the sample day's captured traffic through
the terminal ports, compares every answer with the expected one, holds the books
of terminals, switch and issuers against each other, settles the business day with
the sample fees, and reconciles it with a file of each issuer's own book: the files
are in a folder that is printed. Terminals whose
registration asks for MACs, and the issuers, are given test keys. It stays up
until Ctrl-C, so that you can send more (acqswitch terminal sale) or look around;
what you send is in the next day's settlement.

A run that was killed is taken up by the next: the switch recovers, terminals
reverse what they had no answer to, and the day goes on.

Exit code 3 if an answer was not the expected one, the books disagree or a file does
not match.`,
		Example: `  acqswitch run
  acqswitch run --exit --details
  acqswitch run --cup 127.0.0.1:0 --iso87 127.0.0.1:0 --admin 127.0.0.1:0   # free ports
  acqswitch run --ledger postgres://localhost/acqswitch --exit`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := &sampleRun{c: c, o: o}
			return r.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", "data/run", "directory of runs; each has one of its own in it")
	f.StringVar(&o.dsn, "ledger", "sqlite:ledger.db", "ledger: sqlite:PATH or postgres://USER@HOST/DATABASE (empty or of this run)")
	f.StringVar(&o.cup, "cup", "127.0.0.1:8583", "address for CUP POS terminals")
	f.StringVar(&o.iso87, "iso87", "127.0.0.1:8587", "address for ISO 8583:1987 terminals")
	f.StringVar(&o.admin, "admin", "127.0.0.1:9583", "address of metrics and health; empty is none")
	f.BoolVar(&o.exit, "exit", false, "end after the day instead of staying up")
	f.BoolVar(&o.details, "details", false, "print tables of every type and answer, of the ledger's totals and of what verify checked")
	f.DurationVar(&o.settleMax, "settle", time.Minute, "how long to wait after the day for reversals and the ledger")
	return cmd
}

// finishedFile marks a run's directory whose day was played to its end.
const finishedFile = "finished"

// sampleRun is one run of the sample day.
type sampleRun struct {
	c       *console
	o       runOptions
	dir     string
	resumed bool
	cfg     *config
	app     *app
	books   map[string]string // book files of the issuers by name
}

func (r *sampleRun) run(ctx context.Context) (err error) {
	if err := r.checkLedger(ctx); err != nil {
		return err
	}
	begun := false
	defer func() { // the next run takes up what was begun, nothing else
		if r.dir != "" && !r.resumed && !begun {
			err = errors.Join(err, os.RemoveAll(r.dir))
		}
	}()
	if err := r.prepare(); err != nil {
		return err
	}
	if err := r.cfg.checkAddresses(ctx); err != nil { // before a server's tables have anything of this run
		return portHint(err)
	}
	if err := r.register(ctx); err != nil {
		return err
	}
	if err := r.regulate(ctx); err != nil {
		return err
	}
	logs, err := os.OpenFile(filepath.Join(r.dir, "acqswitch.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer logs.Close()

	// Issuers outlive the switch: its last reversals and sign-offs find them.
	issuers, stopIssuers := context.WithCancel(context.WithoutCancel(ctx))
	var simulators sync.WaitGroup
	defer simulators.Wait()
	defer stopIssuers()
	if err := r.startIssuers(issuers, &simulators); err != nil {
		return err
	}
	if err := r.writeConfig(); err != nil {
		return err
	}
	if r.app, err = newApp(r.cfg, logs); err != nil {
		return portHint(err)
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- r.app.run(serving, func() { close(ready) }) }()
	defer func() {
		stop()
		if e := <-ended; err == nil {
			err = e
		}
	}()
	select {
	case <-ready:
	case e := <-ended:
		ended <- nil
		return portHint(e)
	}
	begun = true
	s, err := r.day(ctx)
	if err != nil {
		return err
	}
	if err := r.report(s); err != nil {
		return err
	}
	if !r.o.exit && ctx.Err() == nil {
		r.say("\nStill up: try  acqswitch terminal sale --amount 12.50    Ctrl-C ends.\n")
		select {
		case <-ctx.Done():
		case e := <-ended:
			ended <- nil
			return e
		}
	}
	if !s.OK {
		return refused()
	}
	return nil
}

// portHint adds to an error of a port that is taken what to do about it.
func portHint(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w; --cup, --iso87 and --admin with port 0 (127.0.0.1:0) take free ones", err)
	}
	return err
}

// ledgerWithin bounds the wait for a ledger's server.
const ledgerWithin = 10 * time.Second

// day plays the sample day, lets everything owed come to rest, and settles and checks
// what came of it.
func (r *sampleRun) day(ctx context.Context) (*summary, error) {
	addrs := r.announce()
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	s := &summary{Directory: r.dir, Resumed: r.resumed}
	var err error
	if s.Day, err = r.play(ctx, addrs); err != nil {
		return nil, err
	}
	if err := r.rest(ctx); err != nil {
		return nil, err
	}
	if s.Settled, err = r.settle(ctx); err != nil {
		return nil, err
	}
	if s.Verify, err = settlement.Verify(ctx, settlement.VerifyInput{Journal: r.app.journal, Ledger: r.app.ledger, Live: live{r.app}, Cases: r.cfg.cases(r.app.db, r.app.approvals)}); err != nil {
		return nil, err
	}
	told, err := fleet.ReadLog(r.fleetLog())
	if err != nil {
		return nil, err
	}
	if s.Books, err = compareBooks(ctx, r.app.ledger, r.books, told); err != nil {
		return nil, err
	}
	if s.Totals, err = r.totals(ctx); err != nil {
		return nil, err
	}
	s.Books.compareSettled(s.Settled)
	if err := r.reconcile(ctx, s); err != nil {
		return nil, err
	}
	s.OK = s.Day.MismatchCount == 0 && s.Verify.OK() && s.Books.OK() && s.Unreconciled == 0 && s.proved()
	return s, os.WriteFile(filepath.Join(r.dir, finishedFile), nil, 0o600)
}

// say tells people; what reads JSON hears nothing.
func (r *sampleRun) say(format string, args ...any) {
	if !r.c.json() {
		fmt.Fprintf(r.c.out, format, args...)
	}
}

// announce says where everything is; it returns the terminals' ports by dialect.
func (r *sampleRun) announce() (addrs map[string]string) {
	if r.resumed {
		rec := r.app.recovery
		r.say("taking up the killed run in %s: %d records recovered in %v, %d requests were open, %d reversals owed\n",
			r.dir, rec.Records, rec.Duration.Round(time.Millisecond), rec.Open, rec.Owed)
	}
	addrs = map[string]string{}
	for i, l := range r.cfg.Terminals.Listeners {
		addrs[l.Dialect] = r.app.terminals.Addrs()[i].String()
		r.say("%-8s terminals connect to %s\n", l.Dialect, addrs[l.Dialect])
	}
	for _, is := range r.cfg.Issuers {
		r.say("issuer   %s listens on %s, cards %v\n", is.Name, is.Hosts[0], is.BINs)
	}
	if r.app.admin != nil { // --admin "" is nobody's
		r.say("metrics  http://%s/metrics\n", r.app.admin.Addr())
	}
	r.say("ledger   %s, journal, log and test-keys.txt in %s\n", r.cfg.Ledger.DSN, r.dir)
	r.say("config   --config %s lets other commands look into it\n\n", filepath.Join(r.dir, configFile))
	return addrs
}

// fleetLog is where the terminals remember what they sent and were told.
func (r *sampleRun) fleetLog() string { return filepath.Join(r.dir, "terminals.log") }

// play plays the sample day against the terminals' ports.
func (r *sampleRun) play(ctx context.Context, addrs map[string]string) (*fleet.Result, error) {
	day, err := sampleDay()
	if err != nil {
		return nil, err
	}
	log, err := fleet.OpenLog(r.fleetLog())
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if err := fleet.LoadSampleKeys(r.app.registry.Snapshot(), r.app.vault, r.app.keys); err != nil {
		return nil, err
	}
	if err := writeSampleKeys(filepath.Join(r.dir, "test-keys.txt"), r.app.registry.Snapshot()); err != nil {
		return nil, err
	}
	opts := fleet.PlayOptions{TMK: fleet.SampleTMK, Log: log, Patience: 20 * time.Second}
	if !r.c.json() {
		opts.Progress = progressPrinter(r.c.out)
	}
	result, err := fleet.Play(ctx, day, addrs, opts)
	if err != nil && ctx.Err() != nil {
		r.say("\nstopped; the next run takes it up\n")
		return nil, refused()
	}
	if err != nil {
		return nil, fmt.Errorf("play the sample day: %w", err)
	}
	return result, nil
}

// sampleDay is the captured traffic with the answers it should get.
func sampleDay() (*fleet.Day, error) {
	pcap, err := testdata.Files.Open("day/day.pcap")
	if err != nil {
		return nil, err
	}
	defer pcap.Close()
	capture, err := fleet.ReadCapture(pcap, fleet.Ports())
	if err != nil {
		return nil, fmt.Errorf("read the sample day: %w", err)
	}
	lines, err := testdata.Files.Open("day/expected.jsonl")
	if err != nil {
		return nil, err
	}
	defer lines.Close()
	expected, err := fleet.ReadExpected(lines)
	if err != nil {
		return nil, fmt.Errorf("read the sample day: %w", err)
	}
	return capture.Day(expected)
}

// await waits until the switch has its links, and what regulate put in force.
func (r *sampleRun) await(ctx context.Context) error {
	late := time.After(10 * time.Second)
	for {
		up := 0
		for _, is := range r.app.issuers.Status() {
			if is.Up > 0 {
				up++
			}
		}
		if up == len(r.cfg.Issuers) && r.app.risk.Policy().Number > 0 && len(r.app.risk.Watched().Merchants) > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return refused()
		case <-late:
			return unreachable(fmt.Errorf("the links to the simulated issuers, the policy and the watch list were not all there in 10 s; see %s", filepath.Join(r.dir, "acqswitch.log")))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// settle closes the batches that no terminal settled, and then the business days
// that were played. The last is not over: what people send afterwards is in the
// next day's run.
func (r *sampleRun) settle(ctx context.Context) ([]*settlement.RunResult, error) {
	calendar, err := r.cfg.businessDay()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	today := calendar.Of(now)
	if _, err := r.app.acquirer.CloseBatches(ctx, today); err != nil {
		return nil, err
	}
	if err := r.app.drain.CatchUp(ctx); err != nil {
		return nil, err
	}
	var settled []*settlement.RunResult
	for {
		day, err := settlement.NextDue(ctx, r.app.ledger, today)
		if err != nil {
			return nil, err
		}
		last := day == 0
		if last {
			day = today
		}
		in := r.cfg.runInput(r.app.ledger, day, now)
		in.OpenJournal = func() (settlement.Journal, error) { return struct{ settlement.Journal }{r.app.journal}, nil }
		in.Early = true
		result, err := settlement.Settle(ctx, in)
		if err != nil {
			return nil, err
		}
		if settled = append(settled, result); last {
			return settled, nil
		}
	}
}

// rest waits until nothing is in flight or owed and the ledger has it all.
func (r *sampleRun) rest(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.o.settleMax)
	defer cancel()
	for {
		f := r.app.acquirer.Figures()
		if f.InFlight == 0 && f.ReversalsOwed == 0 && f.Undelivered == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d requests are in flight and %d reversals owed after %v; see %s",
				f.InFlight, f.ReversalsOwed, r.o.settleMax, filepath.Join(r.dir, "acqswitch.log"))
		case <-time.After(20 * time.Millisecond):
		}
	}
	return r.app.drain.CatchUp(ctx)
}
