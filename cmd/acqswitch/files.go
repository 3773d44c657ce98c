package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// replaceFile writes a file so that a crash leaves the old one or the new one. A link to
// one stays; a device or a pipe, which root could put a file in the place of, is refused.
func replaceFile(path string, write func(io.Writer) error) error {
	if to, err := filepath.EvalSymlinks(path); err == nil {
		path = to
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return usage(fmt.Errorf("%s is there and no file that can be replaced", path))
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Chmod(f.Name(), 0o644)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// readWhole reads a file, or a pipe, of sizeMax bytes at most.
func readWhole(path string, sizeMax int64) (text []byte, err error) {
	err = readFile(path, func(r io.Reader) (err error) {
		text, err = io.ReadAll(io.LimitReader(r, sizeMax+1))
		return err
	})
	if err == nil && int64(len(text)) > sizeMax {
		err = fmt.Errorf("%s is larger than %d bytes", path, sizeMax)
	}
	return text, err
}

func readFile(name string, read func(io.Reader) error) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	return read(file)
}

// loadFile is what a file is loaded as; any fault is the file's.
func loadFile[T any](what, path string, load func(io.Reader, string) (T, error)) (loaded T, err error) {
	f, err := os.Open(path)
	if err != nil {
		return loaded, usage(fmt.Errorf("open %s: %w", what, err))
	}
	defer f.Close()
	loaded, err = load(f, path)
	return loaded, usageIf(err)
}

// eachLine splits a file of lines; empty ones and those with # are left out.
func eachLine(r io.Reader, do func(line string) error) error {
	in := bufio.NewScanner(r)
	for n := 1; in.Scan(); n++ {
		line := strings.TrimSpace(in.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := do(line); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return in.Err()
}

// there says that a file is there; what is wrong with it is found when it is read.
func there(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
