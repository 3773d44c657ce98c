package iso

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strconv"
)

// Encoder appends one frame to a caller's buffer. Fields go in ascending
// order. The first error sticks: later calls do nothing and Finish returns it.
// Get one from Codec.Begin; it is a plain value and needs no closing.
type Encoder struct {
	codec  *Codec
	buf    []byte // as long as its capacity: what is written ends at at
	start  int    // offset of the frame, its length prefix included
	bitmap int    // offset of the bitmap
	at     int    // offset of what is written next
	last   int    // number of the last field written
	most   int    // number of the last field there are presence bits for; 0 after an error
	has    [2]uint64
	err    error
}

// Begin starts a frame behind dst. The TPDU (5 bytes) and the header are given
// exactly where the framing has them; where it may have a TPDU, that is the caller's
// choice. mti is 0x0200 and the like.
func (c *Codec) Begin(dst, tpdu, header []byte, mti uint16) (e Encoder) {
	e.begin(c, dst, tpdu, nil, header, mti)
	return e
}

func (e *Encoder) begin(c *Codec, dst, tpdu, lri, header []byte, mti uint16) {
	e.codec, e.buf, e.start, e.at = c, dst[:cap(dst)], len(dst), len(dst)
	e.last, e.most = 1, 8*int(c.bitmap.size)
	wantTPDU := 0
	if c.framing.TPDU || c.framing.MayTPDU && len(tpdu) > 0 {
		wantTPDU = tpduSize
	}
	switch {
	case len(tpdu) != wantTPDU:
		e.err, e.most = fmt.Errorf("encode %s: the TPDU must have %d bytes, has %d", c.name, wantTPDU, len(tpdu)), 0
		return
	case len(header) != c.framing.Header:
		e.err, e.most = fmt.Errorf("encode %s: the header must have %d bytes, has %d", c.name, c.framing.Header, len(header)), 0
		return
	case overNine(uint64(mti)) != 0:
		e.fail(FieldMTI, "must be four decimal digits, as 0x0200")
		return
	}
	head := c.framing.PrefixSize() + len(tpdu) + len(lri) + len(header) + c.mtiSize()
	e.bitmap = e.start + head
	e.room(head + c.bitmap.wire(int(c.bitmap.size)))
	b := e.buf[e.start+c.framing.PrefixSize():]
	b = b[copy(b, tpdu):]
	b = b[copy(b, lri):]
	b = b[copy(b, header):]
	if c.mtiBCD {
		binary.BigEndian.PutUint16(b, mti)
	} else {
		binary.BigEndian.PutUint32(b, spellMTI(mti))
	}
}

// room makes n bytes the next ones of the frame and returns their offset.
func (e *Encoder) room(n int) int {
	at := e.at
	if e.at += n; len(e.buf) < e.at {
		e.grow()
	}
	return at
}

// grow makes the buffer at least as long as the frame is now.
func (e *Encoder) grow() {
	e.buf = append(e.buf, make([]byte, e.at-len(e.buf))...)
	e.buf = e.buf[:cap(e.buf)]
}

// spellMTI is mti as four ASCII digits.
func spellMTI(mti uint16) uint32 {
	x := uint32(mti)
	x = (x | x<<8) & 0x00FF00FF
	x = (x | x<<4) & 0x0F0F0F0F
	return x | zeros&0xFFFFFFFF
}

// Digits writes a numeric field from ASCII digits, or a track field from track
// characters, of which = or D separates the parts. A fixed field needs exactly its
// number of digits.
func (e *Encoder) Digits(n int, v []byte) {
	f, at := e.open(n, len(v))
	ok := true
	switch f {
	case formUnknown:
		return
	case formBCD, formBCDLeft:
		ok = pack(e.buf, at, v, f == formBCDLeft)
	case formBCDTrack:
		ok = packTrack(e.buf, at, v)
	case formDigits:
		ok = asciiDigits(v)
		copy(e.buf[at:], v)
	case formASCII, formText:
		for i, c := range v {
			ok = ok && trackDigit(c) <= 15
			e.buf[at+i] = c
		}
	default:
		ok = false
	}
	if !ok {
		e.refuse(n, at, "the value must be digits and the field must take them")
	}
}

// Text writes a field from characters, padding a short fixed text with spaces
// (or as the spec says). Numeric fields take it too when v is digits.
func (e *Encoder) Text(n int, v []byte) {
	s := e.codec.longestOf(n)
	switch {
	case s.form().numeric():
		e.Digits(n, v)
	case s&spanPadded != 0 && len(v) < s.len():
		e.padded(n, s.len(), v)
	default:
		f, at := e.open(n, len(v))
		e.raw(f, n, at, v)
	}
}

// padded writes a text that is shorter than the fixed field n.
func (e *Encoder) padded(n, size int, v []byte) {
	f, at := e.open(n, size)
	if f == formUnknown {
		return
	}
	d := &e.codec.fields[n]
	fill := e.buf[at+d.size(len(v)) : e.at]
	if d.padLeft {
		fill = e.buf[at : at+len(fill)]
		at += len(fill)
	}
	for i := range fill {
		fill[i] = d.pad
	}
	e.raw(f, n, at, v)
}

// raw writes the value of a field that is not numeric.
func (e *Encoder) raw(f form, n, at int, v []byte) {
	if f == formText || f == formBinary {
		copy(e.buf[at:], v)
		return
	}
	e.checked(f, n, at, v)
}

// checked is raw for the forms that do not take every byte as it is.
func (e *Encoder) checked(f form, n, at int, v []byte) {
	switch f {
	case formUnknown:
		return // an error
	case formHex:
		putHex(e.buf[at:], v)
		return
	}
	if why := f.check(v, len(v)); why != nil {
		e.refuse(n, at, why.Error())
		return
	}
	copy(e.buf[at:], v)
}

// Bytes writes a binary or text field from raw bytes; a fixed one needs
// exactly its length.
func (e *Encoder) Bytes(n int, v []byte) {
	if f := e.codec.longestOf(n).form(); f.numeric() || f == formSigned {
		if e.mayFollow(n) {
			e.fail(n, "is numeric and takes no raw bytes")
		}
		return
	}
	f, at := e.open(n, len(v))
	e.raw(f, n, at, v)
}

// Uint writes a numeric field; a fixed one is padded with zeros on the left.
func (e *Encoder) Uint(n int, v uint64) {
	s := e.codec.longestOf(n)
	fixed, width := s&spanVariable == 0, s.len()
	if fixed && s.form() == formBCD && width <= 20 {
		e.packed(n, width, v)
		return
	}
	var buf [20]byte
	at := len(buf)
	for rest := v; ; {
		at--
		buf[at] = '0' + byte(rest%10)
		if rest /= 10; rest == 0 {
			break
		}
	}
	switch {
	case fixed && len(buf)-at > width:
		if e.mayFollow(n) {
			e.fail(n, fmt.Sprintf("the value has %d digits, the field %d", len(buf)-at, width))
		}
		return
	case fixed && width > len(buf):
		if e.mayFollow(n) {
			e.fail(n, "is too wide for a number")
		}
		return
	}
	for fixed && at > len(buf)-width {
		at--
		buf[at] = '0'
	}
	e.Digits(n, buf[at:])
}

// packed writes a fixed field of packed digits from its last byte to its first.
func (e *Encoder) packed(n, width int, v uint64) {
	f, at := e.open(n, width)
	if f == formUnknown {
		return
	}
	b, rest := e.buf[at:e.at], v
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = packed2(uint32(rest % 100))
		rest /= 100
	}
	if rest > 0 || width&1 == 1 && b[0] > 9 {
		e.refuse(n, at, fmt.Sprintf("the value has %d digits, the field %d", len(strconv.FormatUint(v, 10)), width))
	}
}

// Copy writes field n of m, and nothing when m lacks it. Where both codecs
// spell the field alike the bytes are copied, length and all; else the value
// is converted.
func (e *Encoder) Copy(n int, m *Message) {
	if !m.Has(n) {
		return
	}
	d := &e.codec.fields[n]
	if m.codec != e.codec && m.codec.fields[n] != *d {
		e.convert(n, d, m)
		return
	}
	if (n <= e.last || n > e.most) && !e.mayFollow(n) {
		return
	}
	s := m.spans[n]
	v := m.frame[s.at()-int(d.lenSize) : s.end()]
	at := e.room(len(v))
	copy(e.buf[at:], v)
	e.mark(n)
}

// convert writes field n from a value spelled otherwise.
func (e *Encoder) convert(n int, d *descriptor, m *Message) {
	var scratch [1024]byte
	switch {
	case d.form.numeric():
		e.Digits(n, m.AppendDigits(scratch[:0], n))
	case d.form == formBinary || d.form == formHex:
		e.Bytes(n, m.AppendText(scratch[:0], n))
	default:
		e.Text(n, m.AppendText(scratch[:0], n))
	}
}

// Finish completes the frame, length prefix included, and returns dst with it
// appended. After an error it returns dst as Begin got it: a frame is whole or
// absent.
func (e *Encoder) Finish() ([]byte, error) {
	c := e.codec
	if e.err != nil {
		return e.buf[:e.start], e.err
	}
	size := e.at - e.start - c.framing.PrefixSize()
	if size > c.framing.SizeMax {
		return e.buf[:e.start], fmt.Errorf("encode %s: the frame has %d bytes, the limit is %d", c.name, size, c.framing.SizeMax)
	}
	c.framing.putLength(e.buf[e.start:], size)
	if c.framing.Measured {
		putDigits4(e.buf[e.start+c.framing.PrefixSize()+2:], size)
	}
	e.putBitmap()
	return e.buf[:e.at], nil
}

// Last is the number of the field written last, 0 before any.
func (e *Encoder) Last() int { return e.last }

func (e *Encoder) putBitmap() {
	words := e.most / 64
	if words == 2 && e.codec.bitmap.expand {
		e.has[0] |= bit1
	}
	at := e.buf[e.bitmap:]
	for _, w := range e.has[:words] {
		if !e.codec.bitmap.hex {
			binary.BigEndian.PutUint64(at, w)
			at = at[8:]
			continue
		}
		for i := range 16 {
			at[i] = hexUpper[bits.RotateLeft64(w, 4*(i+1))&15]
		}
		at = at[16:]
	}
}

// open begins field n with a value of count units: it writes the length and returns
// where the value goes. After an error there is no form.
func (e *Encoder) open(n, count int) (f form, at int) {
	if (n <= e.last || n > e.most) && !e.mayFollow(n) {
		return formUnknown, 0
	}
	s := e.codec.longest[n]
	if s&spanVariable == 0 && count == s.len() {
		at = e.room(s.size())
	} else {
		d := &e.codec.fields[n]
		if d.length == lenFixed || count > int(d.max) {
			e.misfit(n, count)
			return formUnknown, 0
		}
		start := e.room(int(d.lenSize) + d.size(count))
		at = start + int(d.lenSize)
		d.putLength(e.buf[start:at], uint32(count))
	}
	e.mark(n)
	return s.form(), at
}

// mark notes that field n is written.
func (e *Encoder) mark(n int) {
	e.last = n
	e.has[(n-1)>>6&1] |= 1 << (-n & 63)
}

// mayFollow says whether field n may come next, for which it makes a secondary bitmap
// where there is none yet.
func (e *Encoder) mayFollow(n int) bool {
	switch {
	case e.err != nil:
	case n < 2 || n > fieldMax:
		e.fail(n, "is no data field")
	case e.codec.fields[n].form == formUnknown:
		e.fail(n, "the dialect does not know this field")
	case n <= e.last:
		e.fail(n, fmt.Sprintf("comes after field %d, fields must ascend", e.last))
	case n > e.most:
		e.widen()
	}
	return e.err == nil
}

// misfit says why field n does not take a value of count units.
func (e *Encoder) misfit(n, count int) {
	if !e.mayFollow(n) {
		return
	}
	d := &e.codec.fields[n]
	if d.length == lenFixed {
		e.fail(n, fmt.Sprintf("the length must be %d, is %d", d.max, count))
		return
	}
	e.fail(n, fmt.Sprintf("the length must be at most %d, is %d", d.max, count))
}

// Widen makes the secondary bitmap also where no field above 64 comes.
func (e *Encoder) Widen() {
	if e.err == nil && e.most < fieldMax && e.codec.bitmap.expand {
		e.widen()
	}
}

// widen makes room for the secondary bitmap behind the first.
func (e *Encoder) widen() {
	e.most = fieldMax
	w := e.codec.bitmap.wire(8)
	at := e.bitmap + w
	e.room(w)
	copy(e.buf[at+w:e.at], e.buf[at:])
}

// putLength writes the length of count units.
func (d *descriptor) putLength(to []byte, count uint32) {
	switch d.length {
	case lenBCD:
		if len(to) == 2 {
			to[0] = packed2(count / 100)
			count %= 100
		}
		to[len(to)-1] = packed2(count)
	case lenBinary:
		if len(to) == 2 {
			to[0] = byte(count >> 8)
		}
		to[len(to)-1] = byte(count)
	case lenASCII:
		for i := len(to) - 1; i >= 0; i-- {
			to[i] = '0' + byte(count%10)
			count /= 10
		}
	}
}

// refuse is fail for a value that begins at offset at.
func (e *Encoder) refuse(n, at int, why string) {
	e.at = at
	e.fail(n, why)
}

func (e *Encoder) fail(n int, why string) {
	if e.err == nil {
		e.err = fmt.Errorf("encode %s: %w", e.codec.name, &FieldError{Field: n, Offset: e.at - e.start, Why: why})
		e.most = 0
	}
}

// Append writes the whole of m as a frame of codec c behind dst, converting
// every field where the codecs differ. TPDU and header are m's; a framing that
// has them needs an m that has them.
func (c *Codec) Append(dst []byte, m *Message) ([]byte, error) {
	var lri []byte
	if c.framing.LRI {
		lri = m.LRI()
	}
	var e Encoder
	e.begin(c, dst, m.TPDU(), lri, m.Header(), m.mti)
	if m.wide {
		e.Widen() // also when no field needs it: the peer sent it so
	}
	for n := range m.Fields() {
		e.Copy(n, m)
	}
	return e.Finish()
}
