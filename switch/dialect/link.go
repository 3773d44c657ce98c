package dialect

import (
	"strconv"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Issuer is the dialect of one kind of issuer link: ISO 8583:1987 in ASCII. It
// is immutable and safe for concurrent use.
type Issuer struct {
	codec    *iso.Codec
	acquirer []byte // DE32
}

// issuerFramings are the link dialects by name.
var issuerFramings = map[string]struct {
	bitmap iso.Bitmap
	prefix iso.Prefix
}{
	"iso87":        {iso.BitmapHex, iso.PrefixBinary2},
	"iso87-binary": {iso.BitmapBinary, iso.PrefixBinary2},
	"iso87-ascii4": {iso.BitmapHex, iso.PrefixASCII4},
}

// ForIssuers makes the link dialects of an acquirer, by name.
func ForIssuers(acquirer txn.AcquirerID) map[string]*Issuer {
	m := map[string]*Issuer{}
	for name, f := range issuerFramings {
		m[name] = &Issuer{
			codec:    iso.MustCompile(iso.ISO87(f.bitmap), iso.ISO87Framing(f.prefix, txn.FrameSizeMax)),
			acquirer: acquirerDigits(acquirer),
		}
	}
	return m
}

// Codec is the link's field table.
func (d *Issuer) Codec() *iso.Codec { return d.codec }

// PrefixSize is the number of bytes before a frame that say its length.
func (d *Issuer) PrefixSize() int { return d.codec.Framing().PrefixSize() }

// BodySize is the size of the frame that the prefix announces.
func (d *Issuer) BodySize(prefix []byte) (int, error) { return d.codec.ReadLength(prefix) }

// AppendRequest appends the frame of req under leg's number, length prefix
// included, in the message class the terminal used (0100 or 0200). Times are the link's (DE7); DE12 and DE13 are the terminal's where
// it sent them.
func (d *Issuer) AppendRequest(dst []byte, req *txn.Request, leg *txn.Leg, rrn [12]byte) ([]byte, error) {
	e := d.codec.Begin(dst, nil, nil, req.MTI&0xFF00)
	var pan [txn.PANDigitsMax]byte
	defer clear(pan[:])
	if !req.PAN.IsZero() {
		e.Digits(2, req.PAN.Append(pan[:0]))
	}
	e.Digits(3, req.ProcessingCode[:])
	if req.Kind.MovesMoney() {
		e.Uint(4, uint64(req.Amount.Minor))
	}
	d.number(&e, leg)
	hhmmss, mmdd := leg.Time[4:10], leg.Time[0:4]
	if req.LocalTime != [6]byte{} && req.LocalDate != [4]byte{} {
		hhmmss, mmdd = req.LocalTime[:], req.LocalDate[:]
	}
	e.Digits(12, hhmmss)
	e.Digits(13, mmdd)
	if req.Expiry != [4]byte{} {
		e.Digits(14, req.Expiry[:])
	}
	if req.Owner != nil {
		e.Uint(18, uint64(req.Owner.MCC))
		e.Uint(19, uint64(req.Owner.Country))
	}
	capability := req.PINCapability
	if capability == 0 {
		capability = '0'
	}
	e.Digits(22, []byte{'0' + byte(req.Entry/10), '0' + byte(req.Entry%10), capability})
	if req.CardSequence != [3]byte{} {
		e.Digits(23, req.CardSequence[:])
	}
	if req.Condition != [2]byte{} {
		e.Digits(25, req.Condition[:])
	}
	e.Digits(32, d.acquirer)
	if len(req.Track2) > 0 {
		e.Text(35, req.Track2)
	}
	e.Text(37, rrn[:])
	e.Text(41, req.Key.Terminal[:])
	e.Text(42, req.Merchant[:])
	if req.Owner != nil {
		place := nameAndPlace(req.Owner)
		e.Text(43, place[:])
	}
	if req.Amount.Currency != 0 {
		d.currency(&e, req.Amount.Currency)
	}
	switch len(req.PINBlock) {
	case 0:
	case len(zeroPIN):
		e.Bytes(52, req.PINBlock)
	default:
		e.Bytes(52, zeroPIN[:])
	}
	if len(req.PINBlock) > 0 && req.SecurityInfo != [16]byte{} {
		e.Digits(53, req.SecurityInfo[:])
	}
	if len(req.Chip) > 0 {
		e.Bytes(55, req.Chip)
	}
	if len(req.PINBlock) > len(zeroPIN) {
		putPIN63(&e, req)
	}
	return e.Finish()
}

// AppendReversal appends the frame that undoes rec's leg: 0400, or 0401 when it
// is a repeat. It carries the original's STAN and time, and names them again in DE90.
func (d *Issuer) AppendReversal(dst []byte, rec *txn.Record, pan []byte, repeat bool) ([]byte, error) {
	mti := uint16(0x0400)
	if repeat {
		mti++
	}
	_, key := rec.Subject()
	e := d.codec.Begin(dst, nil, nil, mti)
	e.Digits(2, pan)
	e.Digits(3, rec.ProcessingCode[:])
	e.Uint(4, uint64(rec.Amount.Minor))
	d.number(&e, &rec.Leg)
	e.Digits(12, rec.Leg.Time[4:10])
	e.Digits(13, rec.Leg.Time[0:4])
	e.Uint(18, uint64(rec.MCC))
	e.Digits(32, d.acquirer)
	if rec.Kind == txn.RecordOutcome { // a ReversalDue's RRN is that of the terminal's reversal
		e.Text(37, rec.RRN[:])
	}
	if rec.AuthCode != [6]byte{} {
		e.Text(38, rec.AuthCode[:])
	}
	e.Text(39, reversalReason(rec.Reason))
	e.Text(41, key.Terminal[:])
	e.Text(42, rec.Merchant[:])
	d.currency(&e, rec.Amount.Currency)
	var original [42]byte // MTI 4, STAN 6, DE7 10, acquirer 11, forwarder 11
	copy(original[:], "0200")
	digits(original[4:10], uint64(rec.Leg.STAN))
	copy(original[10:20], rec.Leg.Time[:])
	for i := 20; i < 42; i++ {
		original[i] = '0'
	}
	copy(original[31-len(d.acquirer):31], d.acquirer)
	e.Digits(90, original[:])
	return e.Finish()
}

// reversalReason is DE39 of a reversal: 98 no answer, 06 asked for or anything
// else.
func reversalReason(r txn.Reason) []byte {
	switch r {
	case txn.IssuerDidNotAnswer, txn.IssuerAnsweredNonsense:
		return []byte("98")
	}
	return []byte("06")
}

// AppendNetwork appends a network management frame (0800): code is DE70, such
// as 001 sign-on, 002 sign-off, 301 echo.
func (d *Issuer) AppendNetwork(dst []byte, code string, stan uint32, at time.Time) ([]byte, error) {
	e := d.codec.Begin(dst, nil, nil, 0x0800)
	var leg txn.Leg
	leg.STAN = stan
	at.AppendFormat(leg.Time[:0], "0102150405")
	d.number(&e, &leg)
	e.Digits(70, []byte(code))
	return e.Finish()
}

// ReadReply reads what an issuer sent. Variable fields are copied into reply's
// own memory.
func (d *Issuer) ReadReply(frame []byte, h *txn.ReplyHead, reply *txn.Reply) error {
	var m iso.Message
	if err := d.codec.Parse(&m, frame); err != nil {
		return err
	}
	h.MTI = m.MTI()
	h.STAN = uint32(number(&m, 11))
	copy(h.Terminal[:], m.Value(41)) // absent: zero, not blank
	readDigits(&m, 7, h.Time[:])
	if m.Has(4) {
		h.Amount.Minor, h.HasAmount = int64(number(&m, 4)), true
		if m.Has(49) {
			currency, err := strconv.ParseUint(string(m.Value(49)), 10, 16)
			if err != nil {
				return errField{49, "must be a numeric ISO 4217 code"}
			}
			h.Amount.Currency = txn.Currency(currency)
		}
		reply.Amount = h.Amount
	}
	h.Network = uint16(number(&m, 70))
	copy(reply.Code[:], m.Value(39))
	copy(reply.AuthCode[:], m.Value(38))
	readDigits(&m, 15, reply.SettlementDate[:])
	for _, f := range [...]struct {
		field int
		dst   *[]byte
	}{{44, &reply.IssuerData}, {54, &reply.Balance}, {55, &reply.Chip}} {
		*f.dst = append((*f.dst)[:0], m.Value(f.field)...) // at most ResponseDataMax, by the field table
	}
	return nil
}

func (d *Issuer) number(e *iso.Encoder, leg *txn.Leg) {
	e.Digits(7, leg.Time[:])
	e.Uint(11, uint64(leg.STAN))
}

func (d *Issuer) currency(e *iso.Encoder, c txn.Currency) {
	var b [3]byte
	digits(b[:], uint64(c))
	e.Text(49, b[:])
}

// digits fills dst with n in decimal, zeros on the left.
func digits(dst []byte, n uint64) {
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = '0' + byte(n%10)
		n /= 10
	}
}

// nameAndPlace is DE43: name 25, city 13, country 2. ISO 3166 letters of the
// countries are not kept; China is CN, all others are blank.
func nameAndPlace(m *txn.Merchant) (b [40]byte) {
	for i := range b {
		b[i] = ' '
	}
	printable(b[:25], m.Name[:])
	printable(b[25:38], m.City[:])
	if m.Country == 156 {
		copy(b[38:], "CN")
	}
	return b
}

// printable copies ASCII text; anything else becomes a space, so that half a
// Chinese character never leaves.
func printable(dst, src []byte) {
	for i := range min(len(dst), len(src)) {
		if c := src[i]; c > ' ' && c < 0x7F {
			dst[i] = c
		}
	}
}
