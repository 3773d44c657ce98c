package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/risk/alert"
	"github.com/acqswitch/acqswitch/risk/policy"
	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
	acquirer "github.com/acqswitch/acqswitch/switch"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/certs"
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

// archive is the ledger as the switch looks things up in it, with the drain that
// CatchUp waits for.
type archive struct {
	ledger.Archive
	*settlement.Drain
}

// app is one switch, wired. It reads as the architecture: terminals at the
// front, the acquirer in the middle, issuers behind it, the journal below and
// the ledger behind the journal.
type app struct {
	cfg       *config
	logs      *telemetry.LogQueue
	log       *slog.Logger
	telemetry *telemetry.Telemetry
	registry  *registry.Store
	office    *office.Office // nil: the registry is a file
	version   office.Version // of the office's registry that is in force at start
	journal   *journal.Journal
	ledger    *ledger.Ledger
	db        *sqldb.DB // the ledger's database, for all else that keeps rows
	approvals *approval.Desk
	alerts    *alert.Workbench
	policies  *policy.Store     // nil: the policy is a file's
	measured  map[txn.Rule]bool // own rules whose counts are published
	drain     *settlement.Drain
	risk      *risk.Engine
	noTables  atomic.Pointer[error] // why the ledger's tables cannot be used yet, nil when they can
	tried     chan struct{}         // closed when runDrain has tried to make them
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
	adminTLS  *certs.Kept // nil: it is plain
	overdue   overdue
	clock     *clock
	control   net.Listener // for commands beside the switch
	recovery  acquirer.Recovery
	disk      *diskWatch

	wrongMACs    wrongMACs
	watchVersion int64 // of the watch list in force; followAlerts owns it once it runs

	linksFirst []string    // issuers whose links terminals wait for
	handsOver  atomic.Bool // another program goes on at once: the ledger can wait

	stages  *stages
	stops   func() // called when a stop begins, or a start has failed
	closers []func() error
}

// newApp opens everything and binds every address; nothing is served yet.
// After an error nothing stays open.
func newApp(cfg *config, logs io.Writer) (*app, error) {
	a := &app{cfg: cfg, logs: telemetry.NewLogQueue(logs), stages: newStages(), stops: func() {}, tried: make(chan struct{})}
	if err := a.build(); err != nil {
		a.logs.Flush()
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

func (a *app) build() (err error) {
	cfg := a.cfg
	if a.log, err = newLogger(cfg, a.logs); err != nil {
		return usage(err)
	}
	a.clock = newClock(a.log)
	if err := a.clock.set(); err != nil {
		return err
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
	cards, err := cfg.cards()
	if err != nil {
		return err
	}
	if a.journal, err = journal.Open(filepath.Join(cfg.DataDir, "journal"), journal.Config{OnFlush: a.telemetry.Flushed}); err != nil {
		return err
	}
	a.closers = append(a.closers, a.journal.Close)
	if a.ledger, err = ledger.Open(cfg.dsn()); err != nil {
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
	a.drain = settlement.NewDrain(a.journal, a.ledger, uint64(cfg.Ledger.LagMax), a.log)
	if a.risk, err = newRisk(cfg, startPolicy); err != nil {
		return usage(err)
	}
	if a.vault, a.keys, a.keyLog, err = openKeys(cfg, a.log, a.wrongMACs.add); err != nil {
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
	if err := a.openTerminals(); err != nil {
		return err
	}
	if err := a.openAdmin(); err != nil {
		return err
	}
	if a.control, err = listenControl(cfg.DataDir); err != nil {
		return err
	}
	a.closers = append(a.closers, a.control.Close)
	a.disk = &diskWatch{cfg: cfg.Journal.Disk, free: func() (uint64, error) { return freeSpace(cfg.DataDir) }, stop: a.acquirer.StopSales, log: a.log}
	a.measure()
	return nil
}

// openTerminals makes the terminals' front end, and what records them.
func (a *app) openTerminals() error {
	cfg := a.cfg
	front, err := cfg.posConfig()
	if err == nil {
		err = cfg.checkCertificates()
	}
	if err != nil {
		return usage(fmt.Errorf("configuration: %w", err))
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
	return nil
}

// openAdmin binds the operators' address, if there is one.
func (a *app) openAdmin() (err error) {
	cfg := &a.cfg.Admin
	if cfg.Address == "" {
		return nil
	}
	if a.admin, err = net.Listen("tcp", cfg.Address); err != nil {
		return fmt.Errorf("listen for operators: %w", err)
	}
	a.closers = append(a.closers, a.admin.Close)
	if cfg.TLS != nil {
		if a.adminTLS, err = cfg.TLS.Keep(); err != nil {
			return fmt.Errorf("listen for operators: %w", err)
		}
	}
	return nil
}

// openRegistry puts the registry in force, from its file or its database.
func (a *app) openRegistry(cards *keys.Cards) (err error) {
	var snapshot *registry.Snapshot
	if a.cfg.RegistryFrom == "file" {
		snapshot, err = a.cfg.registryFile()
	} else {
		if a.office, err = a.cfg.office(a.db, cards); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), officeWithin)
		defer cancel()
		if err := a.office.Migrate(ctx); err != nil {
			return fmt.Errorf("registry_from: database: %w", err)
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
	cfg.Believed = a.clock.now
	if err := a.loadCardTypes(); err != nil {
		return err
	}
	cfg.CardType = func(pan *txn.PAN) txn.CardType { return a.cardTypes.Load().TypeOf(pan) }
	unmatched, malformed, late := map[string]*telemetry.Counter{}, map[string]*telemetry.Counter{}, map[txn.IssuerID]*telemetry.Histogram{}
	pace := map[string]*linePace{}
	for _, is := range a.cfg.Issuers {
		if unmatched[is.Name] == nil {
			label := telemetry.Label{Key: "issuer", Value: is.Name}
			pace[is.Name] = new(linePace)
			unmatched[is.Name], malformed[is.Name] = a.telemetry.Counter(telemetry.LinkUnmatched, label), a.telemetry.Counter(telemetry.LinkMalformed, label)
			late[txn.MakeIssuerID(is.Name)] = a.telemetry.Histogram(telemetry.LateAfter, telemetry.Seconds, label)
		}
	}
	links := newLinkLog(a.log)
	hooks := issuer.Hooks{
		Late: func(l issuer.Late) {
			if after, known := a.acquirer.Late(l.Leg, &l.Reply); known {
				late[l.Leg.Issuer].Observe(after)
			}
		},
		LinkUp:   links.won,
		LinkDown: links.lost,
		Breaker:  func(name, state string) { a.log.Warn("issuer breaker changed", "issuer", name, "state", state) },
		CutOver: func(name string, day [4]byte) {
			a.log.Info("issuer began its next business day", "issuer", name, "settlement_date", txn.Text(day[:]))
		},
		Unmatched: func(name string, head txn.ReplyHead, why string) {
			unmatched[name].Add(1)
			if log := pace[name].on(a.log); log != nil {
				log.Warn("issuer message answers no request", "issuer", name, "mti", fmt.Sprintf("%04x", head.MTI), "stan", head.STAN, "why", why)
			}
		},
		NewKey: a.takeSentKey,
		HasKey: func(of txn.IssuerID, mac bool) bool {
			_, err := a.keys.SentKey(of, mac)
			return err == nil
		},
		Malformed: func(name string, err error) {
			malformed[name].Add(1)
			if log := pace[name].on(a.log); log != nil {
				log.Warn("issuer message cannot be used", "issuer", name, "error", err)
			}
		},
	}
	if a.issuers, err = a.cfg.router(a.journal, a.keys, hooks); err != nil {
		return usage(fmt.Errorf("configuration: %w", err))
	}
	parts := acquirer.Parts{
		Registry: func() acquirer.Registry { return a.registry.Snapshot() },
		Risk:     a.risk, Issuers: a.issuers, Journal: a.journal, Cards: cards, Guard: a.keys,
		Archive: archive{a.ledger.Archive(), a.drain}, Log: a.log,
	}
	if a.downloads != nil {
		parts.Librarian = a.downloads
	}
	if a.acquirer, err = acquirer.New(cfg, parts); err != nil {
		return usage(fmt.Errorf("configuration: %w", err))
	}
	return nil
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
