//go:build failpoint

package main

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/switch/failpoint"
)

var (
	tortureMinutes = flag.Float64("torture.minutes", 0, "how long to torture both stores; 0: one life on SQLite")
	tortureSeed    = flag.Uint64("torture.seed", 1, "seed of the first life")
)

// TestTorture starts the real binary, with an issuer as another process and
// terminals on real connections, and has it kill itself at one point of a
// transaction's life after another, most times once more while it recovers.
// After each, when it runs again and nothing is owed, verify must be clean and
// the books of terminals, switch and issuer must agree.
//
// A life is one data directory with its kills; its seed gives what the terminals
// and the issuer do and where the kills are. Which requests are in flight at a
// kill is the machine's affair: a seed that failed may need some runs.
func TestTorture(t *testing.T) {
	survived := map[failpoint.Point]map[string]int{}
	stores, ending := []string{"sqlite"}, time.Now()
	if *tortureMinutes > 0 {
		stores = append(stores, "postgres")
		ending = ending.Add(time.Duration(*tortureMinutes * float64(time.Minute)))
	}
	began := time.Now()
	for seed := *tortureSeed; ; seed++ {
		for _, store := range stores {
			t.Run(fmt.Sprintf("%s/%d", store, seed), func(t *testing.T) {
				newTorture(t, seed, store).life(func(p failpoint.Point) {
					if survived[p] == nil {
						survived[p] = map[string]int{}
					}
					survived[p][store]++
				})
			})
		}
		if t.Failed() || !time.Now().Before(ending) {
			break
		}
	}
	table := &strings.Builder{}
	sum := 0
	for _, p := range append(slices.Clone(failpoint.Points), anyMoment) {
		fmt.Fprintf(table, "\n%-8s", p)
		for _, store := range stores {
			fmt.Fprintf(table, " %s %5d ", store, survived[p][store])
			sum += survived[p][store]
		}
	}
	t.Logf("%d kills survived in %v, by point and store:%s", sum, time.Since(began).Round(time.Second), table)
}

// anyMoment stands for a kill from outside: the point was not reached in time.
const anyMoment failpoint.Point = "any"

// pointWithin is how long a point may take to be reached under load.
const pointWithin = 3 * time.Second

// torture is one life.
type torture struct{ *market }

func newTorture(t *testing.T, seed uint64, store string) torture {
	dsn := "sqlite:ledger.db"
	if store == "postgres" {
		dsn = ledgertest.Postgres(t)
	}
	return torture{newMarket(t, seed, dsn)}
}

// life kills the switch at every point, in a random order, and checks after each.
func (x torture) life(survived func(failpoint.Point)) {
	points := slices.DeleteFunc(slices.Clone(failpoint.Points), func(p failpoint.Point) bool { return p[0] == 'R' })
	x.rng.Shuffle(len(points), func(i, k int) { points[i], points[k] = points[k], points[i] })
	x.open()
	for _, p := range points {
		if x.server.stop(syscall.SIGTERM) != exitOK { // the next start has its point
			x.t.Fatalf("the switch did not end well; %s", x.last)
		}
		killed := []failpoint.Point{x.kill(p, true)}
		if x.rng.IntN(4) == 0 {
			x.issuers.stop(syscall.SIGKILL)
			x.startIssuer()
		}
		for again := 0; again < 3 && x.rng.IntN(3) > 0; again++ { // while it recovers
			late := []failpoint.Point{failpoint.JournalRead, failpoint.OpenDecided, failpoint.OpenDecided, failpoint.Recovered, failpoint.Intended, failpoint.Sent, failpoint.Replied,
				failpoint.Committing, failpoint.Committed, failpoint.Acknowledged, failpoint.Acknowledgment}
			killed = append(killed, x.kill(late[x.rng.IntN(len(late))], false))
		}
		x.boot("")
		x.serving()
		x.check()
		if x.t.Failed() {
			return
		}
		for _, p := range killed {
			survived(p)
		}
	}
	x.tried()
	if x.server.stop(syscall.SIGTERM) != exitOK {
		x.t.Errorf("the switch did not end well; %s", x.last)
	}
	x.checkNoCardInClear()
}

// kill starts the switch and waits for its death at p, with terminals at work or
// without. It returns where it died.
func (x torture) kill(p failpoint.Point, busy bool) failpoint.Point {
	hits := 1
	if busy && x.rng.IntN(4) > 0 {
		hits = 1 + x.rng.IntN(100)
		if p == failpoint.Committing || p == failpoint.Committed || p[0] == 'L' {
			hits = 1 + x.rng.IntN(4)
		}
	}
	spec := fmt.Sprintf("%s:%d", p, hits)
	if p == failpoint.Committing && x.rng.IntN(2) == 0 { // inside of it
		spec += fmt.Sprintf(":%dus", 1+x.rng.IntN(2000))
	}
	x.boot(spec)
	if busy {
		defer x.work()()
		x.last = spec
	} else {
		x.last += ", " + spec
	}
	within := pointWithin
	if !busy {
		within /= 6
	}
	select {
	case <-x.server.ended:
	case <-time.After(within):
		x.server.stop(syscall.SIGKILL)
		p = anyMoment
	}
	if status, ok := x.server.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		x.t.Fatalf("the switch ended by itself, %v; %s", x.server.cmd.ProcessState, x.last)
	}
	return p
}
