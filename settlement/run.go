package settlement

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/acqswitch/acqswitch/settlement/fee"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/payout"
	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/txn"
)

const (
	// After is how long after the cut-over a day is left alone: terminals may
	// reverse for ten minutes and undelivered approvals for one. What comes later
	// still is in the run of the day after.
	After = 15 * time.Minute

	// stepsMax is how many steps of a run another machine can do before this one.
	stepsMax = 3

	// runWait is how long a run waits for another one to end.
	runWait  = 10 * time.Minute
	lockPoll = 50 * time.Millisecond

	// progressEvery is how many transactions are priced between two words about it.
	progressEvery = 10_000

	// originalDays is at least how many days older than a transaction its original
	// may be (originals.refund_days, preauth_days).
	originalDays = 180

	// earlyWait is how long a run of the current day waits for the ledger to have
	// what the journal had at its begin.
	earlyWait = 10 * time.Second
)

// RunInput is what an end-of-day run works on.
type RunInput struct {
	Ledger *ledger.Ledger
	// OpenJournal gives the journal of the switch, which may be running. It is
	// called at most once, for a day that has no run yet.
	OpenJournal func() (Journal, error)
	// Fees gives the schedule of a day that has no run yet; a run that was begun
	// keeps its own.
	Fees func() (*fee.Schedule, error)
	// Payouts gives how merchants are paid, likewise.
	Payouts func() (*payout.Terms, error)
	// OpenAccount gives the number of an account that is kept sealed in the terms
	// of a run, those of a registry in a database.
	OpenAccount func(merchant, sealed string) (number string, err error)

	Day      txn.Date
	Calendar txn.BusinessDay
	Now      time.Time
	// Dir is where a directory of files is made for each day.
	Dir string
	// Early settles a day that is not over, with what the ledger has of it so far:
	// what comes later is in the run of the day after, as all that comes late.
	Early bool
	// DryRun changes nothing and writes no files.
	DryRun bool

	// Progress, if not nil, is told how many of the day's transactions are priced,
	// every now and then.
	Progress func(done, all int64)

	// step is told of each step that is done; an error is a kill at that point:
	// nothing after it is run, nothing is cleaned up.
	step func(string) error
}

func refuse(format string, args ...any) error { return approval.Refuse(format, args...) }

// Settle runs the end of a business day: it fixes the facts that count, books
// their postings and writes their files. It may be called any number of times,
// at once, and after a kill at any point: one call does each step, and all
// return the same result.
//
//	step       durable by                  killed before it                  killed after it
//	begun      a row of run                nothing happened                  the facts, the schedule and so every cent are fixed
//	files      fsync, in a hidden folder   written anew                      written anew, byte for byte the same
//	booked     one SQL transaction         no posting is in the ledger       all are; computed again they must be equal
//	published  rename of the folder        no file is seen                   all are
//	done       the row of run              the folder is compared and kept   a further call compares files and prints
func Settle(ctx context.Context, in RunInput) (*RunResult, error) {
	if in.step == nil {
		in.step = func(string) error { return nil }
	}
	if _, err := in.Ledger.Position(ctx); err != nil {
		return nil, fmt.Errorf("settle %s: %w", in.Day, err)
	}
	if !in.DryRun {
		if err := in.Ledger.Migrate(ctx); err != nil {
			return nil, err
		}
		unlock, err := lockRuns(ctx, in.Dir)
		if err != nil {
			return nil, fmt.Errorf("settle %s: %w", in.Day, err)
		}
		defer unlock()
	}
	r, err := in.settle(ctx)
	// Another machine did a step first, with files of its own: what it did is there.
	for range stepsMax {
		if !errors.Is(err, ledger.ErrRunMoved) {
			break
		}
		r, err = in.settle(ctx)
	}
	if err != nil {
		if errors.As(err, new(approval.Refusal)) {
			return nil, err
		}
		return nil, fmt.Errorf("settle %s: %w", in.Day, err)
	}
	return r, nil
}

func (in *RunInput) settle(ctx context.Context) (*RunResult, error) {
	runs, err := in.Ledger.Runs(ctx)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(runs, func(r ledger.Run) bool { return r.Day == in.Day })
	var current *fee.Schedule
	var terms *payout.Terms
	if at < 0 {
		run, err := in.admit(ctx, runs)
		if err != nil {
			return nil, err
		}
		if current, err = in.Fees(); err != nil {
			return nil, err
		}
		if terms, err = in.Payouts(); err != nil {
			return nil, err
		}
		run.At = in.Now.UTC().Truncate(time.Microsecond)
		if err := terms.Ready(run.Day, txn.MakeDate(run.At.In(in.Calendar.Zone))); err != nil {
			return nil, refuse("%s cannot be settled: when its payouts fall due is not known: %v", in.Day, err)
		}
		if run.Fees, run.Payouts = current.Sum(), terms.Sum(); !in.DryRun {
			err := in.Ledger.BeginRun(ctx, run, ledger.Schedule{Sum: current.Sum(), Plans: string(current.Plans()), BINs: string(current.BINs())},
				ledger.Terms{Sum: terms.Sum(), Merchants: string(terms.Text()), Calendar: string(terms.CalendarText())})
			if err != nil {
				return nil, err
			}
		}
		at = len(runs)
		runs = append(runs, *run)
		if err := in.step("begun"); err != nil {
			return nil, err
		}
	}
	run := &runs[at]
	dir := filepath.Join(in.Dir, run.Day.String())
	if run.State == ledger.RunDone && (in.DryRun || intact(dir, run.Manifest)) {
		return in.result(ctx, run, dir)
	}
	if run.State == ledger.RunDone { // its files are made anew, from transactions and their originals
		if err := NotArchived(ctx, in.Ledger, in.Day.Plus(-originalDays), in.Day); err != nil {
			return nil, err
		}
	}
	if terms == nil {
		if terms, err = in.loadTerms(ctx, run.Payouts); err != nil {
			return nil, err
		}
	}
	r := running{RunInput: in, run: run, dir: dir, terms: terms, pricer: newPricer(ctx, in.Ledger, runs, current)}
	if at > 0 {
		r.prior = &runs[at-1]
	}
	return r.finish(ctx)
}

// admit says whether a day can be settled now, and what its run covers.
func (in *RunInput) admit(ctx context.Context, runs []ledger.Run) (*ledger.Run, error) {
	run := &ledger.Run{Day: in.Day}
	if n := len(runs); n > 0 {
		last := &runs[n-1]
		switch {
		case last.Day > in.Day:
			return nil, refuse("%s cannot be settled: %s is settled already, and days are settled in order; what of %s came late is in that run", in.Day, last.Day, in.Day)
		case last.State != ledger.RunDone:
			return nil, refuse("%s cannot be settled: the run of %s has not ended; settle that first", in.Day, last.Day)
		}
		run.Prior = last.Day
	}
	over := in.Calendar.Start(in.Day.After())
	switch {
	case in.Day > in.Calendar.Of(in.Now):
		return nil, refuse("%s cannot be settled: it is in the future", in.Day)
	case in.Early:
	case in.Now.Before(over):
		return nil, refuse("%s cannot be settled: it is not over before %s; with --early what comes until then is in the next day's run", in.Day, over.Format(time.RFC3339))
	case in.Now.Before(over.Add(After)):
		return nil, refuse("%s cannot be settled before %s: its last transactions may still be reversed", in.Day, over.Add(After).Format(time.RFC3339))
	}
	if dir := filepath.Join(in.Dir, in.Day.String()); !in.DryRun {
		if _, err := os.Lstat(dir); err == nil {
			return nil, refuse("%s cannot be settled: the ledger has lost its run, whose files are in %s and may be with the bank; restore a ledger that has it, or move them away to settle it anew", in.Day, dir)
		}
	}
	j, err := in.OpenJournal()
	if err != nil {
		return nil, err
	}
	if c, ok := j.(interface{ Close() error }); ok {
		defer c.Close()
	}
	has, err := readJournal(ctx, j, in.Day)
	if err != nil {
		return nil, err
	}
	if n := len(has.undecided); n > 0 && !in.Early { // of a day that goes on there are always some
		return nil, refuse("%s cannot be settled: %d of its requests are undecided, the first is %s; a running switch decides them within a minute, a stopped one when it starts",
			in.Day, n, has.undecided[0])
	}
	for until := time.Now().Add(earlyWait); ; sleep(ctx, lockPoll) {
		if run.Position, err = in.Ledger.Position(ctx); err != nil {
			return nil, err
		}
		if run.Position >= has.end || !in.Early || time.Now().After(until) {
			break
		}
	}
	if in.Early { // the switch goes on: what it recorded since the journal was opened is in the next run
		run.Position = min(run.Position, uint64(j.Last()))
	}
	if run.Acts, err = in.Ledger.LastAct(ctx); err != nil {
		return nil, err
	}
	if run.Position < has.end {
		return nil, refuse("%s cannot be settled: the ledger is at journal record %d and the day's last is %d; let a running switch drain it", in.Day, run.Position, has.end)
	}
	earlier, err := in.Ledger.Unsettled(ctx, run.Prior, in.Day, run.Position)
	if err != nil {
		return nil, err
	}
	if earlier != 0 {
		return nil, refuse("%s cannot be settled: %s has transactions and is not settled; days are settled in order", in.Day, earlier)
	}
	if run.Compared = has.whole; run.Compared {
		if err := has.equalsLedger(ctx, j, in.Ledger, in.Day, run.Position); err != nil {
			return nil, err
		}
	}
	return run, nil
}

// NextDue is the first business day before a day that has something to settle, or
// whose run has not ended; 0 is none.
func NextDue(ctx context.Context, l *ledger.Ledger, before txn.Date) (txn.Date, error) {
	runs, err := l.Runs(ctx)
	if err != nil {
		return 0, err
	}
	var last txn.Date
	if n := len(runs); n > 0 {
		if last = runs[n-1].Day; runs[n-1].State != ledger.RunDone {
			return last, nil
		}
	}
	position, err := l.Position(ctx)
	if err != nil {
		return 0, err
	}
	return l.Unsettled(ctx, last, before, position)
}

// running is a run from its begin to its end.
type running struct {
	*RunInput
	run, prior *ledger.Run // prior is nil for the first
	dir        string
	terms      *payout.Terms
	*pricer
}

func (r *running) finish(ctx context.Context) (*RunResult, error) {
	schedule, err := r.load(r.run.Fees)
	if err != nil {
		return nil, err
	}
	out := &files{}
	if !r.DryRun {
		if out, err = createFiles(r.dir, r.step); err != nil {
			return nil, err
		}
	}
	a, err := r.compute(ctx, schedule, out)
	if err != nil {
		return nil, errors.Join(err, out.close())
	}
	if r.DryRun {
		r.run.Exceptions = a.exceptions
		return resultOf(r.run, "", totalsOf(a.sums, a.payouts), nil), nil
	}
	prior := ""
	if r.prior != nil {
		prior = fmt.Sprintf("%s  ../%s/%s\n", r.prior.Manifest, r.prior.Day, manifestName)
	}
	manifest, err := out.finish(schedule, r.terms, prior)
	if err != nil {
		return nil, err
	}
	if r.run.State == ledger.RunBegun {
		r.run.Exceptions = a.exceptions
		if err := r.Ledger.BookRun(ctx, r.run, a.sums, a.payouts); err != nil {
			return nil, err
		}
		if err := r.step("booked"); err != nil {
			return nil, err
		}
	} else if err := r.same(ctx, a, manifest); err != nil {
		return nil, err
	}
	if err := publish(out.dir, out.final, manifest); err != nil {
		return nil, err
	}
	if err := r.step("published"); err != nil {
		return nil, err
	}
	if r.run.State == ledger.RunBooked {
		if err := r.Ledger.EndRun(ctx, r.run, manifest); err != nil {
			return nil, err
		}
	}
	if err := r.step("done"); err != nil {
		return nil, err
	}
	return r.result(ctx, r.run, r.dir)
}

// same holds what was computed anew against what the run has booked.
func (r *running) same(ctx context.Context, a *aggregate, manifest string) error {
	left := make(map[ledger.PostingSum]struct{}, len(a.sums))
	for _, s := range a.sums {
		left[s] = struct{}{}
	}
	decided := make(map[ledger.Payout]struct{}, len(a.payouts))
	for _, p := range a.payouts {
		decided[p] = struct{}{}
	}
	err := r.Ledger.Postings(ctx, r.run.Day, func(p *ledger.PostingSum) error {
		if _, ok := left[*p]; !ok {
			return fmt.Errorf("merchant %s has %s on %s booked that its transactions do not give", p.Merchant, p.Item, p.Account)
		}
		delete(left, *p)
		return nil
	})
	if err != nil {
		return err
	}
	err = r.Ledger.Payouts(ctx, r.run.Day, func(p *ledger.Payout) error {
		if _, ok := decided[*p]; !ok {
			return fmt.Errorf("merchant %s has a payout of %d booked that does not follow from what it is owed", p.Merchant, p.Paid)
		}
		delete(decided, *p)
		return nil
	})
	switch {
	case err != nil:
		return err
	case len(left) > 0 || len(decided) > 0 || a.exceptions != r.run.Exceptions:
		return fmt.Errorf("%d postings, %d payouts and %d exceptions more than are booked follow from the transactions", len(left), len(decided), a.exceptions-r.run.Exceptions)
	case r.run.State == ledger.RunDone && manifest != r.run.Manifest:
		return fmt.Errorf("the files made anew have the manifest %s, the run had %s: the ledger's rows or this program changed", manifest, r.run.Manifest)
	}
	return nil
}

// compute prices every fact of the run, decides what is paid, writes all of it out,
// and returns the sums of the postings. It holds some hundred transactions, one
// merchant's sums and what each merchant is owed at a time.
func (r *running) compute(ctx context.Context, schedule *fee.Schedule, out *files) (*aggregate, error) {
	prior := &ledger.Run{}
	if r.prior != nil {
		prior = r.prior
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a := newAggregate(out, r.run, schedule, r.terms, r.Calendar.Zone, r.paidBy(ctx))
	// The database's own sum needs no snapshot: what it has up to a position stays.
	var gross map[txn.Currency]ledger.Gross
	var all atomic.Int64
	summed := make(chan error, 1)
	go func() {
		var err error
		gross, err = r.Ledger.Gross(ctx, r.run.Day, r.run.Position)
		for _, g := range gross {
			all.Add(g.Count)
		}
		summed <- err
	}()
	err := r.Ledger.Read(ctx, func(s *ledger.Snapshot) error {
		if err := a.prepare(ctx, s, prior); err != nil {
			return err
		}
		var done int64
		return ahead(func(put func(*ledger.Fact) error) error { return s.Facts(ctx, r.run, prior.Position, put) }, func(f *ledger.Fact) error {
			if done++; done%progressEvery == 0 && r.Progress != nil {
				r.Progress(done, max(done, all.Load()))
			}
			p, err := r.price(f)
			if err != nil {
				return err
			}
			return a.add(f, p)
		})
	})
	if err != nil {
		cancel()
		<-summed
		return a, err
	}
	if err := <-summed; err != nil {
		return a, err
	}
	return a, a.close(gross)
}

// lockRuns lets one run of a directory go on at a time. The kernel lets go when
// the process ends, however it ends.
func lockRuns(ctx context.Context, dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, runWait)
	defer cancel()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
		}
		sleep(ctx, lockPoll)
		if ctx.Err() != nil {
			return nil, errors.Join(fmt.Errorf("another run is still at work: %w", ctx.Err()), f.Close())
		}
	}
}

// loadTerms are the payout terms of a hash.
func (in *RunInput) loadTerms(ctx context.Context, sum string) (*payout.Terms, error) {
	stored, err := in.Ledger.Terms(ctx, sum)
	if err != nil {
		return nil, err
	}
	t, err := payout.Load(payout.File{Name: "stored payouts", Text: []byte(stored.Merchants)}, payout.File{Name: "stored calendar", Text: []byte(stored.Calendar)},
		payout.Registry{Open: in.OpenAccount})
	if err == nil && t.Sum() != sum {
		err = fmt.Errorf("payout terms %s in the ledger are not what was stored", sum)
	}
	return t, err
}

// paidBy gives the terms of earlier runs.
func (r *running) paidBy(ctx context.Context) func(txn.Date) (*payout.Terms, error) {
	known := map[string]*payout.Terms{r.run.Payouts: r.terms}
	return func(day txn.Date) (*payout.Terms, error) {
		at := slices.IndexFunc(r.runs, func(x ledger.Run) bool { return x.Day == day })
		if at < 0 {
			return nil, fmt.Errorf("a payment of %s came back, and %s has no run", day, day)
		}
		sum := r.runs[at].Payouts
		if known[sum] == nil {
			t, err := r.loadTerms(ctx, sum)
			if err != nil {
				return nil, err
			}
			known[sum] = t
		}
		return known[sum], nil
	}
}
