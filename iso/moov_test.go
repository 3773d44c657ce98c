package iso

import (
	"testing"

	"github.com/moov-io/iso8583"
)

func benchmarkMoov(b *testing.B) {
	frame := cupSale(b)[tpduSize+6:]
	b.ReportAllocs()
	for b.Loop() {
		m := iso8583.NewMessage(testCUP.Spec())
		if err := m.Unpack(frame); err != nil {
			b.Fatal(err)
		}
		if _, err := m.Pack(); err != nil {
			b.Fatal(err)
		}
	}
}
