package capture

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
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
// wiped is left out.
type jpos struct {
	l     *lines
	at    time.Time // of the <log> that the message is in
	text  []byte    // of the message, from <isomsg on
	depth int
	line  int // where it began
}

var (
	jposAt    = regexp.MustCompile(`\bat=["']([^"']*)["']`)
	jposOpen  = regexp.MustCompile(`<isomsg\b[^>]*>`)
	jposClose = []byte("</isomsg>")
)

func (p *jpos) next(number int, line []byte) error {
	if bytes.Contains(line, []byte("<log ")) {
		if m := jposAt.FindSubmatch(line); m != nil {
			if at, ok := jposTime(string(m[1])); ok {
				p.at = at
			}
		}
		if p.depth > 0 { // the message before was cut off
			if err := p.cut(); err != nil {
				return err
			}
		}
	}
	if p.depth == 0 {
		at := jposOpen.FindIndex(line)
		if at == nil {
			return nil
		}
		p.text, p.line, line = p.text[:0], number, line[at[0]:]
	}
	if len(p.text)+len(line) > jposMax {
		p.depth = 0
		return p.l.trouble(p.line, fmt.Errorf("a message of a jPOS log is longer than %d bytes", jposMax))
	}
	p.text = append(append(p.text, line...), '\n')
	p.depth += len(jposOpen.FindAll(line, -1)) - bytes.Count(line, jposClose)
	if p.depth > 0 {
		return nil
	}
	p.depth = 0
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

type jposMessage struct {
	Fields []struct {
		ID    string `xml:"id,attr"`
		Value string `xml:"value,attr"`
		Type  string `xml:"type,attr"`
	} `xml:"field"`
	Nested []jposNested `xml:"isomsg"`
}

type jposNested struct {
	ID string `xml:"id,attr"`
	jposMessage
}

var errJPOS = errors.New("no message in a jPOS log")

func (p *jpos) message() (*Dialect, []byte, error) {
	var m jposMessage
	if err := xml.Unmarshal(p.text, &m); err != nil {
		return nil, nil, errJPOS
	}
	text, err := json.Marshal(m.fields())
	if err != nil {
		return nil, nil, errJPOS
	}
	d, frame, err := p.l.json(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errJPOS, err)
	}
	return d, frame, nil
}

// fields are those of moov's JSON form.
func (m *jposMessage) fields() map[string]any {
	all := map[string]any{}
	for _, f := range m.Fields {
		switch v := f.Value; {
		case f.ID == "1", f.ID == "65": // bitmaps
		case strings.Contains(v, "[WIPED]"):
		case v != "" && strings.Trim(v, "*_") == "": // all of it masked
		case strings.Contains(v, "_") && (f.ID == "2" || f.ID == "35"):
			all[f.ID] = unmasked(v)
		default:
			all[f.ID] = v
		}
	}
	for i := range m.Nested {
		if n := &m.Nested[i]; n.ID != "" {
			all[n.ID] = n.fields()
		}
	}
	return all
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
		if b[last] = d; checkDigit(b[:pan-1]) == b[pan-1] {
			break
		}
	}
	return string(b)
}

// jposTime reads the times of jPOS's logs, of today's and of before 2.0.
func jposTime(s string) (time.Time, bool) {
	for _, form := range [...]string{"2006-01-02T15:04:05.999999999Z07:00", "2006-01-02T15:04:05.999999999", "Mon Jan 02 15:04:05 MST 2006.000"} {
		if at, err := time.Parse(form, s); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}
