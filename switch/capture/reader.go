package capture

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"time"

	"github.com/acqswitch/acqswitch/iso"
)

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
	requests int       // that were read
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
	_, err := io.ReadFull(in, first[:])
	switch version := len(Magic) - 1; {
	case err != nil || string(first[:version]) != Magic[:version]:
		return nil, ErrNotCapture
	case string(first[:]) != Magic:
		return nil, fmt.Errorf("the capture's form is version %q, and this program reads %q", first[version], Magic[version])
	}
	return newReader(in), nil
}

func newReader(in *bufio.Reader) *Reader {
	return &Reader{in: in, dialects: map[uint8]*Dialect{}, sessions: map[uint32]*Stored{}, byNumber: map[uint64]*Exchange{}}
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
		r.in.Discard(trailer - head)
		if _, err := r.in.Peek(1); err == nil {
			return errors.New("read capture: the file goes on behind its end: it is not one capture, or it is damaged")
		}
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

func (f *fields) u8() uint8 { return f.bytes(1)[0] }

func (f *fields) u32() uint32 { return binary.BigEndian.Uint32(f.bytes(4)) }

func (f *fields) u64() uint64 { return binary.BigEndian.Uint64(f.bytes(8)) }

func (f *fields) time() time.Time { return time.UnixMicro(int64(f.u64())).UTC() }

func (f *fields) text() string { return string(f.bytes(int(f.u8()))) }

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
			r.requests++
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
		if x.Requests != r.requests {
			return fmt.Errorf("the index is of %d requests, the file has %d: the file is damaged", x.Requests, r.requests)
		}
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
					back := newReader(bufio.NewReader(r))
					if back.read(); back.Index != nil {
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
