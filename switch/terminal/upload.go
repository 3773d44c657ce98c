package terminal

import (
	"fmt"
	"slices"
	"strings"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// detailsMax is how many items one upload of details holds.
const detailsMax = 8

// uploads are the messages that tell the batch's items, in the order of cup-pos
// C4, and the end. The same batch gives the same ones.
func (c *Client) uploads(even bool) ([]*Message, error) {
	if !IsCUP(c.line.Dialect) {
		return c.uploadsISO87(even)
	}
	var messages, chips []*Message
	count := 0
	if !even {
		for _, kinds := range [...][]txn.Kind{{txn.KindOfflineSale, txn.KindAdjustment, txn.KindTip}, nil, {txn.KindRefund}, {txn.KindCompletionAdvice}} {
			if kinds == nil {
				details, n, err := c.details()
				if err != nil {
					return nil, err
				}
				messages, count = append(messages, details...), count+n
				continue
			}
			for i := range c.store.items {
				if f := &c.store.items[i]; slices.Contains(kinds, f.kind()) {
					m, err := c.notice(f)
					if err != nil {
						return nil, err
					}
					messages, count = append(messages, m), count+1
				}
			}
		}
	}
	network, end := uint16(netChipUnequal), uint16(netEndUnequal)
	if even {
		network, end = netChip, netEndEqual
	}
	for i := range c.store.items {
		m, err := c.certificate(&c.store.items[i], network)
		if err != nil {
			return nil, err
		}
		if m != nil {
			chips = append(chips, m)
		}
	}
	if even {
		count = len(chips)
	}
	messages = append(messages, chips...)
	return append(messages, &Message{Kind: txn.KindUpload, Network: end, Detail: fmt.Sprintf("%04d", count)}), nil
}

// online says that the item is among the details: in the totals, and asked for
// rather than told.
func online(k txn.Kind) bool { return k.Totals() != txn.NoEffect && k.Remedy() == txn.Reverse }

// details are the uploads of the items that were asked for: how many items (2 digits),
// and for each: card foreign or not 2, trace number 6, card 20, amount 12.
func (c *Client) details() (messages []*Message, count int, err error) {
	var b strings.Builder
	n := 0
	flush := func() {
		if n > 0 {
			messages = append(messages, &Message{Kind: txn.KindUpload, Network: netBatch, Detail: fmt.Sprintf("%02d", n) + b.String()})
			count += n
		}
		n = 0
		b.Reset()
	}
	for i := range c.store.items {
		f := &c.store.items[i]
		if !online(f.kind()) {
			continue
		}
		of, err := c.item(f)
		if err != nil {
			return nil, 0, err
		}
		fmt.Fprintf(&b, "00%06d%020s%012d", f.STAN, cardOf(of), f.Amount)
		if n++; n == detailsMax {
			flush()
		}
	}
	flush()
	return messages, count, nil
}

// cardOf is the card number of a kept request, or what a code showed.
func cardOf(of *iso.Message) string {
	if of.Has(2) {
		return string(of.AppendDigits(nil, 2))
	}
	code, _ := findElement(of.Value(59), "A3")
	return string(code)
}

// item is an item's kept request.
func (c *Client) item(f *fact) (*iso.Message, error) {
	frame, err := c.store.frame(f.Frame)
	if err != nil {
		return nil, fmt.Errorf("upload %06d of terminal %s: %w", f.STAN, c.profile.Terminal, err)
	}
	return c.parse(frame)
}

// notice is the upload of an item that was told of: the message that told it,
// as 0320, without what only an authorization needs. It keeps its number.
func (c *Client) notice(f *fact) (*Message, error) {
	of, err := c.item(f)
	if err != nil {
		return nil, err
	}
	return &Message{Kind: txn.KindUpload, of: of, STAN: f.STAN, fields: []int{2, 3, 4, 11, 22, 25, 37, 38, 41, 42, 49, 60, 61, 63}}, nil
}

// certificate is the upload of an item's chip data (DE55), nil for an item without a
// chip. DE62 has its state: 61, card foreign or not, the switch's code, amount and currency.
func (c *Client) certificate(f *fact, network uint16) (*Message, error) {
	if !online(f.kind()) {
		return nil, nil
	}
	of, err := c.item(f)
	if err != nil || !of.Has(55) {
		return nil, err
	}
	return &Message{Kind: txn.KindUpload, of: of, STAN: f.STAN, Network: network, fields: []int{2, 4, 11, 22, 23, 41, 42, 55, 60, 62},
		Detail: fmt.Sprintf("610000%012d%s", f.Amount, f.Currency)}, nil
}

// uploadItem writes the upload of one item with the fields that its kind of
// upload has.
func (m *Message) uploadItem(w *writer, p *Profile) {
	for _, n := range m.fields {
		switch {
		case n == 22 && m.Network != 0: // no PIN in it
			w.digits(22, string(m.of.AppendDigits(nil, 22)[:2])+"0")
		case n == 55:
			w.bytes(55, certified(m.of.Value(55)))
		case n == 60 && m.Network != 0:
			w.digits(60, fmt.Sprintf("00%06d%03d60", p.Batch, m.Network))
		case n == 62:
			w.text(62, m.Detail)
		default:
			w.Copy(n, m.of)
		}
	}
}
