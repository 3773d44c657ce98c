// Package keyring keeps the keys in use: which master key a terminal has, which
// working keys its last sign-on gave it, how often in a row its MAC was wrong,
// and the PIN keys shared with issuers. It is the acquirer's Guard.
//
// Promises: a sign-on's answer leaves only after its keys are durable; the keys
// of the sign-on before verify one more message, since that answer may have
// been lost; a MAC that cannot be checked is never taken for a right one; keys
// are stored only as the vault seals them.
//
// The keys live in an append-only log of their own, of which the last record
// of each kind and terminal counts. It is read once at start and written anew
// when most of it is stale.
//
// Not here: cryptography (switch/keys), what a request may do once it is
// authentic (package risk), how MACs and keys lie in a message (switch/dialect).
package keyring

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// FailuresMax is how many wrong MACs in a row a terminal may send before it is
// told to sign on again (cup-pos S03).
const FailuresMax = 3

// Store is the ring's log: a journal of its own. Append returns a nil error
// only when the record is on stable storage.
type Store interface {
	Append(rec []byte) (journal.Position, error)
	First() journal.Position
	Last() journal.Position
	Scan(from journal.Position, fn func(journal.Position, []byte) error) error
	Truncate(before journal.Position) error
}

// Ring is safe for concurrent use after Recover.
type Ring struct {
	vault *keys.Vault
	store Store
	log   *slog.Logger

	mu        sync.RWMutex // guards the maps, not the rows
	terminals map[txn.TerminalID]*terminal
	zones     map[txn.IssuerID]zone
}

// zone is the PIN key shared with one issuer.
type zone struct {
	sealed keys.Sealed
	open   *keys.Zone
}

// terminal is one terminal's keys.
type terminal struct {
	failures atomic.Int32 // MACs that were wrong, in a row

	mu     sync.RWMutex // held for writing by a sign-on
	master keys.Sealed
	stored *keys.TerminalKeys // of the last sign-on, nil before the first
	day    txn.Date           // of the last sign-on
	open   *keys.Terminal     // of stored; nil until used
}

// New makes an empty ring on a vault and a log.
func New(vault *keys.Vault, store Store, log *slog.Logger) *Ring {
	return &Ring{vault: vault, store: store, log: log, terminals: map[txn.TerminalID]*terminal{}, zones: map[txn.IssuerID]zone{}}
}

// The kinds of records. One is a kind byte, DE41 and the business day (for a
// zone: the issuer's name in their twelve bytes), and what the vault sealed.
const (
	recordMaster  byte = 1
	recordWorking byte = 2
	recordZone    byte = 3
)

const recordHead = 1 + len(txn.TerminalID{}) + 4

func record(kind byte, id txn.TerminalID, day txn.Date) []byte {
	b := append([]byte{kind}, id[:]...)
	return binary.BigEndian.AppendUint32(b, uint32(day))
}

// compactAbove is how many records the log may have, beyond twice those that
// count, before Recover writes it anew.
const compactAbove = 10_000

// Recover reads the log. It is called once, with the log running.
func (r *Ring) Recover() error {
	records := 0
	err := r.store.Scan(r.store.First(), func(pos journal.Position, b []byte) error {
		records++
		return r.restore(pos, b)
	})
	if err != nil {
		return fmt.Errorf("recover terminals' keys: %w", err)
	}
	if records > 2*2*len(r.terminals)+compactAbove {
		if err := r.compact(); err != nil {
			return fmt.Errorf("write the log of terminals' keys anew: %w", err)
		}
	}
	return nil
}

func (r *Ring) restore(pos journal.Position, b []byte) error {
	if len(b) < recordHead {
		return fmt.Errorf("record %d is cut off", pos)
	}
	if b[0] == recordZone {
		return r.openZone(txn.IssuerID(b[1:recordHead]), append([]byte(nil), b[recordHead:]...))
	}
	id := txn.TerminalID(b[1:9])
	day, sealed := txn.Date(binary.BigEndian.Uint32(b[9:])), append([]byte(nil), b[recordHead:]...)
	t := r.terminal(id, true)
	switch b[0] {
	case recordMaster:
		t.master, t.stored, t.day = sealed, nil, 0
	case recordWorking:
		stored, err := keys.ParseTerminalKeys(id, sealed)
		if err != nil {
			return fmt.Errorf("record %d: %w", pos, err)
		}
		t.stored, t.day = stored, day
	default:
		return fmt.Errorf("record %d is of kind %d, written by a newer version", pos, b[0])
	}
	return nil
}

// compact appends what counts once more and drops everything before it. A
// crash in between leaves both, which read the same.
func (r *Ring) compact() error {
	last := r.store.Last()
	for id, t := range r.terminals {
		if t.master != nil {
			if _, err := r.store.Append(append(record(recordMaster, id, 0), t.master...)); err != nil {
				return err
			}
		}
		if t.stored != nil {
			if err := r.append(id, t.day, t.stored); err != nil {
				return err
			}
		}
	}
	for issuer, z := range r.zones {
		if _, err := r.store.Append(append(append([]byte{recordZone}, issuer[:]...), z.sealed...)); err != nil {
			return err
		}
	}
	return r.store.Truncate(last + 1)
}

// SetZone gives an issuer its PIN key (ZPK), durably.
func (r *Ring) SetZone(issuer txn.IssuerID, zpk keys.Key) error {
	if zpk.Owner != keys.OfIssuer(issuer) {
		return fmt.Errorf("set PIN key of issuer %s: %w", issuer, keys.ErrPurpose)
	}
	opened, err := r.vault.OpenZone(zpk) // before it is stored: a key that does not open would stop the next start
	if err != nil {
		return fmt.Errorf("set PIN key of issuer %s: %w", issuer, err)
	}
	opened.Close()
	if _, err := r.store.Append(append(append([]byte{recordZone}, issuer[:]...), zpk.Sealed...)); err != nil {
		return fmt.Errorf("set PIN key of issuer %s: %w", issuer, err)
	}
	return r.openZone(issuer, zpk.Sealed)
}

func (r *Ring) openZone(issuer txn.IssuerID, sealed keys.Sealed) error {
	opened, err := r.vault.OpenZone(keys.Key{Owner: keys.OfIssuer(issuer), Sealed: sealed})
	if err != nil {
		return fmt.Errorf("open PIN key of issuer %s: %w", issuer, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.zones[issuer]; old.open != nil {
		old.open.Close()
	}
	r.zones[issuer] = zone{sealed, opened}
	return nil
}

// TranslatePIN replaces req's PIN block, under its terminal's TPK in the format
// that DE53 names, by one of ISO 9564 format 0 under the issuer's ZPK. No clear
// PIN leaves the vault.
func (r *Ring) TranslatePIN(req *txn.Request, issuer txn.IssuerID) txn.Reason {
	refuse := func(err error) txn.Reason {
		r.log.Error("a PIN cannot be translated", "terminal", req.Key.Terminal.String(), "issuer", issuer.String(), "error", err)
		return txn.PINCannotBeTranslated
	}
	var format algo.PINFormat
	switch req.SecurityInfo[0] {
	case '1':
		format = algo.PINCUPPlain
	case '2':
		format = algo.PINISO0
	default:
		return txn.PINBlockIsWrong // a PIN block, and DE53 says there is none
	}
	r.mu.RLock()
	t, z := r.terminals[req.Key.Terminal], r.zones[issuer]
	r.mu.RUnlock()
	if t == nil || z.open == nil {
		return refuse(errors.New("the terminal or the issuer has no keys"))
	}
	open, _, err := r.use(t)
	if err == nil && open == nil {
		err = errors.New("the terminal has not signed on")
	}
	if err != nil {
		return refuse(err)
	}
	block, err := open.TranslatePIN(make([]byte, 0, 8), format, req.PINBlock, &req.PAN, z.open, algo.PINISO0)
	switch {
	case errors.Is(err, keys.ErrPINBlock):
		return txn.PINBlockIsWrong
	case err != nil:
		return refuse(err)
	}
	req.PINBlock = block
	return txn.Approved
}

func (r *Ring) append(id txn.TerminalID, day txn.Date, k *keys.TerminalKeys) error {
	b, err := k.AppendBinary(record(recordWorking, id, day))
	if err != nil {
		return err
	}
	_, err = r.store.Append(b)
	return err
}

// terminal finds a terminal's row, and makes it if asked.
func (r *Ring) terminal(id txn.TerminalID, create bool) *terminal {
	r.mu.RLock()
	t := r.terminals[id]
	r.mu.RUnlock()
	if t != nil || !create {
		return t
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if t = r.terminals[id]; t == nil {
		t = &terminal{}
		r.terminals[id] = t
	}
	return t
}

// SetMaster gives a terminal its master key, durably. Its working keys end: it
// must sign on under the new one.
func (r *Ring) SetMaster(id txn.TerminalID, tmk keys.Key) error {
	info, err := tmk.Sealed.Info()
	if err != nil {
		return fmt.Errorf("set master key of terminal %s: %w", id, err)
	}
	if info.Purpose != keys.PurposeTMK || tmk.Owner != keys.OfTerminal(id) {
		return fmt.Errorf("set master key of terminal %s: %w", id, keys.ErrPurpose)
	}
	t := r.terminal(id, true)
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := r.store.Append(append(record(recordMaster, id, 0), tmk.Sealed...)); err != nil {
		return fmt.Errorf("set master key of terminal %s: %w", id, err)
	}
	t.close()
	t.master, t.stored, t.day = tmk.Sealed, nil, 0
	return nil
}

// close ends the open keys. It needs mu.
func (t *terminal) close() {
	if t.open != nil {
		t.open.Close()
		t.open = nil
	}
}

// Len is the number of terminals with a master key or working keys.
func (r *Ring) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.terminals)
}

// Check says whether req's MAC was made by its terminal, with the keys of a
// sign-on of its business day. After FailuresMax wrong MACs in a row the
// terminal must sign on.
func (r *Ring) Check(req *txn.Request) txn.Reason {
	t := r.terminal(req.Key.Terminal, false)
	if t == nil {
		return txn.SignOnIsRequired
	}
	open, day, err := r.use(t)
	switch {
	case err != nil:
		r.log.Error("a terminal's keys cannot be used", "terminal", req.Key.Terminal.String(), "error", err)
		return txn.SwitchFailed
	case open == nil || day != req.Day:
		return txn.SignOnIsRequired
	}
	generation, err := open.VerifyMAC(algo.MACCUPECB, req.Signed, req.MAC)
	switch {
	case err == nil:
		t.failures.Store(0)
		req.KeyAge = uint8(generation)
		return txn.Approved
	case errors.Is(err, keys.ErrClosed): // a sign-on came meanwhile
		return txn.MACIsWrong
	case !errors.Is(err, keys.ErrMACWrong):
		r.log.Error("a MAC cannot be checked", "terminal", req.Key.Terminal.String(), "error", err)
		return txn.SwitchFailed
	}
	if n := t.failures.Add(1); n >= FailuresMax {
		r.log.Warn("a terminal's MAC is wrong again and again; it must sign on", "terminal", req.Key.Terminal.String(), "in_a_row", n)
		return txn.SignOnIsRequired
	}
	return txn.MACIsWrong
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

// SignOn makes working keys for the terminal and puts them into ans. Until they
// are durable nothing changes; after that the old MAC key verifies one message
// more.
func (r *Ring) SignOn(req *txn.Request, ans *txn.Answer) txn.Reason {
	id := req.Key.Terminal
	t := r.terminal(id, false)
	if t == nil {
		return txn.TerminalHasNoKeys
	}
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
	de62, stored, err := r.vault.Issue(master, id, keys.KeySet(req.Network), keys.IssueOptions{}, t.stored)
	if err != nil {
		return fail(err)
	}
	open, err := r.vault.OpenTerminal(stored)
	if err != nil {
		return fail(err)
	}
	if err := r.append(id, req.Day, stored); err != nil {
		open.Close()
		return fail(err)
	}
	t.close()
	t.open, t.stored, t.day = open, stored, req.Day
	t.failures.Store(0)
	ans.Keys = append(ans.Keys[:0], de62...)
	return txn.Approved
}

// Sign makes the MAC of the answer to req, with the key that req's was made
// with.
func (r *Ring) Sign(req *txn.Request, signed []byte) (mac [8]byte, err error) {
	t := r.terminal(req.Key.Terminal, false)
	if t == nil {
		return mac, fmt.Errorf("sign an answer to terminal %s: it has no keys", req.Key.Terminal)
	}
	open, _, err := r.use(t)
	if err == nil && open == nil {
		err = errors.New("it has not signed on")
	}
	if err == nil {
		mac, err = open.MAC(keys.Generation(req.KeyAge), algo.MACCUPECB, signed)
	}
	if err != nil {
		return mac, fmt.Errorf("sign an answer to terminal %s: %w", req.Key.Terminal, err)
	}
	return mac, nil
}

// Close ends all open keys and the vault.
func (r *Ring) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.terminals {
		t.mu.Lock()
		t.close()
		t.mu.Unlock()
	}
	for _, z := range r.zones {
		z.open.Close()
	}
	return r.vault.Close()
}
