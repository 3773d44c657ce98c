package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/certs"
	"github.com/acqswitch/acqswitch/switch/certs/certstest"
)

// A certificate is told of when 30, 7, 1 and no days are left, each once, and again
// when the next one comes to its end.
func TestF86CertificatesEnd(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	w := certificateWatch{slog.New(slog.NewTextHandler(&said, nil)), map[expiring]int{}}
	ends := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	last := ends.AddDate(1, 0, 3)
	for at := ends.AddDate(0, 0, -100); at.Before(last); at = at.Add(certificatesEvery) {
		if at.Equal(ends.AddDate(0, 0, 2)) {
			ends = ends.AddDate(1, 0, 0)
		}
		w.look([]expiring{{"issuer", "east", ends}, {"issuer", "plain", time.Time{}}, {"listener", ":8583", ends.AddDate(9, 0, 0)}}, at)
	}
	for _, days := range []int{20, -3} { // at a start
		(&certificateWatch{w.log, map[expiring]int{}}).look([]expiring{{"listener", ":8583", last.AddDate(0, 0, days)}}, last)
	}
	var want strings.Builder
	for _, year := range []int{2026, 2027} {
		for _, c := range []struct {
			level string
			days  int
		}{{"WARN", 30}, {"WARN", 7}, {"ERROR", 1}, {"ERROR", 0}} {
			fmt.Fprintf(&want, "%s issuer=east ends=%d-06-01T12:00:00.000Z days=%d\n", c.level, year, c.days)
		}
	}
	want.WriteString("WARN listener=:8583 ends=2027-06-24T12:00:00.000Z days=20\nERROR listener=:8583 ends=2027-06-01T12:00:00.000Z days=-3\n")
	var got strings.Builder
	for line := range strings.Lines(said.String()) {
		_, line, _ = strings.Cut(line, "level=")
		level, _, _ := strings.Cut(line, " ")
		_, rest, _ := strings.Cut(line, "SIGHUP\" ")
		got.WriteString(level + " " + rest)
	}
	if got.String() != want.String() {
		t.Errorf("told\n%swant\n%s", &got, &want)
	}
}

// A switch whose CUP listener asks for certificates: who has one uses every tool of
// a terminal's with it, and who has none is told so in one line.
func TestTerminalsWithTLS(t *testing.T) {
	t.Parallel()
	s := newStack(t, "{}")
	if code := s.server.stop(os.Interrupt); code != exitOK {
		t.Fatalf("exit %d", code)
	}
	ours, theirs := certstest.NewAuthority(t), certstest.NewAuthority(t)
	cert, key := ours.Issue()
	config := read(t, s.dir+"/acqswitch.yaml")
	write(t, s.dir, "acqswitch.yaml", strings.Replace(config, "dialect: cup-pos}", fmt.Sprintf("dialect: cup-pos, tls: {cert: %q, key: %q, ca: terminals.pem}}", cert, key), 1))
	write(t, s.dir, "terminals.pem", read(t, theirs.File)) // its path is relative to the configuration
	s.cli("config", "check").check(t, exitOK, "ok", "")
	s.start()
	addr, found := strings.CutPrefix(s.cup, "tls://")
	if !found {
		t.Errorf("the switch says %q of the listener", s.cup)
	}
	if _, metrics := s.get("/metrics"); !strings.Contains(metrics, `acq_pos_certificate_seconds{listener="127.0.0.1:0"} 1`) {
		t.Error("no metric says when the certificate ends")
	}
	s.cli("status", "--config", "acqswitch.yaml").check(t, exitRefused, "wrong: a certificate of listener 127.0.0.1:0 ends in 1 day\n", "")
	cert, key = theirs.Issue()
	secured := []string{"--to", addr, "--tls-ca", ours.File, "--tls-cert", cert, "--tls-key", key}
	sale := []string{"terminal", "sale", "--amount", "1.00", "--card", "6222021234567890128", "--terminal", "10000001", "--merchant", "999290054110001"}
	run := func(code int, out, errs string, args []string, more ...string) {
		t.Helper()
		s.cli(append(slices.Clip(args), more...)...).check(t, code, out, errs)
	}
	run(exitOK, "approved", "", sale, secured...)
	run(exitUnreachable, "", "the switch closed the session", sale, "--to", addr)
	run(exitUnreachable, "", "certificate required", sale, secured[:4]...)
	run(exitUnreachable, "", "signed by unknown authority", sale, "--to", addr, "--tls-ca", theirs.File)
	run(exitUsage, "", "--tls-cert and --tls-key must be given together", sale, secured[:6]...)
	run(exitUsage, "", "need --tls-ca", sale, "--to", addr, "--tls-name", "x")
	run(exitUsage, "", "read tls.ca: open nowhere.pem", sale, "--to", addr, "--tls-ca", "nowhere.pem")

	s.tools(secured...)
	run(exitUsage, "", "say --to", []string{"script", "run", "echo.txt"}, secured[2:4]...)

	write(t, s.dir, "terminals.pem", read(t, ours.File))
	if err := s.server.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.until("another authority is in force", func() bool { return s.cli(append(slices.Clip(sale), secured...)...).code == exitUnreachable })
	s.until("it is said", func() bool {
		return strings.Contains(read(t, s.server.log), `"msg":"certificates reloaded","listener":`)
	})
	if r := s.verify(); r.OpenRequests+r.OpenReversals != 0 {
		t.Errorf("%+v", r)
	}
}

// The operators' port with TLS: who has no certificate of the operators' authority
// reads no metrics.
func TestOperatorsWithTLS(t *testing.T) {
	t.Parallel()
	s := newStack(t, "{}")
	if code := s.server.stop(os.Interrupt); code != exitOK {
		t.Fatalf("exit %d", code)
	}
	ours, theirs := certstest.NewAuthority(t), certstest.NewAuthority(t)
	cert, key := ours.Issue()
	config := read(t, s.dir+"/acqswitch.yaml")
	secured := func(ca string) string {
		return strings.Replace(config, `admin: {address: "127.0.0.1:0"}`, fmt.Sprintf(`admin: {address: "127.0.0.1:0", tls: {cert: %q, key: %q, ca: %s}}`, cert, key, ca), 1)
	}
	write(t, s.dir, "acqswitch.yaml", secured("nowhere.pem"))
	s.cli("config", "check").check(t, exitUsage, "", "admin: read tls.ca: open ")
	write(t, s.dir, "acqswitch.yaml", secured("operators.pem"))
	write(t, s.dir, "operators.pem", read(t, theirs.File))
	cert, key = theirs.Issue()
	get := func(c certs.Client) (*http.Response, error) {
		t.Helper()
		loaded, err := c.Load()
		if err != nil {
			t.Fatal(err)
		}
		client := http.Client{Timeout: binaryWait, Transport: &http.Transport{TLSClientConfig: loaded.TLS, DisableKeepAlives: true}}
		return client.Get(s.admin + "/metrics")
	}
	s.server = start(t, s.dir, "serve")
	if s.admin = s.server.await("metrics and health are on"); !strings.HasPrefix(s.admin, "https://") {
		t.Errorf("the switch says %q of its operators' port", s.admin)
	}
	r, err := get(certs.Client{CA: ours.File, Cert: cert, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if metrics, err := io.ReadAll(r.Body); err != nil || !strings.Contains(string(metrics), `acq_pos_certificate_seconds{listener="127.0.0.1:0"}`) {
		t.Errorf("no metric says when the certificate ends: %v", err)
	}
	if r, err := get(certs.Client{CA: ours.File}); err == nil {
		t.Errorf("who has no certificate is answered %s", r.Status)
	}
	write(t, s.dir, "operators.pem", read(t, ours.File))
	if err := s.server.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.until("another authority is in force", func() bool {
		r, err := get(certs.Client{CA: ours.File, Cert: cert, Key: key})
		if err == nil {
			r.Body.Close()
		}
		return err != nil
	})
}

// tools plays everything that plays terminals against a host.
func (s *stack) tools(to ...string) {
	t := s.t
	t.Helper()
	run := func(out string, args ...string) {
		t.Helper()
		s.cli(append(args, to...)...).check(t, exitOK, out, "")
	}
	write(t, s.dir, "one.txt", fmt.Sprintf("%X\n", frame(t, "cup-03")))
	s.cli("capture", "one.txt", "--out", "one.acq").check(t, exitOK, "", "")
	run("1 answered", "replay", "one.acq")
	write(t, s.dir, "identities.csv", "10000001,999290054110001\n")
	write(t, s.dir, "load.yaml", "sessions: 2\narrivals: [{for: 300ms, rate: 50}]\nmix: {sale: 100}\ncards: {prefixes: {\"622202\": 1}, count: 10}\namounts: {from: \"1.00\", to: \"1.00\"}\n")
	run("0 wrong", "load", "--profile", "load.yaml", "--identities", "identities.csv")
	write(t, s.dir, "echo.txt", "at 10000001 merchant=999290054110001\nterminal echo\n")
	run("1 passed", "script", "run", "echo.txt")
}

// A switch whose CUP listener takes frames in HTTP: from our tools, and from any
// client that posts one.
func TestTerminalsOverHTTP(t *testing.T) {
	t.Parallel()
	s := newStack(t, "{}")
	if code := s.server.stop(os.Interrupt); code != exitOK {
		t.Fatalf("exit %d", code)
	}
	write(t, s.dir, "acqswitch.yaml", strings.Replace(read(t, s.dir+"/acqswitch.yaml"), "dialect: cup-pos}", "dialect: cup-pos, carriage: http}", 1)) // transport by its former name
	s.start()
	url := s.cup + "/mjc/webtrans/VPB_lb"
	sale := []string{"terminal", "sale", "--amount", "1.00", "--card", "6222021234567890128", "--terminal", "10000001", "--merchant", "999290054110001", "--to"}
	s.cli(append(sale, url)...).check(t, exitOK, "approved", "")
	s.cli(append(sale, strings.TrimPrefix(s.cup, "http://"))...).check(t, exitUnreachable, "", "the switch closed the session")
	s.cli(append(sale, strings.Replace(url, "http", "https", 1))...).check(t, exitUsage, "", "needs an authority of the host's certificate")
	s.tools("--to", url)
	resp, err := http.Post(url, "x-ISO-TPDU/x-auth", bytes.NewReader(renumbered(t, frame(t, "cup-03"), 77)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "x-ISO-TPDU/x-auth" {
		t.Fatalf("%v, %s, %v", err, resp.Status, resp.Header)
	}
	checkAnswer(t, body[2:], 0x0210, "00")
	if r := s.verify(); r.OpenRequests+r.OpenReversals != 0 {
		t.Errorf("%+v", r)
	}
}
