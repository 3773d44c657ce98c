package main

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
)

// TestFirstStartOnASlowDatabase: a switch whose first start takes long to make its tables
// sells meanwhile, and does not call them missing.
func TestFirstStartOnASlowDatabase(t *testing.T) {
	t.Parallel() // it waits most of the time
	dsn := ledgertest.Postgres(t)
	db := connect(t, dsn)
	execute(t, db, "BEGIN")
	execute(t, db, "CREATE TABLE goose_db_version (n BIGINT)") // of one name only one is made at a time
	s := &stack{t: t, dir: t.TempDir(), env: []string{"ACQ_LEDGER_DSN=" + dsn}}
	write(t, s.dir, "registry.yaml", registryText)
	write(t, s.dir, "acqswitch.yaml", `
registry: registry.yaml
terminals: {listeners: [{address: "127.0.0.1:0", dialect: cup-pos}]}
admin: {address: ""}
issuers: [{name: east, address: "127.0.0.1:1", bins: ["62"]}]
`)
	s.server = startIn(t, s.dir, s.env, "serve", "--config", "acqswitch.yaml")
	s.server.await("cup-pos terminals can connect to")
	time.Sleep(2 * alertsEvery)
	execute(t, db, "ROLLBACK")
	s.until("the tables are there", func() bool {
		return acqswitch(t, s.dir, s.env, "", "ledger", "archived", "--config", "acqswitch.yaml").code == exitOK
	})
	time.Sleep(2 * alertsEvery)
	s.server.stop(syscall.SIGTERM)
	if log := read(t, s.server.log); strings.Contains(log, `"level":"ERROR"`) {
		t.Error(log)
	}
}
