package journal

import (
	"bytes"
	"hash/crc32"
	"path/filepath"
	"testing"

	"github.com/acqswitch/acqswitch/settlement/journal/memdisk"
)

// FuzzOpen puts anything behind a good segment header. Open refuses it or
// recovers a journal that reads back, takes a record, and reads back again.
func FuzzOpen(f *testing.F) {
	whole := func(first Position, count int) []byte {
		b := make([]byte, blockHeaderSize)
		for i := range count {
			rec := record(i)
			b = appendRecord(b, first+Position(i), crc32.Checksum(rec, castagnoli), rec)
		}
		putBlockHeader(b, first, count, 0)
		return b
	}
	two := append(whole(1, 3), whole(4, 2)...)
	f.Add([]byte{})
	f.Add(two)
	f.Add(two[:len(two)-5])
	f.Add(append(two[:len(two)-5:len(two)-5], whole(6, 1)...))
	f.Add(append(whole(1, 1), bytes.Repeat([]byte{0xff}, 100)...))
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) > 5_000 {
			return
		}
		s := segment{first: 1} // salt 0: the fuzzer may compute checks
		fs := memdisk.New()
		mem := append(s.header(), content...)
		mem = append(mem, make([]byte, int(tiny.SegmentSize)-len(mem))...)
		fs.Put(filepath.Join("d", segmentName(1)), mem)

		j, err := open("d", tiny, fs)
		if err != nil {
			return
		}
		last := j.Last()
		count := func(j *Journal) (n Position) {
			if err := j.Scan(1, func(Position, []byte) error { n++; return nil }); err != nil {
				t.Fatal(err)
			}
			return n
		}
		if n := count(j); n != last {
			t.Fatalf("%d records read, Last is %d", n, last)
		}
		r := start(t, "d", tiny, fs)
		if pos, err := r.Append([]byte("next")); err != nil || pos != last+1 {
			t.Fatalf("append after recovery: %d, %v", pos, err)
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		if j, err = open("d", tiny, fs); err != nil || count(j) != last+1 {
			t.Fatalf("reopened: %v", err)
		}
	})
}
