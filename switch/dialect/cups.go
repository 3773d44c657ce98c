package dialect

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// NameCUPS is the name of the dialect of UnionPay's network.
const NameCUPS = "cups"

// CUPS is what an acquirer and UnionPay's network agree on when a link is set up.
type CUPS struct {
	// Source and Destination are whom the header is from and to, up to 11 digits.
	// Default the acquirer, and 00010000.
	Source, Destination string
	// Forwarder is the institution that sends for the acquirer (DE33). Default
	// the acquirer.
	Forwarder string
	// Receiver is the institution that receives (DE100). Default none is said.
	Receiver string
	// Reserved is DE122, the acquirer's reserved data, of every financial message.
	// Default none is said.
	Reserved string
}

// cups is what a link to the network has beside what ISO 8583:1987 ones have.
type cups struct {
	header    iso.CUPSHeader
	forwarder []byte
	receiver  []byte
	reserved  []byte
}

// cupsDestination is the network itself.
const cupsDestination = "00010000"

func newCUPS(acquirer string, c CUPS) (*cups, error) {
	own := string(eightDigits(acquirer))
	for _, field := range [...]struct {
		name  string
		value *string
		def   string
	}{{"source", &c.Source, own}, {"destination", &c.Destination, cupsDestination}, {"forwarder", &c.Forwarder, own}, {"receiver", &c.Receiver, ""}} {
		if *field.value == "" {
			*field.value = field.def
		}
		if len(*field.value) > 11 || strings.Trim(*field.value, "0123456789") != "" {
			return nil, fmt.Errorf("cups.%s: %q must be up to 11 digits", field.name, *field.value)
		}
	}
	if len(c.Reserved) > 100 {
		return nil, fmt.Errorf("cups.reserved: has %d characters, DE122 has room for 100", len(c.Reserved))
	}
	return &cups{iso.MakeCUPSHeader(c.Destination, c.Source), []byte(c.Forwarder), []byte(c.Receiver), []byte(c.Reserved)}, nil
}

// cupsForms are the kinds as UnionPay's network has them: a void is 20 as a refund
// is, and told from one by its type.
var cupsForms = func() [txn.Kinds]linkForm {
	forms := linkForms
	forms[txn.KindBalance] = linkForm{0x0200, "30", ""}
	for _, k := range [...]txn.Kind{txn.KindPreauth, txn.KindIncrement} {
		forms[k].operation = "03"
	}
	for _, k := range [...]txn.Kind{txn.KindVoid, txn.KindInstalmentVoid, txn.KindCompletionVoid} {
		forms[k].operation = "20"
	}
	return forms
}()

// What UnionPay's network has no other form of: it takes a reversal again as it was,
// and its reason (DE60.1) is 4351 whatever that is.
const (
	cupsReversalMTI    = 0x0420
	cupsReversalReason = "4351"
)

// pinCapture is DE26, as captured messages with a PIN have it.
var pinCapture = []byte("06")

// rejectedCode is the answer in a message that the network gave back: it is wrong.
var rejectedCode = [2]byte{'3', '0'}

// errPartCUPS has a reversal of a part put aside for people: UnionPay's network has
// none.
var errPartCUPS = fmt.Errorf("UnionPay's network takes no reversal of a part: %w", txn.ErrNoReversals)

// KindCUPS is what a message of UnionPay's network asks for. A stand-in is an
// offline sale there, a tip an adjustment.
func KindCUPS(m *iso.Message) txn.Kind {
	mti := m.MTI() &^ 1
	switch mti {
	case cupsReversalMTI:
		return txn.KindReversal
	case 0x0820:
		switch number(m, 70) {
		case 1:
			return txn.KindSignOn
		case 2:
			return txn.KindSignOff
		case 201, 202, 301:
			return txn.KindEcho
		}
		return txn.KindUnknown
	}
	code, condition := m.Value(3), string(m.Value(25))
	if len(code) < 2 {
		return txn.KindUnknown
	}
	if condition == "18" {
		condition = "06" // by mail or telephone
	}
	kind := txn.KindUnknown
	for k := range txn.Kind(txn.Kinds) {
		f := &cupsForms[k]
		switch {
		case f.mti != mti || f.operation != string(code[:2]):
		case f.condition == condition:
			return k
		case f.condition == "" && kind == txn.KindUnknown:
			kind = k
		}
	}
	return kind
}

// institutions writes DE32 and, for UnionPay's network, DE33.
func (d *Issuer) institutions(e *iso.Encoder) {
	e.Digits(32, d.acquirer)
	if d.cups != nil {
		e.Digits(33, d.cups.forwarder)
	}
}

// track2 writes DE35: in UnionPay's network, D is between its parts.
func (d *Issuer) track2(e *iso.Encoder, track []byte) {
	if d.cups == nil || bytes.IndexByte(track, '=') < 0 {
		e.Text(35, track)
		return
	}
	var b [64]byte
	defer clear(b[:])
	spelled := append(b[:0], track...)
	spelled[bytes.IndexByte(spelled, '=')] = 'D'
	e.Text(35, spelled)
}

// security writes DE53: in UnionPay's network, 4 is SM4.
func (d *Issuer) security(e *iso.Encoder, info [16]byte) {
	if d.cups != nil && info[1] == '3' {
		info[1] = '4'
	}
	e.Digits(53, info[:])
}

// cupsChipTags are the elements of DE55 that UnionPay's network takes (cup-pos A5).
// What else a terminal has there is between it and its acquirer, or card data.
var cupsChipTags = func() map[string]bool {
	tags := map[string]bool{}
	for _, tag := range [...]string{
		"\x9F\x26", "\x9F\x27", "\x9F\x10", "\x9F\x37", "\x9F\x36", "\x95", "\x9A", "\x9C", "\x9F\x02", "\x5F\x2A", "\x82", "\x9F\x1A", "\x9F\x03", "\x9F\x33",
		"\x9F\x34", "\x9F\x35", "\x9F\x1E", "\x84", "\x9F\x09", "\x9F\x41", "\x9F\x63", "\x8A", "\x9F\x74",
	} {
		tags[tag] = true
	}
	return tags
}()

// chip writes DE55. UnionPay's network gets the elements that it takes, and none where
// the data is not well-formed BER-TLV or they are too long.
func (d *Issuer) chip(e *iso.Encoder, v []byte) {
	if d.cups == nil {
		e.Bytes(55, v)
		return
	}
	var b [256]byte
	if kept := appendElements(b[:0], v, cupsChipTags); len(kept) > 0 && len(kept) <= 255 {
		e.Bytes(55, kept)
	}
}

// appendElements appends those elements of v that have one of the tags; none where v is
// not well-formed BER-TLV.
func appendElements(dst, v []byte, tags map[string]bool) []byte {
	kept := dst
	for len(v) > 0 {
		tag, size, err := chipElement(v)
		if err != nil {
			return dst
		}
		if tags[string(v[:tag])] {
			kept = append(kept, v[:size]...)
		}
		v = v[size:]
	}
	return kept
}

// putPrivate48 writes DE48 of UnionPay's network: AS, a use, its length and value.
// OA is what a refund's original was of, IP in how many a cardholder pays.
func putPrivate48(e *iso.Encoder, kind txn.Kind, original int64, instalments uint8) {
	switch {
	case kind == txn.KindRefund && original > 0:
		b := []byte("ASOA012000000000000")
		digits(b[7:], uint64(original))
		e.Text(48, b)
	case kind == txn.KindInstalment && instalments > 0:
		b := []byte("ASIP062" + "00" + "                                " + "000000000000" + "                ")
		digits(b[7:9], uint64(instalments))
		e.Text(48, b)
	}
}

// putCircumstances writes DE60 of UnionPay's network, as captured messages have it:
//
//	reason 4 | account's owner 1 | terminal reads 1 | chip condition 1 | reserved 1 |
//	terminal type 2, 03 a POS terminal | no PIN asked 1 | chip verified 1 | ECI 2 |
//	interaction 1 | billing 3 | reserved 3 | partial approval 1 | begun by 1, the
//	terminal | medium 1 | chip application 1 | account settled 2
//
// reads and condition are the terminal's; where they are not known the one is
// what was read and the other 0.
func putCircumstances(e *iso.Encoder, reason string, entry txn.EntryMode, reads, condition byte) {
	b := []byte("0000" + "0000" + "03" + "00000" + "000000" + "01000" + "0")
	copy(b, reason)
	known, medium := byte('0'), byte('0')
	switch entry.Way() {
	case txn.WayStripe:
		known, medium = '2', '1'
	case txn.WayChip:
		known, medium = '5', '2'
	case txn.WayContactless:
		known, medium = '6', '2'
	}
	if reads == 0 {
		reads = known
	}
	b[5], b[6], b[23] = reads, max(condition, '0'), medium
	e.Text(60, b)
}

// receiver writes DE100 where it was agreed on.
func (d *Issuer) receiver(e *iso.Encoder) {
	if d.cups != nil && len(d.cups.receiver) > 0 {
		e.Digits(100, d.cups.receiver)
	}
}

// reserved writes DE100 and DE122 where they were agreed on.
func (d *Issuer) reserved(e *iso.Encoder) {
	d.receiver(e)
	if d.cups != nil && len(d.cups.reserved) > 0 {
		e.Text(122, d.cups.reserved)
	}
}

// returned is the message that a frame of UnionPay's network holds. One that the
// network gives back has why in its header, and may have the header that it came
// with behind that.
func returned(frame []byte, h *txn.ReplyHead) []byte {
	const size = len(iso.CUPSHeader{})
	if len(frame) < size {
		return frame
	}
	h.Rejected = iso.CUPSReject(frame[:size])
	if h.Rejected != "" && len(frame) > 2*size && int(frame[size]) == size {
		return frame[size:]
	}
	return frame
}
