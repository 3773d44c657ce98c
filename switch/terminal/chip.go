package terminal

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// carriesChip says that the kind's request has DE55 when the card has a chip.
func carriesChip(k txn.Kind) bool {
	switch k {
	case txn.KindSale, txn.KindBalance, txn.KindPreauth, txn.KindIncrement, txn.KindInstalment, txn.KindVerify, txn.KindScriptResult:
		return true
	}
	return false
}

// chip is DE55: the card's own, or a sample.
func (m *Message) chip(p *Profile) []byte {
	switch {
	case !carriesChip(m.Kind), m.Card.Entry != Chip && m.Card.Entry != Contactless:
		return nil
	case m.Card.ChipData != nil:
		return m.Card.ChipData
	case m.Kind == txn.KindScriptResult:
		return scriptResult(m.sampleChip(p))
	}
	return m.sampleChip(p)
}

// sampleChip is what a card of nobody's says (cup-pos A5, the request set): a
// fixed cryptogram over the message's amount and date.
func (m *Message) sampleChip(p *Profile) []byte {
	processing := "00"
	if f := m.form(&cupForms); len(f.processing) >= 2 {
		processing = f.processing[:2]
	}
	country := p.Country
	if country == 0 {
		country = 156
	}
	b, err := hex.DecodeString(fmt.Sprintf("9F2608AABBCCDDEEFF0011"+"9F270180"+"9F10070701"+"0103A0A802"+
		"9F3704%08X"+"9F3602%04X"+"95050000000800"+"9A03%s"+"9C01%s"+"9F0206%012d"+"5F2A02%04d"+"82027C00"+"9F1A02%04d"+
		"9F0306000000000000"+"9F3303E0E1C8"+"9F3501229F1E083132333435363738"+"8408A000000333010101",
		m.STAN, uint16(m.STAN), m.At.Format("060102"), processing, m.Amount.Minor, m.currency(p), country))
	if err != nil {
		return nil // an amount of more than 12 digits, which DE4 refuses too
	}
	return b
}

// The tags of DE55 in a reversal (cup-pos A5, in its constructed form), and in
// a script's result.
var (
	reversalTags = []string{"\x95", "\x9F\x1E", "\x9F\x36", "\xDF\x31"}
	scriptTags   = []string{"\x9F\x33", "\x95", "\x9F\x37", "\x9F\x1E", "\x9F\x10", "\x9F\x26", "\x9F\x36", "\x82", "\xDF\x31", "\x9F\x1A", "\x9A"}
)

// keepTags is the elements of chip data with these tags, in the tags' order.
func keepTags(chip []byte, tags []string) []byte {
	var kept []byte
	for _, tag := range tags {
		for rest := chip; len(rest) > 1; {
			var whole []byte
			var got string
			if got, whole, rest = nextElement(rest); got == tag {
				kept = append(kept, whole...)
				break
			}
		}
	}
	return kept
}

// nextElement cuts one BER-TLV element off; tags have one or two bytes, lengths
// one or, behind 81, another. What does not fit is the end.
func nextElement(b []byte) (tag string, whole, rest []byte) {
	n := 1
	if b[0]&0x1F == 0x1F {
		n = 2
	}
	if len(b) <= n {
		return "", nil, nil
	}
	tag = string(b[:n])
	length := int(b[n])
	n++
	if length == 0x81 && len(b) > n {
		length = int(b[n])
		n++
	}
	if len(b) < n+length {
		return "", nil, nil
	}
	return tag, b[:n+length], b[n+length:]
}

// hasScript says that an answer's chip data brings the card an issuer's script.
func hasScript(chip []byte) bool {
	return len(keepTags(chip, []string{"\x71", "\x72"})) > 0
}

// scriptResult is DE55 of a script's result: the card says that it did what it
// was told (DF31).
func scriptResult(chip []byte) []byte {
	return keepTags(append(slices.Clone(chip), "\xDF\x31\x05\x20\x00\x00\x00\x00"...), scriptTags)
}

// certified is DE55 of an item that the card agreed to: its cryptogram is a
// certificate (9F27 is 40).
func certified(chip []byte) []byte {
	chip = slices.Clone(chip)
	if at := bytes.Index(chip, []byte("\x9F\x27\x01\x80")); at >= 0 {
		chip[at+3] = 0x40
	}
	return chip
}
