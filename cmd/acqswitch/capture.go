package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/capture"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// captureFlags are those of capture.
type captureFlags struct {
	out          string
	dialect      string
	spec, prefix string
	ports        []uint
	key          string
	bin          int
}

func captureCommand(c *console) *cobra.Command {
	f := &captureFlags{}
	cmd := &cobra.Command{
		Use: "capture FILE...", Short: "Turn recorded traffic into a file without card data that can be replayed",
		Long: `capture reads what tcpdump or Wireshark recorded (pcap, pcapng; IPv4 and IPv6,
VLANs, Linux cooked), or a text: messages one a line (hexadecimal, or objects in
moov-io/iso8583's JSON form), a log of jPOS in XML, or a CSV template; any of
them gzipped or not. It finds the ISO 8583 messages, and writes them in the
stored form of docs/captures.md, which says more of each. - is standard input.
Several files are one capture, in the order given: those of tcpdump -C go on
where the last one ended. Files of any size are read in the same memory.

What is written is no card data: card numbers are replaced by pseudonyms of the
same issuer, under --key always the same ones; PIN blocks, MACs, keys and what
else a track says are zeros.

A file that is cut off, gaps, other protocols: each is said in one line, and
what was read is kept. Exit code 2 if there was no message.`,
		Example: `  tcpdump -i eth0 -s 0 -w day.pcap tcp port 8583
  acqswitch capture day.pcap --out day.acq
  acqswitch capture day.pcap*.gz --out day.acq --key pseudonyms.key --dialect cup-pos
  tcpdump -i any -w - tcp port 8583 | acqswitch capture - --out day.acq
  acqswitch capture frames.hex --out frames.acq
  acqswitch capture q2.log --out q2.acq --dialect iso87
  acqswitch capture sales.csv --out sales.acq --dialect iso87
  acqswitch capture other.pcap --spec other-host.json --prefix ascii4 --out other.acq`,
		Args: atLeastOne("the files to read"),
		RunE: func(cmd *cobra.Command, given []string) error { return f.run(cmd.Context(), c, given) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.out, "out", "capture.acq", "file to write")
	fs.StringVarP(&f.dialect, "dialect", "d", "auto", "auto finds out of each session which dialect it speaks, and says how sure that is; or cup-pos, iso87, iso87-hex32, iso87-binary, iso87-ascii4, iso87-bcd, cups")
	fs.StringVar(&f.spec, "spec", "", "a dialect of your own: a JSON file in moov-io/iso8583's spec format")
	fs.StringVar(&f.prefix, "prefix", "binary2", "how a length precedes the messages of --spec: "+capture.Prefixes)
	fs.UintSliceVar(&f.ports, "port", nil, "only sessions to this port of the host; several times for several")
	fs.StringVar(&f.key, "key", "", "file with the pseudonyms' key, 64 hexadecimal digits; made where there is none. Empty is a key for this capture alone, which is not kept")
	fs.IntVar(&f.bin, "bin-digits", 8, "digits of the issuer that a card number keeps: 6 or 8")
	return cmd
}

func (f *captureFlags) dialects() ([]*capture.Dialect, error) {
	if f.spec == "" {
		return capture.FindDialects(f.dialect)
	}
	file, err := os.Open(f.spec)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	d, err := capture.LoadDialect(file, f.prefix)
	if err != nil {
		return nil, err
	}
	return []*capture.Dialect{d}, nil
}

// pseudonymKey reads the key, and makes it where there is none.
func pseudonymKey(file string) (txn.Secret, error) {
	if file == "" {
		return capture.NewKey(), nil
	}
	made, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // another capture may make it now
	if err == nil {
		key := capture.NewKey()
		_, err = made.WriteString(hex.EncodeToString(key) + "\n")
		return key, errors.Join(err, made.Close())
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return capture.ParseKey(text)
}

// captured is what a capture came to.
type captured struct {
	File  string        `json:"file"`
	Bytes int64         `json:"bytes"`
	Stats capture.Stats `json:"read"`
	*capture.Index
	Notes    []string      `json:"notes"` // the first of what is wrong, one line each
	Troubles int           `json:"troubles"`
	Took     time.Duration `json:"took_ns"`
}

func (f *captureFlags) run(ctx context.Context, c *console, files []string) (err error) {
	dialects, err := f.dialects()
	if err != nil {
		return usage(err)
	}
	key, err := pseudonymKey(f.key)
	if err != nil {
		return usage(fmt.Errorf("--key: %w", err))
	}
	if err := f.writable(files); err != nil {
		return usage(err)
	}
	cleaner, err := capture.NewCleaner(key, f.bin)
	if err != nil {
		return usage(fmt.Errorf("--bin-digits: %w", err))
	}
	// Under a name of its own: another capture may be on its way to the same file.
	out, err := os.CreateTemp(filepath.Dir(f.out), filepath.Base(f.out)+".*.part")
	if err != nil {
		return err
	}
	defer func() {
		out.Close()
		if err != nil {
			os.Remove(out.Name())
		}
	}()
	w, err := capture.NewWriter(out, cleaner)
	if err != nil {
		return err
	}
	began := time.Now()
	t := &talkative{Writer: w, to: c.out}
	if c.json() {
		t.to = io.Discard
	}
	o := capture.Options{Dialects: dialects, Ports: map[uint16]*capture.Dialect{}}
	for _, p := range f.ports {
		if p == 0 || p > 65535 {
			return usage(fmt.Errorf("--port %d must be 1 to 65535", p))
		}
		o.Ports[uint16(p)] = nil
	}
	follower := capture.NewFollower(o, t)
	r := captured{File: f.out}
	for _, name := range files {
		if err := readInto(ctx, follower, dialects, name, t, &r.Stats); err != nil {
			return err
		}
	}
	if err := follower.Finish(); err != nil {
		return err
	}
	s := follower.Stats()
	r.Stats = capture.Stats{Packets: r.Stats.Packets + s.Packets, Bytes: r.Stats.Bytes + s.Bytes, Partial: s.Partial, Foreign: s.Foreign, Other: s.Other, Fragments: s.Fragments, Unreadable: r.Stats.Unreadable}
	if r.Index, err = w.Finish(); err != nil {
		return err
	}
	t.sayAll(&r)
	r.Notes, r.Troubles = t.notes, t.troubles
	if r.Requests == 0 {
		return usage(fmt.Errorf("no request was found in %s: %s", strings.Join(files, ", "), f.nothing(&r)))
	}
	info, err := out.Stat()
	if err != nil {
		return err
	}
	r.Bytes, r.Took = info.Size(), time.Since(began)
	if err := errors.Join(out.Sync(), out.Close(), os.Rename(out.Name(), f.out)); err != nil {
		return err
	}
	if c.json() {
		r.Places = nil
		return c.print(r)
	}
	return r.show(c.out)
}

// writable refuses a file to write that is one of those to read, or no file.
func (f *captureFlags) writable(files []string) error {
	out, err := os.Stat(f.out)
	switch {
	case err != nil: // there is none yet
		return nil
	case !out.Mode().IsRegular():
		return fmt.Errorf("--out %s is no file", f.out)
	}
	for _, name := range files {
		if in, err := os.Stat(name); err == nil && os.SameFile(in, out) {
			return fmt.Errorf("--out %s is one of the files to read", f.out)
		}
	}
	return nil
}

// nothing says why a capture has no requests, and what to do about it.
func (f *captureFlags) nothing(r *captured) string {
	switch s := r.Stats; {
	case s.Packets == 0 && r.Troubles == 0:
		return "it is empty"
	case s.Packets > 0 && s.Other == s.Packets:
		return fmt.Sprintf("%s, and none is TCP over IP on Ethernet, Linux cooked, loopback or raw IP", plural(s.Packets, "packet"))
	case s.Fragments > 0 && r.Sessions == 0:
		return "it has IP fragments, which are not put together; record where packets are whole"
	case s.Partial > 0:
		return "record whole packets (tcpdump -s 0)"
	case len(f.ports) > 0 && s.Foreign == 0 && r.Sessions == 0:
		return "no session is to --port"
	case r.Sessions > 0 || s.Packets == 0 || s.Unreadable > 0 && f.dialect != "auto":
		return "what was left out, and why, is said above"
	case f.spec != "":
		return "the field table of --spec reads none"
	case f.dialect != "auto":
		return "none is in " + f.dialect + "; --dialect auto tries all, --spec is for a field table of the host's own"
	}
	return "say --dialect, or --spec of the host's own field table"
}

// readInto reads one file. What is wrong with it is printed; an error is returned only
// if nothing more can be written.
func readInto(ctx context.Context, f *capture.Follower, dialects []*capture.Dialect, name string, t *talkative, lines *capture.Stats) error {
	file := os.Stdin
	if name != "-" {
		var err error
		if file, err = os.Open(name); err != nil {
			return usage(err)
		}
		defer file.Close()
	}
	in, err := capture.Unpacked(cancellable{ctx, file})
	if err != nil {
		t.say(name + ": " + err.Error())
		return nil
	}
	if first, _ := in.Peek(len(capture.Magic)); string(first) == capture.Magic {
		return usage(fmt.Errorf("%s is a capture already: replay it (acqswitch replay)", name))
	}
	first, _ := in.Peek(4)
	switch string(first) {
	case "\xD4\xC3\xB2\xA1", "\xA1\xB2\xC3\xD4", "\x4D\x3C\xB2\xA1", "\xA1\xB2\x3C\x4D", "\x0A\x0D\x0D\x0A":
		err = f.Read(in)
	default:
		begin, _ := in.Peek(512)
		switch kind := http.DetectContentType(begin); {
		case strings.Contains(kind, "utf-16"):
			return usage(fmt.Errorf("%s is a text in UTF-16: make it UTF-8", name))
		case len(begin) > 0 && begin[0] != '<' && !strings.HasPrefix(kind, "text/"): // values of a log may be any bytes
			return usage(fmt.Errorf("%s is neither pcap nor pcapng, gzipped or not, nor a text", name))
		}
		var s capture.Stats
		s, err = capture.ReadLines(in, dialects, time.Now(), t)
		lines.Packets, lines.Bytes, lines.Unreadable = lines.Packets+s.Packets, lines.Bytes+s.Bytes, lines.Unreadable+s.Unreadable
	}
	if ctx.Err() != nil || errors.Is(err, capture.ErrSink) {
		return err
	}
	if err != nil {
		t.say(name + ": " + err.Error())
	}
	return nil
}

// cancellable ends with its context, between two reads.
type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c cancellable) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}

// troublesShown bounds the lines about troubles.
const troublesShown = 20

// talkative is a writer of captures that prints what is wrong with what it is given.
type talkative struct {
	*capture.Writer
	to       io.Writer
	troubles int
	notes    []string
	m        iso.Message
}

func (t *talkative) Trouble(s *capture.Session, why string) error {
	who := ""
	if s.Client.IsValid() {
		who = s.Client.String() + ": "
	}
	t.say(who + why)
	return t.Writer.Trouble(s, why)
}

// Message says why the first message of a session that its dialect does not take
// apart is left out.
func (t *talkative) Message(s *capture.Session, fromClient bool, frame []byte, at time.Time) error {
	if s.Unread == 1 {
		if why := s.Dialect.Parse(&t.m, frame); why != nil {
			text := fmt.Sprintf("the message of %s UTC cannot be taken apart as %s: %v", at.UTC().Format("15:04:05.000000"), s.Dialect.Name, why)
			if err := t.Trouble(s, text); err != nil {
				return err
			}
		}
	}
	return t.Writer.Message(s, fromClient, frame, at)
}

func (t *talkative) say(line string) {
	if t.troubles++; t.troubles <= troublesShown {
		t.note(line)
	}
}

func (t *talkative) note(line string) {
	t.notes = append(t.notes, line)
	fmt.Fprintln(t.to, line)
}

// sayAll says what concerns the whole.
func (t *talkative) sayAll(r *captured) {
	if more := t.troubles - troublesShown; more > 0 {
		t.note(fmt.Sprintf("and %d more of the kind", more))
	}
	for _, row := range []struct {
		n         int
		what, why string
	}{
		{r.Stats.Partial, "packet", "recorded in part only; record whole ones (tcpdump -s 0)"},
		{r.Stats.Fragments, "IP fragment", "left out: they are not put together"},
		{r.Stats.Unreadable, "line", "left out, no message"},
		{r.Stats.Foreign, "TCP session", "left out, another protocol"},
		{r.Unread, "message", "left out, not to be taken apart and so not to be cleaned"},
		{r.Unmatched, "answer", "left out, of no request in the capture"},
		{r.Forgotten, "request", "taken as unanswered: 4,096 later ones of the session had no answer yet"},
		{r.FromHosts, "message", "left out, a request of the host's own or an answer to one"},
	} {
		if row.n > 0 {
			t.note(plural(row.n, row.what) + " " + row.why)
		}
	}
}

func (r *captured) show(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "dialect\tsessions\tmessages\tsure\tleast sure\n")
	for _, d := range r.Dialects {
		fmt.Fprintf(w, "%s\t%d\t%d\t%.0f%%\t%.0f%%\n", d.Name, d.Sessions, d.Messages, 100*d.Sure, 100*d.SureMin)
	}
	w.Flush()
	terminals := map[string]bool{} // one may name several merchants
	for _, x := range r.Terminals {
		terminals[x.Terminal] = true
	}
	fmt.Fprintf(out, "\n%s, %d with an answer, of %s, %s to %s UTC\n", plural(r.Requests, "request"), r.Answers, plural(len(terminals), "terminal"), r.First.UTC().Format(time.DateTime), r.Last.UTC().Format(time.DateTime))
	n := r.Cleaned
	fmt.Fprintf(out, "pseudonyms for card numbers: %d (key %s); blanked: %s, %s, %s, %s\n", n.Cards, r.KeyID, plural(n.Tracks, "track"), plural(n.PINs, "PIN block"), plural(n.MACs, "MAC"), plural(n.Keys, "key"))
	_, err := fmt.Fprintf(out, "%s: %d bytes, from %d bytes in %s\n", r.File, r.Bytes, r.Stats.Bytes, ms(r.Took))
	return err
}
