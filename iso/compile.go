package iso

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/moov-io/iso8583"
	"github.com/moov-io/iso8583/encoding"
	"github.com/moov-io/iso8583/field"
	"github.com/moov-io/iso8583/padding"
	"github.com/moov-io/iso8583/prefix"
)

// fieldMax is the highest field number of ISO 8583:1987.
const fieldMax = 128

// form is how a value lies on the wire.
type form uint8

const (
	formUnknown  form = iota // the dialect has no such field
	formDigits               // ASCII digits
	formSigned               // C or D, then ASCII digits
	formASCII                // bytes under 0x80
	formText                 // any bytes: ASCII or GBK
	formBinary               // raw bytes
	formHex                  // bytes as ASCII hexadecimal, written in upper case and read in either
	formBCD                  // packed digits, an odd one preceded by a zero nibble
	formBCDLeft              // packed digits, an odd one followed by a nibble of 0 or F
	formBCDTrack             // packed digits and D, left-justified
)

// numeric says whether a value is digits, or track characters.
func (f form) numeric() bool { return f >= formBCD || f == formDigits }

// lenForm is how a variable value's length precedes it.
type lenForm uint8

const (
	lenFixed lenForm = iota
	lenBCD
	lenASCII
	lenBinary
)

// descriptor is one row of the flat table. Descriptors are compared with == to
// find fields that can be copied verbatim between two dialects.
type descriptor struct {
	form    form
	length  lenForm
	lenSize uint8  // bytes of the length on the wire
	nibbles uint8  // wire nibbles of one unit: 1 packed, 2 a byte, 4 hexadecimal
	padLeft bool   // a short fixed text is padded on the left
	pad     byte   // what pads a short fixed text; 0: nothing does
	max     uint16 // largest length, or the fixed one, in units of the form
}

// size is the number of wire bytes of n units.
func (d *descriptor) size(n int) int { return (n*int(d.nibbles) + 1) >> 1 }

func (d *descriptor) packed() bool { return d.form >= formBCD }

// longest is the span at offset 0 of a value of the largest length, or the fixed one.
func (d *descriptor) longest() span {
	s := span(d.form) << 48
	if d.length != lenFixed {
		s |= spanVariable
	}
	switch d.form {
	case formText, formBinary:
	case formBCD, formBCDLeft:
		s |= spanChecked | spanDecimal
	default:
		s |= spanChecked
	}
	if d.pad != 0 && !d.form.numeric() {
		s |= spanPadded
	}
	return s.measured(int(d.max), d.size(int(d.max)), 0)
}

// Codec reads and writes the frames of one dialect. It is immutable and safe
// for concurrent use.
type Codec struct {
	name    string
	framing Framing
	sizeMin int
	mtiBCD  bool
	bitmap  bitmapForm
	fields  [fieldMax + 1]descriptor
	longest [fieldMax + 1]span // of each field at offset 0, with its largest length
	spec    *iso8583.MessageSpec
}

// bitmapForm is where a dialect puts its presence bits.
type bitmapForm struct {
	hex    bool  // ASCII hexadecimal as formHex, else raw bytes
	size   uint8 // bytes of presence bits always there: 8 or 16
	expand bool  // bit 1 announces a second 8 bytes
}

func (b bitmapForm) wire(bytes int) int {
	if b.hex {
		return 2 * bytes
	}
	return bytes
}

// Name is the spec's name.
func (c *Codec) Name() string { return c.name }

// Framing is what surrounds the messages.
func (c *Codec) Framing() Framing { return c.framing }

// Spec is the field table the codec was compiled from, for moov's own Message.
func (c *Codec) Spec() *iso8583.MessageSpec { return c.spec }

// Width is how many characters a fixed field has, 0 for any other, and whether
// they are digits alone.
func (c *Codec) Width(n int) (size int, digits bool) {
	if n < 2 || n > fieldMax || c.fields[n].length != lenFixed {
		return 0, false
	}
	d := &c.fields[n]
	return int(d.max), d.form.numeric()
}

// longestOf is c.longest of any number.
func (c *Codec) longestOf(n int) span {
	if uint(n) > fieldMax {
		return spanUnknown
	}
	return c.longest[n]
}

// Compile turns a spec into a codec. It refuses what the flat table cannot
// express, naming the field: composite fields (declare them Binary and leave
// the TLV to their reader), EBCDIC, custom packers, padding of variable fields.
func Compile(spec *iso8583.MessageSpec, framing Framing) (*Codec, error) {
	c := &Codec{name: spec.Name, framing: framing, spec: spec}
	for n := range c.longest {
		c.longest[n] = spanUnknown
	}
	if err := c.compile(); err != nil {
		return nil, fmt.Errorf("compile spec %q: %w", spec.Name, err)
	}
	return c, nil
}

// MustCompile is Compile for the specs of this package, which always compile.
func MustCompile(spec *iso8583.MessageSpec, framing Framing) *Codec {
	c, err := Compile(spec, framing)
	if err != nil {
		panic(err)
	}
	return c
}

func (c *Codec) compile() error {
	if err := c.spec.Validate(); err != nil {
		return err
	}
	if err := c.compileMTI(); err != nil {
		return fmt.Errorf("field 0 (MTI): %w", err)
	}
	if err := c.compileBitmap(); err != nil {
		return fmt.Errorf("field 1 (bitmap): %w", err)
	}
	for _, n := range slices.Sorted(maps.Keys(c.spec.Fields)) {
		if n < 2 {
			continue
		}
		if err := c.compileField(n); err != nil {
			return fmt.Errorf("field %d: %w", n, err)
		}
	}
	return c.compileFraming()
}

func (c *Codec) compileMTI() error {
	d, err := compileDescriptor(c.spec.Fields[0])
	switch {
	case err != nil:
		return err
	case d.length != lenFixed || d.max != 4:
		return errors.New("length must be fixed and 4")
	}
	switch d.form {
	case formBCD, formBCDLeft:
		c.mtiBCD = true
	case formDigits, formASCII:
	default:
		return errors.New("encoding must be BCD or ASCII")
	}
	return nil
}

func (c *Codec) compileBitmap() error {
	s := c.spec.Fields[1].Spec()
	switch s.Length {
	case 0, 8:
		c.bitmap = bitmapForm{size: 8, expand: !s.DisableAutoExpand}
	case 16:
		c.bitmap = bitmapForm{size: 16}
	default:
		return fmt.Errorf("length must be 8 or 16 bytes, is %d", s.Length)
	}
	switch s.Enc {
	case encoding.Binary:
	case encoding.BytesToASCIIHex:
		c.bitmap.hex = true
	default:
		return fmt.Errorf("encoding %T is not supported, use Binary or HexToASCII", s.Enc)
	}
	return nil
}

func (c *Codec) compileField(n int) error {
	switch {
	case n > fieldMax:
		return fmt.Errorf("is above %d, the last field", fieldMax)
	case n > 64 && c.bitmap.size == 8 && !c.bitmap.expand:
		return errors.New("lies beyond the dialect's 64-bit bitmap")
	case n == 65 && c.bitmap.expand:
		return errors.New("bit 65 would announce a third bitmap; there is none")
	}
	d, err := compileDescriptor(c.spec.Fields[n])
	if err != nil {
		return err
	}
	c.fields[n] = d
	c.longest[n] = d.longest()
	return nil
}

func compileDescriptor(f field.Field) (descriptor, error) {
	var d descriptor
	s := f.Spec()
	if s == nil {
		return d, errors.New("has no spec")
	}
	if s.Packer != nil || s.Unpacker != nil {
		return d, errors.New("a custom packer or unpacker cannot be compiled")
	}
	if s.Length < 1 || s.Length > 9999 {
		return d, fmt.Errorf("length must be 1 to 9999, is %d", s.Length)
	}
	d.max = uint16(s.Length)
	var err error
	if d.form, err = formOf(f, s.Enc); err != nil {
		return d, err
	}
	switch d.nibbles = 2; {
	case d.packed():
		d.nibbles = 1
	case d.form == formHex:
		d.nibbles = 4
	}
	if err = d.setLength(s.Pref); err != nil {
		return d, err
	}
	return d, d.setPad(s.Pad)
}

func formOf(f field.Field, enc encoding.Encoder) (form, error) {
	var numeric bool
	switch f.(type) {
	case *field.Composite:
		return 0, errors.New("composite fields cannot be compiled, declare it Binary")
	case *field.Bitmap:
		return 0, errors.New("only field 1 may be a bitmap")
	case *field.Numeric:
		numeric = true
	}
	switch enc {
	case encDigits:
		return formDigits, nil
	case encSigned:
		return formSigned, nil
	case encText:
		return formText, nil
	case encBCD, encoding.BCD:
		return formBCD, nil
	case encBCDLeft, encoding.LBCD:
		return formBCDLeft, nil
	case encBCDTrack:
		return formBCDTrack, nil
	case encoding.ASCII:
		if numeric {
			return formDigits, nil
		}
		return formASCII, nil
	case encoding.Binary:
		return formBinary, nil
	case encoding.BytesToASCIIHex:
		return formHex, nil
	}
	return 0, fmt.Errorf("encoding %T is not supported, use ASCII, BCD, LBCD, Binary or HexToASCII", enc)
}

func (d *descriptor) setLength(p prefix.Prefixer) error {
	if p == nil {
		return errors.New("has no length prefix")
	}
	kind := p.Inspect()
	for _, known := range lengthKinds {
		if known.name != kind {
			continue
		}
		d.length, d.lenSize = known.form, known.size
		if known.most > 0 && int(d.max) > known.most {
			return fmt.Errorf("length %d does not fit the prefix %s", d.max, kind)
		}
		if d.length != lenFixed && d.form == formHex {
			return errors.New("a variable hexadecimal field cannot be compiled")
		}
		return nil
	}
	return fmt.Errorf("length prefix %s is not supported", kind)
}

var lengthKinds = []struct {
	name     string
	form     lenForm
	size     uint8           // bytes on the wire
	most     int             // largest length it can spell
	prefixer prefix.Prefixer // what LoadSpec plugs in
}{
	{"ASCII.Fixed", lenFixed, 0, 0, prefix.ASCII.Fixed},
	{"BCD.Fixed", lenFixed, 0, 0, prefBCDFixed},
	{"Binary.Fixed", lenFixed, 0, 0, prefix.Binary.Fixed},
	{"Hex.Fixed", lenFixed, 0, 0, prefix.Hex.Fixed},
	{"ASCII.L", lenASCII, 1, 9, prefix.ASCII.L},
	{"ASCII.LL", lenASCII, 2, 99, prefix.ASCII.LL},
	{"ASCII.LLL", lenASCII, 3, 999, prefix.ASCII.LLL},
	{"ASCII.LLLL", lenASCII, 4, 9999, prefix.ASCII.LLLL},
	{"BCD.L", lenBCD, 1, 9, bcdPrefix{1}},
	{"BCD.LL", lenBCD, 1, 99, prefBCDLL},
	{"BCD.LLL", lenBCD, 2, 999, prefBCDLLL},
	{"BCD.LLLL", lenBCD, 2, 9999, bcdPrefix{4}},
	{"Binary.L", lenBinary, 1, 255, prefix.Binary.L},
	{"Binary.LL", lenBinary, 2, 9999, prefix.Binary.LL},
}

func (d *descriptor) setPad(p padding.Padder) error {
	if d.length == lenFixed && (d.form == formASCII || d.form == formText) {
		d.pad = ' '
	}
	if p == nil || p.Inspect() == nil {
		return nil
	}
	if d.length != lenFixed {
		return errors.New("padding of a variable-length field cannot be compiled")
	}
	pad := p.Inspect()
	if len(pad) != 1 {
		return errors.New("the padding must be one byte")
	}
	d.pad, d.padLeft = pad[0], p.Pad([]byte("x"), 2)[0] != 'x'
	return nil
}

// compileFraming finds the smallest frame and checks the limits against it.
func (c *Codec) compileFraming() error {
	f := c.framing
	c.sizeMin = c.mtiSize() + c.bitmap.wire(int(c.bitmap.size)) + f.Header
	if f.TPDU {
		c.sizeMin += tpduSize
	}
	limit := 0xFFFF
	if f.Prefix == PrefixASCII4 || f.Prefix == PrefixBCD2 {
		limit = 9999
	}
	if f.Header < 0 || f.SizeMax < c.sizeMin || f.SizeMax > limit {
		return fmt.Errorf("framing: SizeMax must be %d to %d, is %d", c.sizeMin, limit, f.SizeMax)
	}
	if f.Measured && (f.Header < 6 || f.Header > 255 || f.TPDU || f.SizeMax > 9999) {
		return errors.New("framing: a header that measures the frame has 6 to 255 bytes, no TPDU before it, and a frame of at most 9999")
	}
	if f.LRI && !f.TPDU {
		return errors.New("framing: an LRI block needs a TPDU before it")
	}
	return nil
}

func (c *Codec) mtiSize() int {
	if c.mtiBCD {
		return 2
	}
	return 4
}
