package main

import (
	"testing"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// FuzzParseRequest holds that no description panics, and that what is read is a
// request that can be judged.
func FuzzParseRequest(f *testing.F) {
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseRequest(text, "x")
		if err != nil {
			return
		}
		if !r.Request.Forwarded() || r.Amount.Minor < 0 || r.Amount.Minor > txn.AmountMax || r.At.IsZero() || r.CardType.String() == "invalid" {
			t.Fatalf("%+v", r)
		}
	})
}
