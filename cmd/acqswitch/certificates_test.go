package main

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/issuer"
)

// A certificate is told of when 30, 7, 1 and no days are left, each once, and again
// when the next one comes to its end.
func TestF86CertificatesEnd(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	w := certificateWatch{slog.New(slog.NewTextHandler(&said, nil)), map[string]int{}}
	ends := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	last := ends.AddDate(1, 0, 3)
	for at := ends.AddDate(0, 0, -100); at.Before(last); at = at.Add(certificatesEvery) {
		if at.Equal(ends.AddDate(0, 0, 2)) {
			ends = ends.AddDate(1, 0, 0)
		}
		w.look([]issuer.Status{{Issuer: "east", CertificateEnds: ends}, {Issuer: "plain"}}, at)
	}
	var want strings.Builder
	for _, year := range []int{2026, 2027} {
		for _, c := range []struct {
			level string
			days  int
		}{{"WARN", 30}, {"WARN", 7}, {"ERROR", 1}, {"ERROR", 0}} {
			fmt.Fprintf(&want, "%s issuer=east ends=%d-06-01T12:00:00.000Z days=%d\n", c.level, year, c.days)
		}
	}
	var got strings.Builder
	for line := range strings.Lines(said.String()) {
		_, line, _ = strings.Cut(line, "level=")
		level, _, _ := strings.Cut(line, " ")
		_, rest, _ := strings.Cut(line, "SIGHUP\" ")
		got.WriteString(level + " " + rest)
	}
	if got.String() != want.String() {
		t.Errorf("told\n%swant\n%s", &got, &want)
	}
}
