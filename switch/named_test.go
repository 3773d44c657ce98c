package acquirer

import (
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// A date names a business day, the one before or the one after.
func TestNear(t *testing.T) {
	for _, c := range []struct {
		mmdd string
		day  txn.Date
		want bool
	}{
		{"1122", 20261122, true},
		{"1121", 20261122, true}, // east of Greenwich, in UTC; or before the cut-over
		{"1123", 20261122, true},
		{"1120", 20261122, false},
		{"1124", 20261122, false},
		{"1231", 20270101, true},
		{"0101", 20261231, true},
		{"0228", 20280301, false}, // a leap year
		{"0229", 20280301, true},
		{"ABCD", 20261122, false},
	} {
		if got := near([4]byte([]byte(c.mmdd)), c.day); got != c.want {
			t.Errorf("%s is near %s: %v, want %v", c.mmdd, c.day, got, c.want)
		}
	}
}
