//go:build !race

package main

import (
	"context"
	"runtime/debug"
	"syscall"
	"time"
	"unsafe"
)

// hugePagesMax is how much of the heap they are asked for, if GOMEMLIMIT lets it have
// so much.
const hugePagesMax = 1 << 30

// arenaSize is the alignment of what Go's heap is made of.
const arenaSize = 64 << 20

// hugePages asks the kernel for pages of 2 MB behind the heap. Most systems give them
// only when asked (transparent_hugepage=madvise), and Go does not ask. A sale touches a
// hundred places all over the memory, more pages than the processor's TLB can hold
// otherwise. The memory taken here is given back untouched at once, and is what the
// heap uses next.
//
// It asks again every ten seconds until ctx ends: what is locked in memory
// (lock_memory) Go gives back by mapping it anew, without what was asked for it. A
// system that would not let the heap have so much is asked for nothing.
func hugePages(ctx context.Context) {
	size := int(min(hugePagesMax, debug.SetMemoryLimit(-1)))
	trial, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil || syscall.Munmap(trial) != nil {
		return
	}
	heap := make([]byte, size)
	begin := uintptr(unsafe.Pointer(&heap[0]))
	start, end := begin&^(arenaSize-1), begin+uintptr(size) // with what the heap has already
	ask := func() { syscall.Syscall(syscall.SYS_MADVISE, start, end-start, syscall.MADV_HUGEPAGE) }
	ask()
	debug.FreeOSMemory()
	go func() {
		tick := time.NewTicker(10 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				ask()
			}
		}
	}()
}
