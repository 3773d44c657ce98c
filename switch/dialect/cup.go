package dialect

import (
	"bytes"
	"strconv"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// cupKinds maps MTI, processing code and DE60.1 (financial) or DE60.3 (network)
// to what is asked for: the CUP transaction table.
var cupKinds = map[cupKind]txn.Kind{
	{0x0200, "000000", "00", "22"}: txn.KindSale,
	{0x0200, "310000", "00", "01"}: txn.KindBalance,
	{0x0400, "000000", "00", "22"}: txn.KindReversal,
	{0x0800, "", "", "001"}:        txn.KindSignOn,
	{0x0800, "", "", "003"}:        txn.KindSignOn,
	{0x0800, "", "", "004"}:        txn.KindSignOn,
	{0x0800, "", "", "005"}:        txn.KindSignOn,
	{0x0800, "", "", "006"}:        txn.KindSignOn,
	{0x0820, "", "", "002"}:        txn.KindSignOff,
	{0x0820, "", "", "301"}:        txn.KindEcho,
}

type cupKind struct {
	mti                           uint16
	processing, condition, detail string
}

// decodeCUP fills the request from a CUP POS message.
func decodeCUP(x *Exchange) error {
	m, req := &x.message, &x.Request
	var code [17]byte // DE60: type 2, batch 6, network code 3, capability 1, IC condition 1, ...
	custom := m.AppendDigits(code[:0], 60)
	if len(custom) < 8 {
		if !m.Has(60) {
			return missing(60)
		}
		return errField{60, "must have at least a transaction type and a batch number"}
	}
	batch, _ := strconv.ParseUint(string(custom[2:8]), 10, 32)
	req.Key.Batch = uint32(batch)
	if err := decodeCommon(x); err != nil {
		return err
	}
	mti := req.MTI &^ 1
	want := cupKind{mti: mti}
	switch mti {
	case 0x0800, 0x0820:
		req.Key.Class = txn.ClassNetwork
		if len(custom) < 11 {
			return errField{60, "must have a network management code"}
		}
		want.detail = string(custom[8:11])
		code, _ := strconv.ParseUint(want.detail, 10, 16)
		req.Kind, req.Network = cupKinds[want], uint16(code)
		return require(m, 41, 42)
	case 0x0400:
		req.Key.Class = txn.ClassReversal
		// The reversal carries the number and batch of what it reverses.
		req.Original.STAN, req.Original.Batch = req.Key.STAN, req.Key.Batch
		readText(m, 39, req.ReversalReason[:])
	case 0x0220, 0x0320, 0x0620:
		req.Key.Class = txn.ClassAdvice
	default:
		req.Key.Class = txn.ClassFinancial
	}
	want.processing, want.condition, want.detail = string(req.ProcessingCode[:]), string(req.Condition[:]), string(custom[:2])
	req.Kind = cupKinds[want]
	decodePlace(m.Value(59), req)
	switch req.Kind {
	case txn.KindSale:
		if err := require(m, 3, 4, 11, 22, 25, 41, 42, 49); err != nil {
			return err
		}
	case txn.KindBalance:
		if err := require(m, 3, 11, 22, 25, 41, 42, 49); err != nil {
			return err
		}
	case txn.KindReversal:
		if err := require(m, 3, 4, 11, 25, 39, 41, 42, 49); err != nil {
			return err
		}
	default:
		return nil // not offered, whatever else it lacks
	}
	if req.Key.STAN == 0 {
		return errField{11, "must be 000001 to 999999"}
	}
	if req.PAN.IsZero() && req.Kind != txn.KindReversal && req.Entry != 3 {
		return missing(2)
	}
	return nil
}

// answerCUP writes the response fields of the CUP presence matrix.
func answerCUP(e *iso.Encoder, x *Exchange) {
	m, req, ans := &x.message, &x.Request, &x.Answer
	approved := ans.Reason == txn.Approved
	financial := req.Kind == txn.KindSale || req.Kind == txn.KindBalance
	if m.Has(2) {
		e.Copy(2, m)
	} else if !req.PAN.IsZero() {
		var digits [txn.PANDigitsMax]byte
		e.Digits(2, req.PAN.Append(digits[:0]))
		clear(digits[:])
	}
	e.Copy(3, m)
	e.Copy(4, m)
	e.Copy(11, m)
	e.Digits(12, ans.Time[:])
	e.Digits(13, ans.Date[:])
	e.Copy(14, m)
	if ans.Reply.SettlementDate != [4]byte{} {
		e.Digits(15, ans.Reply.SettlementDate[:])
	}
	if financial {
		e.Copy(23, m)
	}
	e.Copy(25, m)
	acquirer := acquirerDigits(ans.Acquirer)
	e.Digits(32, acquirer)
	if ans.RRN != [12]byte{} && req.Kind != txn.KindEcho {
		e.Text(37, ans.RRN[:])
	}
	if approved && ans.Reply.AuthCode != [6]byte{} {
		e.Text(38, ans.Reply.AuthCode[:])
	}
	e.Text(39, ans.Code[:])
	e.Copy(41, m)
	e.Copy(42, m)
	switch {
	case len(ans.Reply.IssuerData) > 0:
		e.Text(44, ans.Reply.IssuerData)
	case approved && financial:
		e.Text(44, institutions(acquirer))
	}
	e.Copy(49, m)
	if req.Kind == txn.KindSale {
		e.Copy(53, m)
	}
	if len(ans.Reply.Balance) > 0 {
		e.Text(54, ans.Reply.Balance)
	}
	if n := len(ans.Reply.Chip); n > 0 && n <= cupChipMax { // more than it holds helps no terminal
		e.Bytes(55, ans.Reply.Chip)
	}
	e.Copy(60, m)
	if approved && len(ans.Keys) > 0 {
		e.Bytes(62, ans.Keys)
	}
	if approved && financial {
		e.Text(63, organization(m))
	}
}

// cupChipMax is the size of DE55 of a CUP terminal; an issuer's may be larger.
const cupChipMax = 255

// institutions is DE44 where the issuer gave none: its code, which we do not
// know, and the acquirer's, 11 characters each.
func institutions(acquirer []byte) []byte {
	b := [22]byte([]byte("                      "))
	copy(b[11:], acquirer)
	return b[:]
}

// organization is DE63.1, whose card it is: what the terminal said, else CUP.
func organization(m *iso.Message) []byte {
	if v := m.Value(63); len(v) >= 3 {
		return v[:3]
	}
	return []byte("CUP")
}

// acquirerDigits is DE32: the institution code, 8 digits at least.
func acquirerDigits(id txn.AcquirerID) []byte {
	var b [11]byte
	i := len(b)
	for id > 0 && i > 0 || i > len(b)-8 {
		i--
		b[i] = '0' + byte(id%10)
		id /= 10
	}
	return b[i:]
}

// decodePlace reads the terminal's position out of DE59: elements of a
// two-character tag, three digits of length and a value, of which A5 holds
// longitude (01) and latitude (02) in the same form. What cannot be read is no
// position; whether one is needed is the terminal's registration's business.
func decodePlace(v []byte, req *txn.Request) {
	place, ok := element(v, "A5")
	if !ok {
		return
	}
	lng, ok1 := element(place, "01")
	lat, ok2 := element(place, "02")
	if !ok1 || !ok2 {
		return
	}
	x, ok1 := microdegrees(lng, 180)
	y, ok2 := microdegrees(lat, 90)
	if ok1 && ok2 {
		req.Position = txn.Position{Lat: y, Lng: x, Known: true}
	}
}

// element finds a tag's value among the elements of v.
func element(v []byte, tag string) ([]byte, bool) {
	for len(v) >= 5 {
		n := 0
		for _, c := range v[2:5] {
			if c < '0' || c > '9' {
				return nil, false
			}
			n = n*10 + int(c-'0')
		}
		if len(v) < 5+n {
			return nil, false
		}
		if string(v[:2]) == tag {
			return v[5 : 5+n], true
		}
		v = v[5+n:]
	}
	return nil, false
}

// microdegrees reads "+121.4737", at most bound degrees either way. Decimals
// beyond the sixth, a tenth of a metre, are dropped.
func microdegrees(v []byte, bound int64) (int32, bool) {
	v = bytes.TrimRight(v, " ")
	negative := len(v) > 0 && v[0] == '-'
	if negative || len(v) > 0 && v[0] == '+' {
		v = v[1:]
	}
	degrees, fraction, _ := bytes.Cut(v, []byte{'.'})
	if len(degrees) < 1 || len(degrees) > 3 {
		return 0, false
	}
	var micro int64
	for i := range len(degrees) + max(6, len(fraction)) {
		d := byte('0')
		if i < len(degrees) {
			d = degrees[i]
		} else if j := i - len(degrees); j < len(fraction) {
			d = fraction[j]
		}
		if d < '0' || d > '9' {
			return 0, false
		}
		if i < len(degrees)+6 {
			micro = micro*10 + int64(d-'0')
		}
	}
	if micro > bound*1_000_000 {
		return 0, false
	}
	if negative {
		micro = -micro
	}
	return int32(micro), true
}
