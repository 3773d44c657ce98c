package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// handoverFile makes the file that a handover goes through before anything stops. It is in
// memory: a disk may be full by the time that it is written.
func handoverFile() (*os.File, error) {
	fd, err := unix.MemfdCreate("handover", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), "handover"), nil
}
