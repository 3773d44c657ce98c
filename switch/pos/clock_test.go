package pos

import (
	"io"
	"net"
	"testing"
	"time"
	"unsafe"
)

// put is an instant as it is read after the clock of the machine was put by d: what it
// says of the time since the process began is the same.
func put(now time.Time, d time.Duration) time.Time {
	type instant struct { // time.Time
		wall uint64 // 33 bits of seconds above 30 of nanoseconds
		ext  int64
		loc  *time.Location
	}
	(*instant)(unsafe.Pointer(&now)).wall += uint64(d/time.Second) << 30
	return now
}

// TestF74ClockIsPutWhileSessionsRest holds that a clock which is put ahead closes no
// session, and one that is put back keeps none.
func TestF74ClockIsPutWhileSessionsRest(t *testing.T) {
	for _, c := range []struct {
		put, rested time.Duration
		closed      bool
	}{
		{24 * time.Hour, 0, false},
		{24 * time.Hour, time.Hour - time.Second, false},
		{0, time.Hour + time.Second, true},
		{-24 * time.Hour, time.Hour + time.Second, true},
	} {
		l := listener(t, "cup-pos", nil)
		here, there := net.Pipe()
		ss := newSession(New(Config{Listeners: []Listener{l}}, nil, nil, nil), here, &l, nil)
		ss.check(put(time.Now().Add(c.rested), c.put))
		there.SetReadDeadline(time.Now())
		if _, err := there.Read(make([]byte, 1)); (err == io.EOF) != c.closed {
			t.Errorf("put by %v after a rest of %v: %v, want it closed: %v", c.put, c.rested, err, c.closed)
		}
		here.Close()
	}
}
