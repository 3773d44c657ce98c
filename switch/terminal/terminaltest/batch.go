package terminaltest

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// short says what came in a few words: the kind and its number, and of an upload
// what it tells.
func short(x *dialect.Exchange) string {
	req := &x.Request
	s := fmt.Sprintf("%s %d", req.Kind, req.Key.STAN)
	switch {
	case req.Kind == txn.KindReversal:
		s += " " + string(req.ReversalReason[:])
	case req.Kind == txn.KindUpload && req.Network != 0:
		s += fmt.Sprintf(" %03d", req.Network)
	case req.Kind == txn.KindUpload:
		s += fmt.Sprintf(" %02d", req.Detail)
	}
	return s
}

// Totals are the peer's of a batch: debits and credits, counts and minor units.
func (p *Peer) Totals(tid string, batch uint32) (debits, debited, credits, credited int64) {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	return p.totals(txn.MakeTerminalID(tid), batch)
}

func (p *Peer) totals(tid txn.TerminalID, batch uint32) (debits, debited, credits, credited int64) {
	for k, b := range p.Sales {
		if k.Terminal != tid || k.Batch != batch || b.reversed {
			continue
		}
		switch b.kind.Totals() {
		case txn.Debit:
			debits, debited = debits+1, debited+b.minor
		case txn.Credit:
			credits, credited = credits+1, credited+b.minor
		}
	}
	return debits, debited, credits, credited
}

// Forget loses an approval, as a host does that was restored from yesterday.
func (p *Peer) Forget(tid string, batch, stan uint32) {
	p.Mu.Lock()
	defer p.Mu.Unlock()
	for k := range p.Sales {
		if k.Terminal == txn.MakeTerminalID(tid) && k.Batch == batch && k.STAN == stan {
			delete(p.Sales, k)
		}
	}
}

// settle answers a settlement and an upload; nil for anything else.
func (p *Peer) settle(x *dialect.Exchange) ([]byte, error) {
	req := &x.Request
	if mti := req.MTI &^ 1; mti != 0x0500 && mti != 0x0320 || x.Answer.Reason != txn.Approved {
		return nil, nil
	}
	if told := p.told[req.Key]; told != nil {
		return bytes.Clone(told), nil
	}
	var m iso.Message
	if err := p.Dialect.Codec().Parse(&m, x.Frame); err != nil {
		return nil, err
	}
	answer := p.settleISO87
	if m.TPDU() != nil {
		answer = p.settleCUP
	}
	out, err := answer(req, &m)
	p.told[req.Key] = out
	return bytes.Clone(out), err
}

func (p *Peer) settleCUP(req *txn.Request, m *iso.Message) ([]byte, error) {
	tpdu := m.TPDU()
	tpdu = []byte{tpdu[0], tpdu[3], tpdu[4], tpdu[1], tpdu[2]}
	e := p.Dialect.Codec().Begin(nil, tpdu, m.Header(), m.MTI()+0x10)
	detail := m.AppendDigits(nil, 48)
	for _, f := range [...]int{2, 3, 4, 11} {
		e.Copy(f, m)
	}
	e.Digits(12, []byte("180000"))
	e.Digits(13, []byte("1122"))
	e.Text(37, []byte("326000000000"))
	switch {
	case req.Kind == txn.KindSettlement:
		debits, debited, credits, credited := p.totals(req.Key.Terminal, req.Key.Batch)
		ours := fmt.Sprintf("%012d%03d%012d%03d", debited, debits, credited, credits)
		if ours == string(detail[:30]) {
			detail[30], detail[61] = '1', '1'
		} else {
			detail = fmt.Appendf(nil, "%s2%030d1", ours, 0)
		}
	default:
		e.Text(39, []byte("00"))
		if req.Network == 202 || req.Network == 207 {
			p.closed = append(p.closed, req.Key.Batch)
		}
	}
	e.Copy(41, m)
	e.Copy(42, m)
	if len(detail) > 0 {
		e.Digits(48, detail)
	}
	e.Copy(49, m)
	e.Copy(60, m)
	e.Copy(63, m)
	return e.Finish()
}

func (p *Peer) settleISO87(req *txn.Request, m *iso.Message) ([]byte, error) {
	e := p.Dialect.Codec().Begin(nil, nil, nil, m.MTI()+0x10)
	for _, f := range [...]int{2, 3, 4, 7, 11} {
		e.Copy(f, m)
	}
	even := true
	debits, debited, credits, credited := p.totals(req.Key.Terminal, 0)
	if m.Has(74) {
		number := func(f int) int64 { n, _ := strconv.ParseInt(string(m.AppendDigits(nil, f)), 10, 64); return n }
		even = number(74) == credits && number(76) == debits && number(86) == credited && number(88) == debited
	}
	end := string(m.AppendDigits(nil, 3)) == "960000"
	code := "00"
	if !even && !end {
		code = "95"
	}
	e.Text(39, []byte(code))
	e.Copy(41, m)
	e.Copy(42, m)
	if m.MTI() == 0x0500 {
		e.Digits(66, []byte{map[bool]byte{true: '1', false: '2'}[even]})
		e.Digits(74, fmt.Appendf(nil, "%010d", credits))
		e.Digits(76, fmt.Appendf(nil, "%010d", debits))
		e.Digits(86, fmt.Appendf(nil, "%016d", credited))
		e.Digits(88, fmt.Appendf(nil, "%016d", debited))
		if end || even {
			p.closed = append(p.closed, 0)
			for k := range p.Sales {
				if k.Terminal == req.Key.Terminal {
					delete(p.Sales, k)
				}
			}
		}
	}
	e.Copy(90, m)
	return e.Finish()
}
