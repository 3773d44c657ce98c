package terminal

import (
	"cmp"
	"slices"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// memory is what a terminal knows: the sum of its store's facts.
type memory struct {
	terminal, merchant string // whose it is; empty: nobody's yet

	stan  uint32 // the last number used
	used  int    // numbers used in this batch
	batch uint32 // 0: no fact said yet
	count uint32 // how far a DUKPT terminal has counted

	// What is owed to the switch, in the order in which it goes out before the
	// next online transaction.
	scripts []fact // results of issuers' scripts
	owed    *fact  // a request whose fate is unknown, to be reversed
	told    []fact // told of afterwards, or a refund without an answer

	items    []fact    // answers that approved something, of this batch, with their requests' frames
	settling *settling // nil: the batch is open

	asked fact // the last request sent, until its answer
}

// settling is how far the settlement of the batch is.
type settling struct {
	pending  *fact // sent and not answered: it goes out again as it is
	compared txn.Comparison
	host     txn.Totals // the switch's, where they differ
	uploaded int        // messages that were answered
}

// apply moves the memory past a fact.
func (m *memory) apply(f *fact) {
	k := f.kind()
	m.count = max(m.count, f.Count)
	switch f.Event {
	case opened:
		*m = memory{terminal: m.terminal, merchant: m.merchant, stan: m.stan, batch: f.Batch, count: m.count, scripts: m.scripts, owed: m.owed, told: m.told}
	case owned:
		m.terminal, m.merchant = f.Terminal, f.Merchant
	case kept:
		m.number(f)
		if f.Instead != 0 {
			m.told, m.items = drop(m.told, f.Instead), drop(m.items, f.Instead)
		}
		if k == txn.KindScriptResult {
			m.scripts = append(m.scripts, *f)
		} else {
			m.told = append(m.told, *f)
			m.items = append(m.items, *f)
		}
	case sent:
		m.sent(k, f)
	case failed:
		if m.owed != nil && m.owed.STAN == f.STAN && m.owed.Kind == f.Kind {
			m.owed.Code = f.Code
		}
	case dropped:
		m.told = drop(m.told, f.STAN)
	case answered:
		m.answered(k, f)
	}
}

// number takes a trace number as used. What is sent again, reversed or uploaded
// has a number that lies behind.
func (m *memory) number(f *fact) {
	ahead := (f.STAN + txn.STANMax - m.stan) % txn.STANMax
	if f.STAN != 0 && ahead != 0 && (m.stan == 0 || ahead < txn.STANMax/2) {
		m.stan = f.STAN
		m.used++
	}
}

func (m *memory) sent(k txn.Kind, f *fact) {
	if i := find(m.told, f.STAN); i >= 0 && m.told[i].Kind == f.Kind || k == txn.KindScriptResult {
		m.asked = *f
		return
	}
	m.number(f)
	m.asked = *f
	switch {
	case k == txn.KindReversal:
		if m.owed == nil || m.owed.STAN != f.STAN {
			owed := *f
			m.owed = &owed
		}
	case k.Remedy() == txn.Reverse:
		owed := *f
		owed.Code = "98"
		m.owed = &owed
	case k == txn.KindRefund:
		m.told = append(m.told, *f)
	case k.Batch():
		if m.settling == nil || k == txn.KindSettlement {
			m.settling = &settling{}
		}
		pending := *f
		m.settling.pending = &pending
	}
}

func (m *memory) answered(k txn.Kind, f *fact) {
	again := WantsSignOn(f.Code) // it was not looked at: whatever was owed stays so
	again = again || k.Told() && comesLater(f.Code)
	approved := f.Code == "00"
	switch {
	case k.Batch():
		m.settled(k, f, approved)
	case again && (k == txn.KindReversal || k == txn.KindScriptResult || k.Remedy() == txn.Repeat):
	case k == txn.KindReversal:
		m.owed = nil
		switch i := find(m.items, cmp.Or(f.Of, f.STAN)); {
		case i < 0 || !approved:
		case f.Stays != 0:
			m.items[i].Amount = f.Stays
		default:
			m.items = slices.Delete(m.items, i, i+1)
		}
	case k == txn.KindScriptResult:
		m.scripts = drop(m.scripts, f.STAN)
	case k.Told():
		m.told = drop(m.told, f.STAN)
		i := find(m.items, f.STAN)
		if approved || f.Code == "94" { // 94: it came before
			if i >= 0 {
				m.items[i] = merge(&m.items[i], f)
			}
		} else if i >= 0 {
			m.items = slices.Delete(m.items, i, i+1)
		}
	default:
		if m.owed != nil && m.owed.STAN == f.STAN {
			m.owed = nil
		}
		m.told = drop(m.told, f.STAN)
		if approved && k.MovesMoney() {
			m.items = append(m.items, merge(&m.asked, f))
		}
	}
}

// comesLater says that a code refuses the time and not the message: what has
// happened is told again.
func comesLater(code string) bool { return code == "09" || code == "91" || code == "96" }

func (m *memory) settled(k txn.Kind, f *fact, approved bool) {
	s := m.settling
	if s == nil {
		return
	}
	s.pending = nil
	if k == txn.KindSettlement {
		s.compared, s.host = readTotals(f.Totals)
		if s.compared == txn.NotCompared {
			m.settling = nil
		}
		return
	}
	switch {
	case !approved:
	case endsBatch(f.Network):
		m.settling, m.items, m.used = nil, nil, 0
		m.batch = f.Batch%999_999 + 1
	default:
		s.uploaded++
	}
}

func endsBatch(network uint16) bool { return network == netEndEqual || network == netEndUnequal }

// merge is a request's fact with what its answer says.
func merge(asked, a *fact) fact {
	f := *a
	if asked.STAN == a.STAN && asked.Kind == a.Kind {
		f.Frame = asked.Frame
	}
	return f
}

func find(facts []fact, stan uint32) int {
	return slices.IndexFunc(facts, func(f fact) bool { return f.STAN == stan })
}

func drop(facts []fact, stan uint32) []fact {
	if i := find(facts, stan); i >= 0 {
		return slices.Delete(facts, i, i+1)
	}
	return facts
}

// nothingTaken says that the switch has answered for no item of the batch.
func (m *memory) nothingTaken() bool {
	return !slices.ContainsFunc(m.items, func(f fact) bool { return find(m.told, f.STAN) < 0 })
}

// totals are those of the batch: what was approved, and what was told.
func (m *memory) totals() (t txn.Totals) {
	for i := range m.items {
		if e := m.items[i].kind().Totals(); e != txn.NoEffect {
			side := t.Side(e)
			side.Count, side.Minor = side.Count+1, side.Minor+m.items[i].Amount
		}
	}
	return t
}
