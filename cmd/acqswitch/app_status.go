package main

import (
	"fmt"
	"os"
	"time"

	"github.com/acqswitch/acqswitch/switch/telemetry"
)

// status is a running switch at one moment.
type status struct {
	Version     string       `json:"version"`
	PID         int          `json:"pid"`
	Day         string       `json:"business_day"`
	Sessions    int64        `json:"sessions"`
	SessionsMax int          `json:"sessions_max"`
	InFlight    int64        `json:"in_flight"` // requests
	Waiting     int64        `json:"waiting"`   // of those, for a processor
	Owed        int64        `json:"owed"`      // reversals and advices
	Parked      int64        `json:"parked"`    // of those
	Journal     uint64       `json:"journal_last"`
	DiskFree    int64        `json:"journal_disk_free_bytes"`
	Behind      uint64       `json:"ledger_behind"` // records
	Policy      uint32       `json:"policy"`
	Issuers     []linkStatus `json:"issuers"`
	// Wrong is what somebody should see to, in words.
	Wrong []string `json:"wrong"`
}

// linkStatus is what there is of one issuer.
type linkStatus struct {
	Issuer   string   `json:"issuer"`
	Links    int      `json:"links"`
	Up       int      `json:"up"`
	Hosts    []string `json:"hosts"` // that they stand to
	Breaker  string   `json:"breaker"`
	InFlight int      `json:"in_flight"`
}

// status is the switch as it is now. What is wrong is what docs/operations.md says
// to look at.
func (a *app) status() (*status, error) {
	day, err := a.cfg.businessDay()
	if err != nil {
		return nil, err
	}
	figures, drain := a.acquirer.Figures(), a.drain.Stats()
	sessions, _ := a.terminals.Sessions()
	s := &status{
		Version: version(), PID: os.Getpid(), Day: day.Of(time.Now()).String(), Sessions: sessions, SessionsMax: a.cfg.Terminals.SessionsMax,
		InFlight: figures.InFlight, Waiting: figures.Waiting, Owed: figures.ReversalsOwed, Parked: figures.ReversalsParked,
		Journal: uint64(a.journal.Last()), DiskFree: a.disk.left.Load(), Behind: drain.Lag, Policy: a.risk.Policy().Number, Wrong: []string{},
	}
	wrong := func(is bool, format string, args ...any) {
		if is {
			s.Wrong = append(s.Wrong, telemetry.Mask(fmt.Sprintf(format, args...)))
		}
	}
	wrong(a.disk.stopped.Load(), "the journal's disk is nearly full: sales are refused")
	for _, is := range a.issuers.Status() {
		s.Issuers = append(s.Issuers, linkStatus{is.Issuer, is.Links, is.Up, is.Hosts, is.Breaker, is.InFlight})
		wrong(is.Up == 0, "issuer %s has no link: its cards are answered 91", is.Issuer)
		wrong(is.Up > 0 && is.Up < is.Links, "issuer %s has %d of its %d links: the log says why", is.Issuer, is.Up, is.Links)
		wrong(is.Up > 0 && is.Breaker != "closed", "issuer %s is not serving, its breaker is %s: its cards are answered 91", is.Issuer, is.Breaker)
	}
	for _, x := range a.certificates() {
		note := x.note(time.Now())
		wrong(note != "", "%s", note)
	}
	wrong(s.Parked > 0, "%s or advices are parked: decide, with acqswitch parked", plural(int(s.Parked), "reversal"))
	if err := a.noTables.Load(); err != nil && *err != nil {
		drain.Err = *err
	}
	wrong(drain.Err != nil, "the ledger cannot follow, sales go on: %v", drain.Err)
	if late := a.overdue.seconds(time.Now()); late > 0 {
		wrong(true, "a business day that is due is not settled, for %v: the log says why", time.Duration(late)*time.Second)
	}
	off := a.clock.wrongBy().Round(time.Second)
	wrong(off != 0, "the clock was moved by %v: put it right before the next cut-over", off)
	return s, nil
}
