package dialect

import (
	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// What terminals say of their batches is read from, and answered in, the digits
// of CUP's DE48 (cup-pos A5); other dialects put their fields into that form.
//
//	settlement     two halves, domestic and foreign cards, each debit amount 12,
//	               count 3, credit amount 12, count 3, answer 1
//	upload 201     count 2, then per item: foreign 2, number 6, card 20, amount 12
//	end 202, 207   count of all items 4
//
// The uploads of chip data (203 to 206) and of notices (no code, DE60.1 as in
// the notice) are one item each, told by the fields of the transaction itself.
const (
	halfDigits       = 12 + 3 + 12 + 3 + 1
	settlementDigits = 2 * halfDigits
	itemDigits       = 2 + 6 + 20 + 12
)

// The uploads, as DE60.3 has them.
const (
	uploadDetails     = 201
	uploadEndUneven   = 202
	uploadChipEven    = 203
	uploadChipUneven  = 205
	uploadFailEven    = 204
	uploadFailUneven  = 206
	uploadEndBalanced = 207
)

// uploadKinds are the notices inside an upload, by DE60.1.
var uploadKinds = map[uint8]txn.Kind{
	24: txn.KindCompletionAdvice, 25: txn.KindRefund, 27: txn.KindRefund,
	30: txn.KindOfflineSale, 32: txn.KindAdjustment, 34: txn.KindTip, 36: txn.KindOfflineSale,
}

// readBatch reads a settlement's totals or an upload's items.
func readBatch(x *Exchange) error {
	req, v := &x.Request, x.Request.Additional
	if req.Kind == txn.KindSettlement {
		if len(v) != settlementDigits {
			return errField{48, "must be 62 digits of totals"}
		}
		for i := range req.Totals {
			half := v[i*halfDigits:]
			req.Totals[i] = txn.Totals{
				Debit:  txn.Sum{Minor: long(half[0:12]), Count: decimal(half[12:15])},
				Credit: txn.Sum{Minor: long(half[15:27]), Count: decimal(half[27:30])},
			}
		}
		return nil
	}
	kind := uploadKinds[req.Detail]
	switch {
	case req.Network == uploadDetails:
		return decodeItems(x)
	case req.Network == uploadEndUneven || req.Network == uploadEndBalanced:
		if len(v) != 4 {
			return errField{48, "must be the number of all items, 4 digits"}
		}
		req.Announced = decimal(v)
		return nil
	case req.Network >= uploadChipEven && req.Network <= uploadFailUneven:
	case req.Network == 0 && kind != txn.KindUnknown:
	default:
		return errField{60, "must say what is uploaded"}
	}
	if !x.message.Has(4) {
		return missing(4)
	}
	x.items[0] = txn.Item{Kind: kind, STAN: req.Key.STAN, Minor: req.Amount.Minor, PAN: req.PAN}
	req.Items = x.items[:1]
	return nil
}

func decodeItems(x *Exchange) error {
	v := x.Request.Additional
	if len(v) < 2 {
		return missing(48)
	}
	n := int(decimal(v[:2]))
	if v = v[2:]; n < 1 || n > txn.UploadItemsMax || len(v) != n*itemDigits {
		return errField{48, "must be a count of 1 to 8 and as many items of 40 digits"}
	}
	for i := range n {
		it, d := &x.items[i], v[i*itemDigits:]
		*it = txn.Item{STAN: decimal(d[2:8]), Minor: long(d[28:40])}
		card := d[8:28]
		for len(card) > 0 && card[0] == '0' {
			card = card[1:]
		}
		if len(card) == 0 {
			continue // paid by a code
		}
		var err error
		if it.PAN, err = txn.ParsePAN(card); err != nil {
			return errField{48, "must hold card numbers of 12 to 19 digits"}
		}
	}
	clear(x.additional[:]) // card numbers stay no longer than they must
	x.Request.Additional, x.Request.Items = nil, x.items[:n]
	return nil
}

// writeBatch puts the answer's DE48 into x.Answer.Additional. A settlement that
// was refused, or whose totals do not fit the field, has the terminal's own
// totals with the answer "cannot be compared".
func writeBatch(x *Exchange) {
	req, ans := &x.Request, &x.Answer
	b := ans.Additional[:0]
	defer func() { ans.Additional = b }()
	if req.Kind == txn.KindUpload {
		switch {
		case ans.Reason != txn.Approved:
		case req.Network == uploadDetails:
			b = appendPadded(b, int64(ans.Count), 2)
		case len(req.Items) == 0:
			b = appendPadded(b, int64(ans.Count), 4)
		}
		return
	}
	totals, result := ans.Totals, ans.Result
	if ans.Reason != txn.Approved || !fits(totals) {
		totals, result = req.Totals, [2]txn.Comparison{txn.NotComparable, txn.NotComparable}
	}
	for i, t := range totals {
		b = appendPadded(b, t.Debit.Minor, 12)
		b = appendPadded(b, int64(t.Debit.Count), 3)
		b = appendPadded(b, t.Credit.Minor, 12)
		b = appendPadded(b, int64(t.Credit.Count), 3)
		b = append(b, '0'+byte(result[i]))
	}
}

// inBatch is the message's DE60 with another batch number: a sign-on's answer
// tells a terminal so that its batch is closed and which to go on with.
func inBatch(m *iso.Message, number uint32) []byte {
	v := m.AppendDigits(nil, 60)
	appendPadded(v[:2], int64(number), 6) // DE60.2, in place
	return v
}

// fits says that DE48 can hold the totals.
func fits(totals [2]txn.Totals) bool {
	for _, t := range totals {
		for _, s := range [...]txn.Sum{t.Debit, t.Credit} {
			if s.Count > 999 || s.Minor < 0 || s.Minor > txn.AmountMax {
				return false
			}
		}
	}
	return true
}

// appendPadded appends n, which is not negative, as width digits.
func appendPadded(dst []byte, n int64, width int) []byte {
	start := len(dst)
	for range width {
		dst = append(dst, '0')
	}
	for i := start + width - 1; i >= start; i-- {
		dst[i] += byte(n % 10)
		n /= 10
	}
	return dst
}

// long is decimal for up to 18 digits.
func long(digits []byte) (n int64) {
	for _, c := range digits {
		n = n*10 + int64(c-'0')
	}
	return n
}
