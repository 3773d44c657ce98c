// Package payout decides what a merchant is paid at the end of a business day,
// when, and why not; writes what the bank is to do as ISO 20022 pain.001, and
// reads what it says to that.
//
// Terms are two strict YAML files, of merchants' accounts and of working days, and
// what a registry says of merchants; Load refuses a bad file, naming line and
// field. Decide is pure: the same terms and the same position give the same decision
// on every machine and at any time. No decision loses money: what is neither paid
// nor reserved is carried forward, and so is what a merchant owes us.
//
// Not here: what a merchant is owed and what a payment's answer books (package
// settlement), where holds are kept (package ledger).
package payout

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Cycle is when a merchant is paid for a business day.
type Cycle uint8

// The cycles. T counts working days, D calendar days.
const (
	TPlus1 Cycle = iota
	DPlus1
	TPlus0
	DPlus0
)

var cycleNames = [...]string{"T+1", "D+1", "T+0", "D+0"}

func (c Cycle) String() string { return cycleNames[c] }

// sameDay says that a cycle needs a merchant with a history (rule M08).
func (c Cycle) sameDay() bool { return c == TPlus0 || c == DPlus0 }

// The history that a same-day cycle needs: days since the merchant came, and
// business days with sales among the TradingWindow days before. A merchant without
// it is paid T+1.
const (
	OnboardDaysMin = 90
	TradingDaysMin = 30
	TradingWindow  = 90
)

// Account is where money goes to.
type Account struct {
	Currency     txn.Currency
	Name, Number string // Number is an IBAN or a bank's own
	Bank         string // BIC of 8 or 11 characters, or CNAPS code of 12 digits
	Min          int64  // what is less is carried forward
}

// Merchant is how one merchant is paid.
type Merchant struct {
	Cycle        Cycle
	Weekdays     []time.Weekday // of the business days after which it is paid; none is all
	Onboarded    txn.Date       // 0: not known
	LicenceUntil txn.Date       // 0: not watched
	Held         bool           // by the registry
	ReservePPM   int64          // millionths of a day's net that are kept back
	ReserveDays  int            // and given back so many days later
	Accounts     []Account      // at most one of a currency
}

// Why is why a merchant is paid or not. The zero value pays.
type Why uint8

// The reasons, in order of precedence.
const (
	Paid Why = iota
	NothingIsOwed
	MerchantOwes
	PayoutsAreHeld
	LicenceHasExpired
	AccountIsMissing
	AccountWasRefused
	PayerAccountIsMissing
	NotAPayoutDay
	BelowMinimum
)

var whyNames = [...]string{
	"paid",
	"nothing is owed",
	"the merchant owes: carried forward",
	"payouts are held",
	"the merchant's licence has expired: payouts are held",
	"the merchant has no payout account in this currency",
	"a payout to this account came back",
	"we have no account to pay from in this currency",
	"not a payout day of this merchant",
	"below the minimum payout",
}

func (w Why) String() string { return whyNames[w] }

// Exception says that people must look at it.
func (w Why) Exception() bool {
	switch w {
	case PayoutsAreHeld, LicenceHasExpired, AccountIsMissing, AccountWasRefused, PayerAccountIsMissing:
		return true
	}
	return false
}

// Position is what a merchant is owed in a currency, in minor units: what the run
// before left, what the day added, what was corrected, what came back of earlier
// payouts, what disputes took or gave back, and what comes back from its reserve.
// Less than zero is owed by it.
type Position struct {
	Merchant                                                txn.MerchantID
	Currency                                                txn.Currency
	Opening, Net, Corrections, Returned, Disputes, Released int64
	// Held is why payouts are held; empty: they are not.
	Held string
	// Refused are accounts to which payouts were made that came back, and why.
	Refused []RefusedAccount
	// TradingDays are the business days with sales in the TradingWindow.
	TradingDays int
}

// RefusedAccount is an account that a payout came back from: nothing is paid to it until
// it is another one, or somebody says that it is in order.
type RefusedAccount struct {
	Account Account
	Why     string
}

// balance is what could be paid.
func (p *Position) balance() int64 {
	return p.Opening + p.Net + p.Corrections + p.Returned + p.Disputes + p.Released
}

// refused is why an account is not paid to; empty: it may be.
func (p *Position) refused(a *Account) string {
	for i := range p.Refused {
		if r := &p.Refused[i]; r.Account.Name == a.Name && r.Account.Number == a.Number && r.Account.Bank == a.Bank {
			return r.Why
		}
	}
	return ""
}

// Decision is what is done about a position.
type Decision struct {
	Reserved     int64
	ReserveUntil txn.Date // the run of this day, or the next after it, gives it back
	Pay          int64
	Closing      int64 // carried forward
	Cycle        Cycle // as granted; of a merchant without terms T+1
	Demoted      bool  // a same-day cycle was asked for and not granted
	Executes     txn.Date
	Account      *Account // of Pay
	Why          Why
	Held         string // of PayoutsAreHeld: by whom, for what; of AccountWasRefused: why
}

// Decide decides about the position after a business day whose run began on a
// calendar day. Execution dates are never before that day. It fails with ErrYear,
// which Ready looks for first.
func (t *Terms) Decide(p *Position, day, began txn.Date) (d Decision, err error) {
	m := t.merchants[p.Merchant]
	if m == nil {
		m = &Merchant{}
	}
	d.Cycle = m.Cycle
	if d.Cycle.sameDay() && (m.Onboarded == 0 || day < m.Onboarded.Plus(OnboardDaysMin) || p.TradingDays < TradingDaysMin) {
		d.Cycle, d.Demoted = TPlus1, true
	}
	balance := p.balance()
	if m.ReservePPM > 0 && p.Net > 0 && balance > 0 {
		d.Reserved = min(txn.ShareDown(p.Net, m.ReservePPM), balance) // no more than was agreed
		d.ReserveUntil = day.Plus(m.ReserveDays)
	}
	d.Closing = balance - d.Reserved
	account, payer := find(m.Accounts, p.Currency), find(t.payer, p.Currency)
	switch {
	case d.Closing == 0:
		d.Why = NothingIsOwed
	case d.Closing < 0:
		d.Why = MerchantOwes
	case p.Held != "":
		d.Why, d.Held = PayoutsAreHeld, p.Held
	case m.Held:
		d.Why, d.Held = PayoutsAreHeld, "the merchant is on hold in the registry"
	case m.LicenceUntil != 0 && m.LicenceUntil < began:
		d.Why = LicenceHasExpired
	case account == nil:
		d.Why = AccountIsMissing
	case p.refused(account) != "":
		d.Why, d.Held = AccountWasRefused, p.refused(account)
	case payer == nil:
		d.Why = PayerAccountIsMissing
	case len(m.Weekdays) > 0 && !slices.Contains(m.Weekdays, day.In(time.UTC).Weekday()):
		d.Why = NotAPayoutDay
	case d.Closing < account.Min:
		d.Why = BelowMinimum
	default:
		d.Account, d.Pay, d.Closing = account, d.Closing, 0
		d.Executes, err = t.executes(d.Cycle, day, began)
	}
	return d, err
}

// AccountOf is where a merchant is paid in a currency; nil: nowhere.
func (t *Terms) AccountOf(m txn.MerchantID, c txn.Currency) *Account {
	if t.merchants[m] == nil {
		return nil
	}
	return find(t.merchants[m].Accounts, c)
}

// executes is the day on which the bank is to pay.
func (t *Terms) executes(c Cycle, day, began txn.Date) (txn.Date, error) {
	switch c {
	case DPlus1:
		return max(day.After(), began), nil
	case DPlus0:
		return max(day, began), nil
	case TPlus0:
		return t.Calendar.from(max(day, began))
	}
	return t.Calendar.from(max(day.After(), began))
}

// Ready says whether every execution date of a run can be known, and whether the
// holidays are told that it was moved by.
func (t *Terms) Ready(day, began txn.Date) error {
	for _, c := range [...]Cycle{TPlus0, TPlus1} {
		last, err := t.executes(c, day, began)
		if err != nil {
			return err
		}
		if err := errors.Join(t.Calendar.Told(day), t.Calendar.Told(last)); err != nil {
			return err
		}
	}
	return nil
}

func find(accounts []Account, c txn.Currency) *Account {
	for i := range accounts {
		if accounts[i].Currency == c {
			return &accounts[i]
		}
	}
	return nil
}

// EndToEnd is the id of a payment, the same whenever it is computed, so that a
// bank refuses a second one: the business day, the merchant and the currency. A
// merchant whose id has other characters than letters and digits is written in
// hexadecimal.
func EndToEnd(day txn.Date, m txn.MerchantID, currency string) string {
	id := m.String()
	if !txn.Alphanumeric(id) {
		return endToEndHex(day, m, currency)
	}
	return fmt.Sprintf("%08d-%s-%s", uint32(day), id, currency)
}

// DayOf is the business day of a payment's id.
func DayOf(endToEnd string) (txn.Date, error) {
	day, rest, _ := strings.Cut(endToEnd, "-")
	at, err := time.Parse("20060102", day)
	if err != nil || rest == "" {
		return 0, fmt.Errorf("%.60q is not the id of a payment: business day, merchant and currency, as 20261122-999290054110001-CNY", endToEnd)
	}
	return txn.MakeDate(at), nil
}

// DayOfMessage is the business day of the id of a message, or of a group in it.
func DayOfMessage(id string) (txn.Date, error) {
	day, ok := strings.CutPrefix(id, messagePrefix)
	d, err := DayOf(day + "-.")
	if !ok || err != nil {
		return 0, fmt.Errorf("%.60q is not the id of a message of ours: it begins with %s and the business day", id, messagePrefix)
	}
	return d, nil
}
