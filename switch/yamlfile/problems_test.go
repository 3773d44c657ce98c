package yamlfile

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// What is not told one by one is counted.
func TestProblems(t *testing.T) {
	var p Problems
	if p.Err() != nil {
		t.Error("no problem is one")
	}
	for i := range ProblemsMax + 3 {
		p.AddError(&Problem{File: "f", Line: i + 1, What: "is wrong"})
		lines, want := strings.Split(p.Err().Error(), "\n"), i+1
		if i >= ProblemsMax {
			want = ProblemsMax + 1
		}
		if p.Len() != i+1 || len(lines) != want {
			t.Errorf("%d of %d problems: %d lines", p.Len(), i+1, len(lines))
		}
		if more := i + 1 - ProblemsMax; more > 0 && lines[ProblemsMax] != fmt.Sprintf("and %d more", more) {
			t.Errorf("%q", lines[ProblemsMax])
		}
	}
	if first := (*Problem)(nil); !errors.As(p.Err(), &first) || first.Line != 1 {
		t.Errorf("%+v", first)
	}
}
