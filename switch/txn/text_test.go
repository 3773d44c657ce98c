package txn

import (
	"math"
	"testing"
)

// TestText holds what counts as letters and digits, and as a number.
func TestText(t *testing.T) {
	for _, row := range []struct {
		s                    string
		alphanumeric, digits bool
		value                int64
	}{
		{"", false, false, 0},
		{"0", true, true, 0},
		{"007", true, true, 7},
		{"19azAZ", true, false, 0},
		{"1 2", false, false, 0},
		{"-1", false, false, 0},
		{"1/", false, false, 0},
		{"1:", false, false, 0},
		{"@[`{", false, false, 0},
		{"１", false, false, 0}, // full width
		{"999999999999999999", true, true, 999999999999999999},
		{"1000000000000000000", true, true, math.MinInt64}, // has no value
	} {
		n, ok := ParseDigits(row.s)
		b, okb := ParseDigits([]byte(row.s))
		want := row.digits && row.value >= 0
		if Alphanumeric(row.s) != row.alphanumeric || Digits(row.s) != row.digits || ok != want || okb != ok || n != max(row.value, 0) || b != n {
			t.Errorf("%q: alphanumeric %v, digits %v, value %d %v", row.s, Alphanumeric(row.s), Digits(row.s), n, ok)
		}
	}
	code := []byte("00")
	if n := testing.AllocsPerRun(100, func() { Alphanumeric(code); ParseDigits(code) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
