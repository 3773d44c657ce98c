package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/switch/pos"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// handoverVariable, in the environment of the program that takes over, has the number
// of the file descriptor of a handover and the key that it is sealed with. It is never
// in a shell's environment.
const handoverVariable = "ACQSWITCH_HANDOVER"

// handover is what a switch leaves to the one that takes its place in the same
// process, by exec: the terminals' sockets. All else is in the journal.
type handover struct {
	Since   time.Time    `json:"since"`   // when it stopped reading
	Issuers []string     `json:"issuers"` // that had a link
	Sockets *pos.Sockets `json:"sockets"`
	// Program is a descriptor of the program that stopped, 0 for none, and Args what it
	// was called with: it goes on where the next one cannot begin.
	Program int      `json:"program,omitempty"`
	Args    []string `json:"args"`
	// Failed is, where it goes on, why the next one could not.
	Failed string `json:"failed,omitempty"`

	file    *os.File // that it goes through
	program *os.File // of Program, in the one that takes over
}

// inherit is the handover that this program was started with, nil without one.
func inherit() (*handover, error) {
	v := os.Getenv(handoverVariable)
	if v == "" {
		return nil, nil
	}
	os.Unsetenv(handoverVariable)
	number, key, _ := strings.Cut(v, ":")
	fd, err := strconv.Atoi(number)
	if err != nil {
		return nil, fmt.Errorf("take over: %s: %w", handoverVariable, err)
	}
	h := &handover{file: os.NewFile(uintptr(fd), "handover")}
	syscall.CloseOnExec(fd)
	sealed, err := io.ReadAll(h.file)
	if err == nil {
		var seal cipher.AEAD
		if seal, err = handoverSeal(key); err == nil {
			var text []byte
			if text, err = seal.Open(nil, make([]byte, seal.NonceSize()), sealed, nil); err == nil {
				err = json.Unmarshal(text, h)
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("take over: %w", err)
	}
	if h.Program > 0 {
		syscall.CloseOnExec(h.Program)
		h.program = os.NewFile(uintptr(h.Program), "program")
	}
	return h, nil
}

// handoverSeal makes the cipher of a handover: what sessions had read may hold
// card data, and the file it goes through may reach a disk. Each key, in
// hexadecimal, seals one handover and is gone with the two programs.
func handoverSeal(key string) (cipher.AEAD, error) {
	k, err := hex.DecodeString(key)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// runningProgram is this program, also where its file was replaced.
const runningProgram = "/proc/self/exe"

// become replaces this program by the one at path, called with the handover's arguments.
// It returns only when that failed.
func (h *handover) become(path string) error {
	var key [32]byte
	rand.Read(key[:])
	v := hex.EncodeToString(key[:])
	text, err := json.Marshal(h)
	if err == nil {
		var seal cipher.AEAD
		if seal, err = handoverSeal(v); err == nil {
			sealed := seal.Seal(nil, make([]byte, seal.NonceSize()), text, nil)
			_, written := h.file.WriteAt(sealed, 0)
			_, sought := h.file.Seek(0, io.SeekStart)
			err = errors.Join(h.file.Truncate(int64(len(sealed))), written, sought)
		}
	}
	var fd int
	if err == nil {
		fd, err = syscall.Dup(int(h.file.Fd())) // exec leaves the copy open
	}
	if err != nil {
		return fmt.Errorf("hand over: %w", err)
	}
	defer syscall.Close(fd)
	env := append(os.Environ(), handoverVariable+"="+strconv.Itoa(fd)+":"+v)
	// They would end the process until the next program listens. It reads all files after that.
	signal.Ignore(syscall.SIGHUP, syscall.SIGUSR2)
	return fmt.Errorf("hand over to %s: %w", path, syscall.Exec(path, h.Args, env))
}

// giveBack has the program at path, which stopped for another that cannot begin, go on.
// It returns only when that failed, too: the sockets are lost then.
func (h *handover) giveBack(path string, cause error) error {
	h.Failed = cause.Error()
	return errors.Join(cause, h.become(path))
}

// ownPath is where this program was started from: what stands there at an
// upgrade takes over. It is asked for before anything changes directories. Nothing
// need stand there now.
func ownPath() (string, error) {
	path, err := exec.LookPath(os.Args[0])
	if errors.Is(err, fs.ErrNotExist) {
		path, err = os.Args[0], nil
	}
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

// probeWithin is how long a new program may take to show that it can take over.
const probeWithin = 30 * time.Second

// probe asks the program at path whether it could begin to serve.
func probe(ctx context.Context, path, config string) error {
	ctx, cancel := context.WithTimeout(ctx, probeWithin)
	defer cancel()
	args := []string{"serve", "--check"}
	if config != "" {
		args = append(args, "--config", config)
	}
	var errs strings.Builder
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stderr = &errs
	cmd.WaitDelay = time.Second // what a script started may be left, and hold its errors open
	err := cmd.Run()
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%s serve --check has not ended within %v", path, probeWithin)
	}
	said, more, _ := strings.Cut(strings.TrimPrefix(errs.String(), "acqswitch: "), "\n")
	if more != "" { // of a registry every fault is a line
		said += ", and more"
	}
	if said != "" {
		err = errors.New(said)
	}
	return fmt.Errorf("%s serve --check: %w", path, err)
}

// presence is a running switch as its data directory tells of it, in serve.json.
type presence struct {
	PID     int       `json:"pid"`
	Version string    `json:"version"`
	Since   time.Time `json:"since"` // when it let terminals in
	// Terminals and Admin are the addresses that it has bound.
	Terminals []string `json:"terminals"`
	Admin     []string `json:"admin"`
	// Of an upgrade: how many sessions were taken over, and how long they were not
	// read.
	Sessions int        `json:"sessions"`
	Pause    txn.Millis `json:"pause_ms"`
	// Refused is why the last upgrade replaced nothing, with its time.
	Refused string    `json:"refused,omitempty"`
	Asked   time.Time `json:"asked,omitzero"`
}

const presenceFile = "serve.json"

// write replaces the file as a whole.
func (p *presence) write(dir string) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, presenceFile)
	if err = os.WriteFile(path+".new", append(b, '\n'), 0o644); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		os.Remove(path + ".new")
	}
	return err
}

// readPresence reads the file of a switch that runs.
func readPresence(dir string) (p presence, err error) {
	b, err := os.ReadFile(filepath.Join(dir, presenceFile))
	if errors.Is(err, os.ErrNotExist) {
		return p, usage(fmt.Errorf("no switch serves %s", dir))
	}
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		return p, fmt.Errorf("read %s of %s: %w", presenceFile, dir, err)
	}
	if err := syscall.Kill(p.PID, 0); errors.Is(err, syscall.ESRCH) {
		return p, usage(fmt.Errorf("no switch serves %s: process %d is gone", dir, p.PID))
	}
	return p, nil
}

// locked says that a process writes the journal: the number in a file that was
// left behind may be another process's by now.
func locked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	return errors.Is(err, syscall.EWOULDBLOCK)
}

// waitLocked is locked, and gives a switch whose program is being replaced at this moment
// the time to lock it again.
func waitLocked(ctx context.Context, path string) bool {
	for late := time.Now().Add(3 * time.Second); !locked(path); time.Sleep(20 * time.Millisecond) {
		if ctx.Err() != nil || time.Now().After(late) {
			return false
		}
	}
	return true
}

// upgrader replaces the program of a serving switch.
type upgrader struct {
	path   string // of the program
	config string // its configuration file, empty for none
	before *handover
	next   *handover // not nil: the switch stops to hand over
	app    *app
	here   presence
}

func newUpgrader(config string) (*upgrader, error) {
	path, err := ownPath()
	if err != nil {
		return nil, err
	}
	before, err := inherit()
	return &upgrader{path: path, config: configPath(config), before: before, here: presence{PID: os.Getpid(), Version: version()}}, err
}

// serves says which app takes over what the program before left.
func (u *upgrader) serves(a *app) {
	if u.app = a; u.before != nil {
		a.terminals.Adopt(u.before.Sockets)
		a.linksFirst = u.before.Issuers
	}
}

// ready says that terminals are let in.
func (u *upgrader) ready() {
	if h := u.before; h != nil {
		u.here.Sessions, u.here.Pause = len(h.Sockets.Sessions), txn.Millis(time.Since(h.Since))
		if h.Failed != "" {
			u.refuse(errors.New(h.Failed))
		}
		u.app.log.Info("took over", "sessions", u.here.Sessions, "pause", time.Duration(u.here.Pause))
		h.file.Close()
		h.program.Close() // or nil
	}
	for _, addr := range u.app.terminals.Addrs() {
		u.here.Terminals = append(u.here.Terminals, addr.String())
	}
	if u.app.admin != nil {
		u.here.Admin = []string{u.app.admin.Addr().String()}
	}
	u.here.Since = time.Now()
	u.tell()
}

func (u *upgrader) tell() {
	if err := u.here.write(u.app.cfg.DataDir); err != nil {
		u.app.log.Error("upgrade does not find this process", "error", err)
		u.here.Refused, u.here.Asked = "", time.Time{} // told later, it would be of another upgrade
	}
}

// refuse notes why this program goes on.
func (u *upgrader) refuse(err error) {
	u.app.log.Error("the new program cannot take over; this one goes on", "error", err)
	u.here.Refused, u.here.Asked = err.Error(), time.Now()
}

// begin says whether the switch may stop for the new program.
func (u *upgrader) begin(ctx context.Context) bool {
	a := u.app
	err := probe(ctx, u.path, u.config)
	var file *os.File
	if err == nil { // a disk that is full, or read-only, would keep the new program from it
		err = u.here.write(a.cfg.DataDir)
	}
	if err == nil {
		file, err = handoverFile()
	}
	if ctx.Err() != nil {
		return false // told to stop meanwhile
	}
	if err != nil {
		u.refuse(err)
		u.tell()
		return false
	}
	a.log.Info("handing over", "to", u.path)
	u.next = &handover{Since: time.Now(), Args: os.Args, file: file}
	if f, err := os.Open(runningProgram); err == nil {
		u.next.Program, _ = syscall.Dup(int(f.Fd())) // as the sockets, it stays open over exec
		f.Close()
	}
	for _, s := range a.issuers.Status() {
		if s.Up > 0 {
			u.next.Issuers = append(u.next.Issuers, s.Issuer)
		}
	}
	a.terminals.Keep()
	a.handsOver.Store(true)
	return true
}

// end follows the end of serve, which failed with err or did what it was told. Where
// ctx has ended it was told to stop, before or while it was handing over.
func (u *upgrader) end(ctx context.Context, err error) error {
	switch h := u.before; {
	case ctx.Err() != nil:
	case u.next != nil && err == nil:
		u.next.Sockets = u.app.terminals.Kept()
		return u.next.giveBack(runningProgram, u.next.become(u.path))
	case h != nil && h.Failed == "" && h.program != nil && err != nil && u.here.Since.IsZero():
		err = h.giveBack(fmt.Sprintf("/proc/self/fd/%d", h.Program), err)
	}
	if u.app != nil {
		os.Remove(filepath.Join(u.app.cfg.DataDir, presenceFile))
	}
	return err
}

func upgradeCommand(c *console) *cobra.Command {
	var of dataFlags
	var within time.Duration
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Replace the program of a running switch",
		Long: `upgrade makes the switch that serves a data directory become the program that
stands now where it was started from: install the new binary there first. The new
program is asked whether it could serve (serve --check) and reads the journal; if not,
exit code 3, and the old one goes on. Else the switch stops reading, answers what is in
flight, and goes on as the new program in the same process: terminals stay connected
and wait as long as the slowest request, at most terminals.drain_within. Where the new
one ends with an error before it reads, the old one goes on, exit code 3. SIGUSR2 to the
switch does the same. It also makes a changed configuration take effect.`,
		Example: "  install -m 755 acqswitch.new /usr/local/bin/acqswitch && acqswitch upgrade --config /etc/acqswitch.yaml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := of.config()
			if err != nil {
				return err
			}
			before, err := readPresence(cfg.DataDir)
			if err != nil {
				return err
			}
			if !waitLocked(cmd.Context(), filepath.Join(cfg.DataDir, "journal", "LOCK")) {
				return usage(fmt.Errorf("no switch serves %s: process %d is another", cfg.DataDir, before.PID))
			}
			if err := syscall.Kill(before.PID, syscall.SIGUSR2); err != nil {
				return fmt.Errorf("tell process %d to upgrade: %w", before.PID, err)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), within)
			defer cancel()
			for {
				now, err := readPresence(cfg.DataDir)
				switch {
				case err != nil:
					return fmt.Errorf("the switch has ended, see its log: %v", err) // no fault of the command line
				case now.Asked.After(before.Asked):
					return &exitError{exitRefused, fmt.Errorf("nothing was replaced: %s", now.Refused)}
				case now.Since.After(before.Since):
					if c.json() {
						return c.print(now)
					}
					_, err := fmt.Fprintf(c.out, "%s has become %s: %d sessions kept, not read for %v\n", before.Version, now.Version, now.Sessions, time.Duration(now.Pause).Round(time.Millisecond))
					return err
				}
				select {
				case <-ctx.Done():
					return unreachable(fmt.Errorf("the switch has not come back within %v; it is still process %d, see its log", within, before.PID))
				case <-time.After(20 * time.Millisecond):
				}
			}
		},
	}
	of.register(cmd)
	cmd.Flags().DurationVar(&within, "within", time.Minute, "how long to wait for the new program")
	return cmd
}
