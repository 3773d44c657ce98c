package telemetry

import (
	"math"
	"testing"
)

func TestCellsTile(t *testing.T) {
	next := uint64(0)
	for i := range cellCount {
		if cellOf(next) != i || cellOf(cellMax(i)) != i {
			t.Fatalf("cell %d: from %d to %d land in %d and %d", i, next, cellMax(i), cellOf(next), cellOf(cellMax(i)))
		}
		if width := cellMax(i) - next; width > next/32 {
			t.Fatalf("cell %d from %d is %d wide", i, next, width)
		}
		next = cellMax(i) + 1
	}
	if next != 1<<valueBits {
		t.Fatalf("cells end at %d", next)
	}
}

func TestOutOfRange(t *testing.T) {
	h := &Histogram{bounds: Seconds}
	for _, v := range []int64{-5, 0, math.MaxInt64} {
		h.record(v)
	}
	counts, total := h.buckets()
	if total != 3 || counts[0] != 2 || counts[len(counts)-1] != 1 {
		t.Errorf("%d in %v", total, counts)
	}
}

// What is exported is never better than what was recorded.
func TestBucketsAreConservative(t *testing.T) {
	for i, upper := range Seconds.upper {
		for _, c := range []struct {
			factor float64
			want   int
		}{{.9, i}, {1.0001, i + 1}, {1.1, i + 1}} {
			h := &Histogram{bounds: Seconds}
			h.record(int64(upper * 1e9 * c.factor))
			if counts, _ := h.buckets(); counts[c.want] != 1 {
				t.Errorf("%v s times %v is in %v", upper, c.factor, counts)
			}
		}
	}
}

func BenchmarkHistogramRecord(b *testing.B) {
	var h Histogram
	v := int64(1000)
	for b.Loop() {
		h.record(v)
		v = (v*7 + 13) & (1<<30 - 1)
	}
}
