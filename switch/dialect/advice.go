package dialect

import (
	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// AdviceMTI is the MTI of an advice to an issuer.
const AdviceMTI = 0x0220

// AppendAdvice appends the advice (0220, 0221 when it is a repeat) that tells
// of rec, an outcome of a kind whose remedy is Repeat, under rec's leg. Its
// original is what AppendOriginal put into rec.Data, and rec.Told what AppendTold did:
// so it is the message that AppendRequest made, less track and PIN.
func (d *Issuer) AppendAdvice(dst []byte, rec *txn.Record, pan []byte, repeat bool) ([]byte, error) {
	form := &d.forms[rec.Request]
	mti := form.mti
	if repeat && d.cups == nil {
		mti++
	}
	e := d.begin(dst, mti)
	if len(pan) > 0 {
		e.Digits(2, pan)
	}
	code := form.processing(rec.ProcessingCode)
	e.Digits(3, code[:])
	e.Uint(4, uint64(rec.Amount.Minor))
	d.number(&e, &rec.Leg)
	t := toldIn(rec)
	e.Digits(12, t.time[:])
	e.Digits(13, t.date[:])
	if t.expiry != [4]byte{} {
		e.Digits(14, t.expiry[:])
	}
	e.Uint(18, uint64(rec.MCC))
	if t.country != 0 {
		e.Uint(19, uint64(t.country))
	}
	d.entry(&e, rec.Entry, max(t.capability, '0'))
	if t.sequence != [3]byte{} {
		e.Digits(23, t.sequence[:])
	}
	if condition := form.conditionOf(rec.Condition); condition != [2]byte{} {
		e.Digits(25, condition[:])
	}
	d.institutions(&e)
	e.Text(37, rec.RRN[:])
	original, code38, amount := splitOriginal(rec.Data)
	if len(code38) > 0 {
		e.Text(38, code38)
	}
	if rec.Request == txn.KindStandIn { // what its terminal was told
		e.Text(38, rec.AuthCode[:])
		e.Text(39, rec.Code[:])
	}
	e.Text(41, rec.Key.Terminal[:])
	e.Text(42, rec.Merchant[:])
	if t.acceptor != [40]byte{} {
		e.Text(43, t.acceptor[:])
	}
	if d.cups != nil {
		putPrivate48(&e, rec.Request, amount, 0)
	}
	d.currency(&e, rec.Amount.Currency)
	d.tip(&e, rec.Request, rec.Amount)
	if len(t.chip) > 0 {
		d.chip(&e, t.chip)
	}
	if d.cups != nil {
		putCircumstances(&e, "0000", rec.Entry, t.reads, t.condition)
	}
	if len(original) > 0 && string(original[4:10]) != "000000" {
		d.original(&e, mtiOf(original), decimal(original[4:10]), [10]byte(original[10:originalSize]))
	}
	d.reserved(&e)
	return d.Finish(&e, dst, d.key)
}

// originalSize is MTI 4, STAN 6 and DE7 10: an issuer's name for a request.
const originalSize = 4 + 6 + 10

// AppendOriginal appends what the record of an advice keeps (Record.Data) of
// the transaction that req is about, for its issuer to be told again: the
// issuer's name for it, zeros where it has none, its authorization code where the
// terminal gave it, and of a refund the original's amount, 12 digits. It is
// nothing for a request that is not repeated as an advice, or names no original and no
// authorization code.
func AppendOriginal(dst []byte, req *txn.Request) []byte {
	if req.Kind.Remedy() != txn.Repeat || !req.Kind.NamesOriginal() && !authorized(req) {
		return dst
	}
	var b [originalSize]byte
	putName(&b, req.OriginalMTI, req.OriginalLeg.STAN, req.OriginalLeg.Time)
	dst = append(dst, b[:]...)
	if authorized(req) {
		dst = append(dst, req.Original.AuthCode[:]...)
	}
	if req.Kind == txn.KindRefund && req.OriginalAmount.Minor > 0 {
		var amount [amountSize]byte
		digits(amount[:], uint64(req.OriginalAmount.Minor))
		dst = append(dst, amount[:]...)
	}
	return dst
}

// authorized says that the terminal gave the authorization code of what req is about,
// or of a sale that its issuer authorized by telephone: the issuer's to hear (DE38).
func authorized(req *txn.Request) bool {
	return (req.Kind.NamesOriginal() || req.Kind == txn.KindOfflineSale) && shown(req.Original.AuthCode[:])
}

// amountSize is the size of an amount behind an original's name.
const amountSize = 12

// OriginalSizeMax is the most that AppendOriginal appends.
const OriginalSizeMax = originalSize + 6 + amountSize

// splitOriginal takes apart what AppendOriginal appended; what is not there is
// empty or 0.
func splitOriginal(data []byte) (name, authCode []byte, amount int64) {
	if len(data) < originalSize {
		return nil, nil, 0
	}
	name, data = data[:originalSize], data[originalSize:]
	if len(data) >= amountSize {
		at := len(data) - amountSize
		amount, data = long(data[at:]), data[:at]
	}
	return name, data, amount
}

func putName(b *[originalSize]byte, mti uint16, stan uint32, at [10]byte) {
	for i := range 4 {
		b[i] = '0' + byte(mti>>(12-4*i)&0xF)
	}
	digits(b[4:10], uint64(stan))
	if at == [10]byte{} {
		at = [10]byte([]byte("0000000000"))
	}
	copy(b[10:], at[:])
}

func mtiOf(name []byte) (mti uint16) {
	for _, c := range name[:4] {
		mti = mti<<4 | uint16(c-'0')
	}
	return mti
}

// original writes DE90: the issuer's name for an earlier request (the type it
// was sent as), acquirer 11, forwarder 11.
func (d *Issuer) original(e *iso.Encoder, mti uint16, stan uint32, at [10]byte) {
	var b [42]byte
	putName((*[originalSize]byte)(b[:originalSize]), mti&^0xF, stan, at)
	for i := originalSize; i < len(b); i++ {
		b[i] = '0'
	}
	copy(b[31-len(d.acquirer):31], d.acquirer)
	if d.cups != nil {
		copy(b[42-len(d.cups.forwarder):], d.cups.forwarder)
	}
	e.Digits(90, b[:])
}
