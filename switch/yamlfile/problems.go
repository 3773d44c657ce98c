package yamlfile

import (
	"errors"
	"fmt"
)

// ProblemsMax is how many problems of a file are told one by one.
const ProblemsMax = 20

// FormatVersion is the version that every file states.
const FormatVersion = "1"

// Problems are what is wrong with a file: the first ProblemsMax of them, and how
// many more there are. Who reads a file collects them.
type Problems struct {
	File     string // its name
	Unplaced bool   // they have no lines: nobody wrote a file

	first []error
	more  int
}

// Add notes what is wrong with a field. Fields that are not there are looked for at
// the line of the entry they are missing from.
func (p *Problems) Add(s Scalar, field, format string, args ...any) {
	x := s.Problem(p.File, field, format, args...)
	if p.Unplaced {
		x.Line = 0
	}
	p.AddError(x)
}

// Parse is what parse makes of a field. What it says is wrong is noted.
func Parse[T any](p *Problems, s Scalar, field string, parse func(string) (T, error)) T {
	v, err := parse(s.Text)
	if err != nil {
		p.Add(s, field, "%v", err)
	}
	return v
}

// Version refuses a file of another format than this program reads.
func (p *Problems) Version(s Scalar) {
	if s.Text != FormatVersion {
		p.Add(s, "version", "this program reads version %s: the file must say \"version: %[1]s\"", FormatVersion)
	}
}

// AddError notes what is wrong elsewhere.
func (p *Problems) AddError(err error) {
	if len(p.first) < ProblemsMax {
		p.first = append(p.first, err)
		return
	}
	p.more++
}

// First are those that are told one by one.
func (p *Problems) First() []error { return p.first }

// Len is how many there are.
func (p *Problems) Len() int { return len(p.first) + p.more }

// Err is all of them joined, one a line, nil where there is none.
func (p *Problems) Err() error {
	if p.more == 0 {
		return errors.Join(p.first...)
	}
	return errors.Join(append(p.first[:len(p.first):len(p.first)], fmt.Errorf("and %d more", p.more))...)
}
