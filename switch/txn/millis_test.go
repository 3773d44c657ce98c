package txn

import (
	"encoding/json"
	"testing"
	"time"
)

// TestMillis holds that durations are milliseconds in JSON, to the nanosecond,
// there and back.
func TestMillis(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0", 1: "0.000001", 1500 * time.Microsecond: "1.5", 90 * time.Second: "90000", -time.Millisecond: "-1"} {
		text, err := json.Marshal(Millis(d))
		if err != nil || string(text) != want {
			t.Errorf("%v: %s, %v, want %s", d, text, err, want)
		}
		var back Millis
		if err := json.Unmarshal(text, &back); err != nil || back != Millis(d) {
			t.Errorf("%s: %v, %v, want %v", text, time.Duration(back), err, d)
		}
	}
}
