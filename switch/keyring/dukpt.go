package keyring

import (
	"encoding/binary"
	"encoding/hex"
	"errors"

	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// counter is how far a DUKPT terminal has counted. A message whose serial number
// is lower is an old one; an equal one may be a repeat, and the switch knows
// those.
//
// It is durable once a business day, with the terminal's first message of it: a
// message of an earlier day is refused also after a restart. Within the last two
// days the switch knows messages by their keys.
type counter struct {
	day    txn.Date // of the durable one, 0 before any
	device txn.DeviceID
	last   uint32
}

const counterSize = len(txn.DeviceID{}) + 4

func (c *counter) append(dst []byte) []byte {
	return binary.BigEndian.AppendUint32(append(dst, c.device[:]...), c.last)
}

func parseCounter(day txn.Date, b []byte) counter {
	return counter{day, txn.DeviceID(b), binary.BigEndian.Uint32(b[len(txn.DeviceID{}):])}
}

// serial is a key serial number taken apart.
type serial struct {
	bytes  [algo.KSNSizeAES]byte
	size   int
	device txn.DeviceID
	count  uint32
}

// serialOf reads the key serial number in req; it is false if that is not of req's
// terminal.
func serialOf(req *txn.Request) (s serial, ok bool) {
	const counterBits = 0x1fffff // of a TDES serial number, the last
	tdes := req.Terminal.Keys == txn.KeysDUKPTTDES
	if s.size = algo.KSNSizeAES; tdes {
		s.size = algo.KSNSizeTDES
	}
	if len(req.KSN) != hex.EncodedLen(s.size) {
		return s, false
	}
	if _, err := hex.Decode(s.bytes[:], req.KSN); err != nil {
		return s, false
	}
	s.device = txn.DeviceID(s.bytes[:])
	if tdes {
		s.count = binary.BigEndian.Uint32(s.bytes[6:]) & counterBits
		s.device[7] &^= 0x1f
	} else {
		s.count = binary.BigEndian.Uint32(s.bytes[8:])
	}
	return s, s.device == req.Terminal.Device
}

var baseKinds = map[txn.KeyScheme]algo.Kind{
	txn.KeysDUKPTTDES: algo.TDES2, txn.KeysDUKPTAES128: algo.AES128, txn.KeysDUKPTAES192: algo.AES192, txn.KeysDUKPTAES256: algo.AES256,
}

// derive makes the keys of req's key serial number. MACIsWrong says that req's terminal
// would not send that number now.
func (r *Ring) derive(req *txn.Request) (*keys.Terminal, txn.Reason) {
	s, ok := serialOf(req)
	if !ok {
		return nil, txn.MACIsWrong
	}
	id := sharedID{record: recordBaseKey}
	req.Terminal.Device.BaseKey(id.name[:0], req.Terminal.Keys)
	r.mu.RLock()
	base, ok := r.shared[id]
	r.mu.RUnlock()
	if !ok {
		r.log.Error("a terminal's base key is not loaded", "terminal", req.Key.Terminal.String(), "base_key", id.name.String())
		return nil, txn.TerminalHasNoKeys
	}
	info, err := base.Sealed.Info()
	if err == nil && info.Kind != baseKinds[req.Terminal.Keys] {
		r.log.Error("a terminal's base key is of another kind", "terminal", req.Key.Terminal.String(), "base_key", id.name.String(), "is", info.Kind.String())
		return nil, txn.TerminalHasNoKeys
	}
	open, err := r.vault.OpenDUKPT(base, s.bytes[:s.size])
	switch {
	case errors.Is(err, algo.ErrKSN):
		return nil, txn.MACIsWrong
	case err != nil:
		r.log.Error("a message's keys cannot be derived", "terminal", req.Key.Terminal.String(), "error", err)
		return nil, txn.SwitchFailed
	}
	return open, txn.Approved
}

// advance notes the serial number of a message that is authentic, and refuses
// it if a later one came before.
func (r *Ring) advance(t *terminal, req *txn.Request) txn.Reason {
	s, _ := serialOf(req)
	r.logging.RLock()
	defer r.logging.RUnlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	c := &t.count
	if c.device == s.device && s.count < c.last {
		r.note(KSNOld)
		r.log.Warn("a terminal's message was sent before, or out of its order", "terminal", req.Key.Terminal.String(), "counter", s.count, "last", c.last)
		return txn.MACIsWrong
	}
	if c.device != s.device || c.day != req.Day {
		next := counter{req.Day, s.device, s.count}
		if err := r.append(next.append(record(recordCounter, req.Key.Terminal, req.Day))); err != nil {
			r.log.Error("a terminal's counter cannot be kept", "terminal", req.Key.Terminal.String(), "error", err)
			return txn.SwitchFailed
		}
		*c = next
	}
	c.last = s.count
	return txn.Approved
}
