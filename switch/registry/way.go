package registry

import "runtime"

// Rows between which requests get their turn. A row that is read takes some 5 us,
// one that is only looked at less.
const (
	rowsAtOnce = 32  // then those of this process
	rowsInARow = 256 // then everybody who waits for this processor
)

// MakeWay is called between the rows of a registry, which take seconds of a
// processor that requests want, too. The scheduler alone would let them wait ten
// milliseconds, and the kernel lets a thread that is woken wait for one that never
// pauses until the next of its ticks, four milliseconds or two of them. Yielding more
// often gains nothing, and loses the processor to every other process that is busy.
func MakeWay(row int) {
	if row%rowsAtOnce == 0 {
		runtime.Gosched()
	}
	if row%rowsInARow == 0 {
		yield()
	}
}
