package rules

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
)

// Limits of one expression. Each of its nodes is visited at most once and there
// are no loops, so they bound what it costs.
const (
	ExpressionSizeMax = 2_000 // bytes
	nodesMax          = 200
)

// Error is what is wrong with an expression, and where in it. Lines and columns
// count from 1.
type Error struct {
	Line, Column int
	What         string
}

func (e *Error) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.What)
}

// truth is what a condition comes to. Unknown is what cannot be told without a
// fact that is not known, as Kleene has it: false and unknown is false.
type truth uint8

const (
	no truth = iota
	yes
	unknown
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

// fault is why an expression could not be evaluated.
type fault uint8

const (
	noFault fault = iota
	overflow
	divisionByZero
	panicked
)

var faultNames = [...]string{"", "a sum is too large for 64 bits", "a division by zero", "the rule panicked"}

func (f fault) String() string { return faultNames[f] }

// condition, numeric and textual are compiled expressions. They allocate
// nothing and keep nothing.
type (
	condition func(*Facts) truth
	numeric   func(*Facts) (int64, bool)
	textual   func(*Facts) ([]byte, bool)
)

// term is a compiled node: one of the three functions, by its sort.
type term struct {
	sort  sort
	words *vocabulary
	is    condition
	num   numeric
	text  textual

	literal bool // n or s is all of it
	n       int64
	s       string
	fact    Fact // facts: it is no fact
}

// compiler turns a syntax tree into functions.
type compiler struct {
	source file.Source
	lists  map[string]*lookup
	uses   uint64 // the facts asked for
	err    *Error // the first
}

// compile reads an expression. uses are the facts it asks for.
func compile(source string, lists map[string]*lookup) (is condition, uses []Fact, err error) {
	if len(source) > ExpressionSizeMax {
		return nil, nil, &Error{1, 1, fmt.Sprintf("it is longer than %d bytes: make two rules of it", ExpressionSizeMax)}
	}
	defer func() { // the parser is not ours
		if r := recover(); r != nil {
			is, uses, err = nil, nil, &Error{1, 1, fmt.Sprintf("it cannot be read (%v)", r)}
		}
	}()
	config := conf.CreateNew()
	config.MaxNodes = nodesMax
	tree, err := parser.ParseWithConfig(source, config)
	if e := (*file.Error)(nil); errors.As(err, &e) {
		return nil, nil, &Error{e.Line, e.Column + 1, e.Message}
	} else if err != nil {
		return nil, nil, &Error{1, 1, err.Error()}
	}
	c := compiler{source: tree.Source, lists: lists}
	t := c.term(tree.Node)
	if t.sort != flag {
		c.fail(tree.Node, "the whole is %s: a rule needs a condition, such as amount > 1000_00", t.sort)
	}
	if c.err != nil {
		return nil, nil, c.err
	}
	for x := range facts {
		if c.uses&(1<<x) != 0 {
			uses = append(uses, x)
		}
	}
	return t.is, uses, nil
}

// fail notes what is wrong at a node and returns a term that goes with anything.
func (c *compiler) fail(n ast.Node, format string, args ...any) term {
	if c.err == nil {
		e := (&file.Error{Location: n.Location()}).Bind(c.source)
		c.err = &Error{e.Line, e.Column + 1, fmt.Sprintf(format, args...)}
	}
	return term{sort: flag, is: func(*Facts) truth { return unknown }, fact: facts}
}

func (c *compiler) term(n ast.Node) term {
	switch n := n.(type) {
	case *ast.IntegerNode:
		return literal(int64(n.Value))
	case *ast.StringNode:
		return term{sort: text, literal: true, s: n.Value, fact: facts,
			text: func() textual { b := []byte(n.Value); return func(*Facts) ([]byte, bool) { return b, true } }()}
	case *ast.BoolNode:
		t := truthOf(n.Value)
		return term{sort: flag, is: func(*Facts) truth { return t }, fact: facts}
	case *ast.IdentifierNode, *ast.MemberNode:
		return c.named(n)
	case *ast.UnaryNode:
		return c.unary(n)
	case *ast.BinaryNode:
		return c.binary(n)
	case *ast.ConditionalNode:
		return c.choice(n)
	case *ast.CallNode:
		return c.call(n)
	case *ast.FloatNode:
		return c.fail(n, "numbers are whole: write money in minor units, 12.50 yuan is 12_50")
	case *ast.ArrayNode:
		return c.fail(n, "a list stands behind in only, such as merchant.mcc in [5411, 5812]")
	case *ast.PredicateNode, *ast.PointerNode, *ast.BuiltinNode, *ast.VariableDeclaratorNode, *ast.SequenceNode:
		return c.fail(n, "functions, loops and variables are not offered, so that no rule can take long")
	}
	return c.fail(n, "this is not offered in rules")
}

func literal(v int64) term {
	return term{sort: number, literal: true, n: v, fact: facts, num: func(*Facts) (int64, bool) { return v, true }}
}

// name is a plain or dotted name, empty if n is neither.
func name(n ast.Node) string {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return n.Value
	case *ast.MemberNode:
		if p, ok := n.Property.(*ast.StringNode); ok && !n.Method && !n.Optional {
			if left := name(n.Node); left != "" {
				return left + "." + p.Value
			}
		}
	}
	return ""
}

// first is where a dotted name begins; a member's place is its last part.
func first(n ast.Node) ast.Node {
	for m, ok := n.(*ast.MemberNode); ok; m, ok = n.(*ast.MemberNode) {
		n = m.Node
	}
	return n
}

func (c *compiler) named(n ast.Node) term {
	called := name(n)
	x, ok := byName[called]
	if !ok {
		at := first(n)
		if strings.HasPrefix(called, listPrefix) {
			return c.fail(at, "a list stands behind in only, such as merchant.mcc in list.jewellers")
		}
		return c.fail(at, "%q is not known: acqswitch risk facts lists what a rule may ask", called)
	}
	c.uses |= 1 << x
	m := &table[x]
	t := term{sort: m.sort, words: m.words, fact: x}
	switch m.sort {
	case flag:
		t.is = func(f *Facts) truth {
			if !f.Known(x) {
				return unknown
			}
			return truth(f.number[x])
		}
	case text:
		t.text = func(f *Facts) ([]byte, bool) { return f.bytes(x), f.Known(x) }
	default:
		t.num = func(f *Facts) (int64, bool) { return f.number[x], f.Known(x) }
	}
	return t
}

func (c *compiler) unary(n *ast.UnaryNode) term {
	t := c.term(n.Node)
	switch n.Operator {
	case "!", "not":
		if t.sort != flag {
			return c.fail(n, "%s needs true or false, this is %s", n.Operator, t.sort)
		}
		is := t.is
		return c.condition(func(f *Facts) truth { return is(f).not() })
	case "-", "+":
		if t.sort != number {
			return c.fail(n, "%s needs a number, this is %s", n.Operator, t.sort)
		}
		if n.Operator == "+" {
			return t
		}
		if t.literal {
			return literal(-t.n)
		}
		num := t.num
		return c.numeric(func(f *Facts) (int64, bool) {
			v, ok := num(f)
			if v == math.MinInt64 {
				return f.failed(overflow)
			}
			return -v, ok
		})
	}
	return c.fail(n, "%s is not offered in rules", n.Operator)
}

func (t truth) not() truth {
	switch t {
	case no:
		return yes
	case yes:
		return no
	}
	return unknown
}

func (c *compiler) binary(n *ast.BinaryNode) term {
	if n.Operator == "in" {
		return c.membership(n)
	}
	l, r := c.term(n.Left), c.term(n.Right)
	if c.err != nil {
		return l
	}
	switch n.Operator {
	case "and", "&&", "or", "||":
		for _, t := range []struct {
			ast.Node
			term
		}{{n.Left, l}, {n.Right, r}} {
			if t.sort != flag {
				return c.fail(t.Node, "%s needs true or false, this is %s", n.Operator, t.sort)
			}
		}
		return c.condition(junction(n.Operator, l.is, r.is))
	case "==", "!=", "<", "<=", ">", ">=":
		return c.comparison(n, l, r)
	case "+", "-", "*", "/", "%":
		if l.sort != number || r.sort != number {
			return c.fail(n, "%s needs two numbers, these are %s and %s", n.Operator, l.sort, r.sort)
		}
		if r.literal && r.n == 0 && (n.Operator == "/" || n.Operator == "%") {
			return c.fail(n, "this divides by zero")
		}
		return c.numeric(arithmetic(n.Operator, l.num, r.num))
	case "??":
		return c.otherwise(n, l, r)
	case "startsWith", "endsWith":
		if l.sort != text || r.sort != text || !r.literal {
			return c.fail(n, "%s compares a text with one in quotes, such as card.bin startsWith \"62\"", n.Operator)
		}
		if l.fact < facts && len(r.s) > textSizes[l.fact] {
			return c.fail(n.Right, "%s is at most %d long", l.fact, textSizes[l.fact])
		}
		has := bytes.HasPrefix
		if n.Operator == "endsWith" {
			has = bytes.HasSuffix
		}
		of, part := l.text, []byte(r.s)
		return c.condition(func(f *Facts) truth {
			b, ok := of(f)
			if !ok {
				return unknown
			}
			return truthOf(has(b, part))
		})
	}
	return c.fail(n, "%s is not offered in rules", n.Operator)
}

func junction(op string, l, r condition) condition {
	if op == "and" || op == "&&" {
		return func(f *Facts) truth {
			a := l(f)
			if a == no {
				return no
			}
			if b := r(f); b != yes {
				return b
			}
			return a
		}
	}
	return func(f *Facts) truth {
		a := l(f)
		if a == yes {
			return yes
		}
		if b := r(f); b != no {
			return b
		}
		return a
	}
}

// otherwise is what stands in for what is not known.
func (c *compiler) otherwise(n *ast.BinaryNode, l, r term) term {
	switch {
	case l.sort == number && r.sort == number:
		a, b := l.num, r.num
		return c.numeric(func(f *Facts) (int64, bool) {
			before := f.fault
			f.fault = noFault
			if v, ok := a(f); ok || f.fault != noFault {
				return v, ok
			}
			f.fault = before
			return b(f)
		})
	case l.sort == flag && r.sort == flag:
		a, b := l.is, r.is
		return c.condition(func(f *Facts) truth {
			before := f.fault
			f.fault = noFault
			if t := a(f); t != unknown || f.fault != noFault {
				return t
			}
			f.fault = before
			return b(f)
		})
	}
	return c.fail(n, "?? needs two numbers or two conditions, these are %s and %s", l.sort, r.sort)
}

func (c *compiler) choice(n *ast.ConditionalNode) term {
	q, l, r := c.term(n.Cond), c.term(n.Exp1), c.term(n.Exp2)
	switch {
	case c.err != nil:
		return q
	case q.sort != flag:
		return c.fail(n.Cond, "a choice needs a condition, this is %s", q.sort)
	case l.sort == number && r.sort == number:
		return c.numeric(func(f *Facts) (int64, bool) {
			switch q.is(f) {
			case yes:
				return l.num(f)
			case no:
				return r.num(f)
			}
			return 0, false
		})
	case l.sort == flag && r.sort == flag:
		return c.condition(func(f *Facts) truth {
			switch q.is(f) {
			case yes:
				return l.is(f)
			case no:
				return r.is(f)
			}
			return unknown
		})
	}
	return c.fail(n, "a choice is between two numbers or two conditions, these are %s and %s", l.sort, r.sort)
}

// call is known(x), the one function.
func (c *compiler) call(n *ast.CallNode) term {
	if name(n.Callee) == "known" && len(n.Arguments) == 1 {
		if t := c.term(n.Arguments[0]); c.err != nil || t.fact < facts {
			return c.condition(func(f *Facts) truth { return truthOf(f.Known(t.fact)) })
		}
	}
	return c.fail(n, "the one function is known, of one fact, such as known(distance)")
}

func (c *compiler) condition(is condition) term { return term{sort: flag, is: is, fact: facts} }

func (c *compiler) numeric(num numeric) term { return term{sort: number, num: num, fact: facts} }
