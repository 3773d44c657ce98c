package issuer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/certs"
	"github.com/acqswitch/acqswitch/switch/txn"
)

var (
	approvedCode   = [2]byte{'0', '0'}
	notOfferedCode = [2]byte{'1', '2'}
	formatCode     = [2]byte{'3', '0'} // a message is wrong
	unknownCode    = [2]byte{'2', '5'} // to a reversal: the original never arrived
)

// adviceType is the type of what AppendAdvice appends, but for its repeat digit.
const adviceType = 0x0220

// passing are refusals that say nothing of the message: in progress, too late,
// cut-over, issuer away, no route, malfunction, no answer from behind UnionPay's
// network. Told again, it may be taken.
var passing = map[[2]byte]bool{{'0', '9'}: true, {'6', '8'}: true, {'9', '0'}: true, {'9', '1'}: true, {'9', '2'}: true, {'9', '6'}: true, {'9', '8'}: true}

// errPassing is what tell's caller says of such a refusal.
var errPassing = errors.New("the issuer answers that it cannot now")

// conditional are the approvals on conditions: 08 with identification, 10 partial,
// 16 update track 3 (ISO 8583:1987).
var conditional = map[string]bool{"08": true, "10": true, "16": true}

// Router knows every issuer. Its verbs may be used by many goroutines at once.
type Router struct {
	issuers []*issuer
	journal Journal
	byID    map[txn.IssuerID]*issuer
	routes  routes
	hooks   Hooks
	late    chan Late
	drain   atomic.Bool
}

// New checks the configurations and builds the routing table. codec makes that of
// an issuer's dialect; j is where intents are. Nothing is dialed before Run.
func New(configs []Config, codec func(*Config) (Codec, error), j Journal, hooks Hooks) (*Router, error) {
	r := &Router{byID: make(map[txn.IssuerID]*issuer), journal: j, hooks: hooks, late: make(chan Late, lateQueue)}
	for i, cfg := range configs {
		if err := cfg.Validate(); err != nil {
			return nil, err
		}
		is, err := r.build(cfg.withDefaults(), codec)
		if err != nil {
			return nil, fmt.Errorf("issuer %q: %w", cfg.Name, err)
		}
		if r.byID[is.id] != nil {
			return nil, fmt.Errorf("issuer %q: name is used twice", cfg.Name)
		}
		r.byID[is.id] = is
		r.issuers = append(r.issuers, is)
		for _, bin := range cfg.BINs {
			if err := r.routes.add(bin, i); err != nil {
				return nil, fmt.Errorf("issuer %q: %w", cfg.Name, err)
			}
		}
	}
	if len(r.issuers) == 0 {
		return nil, errors.New("issuers: at least one must be configured")
	}
	return r, nil
}

func (r *Router) build(cfg Config, makeCodec func(*Config) (Codec, error)) (*issuer, error) {
	codec, err := makeCodec(&cfg)
	if err != nil {
		return nil, err
	}
	var secured *certs.Loaded // nil: plain
	if cfg.TLS != nil {
		if secured, err = cfg.TLS.Load(); err != nil {
			return nil, err
		}
	}
	is := &issuer{cfg: cfg, id: txn.MakeIssuerID(cfg.Name), codec: codec, journal: r.journal, hooks: &r.hooks, late: r.late,
		zone: time.FixedZone("", int(cfg.UTCOffset/time.Second)), wrong: make(chan struct{}, 1)}
	is.tls.Store(secured)
	// Where no earlier leg is known (Resume), STANs start where the clock says;
	// with DE7 beside it a STAN is unique.
	is.table = newTable(uint32(time.Now().Unix() % txn.STANMax))
	is.breaker = newBreaker(&is.cfg, &r.hooks)
	for i := range cfg.Connections {
		is.links = append(is.links, &link{is: is, index: i, hosts: cfg.Hosts.dealt(i, cfg.Connections)})
	}
	return is, nil
}

// Of is the issuer that a card number is routed to. It is zero where there is none, or
// the prefixes are ones that New refuses.
func Of(configs []Config, pan *txn.PAN) txn.IssuerID {
	var all routes
	for i, cfg := range configs {
		for _, bin := range cfg.BINs {
			if all.add(bin, i) != nil {
				return txn.IssuerID{}
			}
		}
	}
	if len(all.nodes) == 0 {
		return txn.IssuerID{}
	}
	n, ok := all.find(pan)
	if !ok {
		return txn.IssuerID{}
	}
	return txn.MakeIssuerID(configs[n].Name)
}

// Resume goes on numbering after leg, the last one an earlier process gave out.
// Without it a restart within the second could give a terminal a STAN and time
// that it had already, and the issuer would take one request for the other.
// Call it before Run.
func (r *Router) Resume(leg txn.Leg) {
	if is := r.byID[leg.Issuer]; is != nil {
		is.table.resume(leg.STAN)
	}
}

// Busy says that the issuer of req's card has no place in flight for one more of its
// kind, so that Begin would refuse it.
func (r *Router) Busy(req *txn.Request) bool {
	n, ok := r.routes.find(&req.PAN)
	return ok && r.issuers[n].table.busy(sentAs(req.Kind)) >= r.issuers[n].cfg.InFlightMax
}

// Begin chooses the issuer of req's card, takes a place in flight and numbers
// the leg. A reason other than Approved holds nothing; after Approved, exactly
// one of Exchange and Cancel must follow. What has happened at a terminal already
// is numbered also while the issuer is away: it is told of when it is back.
func (r *Router) Begin(req *txn.Request) (txn.Leg, txn.Reason) {
	n, ok := r.routes.find(&req.PAN)
	if !ok {
		return txn.Leg{}, txn.IssuerIsUnknown
	}
	is := r.issuers[n]
	told := req.Kind.Told()
	if !told && (r.drain.Load() || !is.up()) {
		return txn.Leg{Issuer: is.id}, txn.IssuerIsUnavailable
	}
	epoch, probe, ok := is.breaker.allow()
	if !ok && !told {
		return txn.Leg{Issuer: is.id}, txn.IssuerIsUnavailable
	}
	de7, _ := is.now()
	c := is.table.begin(is.cfg.InFlightMax, sentAs(req.Kind), is.id, req.Key.Terminal, req.Amount, de7)
	if c == nil {
		is.breaker.report(epoch, probe, errNothing)
		return txn.Leg{Issuer: is.id}, txn.IssuerIsBusy
	}
	c.epoch, c.probe = epoch, probe
	return c.leg, txn.Approved
}

// Number is Begin for a request whose issuer cannot be reached, and will be told of it
// later by Advise. It holds nothing.
func (r *Router) Number(req *txn.Request) (txn.Leg, bool) {
	n, ok := r.routes.find(&req.PAN)
	if !ok {
		return txn.Leg{}, false
	}
	is := r.issuers[n]
	de7, _ := is.now()
	c := is.table.begin(is.cfg.InFlightMax, classAdvice, is.id, req.Key.Terminal, req.Amount, de7)
	if c == nil {
		return txn.Leg{}, false
	}
	leg := c.leg
	is.table.take(c)
	is.table.release(c)
	return leg, true
}

// Exchange sends req, once the journal's record at intent is on stable storage,
// and waits for its reply until req.Deadline or the issuer's timeout, whichever is
// first, but not less than until the request has left or its link is lost; and gives
// the place back. The outcome is NotSent only if certainly no byte left. A passing
// refusal of what is told until it is taken is Unknown, not Declined.
// handedOff is called once, maybe after Exchange has returned: when the request waits for
// its issuer alone, or will never leave.
func (r *Router) Exchange(req *txn.Request, leg *txn.Leg, rrn [12]byte, intent journal.Position, handedOff func(), reply *txn.Reply) (txn.Outcome, txn.Reason) {
	is, c := r.held(leg)
	reply.Reset()
	outcome, reason, result := is.exchange(c, req, rrn, intent, handedOff, reply)
	if w := c.wire.Load(); w != nil {
		if at, ok := w.left(c.flush); ok {
			req.Trace[txn.StageIntent] = at.Sub(req.Received)
		}
	}
	is.breaker.report(c.epoch, c.probe, result)
	is.table.release(c)
	return outcome, reason
}

// Cancel gives the place of a leg back that was never exchanged.
func (r *Router) Cancel(leg *txn.Leg) {
	is, c := r.held(leg)
	is.table.take(c)
	is.breaker.report(c.epoch, c.probe, errNothing)
	is.table.release(c)
}

// held is the call that Begin made for leg.
func (r *Router) held(leg *txn.Leg) (*issuer, *call) {
	if is := r.byID[leg.Issuer]; is != nil {
		if c := is.table.find(leg); c != nil {
			return is, c
		}
	}
	panic("issuer: a leg was exchanged or cancelled twice, or never begun")
}

func (is *issuer) exchange(c *call, req *txn.Request, rrn [12]byte, intent journal.Position, handedOff func(), reply *txn.Reply) (txn.Outcome, txn.Reason, error) {
	now, wait := time.Now(), is.cfg.Timeout
	req.Trace[txn.StageIntent] = now.Sub(req.Received) // unless it leaves: then that is when its intent was durable
	if !req.Deadline.IsZero() {
		wait = min(wait, req.Deadline.Sub(now))
	}
	if wait <= 0 { // waited too long on our side: nobody wants the answer
		is.table.take(c)
		handedOff()
		return txn.OutcomeNotSent, txn.SwitchIsOverloaded, errNothing
	}
	c.reply, c.rrn, c.mti = reply, rrn, is.codec.RequestType(req)
	is.table.expect(c, now.Add(wait))
	if err := is.send(c, intent, handedOff, func(dst []byte) ([]byte, error) { return is.codec.AppendRequest(dst, req, &c.leg, rrn) }); err != nil {
		is.table.take(c)
		handedOff()
		switch {
		case errors.Is(err, errQueueFull):
			return txn.OutcomeNotSent, txn.IssuerIsBusy, errNothing // as with too many in flight: whether it serves, those say
		case errors.Is(err, errClosed):
			return txn.OutcomeNotSent, txn.IssuerIsUnavailable, errFailed
		}
		is.hooks.malformed(is.name(), fmt.Errorf("build request: %w", err))
		return txn.OutcomeNotSent, txn.SwitchFailed, errNothing
	}
	// From here on bytes may leave. A crash finds the intent and reverses.
	<-c.done // bounded: expire ends what nobody answers
	switch c.ending {
	case endedOverdue:
		if wait < is.cfg.Timeout/2 { // it had little time, for we had spent it: that is no failure of its own
			return txn.OutcomeUnknown, txn.IssuerDidNotAnswer, errNothing
		}
		c.wire.Load().unheard()
		return txn.OutcomeUnknown, txn.IssuerDidNotAnswer, errFailed
	case endedUnsent:
		return txn.OutcomeNotSent, txn.IssuerIsUnavailable, c.lossSays()
	case endedLost:
		return txn.OutcomeUnknown, txn.IssuerDidNotAnswer, c.lossSays()
	case endedNonsense:
		return txn.OutcomeUnknown, txn.IssuerAnsweredNonsense, errNothing
	}
	c.wire.Load().heard()
	outcome, reason, result := judge(reply.Code)
	if passing[reply.Code] && req.Kind.Remedy() == txn.Repeat {
		return txn.OutcomeUnknown, txn.IssuerDidNotAnswer, result // as Advise sees it: told again, it may be taken
	}
	return outcome, reason, result
}

// judge is what an issuer's DE39 means, and what it says about the issuer.
func judge(code [2]byte) (txn.Outcome, txn.Reason, error) {
	switch {
	case txn.Agrees(code):
		return txn.OutcomeApproved, txn.Approved, nil
	case conditional[string(code[:])] || code == [2]byte{}:
		// An approval on conditions that no terminal here can meet, or an answer
		// without a code: whatever the issuer booked must be undone.
		return txn.OutcomeUnknown, txn.IssuerAnsweredNonsense, nil
	case string(code[:]) == "91" || string(code[:]) == "96":
		return txn.OutcomeDeclined, txn.IssuerDeclined, errFailed
	}
	return txn.OutcomeDeclined, txn.IssuerDeclined, nil
}

// Reverse tries once to undo rec's leg; attempt 0 is the first try. It is true
// when nothing is owed any more: the issuer undid it (txn.Agrees) or never saw it
// (25). A refusal has a code, and an error where another try may be taken. It passes
// the breaker by, so that an open one does not keep repairs back.
func (r *Router) Reverse(ctx context.Context, rec *txn.Record, pan []byte, attempt int) (bool, [2]byte, error) {
	mti := uint16(0x0400)
	if is := r.byID[rec.Leg.Issuer]; is != nil {
		switch is.cfg.Reversals {
		case reversalNone:
			return false, [2]byte{}, txn.ErrNoReversals
		case reversalAdvice:
			mti = 0x0420
		}
	}
	if attempt > 0 {
		mti++ // its repeat
	}
	code, err := r.tell(ctx, "reverse", classReversal, rec, func(is *issuer, dst []byte) ([]byte, error) {
		return is.codec.AppendReversal(dst, rec, pan, mti)
	})
	if passing[code] {
		err = errPassing
	}
	return txn.Agrees(code) || code == unknownCode, code, err
}

// Advise tells rec's issuer once of what rec says happened, under rec's leg;
// attempt 0 is the first telling. It is true when the issuer took note: it
// agreed or said no, which the code tells and another telling would not
// change. It passes the breaker by, as Reverse does.
func (r *Router) Advise(ctx context.Context, rec *txn.Record, pan []byte, attempt int) (bool, [2]byte, error) {
	code, err := r.tell(ctx, "advise", classAdvice, rec, func(is *issuer, dst []byte) ([]byte, error) {
		return is.codec.AppendAdvice(dst, rec, pan, attempt > 0)
	})
	if passing[code] {
		err = errPassing
	}
	return code != [2]byte{} && !passing[code], code, err
}

// tell sends one message about rec under rec's leg and waits for its answer's
// code, at most for the issuer's timeout. verb names it in errors.
func (r *Router) tell(ctx context.Context, verb string, class class, rec *txn.Record, encode func(*issuer, []byte) ([]byte, error)) ([2]byte, error) {
	is := r.byID[rec.Leg.Issuer]
	if is == nil {
		return [2]byte{}, fmt.Errorf("%s: %w: issuer %q is not configured any more; add it again, it is owed this", verb, txn.ErrNotSent, rec.Leg.Issuer)
	}
	var reply txn.Reply
	_, key := rec.Subject()
	c, err := is.table.again(is.cfg.InFlightMax, class, rec.Leg, key.Terminal, rec.Amount)
	if err != nil {
		return [2]byte{}, fmt.Errorf("%s at issuer %s: %w: %w", verb, is.name(), txn.ErrNotSent, err)
	}
	defer is.table.release(c)
	c.reply = &reply
	if class == classAdvice {
		c.rrn, c.mti = rec.RRN, adviceType
	}
	is.table.expect(c, time.Now().Add(is.cfg.Timeout))
	if err := is.send(c, 0, nil, func(dst []byte) ([]byte, error) { return encode(is, dst) }); err != nil {
		is.table.take(c)
		return [2]byte{}, fmt.Errorf("%s at issuer %s: %w: %w", verb, is.name(), txn.ErrNotSent, err)
	}
	switch ended := is.await(c, ctx.Done(), nil); {
	case !ended:
		return [2]byte{}, fmt.Errorf("%s at issuer %s: no answer for STAN %06d", verb, is.name(), rec.Leg.STAN)
	case c.ending == endedNonsense:
		return [2]byte{}, fmt.Errorf("%s at issuer %s: the answer for STAN %06d is of another type, terminal or amount", verb, is.name(), rec.Leg.STAN)
	case c.ending == endedUnsent:
		return [2]byte{}, fmt.Errorf("%s at issuer %s: %w: link was lost before that", verb, is.name(), txn.ErrNotSent)
	case c.ending != endedAnswered:
		return [2]byte{}, fmt.Errorf("%s at issuer %s: link was lost before the answer for STAN %06d", verb, is.name(), rec.Leg.STAN)
	}
	return reply.Code, nil
}

// drainMax bounds the wait for what is in flight at the end of Run. What is
// still unanswered then loses its link and is Unknown.
const drainMax = 30 * time.Second

// Run keeps the links up until ctx ends, then drains: Begin refuses, what is
// in flight is answered or runs into its timeout, links sign off and close,
// late answers are handed over. It may be called once.
func (r *Router) Run(ctx context.Context) error {
	live, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var links, after sync.WaitGroup
	after.Go(func() {
		for l := range r.late {
			if r.hooks.Late != nil {
				r.hooks.Late(l)
			}
			select { // what comes faster fills the queue, and then is only counted
			case <-time.After(latePause):
			case <-live.Done():
			}
		}
	})
	for _, is := range r.issuers {
		for _, l := range is.links {
			links.Go(func() { l.run(live) })
		}
		links.Go(func() { is.breaker.heal(live, is) })
	}
	<-ctx.Done()
	r.drain.Store(true)
	for limit := time.Now().Add(drainMax); r.inFlight() > 0 && time.Now().Before(limit); {
		time.Sleep(5 * time.Millisecond)
	}
	stop()
	links.Wait()
	close(r.late) // no reader is left to send on it
	after.Wait()
	return nil
}

func (r *Router) inFlight() int {
	n := 0
	for _, is := range r.issuers {
		n += is.inFlight()
	}
	return n
}

// Status is one issuer's present state.
type Status struct {
	Issuer    string
	Links, Up int
	Hosts     []string // of Config.Hosts, to which links stand
	InFlight  int      // requests
	Breaker   string
	LateLost  uint64 // late answers that Hooks.Late was too slow for
	// CertificateEnds is when the first certificate ends that the links need; zero
	// where they are plain.
	CertificateEnds time.Time
}

// Status is the present state of every issuer, in the order of the configuration.
func (r *Router) Status() []Status {
	out := make([]Status, len(r.issuers))
	for i, is := range r.issuers {
		out[i] = Status{Issuer: is.name(), Links: len(is.links), InFlight: is.table.busy(classRequest),
			Breaker: is.breaker.name(), LateLost: is.dropped.Load(), CertificateEnds: is.certificateEnds()}
		for _, l := range is.links {
			if w := l.wire.Load(); w != nil {
				out[i].Up++
				if !slices.Contains(out[i].Hosts, w.host) {
					out[i].Hosts = append(out[i].Hosts, w.host)
				}
			}
		}
	}
	return out
}
