package issuer_test

import (
	"errors"
	"strconv"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/issuer"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// codec speaks just enough ISO 8583:1987 for these tests.
type codec struct{ iso *iso.Codec }

var iso87 = codec{iso.MustCompile(iso.ISO87(iso.SpelledHex), iso.Framing{Prefix: iso.PrefixBinary2, SizeMax: txn.FrameSizeMax})}

// codecs are the tests' own iso87, the real ones as they are called, and of iso87
// as "dialect", or as "forged" with answers of which some have a wrong MAC.
func codecs(cfg *issuer.Config) (issuer.Codec, error) {
	switch cfg.Dialect {
	case "iso87":
		return iso87, nil
	case "dialect":
		return realCodec("iso87"), nil
	case "forged":
		return forgeable{realCodec("iso87")}, nil
	}
	d, err := dialect.ForIssuer(cfg.Dialect, "48802900", dialect.CUPS{})
	if err == nil && cfg.Authenticated() {
		d.Authenticate(oneMAC{})
	}
	return d, err
}

// forged is the code of answers whose MAC is wrong.
const forged = "A0"

// forgeable is a codec that finds the MAC wrong of answers with the code forged.
type forgeable struct{ *dialect.Issuer }

func (c forgeable) ReadReply(frame []byte, h *txn.ReplyHead, r *txn.Reply) error {
	err := c.Issuer.ReadReply(frame, h, r)
	if err == nil && string(r.Code[:]) == forged {
		err = txn.ErrMAC
	}
	return err
}

// oneMAC is a key under which every message has the MAC 31313131.
type oneMAC struct{}

func (oneMAC) MAC([]byte) ([8]byte, error) { return [8]byte([]byte("11111111")), nil }

func realCodec(name string) *dialect.Issuer {
	d, err := dialect.ForIssuer(name, "48802900", dialect.CUPS{})
	if err != nil {
		panic(err)
	}
	return d
}

func (c codec) PrefixSize() int { return 2 }
func (c codec) BodySize(prefix []byte) (int, error) {
	if string(prefix) == "\x00\x00" {
		return 0, nil
	}
	return c.iso.ReadLength(prefix)
}

func (c codec) ReadNewKey([]byte) (txn.NewKey, error)                   { return txn.NewKey{}, nil }
func (c codec) CheckNewKey([]byte, func([]byte) ([8]byte, error)) error { return nil }
func (c codec) AppendNewKeyAnswer(dst, _ []byte, _ [2]byte, _ func([]byte) ([8]byte, error)) ([]byte, error) {
	return dst, nil
}

func (c codec) RequestType(req *txn.Request) uint16 { return req.MTI }

func (c codec) AppendRequest(dst []byte, req *txn.Request, leg *txn.Leg, rrn [12]byte) ([]byte, error) {
	e := c.iso.Begin(dst, nil, nil, req.MTI)
	var pan [txn.PANDigitsMax]byte
	e.Digits(2, req.PAN.Append(pan[:0]))
	e.Digits(3, req.ProcessingCode[:])
	e.Uint(4, uint64(req.Amount.Minor))
	e.Digits(7, leg.Time[:])
	e.Uint(11, uint64(leg.STAN))
	e.Text(37, rrn[:])
	e.Text(41, req.Key.Terminal[:])
	e.Text(42, req.Merchant[:])
	e.Text(49, []byte(req.Amount.Currency.String()))
	return e.Finish()
}

func (c codec) AppendReversal(dst []byte, rec *txn.Record, pan []byte, mti uint16) ([]byte, error) {
	_, key := rec.Subject()
	e := c.iso.Begin(dst, nil, nil, mti)
	e.Digits(2, pan)
	e.Digits(3, []byte("000000"))
	e.Uint(4, uint64(rec.Amount.Minor))
	e.Digits(7, rec.Leg.Time[:])
	e.Uint(11, uint64(rec.Leg.STAN))
	e.Text(37, rec.RRN[:])
	e.Text(41, key.Terminal[:])
	e.Text(49, []byte(rec.Amount.Currency.String()))
	return e.Finish()
}

func (c codec) AppendNetwork(dst []byte, code string, stan uint32, at time.Time) ([]byte, error) {
	e := c.iso.Begin(dst, nil, nil, 0x0800)
	e.Digits(7, at.AppendFormat(nil, "0102150405"))
	e.Uint(11, uint64(stan))
	e.Text(70, []byte(code))
	return e.Finish()
}

func (c codec) AppendKeyRequest(dst []byte, _ bool, _ uint32, _ time.Time) ([]byte, error) {
	return dst, errors.ErrUnsupported
}

// The tests of advices and of issuers' own requests use the real dialect.
func (c codec) AppendAdvice(dst []byte, _ *txn.Record, _ []byte, _ bool) ([]byte, error) {
	return dst, errors.ErrUnsupported
}

func (c codec) AppendAnswer(dst []byte, _ *txn.ReplyHead, _ [2]byte) ([]byte, error) {
	return dst, errors.ErrUnsupported
}

func (c codec) ReadReply(frame []byte, h *txn.ReplyHead, r *txn.Reply) error {
	var m iso.Message
	if err := c.iso.Parse(&m, frame); err != nil {
		return err
	}
	h.MTI = m.MTI()
	stan, _ := m.Uint(11)
	h.STAN = uint32(stan)
	copy(h.Time[:], m.Value(7))
	copy(h.Terminal[:], m.Value(41))
	if m.Has(4) {
		amount, err := m.Uint(4)
		if err != nil {
			return err
		}
		currency, _ := strconv.Atoi(string(m.Value(49)))
		h.Amount, h.HasAmount = txn.Amount{Minor: int64(amount), Currency: txn.Currency(currency)}, true
	}
	if m.Has(70) {
		network, _ := m.Uint(70)
		h.Network = uint16(network)
	}
	copy(r.Code[:], m.Value(39))
	copy(r.AuthCode[:], m.Value(38))
	copy(r.SettlementDate[:], m.Value(15))
	r.Amount = h.Amount
	r.Balance = append(r.Balance, m.Value(54)...)
	return nil
}
