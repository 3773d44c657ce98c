package replay

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/acqswitch/acqswitch/switch/dialect"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/terminal"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// member is a terminal of a load.
type member struct {
	terminal.Profile
	keys  *terminal.Keys // nil: no MACs and no PINs
	place int            // in its lane
	stan  uint32         // of its last request

	// flights are its requests in flight, each at its trace number modulo their
	// number, a power of two. Its lane's mu guards them.
	flights []*slot
}

// next is the trace number of its next request.
func (t *member) next() uint32 { return terminal.STANAfter(t.stan) }

// roster is the terminals of a load. It outlives the trials of a search: they sign
// on once, and their trace numbers go on.
type roster struct {
	d       *dialect.Terminal
	members []*member

	// mu guards the rest, while they sign on.
	mu      sync.Mutex
	signOns int
	heard   bool               // one was answered
	failed  map[string]failure // sign-ons, by what went wrong
}

// failure is how many terminals it happened to, and the lowest number of them.
type failure struct {
	terminals int
	first     txn.TerminalID
}

// problems are the failed sign-ons, one line for each thing that went wrong.
func (r *roster) problems() (lines []string) {
	for what, f := range r.failed {
		who := "terminal " + f.first.String()
		if f.terminals > 1 {
			who = fmt.Sprintf("%d terminals, %s for one", f.terminals, f.first)
		}
		lines = append(lines, fmt.Sprintf("sign-on: %s (%s)", what, who))
	}
	return lines
}

// enlist makes the terminals, with their master keys if they send MACs.
func enlist(p *Profile, o *LoadOptions) (*roster, error) {
	switch {
	case len(o.Identities) == 0:
		return nil, errors.New("no terminal is given that could ask")
	case p.PIN > 0 && len(o.PIN) == 0:
		return nil, errors.New("the profile has PINs, and no test PIN is given")
	}
	d, err := dialect.ForTerminal(p.Dialect)
	if err != nil {
		return nil, err
	}
	// A hundred numbers a second for each: what a run uses the next one does not.
	stan := uint32(time.Now().UnixMilli() / 10 % txn.STANMax)
	r := &roster{d: d, members: make([]*member, len(o.Identities)), failed: map[string]failure{}}
	for i, id := range o.Identities {
		t := &member{stan: stan}
		t.Profile = terminal.Profile{Terminal: txn.MakeTerminalID(id.Terminal), Merchant: txn.MakeMerchantID(id.Merchant), Currency: txn.CNY, Batch: 1}
		r.members[i] = t
		if !p.MAC {
			continue
		}
		key, ok := o.Keys[id.Terminal]
		if !ok {
			key, ok = o.Keys[""]
		}
		if !ok {
			return nil, fmt.Errorf("the profile has MACs, and terminal %s has no test master key", id.Terminal)
		}
		t.Serial, t.KeySet = key.Serial, cmp.Or(key.Set, keys.KeySetDouble)
		if t.keys, err = terminal.NewKeys(d, t.KeySet, key.MAC, key.TMK); err != nil {
			return nil, fmt.Errorf("terminal %s: %w", id.Terminal, err)
		}
	}
	return r, nil
}

// signOn opens the day of the terminals, which take the batch that the host names
// and the working keys. What is refused or not answered shows in what they ask;
// those that have a master key and get no working keys ask nothing.
func (r *roster) signOn(ctx context.Context, p *Profile, o *LoadOptions) {
	var signing sync.WaitGroup
	sessions := min(p.Sessions, len(r.members))
	for i := range sessions {
		signing.Go(func() {
			line := terminal.Line{Addr: o.Addr, TLS: o.TLS, Dialect: r.d}
			defer line.HangUp()
			for n := i; n < len(r.members) && ctx.Err() == nil; n += sessions {
				if err := r.members[n].signOn(ctx, r, &line, p.Patience); errors.Is(err, terminal.ErrNoAnswer) {
					return // the others will not be answered either
				}
			}
		})
	}
	signing.Wait()
}

func (t *member) signOn(ctx context.Context, r *roster, line *terminal.Line, patience time.Duration) error {
	t.stan = t.next()
	m := terminal.Message{Kind: txn.KindSignOn, STAN: t.stan, At: time.Now()}
	frame, err := m.Append(nil, r.d, &t.Profile)
	var answer terminal.Answer
	if err == nil {
		answer, err = line.Exchange(ctx, frame, patience)
	}
	heard := err == nil
	if err == nil && !answer.Approved() {
		err = &terminal.RefusedError{Code: answer.Code}
	}
	if err == nil {
		t.Batch = cmp.Or(answer.Batch(), t.Batch)
		err = t.keys.Take(&answer)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard = r.heard || heard
	if r.signOns++; err != nil {
		what := err.Error()
		if op := (*net.OpError)(nil); errors.As(err, &op) && op.Source != nil { // by its own port each one's failure were another
			what = strings.Replace(what, op.Source.String()+"->", "", 1)
		}
		f := r.failed[what]
		if f.terminals++; f.terminals == 1 || bytes.Compare(t.Terminal[:], f.first[:]) < 0 {
			f.first = t.Terminal
		}
		r.failed[what] = f
	}
	return err
}

// able are those that can ask.
func (r *roster) able() []*member {
	return slices.DeleteFunc(slices.Clone(r.members), func(t *member) bool { return !t.keys.Ready() })
}
