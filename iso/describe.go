package iso

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"
)

// Breakdown is a message for people: what inspect prints.
type Breakdown struct {
	Dialect string
	TPDU    string // upper-case hexadecimal, as Header and Bitmap; "" where absent
	LRI     string
	Header  string
	MTI     string // four digits
	Bitmap  string
	Fields  []FieldBreakdown // ascending
	Fault   string           // why it was not read to its end; "" where it was
}

// FieldBreakdown is one field of a Breakdown.
type FieldBreakdown struct {
	Number int
	Name   string // as the dialect's table calls it
	Value  string // digits, text, or upper-case hexadecimal of binary fields
	Masked bool
	Offset int // of the value, in the frame body
	Length int // wire bytes of the value
	Parts  []Part
}

// Part is an element of a field that is a list, such as terminal information.
type Part struct {
	Tag   string // below the field, such as A2.02
	Name  string
	Value string // masked as the field is
}

// Describe spells a message out. Cardholder data, PINs and keys are masked
// unless unmask is set, which is for test data only. After a failed Parse it
// describes the fields before the error.
//
// Text is decoded from GBK; what is not GBK is shown as "hex:" and its bytes.
// A track's separator is shown as it lies in the frame: D, or = in ASCII.
func Describe(m *Message, unmask bool) Breakdown {
	b := Breakdown{
		Dialect: m.codec.name,
		TPDU:    upper(m.TPDU()),
		LRI:     upper(m.LRI()),
		Header:  upper(m.Header()),
		MTI:     fmt.Sprintf("%04X", m.mti),
		Bitmap:  upper(m.Bitmap()),
	}
	if m.codec.bitmap.hex {
		b.Bitmap = strings.ToUpper(string(m.Bitmap()))
	}
	for n := range m.Fields() {
		s := m.spans[n]
		f := FieldBreakdown{
			Number: n, Name: m.codec.spec.Fields[n].Spec().Description,
			Offset: s.at(), Length: s.size(),
		}
		if unmask {
			f.Value = show(m, n, m.AppendText(nil, n))
		} else {
			f.Value, f.Masked = masked(m, n)
		}
		f.Parts = infoParts(m, n, unmask)
		b.Fields = append(b.Fields, f)
	}
	return b
}

// MarshalJSON is the machine form, with the fields in ascending order:
//
//	{"dialect":"cup-pos","tpdu":"6000030000","header":"603100310000","mti":"0200",
//	 "bitmap":"7024...","fields":{"3":"000000","4":"000000012345"}}
//
// Behind the fields is an "error" where there is a Fault.
func (b Breakdown) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	sep := byte('{')
	put := func(key, value string) error {
		v, err := json.Marshal(value)
		if err != nil {
			return err
		}
		out.WriteByte(sep)
		sep = ','
		fmt.Fprintf(&out, "%q:%s", key, v)
		return nil
	}
	for _, part := range [][2]string{
		{"dialect", b.Dialect}, {"tpdu", b.TPDU}, {"lri", b.LRI}, {"header", b.Header}, {"mti", b.MTI}, {"bitmap", b.Bitmap},
	} {
		if part[1] == "" && part[0] != "dialect" {
			continue
		}
		if err := put(part[0], part[1]); err != nil {
			return nil, err
		}
	}
	out.WriteString(`,"fields":`)
	sep = '{'
	for _, f := range b.Fields {
		if err := put(strconv.Itoa(f.Number), f.Value); err != nil {
			return nil, err
		}
	}
	if len(b.Fields) == 0 {
		out.WriteByte('{')
	}
	out.WriteByte('}')
	if b.Fault != "" {
		sep = ','
		if err := put("error", b.Fault); err != nil {
			return nil, err
		}
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// show spells a decoded value of field n.
func show(m *Message, n int, v []byte) string {
	switch m.codec.fields[n].form {
	case formBinary, formHex:
		return upper(v)
	case formBCDTrack:
		return string(bytes.ReplaceAll(v, []byte("="), []byte("D")))
	case formText:
		if text, ok := decodeGBK(v); ok {
			return text
		}
		return "hex:" + upper(v)
	}
	return string(v)
}

// decodeGBK says whether v is printable text.
func decodeGBK(v []byte) (string, bool) {
	text, err := simplifiedchinese.GBK.NewDecoder().Bytes(v)
	if err != nil {
		return "", false
	}
	for _, r := range string(text) {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return "", false
		}
	}
	return string(text), true
}

func upper(v []byte) string {
	s := make([]byte, 2*len(v))
	putHex(s, v)
	return string(s)
}
