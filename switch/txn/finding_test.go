package txn

import (
	"fmt"
	"testing"
)

func TestRuleNames(t *testing.T) {
	for r, want := range map[Rule]string{
		MakeRule('T', 11): "T11",
		MakeRule('S', 6):  "S06",
		RuleCustom + 7:    "C1007",
		0:                 "C0",
	} {
		if got := r.String(); got != want {
			t.Errorf("rule %d is named %s, want %s", r, got, want)
		}
		if back, err := ParseRule(want); err != nil || back != r {
			t.Errorf("%s is read as rule %d (%v), want %d", want, back, err, r)
		}
	}
}

func TestRuleNamesThatAreNone(t *testing.T) {
	for _, s := range []string{"", "T", "T1", "T111", "X01", "C", "C01000", "C70000", "T+1", "t11"} {
		if r, err := ParseRule(s); err == nil {
			t.Errorf("%q is read as rule %s", s, r)
		}
	}
}

func TestHeavyFindingsStay(t *testing.T) {
	var f Findings
	for i := range FindingsMax {
		f.Add(Finding{Rule: RuleCustom + Rule(i), Action: ActionAlert, Shadow: i == 3})
	}
	f.Add(Finding{Rule: 111, Action: ActionRefuse})
	f.Add(Finding{Rule: 112, Action: ActionAlert})
	f.Add(Finding{Rule: 113, Action: ActionRefuse, Shadow: true})
	var got []string
	for x := range f.All() {
		got = append(got, x.Rule.String())
	}
	if want := "[C1000 C1001 C1002 T11 C1004 C1005 C1006 C1007]"; fmt.Sprint(got) != want {
		t.Errorf("kept %v, want %s", got, want)
	}
}
