package settlement

import (
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// The books that must agree on a day are those of terminals (their batches), the
// journal, the ledger with what was posted from it, and issuers. Journal and ledger
// are compared before a run begins: a difference is a refusal. Postings and ledger
// are compared before anything is booked. Where terminals do not agree, the batch
// and its transactions are exceptions. Issuers' totals are listed by the ledger; what
// they send is held against that when it is there (package reconcile).

// inJournal is what the journal has of a day.
type inJournal struct {
	undecided []txn.ID
	begin     journal.Position // of the day's first record; 0: there is none
	end       uint64           // position of the last record up to the day
	whole     bool             // nothing of the day was truncated
}

// readJournal reads whether a day is decided. What was truncated is, and in the
// ledger.
func readJournal(ctx context.Context, j Journal, day txn.Date) (*inJournal, error) {
	r := &inJournal{whole: j.First() <= 1}
	open := map[txn.ID]struct{}{}
	var rec txn.Record
	err := j.Scan(j.First(), func(pos journal.Position, b []byte) error {
		if err := rec.Unmarshal(b); err != nil {
			return fmt.Errorf("decode journal record %d: %w", pos, err)
		}
		if pos == j.First() && rec.Day < day {
			r.whole = true
		}
		if rec.Day > day {
			return ctx.Err()
		}
		r.end = uint64(pos)
		if rec.Day == day && r.begin == 0 {
			r.begin = pos
		}
		switch rec.Kind {
		case txn.RecordIntent:
			open[rec.ID] = struct{}{}
		case txn.RecordOutcome:
			delete(open, rec.ID)
		}
		return nil
	})
	for id := range open {
		r.undecided = append(r.undecided, id)
	}
	slices.Sort(r.undecided)
	return r, err
}

// equalsLedger holds the day's records up to a position against the ledger's rows: both
// must come to the same sums. A first pass over the records finds what is undone, the
// second adds up what counts.
func (r *inJournal) equalsLedger(ctx context.Context, j Journal, l *ledger.Ledger, day txn.Date, upTo uint64) error {
	undone, parts, noted := map[txn.ID]struct{}{}, map[txn.ID]int64{}, map[txn.ID]struct{}{}
	sums := map[txn.Currency]ledger.Gross{}
	for _, each := range [...]func(*txn.Record){
		func(rec *txn.Record) {
			switch rec.Kind {
			case txn.RecordReversalDue, txn.RecordReversalDone:
				switch {
				case rec.Stays == 0:
					undone[rec.Original] = struct{}{}
				case rec.Kind == txn.RecordReversalDue:
					parts[rec.Original] += rec.Undoes()
				}
			case txn.RecordAdviceDone:
				if rec.Reason != txn.IssuerDeclined {
					noted[rec.Original] = struct{}{}
				}
			}
		},
		func(rec *txn.Record) {
			if rec.Kind != txn.RecordOutcome || rec.Request.Totals() == txn.NoEffect {
				return
			}
			_, gone := undone[rec.ID]
			_, late := noted[rec.ID]
			if !gone && (rec.Taken() || late && rec.Outcome == txn.OutcomeUnknown && rec.Request == txn.KindRefund) {
				g := sums[rec.Amount.Currency]
				addGross(&g, rec.Request.Totals(), rec.Amount.Minor-parts[rec.ID])
				sums[rec.Amount.Currency] = g
			}
		},
	} {
		if r.begin == 0 {
			break
		}
		var rec txn.Record
		err := j.Scan(r.begin, func(pos journal.Position, b []byte) error {
			if uint64(pos) > upTo {
				return ctx.Err()
			}
			if err := rec.Unmarshal(b); err != nil {
				return fmt.Errorf("decode journal record %d: %w", pos, err)
			}
			if rec.Day == day {
				each(&rec)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	gross, err := l.Gross(ctx, day, upTo)
	if err != nil {
		return err
	}
	for _, c := range sortedKeys(union(sums, gross)) {
		if ours, theirs := sums[c], gross[c]; ours != theirs {
			return refuse("%s cannot be settled: in %s the journal has %s, the ledger %s; acqswitch verify names the transactions",
				day, c.Letters(), grossText(ours, c), grossText(theirs, c))
		}
	}
	return nil
}

func union[K comparable, V any](a, b map[K]V) map[K]struct{} {
	all := map[K]struct{}{}
	for k := range a {
		all[k] = struct{}{}
	}
	for k := range b {
		all[k] = struct{}{}
	}
	return all
}

func grossText(g ledger.Gross, c txn.Currency) string {
	return fmt.Sprintf("%d transactions for %s and %s", g.Count, majorUnits(g.Debit, c), majorUnits(g.Credit, c))
}

// How the batch of a transaction ended.
const (
	endedEven   = "settled, even"
	endedUneven = "settled, uneven"
	endedByUs   = "closed by the switch"
	endedOpen   = "not settled"
)

// readBatches reads how terminals settled since the run before, and writes what
// they have that we do not have, or otherwise.
func (a *aggregate) readBatches(ctx context.Context, s *ledger.Snapshot, prior *ledger.Run) error {
	err := s.BatchFacts(ctx, prior.Day, prior.Position, a.run.Position, func(b *ledger.Batch) error {
		k := batchOf{b.Merchant, b.Terminal, b.Number, b.Currency}
		last := a.batches[k]
		if b.Step != txn.StepSettle { // what was compared stands
			b.Result, b.Theirs = last.Result, last.Theirs
		}
		a.batches[k] = *b
		return nil
	})
	if err != nil {
		return err
	}
	uneven := make([]batchOf, 0)
	for k, b := range a.batches {
		if ended(&b) == endedUneven {
			uneven = append(uneven, k)
		}
	}
	slices.SortFunc(uneven, compareBatches)
	for _, k := range uneven {
		t := a.batches[k].Theirs
		a.exception(classBatch, k.merchant.String(), a.run.Day.String(), k.terminal.String(), six(k.number), "", "", "", "settlement", k.currency.Letters(),
			majorUnits(t.Debit.Minor-t.Credit.Minor, k.currency), "the terminal's totals are not ours; its batch is listed item by item where it was uploaded")
	}
	return s.BatchItems(ctx, prior.Day, prior.Position, a.run.Position, func(x *ledger.BatchException) error {
		kind := ""
		if x.Item.Kind != txn.KindUnknown {
			kind = x.Item.Kind.String()
		}
		m := func(minor int64) string { return majorUnits(minor, x.Currency) }
		a.exception(classBatch, x.Merchant.String(), a.run.Day.String(), x.Terminal.String(), six(x.Number), six(x.Item.STAN), "", "", kind, x.Currency.Letters(),
			m(x.Item.Minor), fmt.Sprintf("%s: the terminal has %s, we have %s", x.Item.Verdict, m(x.Item.Minor), m(x.Item.Ours)))
		return nil
	})
}

func compareBatches(x, y batchOf) int {
	return cmp.Or(compareMerchants(x.merchant, y.merchant), slices.Compare(x.terminal[:], y.terminal[:]), cmp.Compare(x.number, y.number), cmp.Compare(x.currency, y.currency))
}

func ended(b *ledger.Batch) string {
	switch {
	case slices.Contains(b.Result[:], txn.Uneven):
		return endedUneven
	case slices.Contains(b.Result[:], txn.Even):
		return endedEven
	case b.Step == txn.StepClose:
		return endedByUs
	}
	return endedOpen
}

// closeBatches writes the lines of the merchant's batches.
func (a *aggregate) closeBatches() {
	for _, k := range slices.SortedFunc(maps.Keys(a.inBatches), compareBatches) {
		t, b := a.inBatches[k], a.batches[k]
		how := settledAs{k.currency, ended(&b)}
		a.out.line(batchesFile, a.run.Day.String(), k.merchant.String(), k.terminal.String(), six(k.number), k.currency.Letters(),
			count(t.Debit), majorUnits(t.Debit.Minor, k.currency), count(t.Credit), majorUnits(t.Credit.Minor, k.currency), how.how)
		g := made(a.settled, how)
		g.Count += int64(t.Debit.Count) + int64(t.Credit.Count)
		g.Debit += t.Debit.Minor
		g.Credit += t.Credit.Minor
	}
	clear(a.inBatches)
}

// writeProof writes what each book has of the day.
func (a *aggregate) writeProof(gross map[txn.Currency]ledger.Gross) {
	line := func(name, of string, c txn.Currency, g ledger.Gross, result string) {
		a.out.line(proofFile, name, of, c.Letters(), strconv.FormatInt(g.Count, 10), majorUnits(g.Debit, c), majorUnits(g.Credit, c), result)
	}
	for _, c := range sortedKeys(gross) {
		line("ledger", "", c, gross[c], "")
		line("postings", "", c, a.own[c], "equal")
		if a.run.Compared {
			line("journal", "", c, gross[c], "equal")
		} else {
			line("journal", "", c, ledger.Gross{}, "not compared: it does not have the whole day any more")
		}
		for _, how := range [...]string{endedEven, endedUneven, endedByUs, endedOpen} {
			if g := a.settled[settledAs{c, how}]; g != nil {
				line("terminals", how, c, *g, map[string]string{endedEven: "equal", endedUneven: "see exceptions.csv"}[how])
			}
		}
		var issuers []issuerOf
		for k := range a.issuers {
			if k.currency == c {
				issuers = append(issuers, k)
			}
		}
		slices.SortFunc(issuers, func(x, y issuerOf) int { return slices.Compare(x.issuer[:], y.issuer[:]) })
		for _, k := range issuers {
			line(IssuerBook, k.issuer.String(), c, *a.issuers[k], "by the ledger; acqswitch proof holds it against the issuer's file")
		}
	}
}

// ProofLine is what one book has of a settled day, as its run wrote it.
type ProofLine struct {
	Book     string `json:"book"`
	Of       string `json:"of,omitempty"`
	Currency string `json:"currency"`
	Count    string `json:"count"`
	Debits   string `json:"debits"` // in major units, as Credits
	Credits  string `json:"credits"`
	Result   string `json:"result,omitempty"`
}

// The book of issuers in a proof, by the ledger.
const IssuerBook = "issuer"

// ReadProof reads what the run of a day proved from its files below dir, whose hashes
// must be those that the ledger knows. A day that is not settled is an approval.Refusal.
func ReadProof(ctx context.Context, l *ledger.Ledger, dir string, day txn.Date) ([]ProofLine, error) {
	runs, err := l.Runs(ctx)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(runs, func(r ledger.Run) bool { return r.Day == day && r.State == ledger.RunDone })
	if at < 0 {
		return nil, refuse("%s is not settled yet: settle it first", day)
	}
	dir = filepath.Join(dir, day.String())
	if !intact(dir, runs[at].Manifest) {
		return nil, refuse("the files of %s are not those that its run wrote: acqswitch settle --date %s writes them again", day, day)
	}
	f, err := os.Open(filepath.Join(dir, proofFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	lines := []ProofLine{}
	for _, r := range rows[1:] {
		lines = append(lines, ProofLine{r[0], r[1], r[2], r[3], r[4], r[5], r[6]})
	}
	return lines, nil
}
