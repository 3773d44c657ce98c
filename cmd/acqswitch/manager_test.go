package main

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/keyring"
	"github.com/acqswitch/acqswitch/switch/pos"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// A service manager hears when terminals can connect, of the program that takes over too.
func TestServiceManagerIsTold(t *testing.T) {
	t.Parallel()
	s := newStack(t, "balance: 500000")
	if code := s.server.stop(os.Interrupt); code != exitOK {
		t.Fatalf("exit %d", code)
	}
	dir, err := os.MkdirTemp("", "acq-notify-") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	s.env = []string{"NOTIFY_SOCKET=" + filepath.Join(dir, "s")}
	hears := func(when string) {
		t.Helper()
		b := make([]byte, 64)
		manager.SetReadDeadline(time.Now().Add(binaryWait))
		if n, err := manager.Read(b); err != nil || string(b[:n]) != "READY=1" {
			t.Fatalf("%s: %q, %v", when, b[:n], err)
		}
	}
	s.start()
	hears("started")
	s.cli("upgrade", "--config", "acqswitch.yaml").check(t, exitOK, "", "")
	hears("taken over")
}

// The alerts of deploy/prometheus-rules.yml are about metrics that there are, and
// docs/operations.md has each of these.
func TestAlertRulesNameMetrics(t *testing.T) {
	exported := map[string]bool{}
	docs := read(t, "../../docs/operations.md")
	for _, m := range regexp.MustCompile(`Metric\{"([a-z._]+)", "(\w+|\{[a-z ]+\})"`).FindAllStringSubmatch(read(t, "../../switch/telemetry/names.go"), -1) {
		name := strings.ReplaceAll(m[1], ".", "_")
		switch m[2] {
		case "s":
			name += "_seconds"
		case "By":
			name += "_bytes"
		}
		exported[name], exported[name+"_total"], exported[name+"_bucket"] = true, true, m[2] == "s"
		if !strings.Contains(docs, "`"+name) && !strings.HasPrefix(name, "acq_journal_flush_") && !strings.HasPrefix(name, "acq_recorder_") {
			t.Errorf("docs/operations.md does not have %s", name)
		}
	}
	values := []string{"sale", "failed", string(pos.CausePanic), string(pos.CauseUnencodable), string(pos.CauseSessions)}
	for r := range txn.Reasons {
		values = append(values, txn.Reason(r).String())
	}
	for _, e := range keyring.Events() {
		values = append(values, e.String())
	}
	rules := read(t, "../../deploy/prometheus-rules.yml")
	names := regexp.MustCompile(`\bacq_[a-z_]+`).FindAllString(rules, -1)
	if len(names) < 20 {
		t.Fatalf("%d metrics are named", len(names))
	}
	for _, name := range names {
		if !exported[name] {
			t.Errorf("there is no metric %s", name)
		}
	}
	for _, m := range regexp.MustCompile(`=~?"([^"]+)"`).FindAllStringSubmatch(rules, -1) {
		for _, v := range strings.Split(m[1], "|") {
			if v != "acqswitch" && !slices.Contains(values, v) {
				t.Errorf("no label has the value %q", v)
			}
		}
	}
}
