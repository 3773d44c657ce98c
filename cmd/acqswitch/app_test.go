package main

import (
	"testing"

	"github.com/acqswitch/acqswitch/switch/issuer"
)

func TestTerminalsLeaveFilesForTheJournal(t *testing.T) {
	two := []issuer.Config{{Connections: 3}, {}} // the second one's default is 1
	for _, c := range []struct {
		files uint64
		want  int
	}{
		{20_000, 20_000 - filesKept - 8},
		{1024, 1024 - filesKept - 8},
		{filesKept + 9, 1},
		{10, 1},
		{1<<64 - 1, 1<<31 - 1}, // no limit
	} {
		if got := sessionsWithin(c.files, two); got != c.want {
			t.Errorf("%d files have room for %d terminals, want %d", c.files, got, c.want)
		}
	}
}
