package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

func TestMask(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"alone", "4761739001010119", "476173******0119"},
		{"13 digits", "4222222222222", "422222***2222"},
		{"19 digits", "6212345678901234569", luhnFixed("621234567890123456", func(s string) string { return s[:6] + "*********" + s[15:] })},
		{"in words", "card 4761739001010119 refused", "card 476173******0119 refused"},
		{"grouped", "4761 7390 0101 0119", "4761 73** **** 0119"},
		{"dashes", "4761-7390-0101-0119", "4761-73**-****-0119"},
		{"behind an amount", "100 4761739001010119", "100 476173******0119"},
		{"before a date", "4761739001010119 2026-11-22", "476173******0119 2026-11-22"},
		{"track 2", "4761739001010119=25121010000012345678?", "476173******0119=********************?"},
		{"track 2 in hex", "4761739001010119D2512101", "476173******0119D*******"},
		{"two", "4761739001010119,4222222222222", "476173******0119,422222***2222"},
		{"over 19 digits", "12345678901234567890", "123456**********7890"},
		{"a file of the journal", "00000000000000000061.seg", "00000000000000000061.seg"},
		{"behind zeros", "000000004761739001010119", "000000**************0119"},
		{"no check digit", "4761739001010118", "4761739001010118"},
		{"12 digits", "632608000042", "632608000042"},
		{"masked already", "476173******0119", "476173******0119"},
		{"none", "sale approved", "sale approved"},
		{"empty", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := c.in
			if c.name == "19 digits" {
				in = luhnFixed("621234567890123456", func(s string) string { return s })
			}
			if got := Mask(in); got != c.want {
				t.Errorf("Mask(%q) = %q, want %q", in, got, c.want)
			}
		})
	}
}

// luhnFixed appends the check digit to s.
func luhnFixed(s string, f func(string) string) string {
	for d := '0'; ; d++ {
		if txn.Luhn([]byte(s + string(d))) {
			return f(s + string(d))
		}
	}
}

var digits = regexp.MustCompile(`[0-9]{13,}`)

func leaks(s string) bool {
	for _, run := range digits.FindAllString(s, -1) {
		if len(run) > 19 && !small(run) || len(run) <= 19 && txn.Luhn(together(run)) {
			return true
		}
	}
	return false
}

func FuzzMask(f *testing.F) {
	f.Add("card 4761739001010119=2512101")
	f.Add("4761 7390-0101 01194761739001010119")
	f.Fuzz(func(t *testing.T, s string) {
		masked := Mask(s)
		if leaks(masked) || len(masked) != len(s) {
			t.Errorf("Mask(%q) = %q", s, masked)
		}
	})
}

type textError struct{ s string }

func (e textError) Error() string { return e.s }

type card struct {
	Number string
	Next   *card
}

func TestF88LoggerMasksEverywhere(t *testing.T) {
	nested := card{"1", &card{plantedPAN, nil}}
	for _, format := range []string{"json", "text"} {
		var out bytes.Buffer
		log, err := Logger(&out, slog.LevelInfo, format)
		if err != nil {
			t.Fatal(err)
		}
		log.Debug("below the level " + plantedPAN)
		log.With("bound", plantedPAN).WithGroup("g").Info("message "+plantedPAN,
			"string", plantedPAN, "error", textError{plantedPAN}, "wrapped", fmt.Errorf("bad card: %w", errors.New(plantedPAN)),
			"bytes", []byte(plantedPAN), "struct", card{plantedPAN, nil}, "pointer", &nested, "map", map[string]string{"a": plantedPAN},
			"raw", json.RawMessage(`"`+plantedPAN+`"`), slog.Group("group", "deep", plantedPAN), "id", uint64(4761739001010118), "nothing", nil, "took", 1500*time.Millisecond)
		line := out.String()
		if leaks(strings.ReplaceAll(line, "4761739001010118", "")) {
			t.Errorf("%s: %s", format, line)
		}
		if n := strings.Count(line, "476173******0119"); n < 9 {
			t.Errorf("%s: %d masked numbers: %s", format, n, line)
		}
		if format == "json" && !json.Valid(out.Bytes()) {
			t.Errorf("not JSON: %s", line)
		}
		if !strings.Contains(line, map[string]string{"json": `"took":"1.5s"`, "text": "took=1.5s"}[format]) {
			t.Errorf("%s: a duration without its unit: %s", format, line)
		}
		if strings.Contains(line, "below the level") {
			t.Error("the level is ignored")
		}
	}
}
