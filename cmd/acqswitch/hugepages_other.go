//go:build !linux || race

package main

import "context"

// hugePages needs Linux, and the race detector would touch all that it asks for.
func hugePages(context.Context) {}
