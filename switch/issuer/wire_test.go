package issuer

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// A peer that stops reading takes nobody's place at the gate: what waits behind a
// stuck write waits for it alone, long before its link is given up.
func TestF42PeerThatStopsReadingTakesNoPlace(t *testing.T) {
	const calls = 3000
	is := &issuer{cfg: Config{WriteTimeout: time.Minute, InFlightMax: calls}, codec: lengths{}, hooks: &Hooks{}, table: newTable(0)}
	ours, theirs := net.Pipe()
	defer theirs.Close()
	w, err := newWire(&link{is: is}, ours, "")
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan struct{})
	go func() { w.write(); close(written) }()
	var gone atomic.Int64
	for range calls {
		c := is.table.begin(calls, classRequest, is.id, terminal, ten, noon)
		if err := w.send(c, 0, func() { gone.Add(1) }, func(dst []byte) ([]byte, error) { return append(dst, make([]byte, 600)...), nil }); err != nil {
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

// What finds no room behind a stuck write is refused, and is no failure of the issuer:
// a peer that pauses for a moment while much is asked of it is not shut out for seconds.
func TestF46FullQueueOpensNoBreaker(t *testing.T) {
	is := &issuer{cfg: Config{WriteTimeout: time.Minute, Timeout: time.Minute, InFlightMax: 2}, codec: lengths{}, hooks: &Hooks{}, table: newTable(0)}
	ours, theirs := net.Pipe()
	defer theirs.Close()
	w, err := newWire(&link{is: is}, ours, "")
	if err != nil {
		t.Fatal(err)
	}
	is.links = []*link{w.link}
	w.link.wire.Store(w)
	if err := w.post(func([]byte) ([]byte, error) { return make([]byte, 2*queueEach), nil }); err != nil {
		t.Fatal(err)
	}
	handedOff := 0
	c := is.table.begin(2, classRequest, is.id, terminal, ten, noon)
	outcome, reason, result := is.exchange(c, &txn.Request{Deadline: time.Now().Add(time.Minute)}, [12]byte{}, 0, func() { handedOff++ }, &txn.Reply{})
	if outcome != txn.OutcomeNotSent || reason != txn.IssuerIsBusy || result != errNothing || handedOff != 1 {
		t.Errorf("%v, %v, %v, %d handed off", outcome, reason, result, handedOff)
	}
	w.fail(errClosed)
	<-w.failed
	<-w.conn.Done()
}

// lengths is a codec as far as a peer needs it that says nothing.
type lengths struct{ Codec }

func (lengths) PrefixSize() int                 { return 2 }
func (lengths) RequestType(*txn.Request) uint16 { return 0x0200 }
