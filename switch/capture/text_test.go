package capture

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/txn"
)

const jposLog = `<log realm="org.jpos.q2.Q2" at="2026-11-20T10:00:00.000" lifespan="1ms">
  <info>started</info>
</log>
<log realm="channel/10.0.0.9:40001" at="2026-11-20T10:00:01.250">
  <receive>
    <isomsg direction="incoming">
      <!-- org.jpos.iso.packager.ISO87APackager -->
      <field id="0" value="0200"/>
      <field id="2" value="999901______0012"/>
      <field id="3" value="000000"/>
      <field id="4" value="000000001250"/>
      <field id="7" value="1120100001"/>
      <field id="11" value="000042"/>
      <field id="14" value="____"/>
      <field id="22" value="051"/>
      <field id="35" value="[WIPED]"/>
      <field id="41" value="10000001"/>
      <field id="42" value="999290054110001"/>
      <field id="49" value="156"/>
      <field id="52" value="*" type="binary"/>
    </isomsg>
  </receive>
</log>
<log realm="channel/10.0.0.9:40001" at="Fri Nov 20 10:00:01 UTC 2026.420">
  <send>
    <isomsg direction="outgoing">
      <field id="0" value="0210"/>
      <field id="3" value="000000"/>
      <field id="4" value="000000001250"/>
      <field id="7" value="1120100001"/>
      <field id="11" value="000042"/>
      <field id="39" value="00"/>
      <field id="41" value="10000001"/>
      <field id="42" value="999290054110001"/>
      <field id="49" value="156"/>
    </isomsg>
  </send>
</log>
`

const templateCSV = `# sales of 3 terminals
0,3,4,7,11,22,2,41,42,49,times
0200,000000,{random:000000000100-000000050000},{time:MMDDhhmmss},{n:6},{pick:021|051},{card:999901},{cycle:10000001-10000003},999290054110001,156,5
0800,,,{time:MMDDhhmmss},{n:6},,,10000001,999290054110001,,
`

// toldOf is what a text was told as: each message in a word or two, and troubles.
func toldOf(t *testing.T, text string) (all []string, messages []*iso.Message) {
	t.Helper()
	h := &noted{}
	ds, err := FindDialects("iso87")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadLines(strings.NewReader(text), ds, time.Unix(1_800_000_000, 0).UTC(), h); err != nil {
		t.Fatal(err)
	}
	return h.all, h.messages
}

type noted struct {
	all      []string
	messages []*iso.Message
}

func (n *noted) Open(*Session) error  { return nil }
func (n *noted) Close(*Session) error { return nil }
func (n *noted) Trouble(_ *Session, why string) error {
	n.all = append(n.all, why)
	return nil
}
func (n *noted) Message(s *Session, fromClient bool, frame []byte, at time.Time) error {
	m := new(iso.Message)
	if err := s.Dialect.Parse(m, bytes.Clone(frame)); err != nil {
		return err
	}
	n.messages = append(n.messages, m)
	n.all = append(n.all, fmt.Sprintf("%04x %s of %s at %s %v", m.MTI(), m.AppendText(nil, 11), m.AppendText(nil, 41), at.UTC().Format("15:04:05.000"), fromClient))
	return nil
}

// A jPOS log gives its messages with their times; masked cards are numbers again,
// wiped fields are gone, and one that is cut off is said.
func TestJPOS(t *testing.T) {
	all, messages := toldOf(t, jposLog+jposLog[:700]+jposLog)
	want := []string{
		"0200 000042 of 10000001 at 10:00:01.250 true", "0210 000042 of 10000001 at 10:00:01.420 false",
		"line 44: a message of a jPOS log is cut off",
		"0200 000042 of 10000001 at 10:00:01.250 true", "0210 000042 of 10000001 at 10:00:01.420 false",
	}
	if fmt.Sprint(all) != fmt.Sprint(want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(all, "\n"), strings.Join(want, "\n"))
	}
	pan := messages[0].AppendDigits(nil, 2)
	if len(pan) != 16 || string(pan[:6]) != "999901" || string(pan[12:]) != "0012" || txn.CheckDigit(pan[:15]) != pan[15] {
		t.Errorf("the masked card is %s", pan)
	}
	if messages[0].Has(14) || messages[0].Has(35) || messages[0].Has(52) {
		t.Error("a field is there that was wiped, or masked to its end")
	}
	for _, bad := range []string{
		"<isomsg>\n<field id=\"0\" value=\"0200\"/>\n",
		"<isomsg>\n<field id=\"0\" value=\"0200\"/>\n<field id=\"999\" value=\"1\"/>\n</isomsg>",
		"<isomsg><field id=\"0\" value=\"020</isomsg>",
		"<isomsg>\n" + strings.Repeat("<field id=\"48\" value=\""+strings.Repeat("x", 999)+"\"/>\n", 80) + "</isomsg>",
	} {
		if all, _ := toldOf(t, bad); len(all) != 1 || !strings.HasPrefix(all[0], "line 1: ") {
			t.Errorf("%.60s: %q", bad, all)
		}
	}
	if all, _ := toldOf(t, strings.Replace(jposLog, "000000001250", "12.50", 1)); len(all) != 2 || all[0] != "line 6: no message in a jPOS log: field 4 does not fit the dialect iso87" {
		t.Errorf("%q", all)
	}
}

// A log as jPOS and those who configure it write it: what XML has no form for, more
// than one message in a line, and what is there twice.
func TestJPOSShapes(t *testing.T) {
	sale := func(extra string) string {
		return `<isomsg direction="incoming"><!-- packager --><header>6000030000</header><field id="0" value="0200"/><field id="7" value="1120100001"/><field id="11" value="000042"/>` + extra + "<field id='41' value='10000001'/></isomsg>"
	}
	in := func(at, event, message string) string {
		return `<log realm="channel/10.0.0.9" at="` + at + `"><` + event + ">" + message + "</" + event + "></log>"
	}
	const at, told = "2026-11-20T10:00:01.250", "0200 000042 of 10000001 at 10:00:01.250 true"
	for _, row := range []struct {
		name, extra string
		field       int
		value       string
	}{
		{"CDATA, where it has <", "<field id=\"48\"><![CDATA[a<b&c]]></field>", 48, "a<b&c"},
		{"text", "<field id=\"48\">a&lt;b</field>", 48, "a<b"},
		{"escaped", `<field id="48" value="a&lt;b&gt;&amp;&quot;&apos;&#13;"/>`, 48, "a<b>&\"'\r"},
		{"a control character, escaped", `<field id="48" value="a\u001cb"/>`, 48, "a\x1Cb"},
		{"a control character, not escaped", "<field id=\"48\" value=\"a\x1Cb\"/>", 48, "a\x1Cb"},
		{"bytes over 0x7F, in Latin-1", "<field id=\"48\" value=\"\xB2\xE2\"/>", 48, "\xB2\xE2"},
		{"bytes over 0x7F, in UTF-8", "<field id=\"48\" value=\"\u00B2\u00E2\"/>", 48, "\xB2\xE2"},
		{"of a fixed field", "<field id=\"43\" value=\"CAF\u00C9\"/>", 43, "CAF\xC9" + strings.Repeat(" ", 36)},
		{"binary in text", `<field id="55" value="9F0206000000001250" type="binary"/>`, 55, "\x9F\x02\x06\x00\x00\x00\x00\x12\x50"},
		{"binary", `<field id="52" value="00000000000000AB" type="binary"/>`, 52, strings.Repeat("\x00", 7) + "\xAB"},
		{"binary that was wiped", `<field id="52" value="AA55AA55" type="binary"/>`, 52, ""},
		{"empty", `<field id="48" value=""/>`, 48, ""},
		{"masked with stars", `<field id="2" value="999901******0012"/>`, 2, "9999010000090012"},
	} {
		all, messages := toldOf(t, in(at, "receive", sale(row.extra)))
		if len(messages) != 1 || all[0] != told {
			t.Errorf("%s: %q", row.name, all)
		} else if got := string(messages[0].AppendText(nil, row.field)); got != row.value || messages[0].Has(row.field) != (got != "" || row.name == "empty") {
			t.Errorf("%s: %q, want %q", row.name, got, row.value)
		}
	}
	one := in(at, "receive", sale(""))
	for _, row := range []struct{ name, log, all string }{
		{"two in a line", one + one, told + "; " + told},
		{"one that is cut off, without a log around it", sale("")[:60] + "\n" + sale("") + sale(""), "line 1: a message of a jPOS log is cut off; " + strings.Replace(told+"; "+told, "10:00:01.250", "08:00:00.000", -1)},
		{"an empty one", in(at, "receive", `<isomsg direction="incoming"/>`) + one, told},
		{"repeated in a context", one + in(at, "commit", "<context>REQUEST: "+sale("")+"</context>") + one, told + "; " + told + "; 1 of the jPOS log's messages left out: no channel received or sent them there, as where a transaction's context repeats them"},
		{"in a context alone", in(at, "commit", sale("")), told},
		{"both sides of a switch", one + strings.Replace(one, "incoming", "outgoing", 1), told + "; " + told + "; the jPOS log has requests that came in and requests that went out: one that was passed on is there twice; leave out the realms of one side"},
		{"a time without zeros", in("Fri Nov 20 10:00:01 UTC 2026.7", "receive", sale("")), strings.Replace(told, ".250", ".007", 1)},
		{"a time in a zone without a name", in("Fri Nov 20 10:00:01 GMT+08:00 2026.250", "receive", sale("")), strings.Replace(told, "10:", "02:", 1)},
		{"a time in a zone", in("2026-11-20T10:00:01.250+08:00[Asia/Shanghai]", "receive", sale("")), strings.Replace(told, "10:", "02:", 1)},
		{"a time of a whole minute", in("2026-11-20T10:00", "receive", sale("")), strings.Replace(told, "01.250", "00.000", 1)},
		{"a time that is none", in("noon", "receive", sale("")), "line 1: the time of a log is not understood: its messages are of that before; " + strings.Replace(told, "10:00:01.250", "08:00:00.000", 1)},
	} {
		if all, _ := toldOf(t, row.log); strings.Join(all, "; ") != row.all {
			t.Errorf("%s:\n%s\nwant\n%s", row.name, strings.Join(all, "; "), row.all)
		}
	}
}

// Texts as tools write them: hexadecimal with marks between, a byte order mark, a line
// of any length, a log that begins in the middle of something else.
func TestTextShapes(t *testing.T) {
	ds, err := FindDialects("iso87")
	if err != nil {
		t.Fatal(err)
	}
	frame := message(t, ds[0], 0x0200, 1)
	sale := "0200 000001 of 10000001 at 08:00:00.000 true"
	digits := func(n int) string {
		return fmt.Sprintf("; line %d: no iso87 message: MTI at byte 0: must be four ASCII digits", n)
	}
	rows := func(width int) (text string) {
		for at := 0; at < len(frame); at += width {
			text += fmt.Sprintf("%08x: %x  beef\n", at, frame[at:min(at+width, len(frame))])
		}
		return text
	}
	e := ds[0].Codec.Begin(nil, nil, nil, 0x0200)
	e.Digits(3, []byte("000000"))
	e.Digits(11, []byte("000001"))
	e.Text(41, []byte("10000001"))
	e.Text(63, bytes.Repeat([]byte("q"), 90))
	even, err := e.Finish()
	if err != nil {
		t.Fatal(err)
	}
	var stars, before string
	for _, line := range strings.SplitAfter(xxd(even, "%08x  ", "%02x %02x ", " |"), "\n") {
		if _, is, _ := strings.Cut(line, " "); is == before {
			line = "*\n"
		} else {
			before = is
		}
		if line != "*\n" || !strings.HasSuffix(stars, line) {
			stars += line
		}
	}
	if !strings.Contains(stars, "*\n") {
		t.Fatal(stars)
	}
	for _, row := range []struct{ name, text, all string }{
		{"lines that are left out for they are the same", stars + stars, sale + "; " + sale},
		{"a star that leads nowhere", strings.Replace(stars, "*\n000000", "*\n001000", 1) + fmt.Sprintf("%x", frame), "line 1: no iso87 message: its length says 133 bytes, and there are 62; line 6: neither hexadecimal nor JSON; " + sale},
		{"xxd -c 8, and -c 32", rows(8) + rows(32), sale + "; " + sale},
		{"JSON that is cut off before others", "{\n\"0\": \"0200\",\n\"3\": \"0\n" + fmt.Sprintf("%x\n%x\n", frame, frame), "line 1: no message in moov's JSON form: it is no JSON object; " + sale + "; " + sale},
		{"tabs", fmt.Sprintf("% x", frame[:20]) + "\t" + fmt.Sprintf("%X", frame[20:]), sale},
		{"0x and commas", strings.ReplaceAll(fmt.Sprintf("% #x", frame), " ", ", "), sale},
		{"colons", strings.ReplaceAll(fmt.Sprintf("% x", frame), " ", ":"), sale},
		{"a string of C", `"\x` + strings.ReplaceAll(fmt.Sprintf("% x", frame), " ", `\x`) + `"`, sale},
		{"xxd", "00000000: 0000\n" + xxd(frame, "%08x: ", "%02x%02x ", " ") + "\n" + xxd(frame, "%08x: ", "%02x%02x ", " "), "line 1: no iso87 message: MTI at byte 0: the frame ends before it; " + sale + "; " + sale},
		{"hexdump -C", xxd(frame, "%08x  ", "%02x %02x ", " |") + fmt.Sprintf("%08x\n\n", len(frame)) + xxd(frame, "%08x  ", "%02x %02x ", " |"), sale + "; " + sale},
		{"Wireshark, then digits", xxd(frame, "%04x   ", "%02x %02x ", "  ") + fmt.Sprintf("%x", frame), sale + "; " + sale},
		{"tcpdump's offsets", xxd(frame, "\t0x%04x:  ", "%02x%02x ", " "), sale},
		{"a dump that lacks a line", fmt.Sprintf("%x\n", frame) + strings.Replace(xxd(frame, "%08x: ", "%02x%02x ", " "), "00000010: ", "00000020: ", 1), sale + "; line 2: no iso87 message: its length says 91 bytes, and there are 14" + digits(3) + digits(4) + digits(5) + digits(6) + "; line 7: neither hexadecimal nor JSON"},
		{"JSON over lines", "[\n  {\n \"0\": \"0200\",\n\"3\": \"0\", \"7\": \"1126090000\",\n\t\"11\": 1,\n\"41\":\n\"10000001\"\n},\n" + `{"0":"0200","3":"0","11":1,"41":"10000001"},` + "\n{\n\"0\":\n{\"0\":\"0200\",\"3\":\"0\",\"11\":1,\"41\":\"10000001\"}\n]\n{\n",
			sale + "; " + sale + "; line 10: no message in moov's JSON form: it is no JSON object; " + sale + "; line 14: no message in moov's JSON form: it is no JSON object"},
		{"UTF-8's mark", "\xEF\xBB\xBF0,3,7,11,41\r\n0200,000000,1126090000,1,10000001\r\n", sale},
		{"a long line", strings.Repeat("x", lineMax+5) + fmt.Sprintf("\n%x", frame), "line 1: is longer than 1048576 bytes; " + sale},
		{"a log behind a stack trace, with what a logger puts before each line", "\tat x.Y\n\tat x.Z\n\tat z.Z\n10:00 INFO <isomsg>\n10:00 INFO <field id=\"0\" value=\"0200\"/>\n10:00 INFO <field id=\"11\" value=\"1\"/><field id=\"41\" value=\"10000001\"/></isomsg>", sale},
	} {
		if all, _ := toldOf(t, row.text); strings.Join(all, "; ") != row.all {
			t.Errorf("%s: %q", row.name, all)
		}
	}
}

// xxd dumps bytes, sixteen a line: the offset, pairs of them, and behind a gap the same as text.
func xxd(raw []byte, offset, pair, gap string) string {
	var b strings.Builder
	width := 0
	for at := 0; at < len(raw); at += dumpWidth {
		row := raw[at:min(at+dumpWidth, len(raw))]
		line := fmt.Sprintf(offset, at)
		for i := 0; i+1 < len(row); i += 2 {
			line += fmt.Sprintf(pair, row[i], row[i+1])
		}
		if len(row)%2 == 1 {
			line += fmt.Sprintf("%02x ", row[len(row)-1])
		}
		width = max(width, len(line))
		text := bytes.Map(func(r rune) rune {
			if r < ' ' || r > '~' {
				return '.'
			}
			return r
		}, row)
		fmt.Fprintf(&b, "%-*s%s%s\n", width, line, gap, text)
	}
	return b.String()
}

// A template makes its messages, the same ones each time; a row that is wrong is
// said, and the others are made.
func TestTemplate(t *testing.T) {
	all, messages := toldOf(t, templateCSV)
	again, same := toldOf(t, templateCSV)
	if len(all) != 6 || fmt.Sprint(all) != fmt.Sprint(again) || !strings.HasPrefix(all[3], "0200 000004 of 10000001") || !strings.HasPrefix(all[5], "0800 000006") {
		t.Fatalf("%q", all)
	}
	for i, m := range messages[:5] {
		pan := m.AppendDigits(nil, 2)
		amount, _ := m.Uint(4)
		if len(pan) != 16 || string(pan[:6]) != "999901" || txn.CheckDigit(pan[:15]) != pan[15] || amount < 100 || amount > 50000 || !bytes.Equal(pan, same[i].AppendDigits(nil, 2)) {
			t.Errorf("message %d: card %s, amount %d", i, pan, amount)
		}
	}
	for row, want := range map[string]string{
		"0200,{n:0},1": "line 2: field 11: what is in braces must be as", "0200,{n:6,1": "line 2: field 11: a brace is not closed", "0200,{what},1": "in braces must be as",
		"0200,1": "line 2: the row has 2 columns, the first has 3", "0200,{n:6},1000001": "times must be a number up to",
		"0200,{card:x},1": "{card:999901}", "0200,{cycle:9-1},1": "{cycle:1-9}", "0200,{time:},1": "{time:MMDDhhmmss}", "\"0200": "no row of a CSV file",
	} {
		if all, _ := toldOf(t, "0,11,times\n"+row+"\n"); len(all) != 1 || !strings.Contains(all[0], want) {
			t.Errorf("%s: %q, want %q", row, all, want)
		}
	}
}

// What is said of a line that is no message quotes no card number: it is kept in the
// capture.
func TestTroubleQuotesNothing(t *testing.T) {
	for _, text := range []string{
		"0,11,times\n0200,1," + secretPAN, "0,11,2\n0200,1,{" + secretPAN + "}", "0,11,2\n0200,1,{card:" + secretPAN + "}", "0,11,2\n0200,1," + secretPAN + "\n0200,1," + secretPAN + secretPAN,
		`{"0":"0200","` + secretPAN + `":"1"}`, `{"0":"0200","2":"` + secretPAN + secretPAN + `"}`, `{"0":"` + secretPAN + `"}`, `{"0":"0200","11":"` + secretPAN + `"}`, "<isomsg><field id=\"" + secretPAN + "\" value=\"1\"/></isomsg>",
		secretPAN, secretPAN + "0",
	} {
		all, _ := toldOf(t, text)
		if len(all) == 0 || strings.Contains(strings.Join(all, " "), secretPAN) {
			t.Errorf("%s: %q", text, all)
		}
	}
}
