// Package memdisk is a journal's disk in memory, for tests of what disks and
// power do to it. It fails, tears and lies when it is told to, and loses what
// was not synced when the power does.
//
// Not here: directories, and a lock that keeps a second process out.
package memdisk

import (
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
)

// Disk is a disk that can be told to misbehave. What was written but not
// synced, and names whose directory was not synced, may be lost by AfterCrash,
// in part and out of order. It is a journal.Disk.
type Disk struct {
	mu      sync.Mutex
	names   map[string]*memFile // as the process sees them
	durable map[string]*memFile // as they are after a power loss

	calls  int
	faulty int // the call that goes wrong; 0 is none
	mode   Mode
	hold   <-chan struct{} // when set, Sync waits for it
	onHit  func()
}

// File is what a journal needs of a file, as journal.File says.
type File = interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
	Size() (int64, error)
}

type memFile struct {
	fs   *Disk
	mem  []byte
	disk []byte
}

// Mode is how a call goes wrong.
type Mode int

// The modes.
const (
	Fails          Mode = iota // an error, and nothing happened
	FailsPersisted             // an error, and yet it happened
	Tears                      // an error, and half of a write happened
	Dies                       // from here on nothing happens: the process was killed
	Lies                       // from here on Sync does nothing and says it did
)

func (m Mode) String() string {
	return [...]string{"fails", "fails but persisted", "tears", "dies", "lies"}[m]
}

var errInjected = errors.New("injected I/O error")

// New is an empty disk.
func New() *Disk {
	return &Disk{names: map[string]*memFile{}, durable: map[string]*memFile{}}
}

// Fault makes the n-th call from now that changes something go wrong, 0 none.
// onHit, if it is not nil, is called once when it does; it must not call the
// disk.
func (m *Disk) Fault(n int, mode Mode, onHit func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mode, m.onHit, m.faulty = mode, onHit, 0
	if n > 0 {
		m.faulty = m.calls + n
	}
}

// Hold makes Sync wait until c is closed.
func (m *Disk) Hold(c <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hold = c
}

// Put makes a file that holds data and is durable.
func (m *Disk) Put(path string, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := &memFile{m, append([]byte(nil), data...), append([]byte(nil), data...)}
	m.names[path], m.durable[path] = f, f
}

// Bytes is the content of a file as a process sees it: the file's own memory.
// It is nil for a file that is not there.
func (m *Disk) Bytes(path string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.names[path]; f != nil {
		return f.mem
	}
	return nil
}

// call decides about one call: whether its effect happens, wholly or in half,
// and its error. mu is held.
func (m *Disk) call(isSync bool) (happens, half bool, err error) {
	m.calls++
	if m.faulty == 0 || m.calls < m.faulty {
		return true, false, nil
	}
	if m.onHit != nil {
		m.onHit()
		m.onHit = nil
	}
	switch {
	case m.mode == Dies:
		return false, false, errInjected
	case m.mode == Lies:
		return !isSync, false, nil
	case m.calls > m.faulty:
		return true, false, nil
	case m.mode == FailsPersisted:
		return true, false, errInjected
	case m.mode == Tears:
		return true, true, errInjected
	}
	return false, false, errInjected
}

// Hit says that the fault has happened.
func (m *Disk) Hit() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.faulty > 0 && m.calls >= m.faulty
}

// AfterCrash is the disk as the next process finds it. Without rng only the
// process died and the page cache survived; with it the power failed.
func (m *Disk) AfterCrash(rng *rand.Rand) *Disk {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := New()
	names := m.names
	if rng != nil {
		names = m.durable
	}
	for name, f := range names {
		mem := append([]byte(nil), f.mem...)
		if rng != nil {
			mem = f.lose(rng)
		}
		g := &memFile{next, mem, append([]byte(nil), mem...)}
		next.names[name], next.durable[name] = g, g
	}
	return next
}

// lose keeps, drops or tears each unsynced sector. Bytes that were synced and
// are not being changed are safe (the assumption called powersafe overwrite).
func (f *memFile) lose(rng *rand.Rand) []byte {
	out := append([]byte(nil), f.disk...)
	for at := 0; at < len(f.mem); at += 512 {
		end := min(at+512, len(f.mem))
		if at >= len(out) {
			break // the size was not synced
		}
		switch end = min(end, len(out)); rng.IntN(3) {
		case 1:
			copy(out[at:end], f.mem[at:end])
		case 2:
			copy(out[at:at+rng.IntN(end-at)], f.mem[at:end])
		}
	}
	return out
}

// Lock keeps nobody out.
func (m *Disk) Lock(string) (io.Closer, error) { return nobody{}, nil }

type nobody struct{}

func (nobody) Close() error { return nil }

// List returns the names of the files.
func (m *Disk) List(string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for name := range m.names {
		names = append(names, filepath.Base(name))
	}
	return names, nil
}

// Create makes a file of size zero bytes.
func (m *Disk) Create(path string, size int64) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	happens, _, err := m.call(false)
	f := &memFile{m, make([]byte, size), make([]byte, size)}
	if happens {
		m.names[path] = f
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Open opens a file.
func (m *Disk) Open(path string, _ bool) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.names[path]; f != nil {
		return f, nil
	}
	return nil, os.ErrNotExist
}

// Rename gives a file another name.
func (m *Disk) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	happens, _, err := m.call(false)
	if happens {
		m.names[to] = m.names[from]
		delete(m.names, from)
	}
	return err
}

// Remove removes a file.
func (m *Disk) Remove(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names[path] == nil {
		return os.ErrNotExist
	}
	happens, _, err := m.call(false)
	if happens {
		delete(m.names, path)
	}
	return err
}

// SyncDir makes the names durable.
func (m *Disk) SyncDir(string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	happens, _, err := m.call(true)
	if happens {
		m.durable = maps.Clone(m.names)
	}
	return err
}

func (f *memFile) ReadAt(b []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if off >= int64(len(f.mem)) {
		return 0, io.EOF
	}
	n := copy(b, f.mem[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(b []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	happens, half, err := f.fs.call(false)
	if half {
		b = b[:len(b)/2]
	}
	if happens {
		copy(f.mem[off:], b)
	}
	return len(b), err
}

func (f *memFile) Sync() error {
	f.fs.mu.Lock()
	hold := f.fs.hold
	f.fs.mu.Unlock()
	if hold != nil {
		<-hold
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	happens, half, err := f.fs.call(true)
	if happens && !half {
		copy(f.disk, f.mem)
	}
	return err
}

func (f *memFile) Size() (int64, error) { return int64(len(f.mem)), nil }
func (f *memFile) Close() error         { return nil }
