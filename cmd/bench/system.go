package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
)

// system is what the terminals talk to: processes of its own on addresses of
// its own, with fresh data, thrown away after the run.
type system struct {
	address    string // of the terminals' port
	metrics    string // URL; empty: none
	right      func(*iso.Message) bool
	processes  []*process
	postmaster int // process id of a PostgreSQL of this machine; 0 is none
	cleanup    []func()
}

func (s *system) close() {
	for _, p := range slices.Backward(s.processes) {
		p.kill()
	}
	for _, f := range slices.Backward(s.cleanup) {
		f()
	}
}

// forwarderSystem starts the baseline.
func forwarderSystem() (s *system, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s = &system{right: echoed}
	defer closeUnless(&err, s)
	address, err := s.start("issuer", "listens on", self, "child", "echo")
	if err != nil {
		return nil, err
	}
	s.address, err = s.start("switch", "listens on", self, "child", "forward", address)
	return s, err
}

// writeUnlimited writes the policy of configurations: no limits, and no finding at
// every sale for a card that buys all day and all night.
func writeUnlimited(dir string) error {
	return os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte("version: 1\npatterns: {repeats: 0, repeats_day: 0, night_percent: 0}\n"), 0o600)
}

// configuration is the switch's: everything else is as it comes. Terminals that
// ask one at a time are served one at a time, which saves a goroutine for each
// request.
const configuration = `
terminals:
  listeners:
    - { address: "127.0.0.1:0", dialect: cup-pos }
  in_flight_max: %d
registry: registry.yaml
ledger:
  dsn: %q
  lag_max: %d
risk:
  policy: policy.yaml # the terminals' cards buy all day
admin:
  address: 127.0.0.1:0
log:
  level: warn
issuers:
  - { name: bench, address: %q, bins: ["622202"], %s }
%s`

// switchSystem starts an issuer and a switch with a variant's ledger for its
// terminals. profile is where the switch writes a CPU profile when it is
// stopped; empty is nowhere.
func (b *bench) switchSystem(ctx context.Context, v variant, profile string) (s *system, err error) {
	s = &system{right: approved}
	defer closeUnless(&err, s)
	dir, err := os.MkdirTemp(b.opts.dir, "acqswitch-bench-")
	if err != nil {
		return nil, err
	}
	s.cleanup = append(s.cleanup, func() { os.RemoveAll(dir) })
	dsn := "sqlite:ledger.db"
	if v.engine == "postgres" {
		if dsn, err = s.database(b.postgres); err != nil {
			return nil, err
		}
	}
	// The issuer writes its book and does not sync it: its disk is not ours.
	script := filepath.Join(dir, "issuer.yaml")
	if err := os.WriteFile(script, fmt.Appendf(nil, "log_sync: none\nrules: [{kind: sale, latency: {fixed: %v}}]\n", v.latency), 0o600); err != nil {
		return nil, err
	}
	issuer, err := s.start("issuer", "listens on", b.opts.binary, "issuer", "--script", script, "--listen", "127.0.0.1:0", "--book", filepath.Join(dir, "issuer.book"))
	if err != nil {
		return nil, err
	}
	lagMax := mayLagMax
	if v.keepUp {
		lagMax = keepUpLagMax
	}
	takes, more := fmt.Sprintf("in_flight_max: %d", cmp.Or(v.window, 65_536)), ""
	if v.within > 0 {
		takes, more = takes+fmt.Sprintf(", timeout: %v", v.within*3/4), fmt.Sprintf("answer_within: %v\n", v.within)
	}
	plain := v.shape.terminals()
	if v.guarded {
		plain = 0
		data := filepath.Join(dir, "data")
		if err := errors.Join(os.Mkdir(data, 0o700), guardedKeys(data, v.shape.terminals(), "bench")); err != nil {
			return nil, err
		}
	}
	config := filepath.Join(dir, "acqswitch.yaml")
	if err := errors.Join(
		writeRegistry(filepath.Join(dir, "registry.yaml"), v.shape.terminals(), plain),
		writeUnlimited(dir),
		os.WriteFile(config, fmt.Appendf(nil, configuration, v.shape.inFlight, dsn, lagMax, issuer, takes, more), 0o600)); err != nil {
		return nil, err
	}
	args := []string{b.opts.binary, "serve", "--config", config}
	if v.processor != "" {
		args = append([]string{"taskset", "-c", v.processor}, args...)
	}
	if profile != "" {
		args = append(args, "--cpuprofile", profile)
	}
	if s.address, err = s.start("switch", "can connect to", args...); err != nil {
		return nil, err
	}
	admin, err := s.processes[len(s.processes)-1].says("metrics and health are on ")
	if err != nil {
		return nil, err
	}
	s.metrics = admin + "/metrics"
	return s, s.ready(ctx, admin)
}

func closeUnless(err *error, s *system) {
	if *err != nil {
		s.close()
	}
}

// start adds a process and returns what it says behind words.
func (s *system) start(role, words string, args ...string) (string, error) {
	p, err := start(role, args...)
	if err != nil {
		return "", err
	}
	s.processes = append(s.processes, p)
	return p.says(words)
}

// database makes an empty database.
func (s *system) database(server *url.URL) (string, error) {
	dsn, drop, err := ledgertest.Create(server)
	if err != nil {
		return "", err
	}
	s.cleanup = append(s.cleanup, func() {
		if err := drop(); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	})
	// A private server's directory is that of its socket.
	pid, _ := os.ReadFile(filepath.Join(server.Query().Get("host"), "data", "postmaster.pid"))
	first, _, _ := strings.Cut(string(pid), "\n")
	s.postmaster, _ = strconv.Atoi(first)
	return dsn, nil
}

// ready waits until the issuer's link is up.
func (s *system) ready(ctx context.Context, admin string) error {
	ctx, cancel := context.WithTimeout(ctx, startMax)
	defer cancel()
	for {
		_, err := get(ctx, admin+"/readyz")
		if err == nil {
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("wait for the switch to be ready: %w", err)
		}
	}
}

// get is the text at a URL.
func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", url, resp.Status)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	return string(text), err
}

// lag is how many records the ledger is behind the journal; 0 where there is
// none.
func (s *system) lag(ctx context.Context) (int64, error) {
	const name = "acq_ledger_drain_lag"
	if s.metrics == "" {
		return 0, nil
	}
	text, err := get(ctx, s.metrics)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if _, value, ok := strings.Cut(line, name+" "); ok && strings.HasPrefix(line, name) {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return int64(v), err
		}
	}
	return 0, errors.New("the switch has no metric " + name)
}

// used is what each role has used of the processors.
func (s *system) used() map[string]time.Duration {
	used := map[string]time.Duration{"terminals": cpuTime(os.Getpid())}
	for _, p := range s.processes {
		used[p.role] = cpuTime(p.pid)
	}
	if s.postmaster != 0 {
		for _, pid := range children(s.postmaster) {
			used["postgres"] += cpuTime(pid)
		}
	}
	return used
}
