package iso

import (
	"errors"
	"iter"
	"math/bits"
)

// span is where one field lies in the frame, and how. It is one word, which is written
// and read at once:
//
//	| flags 8 | form 8 | length in the form's units 16 | wire bytes 16 | offset 16 |
type span uint64

const (
	spanVariable span = 1 << 63 // a length precedes the value
	spanChecked  span = 1 << 62 // not every byte can be part of the value
	spanDecimal  span = 1 << 61 // every nibble is a decimal digit
	spanPadded   span = 1 << 60 // a text may be written shorter: the rest is padded

	spanUnknown = spanVariable // of a field that the dialect does not know
)

func (s span) at() int    { return int(uint16(s)) }
func (s span) size() int  { return int(uint16(s >> 16)) }
func (s span) end() int   { return s.at() + s.size() }
func (s span) len() int   { return int(uint16(s >> 32)) }
func (s span) form() form { return form(s >> 48) }

// measured is s with a length, at an offset.
func (s span) measured(n, size, at int) span {
	return s>>48<<48 | span(n)<<32 | span(size)<<16 | span(at)
}

// Message is a parsed frame: offsets into bytes that belong to the caller. It
// is meant to be reused; a Message is valid until its frame is overwritten or
// it is parsed into again. It is not safe for concurrent use.
type Message struct {
	codec  *Codec
	frame  []byte
	tpdu   int // bytes of TPDU, 0 when absent
	lri    int // bytes of LRI block, 0 when absent
	body   int // offset of the MTI, 0 before it is read or where nothing precedes it
	bitmap int // offset of the bitmap
	mti    uint16
	wide   bool // a secondary bitmap was present
	has    [2]uint64
	spans  [fieldMax + 1]span
}

// MTI is the message type in its hexadecimal spelling: 0x0200 for a request.
func (m *Message) MTI() uint16 { return m.mti }

// Codec is the codec that parsed the message.
func (m *Message) Codec() *Codec { return m.codec }

// Frame is the whole frame body the message points into.
func (m *Message) Frame() []byte { return m.frame }

// Has says whether field n (2 to 128) is present.
func (m *Message) Has(n int) bool {
	bit := uint(n - 1)
	return bit < fieldMax && m.has[bit>>6]&(1<<(^bit&63)) != 0
}

// Fields yields the numbers of the fields present, ascending.
func (m *Message) Fields() iter.Seq[int] {
	return func(yield func(int) bool) {
		for w, set := range m.has {
			for set != 0 {
				n := bits.LeadingZeros64(set)
				set &^= 1 << (63 - n)
				if !yield(w*64 + n + 1) {
					return
				}
			}
		}
	}
}

// TPDU is the five bytes before the header, nil where there are none.
func (m *Message) TPDU() []byte {
	if m.tpdu == 0 {
		return nil
	}
	return m.frame[:tpduSize:tpduSize]
}

// LRI is the landline block after the TPDU, nil when there was none.
func (m *Message) LRI() []byte {
	if m.lri == 0 {
		return nil
	}
	return m.frame[tpduSize : tpduSize+m.lri : tpduSize+m.lri]
}

// Header is the application header before the MTI, nil where there is none.
func (m *Message) Header() []byte {
	h := m.codec.framing.Header
	if m.body == 0 || h == 0 {
		return nil
	}
	return m.frame[m.body-h : m.body : m.body]
}

// Bitmap is the bitmap as it lies in the frame, nil before it is read.
func (m *Message) Bitmap() []byte {
	size := 8
	if m.wide {
		size = 16
	}
	end := m.bitmap + m.codec.bitmap.wire(size)
	if m.bitmap == 0 || end > len(m.frame) {
		return nil
	}
	return m.frame[m.bitmap:end:end]
}

// Before is the message from its MTI up to field n's value: what a MAC in field
// n covers where n is a fixed field. It is nil when n is absent, and aliases
// the frame.
func (m *Message) Before(n int) []byte {
	if !m.Has(n) {
		return nil
	}
	at := m.spans[n].at()
	return m.frame[m.body:at:at]
}

// Value is field n as it lies on the wire, without its length; nil when
// absent. It aliases the frame.
func (m *Message) Value(n int) []byte {
	if !m.Has(n) {
		return nil
	}
	at, end := m.spans[n].at(), m.spans[n].end()
	return m.frame[at:end:end]
}

// Len is the length of field n in its own units: digits, characters or bytes.
func (m *Message) Len(n int) int {
	if !m.Has(n) {
		return 0
	}
	return m.spans[n].len()
}

// Offset is where field n's value starts in the frame body, 0 when absent.
func (m *Message) Offset(n int) int {
	if !m.Has(n) {
		return 0
	}
	return m.spans[n].at()
}

// AppendDigits appends field n as ASCII digits, whatever its wire form, with a
// track's separator as '='. Of a text field the bytes are appended as they are
// but for D, which becomes '=': the caller checks them.
func (m *Message) AppendDigits(dst []byte, n int) []byte {
	if !m.Has(n) {
		return dst
	}
	s := m.spans[n]
	v := m.frame[s.at():s.end()]
	switch s.form() {
	case formBCD:
		if s.len()&1 == 1 {
			dst = append(dst, '0'+v[0]&15)
			v = v[1:]
		}
		return appendUnpacked(dst, v)
	case formBCDLeft, formBCDTrack:
		end := len(dst) + s.len()
		return appendUnpacked(dst, v)[:end]
	case formASCII, formText:
		for _, c := range v {
			if c == 'D' {
				c = '='
			}
			dst = append(dst, c)
		}
		return dst
	}
	return append(dst, v...)
}

// AppendText appends field n decoded: packed digits as ASCII digits,
// hexadecimal as the bytes it spells, everything else as it lies in the frame
// (GBK stays GBK).
func (m *Message) AppendText(dst []byte, n int) []byte {
	v := m.Value(n)
	if v == nil {
		return dst
	}
	switch d := &m.codec.fields[n]; {
	case d.packed():
		return m.AppendDigits(dst, n)
	case d.form == formHex:
		for ; len(v) >= 2; v = v[2:] {
			dst = append(dst, hexNibble(v[0])<<4|hexNibble(v[1]))
		}
		return dst
	}
	return append(dst, v...)
}

// Overwrite writes v over the units of field n from the at-th on, in the frame
// itself: digits where the field is packed, bytes as they lie on the wire
// elsewhere. Lengths stay as they are, so every offset of m stays true. It does
// nothing and is false when v does not fit or a packed field is given anything
// but digits and a track's separator.
func (m *Message) Overwrite(n, at int, v []byte) bool {
	value := m.Value(n)
	if !m.Has(n) || !m.codec.fields[n].packed() {
		if at < 0 || at+len(v) > len(value) {
			return false
		}
		copy(value[at:], v)
		return true
	}
	digits := m.spans[n].len()
	if at < 0 || at+len(v) > digits {
		return false
	}
	for _, c := range v {
		if c-'0' > 9 && c != '=' && c != 'D' {
			return false
		}
	}
	if m.codec.fields[n].form == formBCD && digits&1 == 1 {
		at++
	}
	for i, c := range v {
		nibble := c - '0'
		if nibble > 9 {
			nibble = 0xD
		}
		if b := &value[(at+i)/2]; (at+i)&1 == 0 {
			*b = *b&0x0F | nibble<<4
		} else {
			*b = *b&0xF0 | nibble
		}
	}
	return true
}

// Errors of Uint.
var (
	ErrAbsent    = errors.New("field is absent")
	ErrNotNumber = errors.New("field is no number of up to 19 digits")
)

// Uint is field n as a number.
func (m *Message) Uint(n int) (uint64, error) {
	if !m.Has(n) {
		return 0, &FieldError{Field: n, Offset: len(m.frame), Why: "is absent", cause: ErrAbsent}
	}
	s := m.spans[n]
	if s.len() == 0 || s.len() > 19 {
		return 0, m.notNumber(n)
	}
	var v uint64
	if s.form() == formBCD {
		for _, c := range m.frame[s.at():s.end()] { // digits, as Parse has checked
			v = v*100 + uint64(unpacked2[c])
		}
		return v, nil
	}
	var buf [20]byte
	for _, c := range m.AppendDigits(buf[:0], n) {
		if c-'0' > 9 {
			return 0, m.notNumber(n)
		}
		v = v*10 + uint64(c-'0')
	}
	return v, nil
}

func (m *Message) notNumber(n int) error {
	return &FieldError{Field: n, Offset: m.spans[n].at(), Why: "is no number of 1 to 19 digits", cause: ErrNotNumber}
}
