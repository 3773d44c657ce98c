package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/risk/alert"
	"github.com/acqswitch/acqswitch/risk/policy"
	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/issuer"
	"github.com/acqswitch/acqswitch/switch/issuer/simulator"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/registry/office"
	"github.com/acqswitch/acqswitch/switch/terminal/fleet"
	"github.com/acqswitch/acqswitch/switch/txn"
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
		if !r.c.json() {
			fmt.Fprintf(r.c.out, "\nStill up: try  acqswitch terminal sale --amount 12.50    Ctrl-C ends.\n")
		}
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

// checkLedger finds out before anything starts whether the ledger's server is
// there: the switch would sell without, and the day's books could not be held
// against each other.
func (r *sampleRun) checkLedger(ctx context.Context) error {
	if err := dsn(r.o.dsn); err != nil {
		return usage(fmt.Errorf("--ledger %w", err))
	}
	if strings.HasPrefix(r.o.dsn, "sqlite:") {
		return nil // a file of the run
	}
	l, err := ledger.Open(r.o.dsn)
	if err != nil {
		return usage(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(ctx, ledgerWithin)
	defer cancel()
	if err := l.Migrate(ctx); err != nil {
		return unreachable(fmt.Errorf("--ledger cannot be used: %s", strings.Join(strings.Fields(err.Error()), " ")))
	}
	return nil
}

// prepare finds the directory of the run: a killed run's, or a fresh one.
func (r *sampleRun) prepare() error {
	all, err := filepath.Glob(filepath.Join(r.o.data, "2*"))
	if err != nil {
		return usage(err)
	}
	slices.Sort(all)
	if len(all) > 0 {
		last := all[len(all)-1]
		if _, err := os.Stat(filepath.Join(last, finishedFile)); errors.Is(err, os.ErrNotExist) {
			if lock := filepath.Join(last, "journal", "LOCK"); locked(lock) { // that make was killed does not end what it runs
				holder, _ := os.ReadFile(lock)
				return fmt.Errorf("process %s still plays the day in %s; end it, or give this run another directory with --data", bytes.TrimSpace(holder), last)
			}
			r.dir, r.resumed = last, true
		}
	}
	if r.dir == "" {
		if err := os.MkdirAll(r.o.data, 0o755); err != nil {
			return usage(fmt.Errorf("make data directory: %w", err))
		}
		r.dir = filepath.Join(r.o.data, time.Now().Format("20060102-150405.000"))
		if err := os.Mkdir(r.dir, 0o700); err != nil {
			return fmt.Errorf("make the run's directory: %w", err)
		}
	}
	for _, name := range []string{"registry.yaml", "downloads.yaml", "fees.yaml", "cards.csv", "payouts.yaml", "calendar.yaml"} {
		text, err := testdata.Files.ReadFile(name)
		if err != nil {
			return err
		}
		if name == "calendar.yaml" {
			text = withYears(text, time.Now().Year())
		}
		if err := replaceFile(filepath.Join(r.dir, name), func(w io.Writer) error { _, err := w.Write(text); return err }); err != nil {
			return fmt.Errorf("write the sample %s: %w", name, err)
		}
	}
	if r.cfg, err = loadConfig("", nil); err != nil {
		return err
	}
	cfg := r.cfg
	cfg.DataDir, cfg.Ledger.DSN, cfg.Admin.Address = r.dir, r.o.dsn, r.o.admin
	cfg.Downloads = filepath.Join(r.dir, "downloads.yaml")
	cfg.Terminals.Listeners = []listenerConfig{{Address: r.o.cup, Dialect: "cup-pos"}, {Address: r.o.iso87, Dialect: "iso87"}}
	cfg.Log.Level = "info"
	// The day's limits are expected to hold for the whole day: one that is played
	// around the cut-over would see them start again.
	if zone, err := time.LoadLocation(cfg.Zone); err == nil && time.Now().In(zone).Hour() >= 22 {
		cfg.CutOver = "12:00"
	}
	// A sample day has no time for a real issuer's patience.
	cfg.Reversals.Retry, cfg.Reversals.RetryMax = 100*time.Millisecond, 2*time.Second
	cfg.Reversals.UndeliveredGrace = 5 * time.Second
	cfg.AnswerWithin = 5 * time.Second
	return nil
}

// register puts the sample registry into the database, where the switch reads it.
func (r *sampleRun) register(ctx context.Context) error {
	r.cfg.RegistryFrom = "database"
	book, err := readBook(filepath.Join(r.dir, "registry.yaml"))
	if err != nil {
		return err
	}
	if _, err = r.cfg.importBook(ctx, book, "the sample registry", office.Act{By: "acqswitch run", Reason: "the sample registry"}, true); err != nil {
		return fmt.Errorf("import the sample registry: %w", err)
	}
	return nil
}

// regulate puts the day's policy in force, as two people do, and its merchant on the
// watch list. A run that is taken up has both already, or what people made of them.
func (r *sampleRun) regulate(ctx context.Context) error {
	const officer, other = "sample officer", "acqswitch run"
	err := r.cfg.onPolicies(ctx, func(d *policyDesk) error {
		if _, err := d.policies.InForce(ctx); !errors.Is(err, policy.ErrNone) {
			return err
		}
		bench := alert.New(d.db)
		err := bench.Migrate(ctx)
		if err == nil {
			_, err = bench.SetLevel(ctx, alert.Party{Merchant: fleet.SampleWatched}, txn.HighRisk, officer, "the sample day")
		}
		if err != nil {
			return err
		}
		cards, err := keys.OpenCards(r.cfg.path(r.cfg.CardKeys, "card.keys"))
		if err != nil {
			return err
		}
		text, err := testdata.Files.ReadFile("day/policy.yaml")
		if err == nil {
			text, err = fleet.SamplePolicy(text, cards.Token)
		}
		if err != nil {
			return err
		}
		p, err := d.policies.Propose(ctx, text, "the sample day's policy", officer, "the sample day")
		if err == nil {
			_, err = d.policies.Approve(ctx, p.Number, other, "the sample day", nil)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("put the sample day's policy in force: %w", err)
	}
	return nil
}

// withYears adds to the sample calendar, which ends, what a year needs: itself and
// the one after, without holidays.
func withYears(calendar []byte, year int) []byte {
	for _, y := range [...]int{year, year + 1} {
		if !strings.Contains(string(calendar), fmt.Sprintf("year: %d", y)) {
			calendar = fmt.Appendf(calendar, "  - {year: %d, holidays: []}\n", y)
		}
	}
	return calendar
}

// startIssuers runs the simulated issuers on free ports.
func (r *sampleRun) startIssuers(ctx context.Context, wg *sync.WaitGroup) error {
	r.books = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(fleet.SampleIssuers)) {
		script, err := testdata.Files.Open("issuers/" + name + ".yaml")
		if err != nil {
			return err
		}
		cfg, err := simulator.Load(script)
		if err != nil {
			return fmt.Errorf("issuer %s: %w", name, err)
		}
		cfg.Listen, cfg.Book = "127.0.0.1:0", filepath.Join(r.dir, name+".book")
		sim, err := simulator.New(cfg)
		if err != nil {
			return fmt.Errorf("issuer %s: %w", name, err)
		}
		wg.Go(func() {
			if err := sim.Run(ctx); err != nil {
				fmt.Fprintf(r.c.errs, "acqswitch: issuer %s: %v\n", name, err)
			}
		})
		r.books[name] = cfg.Book
		r.cfg.Issuers = append(r.cfg.Issuers, issuer.Config{
			Name: name, Address: sim.Addr(), BINs: fleet.SampleIssuers[name], Timeout: time.Second, UTCOffset: 8 * time.Hour,
			ReconnectMax: time.Second,
			// The day has timeouts on purpose; they must not cost other cards their issuer.
			Breaker: issuer.BreakerConfig{Failures: 1000, FailurePercent: 100, RequestsMin: 1_000_000},
		})
	}
	return nil
}

// writeConfig leaves the run's configuration in its directory, so that the other
// commands find its books, its registry and its issuers' names.
func (r *sampleRun) writeConfig() error {
	b := new(bytes.Buffer)
	fmt.Fprintf(b, "# The configuration of this run, for other commands: acqswitch verify --config FILE.\n")
	fmt.Fprintf(b, "data_dir: .\nregistry_from: database\ndownloads: downloads.yaml\ncut_over: %q\nledger: {dsn: %q}\nadmin: {address: %q}\n",
		r.cfg.CutOver, r.cfg.Ledger.DSN, r.cfg.Admin.Address)
	b.WriteString("terminals:\n  listeners:\n")
	for _, l := range r.cfg.Terminals.Listeners {
		fmt.Fprintf(b, "    - {address: %q, dialect: %q}\n", l.Address, l.Dialect)
	}
	b.WriteString("issuers:\n")
	for _, is := range r.cfg.Issuers {
		fmt.Fprintf(b, "  - {name: %q, address: %q, bins: [\"%s\"], utc_offset: %v}\n", is.Name, is.Address, strings.Join(is.BINs, `", "`), is.UTCOffset)
	}
	if err := replaceFile(filepath.Join(r.dir, configFile), func(w io.Writer) error { _, err := b.WriteTo(w); return err }); err != nil {
		return fmt.Errorf("write the run's configuration: %w", err)
	}
	return nil
}

// day plays the sample day and lets everything owed come to rest.
func (r *sampleRun) day(ctx context.Context) (*summary, error) {
	quiet := r.c.json()
	say := func(format string, args ...any) {
		if !quiet {
			fmt.Fprintf(r.c.out, format, args...)
		}
	}
	if r.resumed {
		rec := r.app.recovery
		say("taking up the killed run in %s: %d records recovered in %v, %d requests were open, %d reversals owed\n",
			r.dir, rec.Records, rec.Duration.Round(time.Millisecond), rec.Open, rec.Owed)
	}
	addrs := map[string]string{}
	for i, l := range r.cfg.Terminals.Listeners {
		addrs[l.Dialect] = r.app.terminals.Addrs()[i].String()
		say("%-8s terminals connect to %s\n", l.Dialect, addrs[l.Dialect])
	}
	for _, is := range r.cfg.Issuers {
		say("issuer   %s listens on %s, cards %v\n", is.Name, is.Address, is.BINs)
	}
	if r.app.admin != nil { // --admin "" is nobody's
		say("metrics  http://%s/metrics\n", r.app.admin.Addr())
	}
	say("ledger   %s, journal, log and test-keys.txt in %s\n", r.cfg.Ledger.DSN, r.dir)
	say("config   --config %s lets other commands look into it\n\n", filepath.Join(r.dir, configFile))
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	day, err := sampleDay()
	if err != nil {
		return nil, err
	}
	log, err := fleet.OpenLog(filepath.Join(r.dir, "terminals.log"))
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
	if !quiet {
		opts.Progress = progressPrinter(r.c.out)
	}
	s := &summary{Directory: r.dir, Resumed: r.resumed}
	if s.Day, err = fleet.Play(ctx, day, addrs, opts); err != nil {
		if ctx.Err() != nil {
			say("\nstopped; the next run takes it up\n")
			return nil, refused()
		}
		return nil, fmt.Errorf("play the sample day: %w", err)
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
	told, err := fleet.ReadLog(filepath.Join(r.dir, "terminals.log"))
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

// writeSampleKeys writes the test master keys of the sample terminals that sign
// on, as --tmk of other commands takes them, and the initial keys of the DUKPT ones
// behind a #, for load and replay refuse these.
func writeSampleKeys(path string, reg *registry.Snapshot) error {
	text, dukpt := "# Test keys of the sample terminals, for --tmk of load, replay and script run.\n", ""
	for t := range reg.Terminals() {
		switch tid := t.ID.String(); {
		case t.Keys == txn.KeysMasterSession:
			text += fmt.Sprintf("%s %X %s %03d\n", tid, []byte(fleet.SampleTMK(tid)), t.Serial, fleet.SampleKeySet(tid))
		case t.Keys.DUKPT():
			initial, err := fleet.SampleInitial(t)
			if err != nil {
				return err
			}
			dukpt += fmt.Sprintf("# %s %X %s %s %X\n", tid, []byte(initial.Key), t.Serial, initial.Scheme, initial.Device)
		}
	}
	text += "# Initial keys of DUKPT terminals; script run takes these too, without the #.\n" + dukpt
	return os.WriteFile(path, []byte(text), 0o600)
}
