package replay

import (
	"fmt"

	"github.com/acqswitch/acqswitch/iso"
)

// wholeAnswer stands for a field where one host answered and the other did not.
const wholeAnswer = -1

// difference is one field that differs.
type difference struct {
	field         int // 0: the message type
	expected, got string
}

// compare holds an answer against the recorded one. A field that repeated the
// recorded request must repeat the one that was sent. Where the code (DE39)
// differs, other fields differ because of it and are not reported.
func (c *comparison) compare(asked, recorded, sent, got *iso.Message) []difference {
	if recorded.MTI() != got.MTI() {
		return []difference{{0, fmt.Sprintf("%04x", recorded.MTI()), fmt.Sprintf("%04x", got.MTI())}}
	}
	var all []difference
	for n := 2; n <= fieldMax; n++ {
		if !recorded.Has(n) && !got.Has(n) {
			continue
		}
		d, ok := c.field(n, asked, recorded, sent, got)
		if ok {
			continue
		}
		if n == 39 {
			return []difference{d}
		}
		all = append(all, d)
	}
	return all
}

func (c *comparison) field(n int, asked, recorded, sent, got *iso.Message) (difference, bool) {
	rule := c.of(got.MTI(), n)
	switch {
	case rule == ignore:
		return difference{}, true
	case !got.Has(n):
		return difference{n, "a value", "nothing"}, false
	case !recorded.Has(n):
		return difference{n, "nothing", "a value"}, false
	case rule == present:
		return difference{}, true
	}
	want, is := string(recorded.AppendText(nil, n)), string(got.AppendText(nil, n))
	if asked.Has(n) && sent.Has(n) && string(asked.AppendText(nil, n)) == want {
		want = string(sent.AppendText(nil, n))
	}
	if want == is {
		return difference{}, true
	}
	if hidden[n] {
		return difference{n, "what was recorded", "another value"}, false
	}
	return difference{n, show(n, []byte(want)), show(n, []byte(is))}, false
}

// hidden are fields whose values are never shown: cards, PINs, keys, and lists that
// hold them.
var hidden = map[int]bool{2: true, 34: true, 35: true, 36: true, 45: true, 48: true, 52: true, 55: true, 59: true, 62: true, 64: true, 96: true, 102: true, 103: true, 128: true}

// show spells a value out for people.
func show(n int, v []byte) string {
	if hidden[n] {
		return "a value"
	}
	for _, c := range v {
		if c < ' ' || c > '~' {
			return fmt.Sprintf("%X", v)
		}
	}
	return fmt.Sprintf("%q", v)
}
