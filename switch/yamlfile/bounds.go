package yamlfile

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Bounds of a file. What no file of ours comes near costs the YAML library time or
// memory that grows faster than the file.
const (
	// SizeMax is the largest file in bytes. Reading one takes about a hundred times
	// that in memory for a moment.
	SizeMax = 128 << 20

	depthMax = 64  // of lists and maps in one another
	keysMax  = 256 // of one map
	propsMax = 4   // anchors and tags of one value

	// Aliases may stand for so many values, and a few times as many as are written.
	aliasedMax   = 100_000
	aliasedTimes = 10
)

// level is a list or map that is open at a token.
type level struct {
	flow   bool // in brackets; column is of any other
	list   bool
	column int
	keys   int
}

// shape reads the tokens of a file as far as its form goes, and says at which line
// it is out of bounds, and how.
func shape(tokens token.Tokens) (line int, what string) {
	var open []level
	props := 0
	at, first := 0, 0 // line, and the column of its first token that is no dash
	ended, began := false, false
	named, directive := false, 0 // the token before was an anchor; the line of the last directive
	for _, t := range tokens {
		line, column := t.Position.Line, t.Position.Column
		if line != at {
			at, first = line, 0
		}
		switch t.Type {
		case token.DirectiveType:
			directive = line
			continue
		case token.CommentType:
			continue
		case token.DocumentHeaderType:
			if began {
				return line, "there is a second YAML document: join them into one"
			}
			began = true
			continue
		case token.DocumentEndType:
			ended = began
			continue
		}
		if line == directive {
			continue
		}
		if ended {
			return line, "there is a second YAML document: join them into one"
		}
		began = true
		switch {
		case t.Type == token.AnchorType || t.Type == token.TagType:
			if props++; props > propsMax {
				return line, "this has too many anchors and tags"
			}
		case !named: // an anchor's name is a token of its own
			props = 0
		}
		named = t.Type == token.AnchorType
		if first == 0 && !isDash(t) {
			first = column
		}
		open = nested(open, t, first)
		switch n := len(open); {
		case n > depthMax:
			return line, fmt.Sprintf("this is nested deeper than %d levels", depthMax)
		case n > 0 && open[n-1].keys > keysMax:
			return line, fmt.Sprintf("this map has more than %d keys", keysMax)
		}
	}
	return 0, ""
}

func isDash(t *token.Token) bool {
	return t.Type == token.SequenceEntryType || t.Type == token.MappingKeyType
}

// nested is what is open behind a token, in whose line first is the column of a key.
func nested(open []level, t *token.Token, first int) []level {
	flow := len(open) > 0 && open[len(open)-1].flow // then all that the brackets have open are brackets
	switch {
	case t.Type == token.SequenceStartType || t.Type == token.MappingStartType:
		return append(open, level{flow: true})
	case (t.Type == token.SequenceEndType || t.Type == token.MappingEndType) && flow:
		return open[:len(open)-1]
	case flow && t.Type == token.MappingValueType:
		open[len(open)-1].keys++
	case flow:
	case isDash(t):
		column := t.Position.Column
		open = closed(open, column, true)
		if n := len(open); n == 0 || open[n-1].column != column || !open[n-1].list {
			open = append(open, level{column: column, list: true})
		}
	case t.Type == token.MappingValueType:
		open = closed(open, first, false)
		if n := len(open); n == 0 || open[n-1].column != first {
			open = append(open, level{column: first})
		}
		open[len(open)-1].keys++
	}
	return open
}

// closed is open without what a key or dash at a column ends: what stands further
// to the right, and, for a key, a list at its own column.
func closed(open []level, column int, dash bool) []level {
	for n := len(open); n > 0; n = len(open) {
		top := open[n-1]
		if top.flow || top.column < column || top.column == column && (dash || !top.list) {
			break
		}
		open = open[:n-1]
	}
	return open
}

// expansion counts the values of a document, and those that its aliases stand for.
type expansion struct {
	written, aliased int
	anchors          map[string]int // how many values each stands for
	line             int            // of the alias that is one too many
}

// overdone is the line of an alias with which aliases stand for more than is read,
// 0 where none does.
func overdone(root ast.Node) int {
	x := expansion{anchors: map[string]int{}}
	x.size(root)
	return x.line
}

// size is how many values a node stands for. Its depth is bounded by shape.
func (x *expansion) size(n ast.Node) int {
	x.written++
	size := 1
	switch v := n.(type) {
	case *ast.MappingNode:
		for _, m := range v.Values {
			size += x.size(m)
		}
	case *ast.MappingValueNode:
		size += x.size(v.Value)
	case *ast.MappingKeyNode:
		size += x.size(v.Value)
	case *ast.SequenceNode:
		for _, e := range v.Values {
			size += x.size(e)
		}
	case *ast.TagNode:
		size += x.size(v.Value)
	case *ast.AnchorNode:
		size += x.size(v.Value)
		x.anchors[v.Name.String()] = size
	case *ast.AliasNode:
		size = min(x.anchors[v.Value.String()], aliasedMax*aliasedTimes)
		if x.aliased += size; x.line == 0 && x.aliased > aliasedMax+aliasedTimes*x.written {
			x.line = v.GetToken().Position.Line
		}
	}
	return size
}
