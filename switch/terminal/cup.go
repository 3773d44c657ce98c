package terminal

import (
	"cmp"
	"fmt"

	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// licence is the maker's number that stands before the serial at sign-on.
const licence = "3100"

// The header and address of a CUP POS terminal's messages.
var (
	cupTPDU   = []byte{0x60, 0x00, 0x03, 0x00, 0x00} // where the profile has none
	cupHeader = []byte{0x60, 0x31, 0x00, 0x31, 0x00, 0x00}
)

// cupForms is the CUP transaction table (cup-pos A6).
var cupForms = [txn.Kinds]form{
	txn.KindSignOn:           {mti: 0x0800, detail: "00"},
	txn.KindSignOff:          {mti: 0x0820, detail: "00"},
	txn.KindEcho:             {mti: 0x0820, detail: "00"},
	txn.KindBalance:          {0x0200, "310000", "00", "01"},
	txn.KindVerify:           {0x0100, "330000", "00", "01"},
	txn.KindSale:             {0x0200, "000000", "00", "22"},
	txn.KindVoid:             {0x0200, "200000", "00", "23"},
	txn.KindRefund:           {0x0220, "200000", "00", "25"},
	txn.KindPreauth:          {0x0100, "030000", "06", "10"},
	txn.KindIncrement:        {0x0100, "030000", "60", "10"},
	txn.KindPreauthVoid:      {0x0100, "200000", "06", "11"},
	txn.KindCompletion:       {0x0200, "000000", "06", "20"},
	txn.KindCompletionVoid:   {0x0200, "200000", "06", "21"},
	txn.KindCompletionAdvice: {0x0220, "000000", "06", "24"},
	txn.KindOfflineSale:      {0x0220, "000000", "00", "30"},
	txn.KindAdjustment:       {0x0220, "000000", "00", "32"},
	txn.KindTip:              {0x0220, "000000", "00", "34"},
	txn.KindInstalment:       {0x0200, "000000", "64", "22"},
	txn.KindInstalmentVoid:   {0x0200, "200000", "64", "23"},
	txn.KindScriptResult:     {mti: 0x0620, detail: "00"},
	txn.KindReversal:         {mti: 0x0400},
	txn.KindSettlement:       {mti: 0x0500, detail: "00"},
	txn.KindUpload:           {mti: 0x0320, detail: "00"},
}

// The network management codes of DE60.3 that a terminal sends.
const (
	netSignOff      = 2
	netBatch        = 201 // a settlement, and an upload of details
	netEndUnequal   = 202
	netChip         = 203 // an IC transaction, of a batch that is equal
	netChipUnequal  = 205
	netEndEqual     = 207
	netEcho         = 301
	netScriptResult = 951
)

// cup writes the fields of a CUP POS request, those of the presence matrix
// (cup-pos A7) for which there is something to say.
func (m *Message) cup(w *writer, p *Profile) {
	if m.of != nil {
		m.uploadItem(w, p)
		return
	}
	if !carriesCard(m.Kind) {
		m.cupManagement(w, p)
		return
	}
	f := m.form(&cupForms)
	script := m.Kind == txn.KindScriptResult
	if m.Card.Entry != Code && (m.Card.Entry != Stripe || m.Kind == txn.KindRefund) {
		w.digits(2, m.Card.number())
	}
	w.digits(3, f.processing)
	if carriesAmount(m.Kind) {
		w.number(4, 12, m.Amount.Minor)
	}
	w.number(11, 6, int64(m.STAN))
	if m.Card.Entry != Stripe && !script {
		w.digits(14, m.Card.Expiry)
	}
	w.digits(22, m.entry())
	w.digits(23, m.sequence())
	w.digits(25, f.condition)
	track := m.Card.track()
	if len(m.PINBlock) > 0 {
		w.digits(26, "12")
	}
	if script {
		w.digits(32, m.Original.Acquirer)
	}
	w.digits(35, track)
	w.text(37, m.rrn())
	w.text(38, m.authCode())
	w.party(p)
	if m.Kind == txn.KindTip {
		w.number(48, 12, m.Amount.Minor)
	}
	w.text(49, m.currency(p).String())
	if len(m.PINBlock) == 8 {
		w.bytes(52, m.PINBlock)
	} else if len(m.PINBlock) > 0 { // enciphered with SM4 it is in DE59
		w.bytes(52, make([]byte, 8))
	}
	if len(m.PINBlock) > 0 || track != "" {
		w.digits(53, security(len(m.PINBlock) > 0, p.KeySet))
	}
	w.bytes(55, m.chip(p))
	w.text(59, m.place(p))
	if script {
		w.digits(60, fmt.Sprintf("%s%06d%03d60", f.detail, p.Batch, netScriptResult))
	} else {
		w.digits(60, fmt.Sprintf("%s%06d00060", f.detail, p.Batch))
	}
	w.digits(61, m.reference())
	if m.Kind == txn.KindInstalment {
		w.text(62, fmt.Sprintf("%02d", m.Months))
	}
	if cupForms[m.Kind].mti == 0x0220 {
		w.text(63, "CUP")
	}
	if m.MAC {
		w.bytes(macField, noMAC[:]) // it is made when the frame is sent
	}
}

// cupManagement writes what is not about a card.
func (m *Message) cupManagement(w *writer, p *Profile) {
	network := m.Network
	switch m.Kind {
	case txn.KindSignOn:
		network = uint16(cmp.Or(p.KeySet, keys.KeySetDouble))
	case txn.KindSignOff:
		network = netSignOff
	case txn.KindEcho:
		network = netEcho
	}
	if m.Kind != txn.KindEcho {
		w.number(11, 6, int64(m.STAN))
	}
	w.party(p)
	w.digits(48, m.Detail)
	if m.Kind == txn.KindSettlement {
		w.text(49, m.currency(p).String())
	}
	w.digits(60, fmt.Sprintf("00%06d%03d", p.Batch, network))
	if m.Kind == txn.KindSignOn {
		w.text(62, fmt.Sprintf("Sequence No%02d%s%s", len(licence)+len(p.Serial), licence, p.Serial))
	}
	if m.Kind == txn.KindSignOn || m.Kind == txn.KindSettlement {
		w.text(63, "001")
	}
}

// sequence is DE23.
func (m *Message) sequence() string {
	if m.Card.Sequence == "" && m.Card.Entry == Chip {
		return "001"
	}
	return m.Card.Sequence
}

// security is DE53: the PIN's format, and the cipher that the key set has.
func security(pin bool, set keys.KeySet) string {
	format, cipher := "0", "6"
	if pin {
		format = "2"
	}
	switch set {
	case keys.KeySetSingle:
		cipher = "0"
	case keys.KeySetSM4, keys.KeySetSM4Alt:
		cipher = "3"
	}
	return format + cipher + "00000000000000"
}

// rrn is DE37 where the kind names its original by it.
func (m *Message) rrn() string {
	switch m.Kind {
	case txn.KindVoid, txn.KindInstalmentVoid, txn.KindCompletionVoid, txn.KindRefund, txn.KindAdjustment, txn.KindTip:
		return m.Original.RRN
	}
	return ""
}

// authCode is DE38 of what was authorized before.
func (m *Message) authCode() string {
	if m.Kind == txn.KindScriptResult {
		return ""
	}
	return m.Original.AuthCode
}

// reference is DE61: batch and trace number, the date where they may be of
// another day, and for what was authorized elsewhere by whom. What is not known
// is zeros.
func (m *Message) reference() string {
	o := &m.Original
	number := fmt.Sprintf("%06d%06d", o.Batch, o.STAN)
	date := cmp.Or(o.Date, "0000")
	switch m.Kind {
	case txn.KindVoid, txn.KindInstalmentVoid:
		return number
	case txn.KindRefund, txn.KindPreauthVoid, txn.KindCompletion, txn.KindCompletionAdvice, txn.KindCompletionVoid, txn.KindScriptResult:
		return number + date
	case txn.KindIncrement:
		return "0000000000000000"
	case txn.KindOfflineSale, txn.KindAdjustment, txn.KindTip:
		by := "00" // at the terminal
		if m.Kind == txn.KindOfflineSale && o.AuthCode != "" {
			by = "01" // by telephone
		}
		return number + date + by + "00000000000"
	}
	return ""
}
