package acquirer

import (
	"sync"
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
	parts [64]pacePart
}

type pacePart struct {
	mu   sync.Mutex
	full map[txn.TerminalID]time.Duration // when each bucket is full, since epoch
}

func newPace(perSecond float64, burst int) *pace {
	p := &pace{epoch: time.Now()}
	if perSecond > 0 {
		p.each = time.Duration(float64(time.Second) / perSecond)
		p.burst = p.each * time.Duration(max(burst, 1))
		for i := range p.parts {
			p.parts[i].full = map[txn.TerminalID]time.Duration{}
		}
	}
	return p
}

// takes says whether the terminal may ask once more at an instant, and takes a
// token for it. What is refused takes none.
func (p *pace) takes(id txn.TerminalID, at time.Time) bool {
	if p.each == 0 {
		return true
	}
	now := at.Sub(p.epoch)
	part := &p.parts[id.Spread()%uint64(len(p.parts))]
	part.mu.Lock()
	defer part.mu.Unlock()
	full := max(part.full[id], now) + p.each
	if full-now > p.burst {
		return false
	}
	part.full[id] = full
	return true
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
