package capture

import (
	"slices"

	"github.com/acqswitch/acqswitch/iso"
)

// waitingMax is how many requests of a session may wait for their answers.
const waitingMax = 1024

// Pairs finds out which of a session's requests an answer is of: the oldest one
// that has the answer's type less ten, its trace number and its terminal. The
// zero value is ready.
type Pairs struct {
	waiting []waiting // oldest first
	next    int
}

// waiting is what an answer must repeat to be that of a request.
type waiting struct {
	number         int
	mti            uint16
	stan, terminal string
}

// Asked notes a request and numbers it: 0, 1, ...
func (p *Pairs) Asked(m *iso.Message) int {
	if len(p.waiting) == waitingMax {
		p.waiting = slices.Delete(p.waiting, 0, 1)
	}
	n := p.next
	p.next++
	p.waiting = append(p.waiting, waiting{n, m.MTI()&^1 + 0x10, string(m.Value(11)), string(m.Value(41))})
	return n
}

// Answered is the number of the request that m answers, -1 when it is of none.
func (p *Pairs) Answered(m *iso.Message) int {
	for i, w := range p.waiting {
		if w.mti == m.MTI() && w.stan == string(m.Value(11)) && w.terminal == string(m.Value(41)) {
			p.waiting = slices.Delete(p.waiting, i, i+1)
			return w.number
		}
	}
	return -1
}

// messageType reads the type of a frame.
type messageType struct{ m iso.Message }

func (t *messageType) of(d *Dialect, frame []byte) uint16 {
	d.Parse(&t.m, frame)
	return t.m.MTI()
}
