package acquirer

import (
	"hash/fnv"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

const (
	nodeBits = 10
	nodeMax  = 1<<nodeBits - 1
	rrnSpan  = 1_000_000_000 // RRN sequence numbers before they wrap
)

// Epoch is where transaction ids start to count microseconds. A clock that is before it was
// never set: the ledger does not read ids of then.
var Epoch = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// numbers hands out ids and retrieval reference numbers. Recovery moves both
// past everything the journal holds, so a clock that went back repeats none.
type numbers struct {
	node     txn.ID
	lastID   atomic.Uint64
	sequence atomic.Uint64
}

// id is a new transaction id, above every earlier one.
func (n *numbers) id(at time.Time) txn.ID {
	now := uint64(at.Sub(Epoch).Microseconds()) << nodeBits
	for {
		last := n.lastID.Load()
		next := max(now, last&^nodeMax+1<<nodeBits) | uint64(n.node)
		if n.lastID.CompareAndSwap(last, next) {
			return txn.ID(next)
		}
	}
}

// madeAt is when id was made, to the microsecond where the clock did not go back.
func madeAt(id txn.ID) time.Time {
	return Epoch.Add(time.Duration(int64(id)>>nodeBits) * time.Microsecond)
}

// rrn is a new DE37: the number of a business day in its year (3 digits) and a
// sequence (9 digits) that goes on over days and restarts, so that it is unique
// in a day up to a billion requests.
func (n *numbers) rrn(yearDay int) (rrn [12]byte) {
	seq := n.sequence.Add(1) % rrnSpan
	for i := 11; i >= 3; i-- {
		rrn[i] = '0' + byte(seq%10)
		seq /= 10
	}
	for i := 2; i >= 0; i-- {
		rrn[i] = '0' + byte(yearDay%10)
		yearDay /= 10
	}
	return rrn
}

// dayOf is the latest business day, up to today, whose number a reference
// number of ours begins with.
func dayOf(rrn [12]byte, today txn.Date) (txn.Date, bool) {
	n, _ := txn.ParseDigits(rrn[:3])
	for year := int(today / 10000); year >= int(today/10000)-1; year-- {
		at := time.Date(year, 1, int(n), 0, 0, 0, 0, time.UTC)
		if day := txn.MakeDate(at); n > 0 && at.Year() == year && day <= today {
			return day, true
		}
	}
	return 0, false
}

// seen moves the numbers past those of a journal record. What was done later about a
// transaction has the reference number of that.
func (n *numbers) seen(rec *txn.Record) {
	n.lastID.Store(max(n.lastID.Load(), uint64(rec.ID)))
	switch rec.Kind {
	case txn.RecordIntent, txn.RecordOutcome, txn.RecordReversalDue:
		seq, err := strconv.ParseUint(string(rec.RRN[3:]), 10, 64)
		if last := n.sequence.Load(); err == nil && (last == 0 || follows(seq, last, rrnSpan)) {
			n.sequence.Store(seq)
		}
	}
}

// follows is whether number a was given out after b, of numbers that wrap after so
// many: requests side by side are recorded in another order than they were numbered.
func follows(a, b, span uint64) bool { return (a+span-b)%span < span/2 }

// fingerprint is a stable 64-bit digest (FNV-1a) of what a request asks for.
// Two requests with one Key are the same request if this is equal: who pays
// (by keyed hash), whom, how much, for what. What a terminal may change between
// two tries (time, MTI's repeat digit, MAC, chip cryptogram) is not in it.
func fingerprint(req *txn.Request) uint64 {
	h := fnv.New64a()
	var b [128]byte
	d := append(b[:0], byte(req.Kind))
	d = append(d, req.ProcessingCode[:]...)
	d = append(d, req.Condition[:]...)
	d = append(d, req.Merchant[:]...)
	d = append(d, req.CardToken[:]...)
	d = strconv.AppendInt(d, req.Amount.Minor, 10)
	d = append(d, ' ')
	d = strconv.AppendUint(d, uint64(req.Amount.Currency), 10)
	d = append(d, ' ')
	d = strconv.AppendUint(d, uint64(req.Original.STAN), 10)
	d = append(d, ' ')
	d = strconv.AppendUint(d, uint64(req.Original.Batch), 10)
	if o := &req.Original; o.Date != [4]byte{} || o.RRN != [12]byte{} || o.AuthCode != [6]byte{} {
		d = append(append(append(d, o.Date[:]...), o.RRN[:]...), o.AuthCode[:]...)
	}
	if req.Replacement.Minor != 0 {
		d = strconv.AppendInt(d, req.Replacement.Minor, 10)
	}
	h.Write(d)
	return h.Sum64()
}

// moment is what a second is called by the acquirer's clock.
type moment struct {
	second  int64
	latest  time.Time // until when requests are dated as they are received: see Config.Believed
	day     txn.Date  // business day
	yearDay int       // its number in its year
	time    [6]byte   // DE12 hhmmss
	date    [4]byte   // DE13 MMDD, of the calendar
}

// moment is that of an instant. All requests of a second share one.
func (s *Switch) moment(at time.Time) *moment {
	m := s.now.Load()
	if m == nil || m.second != at.Unix() {
		m = newMoment(s.cfg.Day, at, s.cfg.Believed().Add(24*time.Hour))
		s.now.Store(m)
	}
	return m
}

// newID is a new transaction id, of what is done now.
func (s *Switch) newID(now time.Time) txn.ID { return s.numbers.id(s.moment(now).dated(now)) }

func newMoment(of txn.BusinessDay, at, latest time.Time) *moment {
	m := &moment{second: at.Unix(), latest: latest}
	m.day = of.Of(m.dated(at))
	m.yearDay = m.day.In(time.UTC).YearDay()
	at = at.In(of.Zone)
	hour, minute, second := at.Clock()
	two(m.time[0:], hour)
	two(m.time[2:], minute)
	two(m.time[4:], second)
	two(m.date[0:], int(at.Month()))
	two(m.date[2:], at.Day())
	return m
}

// dated is when a request of the moment counts as received.
func (m *moment) dated(at time.Time) time.Time {
	if at.After(m.latest) {
		return m.latest
	}
	return at
}

// settlementDate is DE15 MMDD of a business day.
func settlementDate(day txn.Date) (b [4]byte) {
	two(b[0:], int(day/100%100))
	two(b[2:], int(day%100))
	return b
}

func two(b []byte, n int) { b[0], b[1] = '0'+byte(n/10), '0'+byte(n%10) }

// near says that MMDD is day, or the one before or after it.
func near(mmdd [4]byte, day txn.Date) bool {
	return mmdd == settlementDate(day) || mmdd == settlementDate(day.Before()) || mmdd == settlementDate(day.After())
}

// dateOf is the latest day not after tomorrow that MMDD can mean.
func dateOf(mmdd [4]byte, today txn.Date) (txn.Date, bool) {
	n, ok := txn.ParseDigits(mmdd[:])
	if !ok {
		return 0, false
	}
	tomorrow := today.After()
	day := tomorrow/10000*10000 + txn.Date(n)
	if day > tomorrow {
		day -= 10000
	}
	return day, true
}
