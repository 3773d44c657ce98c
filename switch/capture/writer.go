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
)

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

func (w *Writer) u32(v uint32) { w.record = binary.BigEndian.AppendUint32(w.record, v) }

func (w *Writer) u64(v uint64) { w.record = binary.BigEndian.AppendUint64(w.record, v) }

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
		text, err := json.Marshal(dialectRecord{n, d.Name, prefixes[d.Codec.Framing().Prefix], d.Spec})
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
		asked, ok := state.pairs.Answered(m, at)
		if !ok {
			w.index.Unmatched++
			return nil
		}
		kind, number = kindAnswer, asked
		w.index.Answers++
	default:
		w.messages++
		if !state.pairs.Asked(m, number, at) {
			w.index.Forgotten++
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

var _ Sink = (*Writer)(nil)
