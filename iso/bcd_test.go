package iso

import (
	"strings"
	"testing"
)

// TestWordChecks compares the eight-bytes-at-a-time checks with their meaning,
// for every byte at every place of a word and of its tail.
func TestWordChecks(t *testing.T) {
	isDigit := func(x byte) bool { return x <= 9 }
	for at := range 11 {
		for v := range 256 {
			c := byte(v)
			packed := []byte("\x12\x34\x56\x78\x90\x12\x34\x56\x78\x90\x12")
			packed[at] = c
			if got, want := packedDigits(packed), isDigit(c>>4) && isDigit(c&15); got != want {
				t.Errorf("packed digits, %02X at %d: got %v", c, at, got)
			}
			digits := []byte("12345678901")
			digits[at] = c
			want := c >= '0' && c <= '9'
			if got := asciiDigits(digits); got != want {
				t.Errorf("ASCII digits, %02X at %d: got %v", c, at, got)
			}
			for _, left := range []bool{false, true} {
				if got := pack(make([]byte, 6), 0, digits, left); got != want {
					t.Errorf("pack digits, %02X at %d, left %v: got %v", c, at, left, got)
				}
			}
			if got := packTrack(make([]byte, 6), 0, digits); got != (c >= '0' && c <= '?' || c == 'D') {
				t.Errorf("pack track, %02X at %d: got %v", c, at, got)
			}
		}
	}
}

func TestPackTrackEverywhere(t *testing.T) {
	for n := range 38 {
		for at := range n {
			for _, sep := range []string{"=", "D"} {
				track := strings.Repeat("7", at) + sep + strings.Repeat("3", n-at-1)
				packed := make([]byte, (n+1)/2)
				ok := packTrack(packed, 0, []byte(track))
				got := string(appendUnpacked(nil, packed))[:n]
				if want := strings.ReplaceAll(track, "D", "="); !ok || got != want {
					t.Errorf("%q: got %q, %v", track, got, ok)
				}
			}
		}
	}
}
