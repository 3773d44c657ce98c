package policy

import (
	"strings"

	"github.com/acqswitch/acqswitch/risk"
)

// Change is what is different in one place of two policies, in export's lines.
type Change struct {
	Where string   `json:"where"` // such as "plans, 7"
	Was   []string `json:"was,omitempty"`
	Is    []string `json:"is,omitempty"`
}

// Diff is what makes one policy another, however their documents are written.
func Diff(before, after *risk.Policy) []Change {
	was, is := places(before), places(after)
	var changes []Change
	for _, where := range append(was.order, is.order...) {
		c := Change{where, less(was.lines[where], is.lines[where]), less(is.lines[where], was.lines[where])}
		if len(c.Was)+len(c.Is) > 0 {
			changes = append(changes, c)
		}
		delete(was.lines, where)
		delete(is.lines, where)
	}
	return changes
}

// placed is a document's lines by where they stand.
type placed struct {
	order []string
	lines map[string][]string
}

func places(p *risk.Policy) placed {
	x := placed{lines: map[string][]string{}}
	section, where := "", ""
	for line := range strings.Lines(string(export(p))) {
		line = strings.TrimRight(line, "\n")
		called, begins := strings.CutPrefix(line, "  - number: ")
		if !begins {
			called, begins = strings.CutPrefix(line, "  - name: ")
		}
		switch {
		case line != "" && line[0] != ' ':
			key, rest, _ := strings.Cut(line, ":")
			if section, where = key, key; rest == "" {
				continue // its entries follow
			}
			// One line with all values of the section.
			for _, field := range fieldsOf(strings.Trim(rest, " {}")) {
				x.add(where, field)
			}
			continue
		case begins:
			where = section + ", " + called
		}
		x.add(where, strings.TrimLeft(strings.TrimSpace(line), "- "))
	}
	return x
}

// fieldsOf are the fields of a line, whose lists stay whole.
func fieldsOf(line string) (fields []string) {
	depth, start := 0, 0
	for i, c := range line {
		switch {
		case c == '[':
			depth++
		case c == ']':
			depth--
		case c == ',' && depth == 0:
			fields = append(fields, strings.TrimSpace(line[start:i]))
			start = i + 1
		}
	}
	return append(fields, strings.TrimSpace(line[start:]))
}

func (x *placed) add(where, line string) {
	if _, known := x.lines[where]; !known {
		x.order = append(x.order, where)
	}
	x.lines[where] = append(x.lines[where], line)
}

// less is the lines of a that are not in b.
func less(a, b []string) (rest []string) {
	in := map[string]int{}
	for _, line := range b {
		in[line]++
	}
	for _, line := range a {
		if in[line]--; in[line] < 0 {
			rest = append(rest, line)
		}
	}
	return rest
}
