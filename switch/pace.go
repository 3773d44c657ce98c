package acquirer

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// pace bounds how fast each terminal may ask: a bucket of tokens per terminal,
// kept as the one instant at which it will be full again (GCRA). A terminal that
// has been quiet for a while may ask for a burst at once.
//
// Only registered terminals whose messages authenticate have a bucket, so
// strangers can neither fill the table nor empty another's bucket.
type pace struct {
	each  time.Duration // what one request costs, 0: no bound
	burst time.Duration // what a full bucket is worth
	epoch time.Time
	parts *[paceParts]pacePart // apart, so that each begins where a cache line does
}

const paceParts = 1 << 10

// pacePart is a cache line.
type pacePart struct {
	mu      sync.Mutex
	buckets []bucket // open addressing; a power of two, or none
	used    int
	asked   atomic.Uint32 // never written: reading it brings the line here
	_       [20]byte
}

// bucket is free where it has no terminal.
type bucket struct {
	terminal txn.TerminalID
	full     time.Duration // when it is, since epoch
}

func newPace(perSecond float64, burst int) *pace {
	p := &pace{epoch: time.Now(), parts: new([paceParts]pacePart)}
	if perSecond > 0 {
		p.each = time.Duration(float64(time.Second) / perSecond)
		p.burst = p.each * time.Duration(max(burst, 1))
	}
	return p
}

// ask has the memory of a terminal's bucket come here, since it is needed soon.
func (p *pace) ask(id *txn.TerminalID) { p.parts[id.Spread()%paceParts].asked.Load() }

// takes says whether the terminal may ask once more at an instant, and takes a
// token for it. What is refused takes none.
func (p *pace) takes(id txn.TerminalID, at time.Time) bool {
	if p.each == 0 {
		return true
	}
	now := at.Sub(p.epoch)
	hash := id.Spread()
	part := &p.parts[hash%paceParts]
	part.mu.Lock()
	defer part.mu.Unlock()
	b := part.of(id, hash>>32)
	full := max(b.full, now) + p.each
	if full-now > p.burst {
		return false
	}
	b.full = full
	return true
}

// bucketsFirst is the room of a part's first buckets.
const bucketsFirst = 8

// of is a terminal's bucket, which is made if there is none. mu is held.
func (p *pacePart) of(id txn.TerminalID, hash uint64) *bucket {
	if p.used >= len(p.buckets)*3/4 {
		old := p.buckets
		p.buckets, p.used = make([]bucket, max(bucketsFirst, 2*len(old))), 0
		for _, b := range old {
			if b.terminal != (txn.TerminalID{}) {
				*p.of(b.terminal, b.terminal.Spread()>>32) = b
			}
		}
	}
	for i := hash; ; i++ {
		switch b := &p.buckets[i&uint64(len(p.buckets)-1)]; b.terminal {
		case id:
			return b
		case txn.TerminalID{}:
			p.used++
			b.terminal = id
			return b
		}
	}
}

// paced says that requests like this one are bounded: what takes money back,
// tells what has happened already or belongs to a settlement never is.
func paced(req *txn.Request) bool {
	switch {
	case req.Terminal == nil, req.Kind == txn.KindReversal, req.Kind == txn.KindScriptResult, req.Kind.Told(), req.Kind.Batch():
		return false
	}
	return true
}
