package journal

import (
	"errors"
	"os"
	"syscall"
)

// reserve gives the file its size and its blocks, so that a full disk is found
// now and later syncs change no metadata.
func reserve(f *os.File, size int64) error {
	err := syscall.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return f.Truncate(size)
	}
	return err
}

func syncData(f *os.File) error {
	for {
		// EINTR says that the sync has not been done, not that it failed.
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
