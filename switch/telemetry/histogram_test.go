package telemetry

import (
	"math"
	"math/rand/v2"
	"slices"
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

func TestQuantile(t *testing.T) {
	var h, empty Histogram
	if Quantile(.5, &empty) != 0 {
		t.Error("an empty histogram has a quantile")
	}
	rng := rand.New(rand.NewPCG(1, 1))
	values := make([]int64, 20_000)
	for i := range values {
		values[i] = int64(math.Exp(rng.Float64() * 25)) // up to 72 s in nanoseconds
		h.Record(values[i])
	}
	slices.Sort(values)
	for _, q := range []float64{0, .001, .5, .9, .99, .999, 1} {
		exact := values[max(int(math.Ceil(q*float64(len(values))))-1, 0)]
		if got := Quantile(q, &h); got < exact || float64(got) > float64(exact)*33/32 {
			t.Errorf("quantile %v = %d, exact %d", q, got, exact)
		}
	}
	if got := Quantile(.5, &h, &h, &empty); got != Quantile(.5, &h) {
		t.Errorf("median of both %d, of one %d", got, Quantile(.5, &h))
	}
}

func TestOutOfRange(t *testing.T) {
	h := &Histogram{bounds: Seconds}
	for _, v := range []int64{-5, 0, math.MaxInt64} {
		h.Record(v)
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
			h.Record(int64(upper * 1e9 * c.factor))
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
		h.Record(v)
		v = (v*7 + 13) & (1<<30 - 1)
	}
}
