package fleet

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestLogMemory(t *testing.T) {
	sale := func(step int, stan uint32) Event {
		return Event{Terminal: "T", Step: step, Kind: "sale", MTI: "0200", STAN: stan, Batch: 1}
	}
	reversal := func(step int, stan uint32) Event {
		return Event{Terminal: "T", Step: step, Kind: "reversal", MTI: "0400", STAN: stan, Batch: 1}
	}
	echo := Event{Terminal: "T", Step: 3, Kind: "echo", MTI: "0820"}
	sent := func(e Event) Event { e.Event = EventSent; return e }
	told := func(e Event, code string) Event { e.Event = EventAnswered; e.Code = code; return e }
	answered := func(e Event) Event { return told(e, "00") }
	for _, row := range []struct {
		name   string
		events []Event
		next   int
		stan   uint32
		owed   uint32
	}{
		{"nothing", nil, 0, 0, 0},
		{"sale without an answer", []Event{sent(sale(0, 7))}, 1, 7, 7},
		{"sale answered", []Event{sent(sale(0, 7)), answered(sale(0, 7))}, 1, 7, 0},
		{"echo without an answer", []Event{sent(echo)}, 4, 0, 0},
		{"sale reversed later", []Event{sent(sale(0, 7)), sent(reversal(0, 7)), answered(reversal(0, 7))}, 1, 7, 0},
		{"reversal without an answer", []Event{sent(sale(0, 7)), answered(sale(0, 7)), sent(reversal(1, 7))}, 2, 7, 7},
		{"reversal told to sign on", []Event{sent(sale(0, 7)), sent(reversal(0, 7)), told(reversal(0, 7), "77"), told(reversal(0, 7), "A0")}, 1, 7, 7},
		{"reversal refused", []Event{sent(sale(0, 7)), sent(reversal(0, 7)), told(reversal(0, 7), "25")}, 1, 7, 0},
		{"sale told to sign on", []Event{sent(sale(0, 7)), told(sale(0, 7), "A0")}, 1, 7, 0},
		{"answer of another number", []Event{sent(sale(0, 7)), answered(sale(0, 6))}, 1, 7, 7},
		{"outside of a day", []Event{sent(sale(-1, 9)), answered(sale(-1, 9))}, 0, 9, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log")
			l, err := OpenLog(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range row.events {
				add := l.Sent
				if e.Event == EventAnswered {
					add = l.Answered
				}
				if err := add(e); err != nil {
					t.Fatal(err)
				}
			}
			check := func(l *Log) {
				t.Helper()
				m := l.memory("T")
				owed := uint32(0)
				if m.Owed != nil {
					owed = m.Owed.STAN
				}
				if m.Next != row.next || m.STAN != row.stan || owed != row.owed {
					t.Errorf("next %d, STAN %d, owed %d", m.Next, m.STAN, owed)
				}
			}
			check(l)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if l.Sent(echo) == nil {
				t.Error("a closed log took an event")
			}
			if l, err = OpenLog(path); err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			check(l)
		})
	}
}

// Cut at any byte, a log is a log of the events that were whole.
func TestLogTornAnywhere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	l, err := OpenLog(path)
	if err != nil {
		t.Fatal(err)
	}
	var ends []int64
	for i := range 3 {
		if err := l.Sent(Event{Terminal: "T", Step: i, Kind: "sale", STAN: uint32(i + 1)}); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, info.Size())
	}
	l.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all, err := ReadLog(path)
	if err != nil || len(all) != 3 {
		t.Fatal(all, err)
	}
	for n := range len(whole) {
		want := 0
		for want < len(ends) && ends[want] <= int64(n) {
			want++
		}
		torn := filepath.Join(dir, "torn")
		if err := os.WriteFile(torn, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := OpenLog(torn)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Sent(Event{Terminal: "T", Step: 9, Kind: "echo"}); err != nil {
			t.Fatal(err)
		}
		l.Close()
		got, err := ReadLog(torn)
		if err != nil || len(got) != want+1 || !reflect.DeepEqual(got[:want], all[:want]) {
			t.Fatalf("cut at %d: %+v, %v", n, got, err)
		}
	}
	if err := os.WriteFile(path, append([]byte("no event\n"), whole...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLog(path); err == nil {
		t.Error("a damaged log was opened")
	}
}
