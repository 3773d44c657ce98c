package ledger

import (
	"bytes"
	"database/sql"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// value is one SQL value: TEXT or BIGINT, the only types of the schema.
type value struct {
	isText bool
	n      int64
	s      []byte
}

// column is how one column and the entry's field become each other.
type column struct {
	name   string
	isText bool
	put    func(dst rows, e *Entry) rows
	get    func(e *Entry, v value) error
}

// columns are what both tables keep of a record: all but what only an answer
// repeats (balance, chip, additional data), how long it took, and what has tables of its own:
// what settlements and uploads said, and what rules found. txn puts repeat_id before
// them and event puts kind.
var columns = []column{
	merchantColumn,
	{"business_date", true, putDay, getDay},
	terminalColumn,
	number("batch", func(e *Entry) *uint32 { return &e.Rec.Key.Batch }),
	number("stan", func(e *Entry) *uint32 { return &e.Rec.Key.STAN }),
	number("class", func(e *Entry) *txn.Class { return &e.Rec.Key.Class }),
	number("id", func(e *Entry) *txn.ID { return &e.Rec.ID }),
	number("position", func(e *Entry) *uint64 { return &e.Pos }),
	{"at", false, putAt, getAt},
	number("acquirer", func(e *Entry) *txn.AcquirerID { return &e.Rec.Key.Acquirer }),
	number("fingerprint", func(e *Entry) *uint64 { return &e.Rec.Fingerprint }),
	number("dialect", func(e *Entry) *uint8 { return &e.Rec.Dialect }),
	enum("request", func(e *Entry) *txn.Kind { return &e.Rec.Request }),
	{"mti", true, putMTI, getMTI},
	text("processing_code", 0, func(e *Entry) []byte { return e.Rec.ProcessingCode[:] }),
	text("condition_code", 0, func(e *Entry) []byte { return e.Rec.Condition[:] }),
	number("entry_mode", func(e *Entry) *txn.EntryMode { return &e.Rec.Entry }),
	number("mcc", func(e *Entry) *uint16 { return &e.Rec.MCC }),
	number("region", func(e *Entry) *txn.Region { return &e.Rec.Region }),
	number("amount", func(e *Entry) *int64 { return &e.Rec.Amount.Minor }),
	number("currency", func(e *Entry) *txn.Currency { return &e.Rec.Amount.Currency }),
	cardColumn,
	maskedColumn,
	hexed("pan_sealed", func(e *Entry) []byte { return e.Rec.SealedPAN[:] }),
	number("held", func(e *Entry) *txn.Effect { return &e.Rec.Held }),
	flag("owes", func(e *Entry) bool { return e.Rec.Owes() }, func(*Entry, bool) {}), // follows from the rest
	text("issuer", 0, func(e *Entry) []byte { return e.Rec.Leg.Issuer[:] }),
	number("issuer_stan", func(e *Entry) *uint32 { return &e.Rec.Leg.STAN }),
	text("issuer_time", 0, func(e *Entry) []byte { return e.Rec.Leg.Time[:] }),
	enum("outcome", func(e *Entry) *txn.Outcome { return &e.Rec.Outcome }),
	enum("reason", func(e *Entry) *txn.Reason { return &e.Rec.Reason }),
	text("code", 0, func(e *Entry) []byte { return e.Rec.Code[:] }),
	text("issuer_code", 0, func(e *Entry) []byte { return e.Rec.IssuerCode[:] }),
	text("auth_code", 0, func(e *Entry) []byte { return e.Rec.AuthCode[:] }),
	text("rrn", 0, func(e *Entry) []byte { return e.Rec.RRN[:] }),
	text("local_time", 0, func(e *Entry) []byte { return e.Rec.Time[:] }),
	text("local_date", 0, func(e *Entry) []byte { return e.Rec.Date[:] }),
	text("settlement_date", 0, func(e *Entry) []byte { return e.Rec.SettlementDate[:] }),
	number("original_id", func(e *Entry) *txn.ID { return &e.Rec.Original }),
	{"original_key", true, putOriginalKey, getOriginalKey},
	number("attempts", func(e *Entry) *uint32 { return &e.Rec.Attempts }),
	{"serial", true, putSerial, getSerial},
	number("lat", func(e *Entry) *int32 { return &e.Rec.Lat }),
	number("lng", func(e *Entry) *int32 { return &e.Rec.Lng }),
	enum("card_type", func(e *Entry) *txn.CardType { return &e.Rec.CardType }),
	flag("pin", func(e *Entry) bool { return e.Rec.PIN }, func(e *Entry, is bool) { e.Rec.PIN = is }),
	enum("method", func(e *Entry) *txn.Method { return &e.Rec.Method }),
	hexed("identity", func(e *Entry) []byte { return e.Rec.Identity[:] }),
}

var (
	merchantColumn = text("merchant_id", ' ', func(e *Entry) []byte { return e.Rec.Merchant[:] })
	terminalColumn = text("terminal_id", ' ', func(e *Entry) []byte { return e.Rec.Key.Terminal[:] })
	cardColumn     = hexed("card_token", func(e *Entry) []byte { return e.Rec.Card[:] })
	maskedColumn   = text("pan_masked", 0, func(e *Entry) []byte { return e.Rec.Masked[:] })
)

// eventColumns are those of event: the columns, and what only a reversal has.
var eventColumns = append(slices.Clip(columns),
	number("gone", func(e *Entry) *int64 { return &e.Rec.Gone }),
	number("stays", func(e *Entry) *int64 { return &e.Rec.Stays }),
)

// namesOf are columns as they stand in a statement.
func namesOf(columns []column) []string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	return names
}

// chosen are some of the columns of event, given by their names.
func chosen(names string) (cs []column) {
	wanted := strings.Fields(names)
	for _, c := range eventColumns {
		if slices.Contains(wanted, c.name) {
			cs = append(cs, c)
		}
	}
	if len(cs) != len(wanted) {
		panic("a column is not there: " + names)
	}
	return cs
}

// Kept is what the ledger keeps of rec, for comparing the two.
func Kept(rec txn.Record) txn.Record {
	rec.Balance, rec.Chip, rec.IssuerData, rec.Data, rec.Told = nil, nil, nil, nil, nil
	rec.Findings, rec.Took = txn.Findings{}, [txn.StageRecorded]uint32{}
	return rec
}

// repeatID is 0 for a request that may have reached its issuer: its key is its
// own for the day, and a second one breaks the primary key.
func repeatID(r *txn.Record) int64 {
	switch r.Outcome {
	case txn.OutcomeApproved, txn.OutcomeDeclined, txn.OutcomeUnknown:
		return 0
	}
	return int64(r.ID)
}

type integer interface {
	~int8 | ~uint8 | ~uint16 | ~int32 | ~uint32 | ~int64 | ~uint64
}

// number is a BIGINT column. Values above its range wrap and come back whole.
func number[T integer](name string, field func(*Entry) *T) column {
	return column{name, false,
		func(dst rows, e *Entry) rows { return dst.number(int64(*field(e))) },
		func(e *Entry, v value) error {
			if *field(e) = T(v.n); int64(*field(e)) != v.n {
				return fmt.Errorf("%d is out of range", v.n)
			}
			return nil
		}}
}

func flag(name string, is func(*Entry) bool, set func(*Entry, bool)) column {
	return column{name, false,
		func(dst rows, e *Entry) rows {
			n := int64(0)
			if is(e) {
				n = 1
			}
			return dst.number(n)
		},
		func(e *Entry, v value) error { set(e, v.n != 0); return nil }}
}

// text is a TEXT column of fixed-size bytes, without their padding. What is not
// printable ASCII, such as bytes an issuer put where digits belong, is kept as
// \x and hex digits: PostgreSQL refuses it as text, and no byte an issuer sends
// may stop the ledger.
func text(name string, pad byte, field func(*Entry) []byte) column {
	return column{name, true,
		func(dst rows, e *Entry) rows {
			b := field(e)
			n := len(b)
			for n > 0 && b[n-1] == pad {
				n--
			}
			for _, c := range b[:n] {
				if c < ' ' || c > '~' || c == '\\' {
					return dst.hex(`\x`, b)
				}
			}
			return dst.text(b[:n])
		},
		func(e *Entry, v value) error { return untext(field(e), pad, v.s) }}
}

func untext(dst []byte, pad byte, s []byte) error {
	if digits, ok := bytes.CutPrefix(s, []byte(`\x`)); ok {
		return unhex(dst, digits)
	}
	if len(s) > len(dst) {
		return fmt.Errorf("%d bytes are more than %d", len(s), len(dst))
	}
	for i := copy(dst, s); i < len(dst); i++ {
		dst[i] = pad
	}
	return nil
}

// hexed is a TEXT column of hex digits, empty for zero bytes.
func hexed(name string, field func(*Entry) []byte) column {
	return column{name, true,
		func(dst rows, e *Entry) rows {
			b := field(e)
			for _, c := range b {
				if c != 0 {
					return dst.hex("", b)
				}
			}
			return dst.text(nil)
		},
		func(e *Entry, v value) error { return unhexed(field(e), v.s) }}
}

func unhexed(dst, s []byte) error {
	if len(s) == 0 {
		clear(dst)
		return nil
	}
	return unhex(dst, s)
}

func unhex(dst, digits []byte) error {
	if len(digits) != hex.EncodedLen(len(dst)) {
		return fmt.Errorf("%d hex digits are not %d", len(digits), hex.EncodedLen(len(dst)))
	}
	_, err := hex.Decode(dst, digits)
	return err
}

type named interface {
	~uint8
	fmt.Stringer
}

// enum is a TEXT column of the value's name, so that people can read it and a
// renumbered constant changes no row. A value without name is # and its number.
func enum[T named](name string, field func(*Entry) *T) column {
	var names [256][]byte
	for i := range names {
		names[i] = []byte(nameOf(T(i)))
	}
	values := valuesOf[T]()
	return column{name, true,
		func(dst rows, e *Entry) rows { return dst.text(names[*field(e)]) },
		func(e *Entry, v value) error {
			x, ok := values[string(v.s)]
			if !ok {
				return fmt.Errorf("%q is not known", v.s)
			}
			*field(e) = x
			return nil
		}}
}

func nameOf[T named](x T) string {
	if s := x.String(); s != "invalid" {
		return s
	}
	return "#" + strconv.Itoa(int(x))
}

func valuesOf[T named]() map[string]T {
	values := make(map[string]T, 256)
	for i := range 256 {
		values[nameOf(T(i))] = T(i)
	}
	return values
}

func putSerial(dst rows, e *Entry) rows {
	for _, c := range e.Rec.Serial {
		if c < ' ' || c > '~' || c == '\\' {
			return dst.hex(`\x`, e.Rec.Serial)
		}
	}
	return dst.text(e.Rec.Serial)
}

func getSerial(e *Entry, v value) error {
	e.Rec.Serial = nil
	if digits, ok := bytes.CutPrefix(v.s, []byte(`\x`)); ok {
		e.Rec.Serial = make([]byte, hex.DecodedLen(len(digits)))
		return unhex(e.Rec.Serial, digits)
	}
	if len(v.s) > 0 {
		e.Rec.Serial = bytes.Clone(v.s)
	}
	return nil
}

func putAt(dst rows, e *Entry) rows { return dst.number(e.Rec.At.UnixMicro()) }

func getAt(e *Entry, v value) error { e.Rec.At = time.UnixMicro(v.n).UTC(); return nil }

func putDay(dst rows, e *Entry) rows { return dst.day(e.Rec.Day) }

// day is d.String without its cost; the zero day is 0000-00-00.
func (r rows) day(d txn.Date) rows {
	y, m, day := uint32(d)/10000%10000, uint32(d)/100%100, uint32(d)%100
	return r.text([]byte{'0' + byte(y/1000), '0' + byte(y/100%10), '0' + byte(y/10%10), '0' + byte(y%10), '-',
		'0' + byte(m/10), '0' + byte(m%10), '-', '0' + byte(day/10), '0' + byte(day%10)})
}

func getDay(e *Entry, v value) error {
	var d txn.Date
	if len(v.s) != len("yyyy-mm-dd") {
		return fmt.Errorf("%q is no date", v.s)
	}
	for i, c := range v.s {
		switch isDash := i == 4 || i == 7; {
		case isDash && c == '-':
		case !isDash && c >= '0' && c <= '9':
			d = d*10 + txn.Date(c-'0')
		default:
			return fmt.Errorf("%q is no date", v.s)
		}
	}
	e.Rec.Day = d
	return nil
}

func putMTI(dst rows, e *Entry) rows {
	return dst.hex("", []byte{byte(e.Rec.MTI >> 8), byte(e.Rec.MTI)})
}

func getMTI(e *Entry, v value) error {
	var b [2]byte
	err := unhex(b[:], v.s)
	e.Rec.MTI = uint16(b[0])<<8 | uint16(b[1])
	return err
}

// putOriginalKey writes acquirer/batch/stan/class/terminal, or nothing.
func putOriginalKey(dst rows, e *Entry) rows {
	k := &e.Rec.OriginalKey
	if *k == (txn.Key{}) {
		return dst.text(nil)
	}
	var key []byte
	for _, n := range [...]uint64{uint64(k.Acquirer), uint64(k.Batch), uint64(k.STAN), uint64(k.Class)} {
		key = append(strconv.AppendUint(key, n, 10), '/')
	}
	return dst.text(append(key, textOf(originalTerminal, e)...))
}

func getOriginalKey(e *Entry, v value) error {
	e.Rec.OriginalKey = txn.Key{}
	if len(v.s) == 0 {
		return nil
	}
	parts := bytes.SplitN(v.s, []byte("/"), 5)
	if len(parts) != 5 {
		return fmt.Errorf("%q is no key", v.s)
	}
	var n [4]uint64
	for i := range n {
		var err error
		if n[i], err = strconv.ParseUint(string(parts[i]), 10, 64); err != nil {
			return err
		}
	}
	e.Rec.OriginalKey = txn.Key{Acquirer: txn.AcquirerID(n[0]), Batch: uint32(n[1]), STAN: uint32(n[2]), Class: txn.Class(n[3])}
	return originalTerminal.get(e, value{isText: true, s: parts[4]})
}

var originalTerminal = text("", ' ', func(e *Entry) []byte { return e.Rec.OriginalKey.Terminal[:] })

var kindColumn = enum("kind", func(e *Entry) *txn.RecordKind { return &e.Rec.Kind })

// putRow appends the row of e to dst.
func putRow(dst rows, e *Entry) rows {
	all := columns
	if e.Rec.Kind == txn.RecordOutcome {
		dst = dst.number(repeatID(e.Rec))
	} else {
		dst = kindColumn.put(dst, e)
		all = eventColumns
	}
	for i := range all {
		dst = all[i].put(dst, e)
	}
	return dst
}

// textOf is e's value in a TEXT column.
func textOf(c column, e *Entry) []byte {
	put := c.put(nil, e)
	return put.next().s
}

// newDecoder reads rows of kind and columns, all into one entry.
func newDecoder(columns []column) func(*sql.Rows) (Entry, error) {
	e := Entry{Rec: &txn.Record{}}
	all := append([]column{kindColumn}, columns...)
	numbers := make([]int64, len(all))
	texts := make([]sql.RawBytes, len(all))
	dest := make([]any, len(all))
	for i := range all {
		if dest[i] = &numbers[i]; all[i].isText {
			dest[i] = &texts[i]
		}
	}
	return func(rows *sql.Rows) (Entry, error) {
		if err := rows.Scan(dest...); err != nil {
			return Entry{}, err
		}
		for i := range all {
			if err := all[i].get(&e, value{all[i].isText, numbers[i], texts[i]}); err != nil {
				return Entry{}, fmt.Errorf("row of transaction %s, column %s: %w", e.Rec.ID, all[i].name, err)
			}
		}
		return e, nil
	}
}
