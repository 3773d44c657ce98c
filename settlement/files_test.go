package settlement

import "testing"

func TestCellsAreNoFormulas(t *testing.T) {
	for text, want := range map[string]string{
		"":                    "",
		"Bund Books":          "Bund Books",
		"-12.50":              "-12.50",
		"+7":                  "+7",
		"=HYPERLINK(\"x\")":   "'=HYPERLINK(\"x\")",
		"+cmd|calc!A0":        "'+cmd|calc!A0",
		"@SUM(A1)":            "'@SUM(A1)",
		"-1+cmd|' /C calc'!A": "'-1+cmd|' /C calc'!A",
	} {
		if got := cell(text); got != want {
			t.Errorf("%q is written %q, want %q", text, got, want)
		}
	}
}
