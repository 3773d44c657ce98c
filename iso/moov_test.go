package iso

import (
	"github.com/moov-io/iso8583"
	"github.com/moov-io/iso8583/encoding"
	"github.com/moov-io/iso8583/field"
)

// tunedSpec is the CUP POS spec as a user of moov's Message tunes it: moov's
// encodings, but for the packed ones, which are this package's fast ones.
func tunedSpec() *iso8583.MessageSpec {
	spec := CUPPOS()
	for _, f := range spec.Fields {
		if s := f.Spec(); s.Enc == encText {
			s.Enc = encoding.ASCII
		}
	}
	return spec
}

func moovParse(spec *iso8583.MessageSpec, body []byte) (*iso8583.Message, error) {
	m := iso8583.NewMessage(spec)
	return m, m.Unpack(body)
}

// moovRebuild takes every value out of m and packs a new message of them.
func moovRebuild(m *iso8583.Message) ([]byte, error) {
	out := iso8583.NewMessage(m.GetSpec())
	mti, err := m.GetMTI()
	if err != nil {
		return nil, err
	}
	out.MTI(mti)
	bits := m.Bitmap()
	for n := 2; n <= bits.Len(); n++ {
		if !bits.IsSet(n) {
			continue
		}
		if _, binary := m.GetSpec().Fields[n].(*field.Binary); binary {
			v, err := m.GetBytes(n)
			if err != nil {
				return nil, err
			}
			if err := out.BinaryField(n, v); err != nil {
				return nil, err
			}
			continue
		}
		v, err := m.GetString(n)
		if err != nil {
			return nil, err
		}
		if err := out.Field(n, v); err != nil {
			return nil, err
		}
	}
	return out.Pack()
}
