package main

import (
	"context"
	"net/url"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
)

// salesPause is the longest that nothing may be sold under load: less than the
// shortest fault below, more than a busy machine makes of an issuer's timeout.
const salesPause = 1500 * time.Millisecond

// TestF63Database has the ledger's PostgreSQL killed and restarted, locked, refusing
// connections, and at last gone with its machine, so that its standby takes over, all
// under load: sales do not stop, and when there is a server again every record is in
// it once, whatever became of the commit that was under way.
func TestF63Database(t *testing.T) {
	t.Parallel() // it waits most of the time
	server, err := ledgertest.Start()
	if err != nil {
		t.Fatal(err)
	}
	standby, err := ledgertest.Standby(server)
	if err != nil {
		t.Fatal(err)
	}
	dsn, _, err := ledgertest.Create(server) // it goes with its server
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	first, second := newCable(t, ledgertest.Socket(server)), newCable(t, ledgertest.Socket(standby))
	u.Host = first.addr() + "," + second.addr()
	u.RawQuery = "target_session_attrs=read-write&sslmode=disable"
	x := newMarket(t, 1, u.String())
	x.open()
	try := func(name string, fault func()) {
		t.Helper()
		x.last = "database " + name
		stop := x.work()
		time.Sleep(300 * time.Millisecond)
		x.sold.begin()
		fault()
		time.Sleep(300 * time.Millisecond)
		stop()
		t.Logf("%s: %d sales, the longest time without one was %v", name, x.sold.count, x.sold.longest.Round(time.Millisecond))
		if x.sold.longest > salesPause {
			t.Errorf("%s: nothing was sold for %v", name, x.sold.longest)
		}
		if x.check(); t.Failed() {
			t.FailNow()
		}
	}
	try("killed under load, twice", func() {
		for range 2 {
			if err := ledgertest.Crash(server); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
		}
	})
	try("locked for two seconds", func() { lockLedger(t, dsn, 2*time.Second) })
	try("refusing connections for two seconds", func() {
		end := ledgertest.Outage(t, dsn)
		time.Sleep(2 * time.Second)
		end()
	})
	first.set(cut) // between two batches of the drain: one that is under way has half a minute
	try("gone without a word, and its standby in its place", func() {
		if err := ledgertest.Promote(standby); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
	})
	x.tried()
	if x.server.stop(syscall.SIGTERM) != exitOK {
		t.Error("the switch did not end well")
	}
}

// lockLedger keeps everybody from the ledger's tables.
func lockLedger(t *testing.T, dsn string, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), binaryWait)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	if _, err := tx.Exec(ctx, "LOCK TABLE drain IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(d)
}
