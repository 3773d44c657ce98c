package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestReconcile: a simulated issuer's book becomes a file, the file is held against
// the settled day, two people dispose, and the next day's run books it.
func TestReconcile(t *testing.T) {
	t.Parallel()
	const n = 20
	dir := pastDay(t, n)
	data := filepath.Join(dir, "data")
	write(t, dir, "c.yaml", "data_dir: data\nacquirer: \"1\"\nissuers: [{name: east, address: \"127.0.0.1:1\", bins: [\"62\"]}]\n")
	// The issuer lacks the first sale and has 0.40 less of the second.
	book := `{"kind":"declined","txn":"sale","stan":99,"time":"1120090001","terminal":"10000001","amount":1,"currency":"156","code":"05"}` + "\n"
	for i := 2; i <= n; i++ {
		amount := 1000_00 + i - 1
		if i == 2 {
			amount -= 40
		}
		book += fmt.Sprintf(`{"kind":"approved","txn":"sale","stan":%d,"time":"%s","terminal":"10000001","merchant":"99929005411%04d","acquirer":"00000001","amount":%d,"currency":"156","rrn":"%012d","card":"622202*********0128","code":"00"}`+"\n",
			i, time.Date(2026, 11, 20, 9, 0, i, 0, time.UTC).Format("0102150405"), i, amount, i)
	}
	write(t, dir, "east.book", book)
	acqswitch(t, dir, nil, "", "issuer", "file", "east.acom", "--book", "east.book", "--date", "2026-11-20").check(t, exitOK, "", "")
	cli := func(args ...string) result { return acqswitch(t, dir, nil, "", append(args, "--config", "c.yaml")...) }
	load := []string{"reconcile", "import", "east.acom", "--by", "wang", "--issuer", "east", "--date", "2026-11-20"}

	cli(load...).check(t, exitRefused, "", "2026-11-20 is not settled yet")
	cli("settle", "--date", "2026-11-20").check(t, exitOK, "done", "")
	cli("reconcile", "import", "east.acom", "--by", "wang", "--issuer", "nobody", "--date", "2026-11-20").check(t, exitUsage, "", `--issuer "nobody" must be one of the configuration`)
	cli(append(load, "--layout", "east.acom")...).check(t, exitUsage, "", "east.acom:1:")
	cli(append(load, "--count", "20")...).check(t, exitUsage, "", "it has 19 lines where 20 should be")
	cli("reconcile", "list").check(t, exitOK, "NUMBER", "")
	cli(load...).check(t, exitRefused, "east 2026-11-20: 1 × the amount differs", "")
	cli(load...).check(t, exitRefused, "", "the file was given before")
	var list []struct {
		Number               int64
		Cause, Ours, Theirs  string
		Merchant, State, RRN string
	}
	if err := json.Unmarshal([]byte(cli("reconcile", "list", "-o", "json").out), &list); err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	// The four books, each break with its transaction; equal when all is decided.
	proof := cli("proof", "--date", "2026-11-20")
	proof.check(t, exitRefused, "Four books of 2026-11-20: not proved yet", "")
	for _, want := range []string{"ledger ", "postings ", "journal ", "terminals ", "net differs by -1000.40: 2 exceptions by -1000.40, 0.00 late, 0.00 tolerated; 2 open", "the issuer does not have it", "000000000002"} {
		if !strings.Contains(proof.out, want) {
			t.Errorf("no %q in\n%s", want, proof.out)
		}
	}
	cli("proof", "--date", "2026-11-21").check(t, exitRefused, "", "2026-11-21 is not settled yet")
	of := []string{"--issuer", "east", "--date", "2026-11-20", "--cause", "the issuer does not have it"}
	dispose := func(more ...string) result {
		return cli(append(append([]string{"reconcile", "dispose"}, more...), "--as", "claim", "--by", "wang", "--reason", "x")...)
	}
	if r := cli(append([]string{"reconcile", "list"}, of...)...); strings.Contains(r.out, "the amount differs") || !strings.Contains(r.out, "the issuer does not have it") {
		t.Error(r.out)
	}
	for _, given := range [][]string{{}, of[:4], {"1", "--date", "2026-11-20"}, append([]string{"1"}, of...)} {
		dispose(given...).check(t, exitUsage, "", "name the exceptions by their numbers, or by --issuer, --date and --cause")
	}
	for _, given := range []string{"2-1", "x", "0", "1-", "1-20000"} {
		dispose(given).check(t, exitUsage, "", "must be")
	}
	dispose(append(of[:5:5], "it rains")...).check(t, exitUsage, "", `--cause: cause "it rains" is not known`)
	dispose("--issuer", "west", "--date", "2026-11-20", "--cause", of[5]).check(t, exitRefused, "", "no open exception is of this issuer and day and has this cause")
	dispose("1-3").check(t, exitRefused, "", "there is no exception 3")
	dispose("2", "1-2").check(t, exitOK, "1-2: proposed; another person must approve it (reconcile approve 1-2)", "")
	dispose(of...).check(t, exitOK, "3: proposed", "")
	cli("reconcile", "approve", "1-3", "--by", "li", "--reason", "x").check(t, exitRefused, "", "is a claim already")
	cli("reconcile", "reject", "3", "1-2", "--by", "li", "--reason", "x").check(t, exitOK, "1-3: rejected", "")
	for i, e := range list {
		n, proposal := fmt.Sprint(e.Number), fmt.Sprint(i+4)
		cli("reconcile", "show", n).check(t, exitOK, e.Cause, "")
		as := "adjust"
		if e.Ours == "1000.00 CNY" {
			as = "write-off"
		}
		cli("reconcile", "dispose", n, "--as", "forget", "--by", "wang", "--reason", "x").check(t, exitUsage, "", "--as")
		cli("reconcile", "dispose", n, "--as", as, "--by", "wang", "--reason", "asked them").check(t, exitOK, "another person must approve it", "")
		cli("reconcile", "approve", proposal, "--by", "wang", "--reason", "ok").check(t, exitRefused, "", "another person must decide it")
		cli("reconcile", "approve", proposal, "--by", "li", "--reason", "ok").check(t, exitOK, "approved", "")
	}
	cli("proof", "--date", "2026-11-20").check(t, exitOK, "they agree", "")
	write(t, filepath.Join(data, "settlement/2026-11-20"), "proof.csv", "book\n")
	cli("proof", "--date", "2026-11-20").check(t, exitRefused, "", "the files of 2026-11-20 are not those that its run wrote")
	cli("settle", "--date", "2026-11-21").check(t, exitOK, "done", "")
	books, err := os.ReadFile(filepath.Join(data, "settlement/2026-11-21/general-ledger.csv"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"correction,east,CNY,0.00,1000.40", "correction,,CNY,1000.00,0.00", "correction,,CNY,0.40,0.00"} {
		if !strings.Contains(string(books), want) {
			t.Errorf("the general ledger has no %q:\n%s", want, books)
		}
	}
	// Mastercard's file of the next day has one of these sales again, and a chargeback.
	clearing := ipmRecord("1644", 24, "697", 48, "0070105000") +
		ipmRecord("1240", 3, "000000", 4, "000000100002", 12, "261120090003", 24, "200", 37, "000000000003", 49, "156") +
		ipmRecord("1442", 24, "450") +
		ipmRecord("1644", 24, "695", 48, "045"+"0105000"+"03010160000000000100002"+"030600800000004") + "\x00\x00\x00\x00"
	write(t, dir, "T112", clearing)
	write(t, dir, "cut", clearing[:60])
	load = []string{"reconcile", "import", "--by", "wang", "--issuer", "east", "--date", "2026-11-21", "--layout", "ipm"}
	cli(append(load, "cut")...).check(t, exitUsage, "", "cut: record 2 at byte 41: the file is cut off here")
	taken := cli(append(load, "T112")...)
	taken.check(t, exitRefused, "east 2026-11-21: 1 × an earlier file has it", "")
	taken.check(t, exitRefused, "east 2026-11-21: not read as lines: 1 chargebacks (1442)", "")
}

// ipmRecord is a record of Mastercard's clearing, behind its length: elements by
// number, in order.
func ipmRecord(mti string, elements ...any) string {
	bitmap := [16]byte{0x80}
	text := ""
	for i := 0; i < len(elements); i += 2 {
		n := elements[i].(int) - 1
		bitmap[n/8] |= 0x80 >> (n % 8)
		text += elements[i+1].(string)
	}
	record := mti + string(bitmap[:]) + text
	return string([]byte{0, 0, byte(len(record) >> 8), byte(len(record))}) + record
}

// What people give as numbers is read in order and each once, and refused where it is
// none, or more than are taken at once.
func TestNumbersAndRanges(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"7":         "7",
		"9-12 4 10": "4 9-12",
		"3 2 1 2-2": "1-3",
		"9223372036854775806-9223372036854775807": "9223372036854775806-9223372036854775807", // nothing is after the last
		"1-10000":             "1-10000",
		"1-10000 10001":       "10001 numbers are given",
		"1-10001":             "the first and the last of at most 10000",
		"1-999999999999":      "the first and the last of at most 10000",
		"5-1":                 "the first and the last of at most 10000",
		"0-3":                 `"0" must be a number`,
		"-3":                  `"" must be a number`,
		"1-2-3":               `"2-3" must be a number`,
		"9223372036854775808": "must be a number",
	} {
		n, err := numbersOf(strings.Fields(given))
		if got := ranges(n); err != nil && !strings.Contains(err.Error(), want) || err == nil && got != want {
			t.Errorf("%s: %s, %v; want %s", given, got, err, want)
		}
	}
}
