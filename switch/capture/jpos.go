package capture

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// jposMax bounds the text of one message in a jPOS log.
const jposMax = 64 << 10

// jpos reads messages from logs of jPOS's Logger, line by line, so that what is
// between them, and a log that is cut off, does no harm:
//
//	<log realm="channel/10.0.0.7:8583" at="2026-11-20T10:00:00.123">
//	  <receive>
//	    <isomsg direction="incoming">
//	      <field id="0" value="0200"/>
//	      ...
//
// What ProtectedLogListener masked of a card number (411111______1111) becomes
// digits again, the same ones for the same mask, with a right check digit; what it
// wiped is left out. It is read by its marks and not as XML, which jPOS does not
// write: a value may have bytes that no XML has.
type jpos struct {
	l       *lines
	at      time.Time // of the <log> that the message is in
	channel bool      // that is of a channel
	text    []byte    // of the message, from <isomsg on
	depth   int
	line    int // where it began

	channels bool    // some <log> was of a channel
	repeats  int     // messages that were left out for that
	asked    [2]bool // by others, by the program that wrote the log
	strange  bool    // a time was not understood, and that was said
}

var (
	jposMark = regexp.MustCompile(`<log\b[^>]*>|<(?:receive|send)>|<isomsg\b[^>]*>|</isomsg>`)
	jposPart = regexp.MustCompile(`(?s)<!--.*?-->|<isomsg\b([^>]*)>|</isomsg>|<field\b([^>]*?)(?:/>|>(?:<!\[CDATA\[(.*?)\]\]>|([^<]*))</field>)`)
	jposAttr = regexp.MustCompile(`\b(\w+)=(?:"([^"]*)"|'([^']*)')`)
	jposChar = regexp.MustCompile(`\\u00[0-9a-fA-F]{2}`)
)

func attribute(tag []byte, name string) (string, bool) {
	for _, m := range jposAttr.FindAllSubmatch(tag, -1) {
		if string(m[1]) == name {
			return string(m[2]) + string(m[3]), true
		}
	}
	return "", false
}

func (p *jpos) next(number int, line []byte) error {
	from := 0
	for _, at := range jposMark.FindAllIndex(line, -1) {
		mark := line[at[0]:at[1]]
		_, within := attribute(mark, "id")
		isMessage := bytes.HasPrefix(mark, []byte("<isomsg"))
		if p.depth > 0 && (bytes.HasPrefix(mark, []byte("<log")) || isMessage && !within) { // the one before was cut off
			if err := p.cut(); err != nil {
				return err
			}
		}
		switch {
		case bytes.HasPrefix(mark, []byte("<log")):
			if err := p.log(number, mark); err != nil {
				return err
			}
		case isMessage && bytes.HasSuffix(mark, []byte("/>")):
		case isMessage:
			if p.depth == 0 {
				p.text, p.line, from = p.text[:0], number, at[0]
			}
			p.depth++
		case mark[1] != '/':
			p.channel, p.channels = true, true
		case p.depth > 0:
			if p.depth--; p.depth > 0 {
				continue
			}
			p.text = append(p.text, line[from:at[1]]...)
			if err := p.tell(); err != nil {
				return err
			}
		}
	}
	if p.depth == 0 {
		return nil
	}
	if len(p.text)+len(line) > jposMax {
		p.depth = 0
		return p.l.trouble(p.line, fmt.Errorf("a message of a jPOS log is longer than %d bytes", jposMax))
	}
	p.text = append(append(p.text, line[from:]...), '\n')
	return nil
}

// log begins a <log>.
func (p *jpos) log(number int, mark []byte) error {
	p.channel = false
	text, said := attribute(mark, "at")
	if at, ok := jposTime(text); ok {
		p.at = at
	} else if said && !p.strange {
		p.strange = true
		return told(p.l.sink.Trouble(&Session{}, fmt.Sprintf("line %d: the time of a log is not understood: its messages are of that before", number)))
	}
	return nil
}

// tell tells the message in text. One in another event than a channel's, as the context
// that a transaction manager dumps, is a repeat where the log has channels.
func (p *jpos) tell() error {
	if p.channels && !p.channel {
		p.repeats++
		return nil
	}
	d, frame, err := p.message()
	if err != nil {
		return p.l.trouble(p.line, err)
	}
	return p.l.message(p.line, d, frame, p.at)
}

// cut says that a message has no end.
func (p *jpos) cut() error {
	p.depth = 0
	return p.l.trouble(p.line, errors.New("a message of a jPOS log is cut off"))
}

// end says what concerns the whole log.
func (p *jpos) end() error {
	if p.depth > 0 {
		if err := p.cut(); err != nil {
			return err
		}
	}
	for _, row := range []struct {
		is  bool
		why string
	}{
		{p.repeats > 0, fmt.Sprintf("%d of the jPOS log's messages left out: no channel received or sent them there, as where a transaction's context repeats them", p.repeats)},
		{p.asked == [2]bool{true, true}, "the jPOS log has requests that came in and requests that went out: one that was passed on is there twice; leave out the realms of one side"},
	} {
		if row.is {
			if err := p.l.sink.Trouble(&Session{}, row.why); err != nil {
				return told(err)
			}
		}
	}
	return nil
}

var errJPOS = errors.New("no message in a jPOS log")

func (p *jpos) message() (*Dialect, []byte, error) {
	fields, raw := []map[string]any{{}}, map[int][]byte{}
	var names []string
	for _, m := range jposPart.FindAllSubmatchIndex(p.text, -1) {
		part := p.text[m[0]:m[1]]
		top := fields[len(fields)-1]
		switch {
		case bytes.HasPrefix(part, []byte("<!")), bytes.HasPrefix(part, []byte("<isomsg")) && bytes.HasSuffix(part, []byte("/>")):
		case bytes.HasPrefix(part, []byte("<isomsg")):
			name, _ := attribute(part, "id")
			fields, names = append(fields, map[string]any{}), append(names, name)
		case part[1] == '/':
			if len(names) == 0 {
				return nil, nil, errJPOS
			}
			fields = fields[:len(fields)-1]
			name := names[len(names)-1]
			if names = names[:len(names)-1]; name == "" && len(names) == 0 {
				fields[0] = top
			} else {
				fields[len(fields)-1][name] = top
			}
		default:
			tag := p.text[m[4]:m[5]]
			id, _ := attribute(tag, "id")
			value, _ := attribute(tag, "value")
			kind, _ := attribute(tag, "type")
			if m[6] >= 0 {
				value = string(p.text[m[6]:m[7]]) // nothing is escaped there
			} else {
				if m[8] < m[9] {
					value = string(p.text[m[8]:m[9]])
				}
				value = unescaped(value)
			}
			n, err := strconv.Atoi(id)
			if bitmap := n == 1 || n == 65; wiped(value, kind) || len(names) == 1 && (bitmap || n < 0) { // -1 is the header
				continue
			}
			if len(names) == 1 && (n == 2 || n == 35) {
				value = unmasked(strings.ReplaceAll(value, "*", "_"))
			}
			if b, is := rawBytes(value, kind); is && err == nil && len(names) == 1 {
				raw[n] = b
				continue
			}
			top[id] = value
		}
	}
	if direction, ok := attribute(p.text[:bytes.IndexByte(p.text, '>')+1], "direction"); ok {
		if mti, _ := fields[0]["0"].(string); len(mti) == 4 && mti[2]&1 == 0 {
			p.asked[map[string]int{"outgoing": 1}[direction]] = true
		}
	}
	text, err := json.Marshal(fields[0])
	if err != nil {
		return nil, nil, errJPOS
	}
	d, frame, err := p.l.json(text, raw)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errJPOS, err)
	}
	return d, frame, nil
}

// unescaped is a value as it was before jPOS escaped it: for XML, and control characters
// as \u001c.
func unescaped(v string) string {
	return jposChar.ReplaceAllStringFunc(html.UnescapeString(v), func(s string) string {
		b, _ := hex.DecodeString(s[4:])
		return string(rune(b[0]))
	})
}

// wiped says that the log does not show a value.
func wiped(v, kind string) bool {
	return strings.Contains(v, "[WIPED]") || kind == "binary" && v == "AA55AA55" || v != "" && strings.Trim(v, "*_") == ""
}

// rawBytes are a value's where JSON cannot say them: binary ones in hexadecimal, and
// characters over 0x7F, each of which jPOS made of a byte.
func rawBytes(v, kind string) ([]byte, bool) {
	if kind == "binary" {
		b, err := hex.DecodeString(v)
		return b, err == nil
	}
	if !utf8.ValidString(v) {
		return []byte(v), true
	}
	b, beyond := []byte(nil), false
	for _, r := range v {
		if r > 0xFF {
			return []byte(v), true
		}
		b, beyond = append(b, byte(r)), beyond || r > 0x7F
	}
	return b, beyond
}

// unmasked makes a number of a masked one: masked digits become zeros, except the last
// masked one of the card number, which makes its check digit right.
func unmasked(v string) string {
	b := []byte(v)
	pan := len(b)
	if i := bytes.IndexAny(b, "=D"); i >= 0 {
		pan = i
	}
	last := bytes.LastIndexByte(b[:pan], '_')
	for i := range b {
		if b[i] == '_' {
			b[i] = '0'
		}
	}
	for d := byte('0'); last >= 0 && pan > 1 && d <= '9'; d++ {
		if b[last] = d; txn.Luhn(b[:pan]) {
			break
		}
	}
	return string(b)
}

// jposTime reads the times of jPOS's logs: since 2.0 as ISO 8601, a zone's name behind
// them or not, before that as Java prints a date, a dot, and milliseconds without zeros
// before them.
func jposTime(s string) (time.Time, bool) {
	s, _, _ = strings.Cut(s, "[")
	for _, form := range [...]string{"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02T15:04Z07:00"} {
		if at, err := time.Parse(form, s); err == nil {
			return at, true
		}
	}
	date, millis, _ := strings.Cut(s, ".")
	ms, err := strconv.ParseUint(millis, 10, 10)
	for _, form := range [...]string{"Mon Jan 02 15:04:05 GMT-07:00 2006", "Mon Jan 02 15:04:05 MST 2006"} {
		if at, wrong := time.Parse(form, date); err == nil && wrong == nil {
			return at.Add(time.Duration(ms) * time.Millisecond), true
		}
	}
	return time.Time{}, false
}
