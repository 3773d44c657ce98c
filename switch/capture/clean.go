package capture

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"iter"
	"slices"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// KeySize is the length of a pseudonym key.
const KeySize = 32

// Cleaner takes out of messages what a capture must not hold, in place: no
// field is added, removed or changed in length.
//
//   - A card number (DE2, the tracks, 5A and 57 of chip data, and wherever else a
//     message repeats it) becomes its pseudonym: of the same length and issuer, with
//     the same check digit right or wrong, and under one key always the same.
//   - Of track 2 the expiry and the service code stay; the rest of it, and all
//     of tracks 1 and 3, become zeros.
//   - PIN blocks, MACs, working keys and enciphered tracks become zeros, and so
//     does chip data that is no BER-TLV.
//   - What passes for a card number elsewhere is taken for one, and what follows
//     it, or CVV, becomes zeros: see iso.MarkCards.
//
// It is not safe for concurrent use.
type Cleaner struct {
	bin int // digits of the issuer that a card number keeps
	mac hash.Hash

	m      iso.Message
	digits [2 * txn.FrameSizeMax]byte
	pan    [txn.PANDigitsMax]byte
	marks  []iso.Mark
	in     []byte // of a digest
	sum    [sha256.Size]byte
	known  map[number19]number19 // pseudonyms that were made lately
	counts Cleaned
}

// number19 is a card number of up to 19 digits, and how many.
type number19 struct {
	digits [txn.PANDigitsMax]byte
	size   uint8
}

// knownMax bounds the pseudonyms that are remembered: making one takes ten
// digests, and a card stands in most messages more than once.
const knownMax = 1 << 16

// Cleaned counts what was found.
type Cleaned struct {
	Cards  int `json:"cards"` // card numbers, each time one stands somewhere
	Tracks int `json:"tracks"`
	PINs   int `json:"pins"`
	MACs   int `json:"macs"`
	Keys   int `json:"keys"`
}

// ErrKey says that a pseudonym key is no key.
var ErrKey = errors.New("a pseudonym key is 64 hexadecimal digits")

// ParseKey reads a pseudonym key. Its error does not quote it.
func ParseKey(text []byte) (txn.Secret, error) {
	key, err := hex.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || len(key) != KeySize {
		return nil, ErrKey
	}
	return key, nil
}

// NewKey is a new pseudonym key.
func NewKey() txn.Secret {
	key := make([]byte, KeySize)
	rand.Read(key)
	return key
}

// NewCleaner makes pseudonyms under a key that keep bin digits of the issuer, 6
// or 8; of numbers shorter than 16 digits they keep 6.
func NewCleaner(key txn.Secret, bin int) (*Cleaner, error) {
	switch {
	case len(key) != KeySize:
		return nil, ErrKey
	case bin != 6 && bin != 8:
		return nil, fmt.Errorf("a card number keeps 6 or 8 digits of its issuer, not %d", bin)
	}
	return &Cleaner{bin: bin, mac: hmac.New(sha256.New, key), known: map[number19]number19{}}, nil
}

// KeyID tells keys apart without telling anything about them.
func (c *Cleaner) KeyID() string {
	c.mac.Reset()
	c.mac.Write([]byte("acqswitch capture key"))
	return hex.EncodeToString(c.mac.Sum(nil)[:4])
}

// Counts are of all messages so far.
func (c *Cleaner) Counts() Cleaned { return c.counts }

// Message cleans a frame, length prefix included, where it lies. An error means
// that the frame cannot be taken apart and must not be kept.
func (c *Cleaner) Message(d *Dialect, frame []byte) error {
	m := &c.m
	if err := d.Parse(m, frame); err != nil {
		return err
	}
	own := m.OwnCards()
	if m.Has(55) {
		own = chipCards(own, m.Value(55))
	}
	for n := range m.Fields() {
		c.field(n, own)
	}
	for _, pan := range own {
		clear(pan)
	}
	return d.Parse(m, frame) // what cannot be read any more is not kept either
}

func (c *Cleaner) field(n int, own [][]byte) {
	m := &c.m
	switch {
	case n == 2:
		pan := m.AppendDigits(c.digits[:0], 2)
		c.pseudonym(pan)
		m.Overwrite(2, 0, pan)
		clear(pan)
	case n == 35:
		c.track(m)
	case n == 36 || n == 45:
		c.counts.Tracks++
		c.zero(n)
	case n == 52:
		c.counts.PINs++
		c.zero(n)
	case n == 64 || n == 128:
		c.counts.MACs++
		c.zero(n)
	case m.Codec() == cups.Codec && (n == 61 || n == 63): // who the holder is, security codes, PINs
		c.counts.PINs++
		c.zero(n)
	case n == 62 && m.MTI()&^1 == 0x0810, n == 96, n == 48 && m.MTI()&^0x11 == 0x0800:
		c.counts.Keys++
		c.zero(n)
	case n == 55:
		c.chip(m.Value(55))
		c.search(n, own)
	default:
		if n == 59 {
			c.elements(m.Value(59))
		}
		if v := m.Value(n); len(v) == m.Len(n) && len(chipCards(nil, v)) > 0 && walkTLV(v, tlvDepth, func(string, []byte) {}) {
			c.chip(v)
		}
		c.search(n, own)
	}
}

// zero blanks a field: digits, or bytes where it is binary.
func (c *Cleaner) zero(n int) {
	v := c.m.Value(n)
	blank := byte('0')
	switch {
	case c.m.Len(n) > len(v): // packed
		blank = 0
	case len(v) == 8 && (n == 52 || n == 64 || n == 96 || n == 128), n == 62 && c.m.Codec().Framing().TPDU: // binary
		blank = 0
	}
	for i := range v {
		v[i] = blank
	}
}

// track keeps the form of track 2. One without a separator is enciphered.
func (c *Cleaner) track(m *iso.Message) {
	c.counts.Tracks++
	v := m.AppendDigits(c.digits[:0], 35)
	sep := bytes.IndexByte(v, '=')
	if sep < 0 {
		c.zero(35)
		return
	}
	c.pseudonym(v[:sep])
	for i := sep + 1 + 4 + 3; i < len(v); i++ {
		if v[i] != '=' {
			v[i] = '0'
		}
	}
	if m.Len(35) == len(m.Value(35)) && bytes.IndexByte(m.Value(35), '=') < 0 {
		v[sep] = 'D' // as it was written
	}
	m.Overwrite(35, 0, v)
	clear(v)
}

// search looks for card data in a field that may hold anything, and for the
// message's own card numbers in any field.
func (c *Cleaner) search(n int, own [][]byte) {
	m := &c.m
	v := m.AppendText(c.digits[:0], n)
	changed := n == 48 && m.Codec().Framing().TPDU && m.MTI()&^0x11 == 0x0320 && c.details(v)
	var found bool
	c.marks, found = iso.MarkCards(c.marks, m, n, v, own)
	if changed || found {
		for i := 0; i < len(v); i++ {
			switch c.marks[i] {
			case iso.MarkCard:
				end := i + 1
				for end < len(v) && c.marks[end] == iso.MarkDigit {
					end++
				}
				c.spread(v[i:end])
				i = end - 1
			case iso.MarkBlank:
				v[i] = '0'
			}
		}
		m.Overwrite(n, 0, v)
	}
	if len(m.Value(n)) == m.Len(n) { // not packed
		for _, pan := range own {
			iso.ReplacePacked(m.Value(n), pan, c.pseudonym)
		}
	}
	clear(v)
}

// spread replaces a card number whose digits have others between them.
func (c *Cleaner) spread(v []byte) {
	pan := c.pan[:0]
	for _, d := range v {
		if d-'0' <= 9 {
			pan = append(pan, d)
		}
	}
	c.pseudonym(pan)
	at := 0
	for i, d := range v {
		if d-'0' <= 9 {
			v[i] = pan[at]
			at++
		}
	}
	clear(pan)
}

// details replaces the card numbers of CUP POS's upload of details: a number of
// items of 2 digits, and for each 2 digits, a trace number of 6, a card number of
// 20 padded with zeros on the left, an amount of 12.
func (c *Cleaner) details(v []byte) bool {
	const item = 2 + 6 + 20 + 12
	if len(v) < 2 || (len(v)-2)%item != 0 {
		return false
	}
	for at := 2; at < len(v); at += item {
		pan := bytes.TrimLeft(v[at+8:at+28], "0")
		c.pseudonym(pan)
	}
	return len(v) > 2
}

// chip blanks what chip data says of the card and its holder, in constructed
// elements too: 5A and 57 become those of the pseudonym, names and discretionary
// data zeros. Data that is no BER-TLV to its end is blanked as a whole.
func (c *Cleaner) chip(b []byte) {
	if !walkTLV(b, tlvDepth, func(string, []byte) {}) {
		clear(b)
		return
	}
	walkTLV(b, tlvDepth, func(tag string, value []byte) {
		switch {
		case tag == "\x5A" || tag == "\x57":
			c.packed(value)
		case tag[0] == private || slices.Contains(holderTags, tag):
			clear(value)
		}
	})
}

// holderTags are the elements that name the holder or hold the rest of a track.
var holderTags = []string{"\x56", "\x5F\x20", "\x9F\x0B", "\x9F\x1F", "\x9F\x20", "\x9F\x6B", "\x99"}

// chipCards appends the card numbers of 5A and 57.
func chipCards(own [][]byte, b []byte) [][]byte {
	walkTLV(b, tlvDepth, func(tag string, value []byte) {
		if tag != "\x5A" && tag != "\x57" {
			return
		}
		var pan []byte
		for _, x := range hex.EncodeToString(value) {
			if x > '9' {
				break
			}
			pan = append(pan, byte(x))
		}
		if len(pan) >= 12 && len(pan) <= txn.PANDigitsMax {
			own = append(own, pan)
		}
	})
	return own
}

// private is the first byte of constructed tags that hold what their owner likes.
const private = 0xFF

// tlvDepth is how deep elements may lie within each other.
const tlvDepth = 8

// walkTLV visits the primitive elements of BER-TLV, those of constructed ones
// too, and says whether it is whole. A private one that holds no elements is visited
// itself. Tags have up to 4 bytes, lengths up to 3; between
// elements there may be bytes of 00.
func walkTLV(b []byte, depth int, visit func(tag string, value []byte)) bool {
	if depth < 0 {
		return false
	}
	for len(b) > 0 {
		if b[0] == 0 {
			b = b[1:]
			continue
		}
		n := 1
		if b[0]&0x1F == 0x1F {
			for n < len(b) && n < 4 && b[n]&0x80 != 0 {
				n++
			}
			n++
		}
		if n > 4 || n >= len(b) {
			return false
		}
		tag, size := b[:n], int(b[n])
		n++
		if size >= 0x80 {
			more := size & 0x7F
			if more < 1 || more > 2 || n+more > len(b) {
				return false
			}
			size = 0
			for _, x := range b[n : n+more] {
				size = size<<8 | int(x)
			}
			n += more
		}
		if size > len(b)-n {
			return false
		}
		value := b[n : n+size]
		switch {
		case tag[0]&0x20 == 0, tag[0] == private && !walkTLV(value, depth-1, func(string, []byte) {}):
			visit(string(tag), value)
		case !walkTLV(value, depth-1, visit):
			return false
		}
		b = b[n+size:]
	}
	return true
}

// packed replaces the card number that packed digits begin with, up to a letter;
// behind the separator the expiry and the service code stay.
func (c *Cleaner) packed(b []byte) {
	v := c.digits[:0]
	for _, x := range b {
		v = append(v, x>>4, x&15)
	}
	sep := slices.IndexFunc(v, func(x byte) bool { return x > 9 })
	if sep < 0 {
		sep = len(v)
	}
	for i := range v[:sep] {
		v[i] += '0'
	}
	c.pseudonym(v[:sep])
	for i := range v[:sep] {
		v[i] -= '0'
	}
	for i := sep + 8; i < len(v); i++ {
		if v[i] <= 9 {
			v[i] = 0
		}
	}
	for i := range b {
		b[i] = v[2*i]<<4 | v[2*i+1]
	}
	clear(v)
}

// elements cleans DE59, a list of elements with tag 2, length 3 and value. A PIN
// (A1) becomes zeros, the card number that a customer's code shows (A3) its
// pseudonym, and the last digits of a card by which a machine proves its number (03
// of A2) those of the pseudonym.
func (c *Cleaner) elements(v []byte) {
	var card []byte
	switch {
	case c.m.Has(2): // cleaned before
		card = c.m.AppendDigits(nil, 2)
	case c.m.Has(35):
		card, _, _ = bytes.Cut(c.m.AppendDigits(nil, 35), []byte("="))
	}
	for tag, value := range elementsOf(v) {
		switch tag {
		case "A1":
			c.counts.PINs++
			zeros(value)
		case "A3":
			c.pseudonym(value)
			card = value
		}
	}
	for tag, value := range elementsOf(v) {
		if tag != "A2" {
			continue
		}
		for tag, factor := range elementsOf(value) {
			if tag != "03" {
				continue
			}
			if zeros(factor); len(card) >= len(factor) {
				copy(factor, card[len(card)-len(factor):])
			}
		}
	}
}

func zeros(v []byte) {
	for i := range v {
		v[i] = '0'
	}
}

// elementsOf walks elements with tag 2, length 3 and value as far as they are
// whole.
func elementsOf(v []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for len(v) >= 5 {
			n := 5 + int(v[2]-'0')*100 + int(v[3]-'0')*10 + int(v[4]-'0')
			if n < 5 || n > len(v) || !yield(string(v[:2]), v[5:n]) {
				return
			}
			v = v[n:]
		}
	}
}
