package txn

import "testing"

func TestCardTable(t *testing.T) {
	table, problems := ParseCardTable([]byte("\uFEFFprefix,card\n# ours\n622202,debit\n62220,credit\n6225,prepaid\r\n"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for number, want := range map[string]CardType{"6222020000000000": CardDebit, "6222050000000000": CardCredit, "6225990000000000": CardPrepaid, "4000000000000000": CardUnknown} {
		pan, err := ParsePAN(number)
		if err != nil {
			t.Fatal(err)
		}
		if got := table.TypeOf(&pan); got != want {
			t.Errorf("%s is %s, want %s", number, got, want)
		}
		if n := testing.AllocsPerRun(100, func() { table.TypeOf(&pan) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
	if got := table.TypeOf(&PAN{}); got != CardUnknown {
		t.Errorf("no card is %s", got)
	}
	for text, line := range map[string]int{"": 0, "bin,card\n": 1, "prefix,card\n6222021,debit\n": 2, "prefix,card\n62,debit\n62,credit\n": 3, "prefix,card\n62,gold\n": 2} {
		if _, problems := ParseCardTable([]byte(text)); len(problems) != 1 || problems[0].Line != line {
			t.Errorf("%q: %v", text, problems)
		}
	}
}

// FuzzParseCardTable: no table makes it panic, and what it reads without a
// problem can be asked.
func FuzzParseCardTable(f *testing.F) {
	f.Add([]byte("prefix,card\n622202,debit\n,credit\n"))
	f.Add([]byte("prefix,card\n,,\n#"))
	f.Fuzz(func(t *testing.T, text []byte) {
		table, problems := ParseCardTable(text)
		if len(problems) == 0 {
			table.Type([]byte("622202******0000"))
		}
	})
}
