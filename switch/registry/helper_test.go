package registry

import (
	"slices"
	"testing"
)

func mustEqual(t *testing.T, a, b *Snapshot) {
	t.Helper()
	if !slices.Equal(a.circles, b.circles) || !slices.Equal(a.merchants, b.merchants) || !slices.Equal(a.terminals, b.terminals) || !slices.Equal(a.serials, b.serials) {
		t.Fatalf("\n%+v\n%+v", a, b)
	}
}
