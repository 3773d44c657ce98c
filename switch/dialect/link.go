package dialect

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Issuer is the dialect of one kind of issuer link: ISO 8583:1987, or
// UnionPay's network. It is immutable and safe for concurrent use.
type Issuer struct {
	*Link
	acquirer []byte // DE32
	cups     *cups  // nil: ISO 8583:1987
	key      MACKey // nil: messages have no MAC
}

// Link is how messages are written on one kind of issuer link, for both of its
// ends. It is immutable and safe for concurrent use.
type Link struct {
	codec *iso.Codec
	forms *[txn.Kinds]linkForm
	kind  func(*iso.Message) txn.Kind
}

// links are the kinds of issuer links by name.
var links = map[string]*Link{
	"iso87":        iso87Link(iso.SpelledHex, iso.PrefixBinary2),
	"iso87-binary": iso87Link(iso.SpelledBinary, iso.PrefixBinary2),
	"iso87-ascii4": iso87Link(iso.SpelledHex, iso.PrefixASCII4),
	"iso87-bcd":    iso87Link(iso.SpelledBCD, iso.PrefixBinary2),
	NameCUPS:       {iso.MustCompile(iso.CUPS(), iso.CUPSFraming(txn.FrameSizeMax)), &cupsForms, KindCUPS},
}

func iso87Link(spelling iso.Spelling, prefix iso.Prefix) *Link {
	return &Link{iso.MustCompile(iso.ISO87(spelling), iso.Framing{Prefix: prefix, SizeMax: txn.FrameSizeMax}), &linkForms, KindISO87}
}

// LinkNames are the names of the kinds of issuer links, in order.
func LinkNames() []string { return slices.Sorted(maps.Keys(links)) }

// LinkOf is the kind of issuer link of that name.
func LinkOf(name string) (*Link, error) {
	if l := links[name]; l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("dialect %q must be one of %s", name, strings.Join(LinkNames(), ", "))
}

// ForIssuer makes the dialect of an acquirer's link to an issuer, who knows it by the
// institution code acquirer as it is written here, or in UnionPay's network by eight
// digits at least. What c says is for that network alone.
func ForIssuer(name string, acquirer string, c CUPS) (*Issuer, error) {
	l, err := LinkOf(name)
	if err != nil {
		return nil, err
	}
	d := &Issuer{Link: l, acquirer: []byte(acquirer)}
	if name == NameCUPS {
		d.acquirer = eightDigits(acquirer)
		d.cups, err = newCUPS(acquirer, c)
	}
	return d, err
}

// Authenticate gives the link's financial messages MACs under key. It is called before
// the link is used.
func (d *Issuer) Authenticate(key MACKey) { d.key = key }

// Codec is the link's field table.
func (l *Link) Codec() *iso.Codec { return l.codec }

// isCUPS says that it is one of UnionPay's network.
func (l *Link) isCUPS() bool { return l.codec.Framing().Measured }

// Kind is what a message asks for.
func (l *Link) Kind(m *iso.Message) txn.Kind { return l.kind(m) }

// BeginAnswer begins the answer to a request behind dst.
func (l *Link) BeginAnswer(dst []byte, m *iso.Message) (e iso.Encoder) {
	mti := m.MTI()&^0xF + 0x10
	if !l.isCUPS() {
		return l.codec.Begin(dst, nil, nil, mti)
	}
	header := iso.CUPSAnswer(m.Header())
	e = l.codec.Begin(dst, nil, header[:], mti)
	e.Widen()
	return e
}

// begin begins a message of ours behind dst.
func (d *Issuer) begin(dst []byte, mti uint16) (e iso.Encoder) {
	if d.cups == nil {
		return d.codec.Begin(dst, nil, nil, mti)
	}
	e = d.codec.Begin(dst, nil, d.cups.header[:], mti)
	e.Widen()
	return e
}

// PrefixSize is the number of bytes before a frame that say its length.
func (d *Issuer) PrefixSize() int { return d.codec.Framing().PrefixSize() }

// BodySize is the size of the frame that the prefix announces; 0 is a keep-alive,
// behind which there is no frame.
func (d *Issuer) BodySize(prefix []byte) (int, error) { return ReadLength(d.codec, prefix) }

// linkForm is how a kind is spelled on an issuer link: message type, the first
// two digits of DE3, and DE25 where that tells the kind. Link.Kind reads it.
type linkForm struct {
	mti                  uint16 // 0: 0100 or 0200 as the terminal had it
	operation, condition string
}

// linkForms are the kinds that an issuer answers, in ISO 8583:1987. What is repeated until it is
// acknowledged goes as an advice from the start.
var linkForms = [txn.Kinds]linkForm{
	txn.KindSale:             {0x0200, "00", ""},
	txn.KindBalance:          {0, "31", ""},
	txn.KindVoid:             {0x0200, "02", ""},
	txn.KindRefund:           {AdviceMTI, "20", ""},
	txn.KindPreauth:          {0x0100, "00", "06"},
	txn.KindIncrement:        {0x0100, "00", "60"},
	txn.KindPreauthVoid:      {0x0100, "20", "06"},
	txn.KindCompletion:       {0x0200, "00", "06"},
	txn.KindCompletionAdvice: {AdviceMTI, "00", "06"},
	txn.KindCompletionVoid:   {0x0200, "02", "06"},
	txn.KindOfflineSale:      {AdviceMTI, "00", ""},
	txn.KindStandIn:          {AdviceMTI, "00", ""},
	txn.KindAdjustment:       {AdviceMTI, "02", ""},
	txn.KindTip:              {AdviceMTI, "02", ""},
	txn.KindInstalment:       {0x0200, "00", "64"},
	txn.KindInstalmentVoid:   {0x0200, "02", "64"},
	txn.KindVerify:           {0x0100, "33", ""},
}

// processing is DE3: the form's operation on the accounts the terminal named.
func (f *linkForm) processing(code [6]byte) [6]byte {
	copy(code[:2], f.operation)
	return code
}

// conditionOf is DE25: the terminal's, unless that would tell another kind.
func (f *linkForm) conditionOf(terminal [2]byte) [2]byte {
	if f.condition != "" && string(terminal[:]) != "18" {
		copy(terminal[:], f.condition)
	}
	return terminal
}

// RequestType is the message type that AppendRequest gives req.
func (d *Issuer) RequestType(req *txn.Request) uint16 {
	if mti := d.forms[req.Kind].mti; mti != 0 {
		return mti
	}
	return req.MTI & 0xFF00
}

// AppendRequest appends the frame of req under leg's number, length prefix
// included, in the form of its kind. What it is about is named by OriginalLeg
// (DE90) and the original's authorization code (DE38). DE7 is the link's time; DE12 and
// DE13 are those of the terminal's place.
func (d *Issuer) AppendRequest(dst []byte, req *txn.Request, leg *txn.Leg, rrn [12]byte) ([]byte, error) {
	form := &d.forms[req.Kind]
	e := d.begin(dst, d.RequestType(req))
	var pan [txn.PANDigitsMax]byte
	defer clear(pan[:])
	if !req.PAN.IsZero() {
		e.Digits(2, req.PAN.Append(pan[:0]))
	}
	code := form.processing(req.ProcessingCode)
	e.Digits(3, code[:])
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
	if req.Acceptor != nil {
		e.Uint(18, uint64(req.Acceptor.MCC))
		e.Uint(19, uint64(req.Acceptor.Country))
	}
	d.entry(&e, req.Entry, max(req.PINCapability, '0'))
	if req.CardSequence != [3]byte{} {
		e.Digits(23, req.CardSequence[:])
	}
	if condition := form.conditionOf(req.Condition); condition != [2]byte{} {
		e.Digits(25, condition[:])
	}
	if d.cups != nil && len(req.PINBlock) > 0 {
		e.Digits(26, pinCapture)
	}
	d.institutions(&e)
	if len(req.Track2) > 0 {
		d.track2(&e, req.Track2)
	}
	e.Text(37, rrn[:])
	if authorized(req) {
		e.Text(38, req.Original.AuthCode[:])
	}
	e.Text(41, req.Key.Terminal[:])
	e.Text(42, req.Merchant[:])
	if req.Acceptor != nil {
		e.Text(43, req.Acceptor.Acceptor[:])
	}
	if d.cups != nil {
		putPrivate48(&e, req.Kind, req.OriginalAmount.Minor, req.Instalments)
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
		d.security(&e, req.SecurityInfo)
	}
	d.tip(&e, req.Kind, req.Amount)
	if len(req.Chip) > 0 {
		d.chip(&e, req.Chip)
	}
	if d.cups != nil {
		putCircumstances(&e, "0000", req.Entry, req.ReadsCards, req.ChipCondition)
	}
	if len(req.PINBlock) > len(zeroPIN) {
		putPIN63(&e, req)
	}
	if req.Kind == txn.KindInstalment && req.Instalments > 0 && d.cups == nil {
		e.Uint(67, uint64(req.Instalments))
	}
	if req.OriginalLeg.STAN != 0 {
		d.original(&e, req.OriginalMTI, req.OriginalLeg.STAN, req.OriginalLeg.Time)
	}
	d.reserved(&e)
	return d.Finish(&e, dst, d.key)
}

// AppendReversal appends the frame that undoes rec's leg, of type mti: 0400 or 0420,
// or 0401 or 0421 when it is a repeat. It carries the original's STAN and time, and
// names them again in DE90, and has DE3, 12, 13, 25 and 37 as the original was sent; what
// a reversal in part leaves standing is the actual amount of its DE95.
func (d *Issuer) AppendReversal(dst []byte, rec *txn.Record, pan []byte, mti uint16) ([]byte, error) {
	_, key := rec.Subject()
	kind, rrn, hhmmss, mmdd := undone(rec)
	form := &d.forms[kind]
	if d.cups != nil {
		if rec.Stays != 0 {
			return dst, errPartCUPS
		}
		mti = cupsReversalMTI
	}
	e := d.begin(dst, mti)
	e.Digits(2, pan)
	code := form.processing(rec.ProcessingCode)
	e.Digits(3, code[:])
	e.Uint(4, uint64(rec.Amount.Minor))
	d.number(&e, &rec.Leg)
	e.Digits(12, hhmmss)
	e.Digits(13, mmdd)
	e.Uint(18, uint64(rec.MCC))
	d.entry(&e, rec.Entry, '0')
	if condition := form.conditionOf(rec.Condition); condition != [2]byte{} {
		e.Digits(25, condition[:])
	}
	d.institutions(&e)
	if len(rrn) > 0 {
		e.Text(37, rrn)
	}
	if rec.AuthCode != [6]byte{} {
		e.Text(38, rec.AuthCode[:])
	}
	if d.cups == nil {
		e.Text(39, reversalReason(rec.Reason))
	}
	e.Text(41, key.Terminal[:])
	e.Text(42, rec.Merchant[:])
	d.currency(&e, rec.Amount.Currency)
	if d.cups != nil {
		putCircumstances(&e, cupsReversalReason, rec.Entry, 0, 0)
	}
	d.original(&e, form.mti, rec.Leg.STAN, rec.Leg.Time)
	if rec.Stays != 0 {
		var b [42]byte // actual amount 12, in settlement 12, fees 9 and 9
		digits(b[:12], uint64(rec.Stays))
		digits(b[12:], 0)
		e.Digits(95, b[:])
	}
	d.reserved(&e)
	return d.Finish(&e, dst, d.key)
}

// AppendUndone appends what a ReversalDue of orig keeps (Record.Data) of it for its
// message: DE37, 12, 13 and kind. Its own are those of the terminal's reversal.
func AppendUndone(dst []byte, orig *txn.Record) []byte {
	return append(append(append(append(dst, orig.RRN[:]...), orig.Time[:]...), orig.Date[:]...), byte(orig.Request))
}

// undone is what a reversal undoes: its kind, DE37, 12 and 13. Records of before lack
// some or all of them: their kind is told by its codes, their time is the link's.
func undone(rec *txn.Record) (kind txn.Kind, rrn, hhmmss, mmdd []byte) {
	const timeAt, dateAt, kindAt, size = 12, 18, 22, 23
	switch {
	case rec.Kind == txn.RecordOutcome:
		kind, rrn, hhmmss, mmdd = rec.Request, rec.RRN[:], rec.Time[:], rec.Date[:]
	case len(rec.Data) == size:
		kind, rrn, hhmmss, mmdd = txn.Kind(rec.Data[kindAt]), rec.Data[:timeAt], rec.Data[timeAt:dateAt], rec.Data[dateAt:kindAt]
	default:
		kind, rrn = undoneKind(rec), rec.Data
	}
	if len(mmdd) == 0 || mmdd[0] == 0 || hhmmss[0] == 0 {
		hhmmss, mmdd = rec.Leg.Time[4:10], rec.Leg.Time[0:4]
	}
	return kind, rrn, hhmmss, mmdd
}

// undoneKind is the kind of what was undone by a record that does not have it.
func undoneKind(rec *txn.Record) txn.Kind {
	back, condition := rec.ProcessingCode[0] == '2' || rec.ProcessingCode[1] == '2', string(rec.Condition[:])
	switch {
	case rec.MTI>>8 == 0x01 && back:
		return txn.KindPreauthVoid
	case rec.MTI>>8 == 0x01 && condition == "60":
		return txn.KindIncrement
	case rec.MTI>>8 == 0x01:
		return txn.KindPreauth
	case back:
		return txn.KindVoid
	}
	return txn.KindSale
}

// tip writes DE54 of a tip, which tells it from an adjustment: account 00, amount type
// 57, currency, D, amount. UnionPay's network has balances alone there.
func (d *Issuer) tip(e *iso.Encoder, kind txn.Kind, amount txn.Amount) {
	if kind == txn.KindTip && d.cups == nil {
		b := [20]byte{'0', '0', '5', '7', 7: 'D'}
		digits(b[4:7], uint64(amount.Currency))
		digits(b[8:], uint64(amount.Minor))
		e.Text(54, b[:])
	}
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

func (d *Issuer) number(e *iso.Encoder, leg *txn.Leg) {
	e.Digits(7, leg.Time[:])
	e.Uint(11, uint64(leg.STAN))
}

// entry writes DE22.
func (d *Issuer) entry(e *iso.Encoder, mode txn.EntryMode, capability byte) {
	e.Digits(22, []byte{'0' + byte(mode/10), '0' + byte(mode%10), capability})
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
