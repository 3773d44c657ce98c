package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/capture"
	"github.com/acqswitch/acqswitch/switch/keyring"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/replay"
	"github.com/acqswitch/acqswitch/switch/terminal/fleet"
)

// The sample day's pcap becomes a capture; replayed against a switch with the
// same registry every answer is as recorded; against one on which a merchant is
// suspended, that merchant is the one cause that is named.
func TestCaptureAndReplay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	testdata, err := filepath.Abs("../../testdata")
	if err != nil {
		t.Fatal(err)
	}
	withoutPolicy(t, filepath.Join(testdata, "day/day.pcap"), filepath.Join(dir, "day.pcap"))
	acqswitch(t, dir, nil, "", "capture", "day.pcap", "--out", "day.acq").check(t, exitOK, " UTC cannot be taken apart as cup-pos: field 60 at byte ", "")
	if out := read(t, filepath.Join(dir, "day.acq")); strings.Contains(out, "\x99\x99\x01\x00\x00\x09\x00\x12") {
		t.Error("a card number of the day is in the capture")
	}
	// MACs are made anew, by whatever algorithm the host asks for.
	sample := strings.ReplaceAll(read(t, filepath.Join(testdata, "registry.yaml")), "mac: cup-ecb", "mac: cmac")
	snapshot, err := registry.Load(strings.NewReader(sample), "registry.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := writeSampleKeys(filepath.Join(dir, "test-keys"), snapshot); err != nil {
		t.Fatal(err)
	}
	const merchant = "999290054110001"
	at := strings.Index(sample, `mid: "`+merchant+`"`)
	for _, row := range []struct {
		name     string
		registry string
		code     int
		cause    string
	}{
		{"same", sample, exitOK, ""},
		{"suspended", sample[:at] + strings.Replace(sample[at:], "status: active", "status: suspended", 1), exitRefused, "of terminals of merchant " + merchant},
	} {
		t.Run(row.name, func(t *testing.T) {
			cup, iso87 := sampleSwitch(t, filepath.Join(testdata, "issuers"), row.registry)
			r := acqswitch(t, dir, []string{pinVariable + "=123456"}, "", "replay", "day.acq", "--tmk", "test-keys", "--to", "cup-pos="+cup, "--to", "iso87="+iso87,
				"--speed", "max", "--max", "1200", "--report", "day.html", "-o", "json")
			var report replay.Report
			if err := json.Unmarshal([]byte(r.out), &report); err != nil {
				t.Fatalf("%v: %s", err, r.out)
			}
			if r.code != row.code || report.Requests != 1200 || report.NotPlayed != 0 || len(report.Problems) > 0 {
				t.Errorf("exit %d, %d requests, %d not played, %q", r.code, report.Requests, report.NotPlayed, report.Problems)
			}
			if report.Missing != 0 || report.Same+report.Differ+report.Unrecorded != report.Answered {
				t.Errorf("of %d answers %d are the same, %d not, %d of nothing; %d are missing", report.Answered, report.Same, report.Differ, report.Unrecorded, report.Missing)
			}
			for i, g := range report.Groups {
				if row.cause == "" || i > 0 || g.Got != `"03"` || !strings.Contains(g.Cause, row.cause) {
					t.Error(g.Cause)
				}
			}
			if page := read(t, filepath.Join(dir, "day.html")); strings.Count(page, "<svg") != 4 {
				t.Error("the report lacks plots")
			}
		})
	}
	acqswitch(t, dir, nil, "", "replay", "day.acq", "--to", "127.0.0.1:1").check(t, exitUsage, "", "sessions of cup-pos and iso87, which no one address speaks")
	acqswitch(t, dir, nil, "", "replay", "day.acq", "--compare", "127.0.0.1:1", "127.0.0.1:2").check(t, exitUsage, "", "--compare: the capture has sessions of cup-pos and iso87")
	acqswitch(t, dir, nil, "", "replay", "day.acq", "--speed", "max", "--compare", "127.0.0.1:1", filepath.Join(testdata, "cards.csv")).check(t, exitUsage, "", "cards.csv is no acqswitch program")
	write(t, dir, "few.csv", "10000001,999290054110001\n")
	acqswitch(t, dir, nil, "", "replay", "day.acq", "--to", "cup-pos=127.0.0.1:1", "--to", "iso87=127.0.0.1:1", "--identities", "few.csv", "--terminals", "5").check(t, exitUsage, "", "5 terminals are to play and 1 identities are given")
	acqswitch(t, dir, nil, "", "capture", "day.acq", "--out", "again.acq").check(t, exitUsage, "", "day.acq is a capture already: replay it")
	acqswitch(t, dir, nil, "", "replay", "day.acq", "--to", "cup-pos=127.0.0.1:1", "--to", "iso87=127.0.0.1:1", "--report", "none.html").check(t, exitUnreachable, "cannot be reached", "cannot be reached")
	if _, err := os.Stat(filepath.Join(dir, "none.html")); err != nil {
		t.Error(err)
	}
}

// withoutPolicy copies the sample day without the terminals 100002xx, whose answers
// are the sample policy's: a switch without it, and cards under other numbers, give
// others. Packets keep their times, which go with the dates in the messages.
func withoutPolicy(t *testing.T, from, to string) {
	t.Helper()
	pcap := []byte(read(t, from))
	day, err := fleet.ReadCapture(bytes.NewReader(pcap), fleet.Ports())
	if err != nil {
		t.Fatal(err)
	}
	without := map[netip.AddrPort]bool{}
	for _, s := range day.Sessions {
		without[s.Client] = len(s.Exchanges) > 0 && bytes.Contains(s.Exchanges[0].Request, []byte("100002"))
	}
	const header, packetHeader, ethernet = 24, 16, 14
	kept := slices.Clone(pcap[:header])
	for rest := pcap[header:]; len(rest) > 0; {
		packet := rest[:packetHeader+int(rest[8])+int(rest[9])<<8]
		rest = rest[len(packet):]
		ip := packet[packetHeader+ethernet:] // of 20 bytes, then TCP's ports
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:])), uint16(ip[20])<<8|uint16(ip[21]))
		to := netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:])), uint16(ip[22])<<8|uint16(ip[23]))
		if !without[from] && !without[to] {
			kept = append(kept, packet...)
		}
	}
	if err := os.WriteFile(to, kept, 0o600); err != nil {
		t.Fatal(err)
	}
}

// sampleSwitch is a switch with a registry and the sample day's issuers.
func sampleSwitch(t *testing.T, scripts, registry string) (cup, iso87 string) {
	t.Helper()
	s := &stack{t: t, dir: t.TempDir()}
	write(t, s.dir, "merchants.yaml", registry)
	config := "terminals: {listeners: [{address: \"127.0.0.1:0\", dialect: cup-pos}, {address: \"127.0.0.1:0\", dialect: iso87}]}\n" +
		"admin: {address: \"127.0.0.1:0\"}\nissuers:\n"
	for _, name := range []string{"east", "west"} {
		is := start(t, s.dir, "issuer", "--listen", "127.0.0.1:0", "--script", filepath.Join(scripts, name+".yaml"), "--book", name+".book")
		config += fmt.Sprintf("  - {name: %s, address: %q, bins: [%q], timeout: 3s, breaker: {failures: 1000, failure_percent: 100, requests_min: 1000000}}\n", name, is.await("issuer listens on"), fleet.SampleIssuers[name][0])
	}
	write(t, s.dir, "acqswitch.yaml", config)
	s.cli("registry", "import", "--config", "acqswitch.yaml", "merchants.yaml").check(t, exitOK, "", "")
	sampleKeys(t, filepath.Join(s.dir, "data"), registry)
	s.start()
	return s.cup, s.iso87
}

// sampleKeys loads the sample day's test keys, as the run command does.
func sampleKeys(t *testing.T, data, text string) {
	t.Helper()
	snapshot, err := registry.Load(strings.NewReader(text), "merchants.yaml")
	if err != nil {
		t.Fatal(err)
	}
	vault, err := keys.OpenSoft(filepath.Join(data, "lmk.keys"))
	if err != nil {
		t.Fatal(err)
	}
	defer vault.Close()
	log, err := journal.Open(filepath.Join(data, "keys"), journal.Config{SegmentSize: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }()
	ring := keyring.New(keyring.Config{}, vault, log, slog.New(slog.DiscardHandler))
	err = ring.Recover()
	if err == nil {
		err = fleet.LoadSampleKeys(snapshot, vault, ring)
	}
	err = errors.Join(err, ring.Close())
	cancel()
	<-ended
	if err := errors.Join(err, log.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestCaptureCommandLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "text", "this is no capture\n")
	write(t, dir, "empty", "")
	write(t, dir, "line", "0800\n")
	write(t, dir, "zstd", "\x28\xB5\x2F\xFD\x04\x58\x41\x00")
	write(t, dir, "cut.gz", "\x1F\x8B\x08")
	write(t, dir, "utf16", "\xFF\xFE0\x002\x00")
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	io.WriteString(z, `<isomsg><field id="0" value="0200"/><field id="11" value="1"/><field id="41" value="10000001"/></isomsg>`)
	z.Close()
	write(t, dir, "q2.log.gz", zipped.String())
	acqswitch(t, dir, nil, "", "capture", "q2.log.gz", "-d", "iso87", "--out", "q2").check(t, exitOK, "1 request,", "")
	write(t, dir, "bad.rules", "compare: {\"39\": never}\n")
	for _, row := range []struct {
		args []string
		code int
		errs string
	}{
		{[]string{"capture"}, exitUsage, "takes the files to read"},
		{[]string{"capture", "missing.pcap"}, exitUsage, "no such file"},
		{[]string{"capture", "text"}, exitUsage, "no request was found in text: say --dialect, or --spec"},
		{[]string{"capture", "empty"}, exitUsage, "no request was found in empty: it is empty"},
		{[]string{"capture", "zstd"}, exitUsage, "zstd is neither pcap nor pcapng, gzipped or not, nor a text"},
		{[]string{"capture", "utf16"}, exitUsage, "utf16 is a text in UTF-16: make it UTF-8"},
		{[]string{"capture", "cut.gz"}, exitUsage, "no request was found in cut.gz: what was left out, and why, is said above"},
		{[]string{"capture", "line", "-d", "iso87"}, exitUsage, "no request was found in line: what was left out, and why, is said above"},
		{[]string{"capture", "text", "--out", "./text"}, exitUsage, "--out ./text is one of the files to read"},
		{[]string{"capture", "text", "--out", "."}, exitUsage, "--out . is no file"},
		{[]string{"capture", "text", "--dialect", "klingon"}, exitUsage, "is unknown"},
		{[]string{"capture", "text", "--bin-digits", "4"}, exitUsage, "6 or 8"},
		{[]string{"capture", "text", "--key", "text"}, exitUsage, "64 hexadecimal digits"},
		{[]string{"replay", "text"}, exitUsage, "--to"},
		{[]string{"replay", "text", "--to", "x:1"}, exitUsage, "not a stored capture"},
		{[]string{"replay", "text", "--to", "x"}, exitUsage, `--to: "x" must be HOST:PORT`},
		{[]string{"replay", "text", "--compare", "x:1"}, exitUsage, "two hosts"},
		{[]string{"replay", "text", "--compare", "x:1", "y:1", "--to", "z:1"}, exitUsage, "leave --to out"},
		{[]string{"replay", "text", "--to", "x:1", "--speed", "fast"}, exitUsage, "--speed"},
		{[]string{"replay", "text", "--to", "x:1", "--rate", "5/s", "--speed", "max"}, exitUsage, "--speed and --rate are two paces"},
		{[]string{"replay", "text", "--to", "x:1", "--rate", "0"}, exitUsage, "--rate"},
		{[]string{"replay", "text", "--to", "x:1", "--rules", "bad.rules"}, exitUsage, "same, present or ignore"},
		{[]string{"replay", "text", "--to", "x:1", "--tmk", "text"}, exitUsage, "--tmk: line 1"},
	} {
		t.Run(strings.Join(row.args, " "), func(t *testing.T) {
			acqswitch(t, dir, nil, "", row.args...).check(t, row.code, "", row.errs)
		})
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*.acq*")); len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}
}

// Two captures to one file at a time are both whole, and the later one stays.
func TestCapturesToOneFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := running(binaryWait)
	defer cancel()
	first := binary(t, ctx, dir, nil, "capture", "-", "--dialect", "iso87", "--out", "one.acq")
	in, err := first.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	for begun := false; !begun; time.Sleep(time.Millisecond) {
		parts, _ := filepath.Glob(filepath.Join(dir, "*.part"))
		if begun = len(parts) > 0; !begun && ctx.Err() != nil {
			t.Fatal("the first does not begin")
		}
	}
	const sale = `{"0":"0200","3":"000000","4":"1250","7":"1126090000","11":"1","41":"10000001"}` + "\n"
	acqswitch(t, dir, nil, strings.Repeat(sale, 5000), "capture", "-", "--dialect", "iso87", "--out", "one.acq").check(t, exitOK, "5000 requests", "")
	for _, n := range []int{5000, 1} {
		file, err := os.Open(filepath.Join(dir, "one.acq"))
		if err != nil {
			t.Fatal(err)
		}
		r, err := capture.NewReader(file)
		read := 0
		for ; err == nil; read++ {
			_, err = r.Next()
		}
		file.Close()
		if read--; err != io.EOF || read != n {
			t.Errorf("%d of %d requests are read: %v", read, n, err)
		}
		if n == 5000 {
			io.WriteString(in, sale)
			in.Close()
			if err := first.Wait(); err != nil {
				t.Error(err)
			}
		}
	}
}
