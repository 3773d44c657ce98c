package journal

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
)

// memFS is a disk that can be told to misbehave. What was written but not
// synced, and names whose directory was not synced, may be lost at powerLoss,
// in part and out of order.
type memFS struct {
	mu      sync.Mutex
	names   map[string]*memFile // as the process sees them
	durable map[string]*memFile // as they are after a power loss

	calls  int
	faulty int // the call that goes wrong; 0 is none
	mode   faultMode
	hold   chan struct{} // when set, Sync waits for it
}

type memFile struct {
	fs   *memFS
	mem  []byte
	disk []byte
}

type faultMode int

const (
	fails          faultMode = iota // an error, and nothing happened
	failsPersisted                  // an error, and yet it happened
	tears                           // an error, and half of a write happened
	dies                            // from here on nothing happens: the process was killed
	lies                            // from here on Sync does nothing and says it did
)

func (m faultMode) String() string {
	return [...]string{"fails", "fails but persisted", "tears", "dies", "lies"}[m]
}

var errInjected = errors.New("injected I/O error")

func newMemFS() *memFS {
	return &memFS{names: map[string]*memFile{}, durable: map[string]*memFile{}}
}

// call decides about one call: whether its effect happens, wholly or in half,
// and its error. mu is held.
func (m *memFS) call(isSync bool) (happens, half bool, err error) {
	m.calls++
	if m.faulty == 0 || m.calls < m.faulty {
		return true, false, nil
	}
	switch {
	case m.mode == dies:
		return false, false, errInjected
	case m.mode == lies:
		return !isSync, false, nil
	case m.calls > m.faulty:
		return true, false, nil
	case m.mode == failsPersisted:
		return true, false, errInjected
	case m.mode == tears:
		return true, true, errInjected
	}
	return false, false, errInjected
}

// hit says that the fault has happened.
func (m *memFS) hit() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.faulty > 0 && m.calls >= m.faulty
}

// afterCrash is the disk as the next process finds it. Without rng only the
// process died and the page cache survived; with it the power failed.
func (m *memFS) afterCrash(rng *rand.Rand) *memFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := newMemFS()
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

func (m *memFS) Lock(string) (*dirLock, error) { return nil, nil }

func (m *memFS) List(string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for name := range m.names {
		names = append(names, filepath.Base(name))
	}
	return names, nil
}

func (m *memFS) Create(path string, size int64) (file, error) {
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

func (m *memFS) Open(path string, _ bool) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.names[path]; f != nil {
		return f, nil
	}
	return nil, os.ErrNotExist
}

func (m *memFS) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	happens, _, err := m.call(false)
	if happens {
		m.names[to] = m.names[from]
		delete(m.names, from)
	}
	return err
}

func (m *memFS) Remove(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	happens, _, err := m.call(false)
	if happens {
		delete(m.names, path)
	}
	return err
}

func (m *memFS) SyncDir(string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	happens, _, err := m.call(true)
	if happens {
		m.durable = map[string]*memFile{}
		for name, f := range m.names {
			m.durable[name] = f
		}
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
