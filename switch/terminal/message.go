package terminal

import (
	"fmt"
	"slices"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Message is one request before it is encoded. Its zero fields are those of an
// ordinary request; the odd ones make odd requests.
type Message struct {
	Kind     txn.Kind
	STAN     uint32
	Amount   txn.Amount
	Card     Card
	Original Original
	Months   int       // of an instalment
	At       time.Time // DE7, DE12 and DE13 (ISO 8583:1987), and a chip's date
	Repeat   bool      // the MTI's repeat form
	PINBlock []byte    // the card's PIN, enciphered: 8 bytes, or 16 under SM4
	MAC      bool      // a place for DE64 or DE128 where the kind has one
	placeKSN string    // of a DUKPT terminal: the element of DE63 for the serial number

	// Of a settlement, an upload and its end.
	Network uint16 // DE60.3
	Detail  string // DE48; of one item's upload DE62
	Totals  txn.Totals
	of      *iso.Message // the request of the item that is uploaded
	fields  []int        // and what is uploaded of it

	Processing string // DE3, if not the kind's
	Type       string // DE60.1 (CUP POS), if not the kind's
	Omit       []int  // fields left out
	NoPlace    bool   // DE59 without machine and position
}

// Original is the earlier transaction that a request is about, as far as the
// terminal knows it.
type Original struct {
	Kind     txn.Kind
	STAN     uint32
	Batch    uint32
	Date     string // MMDD
	RRN      string
	AuthCode string
	Acquirer string // DE32 of its answer
	Entry    string // DE22
	Sent     string // DE7 (ISO 8583:1987)
}

// form is how a dialect spells a kind.
type form struct {
	mti        uint16
	processing string // DE3; empty: none, or the original's
	condition  string // DE25
	detail     string // DE60.1 (CUP POS)
}

// Append appends the frame of m, length prefix included. p's batch is set.
func (m *Message) Append(dst []byte, d *dialect.Terminal, p *Profile) ([]byte, error) {
	w := writer{omit: m.Omit}
	if IsCUP(d) {
		w.Encoder = d.Codec().Begin(dst, p.cupTPDU(), cupHeader, m.mti(&cupForms))
		m.cup(&w, p)
	} else {
		w.Encoder = d.Codec().Begin(dst, p.TPDU, nil, m.mti(&iso87Forms))
		m.iso87(&w, p)
	}
	frame, err := w.Finish()
	if err != nil {
		return dst, fmt.Errorf("build %s of terminal %s: %w", m.Kind, p.Terminal, err)
	}
	return frame, nil
}

func (m *Message) mti(forms *[txn.Kinds]form) uint16 {
	mti := forms[m.Kind].mti
	if forms == &iso87Forms && endsBatch(m.Network) {
		mti = 0x0500
	}
	if m.Repeat {
		mti++
	}
	return mti
}

// form is the kind's, or for a message that repeats its original's codes, that
// original's.
func (m *Message) form(forms *[txn.Kinds]form) form {
	f := forms[m.Kind]
	if f.processing == "" {
		f.processing, f.condition = forms[m.Original.Kind].processing, forms[m.Original.Kind].condition
	}
	if m.Processing != "" {
		f.processing = m.Processing
	}
	if m.Type != "" {
		f.detail = m.Type
	}
	return f
}

// IsCUP says that the dialect is CUP POS or one of its kin: its frames have a
// TPDU.
func IsCUP(d *dialect.Terminal) bool { return d.Codec().Framing().TPDU }

func (m *Message) currency(p *Profile) txn.Currency {
	if m.Amount.Currency != 0 {
		return m.Amount.Currency
	}
	return p.Currency
}

// carriesCard says that the kind is made with the card at hand.
func carriesCard(k txn.Kind) bool {
	switch k {
	case txn.KindSignOn, txn.KindSignOff, txn.KindEcho, txn.KindSettlement, txn.KindUpload, txn.KindDownload, txn.KindStatus:
		return false
	}
	return true
}

// carriesAmount says that the kind has DE4.
func carriesAmount(k txn.Kind) bool {
	return carriesCard(k) && k != txn.KindBalance && k != txn.KindVerify
}

// entry is DE22: how the card was read, and whether there is a PIN; of a
// script's result as its original had it.
func (m *Message) entry() string {
	if m.Original.Entry != "" && m.Kind == txn.KindScriptResult {
		return m.Original.Entry
	}
	if len(m.PINBlock) > 0 {
		return entryModes[m.Card.Entry] + "1"
	}
	return entryModes[m.Card.Entry] + "2"
}

// ReversalOf builds the frame that reverses the request in body, whose reason
// is DE39: 98 no answer, A0 an answer whose MAC is wrong, 06 other (cup-pos
// C2). It says the same of the request every time, and has a place for a MAC if
// the request has a MAC.
func ReversalOf(dst []byte, d *dialect.Terminal, body []byte, reason string) ([]byte, error) {
	return reversalOf(dst, d, body, reason, part{})
}

// part is a reversal in part (ISO 8583:1987), of all but stays minor units. It has a
// trace number of its own, since there may be several; without one the reversal is of
// the whole.
type part struct {
	stan  uint32
	stays int64
}

func reversalOf(dst []byte, d *dialect.Terminal, body []byte, reason string, p part) ([]byte, error) {
	var of iso.Message
	if err := d.Codec().Parse(&of, body); err != nil {
		return dst, fmt.Errorf("build reversal: the request: %w", err)
	}
	e := d.Codec().Begin(dst, of.TPDU(), of.Header(), 0x0400)
	copyCard(&e, &of)
	for _, field := range [...]int{3, 4, 7, 11, 12, 13, 14, 22, 23, 25, 38} {
		if field == 11 && p.stan != 0 {
			e.Uint(11, uint64(p.stan))
			continue
		}
		e.Copy(field, &of)
	}
	e.Text(39, []byte(reason))
	for _, field := range [...]int{41, 42, 49} {
		e.Copy(field, &of)
	}
	if IsCUP(d) {
		if chip := keepTags(of.Value(55), reversalTags); len(chip) > 0 {
			e.Bytes(55, chip)
		}
		e.Copy(60, &of)
		if string(of.AppendDigits(nil, 3)) == "200000" || of.Has(61) && of.MTI() == 0x0200 {
			e.Copy(61, &of)
		}
		if of.Has(macField) {
			e.Bytes(macField, noMAC[:])
		}
	} else {
		if ksn, ok := findElement(of.Value(63), elementKSN); ok {
			e.Text(63, []byte(zeroElement(elementKSN, len(ksn))))
		}
		e.Digits(90, originalData(of.MTI(), string(of.AppendDigits(nil, 11)), string(of.AppendDigits(nil, 7))))
		if p.stan != 0 {
			e.Digits(95, fmt.Appendf(nil, "%012d%030d", p.stays, 0))
		}
		if macOf(&of) != 0 {
			e.Bytes(macFieldWide, noMAC[:])
		}
	}
	frame, err := e.Finish()
	if err != nil {
		return dst, fmt.Errorf("build reversal: %w", err)
	}
	return frame, nil
}

// fieldMax is the last field of any dialect.
const fieldMax = 128

// copyCard writes DE2 as a request has it, or out of its track.
func copyCard(e *iso.Encoder, of *iso.Message) {
	if of.Has(2) || !of.Has(35) {
		e.Copy(2, of)
		return
	}
	var digits [40]byte
	e.Digits(2, appendCard(digits[:0], of))
	clear(digits[:])
}

// appendCard appends the card number of a request: DE2, or out of its track.
func appendCard(dst []byte, of *iso.Message) []byte {
	if of.Has(2) || !of.Has(35) {
		return of.AppendDigits(dst, 2)
	}
	dst = of.AppendDigits(dst, 35)
	return dst[:max(slices.Index(dst, '='), 0)]
}

// withoutSecrets is a request, length prefix included, as it may be kept: its
// card number in DE2, and no track, PIN or MAC.
func withoutSecrets(d *dialect.Terminal, frame []byte) ([]byte, error) {
	var of iso.Message
	if err := d.Codec().Parse(&of, frame[d.PrefixSize():]); err != nil {
		return nil, fmt.Errorf("keep request: %w", err)
	}
	e := d.Codec().Begin(nil, of.TPDU(), of.Header(), of.MTI())
	copyCard(&e, &of)
	for field := 3; field <= fieldMax; field++ {
		switch field {
		case 26, 35, 36, 45, 52, 53:
		case 59:
			if place := withoutElement(of.Value(59), "A1"); len(place) > 0 {
				e.Bytes(59, place)
			}
		case 63:
			if ksn, ok := findElement(of.Value(63), elementKSN); ok && !IsCUP(d) {
				e.Text(63, []byte(zeroElement(elementKSN, len(ksn)))) // without the PIN block
				continue
			}
			e.Copy(63, &of)
		case macField, macFieldWide:
			if of.Has(field) {
				e.Bytes(field, noMAC[:])
			}
		default:
			e.Copy(field, &of)
		}
	}
	kept, err := e.Finish()
	if err != nil {
		return nil, fmt.Errorf("keep request: %w", err)
	}
	return kept, nil
}

// writer is an encoder that leaves fields out when told to, and those that have
// nothing to say.
type writer struct {
	iso.Encoder
	omit []int
}

func (w *writer) leaveOut(n, size int) bool { return size == 0 || slices.Contains(w.omit, n) }

func (w *writer) digits(n int, v string) {
	if !w.leaveOut(n, len(v)) {
		w.Digits(n, []byte(v))
	}
}

func (w *writer) text(n int, v string) {
	if !w.leaveOut(n, len(v)) {
		w.Text(n, []byte(v))
	}
}

func (w *writer) bytes(n int, v []byte) {
	if !w.leaveOut(n, len(v)) {
		w.Bytes(n, v)
	}
}

// number writes a fixed numeric field of a width.
func (w *writer) number(n, width int, v int64) { w.digits(n, fmt.Sprintf("%0*d", width, v)) }

func (w *writer) party(p *Profile) {
	w.text(41, p.Terminal.String())
	w.text(42, p.Merchant.String())
}
