package dialect

import (
	"bytes"
	"maps"
	"strconv"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// cupKey is what tells a CUP POS message's kind: MTI, DE3, DE25, DE60.1, or
// MTI and DE60.3 for network management (in detail).
type cupKey struct {
	mti        uint16
	processing uint32
	condition  uint8
	detail     uint16
}

// cupKinds is the CUP transaction table (cup-pos A6). A reversal repeats the
// codes of what it reverses. Mail and telephone order (DE25 08 and 18) are the
// same kinds; whether a merchant may sell so is risk's business.
var cupKinds = func() map[cupKey]txn.Kind {
	kinds := map[cupKey]txn.Kind{
		{0x0200, 310000, 0, 1}:   txn.KindBalance,
		{0x0200, 0, 0, 22}:       txn.KindSale,
		{0x0200, 200000, 0, 23}:  txn.KindVoid,
		{0x0220, 200000, 0, 25}:  txn.KindRefund,
		{0x0220, 200000, 0, 27}:  txn.KindRefund, // of an electronic cash sale
		{0x0100, 30000, 6, 10}:   txn.KindPreauth,
		{0x0100, 30000, 60, 10}:  txn.KindIncrement,
		{0x0100, 200000, 6, 11}:  txn.KindPreauthVoid,
		{0x0200, 0, 6, 20}:       txn.KindCompletion,
		{0x0200, 200000, 6, 21}:  txn.KindCompletionVoid,
		{0x0220, 0, 6, 24}:       txn.KindCompletionAdvice,
		{0x0220, 0, 0, 30}:       txn.KindOfflineSale,
		{0x0200, 0, 0, 36}:       txn.KindOfflineSale, // electronic cash
		{0x0220, 0, 0, 32}:       txn.KindAdjustment,
		{0x0220, 0, 0, 34}:       txn.KindTip,
		{0x0200, 0, 64, 22}:      txn.KindInstalment,
		{0x0200, 200000, 64, 23}: txn.KindInstalmentVoid,
		{0x0100, 330000, 0, 1}:   txn.KindVerify,
	}
	byMail := map[uint8]uint8{0: 8, 6: 18}
	for key, kind := range maps.Clone(kinds) {
		if c, ok := byMail[key.condition]; ok && kind != txn.KindBalance && kind != txn.KindVerify {
			key.condition = c
			kinds[key] = kind
		}
	}
	for key, kind := range maps.Clone(kinds) {
		if kind.Remedy() == txn.Reverse {
			key.mti = 0x0400
			kinds[key] = txn.KindReversal
		}
	}
	return kinds
}()

// cupManagement is what DE60.3 asks for.
var cupManagement = map[cupKey]txn.Kind{
	{mti: 0x0800, detail: 1}:   txn.KindSignOn,
	{mti: 0x0800, detail: 3}:   txn.KindSignOn,
	{mti: 0x0800, detail: 4}:   txn.KindSignOn,
	{mti: 0x0800, detail: 5}:   txn.KindSignOn,
	{mti: 0x0800, detail: 6}:   txn.KindSignOn,
	{mti: 0x0820, detail: 2}:   txn.KindSignOff,
	{mti: 0x0820, detail: 301}: txn.KindEcho,
	{mti: 0x0800, detail: 360}: txn.KindDownload, // parameters, and their end
	{mti: 0x0800, detail: 361}: txn.KindDownload,
	{mti: 0x0800, detail: 364}: txn.KindDownload, // TMS
	{mti: 0x0800, detail: 365}: txn.KindDownload,
	{mti: 0x0800, detail: 370}: txn.KindDownload, // CA public keys
	{mti: 0x0800, detail: 371}: txn.KindDownload,
	{mti: 0x0820, detail: 372}: txn.KindDownload,
	{mti: 0x0800, detail: 380}: txn.KindDownload, // chip applications
	{mti: 0x0800, detail: 381}: txn.KindDownload,
	{mti: 0x0820, detail: 382}: txn.KindDownload,
	{mti: 0x0800, detail: 390}: txn.KindDownload, // black list of card BINs
	{mti: 0x0800, detail: 391}: txn.KindDownload,
	{mti: 0x0800, detail: 394}: txn.KindDownload, // contactless parameters
	{mti: 0x0800, detail: 395}: txn.KindDownload,
	{mti: 0x0800, detail: 396}: txn.KindDownload, // BINs that need no PIN
	{mti: 0x0800, detail: 397}: txn.KindDownload,
	{mti: 0x0800, detail: 398}: txn.KindDownload, // and those that need one all the same
	{mti: 0x0800, detail: 399}: txn.KindDownload,
	{mti: 0x0820, detail: 362}: txn.KindStatus,
}

// cupNeeds are the fields that a kind's request must have (cup-pos A7). A kind
// without a row is not offered, whatever it lacks.
var cupNeeds = [txn.Kinds][]int{
	txn.KindSale:             {3, 4, 11, 22, 25, 41, 42, 49},
	txn.KindBalance:          {3, 11, 22, 25, 41, 42, 49},
	txn.KindVerify:           {3, 11, 22, 25, 41, 42},
	txn.KindVoid:             {3, 4, 11, 22, 25, 37, 41, 42, 49, 61},
	txn.KindRefund:           {3, 4, 11, 22, 25, 37, 41, 42, 49, 61},
	txn.KindPreauth:          {3, 4, 11, 22, 25, 41, 42, 49},
	txn.KindIncrement:        {3, 4, 11, 22, 25, 38, 41, 42, 49},
	txn.KindPreauthVoid:      {3, 4, 11, 22, 25, 38, 41, 42, 49, 61},
	txn.KindCompletion:       {3, 4, 11, 22, 25, 38, 41, 42, 49, 61},
	txn.KindCompletionAdvice: {3, 4, 11, 22, 25, 38, 41, 42, 49, 61},
	txn.KindCompletionVoid:   {3, 4, 11, 22, 25, 37, 41, 42, 49, 61},
	txn.KindOfflineSale:      {3, 4, 11, 22, 25, 41, 42, 49},
	txn.KindAdjustment:       {3, 4, 11, 22, 25, 37, 41, 42, 49, 61},
	txn.KindTip:              {3, 4, 11, 22, 25, 37, 41, 42, 49, 61},
	txn.KindInstalment:       {3, 4, 11, 22, 25, 41, 42, 49, 62},
	txn.KindInstalmentVoid:   {3, 4, 11, 22, 25, 37, 41, 42, 49, 61},
	txn.KindReversal:         {3, 4, 11, 25, 39, 41, 42, 49},
	txn.KindScriptResult:     {3, 11, 41, 42, 55, 61},
	txn.KindSettlement:       {11, 41, 42, 48, 49},
	txn.KindUpload:           {11, 41, 42},
}

// cardless are the kinds whose card is their original's where they name none.
var cardless = 1<<txn.KindReversal | 1<<txn.KindVoid | 1<<txn.KindCompletionVoid | 1<<txn.KindInstalmentVoid |
	1<<txn.KindAdjustment | 1<<txn.KindTip | 1<<txn.KindScriptResult | 1<<txn.KindSettlement | 1<<txn.KindUpload

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
	req.Detail, req.Key.Batch = uint8(decimal(custom[:2])), decimal(custom[2:8])
	if len(custom) >= 11 {
		req.Network = uint16(decimal(custom[8:11]))
	}
	if len(custom) >= 13 {
		req.ReadsCards, req.ChipCondition = custom[11], custom[12]
	}
	if err := decodeCommon(x); err != nil {
		return err
	}
	req.Custom = m.Value(62)
	req.Caller = caller(m.LRI())
	req.Carriers = txn.Carriers{DE46: m.Value(46), DE57: m.Value(57), DE59: m.Value(59), DE63: m.Value(63)}
	mti := req.MTI &^ 1
	switch mti {
	case 0x0800, 0x0820:
		req.Key.Class = txn.ClassNetwork
		if len(custom) < 11 {
			return errField{60, "must have a network management code"}
		}
		req.Kind = cupManagement[cupKey{mti: mti, detail: req.Network}]
		return require(m, 41, 42)
	case 0x0500:
		req.Key.Class, req.Kind = txn.ClassUpload, txn.KindSettlement
	case 0x0320:
		req.Key.Class, req.Kind = txn.ClassUpload, txn.KindUpload
	case 0x0620:
		req.Key.Class, req.Kind = txn.ClassAdvice, txn.KindScriptResult
	case 0x0400:
		req.Key.Class = txn.ClassReversal
	case 0x0220:
		req.Key.Class = txn.ClassAdvice
	default:
		req.Key.Class = txn.ClassFinancial
	}
	if req.Kind == txn.KindUnknown {
		switch mti {
		case 0x0100, 0x0200, 0x0220, 0x0400:
			if err := require(m, 3, 25); err != nil {
				return err // nobody can say what it asks for
			}
		}
		req.Kind = cupKinds[cupKey{mti, decimal(req.ProcessingCode[:]), uint8(decimal(req.Condition[:])), uint16(req.Detail)}]
	}
	if err := decodeReference(x); err != nil {
		return err
	}
	if req.Kind == txn.KindInstalment && len(req.Custom) >= 2 {
		if n, err := strconv.ParseUint(string(req.Custom[:2]), 10, 8); err == nil {
			req.Instalments = uint8(n) // DE62 begins with the number of parts
		}
	}
	if m.Has(48) {
		req.Additional = m.AppendDigits(x.additional[:0], 48)
	}
	if err := require(m, cupNeeds[req.Kind]...); err != nil || cupNeeds[req.Kind] == nil {
		return err
	}
	if req.Key.STAN == 0 {
		return errField{11, "must be 000001 to 999999"}
	}
	if tip := req.Additional; req.Kind == txn.KindTip && len(tip) == 12 {
		if err := added(req, 48, long(tip)); err != nil {
			return err
		}
	}
	if req.PAN.IsZero() && req.Entry == txn.EntryCode {
		if err := decodeCode(m.Value(59), req); err != nil {
			return err
		}
	}
	if !req.HasCard() && req.Entry != txn.EntryCode && cardless&(1<<req.Kind) == 0 {
		return missing(2)
	}
	return nil
}

// added takes what a tip's own field says is added. DE4 is the same, or the whole bill.
func added(req *txn.Request, field int, tip int64) error {
	switch told := req.Amount.Minor; {
	case told < tip:
		return errField{field, "must be the tip: field 4, or what of field 4 is added"}
	case told > tip:
		req.Bill, req.Amount.Minor = told, tip
	}
	return nil
}

// decodeReference reads which earlier transaction the request is about: DE61
// (batch 6, trace 6, date 4, ...), DE37 and DE38. A reversal has the number and
// batch of what it reverses; what terminals put into its DE61 differs (cup-pos
// C2), so that is asked only where there is nothing of its number.
func decodeReference(x *Exchange) error {
	m, req := &x.message, &x.Request
	var buf [29]byte
	if req.Key.Class == txn.ClassReversal {
		req.Original.STAN, req.Original.Batch = req.Key.STAN, req.Key.Batch
		readText(m, 39, req.ReversalReason[:])
		if v := m.AppendDigits(buf[:0], 61); len(v) >= 12 {
			req.Pointed = txn.Number{Batch: decimal(v[:6]), STAN: decimal(v[6:12])}
		}
		return nil
	}
	if m.Has(61) {
		v := m.AppendDigits(buf[:0], 61)
		if len(v) < 12 {
			return errField{61, "must have a batch number and a trace number"}
		}
		req.Original.Batch, req.Original.STAN = decimal(v[:6]), decimal(v[6:12])
		if len(v) >= 16 && string(v[12:16]) != "0000" {
			copy(req.Original.Date[:], v[12:16])
		}
	}
	copy(req.Original.RRN[:], m.Value(37))
	copy(req.Original.AuthCode[:], m.Value(38))
	return nil
}

// decodeCode takes the number that a customer's code shows (DE59 A3) for the
// card's: it is routed and matched like one, and has no check digit.
func decodeCode(v []byte, req *txn.Request) (err error) {
	code, ok := element(v, "A3")
	if !ok {
		return nil
	}
	if req.PAN, err = txn.ParsePAN(bytes.TrimRight(code, " ")); err != nil {
		return errField{59, "must hold a payment code of 12 to 19 digits in A3"}
	}
	return nil
}

// caller is the calling line's number in a landline block (cup-pos A1), without
// leading zeros: "LRI", a length, and sixteen packed digits, right-justified or padded
// at either end with what is not a digit. It is 0 for anything else.
func caller(lri []byte) (n uint64) {
	const head, size = 5, 8
	if len(lri) < head+size {
		return 0
	}
	began, ended := false, false
	for i := range 2 * size {
		d := lri[head+i/2] >> (4 * (1 - i%2)) & 0xf
		switch {
		case d > 9:
			ended = began
		case ended:
			return 0 // digits behind the filling
		default:
			n, began = n*10+uint64(d), true
		}
	}
	return n
}

// decimal is the number that digits write.
func decimal(digits []byte) (n uint32) {
	for _, c := range digits {
		n = n*10 + uint32(c-'0')
	}
	return n
}

// answerCUP writes the response fields of the CUP presence matrix (cup-pos A7). Those
// that it calls mandatory are in a refusal too.
func answerCUP(e *iso.Encoder, x *Exchange) {
	m, req, ans := &x.message, &x.Request, &x.Answer
	approved := ans.Reason == txn.Approved
	financial := false // also of what is not offered, or cannot be read
	switch req.MTI &^ 1 {
	case 0x0100, 0x0200, 0x0220:
		financial = true
	}
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
	switch {
	case req.Kind == txn.KindUpload:
	case ans.Reply.SettlementDate != [4]byte{}:
		e.Digits(15, ans.Reply.SettlementDate[:])
	case req.Key.Class != txn.ClassNetwork && req.Day != 0: // refused without a record
		e.Digits(15, appendPadded(nil, int64(req.Day%10000), 4))
	}
	if financial {
		e.Copy(23, m)
	}
	e.Copy(25, m)
	acquirer := eightDigits(ans.Acquirer)
	e.Digits(32, acquirer)
	if ans.RRN != [12]byte{} && req.Kind != txn.KindEcho {
		e.Text(37, ans.RRN[:])
	}
	if approved && ans.Reply.AuthCode != [6]byte{} && req.Kind != txn.KindBalance {
		e.Text(38, ans.Reply.AuthCode[:])
	}
	e.Text(39, ans.Code[:])
	copyText(e, 41, m)
	copyText(e, 42, m)
	switch {
	case len(ans.Reply.IssuerData) > 0:
		e.Text(44, whole(ans.Reply.IssuerData))
	case financial:
		e.Text(44, institutions(acquirer))
	}
	if len(ans.Additional) > 0 {
		e.Digits(48, ans.Additional)
	}
	e.Copy(49, m)
	if req.Kind.MovesMoney() {
		e.Copy(53, m)
	}
	if len(ans.Reply.Balance) > 0 {
		e.Text(54, ans.Reply.Balance)
	}
	if n := len(ans.Reply.Chip); n > 0 && n <= cupChipMax { // more than it holds helps no terminal
		e.Bytes(55, ans.Reply.Chip)
	}
	if ans.Batch != 0 && ans.Batch != req.Key.Batch {
		e.Digits(60, inBatch(m, ans.Batch))
	} else {
		e.Copy(60, m)
	}
	switch {
	case !approved:
	case len(ans.Keys) > 0:
		e.Bytes(62, ans.Keys)
	case len(ans.Custom) > 0:
		e.Bytes(62, ans.Custom)
	}
	switch {
	case req.Kind == txn.KindSettlement:
		e.Copy(63, m)
	case financial:
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

// organization is DE63.1, the card's organization: as the terminal said it, which is in
// capital letters (others say their operator there, or a PIN: "01 ", "SM016"), else CUP.
func organization(m *iso.Message) []byte {
	v := m.Value(63)
	if len(v) < 3 {
		return cup
	}
	for _, c := range v[:3] {
		if c < 'A' || c > 'Z' {
			return cup
		}
	}
	return v[:3]
}

var cup = []byte("CUP")

// eightDigits is an institution's code as UnionPay has it: eight digits at least.
func eightDigits(code string) []byte {
	return []byte("00000000"[min(len(code), 8):] + code)
}
