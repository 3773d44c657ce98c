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
	buf    []byte
	start  int // offset of the frame, its length prefix included
	bitmap int // offset of the bitmap
	last   int // number of the last field written
	wide   bool
	has    [2]uint64
	err    error
}

// Begin starts a frame behind dst. The TPDU (5 bytes) and the header are given
// exactly where the framing has them. mti is 0x0200 and the like.
func (c *Codec) Begin(dst, tpdu, header []byte, mti uint16) Encoder {
	return c.begin(dst, tpdu, nil, header, mti)
}

func (c *Codec) begin(dst, tpdu, lri, header []byte, mti uint16) Encoder {
	e := Encoder{codec: c, buf: dst, start: len(dst), last: 1}
	wantTPDU := 0
	if c.framing.TPDU {
		wantTPDU = tpduSize
	}
	switch {
	case len(tpdu) != wantTPDU:
		e.err = fmt.Errorf("encode %s: the TPDU must have %d bytes, has %d", c.name, wantTPDU, len(tpdu))
		return e
	case len(header) != c.framing.Header:
		e.err = fmt.Errorf("encode %s: the header must have %d bytes, has %d", c.name, c.framing.Header, len(header))
		return e
	case (uint64(mti)&(uint64(mti)<<1|uint64(mti)<<2))&nibbles8 != 0:
		e.fail(FieldMTI, "must be four decimal digits, as 0x0200")
		return e
	}
	prefix, mtiSize := c.framing.PrefixSize(), c.mtiSize()
	at := e.start + prefix
	e.bitmap = at + len(tpdu) + len(lri) + len(header) + mtiSize
	e.wide = c.bitmap.size == 16
	size := e.bitmap - e.start + c.bitmap.wire(int(c.bitmap.size))
	if size <= len(headRoom) {
		e.buf = append(dst, headRoom[:size]...)
	} else {
		e.buf = append(dst, make([]byte, size)...)
	}
	b := e.buf[at:]
	b = b[copy(b, tpdu):]
	b = b[copy(b, lri):]
	b = b[copy(b, header):]
	if c.mtiBCD {
		binary.BigEndian.PutUint16(b, mti)
	} else {
		binary.BigEndian.PutUint32(b, spellMTI(mti))
	}
	return e
}

// spellMTI is mti as four ASCII digits.
func spellMTI(mti uint16) uint32 {
	x := uint32(mti)
	x = (x | x<<8) & 0x00FF00FF
	x = (x | x<<4) & 0x0F0F0F0F
	return x | zeros&0xFFFFFFFF
}

// headRoom stands for what precedes the fields until it is known. A longer
// head, with an LRI block or a big header, costs an allocation.
var headRoom [64]byte

// Digits writes a numeric field from ASCII digits, or a track field from track
// characters, of which = or D separates the parts. A fixed field needs exactly its number of digits.
func (e *Encoder) Digits(n int, v []byte) {
	d := e.open(n)
	if d == nil || !e.length(d, n, len(v)) {
		return
	}
	e.digits(d, n, v)
}

func (e *Encoder) digits(d *descriptor, n int, v []byte) {
	ok := true
	switch d.form {
	case formBCD, formBCDLeft:
		e.buf, ok = appendPackedOdd(e.buf, v, d.form == formBCDLeft)
	case formBCDTrack:
		e.buf, ok = appendPackedTrack(e.buf, v)
	case formDigits:
		ok = asciiDigits(v)
		e.buf = append(e.buf, v...)
	case formASCII, formText:
		for _, c := range v {
			ok = ok && trackDigit(c) <= 15
		}
		e.buf = append(e.buf, v...)
	default:
		ok = false
	}
	if !ok {
		e.fail(n, "the value must be digits and the field must take them")
	}
}

// Text writes a field from characters, padding a short fixed text with spaces
// (or as the spec says). Numeric fields take it too when v is digits.
func (e *Encoder) Text(n int, v []byte) {
	d := e.open(n)
	if d == nil {
		return
	}
	if d.packed() || d.form == formDigits {
		if e.length(d, n, len(v)) {
			e.digits(d, n, v)
		}
		return
	}
	fill := 0
	if d.length == lenFixed && d.pad != 0 {
		fill = max(0, int(d.max)-len(v))
	}
	if !e.length(d, n, len(v)+fill) {
		return
	}
	if d.padLeft {
		e.fill(d.pad, fill)
	}
	e.raw(d, n, v)
	if !d.padLeft {
		e.fill(d.pad, fill)
	}
}

// raw writes the value of a field that is not packed.
func (e *Encoder) raw(d *descriptor, n int, v []byte) {
	if d.form == formHex {
		e.buf = appendHex(e.buf, v)
		return
	}
	if d.checked {
		if why := d.check(v, len(v)); why != nil {
			e.fail(n, why.Error())
			return
		}
	}
	e.buf = append(e.buf, v...)
}

func (e *Encoder) fill(pad byte, n int) {
	for range n {
		e.buf = append(e.buf, pad)
	}
}

// Bytes writes a binary or text field from raw bytes; a fixed one needs
// exactly its length.
func (e *Encoder) Bytes(n int, v []byte) {
	d := e.open(n)
	if d == nil {
		return
	}
	switch d.form {
	case formBinary, formText, formASCII, formHex:
	default:
		e.fail(n, "is numeric and takes no raw bytes")
		return
	}
	if e.length(d, n, len(v)) {
		e.raw(d, n, v)
	}
}

// Uint writes a numeric field; a fixed one is padded with zeros on the left.
func (e *Encoder) Uint(n int, v uint64) {
	d := e.open(n)
	if d == nil {
		return
	}
	if d.form == formBCD && d.length == lenFixed && d.max <= 20 {
		e.packed(n, d, v)
		return
	}
	var buf [20]byte
	at := len(buf)
	for {
		at--
		buf[at] = '0' + byte(v%10)
		if v /= 10; v == 0 {
			break
		}
	}
	if d.length != lenFixed {
		if e.length(d, n, len(buf)-at) {
			e.digits(d, n, buf[at:])
		}
		return
	}
	width := int(d.max)
	if len(buf)-at > width {
		e.fail(n, fmt.Sprintf("the value has %d digits, the field %d", len(buf)-at, width))
		return
	}
	if width > len(buf) {
		e.fail(n, "is too wide for a number")
		return
	}
	for at > len(buf)-width {
		at--
		buf[at] = '0'
	}
	e.digits(d, n, buf[at:])
}

// packed writes a fixed field of packed digits from its last byte to its first.
func (e *Encoder) packed(n int, d *descriptor, v uint64) {
	start, rest := len(e.buf), v
	e.buf = append(e.buf, headRoom[:d.wire]...)
	b := e.buf[start:]
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = packed2(uint(rest % 100))
		rest /= 100
	}
	if rest > 0 || d.max&1 == 1 && b[0] > 9 {
		e.buf = e.buf[:start]
		e.fail(n, fmt.Sprintf("the value has %d digits, the field %d", len(strconv.FormatUint(v, 10)), d.max))
	}
}

// Copy writes field n of m, and nothing when m lacks it. Where both codecs
// spell the field alike the bytes are copied, length and all; else the value
// is converted.
func (e *Encoder) Copy(n int, m *Message) {
	if e.err != nil || !m.Has(n) {
		return
	}
	d := e.open(n)
	if d == nil {
		return
	}
	if m.codec != e.codec && m.codec.fields[n] != *d {
		e.convert(n, d, m)
		return
	}
	s := m.spans[n]
	e.buf = append(e.buf, m.frame[s.at-uint16(d.lenSize):s.at+s.size]...)
}

// convert writes field n, already open, from a value spelled otherwise.
func (e *Encoder) convert(n int, d *descriptor, m *Message) {
	e.last = n - 1 // the writers below open it themselves
	var scratch [1024]byte
	switch {
	case d.packed() || d.form == formDigits:
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
	size := len(e.buf) - e.start - c.framing.PrefixSize()
	if size > c.framing.SizeMax {
		return e.buf[:e.start], fmt.Errorf("encode %s: the frame has %d bytes, the limit is %d", c.name, size, c.framing.SizeMax)
	}
	c.framing.putLength(e.buf[e.start:], size)
	e.putBitmap()
	return e.buf, nil
}

// Last is the number of the field written last, 0 before any.
func (e *Encoder) Last() int { return e.last }

func (e *Encoder) putBitmap() {
	words := 1
	if e.wide {
		words = 2
		if e.codec.bitmap.expand {
			e.has[0] |= bit1
		}
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

// open checks that field n may come next and marks it present.
func (e *Encoder) open(n int) *descriptor {
	if e.err != nil {
		return nil
	}
	if n < 2 || n > fieldMax {
		e.fail(n, "is no data field")
		return nil
	}
	d := &e.codec.fields[n]
	switch {
	case d.form == formUnknown:
		e.fail(n, "the dialect does not know this field")
		return nil
	case n <= e.last:
		e.fail(n, fmt.Sprintf("comes after field %d, fields must ascend", e.last))
		return nil
	}
	if n > 64 && !e.wide {
		e.widen()
	}
	e.last = n
	bit := uint(n - 1)
	e.has[bit>>6&1] |= bit1 >> (bit & 63)
	return d
}

// widen makes room for the secondary bitmap behind the first.
func (e *Encoder) widen() {
	e.wide = true
	w := e.codec.bitmap.wire(8)
	at := e.bitmap + w
	e.buf = append(e.buf, headRoom[:w]...)
	copy(e.buf[at+w:], e.buf[at:])
}

// length checks a length in the field's units and writes its prefix.
func (e *Encoder) length(d *descriptor, n, count int) bool {
	if d.length == lenFixed && count == int(d.max) {
		return true
	}
	return e.varLength(d, n, count)
}

func (e *Encoder) varLength(d *descriptor, n, count int) bool {
	switch {
	case d.length == lenFixed:
		e.fail(n, fmt.Sprintf("the length must be %d, is %d", d.max, count))
		return false
	case count > int(d.max):
		e.fail(n, fmt.Sprintf("the length must be at most %d, is %d", d.max, count))
		return false
	}
	switch d.length {
	case lenBCD:
		if d.lenSize == 2 {
			e.buf = append(e.buf, packed2(uint(count)/100))
		}
		e.buf = append(e.buf, packed2(uint(count)%100))
	case lenBinary:
		if d.lenSize == 2 {
			e.buf = append(e.buf, byte(count>>8))
		}
		e.buf = append(e.buf, byte(count))
	case lenASCII:
		div := 1
		for range d.digits - 1 {
			div *= 10
		}
		for ; div > 0; div /= 10 {
			e.buf = append(e.buf, '0'+byte(count/div%10))
		}
	}
	return true
}

func (e *Encoder) fail(n int, why string) {
	if e.err == nil {
		e.err = fmt.Errorf("encode %s: %w", e.codec.name, &FieldError{Field: n, Offset: len(e.buf) - e.start, Why: why})
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
	e := c.begin(dst, m.TPDU(), lri, m.Header(), m.mti)
	if m.wide && c.bitmap.expand && e.err == nil {
		e.widen() // also when no field needs it: the peer sent it so
	}
	for n := range m.Fields() {
		e.Copy(n, m)
	}
	return e.Finish()
}
