//go:build !linux

package keys

import (
	"errors"
	"fmt"
)

// LockMemory is not available on this operating system: run without swap, or
// with encrypted swap.
func LockMemory() error {
	return fmt.Errorf("lock memory: %w; run without swap, or with encrypted swap", errors.ErrUnsupported)
}
