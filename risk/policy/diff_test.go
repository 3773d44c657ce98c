package policy

import (
	"reflect"
	"strings"
	"testing"
)

func TestDiff(t *testing.T) {
	load := func(text string) func(*testing.T) {
		return func(t *testing.T) {
			before, err := Load([]byte(full), "x")
			if err != nil {
				t.Fatal(err)
			}
			after, err := Load([]byte(text), "y")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range Diff(&before, &after) {
				got = append(got, c.Where+": -"+strings.Join(c.Was, "|")+" +"+strings.Join(c.Is, "|"))
			}
			want := map[string][]string{
				full: nil,
				// Comments and order of keys are no change.
				"# changed\n" + strings.Replace(full, "{rule: T12, mode: shadow}", "{mode: shadow, rule: T12}", 1): nil,
				strings.Replace(full, "speed_max_kmh: 150", "speed_max_kmh: 151", 1):                               {"places: -speed_max_kmh: 150 +speed_max_kmh: 151"},
				strings.Replace(full, "near: [999.00,", "near: [998.00,", 1):                                       {"patterns: -near: [999.00, 1999.00, 2999.00, 3999.00] +near: [998.00, 1999.00, 2999.00, 3999.00]"},
				strings.Replace(full, "59_45]", "5946]", 1):                                                        {`lists, jewellers: -"59_45" +"5946"`},
				strings.Replace(full, "day_count: 5,", "day_count: 6,", 1): {
					"plans, 7: -{of: card, currency: JPY, transaction: 50000, day_amount: 200000, day_count: 5, month_amount: 900000, month_count: 50} " +
						"+{of: card, currency: JPY, transaction: 50000, day_amount: 200000, day_count: 6, month_amount: 900000, month_count: 50}"},
				strings.Replace(full, "  - {number: 0, name: standard}\n", "", 1): {`plans, 0: -number: 0|name: "standard"|code_level: A|no_pin: allow +`},
			}[text]
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	}
	t.Run("same", load(full))
	t.Run("written otherwise", load("# changed\n"+strings.Replace(full, "{rule: T12, mode: shadow}", "{mode: shadow, rule: T12}", 1)))
	t.Run("value", load(strings.Replace(full, "speed_max_kmh: 150", "speed_max_kmh: 151", 1)))
	t.Run("list", load(strings.Replace(full, "near: [999.00,", "near: [998.00,", 1)))
	t.Run("list with a name", load(strings.Replace(full, "59_45]", "5946]", 1)))
	t.Run("limit", load(strings.Replace(full, "day_count: 5,", "day_count: 6,", 1)))
	t.Run("plan", load(strings.Replace(full, "  - {number: 0, name: standard}\n", "", 1)))
}
