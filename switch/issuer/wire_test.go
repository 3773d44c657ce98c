package issuer

import (
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// A peer that stops reading takes nobody's place at the gate: what waits behind a
// stuck write waits for it alone, long before its link is given up.
func TestF42PeerThatStopsReadingTakesNoPlace(t *testing.T) {
	is := &issuer{cfg: Config{WriteTimeout: time.Minute}, codec: lengths{}, hooks: &Hooks{}, table: newTable(0)}
	ours, theirs := net.Pipe()
	defer theirs.Close()
	w, err := newWire(&link{is: is}, ours)
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan struct{})
	go func() { w.write(); close(written) }()
	const calls = 3000
	var gone atomic.Int64
	for range calls {
		c := is.table.begin(calls, classRequest, is.id, terminal, ten, noon)
		if err := w.send(c, 0, func() { gone.Add(1) }, func(dst []byte) ([]byte, error) { return append(dst, make([]byte, 200)...), nil }); err != nil {
			t.Fatal(err)
		}
	}
	for limit := time.Now().Add(30 * time.Second); gone.Load() < calls && time.Now().Before(limit); time.Sleep(time.Millisecond) {
	}
	if n := gone.Load(); n != calls || w.written.Load() != 0 {
		t.Errorf("%d of %d have given their places back, after %d writes", n, calls, w.written.Load())
	}
	w.fail(errClosed)
	<-w.failed
	<-w.conn.Done()
	<-written
	w.close()
	if n, busy := gone.Load(), is.table.busy(classRequest); n != calls || busy != 0 {
		t.Errorf("in the end %d of %d, and %d are in flight", n, calls, busy)
	}
}

// lengths is a codec as far as a peer needs it that says nothing.
type lengths struct{ Codec }

func (lengths) PrefixSize() int { return 2 }
