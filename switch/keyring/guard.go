package keyring

import (
	"errors"
	"fmt"
	"time"

	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// FailuresMax is how many wrong MACs in a row a terminal may send before it is
// told to sign on again (cup-pos S03), and how many sign-ons in a row may give
// it keys that it does not use before somebody should look at it.
const FailuresMax = 3

// Event is something about keys that people watch.
type Event int

// The events.
const (
	MACWrong      Event = iota // a MAC was not its terminal's
	MACsWrong                  // FailuresMax or more in a row: somebody tries, or keys are out of step
	KeysStale                  // a message under keys of another day, or of none
	KSNOld                     // a DUKPT serial number that was used before
	KeysUnused                 // sign-ons again and again, and never a right MAC: the terminal's master key is another
	PINWrong                   // a block without a PIN
	SignOnRefused              // more sign-ons than can be served in their time
	events
)

var eventNames = [events]string{"mac_wrong", "mac_wrong_in_a_row", "keys_stale", "ksn_old", "keys_unused", "pin_block_wrong", "sign_on_refused"}

func (e Event) String() string { return eventNames[e] }

// Events lists them.
func Events() []Event {
	all := make([]Event, events)
	for i := range all {
		all[i] = Event(i)
	}
	return all
}

// Count is how often an event was.
func (r *Ring) Count(e Event) uint64 { return r.counts[e].Load() }

func (r *Ring) note(e Event) { r.counts[e].Add(1) }

// algorithm is a terminal's: the two lists have one order.
func algorithm(a txn.MACAlgorithm) algo.MACAlgorithm { return algo.MACAlgorithm(a) }

// Check says whether req's MAC was made by its terminal, with the keys of a
// sign-on of its business day or those of its serial number. After FailuresMax
// wrong MACs in a row a terminal that signs on must do so.
func (r *Ring) Check(req *txn.Request) txn.Reason {
	t := r.terminal(req.Key.Terminal, req.Terminal.Keys.DUKPT())
	if t == nil {
		r.note(KeysStale)
		return txn.SignOnIsRequired
	}
	open, derived, reason := r.keysFor(t, req)
	if reason != txn.Approved {
		if reason == txn.MACIsWrong {
			return r.wrong(t, req)
		}
		return reason
	}
	if derived {
		defer open.Close()
	}
	generation, err := open.VerifyMAC(algorithm(req.Terminal.MAC), req.Signed, req.MAC)
	switch {
	case errors.Is(err, keys.ErrMACWrong):
		return r.wrong(t, req)
	case errors.Is(err, keys.ErrClosed): // a sign-on came meanwhile
		return txn.MACIsWrong
	case err != nil:
		r.log.Error("a MAC cannot be checked", "terminal", req.Key.Terminal.String(), "error", err)
		return txn.SwitchFailed
	}
	if derived {
		if reason := r.advance(t, req); reason != txn.Approved {
			return reason
		}
	}
	if t.failures.Load() != 0 {
		t.failures.Store(0)
	}
	if t.unused.Load() != 0 {
		t.unused.Store(0)
	}
	req.KeyAge = uint8(generation)
	return txn.Approved
}

// wrong counts a MAC that is not its terminal's.
func (r *Ring) wrong(t *terminal, req *txn.Request) txn.Reason {
	r.note(MACWrong)
	n := t.failures.Add(1)
	if n < FailuresMax {
		return txn.MACIsWrong
	}
	r.note(MACsWrong)
	if n == FailuresMax && r.cfg.WrongMACs != nil {
		r.cfg.WrongMACs(req.Terminal.Merchant, req.Key.Terminal)
	}
	r.log.Warn("a terminal's MAC is wrong again and again", "terminal", req.Key.Terminal.String(), "in_a_row", n)
	if req.Terminal.Keys.DUKPT() {
		return txn.MACIsWrong // a sign-on would give it nothing
	}
	return txn.SignOnIsRequired
}

// keysFor are the keys of req's terminal for it: of its last sign-on, or derived
// for this message alone, and then the caller closes them.
func (r *Ring) keysFor(t *terminal, req *txn.Request) (open *keys.Terminal, derived bool, reason txn.Reason) {
	if req.Terminal.Keys.DUKPT() {
		open, reason = r.derive(req)
		return open, true, reason
	}
	open, day, err := r.use(t)
	switch {
	case err != nil:
		r.log.Error("a terminal's keys cannot be used", "terminal", req.Key.Terminal.String(), "error", err)
		return nil, false, txn.SwitchFailed
	case open == nil || day != req.Day && !r.grace(day, req):
		r.note(KeysStale)
		return nil, false, txn.SignOnIsRequired
	}
	return open, false, txn.Approved
}

// grace says that keys of an earlier day are still taken: the cut-over was not
// longer ago.
func (r *Ring) grace(day txn.Date, req *txn.Request) bool {
	return r.cfg.Grace > 0 && r.cfg.Day.Of(req.Received.Add(-r.cfg.Grace)) == day
}

// use opens the terminal's stored keys the first time.
func (r *Ring) use(t *terminal) (*keys.Terminal, txn.Date, error) {
	t.mu.RLock()
	open, day, stored := t.open, t.day, t.stored
	t.mu.RUnlock()
	if open != nil || stored == nil {
		return open, day, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil && t.stored != nil {
		var err error
		if t.open, err = r.vault.OpenTerminal(t.stored); err != nil {
			return nil, 0, err
		}
	}
	return t.open, t.day, nil
}

// TranslatePIN replaces req's PIN block, under its terminal's key, by one under
// the issuer's ZPK in the format that goes with that, and DE53 by what says so.
// No clear PIN leaves the vault.
func (r *Ring) TranslatePIN(req *txn.Request, issuer txn.IssuerID) txn.Reason {
	refuse := func(err error) txn.Reason {
		r.log.Error("a PIN cannot be translated", "terminal", req.Key.Terminal.String(), "issuer", issuer.String(), "error", err)
		return txn.PINCannotBeTranslated
	}
	z := r.zoneOf(issuer)
	if z.open == nil {
		return refuse(errors.New("the issuer has no PIN key here"))
	}
	t := r.terminal(req.Key.Terminal, req.Terminal.Keys.DUKPT())
	if t == nil {
		return txn.SignOnIsRequired
	}
	open, derived, reason := r.keysFor(t, req)
	switch reason {
	case txn.Approved:
	case txn.MACIsWrong: // the serial number is none of the terminal's
		r.note(PINWrong)
		return txn.PINBlockIsWrong
	default:
		return reason
	}
	if derived {
		defer open.Close()
	}
	in, ok := formatIn(req, open.PINKind())
	if !ok {
		r.note(PINWrong)
		return txn.PINBlockIsWrong
	}
	out, says := formatOut(z.open.Kind())
	block, err := open.TranslatePIN(req.PINBlock[:0], in, req.PINBlock, &req.PAN, z.open, out)
	switch {
	case errors.Is(err, keys.ErrPINBlock):
		r.note(PINWrong)
		return txn.PINBlockIsWrong
	case errors.Is(err, keys.ErrClosed) && r.zoneOf(issuer).open != z.open: // the issuer's key was replaced meanwhile
		return r.TranslatePIN(req, issuer)
	case err != nil:
		return refuse(err)
	}
	req.PINBlock, req.SecurityInfo = block, says
	return txn.Approved
}

// formatIn is the format of a terminal's PIN block: as its registration says,
// else as DE53 does for the kind of its key, else the one that every terminal
// has. DE53 starts with 0 no PIN, 1 without or 2 with the card number, then 0
// DES, 6 TDES, 3 or 4 SM4 (cup-pos A5).
func formatIn(req *txn.Request, kind algo.Kind) (algo.PINFormat, bool) {
	switch req.Terminal.PINFormat {
	case txn.PINISO0:
		return algo.PINISO0, kind.IsDES()
	case txn.PINISO1:
		return algo.PINISO1, kind.IsDES()
	case txn.PINISO3:
		return algo.PINISO3, kind.IsDES()
	case txn.PINISO4:
		return algo.PINISO4, kind.IsAES()
	}
	with, cipher := req.SecurityInfo[0], req.SecurityInfo[1]
	switch {
	case kind.IsAES():
		return algo.PINISO4, true
	case with == 0: // no DE53
		return algo.PINISO0, kind.IsDES()
	case kind == algo.SM4:
		return algo.PINCUPSM4, with == '2' && (cipher == '3' || cipher == '4')
	case cipher != '0' && cipher != '6':
		return 0, false
	case with == '1':
		return algo.PINCUPPlain, true
	}
	return algo.PINISO0, with == '2'
}

// formatOut is the format of PIN blocks under an issuer's key, and what DE53
// says of them: nothing of AES, for which it has no digit.
func formatOut(kind algo.Kind) (f algo.PINFormat, says [16]byte) {
	switch {
	case kind.IsAES():
		return algo.PINISO4, says
	case kind == algo.SM4:
		f = algo.PINCUPSM4
		copy(says[:], "2300000000000000")
	case kind == algo.DES:
		copy(says[:], "2000000000000000")
	default:
		copy(says[:], "2600000000000000")
	}
	return f, says
}

// DecipherTrack deciphers req's track 2 in place. The card on it is read with
// dialect.ReadTrack.
func (r *Ring) DecipherTrack(req *txn.Request) txn.Reason {
	t := r.terminal(req.Key.Terminal, req.Terminal.Keys.DUKPT())
	if t == nil {
		return txn.SignOnIsRequired
	}
	open, derived, reason := r.keysFor(t, req)
	if reason != txn.Approved {
		return reason
	}
	if derived {
		defer open.Close()
	}
	switch err := open.DecipherTrack(req.Track2); {
	case err == nil:
		return txn.Approved
	case errors.Is(err, keys.ErrPurpose), errors.Is(err, keys.ErrTrack):
		return txn.FormatIsWrong // it has no key for that, or there is nothing enciphered
	case errors.Is(err, keys.ErrClosed): // a sign-on came meanwhile
		return txn.SignOnIsRequired
	default:
		r.log.Error("a track cannot be deciphered", "terminal", req.Key.Terminal.String(), "error", err)
		return txn.SwitchFailed
	}
}

// SignOn makes working keys for the terminal and puts them into ans. Until they
// are durable nothing changes; after that the old MAC key verifies one message
// more. A DUKPT terminal needs none. It waits for its turn, if that comes before
// the request's deadline.
func (r *Ring) SignOn(req *txn.Request, ans *txn.Answer) txn.Reason {
	if req.Terminal.Keys.DUKPT() {
		return txn.Approved
	}
	id := req.Key.Terminal
	t := r.terminal(id, false)
	if t == nil {
		return txn.TerminalHasNoKeys
	}
	if !r.turn(req.Deadline) {
		r.note(SignOnRefused)
		return txn.SwitchIsOverloaded
	}
	r.logging.RLock()
	defer r.logging.RUnlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.master == nil {
		return txn.TerminalHasNoKeys
	}
	fail := func(err error) txn.Reason {
		r.log.Error("a terminal cannot be given keys", "terminal", id.String(), "error", err)
		if errors.Is(err, keys.ErrUnsupported) || errors.Is(err, keys.ErrPurpose) {
			return txn.TerminalHasNoKeys // it asks for keys of a kind that its master key cannot carry
		}
		return txn.SwitchFailed
	}
	master := keys.Key{Owner: keys.OfTerminal(id), Sealed: t.master}
	options := keys.IssueOptions{DoubleTAK: req.Terminal.DoubleTAK}
	before := t.stored
	if t.day != req.Day {
		// A key of an earlier day must not verify today: whoever recorded a message then
		// could sign on, which needs no proof, and send that message again.
		before = nil
	}
	de62, stored, err := r.vault.Issue(master, id, keys.KeySet(req.KeySet), options, before)
	if err != nil {
		return fail(err)
	}
	open, err := r.vault.OpenTerminal(stored)
	if err != nil {
		return fail(err)
	}
	if err := r.appendWorking(id, req.Day, stored); err != nil {
		open.Close()
		return fail(err)
	}
	if t.day != req.Day || req.Terminal.MAC == txn.MACNone {
		t.unused.Store(0)
	} else if n := t.unused.Add(1); n >= FailuresMax {
		r.note(KeysUnused)
		r.log.Warn("a terminal signs on again and again and uses none of its keys; its master key may be another", "terminal", id.String(), "in_a_row", n)
	}
	t.close()
	t.open, t.stored, t.day = open, stored, req.Day
	t.failures.Store(0)
	ans.Keys = append(ans.Keys[:0], de62...)
	return txn.Approved
}

// SignOff ends the terminal's working keys, durably: until it signs on again it
// is told to (cup-pos C5). A DUKPT terminal's, of which none is stored, do not end.
func (r *Ring) SignOff(req *txn.Request) txn.Reason {
	id := req.Key.Terminal
	t := r.terminal(id, false)
	if t == nil {
		return txn.Approved
	}
	r.logging.RLock()
	defer r.logging.RUnlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stored == nil || t.day == 0 {
		return txn.Approved
	}
	if err := r.appendWorking(id, 0, t.stored); err != nil {
		r.log.Error("a terminal's keys cannot be ended", "terminal", id.String(), "error", err)
		return txn.SwitchFailed
	}
	t.day = 0
	return txn.Approved
}

// turnSlot is the grid of turns: sign-ons of one slot are served together, and
// share a flush of the log.
const turnSlot = 10 * time.Millisecond

// turn waits for a sign-on's turn. Turns are numbered out, SignOnsPerSecond of
// them, and when there are few every sign-on's is now: making keys is work for
// processors and disk, and when all terminals come at once in the morning sales
// must not notice. False, at once, says that the turn would come too late.
func (r *Ring) turn(deadline time.Time) bool {
	now := time.Now()
	r.pace.Lock()
	at := r.next
	if at.Before(now) {
		at = now
	}
	late := at.After(deadline)
	if !late {
		r.next = at.Add(time.Second / time.Duration(r.cfg.SignOnsPerSecond))
	}
	r.pace.Unlock()
	if !late && at.Sub(now) >= turnSlot {
		slots := (at.Sub(r.began) + turnSlot - 1) / turnSlot
		time.Sleep(time.Until(r.began.Add(slots * turnSlot)))
	}
	return !late
}

// Sign makes the MAC of the answer to req, with the key that req's was made
// with, also if that has ended meanwhile, by a cut-over or a sign-off: req was taken.
func (r *Ring) Sign(req *txn.Request, signed []byte) (mac [8]byte, err error) {
	var open *keys.Terminal
	derived, reason := req.Terminal.Keys.DUKPT(), txn.Approved
	if derived {
		open, reason = r.derive(req)
	} else if t := r.terminal(req.Key.Terminal, false); t != nil {
		open, _, err = r.use(t)
	}
	switch {
	case err != nil:
		return mac, fmt.Errorf("sign an answer to terminal %s: %w", req.Key.Terminal, err)
	case open == nil && reason == txn.Approved:
		reason = txn.SignOnIsRequired
	}
	if reason != txn.Approved {
		return mac, fmt.Errorf("sign an answer to terminal %s: %v", req.Key.Terminal, reason)
	}
	if derived {
		defer open.Close()
	}
	mac, err = open.MAC(keys.Generation(req.KeyAge), algorithm(req.Terminal.MAC), signed)
	if err != nil {
		return mac, fmt.Errorf("sign an answer to terminal %s: %w", req.Key.Terminal, err)
	}
	return mac, nil
}
