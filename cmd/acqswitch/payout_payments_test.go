package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPayoutAnswer: the bank rejects a payment; the day after it is not paid to the
// same account, and when somebody says that the account is in order, it is.
func TestPayoutAnswer(t *testing.T) {
	t.Parallel()
	dir := pastDay(t, 3)
	cli := func(args ...string) result { return acqswitch(t, dir, nil, "", append(args, "--data", "data")...) }
	const id = "20261120-999290054110002-CNY"
	cli("settle", "--date", "2026-11-20").check(t, exitOK, "done", "")
	write(t, dir, "bad.csv", "end_to_end,status\n"+id+",rejected\n20261120-X-CNY,paid\n")
	cli("payout", "answer", "bad.csv", "--by", "wang").check(t, exitUsage, "", "bad.csv:3: end_to_end: no run ordered the payment 20261120-X-CNY")
	cli("payout", "answer", "nofile.csv", "--by", "wang").check(t, exitUsage, "", "open the bank's answers")
	write(t, dir, "good.csv", "end_to_end,status,reason\n"+id+",rejected,AC04 closed\n")
	cli("payout", "answer", "good.csv", "--by", "").check(t, exitRefused, "", "who imports it")
	cli("payout", "answer", "good.csv", "--by", "wang").check(t, exitOK, "good.csv: 0 paid, 1 came back, 0 pending, 0 known before", "")
	cli("payout", "answer", "good.csv", "--by", "wang").check(t, exitOK, "0 paid, 0 came back, 0 pending, 1 known before", "")
	cli("payout", "list", "--date", "2026-11-20", "--status", "gone").check(t, exitUsage, "", "--status")
	cli("payout", "list", "--date", "2026-11-21").check(t, exitRefused, "", "2026-11-21 is not settled")
	if list := cli("payout", "list", "--date", "2026-11-20", "--status", "back", "-o", "csv"); list.code != exitOK || strings.Count(list.out, "\n") != 2 || !strings.Contains(list.out, ",1,AC04 closed\n") {
		t.Errorf("%+v", list)
	}
	cli("settle", "--date", "2026-11-21", "--dry-run").check(t, exitOK, "exceptions: 1", "")
	cli("payout", "release", "1", "--by", "li", "--reason", "the bank was wrong").check(t, exitOK, "1: proposed; another person must approve it (proposal approve 1)", "")
	cli("proposal", "approve", "1", "--by", "wang", "--reason", "it said so").check(t, exitOK, "1: approved", "")
	cli("settle", "--date", "2026-11-21").check(t, exitOK, "done", "")
	books, err := os.ReadFile(filepath.Join(dir, "data/settlement/2026-11-21/payouts.csv"))
	if err != nil || !strings.Contains(string(books), "20261121-999290054110002-CNY,999290054110002,CNY,995.01") {
		t.Errorf("%s, %v", books, err)
	}
	cli("verify").check(t, exitRefused, "payout    4", "") // the sample has no intents
}
