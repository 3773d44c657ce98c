// Package dialect is the only place where a message becomes a request and an
// answer becomes a message: CUP POS and ISO 8583:1987 terminals on one side,
// issuers and UnionPay's network on the other.
//
// Promises: a frame that can be read as a request always yields one answer,
// with a format reason if its fields are bad; decoding copies nothing but the
// card number and the track into the exchange's own memory; an answer repeats
// what the specification says it must repeat, from the request's own bytes.
//
// Not here: whether the request may be made (package risk) or was made before
// (package acquirer), frames and fields as such (package iso).
package dialect

import (
	"errors"
	"fmt"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// ErrResponse says that a terminal sent a response. It is ignored.
var ErrResponse = errors.New("message is a response; terminals send requests")

// Exchange is the memory of one request on its way through: the frame, what it
// says, and the answer. It is reused; nothing may keep a pointer into it after
// its answer was written.
type Exchange struct {
	Frame   []byte // the body as read, TPDU included
	Out     []byte // the answer's frame, length prefix included
	Request txn.Request
	Answer  txn.Answer
	Fault   error // why Answer.Reason is FormatIsWrong

	message iso.Message
	encoder iso.Encoder // here and not on a stack, which it would escape
	track   [40]byte
	// additional is DE48's digits.
	additional [322]byte
	items      [txn.UploadItemsMax]txn.Item
	pin        [16]byte
	mac        [macSize]byte
	tpdu       [5]byte
	header     [6]byte
}

// Terminal is the dialect of one kind of terminal. It is immutable and safe
// for concurrent use.
type Terminal struct {
	id     uint8
	codec  *iso.Codec
	hex    bool // eight-byte binary fields are spelled in hexadecimal
	codes  *[txn.Reasons][2]byte
	decode func(*Exchange) error
	answer func(*iso.Encoder, *Exchange)
}

// The numbers under which records remember the dialect of their request. They
// are in every journal and never change their meaning.
const (
	idCUPPOS uint8 = iota + 1
	idISO87
	idISO87Binary
	idISO87ASCII4
	idISO87Hex32
	idISO87BCD
)

// SetsClock says that a terminal of this dialect sets its clock by the answers it gets:
// their DE12 and 13 are our time, whatever its request said.
func SetsClock(id uint8) bool { return id == idCUPPOS }

var terminals = [...]*Terminal{
	idCUPPOS: {
		id: idCUPPOS, codes: &cupCodes, decode: decodeCUP, answer: answerCUP,
		codec: iso.MustCompile(iso.CUPPOS(), iso.CUPPOSFraming(txn.FrameSizeMax)),
	},
	idISO87:       iso87Terminal(idISO87, iso.SpelledHex, iso.PrefixBinary2),
	idISO87Binary: iso87Terminal(idISO87Binary, iso.SpelledBinary, iso.PrefixBinary2),
	idISO87ASCII4: iso87Terminal(idISO87ASCII4, iso.SpelledHex, iso.PrefixASCII4),
	idISO87Hex32:  iso87Terminal(idISO87Hex32, iso.SpelledHex32, iso.PrefixBinary2),
	idISO87BCD:    iso87Terminal(idISO87BCD, iso.SpelledBCD, iso.PrefixBinary2),
}

func iso87Terminal(id uint8, s iso.Spelling, p iso.Prefix) *Terminal {
	return &Terminal{
		id: id, codes: &iso87Codes, decode: decodeISO87, answer: answerISO87, hex: s == iso.SpelledHex || s == iso.SpelledHex32,
		codec: iso.MustCompile(iso.ISO87(s), iso.Framing{Prefix: p, MayTPDU: true, SizeMax: txn.FrameSizeMax}),
	}
}

// names are what a configuration calls the dialects.
var names = [...]string{
	idCUPPOS: "cup-pos", idISO87: "iso87", idISO87Binary: "iso87-binary", idISO87ASCII4: "iso87-ascii4", idISO87Hex32: "iso87-hex32", idISO87BCD: "iso87-bcd",
}

// Names lists the terminal dialects.
func Names() []string { return names[1:] }

// ForTerminal finds a terminal dialect by its name.
func ForTerminal(name string) (*Terminal, error) {
	for id, n := range names {
		if n == name && id > 0 {
			return terminals[id], nil
		}
	}
	return nil, fmt.Errorf("dialect %q is unknown; the terminal dialects are %v", name, Names())
}

// NameOf is the name of a dialect that a record remembers by number.
func NameOf(id uint8) string {
	if int(id) < len(names) && id > 0 {
		return names[id]
	}
	return fmt.Sprintf("dialect %d", id)
}

// Name is the dialect's name in configurations, metrics and reports.
func (t *Terminal) Name() string { return names[t.id] }

// Codec is the dialect's field table.
func (t *Terminal) Codec() *iso.Codec { return t.codec }

// PrefixSize is the number of bytes before a frame that say its length.
func (t *Terminal) PrefixSize() int { return t.codec.Framing().PrefixSize() }

// ReadLength is the size of the frame that the prefix announces; 0 is a keep-alive,
// behind which there is no frame.
func (t *Terminal) ReadLength(prefix []byte) (int, error) { return ReadLength(t.codec, prefix) }

// ReadLength takes a length of nothing for what many peers mean by it: that the
// connection is not to be taken for dead.
func ReadLength(c *iso.Codec, prefix []byte) (int, error) {
	n, err := c.ReadLength(prefix)
	if err != nil {
		if bad := (*iso.FrameError)(nil); errors.As(err, &bad) && bad.Length == 0 {
			return 0, nil
		}
	}
	return n, err
}

// Decode reads x.Frame into x.Request. An error means that nobody can be
// answered: ErrResponse, or bytes in which no request can be made out. A
// request that can be made out but is badly formed gets FormatIsWrong as its
// answer's reason, and the fault in x.Fault.
func (t *Terminal) Decode(x *Exchange, received time.Time) error {
	x.Request.Reset()
	x.Answer.Reset()
	x.Fault = nil
	req := &x.Request
	req.Received, req.Dialect = received, t.id
	m := &x.message
	parseErr := t.codec.Parse(m, x.Frame)
	if parseErr != nil {
		var field *iso.FieldError
		if errors.As(parseErr, &field) && field.Field < 2 {
			return parseErr // no MTI or no bitmap: nothing to answer to
		}
		parseErr = t.codec.Salvage(m, x.Frame) // what names who asks may stand behind it
	}
	req.MTI = m.MTI()
	if req.MTI&0x0010 != 0 {
		return ErrResponse
	}
	readText(m, 41, req.Key.Terminal[:])
	readText(m, 42, req.Merchant[:])
	readMAC(x)
	req.Key.STAN = uint32(number(m, 11))
	if parseErr != nil {
		if !m.Has(41) && !m.Has(11) {
			return parseErr // whoever it is could not tell what the answer answers
		}
		x.Fault = parseErr
	} else {
		x.Fault = t.decode(x)
		req.KeySet = keySet(req)
	}
	if x.Fault == nil && req.Kind.Batch() {
		x.Fault = readBatch(x)
	}
	if x.Fault != nil {
		x.Answer.Reason = txn.FormatIsWrong
	}
	req.Trace.Mark(txn.StageDecoded, received)
	return nil
}

// Signer makes the MAC of an answer to req over the answer's bytes from its MTI
// to the MAC's field.
type Signer func(req *txn.Request, signed []byte) ([8]byte, error)

// AppendAnswer appends the frame that answers x, length prefix included. sign
// is called when x.Answer.Signed asks for a MAC.
func (t *Terminal) AppendAnswer(dst []byte, x *Exchange, sign Signer) ([]byte, error) {
	m := &x.message
	tpdu := m.TPDU()
	if tpdu != nil { // the answer goes back: source and destination change places
		x.tpdu = [5]byte{tpdu[0], tpdu[3], tpdu[4], tpdu[1], tpdu[2]}
		tpdu = x.tpdu[:]
	}
	header := m.Header()
	if header != nil { // repeated, but for the sixth digit: what the terminal is asked to do
		copy(x.header[:], header)
		x.header[2] = x.header[2]&0xF0 | x.Answer.Asks&0x0F
		header = x.header[:]
	}
	x.encoder = t.codec.Begin(dst, tpdu, header, x.Request.MTI&^1+0x0010)
	if x.Request.Kind.Batch() {
		writeBatch(x)
	}
	t.answer(&x.encoder, x)
	if x.Answer.Signed {
		holdMAC(&x.encoder, m)
	}
	frame, err := x.encoder.Finish()
	if err == nil && x.Answer.Signed {
		// The bitmap announces the MAC already, so the MAC covers that.
		body, at := len(dst)+t.PrefixSize()+len(tpdu)+len(header), len(frame)-t.macWidth()
		var mac [macSize]byte
		if mac, err = sign(&x.Request, frame[body:at]); err == nil {
			placeMAC(frame[at:], mac)
		}
	}
	if err != nil {
		return dst, fmt.Errorf("answer %04x: %w", x.Request.MTI, err)
	}
	return frame, nil
}

// Code is DE39 for a reason in the dialect a request came in. An issuer's own
// refusal passes its code through the dialect's list of codes that terminals
// understand.
func Code(dialect uint8, reason txn.Reason, issuer [2]byte) [2]byte {
	codes := &iso87Codes
	if int(dialect) < len(terminals) && terminals[dialect] != nil {
		codes = terminals[dialect].codes
	}
	if reason == txn.IssuerDeclined {
		if issuerCodes[issuer] {
			return issuer
		}
		if why, ok := networkCodes[issuer]; ok {
			reason = why
		}
	}
	return codes[reason]
}

// errField says which field makes a request badly formed.
type errField struct {
	field int
	why   string
}

func (e errField) Error() string { return fmt.Sprintf("field %d %s", e.field, e.why) }

func missing(field int) error { return errField{field, "is missing"} }

// readText copies a text field that fills dst exactly when it is present.
func readText(m *iso.Message, field int, dst []byte) {
	for i := range dst {
		dst[i] = ' '
	}
	copy(dst, m.Value(field))
}

// readDigits copies a numeric field's digits; dst stays zero when it is absent.
func readDigits(m *iso.Message, field int, dst []byte) {
	var buf [32]byte
	copy(dst, m.AppendDigits(buf[:0], field))
}

// number is a numeric field's value, 0 when it is absent.
func number(m *iso.Message, field int) uint64 {
	if !m.Has(field) {
		return 0 // the error would cost an allocation
	}
	v, _ := m.Uint(field) // the field table checked the digits
	return v
}

// decodeCommon reads the fields that all dialects share. It names the first
// one that is malformed in a way the field table cannot see.
func decodeCommon(x *Exchange) error {
	m, req := &x.message, &x.Request
	readDigits(m, 3, req.ProcessingCode[:])
	// A clock that was never set is none: issuers would refuse a sale for it.
	if readDigits(m, 12, req.LocalTime[:]); !isTime(req.LocalTime) {
		req.LocalTime = [6]byte{}
	}
	if readDigits(m, 13, req.LocalDate[:]); !isDay(req.LocalDate) {
		req.LocalDate = [4]byte{}
	}
	readDigits(m, 14, req.Expiry[:])
	readDigits(m, 23, req.CardSequence[:])
	readDigits(m, 25, req.Condition[:])
	readDigits(m, 53, req.SecurityInfo[:])
	req.Amount.Minor = int64(number(m, 4))
	if m.Has(49) {
		currency, err := m.Uint(49)
		if err != nil {
			return errField{49, "must be a numeric ISO 4217 code"}
		}
		req.Amount.Currency = txn.Currency(currency)
	}
	var mode [3]byte
	if m.Has(22) {
		readDigits(m, 22, mode[:])
		req.Entry = txn.EntryMode((mode[0]-'0')*10 + mode[1] - '0')
		req.PINCapability = mode[2]
	}
	req.Chip = txn.Secret(m.Value(55))
	if err := checkFields(x); err != nil {
		return err
	}
	if err := decodePIN(x); err != nil {
		return err
	}
	return decodeCard(x)
}

// decodeCard finds the card number and expiry in DE2 and DE14, else on track 2;
// of a track that is enciphered, ReadTrack does later.
func decodeCard(x *Exchange) error {
	m, req := &x.message, &x.Request
	var digits [txn.PANDigitsMax + 1]byte
	defer clear(digits[:])
	if m.Has(35) && !keepTrack(x) {
		if err := cardOnTrack(req, m.AppendDigits(x.track[:0], 35)); err != nil {
			return err
		}
	}
	if m.Has(2) {
		pan, err := txn.ParsePAN(m.AppendDigits(digits[:0], 2))
		if err != nil {
			return errField{2, "must be a card number of 12 to 19 digits"}
		}
		if !req.PAN.IsZero() && req.PAN != pan {
			return errField{2, "and track 2 must be one card"}
		}
		req.PAN = pan
	}
	return nil
}

// require names the first of the fields that the message lacks.
func require(m *iso.Message, fields ...int) error {
	for _, f := range fields {
		if !m.Has(f) {
			return missing(f)
		}
	}
	return nil
}
