package terminal

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// DE62 of downloads as terminals cut it, and what they do not believe.
func TestSplitDownloads(t *testing.T) {
	for _, row := range []struct {
		name string
		take Download
		de62 string
		want []string // nil: a wrong answer
	}{
		{"parameters", TakeParameters, "1160133", []string{"1160", "133"}},
		{"no parameters", TakeParameters, "", []string{}},
		{"parameter cut off", TakeParameters, "116", nil},
		{"parameter nobody knows", TakeParameters, "2701", nil},
		{"no tag", TakeParameters, "1", nil},
		{"contactless", TakeContactless, "FF80540011FF803A003010", []string{"FF80540011", "FF803A003010"}},
		{"contactless cut off", TakeContactless, "FF803A00301", nil},
		{"no length", TakeContactless, "FF803A0-1", nil},
		{"names", TakeCAPKs, "\x9F\x06\x01\xA0\x9F\x22\x01\x02\xDF\x05\x01\x20\x9F\x06\x01\xA1", []string{"\x9F\x06\x01\xA0\x9F\x22\x01\x02", "\x9F\x06\x01\xA1"}},
		{"name cut off", TakeCAPKs, "\x9F\x06\x02\xA0", nil},
		{"length of two bytes", TakeAIDs, "\xDF\x02\x81\x01\x00", []string{}},
		{"length of three bytes", TakeAIDs, "\xDF\x02\x82\x00\x01\x00", nil},
	} {
		got, err := splitDE62(row.take, []byte(row.de62))
		var wrong *WrongAnswerError
		if row.want == nil {
			if !errors.As(err, &wrong) {
				t.Errorf("%s: got %q, %v", row.name, got, err)
			}
			continue
		}
		if err != nil || !slices.EqualFunc(got, row.want, func(a []byte, b string) bool { return string(a) == b }) {
			t.Errorf("%s: got %q, %v, want %q", row.name, got, err, row.want)
		}
	}
}

func splitDE62(d Download, b []byte) ([][]byte, error) {
	if d == TakeCAPKs || d == TakeAIDs {
		return splitNames(nil, b)
	}
	return splitText(d, b)
}

func FuzzSplitDownloads(f *testing.F) {
	f.Add(uint8(TakeParameters), []byte("1160133"))
	f.Add(uint8(TakeContactless), []byte("FF80540011FF803A003010"))
	f.Add(uint8(TakeCAPKs), []byte("\x9F\x06\x01\xA0\x9F\x22\x01\x02\xDF\x02\x81\x01\x00"))
	f.Add(uint8(TakeAIDs), []byte("\x9F\x06\xFF"))
	f.Fuzz(func(t *testing.T, take uint8, de62 []byte) {
		d := Download(int(take) % len(downloads))
		before := bytes.Clone(de62)
		items, err := splitDE62(d, de62)
		if !bytes.Equal(before, de62) {
			t.Fatal("the answer's bytes were changed")
		}
		if err != nil || d == TakeCAPKs || d == TakeAIDs {
			return
		}
		if got := bytes.Join(items, nil); !bytes.Equal(got, de62) {
			t.Fatalf("items %X of %X", got, de62)
		}
	})
}
