package settlement

import (
	"context"
	"fmt"

	"github.com/acqswitch/acqswitch/settlement/book"
	"github.com/acqswitch/acqswitch/settlement/fee"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// pricer prices facts, each deal by the schedule that the run of its first
// transaction used. It is for one goroutine.
type pricer struct {
	ctx       context.Context
	ledger    *ledger.Ledger
	runs      []ledger.Run // in order of days
	schedules map[string]*fee.Schedule
	volumes   map[txn.Date]map[ledger.Claim]int64 // by the first day of the month after
}

func newPricer(ctx context.Context, l *ledger.Ledger, runs []ledger.Run, current *fee.Schedule) *pricer {
	p := &pricer{ctx, l, runs, map[string]*fee.Schedule{}, map[txn.Date]map[ledger.Claim]int64{}}
	if current != nil {
		p.schedules[current.Sum()] = current
	}
	return p
}

// load is the schedule of a hash.
func (p *pricer) load(sum string) (*fee.Schedule, error) {
	if s := p.schedules[sum]; s != nil {
		return s, nil
	}
	stored, err := p.ledger.Schedule(p.ctx, sum)
	if err != nil {
		return nil, err
	}
	s, err := fee.Load(fee.File{Name: "stored plans", Text: []byte(stored.Plans)}, fee.File{Name: "stored cards", Text: []byte(stored.BINs)}, nil)
	if err == nil && s.Sum() != sum {
		err = fmt.Errorf("fee schedule %s in the ledger is not what was stored", sum)
	}
	p.schedules[sum] = s
	return s, err
}

// priced is what a fact is in the books, and how that came about.
type priced struct {
	book.Result
	Terms         fee.Terms
	Why           fee.Unpriced
	Before, After int64 // what its deal came to
	Volume        int64 // of the merchant, where the schedule has tiers
	Alone         bool  // it undoes a transaction that is not in the ledger
	Schedule      string
}

// volume is what a merchant's sales came to in the runs of the calendar month
// before a day. These are done when a run of the day's month begins, and never
// change.
func (p *pricer) volume(day txn.Date, of ledger.Claim) (int64, error) {
	month := day/100*100 + 1
	all, ok := p.volumes[month]
	if !ok {
		var err error
		if all, err = p.ledger.Volumes(p.ctx, month.Before()/100*100+1, month); err != nil {
			return 0, err
		}
		p.volumes[month] = all
	}
	return all[of], nil
}

// price is pure except that it reads schedules: the same fact has the same price in
// every run that counts it and in every explanation.
func (p *pricer) price(f *ledger.Fact) (priced, error) {
	effect := f.Kind.Totals()
	r := priced{Result: book.Result{Effect: effect, Minor: f.Amount.Minor, Undo: f.Undo}, Before: f.Before}
	if r.Alone = f.Names && !f.Root && effect == txn.Credit; r.Alone {
		r.Before = f.Amount.Minor
	}
	r.After = r.Before + int64(effect)*f.Amount.Minor
	run := &p.runs[len(p.runs)-1]
	for i := range p.runs {
		if c := &p.runs[i]; c.Day >= f.RootDay && c.Position >= f.RootPosition {
			run = c
			break
		}
	}
	s, err := p.load(run.Fees)
	if err != nil {
		return r, err
	}
	r.Schedule = run.Fees
	d := fee.Deal{Merchant: f.Merchant, Day: f.RootDay, MCC: f.RootMCC, Currency: f.Amount.Currency, Masked: f.RootMasked, Way: f.RootEntry.Way()}
	if s.Tiers() {
		if d.Volume, err = p.volume(f.RootDay, ledger.Claim{Merchant: f.Merchant, Currency: f.Amount.Currency}); err != nil {
			return r, err
		}
	}
	r.Volume = d.Volume
	r.Terms, r.Why = s.Terms(&d)
	if r.Why != fee.Priced {
		r.Parked = true
		return r, nil
	}
	fees := r.Terms.Price(f.Kind, r.Before, r.After)
	r.Fee, r.Interchange, r.Network = fees.Merchant, fees.Interchange, fees.Network
	return r, nil
}
