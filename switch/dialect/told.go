package dialect

import (
	"encoding/binary"
	"maps"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// told is what the first telling of an advice says that its record has no other field
// for (txn.Record.Told). Nothing of it may be sensitive once the card has been told yes
// or no: no track, no PIN, and of DE55 only what is known to hold neither.
type told struct {
	time       [6]byte // DE12
	date       [4]byte // DE13
	expiry     [4]byte // DE14
	country    uint16  // DE19
	capability byte    // the last digit of DE22
	sequence   [3]byte // DE23
	acceptor   [40]byte
	reads      byte // DE60.4 and 5 of a CUP terminal
	condition  byte
	chip       []byte // DE55
}

// toldChipTags are the elements of DE55 that are kept: what UnionPay's network takes,
// and what EMV has of terminal, application and transaction besides. Tracks (57, 56,
// 9F6B), card number (5A), name (5F20), discretionary data (9F1F, 9F20) and whatever is
// not known here are not.
var toldChipTags = func() map[string]bool {
	tags := maps.Clone(cupsChipTags)
	for _, tag := range [...]string{
		"\x4F", "\x9B", "\x5F\x28", "\x5F\x34", "\x5F\x36", "\x9F\x06", "\x9F\x07", "\x9F\x08", "\x9F\x0D", "\x9F\x0E", "\x9F\x0F", "\x9F\x15", "\x9F\x16", "\x9F\x1C",
		"\x9F\x21", "\x9F\x39", "\x9F\x40", "\x9F\x53", "\x9F\x66", "\x9F\x6C", "\x9F\x6E",
	} {
		tags[tag] = true
	}
	return tags
}()

// toldChipMax is the most that is kept of DE55.
const toldChipMax = 255

// AppendTold appends what the record of req keeps for its issuer to be told the same
// again, and of a sale that became a stand-in, for the first time.
func AppendTold(dst []byte, req *txn.Request) []byte {
	t := told{time: req.LocalTime, date: req.LocalDate, expiry: req.Expiry, capability: req.PINCapability, sequence: req.CardSequence,
		reads: req.ReadsCards, condition: req.ChipCondition}
	if req.Acceptor != nil {
		t.country, t.acceptor = req.Acceptor.Country, req.Acceptor.Acceptor
	}
	for _, v := range [...][]byte{t.time[:], t.date[:], t.expiry[:], {t.capability}, t.sequence[:], {t.reads, t.condition}, t.acceptor[:]} {
		dst = append(dst, v...)
	}
	dst = binary.BigEndian.AppendUint16(dst, t.country)
	if kept := appendElements(dst, req.Chip, toldChipTags); len(kept) <= len(dst)+toldChipMax {
		return kept
	}
	return dst
}

// toldIn reads what AppendTold wrote. A record of before has none of it; times that the
// terminal did not say are the link's.
func toldIn(rec *txn.Record) (t told) {
	fields := [...][]byte{t.time[:], t.date[:], t.expiry[:], make([]byte, 1), t.sequence[:], make([]byte, 2), t.acceptor[:], make([]byte, 2)}
	rest := rec.Told
	for _, v := range fields {
		rest = rest[copy(v, rest):]
	}
	t.capability, t.reads, t.condition = fields[3][0], fields[5][0], fields[5][1]
	t.country, t.chip = binary.BigEndian.Uint16(fields[7]), rest
	if t.time == [6]byte{} || t.date == [4]byte{} {
		copy(t.time[:], rec.Leg.Time[4:10])
		copy(t.date[:], rec.Leg.Time[0:4])
	}
	return t
}
