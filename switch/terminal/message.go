package terminal

import (
	"cmp"
	"fmt"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Profile is who a terminal is: what it puts into every message of its own.
type Profile struct {
	Terminal txn.TerminalID
	Merchant txn.MerchantID
	// Serial of the machine, sent at sign-on and with each sale (CUP POS).
	Serial   string
	Currency txn.Currency
	// Country is DE19, ISO 3166 numeric (ISO 8583:1987). Zero leaves it out.
	Country uint16
	// Position is reported with each sale (CUP POS) when it is known.
	Position txn.Position
	// Batch is DE60.2 (CUP POS). Default 1.
	Batch uint32
	// TMK is the clear master key of a simulated terminal (CUP POS), 16 bytes:
	// never a real one's. With it the terminal must sign on before it trades,
	// and its requests and the approvals it takes carry MACs.
	TMK txn.Secret
	// KeySet is which working keys it asks for at sign-on (DE60.3). Default 003.
	KeySet keys.KeySet
}

// Entry is how the card is read.
type Entry uint8

// The entries.
const (
	Chip Entry = iota
	Contactless
	Stripe
	Manual
)

// entryModes are DE22 without a PIN.
var entryModes = [...]string{Chip: "052", Contactless: "072", Stripe: "022", Manual: "012"}

var entryNames = [...]string{Chip: "chip", Contactless: "contactless", Stripe: "stripe", Manual: "manual"}

func (e Entry) String() string { return entryNames[e] }

// ParseEntry reads String's form.
func ParseEntry(s string) (Entry, error) {
	for e, name := range entryNames {
		if s == name {
			return Entry(e), nil
		}
	}
	return 0, fmt.Errorf("card entry %q must be one of %v", s, entryNames)
}

// Card is a card at the terminal.
type Card struct {
	PAN    txn.PAN
	Expiry string // YYMM; empty leaves it out
	Entry  Entry
}

// TestPAN is the 16-digit card number of an account under a prefix, with the
// right check digit.
func TestPAN(prefix string, account uint64) (txn.PAN, error) {
	const digits = 16
	if len(prefix) > digits-1 {
		return txn.PAN{}, fmt.Errorf("card prefix of %d digits leaves no room for an account", len(prefix))
	}
	body := fmt.Sprintf("%s%0*d", prefix, digits-1-len(prefix), account)
	if len(body) != digits-1 {
		return txn.PAN{}, fmt.Errorf("account %d does not fit behind a card prefix of %d digits", account, len(prefix))
	}
	for check := byte('0'); ; check++ {
		pan, err := txn.ParsePAN(body + string(check))
		if err != nil || pan.LuhnValid() {
			return pan, err
		}
	}
}

// Message is one request before it is encoded. Its zero fields are those of an
// ordinary request; the odd ones make odd requests.
type Message struct {
	Kind   txn.Kind
	STAN   uint32
	Amount txn.Amount
	Card   Card
	At     time.Time // DE7, DE12 and DE13 (ISO 8583:1987)
	Repeat bool      // the MTI's repeat form

	Processing string // DE3, if not the kind's
	Detail     string // DE60.1 (CUP POS), if not the kind's
	Omit       []int  // fields left out
	NoPlace    bool   // DE59 left out
	MAC        bool   // a place for DE64 where the kind has one (CUP POS)
}

// The header and address of a CUP POS terminal's messages.
var (
	cupTPDU   = []byte{0x60, 0x00, 0x03, 0x00, 0x00}
	cupHeader = []byte{0x60, 0x31, 0x00, 0x31, 0x00, 0x00}
)

// sampleChip is DE55 of a chip transaction with a fixed cryptogram: amounts and
// counters in it are nobody's.
var sampleChip = []byte("\x9F\x26\x08\xAA\xBB\xCC\xDD\xEE\xFF\x00\x11\x9F\x27\x01\x80\x9F\x10\x07\x07\x01\x01\x03\xA0\xA8\x02" +
	"\x9F\x37\x04\x01\x02\x03\x04\x9F\x36\x02\x00\x01\x95\x05\x00\x00\x00\x08\x00\x82\x02\x7C\x00\x9F\x1A\x02\x01\x56")

var mtis = [...]uint16{txn.KindSale: 0x0200, txn.KindBalance: 0x0200, txn.KindReversal: 0x0400,
	txn.KindSignOn: 0x0800, txn.KindSignOff: 0x0820, txn.KindEcho: 0x0820}

// Append appends the frame of m, length prefix included. p's batch is set.
func (m *Message) Append(dst []byte, d *dialect.Terminal, p *Profile) ([]byte, error) {
	mti := mtis[m.Kind]
	if m.Repeat {
		mti++
	}
	w := writer{omit: m.Omit, country: p.Country}
	if IsCUP(d) {
		w.Encoder = d.Codec().Begin(dst, cupTPDU, cupHeader, mti)
		m.cup(&w, p)
	} else {
		if m.Kind == txn.KindSignOff || m.Kind == txn.KindEcho {
			mti = 0x0800
		}
		w.Encoder = d.Codec().Begin(dst, nil, nil, mti)
		m.iso87(&w, p)
	}
	frame, err := w.Finish()
	if err != nil {
		return dst, fmt.Errorf("build %s of terminal %s: %w", m.Kind, p.Terminal, err)
	}
	return frame, nil
}

// IsCUP says that the dialect is CUP POS or one of its kin: its frames have a
// TPDU.
func IsCUP(d *dialect.Terminal) bool { return d.Codec().Framing().TPDU }

// cup writes the fields of a CUP POS request.
func (m *Message) cup(w *writer, p *Profile) {
	switch m.Kind {
	case txn.KindSignOn:
		w.stan(m.STAN)
		w.party(p)
		w.digits(60, fmt.Sprintf("00%06d%03d", p.Batch, cmp.Or(p.KeySet, keys.KeySetDouble)))
		w.text(62, fmt.Sprintf("Sequence No%02d%s", len(p.Serial), p.Serial))
		w.text(63, "001")
	case txn.KindSignOff:
		w.stan(m.STAN)
		w.party(p)
		w.digits(60, fmt.Sprintf("00%06d002", p.Batch))
	case txn.KindEcho:
		w.party(p)
		w.digits(60, fmt.Sprintf("00%06d301", p.Batch))
	case txn.KindReversal:
		m.reversal(w, p, "")
		w.digits(60, fmt.Sprintf("22%06d00060", p.Batch))
		m.noMAC(w)
	default:
		m.cardFields(w, "")
		w.party(p)
		w.text(49, m.currency(p).String())
		m.chip(w)
		if place := m.place(p); place != "" {
			w.text(59, place)
		}
		w.digits(60, fmt.Sprintf("%s%06d00060", cmp.Or(m.Detail, map[txn.Kind]string{txn.KindSale: "22", txn.KindBalance: "01"}[m.Kind]), p.Batch))
		m.noMAC(w)
	}
}

// noMAC writes a place for the MAC, which is made when the frame is sent.
func (m *Message) noMAC(w *writer) {
	if m.MAC {
		w.bytes(macField, noMAC[:])
	}
}

// iso87 writes the fields of an ISO 8583:1987 request.
func (m *Message) iso87(w *writer, p *Profile) {
	switch m.Kind {
	case txn.KindSignOn, txn.KindSignOff, txn.KindEcho:
		w.digits(7, m.At.Format("0102150405"))
		w.stan(m.STAN)
		w.party(p)
		w.digits(70, map[txn.Kind]string{txn.KindSignOn: "001", txn.KindSignOff: "002", txn.KindEcho: "301"}[m.Kind])
	case txn.KindReversal: // DE90: MTI 4, STAN 6, DE7 10, acquirer 11, forwarder 11
		m.reversal(w, p, m.At.Format("0102150405"))
		w.digits(90, fmt.Sprintf("0200%06d%032d", m.STAN, 0))
	default:
		m.cardFields(w, m.At.Format("0102150405"))
		w.party(p)
		w.text(49, m.currency(p).String())
		m.chip(w)
	}
}

// reversal writes what both dialects say of a sale that is known by its number.
func (m *Message) reversal(w *writer, p *Profile, sent string) {
	w.digits(3, "000000")
	w.digits(4, fmt.Sprintf("%012d", m.Amount.Minor))
	w.sent(7, sent)
	w.stan(m.STAN)
	w.digits(25, "00")
	w.text(39, "98")
	w.party(p)
	w.text(49, m.currency(p).String())
}

// cardFields writes DE2 to DE35 of a financial request. sent is DE7, empty
// where the dialect has none.
func (m *Message) cardFields(w *writer, sent string) {
	var digits [txn.PANDigitsMax]byte
	pan := string(m.Card.PAN.Append(digits[:0]))
	if m.Card.Entry != Stripe {
		w.digits(2, pan)
	}
	w.digits(3, cmp.Or(m.Processing, map[txn.Kind]string{txn.KindSale: "000000", txn.KindBalance: "310000"}[m.Kind]))
	if m.Kind == txn.KindSale {
		w.digits(4, fmt.Sprintf("%012d", m.Amount.Minor))
	}
	w.sent(7, sent)
	w.stan(m.STAN)
	if sent != "" {
		w.digits(12, sent[4:])
		w.digits(13, sent[:4])
	}
	if m.Card.Entry != Stripe && m.Card.Expiry != "" {
		w.digits(14, m.Card.Expiry)
	}
	if sent != "" && w.country != 0 {
		w.digits(19, fmt.Sprintf("%03d", w.country))
	}
	w.digits(22, entryModes[m.Card.Entry])
	if m.Card.Entry == Chip {
		w.digits(23, "001")
	}
	w.digits(25, "00")
	if m.Card.Entry == Stripe {
		w.digits(35, pan+"="+cmp.Or(m.Card.Expiry, "0000")+"2010000000000")
	}
}

func (m *Message) currency(p *Profile) txn.Currency { return cmp.Or(m.Amount.Currency, p.Currency) }

func (m *Message) chip(w *writer) {
	if m.Card.Entry == Chip || m.Card.Entry == Contactless {
		w.bytes(55, sampleChip)
	}
}

// place is DE59: the machine (A2) and, when it is known, the position (A5).
// A2.03 and A2.04, the factor and cipher of the serial, come with the keys.
func (m *Message) place(p *Profile) string {
	if m.NoPlace {
		return ""
	}
	element := func(tag, v string) string { return fmt.Sprintf("%s%03d%s", tag, len(v), v) }
	place := ""
	if p.Serial != "" {
		place = element("A2", element("01", "04")+element("02", p.Serial)+element("05", "100000  "))
	}
	if p.Position.Known {
		degrees := func(micro int32) string { return fmt.Sprintf("%+.5f", float64(micro)/1e6) }
		place += element("A5", element("01", degrees(p.Position.Lng))+element("02", degrees(p.Position.Lat))+element("05", "GCJ02"))
	}
	return place
}

// ReversalOf builds the frame that reverses the sale in body, whose reason is
// DE39: 98 no answer, A0 an answer whose MAC is wrong, 06 other. It says the
// same of the sale every time, and has a place for a MAC if the sale has a MAC.
func ReversalOf(dst []byte, d *dialect.Terminal, body []byte, reason string) ([]byte, error) {
	var sale iso.Message
	if err := d.Codec().Parse(&sale, body); err != nil {
		return dst, fmt.Errorf("build reversal: the sale: %w", err)
	}
	e := d.Codec().Begin(dst, sale.TPDU(), sale.Header(), 0x0400)
	if sale.Has(2) {
		e.Copy(2, &sale)
	} else {
		var track [40]byte
		n, digits := 0, sale.AppendDigits(track[:0], 35)
		for n < len(digits) && digits[n] != '=' {
			n++
		}
		e.Digits(2, digits[:n])
	}
	for _, field := range [...]int{3, 4, 7, 11, 12, 13, 14, 22, 23, 25} {
		e.Copy(field, &sale)
	}
	e.Text(39, []byte(reason))
	for _, field := range [...]int{41, 42, 49} {
		e.Copy(field, &sale)
	}
	if IsCUP(d) {
		e.Copy(60, &sale)
		if sale.Has(macField) {
			e.Bytes(macField, noMAC[:])
		}
	} else { // MTI 4, STAN 6, DE7 10, acquirer 11, forwarder 11
		e.Digits(90, fmt.Appendf(nil, "0200%06s%010s%022d", sale.AppendDigits(nil, 11), sale.AppendDigits(nil, 7), 0))
	}
	frame, err := e.Finish()
	if err != nil {
		return dst, fmt.Errorf("build reversal: %w", err)
	}
	return frame, nil
}

// writer is an encoder that leaves fields out when told to.
type writer struct {
	iso.Encoder
	omit    []int
	country uint16
}

func (w *writer) leaveOut(n int) bool {
	for _, o := range w.omit {
		if o == n {
			return true
		}
	}
	return false
}

func (w *writer) digits(n int, v string) {
	if !w.leaveOut(n) {
		w.Digits(n, []byte(v))
	}
}

func (w *writer) text(n int, v string) {
	if !w.leaveOut(n) {
		w.Text(n, []byte(v))
	}
}

func (w *writer) bytes(n int, v []byte) {
	if !w.leaveOut(n) {
		w.Bytes(n, v)
	}
}

func (w *writer) sent(n int, at string) {
	if at != "" {
		w.digits(n, at)
	}
}

func (w *writer) stan(n uint32) { w.digits(11, fmt.Sprintf("%06d", n)) }

func (w *writer) party(p *Profile) {
	w.text(41, p.Terminal.String())
	w.text(42, p.Merchant.String())
}
