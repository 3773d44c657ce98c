package iso

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/moov-io/iso8583"
	"github.com/moov-io/iso8583/encoding"
	"github.com/moov-io/iso8583/field"
	"github.com/moov-io/iso8583/prefix"
)

// row is one line of a dialect's field table, in the notation of ISO 8583 and
// of the acquirers' manuals: a class, then a fixed length or the dots of LL and
// LLL with a maximum.
//
//	n 6        six digits             n..19      up to 19 digits, LL length
//	n 3 left   an odd number of       n...17     up to 17 digits, LLL length
//	           digits, left-justified z..37      track characters
//	an 12      characters, any bytes  x+n 8      C or D and eight digits
//	b 8        eight raw bytes        b...255    up to 255 raw bytes
type row struct {
	n      int
	format string
	name   string
}

// wireForm is how the classes of a table lie on the wire.
type wireForm struct {
	digits, digitsLeft, track, binary encoding.Encoder
	fixed, ll, lll                    prefix.Prefixer
}

var (
	packedWire = wireForm{
		digits: encBCD, digitsLeft: encBCDLeft, track: encBCDTrack, binary: encoding.Binary,
		fixed: prefBCDFixed, ll: prefBCDLL, lll: prefBCDLLL,
	}
	asciiWire = wireForm{
		digits: encDigits, digitsLeft: encDigits, track: encText, binary: encoding.Binary,
		fixed: prefix.ASCII.Fixed, ll: prefix.ASCII.LL, lll: prefix.ASCII.LLL,
	}
)

// newSpec builds a MessageSpec. It panics on a bad row: the tables are
// constants of this package.
func newSpec(name string, wire wireForm, bitmap *field.Spec, rows []row) *iso8583.MessageSpec {
	spec := &iso8583.MessageSpec{Name: name, Fields: map[int]field.Field{
		0: field.NewString(&field.Spec{Length: 4, Description: "message type", Enc: wire.digits, Pref: wire.fixed}),
		1: field.NewBitmap(bitmap),
	}}
	for _, r := range rows {
		f, err := wire.field(r.format, r.name)
		if err != nil {
			panic(fmt.Sprintf("field table %s, field %d: %v", name, r.n, err))
		}
		spec.Fields[r.n] = f
	}
	return spec
}

func (w wireForm) field(format, name string) (field.Field, error) {
	s := &field.Spec{Description: name, Pref: w.fixed}
	format, left := strings.CutSuffix(format, " left")
	end := strings.IndexAny(format, " .")
	if end < 0 {
		return nil, fmt.Errorf("format %q has no length", format)
	}
	class, length := format[:end], format[end:]
	switch {
	case strings.HasPrefix(length, "..."):
		s.Pref, length = w.lll, length[3:]
	case strings.HasPrefix(length, ".."):
		s.Pref, length = w.ll, length[2:]
	default:
		length = length[1:]
	}
	fixed := s.Pref == w.fixed
	var err error
	if s.Length, err = strconv.Atoi(length); err != nil {
		return nil, fmt.Errorf("format %q: the length must be a number", format)
	}
	switch class {
	case "n":
		s.Enc = w.digits
		if left || !fixed {
			s.Enc = w.digitsLeft
		}
	case "z":
		s.Enc = w.track
	case "x+n":
		if w.digits == encBCD { // the sign a character, the digits packed: nobody here reads one
			s.Enc, s.Length = encoding.Binary, 1+s.Length/2
			return field.NewBinary(s), nil
		}
		s.Enc = encSigned
		s.Length++
	case "a", "an", "ans", "ns":
		s.Enc = encText
	case "b":
		s.Enc = encoding.Binary
		if fixed {
			s.Enc = w.binary
		}
		return field.NewBinary(s), nil
	default:
		return nil, fmt.Errorf("format %q: unknown class", format)
	}
	return field.NewString(s), nil
}
