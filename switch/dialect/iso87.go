package dialect

import (
	"strconv"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// decodeISO87 fills the request from an ISO 8583:1987 terminal's message.
func decodeISO87(x *Exchange) error {
	m, req := &x.message, &x.Request
	if err := decodeCommon(x); err != nil {
		return err
	}
	req.Country = uint16(number(m, 19))
	operation := string(req.ProcessingCode[:2])
	switch mti := req.MTI &^ 1; mti {
	case 0x0200:
		req.Key.Class = txn.ClassFinancial
		switch operation {
		case "00":
			req.Kind = txn.KindSale
		case "31":
			req.Kind = txn.KindBalance
		}
	case 0x0400, 0x0420:
		req.Key.Class = txn.ClassReversal
		req.Original.STAN = req.Key.STAN
		if m.Has(90) { // MTI 4, STAN 6, DE7 10, acquirer 11, forwarder 11
			var original [42]byte
			stan, err := strconv.ParseUint(string(m.AppendDigits(original[:0], 90)[4:10]), 10, 32)
			if err != nil {
				return errField{90, "must hold the original's trace number"}
			}
			req.Original.STAN = uint32(stan)
		}
		readText(m, 39, req.ReversalReason[:])
		if operation == "00" {
			req.Kind = txn.KindReversal
		}
	case 0x0800, 0x0820:
		req.Key.Class = txn.ClassNetwork
		if !m.Has(70) {
			return missing(70)
		}
		switch number(m, 70) {
		case 1, 61:
			req.Kind = txn.KindSignOn
		case 2, 62:
			req.Kind = txn.KindSignOff
		case 301:
			req.Kind = txn.KindEcho
		}
		return require(m, 11, 41)
	case 0x0100:
		req.Key.Class = txn.ClassFinancial
		if operation == "31" {
			req.Kind = txn.KindBalance
		}
	default:
		req.Key.Class = txn.ClassAdvice
	}
	switch req.Kind {
	case txn.KindSale, txn.KindReversal:
		if err := require(m, 3, 4, 11, 41, 42, 49); err != nil {
			return err
		}
	case txn.KindBalance:
		if err := require(m, 3, 11, 41, 42); err != nil {
			return err
		}
	default:
		return nil // not offered, whatever else it lacks
	}
	if req.Key.STAN == 0 {
		return errField{11, "must be 000001 to 999999"}
	}
	if !req.HasCard() && req.Kind != txn.KindReversal {
		return missing(2)
	}
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
		e.Digits(32, acquirerDigits(ans.Acquirer))
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
	if req.Key.Class == txn.ClassNetwork {
		e.Copy(70, m)
	}
	if req.Kind == txn.KindReversal {
		e.Copy(90, m)
	}
}
