package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Disk is what the journal needs of the operating system. Every call may fail;
// none is retried.
type Disk interface {
	// Lock makes dir when needed and takes it for this process alone, until what
	// it returns is closed.
	Lock(dir string) (io.Closer, error)
	// List returns the names of the files in dir.
	List(dir string) ([]string, error)
	// Create makes a file of size zero bytes and reserves its room on the disk.
	Create(path string, size int64) (File, error)
	Open(path string, readOnly bool) (File, error)
	Rename(from, to string) error
	Remove(path string) error
	// SyncDir makes the names in dir durable.
	SyncDir(dir string) error
}

// File is one file. Sync returns once everything written is on stable storage.
type File = interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
	Size() (int64, error)
}

type osFileSystem struct{}

func (osFileSystem) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (osFileSystem) Create(path string, size int64) (File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := reserve(f, size); err != nil {
		return nil, errors.Join(fmt.Errorf("reserve %d bytes: %w", size, err), f.Close(), os.Remove(path))
	}
	// The size is made durable here, so that a flush need sync data only.
	if err := f.Sync(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return osFile{f}, nil
}

func (osFileSystem) Open(path string, readOnly bool) (File, error) {
	flag := os.O_RDWR
	if readOnly {
		flag = os.O_RDONLY
	}
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFileSystem) Rename(from, to string) error { return os.Rename(from, to) }
func (osFileSystem) Remove(path string) error     { return os.Remove(path) }

func (osFileSystem) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

type osFile struct{ *os.File }

func (f osFile) Sync() error { return syncData(f.File) }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Lock is a lock of the file LOCK. The kernel drops it with the process, so a
// crash leaves no stale one.
func (osFileSystem) Lock(dir string) (io.Closer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open journal %s: %w", dir, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open journal %s: %w", dir, err)
	}
	for range 20 { // who looks whether it is locked holds it for an instant
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		holder, _ := io.ReadAll(io.LimitReader(f, 32))
		f.Close()
		return nil, fmt.Errorf("open journal %s: process %s has it open; stop that process or give this one another directory", dir, strings.TrimSpace(string(holder)))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock journal %s: %w", dir, err), f.Close())
	}
	// The number is for people: a full disk that has no room for it keeps nobody out.
	if n, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err == nil {
		f.Truncate(int64(n))
	}
	return f, nil
}
