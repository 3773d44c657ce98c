package txn

import (
	"encoding/binary"
	"fmt"
	"iter"
	"strconv"
)

// Rule numbers something that risk looks for. Those built in are a letter of the
// regulator's catalogue (T terminal, M merchant, L limit, R risk, S session)
// times a hundred and a number below it: MakeRule('T', 11) is T11. From
// RuleCustom on they are the risk officer's own, numbered by his policy. Numbers
// are in every journal: none is used for something else.
type Rule uint16

// RuleCustom is the first number of the risk officer's own rules.
const RuleCustom Rule = 1000

const ruleLetters = "TMLRS"

// MakeRule is the number of a built-in rule.
func MakeRule(letter byte, number int) Rule {
	for i := range len(ruleLetters) {
		if ruleLetters[i] == letter {
			return Rule((i+1)*100 + number)
		}
	}
	return 0
}

// String is such as T11, or C1000 for a rule of the risk officer's.
func (r Rule) String() string {
	if i := int(r)/100 - 1; r < RuleCustom && i >= 0 && i < len(ruleLetters) {
		return fmt.Sprintf("%c%02d", ruleLetters[i], r%100)
	}
	return "C" + strconv.Itoa(int(r))
}

// ParseRule reads String's form.
func ParseRule(s string) (Rule, error) {
	if len(s) >= 2 {
		n, err := strconv.ParseUint(s[1:], 10, 16)
		r := Rule(n)
		if err == nil && (s[0] == 'C' || len(s) == 3) {
			if s[0] != 'C' {
				r = MakeRule(s[0], int(n))
			}
			if r.String() == s {
				return r, nil
			}
		}
	}
	return 0, fmt.Errorf("%q is no rule: write a letter and a number, such as T11", s)
}

// Action is what is done where a rule finds something. They rise in weight.
type Action uint8

// The actions. Their numbers are in every journal.
const (
	ActionAlert  Action = iota + 1 // it goes on, and people are told
	ActionReview                   // likewise, and somebody must look at it
	ActionHold                     // likewise, and it is not paid out before
	ActionRefuse                   // it is refused
)

var actionNames = [...]string{"invalid", "alert", "review", "hold", "refuse"}

func (a Action) String() string { return name(actionNames[:], a) }

// Finding is what one rule said of one request. A shadow's action is counted and
// never taken.
type Finding struct {
	Rule   Rule
	Action Action
	Shadow bool
	// Seen is what the rule compared and Bound what it was compared with: counts,
	// minor units, percent or metres, as the rule says. Both are 0 where it
	// compared no numbers.
	Seen, Bound int64
}

// FindingsMax is how many findings one request keeps. What comes after them is
// dropped, unless it weighs more.
const FindingsMax = 8

// Findings are what the rules said of one request, under one policy. The zero
// value has none.
type Findings struct {
	Policy uint32 // the number of the policy that was in force
	n      uint8
	list   [FindingsMax]Finding
}

// Len is the number of findings.
func (f *Findings) Len() int { return int(f.n) }

// All walks the findings in the order they were added.
func (f *Findings) All() iter.Seq[Finding] {
	return func(yield func(Finding) bool) {
		for _, x := range f.list[:f.n] {
			if !yield(x) {
				return
			}
		}
	}
}

// Add notes one more. Where all places are taken, the lightest gives way to a
// heavier one; a shadow weighs nothing.
func (f *Findings) Add(x Finding) {
	if f.n < FindingsMax {
		f.list[f.n] = x
		f.n++
		return
	}
	lightest := 0
	for i := range f.list {
		if f.list[i].weight() < f.list[lightest].weight() {
			lightest = i
		}
	}
	if f.list[lightest].weight() < x.weight() {
		f.list[lightest] = x
	}
}

func (x Finding) weight() Action {
	if x.Shadow {
		return 0
	}
	return x.Action
}

const (
	findingSize     = 2 + 1 + 1 + 8 + 8
	findingsSizeMax = 1 + 4 + FindingsMax*findingSize
)

// append writes how many there are and, where there are any, the policy and
// findingSize bytes for each.
func (f *Findings) append(dst []byte) []byte {
	dst = append(dst, f.n)
	if f.n == 0 {
		return dst
	}
	dst = binary.BigEndian.AppendUint32(dst, f.Policy)
	for _, x := range f.list[:f.n] {
		shadow := byte(0)
		if x.Shadow {
			shadow = 1
		}
		dst = append(binary.BigEndian.AppendUint16(dst, uint16(x.Rule)), byte(x.Action), shadow)
		dst = binary.BigEndian.AppendUint64(dst, uint64(x.Seen))
		dst = binary.BigEndian.AppendUint64(dst, uint64(x.Bound))
	}
	return dst
}

// findings reads what append wrote, and says whether all of it was there.
func (c *cursor) findings(f *Findings) bool {
	n := c.u8()
	if n == 0 {
		return true
	}
	if n > FindingsMax || len(*c) < 4+findingSize*int(n) {
		return false
	}
	f.Policy = c.u32()
	for f.n = 0; f.n < n; f.n++ {
		f.list[f.n] = Finding{Rule: Rule(c.u16()), Action: Action(c.u8()), Shadow: c.u8() != 0, Seen: int64(c.u64()), Bound: int64(c.u64())}
	}
	return true
}
