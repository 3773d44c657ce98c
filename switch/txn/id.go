package txn

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strconv"
	"time"
)

// TerminalID is DE41, eight characters, space padded on the right.
type TerminalID [8]byte

// MerchantID is DE42, fifteen characters, space padded on the right. In China
// it is institution 3 + CUP area 4 + MCC 4 + sequence 4.
type MerchantID [15]byte

// NoMerchant is what a message without DE42 names.
var NoMerchant = MakeMerchantID("")

// IssuerID names an issuer link of the configuration, zero padded.
type IssuerID [12]byte

// AcquirerID is the acquiring institution's code (DE32) as a number, up to 11
// digits: enough to tell acquirers apart. What is sent is the code as its owner writes
// it, zeros in front included.
type AcquirerID uint64

// ParseAcquirer reads an institution's code.
func ParseAcquirer(code string) (AcquirerID, error) {
	id, err := strconv.ParseUint(code, 10, 64)
	if err != nil || len(code) > 11 || id == 0 {
		return 0, fmt.Errorf("%q must be an institution code of 1 to 11 digits", code)
	}
	return AcquirerID(id), nil
}

// MakeTerminalID pads s; a longer value is cut, so check lengths where input
// enters.
func MakeTerminalID[T string | []byte](s T) (id TerminalID) { return TerminalID(pad8(s)) }

func pad8[T string | []byte](s T) (b [8]byte) {
	for i := range b {
		b[i] = ' '
	}
	copy(b[:], s)
	return b
}

// MakeMerchantID pads s as MakeTerminalID does.
func MakeMerchantID[T string | []byte](s T) (id MerchantID) {
	for i := range id {
		id[i] = ' '
	}
	copy(id[:], s)
	return id
}

// MakeIssuerID zero-pads s.
func MakeIssuerID(s string) (id IssuerID) { copy(id[:], s); return id }

func (id TerminalID) String() string { return Text(id[:]) }
func (id MerchantID) String() string { return Text(id[:]) }
func (id IssuerID) String() string   { return string(bytes.TrimRight(id[:], "\x00")) }

// Spread is a number by which terminals fall evenly on parts of a table, as many as a
// power of two. It is the same everywhere: only for what registered terminals alone can fill.
func (id *TerminalID) Spread() uint64 {
	hi, lo := bits.Mul64(binary.LittleEndian.Uint64(id[:])^0x9e3779b97f4a7c15, 0xe7037ed1a0b428db)
	return hi ^ lo
}

// ID identifies a transaction for ever: microseconds since 2020 in the upper
// bits, the node in the lower ten, so ids rise with time and fit a BIGINT.
type ID uint64

// String is 16 hexadecimal digits. In decimal one id in ten would pass for a
// card number, and masks and scanners would be right to stop it.
func (id ID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// MarshalText is String.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads String's form.
func (id *ID) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 16, 64)
	if err != nil {
		return fmt.Errorf("transaction id %q must be hexadecimal", b)
	}
	*id = ID(n)
	return nil
}

// Date is a business day as yyyymmdd. It is fixed when a request is admitted
// and never recomputed (design D8).
type Date uint32

// MakeDate is the calendar day of t in t's own location.
func MakeDate(t time.Time) Date {
	y, m, d := t.Date()
	return Date(y*10000 + int(m)*100 + d)
}

// Before is the calendar day before d.
func (d Date) Before() Date { return d.Plus(-1) }

// After is the calendar day after d.
func (d Date) After() Date { return d.Plus(1) }

// Plus is the calendar day so many days after d.
func (d Date) Plus(days int) Date {
	return MakeDate(time.Date(int(d/10000), time.Month(d/100%100), int(d%100)+days, 0, 0, 0, 0, time.UTC))
}

// Since is how many calendar days d is after an earlier one.
func (d Date) Since(earlier Date) int {
	return int(d.In(time.UTC).Sub(earlier.In(time.UTC)) / (24 * time.Hour))
}

// In is the midnight with which d begins in a zone.
func (d Date) In(zone *time.Location) time.Time { return d.at(0, zone) }

// at is when clocks in a zone show so much on d, or are put ahead past it.
func (d Date) at(clock time.Duration, zone *time.Location) time.Time {
	in := func(zone *time.Location) time.Time {
		return time.Date(int(d/10000), time.Month(d/100%100), int(d%100), 0, 0, int(clock/time.Second), 0, zone)
	}
	t := in(zone)
	_, offset := t.Zone()
	switch off := t.Unix() + int64(offset) - in(time.UTC).Unix(); { // other than 0: no clock shows it
	case off < 0:
		_, t = t.ZoneBounds()
	case off > 0:
		t, _ = t.ZoneBounds()
	}
	return t
}

// String is yyyy-mm-dd, the form of the ledger.
func (d Date) String() string {
	return fmt.Sprintf("%04d-%02d-%02d", uint32(d)/10000, uint32(d)/100%100, uint32(d)%100)
}

// ParseDate reads String's form.
func ParseDate(s string) (Date, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return 0, fmt.Errorf("business date %q must be yyyy-mm-dd", s)
	}
	return MakeDate(t), nil
}

// BusinessDay turns instants into business days: the day changes when clocks in
// Zone show CutOver, not at midnight. With a cut-over of 23:00, 23:00:00 belongs to
// the next day.
type BusinessDay struct {
	Zone    *time.Location
	CutOver time.Duration // what clocks show, 0 to 24 h; 0 is midnight
}

// Start is the instant at which the business day d begins.
func (b BusinessDay) Start(d Date) time.Time {
	if b.CutOver != 0 {
		d = d.Before()
	}
	return d.at(b.CutOver, b.Zone)
}

// Of is the business day of t.
func (b BusinessDay) Of(t time.Time) Date {
	d := MakeDate(t.In(b.Zone)).After()
	for t.Before(b.Start(d)) {
		d = d.Before()
	}
	return d
}

// Class groups the messages that share a STAN without being the same request:
// a sale and its reversal carry one STAN.
type Class uint8

// The classes of Key.
const (
	ClassFinancial Class = iota + 1
	ClassReversal
	ClassAdvice
	ClassNetwork
	ClassUpload // settlements and what a batch holds: an upload repeats the number of what it uploads
)

// Key is what makes two requests the same: a second request with the Key and
// the content of an earlier one is a retransmission and gets the stored
// answer. Batch is DE60.2 where the dialect has one, else 0.
type Key struct {
	Acquirer AcquirerID
	Terminal TerminalID
	Batch    uint32
	STAN     uint32
	Class    Class
}

func (k Key) String() string {
	return fmt.Sprintf("%d/%s/%06d/%06d/%d", k.Acquirer, k.Terminal, k.Batch, k.STAN, k.Class)
}
