package rules

import (
	"bytes"
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// comparison compares two terms of one sort. A word is compared with a word of
// its list in quotes.
func (c *compiler) comparison(n *ast.BinaryNode, l, r term) term {
	equality := n.Operator == "==" || n.Operator == "!="
	if l.literal && !r.literal {
		l, r = r, l
		n = &ast.BinaryNode{Operator: mirrored(n.Operator), Left: n.Right, Right: n.Left}
	}
	if l.sort == word && r.sort == text && r.literal {
		r = c.wordOf(n.Right, l.words, r.s)
	}
	if l.sort == text && l.fact < facts && r.sort == text && r.literal {
		c.canBe(n.Right, l.fact, r.s)
	}
	switch {
	case c.err != nil:
		return l
	case l.sort != r.sort || l.words != r.words:
		return c.fail(n.Left, "%s is compared with %s", l.sort, r.sort)
	case l.sort != number && !equality:
		return c.fail(n.Left, "%s is equal or not, it is not more or less", l.sort)
	case l.sort == flag:
		a, b, not := l.is, r.is, n.Operator == "!="
		return c.condition(func(f *Facts) truth {
			x, y := a(f), b(f)
			if x == unknown || y == unknown {
				return unknown
			}
			return truthOf((x == y) != not)
		})
	case l.sort == text:
		a, b, not := l.text, r.text, n.Operator == "!="
		return c.condition(func(f *Facts) truth {
			x, known := a(f)
			y, also := b(f)
			if !known || !also {
				return unknown
			}
			return truthOf(bytes.Equal(x, y) != not)
		})
	case l.fact < facts && r.literal:
		return c.condition(span(l.fact, n.Operator, r.n))
	}
	return c.condition(compared(n.Operator, l.num, r.num))
}

// canBe fails where a fact is never such a text.
func (c *compiler) canBe(n ast.Node, x Fact, s string) {
	if err := CheckEntry(x, s); err != nil {
		c.fail(n, "%s is never that: %v", x, err)
	}
}

// wordOf is the literal for one of a list of words.
func (c *compiler) wordOf(n ast.Node, words *vocabulary, s string) term {
	v, ok := words.parse(s)
	if !ok {
		return c.fail(n, "%q is none of %s", s, words.list)
	}
	t := literal(v)
	t.sort, t.words = word, words
	return t
}

func mirrored(op string) string {
	switch op {
	case "<":
		return ">"
	case "<=":
		return ">="
	case ">":
		return "<"
	case ">=":
		return "<="
	}
	return op
}

// span compares a fact with a literal, which is what most rules are made of:
// one function, whatever the operator.
func span(x Fact, op string, n int64) condition {
	low, high, outside := int64(math.MinInt64), int64(math.MaxInt64), false
	switch op {
	case "==":
		low, high = n, n
	case "!=":
		low, high, outside = n, n, true
	case "<":
		low, outside = n, true
	case "<=":
		high = n
	case ">":
		high, outside = n, true
	case ">=":
		low = n
	}
	return within(x, low, high, outside)
}

func within(x Fact, low, high int64, outside bool) condition {
	return func(f *Facts) truth {
		if !f.Known(x) {
			return unknown
		}
		v := f.number[x]
		return truthOf((low <= v && v <= high) != outside)
	}
}

func compared(op string, l, r numeric) condition {
	var holds func(a, b int64) bool
	switch op {
	case "==":
		holds = func(a, b int64) bool { return a == b }
	case "!=":
		holds = func(a, b int64) bool { return a != b }
	case "<":
		holds = func(a, b int64) bool { return a < b }
	case "<=":
		holds = func(a, b int64) bool { return a <= b }
	case ">":
		holds = func(a, b int64) bool { return a > b }
	case ">=":
		holds = func(a, b int64) bool { return a >= b }
	}
	return func(f *Facts) truth {
		a, known := l(f)
		b, also := r(f)
		if !known || !also {
			return unknown
		}
		return truthOf(holds(a, b))
	}
}

// arithmetic is exact or a fault: no sum wraps round, and nothing is divided by
// zero.
func arithmetic(op string, l, r numeric) numeric {
	return func(f *Facts) (int64, bool) {
		a, known := l(f)
		b, also := r(f)
		if !known || !also {
			return 0, false
		}
		switch op {
		case "+":
			if s := a + b; (s > a) == (b > 0) {
				return s, true
			}
		case "-":
			if s := a - b; (s < a) == (b > 0) {
				return s, true
			}
		case "*":
			if p, ok := product(a, b); ok {
				return p, true
			}
		default:
			if b == 0 {
				return f.failed(divisionByZero)
			}
			if a == math.MinInt64 && b == -1 {
				break
			}
			if op == "/" {
				return a / b, true
			}
			return a % b, true
		}
		return f.failed(overflow)
	}
}

func product(a, b int64) (int64, bool) {
	abs := func(n int64) uint64 {
		if n < 0 {
			return -uint64(n)
		}
		return uint64(n)
	}
	high, low := bits.Mul64(abs(a), abs(b))
	return a * b, high == 0 && low <= math.MaxInt64
}

func (f *Facts) failed(why fault) (int64, bool) {
	f.fault = why
	return 0, false
}

// membership is x in a list of literals, or in a range of them.
func (c *compiler) membership(n *ast.BinaryNode) term {
	l := c.term(n.Left)
	if c.err != nil {
		return l
	}
	if span, ok := n.Right.(*ast.BinaryNode); ok && span.Operator == ".." {
		low, high := c.term(span.Left), c.term(span.Right)
		if c.err == nil && (l.sort != number || l.fact == facts || !low.literal || !high.literal || low.sort != number || high.sort != number || low.n > high.n) {
			return c.fail(n.Right, "a range is of a fact and from a smaller to a larger number, such as merchant.mcc in 5811..5814")
		}
		return c.condition(within(l.fact, low.n, high.n, false))
	}
	if called, ok := strings.CutPrefix(name(n.Right), listPrefix); ok {
		return c.listed(n, l, called)
	}
	list, ok := n.Right.(*ast.ArrayNode)
	if !ok || len(list.Nodes) == 0 || l.sort == flag || l.literal {
		return c.fail(n.Right, "in needs a list or a range, such as merchant.mcc in [5411, 5812]")
	}
	var ns []int64
	texts := map[string]struct{}{}
	for _, item := range list.Nodes {
		t := c.term(item)
		if c.err == nil && !t.literal {
			return c.fail(item, "a list is of numbers or texts that stand there")
		}
		if l.sort == word && t.sort == text {
			t = c.wordOf(item, l.words, t.s)
		}
		if l.sort == text && t.sort == text {
			c.canBe(item, l.fact, t.s)
		}
		if c.err == nil && t.sort != l.sort {
			return c.fail(item, "%s is looked for among others, this is %s", l.sort, t.sort)
		}
		ns, texts[t.s] = append(ns, t.n), struct{}{}
	}
	if l.sort == text {
		return c.condition(amongTexts(l.text, texts))
	}
	slices.Sort(ns)
	of := l.num
	return c.condition(func(f *Facts) truth {
		v, ok := of(f)
		if !ok {
			return unknown
		}
		_, is := slices.BinarySearch(ns, v)
		return truthOf(is)
	})
}

// listPrefix is how conditions name lists.
const listPrefix = "list."

func amongTexts(of textual, texts map[string]struct{}) condition {
	return func(f *Facts) truth {
		b, ok := of(f)
		if !ok {
			return unknown
		}
		_, is := texts[string(b)]
		return truthOf(is)
	}
}

// listed is a fact in a list with a name.
func (c *compiler) listed(n *ast.BinaryNode, l term, called string) term {
	list := c.lists[called]
	switch {
	case list == nil:
		return c.fail(first(n.Right), "there is no list %q: lists in the policy says which there are", called)
	case l.fact >= facts || l.fact.values() != list.of.values():
		return c.fail(first(n.Right), "list %q is of %s, and that is what is looked for in it", called, list.of)
	case l.sort == text:
		return c.condition(amongTexts(l.text, list.texts))
	}
	of, ns := l.num, list.ns
	return c.condition(func(f *Facts) truth {
		v, ok := of(f)
		if !ok {
			return unknown
		}
		_, is := ns[v]
		return truthOf(is)
	})
}
