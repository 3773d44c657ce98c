// Command acqswitch is the acquiring switch: the server, the simulators around
// it, and the tools of the people who run it. One file per subcommand; they
// only wire packages together.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(os.Stdout, os.Stderr).ExecuteContext(ctx)
	stop()
	var silent *exitError
	if err != nil && !(errors.As(err, &silent) && silent.err == nil) {
		fmt.Fprintln(os.Stderr, "acqswitch:", err)
	}
	os.Exit(exitCode(err))
}
