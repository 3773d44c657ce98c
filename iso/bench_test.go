package iso

import (
	"testing"
)

// cupSale is the CUP POS sale of the constructed fixtures: a chip sale with
// PIN, track 2, terminal information and MAC.
func cupSale(t testing.TB) []byte {
	for _, f := range fixtures(t) {
		if f.ID == "cup-03" {
			_, raw := f.codec(t)
			return raw[2:]
		}
	}
	t.Fatal("fixture cup-03 is missing")
	return nil
}

// rebuildSale writes m again as a dialect writes a sale, one field after the other:
// numbers as numbers, digits and text from decoded values, binary as bytes. What a
// sale need not have is left out when m lacks it.
func rebuildSale(c *Codec, dst []byte, m *Message) ([]byte, error) {
	var digits [64]byte
	e := c.Begin(dst, m.TPDU(), m.Header(), m.MTI())
	if m.Has(2) {
		e.Digits(2, m.AppendDigits(digits[:0], 2))
	}
	e.Digits(3, m.AppendDigits(digits[:0], 3))
	if m.Has(4) {
		amount, _ := m.Uint(4)
		e.Uint(4, amount)
	}
	stan, _ := m.Uint(11)
	e.Uint(11, stan)
	if m.Has(14) {
		e.Digits(14, m.AppendDigits(digits[:0], 14))
	}
	e.Digits(22, m.AppendDigits(digits[:0], 22))
	if m.Has(23) {
		e.Digits(23, m.AppendDigits(digits[:0], 23))
	}
	e.Digits(25, m.AppendDigits(digits[:0], 25))
	if m.Has(26) {
		e.Digits(26, m.AppendDigits(digits[:0], 26))
	}
	if m.Has(35) {
		e.Digits(35, m.AppendDigits(digits[:0], 35))
	}
	e.Text(41, m.Value(41))
	e.Text(42, m.Value(42))
	e.Text(49, m.Value(49))
	if m.Has(52) {
		e.Bytes(52, m.Value(52))
	}
	if m.Has(53) {
		e.Digits(53, m.AppendDigits(digits[:0], 53))
	}
	if m.Has(55) {
		e.Bytes(55, m.Value(55))
	}
	if m.Has(59) {
		e.Text(59, m.Value(59))
	}
	if m.Has(60) {
		e.Digits(60, m.AppendDigits(digits[:0], 60))
	}
	if m.Has(64) {
		e.Bytes(64, m.Value(64))
	}
	return e.Finish()
}

func TestNoAllocations(t *testing.T) {
	frame := cupSale(t)
	var m Message
	buf := make([]byte, 0, 1024)
	digits := make([]byte, 0, 64)
	check := func(name string, f func() error) {
		t.Helper()
		if got := testing.AllocsPerRun(100, func() {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		}); got != 0 {
			t.Errorf("%s: %v allocations, want 0", name, got)
		}
	}
	check("parse", func() error { return testCUP.Parse(&m, frame) })
	check("read", func() error {
		for n := range m.Fields() {
			digits = m.AppendText(digits[:0], n)[:0]
		}
		_, err := m.Uint(4)
		return err
	})
	check("encode from values", func() error { _, err := rebuildSale(testCUP, buf, &m); return err })
	check("encode by copy", func() error { _, err := testCUP.Append(buf, &m); return err })
	check("length prefix", func() error { _, err := testCUP.ReadLength([]byte{1, 188}); return err })
	e := testHex.Begin(buf, nil, nil, m.MTI())
	check("transcode", func() error {
		e = testHex.Begin(buf, nil, nil, m.MTI())
		for n := range m.Fields() {
			if n != 22 && n != 52 {
				e.Copy(n, &m)
			}
		}
		_, err := e.Finish()
		return err
	})
}

// BenchmarkCUPSale is the codec's share of one sale, beside moov's Message on
// the same spec, with this package's fast packed encodings plugged in. "rebuild" reads
// the frame, takes every value out and writes a new frame from the values;
// "relay" writes the fields again as they were read.
func BenchmarkCUPSale(b *testing.B) {
	frame := cupSale(b)
	body := frame[tpduSize+6:]
	buf := make([]byte, 0, 1024)
	tuned := tunedSpec()
	var m Message
	run := func(name string, f func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("parse", func() error { return testCUP.Parse(&m, frame) })
	run("rebuild/iso", func() error {
		if err := testCUP.Parse(&m, frame); err != nil {
			return err
		}
		_, err := rebuildSale(testCUP, buf, &m)
		return err
	})
	run("rebuild/moov", func() error {
		m, err := moovParse(tuned, body)
		if err != nil {
			return err
		}
		_, err = moovRebuild(m)
		return err
	})
	run("relay/iso", func() error {
		if err := testCUP.Parse(&m, frame); err != nil {
			return err
		}
		_, err := testCUP.Append(buf, &m)
		return err
	})
	run("relay/moov", func() error {
		m, err := moovParse(tuned, body)
		if err != nil {
			return err
		}
		_, err = m.Pack()
		return err
	})
}
