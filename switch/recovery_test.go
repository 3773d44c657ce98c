package acquirer

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

var recoveryRecords = flag.Int("recovery.records", 20_000, "records of the journal that TestF68RecoveryTime recovers")

// recoveryWithin is how long a switch may take to start on ten million records.
const recoveryWithin = 15 * time.Second

// TestF68RecoveryTime starts a switch on a journal of sales, as many terminals and
// cards make them, and holds what is counted afterwards.
func TestF68RecoveryTime(t *testing.T) {
	const terminals, cards, writers = 10_000, 1_000_000, 256
	h := newHouse(t)
	h.want("a sale to be like", h.ask(sale("10000001", 1, 100)), txn.Approved, "00")
	recs := h.records()
	last := recs[0] // the intent, whose card number opens
	h.stop()

	dir := filepath.Join(h.dir, "journal")
	var size atomic.Int64
	j, err := journal.Open(dir, journal.Config{OnFlush: func(_, bytes int, _ time.Duration) { size.Add(int64(bytes)) }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- j.Run(ctx) }()
	sales := *recoveryRecords / 2
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			var buf []byte
			for n := w; n < sales; n += writers {
				for _, rec := range recs {
					rec.ID = last.ID + txn.ID(n+1)<<10
					rec.Key.Terminal = txn.MakeTerminalID(fmt.Sprintf("2%07d", n%terminals))
					rec.Key.STAN = uint32(1 + n/terminals)
					rec.Leg.STAN = uint32(1 + n%999_999)
					rec.RRN = [12]byte([]byte(fmt.Sprintf("%012d", n)))
					binary.BigEndian.PutUint32(rec.Card[:], uint32(n%cards))
					buf = rec.Append(buf[:0])
					if _, err := j.Append(buf); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	writing.Wait()
	if _, err := j.Append(last.Append(nil)); err != nil { // an open one, whose card number can be read
		t.Error(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.seg"))
	before := processorTime(t)
	found := h.open(nil)
	worked := processorTime(t) - before
	t.Logf("%d records of %d MB in %d files were recovered in %v, with %v of processor time", found.Records, size.Load()>>20, len(files),
		found.Duration.Round(time.Millisecond), worked.Round(time.Millisecond))
	if got, want := h.used("20000000"), int64((sales+terminals-1)/terminals)*100; got != want {
		t.Errorf("a terminal used %d, want %d", got, want)
	}
	// Two processors share it about evenly. On a machine that is busy with other
	// things the clock says nothing.
	if most := max(recoveryWithin, recoveryWithin/10_000_000*time.Duration(found.Records)); worked > 2*most {
		t.Errorf("recovered with %v of processor time, the bar is %v on two processors", worked, most)
	}
}

func processorTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
