package txn

import (
	"math"
	"time"
)

// EntryMode is DE22's first two digits as a number, such as 5 (chip), 2
// (magnetic stripe), 7 (contactless), 1 (manual).
type EntryMode uint8

// The entry modes that rules ask for.
const (
	EntryManual      EntryMode = 1
	EntryStripe      EntryMode = 2
	EntryCode        EntryMode = 3 // a bar or QR code
	EntryChip        EntryMode = 5
	EntryContactless EntryMode = 7
)

// Request is one decoded request of a terminal. It is filled by a dialect,
// walked through the switch by one goroutine and reused afterwards: nothing
// may keep a pointer into it, and its Secret fields alias the frame buffer.
type Request struct {
	// Set by the dialect.
	Dialect        uint8 // index of the dialect that decoded it
	Kind           Kind
	MTI            uint16 // 0x0200 is 200 decimal digits packed as BCD: 0x0200
	Key            Key
	Merchant       MerchantID
	ProcessingCode [6]byte // DE3
	Amount         Amount
	PAN            PAN
	Expiry         [4]byte // DE14 YYMM, zero bytes when absent
	Entry          EntryMode
	PINCapability  byte    // DE22's third digit, ASCII
	CardSequence   [3]byte // DE23
	Condition      [2]byte // DE25
	ReadsCards     byte    // how the terminal can, as CUP says it (DE60.4), ASCII; 0 is not told
	ChipCondition  byte    // why a chip was not read, as CUP says it (DE60.5), ASCII; 0 is not told
	LocalTime      [6]byte // DE12 hhmmss, zero bytes when absent
	LocalDate      [4]byte // DE13 MMDD
	Track2         Secret
	// TrackDigits is not 0 while Track2 is packed and enciphered: so many digits
	// are in it, and the card number may be among them.
	TrackDigits    uint8
	PINBlock       Secret
	SecurityInfo   [16]byte // DE53
	KSN            Secret   // a DUKPT terminal's key serial number, in hexadecimal
	Chip           Secret   // DE55
	ChipAmount     Amount   // what the card was told to pay (9F02, 5F2A of DE55), zeros where it says nothing
	ChipOther      int64    // and besides it, as cash (9F03)
	Original       Reference
	ReversalReason [2]byte  // DE39 of a reversal
	Pointed        Number   // of a reversal that has a number of its own: what it says besides (DE61 of CUP)
	Carriers       Carriers // of Info, which is read from them at admission
	Caller         uint64   // telephone number of the line the message came by, without leading zeros; 0 is not told
	Region         Region   // as reported, 0 when the message carried none
	MAC            Secret   // DE64 or DE128, empty when absent
	Signed         []byte   // what the MAC covers; aliases the frame
	Network        uint16   // what is asked of management, or uploaded: DE60.3 or DE70, such as 301
	Detail         uint8    // DE60.1 of a CUP message, its transaction type
	Additional     []byte   // DE48, digits; aliases the exchange
	Custom         Secret   // DE62 as sent; aliases the frame
	KeySet         uint16   // which working keys a sign-on asks for, as CUP numbers the sets (DE60.3)
	Country        uint16   // DE19 ISO 3166 numeric, 0 when absent
	Instalments    uint8    // in how many the cardholder pays, 0 where the message does not say
	Bill           int64    // what a tip makes of its sale, in minor units, 0 where the message does not say
	Replacement    Amount   // what a partial reversal leaves of its original (DE95), 0: nothing
	// Totals are a settlement's, of domestic and of foreign cards; Items are an
	// upload's, in the exchange's memory; Announced is how many items an upload's
	// end says there were.
	Totals    [2]Totals
	Items     []Item
	Announced uint32

	// Set at admission.
	Info        TerminalInfo
	ID          ID
	Received    time.Time // with monotonic clock: deadlines are measured from it
	Deadline    time.Time // when the answer is of no more use
	Day         Date
	Fingerprint uint64
	CardToken   CardToken
	CardType    CardType
	KeyAge      uint8     // which of the terminal's MAC keys the MAC was made with
	Terminal    *Terminal // the registered terminal, nil when unknown
	Acceptor    *Merchant // the registered merchant of DE42 (the card acceptor), nil when unknown
	Trace       Trace
	Findings    Findings // what the rules said of it; set when it was assessed
	// OriginalLeg and OriginalMTI are how the issuer knows the transaction that
	// this one is about, OriginalAmount what it was of; zero when there is none.
	OriginalLeg    Leg
	OriginalMTI    uint16
	OriginalAmount Amount
	// Ahead is the trace number of the last transaction in the request's batch where
	// its own is behind that, else 0.
	Ahead uint32
}

// Number is a transaction's of one terminal. The zero value is none.
type Number struct{ Batch, STAN uint32 }

// Reference is what a request says of the earlier transaction it is about. What
// it does not say is zero.
type Reference struct {
	STAN     uint32
	Batch    uint32
	Date     [4]byte // MMDD
	RRN      [12]byte
	AuthCode [6]byte
}

// HasCard says that the card number is known, or will be once the track is
// deciphered.
func (r *Request) HasCard() bool { return !r.PAN.IsZero() || r.TrackDigits > 0 }

// Method is how the payment is made.
func (r *Request) Method() Method { return MakeMethod(r.Entry.Way(), len(r.PINBlock) > 0) }

// Reset makes the request as good as new, keeping its memory.
func (r *Request) Reset() { *r = Request{} }

// CardToken is the keyed hash (HMAC-SHA-256, first 16 bytes) under which a
// card is counted, indexed and matched. It cannot be reversed without the key.
type CardToken [16]byte

// Stage is a step of a transaction's life, for timing.
type Stage uint8

// The stages in order.
const (
	StageDecoded Stage = iota
	StageAdmitted
	StageAssessed
	StageIntent
	StageForwarded
	StageRecorded
	StageAnswered
	StageCount
)

var stageNames = [...]string{"decode", "admit", "assess", "intent", "forward", "record", "answer"}

func (s Stage) String() string { return name(stageNames[:], s) }

// Trace is when each stage of one transaction ended, as the time since
// Request.Received; zero is a stage not reached.
type Trace [StageCount]time.Duration

// Micros is the stages that end before a record is written, in microseconds.
func (t *Trace) Micros() (took [StageRecorded]uint32) {
	for i := range took {
		took[i] = uint32(min(t[i].Microseconds(), math.MaxUint32))
	}
	return took
}

// Mark notes that stage s of a request received at t0 has ended.
func (t *Trace) Mark(s Stage, t0 time.Time) { t[s] = time.Since(t0) }

// Leg is the issuer's side of one request: where it goes and under which
// number. (Issuer, STAN, Time) is what the issuer knows it by.
type Leg struct {
	Issuer IssuerID
	STAN   uint32
	Time   [10]byte // DE7 MMDDhhmmss, UTC+8 for CUP, UTC else: the link's choice
}

// Outcome is what we know about a request handed to an issuer link. The zero
// value is OutcomeUnknown: forgetting to set it costs a reversal, not money.
type Outcome uint8

// The outcomes.
const (
	OutcomeUnknown  Outcome = iota // bytes may have left and no valid answer came: a reversal is owed
	OutcomeNotSent                 // certainly nothing left
	OutcomeDeclined                // the issuer said no
	OutcomeApproved                // the issuer said yes
	OutcomeLocal                   // no issuer was asked: we decided
)

var outcomeNames = [...]string{"unknown", "not sent", "declined", "approved", "local"}

func (o Outcome) String() string { return name(outcomeNames[:], o) }

// Reply is what an issuer answered. Its slices are the reply's own memory and
// are overwritten by the next use.
type Reply struct {
	Code           [2]byte // DE39 as the issuer gave it
	AuthCode       [6]byte // DE38, zero bytes when absent
	SettlementDate [4]byte // DE15 MMDD, zero bytes when absent
	Amount         Amount  // DE4 as echoed
	Balance        []byte  // DE54, up to ResponseDataMax
	Chip           []byte  // DE55
	IssuerData     []byte  // DE44
}

// Reset empties the reply, keeping its memory.
func (r *Reply) Reset() {
	*r = Reply{Balance: r.Balance[:0], Chip: r.Chip[:0], IssuerData: r.IssuerData[:0]}
}

// Answer is what the terminal is told. Together with the request it answers it
// is enough to build the response frame again, byte for byte.
type Answer struct {
	ID       ID
	Reason   Reason  // why, in our words
	Code     [2]byte // DE39 in the terminal's dialect
	RRN      [12]byte
	Time     [6]byte // DE12 hhmmss
	Date     [4]byte // DE13 MMDD
	Acquirer string  // DE32, our institution code as it is written
	Issuer   IssuerID
	Reply    Reply
	Keys     Secret // DE62 of a sign-on's answer: the terminal's new working keys, enciphered
	// Additional is DE48, and Custom DE62, of an answer that carries more than an
	// authorization does: totals, parameters, lists.
	Additional, Custom []byte
	// Totals and Result answer a settlement: our totals where they differ from the
	// terminal's, else the terminal's own. Count is how many items an upload's
	// answer confirms.
	Totals [2]Totals
	Result [2]Comparison
	Count  uint32
	// Batch is the batch that a terminal must use from its sign-on; 0 is the one it
	// named.
	Batch uint32
	// Asks is what the terminal is asked to do next: the processing-request digit
	// of a CUP header, as cup-pos A2 numbers it, 0 nothing.
	Asks     uint8
	Signed   bool // a MAC is owed: it is made when the answer's frame is built
	Replayed bool // the stored answer of an earlier equal request
	Silent   bool // no answer is owed: close or ignore
}

// Reset empties the answer, keeping its memory.
func (a *Answer) Reset() {
	reply := a.Reply
	reply.Reset()
	*a = Answer{Reply: reply, Keys: a.Keys[:0], Additional: a.Additional[:0], Custom: a.Custom[:0]}
}

func name[T ~uint8](names []string, i T) string {
	if int(i) < len(names) {
		return names[i]
	}
	return "invalid"
}
