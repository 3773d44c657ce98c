package replay

import (
	"syscall"
	"time"
)

// nap sleeps for d, or until a signal comes.
func nap(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	syscall.Nanosleep(&t, nil)
}
