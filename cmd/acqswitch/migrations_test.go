package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/settlement/sqldb"
)

// What a migration may do: programs of before it go on beside it.
var (
	makesTable = regexp.MustCompile(`^CREATE TABLE (\w+) \(`)
	addsColumn = regexp.MustCompile(`^ALTER TABLE \w+ ADD COLUMN (\w+) (?:TEXT|BIGINT) NOT NULL DEFAULT `)
	makesIndex = regexp.MustCompile(`^CREATE (UNIQUE )?INDEX \w+ ON (\w+) \(([\w, ]+)\)`)
	putsRows   = regexp.MustCompile(`^(INSERT INTO|UPDATE) \w+ `)
)

// onlyAdds says what in a migration is not an addition.
func onlyAdds(text string) (wrong []string) {
	var made []string // tables and columns
	text = regexp.MustCompile(`--.*`).ReplaceAllString(text, "")
	for statement := range strings.SplitSeq(text, ";") {
		statement = strings.Join(strings.Fields(statement), " ")
		switch {
		case statement == "", putsRows.MatchString(statement):
		case makesTable.MatchString(statement):
			made = append(made, makesTable.FindStringSubmatch(statement)[1])
		case addsColumn.MatchString(statement):
			made = append(made, addsColumn.FindStringSubmatch(statement)[1])
		case makesIndex.MatchString(statement):
			// A unique one refuses what an older program may store, unless it is of
			// something that program does not know.
			if i := makesIndex.FindStringSubmatch(statement); i[1] != "" && !slices.ContainsFunc(append(strings.Split(i[3], ", "), i[2]),
				func(name string) bool { return slices.Contains(made, name) }) {
				wrong = append(wrong, statement)
			}
		default:
			wrong = append(wrong, statement)
		}
	}
	return wrong
}

// TestF66MigrationsOnlyAdd holds every migration to what lets older programs work
// beside it, but for those whose number says that they do not: package sqldb.
func TestF66MigrationsOnlyAdd(t *testing.T) {
	for statement, adds := range map[string]bool{
		"CREATE TABLE a (n BIGINT NOT NULL PRIMARY KEY); CREATE UNIQUE INDEX a_n ON a (n);": true,
		"ALTER TABLE a ADD COLUMN b TEXT NOT NULL DEFAULT '';":                              true,
		"ALTER TABLE a ADD COLUMN b TEXT NOT NULL;":                                         false,
		"ALTER TABLE a DROP COLUMN b;":                                                      false,
		"ALTER TABLE a RENAME COLUMN b TO c;":                                               false,
		"CREATE UNIQUE INDEX a_n ON a (n);":                                                 false,
		"DROP TABLE a;":                                                                     false,
		"DELETE FROM a;":                                                                    false,
	} {
		if wrong := onlyAdds(statement); (len(wrong) == 0) != adds {
			t.Errorf("%s: not additions: %q", statement, wrong)
		}
	}
	files, err := filepath.Glob("../../*/migrations/*.sql")
	deeper, _ := filepath.Glob("../../*/*/migrations/*.sql")
	deepest, _ := filepath.Glob("../../*/*/*/migrations/*.sql")
	if files = slices.Concat(files, deeper, deepest); err != nil || len(files) < 19 {
		t.Fatalf("%d migrations: %v", len(files), err)
	}
	for _, file := range files {
		number, _, _ := strings.Cut(filepath.Base(file), "_")
		n, err := strconv.Atoi(number)
		if err != nil || fmt.Sprintf("%05d", n) != number {
			t.Errorf("%s: its number must have five digits", file)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, statement := range onlyAdds(strings.Replace(string(text), "-- +goose Up", "", 1)) {
			if n == 0 || n%1000 != 0 {
				t.Errorf("%s: an older program cannot go on beside %q: give the migration the next number that divides by 1000", file, statement)
			}
		}
	}
}

// TestF66TooOldForTheLedger starts a switch on a ledger that a much newer program
// has changed: it says so, and nothing happens to either. serve --check says before
// what a start would do.
func TestF66TooOldForTheLedger(t *testing.T) {
	t.Parallel()
	s := newStack(t, "{}")
	checkAnswer(t, s.tell(frame(t, "cup-03")), 0x0210, "00")
	s.server.stop(syscall.SIGTERM)
	db, err := sqldb.Open("sqlite:" + filepath.Join(s.dir, "data/ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	change := func(statement string) {
		t.Helper()
		if _, err := db.Write.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	checked := func(code int, out, errs string) {
		t.Helper()
		s.cli("serve", "--check", "--config", "acqswitch.yaml").check(t, code, out, errs)
	}
	checked(exitOK, "ok", "")
	config := read(t, filepath.Join(s.dir, "acqswitch.yaml"))
	for dsn, says := range map[string]string{
		"sqlite:none.db": "the ledger is not there: serve makes it\nok",
		"postgres://nobody:secret@127.0.0.1:1/none": "the ledger cannot be read, and serve sells without it until it can: ",
	} {
		write(t, s.dir, "acqswitch.yaml", config+fmt.Sprintf("\nledger: {dsn: %q}\n", dsn))
		checked(exitOK, says, "")
	}
	write(t, s.dir, "acqswitch.yaml", config)
	if _, err := os.Stat(filepath.Join(s.dir, "data/none.db")); err == nil {
		t.Error("serve --check made a ledger")
	}
	change("INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)")
	checked(exitOK, "serve uses tables of a newer program as they are: goose_db_version has 999, this program ", "")
	change("DELETE FROM goose_db_version WHERE version_id = 999")
	change("UPDATE goose_db_version SET version_id = -version_id WHERE version_id > 1")
	checked(exitOK, "serve brings tables up to date first: goose_db_version from 1 to ", "")
	change("UPDATE goose_db_version SET version_id = -version_id WHERE version_id < 0")
	change("INSERT INTO goose_db_version (version_id, is_applied) VALUES (1000, 1)")
	checked(exitFailed, "", "goose_db_version has version 1000, this program ")
	r := acqswitch(t, s.dir, []string{"ACQ_LOG_LEVEL=error"}, "", "serve", "--config", "acqswitch.yaml")
	r.check(t, exitFailed, "", "goose_db_version has version 1000, this program ")
	r.check(t, exitFailed, "", "a newer program changed these tables")
	change("DELETE FROM goose_db_version WHERE version_id = 1000")
	s.start()
	checkAnswer(t, s.tell(renumbered(t, frame(t, "cup-03"), 3)), 0x0210, "00")
}

// TestF66TooOldForTheJournal has a program find a record of a newer one among its own,
// as after a way back: serve --check, which an upgrade asks, says so, a start changes
// nothing.
func TestF66TooOldForTheJournal(t *testing.T) {
	t.Parallel()
	s := newStack(t, "{}")
	checkAnswer(t, s.tell(frame(t, "cup-03")), 0x0210, "00")
	s.server.stop(syscall.SIGTERM)
	j, err := journal.Open(filepath.Join(s.dir, "data/journal"), journal.Config{})
	if err != nil {
		t.Fatal(err)
	}
	last, err := j.Read(j.Last(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- j.Run(ctx) }()
	pos, err := j.Append(append([]byte{99}, last[1:]...))
	if err == nil {
		_, err = j.Append(last)
	}
	stop()
	if err := errors.Join(err, <-ended, j.Close()); err != nil {
		t.Fatal(err)
	}
	ledger := read(t, filepath.Join(s.dir, "data/ledger.db"))
	says := fmt.Sprintf("journal record %d: record is of version 99, this program reads 4 to 6: ", pos)
	s.cli("serve", "--check", "--config", "acqswitch.yaml").check(t, exitFailed, "", says)
	acqswitch(t, s.dir, []string{"ACQ_LOG_LEVEL=error"}, "", "serve", "--config", "acqswitch.yaml").check(t, exitFailed, "", says)
	if read(t, filepath.Join(s.dir, "data/ledger.db")) != ledger {
		t.Error("the ledger has changed")
	}
}
