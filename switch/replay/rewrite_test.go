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
