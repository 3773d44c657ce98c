package txn

import (
	"encoding/binary"
	"errors"
)

// Sum is how many transactions there are and what they amount to, in minor
// units.
type Sum struct {
	Count uint32
	Minor int64
}

// Totals are the two sides of a batch, as cardholders see them: what they paid
// and what they got back. A voided sale and its void count on both sides; what
// was reversed counts on neither.
type Totals struct{ Debit, Credit Sum }

// Side is where e counts; e must not be NoEffect.
func (t *Totals) Side(e Effect) *Sum {
	if e == Credit {
		return &t.Credit
	}
	return &t.Debit
}

// Plus is both together.
func (t Totals) Plus(u Totals) Totals {
	return Totals{
		Sum{t.Debit.Count + u.Debit.Count, t.Debit.Minor + u.Debit.Minor},
		Sum{t.Credit.Count + u.Credit.Count, t.Credit.Minor + u.Credit.Minor},
	}
}

// Comparison is how a terminal's totals stand to ours. The numbers are those of
// the wire: DE48's answer digits of CUP, DE66 of ISO 8583:1987.
type Comparison uint8

// The comparisons.
const (
	NotCompared Comparison = iota
	Even
	Uneven
	NotComparable // the answer says so; the reason says why
)

var comparisonNames = [...]string{"not compared", "even", "uneven", "not comparable"}

func (c Comparison) String() string { return name(comparisonNames[:], c) }

// BatchState is how far a terminal has got with the settlement of a batch.
type BatchState uint8

// The states, in the order they follow each other.
const (
	BatchOpen      BatchState = iota // takes transactions
	BatchSettling                    // its totals were compared
	BatchUploading                   // its items are being compared
	BatchClosed
)

var batchStateNames = [...]string{"open", "settling", "uploading", "closed"}

func (s BatchState) String() string { return name(batchStateNames[:], s) }

// BatchStep is what a fact did to a batch.
type BatchStep uint8

// The steps. Their numbers are in every journal.
const (
	StepSettle BatchStep = iota + 1 // the terminal told its totals
	StepUpload                      // and some of its items
	StepEnd                         // and that these were all
	StepClose                       // we closed it: the terminal never did
)

var batchStepNames = [...]string{"invalid", "settle", "upload", "end", "close"}

func (s BatchStep) String() string { return name(batchStepNames[:], s) }

// ItemVerdict is what became of one item of a batch.
type ItemVerdict uint8

// The verdicts. All but ItemMatches are exceptions, for people to decide. Their
// numbers are in every journal.
const (
	ItemMatches       ItemVerdict = iota + 1
	ItemAmountDiffers             // the terminal has another amount
	ItemCardDiffers               // or another card
	ItemIsNotOurs                 // we have approved nothing under its number
	ItemWasReversed               // the terminal has it, we took it back
	ItemIsNotUploaded             // we have it, the terminal did not upload it
)

var itemVerdictNames = [...]string{"invalid", "matches", "amount differs", "card differs", "is not ours", "was reversed", "is not uploaded"}

func (v ItemVerdict) String() string { return name(itemVerdictNames[:], v) }

// Item is one transaction of an upload, as the terminal has it.
type Item struct {
	Kind  Kind // KindUnknown where the upload does not say
	STAN  uint32
	Minor int64
	PAN   PAN
}

// BatchItem is an item and what became of it. Of the card there is the keyed
// hash and the mask, never the number.
type BatchItem struct {
	Verdict ItemVerdict
	Kind    Kind
	STAN    uint32
	Minor   int64 // the terminal's, 0 where it did not upload the item
	Ours    int64 // 0 where we have none
	Card    CardToken
	Masked  [PANDigitsMax]byte
}

// BatchFact is what a settlement or an upload said and what it was told. It is
// the Data of the outcome that answers it, and all that a restart knows of it.
type BatchFact struct {
	Step   BatchStep
	State  BatchState // after it
	Opened Date       // business day of the batch's first transaction, 0 when it has none
	Code   uint16     // what was uploaded, as DE60.3 numbers it
	Theirs [2]Totals  // domestic and foreign cards, as the terminal splits them
	Ours   Totals     // at that moment
	Result [2]Comparison
	// Announced is how many items an end says were uploaded, Received how many
	// different ones were; Missing is what of ours was not among them.
	Announced, Received uint32
	Missing             Totals
	Items               []BatchItem
}

// Limits of a fact: it must fit a record.
const (
	UploadItemsMax  = 8  // in one message, as CUP has it
	MissingItemsMax = 48 // listed by an end; Missing has the sum of all
)

const (
	batchFactVersion = 1
	sumSize          = 4 + 8
	totalsSize       = 2 * sumSize
	batchFactFixed   = 3 + 4 + 2 + 3*totalsSize + 2 + 4 + 4 + totalsSize + 1
	batchItemSize    = 2 + 4 + 8 + 8 + 16 + PANDigitsMax
)

const _ = uint(RecordSizeMax - recordFixed - 18 - findingsSizeMax - batchFactFixed - MissingItemsMax*batchItemSize)

// Reset empties the fact, keeping its memory.
func (f *BatchFact) Reset() { *f = BatchFact{Items: f.Items[:0]} }

// Append appends the fact's binary form: a version, then the fields in the
// order of the struct as big-endian integers.
func (f *BatchFact) Append(dst []byte) []byte {
	be := binary.BigEndian
	dst = append(dst, batchFactVersion, byte(f.Step), byte(f.State))
	dst = be.AppendUint32(dst, uint32(f.Opened))
	dst = be.AppendUint16(dst, f.Code)
	dst = f.Theirs[0].append(dst)
	dst = f.Theirs[1].append(dst)
	dst = f.Ours.append(dst)
	dst = append(dst, byte(f.Result[0]), byte(f.Result[1]))
	dst = be.AppendUint32(dst, f.Announced)
	dst = be.AppendUint32(dst, f.Received)
	dst = f.Missing.append(dst)
	dst = append(dst, byte(len(f.Items)))
	for i := range f.Items {
		it := &f.Items[i]
		dst = append(dst, byte(it.Verdict), byte(it.Kind))
		dst = be.AppendUint32(dst, it.STAN)
		dst = be.AppendUint64(dst, uint64(it.Minor))
		dst = be.AppendUint64(dst, uint64(it.Ours))
		dst = append(dst, it.Card[:]...)
		dst = append(dst, it.Masked[:]...)
	}
	return dst
}

func (t *Totals) append(dst []byte) []byte {
	for _, s := range [...]Sum{t.Debit, t.Credit} {
		dst = binary.BigEndian.AppendUint32(dst, s.Count)
		dst = binary.BigEndian.AppendUint64(dst, uint64(s.Minor))
	}
	return dst
}

// ErrBatchFact says that bytes are not what BatchFact.Append wrote.
var ErrBatchFact = errors.New("data of a settlement cannot be read")

// Unmarshal reads what Append wrote. Nothing of b is kept.
func (f *BatchFact) Unmarshal(b []byte) error {
	f.Reset()
	if len(b) < batchFactFixed || b[0] != batchFactVersion {
		return ErrBatchFact
	}
	c := cursor(b[1:])
	f.Step, f.State = BatchStep(c.u8()), BatchState(c.u8())
	f.Opened, f.Code = Date(c.u32()), c.u16()
	f.Theirs[0], f.Theirs[1], f.Ours = c.totals(), c.totals(), c.totals()
	f.Result[0], f.Result[1] = Comparison(c.u8()), Comparison(c.u8())
	f.Announced, f.Received = c.u32(), c.u32()
	f.Missing = c.totals()
	n := int(c.u8())
	if len(c) != n*batchItemSize || f.Step == 0 || f.Step > StepClose || f.State > BatchClosed {
		f.Reset()
		return ErrBatchFact
	}
	for range n {
		it := BatchItem{Verdict: ItemVerdict(c.u8()), Kind: Kind(c.u8()), STAN: c.u32(), Minor: int64(c.u64()), Ours: int64(c.u64())}
		c.bytes(it.Card[:])
		c.bytes(it.Masked[:])
		f.Items = append(f.Items, it)
	}
	return nil
}

func (c *cursor) totals() (t Totals) {
	t.Debit.Count, t.Debit.Minor = c.u32(), int64(c.u64())
	t.Credit.Count, t.Credit.Minor = c.u32(), int64(c.u64())
	return t
}
