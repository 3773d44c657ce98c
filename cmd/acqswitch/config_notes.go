package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/switch/issuer"
	"github.com/acqswitch/acqswitch/switch/keyring"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// The notes of a check are what does not keep a switch from starting, and would be
// noticed by a terminal, or at night, if nobody said it before.

// namesMax is how many of many are named in a note.
const namesMax = 3

// notesOnKeys says who has no keys and needs some. parties are nil where a start makes
// the registry.
func (c *config) notesOnKeys(ring *keyring.Ring, parties *registry.Snapshot) (notes []string) {
	if parties == nil {
		return nil
	}
	if _, terminals := parties.Len(); terminals == 0 {
		return []string{"the registry has no terminals: nobody can sell"}
	}
	var masters []string
	bases := map[keys.Owner]int{}
	keyed := false
	for t := range parties.Terminals() {
		keyed = keyed || t.Keys.DUKPT() || t.MAC != txn.MACNone
		switch owner := ring.Missing(t); owner {
		case "":
		case keys.OfTerminal(t.ID):
			masters = append(masters, t.ID.String())
		default:
			bases[owner]++
		}
	}
	if n := len(masters); n > 0 {
		slices.Sort(masters)
		named := strings.Join(masters[:min(n, namesMax)], ", ")
		if n > namesMax {
			named += fmt.Sprintf(" and %d more", n-namesMax)
		}
		notes = append(notes, fmt.Sprintf("%s cannot sign on without a master key (keys load-terminal): %s", plural(n, "terminal"), named))
	}
	for owner, n := range bases {
		notes = append(notes, fmt.Sprintf("%s of %s is not loaded (keys load-bdk): they are refused", owner, plural(n, "terminal")))
	}
	for i := range c.Issuers {
		is := &c.Issuers[i]
		if _, err := ring.ZonePIN(txn.MakeIssuerID(is.Name)); err != nil && keyed && !is.Asks(issuer.KeyPIN) {
			notes = append(notes, fmt.Sprintf("issuer %s has no PIN key: sales with a PIN are answered 96 (keys load-issuer)", is.Name))
		}
	}
	slices.Sort(notes)
	return notes
}

// notesOnRoom says what the machine does not give.
func (c *config) notesOnRoom() (notes []string) {
	if free, err := freeSpace(c.DataDir); err == nil && free>>20 < uint64(c.Journal.Disk.Low) {
		notes = append(notes, fmt.Sprintf("the disk of %s has %d MiB free, less than journal.disk.low: sales are refused until it has %d", c.DataDir, free>>20, c.Journal.Disk.Enough))
	}
	if most := sessionsWithin(fileLimit(), c.Issuers); c.Terminals.SessionsMax > most {
		notes = append(notes, fmt.Sprintf("the limit of open files allows %d terminals, terminals.sessions_max is %d", most, c.Terminals.SessionsMax))
	}
	return notes
}

// notesOnCertificates says which have ended, or end soon.
func (c *config) notesOnCertificates(router *issuer.Router, now time.Time) (notes []string) {
	look := func(what, name string, ends time.Time) {
		if note := (expiring{what, name, ends}).note(now); note != "" {
			notes = append(notes, note)
		}
	}
	for _, is := range router.Status() {
		look("issuer", is.Issuer, is.CertificateEnds)
	}
	for _, l := range c.Terminals.Listeners {
		if l.TLS != nil {
			if loaded, err := l.TLS.Load(); err == nil {
				look("listener", l.Address, loaded.Ends)
			}
		}
	}
	if c.Admin.TLS != nil {
		if loaded, err := c.Admin.TLS.Load(); err == nil {
			look("listener", c.Admin.Address, loaded.Ends)
		}
	}
	return notes
}

// notesOnSettlement says what keeps the days from being settled by themselves.
func (c *config) notesOnSettlement(now time.Time) []string {
	if c.Settlement.Schedule == 0 || c.RegistryFrom == "database" && c.noLedger() {
		return nil
	}
	_, err := c.schedule()
	if err == nil {
		err = c.checkPayouts(now)
	}
	if err == nil {
		return nil
	}
	why, more, _ := strings.Cut(err.Error(), "\n")
	if more != "" { // of a file every fault is a line
		why += ", and more"
	}
	return []string{"settlement.schedule: days cannot be settled: " + why}
}

// checkPayouts says why the business day that now is could not be settled when it is due.
func (c *config) checkPayouts(now time.Time) error {
	t, err := c.payoutTerms()
	if err != nil {
		return err
	}
	calendar, err := c.businessDay()
	if err != nil {
		return err
	}
	today := calendar.Of(now)
	run := calendar.Start(today.After()).Add(c.Settlement.Schedule)
	return t.Ready(today, txn.MakeDate(run.In(calendar.Zone)))
}
