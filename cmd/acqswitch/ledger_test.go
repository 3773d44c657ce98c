package main

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/txn"
)

// TestLedgerTransactions looks for transactions as a person at a desk does, and
// holds that a card number goes nowhere.
func TestLedgerTransactions(t *testing.T) {
	t.Parallel()
	dir := pastDay(t, 30)
	cards, err := keys.OpenCards(filepath.Join(dir, "data/card.keys"))
	if err != nil {
		t.Fatal(err)
	}
	pan, err := txn.ParsePAN("6222020000000007")
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open("sqlite:" + filepath.Join(dir, "data/ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	of := &txn.Record{Kind: txn.RecordOutcome, ID: 31, At: time.Date(2026, 11, 21, 1, 0, 0, 0, time.UTC), Request: txn.KindSale, Day: settledDay.After(),
		Key:      txn.Key{Acquirer: 1, Terminal: txn.MakeTerminalID("10000001"), Batch: 1, STAN: 31, Class: txn.ClassFinancial},
		Merchant: txn.MakeMerchantID("999290054110001"), Amount: txn.Amount{Minor: 12_50, Currency: txn.CNY}, Card: cards.Token(&pan),
		Outcome: txn.OutcomeDeclined, Reason: txn.IssuerDeclined, Code: [2]byte{'5', '1'}, AuthCode: [6]byte{27, '[', '2', 'J', ' ', ' '}}
	copy(of.Masked[:], pan.Masked())
	if err := l.Store(t.Context(), []ledger.Entry{{Pos: 31, Rec: of}}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	find := func(stdin string, args ...string) result {
		r := acqswitch(t, dir, nil, stdin, append([]string{"ledger", "transactions", "--data", "data"}, args...)...)
		if strings.Contains(r.out+r.errs, "6222020000000007") {
			t.Errorf("%v says a card number: %s%s", args, r.out, r.errs)
		}
		return r
	}
	two := []string{"--from", "2026-11-20", "--to", "2026-11-21"}
	with := func(args ...string) []string { return append(args, two...) }

	find("6222020000000007\n", with("--card")...).check(t, exitOK, "000031", "")
	find("6222020000000008\n", with("--card")...).check(t, exitUsage, "", "standard input is no card number")
	find("", with("--card", "6222020000000007")...).check(t, exitUsage, "", "takes no arguments")
	find("", with("--rrn", "000000000007", "-o", "json")...).check(t, exitOK, `"merchant":"999290054110007","terminal":"10000001","batch":1,"stan":7,"rrn":"000000000007","kind":"sale","amount":100006,"currency":"CNY"`, "")
	find("", with("--min", "12.50", "--max", "13", "-o", "csv")...).check(t, exitOK, "999290054110001,10000001,000001,000031,,sale,12.50,CNY,", "")
	find("", with("--code", "51")...).check(t, exitOK, "1b5b324a2020", "") // not the escape sequence itself
	find("", "--date", "2026-11-19", "-o", "csv").check(t, exitOK, "date,at,merchant", "")
	find("", "--date", "2026-11-19", "--from", "2026-11-19").check(t, exitUsage, "", "--date is one day")
	find("", "--to", "2026-11-19").check(t, exitUsage, "", "--to needs --from")
	find("", "--from", "2026-11-19", "--to", "2026-11-18").check(t, exitUsage, "", "--from 2026-11-19 is after --to 2026-11-18")
	find("", "--from", "19.11.2026").check(t, exitUsage, "", "must be yyyy-mm-dd")
	find("", with("--kind", "theft")...).check(t, exitUsage, "", `--kind "theft" is no kind of request`)
	find("", with("--min", "1.234")...).check(t, exitUsage, "", "--min: amount")
	find("", with("--currency", "XXQ")...).check(t, exitUsage, "", "--currency:")
	find("", with("--merchant", "9992900541100011")...).check(t, exitUsage, "", "--merchant takes 1 to 15 characters")
	find("", with("--limit", "-1")...).check(t, exitUsage, "", "--limit -1 must not be below zero")
	find("", with("-o", "xml")...).check(t, exitUsage, "", `--output "xml" must be table, json or csv`)
	acqswitch(t, dir, nil, "", "version", "-o", "csv").check(t, exitUsage, "", `--output "csv" must be table or json`)
	acqswitch(t, dir, nil, "", "ledger", "transactions", "--data", "nowhere").check(t, exitUsage, "", "name the data directory with --data")

	rows, err := csv.NewReader(strings.NewReader(find("", with("-o", "csv")...).out)).ReadAll()
	if err != nil || len(rows) != 32 || len(rows[0]) != len(transactionColumns) {
		t.Errorf("%d rows, %v", len(rows), err)
	}
	var newest []string
	lines := json.NewDecoder(strings.NewReader(find("", with("--newest", "--limit", "2", "-o", "json")...).out))
	for lines.More() {
		var row struct{ Date, ID string }
		if err := lines.Decode(&row); err != nil {
			t.Fatal(err)
		}
		newest = append(newest, row.Date+" "+row.ID)
	}
	if len(newest) != 2 || newest[0] != "2026-11-21 000000000000001f" || !strings.HasPrefix(newest[1], "2026-11-20 ") {
		t.Errorf("the newest are %q", newest)
	}
}

// TestLedgerPositions is what finance asks of a settled day, and of one that is not.
func TestLedgerPositions(t *testing.T) {
	t.Parallel()
	dir := pastDay(t, 300)
	cli := func(args ...string) result { return acqswitch(t, dir, nil, "", append(args, "--data", "data")...) }
	cli("ledger", "positions", "merchants").check(t, exitRefused, "", "no day is settled")
	cli("ledger", "figures", "--date", "2026-11-20", "-o", "csv").check(t, exitOK, "2026-11-20,open,CNY,300,300,300,300448.50,0.00,0.00,", "")
	cli("settle", "--date", "2026-11-20").check(t, exitOK, "done", "")
	cli("ledger", "figures", "--from", "2026-11-01", "--to", "2026-11-30", "-o", "csv").check(t, exitOK, "2026-11-20,done,CNY,300,300,300,300448.50,0.00,1496.99,", "")
	// 1000.06 less 5.00; 299 has no plan, 298 no account.
	cli("ledger", "positions", "merchants", "-o", "csv").check(t, exitOK, "2026-11-20,999290054110007,CNY,0.00,0.00,0.00,", "")
	cli("ledger", "positions", "merchants", "-o", "json").check(t, exitOK, `"suspense":100298,`, "")
	cli("ledger", "positions", "issuers", "--date", "2026-11-20").check(t, exitOK, "2026-11-20  east          CNY         300448.50", "")
	cli("ledger", "positions", "issuers", "--date", "20.11.2026").check(t, exitUsage, "", "must be yyyy-mm-dd")
	cli("ledger", "figures", "--to", "2026-11-30").check(t, exitUsage, "", "--to needs --from")
}

type listedWord string

func (w listedWord) cells() []string { return []string{string(w)} }

// A listing that cannot be written says so once.
func TestListingToAFullDisk(t *testing.T) {
	t.Parallel()
	full, err := os.Open(os.DevNull) // it takes no writes
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	err = listLedger(&console{out: full}, &dataFlags{data: t.TempDir()}, []listColumn{{"word", "WORD", 0}}, func(_ *openedLedger, add func(listed) error) error {
		for {
			if err := add(listedWord("a word")); err != nil {
				return err
			}
		}
	})
	if err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
}
