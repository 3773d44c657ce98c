package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/risk/alert"
	"github.com/acqswitch/acqswitch/risk/policy"
	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/settlement/fee"
	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	acquirer "github.com/acqswitch/acqswitch/switch"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/batch"
	"github.com/acqswitch/acqswitch/switch/download"
	"github.com/acqswitch/acqswitch/switch/issuer"
	"github.com/acqswitch/acqswitch/switch/keyring"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/pos"
	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/registry/office"
	"github.com/acqswitch/acqswitch/switch/telemetry"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// app is one switch, wired. It reads as the architecture: terminals at the
// front, the acquirer in the middle, issuers behind it, the journal below and
// the ledger behind the journal.
type app struct {
	cfg       *config
	log       *slog.Logger
	telemetry *telemetry.Telemetry
	registry  *registry.Store
	office    *office.Office // nil: the registry is a file
	version   int64          // of the office's registry that is in force at start
	journal   *journal.Journal
	ledger    *ledger.Ledger
	db        *sqldb.DB // the ledger's database, for all else that keeps rows
	approvals *approval.Desk
	alerts    *alert.Workbench
	policies  *policy.Store     // nil: the policy is a file's
	measured  map[txn.Rule]bool // own rules whose counts are published
	drain     *settlement.Drain
	risk      *risk.Engine
	cardTypes atomic.Pointer[txn.CardTable]
	issuers   *issuer.Router
	vault     *keys.Vault
	keys      *keyring.Ring
	keyLog    *journal.Journal
	downloads *download.Library // nil: terminals download nothing
	takenLog  *journal.Journal  // what they have; nil as well
	acquirer  *acquirer.Switch
	terminals *pos.Server
	recorder  *recorder // nil: nothing is recorded
	admin     net.Listener
	control   net.Listener // for commands beside the switch
	recovery  acquirer.Recovery
	disk      *diskWatch

	watchVersion int64 // of the watch list in force; followAlerts owns it once it runs

	linksFirst []string    // issuers whose links terminals wait for
	handsOver  atomic.Bool // another program goes on at once: the ledger can wait

	closers []func() error
}

// newApp opens everything and binds every address; nothing is served yet.
// After an error nothing stays open.
func newApp(cfg *config, logs io.Writer) (*app, error) {
	a := &app{cfg: cfg}
	if err := a.build(logs); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

func (a *app) build(logs io.Writer) (err error) {
	cfg := a.cfg
	if a.log, err = newLogger(cfg, logs); err != nil {
		return usage(err)
	}
	ratio := cfg.Trace.Ratio
	if ratio == 0 {
		ratio = -1 // failures only
	}
	a.telemetry, err = telemetry.New(telemetry.Config{Endpoint: cfg.Trace.Endpoint, SampleRatio: ratio, Slow: cfg.Trace.Slow, Version: version()})
	if err != nil {
		return fmt.Errorf("set up telemetry: %w", err)
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	cards, err := keys.OpenCards(cfg.path(cfg.CardKeys, "card.keys"))
	if err != nil {
		return err
	}
	if a.journal, err = journal.Open(filepath.Join(cfg.DataDir, "journal"), journal.Config{OnFlush: a.telemetry.Flushed}); err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	a.closers = append(a.closers, a.journal.Close)
	if a.ledger, err = openLedger(cfg); err != nil {
		return err
	}
	a.closers = append(a.closers, a.ledger.Close)
	if a.db, err = openDatabase(cfg); err != nil {
		return err
	}
	a.closers = append(a.closers, a.db.Close)
	a.approvals = approval.New(a.db)
	a.alerts = alert.New(a.db)
	if err := a.openRegistry(cards); err != nil {
		return err
	}
	if cfg.Risk.Policy == "" {
		a.policies = policy.NewStore(a.db, a.approvals)
	}
	a.drain = settlement.NewDrain(a.journal, a.ledger, uint64(cfg.Ledger.LagMax))
	if a.risk, err = newRisk(cfg, startPolicy); err != nil {
		return usage(err)
	}
	if a.vault, a.keys, a.keyLog, err = openKeys(cfg, a.log); err != nil {
		return err
	}
	a.closers = append(a.closers, a.keyLog.Close, a.keys.Close)
	if cfg.Downloads != "" {
		if err := a.openDownloads(); err != nil {
			return err
		}
	}
	if err := a.wireSwitch(cards); err != nil {
		return err
	}
	front, err := cfg.posConfig()
	if err != nil {
		return usage(err)
	}
	if most := sessionsWithin(fileLimit(), cfg.Issuers); front.SessionsMax > most {
		a.log.Warn("the limit of open files allows fewer terminals than sessions_max", "sessions_max", front.SessionsMax, "allowed", most)
		front.SessionsMax = most
	}
	if cfg.Recorder.File != "" {
		if a.recorder, err = openRecorder(&cfg.Recorder, time.Now()); err != nil {
			return err
		}
		front.Recorder = a.recorder
	}
	a.terminals = pos.New(front, a.acquirer, newObserver(a.telemetry, front.Listeners), a.log)
	if cfg.Admin.Address != "" {
		if a.admin, err = net.Listen("tcp", cfg.Admin.Address); err != nil {
			return fmt.Errorf("listen for operators: %w", err)
		}
		a.closers = append(a.closers, a.admin.Close)
	}
	if a.control, err = listenControl(cfg.DataDir); err != nil {
		return err
	}
	a.closers = append(a.closers, a.control.Close)
	a.disk = &diskWatch{cfg: cfg.Journal.Disk, free: func() (uint64, error) { return freeSpace(cfg.DataDir) }, stop: a.acquirer.StopSales, log: a.log}
	a.measure()
	return nil
}

// openRegistry puts the registry in force, from its file or its database.
func (a *app) openRegistry(cards *keys.Cards) (err error) {
	var snapshot *registry.Snapshot
	if a.cfg.RegistryFrom == "file" {
		snapshot, err = readRegistry(a.cfg.path(a.cfg.Registry, "registry.yaml"))
	} else {
		if a.office, err = a.cfg.office(a.db, cards); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), officeWithin)
		defer cancel()
		if err := a.office.Migrate(ctx); err != nil {
			return unreachable(fmt.Errorf("registry_from: database: %w", err))
		}
		snapshot, a.version, err = a.office.Snapshot(ctx)
	}
	if err != nil {
		return err
	}
	a.registry = registry.NewStore(snapshot)
	return nil
}

// filesKept are for what must never wait for a terminal to leave: journal
// segments, the ledger and operators. A journal that finds no descriptor for
// its next segment ends the process.
const filesKept = 64

// sessionsWithin is how many terminals a limit of open files has room for.
func sessionsWithin(files uint64, issuers []issuer.Config) int {
	kept := uint64(filesKept)
	for _, is := range issuers {
		kept += 2 * uint64(max(is.Connections, 1)) // one closing, one being dialed
	}
	if files <= kept {
		return 1
	}
	return int(min(files-kept, math.MaxInt32))
}

// fileLimit is the process's limit of open files.
func fileLimit() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt32
	}
	return uint64(limit.Cur)
}

func newLogger(cfg *config, w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Log.Level)); err != nil {
		return nil, err
	}
	return telemetry.Logger(w, level, cfg.Log.Format)
}

// newRisk is an engine under the policy that a function finds.
func newRisk(cfg *config, find func(*config) (risk.Policy, error)) (*risk.Engine, error) {
	day, err := cfg.businessDay()
	if err != nil {
		return nil, err
	}
	p, err := find(cfg)
	if err != nil {
		return nil, err
	}
	return risk.New(risk.Config{Policy: &p, SkipCheckDigit: cfg.Risk.SkipCheckDigit, CardsPerDayMax: cfg.Risk.CardsPerDayMax,
		CardsPerMonthMax: cfg.Risk.CardsPerMonth, Zone: day.Zone})
}

// dsn is that of the ledger's database; a relative SQLite path is one of the
// data directory.
func (c *config) dsn() string {
	if path, ok := strings.CutPrefix(c.Ledger.DSN, "sqlite:"); ok && !filepath.IsAbs(path) {
		return "sqlite:" + filepath.Join(c.DataDir, path)
	}
	return c.Ledger.DSN
}

func openLedger(cfg *config) (*ledger.Ledger, error) { return ledger.Open(cfg.dsn()) }

// openDatabase opens the ledger's database for what else is kept there.
func openDatabase(cfg *config) (*sqldb.DB, error) {
	db, err := sqldb.Open(cfg.dsn())
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return db, nil
}

// openKeys opens the key vault and the log of the terminals' keys.
func openKeys(cfg *config, log *slog.Logger) (*keys.Vault, *keyring.Ring, *journal.Journal, error) {
	day, err := cfg.businessDay()
	if err != nil {
		return nil, nil, nil, err
	}
	vault, err := cfg.Vault.open(cfg)
	if err != nil {
		return nil, nil, nil, err
	}
	keyLog, err := journal.Open(filepath.Join(cfg.DataDir, "keys"), journal.Config{SegmentSize: 16 << 20})
	if err != nil {
		return nil, nil, nil, errors.Join(fmt.Errorf("open the log of terminals' keys: %w", err), vault.Close())
	}
	ring := keyring.New(keyring.Config{Day: day, Grace: cfg.SignOn.Grace, SignOnsPerSecond: cfg.SignOn.PerSecond}, vault, keyLog, log)
	return vault, ring, keyLog, nil
}

// openDownloads opens what terminals download and the log of what they have.
func (a *app) openDownloads() error {
	contents, err := readDownloads(a.cfg.Downloads)
	if err != nil {
		return err
	}
	a.takenLog, err = journal.Open(filepath.Join(a.cfg.DataDir, downloadsDir), journal.Config{SegmentSize: 16 << 20})
	if err != nil {
		return fmt.Errorf("open the log of downloads: %w", err)
	}
	a.closers = append(a.closers, a.takenLog.Close)
	a.downloads = download.New(contents, a.takenLog, func(id txn.TerminalID) [50]byte { return a.registry.Snapshot().Serial(id) }, a.log)
	return nil
}

// wireSwitch builds the acquirer between its issuers, its rules and the
// journal. The late answers of the issuers come back to it.
func (a *app) wireSwitch(cards *keys.Cards) (err error) {
	cfg, err := a.cfg.switchConfig()
	if err != nil {
		return usage(err)
	}
	if err := a.loadCardTypes(); err != nil {
		return err
	}
	cfg.CardType = func(pan *txn.PAN) txn.CardType { return a.cardTypes.Load().TypeOf(pan) }
	unmatched, late := map[string]*telemetry.Counter{}, map[txn.IssuerID]*telemetry.Histogram{}
	for _, is := range a.cfg.Issuers {
		if unmatched[is.Name] == nil {
			unmatched[is.Name] = a.telemetry.Counter(telemetry.LinkUnmatched, telemetry.Label{Key: "issuer", Value: is.Name})
			late[txn.MakeIssuerID(is.Name)] = a.telemetry.Histogram(telemetry.LateAfter, telemetry.Seconds, telemetry.Label{Key: "issuer", Value: is.Name})
		}
	}
	hooks := issuer.Hooks{
		Late: func(l issuer.Late) {
			if after, known := a.acquirer.Late(l.Leg, &l.Reply); known {
				late[l.Leg.Issuer].Observe(after)
			}
		},
		LinkUp: func(name string, link int) {
			a.log.Info("issuer link is up", "issuer", name, "link", link)
		},
		LinkDown: func(name string, link int, err error) {
			a.log.Warn("issuer link is down", "issuer", name, "link", link, "error", err)
		},
		Breaker: func(name, state string) { a.log.Warn("issuer breaker changed", "issuer", name, "state", state) },
		Unmatched: func(name string, head txn.ReplyHead, why string) {
			unmatched[name].Add(1)
			a.log.Warn("issuer message answers no request", "issuer", name, "mti", fmt.Sprintf("%04x", head.MTI), "stan", head.STAN, "why", why)
		},
		Malformed: func(name string, err error) {
			a.log.Warn("issuer message cannot be used", "issuer", name, "error", err)
		},
	}
	if a.issuers, err = a.cfg.router(hooks); err != nil {
		return usage(fmt.Errorf("configuration: %w", err))
	}
	current := func() acquirer.Registry { return a.registry.Snapshot() }
	var librarian acquirer.Librarian
	if a.downloads != nil {
		librarian = a.downloads
	}
	a.acquirer, err = acquirer.New(cfg, current, a.risk, a.issuers, a.journal, cards, a.keys, a.ledger.Archive(), librarian, a.log)
	if err != nil {
		return usage(fmt.Errorf("configuration: %w", err))
	}
	return nil
}

// stage is a part of the app that runs. Stages start in order and stop in
// reverse: whoever uses another stops before it.
type stage struct {
	name string
	run  func(context.Context) error
}

// run serves until ctx ends or a stage fails, then drains: terminals stop
// being read and everything in flight is answered; then reversals pause (they
// are durable), issuers sign off, the ledger catches up for a moment, and the
// journal closes. ready is called once terminals can connect.
func (a *app) run(ctx context.Context, ready func()) (err error) {
	defer func() { err = errors.Join(err, a.close()) }()
	failed := make(chan error, 8)
	var stop []func()
	defer func() {
		for i := len(stop) - 1; i >= 0; i-- {
			stop[i]()
		}
		for {
			select {
			case failure := <-failed:
				err = errors.Join(err, failure)
				continue
			default:
			}
			return
		}
	}()
	start := func(st stage) {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := st.run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				failed <- fmt.Errorf("%s: %w", st.name, err)
			}
		}()
		stop = append(stop, func() { cancel(); <-done })
	}

	start(stage{"journal", a.journal.Run})
	start(stage{"terminals' keys", a.keyLog.Run})
	if err := a.keys.Recover(); err != nil {
		return err
	}
	if a.downloads != nil {
		start(stage{"downloads", a.takenLog.Run})
		if err := a.downloads.Recover(a.takenLog); err != nil {
			return err
		}
	}
	first := a.journal.First()
	if a.recovery, err = a.acquirer.Recover(); err != nil {
		return err
	}
	a.log.Info("recovered", "records", a.recovery.Records, "open", a.recovery.Open, "reversals_owed", a.recovery.Owed, "took", a.recovery.Duration)
	a.migrateFirst(ctx)
	counted := a.loadMonthFirst(ctx, first)
	a.watchFirst(ctx)
	if err := a.terminals.Listen(ctx); err != nil {
		return err
	}
	start(stage{"telemetry", a.telemetry.Run})
	start(stage{"disk", a.disk.run})
	start(stage{"ledger", a.runDrain})
	if !counted {
		start(stage{"month", func(ctx context.Context) error { return a.loadMonth(ctx, first) }})
	}
	start(stage{"alerts", a.followAlerts})
	if a.policies != nil {
		start(stage{"policy", a.followPolicies})
	}
	start(stage{"batches", a.closeBatches})
	start(stage{"settlement", a.settleDays})
	start(stage{"retention", a.truncate})
	if a.office != nil {
		start(stage{"registry", func(ctx context.Context) error {
			return a.office.Follow(ctx, a.registry.Snapshot(), a.version, a.registry.Replace, a.log)
		}})
		start(stage{"office", a.sweep})
	}
	start(stage{"issuers", a.issuers.Run})
	start(stage{"reversals", a.acquirer.Run})
	start(stage{"control", a.serveControl})
	if a.admin != nil {
		start(stage{"admin", a.serveAdmin})
	}
	if a.recorder != nil {
		start(stage{"recorder", a.record})
	}
	a.awaitLinks(ctx, a.linksFirst)
	start(stage{"terminals", a.terminals.Run})
	for i, addr := range a.terminals.Addrs() {
		a.log.Info("terminals can connect", "dialect", a.cfg.Terminals.Listeners[i].Dialect, "address", addr.String())
	}
	ready()
	select {
	case <-ctx.Done():
		a.log.Info("stopping")
		return nil
	case err := <-failed:
		a.log.Error("stopping", "error", err)
		return err
	}
}

// linksWithin bounds how long terminals wait for the links to come up.
const linksWithin = 5 * time.Second

// awaitLinks returns when each of the issuers has a link, or it has taken too long.
func (a *app) awaitLinks(ctx context.Context, issuers []string) {
	for late := time.Now().Add(linksWithin); time.Now().Before(late); {
		if !slices.ContainsFunc(a.issuers.Status(), func(s issuer.Status) bool { return s.Up == 0 && slices.Contains(issuers, s.Issuer) }) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// catchUpMax bounds how long a stop waits for the ledger. What is not copied
// by then is copied at the next start.
const catchUpMax = 5 * time.Second

// runDrain brings the ledger's schema up to date and copies the journal into it
// until ctx ends, and then the rest. Sales do not depend on it: while the
// ledger is away it tries again, and where copying cannot go on at all it says
// so and lets the switch sell; what is not copied stays in the journal.
func (a *app) runDrain(ctx context.Context) error {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		if err := a.migrate(ctx); err != nil {
			ended <- nil // stopped before the ledger was there
			return
		}
		ended <- a.drain.Run(running)
	}()
	select {
	case <-ctx.Done():
	case err := <-ended:
		if errors.Is(err, settlement.ErrAhead) {
			return err // without its history the switch would sell twice what it sold
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			a.log.Error("the ledger cannot follow the journal until somebody repairs it; sales go on", "error", err)
		}
		<-ctx.Done()
		return nil
	}
	if !a.handsOver.Load() {
		late, stop := context.WithTimeout(running, catchUpMax)
		defer stop()
		if err := a.drain.CatchUp(late); err != nil {
			a.log.Warn("the ledger is behind the journal; the next start copies the rest", "error", err)
		}
	}
	cancel()
	<-ended
	return nil
}

// migrateRetry is the wait between two tries to reach the ledger at start.
const migrateRetry = time.Second

// migrateWithin bounds the wait for the ledger before terminals are let in.
const migrateWithin = 3 * time.Second

// migrateFirst brings the schema up to date before terminals are let in: what
// they ask of earlier transactions, and what people ask verify, then finds its
// tables. A ledger that is away does not keep the switch from selling: runDrain
// goes on trying.
func (a *app) migrateFirst(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, migrateWithin)
	defer cancel()
	if err := a.makeTables(ctx); err != nil {
		a.log.Warn("the ledger is not there at start", "error", err)
	}
}

// watchFirst puts the watch list in force before terminals are let in, if the
// database is there: followAlerts goes on trying.
func (a *app) watchFirst(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, migrateWithin)
	defer cancel()
	if err := a.readWatchList(ctx); err != nil {
		a.log.Warn("nobody is watched until the database is there", "error", err)
	}
}

// makeTables brings the schemas of the database up to date, once.
func (a *app) makeTables(ctx context.Context) error {
	tables := []func(context.Context) error{a.ledger.Migrate, a.approvals.Migrate, a.alerts.Migrate}
	if a.policies != nil {
		tables = append(tables, a.policies.Migrate)
	}
	for _, migrate := range tables {
		if err := migrate(ctx); err != nil {
			return err
		}
	}
	return nil
}

// migrate brings the schema up to date, however long the ledger is away.
func (a *app) migrate(ctx context.Context) error {
	for try := 0; ; try++ {
		err := a.makeTables(ctx)
		if err == nil {
			return nil
		}
		if try%30 == 0 {
			a.log.Error("the ledger cannot be used yet; sales go on", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(migrateRetry):
		}
	}
}

// monthWithin bounds the wait for the month's use before terminals are let in.
const monthWithin = 10 * time.Second

// loadMonthFirst is loadMonth once, and says whether that was enough.
func (a *app) loadMonthFirst(ctx context.Context, first journal.Position) bool {
	ctx, cancel := context.WithTimeout(ctx, monthWithin)
	defer cancel()
	err := a.countMonth(ctx, first)
	if err != nil {
		a.log.Warn("what the month used is not known yet; its limits bind by what the journal has", "error", err)
	}
	return err == nil
}

// loadMonth counts what the running month used before the journal begins, once
// the ledger can tell.
func (a *app) loadMonth(ctx context.Context, first journal.Position) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(migrateRetry):
		}
		if err := a.countMonth(ctx, first); err == nil {
			a.log.Info("what the month used is counted")
			return nil
		}
	}
}

// countMonth makes the counters of the running month whole. Recovery has counted
// every record of the journal, and what the journal no longer has, the ledger
// has: the head is dropped only up to what is copied. So each record is counted
// once, however far the copying is behind.
func (a *app) countMonth(ctx context.Context, first journal.Position) error {
	business, err := a.cfg.businessDay()
	if err != nil {
		return err
	}
	today := business.Of(time.Now())
	return a.risk.LoadMonth(today, func(add func(risk.Cell, risk.Use)) error {
		if first <= 1 {
			return nil // the journal has it all
		}
		return a.ledger.UsageBefore(ctx, today/100*100+1, today, uint64(first), func(p ledger.Party, u ledger.Use) error {
			add(risk.Cell{Party: risk.Party{Scope: p.Scope, Currency: p.Currency, ID: p.ID}, Method: p.Method, CardType: p.CardType}, risk.Use(u))
			return nil
		})
	})
}

// closeEvery is how often unsettled batches are looked for: once a day there
// are some.
const closeEvery = 10 * time.Minute

// closeBatches closes, CloseAfter the cut-over, what no terminal settled on the
// day before, until ctx ends.
func (a *app) closeBatches(ctx context.Context) error {
	after := a.cfg.Batches.CloseAfter
	day, err := a.cfg.businessDay()
	if err != nil || after == 0 {
		return err
	}
	for {
		over := day.Of(time.Now().Add(-after)).Before() // the last day whose time has come
		closed, err := a.acquirer.CloseBatches(ctx, over)
		if err != nil {
			return err
		}
		if closed > 0 {
			a.log.Warn("batches were closed that no terminal settled; see acqswitch batches list", "count", closed, "day", over.String())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(closeEvery):
		}
	}
}

// settleEvery is how often days that are due are looked for.
const settleEvery = time.Minute

// settleDays settles, Schedule after the cut-over, the days that are due, until
// ctx ends. What fails is tried again; another process may do it first.
func (a *app) settleDays(ctx context.Context) error {
	after := a.cfg.Settlement.Schedule
	day, err := a.cfg.businessDay()
	if err != nil || after == 0 {
		return err
	}
	said := "" // the same failure is told once
	for {
		if err := a.settleDue(ctx, day.Of(time.Now().Add(-after))); ctx.Err() == nil && err != nil && err.Error() != said {
			said = err.Error()
			a.log.Error("a business day is not settled; it is tried again every minute", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(settleEvery):
		}
	}
}

// settleDue settles all days before one that are due.
func (a *app) settleDue(ctx context.Context, before txn.Date) error {
	for {
		due, err := settlement.NextDue(ctx, a.ledger, before)
		if err != nil || due == 0 {
			return err
		}
		if c := a.cfg.Batches.CloseAfter; c > 0 && c <= a.cfg.Settlement.Schedule {
			if _, err := a.acquirer.CloseBatches(ctx, due); err != nil {
				return err
			}
			if err := a.drain.CatchUp(ctx); err != nil {
				return err
			}
		}
		in := a.cfg.runInput(a.ledger, due, time.Now())
		in.OpenJournal = func() (settlement.Journal, error) { return struct{ settlement.Journal }{a.journal}, nil }
		r, err := settlement.Settle(ctx, in)
		if err != nil {
			return err
		}
		for i := range r.Totals {
			t := &r.Totals[i]
			a.log.Info("business day settled", "day", r.Date, "currency", t.Currency, "transactions", t.Transactions, "net", t.Major(t.Net), "paid", t.Major(t.Paid),
				"carried_forward", t.Major(t.Closing), "exceptions", r.Exceptions, "directory", r.Directory)
		}
	}
}

// truncateEvery is how often the head of the journal is dropped.
const truncateEvery = 10 * time.Minute

// truncate drops what neither the ledger nor a restart needs any more, until
// ctx ends. What stays is the previous business day, this one, and whatever
// owes a reversal.
func (a *app) truncate(ctx context.Context) error {
	day, err := a.cfg.businessDay()
	if err != nil {
		return err
	}
	ticker := time.NewTicker(truncateEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			floor := min(a.acquirer.Floor(day.Of(now)), journal.Position(a.drain.Stats().Position+1))
			if err := a.journal.Truncate(floor); err != nil {
				a.log.Error("the journal's head cannot be dropped; it grows until it can", "error", err)
			}
		}
	}
}

// serveAdmin answers operators until ctx ends.
func (a *app) serveAdmin(ctx context.Context) error {
	return serveHTTP(ctx, a.admin, a.telemetry.Handler(a.notReady))
}

// serveHTTP serves until ctx ends.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
	}
	go func() {
		<-ctx.Done()
		late, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		srv.Shutdown(late)
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// notReady says why sales cannot be made now, or nothing.
func (a *app) notReady(context.Context) error {
	for _, is := range a.issuers.Status() {
		if is.Up > 0 {
			return nil
		}
	}
	return errors.New("no issuer link is up")
}

func (a *app) close() error {
	var errs []error
	for i := len(a.closers) - 1; i >= 0; i-- {
		if err := a.closers[i](); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	a.closers = nil
	return errors.Join(errs...)
}

// reload reads the files of the registry and of the downloads again; a bad one
// leaves the old in force.
func (a *app) reload() {
	a.reloadRegistry()
	a.reloadPolicy()
	if err := a.loadCardTypes(); err != nil {
		a.log.Error("types of cards not reloaded, the old ones stay in force", "error", err)
	}
	if a.downloads == nil {
		return
	}
	contents, err := readDownloads(a.cfg.Downloads)
	if err != nil {
		a.log.Error("downloads not reloaded, the old ones stay in force", "error", err)
		return
	}
	a.downloads.Replace(contents)
	a.log.Info("downloads reloaded", "file", a.cfg.Downloads)
}

// loadCardTypes reads the table of card prefixes, which fees are priced by too.
// Without one no card's type is known.
func (a *app) loadCardTypes() error {
	text, path, err := a.cfg.input("types of cards", a.cfg.Settlement.Cards, "cards.csv", fee.FileSizeMax)
	if errors.Is(err, os.ErrNotExist) && a.cfg.Settlement.Cards == "" {
		text, err = []byte("prefix,card\n"), nil
		a.log.Warn("there is no table of cards: no limit of a type of cards will bind", "file", path)
	}
	if err != nil {
		return err
	}
	table, problems := txn.ParseCardTable(text)
	if len(problems) > 0 {
		p := problems[0]
		return usage(fmt.Errorf("%s:%d: %s: %s", path, p.Line, p.Field, p.What))
	}
	a.cardTypes.Store(table)
	return nil
}

func (a *app) reloadRegistry() {
	if a.office != nil {
		return // it follows the database
	}
	path := a.cfg.path(a.cfg.Registry, "registry.yaml")
	snapshot, err := readRegistry(path)
	if err != nil {
		a.log.Error("registry not reloaded, the old one stays in force", "error", err)
		return
	}
	a.registry.Replace(snapshot)
	merchants, terminals := snapshot.Len()
	a.log.Info("registry reloaded", "file", path, "merchants", merchants, "terminals", terminals)
}

// live is the running switch's memory for verify.
type live struct{ a *app }

func (l live) Idle() bool {
	f := l.a.acquirer.Figures()
	return f.InFlight == 0 && f.ReversalsSending == 0 && l.a.risk.InFlight() == 0
}

func (l live) Owed() int64 { return l.a.acquirer.Figures().ReversalsOwed }

func (l live) Batches(fn func(*batch.Batch)) { l.a.acquirer.Batches().Each(fn) }

func (l live) Usage() iter.Seq2[txn.Date, iter.Seq2[ledger.Party, ledger.Use]] {
	return usesOf(l.a.risk.Days(), l.a.risk.Usage)
}

func (l live) Months() iter.Seq2[txn.Date, iter.Seq2[ledger.Party, ledger.Use]] {
	return usesOf(l.a.risk.Months(), l.a.risk.MonthUsage)
}

func usesOf(dates []txn.Date, usage func(txn.Date) iter.Seq2[risk.Cell, risk.Use]) iter.Seq2[txn.Date, iter.Seq2[ledger.Party, ledger.Use]] {
	return func(yield func(txn.Date, iter.Seq2[ledger.Party, ledger.Use]) bool) {
		for _, date := range dates {
			if !yield(date, func(yield func(ledger.Party, ledger.Use) bool) {
				for c, u := range usage(date) {
					if !yield(ledger.Party{Scope: c.Scope, Currency: c.Currency, ID: c.ID, Method: c.Method, CardType: c.CardType}, ledger.Use(u)) {
						return
					}
				}
			}) {
				return
			}
		}
	}
}
