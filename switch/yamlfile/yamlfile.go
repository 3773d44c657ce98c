// Package yamlfile reads the YAML files that people write: registries, what
// terminals download, fee plans. It keeps what they wrote and where, so that
// everything wrong with a file can be told by line and field.
//
// Promises: unknown keys, keys given twice, a second document and whatever is no
// YAML are refused; numbers stay as they are written (00000123 is a terminal's
// id, 13.00 is thirteen yuan); no input panics, and none takes longer, or more
// memory, than its size allows.
//
// A Problem is for the other files that people give as well: tables of CSV, and
// what banks and issuers send.
//
// Not here: what the values mean.
package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
)

// Problem is one thing wrong with a file, for the person who wrote or gave it.
type Problem struct {
	File  string
	Line  int    // 0: the whole file, or File is none but what a command line says
	Field string // empty: the whole line
	What  string // what is wrong and what to do
}

func (p *Problem) Error() string {
	at, field := p.File, p.Field
	if p.Line > 0 {
		at += fmt.Sprintf(":%d", p.Line)
	} else if _, key, in := strings.Cut(field, "[]."); in { // merchants[].mid is a place in a file
		field = key
	}
	if field != "" {
		at += ": " + field
	}
	return at + ": " + p.What
}

// Decode checks the form of a file's text and reads it into a T, whose values
// are Scalars. empty is what is wrong with a file that says nothing. Its errors
// are Problems. The YAML library panics on some inputs that are none; to the
// person who wrote the file that is a syntax error.
func Decode[T any](text []byte, name, empty string) (doc *T, err error) {
	defer func() {
		if r := recover(); r != nil {
			doc, err = nil, &Problem{File: name, Line: 1, What: fmt.Sprintf("this is not YAML (%v)", r)}
		}
	}()
	body, err := parse(text, name, empty)
	if err != nil {
		return nil, err
	}
	doc = new(T)
	if err := yaml.NewDecoder(strings.NewReader(""), yaml.Strict()).DecodeFromNode(body, doc); err != nil {
		return nil, problemOf(err, name)
	}
	return doc, nil
}

// parse is the one document of a file, within bounds.
func parse(text []byte, name, empty string) (ast.Node, error) {
	if len(text) > SizeMax {
		return nil, &Problem{File: name, Line: 1, What: fmt.Sprintf("the file is larger than %d bytes", SizeMax)}
	}
	tokens := lexer.Tokenize(string(Unmarked(text)))
	if line, what := shape(tokens); line > 0 {
		return nil, &Problem{File: name, Line: line, What: what}
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		return nil, problemOf(err, name)
	}
	for _, d := range file.Docs {
		if d.Body == nil || d.Body.Type() == ast.CommentType || d.Body.Type() == ast.DirectiveType {
			continue
		}
		if line := overdone(d.Body); line > 0 {
			return nil, &Problem{File: name, Line: line, What: "aliases stand for more than is read: write it out"}
		}
		return d.Body, nil // shape has seen no second one
	}
	return nil, &Problem{File: name, Line: 1, What: "the file is empty: " + empty}
}

// Unmarked is a text without the mark that some editors put before UTF-8, and that the
// YAML library takes for a part of the first key.
func Unmarked(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\xEF\xBB\xBF")) }

// problemOf is an error of the YAML library without its extract of the file.
func problemOf(err error, name string) *Problem {
	p := &Problem{File: name, Line: 1, What: err.Error()}
	if y := yaml.Error(nil); errors.As(err, &y) {
		p.What = y.GetMessage()
		if t := y.GetToken(); t != nil && t.Position != nil {
			p.Line = t.Position.Line
		}
	}
	if u := (*yaml.UnknownFieldError)(nil); errors.As(err, &u) {
		p.What += ": correct or remove it"
	}
	return p
}

// Scalar is a YAML scalar as it is written and where. Numbers are not
// interpreted.
type Scalar struct {
	Text string
	Line int // 0: not there; of a block scalar that of its first line of text
}

// UnmarshalYAML takes any plain, quoted or block scalar.
func (s *Scalar) UnmarshalYAML(n ast.Node) error {
	switch v := n.(type) {
	case *ast.StringNode:
		s.Text = v.Value
	case *ast.LiteralNode:
		s.Text, s.Line = v.Value.Value, n.GetToken().Position.Line+1
		return nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		s.Text = n.GetToken().Value
	case *ast.NullNode:
		return nil
	default:
		return &yaml.SyntaxError{Message: fmt.Sprintf("a single value is needed here, not a %s", strings.ToLower(n.Type().String())), Token: n.GetToken()}
	}
	s.Line = n.GetToken().Position.Line
	return nil
}

// Problem is what is wrong with the value of a field, on the value's line; on line 1 if
// the field is missing.
func (s Scalar) Problem(file, field, format string, args ...any) *Problem {
	return &Problem{file, max(s.Line, 1), field, fmt.Sprintf(format, args...)}
}

// Or is t; if t is missing, it is placed on the line of s.
func (s Scalar) Or(t Scalar) Scalar {
	if t.Line == 0 {
		t.Line = s.Line
	}
	return t
}

// First is the line of the uppermost of the scalars that are there: where an
// entry begins.
func First(ss ...Scalar) (f Scalar) {
	for _, s := range ss {
		if s.Line > 0 && (f.Line == 0 || s.Line < f.Line) {
			f.Line = s.Line
		}
	}
	return f
}
