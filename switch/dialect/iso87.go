package dialect

import (
	"bytes"
	"strconv"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// KindISO87 is what an ISO 8583:1987 message asks for, by its type, the first
// two digits of DE3, and DE25: the table of docs/dialects.md. Terminals, issuer
// links and the simulated issuer share it.
func KindISO87(m *iso.Message) txn.Kind {
	var operation, condition string
	var digits [6 + 2 + de90Size]byte
	if code := m.AppendDigits(digits[:0:6], 3); len(code) >= 2 {
		operation = string(code[:2])
	}
	if v := m.AppendDigits(digits[6:6:8], 25); len(v) == 2 {
		condition = string(v)
	}
	// 06 is a request that was pre-authorized; 18 is CUP's, by mail or telephone. So is
	// one whose DE90 names an authorization, whatever DE25 says.
	preauthorized := condition == "06" || condition == "18"
	promised := preauthorized || bytes.HasPrefix(m.AppendDigits(digits[8:8], 90), []byte("01"))
	instalment := condition == "64" || number(m, 67) > 0 // 00: none
	switch m.MTI() &^ 1 {
	case 0x0100:
		switch operation {
		case "00", "03":
			switch condition {
			case "51":
				return txn.KindVerify
			case "60":
				return txn.KindIncrement
			}
			return txn.KindPreauth
		case "02", "20":
			return txn.KindPreauthVoid
		case "31":
			return txn.KindBalance
		case "33":
			return txn.KindVerify
		}
	case 0x0200:
		switch {
		case operation == "31":
			return txn.KindBalance
		case operation == "20":
			return txn.KindRefund
		case operation == "00" && promised:
			return txn.KindCompletion
		case operation == "00" && instalment:
			return txn.KindInstalment
		case operation == "00":
			return txn.KindSale
		case operation == "02" && preauthorized:
			return txn.KindCompletionVoid
		case operation == "02" && instalment:
			return txn.KindInstalmentVoid
		case operation == "02":
			return txn.KindVoid
		}
	case 0x0220:
		switch {
		case operation == "20":
			return txn.KindRefund
		case operation == "00" && promised:
			return txn.KindCompletionAdvice
		case operation == "00":
			return txn.KindOfflineSale
		case operation == "02" && m.Has(54):
			return txn.KindTip
		case operation == "02":
			return txn.KindAdjustment
		}
	case 0x0320:
		return txn.KindUpload
	case 0x0400, 0x0420:
		return txn.KindReversal
	case 0x0500, 0x0520:
		if operation == "96" {
			return txn.KindUpload // its end
		}
		return txn.KindSettlement
	case 0x0620:
		return txn.KindScriptResult
	case 0x0800, 0x0820:
		switch number(m, 70) {
		case 1, 61, 101, 161: // keys are issued at a sign-on: to ask for them is one
			return txn.KindSignOn
		case 2, 62:
			return txn.KindSignOff
		case 201, 202, 301: // a cut-over of the client's day is taken note of, as an echo is
			return txn.KindEcho
		}
	}
	return txn.KindUnknown
}

// iso87Needs are the fields that a kind's request must have. A kind without a
// row is not offered, whatever it lacks.
var iso87Needs = [txn.Kinds][]int{
	txn.KindSale:             {3, 4, 11, 41, 42, 49},
	txn.KindBalance:          {3, 11, 41, 42},
	txn.KindReversal:         {3, 4, 11, 41, 42, 49},
	txn.KindSignOn:           {11, 41},
	txn.KindSignOff:          {11, 41},
	txn.KindEcho:             {11}, // of a line, which may be many terminals'
	txn.KindVoid:             {3, 4, 11, 41, 42, 49},
	txn.KindRefund:           {3, 4, 11, 41, 42, 49},
	txn.KindPreauth:          {3, 4, 11, 41, 42, 49},
	txn.KindIncrement:        {3, 4, 11, 38, 41, 42, 49},
	txn.KindPreauthVoid:      {3, 4, 11, 38, 41, 42, 49},
	txn.KindCompletion:       {3, 4, 11, 38, 41, 42, 49},
	txn.KindCompletionAdvice: {3, 4, 11, 38, 41, 42, 49},
	txn.KindCompletionVoid:   {3, 4, 11, 41, 42, 49},
	txn.KindOfflineSale:      {3, 4, 11, 41, 42, 49},
	txn.KindAdjustment:       {3, 4, 11, 41, 42, 49},
	txn.KindTip:              {3, 4, 11, 41, 42, 49},
	txn.KindInstalment:       {3, 4, 11, 41, 42, 49, 67},
	txn.KindInstalmentVoid:   {3, 4, 11, 41, 42, 49},
	txn.KindVerify:           {3, 11, 41, 42},
	txn.KindScriptResult:     {3, 11, 41, 42, 55},
	txn.KindSettlement:       {11, 41, 42, 74, 76, 86, 88},
	txn.KindUpload:           {11, 41, 42},
}

// iso87Named are the kinds that must name their original by DE90 or DE37. The
// others about an original have the authorization code of a pre-authorization.
const iso87Named = 1<<txn.KindVoid | 1<<txn.KindRefund | 1<<txn.KindCompletionVoid | 1<<txn.KindInstalmentVoid |
	1<<txn.KindAdjustment | 1<<txn.KindTip | 1<<txn.KindScriptResult

// decodeISO87 fills the request from an ISO 8583:1987 terminal's message.
func decodeISO87(x *Exchange) error {
	m, req := &x.message, &x.Request
	if err := decodeCommon(x); err != nil {
		return err
	}
	req.Country = uint16(number(m, 19))
	req.Instalments = uint8(number(m, 67))
	req.Custom = m.Value(62)
	req.Kind = KindISO87(m)
	switch req.MTI >> 8 {
	case 0x08:
		req.Key.Class = txn.ClassNetwork
		if !m.Has(70) {
			return missing(70)
		}
		req.Network = uint16(number(m, 70))
		return require(m, iso87Needs[req.Kind]...)
	case 0x04:
		req.Key.Class = txn.ClassReversal
		readText(m, 39, req.ReversalReason[:])
	case 0x03, 0x05:
		req.Key.Class = txn.ClassUpload
	case 0x01, 0x02:
		req.Key.Class = txn.ClassFinancial
		if req.MTI&0x20 != 0 {
			req.Key.Class = txn.ClassAdvice
		}
	default:
		req.Key.Class = txn.ClassAdvice
	}
	if req.Kind == txn.KindUnknown && req.MTI>>8 <= 0x02 && !m.Has(3) {
		return missing(3) // which of the kinds it is, nobody can tell
	}
	if err := require(m, iso87Needs[req.Kind]...); err != nil || iso87Needs[req.Kind] == nil {
		return err
	}
	if req.Key.STAN == 0 {
		return errField{11, "must be 000001 to 999999"}
	}
	if !req.HasCard() && cardless&(1<<req.Kind) == 0 {
		return missing(2)
	}
	if err := decodeOriginal(m, req); err != nil {
		return err
	}
	switch req.Kind {
	case txn.KindTip:
		return decodeTip(m, req)
	case txn.KindInstalment:
		if req.Instalments == 0 {
			return errField{67, "must be the number of instalments"}
		}
	case txn.KindSettlement, txn.KindUpload:
		return decodeBatch(x)
	}
	return nil
}

// de90Size is of MTI 4, STAN 6, DE7 10, acquirer 11 and forwarder 11.
const de90Size = 42

// decodeOriginal reads which earlier transaction the request is about, in
// DE90 and DE38. Without DE90 a
// reversal and an uploaded item have the number of what they are about. DE37 is
// the original's where nothing else names it; else it may be the request's own,
// for many clients number all that they send.
func decodeOriginal(m *iso.Message, req *txn.Request) error {
	ref := &req.Original
	if req.Kind == txn.KindOfflineSale { // it was authorized by telephone
		copy(ref.AuthCode[:], m.Value(38))
	}
	if !req.Kind.NamesOriginal() && req.Kind != txn.KindUpload {
		return nil
	}
	copy(ref.AuthCode[:], m.Value(38))
	var digits [de90Size]byte
	if v := m.AppendDigits(digits[:0], 90); len(v) == de90Size {
		ref.STAN = decimal(v[4:10])
		if string(v[10:14]) != "0000" {
			copy(ref.Date[:], v[10:14])
		}
		if req.Kind == txn.KindReversal && v[2] == '2' {
			req.Kind = txn.KindUnknown // an advice is a fact: it is said again, not undone
		}
	} else if req.Kind == txn.KindReversal || req.Kind == txn.KindUpload {
		ref.STAN = req.Key.STAN
		copy(ref.RRN[:], m.Value(37))
	}
	switch {
	case ref.STAN == 0 && req.Kind == txn.KindReversal && m.Has(90):
		return errField{90, "must name the original's trace number"}
	case ref.STAN == 0 && iso87Named&(1<<req.Kind) != 0:
		if !m.Has(37) {
			return errField{90, "or field 37 must name the original"}
		}
		copy(ref.RRN[:], m.Value(37))
	case req.Kind == txn.KindReversal && m.Has(95):
		// Actual amount 12, in settlement 12, fees 9 and 9.
		stays, err := strconv.ParseUint(string(m.Value(95)[:12]), 10, 63)
		if err != nil {
			return errField{95, "must begin with 12 digits"}
		}
		if stays > 0 {
			req.Replacement = txn.Amount{Minor: int64(stays), Currency: req.Amount.Currency}
		}
	}
	return nil
}

// decodeTip reads DE54's last twelve digits, the money added.
func decodeTip(m *iso.Message, req *txn.Request) error {
	v := m.Value(54)
	tip, err := strconv.ParseUint(string(v[max(0, len(v)-12):]), 10, 63)
	if len(v) < 12 || err != nil {
		return errField{54, "must end with the tip, 12 digits"}
	}
	return added(req, 54, int64(tip))
}

// decodeBatch puts what a terminal says of its batch into the form that CUP
// terminals say it in (DE48 and DE60.3), so that there is one to settle by.
// Settlement 201: amount 12 and number 3 of debits (DE88, DE76) and of credits
// (DE86, DE74), answer digit, and the same, zero, for foreign cards. Upload 201:
// one item, its number 6, card 20 and amount 12. End of the upload 202: the
// number of all items.
func decodeBatch(x *Exchange) error {
	m, req := &x.message, &x.Request
	b := x.additional[:62]
	for i := range b {
		b[i] = '0'
	}
	if req.Kind == txn.KindSettlement || req.MTI>>8 == 0x05 {
		for _, f := range [...]int{86, 88} {
			if number(m, f) > txn.AmountMax {
				return errField{f, "must be at most 12 digits"}
			}
		}
		for _, f := range [...]int{74, 76} {
			if number(m, f) > 999 {
				return errField{f, "must be at most 999"}
			}
		}
	}
	req.Network = 201
	switch {
	case req.Kind == txn.KindSettlement:
		digits(b[0:12], number(m, 88))
		digits(b[12:15], number(m, 76))
		digits(b[15:27], number(m, 86))
		digits(b[27:30], number(m, 74))
	case req.MTI>>8 == 0x05:
		req.Network = 202
		b = b[:4]
		digits(b, number(m, 74)+number(m, 76))
	default:
		b = b[:42]
		b[1] = '1' // one item
		digits(b[4:10], uint64(req.Original.STAN))
		req.PAN.Append(b[10+20-req.PAN.Len() : 10+20-req.PAN.Len()])
		digits(b[30:42], uint64(req.Amount.Minor))
	}
	req.Additional = b
	return nil
}

// answerISO87 repeats what identifies the request and adds the answer.
func answerISO87(e *iso.Encoder, x *Exchange) {
	m, req, ans := &x.message, &x.Request, &x.Answer
	approved := ans.Reason == txn.Approved
	for _, f := range [...]int{2, 3, 4, 7, 11} {
		e.Copy(f, m)
	}
	if m.Has(12) {
		e.Copy(12, m)
	} else {
		e.Digits(12, ans.Time[:])
	}
	if m.Has(13) {
		e.Copy(13, m)
	} else {
		e.Digits(13, ans.Date[:])
	}
	if ans.Reply.SettlementDate != [4]byte{} {
		e.Digits(15, ans.Reply.SettlementDate[:])
	}
	e.Copy(25, m)
	if m.Has(32) {
		e.Copy(32, m)
	} else {
		e.Digits(32, []byte(ans.Acquirer))
	}
	if m.Has(37) {
		e.Copy(37, m)
	} else if ans.RRN != [12]byte{} {
		e.Text(37, ans.RRN[:])
	}
	if approved && ans.Reply.AuthCode != [6]byte{} {
		e.Text(38, ans.Reply.AuthCode[:])
	}
	e.Text(39, ans.Code[:])
	e.Copy(41, m)
	e.Copy(42, m)
	if len(ans.Reply.IssuerData) > 0 {
		e.Text(44, ans.Reply.IssuerData)
	}
	e.Copy(49, m)
	if len(ans.Reply.Balance) > 0 {
		e.Text(54, ans.Reply.Balance)
	}
	if len(ans.Reply.Chip) > 0 {
		e.Bytes(55, ans.Reply.Chip)
	}
	if approved {
		answerKeys(e, ans.Keys)
	}
	totals := req.Kind == txn.KindSettlement && len(ans.Additional) >= 31
	if totals {
		e.Digits(66, ans.Additional[30:31])
	}
	if req.Key.Class == txn.ClassNetwork {
		e.Copy(70, m)
	}
	if totals {
		e.Uint(74, uint64(decimal(ans.Additional[27:30])))
		e.Uint(76, uint64(decimal(ans.Additional[12:15])))
		e.Uint(86, uint64(long(ans.Additional[15:27])))
		e.Uint(88, uint64(long(ans.Additional[0:12])))
	}
	e.Copy(90, m)
	if req.Kind == txn.KindReversal {
		e.Copy(95, m)
	}
}
