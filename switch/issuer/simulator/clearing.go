package simulator

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Day is the span of one settlement day by the times that entries bear (DE7), which
// have no year: the issuer's clock and the acquirer's are the same here.
type Day struct {
	Date     txn.Date
	From, To time.Time // To is not in it
}

// has says whether an entry's time is in the day, in the year in which it can be.
func (d *Day) has(de7 string) bool {
	for _, year := range [...]int{d.From.Year(), d.To.Year()} {
		at, err := time.ParseInLocation("20060102150405", strconv.Itoa(year)+de7, d.From.Location())
		if err == nil && !at.Before(d.From) && at.Before(d.To) {
			return true
		}
	}
	return false
}

// Currencies are those of a day's standing entries that move money, in the order of
// the book.
func Currencies(entries []Entry, day Day) (all []txn.Currency) {
	for _, e := range Standing(entries) {
		if c := e.currency(); day.has(e.Time) && e.Transaction().Totals() != txn.NoEffect && !slices.Contains(all, c) {
			all = append(all, c)
		}
	}
	return all
}

// currency is that of an entry. Old books leave it out where it is CNY.
func (e *Entry) currency() txn.Currency {
	n, err := strconv.ParseUint(e.Currency, 10, 16)
	if err != nil {
		return txn.CNY
	}
	return txn.Currency(n)
}

// clearingCode is MTI and DE3 of a kind that moves money.
func clearingCode(k txn.Kind) string {
	switch k {
	case txn.KindCompletionAdvice, txn.KindOfflineSale, txn.KindAdjustment, txn.KindTip:
		return "0220 000000"
	case txn.KindRefund:
		return "0220 200000"
	case txn.KindVoid, txn.KindCompletionVoid, txn.KindInstalmentVoid:
		return "0200 200000"
	default:
		return "0200 000000"
	}
}

// WriteACOM writes what of a book stands of a day, moves money and is in a currency
// as the acquirer's detail file of China UnionPay, with a last line
// that has its sums. Card numbers are masked, as the book has them.
func WriteACOM(w io.Writer, entries []Entry, day Day, currency txn.Currency) error {
	b := bufio.NewWriter(w)
	var count, debits, credits int64
	for _, e := range Standing(entries) {
		kind := e.Transaction()
		if e.currency() != currency || !day.has(e.Time) {
			continue
		}
		switch kind.Totals() {
		case txn.Debit:
			debits += e.Amount
		case txn.Credit:
			credits += e.Amount
		default:
			continue
		}
		count++
		original := "000000 "
		originalTime := "0000000000"
		if e.OriginalSTAN != 0 {
			original, originalTime = fmt.Sprintf("%06d ", e.OriginalSTAN), e.OriginalTime
		}
		fmt.Fprintf(b, "%-11s %-11s %06d %10s %-19s %012d %012d %012d %s %-4s %-8s %-15s %-12s %-2s %-6s %-11s %s%-2s %-3s %012d %012d D%011d %s %-10s %-11s %1s %-2s %-2s %012d %-14s\n",
			e.Acquirer, e.Acquirer, e.STAN, e.Time, e.Card, e.Amount, 0, 0, clearingCode(kind), "", e.Terminal, e.Merchant, e.RRN, "00", e.Auth, "", original, e.Code, "",
			0, 0, 0, "0 000 0 0", originalTime, "", "0", "", "", 0, "")
	}
	fmt.Fprintf(b, "TOTAL %08d %010d %016d %016d\n", uint32(day.Date), count, debits, credits)
	return b.Flush()
}
