//go:build failpoint

package failpoint

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

var (
	armed Point
	left  atomic.Int64 // hits until death
	after time.Duration
)

func init() {
	spec := os.Getenv("FAILPOINT")
	if spec == "" {
		return
	}
	parts := strings.Split(spec, ":")
	if armed = Point(parts[0]); !slices.Contains(Points, armed) || len(parts) < 2 {
		panic(fmt.Sprintf("FAILPOINT %q must be POINT:HIT or POINT:HIT:DELAY", spec))
	}
	n, err := strconv.ParseInt(parts[1], 10, 64)
	if err == nil && len(parts) > 2 {
		after, err = time.ParseDuration(parts[2])
	}
	if err != nil || n < 1 {
		panic(fmt.Sprintf("FAILPOINT %q must be POINT:HIT or POINT:HIT:DELAY", spec))
	}
	left.Store(n)
}

// Hit says that p is reached.
func Hit(p Point) {
	switch {
	case p != armed || left.Add(-1) != 0:
	case after > 0:
		time.AfterFunc(after, die)
	default:
		die()
	}
}

func die() {
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // until it is delivered
}
