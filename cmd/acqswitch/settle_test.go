package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/settlement"
	"github.com/acqswitch/acqswitch/settlement/journal"
	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/testdata"
)

const settledDay txn.Date = 20261120

// pastDay is a data directory with a journal, a SQLite ledger, fees and n sales
// of a day that is over; the card table knows debit cards only.
func pastDay(t *testing.T, n int) string { return pastDayOf(t, settledDay, n) }

func pastDayOf(t *testing.T, day txn.Date, n int) string {
	t.Helper()
	midnight, err := time.Parse(time.DateOnly, day.String())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	j, err := journal.Open(filepath.Join(data, "journal"), journal.Config{SegmentSize: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- j.Run(ctx) }()
	l, err := ledger.Open("sqlite:" + filepath.Join(data, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	// An append waits for its flush, in which there is room for many.
	entries := make([]ledger.Entry, n)
	var group sync.WaitGroup
	room := make(chan struct{}, 256)
	for i := 1; i <= n; i++ {
		r := &txn.Record{Kind: txn.RecordOutcome, ID: txn.ID(i), At: midnight.Add(time.Hour + time.Duration(i)*time.Second), Request: txn.KindSale,
			Key:      txn.Key{Acquirer: 1, Terminal: txn.MakeTerminalID("10000001"), Batch: 1, STAN: uint32(i), Class: txn.ClassFinancial},
			Merchant: txn.MakeMerchantID(fmt.Sprintf("99929005411%04d", i%300)), MCC: 5411, Amount: txn.Amount{Minor: int64(1000_00 + i - 1), Currency: txn.CNY},
			Day: day, Leg: txn.Leg{Issuer: txn.MakeIssuerID("east"), STAN: uint32(i)}, Outcome: txn.OutcomeApproved, Code: [2]byte{'0', '0'}}
		if i == 1 {
			r.Findings.Add(txn.Finding{Rule: txn.MakeRule('T', 11), Action: txn.ActionAlert})
		}
		copy(r.Masked[:], "622202*********0128")
		copy(r.Leg.Time[:], r.At.Add(8*time.Hour).Format("0102150405"))
		copy(r.RRN[:], fmt.Sprintf("%012d", i))
		room <- struct{}{}
		group.Go(func() {
			defer func() { <-room }()
			pos, err := j.Append(r.Append(nil))
			if err != nil {
				t.Error(err)
				return
			}
			entries[pos-1] = ledger.Entry{Pos: uint64(pos), Rec: r}
		})
	}
	if group.Wait(); t.Failed() {
		t.FailNow()
	}
	if err := l.Store(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	plans := "version: 1\nplans: [{name: shop, rates: [{card: any, currency: CNY, from: 2020-01-01, ppm: 5000, cap: \"20.00\"}]}]\nmerchants:\n"
	for m := range 299 { // the last has no plan
		plans += fmt.Sprintf("  - {mid: \"99929005411%04d\", plan: shop, from: 2020-01-01}\n", m)
	}
	write(t, data, "fees.yaml", plans)
	write(t, data, "cards.csv", "prefix,card\n622202,debit\n")
	payouts := "version: 1\npayer: {name: Us, accounts: &a [{currency: CNY, name: Us, number: '1', bank: '105290000012'}]}\nmerchants:\n"
	for m := range 298 {
		payouts += fmt.Sprintf("  - {mid: \"99929005411%04d\", cycle: D+1, accounts: *a}\n", m)
	}
	write(t, data, "payouts.yaml", payouts)
	write(t, data, "calendar.yaml", string(withYears([]byte("version: 1\nyears:\n  - {year: 2026, holidays: []}\n"), time.Now().Year())))
	return dir
}

// TestSettle is a finance person's day: check the fees, look, settle, settle
// again, explain, verify the files with a tool of the system.
func TestSettle(t *testing.T) {
	t.Parallel()
	dir := pastDay(t, 300)
	cli := func(args ...string) result { return acqswitch(t, dir, nil, "", append(args, "--data", "data")...) }

	cli("settle", "--date", "2026-11-20", "--date", "2099-01-01").check(t, exitRefused, "", "2099-01-01 cannot be settled: it is in the future")
	acqswitch(t, dir, nil, "", "settle").check(t, exitUsage, "", "--date must say which business day")
	acqswitch(t, dir, nil, "", "settle", "--date", "20.11.2026").check(t, exitUsage, "", "--date: business date")
	acqswitch(t, dir, nil, "", "settle", "--date", "2026-11-20", "--data", "nowhere").check(t, exitUsage, "", "name the data directory with --data")
	cli("fee", "check").check(t, exitOK, "ok ", "")
	good, err := os.ReadFile(filepath.Join(dir, "data/fees.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "data"), "fees.yaml", strings.Replace(string(good), "ppm: 5000", "ppm: five", 1))
	cli("fee", "check").check(t, exitUsage, "", "fees.yaml:2: plans[].rates[].ppm")
	cli("settle", "--date", "2026-11-20").check(t, exitUsage, "", "fees.yaml:2: plans[].rates[].ppm")
	write(t, filepath.Join(dir, "data"), "fees.yaml", string(good))

	dry := cli("settle", "--date", "2026-11-20", "--dry-run")
	dry.check(t, exitOK, "Business day 2026-11-20: dry run", "")
	cli("fee", "explain", "000000000001", "--date", "2026-11-20").check(t, exitOK, "not settled yet", "")
	first := cli("settle", "--date", "2026-11-20")
	first.check(t, exitOK, "Business day 2026-11-20: done", "")
	first.check(t, exitOK, "exceptions: 2, in ", "") // 299 has no plan, 298 no account
	if again := cli("settle", "--date", "2026-11-20"); again != first {
		t.Errorf("the second time\n%s\nthe first\n%s", again.out, first.out)
	}
	cli("settle", "--date", "2026-11-20", "--dry-run").check(t, exitOK, "Business day 2026-11-20: done, dry run, ", "")
	var r settlement.RunResult
	if err := json.Unmarshal([]byte(cli("settle", "--date", "2026-11-20", "-o", "json").out), &r); err != nil {
		t.Fatal(err)
	}
	// 300 sales of 1000.00 to 1002.99; the one of 1002.98 has no plan.
	want := settlement.Totals{Currency: "CNY", Decimals: 2, Transactions: 300, Sales: 300*1000_00 + 299*300/2, MerchantFees: 100*5_00 + 199*5_01} // from 1001.00 on 5.005 is 5.01
	if len(r.Totals) != 1 || r.Totals[0].Sales != want.Sales || r.Totals[0].Transactions != want.Transactions || r.Totals[0].MerchantFees != want.MerchantFees ||
		r.Totals[0].Net != r.Totals[0].Sales-r.Totals[0].MerchantFees-r.Totals[0].Suspense ||
		r.Totals[0].Receivable != r.Totals[0].Sales-r.Totals[0].Interchange-r.Totals[0].Network {
		t.Errorf("%+v", r.Totals)
	}
	explain := cli("fee", "explain", "000000000001", "--date", "2026-11-20")
	explain.check(t, exitOK, "1000.00 x 3500 ppm = 3.50", "")
	explain.check(t, exitOK, "settled with", "")
	cli("fee", "explain", "000000000999", "--date", "2026-11-20").check(t, exitRefused, "", "there is no transaction 000000000999 on 2026-11-20")
	if tool, err := exec.LookPath("sha256sum"); err == nil {
		cmd := exec.Command(tool, "-c", "SHA256SUMS")
		cmd.Dir = filepath.Join(dir, "data/settlement/2026-11-20")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("sha256sum: %v\n%s", err, out)
		}
	}
	if paid := r.Totals[0].Paid; paid == 0 || paid != r.Totals[0].Net-r.Totals[0].Closing || r.Totals[0].Closing == 0 {
		t.Errorf("%+v", r.Totals)
	}
	cli("settle", "--date", "2026-11-19").check(t, exitRefused, "", "2026-11-20 is settled already")
}

// TestHoldsAndCorrections is what people decide about a settled day, and what the
// next day's run makes of it.
func TestHoldsAndCorrections(t *testing.T) {
	t.Parallel()
	dir := pastDay(t, 300)
	registry, err := testdata.Files.ReadFile("registry.yaml")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "data"), "registry.yaml", strings.ReplaceAll(string(registry), "999290054110001", "999290054110299"))
	cli := func(args ...string) result { return acqswitch(t, dir, nil, "", append(args, "--data", "data")...) }
	cli("payout", "check").check(t, exitOK, "ok ", "")
	cli("settle", "--date", "2026-11-20").check(t, exitOK, "done", "")
	cli("payout", "hold", "--by", "wang", "--reason", "alert").check(t, exitUsage, "", "--merchant must say whose")
	cli("payout", "hold", "--by", "wang", "--reason", "alert", "--merchant", "nobody").check(t, exitRefused, "", `there is no merchant "nobody"`)
	cli("payout", "hold", "--by", "wang", "--merchant", "999290054110299").check(t, exitUsage, "", "--reason must say why")
	cli("payout", "hold", "--by", "wang", "--reason", "alert", "--merchant", "999290054110299").check(t, exitOK, "1: payouts are held", "")
	propose := []string{"correction", "propose", "--by", "wang", "--reason", "no plan", "--merchant", "999290054110299", "--credit", "2100", "--amount", "1002.98", "--debit"}
	cli(append(propose, "2999")...).check(t, exitUsage, "", `--debit: account "2999" must be one of 1000 bank, 1100 issuer receivable`)
	cli(append(propose, "2900", "--currency", "XXX")...).check(t, exitUsage, "", `acqswitch: --currency: "XXX" is no ISO 4217 currency that is paid in`)
	cli(append(propose, "2900")...).check(t, exitOK, "1: proposed; another person must approve it", "")
	cli("correction", "approve", "1", "--by", "wang", "--reason", "ok").check(t, exitRefused, "", "another person must decide it")
	cli("correction", "approve", "1", "--by", "li", "--reason", "ok").check(t, exitOK, "1: approved; the next run books it", "")
	cli("settle", "--date", "2026-11-21").check(t, exitOK, "done", "")
	held, err := os.ReadFile(filepath.Join(dir, "data/settlement/2026-11-21/positions.csv"))
	if want := "1002.98,0.00,0.00,0.00,0.00,0.00,1002.98,T+1,,\"payouts are held: alert (wang"; err != nil || !strings.Contains(string(held), want) {
		t.Errorf("%v: %s", err, held)
	}
	cli("correction", "list").check(t, exitOK, "approved  li          2026-11-21", "")
	cli("payout", "release", "1", "--by", "li", "--reason", "inspected").check(t, exitOK, "2: proposed", "")
	cli("proposal", "approve", "2", "--by", "LI", "--reason", "inspected").check(t, exitRefused, "", "another person must decide it")
	cli("proposal", "approve", "2", "--by", "wang", "--reason", "seen").check(t, exitOK, "2: approved", "")
	cli("payout", "release", "1", "--by", "li", "--reason", "inspected").check(t, exitRefused, "", "hold 1 was released already")
	cli("payout", "holds").check(t, exitOK, "inspected", "")
}

// TestSettleKilled kills the process at times of its own choice, as often as it
// takes, and holds its files to those of a run that was left alone.
func TestSettleKilled(t *testing.T) {
	t.Parallel()
	const n = 10_000
	whole, broken := pastDay(t, n), filepath.Join(t.TempDir(), "broken")
	if err := os.CopyFS(broken, os.DirFS(whole)); err != nil {
		t.Fatal(err)
	}
	args := []string{"settle", "--date", "2026-11-20", "--data", "data"}
	began := time.Now()
	acqswitch(t, whole, nil, "", args...).check(t, exitOK, "done", "")
	took := time.Since(began)
	want := settledFiles(t, whole)
	for i := range 8 {
		p := start(t, broken, args...)
		time.Sleep(took * time.Duration(i+1) / 8)
		p.cmd.Process.Signal(syscall.SIGKILL) // it may have ended by itself
		<-p.ended
	}
	acqswitch(t, broken, nil, "", args...).check(t, exitOK, "done", "")
	if got := settledFiles(t, broken); !maps.Equal(got, want) {
		t.Error("the files of a run that was killed differ")
	}
}

// TestScheduledSettlement holds that a switch with a schedule settles the days that
// are due, and that calling settle besides does no harm; a metric tells for how long
// one is overdue.
func TestScheduledSettlement(t *testing.T) {
	t.Parallel()
	dir := pastDay(t, 300)
	if _, err := keys.OpenCards(filepath.Join(dir, "data", "card.keys")); err != nil { // those of the journal
		t.Fatal(err)
	}
	registry, err := testdata.Files.ReadFile("registry.yaml")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "data"), "registry.yaml", string(registry))
	write(t, dir, "acqswitch.yaml", `
data_dir: data
terminals: {listeners: [{address: "127.0.0.1:0", dialect: cup-pos}]}
batches: {close_after: 16m}
settlement: {schedule: 16m}
admin: {address: "127.0.0.1:0"}
issuers: [{name: east, address: "127.0.0.1:1", bins: ["62"], timeout: 1s}]
`)
	overdue := func(admin string) string {
		t.Helper()
		client := http.Client{Timeout: binaryWait}
		r, err := client.Get(admin + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		metrics, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(metrics)) {
			if strings.HasPrefix(line, "acq_settlement_overdue_seconds") {
				return strings.TrimSpace(line[strings.LastIndexByte(line, ' '):])
			}
		}
		t.Fatal("no metric says whether days are overdue")
		return ""
	}
	fees := filepath.Join(dir, "data", "fees.yaml")
	good, err := os.ReadFile(fees)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Dir(fees), "fees.yaml", "nonsense\n")
	server := start(t, dir, "serve")
	admin := server.await("metrics and health are on")
	for deadline := time.Now().Add(binaryWait); overdue(admin) == "0"; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a day that cannot be settled is not overdue")
		}
	}
	server.stop(syscall.SIGTERM)
	write(t, filepath.Dir(fees), "fees.yaml", string(good))
	server = start(t, dir, "serve")
	admin = server.await("metrics and health are on")
	manifest := filepath.Join(dir, "data/settlement/2026-11-20/SHA256SUMS")
	for deadline := time.Now().Add(binaryWait); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(manifest); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the day is not settled")
		}
	}
	acqswitch(t, dir, nil, "", "settle", "--date", "2026-11-20").check(t, exitOK, "Business day 2026-11-20: done", "")
	if since := overdue(admin); since != "0" {
		t.Errorf("a day is overdue for %s s", since)
	}
	server.stop(syscall.SIGTERM)
	for text, want := range map[string]string{"15m": "settlement.schedule", "24h": "settlement.schedule"} {
		write(t, dir, "bad.yaml", "settlement: {schedule: "+text+"}\n")
		acqswitch(t, dir, nil, "", "config", "check", "--config", "bad.yaml").check(t, exitUsage, "", want)
	}
}

// A day is overdue from the first try that failed until one succeeds.
func TestOverdue(t *testing.T) {
	t.Parallel()
	var o overdue
	at := time.Unix(1_800_000_000, 0)
	for _, try := range []struct {
		after, overdue int64
		err            error
	}{{0, 0, nil}, {60, 1, io.EOF}, {120, 60, io.ErrUnexpectedEOF}, {180, 0, nil}, {240, 1, io.EOF}} {
		now := at.Add(time.Duration(try.after) * time.Second)
		if o.note(try.err, now); o.seconds(now) != try.overdue {
			t.Errorf("after %d s: overdue for %d s, want %d", try.after, o.seconds(now), try.overdue)
		}
	}
}

// createdAt is when a run began, which is not the same for two.
var createdAt = regexp.MustCompile(`<CreDtTm>.*</CreDtTm>|.*  pain.001.xml`)

func settledFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	root := filepath.Join(dir, "data/settlement")
	m := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == ".lock" {
			return err
		}
		b, err := os.ReadFile(path)
		m[strings.TrimPrefix(path, root)] = createdAt.ReplaceAllString(string(b), "")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}
