package terminal

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Cut at any byte, a store is that of the facts that were whole; a damaged line
// is an error.
func TestStoreTornAnywhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "terminal")
	s, err := OpenStore(path)
	if err != nil {
		t.Fatal(err)
	}
	var ends []int
	for _, f := range []fact{
		{Event: sent, Kind: "sale", STAN: 7, Batch: 1, Amount: 5, Frame: s.keep([]byte("request"))},
		{Event: answered, Kind: "sale", STAN: 7, Batch: 1, Amount: 5, Code: "00"},
		{Event: sent, Kind: "sale", STAN: 8, Batch: 1, Amount: 6},
	} {
		if err := s.note(f.Event, f); err != nil {
			t.Fatal(err)
		}
		text, _ := os.ReadFile(path)
		ends = append(ends, len(text))
	}
	s.Close()
	if s.note(sent, fact{}) == nil {
		t.Error("a closed store took a fact")
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(whole) + 1 {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := OpenStore(path)
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		stan, owed, items := uint32(0), uint32(0), 0
		if n >= ends[0] {
			stan, owed = 7, 7
		}
		if n >= ends[1] {
			owed, items = 0, 1
		}
		if n >= ends[2] {
			stan, owed = 8, 8
		}
		got := uint32(0)
		if s.owed != nil {
			got = s.owed.STAN
		}
		if s.stan != stan || got != owed || len(s.items) != items {
			t.Fatalf("cut at %d: STAN %d, %d owed, %d items", n, s.stan, got, len(s.items))
		}
		if items > 0 {
			if frame, err := s.frame(s.items[0].Frame); err != nil || string(frame) != "request" {
				t.Fatalf("cut at %d: %q, %v", n, frame, err)
			}
		}
		s.Close()
	}
	if err := os.WriteFile(path, append([]byte("no fact\n"), whole...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(path); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("a damaged store was opened: %v", err)
	}
}

// A kept request opens under its own key alone.
func TestKeptRequestsAreSealed(t *testing.T) {
	a, b := NewStore(), NewStore()
	sealed := a.keep([]byte("9999010000000014"))
	if bytes.Contains(sealed, []byte("9999")) {
		t.Error("it is kept in clear")
	}
	if _, err := b.frame(sealed); err == nil {
		t.Error("it opens under another key")
	}
	for n := range sealed {
		if _, err := a.frame(sealed[:n]); err == nil {
			t.Errorf("it opens cut at %d", n)
		}
	}
	path := filepath.Join(t.TempDir(), "terminal")
	if err := os.WriteFile(path+".key", []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(path); err == nil || !strings.Contains(err.Error(), "must have 32") {
		t.Errorf("a store with a bad key was opened: %v", err)
	}
}

// What each fact does to what a terminal owes and has; rows say the facts since
// an empty memory.
func TestMemory(t *testing.T) {
	const own = ""
	f := func(e event, kind string, stan uint32, code string) fact {
		return fact{Event: e, Kind: kind, STAN: stan, Batch: 1, Amount: 10, Code: code}
	}
	for _, row := range []struct {
		name          string
		facts         []fact
		stan, owed    uint32
		reason        string
		told, scripts int
		debits        uint32
		credits       uint32
	}{
		{"nothing", nil, 0, 0, "", 0, 0, 0, 0},
		{"sale sent", []fact{f(sent, "sale", 7, own)}, 7, 7, "98", 0, 0, 0, 0},
		{"sale answered with a wrong MAC", []fact{f(sent, "sale", 7, own), f(failed, "sale", 7, "A0")}, 7, 7, "A0", 0, 0, 0, 0},
		{"sale approved", []fact{f(sent, "sale", 7, own), f(answered, "sale", 7, "00")}, 7, 0, "", 0, 0, 1, 0},
		{"sale refused", []fact{f(sent, "sale", 7, own), f(answered, "sale", 7, "51")}, 7, 0, "", 0, 0, 0, 0},
		{"sale told to sign on", []fact{f(sent, "sale", 7, own), f(answered, "sale", 7, "A0")}, 7, 0, "", 0, 0, 0, 0},
		{"balance sent", []fact{f(sent, "balance", 7, own)}, 7, 0, "", 0, 0, 0, 0},
		{"preauth approved", []fact{f(sent, "preauth", 7, own), f(answered, "preauth", 7, "00")}, 7, 0, "", 0, 0, 0, 0},
		{"voided", []fact{f(sent, "sale", 7, own), f(answered, "sale", 7, "00"), f(sent, "void", 8, own), f(answered, "void", 8, "00")}, 8, 0, "", 0, 0, 1, 1},
		{"reversed before an answer", []fact{f(sent, "sale", 7, own), f(sent, "reversal", 7, own), f(answered, "reversal", 7, "00")}, 7, 0, "", 0, 0, 0, 0},
		{"reversal refused", []fact{f(sent, "sale", 7, own), f(sent, "reversal", 7, own), f(answered, "reversal", 7, "25")}, 7, 0, "", 0, 0, 0, 0},
		{"reversal told to sign on", []fact{f(sent, "sale", 7, own), f(sent, "reversal", 7, own), f(answered, "reversal", 7, "77")}, 7, 7, "98", 0, 0, 0, 0},
		{"reversal without an answer keeps its reason", []fact{f(sent, "sale", 7, own), f(sent, "reversal", 7, own), f(failed, "reversal", 7, "A0")}, 7, 7, "98", 0, 0, 0, 0},
		{"approved, then reversed", []fact{f(sent, "sale", 7, own), f(answered, "sale", 7, "00"), f(sent, "reversal", 7, own), f(answered, "reversal", 7, "00")}, 7, 0, "", 0, 0, 0, 0},
		{"approved, reversal not answered", []fact{f(sent, "sale", 7, own), f(answered, "sale", 7, "00"), f(sent, "reversal", 7, own)}, 7, 7, "", 0, 0, 1, 0},
		{"refund not answered is repeated", []fact{f(sent, "refund", 7, own)}, 7, 0, "", 1, 0, 0, 0},
		{"refund answered later", []fact{f(sent, "refund", 7, own), f(sent, "sale", 8, own), f(answered, "sale", 8, "00"), f(sent, "refund", 7, own), f(answered, "refund", 7, "00")}, 8, 0, "", 0, 0, 1, 1},
		{"refund told to sign on", []fact{f(sent, "refund", 7, own), f(answered, "refund", 7, "77")}, 7, 0, "", 1, 0, 0, 0},
		{"refund given up", []fact{f(sent, "refund", 7, own), f(answered, "refund", 7, "77"), f(dropped, "refund", 7, "77")}, 7, 0, "", 0, 0, 0, 0},
		{"tip noted is a fact", []fact{f(kept, "tip", 7, own)}, 7, 0, "", 1, 0, 1, 0},
		{"tip taken note of", []fact{f(kept, "tip", 7, own), f(sent, "tip", 7, own), f(answered, "tip", 7, "00")}, 7, 0, "", 0, 0, 1, 0},
		{"tip that came before", []fact{f(kept, "tip", 7, own), f(sent, "tip", 7, own), f(answered, "tip", 7, "94")}, 7, 0, "", 0, 0, 1, 0},
		{"tip refused is none", []fact{f(kept, "tip", 7, own), f(sent, "tip", 7, own), f(answered, "tip", 7, "64")}, 7, 0, "", 0, 0, 0, 0},
		{"tip told to sign on", []fact{f(kept, "tip", 7, own), f(sent, "tip", 7, own), f(answered, "tip", 7, "A0")}, 7, 0, "", 1, 0, 1, 0},
		{"tip while the issuer is away", []fact{f(kept, "tip", 7, own), f(sent, "tip", 7, own), f(answered, "tip", 7, "91")}, 7, 0, "", 1, 0, 1, 0},
		{"script's result", []fact{f(kept, "script-result", 7, own)}, 7, 0, "", 0, 1, 0, 0},
		{"script's result told", []fact{f(kept, "script-result", 7, own), f(sent, "script-result", 7, own), f(answered, "script-result", 7, "00")}, 7, 0, "", 0, 0, 0, 0},
		{"next batch", []fact{f(sent, "sale", 7, own), f(answered, "sale", 7, "00"), f(kept, "tip", 8, own), {Event: opened, Batch: 2}}, 8, 0, "", 1, 0, 0, 0},
		{"number wraps", []fact{f(sent, "sale", txn.STANMax, own), f(answered, "sale", txn.STANMax, "00"), f(sent, "sale", 1, own)}, 1, 1, "98", 0, 0, 1, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			var m memory
			for i := range row.facts {
				m.apply(&row.facts[i])
			}
			owed, reason := uint32(0), ""
			if m.owed != nil {
				owed, reason = m.owed.STAN, m.owed.Code
			}
			totals := m.totals()
			if m.stan != row.stan || owed != row.owed || reason != row.reason || len(m.told) != row.told || len(m.scripts) != row.scripts ||
				totals.Debit.Count != row.debits || totals.Credit.Count != row.credits {
				t.Errorf("STAN %d, owed %d for %q, %d told, %d scripts, %+v", m.stan, owed, reason, len(m.told), len(m.scripts), totals)
			}
		})
	}
}

// FuzzStore opens a store of any bytes: it is taken up or refused, and what is
// taken up takes facts.
func FuzzStore(f *testing.F) {
	f.Add([]byte(`{"event":"sent","kind":"sale","stan":7,"batch":1,"amount":5}` + "\n"))
	f.Add([]byte(`{"event":"answered","kind":"upload","stan":7,"batch":1,"network":202,"code":"00"}` + "\n" + `{"event":"sent"`))
	f.Add([]byte(`{"event":"answered","kind":"settlement","totals":"1"}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "terminal")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := OpenStore(path)
		if err != nil {
			return
		}
		defer s.Close()
		if err := s.note(sent, fact{Kind: "sale", STAN: 1}); err != nil {
			t.Error(err)
		}
		s.totals()
	})
}
