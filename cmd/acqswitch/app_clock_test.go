package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/settlement/ledger"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/testdata"
)

// machine is a clock that people put right and wrong.
type machine struct {
	right time.Time     // what passes
	off   time.Duration // by how much the machine's clock is wrong
}

func (m *machine) on(c *clock) {
	began := m.right
	c.wall, c.up, c.off = m.right.Add(m.off), 0, 0
	c.read = func() (time.Time, time.Duration) { return m.right.Add(m.off), m.right.Sub(began) }
}

// What can be believed of a clock that is put ahead and back: each row is a while later,
// and says by how much the clock is wrong then.
func TestClockIsBelieved(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	m := &machine{right: began}
	var said bytes.Buffer
	c := newClock(slog.New(slog.NewTextHandler(&said, nil)))
	m.on(c)
	const day = 24 * time.Hour
	for i, row := range []struct {
		passed, off time.Duration
		believed    time.Duration // by how much what is believed is off
		says        string
	}{
		{0, 0, 0, ""},
		{time.Hour, 2 * time.Second, 2 * time.Second, ""},                     // the network's corrections
		{time.Hour, clockStep + 2*time.Second, clockStep + 2*time.Second, ""}, // the most that is believed at once
		{time.Hour, 2 * clockStep, 2 * clockStep, ""},                         // and again, a little later
		{time.Minute, 0, 0, "was put ahead or back"},                          // back by more
		{day, 0, 0, "has stood so for a day"},                                 // which is right
		{time.Minute, 3 * day, 0, "was put ahead or back"},                    // days ahead
		{day - time.Minute, 3 * day, 0, ""},                                   // said once
		{30 * time.Second, 3*day + time.Minute, 0, ""},                        // about where it was
		{time.Second, 5 * day, 0, "was put ahead or back"},                    // and further
		{day - time.Second, 5 * day, 0, ""},                                   // it counts from then
		{time.Second, -day, -day, "was put ahead or back"},                    // the earlier one, always
		{time.Minute, 0, 0, "is right again"},                                 //
		{time.Minute, 3 * day, 0, "was put ahead or back"},                    // once more
		{day, 3 * day, 3 * day, "has stood so for a day"},                     // nobody put it back
		{time.Hour, 3 * day, 3 * day, ""},                                     //
	} {
		m.right, m.off = m.right.Add(row.passed), row.off
		said.Reset()
		if got := c.now().Sub(m.right); got != row.believed {
			t.Errorf("row %d: what is believed is off by %v, want %v", i, got, row.believed)
		}
		if row.says == "" && said.Len() > 0 || !strings.Contains(said.String(), row.says) {
			t.Errorf("row %d: it says %q, want %q", i, said.String(), row.says)
		}
	}
}

// A switch does not begin before the clock was set, and says that it is behind the journal.
func TestF74ClockAtTheStart(t *testing.T) {
	t.Parallel()
	m := &machine{right: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	var said bytes.Buffer
	c := newClock(slog.New(slog.NewTextHandler(&said, nil)))
	m.on(c)
	if err := c.set(); err != nil {
		t.Error(err)
	}
	c.follows(m.right.Add(-time.Hour))
	if c.now(); said.Len() > 0 {
		t.Error(&said)
	}
	m.off = -3 * 24 * time.Hour
	m.on(c)
	c.follows(m.right)
	if got := c.now(); !got.Equal(m.right.Add(m.off)) || c.wrongBy() != m.off || !strings.Contains(said.String(), "was put ahead or back") {
		t.Errorf("three days behind the journal it is %v, off by %v, and says %q", got, c.wrongBy(), &said)
	}
	m.off = 0
	if got := c.now(); !got.Equal(m.right) || !strings.Contains(said.String(), "is right again") {
		t.Errorf("put right it is %v and says %q", got, &said)
	}
	m.right = time.Unix(0, 0)
	if err := c.set(); err == nil || err.Error() != "the clock of this machine says 1970-01-01 00:00:00: set it first" {
		t.Errorf("never set: %v", err)
	}
}

// appIn is a small switch of a directory whose data directory is there.
func appIn(t *testing.T, dir string) *app {
	t.Helper()
	data := filepath.Join(dir, "data")
	if _, err := keys.OpenCards(filepath.Join(data, "card.keys")); err != nil {
		t.Fatal(err)
	}
	registry, err := testdata.Files.ReadFile("registry.yaml")
	if err != nil {
		t.Fatal(err)
	}
	write(t, data, "registry.yaml", string(registry))
	cfg, err := loadConfig(write(t, dir, "acqswitch.yaml", fmt.Sprintf(`
data_dir: %q
terminals: {listeners: [{address: "127.0.0.1:0", dialect: cup-pos}]}
settlement: {schedule: 1h}
admin: {address: ""}
issuers: [{name: east, address: "127.0.0.1:1", bins: ["62"], timeout: 1s}]
`, data)), nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := newApp(cfg, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// A clock that is put days ahead and back settles no day that is not over; none is left
// out, and none settled again.
func TestF74ClockIsPutAheadOfSettlement(t *testing.T) {
	t.Parallel()
	dir := pastDay(t, 300)
	a := appIn(t, dir)
	running := newStages()
	defer func() {
		if err := both(running.stop(0), a.close()); err != nil {
			t.Error(err)
		}
	}()
	running.start(t.Context(), "journal", a.journal.Run)
	if _, err := a.acquirer.Recover(); err != nil {
		t.Fatal(err)
	}
	running.start(t.Context(), "ledger", a.runDrain)
	var said bytes.Buffer
	a.clock.log = slog.New(slog.NewTextHandler(&said, nil))
	shanghai := time.FixedZone("", 8*3600)
	m := &machine{right: time.Date(2026, 11, 20, 12, 0, 0, 0, shanghai)}
	m.on(a.clock)

	id := txn.ID(1000)
	sell := func(day txn.Date) {
		t.Helper()
		id++
		r := &txn.Record{Kind: txn.RecordOutcome, ID: id, At: m.right.Add(m.off), Request: txn.KindSale,
			Key:      txn.Key{Acquirer: 1, Terminal: txn.MakeTerminalID("10000001"), Batch: 1, STAN: uint32(id), Class: txn.ClassFinancial},
			Merchant: txn.MakeMerchantID("999290054110001"), MCC: 5411, Amount: txn.Amount{Minor: 100_00, Currency: txn.CNY},
			Day: day, Leg: txn.Leg{Issuer: txn.MakeIssuerID("east"), STAN: uint32(id)}, Outcome: txn.OutcomeApproved, Code: [2]byte{'0', '0'}}
		copy(r.Masked[:], "622202*********0128")
		copy(r.Leg.Time[:], r.At.Format("0102150405"))
		copy(r.RRN[:], fmt.Sprintf("%012d", id))
		if _, err := a.journal.Append(r.Append(nil)); err != nil {
			t.Fatal(err)
		}
		if err := a.drain.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	settled := func() (days []txn.Date) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), binaryWait)
		defer cancel()
		if err := a.settleDue(ctx); err != nil {
			t.Fatal(err)
		}
		runs, err := a.ledger.Runs(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range runs {
			if r.State != ledger.RunDone {
				t.Errorf("the run of %s has not ended", r.Day)
			}
			days = append(days, r.Day)
		}
		return days
	}
	const days = 24 * time.Hour
	at := func(day, hour int) time.Time { return time.Date(2026, 11, day, hour, 1, 0, 0, shanghai) }
	for _, row := range []struct {
		name  string
		right time.Time
		off   time.Duration
		sell  txn.Date // as the machine's clock dates it; 0: nothing
		want  []txn.Date
	}{
		{"the day goes on", at(20, 13), 0, 20261120, nil},
		{"days ahead", at(20, 14), 3 * days, 20261123, nil},
		{"for hours", at(20, 20), 3 * days, 20261123, nil},
		{"and back", at(20, 21), 0, 20261120, nil},
		{"the day is over, and not due", at(20, 23), 0, 20261121, nil},
		{"it is due", at(21, 0), 0, 20261121, []txn.Date{20261120}},
		{"days back", at(21, 12), -3 * days, 20261118, []txn.Date{20261120}},
		{"over the cut-over", at(22, 0), -3 * days, 20261118, []txn.Date{20261120}},
		{"and right again", at(22, 1), 0, 20261122, []txn.Date{20261120, 20261121}},
		{"ahead, over a cut-over", at(22, 20), 2 * days, 20261124, []txn.Date{20261120, 20261121}},
		{"a day that is over is settled", at(23, 1), 2 * days, 20261125, []txn.Date{20261120, 20261121, 20261122}},
		{"back", at(23, 12), 0, 20261123, []txn.Date{20261120, 20261121, 20261122}},
		{"its sales of before are there", at(24, 1), 0, 20261124, []txn.Date{20261120, 20261121, 20261122, 20261123}},
		{"a machine that slept", at(24, 2), 2 * days, 20261126, []txn.Date{20261120, 20261121, 20261122, 20261123}},
		{"is right after a day", at(25, 3), 2 * days, 20261127, []txn.Date{20261120, 20261121, 20261122, 20261123, 20261124, 20261125, 20261126}},
	} {
		m.right, m.off = row.right, row.off
		if row.sell != 0 {
			sell(row.sell)
		}
		if got := settled(); !slices.Equal(got, row.want) {
			t.Fatalf("%s: settled are %v, want %v", row.name, got, row.want)
		}
	}
	if n := strings.Count(said.String(), "level=ERROR"); n != 4 {
		t.Errorf("%d alerts, want 4:\n%s", n, &said)
	}
	listed := 0
	for _, day := range settled() {
		listed += strings.Count(read(t, filepath.Join(a.cfg.DataDir, "settlement", day.String(), "statements.csv")), "\n") - 1
	}
	if want := 300 + int(id) - 1000 - 1; listed != want { // all but the last, of a day that goes on
		t.Errorf("%d transactions are settled, want %d", listed, want)
	}

	m.right, m.off = time.Now().Add(-400*days), 0
	m.on(a.clock)
	req := txn.Request{Kind: txn.KindEcho, Received: time.Now()}
	a.acquirer.Authorize(&req, new(txn.Answer))
	business, err := a.cfg.businessDay()
	if err != nil {
		t.Fatal(err)
	}
	if want := business.Of(m.right.Add(days)); req.Day != want {
		t.Errorf("while the clock is 400 days ahead of what is believed a request is dated %s, want %s", req.Day, want)
	}
}
