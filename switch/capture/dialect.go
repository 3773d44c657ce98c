package capture

import (
	"bytes"
	"fmt"
	"io"
	"slices"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// Dialect is how a session's messages are framed and written.
type Dialect struct {
	Name  string
	Codec *iso.Codec
	// Terminal is the switch's own knowledge of the dialect, nil for the network's
	// and for one of a field table that somebody else wrote.
	Terminal *dialect.Terminal
	// Spec is that field table, in moov's JSON form.
	Spec []byte

	prefix int // size of the length prefix
}

// OfTerminal is a dialect of the switch's own.
func OfTerminal(d *dialect.Terminal) *Dialect {
	return &Dialect{Name: d.Name(), Codec: d.Codec(), Terminal: d, prefix: d.Codec().Framing().PrefixSize()}
}

// Dialects are the ones that the switch speaks, in the order in which they are
// tried.
func Dialects() []*Dialect {
	var all []*Dialect
	for _, name := range dialect.Names() {
		d, err := dialect.ForTerminal(name)
		if err != nil {
			panic("capture: " + err.Error())
		}
		all = append(all, OfTerminal(d))
	}
	return all
}

// cups is UnionPay's, whose links no terminal is on.
var cups = func() *Dialect {
	codec := iso.MustCompile(iso.CUPS(), iso.CUPSFraming(txn.FrameSizeMax))
	return &Dialect{Name: codec.Name(), Codec: codec, prefix: codec.Framing().PrefixSize()}
}()

// FindDialects are the dialects that a name means: auto all that terminals speak.
func FindDialects(name string) ([]*Dialect, error) {
	if name == "auto" {
		return Dialects(), nil
	}
	d := named(name)
	if d == nil {
		return nil, fmt.Errorf("dialect %q is unknown; known are auto, %v, %s", name, dialect.Names(), cups.Name)
	}
	return []*Dialect{d}, nil
}

// named is the dialect of that name, nil where there is none.
func named(name string) *Dialect {
	all := append(Dialects(), cups)
	if i := slices.IndexFunc(all, func(d *Dialect) bool { return d.Name == name }); i >= 0 {
		return all[i]
	}
	return nil
}

// specMax bounds a field table.
const specMax = 1 << 20

// LoadDialect reads a dialect of one's own: a field table in moov-io/iso8583's
// JSON form, and how a length precedes each message, one of Prefixes. A TPDU may
// stand before a message.
func LoadDialect(r io.Reader, prefix string) (*Dialect, error) {
	text, err := io.ReadAll(io.LimitReader(r, specMax+1))
	if err != nil {
		return nil, fmt.Errorf("read field table: %w", err)
	}
	if len(text) > specMax {
		return nil, fmt.Errorf("read field table: it is longer than %d bytes", specMax)
	}
	return specDialect(text, prefix)
}

// prefixes are the names of the length prefixes.
var prefixes = [...]string{iso.PrefixBinary2: "binary2", iso.PrefixASCII4: "ascii4", iso.PrefixBCD2: "bcd2", iso.PrefixBinary4: "binary4"}

// Prefixes are the length prefixes that a dialect of one's own may have.
const Prefixes = "binary2, ascii4, bcd2 or binary4"

func specDialect(text []byte, prefix string) (*Dialect, error) {
	p := slices.Index(prefixes[:], prefix)
	if p <= int(iso.PrefixNone) {
		return nil, fmt.Errorf("prefix %q must be %s", prefix, Prefixes)
	}
	spec, err := iso.LoadSpec(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read field table: %w", err)
	}
	codec, err := iso.Compile(spec, iso.Framing{Prefix: iso.Prefix(p), MayTPDU: true, SizeMax: txn.FrameSizeMax})
	if err != nil {
		return nil, fmt.Errorf("read field table: %w", err)
	}
	return &Dialect{Name: codec.Name(), Codec: codec, Spec: text, prefix: codec.Framing().PrefixSize()}, nil
}

// PrefixSize is the number of bytes before a frame that say its length.
func (d *Dialect) PrefixSize() int { return d.prefix }

// ReadLength is the size of the frame that a prefix announces; 0 is a keep-alive.
func (d *Dialect) ReadLength(prefix []byte) (int, error) { return dialect.ReadLength(d.Codec, prefix) }

// awake is data without the keep-alives that it begins with.
func (d *Dialect) awake(data []byte) []byte {
	for len(data) >= d.prefix {
		if n, err := d.ReadLength(data[:d.prefix]); err != nil || n > 0 {
			break
		}
		data = data[d.prefix:]
	}
	return data
}

// Parse takes a frame with its length prefix apart.
func (d *Dialect) Parse(m *iso.Message, frame []byte) error {
	n := d.PrefixSize()
	if len(frame) < n {
		return fmt.Errorf("%d bytes are no frame", len(frame))
	}
	return d.Codec.Parse(m, frame[n:])
}

// next is the size of the frame, prefix included, that data begins with: 0 while
// that cannot be said.
func (d *Dialect) next(data []byte) (int, error) {
	size := d.PrefixSize()
	if len(data) < size {
		return 0, nil
	}
	n, err := d.ReadLength(data[:size])
	if err != nil {
		return 0, fmt.Errorf("no %s message: %w", d.Name, err)
	}
	return size + n, nil
}

// whole says that data begins with a whole frame, and whether the dialect reads
// it to the last byte.
func (d *Dialect) whole(data []byte) (n int, whole, reads bool) {
	n, err := d.next(data)
	switch {
	case err != nil:
		return 0, true, false
	case n == 0 || n > len(data):
		return n, false, false
	}
	var m iso.Message
	return n, true, d.Parse(&m, data[:n]) == nil
}

// begins says that data begins with a whole frame that the dialect reads.
func (d *Dialect) begins(data []byte) bool {
	_, whole, reads := d.whole(d.awake(data))
	return whole && reads
}

// isAnswer says that a message type is one that answers.
func isAnswer(mti uint16) bool { return mti&0x10 != 0 }
