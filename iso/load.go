package iso

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/moov-io/iso8583"
	"github.com/moov-io/iso8583/encoding"
	"github.com/moov-io/iso8583/field"
	"github.com/moov-io/iso8583/padding"
	"github.com/moov-io/iso8583/prefix"
)

// specSizeMax bounds a spec file.
const specSizeMax = 1 << 20

// LoadSpec reads a dialect in one of moov's two JSON forms: the one that
// specs.ExportJSON writes ("name" and "fields"), or the table of ISO notation
// ("elements" and "encoding") of moov's test data. Unknown keys, types,
// encodings and prefixes are errors that name the field. Packed encodings get
// this package's fast ones.
func LoadSpec(r io.Reader) (*iso8583.MessageSpec, error) {
	raw, err := io.ReadAll(io.LimitReader(r, specSizeMax+1))
	if err != nil {
		return nil, fmt.Errorf("read spec: %w", err)
	}
	if len(raw) > specSizeMax {
		return nil, fmt.Errorf("read spec: more than %d bytes", specSizeMax)
	}
	var file specFile
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&file); err != nil {
		return nil, fmt.Errorf("read spec: %w", err)
	}
	if dec.More() {
		return nil, errors.New("read spec: something follows the JSON object")
	}
	build := file.fromFields
	if len(file.Elements) > 0 {
		build = file.fromElements
	}
	spec, err := build()
	if err != nil {
		return nil, fmt.Errorf("read spec %q: %w", file.Name, err)
	}
	if err := spec.Validate(); err != nil {
		return nil, fmt.Errorf("read spec %q: %w", file.Name, err)
	}
	return spec, nil
}

// specFile is either form: fields, or elements with encoding.
type specFile struct {
	Name     string                 `json:"name"`
	Fields   map[string]fieldJSON   `json:"fields"`
	Elements map[string]elementJSON `json:"elements"`
	Encoding encodingJSON           `json:"encoding"`
}

type fieldJSON struct {
	Type              string          `json:"type"`
	Length            int             `json:"length"`
	Description       string          `json:"description"`
	Enc               string          `json:"enc"`
	Prefix            string          `json:"prefix"`
	Padding           *paddingJSON    `json:"padding"`
	DisableAutoExpand bool            `json:"disableAutoExpand"`
	Tag               json.RawMessage `json:"tag"`
	Subfields         json.RawMessage `json:"subfields"`
	Bitmap            json.RawMessage `json:"bitmap"`
}

type paddingJSON struct {
	Type string `json:"type"`
	Pad  string `json:"pad"`
}

func (f specFile) fromFields() (*iso8583.MessageSpec, error) {
	spec := &iso8583.MessageSpec{Name: f.Name, Fields: map[int]field.Field{}}
	for key, row := range f.Fields {
		n, err := strconv.Atoi(key)
		if err != nil {
			return nil, fmt.Errorf("field %q: the key must be a number", key)
		}
		if spec.Fields[n], err = row.field(); err != nil {
			return nil, fmt.Errorf("field %d: %w", n, err)
		}
	}
	return spec, nil
}

func (f fieldJSON) field() (field.Field, error) {
	if f.Tag != nil || f.Subfields != nil || f.Bitmap != nil || f.Type == "Composite" {
		return nil, errors.New("composite fields cannot be compiled, declare it Binary")
	}
	s := &field.Spec{Length: f.Length, Description: f.Description, DisableAutoExpand: f.DisableAutoExpand}
	var err error
	if s.Enc, err = encodingNamed(f.Enc); err != nil {
		return nil, err
	}
	if s.Pref, err = prefixNamed(f.Prefix); err != nil {
		return nil, err
	}
	if f.Padding != nil {
		if s.Pad, err = f.Padding.padder(); err != nil {
			return nil, err
		}
	}
	switch f.Type {
	case "String":
		return field.NewString(s), nil
	case "Numeric":
		return field.NewNumeric(s), nil
	case "Binary":
		return field.NewBinary(s), nil
	case "Hex":
		return field.NewHex(s), nil
	case "Bitmap":
		return field.NewBitmap(s), nil
	case "Track1":
		return field.NewTrack1(s), nil
	case "Track2":
		return field.NewTrack2(s), nil
	case "Track3":
		return field.NewTrack3(s), nil
	}
	return nil, fmt.Errorf("unknown type %q", f.Type)
}

func encodingNamed(name string) (encoding.Encoder, error) {
	switch name {
	case "ASCII":
		return encoding.ASCII, nil
	case "BCD":
		return encBCD, nil
	case "LBCD":
		return encBCDLeft, nil
	case "Binary":
		return encoding.Binary, nil
	case "HexToASCII":
		return encoding.BytesToASCIIHex, nil
	}
	return nil, fmt.Errorf("encoding %q is not supported, use ASCII, BCD, LBCD, Binary or HexToASCII", name)
}

func prefixNamed(name string) (prefix.Prefixer, error) {
	for _, known := range lengthKinds {
		if known.name == name {
			return known.prefixer, nil
		}
	}
	return nil, fmt.Errorf("length prefix %q is not supported", name)
}

func (p paddingJSON) padder() (padding.Padder, error) {
	pad := []rune(p.Pad)
	switch {
	case p.Type == "None":
		return padding.None, nil
	case p.Type != "Left" && p.Type != "Right":
		return nil, fmt.Errorf("unknown padding %q", p.Type)
	case len(pad) != 1:
		return nil, fmt.Errorf("padding must be one character, is %d", len(pad))
	case p.Type == "Left":
		return padding.Left(pad[0]), nil
	}
	return padding.Right(pad[0]), nil
}

// elementJSON is a row of the second form: "n..19", "b 64" in bits, "n 6; MMDD".
type elementJSON struct {
	Describe    string
	Description string
}

type encodingJSON struct {
	MTI    string `json:"mti_enc"`
	Bitmap string `json:"bmp_enc"`
	Length string `json:"len_enc"`
	Number string `json:"num_enc"`
	Char   string `json:"chr_enc"`
	Binary string `json:"bin_enc"`
	Track  string `json:"trk_enc"`
}

func (f specFile) fromElements() (*iso8583.MessageSpec, error) {
	if len(f.Fields) > 0 {
		return nil, errors.New("has both fields and elements")
	}
	wire, bitmap, err := f.Encoding.wire()
	if err != nil {
		return nil, err
	}
	spec := &iso8583.MessageSpec{Name: f.Name, Fields: map[int]field.Field{
		0: field.NewString(&field.Spec{Length: 4, Description: "message type", Enc: wire.digits, Pref: wire.fixed}),
		1: field.NewBitmap(bitmap),
	}}
	for key, e := range f.Elements {
		n, err := strconv.Atoi(key)
		if err != nil {
			return nil, fmt.Errorf("element %q: the key must be a number", key)
		}
		if n == 1 || n == 65 { // the secondary and the tertiary bitmap
			continue
		}
		if spec.Fields[n], err = wire.element(e); err != nil {
			return nil, fmt.Errorf("element %d: %w", n, err)
		}
	}
	return spec, nil
}

func (w wireForm) element(e elementJSON) (field.Field, error) {
	format, _, _ := strings.Cut(e.Describe, ";")
	format = strings.TrimSpace(format)
	if size, ok := strings.CutPrefix(format, "b "); ok {
		bits, err := strconv.Atoi(size)
		if err != nil || bits%8 != 0 {
			return nil, fmt.Errorf("%q must be a multiple of 8 bits", format)
		}
		format = fmt.Sprintf("b %d", bits/8)
	}
	return w.field(format, e.Description)
}

// wire turns the names of the second form into encodings. Tracks are taken as
// bytes in any character set.
func (e encodingJSON) wire() (w wireForm, bitmap *field.Spec, err error) {
	w = asciiWire
	bitmap = &field.Spec{Length: 8, Description: "bitmap", Enc: encoding.BytesToASCIIHex, Pref: prefix.Hex.Fixed}
	for _, c := range []struct{ key, got, want string }{
		{"mti_enc", e.MTI, "CHAR"},
		{"len_enc", e.Length, "CHAR"},
		{"num_enc", e.Number, "CHAR"},
		{"chr_enc", e.Char, "ASCII"},
	} {
		if c.got != c.want {
			return w, nil, fmt.Errorf("encoding %s: %q is not supported, use %s", c.key, c.got, c.want)
		}
	}
	switch e.Bitmap {
	case "HEX":
	case "BINARY":
		bitmap.Enc, bitmap.Pref = encoding.Binary, prefix.Binary.Fixed
	default:
		return w, nil, fmt.Errorf("encoding bmp_enc: %q is not supported, use HEX or BINARY", e.Bitmap)
	}
	switch e.Binary {
	case "HEX":
		w.binary = encoding.BytesToASCIIHex
	case "BINARY":
	default:
		return w, nil, fmt.Errorf("encoding bin_enc: %q is not supported, use HEX or BINARY", e.Binary)
	}
	return w, bitmap, nil
}
