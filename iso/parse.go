package iso

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Numbers of FieldError.Field that are no data elements.
const (
	FieldFrame  = -1 // TPDU, LRI block or header
	FieldMTI    = 0
	FieldBitmap = 1
)

// FieldError says which part of a message is wrong, and why. It never quotes
// the message.
type FieldError struct {
	Field  int // data element, or one of the constants above
	Offset int // byte offset in the frame body
	Why    string
	cause  error
}

func (e *FieldError) Error() string {
	return fmt.Sprintf("%s at byte %d: %s", fieldName(e.Field), e.Offset, e.Why)
}

func (e *FieldError) Unwrap() error { return e.cause }

func fieldName(n int) string {
	switch n {
	case FieldFrame:
		return "frame"
	case FieldMTI:
		return "MTI"
	case FieldBitmap:
		return "bitmap"
	}
	return fmt.Sprintf("field %d", n)
}

// Parse takes the body of a frame (what ReadLength announced) apart. After an
// error in a field, m holds the MTI and the fields before that one, enough to
// say whose message could not be read; after an earlier error it holds nothing.
// The frame must not change while m is in use.
func (c *Codec) Parse(m *Message, frame []byte) error { return c.parse(m, frame, false) }

// Salvage is for answering a message that Parse refused; it returns Parse's error. If
// only values are wrong or too long, and the fields after them still fit the frame to
// its end, m holds all the other fields; otherwise those that Parse found.
func (c *Codec) Salvage(m *Message, frame []byte) error {
	err := c.parse(m, frame, true)
	if err != nil && m.has == [2]uint64{} {
		return c.parse(m, frame, false)
	}
	return err
}

// parse is Parse; with salvage it is Salvage, and leaves m empty where that cannot be
// done.
func (c *Codec) parse(m *Message, frame []byte, salvage bool) error {
	m.codec, m.frame, m.has = c, frame, [2]uint64{}
	m.body, m.bitmap, m.tpdu, m.lri, m.mti, m.wide = 0, 0, 0, 0, 0, false
	if len(frame) > c.framing.SizeMax {
		return &FieldError{Field: FieldFrame, Why: fmt.Sprintf("has %d bytes, the limit is %d", len(frame), c.framing.SizeMax)}
	}
	at, err := c.parseHead(m)
	if err != nil {
		return err
	}
	has, at, err := c.parseBitmap(m, at)
	if err != nil {
		return err
	}
	last := FieldBitmap
	var fault error
	for w, set := range has {
		if set == 0 {
			continue
		}
		if at, err = c.parseFields(m, w, set, at, salvage); fault == nil {
			fault = err
		}
		if err != nil && at == 0 {
			break
		}
		last = w*64 + 64 - bits.TrailingZeros64(set)
	}
	switch {
	case at == len(frame):
	case fault == nil:
		return &FieldError{Field: last, Offset: at, Why: fmt.Sprintf("%d bytes follow the last field that the bitmap names", len(frame)-at)}
	case salvage:
		m.has = [2]uint64{}
	}
	return fault
}

// parseHead finds the MTI and returns the offset behind it.
func (c *Codec) parseHead(m *Message) (int, error) {
	frame, tpdu, lri := m.frame, 0, 0
	if c.framing.TPDU || c.framing.MayTPDU && len(frame) > 0 && frame[0]&0xF0 == tpduMark {
		tpdu = tpduSize
	}
	at := tpdu
	if c.framing.LRI && len(frame) >= at+lriFixed && string(frame[at:at+3]) == "LRI" {
		lri = lriFixed + int(binary.BigEndian.Uint16(frame[at+3:]))
		if len(frame) < at+lri {
			return 0, &FieldError{Field: FieldFrame, Offset: at, Why: "the LRI block runs past the end"}
		}
	}
	if c.framing.Measured {
		if err := c.framing.measure(frame[at+lri:]); err != nil {
			return 0, err
		}
	}
	at += lri + c.framing.Header
	if len(frame) < at+c.mtiSize() {
		return 0, &FieldError{Field: FieldMTI, Offset: min(at, len(frame)), Why: "the frame ends before it"}
	}
	if c.mtiBCD {
		if !packedDigits(frame[at : at+2]) {
			return 0, &FieldError{Field: FieldMTI, Offset: at, Why: "must be packed decimal digits"}
		}
		m.tpdu, m.lri, m.body, m.mti = tpdu, lri, at, binary.BigEndian.Uint16(frame[at:])
		return at + 2, nil
	}
	if !asciiDigits(frame[at : at+4]) {
		return 0, &FieldError{Field: FieldMTI, Offset: at, Why: "must be four ASCII digits"}
	}
	m.tpdu, m.lri, m.body = tpdu, lri, at
	for _, d := range frame[at : at+4] {
		m.mti = m.mti<<4 | uint16(d&15)
	}
	return at + 4, nil
}

const bit1 = 1 << 63

// parseBitmap returns the presence bits of the data fields and the offset
// behind the bitmap.
func (c *Codec) parseBitmap(m *Message, at int) (has [2]uint64, end int, err error) {
	m.bitmap, m.wide = at, c.bitmap.size == 16
	if has[0], end, err = c.bitmapWord(m.frame, at); err != nil {
		return has, 0, err
	}
	if has[0]&bit1 != 0 {
		if !c.bitmap.expand {
			return has, 0, &FieldError{Field: FieldBitmap, Offset: at, Why: "bit 1 is set, this dialect's bitmap has a fixed size"}
		}
		m.wide = true
		has[0] &^= bit1
	}
	if !m.wide {
		return has, end, nil
	}
	at = end
	if has[1], end, err = c.bitmapWord(m.frame, at); err != nil {
		return has, 0, err
	}
	if has[1]&bit1 != 0 && c.bitmap.expand {
		return has, 0, &FieldError{Field: FieldBitmap, Offset: at, Why: "bit 65 announces a third bitmap, there is none"}
	}
	return has, end, nil
}

func (c *Codec) bitmapWord(frame []byte, at int) (uint64, int, error) {
	end := at + c.bitmap.wire(8)
	if len(frame) < end {
		return 0, 0, tooShort(FieldBitmap, at, end-at, len(frame)-at)
	}
	if !c.bitmap.hex {
		return binary.BigEndian.Uint64(frame[at:]), end, nil
	}
	var x uint64
	for i, h := range frame[at:end] {
		v := hexNibble(h)
		if v > 15 {
			return 0, 0, &FieldError{Field: FieldBitmap, Offset: at + i, Why: "must be hexadecimal digits"}
		}
		x = x<<4 | uint64(v)
	}
	return x, end, nil
}

// parseFields takes apart the fields of word w of the bitmap, from offset at on, and
// returns the offset behind them: 0 where it came no further. The error is of the
// first field that is wrong; salvage leaves such a field out and goes on.
func (c *Codec) parseFields(m *Message, w int, set uint64, at int, salvage bool) (int, error) {
	left := set
	var fault error
	for {
		if left, at = c.parseCommon(m, w, left, at); left == 0 {
			m.has[w] = set
			return at, fault
		}
		z := bits.LeadingZeros64(left)
		n := w*64 + z + 1
		s, err := c.parseField(m.frame, n, at)
		if err != nil {
			if fault == nil {
				fault = err
			}
			if !salvage || s == 0 {
				m.has[w] = set &^ left
				return 0, fault
			}
			set &^= bit1 >> z
		}
		m.spans[n] = s
		at = s.end()
		left &^= bit1 >> z
	}
}

// parseCommon takes apart the first of the fields left, from offset at on, up to one
// that is wrong or uncommon: that one is parseField's. It returns the fields then left
// and where they start. It calls nothing, so that all of its state stays in registers.
func (c *Codec) parseCommon(m *Message, w int, left uint64, at int) (uint64, int) {
	frame := m.frame
	for left != 0 {
		top := bits.Len64(left) - 1
		n := w*64 + 64 - top
		s := c.longest[n] + span(at)
		if s&spanVariable != 0 {
			d := &c.fields[n]
			start := at + int(d.lenSize)
			if d.length != lenBCD || start > len(frame) {
				break
			}
			count := int(unpacked2[frame[at]])
			if d.lenSize == 2 {
				count = count*100 + int(unpacked2[frame[at+1]])
			}
			if count > int(d.max) {
				break
			}
			s = s.measured(count, d.size(count), start)
		}
		start, end := s.at(), s.end()
		if end > len(frame) {
			break
		}
		if s&spanChecked != 0 {
			f := s.form()
			if s.len()&1 == 1 && f >= formBCD && padNibble(frame[start:end], f != formBCD) != 0 {
				break
			}
			if size := s.size(); s&spanDecimal != 0 && uint(size-1) < 8 && len(frame)-start >= 8 {
				if overNine(binary.LittleEndian.Uint64(frame[start:start+8])<<(-8*size&63)) != 0 {
					break
				}
			} else if s&spanDecimal != 0 {
				if !packedDigits(frame[start:end]) {
					break
				}
			} else if f != formBCDTrack && (f != formDigits || !asciiDigits(frame[start:end])) {
				break
			}
		}
		m.spans[n] = s
		at = end
		left &^= 1 << (uint(top) & 63)
	}
	return left, at
}

// parseField says where the value of field n lies, whose length or value starts at
// offset at. It knows that also of a value that is wrong; where it does not, the span
// is 0.
func (c *Codec) parseField(frame []byte, n, at int) (span, error) {
	d := &c.fields[n]
	if d.form == formUnknown {
		return 0, &FieldError{Field: n, Offset: at, Why: "the dialect does not know this field"}
	}
	s := c.longest[n] + span(at)
	if d.length != lenFixed {
		end := at + int(d.lenSize)
		if end > len(frame) {
			return 0, &FieldError{Field: n, Offset: at, Why: "the frame ends before its length"}
		}
		count, ok := d.parseLength(frame[at:end])
		if !ok {
			return 0, &FieldError{Field: n, Offset: at, Why: "its length must be decimal digits", cause: errNotDigits}
		}
		if count > int(d.max) {
			err := tooLong(n, at, d.max, count)
			if end+d.size(count) > len(frame) {
				return 0, err
			}
			return s.measured(count, d.size(count), end), err
		}
		at = end
		s = s.measured(count, d.size(count), at)
	}
	if s.end() > len(frame) {
		return 0, tooShort(n, at, s.size(), len(frame)-at)
	}
	if why := d.form.check(frame[at:s.end()], s.len()); why != nil {
		return s, &FieldError{Field: n, Offset: at, Why: why.Error(), cause: why}
	}
	return s, nil
}

// parseLength is the length that p spells, false when p is no number.
func (d *descriptor) parseLength(p []byte) (count int, ok bool) {
	ok = true
	switch d.length {
	case lenBCD:
		for _, c := range p {
			two := unpacked2[c]
			ok = ok && two != notLength
			count = count*100 + int(two)
		}
	case lenASCII:
		for _, c := range p {
			ok = ok && c-'0' <= 9
			count = count*10 + int(c&15)
		}
	case lenBinary:
		for _, c := range p {
			count = count<<8 | int(c)
		}
	}
	return count, ok
}

func tooLong(n, at int, max uint16, count int) error {
	return &FieldError{Field: n, Offset: at, Why: fmt.Sprintf("its length must be at most %d, is %d", max, count)}
}

func tooShort(n, at, want, left int) error {
	return &FieldError{Field: n, Offset: at, Why: fmt.Sprintf("needs %d bytes, %d are left", want, left)}
}

// check says why b cannot be a value of count units, or nil.
func (f form) check(b []byte, count int) error {
	switch f {
	case formBCD:
		if !packedDigits(b) {
			return errNotDigits
		}
		if count&1 == 1 && padNibble(b, false) != 0 {
			return errPadNotZero
		}
	case formBCDLeft:
		if odd := count & 1; !packedDigits(b[:len(b)-odd]) || odd == 1 && b[len(b)-1]>>4 > 9 {
			return errNotDigits
		}
		fallthrough
	case formBCDTrack:
		if count&1 == 1 && !padRight(padNibble(b, true)) {
			return errPadRight
		}
	case formDigits:
		if !asciiDigits(b) {
			return errNotDigits
		}
	case formSigned:
		if !signedDigits(b) {
			return errNotSigned
		}
	case formASCII:
		for _, c := range b {
			if c >= 0x80 {
				return errNotASCII
			}
		}
	case formHex:
		if !hexadecimal(b) {
			return errNotHex
		}
	}
	return nil
}
