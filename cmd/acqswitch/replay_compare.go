package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/switch/replay"
	"github.com/acqswitch/acqswitch/switch/terminal/fleet"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// compared is one of two hosts: an address, or a build that is started.
type compared struct {
	addrs map[string]string
	own   *ownSwitch // nil: an address
}

func startCompared(ctx context.Context, what string) (h compared, err error) {
	if info, err := os.Stat(what); err == nil && info.Mode().IsRegular() {
		if what, err = filepath.Abs(what); err != nil {
			return h, err
		}
		if err := isOurs(ctx, what); err != nil {
			return h, usage(fmt.Errorf("--compare: %w", err))
		}
		if h.own, err = startOwn(ctx, what, true); err != nil {
			return h, err
		}
		h.addrs = h.own.listens
		return h, nil
	}
	if h.addrs = targets(strings.Split(what, ",")); len(h.addrs) == 0 || !strings.Contains(what, ":") {
		return h, usage(fmt.Errorf("--compare: %q is neither an address nor a file", what))
	}
	return h, nil
}

// versionWithin bounds how long a program takes to say what it is.
const versionWithin = 10 * time.Second

// isOurs refuses a file that is no acqswitch before anything is made for it.
func isOurs(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, versionWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "version")
	cmd.WaitDelay = time.Second // what it started may hold its output open
	if out, err := cmd.Output(); err != nil || !bytes.HasPrefix(out, []byte("acqswitch ")) {
		return fmt.Errorf("%s is no acqswitch program: it does not say its version", path)
	}
	return nil
}

// reasons are why a build answered, by terminal, trace number and code.
func (h *compared) reasons() (map[reasonKey]string, error) {
	all := map[reasonKey]string{}
	if h.own == nil {
		return all, nil
	}
	j, err := openJournalReadOnly(filepath.Join(h.own.dir, "data"))
	if err != nil {
		return nil, err
	}
	defer j.Close()
	return all, j.Scan(j.First(), func(_ journal.Position, b []byte) error {
		var rec txn.Record
		if err := rec.Unmarshal(b); err != nil || rec.Kind != txn.RecordOutcome {
			return err
		}
		why := rec.Reason.String()
		if rec.Reason != txn.Approved {
			for found := range rec.Findings.All() {
				if found.Action == txn.ActionRefuse && !found.Shadow {
					why = fmt.Sprintf("rule %s (%s)", found.Rule, rec.Reason)
				}
			}
		}
		all[reasonKey{rec.Key.Terminal.String(), rec.Key.STAN, string(rec.Code[:])}] = why
		return nil
	})
}

type reasonKey struct {
	terminal string
	stan     uint32
	code     string
}

// sideBySide starts what is to be compared; the reference is the first.
func (f *replayFlags) sideBySide(ctx context.Context, o *replay.Options, hosts []string) (both [2]compared, stop func() error, err error) {
	stop = func() error {
		var err error
		for _, h := range both {
			if h.own != nil {
				err = errors.Join(err, h.own.close())
			}
		}
		return err
	}
	for i, what := range hosts {
		if both[i], err = startCompared(ctx, what); err != nil {
			return both, stop, err
		}
	}
	if o.TLS != nil && (both[0].own != nil || both[1].own != nil) {
		return both, stop, usage(errors.New("--compare: a build that is started here speaks no TLS: leave --tls-ca out, or give addresses"))
	}
	o.Reference, o.Addrs = both[0].addrs, both[1].addrs
	if both[0].own != nil && both[1].own != nil && o.Keys == nil {
		if o.Keys, err = both[0].own.testKeys(); err != nil {
			return both, stop, err
		}
		if len(o.PIN) == 0 {
			o.PIN = fleet.SamplePIN
		}
	}
	return both, stop, nil
}

// becauseOf names the causes of a comparison of builds by what their journals say.
func becauseOf(r *replay.Report, both [2]compared) error {
	var why [2]map[reasonKey]string
	for i := range both {
		var err error
		if why[i], err = both[i].reasons(); err != nil {
			return err
		}
	}
	r.Because(func(e replay.Example, code string, reference bool) string {
		if reference {
			return why[0][reasonKey{e.Terminal, e.ReferenceSTAN, code}]
		}
		return why[1][reasonKey{e.Terminal, e.STAN, code}]
	})
	return nil
}
