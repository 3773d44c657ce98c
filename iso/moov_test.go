package iso

import (
	"github.com/moov-io/iso8583"
	"github.com/moov-io/iso8583/encoding"
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

// moovRebuild takes every value out of m and packs a new message of them, as
// rebuildSale does: the fields of a sale are known, absent ones are left out.
func moovRebuild(m *iso8583.Message) ([]byte, error) {
	out := iso8583.NewMessage(m.GetSpec())
	mti, err := m.GetMTI()
	if err != nil {
		return nil, err
	}
	out.MTI(mti)
	present := m.Bitmap()
	for _, n := range [...]int{2, 3, 4, 11, 14, 22, 23, 25, 26, 35, 41, 42, 49, 53, 59, 60} {
		if !present.IsSet(n) {
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
	for _, n := range [...]int{52, 55, 64} {
		if !present.IsSet(n) {
			continue
		}
		v, err := m.GetBytes(n)
		if err != nil {
			return nil, err
		}
		if err := out.BinaryField(n, v); err != nil {
			return nil, err
		}
	}
	return out.Pack()
}
