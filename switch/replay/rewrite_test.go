package replay

import (
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
)

// A terminal has an original's date from its answer, which is the host's: two in the
// morning of the 27th in Shanghai is the 26th by UTC, and what is played a day and a
// half later is of the 28th for both.
func TestOriginalsDateIsTheHosts(t *testing.T) {
	c := iso.MustCompile(iso.CUPPOS(), iso.CUPPOSFraming(4096))
	message := func(mti uint16, fields ...string) *iso.Message {
		t.Helper()
		e := c.Begin(nil, []byte{0x60, 0, 3, 0, 0}, make([]byte, 6), mti)
		for i, n := range []int{11, 13, 60, 61} {
			if i < len(fields) && fields[i] != "" {
				e.Digits(n, []byte(fields[i]))
			}
		}
		frame, err := e.Finish()
		if err != nil {
			t.Fatal(err)
		}
		m := new(iso.Message)
		if err := c.Parse(m, frame[2:]); err != nil {
			t.Fatal(err)
		}
		return m
	}
	at := time.Date(2026, 11, 26, 18, 18, 0, 0, time.UTC)
	now := time.Date(2026, 11, 28, 2, 0, 0, 0, time.UTC)
	rules := DefaultRules()
	w := rewriter{rules: &rules.Rewrite}
	w.request(message(0x0200, "000002", "", "22000001"), at, now)
	w.answer(message(0x0210, "000002", "1127"), message(0x0210, "000001", "1128"))
	tip := message(0x0220, "000003", "", "34000001", "0000010000021127")
	w.request(tip, at, now)
	if got := string(tip.AppendDigits(nil, 61)); got != "0000010000011128" {
		t.Errorf("its original is %s", got)
	}
}

// Times have no year: over its end, and where the 29th of February was another year's,
// the nearest is meant.
func TestMovedOverTheYearsEnd(t *testing.T) {
	for _, c := range []struct{ told, at, now, want string }{
		{"1231235955", "2028-01-01 00:00:05", "2028-03-31 00:00:05", "0330235955"},
		{"0101000003", "2027-12-31 23:59:55", "2028-03-30 23:59:55", "0331000003"},
		{"0229120000", "2028-02-29 12:00:00", "2029-02-28 12:00:00", "0228120000"},
		{"0229120000", "2029-03-01 12:00:00", "2029-03-02 12:00:00", "0302120000"},
		{"0230120000", "2028-03-01 12:00:00", "2028-03-02 12:00:00", "0230120000"},
	} {
		at, _ := time.Parse(time.DateTime, c.at)
		now, err := time.Parse(time.DateTime, c.now)
		if got := string(moved(c.told, at, now.Sub(at))); got != c.want || err != nil {
			t.Errorf("%s of %s at %s is %s, want %s; %v", c.told, c.at, c.now, got, c.want, err)
		}
	}
}
