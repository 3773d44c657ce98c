package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// TestLedgerArchive is an old day that is archived, asked for, brought back, and in
// the end purged.
func TestLedgerArchive(t *testing.T) {
	t.Parallel()
	const day txn.Date = 20160105
	dir := pastDayOf(t, day, 30)
	cli := func(args ...string) result { return acqswitch(t, dir, nil, "", append(args, "--data", "data")...) }
	write(t, filepath.Join(dir, "data"), "calendar.yaml", string(withYears([]byte("version: 1\nyears:\n  - {year: 2016, holidays: []}\n"), time.Now().Year())))
	archive := func() result { return cli("ledger", "archive", "--before", "2017-01-01") }

	cli("ledger", "archive").check(t, exitUsage, "", "--before must say")
	cli("ledger", "archive", "--before", "2099-01-01").check(t, exitRefused, "", "ledger.keep_days keeps the last 400 days")
	archive().check(t, exitRefused, "", "2016-01-05 cannot be archived: no run that has ended covers all of it")
	cli("settle", "--date", "2016-01-05").check(t, exitOK, "done", "")
	listed := cli("ledger", "transactions", "--date", "2016-01-05", "-o", "csv")
	archive().check(t, exitOK, "2016-01-05 is archived: 30 transactions", "")
	archive().check(t, exitOK, "", "")
	cli("ledger", "archived", "-o", "csv").check(t, exitOK, "2016-01-05,30,removed,", "")

	for _, ask := range [][]string{
		{"ledger", "transactions", "--date", "2016-01-05"},
		{"explain", "000000000001", "--date", "2016-01-05"},
		{"fee", "explain", "000000000001", "--date", "2016-01-05"},
		{"proof", "--date", "2016-01-05"},
		{"batches", "list", "--date", "2016-01-05"},
	} {
		cli(ask...).check(t, exitRefused, "", "2016-01-05 is archived: its transactions are not in the ledger; acqswitch ledger restore 2016-01-05 brings them back")
	}
	if r := cli("verify"); !strings.Contains(r.out, "verified in") || strings.Contains(r.out, "the ledger lacks") {
		t.Errorf("verify misses what is archived: %s", r.out)
	}
	cli("settle", "--date", "2016-01-05").check(t, exitOK, "done", "") // its files are there

	cli("ledger", "restore", "2016-01-05", "--into", "sqlite:"+filepath.Join(dir, "other.db")).check(t, exitOK, "is restored: 31 rows", "")
	cli("ledger", "restore", "2016-01-06").check(t, exitRefused, "", "2016-01-06 is not in files; acqswitch ledger archived lists the days that are")
	cli("ledger", "restore", "2016-01-05").check(t, exitOK, "is restored: 31 rows", "")
	if again := cli("ledger", "transactions", "--date", "2016-01-05", "-o", "csv"); again != listed {
		t.Errorf("restored\n%s\nbefore\n%s", again.out, listed.out)
	}
	cli("ledger", "restore", "2016-01-05").check(t, exitRefused, "", "the ledger has transactions of this day")
	archive().check(t, exitOK, "2016-01-05 is archived: 30 transactions", "")

	cli("ledger", "purge", "--before", time.Now().AddDate(-4, 0, 0).Format(time.DateOnly)).check(t, exitRefused, "", "ledger.retention_years keeps 5 years")
	cli("ledger", "purge", "--before", "2017-01-01").check(t, exitOK, "2016-01-05 is purged", "")
	if _, err := os.Stat(filepath.Join(dir, "data/archive/2016-01-05")); !os.IsNotExist(err) {
		t.Errorf("after the purge: %v", err)
	}
	cli("explain", "000000000001", "--date", "2016-01-05").check(t, exitRefused, "", "its files were removed")
	if _, err := os.Stat(filepath.Join(dir, "data/settlement/2016-01-05")); err != nil {
		t.Error(err)
	}
}

// What is told as the first day that is kept is a day.
func TestYearsBefore(t *testing.T) {
	for day, want := range map[txn.Date]txn.Date{20280229: 20230301, 20280301: 20230301, 20271231: 20221231} {
		if got := yearsBefore(day, 5); got != want {
			t.Errorf("five years before %s: %s, want %s", day, got, want)
		}
	}
}
