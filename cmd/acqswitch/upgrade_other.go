//go:build !linux

package main

import "os"

// handoverFile makes the file that a handover goes through before anything stops.
func handoverFile() (*os.File, error) {
	f, err := os.CreateTemp("", "handover-*")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}
