// Package download is what terminals take from the acquirer besides answers:
// parameters, CA public keys (CAPK), chip applications (AID), card BIN lists,
// contactless parameters and notices, and which terminal has which of them. It
// is the acquirer's Librarian.
//
// Promises: what is handed out is one file, checked as a whole (Load), and a
// file with one bad line is not taken; every payload fits DE62; the pages of a
// list hold each of its items once, in order, if the file does not change
// meanwhile. A terminal counts as having a version only after it took all of
// it and said so, or took it DeliveriesMax times without saying so; that is
// durable before the end is answered, so after a restart terminals are asked
// for what they lack and for nothing else.
//
// Not promised: that a terminal obeys, or keeps what it took. A list that
// changes between two pages is handed out mixed; its end then counts for
// nothing, and the terminal is asked again.
//
// What terminals have lives in an append-only log, of which the last record of
// each terminal and content counts. It is written anew when most of it is stale.
//
// Not here: fields and headers (switch/dialect), who may ask (package risk).
// The forms are those of cup-pos A5, DE62 uses 3 to 6.
package download

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// DeliveriesMax is how often a terminal is handed the whole of a content whose
// end it never says; after that it counts as having it. Terminals in the field
// take parameters (360) and leave the end (361) out; without a bound they would
// be asked with every answer.
const DeliveriesMax = 3

// Store is the library's log: a journal of its own. Append returns a nil error
// only when the record is on stable storage.
type Store interface {
	Source
	Append(rec []byte) (journal.Position, error)
	// Rewrite has what each puts take the place of all records, and says how many that
	// are. After an error both are there.
	Rewrite(each func(put func(rec []byte) error) error) (int64, error)
}

// Source is a log to be read.
type Source interface {
	First() journal.Position
	Scan(from journal.Position, fn func(journal.Position, []byte) error) error
}

// Status is what a terminal last said of itself.
type Status struct {
	At   time.Time
	Text string // DE62: tags of two digits with values of fixed widths
}

// Library is safe for concurrent use after Recover.
type Library struct {
	snapshot atomic.Pointer[Snapshot]
	store    Store
	serial   func(txn.TerminalID) [50]byte
	log      *slog.Logger

	// logging is held for writing while the log is written anew, for reading by
	// an append and the change in memory that follows it.
	logging sync.RWMutex
	records atomic.Int64 // in the log

	mu   sync.RWMutex // guards the map, not the rows
	rows map[txn.TerminalID]*row
}

// row is one terminal. It exists once the terminal took something.
type row struct {
	mu     sync.Mutex
	has    [contents]uint64    // versions, 0 is none
	taking *[contents]underway // nil when nothing is under way; in memory only
	status Status
}

// underway is one content being taken.
type underway struct {
	version uint64 // of its first page, 0 when a later page was of another
	whole   bool   // the last page was handed out
	times   uint8  // how often
}

// New makes a library of a snapshot; what terminals have is unknown until
// Recover. A library that only says who lacks what needs no store. serial finds
// the serial number of a terminal's machine, zero padded.
func New(s *Snapshot, store Store, serial func(txn.TerminalID) [50]byte, log *slog.Logger) *Library {
	l := &Library{store: store, serial: serial, log: log, rows: map[txn.TerminalID]*row{}}
	l.snapshot.Store(s)
	return l
}

// Replace puts s in force.
func (l *Library) Replace(s *Snapshot) { l.snapshot.Store(s) }

// Serve answers a download request or takes a terminal's status in. It is
// called for registered, active terminals only.
func (l *Library) Serve(req *txn.Request, ans *txn.Answer) txn.Reason {
	ask, ok := parse(req.Network, req.Custom)
	if !ok {
		return txn.FormatIsWrong
	}
	id, t := req.Key.Terminal, l.row(req.Key.Terminal, true)
	switch ask.step {
	case stepEnd:
		return l.end(id, t, ask.content, req.Received)
	case stepUpload:
		return l.keep(id, t, Status{req.Received, string(req.Custom)}, l.version(status, id, req.Acceptor))
	}
	s := l.snapshot.Load()
	version := s.version(ask.content, id, l.serial, req.Acceptor)
	var page pageState
	ans.Custom, page = s.serve(ans.Custom[:0], &ask, id, l.serial, req.Acceptor)
	if page == pageUnknown {
		return txn.ItemIsUnknown
	}
	if t.handed(&ask, version, page == pageLast) {
		return l.confirm(id, t, ask.content, version, req.Received)
	}
	return txn.Approved
}

// handed notes that a page or an item was handed out, and says whether the
// terminal is now taken to have the content without its saying so.
func (t *row) handed(r *request, version uint64, last bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if version == 0 || t.taking == nil && t.has[r.content] == version {
		return false
	}
	if t.taking == nil {
		t.taking = new([contents]underway)
	}
	u := &t.taking[r.content]
	switch {
	case u.version == version:
	case r.step == stepPage && r.start == 0:
		*u = underway{version: version}
	default: // the file changed meanwhile
		*u = underway{}
		return false
	}
	if r.step == stepItem {
		return false
	}
	if u.whole = last; !last || shelf[r.content].form == items {
		return false
	}
	u.times++
	return u.times >= DeliveriesMax
}

// end takes note that a terminal has all of a content. What it did not take
// whole and of one version it is asked for again.
func (l *Library) end(id txn.TerminalID, t *row, c content, at time.Time) txn.Reason {
	t.mu.Lock()
	var version uint64
	if t.taking != nil && t.taking[c].whole {
		version = t.taking[c].version
	}
	t.mu.Unlock()
	if version == 0 {
		return txn.Approved
	}
	return l.confirm(id, t, c, version, at)
}

// confirm makes it durable that the terminal has a version. A crash before the
// record is on disk leaves a terminal that is asked once more.
func (l *Library) confirm(id txn.TerminalID, t *row, c content, version uint64, at time.Time) txn.Reason {
	return l.note(id, versionRecord(id, c, version, at), func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.has[c] = version
		if t.taking == nil {
			return
		}
		if t.taking[c] = (underway{}); *t.taking == ([contents]underway{}) {
			t.taking = nil
		}
	})
}

// keep stores a status, durably when it says something new, and notes that it
// was given where it was asked for.
func (l *Library) keep(id txn.TerminalID, t *row, st Status, version uint64) txn.Reason {
	t.mu.Lock()
	same, has := t.status.Text == st.Text, t.has[status]
	t.mu.Unlock()
	set := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.status = st
	}
	if same {
		set()
	} else if r := l.note(id, statusRecord(id, st), set); r != txn.Approved {
		return r
	}
	if version == 0 || version == has {
		return txn.Approved
	}
	return l.confirm(id, t, status, version, st.At)
}

// note appends a record and then makes the change it stands for.
func (l *Library) note(id txn.TerminalID, rec []byte, change func()) txn.Reason {
	l.logging.RLock()
	_, err := l.store.Append(rec)
	if err == nil {
		change()
	}
	l.logging.RUnlock()
	switch {
	case errors.Is(err, journal.ErrFull):
		return txn.SwitchIsOverloaded
	case err != nil:
		l.log.Error("what a terminal has cannot be recorded", "terminal", id.String(), "error", err)
		return txn.SwitchFailed
	}
	if l.records.Add(1) > l.recordsMax() {
		if err := l.compact(); err != nil {
			l.log.Error("the log of downloads cannot be written anew; it grows until it can", "error", err)
		}
	}
	return txn.Approved
}

// Pending is what req's terminal should be asked for with the answer to req, as
// the digit of cup-pos A2: the first content in the order of asking of which it
// has another version than the one in force. While a terminal takes a content
// it is asked for nothing.
func (l *Library) Pending(req *txn.Request) uint8 {
	if req.Acceptor == nil {
		return 0
	}
	if req.Kind == txn.KindDownload && !ends(req.Network) {
		return 0
	}
	for c, lacking := range l.lacking(req.Key.Terminal, req.Acceptor) {
		if lacking {
			return shelf[c].digit
		}
	}
	return 0
}

// Lacks names what a terminal of m should take, in the order of asking.
func (l *Library) Lacks(id txn.TerminalID, m *txn.Merchant) []string {
	var names []string
	for c, lacking := range l.lacking(id, m) {
		if lacking {
			names = append(names, shelf[c].name)
		}
	}
	return names
}

// lacking says of each content whether the terminal should take it.
func (l *Library) lacking(id txn.TerminalID, m *txn.Merchant) (lacking [contents]bool) {
	s := l.snapshot.Load()
	var has [contents]uint64
	if t := l.row(id, false); t != nil {
		t.mu.Lock()
		has = t.has
		t.mu.Unlock()
	}
	for c := range content(contents) {
		if s.asked(c, id) {
			v := s.version(c, id, l.serial, m)
			lacking[c] = v != 0 && v != has[c]
		}
	}
	return lacking
}

func (l *Library) version(c content, id txn.TerminalID, m *txn.Merchant) uint64 {
	return l.snapshot.Load().version(c, id, l.serial, m)
}

// Status is what a terminal last said of itself; its At is zero when it has
// said nothing.
func (l *Library) Status(id txn.TerminalID) Status {
	t := l.row(id, false)
	if t == nil {
		return Status{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status
}

// row finds a terminal's row, and makes it if asked.
func (l *Library) row(id txn.TerminalID, create bool) *row {
	l.mu.RLock()
	t := l.rows[id]
	l.mu.RUnlock()
	if t != nil || !create {
		return t
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if t = l.rows[id]; t == nil {
		t = &row{}
		l.rows[id] = t
	}
	return t
}

// The kinds of records: a kind byte, DE41, the time in microseconds since 1970,
// and the rest: a content byte and a version of eight, or a status' text.
const (
	recordVersion byte = 1
	recordStatus  byte = 2
)

const recordHead = 1 + len(txn.TerminalID{}) + 8

func record(kind byte, id txn.TerminalID, at time.Time) []byte {
	b := append([]byte{kind}, id[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(at.UnixMicro()))
}

func versionRecord(id txn.TerminalID, c content, version uint64, at time.Time) []byte {
	return binary.BigEndian.AppendUint64(append(record(recordVersion, id, at), byte(c)), version)
}

func statusRecord(id txn.TerminalID, st Status) []byte {
	return append(record(recordStatus, id, st.At), st.Text...)
}

// Recover reads the log. It is called once, before anything is served, and
// writes nothing.
func (l *Library) Recover(log Source) error {
	err := log.Scan(log.First(), func(pos journal.Position, b []byte) error {
		l.records.Add(1)
		return l.restore(pos, b)
	})
	if err != nil {
		return fmt.Errorf("recover what terminals have downloaded: %w", err)
	}
	return nil
}

func (l *Library) restore(pos journal.Position, b []byte) error {
	if len(b) < recordHead {
		return fmt.Errorf("record %d is cut off", pos)
	}
	id, at, rest := txn.TerminalID(b[1:9]), time.UnixMicro(int64(binary.BigEndian.Uint64(b[9:]))), b[recordHead:]
	switch {
	case b[0] == recordVersion && len(rest) == 9 && rest[0] < contents:
		l.row(id, true).has[rest[0]] = binary.BigEndian.Uint64(rest[1:])
	case b[0] == recordStatus:
		l.row(id, true).status = Status{at, string(rest)}
	default:
		return fmt.Errorf("record %d is of kind %d, written by a newer version", pos, b[0])
	}
	return nil
}

// compactAbove is how many records the log may have, beyond twice those that may
// count, before it is written anew.
const compactAbove = 10_000

func (l *Library) recordsMax() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return compactAbove + 2*int64(contents+1)*int64(len(l.rows))
}

// compact writes the log anew with what counts.
func (l *Library) compact() error {
	l.logging.Lock()
	defer l.logging.Unlock()
	if l.records.Load() <= l.recordsMax() {
		return nil // somebody else did it meanwhile
	}
	n, err := l.store.Rewrite(l.counting)
	if err == nil {
		l.records.Store(n)
	}
	return err
}

// counting puts the records that count.
func (l *Library) counting(put func([]byte) error) error {
	l.mu.RLock()
	rows := maps.Clone(l.rows)
	l.mu.RUnlock()
	now := time.Now()
	for id, t := range rows {
		t.mu.Lock()
		has, st := t.has, t.status
		t.mu.Unlock()
		for c, version := range has {
			if version == 0 {
				continue
			}
			if err := put(versionRecord(id, content(c), version, now)); err != nil {
				return err
			}
		}
		if st.At.IsZero() {
			continue
		}
		if err := put(statusRecord(id, st)); err != nil {
			return err
		}
	}
	return nil
}
