package txn

import "fmt"

// Level is how closely a merchant or a terminal is watched (cup-pos R11). Each
// has all of the one below it.
type Level uint8

// The levels. Their numbers are in the database.
const (
	Unwatched  Level = iota
	Suspicious       // it is on the list
	Attention        // its payments are alerted
	Warning          // and not paid out
	HighRisk         // and refused
)

var levelNames = [...]string{"none", "suspicious", "attention", "warning", "high-risk"}

func (l Level) String() string { return name(levelNames[:], l) }

// MarshalText is String.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText is ParseLevel.
func (l *Level) UnmarshalText(text []byte) (err error) {
	*l, err = ParseLevel(string(text))
	return err
}

// ParseLevel reads String's form.
func ParseLevel(s string) (Level, error) {
	for l, name := range levelNames {
		if name == s {
			return Level(l), nil
		}
	}
	return 0, fmt.Errorf("level %q must be one of none, suspicious, attention, warning and high-risk", s)
}
