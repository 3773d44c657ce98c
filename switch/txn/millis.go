package txn

import (
	"math"
	"strconv"
	"time"
)

// Millis is a duration that is a number of milliseconds in JSON: whatever is
// printed for programs has this one unit, and names that end in _ms.
type Millis time.Duration

// MarshalJSON keeps fractions to the nanosecond.
func (m Millis) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(m)/1e6, 'f', -1, 64), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (m *Millis) UnmarshalJSON(text []byte) error {
	ms, err := strconv.ParseFloat(string(text), 64)
	*m = Millis(math.Round(ms * 1e6))
	return err
}

func (m Millis) String() string { return time.Duration(m).String() }
