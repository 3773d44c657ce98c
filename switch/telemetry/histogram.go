package telemetry

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// A Histogram counts values in log-linear cells: 32 to each power of two, so what
// is told of a value is at most 1/32 (3.2 %) too high. Values from 0 to 2^40 (18 minutes
// in nanoseconds) have their own cell, larger ones share the last, negative
// ones the first. Recording is two atomic additions; nothing locks.
type Histogram struct {
	cells  [cellCount]atomic.Uint64
	sum    atomic.Int64
	bounds Bounds
}

const (
	cellBits  = 5
	valueBits = 40
	cellCount = (valueBits - cellBits + 1) << cellBits
)

// record counts one value.
func (h *Histogram) record(v int64) {
	v = max(v, 0)
	h.cells[cellOf(uint64(v))].Add(1)
	h.sum.Add(v)
}

// Observe counts one duration.
func (h *Histogram) Observe(d time.Duration) { h.record(int64(d)) }

// cellOf is v itself below 32; above, the position of v's highest bit and the
// five bits after it.
func cellOf(v uint64) int {
	if v < 1<<cellBits {
		return int(v)
	}
	shift := bits.Len64(v) - cellBits - 1
	return min(shift<<cellBits+int(v>>shift), cellCount-1)
}

// cellMax is the largest value of cell i.
func cellMax(i int) uint64 {
	if i < 2<<cellBits {
		return uint64(i)
	}
	shift := i>>cellBits - 1
	return uint64(i-shift<<cellBits+1)<<shift - 1
}

// buckets are the counts per exported bucket, one more than bounds for what is
// above all of them, and their total. A cell counts where its largest value
// would: what is exported is never better than what was.
func (h *Histogram) buckets() (counts []uint64, total uint64) {
	counts = make([]uint64, len(h.bounds.upper)+1)
	b := 0
	for i := range h.cells {
		n := h.cells[i].Load()
		if n == 0 {
			continue
		}
		most := float64(cellMax(i)) * h.bounds.scale
		for b < len(h.bounds.upper) && most > h.bounds.upper[b] {
			b++
		}
		counts[b] += n
		total += n
	}
	return counts, total
}
