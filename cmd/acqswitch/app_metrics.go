package main

import (
	"time"

	"github.com/acqswitch/acqswitch/risk/rules"
	"github.com/acqswitch/acqswitch/switch/keyring"
	"github.com/acqswitch/acqswitch/switch/pos"
	"github.com/acqswitch/acqswitch/switch/telemetry"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// measure publishes the live numbers of every part.
func (a *app) measure() {
	t := a.telemetry
	t.Gauge(telemetry.InFlight, func() int64 { return a.acquirer.Figures().InFlight })
	t.Gauge(telemetry.Waiting, func() int64 { return a.acquirer.Figures().Waiting })
	t.Gauge(telemetry.ReversalsQueued, func() int64 { return a.acquirer.Figures().ReversalsOwed })
	for i, e := range a.acquirer.Exposures() {
		t.Gauge(telemetry.Exposure, func() int64 { return a.acquirer.Exposures()[i].Minor },
			telemetry.Label{Key: "issuer", Value: e.Issuer.String()}, telemetry.Label{Key: "currency", Value: e.Currency.String()})
	}
	t.CounterFunc(telemetry.LogLost, a.logs.Lost)
	t.Gauge(telemetry.Sessions, func() int64 { open, _ := a.terminals.Sessions(); return open })
	for i, l := range a.cfg.Terminals.Listeners {
		if l.TLS != nil {
			t.Gauge(telemetry.Certificate, func() int64 { return int64(time.Until(a.terminals.CertificateEnds()[i]) / time.Second) }, telemetry.Label{Key: "listener", Value: l.Address})
		}
	}
	if a.adminTLS != nil {
		t.Gauge(telemetry.Certificate, func() int64 { return int64(time.Until(a.adminTLS.Ends()) / time.Second) }, telemetry.Label{Key: "listener", Value: a.cfg.Admin.Address})
	}
	t.CounterFunc(telemetry.Accepts, func() uint64 { _, all := a.terminals.Sessions(); return uint64(all) })
	t.CounterFunc(telemetry.LinkLate, func() uint64 { return uint64(a.acquirer.Figures().Late) })
	t.CounterFunc(telemetry.Backwards, func() uint64 { return uint64(a.acquirer.Figures().Backwards) })
	t.Gauge(telemetry.ReversalsParked, func() int64 { return a.acquirer.Figures().ReversalsParked })
	t.Gauge(telemetry.DiskFree, a.disk.left.Load)
	t.Gauge(telemetry.SalesStopped, func() int64 {
		if a.disk.stopped.Load() {
			return 1
		}
		return 0
	})
	if a.cfg.Settlement.Schedule > 0 {
		t.Gauge(telemetry.Overdue, func() int64 { return a.overdue.seconds(time.Now()) })
	}
	t.Gauge(telemetry.ClockOff, func() int64 { return int64(a.clock.wrongBy() / time.Second) })
	t.Gauge(telemetry.DrainLag, func() int64 { return int64(a.drain.Stats().Lag) })
	if a.recorder != nil {
		t.CounterFunc(telemetry.Recorded, func() uint64 { written, _ := a.recorder.Figures(); return written })
		t.CounterFunc(telemetry.NotRecorded, func() uint64 { _, dropped := a.recorder.Figures(); return dropped })
	}
	for _, e := range keyring.Events() {
		t.CounterFunc(telemetry.KeyEvents, func() uint64 { return a.keys.Count(e) }, telemetry.Label{Key: "event", Value: e.String()})
	}
	t.Gauge(telemetry.Policy, func() int64 { return int64(a.risk.Policy().Number) })
	t.CounterFunc(telemetry.Forgotten, a.risk.Forgotten)
	a.measureRules()
	for i, is := range a.issuers.Status() {
		label := telemetry.Label{Key: "issuer", Value: is.Issuer}
		t.Gauge(telemetry.LinkUp, func() int64 { return int64(a.issuers.Status()[i].Up) }, label)
		t.Gauge(telemetry.LinkDown, func() int64 { s := a.issuers.Status()[i]; return int64(s.Links - s.Up) }, label)
		t.Gauge(telemetry.LinkInFlight, func() int64 { return int64(a.issuers.Status()[i].InFlight) }, label)
		t.CounterFunc(telemetry.LateLost, func() uint64 { return a.issuers.Status()[i].LateLost }, label)
		t.Gauge(telemetry.LinkBreaker, func() int64 { return breakerStates[a.issuers.Status()[i].Breaker] }, label)
		if !is.CertificateEnds.IsZero() {
			t.Gauge(telemetry.LinkCertificate, func() int64 { return int64(time.Until(a.issuers.Status()[i].CertificateEnds) / time.Second) }, label)
		}
	}
}

// measureRules publishes the counts of own rules that are not published yet. It is
// called whenever a policy comes into force, by one goroutine at a time.
func (a *app) measureRules() {
	for r := range a.risk.Own().All() {
		if a.measured[r.Number] {
			continue
		}
		if a.measured == nil {
			a.measured = map[txn.Rule]bool{}
		}
		a.measured[r.Number] = true
		for name, result := range map[string]rules.Result{"held": rules.Hits, "undecided": rules.Undecided, "failed": rules.Fails} {
			a.telemetry.CounterFunc(telemetry.OwnRules, func() uint64 {
				if n := a.risk.Own().Counts(r.Number); n != nil {
					return n.Of(result)
				}
				return 0 // not in force any more
			}, telemetry.Label{Key: "rule", Value: r.Number.String()}, telemetry.Label{Key: "result", Value: name})
		}
	}
}

var breakerStates = map[string]int64{"closed": 0, "half-open": 1, "open": 2}

// observer counts for the front end. Its counters are made once: a frame costs
// an atomic addition.
type observer struct {
	*telemetry.Telemetry
	bad map[badFrame]*telemetry.Counter
}

type badFrame struct {
	dialect string
	cause   pos.Cause
}

func newObserver(t *telemetry.Telemetry, listeners []pos.Listener) observer {
	o := observer{t, map[badFrame]*telemetry.Counter{}}
	for _, l := range listeners {
		for _, cause := range pos.Causes {
			k := badFrame{l.Dialect.Name(), cause}
			if o.bad[k] == nil {
				o.bad[k] = t.Counter(telemetry.BadFrames, telemetry.Label{Key: "dialect", Value: k.dialect}, telemetry.Label{Key: "cause", Value: string(cause)})
			}
		}
	}
	return o
}

func (o observer) Finish(req *txn.Request, ans *txn.Answer, dialect string) {
	o.Telemetry.Finish(req, ans, dialect)
}

func (o observer) BadFrame(dialect string, cause pos.Cause) { o.bad[badFrame{dialect, cause}].Add(1) }
