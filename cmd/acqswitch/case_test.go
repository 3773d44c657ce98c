package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCase: a chargeback is taken from the merchant by the next run, represented with
// a document, won, and given back by a later run; the day's books balance each time.
func TestCase(t *testing.T) {
	t.Parallel()
	dir := pastDay(t, 3)
	write(t, dir, "c.yaml", "data_dir: data\nacquirer: \"1\"\nissuers: [{name: east, address: \"127.0.0.1:1\", bins: [\"62\"]}]\nsettlement: {disputes: [{issuer: east, represent: 20}]}\n")
	write(t, dir, "bad.yaml", "data_dir: data\nacquirer: \"1\"\nissuers: [{name: east, address: \"127.0.0.1:1\", bins: [\"62\"]}]\nsettlement: {disputes: [{issuer: east, represent: 999}]}\n")
	cli := func(args ...string) result { return acqswitch(t, dir, nil, "", append(args, "--config", "c.yaml")...) }
	position := func(date string) string {
		t.Helper()
		f, err := os.Open(filepath.Join(dir, "data/settlement", date, "positions.csv"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		rows, err := csv.NewReader(f).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows[1:] {
			if r[0] == "999290054110002" {
				return fmt.Sprintf("%s %s: %s + %s + %s - %s = %s", rows[0][8], rows[0][11], r[8], r[7], r[11], r[14], r[15])
			}
		}
		return ""
	}
	opening := []string{"case", "open", "--rrn", "000000000002", "--date", "2026-11-20", "--reference", "R1", "--code", "4853", "--by", "wang"}

	acqswitch(t, dir, nil, "", "case", "list", "--config", "bad.yaml").check(t, exitUsage, "", `settlement.disputes[]: issuer "east": represent: 999 must be 1 to 366 days`)
	cli("settle", "--date", "2026-11-20").check(t, exitOK, "done", "")
	cli("verify").check(t, exitRefused, "not checked: no case was ever opened", "") // the sample has no intents
	cli(opening...).check(t, exitUsage, "", "--reason must say why")
	opening = append(opening, "--reason", "not delivered")
	cli(append(opening, "--as", "refund")...).check(t, exitUsage, "", "--as")
	cli(append(opening, "--amount", "1.001")...).check(t, exitUsage, "", "--amount")
	cli(append(opening, "--amount", "1000.02")...).check(t, exitRefused, "", "1000.01")
	for range 2 {
		cli(append(opening, "--amount", "80.00")...).check(t, exitOK, "case 1: charged back, 80.00 CNY, until ", "")
	}
	cli("settle", "--date", "2026-11-21").check(t, exitOK, "done", "")
	if got, want := position("2026-11-21"), "opening disputes: 0.00 + 0.00 + -80.00 - 0.00 = -80.00"; got != want {
		t.Errorf("%s; want %s", got, want)
	}
	cli("case", "represent", "1", "--by", "wang", "--reason", "slip is there").check(t, exitRefused, "", "has no document")
	write(t, dir, "slip.pdf", "a slip")
	cli("case", "add-document", "1", "slip.pdf", "--by", "wang", "--kind", "song").check(t, exitUsage, "", "--kind")
	cli("case", "add-document", "1", "slip.pdf", "--by", "wang").check(t, exitOK, "case 1: 1 document", "")
	cli("case", "represent", "1", "--by", "wang", "--reason", "slip is there").check(t, exitOK, "case 1: represented, 80.00 CNY, until ", "")
	cli("case", "won", "1", "--by", "wang", "--reason", "they gave in").check(t, exitOK, "case 1: won, 80.00 CNY", "")
	cli("case", "lost", "1", "--by", "wang", "--reason", "x").check(t, exitRefused, "", "it is won: nothing can be done about it any more")
	cli("case", "show", "1").check(t, exitOK, "slip slip.pdf, 6 bytes, SHA-256 ", "")
	cli("case", "list").check(t, exitOK, "NUMBER", "")
	cli("case", "list", "--all", "-o", "json").check(t, exitOK, `"state": "won"`, "")
	cli("case", "expire").check(t, exitOK, "0 cases expired", "")
	cli("settle", "--date", "2026-11-22").check(t, exitOK, "done", "")
	if got, want := position("2026-11-22"), "opening disputes: -80.00 + 0.00 + 80.00 - 0.00 = 0.00"; got != want {
		t.Errorf("%s; want %s", got, want)
	}

	write(t, dir, "disputes.csv", "step,date,rrn,reference,amount\nchargeback,2026-11-20,000000000002,R1,80.00\nsecond,2026-11-20,000000000002,R9,\n")
	cli("case", "import", "disputes.csv", "--by", "wang").check(t, exitUsage, "", `disputes.csv:3: the transaction has no case with the issuer's number "R9"`)
	write(t, dir, "disputes.csv", "step,date,rrn,reference,amount\nchargeback,2026-11-20,000000000002,R1,80.00\n")
	cli("case", "import", "disputes.csv", "--by", "wang").check(t, exitOK, "1 dispute, 0 new", "")

	// What is lost and cannot be had from the merchant is ours, if two people say so.
	cli("case", "open", "--rrn", "000000000003", "--date", "2026-11-20", "--by", "wang", "--reason", "fraud").check(t, exitOK, "case 2: charged back, 1000.02 CNY", "")
	cli("case", "accept", "2", "--by", "wang", "--reason", "no slip").check(t, exitOK, "case 2: lost", "")
	cli("case", "write-off", "2", "--by", "wang", "--reason", "bankrupt").check(t, exitOK, "1: proposed; another person must approve it", "")
	cli("case", "approve", "1", "--by", "wang", "--reason", "ok").check(t, exitRefused, "", "another person must decide it")
	cli("case", "approve", "1", "--by", "li", "--reason", "ok").check(t, exitOK, "written off", "")
	cli("settle", "--date", "2026-11-23").check(t, exitOK, "done", "")
	books, err := os.ReadFile(filepath.Join(dir, "data/settlement/2026-11-23/general-ledger.csv"))
	for _, want := range []string{"1100,issuer receivable,dispute,east,CNY,0.00,1000.02,1", "2100,merchant payable,dispute,,CNY,1000.02,1000.02,2", "5400,dispute loss,dispute,,CNY,1000.02,0.00,1"} {
		if err != nil || !strings.Contains(string(books), want) {
			t.Errorf("%v: no %q in\n%s", err, want, books)
		}
	}
	report := cli("verify")
	for _, want := range []string{"payout    ", "case      6        0 "} {
		if !strings.Contains(report.out, want) || strings.Contains(report.out, "BROKEN payout") {
			t.Errorf("no %q in\n%s", want, report.out)
		}
	}
}
