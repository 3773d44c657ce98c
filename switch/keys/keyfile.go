package keys

import (
	"errors"
	"os"
	"path/filepath"
)

// writeNewFile writes a new key file, mode 0600, so that a crash leaves either
// none or a whole one: temporary file, fsync, link (which fails if another
// process was first, whose file is then read), fsync of the directory. It
// returns the content that is there afterwards.
func writeNewFile(path string, text []byte) ([]byte, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, ".keys-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return nil, err
	}
	if err := os.Link(f.Name(), path); errors.Is(err, os.ErrExist) {
		return os.ReadFile(path)
	} else if err != nil {
		return nil, err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	return text, errors.Join(d.Sync(), d.Close())
}
