package dialect

import (
	"bytes"
	"strconv"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// AppendNetwork appends a network management frame (0800, to UnionPay's network
// 0820): code is DE70, such as 001 sign-on, 002 sign-off, 301 echo.
func (d *Issuer) AppendNetwork(dst []byte, code string, stan uint32, at time.Time) ([]byte, error) {
	mti := uint16(0x0800)
	if d.cups != nil {
		mti = 0x0820
	}
	e := d.beginNetwork(dst, mti, stan, at)
	return d.endNetwork(&e, code)
}

// beginNetwork begins a network management frame, up to DE33.
func (d *Issuer) beginNetwork(dst []byte, mti uint16, stan uint32, at time.Time) iso.Encoder {
	e := d.begin(dst, mti)
	leg := txn.Leg{STAN: stan}
	at.AppendFormat(leg.Time[:0], "0102150405")
	d.number(&e, &leg)
	if d.cups != nil {
		e.Digits(33, d.cups.forwarder)
	}
	return e
}

// endNetwork ends it, from DE70 on.
func (d *Issuer) endNetwork(e *iso.Encoder, code string) ([]byte, error) {
	e.Digits(70, []byte(code))
	d.receiver(e)
	return e.Finish()
}

// AppendAnswer appends the answer to an issuer's own request, mostly of network
// management, with code as DE39. It has a MAC where the request had one.
func (d *Issuer) AppendAnswer(dst []byte, h *txn.ReplyHead, code [2]byte) ([]byte, error) {
	e := d.begin(dst, h.MTI&^1+0x0010)
	if h.Time != [10]byte{} {
		e.Digits(7, h.Time[:])
	}
	e.Uint(11, uint64(h.STAN))
	if d.cups != nil && h.Forwarder[0] != 0 {
		e.Digits(33, bytes.TrimRight(h.Forwarder[:], "\x00"))
	}
	if h.RRN != [12]byte{} {
		e.Text(37, h.RRN[:])
	}
	e.Text(39, code[:])
	if h.Terminal != (txn.TerminalID{}) {
		e.Text(41, h.Terminal[:])
	}
	if h.Network != 0 {
		e.Uint(70, uint64(h.Network))
	}
	if d.cups != nil && h.Receiver[0] != 0 {
		e.Digits(100, bytes.TrimRight(h.Receiver[:], "\x00"))
	}
	if h.MTI>>8 == 0x08 {
		return e.Finish()
	}
	return d.Finish(&e, dst, d.key)
}

// ReadReply reads what an issuer sent. Variable fields are copied into reply's
// own memory.
func (d *Issuer) ReadReply(frame []byte, h *txn.ReplyHead, reply *txn.Reply) error {
	var m iso.Message
	if d.cups != nil {
		frame = returned(frame, h)
	}
	if err := d.codec.Parse(&m, frame); err != nil {
		return err
	}
	h.MTI = m.MTI()
	h.STAN = uint32(number(&m, 11))
	copy(h.Terminal[:], m.Value(41)) // absent: zero, not blank
	copy(h.RRN[:], m.Value(37))
	readDigits(&m, 7, h.Time[:])
	h.HasAmount = m.Has(4)
	if m.Has(49) {
		currency, err := strconv.ParseUint(string(m.Value(49)), 10, 16)
		if err != nil && h.HasAmount {
			return errField{49, "must be a numeric ISO 4217 code"}
		}
		h.Amount.Currency = txn.Currency(currency)
	}
	if h.HasAmount {
		h.Amount.Minor = int64(number(&m, 4))
		reply.Amount = h.Amount
	}
	h.Network = uint16(number(&m, 70))
	if v := m.Value(39); coded(v) {
		copy(reply.Code[:], v)
	}
	if v := m.Value(38); shown(v) {
		copy(reply.AuthCode[:], v)
	}
	if readDigits(&m, 15, reply.SettlementDate[:]); h.MTI>>8 != 0x08 && !isDay(reply.SettlementDate) {
		reply.SettlementDate = [4]byte{} // as if it named none
	}
	if d.cups != nil {
		if h.MTI>>8 == 0x08 {
			copy(h.Forwarder[:], m.Value(33))
			copy(h.Receiver[:], m.Value(100))
		}
		if h.Rejected != "" { // what we sent came back, which the network did nothing about
			h.MTI |= 0x0010
			reply.Code = rejectedCode
			return nil
		}
	}
	if d.key != nil && h.MTI>>8 != 0x08 {
		if err := d.Authentic(&m, d.key); err != nil {
			return err
		}
	}
	for _, f := range [...]struct {
		field int
		dst   *[]byte
	}{{44, &reply.IssuerData}, {54, &reply.Balance}, {55, &reply.Chip}} {
		*f.dst = append((*f.dst)[:0], m.Value(f.field)...) // at most ResponseDataMax, by the field table
	}
	return nil
}

// coded says that a response code is one. What is none says no more than its absence:
// taken for a refusal it would leave standing what its issuer booked.
func coded(code []byte) bool {
	return len(code) == 2 && txn.Alphanumeric(code)
}

// shown says that text can be read: something that is printed, and nothing that is
// not. An authorization code that nobody can read is none.
func shown(text []byte) bool {
	blank := true
	for _, c := range text {
		if c < ' ' || c > '~' {
			return false
		}
		blank = blank && c == ' '
	}
	return !blank
}

// isTime says that hhmmss is a time of day.
func isTime(hhmmss [6]byte) bool {
	return string(hhmmss[:2]) < "24" && hhmmss[2] < '6' && hhmmss[4] < '6'
}

// isDay says that MMDD is a day of some year.
func isDay(mmdd [4]byte) bool {
	month, day := decimal(mmdd[:2]), decimal(mmdd[2:])
	return month >= 1 && month <= 12 && day >= 1 && day <= uint32(daysOf[month-1])
}

var daysOf = [12]byte{31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}
