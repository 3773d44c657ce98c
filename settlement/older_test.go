package settlement

import (
	"errors"
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/settlement/ledger/ledgertest"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
)

// TestF66OlderLedgerIsNotRead verifies a ledger of each older version of the schema, which
// the new program has not brought up to date yet: it is told to be one, not to be broken.
func TestF66OlderLedgerIsNotRead(t *testing.T) {
	names, err := fs.Glob(ledger.Schema.Files, "migrations/*.sql")
	if err != nil || len(names) < 12 {
		t.Fatal(names, err)
	}
	ledgertest.Each(t, func(t *testing.T, dsn string) {
		db, err := sqldb.Open(dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		l, err := ledger.Open(dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		older := fstest.MapFS{}
		for _, name := range names[:len(names)-1] {
			text, err := fs.ReadFile(ledger.Schema.Files, name)
			if err != nil {
				t.Fatal(err)
			}
			older[name] = &fstest.MapFile{Data: text}
			if err := db.Migrate(t.Context(), sqldb.Schema{Files: older, Versions: ledger.Schema.Versions}); err != nil {
				t.Fatal(err)
			}
			if _, err := Verify(t.Context(), VerifyInput{Journal: newMemJournal(t), Ledger: l}); !errors.Is(err, ledger.ErrNoSchema) {
				t.Errorf("after %s: %v", name, err)
			}
		}
	})
}
