package yamlfile

import (
	"errors"
	"fmt"
)

// ProblemsMax is how many problems of a file are told one by one.
const ProblemsMax = 20

// Problems are what is wrong with a file: the first ProblemsMax of them, and how
// many more there are.
type Problems struct {
	first []error
	more  int
}

// Add notes one more.
func (p *Problems) Add(err error) {
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
