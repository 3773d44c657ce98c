package replay

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Rules are what is rewritten in requests and what may differ in answers.
type Rules struct {
	// Rewrite is about requests.
	Rewrite Rewrite `yaml:"rewrite"`
	// Compare is what is asked of a field of the answers, by its number (39), or
	// by message type and number (0810.62), which goes first: same (what was
	// recorded, or, where the recorded answer repeats its request, what was sent),
	// present (there or not as recorded, with any value) or ignore. Fields that
	// are not named must be the same.
	Compare map[string]string `yaml:"compare"`
}

// Rewrite says what becomes of the numbers of a request.
type Rewrite struct {
	// STAN is next (each terminal counts on; a number that came twice comes twice
	// again) or keep.
	STAN string `yaml:"stan"`
	// Time of DE7, DE12 and DE13 is now (moved by as much as the replay is later)
	// or keep.
	Time string `yaml:"time"`
	// Batch of DE60 (CUP POS) is sign-on (moved by as much as the host's answer to
	// a sign-on differs from the recorded one) or keep.
	Batch string `yaml:"batch"`
	// References to earlier messages (DE37, DE38, DE61, DE90, uploads) are map
	// (what the host answered now, and the new numbers) or keep.
	References string `yaml:"references"`
}

// DefaultRules are those without a file.
func DefaultRules() Rules {
	r := Rules{Rewrite: Rewrite{STAN: "next", Time: "now", Batch: "sign-on", References: "map"}, Compare: map[string]string{}}
	for _, field := range [...]string{"7", "12", "13", "15", "37", "38", "55", "64", "128", "0810.60", "0810.62"} {
		r.Compare[field] = present
	}
	return r
}

const (
	same    = "same"
	present = "present"
	ignore  = "ignore"
)

// rulesMax bounds a file of rules.
const rulesMax = 1 << 20

// ReadRules reads a YAML file over the defaults. Unknown keys are errors.
func ReadRules(r io.Reader) (Rules, error) {
	rules := DefaultRules()
	text, err := io.ReadAll(io.LimitReader(r, rulesMax))
	if err != nil {
		return rules, fmt.Errorf("read rules: %w", err)
	}
	var file Rules
	if err := decodeStrict(text, &file); err != nil {
		return rules, fmt.Errorf("read rules: %w", err)
	}
	for _, row := range [...]struct {
		name     string
		to, from *string
		other    string
	}{
		{"stan", &rules.Rewrite.STAN, &file.Rewrite.STAN, "next"},
		{"time", &rules.Rewrite.Time, &file.Rewrite.Time, "now"},
		{"batch", &rules.Rewrite.Batch, &file.Rewrite.Batch, "sign-on"},
		{"references", &rules.Rewrite.References, &file.Rewrite.References, "map"},
	} {
		switch *row.from {
		case "":
		case "keep", row.other:
			*row.to = *row.from
		default:
			return rules, fmt.Errorf("read rules: rewrite.%s must be %s or keep", row.name, row.other)
		}
	}
	for field, rule := range file.Compare {
		if rule != same && rule != present && rule != ignore {
			return rules, fmt.Errorf("read rules: compare.%s must be same, present or ignore", field)
		}
		number := field
		if mti, n, ok := strings.Cut(field, "."); ok {
			if _, err := strconv.ParseUint(mti, 16, 16); err != nil || len(mti) != 4 {
				return rules, fmt.Errorf("read rules: compare.%s: %q is no message type", field, mti)
			}
			number = n
		}
		if n, err := strconv.Atoi(number); err != nil || n < 2 || n > fieldMax {
			return rules, fmt.Errorf("read rules: compare.%s: no field 2 to %d", field, fieldMax)
		}
		rules.Compare[field] = rule
	}
	return rules, nil
}

const fieldMax = 128

// comparison is the rules by message type and field.
type comparison struct {
	all  [fieldMax + 1]string
	some map[uint32]string // MTI << 16 | field
}

func (r *Rules) comparison() *comparison {
	c := &comparison{some: map[uint32]string{}}
	for i := range c.all {
		c.all[i] = same
	}
	for field, rule := range r.Compare {
		if mti, n, ok := strings.Cut(field, "."); ok {
			t, _ := strconv.ParseUint(mti, 16, 16)
			number, _ := strconv.Atoi(n)
			c.some[uint32(t)<<16|uint32(number)] = rule
		} else if n, _ := strconv.Atoi(field); n >= 0 && n <= fieldMax {
			c.all[n] = rule
		}
	}
	return c
}

func (c *comparison) of(mti uint16, field int) string {
	if rule := c.some[uint32(mti)<<16|uint32(field)]; rule != "" {
		return rule
	}
	return c.all[field]
}
