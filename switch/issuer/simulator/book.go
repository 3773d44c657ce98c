package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"syscall"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Entry is one movement of money, or the refusal of one, in the issuer's own
// words. STAN and Time (DE7) are the acquirer's name for the request, and
// OriginalSTAN and OriginalTime its name for the earlier one that it is about.
type Entry struct {
	// Kind is approved, declined, reversed (an approval was undone, or all of it but
	// Stays) or unknown (a reversal of something that never arrived; if it still
	// does, it is declined).
	Kind         string `json:"kind"`
	Txn          string `json:"txn,omitempty"` // what was asked for, such as refund; of a reversed entry, what was undone
	STAN         uint32 `json:"stan"`
	Time         string `json:"time"`
	OriginalSTAN uint32 `json:"original_stan,omitempty"`
	OriginalTime string `json:"original_time,omitempty"`
	Terminal     string `json:"terminal"`
	Merchant     string `json:"merchant,omitempty"`
	Acquirer     string `json:"acquirer,omitempty"` // DE32
	Amount       int64  `json:"amount"`             // minor units; of a reversed entry, what was approved
	Stays        int64  `json:"stays,omitempty"`
	Currency     string `json:"currency,omitempty"`
	RRN          string `json:"rrn,omitempty"`
	Card         string `json:"card,omitempty"` // first six and last four digits
	Code         string `json:"code"`
	Auth         string `json:"auth,omitempty"`
}

// Transaction is the kind that Txn names. Books of before there were others
// hold sales and do not say so.
func (e *Entry) Transaction() txn.Kind {
	if k, ok := txn.ParseKind(e.Txn); ok {
		return k
	}
	return txn.KindSale
}

// Standing are the approvals of a book that were not reversed, in its order, each
// with the amount that stands. A void stands beside the sale it voided.
func Standing(entries []Entry) []Entry {
	type name struct {
		stan uint32
		time string
	}
	stays := map[name]int64{}
	for i := range entries {
		if e := &entries[i]; e.Kind == Reversed {
			stays[name{e.STAN, e.Time}] = e.Stays
		}
	}
	var standing []Entry
	for _, e := range entries {
		if e.Kind != Approved {
			continue
		}
		if left, reversed := stays[name{e.STAN, e.Time}]; reversed {
			e.Amount = left
		}
		if e.Amount > 0 {
			standing = append(standing, e)
		}
	}
	return standing
}

// The kinds of entries.
const (
	Approved = "approved"
	Declined = "declined"
	Reversed = "reversed"
	Unknown  = "unknown"
)

// ReadBook reads a book, of a running issuer too. A torn last line, as kill -9
// may leave it, is not an entry: its answer was never sent.
func ReadBook(path string) ([]Entry, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read issuer's book: %w", err)
	}
	entries, _, err := parseBook(data)
	return entries, err
}

// parseBook also says where the last whole line ends.
func parseBook(data []byte) (entries []Entry, end int, err error) {
	for line := 1; ; line++ {
		n := bytes.IndexByte(data[end:], '\n')
		if n < 0 {
			return entries, end, nil
		}
		var e Entry
		if err := json.Unmarshal(data[end:end+n], &e); err != nil {
			return nil, 0, fmt.Errorf("read issuer's book, line %d: %w", line, err)
		}
		entries = append(entries, e)
		end += n + 1
	}
}

// appendEntry appends the line of what d did with r. Every text in it is made
// of digits or quoted: a terminal may hold any character.
func appendEntry(dst []byte, r *request, d *decision) []byte {
	dst = append(dst, `{"kind":"`...)
	dst = append(dst, d.entry...)
	if d.kind != txn.KindUnknown {
		dst = append(dst, `","txn":"`...)
		dst = append(dst, d.kind.String()...)
	}
	dst = append(dst, `","stan":`...)
	dst = strconv.AppendUint(dst, uint64(r.id.stan), 10)
	dst = append(dst, `,"time":"`...)
	dst = appendTime(dst, r.id.time)
	if d.about != (transaction{}) {
		dst = append(dst, `","original_stan":`...)
		dst = strconv.AppendUint(dst, uint64(d.about.stan), 10)
		dst = append(dst, `,"original_time":"`...)
		dst = appendTime(dst, d.about.time)
	}
	dst = append(dst, `","terminal":`...)
	dst = appendText(dst, r.terminal[:])
	if r.merchant[0] != 0 {
		dst = append(dst, `,"merchant":`...)
		dst = appendText(dst, r.merchant[:])
	}
	if r.acquirerSize > 0 {
		dst = append(dst, `,"acquirer":`...)
		dst = appendText(dst, r.acquirer[:r.acquirerSize])
	}
	dst = append(dst, `,"amount":`...)
	dst = strconv.AppendInt(dst, r.amount, 10)
	if d.stays != 0 {
		dst = append(dst, `,"stays":`...)
		dst = strconv.AppendInt(dst, d.stays, 10)
	}
	dst = append(dst, `,"currency":`...)
	dst = appendText(dst, r.currency[:])
	dst = append(dst, `,"rrn":`...)
	dst = appendText(dst, r.rrn[:])
	if pan, err := txn.ParsePAN(r.card[:r.cardSize]); err == nil {
		dst = append(dst, `,"card":"`...)
		dst = pan.AppendMasked(dst)
		dst = append(dst, '"')
	}
	dst = append(dst, `,"code":`...)
	dst = appendText(dst, d.code[:])
	if d.auth != [6]byte{} {
		dst = append(dst, `,"auth":`...)
		dst = appendText(dst, d.auth[:])
	}
	return append(dst, "}\n"...)
}

// appendTime appends DE7 as its ten digits.
func appendTime(dst []byte, time uint32) []byte {
	var digits [10]byte
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = byte('0' + time%10)
		time /= 10
	}
	return append(dst, digits[:]...)
}

// appendText appends b, without its padding, as a JSON string.
func appendText(dst, b []byte) []byte {
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == 0) {
		b = b[:len(b)-1]
	}
	for _, c := range b {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, err := json.Marshal(string(b))
			if err != nil {
				return append(dst, `""`...)
			}
			return append(dst, quoted...)
		}
	}
	dst = append(append(dst, '"'), b...)
	return append(dst, '"')
}

// book is the append-only file of entries, flushed in groups: while one flush
// is under way the next gathers, and whoever finds none under way does it.
type book struct {
	file *os.File
	sync string

	mu       sync.Mutex
	turned   *sync.Cond
	lines    []byte // gathering, for flush number next
	spare    []byte // takes turns with lines
	next     uint64
	done     uint64 // flushes up to it are as durable as sync says
	flushing bool
	err      error // sticks: after a failed write nobody knows what is on disk
}

// openBook opens or creates the file, locks it, cuts a torn last line off and
// returns what is in it. The kernel drops the lock with the process.
func openBook(path, sync_ string) (*book, []Entry, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open issuer's book: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) { // what we cut off would be a line it is writing
			err = errors.New("another issuer writes it; stop that one or name another file")
		}
		return nil, nil, fmt.Errorf("open issuer's book %s: %w", path, err)
	}
	b := &book{file: file, sync: sync_, next: 1}
	b.turned = sync.NewCond(&b.mu)
	entries, err := b.recover()
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return b, entries, nil
}

func (b *book) recover() ([]Entry, error) {
	data, err := io.ReadAll(b.file)
	if err != nil {
		return nil, fmt.Errorf("read issuer's book: %w", err)
	}
	entries, end, err := parseBook(data)
	if err != nil {
		return nil, err
	}
	if err := b.file.Truncate(int64(end)); err != nil {
		return nil, fmt.Errorf("cut torn line off issuer's book: %w", err)
	}
	if _, err := b.file.Seek(int64(end), io.SeekStart); err != nil {
		return nil, fmt.Errorf("seek in issuer's book: %w", err)
	}
	return entries, nil
}

// add puts lines behind those gathered and returns the flush that carries
// them. Their order is the order of the calls.
func (b *book) add(lines []byte) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, lines...)
	return b.next
}

// wait returns when flush is durable.
func (b *book) wait(flush uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.done < flush && b.err == nil {
		if b.flushing {
			b.turned.Wait()
			continue
		}
		b.flushing = true
		lines, turn := b.lines, b.next
		b.lines = b.spare[:0]
		b.next++
		b.mu.Unlock()
		err := b.write(lines)
		b.mu.Lock()
		b.spare = lines
		b.flushing = false
		b.done = turn
		if err != nil {
			b.err = fmt.Errorf("write issuer's book: %w", err)
		}
		b.turned.Broadcast()
	}
	return b.err
}

func (b *book) write(lines []byte) error {
	if b.sync == "every" {
		for len(lines) > 0 {
			n := bytes.IndexByte(lines, '\n') + 1
			if err := b.put(lines[:n]); err != nil {
				return err
			}
			lines = lines[n:]
		}
		return nil
	}
	if len(lines) == 0 {
		return nil
	}
	return b.put(lines)
}

func (b *book) put(lines []byte) error {
	if _, err := b.file.Write(lines); err != nil {
		return err
	}
	if b.sync == "none" {
		return nil
	}
	return b.file.Sync()
}

func (b *book) close() error {
	b.mu.Lock()
	flush := b.next
	b.mu.Unlock()
	return errors.Join(b.wait(flush), b.file.Close())
}
