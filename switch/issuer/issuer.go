package issuer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/certs"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// issuer is one configured issuer: its links, its calls and its breaker.
type issuer struct {
	cfg   Config // immutable after New, defaults filled in
	id    txn.IssuerID
	codec Codec
	tls   atomic.Pointer[certs.Loaded] // nil: plain
	// peerEnds is when the certificate ends that the issuer showed last.
	peerEnds atomic.Pointer[time.Time]
	zone     *time.Location
	journal  Journal
	hooks    *Hooks
	late     chan<- Late
	links    []*link
	turn     atomic.Uint32 // spreads calls over the links
	table    *table
	breaker  *breaker
	dropped  atomic.Uint64 // late answers that found the queue full
	asking   sync.Mutex    // held by the link that asks for keys
	asked    time.Time     // when that was because of wrong MACs
	wrong    chan struct{} // holds one: a message had a wrong MAC
	// settles is the day (DE15) that the issuer's last cut-over began; nil until one
	// names it. A restart forgets it: until the next cut-over the day is then the one in
	// the issuer's answers, or else our own.
	settles atomic.Pointer[[4]byte]
}

func (is *issuer) name() string { return is.cfg.Name }

// now is the present as DE7 and as an instant.
func (is *issuer) now() (de7 [10]byte, at time.Time) {
	at = time.Now()
	t := at.In(is.zone)
	_, month, day := t.Date()
	hour, minute, second := t.Clock()
	for i, v := range [...]int{int(month), day, hour, minute, second} {
		de7[2*i], de7[2*i+1] = byte('0'+v/10), byte('0'+v%10)
	}
	return de7, at
}

// up says whether any link takes requests.
func (is *issuer) up() bool {
	for _, l := range is.links {
		if l.wire.Load() != nil {
			return true
		}
	}
	return false
}

// inFlight is how many messages wait for the issuer's answer, network management apart.
func (is *issuer) inFlight() int {
	return is.table.busy(classRequest) + is.table.busy(classAdvice) + is.table.busy(classReversal)
}

// send queues c on the next link that takes it, on a doubted one only where there is no
// other, to leave when the record at intent is durable. handedOff, unless nil, is called
// when c waits for the peer alone or will never leave. After an error nothing was queued
// and nothing will be called.
func (is *issuer) send(c *call, intent journal.Position, handedOff func(), encode func([]byte) ([]byte, error)) error {
	err := errClosed
	first := int(is.turn.Add(1))
	for i := range 2 * len(is.links) {
		w := is.links[(first+i)%len(is.links)].wire.Load()
		if w == nil || i < len(is.links) && w.doubted.Load() {
			continue
		}
		if err = w.send(c, intent, handedOff, encode); err == nil || !(errors.Is(err, errClosed) || errors.Is(err, errQueueFull)) {
			return err
		}
	}
	return err
}

// await waits until c ended or one of two other events came, and says whether it was
// answered or lost. Either way c is out of the table and its owner's.
func (is *issuer) await(c *call, stop, gone <-chan struct{}) bool {
	select {
	case <-c.done:
		return c.ending != endedOverdue
	case <-stop:
	case <-gone:
	}
	if is.table.take(c) {
		return false
	}
	<-c.done // somebody was first and is about to say so
	return c.ending != endedOverdue
}

// manage exchanges a network management message over w.
func (is *issuer) manage(ctx context.Context, w *wire, code string) error {
	return is.exchangeNetwork(ctx, w, "0800/"+code, networkCode(code), func(dst []byte, stan uint32, at time.Time) ([]byte, error) {
		return is.codec.AppendNetwork(dst, code, stan, at)
	})
}

// exchangeNetwork exchanges the network management message that encode appends, which
// has code in DE70, over w. name is what errors call it.
func (is *issuer) exchangeNetwork(ctx context.Context, w *wire, name string, code uint16, encode func(dst []byte, stan uint32, at time.Time) ([]byte, error)) error {
	de7, at := is.now()
	c := is.table.beginNetwork(2*connectionsMax, is.id, code, de7)
	if c == nil {
		return errors.New("too many network messages in flight")
	}
	defer is.table.release(c)
	var reply txn.Reply
	c.reply = &reply
	is.table.expect(c, time.Now().Add(is.cfg.EchoTimeout))
	if err := w.send(c, 0, nil, func(dst []byte) ([]byte, error) { return encode(dst, c.leg.STAN, at.In(is.zone)) }); err != nil {
		is.table.take(c)
		return err
	}
	switch ended := is.await(c, ctx.Done(), w.conn.Done()); {
	case !ended:
		return fmt.Errorf("%s was not answered", name)
	case c.ending != endedAnswered:
		return fmt.Errorf("%s was not answered as asked", name)
	case reply.Code != approvedCode:
		return fmt.Errorf("%s was refused with %q", name, reply.Code[:])
	}
	return nil
}

// alive says whether an echo is answered on any link; where there are none, whether a
// link stands.
func (is *issuer) alive(ctx context.Context) bool {
	if is.cfg.EchoEvery < 0 {
		return is.up()
	}
	for _, l := range is.links {
		if w := l.wire.Load(); w != nil && is.manage(ctx, w, echo) == nil {
			return true
		}
	}
	return false
}

func networkCode(code string) uint16 {
	return uint16(code[0]-'0')*100 + uint16(code[1]-'0')*10 + uint16(code[2]-'0')
}

// cutOver is the network management code (DE70) of an issuer that begins its next
// business day.
const cutOver = 201

// asked are the network management codes of issuers that we agree to: sign-on and
// sign-off, cut-over begins and ends, echo. But for a cut-over they change nothing
// here: whether a link is up shows in what is answered on it. Others but new keys (takeKey)
// are answered as not offered: an issuer without an answer would ask for ever.
var asked = map[uint16]bool{1: true, 2: true, 61: true, 62: true, cutOver: true, 202: true, 301: true}

// received completes the call that a message answers, and answers what an issuer asks
// itself on the wire it came by: its network management, and that we offer nothing
// else. It runs on a link's reader: it waits for nobody, but with a new key until that
// is in force.
func (is *issuer) received(w *wire, frame []byte, h *txn.ReplyHead, reply *txn.Reply) {
	if h.Rejected != "" {
		is.hooks.malformed(is.name(), fmt.Errorf("a %04x of ours came back with reject code %q: its header says why it is wrong", h.MTI&^0x10, h.Rejected))
	}
	if h.MTI>>8 == 0x08 && h.MTI&0x10 == 0 {
		if h.Network == newKey && h.MTI == newKeyType && is.hooks.NewKey != nil {
			is.takeKey(w, frame)
			return
		}
		code := approvedCode
		switch {
		case h.Network == 0, h.Network == cutOver && !is.begins(reply.SettlementDate):
			code = formatCode
		case !asked[h.Network]:
			code = notOfferedCode
			is.hooks.unmatched(is.name(), *h, "what it asks for (DE70) is not offered")
		}
		// A full queue drops the answer: a peer that does not read asks again.
		_ = w.post(func(dst []byte) ([]byte, error) { return is.codec.AppendAnswer(dst, h, code) })
		return
	}
	if asks(h.MTI) {
		is.hooks.unmatched(is.name(), *h, "it asks for something that an acquirer does not offer")
		_ = w.post(func(dst []byte) ([]byte, error) { return is.codec.AppendAnswer(dst, h, notOfferedCode) })
		return
	}
	c, why := is.table.match(h)
	if c != nil {
		if c.ending == endedAnswered && c.reply != nil {
			if day := is.settles.Load(); day != nil && reply.SettlementDate == ([4]byte{}) && c.class != classNetwork {
				reply.SettlementDate = *day // its answers name none: what it said at its cut-over
			}
			copyReply(c.reply, reply)
		}
		c.done <- struct{}{}
		return
	}
	is.hooks.unmatched(is.name(), *h, why)
	if class, response := classOf(h.MTI); class != classRequest && class != classAdvice || !response {
		return
	}
	l := Late{Leg: txn.Leg{Issuer: is.id, STAN: h.STAN, Time: h.Time}}
	copyReply(&l.Reply, reply)
	select {
	case is.late <- l:
	default:
		is.dropped.Add(1)
	}
}

// begins notes the issuer's next business day, MMDD or zero where it does not say
// which. It is false where that is no day of any year: the one before goes on.
func (is *issuer) begins(day [4]byte) bool {
	if day != ([4]byte{}) {
		if _, err := time.Parse("0102", string(day[:])); err != nil {
			is.hooks.malformed(is.name(), fmt.Errorf("begin its next business day: settlement date (DE15) %q is no month and day", day[:]))
			return false
		}
		is.settles.Store(&day)
	}
	is.hooks.cutOver(is.name(), day)
	return true
}

// copyReply copies src into dst's own memory.
func copyReply(dst, src *txn.Reply) {
	balance, chip, data := dst.Balance, dst.Chip, dst.IssuerData
	*dst = *src
	dst.Balance = append(balance[:0], src.Balance...)
	dst.Chip = append(chip[:0], src.Chip...)
	dst.IssuerData = append(data[:0], src.IssuerData...)
}
