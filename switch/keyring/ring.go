// Package keyring keeps the keys in use: a terminal's master key, the working keys
// that its last sign-on gave it, the key of its serial number's ciphertext, and the
// keys shared with issuers; and how often in a row a terminal's MAC was wrong. It
// is the acquirer's Guard.
//
// Promises: a sign-on's answer leaves only after its keys are durable; the keys
// of the sign-on before verify one more message, since that answer may have
// been lost; a key that an issuer sends is in force, durably, when that is said, and what the issuer
// signed with the one before is taken for a while; a MAC that cannot be checked is never taken for a right one; keys
// are stored only as the vault seals them; sign-ons are served at a steady
// pace, so that a whole fleet's at once leave processors and disk to sales.
//
// The keys live in an append-only log of their own, in which the last record of each
// kind and terminal counts. It is read once at start, and written anew, then or by Tidy,
// when most of it is stale.
//
// Not here: cryptography (switch/keys), what a request may do once it is
// authentic (package risk), how MACs and keys lie in a message (switch/dialect).
package keyring

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Config is the ring's part of the configuration.
type Config struct {
	// Day is the switch's: a terminal signs on once in every business day.
	Day txn.BusinessDay
	// Grace is how long after the cut-over the keys of the day before are still
	// taken, so that not every terminal has to sign on in the first minute. 0 is
	// the rule of UnionPay: none of yesterday's.
	Grace time.Duration
	// SignOnsPerSecond is how many sign-ons are given keys in a second; more wait
	// for their turn. Default 1,000.
	SignOnsPerSecond int
	// WrongMACs, if not nil, is told of a registered terminal that sent FailuresMax
	// wrong MACs in a row, once for each such row. It must not wait.
	WrongMACs func(txn.MerchantID, txn.TerminalID)
}

// Store is the ring's log: a journal of its own. Append returns a nil error
// only when the record is on stable storage.
type Store interface {
	Append(rec []byte) (journal.Position, error)
	First() journal.Position
	Scan(from journal.Position, fn func(journal.Position, []byte) error) error
	// Rewrite has what each puts take the place of all records. After an error both
	// are there.
	Rewrite(each func(put func(rec []byte) error) error) (int64, error)
}

// Ring is safe for concurrent use after Recover.
type Ring struct {
	cfg   Config
	vault *keys.Vault
	store Store
	log   *slog.Logger

	counts [events]atomic.Uint64

	began time.Time  // the origin of turns
	pace  sync.Mutex // guards next
	next  time.Time  // the next turn of a sign-on that is free

	// logging is held for writing while the log is written anew, for reading by an append and
	// the change in memory that follows it. Whoever needs a terminal's row too locks that later.
	logging sync.RWMutex
	records atomic.Int64 // in the log

	setting sync.Mutex // held while a key of issuers, of many, or for a serial is set: in the log they stand in the order in which they are used

	taking sync.Mutex // held while a key that an issuer sent is put into force: two links may bring it at a time

	mu        sync.RWMutex // guards the maps, not the rows
	terminals map[txn.TerminalID]*terminal
	zones     map[txn.IssuerID]zone
	shared    map[sharedID]keys.Key
	macs      map[txn.IssuerID]*keys.ZoneMAC // of shared; opened when first used
	// replacedMACs are the MAC keys before those, of issuers that sent new ones.
	replacedMACs map[txn.IssuerID]*replacedMAC
}

// zone is the PIN key shared with one issuer.
type zone struct {
	sealed keys.Sealed
	open   *keys.Zone // nil while the log is being read
}

// terminal is one terminal's keys.
type terminal struct {
	failures atomic.Int32 // MACs that were wrong, in a row
	unused   atomic.Int32 // sign-ons of one day, in a row, whose keys made no right MAC

	mu     sync.RWMutex // held for writing by a sign-on
	master keys.Sealed
	stored *keys.TerminalKeys // of the last sign-on, nil before the first
	day    txn.Date           // of the last sign-on, 0 after a sign-off
	open   *keys.Terminal     // of stored; nil until used
	count  counter            // of a DUKPT terminal

	serial serialKey
}

// New makes an empty ring on a vault and a log.
func New(cfg Config, vault *keys.Vault, store Store, log *slog.Logger) *Ring {
	if cfg.SignOnsPerSecond == 0 {
		cfg.SignOnsPerSecond = 1000
	}
	return &Ring{cfg: cfg, vault: vault, store: store, log: log, began: time.Now(),
		terminals: map[txn.TerminalID]*terminal{}, zones: map[txn.IssuerID]zone{}, shared: map[sharedID]keys.Key{}, macs: map[txn.IssuerID]*keys.ZoneMAC{},
		replacedMACs: map[txn.IssuerID]*replacedMAC{}}
}

// The kinds of records. One is a kind byte, DE41 and the business day (for keys
// of no terminal: their name in these twelve bytes), and what the vault sealed;
// a counter's is the device and the counter.
const (
	recordMaster   byte = 1
	recordWorking  byte = 2
	recordZone     byte = 3
	recordSerial   byte = 4
	recordBaseKey  byte = 5
	recordBlocks   byte = 6
	recordCounter  byte = 7
	recordZoneMAC  byte = 8
	recordZMK      byte = 9
	recordZoneMACs byte = 10
)

const recordHead = 1 + len(txn.TerminalID{}) + 4

func record(kind byte, id txn.TerminalID, day txn.Date) []byte {
	b := append([]byte{kind}, id[:]...)
	return binary.BigEndian.AppendUint32(b, uint32(day))
}

// compactAbove is how many records the log may have, beyond twice those that
// count, before it is written anew.
const compactAbove = 10_000

// Recover reads the log, and writes it anew where most of it is stale or a key is sealed
// under a local master key that is not the newest: after that the older ones are not
// needed. It is called once, with the log running.
func (r *Ring) Recover() error {
	records, err := r.read()
	if err != nil {
		return err
	}
	resealed, err := r.reseal()
	if err != nil {
		return fmt.Errorf("seal keys under the newest local master key: %w", err)
	}
	r.records.Store(int64(records))
	if resealed > 0 {
		err = r.rewrite()
	} else {
		err = r.Tidy()
	}
	if err != nil {
		return err
	}
	if resealed > 0 {
		r.log.Info("keys are sealed under the newest local master key: the older ones open nothing any more but backups", "keys", resealed)
	}
	return nil
}

// Tidy writes the log anew where most of it is stale: sign-ons add to it every day. Sign-ons
// and the first messages of a day of DUKPT terminals wait meanwhile.
func (r *Ring) Tidy() error {
	r.mu.RLock()
	most := 2*3*len(r.terminals) + compactAbove
	r.mu.RUnlock()
	if r.records.Load() <= int64(most) {
		return nil
	}
	return r.rewrite()
}

func (r *Ring) rewrite() error {
	r.logging.Lock()
	defer r.logging.Unlock()
	n, err := r.store.Rewrite(r.counting)
	if err != nil {
		return fmt.Errorf("write the log of terminals' keys anew: %w", err)
	}
	r.records.Store(n)
	return nil
}

// append adds a record. It needs logging until memory has what the record says.
func (r *Ring) append(rec []byte) error {
	_, err := r.store.Append(rec)
	if err == nil {
		r.records.Add(1)
	}
	return err
}

// reseal seals every key that is not under the newest local master key, and says how many
// were not. What is open stays so.
func (r *Ring) reseal() (resealed int, err error) {
	move := func(owner keys.Owner, all ...*keys.Sealed) {
		for _, s := range all {
			if len(*s) == 0 || err != nil {
				continue
			}
			var moved keys.Key
			if moved, err = r.vault.Reseal(keys.Key{Owner: owner, Sealed: *s}); err == nil && !bytes.Equal(moved.Sealed, *s) {
				*s = moved.Sealed
				resealed++
			}
		}
	}
	for id, t := range r.terminals {
		move(keys.OfTerminal(id), &t.master, &t.serial.sealed)
		if k := t.stored; k != nil {
			move(keys.OfTerminal(id), &k.TPK, &k.TAK, &k.TDK, &k.PreviousTAK)
		}
	}
	for id, k := range r.shared {
		move(k.Owner, &k.Sealed)
		r.shared[id] = k
	}
	for issuer, m := range r.replacedMACs {
		if time.Now().After(m.until) {
			delete(r.replacedMACs, issuer)
			continue
		}
		move(m.key.Owner, &m.key.Sealed)
	}
	for issuer, z := range r.zones {
		move(keys.OfIssuer(issuer), &z.sealed)
		r.zones[issuer] = z
	}
	return resealed, err
}

// Read reads the log and writes nothing, for a look at the keys, in place of Recover.
func (r *Ring) Read() error {
	_, err := r.read()
	return err
}

func (r *Ring) read() (records int, err error) {
	err = r.store.Scan(r.store.First(), func(pos journal.Position, b []byte) error {
		records++
		return r.restore(pos, b)
	})
	for issuer, z := range r.zones { // not before: one that was replaced may be under a key that is gone
		if err == nil {
			err = r.openZone(issuer, z.sealed)
		}
	}
	if err != nil {
		return records, fmt.Errorf("recover terminals' keys: %w", err)
	}
	return records, nil
}

func (r *Ring) restore(pos journal.Position, b []byte) error {
	if len(b) < recordHead {
		return fmt.Errorf("record %d is cut off", pos)
	}
	switch b[0] {
	case recordZone:
		r.zones[txn.IssuerID(b[1:recordHead])] = zone{sealed: append([]byte(nil), b[recordHead:]...)}
		return nil
	case recordBaseKey, recordBlocks, recordZoneMAC, recordZMK:
		id := sharedID{b[0], txn.IssuerID(b[1:recordHead])}
		r.shared[id] = keys.Key{Owner: id.owner(), Sealed: append([]byte(nil), b[recordHead:]...)}
		if b[0] == recordZoneMAC {
			delete(r.replacedMACs, id.name)
		}
		return nil
	case recordZoneMACs:
		if err := r.restoreZoneMACs(txn.IssuerID(b[1:recordHead]), b[recordHead:]); err != nil {
			return fmt.Errorf("record %d: %w", pos, err)
		}
		return nil
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
	case recordCounter:
		if len(sealed) != counterSize {
			return fmt.Errorf("record %d has a counter of %d bytes", pos, len(sealed))
		}
		t.count = parseCounter(day, sealed)
	case recordSerial:
		t.serial.sealed = sealed
	default:
		return fmt.Errorf("record %d is of kind %d, written by a newer version", pos, b[0])
	}
	return nil
}

// counting puts the records that count. It needs logging, for writing.
func (r *Ring) counting(put func([]byte) error) error {
	r.mu.RLock()
	terminals := maps.Clone(r.terminals) // others come while it goes on, with nothing that counts
	r.mu.RUnlock()
	for id, t := range terminals {
		if t.master != nil {
			if err := put(append(record(recordMaster, id, 0), t.master...)); err != nil {
				return err
			}
		}
		if t.serial.sealed != nil {
			if err := put(append(record(recordSerial, id, 0), t.serial.sealed...)); err != nil {
				return err
			}
		}
		if t.stored != nil {
			b, err := t.stored.AppendBinary(record(recordWorking, id, t.day))
			if err == nil {
				err = put(b)
			}
			if err != nil {
				return err
			}
		}
		if t.count.day != 0 {
			if err := put(t.count.append(record(recordCounter, id, t.count.day))); err != nil {
				return err
			}
		}
	}
	for id, k := range r.shared {
		b := append(append([]byte{id.record}, id.name[:]...), k.Sealed...)
		if id.record == recordZoneMAC {
			b = zoneMACsRecord(id.name, k, r.replacedMACs[id.name])
		}
		if err := put(b); err != nil {
			return err
		}
	}
	for issuer, z := range r.zones {
		if err := put(append(append([]byte{recordZone}, issuer[:]...), z.sealed...)); err != nil {
			return err
		}
	}
	return nil
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
	r.setting.Lock()
	defer r.setting.Unlock()
	r.logging.RLock()
	defer r.logging.RUnlock()
	if err := r.append(append(append([]byte{recordZone}, issuer[:]...), zpk.Sealed...)); err != nil {
		return fmt.Errorf("set PIN key of issuer %s: %w", issuer, err)
	}
	return r.openZone(issuer, zpk.Sealed)
}

func (r *Ring) zoneOf(issuer txn.IssuerID) zone {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.zones[issuer]
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

// appendWorking is append of a terminal's working keys.
func (r *Ring) appendWorking(id txn.TerminalID, day txn.Date, k *keys.TerminalKeys) error {
	b, err := k.AppendBinary(record(recordWorking, id, day))
	if err != nil {
		return err
	}
	return r.append(b)
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
	err := r.vault.Check(tmk, keys.PurposeTMK) // before it is stored: a key that does not open would take the place of one that does
	if err == nil && tmk.Owner != keys.OfTerminal(id) {
		err = keys.ErrPurpose
	}
	if err != nil {
		return fmt.Errorf("set master key of terminal %s: %w", id, err)
	}
	r.logging.RLock()
	defer r.logging.RUnlock()
	t := r.terminal(id, true)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := r.append(append(record(recordMaster, id, 0), tmk.Sealed...)); err != nil {
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

// Close ends all open keys and the vault.
func (r *Ring) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.terminals {
		t.mu.Lock()
		t.close()
		t.mu.Unlock()
		t.serial.close()
	}
	for _, z := range r.zones {
		if z.open != nil { // read may have failed before
			z.open.Close()
		}
	}
	for _, m := range r.macs {
		m.Close()
	}
	for _, m := range r.replacedMACs {
		m.close()
	}
	return r.vault.Close()
}
