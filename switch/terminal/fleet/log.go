package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Event is one line of a Log. Card numbers are not in it.
type Event struct {
	At       time.Time    `json:"at"`
	Event    string       `json:"event"` // sent or answered
	Terminal string       `json:"tid"`
	Step     int          `json:"step"` // of the day being played; -1 outside of one
	Kind     string       `json:"kind"`
	MTI      string       `json:"mti"`
	STAN     uint32       `json:"stan"`
	Batch    uint32       `json:"batch,omitempty"`
	Amount   int64        `json:"amount,omitempty"` // minor units
	Currency txn.Currency `json:"currency,omitempty"`
	Code     string       `json:"code,omitempty"` // of an answer
	RRN      string       `json:"rrn,omitempty"`
	AuthCode string       `json:"auth,omitempty"`
	Date     string       `json:"date,omitempty"` // MMDD
}

// The events.
const (
	EventSent     = "sent"
	EventAnswered = "answered"
)

// Log is the durable memory of a fleet of terminals: what each sent and what
// it was answered. It is safe for concurrent use.
//
// An event is one write(2): when Sent or Answered returns, a kill of the
// process loses nothing. It is not fsynced; a power cut may lose the tail. A
// line that a kill tore was about nothing that left or was acted upon, so Open
// drops it.
type Log struct {
	// mu guards the rest.
	mu    sync.Mutex
	file  io.WriteCloser
	err   error // sticks: after a failed write nobody knows what is in the file
	state map[string]*Memory
}

// Memory is what a terminal must know after a restart.
type Memory struct {
	Next int           // the first step of the day that was not sent
	STAN uint32        // the last one used
	Owed *Event        // sent and not answered: its reversal or its repeat is owed
	told map[int]Event // by step, the approvals of reversals and of what moves money
}

// OpenLog opens or creates a log, cuts a torn last line off and takes up what
// is in it.
func OpenLog(path string) (*Log, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open terminals' log: %w", err)
	}
	l, err := newLog(file)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("open terminals' log %s: %w", path, err)
	}
	return l, nil
}

// File is what a Log needs of its file, which is open for appending.
type File interface {
	io.ReadWriteCloser
	Truncate(size int64) error
}

// newLog takes up what is in an open file, which it owns once it succeeds.
func newLog(file File) (*Log, error) {
	data, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	l := &Log{file: file, state: map[string]*Memory{}}
	end, err := parseLog(data, func(e *Event) { l.apply(e) })
	if err != nil {
		return nil, err
	}
	if err := file.Truncate(int64(end)); err != nil {
		return nil, fmt.Errorf("cut torn line off: %w", err)
	}
	return l, nil
}

// ReadLog reads a log, of a running fleet too.
func ReadLog(path string) ([]Event, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read terminals' log: %w", err)
	}
	var events []Event
	if _, err := parseLog(data, func(e *Event) { events = append(events, *e) }); err != nil {
		return nil, fmt.Errorf("read terminals' log %s: %w", path, err)
	}
	return events, nil
}

// parseLog also says where the last whole line ends.
func parseLog(data []byte, take func(*Event)) (end int, err error) {
	for line := 1; ; line++ {
		n := bytes.IndexByte(data[end:], '\n')
		if n < 0 {
			return end, nil
		}
		var e Event
		if err := json.Unmarshal(data[end:end+n], &e); err != nil {
			return 0, fmt.Errorf("line %d: %w", line, err)
		}
		take(&e)
		end += n + 1
	}
}

// apply moves a terminal's memory past e.
func (l *Log) apply(e *Event) {
	m := l.state[e.Terminal]
	if m == nil {
		m = &Memory{told: map[int]Event{}}
		l.state[e.Terminal] = m
	}
	owing := owes(e.Kind)
	if e.Event == EventAnswered && owing && e.Code == "00" && e.Step >= 0 {
		m.told[e.Step] = *e
	}
	switch {
	case e.Event == EventSent:
		m.Next = max(m.Next, e.Step+1)
		if e.Kind != txn.KindReversal.String() && e.STAN != 0 {
			m.STAN = e.STAN
		}
		if owing {
			owed := *e
			m.Owed = &owed
		}
	case e.Kind == txn.KindReversal.String() && terminal.WantsSignOn(e.Code):
		// The switch did not look at the reversal: it is still owed.
	case owing && m.Owed != nil && m.Owed.STAN == e.STAN && m.Owed.Batch == e.Batch:
		// Any other valid answer settles it, a refusal too.
		m.Owed = nil
	}
}

// Sent notes that e is about to be sent: only after it may a byte leave.
func (l *Log) Sent(e Event) error { return l.add(e, EventSent) }

// Answered notes a valid answer.
func (l *Log) Answered(e Event) error { return l.add(e, EventAnswered) }

func (l *Log) add(e Event, event string) error {
	if l == nil {
		return nil
	}
	e.At, e.Event = time.Now().UTC(), event
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write terminals' log: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	if _, err := l.file.Write(append(b, '\n')); err != nil {
		l.err = fmt.Errorf("write terminals' log: %w", err)
		return l.err
	}
	l.apply(&e)
	return nil
}

// memory is what the log knows of a terminal.
func (l *Log) memory(terminal string) Memory {
	if l == nil {
		return Memory{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.state[terminal]; m != nil {
		return *m
	}
	return Memory{}
}

// Close closes the file.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = errors.New("terminals' log is closed")
	return l.file.Close()
}
