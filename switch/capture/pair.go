package capture

import (
	"slices"
	"time"

	"github.com/acqswitch/acqswitch/iso"
)

// waitingMax is how many requests of a session may wait for their answers. Beyond it the
// oldest is taken as unanswered.
const waitingMax = 1 << 12

// Pairs finds out which of a session's requests an answer is of: the oldest one
// that has the answer's type less ten, its trace number and its terminal, and was
// asked less than two minutes before. The zero value is ready.
type Pairs struct {
	waiting []waiting // oldest first
}

// waiting is what an answer must repeat to be that of a request.
type waiting struct {
	number         uint64
	at             time.Time
	mti            uint16
	stan, terminal string
}

// Asked notes a request of some time under a number. It is false when another one is not waited for
// any more.
func (p *Pairs) Asked(m *iso.Message, number uint64, at time.Time) bool {
	p.waiting = append(p.waiting, waiting{number, at, m.MTI()&^1 + 0x10, string(m.Value(11)), string(m.Value(41))})
	if len(p.waiting) <= waitingMax {
		return true
	}
	p.waiting = p.waiting[1:]
	return false
}

// Answered is the number of the request that m answers, false when it is of none.
func (p *Pairs) Answered(m *iso.Message, at time.Time) (uint64, bool) {
	for i, w := range p.waiting {
		// One that was never answered would take the answer of each later request under
		// its trace number, which then takes that of the next.
		if at.Sub(w.at) < aheadFor && w.mti == m.MTI() && w.stan == string(m.Value(11)) && w.terminal == string(m.Value(41)) {
			p.waiting = slices.Delete(p.waiting, i, i+1)
			return w.number, true
		}
	}
	return 0, false
}

// messageType reads the type of a frame.
type messageType struct{ m iso.Message }

func (t *messageType) of(d *Dialect, frame []byte) uint16 {
	d.Parse(&t.m, frame)
	return t.m.MTI()
}
