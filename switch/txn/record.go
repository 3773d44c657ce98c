package txn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// RecordKind is the kind of a durable fact.
type RecordKind uint8

// The kinds of records. What is owed after each is part of its meaning.
const (
	// RecordIntent: a request is about to be sent to an issuer. Until an
	// Outcome of the same ID follows, the request is open; an open intent found
	// at start becomes Outcome{Unknown}.
	RecordIntent RecordKind = iota + 1
	// RecordOutcome: the request is decided and this is its answer. It repeats
	// everything the intent said, so it alone makes a ledger row. An Outcome of
	// OutcomeUnknown owes a reversal of its own leg.
	RecordOutcome
	// RecordReversalDue: the approval Original must be undone, or all of it but
	// Stays: the terminal asked for it (ID and Key are then that reversal
	// request's, and this record is its answer), or it could not be told of it
	// (Key is then zero). Leg, amount, card and day are the original's. It owes a
	// reversal.
	RecordReversalDue
	// RecordReversalDone: the issuer acknowledged the reversal of Original, or says it
	// never saw it. It ends the oldest ReversalDue of that original that is not done
	// yet, and has that one's Gone and Stays. Leg, amount, card, day and OriginalKey
	// are the original's, so the limits it held can be given back.
	RecordReversalDone
	// RecordLate: an issuer's answer came after the request was decided. It
	// changes nothing: the reversal that the timeout owed stands.
	RecordLate
	// RecordAdviceDone: the issuer took note of Original, whose kind is told until
	// it does (Remedy Repeat); IssuerCode is what it said, and when that is no
	// approval Reason is IssuerDeclined: people must look at it. Nothing is owed
	// any more. Leg, amount, card, day and OriginalKey are the original's.
	RecordAdviceDone
	// RecordParked: the issuer refused what Original owes it for good, last with
	// IssuerCode, or takes no reversals. It is not sent any more, and stays owed
	// until a person decides.
	RecordParked
	// RecordReleased: a person, whose words are in Data, has what is parked sent
	// again.
	RecordReleased
)

// ErrNoReversals says that an issuer takes no reversals: what is unknown is
// reconciled by people.
var ErrNoReversals = errors.New("the issuer takes no reversals")

// ErrNotSent says that certainly no byte of a message left for its issuer.
var ErrNotSent = errors.New("it was not sent")

var recordKindNames = [...]string{"invalid", "intent", "outcome", "reversal due", "reversal done", "late", "advice done", "parked", "released"}

func (k RecordKind) String() string { return name(recordKindNames[:], k) }

// SealedPANSize is the size of a sealed card number: key version 1, nonce 12,
// length-hidden PAN 20, tag 16.
const SealedPANSize = 49

// Record is one durable fact of the journal. Card data is in it only sealed
// (PAN), as a keyed hash (Card) and masked (first six, last four); tracks, PIN
// blocks and security codes have no field here.
type Record struct {
	Kind RecordKind
	At   time.Time // microsecond resolution

	// The request.
	ID             ID
	Key            Key
	Fingerprint    uint64
	Request        Kind
	Dialect        uint8
	Entry          EntryMode
	MTI            uint16
	ProcessingCode [6]byte
	Condition      [2]byte
	Merchant       MerchantID
	MCC            uint16
	Region         Region
	Amount         Amount
	Day            Date
	Card           CardToken
	SealedPAN      [SealedPANSize]byte
	Masked         [PANDigitsMax]byte // zero padded; never more than six and four digits
	// Held is what the record does to the use of its day's limits, which is the
	// sum over outcomes, ReversalDones and open intents: Debit in an intent that
	// reserved them and in its approved or unknown outcome, Credit in the approval
	// of a void (it gives back what its original used, on the same day and
	// terminal), and the contrary of either in the ReversalDone about it. A
	// ReversalDue repeats its original's and counts for nothing.
	Held Effect

	// The issuer's leg.
	Leg Leg

	// The result.
	Outcome        Outcome
	Reason         Reason
	Code           [2]byte // DE39 told to the terminal
	IssuerCode     [2]byte
	AuthCode       [6]byte
	RRN            [12]byte
	Time           [6]byte
	Date           [4]byte
	SettlementDate [4]byte

	// Original is the transaction a ReversalDue, ReversalDone or Late is about;
	// for a terminal's own reversal request, the one it reversed (0: unknown).
	Original    ID
	OriginalKey Key
	// Attempts counts the sends a ReversalDone took.
	Attempts uint32

	// Of a reversal, in minor units of Amount, which is the original's: Gone is
	// what earlier ones took back of it, Stays what stands after this one. Both
	// are 0 for all but partial reversals and what follows one.
	Gone, Stays int64

	// Told is, of what is repeated until its issuer takes note, what the first telling
	// says and no other field has; read by switch/dialect. It is empty for all else.
	Told []byte

	// What the issuer said that the answer repeats.
	Balance, Chip, IssuerData []byte

	// The terminal's machine and where it said it was, in millionths of a degree;
	// empty and zero where it said nothing.
	Serial   []byte
	Lat, Lng int32
	// Data depends on what the record is of. A settlement or upload: what it said and
	// was told, a BatchFact. An advice about an earlier transaction: how the issuer
	// knows that one, read by switch/dialect. A ReversalDue: the original's RRN, Time,
	// Date and kind, likewise (older ones have only the first, or nothing). A person's
	// decision about something parked: what they said.
	Data []byte

	// What risk counts by besides the above, and what its rules found.
	CardType CardType
	PIN      bool // the request had a PIN
	// Method is how it was paid or, of what gives back limits, how that was paid
	// which used them; CardType and Identity are then that one's too.
	Method   Method
	Identity Identity // the merchant's, zero where it has none
	Findings Findings

	// Took is when each stage before the record ended, in microseconds since the
	// request was received; 0 is a stage not reached, or not a microsecond after it. For people: the ledger does
	// not keep it.
	Took [StageRecorded]uint32
}

// The first byte of a record. Only what needs Gone and Stays is written as version 5,
// and what has Told as version 6. Those before 4 were written before the first release.
const (
	recordOldest = 4
	recordNewest = 6
)

// recordFixed is the size of the fixed part, version byte included.
const recordFixed = 1 + 1 + 8 + 8 + (8 + 8 + 4 + 4 + 1) + 8 + 1 + 1 + 1 + 2 + 6 + 2 + 15 + 2 + 4 + 8 + 2 + 4 + 16 + SealedPANSize + PANDigitsMax + 1 +
	12 + 4 + 10 + 1 + 1 + 2 + 2 + 6 + 12 + 6 + 4 + 4 + 8 + (8 + 8 + 4 + 4 + 1) + 4

// Errors of Record.Unmarshal.
var (
	ErrRecordShort   = errors.New("record is shorter than its own lengths say")
	ErrRecordLong    = errors.New("record has bytes after its end")
	ErrRecordVersion = errors.New("another program wrote it; run that one")
)

// Append appends the record's binary form to dst: the version, the fixed
// fields in the order of the struct as big-endian integers, then the variable
// fields, each behind a 2-byte length, the position, what risk counts by and, from
// version 5 on, Gone and Stays, behind which version 6 has Told.
func (r *Record) Append(dst []byte) []byte {
	be := binary.BigEndian
	version := byte(recordOldest)
	if r.Gone|r.Stays != 0 {
		version = 5
	}
	if len(r.Told) > 0 {
		version = 6
	}
	dst = append(dst, version, byte(r.Kind))
	dst = be.AppendUint64(dst, uint64(r.At.UnixMicro()))
	dst = be.AppendUint64(dst, uint64(r.ID))
	dst = r.Key.append(dst)
	dst = be.AppendUint64(dst, r.Fingerprint)
	dst = append(dst, byte(r.Request), r.Dialect, byte(r.Entry))
	dst = be.AppendUint16(dst, r.MTI)
	dst = append(dst, r.ProcessingCode[:]...)
	dst = append(dst, r.Condition[:]...)
	dst = append(dst, r.Merchant[:]...)
	dst = be.AppendUint16(dst, r.MCC)
	dst = be.AppendUint32(dst, uint32(r.Region))
	dst = be.AppendUint64(dst, uint64(r.Amount.Minor))
	dst = be.AppendUint16(dst, uint16(r.Amount.Currency))
	dst = be.AppendUint32(dst, uint32(r.Day))
	dst = append(dst, r.Card[:]...)
	dst = append(dst, r.SealedPAN[:]...)
	dst = append(dst, r.Masked[:]...)
	dst = append(dst, byte(r.Held))
	dst = append(dst, r.Leg.Issuer[:]...)
	dst = be.AppendUint32(dst, r.Leg.STAN)
	dst = append(dst, r.Leg.Time[:]...)
	dst = append(dst, byte(r.Outcome), byte(r.Reason))
	dst = append(dst, r.Code[:]...)
	dst = append(dst, r.IssuerCode[:]...)
	dst = append(dst, r.AuthCode[:]...)
	dst = append(dst, r.RRN[:]...)
	dst = append(dst, r.Time[:]...)
	dst = append(dst, r.Date[:]...)
	dst = append(dst, r.SettlementDate[:]...)
	dst = be.AppendUint64(dst, uint64(r.Original))
	dst = r.OriginalKey.append(dst)
	dst = be.AppendUint32(dst, r.Attempts)
	for _, v := range [...][]byte{r.Balance, r.Chip, r.IssuerData, r.Serial, r.Data} {
		dst = be.AppendUint16(dst, uint16(len(v)))
		dst = append(dst, v...)
	}
	dst = be.AppendUint32(dst, uint32(r.Lat))
	dst = be.AppendUint32(dst, uint32(r.Lng))
	pin := byte(0)
	if r.PIN {
		pin = 1
	}
	dst = append(dst, byte(r.CardType), pin)
	dst = append(dst, r.Identity[:]...)
	dst = r.Findings.append(dst)
	for _, micros := range r.Took {
		dst = be.AppendUint32(dst, micros)
	}
	dst = append(dst, byte(r.Method))
	if version < 5 {
		return dst
	}
	dst = be.AppendUint64(dst, uint64(r.Gone))
	dst = be.AppendUint64(dst, uint64(r.Stays))
	if version < 6 {
		return dst
	}
	dst = be.AppendUint16(dst, uint16(len(r.Told)))
	return append(dst, r.Told...)
}

// Unmarshal reads what Append wrote. Its variable fields alias b.
func (r *Record) Unmarshal(b []byte) error {
	if len(b) > 0 && (b[0] < recordOldest || b[0] > recordNewest) {
		return fmt.Errorf("record is of version %d, this program reads %d to %d: %w", b[0], recordOldest, recordNewest, ErrRecordVersion)
	}
	if len(b) < recordFixed {
		return ErrRecordShort
	}
	c := cursor(b[1:])
	r.Kind = RecordKind(c.u8())
	r.At = time.UnixMicro(int64(c.u64())).UTC()
	r.ID = ID(c.u64())
	r.Key = c.key()
	r.Fingerprint = c.u64()
	r.Request, r.Dialect, r.Entry = Kind(c.u8()), c.u8(), EntryMode(c.u8())
	r.MTI = c.u16()
	c.bytes(r.ProcessingCode[:])
	c.bytes(r.Condition[:])
	c.bytes(r.Merchant[:])
	r.MCC = c.u16()
	r.Region = Region(c.u32())
	r.Amount.Minor = int64(c.u64())
	r.Amount.Currency = Currency(c.u16())
	r.Day = Date(c.u32())
	c.bytes(r.Card[:])
	c.bytes(r.SealedPAN[:])
	c.bytes(r.Masked[:])
	r.Held = Effect(c.u8())
	c.bytes(r.Leg.Issuer[:])
	r.Leg.STAN = c.u32()
	c.bytes(r.Leg.Time[:])
	r.Outcome, r.Reason = Outcome(c.u8()), Reason(c.u8())
	c.bytes(r.Code[:])
	c.bytes(r.IssuerCode[:])
	c.bytes(r.AuthCode[:])
	c.bytes(r.RRN[:])
	c.bytes(r.Time[:])
	c.bytes(r.Date[:])
	c.bytes(r.SettlementDate[:])
	r.Original = ID(c.u64())
	r.OriginalKey = c.key()
	r.Attempts = c.u32()
	for _, v := range [...]*[]byte{&r.Balance, &r.Chip, &r.IssuerData, &r.Serial, &r.Data} {
		if len(c) < 2 {
			return ErrRecordShort
		}
		n := int(c.u16())
		if len(c) < n {
			return ErrRecordShort
		}
		*v, c = c[:n:n], c[n:]
	}
	if len(c) < 4+4+2+len(r.Identity)+1 {
		return ErrRecordShort
	}
	r.Lat, r.Lng = int32(c.u32()), int32(c.u32())
	r.CardType, r.PIN = CardType(c.u8()), c.u8() != 0
	c.bytes(r.Identity[:])
	r.Findings = Findings{}
	if !c.findings(&r.Findings) || len(c) < 4*len(r.Took)+1 {
		return ErrRecordShort
	}
	for i := range r.Took {
		r.Took[i] = c.u32()
	}
	r.Method = Method(c.u8())
	r.Gone, r.Stays, r.Told = 0, 0, nil
	if b[0] >= 5 {
		if len(c) < 16 {
			return ErrRecordShort
		}
		r.Gone, r.Stays = int64(c.u64()), int64(c.u64())
	}
	if b[0] >= 6 {
		if len(c) < 2 {
			return ErrRecordShort
		}
		n := int(c.u16())
		if len(c) < n {
			return ErrRecordShort
		}
		r.Told, c = c[:n:n], c[n:]
	}
	if len(c) != 0 {
		return ErrRecordLong
	}
	return nil
}

// Owes says that after this record, and until a ReversalDone or AdviceDone about
// the same transaction, a reversal or an advice is owed to the issuer.
func (r *Record) Owes() bool {
	return r.Kind == RecordReversalDue ||
		(r.Kind == RecordOutcome && r.Outcome == OutcomeUnknown && r.Request.MovesMoney())
}

// Taken says of an outcome that what was asked for is done as far as its terminal
// knows: the issuer approved it, or is told of it until it takes note.
func (r *Record) Taken() bool {
	return r.Outcome == OutcomeApproved || r.Outcome == OutcomeUnknown && r.Request.Remedy() == Repeat && r.Reason == Approved
}

// Subject is the transaction that the record is about: the original of a
// reversal or a late answer, else its own.
func (r *Record) Subject() (ID, Key) {
	switch r.Kind {
	case RecordReversalDue, RecordReversalDone, RecordLate, RecordAdviceDone, RecordParked, RecordReleased:
		return r.Original, r.OriginalKey
	}
	return r.ID, r.Key
}

// Undoes is what a reversal takes back, in minor units.
func (r *Record) Undoes() int64 { return r.Amount.Minor - r.Gone - r.Stays }

// Hold is the limit use that the record's subject reserved or, of a reversal,
// what it takes back of that.
func (r *Record) Hold() Hold {
	_, key := r.Subject()
	return Hold{Card: r.Card, Terminal: key.Terminal, Merchant: r.Merchant, Day: r.Day, Minor: r.Undoes(), Currency: r.Amount.Currency,
		Identity: r.Identity, Method: r.Method, CardType: r.CardType, Part: r.Stays != 0}
}

func (k *Key) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(k.Acquirer))
	dst = append(dst, k.Terminal[:]...)
	dst = binary.BigEndian.AppendUint32(dst, k.Batch)
	dst = binary.BigEndian.AppendUint32(dst, k.STAN)
	return append(dst, byte(k.Class))
}

// cursor reads fixed-size values off the front of a slice whose length was
// checked before.
type cursor []byte

func (c *cursor) u8() byte       { v := (*c)[0]; *c = (*c)[1:]; return v }
func (c *cursor) u16() uint16    { v := binary.BigEndian.Uint16(*c); *c = (*c)[2:]; return v }
func (c *cursor) u32() uint32    { v := binary.BigEndian.Uint32(*c); *c = (*c)[4:]; return v }
func (c *cursor) u64() uint64    { v := binary.BigEndian.Uint64(*c); *c = (*c)[8:]; return v }
func (c *cursor) bytes(d []byte) { *c = (*c)[copy(d, *c):] }

func (c *cursor) key() (k Key) {
	k.Acquirer = AcquirerID(c.u64())
	c.bytes(k.Terminal[:])
	k.Batch, k.STAN, k.Class = c.u32(), c.u32(), Class(c.u8())
	return k
}
