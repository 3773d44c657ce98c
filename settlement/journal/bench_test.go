package journal

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// recordSize is that of a sale's record.
const recordSize = 400

func BenchmarkAppend(b *testing.B) {
	for _, appenders := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("appenders=%d", appenders), func(b *testing.B) {
			var flushes atomic.Int64
			j := start(b, b.TempDir(), Config{OnFlush: func(int, int, time.Duration) { flushes.Add(1) }}, osFileSystem{})
			rec := make([]byte, recordSize)
			b.SetBytes(recordSize)
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for w := range appenders {
				n := b.N / appenders
				if w < b.N%appenders {
					n++
				}
				wg.Go(func() {
					for range n {
						if _, err := j.Append(rec); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(b.N)/float64(flushes.Load()), "records/flush")
		})
	}
}

// BenchmarkScan reads a million records back: as after a restart, from the
// page cache.
func BenchmarkScan(b *testing.B) {
	j := start(b, b.TempDir(), Config{}, osFileSystem{})
	const records = 1_000_000
	fill(b, j.Journal, records)
	for b.Loop() {
		n := 0
		if err := j.Scan(1, func(Position, []byte) error { n++; return nil }); err != nil || n != records {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(records)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkFollow reads each record once right behind the writer, as the
// ledger's drain does, one flush at a time; the figure is the reader's cost
// for a flush of 64 records.
func BenchmarkFollow(b *testing.B) {
	j := start(b, b.TempDir(), Config{}, osFileSystem{})
	var reading time.Duration
	pos := Position(0)
	for range b.N {
		fill(b, j.Journal, 64)
		at := time.Now()
		if err := j.Scan(pos+1, func(p Position, _ []byte) error { pos = p; return nil }); err != nil {
			b.Fatal(err)
		}
		reading += time.Since(at)
	}
	b.ReportMetric(float64(reading.Nanoseconds())/float64(pos), "ns/record")
}

// BenchmarkRead reads one record anywhere, as the replay of an old answer does.
func BenchmarkRead(b *testing.B) {
	j := start(b, b.TempDir(), Config{}, osFileSystem{})
	const records = 300_000
	fill(b, j.Journal, records)
	b.ReportAllocs()
	var rec []byte
	for b.Loop() {
		var err error
		if rec, err = j.Read(Position(rand.IntN(records-1000)+1), rec[:0]); err != nil {
			b.Fatal(err)
		}
	}
}

// fill appends n records with 1,000 appenders or n.
func fill(b *testing.B, j *Journal, n int) {
	rec := make([]byte, recordSize)
	workers := min(n, 1000)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range n / workers {
				if _, err := j.Append(rec); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
