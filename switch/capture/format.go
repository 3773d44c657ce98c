package capture

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/acqswitch/acqswitch/iso"
)

// The stored form, version 1; docs/captures.md has its bytes.
const (
	Magic   = "ACQCAPT1" // how a capture begins
	ending  = "ACQCEND1"
	trailer = 16
	head    = 8 // of a record

	recordMax = 1 << 26 // an index is the largest
	// indexEvery is how many messages lie between two places that the index names.
	indexEvery = 4096
	// terminalsMax bounds the terminals that the index names.
	terminalsMax = 1 << 20
)

const (
	kindDialect = 1 + iota
	kindSession
	kindRequest
	kindAnswer
	kindEnd
	kindNote
	kindIndex
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrNotCapture says that a file is not one of the stored form.
var ErrNotCapture = errors.New("not a stored capture: make one with acqswitch capture")

// Index is what stands at the end of a stored capture.
type Index struct {
	Version   int             `json:"version"`
	Requests  int             `json:"requests"`
	Answers   int             `json:"answers"`
	Sessions  int             `json:"sessions"`
	First     time.Time       `json:"first"` // of the messages
	Last      time.Time       `json:"last"`
	KeyID     string          `json:"key_id"` // of the pseudonyms
	Cleaned   Cleaned         `json:"cleaned"`
	Unmatched int             `json:"unmatched"`  // answers to no request, left out
	Unread    int             `json:"unread"`     // messages that could not be taken apart, left out
	FromHosts int             `json:"from_hosts"` // requests that came from the server's side, left out
	Dialects  []DialectCount  `json:"dialects"`
	Terminals []TerminalCount `json:"terminals"`
	Places    []Place         `json:"places"`
}

// DialectCount is how much a dialect was spoken, and how sure that is: the
// least sure and the mean of its sessions.
type DialectCount struct {
	Name     string  `json:"name"`
	Sessions int     `json:"sessions"`
	Messages int     `json:"messages"`
	Sure     float64 `json:"sure"`
	SureMin  float64 `json:"sure_min"`
}

// TerminalCount is how much a terminal asked.
type TerminalCount struct {
	Terminal string `json:"terminal"` // DE41
	Merchant string `json:"merchant"` // DE42
	Requests int    `json:"requests"`
}

// Place is where in the file, in bytes, the record of a message begins.
type Place struct {
	Message uint64    `json:"message"`
	At      time.Time `json:"at"`
	Offset  int64     `json:"offset"`
}

type dialectRecord struct {
	Number uint8           `json:"number"`
	Name   string          `json:"name"`
	Prefix string          `json:"prefix"`
	Spec   json.RawMessage `json:"spec,omitempty"`
}

// Writer writes a stored capture. It is a Sink: what it is told it cleans and
// keeps. It is not safe for concurrent use.
type Writer struct {
	out      *bufio.Writer
	cleaner  *Cleaner
	offset   int64
	messages uint64
	frame    []byte
	record   []byte

	dialects  map[string]uint8
	counts    map[string]*DialectCount
	terminals map[[2]string]int
	open      map[*Session]*written
	index     Index
}

// written is a session while it is open. Its number is the Writer's own: that of
// several files is one capture.
type written struct {
	id    uint32
	pairs Pairs
	asked []uint64 // message numbers of the last requests, by what Pairs numbers them
	base  int      // of asked[0]
}

// NewWriter begins a stored capture on w.
func NewWriter(w io.Writer, c *Cleaner) (*Writer, error) {
	out := bufio.NewWriterSize(w, 1<<18)
	if _, err := out.WriteString(Magic); err != nil {
		return nil, fmt.Errorf("write capture: %w", err)
	}
	return &Writer{out: out, cleaner: c, offset: int64(len(Magic)), dialects: map[string]uint8{}, counts: map[string]*DialectCount{},
		terminals: map[[2]string]int{}, open: map[*Session]*written{}, index: Index{Version: 1, KeyID: c.KeyID()}}, nil
}

// put writes the record in w.record, whose first bytes are left for its head.
func (w *Writer) put() error {
	body := w.record[head:]
	binary.BigEndian.PutUint32(w.record, uint32(len(body)))
	binary.BigEndian.PutUint32(w.record[4:], crc32.Checksum(body, castagnoli))
	n, err := w.out.Write(w.record)
	w.offset += int64(n)
	if err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	return nil
}

func (w *Writer) begin(kind byte) { w.record = append(w.record[:0], 0, 0, 0, 0, 0, 0, 0, 0, kind) }

func (w *Writer) u32(v uint32)     { w.record = binary.BigEndian.AppendUint32(w.record, v) }
func (w *Writer) u64(v uint64)     { w.record = binary.BigEndian.AppendUint64(w.record, v) }
func (w *Writer) time(t time.Time) { w.u64(uint64(t.UnixMicro())) }
func (w *Writer) text(s string) {
	s = s[:min(len(s), 255)]
	w.record = append(append(w.record, byte(len(s))), s...)
}

// Open implements Sink.
func (w *Writer) Open(s *Session) error {
	d := s.Dialect
	if w.dialects[d.Name] == 0 {
		if len(w.dialects) == 255 {
			return errors.New("write capture: more than 255 dialects")
		}
		n := uint8(len(w.dialects) + 1)
		w.dialects[d.Name] = n
		prefix := "binary2"
		if d.Codec.Framing().Prefix == iso.PrefixASCII4 {
			prefix = "ascii4"
		}
		text, err := json.Marshal(dialectRecord{n, d.Name, prefix, d.Spec})
		if err != nil {
			return fmt.Errorf("write capture: dialect %s: %w", d.Name, err)
		}
		w.begin(kindDialect)
		w.record = append(w.record, text...)
		if err := w.put(); err != nil {
			return err
		}
		w.counts[d.Name] = &DialectCount{Name: d.Name, SureMin: 1}
	}
	w.index.Sessions++
	id := uint32(w.index.Sessions)
	w.open[s] = &written{id: id}
	w.begin(kindSession)
	w.u32(id)
	w.record = append(w.record, w.dialects[d.Name])
	w.time(s.Start)
	w.text(addrText(s.Client))
	w.text(addrText(s.Server))
	return w.put()
}

func addrText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// Message implements Sink.
func (w *Writer) Message(s *Session, fromClient bool, frame []byte, at time.Time) error {
	w.frame = append(w.frame[:0], frame...)
	if w.cleaner.Message(s.Dialect, w.frame) != nil {
		w.index.Unread++
		return nil
	}
	m := &w.cleaner.m
	state := w.open[s]
	kind, number := byte(kindRequest), w.messages+1
	switch answer := isAnswer(m.MTI()); {
	case answer == fromClient: // the host asked, or the terminal answered it
		w.index.FromHosts++
		return nil
	case answer:
		i := state.pairs.Answered(m)
		if i < state.base {
			w.index.Unmatched++
			return nil
		}
		kind, number = kindAnswer, state.asked[i-state.base]
		w.index.Answers++
	default:
		w.messages++
		state.pairs.Asked(m)
		if state.asked = append(state.asked, number); len(state.asked) > 2*waitingMax {
			state.asked, state.base = slices.Clone(state.asked[waitingMax:]), state.base+waitingMax
		}
		w.index.Requests++
		if number%indexEvery == 1 {
			w.index.Places = append(w.index.Places, Place{number, at, w.offset})
		}
		who := [2]string{string(m.AppendText(nil, 41)), string(m.AppendText(nil, 42))}
		if len(w.terminals) < terminalsMax || w.terminals[who] > 0 {
			w.terminals[who]++
		}
	}
	w.counts[s.Dialect.Name].Messages++
	if w.index.First.IsZero() {
		w.index.First = at
	}
	if at.After(w.index.Last) {
		w.index.Last = at
	}
	w.begin(kind)
	w.u32(state.id)
	w.time(at)
	w.u64(number)
	w.record = append(w.record, w.frame...)
	return w.put()
}

// Trouble implements Sink.
func (w *Writer) Trouble(s *Session, why string) error {
	if s.Client.IsValid() {
		why = s.Client.String() + ": " + why
	}
	return w.Note(why)
}

// Note keeps a line about the capture.
func (w *Writer) Note(text string) error {
	w.begin(kindNote)
	w.record = append(w.record, text...)
	return w.put()
}

// Close implements Sink.
func (w *Writer) Close(s *Session) error {
	id := w.open[s].id
	delete(w.open, s)
	c := w.counts[s.Dialect.Name]
	c.Sessions++
	c.Sure += s.Sure()
	c.SureMin = min(c.SureMin, s.Sure())
	w.begin(kindEnd)
	w.u32(id)
	w.time(s.End)
	w.record = binary.BigEndian.AppendUint16(w.record, uint16(s.Sure()*1000))
	return w.put()
}

// Finish writes the index. It does not close the writer below.
func (w *Writer) Finish() (*Index, error) {
	x := &w.index
	x.Cleaned = w.cleaner.Counts()
	for _, c := range w.counts {
		if c.Sessions > 0 {
			c.Sure /= float64(c.Sessions)
		}
		x.Dialects = append(x.Dialects, *c)
	}
	slices.SortFunc(x.Dialects, func(a, b DialectCount) int { return cmp.Compare(a.Name, b.Name) })
	for who, n := range w.terminals {
		x.Terminals = append(x.Terminals, TerminalCount{who[0], who[1], n})
	}
	slices.SortFunc(x.Terminals, func(a, b TerminalCount) int {
		return cmp.Or(cmp.Compare(a.Terminal, b.Terminal), cmp.Compare(a.Merchant, b.Merchant))
	})
	text, err := json.Marshal(x)
	if err != nil {
		return nil, fmt.Errorf("write capture: %w", err)
	}
	at := w.offset
	w.begin(kindIndex)
	w.record = append(w.record, text...)
	if err := w.put(); err != nil {
		return nil, err
	}
	end := binary.BigEndian.AppendUint64(nil, uint64(at))
	if _, err := w.out.Write(append(end, ending...)); err != nil {
		return nil, fmt.Errorf("write capture: %w", err)
	}
	if err := w.out.Flush(); err != nil {
		return nil, fmt.Errorf("write capture: %w", err)
	}
	return x, nil
}

// Stored is a session of a stored capture.
type Stored struct {
	ID             uint32
	Dialect        *Dialect
	Start          time.Time
	Client, Server string
}

// Exchange is a request and what was answered.
type Exchange struct {
	Session    *Stored
	Number     uint64 // of the request in the capture: 1, 2, ...
	At         time.Time
	Request    []byte // length prefix included
	Answer     []byte // nil when there was none
	AnsweredAt time.Time
	// Ended says that the session ended with this exchange, as far as is known.
	Ended bool

	settled bool // nothing more will come of it
}

// Limits of how far a Reader looks ahead for a request's answer.
const (
	aheadMax = 1 << 14
	aheadFor = 2 * time.Minute // of the capture's time
)

// Reader reads a stored capture, request by request. A file that is cut off is
// read to its last whole record.
type Reader struct {
	in       *bufio.Reader
	at       time.Time // of the last record
	dialects map[uint8]*Dialect
	sessions map[uint32]*Stored
	ahead    []*Exchange // in order, the first is the next
	byNumber map[uint64]*Exchange
	err      error // of reading; told when ahead is empty
	record   []byte

	Index *Index // once the end was read; nil if the file is cut off
}

// NewReader begins to read.
func NewReader(r io.Reader) (*Reader, error) {
	in := bufio.NewReaderSize(r, 1<<18)
	var first [len(Magic)]byte
	if _, err := io.ReadFull(in, first[:]); err != nil || string(first[:]) != Magic {
		return nil, ErrNotCapture
	}
	return &Reader{in: in, dialects: map[uint8]*Dialect{}, sessions: map[uint32]*Stored{}, byNumber: map[uint64]*Exchange{}}, nil
}

// Next is the next request with its answer. Its error is io.EOF at the end, and
// ErrCutOff at the end of a file that is cut off.
func (r *Reader) Next() (*Exchange, error) {
	for {
		if len(r.ahead) > 0 {
			e := r.ahead[0]
			if e.settled || r.err != nil || len(r.ahead) >= aheadMax || r.at.Sub(e.At) >= aheadFor {
				r.ahead = r.ahead[1:]
				delete(r.byNumber, e.Number)
				return e, nil
			}
		} else if r.err != nil {
			return nil, r.err
		}
		r.err = r.read()
	}
}

// ErrCutOff says that a stored capture has no end.
var ErrCutOff = errors.New("the capture is cut off: what was read is all there is")

func (r *Reader) read() error {
	var h [head]byte
	if _, err := io.ReadFull(r.in, h[:]); err != nil {
		if r.Index != nil {
			return io.EOF
		}
		return ErrCutOff
	}
	if r.Index != nil { // the trailer
		return io.EOF
	}
	size := binary.BigEndian.Uint32(h[:])
	if size == 0 || size > recordMax {
		return fmt.Errorf("read capture: a record of %d bytes: the file is damaged", size)
	}
	// The length is believed as far as bytes come.
	r.record = r.record[:0]
	for len(r.record) < int(size) {
		n := min(int(size)-len(r.record), 1<<16)
		at := len(r.record)
		r.record = slices.Grow(r.record, n)[:at+n]
		if _, err := io.ReadFull(r.in, r.record[at:]); err != nil {
			return ErrCutOff
		}
	}
	if crc32.Checksum(r.record, castagnoli) != binary.BigEndian.Uint32(h[4:]) {
		return errors.New("read capture: the checksum of a record is wrong: the file is damaged")
	}
	if err := r.take(r.record[0], &fields{b: r.record[1:]}); err != nil {
		return fmt.Errorf("read capture: %w", err)
	}
	return nil
}

// fields reads the parts of a record; what is missing is zero and noted.
type fields struct {
	b     []byte
	short bool
}

func (f *fields) bytes(n int) []byte {
	if len(f.b) < n {
		f.short, f.b = true, nil
		return make([]byte, n)
	}
	v := f.b[:n]
	f.b = f.b[n:]
	return v
}

func (f *fields) u8() uint8       { return f.bytes(1)[0] }
func (f *fields) u32() uint32     { return binary.BigEndian.Uint32(f.bytes(4)) }
func (f *fields) u64() uint64     { return binary.BigEndian.Uint64(f.bytes(8)) }
func (f *fields) time() time.Time { return time.UnixMicro(int64(f.u64())).UTC() }
func (f *fields) text() string    { return string(f.bytes(int(f.u8()))) }

var errShort = errors.New("a record is too short: the file is damaged")

func (r *Reader) take(kind byte, f *fields) error {
	switch kind {
	case kindDialect:
		var d dialectRecord
		if err := json.Unmarshal(f.b, &d); err != nil {
			return fmt.Errorf("a dialect: %w", err)
		}
		found, err := d.dialect()
		r.dialects[d.Number] = found
		return err
	case kindSession:
		s := &Stored{ID: f.u32()}
		s.Dialect = r.dialects[f.u8()]
		s.Start, s.Client, s.Server = f.time(), f.text(), f.text()
		if s.Dialect == nil {
			return errors.New("a session of no dialect: the file is damaged")
		}
		r.sessions[s.ID] = s
	case kindRequest, kindAnswer:
		s := r.sessions[f.u32()]
		at, number := f.time(), f.u64()
		if f.short {
			return errShort
		}
		if s == nil {
			return errors.New("a message of no session: the file is damaged")
		}
		r.at = at
		var m iso.Message
		if err := s.Dialect.Parse(&m, f.b); err != nil {
			return fmt.Errorf("message %d: %w", number, err)
		}
		frame := slices.Clone(f.b)
		e := r.byNumber[number]
		switch {
		case kind == kindAnswer && e != nil && !e.settled:
			e.Answer, e.AnsweredAt, e.settled = frame, at, true
		case kind == kindRequest && e == nil:
			e = &Exchange{Session: s, Number: number, At: at, Request: frame}
			r.ahead = append(r.ahead, e)
			r.byNumber[number] = e
		}
	case kindEnd:
		id := f.u32()
		last := true
		for i := len(r.ahead) - 1; i >= 0; i-- {
			if e := r.ahead[i]; e.Session.ID == id {
				e.settled, e.Ended = true, last
				last = false
			}
		}
		delete(r.sessions, id)
	case kindIndex:
		x := &Index{}
		if err := json.Unmarshal(f.b, x); err != nil {
			return fmt.Errorf("the index: %w", err)
		}
		r.Index = x
	}
	if f.short {
		return errShort
	}
	return nil // kinds of later versions are skipped
}

func (d *dialectRecord) dialect() (*Dialect, error) {
	if len(d.Spec) > 0 {
		return specDialect(d.Spec, d.Prefix)
	}
	known := named(d.Name)
	if known == nil {
		return nil, fmt.Errorf("dialect %q is unknown", d.Name)
	}
	return known, nil
}

// ReadIndex reads the index of a stored capture, from the end of the file or, if
// that is cut off, by reading all of it; the places are then missing.
func ReadIndex(r io.ReadSeeker) (*Index, error) {
	defer r.Seek(0, io.SeekStart)
	var end [trailer]byte
	if size, err := r.Seek(-trailer, io.SeekEnd); err == nil {
		if _, err := io.ReadFull(r, end[:]); err == nil && string(end[8:]) == ending {
			at := int64(binary.BigEndian.Uint64(end[:]))
			if at > 0 && at < size {
				if _, err := r.Seek(at, io.SeekStart); err == nil {
					back := Reader{in: bufio.NewReader(r)}
					if back.read() == nil && back.Index != nil {
						return back.Index, nil
					}
				}
			}
		}
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	in, err := NewReader(r)
	if err != nil {
		return nil, err
	}
	x := &Index{Version: 1}
	terminals := map[[2]string]int{}
	var m iso.Message
	for {
		e, err := in.Next()
		if err != nil {
			if len(terminals) == 0 {
				return nil, err
			}
			break
		}
		e.Session.Dialect.Parse(&m, e.Request)
		terminals[[2]string{string(m.AppendText(nil, 41)), string(m.AppendText(nil, 42))}]++
		if x.Requests++; x.First.IsZero() {
			x.First = e.At
		}
		if e.Answer != nil {
			x.Answers++
		}
		x.Last = e.At
	}
	for who, n := range terminals {
		x.Terminals = append(x.Terminals, TerminalCount{who[0], who[1], n})
	}
	return x, nil
}

var _ Sink = (*Writer)(nil)
