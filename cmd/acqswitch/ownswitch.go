package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/acqswitch/acqswitch/switch/issuer/simulator"
	"github.com/acqswitch/acqswitch/switch/keyring"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/replay"
	"github.com/acqswitch/acqswitch/switch/terminal/fleet"
	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/testdata"
)

// ownWithin bounds the start and the orderly end of a switch of one's own.
const ownWithin = 30 * time.Second

// ownSwitch is a switch that a command starts for itself, as a process of its
// own, in a fresh directory: with the sample registry, downloads and test keys,
// and the sample issuers beside it, in the command's process. Only one goroutine
// may use it.
type ownSwitch struct {
	binary  string
	dir     string
	listens map[string]string // dialect: address, the same after a restart
	held    []int             // sockets that keep its ports for it
	issuers map[string]*simulator.Simulator
	timeout time.Duration // of the issuers
	admin   string

	process *exec.Cmd
	ended   chan struct{}
	log     *os.File

	stopIssuers context.CancelFunc
	running     sync.WaitGroup
}

// startOwn starts a switch of a build, with issuers that approve everything or,
// with scripted, do what those of the sample day do. close ends it.
func startOwn(ctx context.Context, binary string, scripted bool) (o *ownSwitch, err error) {
	dir, err := os.MkdirTemp("", "acqswitch-own-")
	if err != nil {
		return nil, err
	}
	issuers, stop := context.WithCancel(context.WithoutCancel(ctx))
	o = &ownSwitch{binary: binary, dir: dir, listens: map[string]string{}, issuers: map[string]*simulator.Simulator{}, timeout: time.Second, stopIssuers: stop}
	if scripted {
		o.timeout *= 2 // their scripts count on it: an answer may take half of a second
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.close())
		}
	}()
	for _, name := range [...]string{"cup-pos", "iso87"} {
		held, addr, err := holdPort()
		if err != nil {
			return o, err
		}
		o.held, o.listens[name] = append(o.held, held), addr
	}
	if o.log, err = os.OpenFile(filepath.Join(dir, "acqswitch.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return o, err
	}
	for _, name := range [...]string{"registry.yaml", "downloads.yaml"} {
		text, err := testdata.Files.ReadFile(name)
		if err != nil {
			return o, err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return o, err
		}
	}
	for name := range fleet.SampleIssuers {
		if err := o.startIssuer(issuers, name, scripted); err != nil {
			return o, err
		}
	}
	if err := o.loadKeys(ctx); err != nil {
		return o, err
	}
	return o, o.Start(ctx)
}

func (o *ownSwitch) startIssuer(ctx context.Context, name string, scripted bool) error {
	var cfg simulator.Config
	if scripted {
		text, err := testdata.Files.ReadFile("issuers/" + name + ".yaml")
		if err != nil {
			return err
		}
		if cfg, err = simulator.Load(bytes.NewReader(text)); err != nil {
			return err
		}
	}
	cfg.Listen, cfg.Book, cfg.LogSync = "127.0.0.1:0", filepath.Join(o.dir, name+".book"), "none"
	sim, err := simulator.New(cfg)
	if err != nil {
		return fmt.Errorf("issuer %s: %w", name, err)
	}
	o.issuers[name] = sim
	o.running.Go(func() {
		if err := sim.Run(ctx); err != nil {
			fmt.Fprintf(o.log, "issuer %s: %v\n", name, err)
		}
	})
	return nil
}

// loadKeys gives the sample terminals and issuers their test keys.
func (o *ownSwitch) loadKeys(ctx context.Context) error {
	cfg, err := o.config()
	if err != nil {
		return err
	}
	reg, err := readRegistry(cfg.Registry)
	if err != nil {
		return err
	}
	return withKeyLog(ctx, cfg, func(ring *keyring.Ring, vault *keys.Vault) error { return fleet.LoadSampleKeys(reg, vault, ring) })
}

// config writes the configuration file and reads it.
func (o *ownSwitch) config() (*config, error) {
	var text strings.Builder
	fmt.Fprint(&text, "data_dir: data\nregistry: registry.yaml\ndownloads: downloads.yaml\nanswer_within: 5s\nterminals:\n  drain_within: 5s\n  listeners:\n")
	for _, name := range slices.Sorted(maps.Keys(o.listens)) {
		fmt.Fprintf(&text, "    - {address: %q, dialect: %s}\n", o.listens[name], name)
	}
	fmt.Fprint(&text, "reversals: {retry: 50ms, retry_max: 500ms, undelivered_grace: 5s}\nadmin: {address: \"127.0.0.1:0\"}\nissuers:\n")
	for _, name := range slices.Sorted(maps.Keys(o.issuers)) {
		// What an issuer does on purpose must not cost other cards their issuer.
		fmt.Fprintf(&text, "  - {name: %s, address: %q, bins: [%s], timeout: %s, utc_offset: 8h, reconnect_max: 200ms, breaker: {failures: 1000, failure_percent: 100, requests_min: 1000000}}\n",
			name, o.issuers[name].Addr(), `"`+strings.Join(fleet.SampleIssuers[name], `", "`)+`"`, o.timeout)
	}
	path := filepath.Join(o.dir, "acqswitch.yaml")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		return nil, err
	}
	return loadConfig(path, nil)
}

// Start starts the process and returns when sales can be made.
func (o *ownSwitch) Start(ctx context.Context) error {
	if o.process != nil {
		return errors.New("the switch is running")
	}
	if _, err := o.config(); err != nil {
		return err
	}
	cmd := exec.Command(o.binary, "serve", "--config", filepath.Join(o.dir, "acqswitch.yaml"))
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "ACQ_") { // they are this command's, not the switch's
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Stderr = o.log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start a switch: %w", err)
	}
	o.process, o.ended = cmd, make(chan struct{})
	said := make(chan string, 16)
	go func() {
		defer close(o.ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			select {
			case said <- lines.Text():
			default: // nobody asks any more
			}
		}
		cmd.Wait()
	}()
	ctx, cancel := context.WithTimeout(ctx, ownWithin)
	defer cancel()
	for o.admin = ""; o.admin == ""; {
		select {
		case line := <-said:
			if addr, ok := strings.CutPrefix(line, "metrics and health are on "); ok {
				o.admin = addr
			}
		case <-o.ended:
			return o.failed("ended at once")
		case <-ctx.Done():
			return o.failed("did not start")
		}
	}
	for {
		r, err := http.Get(o.admin + "/readyz")
		if err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return o.failed("did not become ready")
		case <-o.ended:
			return o.failed("ended")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// gone says that the process ended by itself.
func (o *ownSwitch) gone() bool {
	select {
	case <-o.ended:
		return true
	default:
		return false
	}
}

// failed says what the switch said last, or that it panicked.
func (o *ownSwitch) failed(what string) error {
	text, _ := os.ReadFile(o.log.Name())
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	last := len(lines) - 1
	if i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "panic: ") || strings.HasPrefix(l, "fatal error: ") }); i >= 0 {
		last = i
	}
	return fmt.Errorf("the switch %s %s: %s", o.binary, what, lines[last])
}

// Kill ends the process with SIGKILL.
func (o *ownSwitch) Kill() error {
	if o.process == nil {
		return errors.New("the switch is not running")
	}
	err := o.process.Process.Kill()
	<-o.ended
	o.process = nil
	return err
}

// close stops the switch in order, then its issuers, and removes what they left.
func (o *ownSwitch) close() error {
	if o.process != nil {
		o.process.Process.Signal(syscall.SIGTERM)
		select {
		case <-o.ended:
		case <-time.After(ownWithin):
			o.process.Process.Kill()
			<-o.ended
		}
		o.process = nil
	}
	o.stopIssuers()
	o.running.Wait()
	for _, held := range o.held {
		syscall.Close(held)
	}
	if o.log != nil {
		o.log.Close()
	}
	return os.RemoveAll(o.dir)
}

// holdPort keeps a port of 127.0.0.1 for a process that will listen on it, by a socket
// that is bound and does not listen: while that process is down, nobody who connects
// anywhere is given the port.
func holdPort() (held int, addr string, err error) {
	syscall.ForkLock.RLock()
	held, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(held)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return 0, "", os.NewSyscallError("socket", err)
	}
	err = os.NewSyscallError("setsockopt", syscall.SetsockoptInt(held, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)) // as listeners have it
	if err == nil {
		err = os.NewSyscallError("bind", syscall.Bind(held, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	}
	if err == nil {
		var at syscall.Sockaddr
		if at, err = syscall.Getsockname(held); err == nil {
			return held, fmt.Sprintf("127.0.0.1:%d", at.(*syscall.SockaddrInet4).Port), nil
		}
	}
	syscall.Close(held)
	return 0, "", err
}

// Verify is nil when nothing is owed and journal and ledger agree.
func (o *ownSwitch) Verify(ctx context.Context) error {
	cfg, err := loadConfig(filepath.Join(o.dir, "acqswitch.yaml"), nil)
	if err != nil {
		return err
	}
	r, err := verifyFiles(ctx, cfg)
	switch {
	case err != nil:
		return err
	case !r.OK():
		var text strings.Builder
		r.WriteText(&text)
		return fmt.Errorf("the books do not agree: %s", strings.Join(strings.Fields(text.String()), " "))
	case r.OpenCount+r.OwedCount > 0:
		return fmt.Errorf("%d requests are open and %d reversals owed", r.OpenCount, r.OwedCount)
	}
	return nil
}

// testKeys are the sample terminals' test keys, as a replay takes them.
func (o *ownSwitch) testKeys() (map[string]replay.Key, error) {
	reg, err := readRegistry(filepath.Join(o.dir, "registry.yaml"))
	if err != nil {
		return nil, err
	}
	all := map[string]replay.Key{}
	for t := range reg.Terminals() {
		switch tid := t.ID.String(); {
		case t.Keys == txn.KeysMasterSession:
			all[tid] = replay.Key{TMK: fleet.SampleTMK(tid), Set: fleet.SampleKeySet(tid)}
		case t.Keys.DUKPT():
			initial, err := fleet.SampleInitial(t)
			if err != nil {
				return nil, err
			}
			all[tid] = replay.Key{Initial: initial}
		}
	}
	return all, nil
}
