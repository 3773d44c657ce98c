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
	"time"

	"github.com/acqswitch/acqswitch/risk/alert"
	"github.com/acqswitch/acqswitch/risk/policy"
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

// runName is how the directory of a run is named: by when it began.
const runName = "20060102-150405.000"

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
		r.dir = filepath.Join(r.o.data, time.Now().Format(runName))
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
	// around the cut-over would see them start again. So would one that is taken up with
	// another cut-over than it began with.
	began, err := time.ParseInLocation(runName, filepath.Base(r.dir), time.Local)
	if err != nil {
		return usage(fmt.Errorf("%s is not named as a run's directory: %w", r.dir, err))
	}
	if zone, err := time.LoadLocation(cfg.Zone); err == nil && began.In(zone).Hour() >= 22 {
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
			Name: name, Hosts: issuer.Hosts{sim.Addr()}, BINs: fleet.SampleIssuers[name], Timeout: 2 * time.Second, UTCOffset: 8 * time.Hour,
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
		fmt.Fprintf(b, "  - {name: %q, address: %q, bins: [\"%s\"], utc_offset: %v}\n", is.Name, is.Hosts[0], strings.Join(is.BINs, `", "`), is.UTCOffset)
	}
	if err := replaceFile(filepath.Join(r.dir, configFile), func(w io.Writer) error { _, err := b.WriteTo(w); return err }); err != nil {
		return fmt.Errorf("write the run's configuration: %w", err)
	}
	return nil
}

// writeSampleKeys writes the test master keys of the sample terminals that sign
// on, as --tmk of other commands takes them, and the initial keys of the DUKPT ones
// behind a #, for load and replay refuse these.
func writeSampleKeys(path string, reg *registry.Snapshot) error {
	text, dukpt := "# Test keys of the sample terminals, for --tmk of load, replay and script run.\n", ""
	for t := range reg.Terminals() {
		switch tid := t.ID.String(); {
		case t.Keys == txn.KeysMasterSession:
			text += fmt.Sprintf("%s %X %s %03d %v\n", tid, []byte(fleet.SampleTMK(tid)), t.Serial, fleet.SampleKeySet(tid), t.MAC)
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
