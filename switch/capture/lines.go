package capture

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moov-io/iso8583"

	"github.com/acqswitch/acqswitch/iso"
)

// Limits of ReadLines.
const (
	lineMax     = 1 << 20
	beginMax    = 16 << 10 // bytes in which it is looked for what the text is
	troublesMax = 20
	strangeMax  = 3 // lines that are no messages before any is: the text is something else
)

// ReadLines reads a text of messages and tells sink. Each line is a message:
// hexadecimal, with or without the length prefix, or an object in
// moov-io/iso8583's JSON form, {"0":"0200","2":"...",...}, in a dialect. An object
// may also take several lines, as may a dump in hexadecimal. A text
// that begins with <, or soon has <isomsg, is a jPOS log (type jpos), one that begins with a row of
// field numbers a CSV template (type template). Empty lines and lines with # are
// left out. What is no message is told as trouble. But for those of a log,
// messages have no times: all are of the moment at, in order. Each terminal is a
// session.
func ReadLines(r io.Reader, dialects []*Dialect, at time.Time, sink Sink) (Stats, error) {
	in := bufio.NewReaderSize(r, lineMax)
	if mark, _ := in.Peek(3); string(mark) == "\xEF\xBB\xBF" { // of UTF-8, as spreadsheets write it
		in.Discard(3)
	}
	begin, _ := in.Peek(beginMax)
	l := lines{dialects: dialects, at: at, sink: sink, sessions: map[string]*Session{}}
	var next func(number int, line []byte) error
	log := &jpos{l: &l, at: at}
	if bytes.Contains(begin, []byte("<isomsg")) {
		next = log.next
	}
	var err error
	for err == nil {
		var line []byte
		if line, err = in.ReadSlice('\n'); len(line) == 0 {
			break
		}
		l.stats.Packets++
		l.stats.Bytes += int64(len(line))
		if err == bufio.ErrBufferFull {
			for err == bufio.ErrBufferFull {
				line, err = in.ReadSlice('\n')
				l.stats.Bytes += int64(len(line))
			}
			if err := l.trouble(l.stats.Packets, fmt.Errorf("is longer than %d bytes", lineMax)); err != nil {
				return l.stats, err
			}
			continue
		}
		if line = bytes.TrimSpace(line); len(line) == 0 || line[0] == '#' {
			continue
		}
		if next == nil {
			switch {
			case line[0] == '<':
				next = log.next
			case isTemplate(line):
				next = (&template{l: &l}).next
			default:
				next = l.line
			}
		}
		if err := next(l.stats.Packets, line); err != nil {
			return l.stats, err
		}
		if l.stats.Unreadable == strangeMax && len(l.order) == 0 {
			return l.stats, fmt.Errorf("none of the first %d lines is a message of any dialect", strangeMax)
		}
	}
	if err == io.EOF {
		err = nil
	} else {
		err = fmt.Errorf("line %d: %w", l.stats.Packets+1, err)
	}
	err = errors.Join(err, log.end(), l.flush())
	for _, s := range l.order {
		if closing := sink.Close(s); closing != nil {
			return l.stats, closing
		}
	}
	return l.stats, err
}

type lines struct {
	dialects []*Dialect
	at       time.Time
	sink     Sink
	sessions map[string]*Session
	order    []*Session
	last     *Dialect // of the message before
	stats    Stats
	// A message of several lines, of which there may be more, and the number of its first.
	object, dump []byte
	same         bool // the dump's next lines, up to an offset, are as its last one
	first        int
}

func (l *lines) line(number int, line []byte) error {
	if len(l.dump) > 0 && string(line) == "*" {
		l.same = true
		return nil
	}
	if raw, offset, ok := dumped(line); ok && (offset == 0 || len(l.dump) > 0 && offset == l.reach(offset)) {
		if offset == 0 {
			if err := l.flush(); err != nil {
				return err
			}
			l.first = number
		}
		if l.dump = append(l.dump, raw...); len(l.dump) < lineMax {
			return nil
		}
	}
	if len(l.object) > 0 && strings.IndexByte(`"}],:`, line[0]) >= 0 && len(l.object) < lineMax {
		if l.object = append(append(l.object, ' '), line...); json.Valid(bytes.TrimSuffix(l.object, []byte(","))) {
			return l.flush()
		}
		return nil
	}
	if err := l.flush(); err != nil {
		return err
	}
	switch {
	case string(line) == "[" || string(line) == "]": // around objects
		return nil
	case line[0] == '{' && !json.Valid(bytes.TrimSuffix(line, []byte(","))):
		l.object, l.first = append(l.object, line...), number
		return nil
	}
	return l.tell(number, line)
}

// reach is how far the dump goes, with the lines that a * stands for if they end at offset.
func (l *lines) reach(offset int) int {
	if l.same && len(l.dump) >= dumpWidth && offset <= lineMax && (offset-len(l.dump))%dumpWidth == 0 {
		for last := l.dump[len(l.dump)-dumpWidth:]; len(l.dump) < offset; {
			l.dump = append(l.dump, last...)
		}
	}
	l.same = false
	return len(l.dump)
}

// flush tells the message of several lines that has ended, if any.
func (l *lines) flush() error {
	text := l.object
	if len(l.dump) > 0 {
		text = hex.AppendEncode(nil, l.dump)
	}
	l.object, l.dump, l.same = l.object[:0], l.dump[:0], false
	if len(text) == 0 {
		return nil
	}
	return l.tell(l.first, text)
}

func (l *lines) tell(number int, text []byte) error {
	d, frame, err := l.read(text)
	if err != nil {
		return l.trouble(number, err)
	}
	return l.message(number, d, frame, l.at)
}

// dumpOffset is how a line of a dump begins, as Wireshark, hexdump -C, xxd and od write
// it; the last line may be no more.
var dumpOffset = regexp.MustCompile(`^(?:0x)?([0-9A-Fa-f]{4,8})(?:(:)| |$) *`)

// dumpWidth is the number of bytes a line of a dump has, at most but of xxd's.
const dumpWidth = 16

// dumped reads a line of a dump: its bytes and the offset of the first. Behind them
// may stand the same as text, after a bar, three blanks or the sixteenth byte; where the
// offset has a colon, after two blanks.
func dumped(line []byte) (raw []byte, offset int, ok bool) {
	begin := dumpOffset.FindSubmatch(line)
	if begin == nil {
		return nil, 0, false
	}
	at, err := strconv.ParseUint(string(begin[1]), 16, 31)
	if err != nil {
		return nil, 0, false
	}
	width, gap := dumpWidth, "   "
	if len(begin[2]) > 0 {
		width, gap = len(line), "  "
	}
	text, _, _ := bytes.Cut(line[len(begin[0]):], []byte(gap))
	for _, group := range bytes.Fields(text) {
		b, err := hex.AppendDecode(nil, group)
		if err != nil || len(raw)+len(b) > width {
			break
		}
		raw = append(raw, b...)
	}
	return raw, int(at), at > 0 || len(raw) > 0
}

// trouble tells of something that is no message.
func (l *lines) trouble(number int, err error) error {
	if l.stats.Unreadable++; l.stats.Unreadable > troublesMax {
		return nil
	}
	return told(l.sink.Trouble(&Session{}, fmt.Sprintf("line %d: %v", number, err)))
}

// message tells of a message, as one of its terminal's session.
func (l *lines) message(number int, d *Dialect, frame []byte, at time.Time) error {
	var m iso.Message
	if err := d.Parse(&m, frame); err != nil {
		return fmt.Errorf("line %d: %w", number, err)
	}
	name := d.Name + " " + string(m.Value(41))
	s := l.sessions[name]
	if s == nil {
		if len(l.order) == OpenMax {
			return errors.New("too many terminals in one file of lines")
		}
		s = &Session{ID: uint32(len(l.order) + 1), Dialect: d, Start: at}
		l.sessions[name], l.order = s, append(l.order, s)
		if err := l.sink.Open(s); err != nil {
			return told(err)
		}
	}
	l.last = d
	s.Read++
	s.End = at
	return told(l.sink.Message(s, !isAnswer(m.MTI()), frame, at))
}

// marks are what may stand between hexadecimal digits.
var marks = strings.NewReplacer(" ", "", "\t", "", ":", "", "-", "", ",", "", `\x`, "", "0x", "", "0X", "", `"`, "")

// read is the frame of a line, length prefix included, and its dialect.
func (l *lines) read(line []byte) (*Dialect, []byte, error) {
	if line[0] == '{' {
		d, frame, err := l.json(bytes.TrimSuffix(line, []byte(",")), nil)
		if err != nil {
			return nil, nil, fmt.Errorf("no message in moov's JSON form: %w", err)
		}
		return d, frame, nil
	}
	raw, err := hex.DecodeString(marks.Replace(string(line)))
	if err != nil {
		return nil, nil, errors.New("neither hexadecimal nor JSON")
	}
	for _, d := range l.dialects {
		if n, _, reads := d.whole(raw); reads && n == len(raw) {
			return d, raw, nil
		}
	}
	for _, d := range l.dialects {
		var m iso.Message
		if d.Codec.Parse(&m, raw) == nil {
			frame, err := d.Codec.Append(nil, &m)
			return d, frame, err
		}
	}
	if len(l.dialects) == 1 {
		return nil, nil, misread(l.dialects[0], raw)
	}
	if l.last != nil {
		return nil, nil, misread(l.last, raw)
	}
	return nil, nil, errors.New("no message of any dialect")
}

// misread is why a dialect does not read a message, with or without its length.
func misread(d *Dialect, raw []byte) error {
	body := raw
	if n, err := d.next(raw); err == nil && n > d.PrefixSize() {
		if body = raw[d.PrefixSize():]; n != len(raw) {
			return fmt.Errorf("no %s message: its length says %d bytes, and there are %d", d.Name, n-d.PrefixSize(), len(body))
		}
	}
	var m iso.Message
	return fmt.Errorf("no %s message: %w", d.Name, d.Codec.Parse(&m, body))
}

// json reads a message in moov's form, which says no TPDU and header: a dialect
// that has them gets those of a terminal. raw are values that JSON cannot say.
func (l *lines) json(line []byte, raw map[int][]byte) (*Dialect, []byte, error) {
	var first error
	for _, d := range l.dialects {
		if d.Codec.Framing().TPDU && !bytes.Contains(line, []byte(`"tpdu"`)) && len(l.dialects) > 1 {
			continue
		}
		frame, err := moov(d, line, raw)
		if err == nil {
			var m iso.Message
			if err = d.Parse(&m, frame); err == nil {
				return d, frame, nil
			}
		}
		first = cmp.Or(first, err)
	}
	return nil, nil, first
}

var (
	terminalTPDU   = []byte{0x60, 0x00, 0x03, 0x00, 0x00}
	terminalHeader = []byte{0x60, 0x31, 0x00, 0x31, 0x00, 0x00}
)

func moov(d *Dialect, line []byte, raw map[int][]byte) ([]byte, error) {
	fields := map[string]json.RawMessage{}
	if json.Unmarshal(line, &fields) != nil {
		return nil, errors.New("it is no JSON object")
	}
	for name, v := range fields {
		fields[name] = widen(d, name, v)
	}
	body, ok := pack(d, fields, raw)
	if !ok {
		return nil, fmt.Errorf("%s does not fit the dialect %s", misfit(d, fields, raw), d.Name)
	}
	f := d.Codec.Framing()
	if f.TPDU {
		body = append(bytes.Clone(terminalTPDU), append(bytes.Clone(terminalHeader[:f.Header]), body...)...)
	}
	return d.appendFrame(nil, body), nil
}

// widen makes a value of a fixed field as long as that: moov writes numbers without
// the zeros, and texts without the blanks, that its specs pad them with.
func widen(d *Dialect, name string, v json.RawMessage) json.RawMessage {
	n, err := strconv.Atoi(name)
	size, digits := d.Codec.Width(n)
	text := string(v)
	if err != nil || size == 0 || v[0] == '"' && json.Unmarshal(v, &text) != nil || len(text) >= size || strings.HasPrefix(text, "{") {
		return v
	}
	if digits {
		text = strings.Repeat("0", size-len(text)) + text
	} else {
		text += strings.Repeat(" ", size-len(text))
	}
	wide, err := json.Marshal(text)
	if err != nil {
		return v
	}
	return wide
}

func pack(d *Dialect, fields map[string]json.RawMessage, raw map[int][]byte) ([]byte, bool) {
	text, err := json.Marshal(fields)
	message := iso8583.NewMessage(d.Codec.Spec())
	if err != nil || json.Unmarshal(text, message) != nil {
		return nil, false
	}
	for n, v := range raw {
		if size, digits := d.Codec.Width(n); !digits {
			v = append(v, bytes.Repeat([]byte(" "), max(0, size-len(v)))...)
		}
		if message.BinaryField(n, v) != nil {
			return nil, false
		}
	}
	body, err := message.Pack()
	return body, err == nil
}

// misfit is the first field that cannot be packed, even alone.
func misfit(d *Dialect, fields map[string]json.RawMessage, raw map[int][]byte) string {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if len(name) > 3 {
			return "a field that is not named by its number"
		}
		if name != "0" {
			if _, ok := pack(d, map[string]json.RawMessage{"0": json.RawMessage(`"0200"`), name: fields[name]}, nil); !ok {
				return "field " + name
			}
		}
	}
	for n, v := range raw {
		if _, ok := pack(d, map[string]json.RawMessage{"0": json.RawMessage(`"0200"`)}, map[int][]byte{n: v}); !ok {
			return fmt.Sprintf("field %d", n)
		}
	}
	return "the message type"
}
