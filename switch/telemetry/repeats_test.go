package telemetry

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What fails at every sale is said a hundred times a minute, and then how often it was
// not; other messages are heard meanwhile.
func TestLinesOfOneMessageAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log, err := Logger(&out, slog.LevelInfo, "json")
		if err != nil {
			t.Fatal(err)
		}
		said := func() []string {
			t.Helper()
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			out.Reset()
			return lines
		}
		until := time.Now().Add(time.Minute).Format(time.RFC3339Nano)
		for n := range 5000 {
			log.With("terminal", n).Warn("again")
			log.Debug("other")
		}
		log.Warn("other")
		lines := said()
		if len(lines) != 101 || !strings.Contains(lines[99], `"terminal":99,"withheld_until":"`+until) || !strings.Contains(lines[100], `"other"`) {
			t.Errorf("%d lines, the last ones %q", len(lines), lines[max(0, len(lines)-2):])
		}
		time.Sleep(time.Minute - time.Nanosecond)
		log.Warn("again")
		time.Sleep(time.Nanosecond)
		log.Warn("again")
		log.Warn("again")
		log.Warn("other")
		lines = said()
		if len(lines) != 3 || !strings.Contains(lines[0], `"withheld":4901}`) || strings.Contains(lines[1]+lines[2], "withheld") {
			t.Errorf("a minute later %q", lines)
		}
		for n := range 10 * messagesMax { // each is another one
			log.Warn(fmt.Sprint("message ", n))
		}
		if lines = said(); len(lines) != 10*messagesMax {
			t.Errorf("%d lines of as many messages", len(lines))
		}
		if n := len(log.Handler().(bounded).said.of); n > messagesMax {
			t.Errorf("%d messages are kept", n)
		}
	})
}

// A clock that is put back withholds nothing for longer than a minute.
func TestLinesAfterTheClockIsPutBack(t *testing.T) {
	s := said{of: map[string]*repeats{}}
	now := time.Now()
	for range repeatsMax + 3 {
		s.count("m", now)
	}
	if n, _, withheld := s.count("m", now.Add(-time.Hour)); n != 1 || withheld != 3 {
		t.Errorf("line %d, %d withheld", n, withheld)
	}
}
