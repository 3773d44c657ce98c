package terminal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Store is the durable memory of one terminal: its numbers, what it owes, its
// batch and how far the batch's settlement is. It is a file of JSON lines, each
// one fact. It is not safe for concurrent use, as its terminal is not.
//
// A fact is one write(2): when it returns, a kill of the process loses nothing.
// It is not fsynced; a power cut may lose the tail. A line that a kill tore was
// about nothing that left or was acted upon, so OpenStore cuts it off.
//
// Requests are kept to be sent again, reversed or uploaded, without track, PIN
// and MAC, and sealed with AES-256-GCM under the key in the file beside it
// (.key). No card number is in either in clear.
type Store struct {
	file io.WriteCloser // nil: nothing outlives the process
	seal cipher.AEAD
	err  error // sticks: after a failed write nobody knows what is in the file
	memory
}

// fact is one line.
type fact struct {
	At       time.Time    `json:"at"`
	Event    event        `json:"event"`
	Kind     string       `json:"kind"`
	MTI      string       `json:"mti,omitempty"`
	STAN     uint32       `json:"stan,omitempty"`
	Batch    uint32       `json:"batch,omitempty"`
	Amount   int64        `json:"amount,omitempty"` // minor units
	Currency txn.Currency `json:"currency,omitempty"`
	Network  uint16       `json:"network,omitempty"` // DE60.3 of an upload

	// Of is the trace number of what a reversal in part is about, which has a number
	// of its own, and Stays what it leaves of that, in minor units.
	Of    uint32 `json:"of,omitempty"`
	Stays int64  `json:"stays,omitempty"`

	// Count is how far a DUKPT terminal had counted when the request left.
	Count uint32 `json:"count,omitempty"`

	// Instead is the trace number of what is kept no more, for this is: it was
	// refused unlooked at in a batch that is over. 0: nothing.
	Instead uint32 `json:"instead,omitempty"`

	// Frame is the request without its secrets, sealed.
	Frame []byte `json:"frame,omitempty"`

	// Whose the store is.
	Terminal string `json:"terminal,omitempty"`
	Merchant string `json:"merchant,omitempty"`

	// Of an answer.
	Code     string `json:"code,omitempty"` // of a failure, what a reversal gives as its reason
	RRN      string `json:"rrn,omitempty"`
	AuthCode string `json:"auth,omitempty"`
	Date     string `json:"date,omitempty"`
	Acquirer string `json:"acquirer,omitempty"`
	Totals   string `json:"totals,omitempty"` // DE48 of a settlement's
}

// event is what happened to a request.
type event string

const (
	kept     event = "kept"     // it is to be sent, and is a fact already
	sent     event = "sent"     // it is about to be sent
	answered event = "answered" // a valid answer came
	failed   event = "failed"   // none came, or one that is not believed
	dropped  event = "dropped"  // it is not to be sent again
	opened   event = "opened"   // a batch began
	owned    event = "owned"    // a terminal took the store for its own
)

func (f *fact) kind() txn.Kind { k, _ := txn.ParseKind(f.Kind); return k }

// name is the kind and the trace number, if there is one.
func (f *fact) name() string {
	if f.STAN == 0 {
		return f.Kind
	}
	return fmt.Sprintf("%s %06d", f.Kind, f.STAN)
}

// NewStore is a store that does not outlive the process.
func NewStore() *Store {
	s, err := newStore(nil)
	if err != nil {
		panic("terminal: " + err.Error()) // the key has the right size
	}
	return s
}

func newStore(key []byte) (*Store, error) {
	if key == nil {
		key = make([]byte, storeKeySize)
		rand.Read(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	seal, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	return &Store{seal: seal}, nil
}

const storeKeySize = 32

// OpenStore opens or creates a store and takes up what is in it. A torn last
// line is cut off; any other damage is an error.
func OpenStore(path string) (*Store, error) {
	s, err := openStore(path)
	if err != nil {
		return nil, fmt.Errorf("open terminal's store %s: %w", path, err)
	}
	return s, nil
}

func openStore(path string) (*Store, error) {
	key, err := storeKey(path + ".key")
	if err != nil {
		return nil, err
	}
	s, err := newStore(key)
	clear(key)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if err := s.takeUp(file); err != nil {
		file.Close()
		return nil, err
	}
	s.file = file
	return s, nil
}

// storeKey reads the key, or makes one: whole or not at all, for a store whose
// key is lost owes what it cannot send.
func storeKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, storeKeySize)
		rand.Read(key)
		if err := os.WriteFile(path+".new", key, 0o600); err != nil {
			return nil, fmt.Errorf("make key: %w", err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			return nil, fmt.Errorf("make key: %w", err)
		}
		return key, nil
	}
	if err == nil && len(key) != storeKeySize {
		err = fmt.Errorf("key has %d bytes, must have %d", len(key), storeKeySize)
	}
	return key, err
}

func (s *Store) takeUp(file *os.File) error {
	data, err := io.ReadAll(file)
	if err != nil {
		return err
	}
	end := 0
	for line := 1; ; line++ {
		n := bytes.IndexByte(data[end:], '\n')
		if n < 0 {
			break
		}
		var f fact
		if err := json.Unmarshal(data[end:end+n], &f); err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
		s.apply(&f)
		end += n + 1
	}
	if err := file.Truncate(int64(end)); err != nil {
		return fmt.Errorf("cut torn line off: %w", err)
	}
	return nil
}

// note makes a fact durable and then applies it: only after a request is noted
// as sent may a byte of it leave, and only after an answer is noted may anybody
// act upon it.
func (s *Store) note(e event, f fact) error {
	if s.err != nil {
		return s.err
	}
	f.At, f.Event = time.Now().UTC(), e
	if s.file != nil {
		b, err := json.Marshal(f)
		if err == nil {
			_, err = s.file.Write(append(b, '\n'))
		}
		if err != nil {
			s.err = fmt.Errorf("write terminal's store: %w", err)
			return s.err
		}
	}
	s.apply(&f)
	return nil
}

// keep seals a frame.
func (s *Store) keep(frame []byte) []byte {
	nonce := make([]byte, s.seal.NonceSize(), s.seal.NonceSize()+len(frame)+s.seal.Overhead())
	rand.Read(nonce)
	return s.seal.Seal(nonce, nonce, frame, nil)
}

// frame opens a frame.
func (s *Store) frame(sealed []byte) ([]byte, error) {
	n := s.seal.NonceSize()
	if len(sealed) < n {
		return nil, errors.New("a kept request is cut off")
	}
	frame, err := s.seal.Open(nil, sealed[:n], sealed[n:], nil)
	if err != nil {
		return nil, errors.New("a kept request does not open: another key, or damaged")
	}
	return frame, nil
}

// Next is the trace number of the terminal's next request, 0 where there was
// none.
func (s *Store) Next() uint32 {
	if s.stan == 0 {
		return 0
	}
	return STANAfter(s.stan)
}

// Owner is the terminal and merchant that the store belongs to; empty: none yet.
func (s *Store) Owner() (terminal, merchant string) { return s.terminal, s.merchant }

// Own makes the store belong to a terminal and its merchant. It fails if it belongs to
// another.
func (s *Store) Own(terminal, merchant string) error {
	switch {
	case s.terminal == terminal && s.merchant == merchant:
		return nil
	case s.terminal != "":
		return fmt.Errorf("the store is of terminal %s of merchant %s, not of %s of %s", s.terminal, s.merchant, terminal, merchant)
	}
	return s.note(owned, fact{Terminal: terminal, Merchant: merchant})
}

// Known are the trace numbers of what stands in the batch or is to be reversed.
func (s *Store) Known() (stans []uint32) {
	for i := range s.items {
		stans = append(stans, s.items[i].STAN)
	}
	if s.owed != nil {
		stans = append(stans, s.owed.STAN)
	}
	return stans
}

// Close closes the file.
func (s *Store) Close() error {
	s.err = errors.New("terminal's store is closed")
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
