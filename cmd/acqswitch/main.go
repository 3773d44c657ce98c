// Command acqswitch is the acquiring switch: the server, the simulators around it, and
// the tools of the people who run it.
//
// A command has a file of its name; those of a group begin with the group's, so that
// "acqswitch risk policy" is in risk_policy.go. Beside the commands:
//
//	app*.go     the switch itself: app.go wires it, app_run.go starts and stops its
//	            stages, the others are stages that no package of their own has
//	config*.go  the configuration file, and what is made of its parts
//	run*.go     the sample day of "acqswitch run"
//	root.go     the command tree and the exit codes
//	console.go, listing.go, flags.go, files.go, open.go
//	            what commands share: how they print, their flags, the files and
//	            databases that they open
//	acts.go, office.go
//	            what commands share by which people decide something
//
// Nothing is decided here that could be wrong about money: these files wire together
// the packages that do.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// oneSignal is how long further signals are the first one: a shell and what it runs both
// pass a Ctrl-C on.
const oneSignal = time.Second

func main() {
	net.DefaultResolver = lookup
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() { // the next one ends the process as if nobody listened
		time.Sleep(oneSignal)
		stop()
	})
	root := command(os.Stdout, os.Stderr)
	root.SetIn(stdin{ctx})
	err := root.ExecuteContext(ctx)
	stop()
	var silent *exitError
	if err != nil && !(errors.As(err, &silent) && silent.err == nil) {
		fmt.Fprintln(os.Stderr, "acqswitch:", err)
	}
	os.Exit(exitCode(err))
}

// stdin is standard input until ctx ends: who is to type there, or writes the pipe, may
// never do it.
type stdin struct{ ctx context.Context }

func (s stdin) Read(p []byte) (int, error) {
	var n int
	var err error
	b, done := make([]byte, len(p)), make(chan struct{}) // p is the caller's again when ctx ends
	go func() {
		n, err = os.Stdin.Read(b)
		close(done)
	}()
	select {
	case <-done:
		copy(p, b[:n])
		clear(b) // of a key
		return n, err
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	}
}
