package terminal

import (
	"cmp"
	"fmt"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// iso87Forms is how an ISO 8583:1987 terminal spells the kinds.
var iso87Forms = [txn.Kinds]form{
	txn.KindSignOn:           {mti: 0x0800, detail: "001"},
	txn.KindSignOff:          {mti: 0x0800, detail: "002"},
	txn.KindEcho:             {mti: 0x0800, detail: "301"},
	txn.KindBalance:          {0x0200, "310000", "00", ""},
	txn.KindVerify:           {0x0100, "330000", "00", ""},
	txn.KindSale:             {0x0200, "000000", "00", ""},
	txn.KindVoid:             {0x0200, "020000", "00", ""},
	txn.KindRefund:           {0x0220, "200000", "00", ""},
	txn.KindPreauth:          {0x0100, "000000", "06", ""},
	txn.KindIncrement:        {0x0100, "000000", "60", ""},
	txn.KindPreauthVoid:      {0x0100, "020000", "06", ""},
	txn.KindCompletion:       {0x0200, "000000", "06", ""},
	txn.KindCompletionVoid:   {0x0200, "020000", "06", ""},
	txn.KindCompletionAdvice: {0x0220, "000000", "06", ""},
	txn.KindOfflineSale:      {0x0220, "000000", "00", ""},
	txn.KindAdjustment:       {0x0220, "020000", "00", ""},
	txn.KindTip:              {0x0220, "020000", "00", ""},
	txn.KindInstalment:       {0x0200, "000000", "64", ""},
	txn.KindInstalmentVoid:   {0x0200, "020000", "64", ""},
	txn.KindScriptResult:     {mti: 0x0620},
	txn.KindReversal:         {mti: 0x0400},
	txn.KindSettlement:       {mti: 0x0500, processing: "920000"},
	txn.KindUpload:           {mti: 0x0320},
}

// iso87 writes the fields of an ISO 8583:1987 request.
func (m *Message) iso87(w *writer, p *Profile) {
	sent := m.At.Format("0102150405")
	f := m.form(&iso87Forms)
	switch {
	case m.of != nil:
		m.uploadItemISO87(w, p, sent)
		return
	case !carriesCard(m.Kind):
		if endsBatch(m.Network) {
			f.processing = "960000"
		}
		w.digits(3, f.processing)
		w.digits(7, sent)
		w.number(11, 6, int64(m.STAN))
		w.party(p)
		if m.Kind.Batch() {
			w.text(49, m.currency(p).String())
		}
		w.digits(70, f.detail)
		if m.Kind.Batch() {
			t := &m.Totals
			w.number(74, 10, int64(t.Credit.Count))
			w.number(76, 10, int64(t.Debit.Count))
			w.number(86, 16, t.Credit.Minor)
			w.number(88, 16, t.Debit.Minor)
		}
		return
	}
	if m.Card.Entry != Stripe {
		w.digits(2, m.Card.number())
	}
	w.digits(3, f.processing)
	if carriesAmount(m.Kind) {
		w.number(4, 12, m.Amount.Minor)
	}
	w.digits(7, sent)
	w.number(11, 6, int64(m.STAN))
	w.digits(12, sent[4:])
	w.digits(13, sent[:4])
	if m.Card.Entry != Stripe {
		w.digits(14, m.Card.Expiry)
	}
	if p.Country != 0 {
		w.number(19, 3, int64(p.Country))
	}
	w.digits(22, m.entry())
	w.digits(23, m.sequence())
	w.digits(25, f.condition)
	w.digits(32, m.Original.Acquirer)
	w.digits(35, m.Card.track())
	w.text(37, m.rrn())
	w.text(38, m.authCode())
	w.party(p)
	w.text(49, m.currency(p).String())
	private := ""
	if m.MAC {
		private = m.placeKSN
	}
	if len(m.PINBlock) == 16 {
		private += fmt.Sprintf("%s%03d%X", elementPINBlock, 2*len(m.PINBlock), m.PINBlock)
	} else {
		w.bytes(52, m.PINBlock)
	}
	if m.Kind == txn.KindTip { // account type, amount type, currency, sign, amount
		w.text(54, fmt.Sprintf("0057%sD%012d", m.currency(p), m.Amount.Minor))
	}
	w.bytes(55, m.chip(p))
	w.text(63, private)
	names := m.Kind.NamesOriginal() && m.Original.STAN != 0
	wide := names || m.Kind == txn.KindInstalment
	if m.MAC && !wide {
		w.bytes(macField, noMAC[:])
	}
	if m.Kind == txn.KindInstalment {
		w.number(67, 2, int64(m.Months))
	}
	if names {
		w.digits(90, string(originalData(iso87Forms[m.Original.Kind].mti, fmt.Sprintf("%06d", m.Original.STAN), m.Original.Sent)))
	}
	if m.MAC && wide {
		w.bytes(macFieldWide, noMAC[:])
	}
}

// uploadItemISO87 writes the upload of one item, under a number of its own:
// DE90 names the item.
func (m *Message) uploadItemISO87(w *writer, p *Profile, sent string) {
	w.Copy(2, m.of)
	w.Copy(3, m.of)
	w.number(4, 12, m.Amount.Minor) // what stands of it
	w.digits(7, sent)
	w.number(11, 6, int64(m.STAN))
	for _, n := range [...]int{22, 23, 25, 37, 38} {
		w.Copy(n, m.of)
	}
	w.party(p)
	w.Copy(49, m.of)
	w.Copy(55, m.of)
	w.digits(90, string(originalData(m.of.MTI(), string(m.of.AppendDigits(nil, 11)), string(m.of.AppendDigits(nil, 7)))))
}

// uploadsISO87 are the items of an uneven batch and the end; an even one is
// closed by its totals.
func (c *Client) uploadsISO87(even bool) ([]*Message, error) {
	if even {
		return nil, nil
	}
	var messages []*Message
	for i := range c.store.items {
		f := &c.store.items[i]
		if f.kind().Totals() == txn.NoEffect {
			continue
		}
		of, err := c.item(f)
		if err != nil {
			return nil, err
		}
		messages = append(messages, &Message{Kind: txn.KindUpload, of: of, Amount: txn.Amount{Minor: f.Amount, Currency: f.Currency}})
	}
	return append(messages, &Message{Kind: txn.KindUpload, Network: netEndUnequal, Totals: c.store.totals()}), nil
}

// originalData is DE90: MTI 4, STAN 6, DE7 10, acquirer 11, forwarder 11.
func originalData(mti uint16, stan, sent string) []byte {
	return fmt.Appendf(nil, "%04x%06s%010s%022d", mti, stan, cmp.Or(sent, "0"), 0)
}
