package batch

import (
	"fmt"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// A shard's first part is a cache line.
func TestLayout(t *testing.T) {
	var sh shard
	if at, size := unsafe.Offsetof(sh.items), unsafe.Sizeof(sh); at != 64 || size != 128 {
		t.Errorf("items begin at %d of %d bytes", at, size)
	}
}

// A table against a map, with names that meet.
func TestTableAgainstAMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var all table
		known, current := map[name]uint64{}, map[txn.TerminalID]uint32{}
		for i := range rapid.IntRange(1, 200).Draw(rt, "steps") {
			n := name{txn.MakeTerminalID(fmt.Sprint(rapid.IntRange(0, 5).Draw(rt, "terminal"))), rapid.Uint32Range(0, 9).Draw(rt, "batch")}
			switch r := all.find(n); rapid.IntRange(0, 3).Draw(rt, "what") {
			case 0:
				odd := func(r *row) bool { return r.number%2 == n.number%2 }
				all.remove(odd)
				for n := range known {
					if r := (row{name: n}); odd(&r) {
						if delete(known, n); current[n.terminal] == n.number {
							delete(current, n.terminal)
						}
					}
				}
			case 1:
				if r != nil {
					all.become(r)
					current[n.terminal] = n.number
				}
			default:
				if r == nil {
					all.add(n, entry{first: uint64(i)})
					known[n] = uint64(i)
				}
			}
			if r, ok := all.find(n), known[n]; (r != nil) != has(known, n) || r != nil && r.first != ok {
				rt.Fatalf("%v: found %v, want %d", n, r, ok)
			}
			number, ok := current[n.terminal]
			if r := all.currentOf(n.terminal); (r != nil) != ok || ok && r.number != number {
				rt.Fatalf("%v: in %v, want %d", n.terminal, r, number)
			}
			if all.used != len(known) {
				rt.Fatalf("%d are used, want %d", all.used, len(known))
			}
		}
	})
}

func has[K comparable, V any](m map[K]V, k K) bool {
	_, ok := m[k]
	return ok
}
