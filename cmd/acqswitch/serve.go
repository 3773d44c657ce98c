package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/switch/keys"
)

func serveCommand(c *console) *cobra.Command {
	var file, profile string
	var check bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the switch",
		Long: `serve runs the switch of a configuration until SIGINT or SIGTERM. It then stops
accepting, answers what is in flight, lets the ledger catch up and ends. SIGHUP
reads the files of registry, policy, cards, certificates and downloads again. SIGUSR2 replaces the
program, see upgrade. Logs go to standard error. A stop that takes 50 s longer than
terminals.drain_within is cut short, exit code 1, and a second SIGINT or SIGTERM, a
second after the first or later, ends the process at once: both are as safe as a kill.

--check begins nothing and writes nothing: it reads what a start reads (configuration,
registry, policy, keys, downloads, card types, every record of the journal, the versions
of the ledger's tables) and tries the addresses, and says what is wrong. One line each
says what a start would do first or go without: terminals' and issuers' keys that are
missing, certificates that end, too little disk, and what would keep
settlement.schedule from settling.
The addresses of a switch that runs on the data directory count as free.`,
		Example: `  acqswitch config init > acqswitch.yaml    # then edit it
  acqswitch registry import merchants.yaml --config acqswitch.yaml
  acqswitch serve --config acqswitch.yaml --check && acqswitch serve --config acqswitch.yaml`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if check {
				return checkServe(cmd.Context(), c, file)
			}
			return serve(cmd.Context(), c, file, profile)
		},
	}
	configFlag(cmd, &file)
	cmd.Flags().BoolVar(&check, "check", false, "say whether the switch could begin to serve, and end")
	cmd.Flags().StringVar(&profile, "cpuprofile", "", "file for a CPU profile of the time until it is told to stop")
	cmd.Flags().MarkHidden("cpuprofile")
	return cmd
}

// checkServe says whether serve could begin, and what it would do first.
func checkServe(ctx context.Context, c *console, file string) error {
	cfg, err := readConfig(file)
	if err != nil {
		return err
	}
	notes, err := cfg.check(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.out, strings.Join(append(notes, "ok"), "\n"))
	return err
}

// serve runs the switch of a configuration file until ctx ends, a stage fails or
// another program has taken over. profile is a file for a CPU profile, or empty.
func serve(ctx context.Context, c *console, file, profile string) error {
	// First of all: without a listener either signal would end the process.
	hup, usr2 := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	signal.Notify(usr2, syscall.SIGUSR2)
	defer signal.Stop(hup)
	defer signal.Stop(usr2)
	hugePages(ctx)
	u, err := newUpgrader(file)
	if err != nil {
		return err
	}
	return u.end(ctx, u.serve(ctx, c, profile, hup, usr2))
}

// serve is serve as one of the programs that follow each other in a process.
func (u *upgrader) serve(ctx context.Context, c *console, profile string, hup, usr2 <-chan os.Signal) error {
	cfg, err := readConfig(u.config)
	if err != nil {
		return err
	}
	var unlocked error
	if cfg.Vault.LockMemory { // before a key is read
		unlocked = keys.LockMemory()
	}
	a, err := newApp(cfg, c.errs)
	if err != nil {
		return err
	}
	if unlocked != nil {
		a.log.Warn("keys in memory may be written to disk", "error", unlocked)
	}
	oneMoreProcessor()
	u.serves(a)
	serving, stop := context.WithCancel(ctx)
	defer stop()
	a.stops = sync.OnceFunc(func() { a.endLate(cfg.Terminals.DrainWithin+stopMax, c.errs, os.Exit) })
	context.AfterFunc(serving, a.stops) // also while it starts
	if profile != "" {
		end, err := profileCPU(serving, profile)
		if err != nil {
			return err
		}
		defer end()
	}
	return a.run(serving, func() {
		a.printAddresses(c)
		u.ready()
		if err := tellManager(); err != nil {
			a.log.Warn("the service manager cannot be told that terminals can connect", "error", err)
		}
		go func() {
			for {
				select {
				case <-hup:
					a.reload()
				case <-usr2:
					if u.begin(serving) {
						stop()
						return
					}
				case <-serving.Done():
					return
				}
			}
		}()
	})
}

// printAddresses tells whoever started the switch where it listens.
func (a *app) printAddresses(c *console) {
	for i, addr := range a.terminals.Addrs() {
		l := a.cfg.Terminals.Listeners[i]
		fmt.Fprintf(c.out, "%s terminals can connect to %s%s\n", l.Dialect, l.scheme(), addr)
	}
	if a.admin != nil {
		fmt.Fprintf(c.out, "metrics and health are on %s%s\n", a.cfg.Admin.scheme(), a.admin.Addr())
	}
}

// oneMoreProcessor lets one goroutine more run at a time than there are
// processors, unless GOMAXPROCS says how many. The journal's flusher spends much
// of its time in fdatasync, and keeps its place among the running until the Go
// runtime takes it away: on two processors a thousand sales waited beside an
// idle one.
func oneMoreProcessor() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
}

// profileCPU writes a CPU profile of the time until ctx ends: what stopping
// costs is not in it.
func profileCPU(ctx context.Context, path string) (stop func(), err error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("create CPU profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(fmt.Errorf("start CPU profile: %w", err), f.Close())
	}
	stop = sync.OnceFunc(func() {
		pprof.StopCPUProfile()
		f.Close()
	})
	context.AfterFunc(ctx, stop)
	return stop, nil
}
