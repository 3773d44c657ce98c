package telemetry

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// stuck takes nothing until it is let go.
type stuck struct {
	strings.Builder
	free chan struct{}
}

func (s *stuck) Write(b []byte) (int, error) {
	<-s.free
	return s.Builder.Write(b)
}

// Whoever logs never waits, what fits is written when it can be, in order, and the
// end waits for it only so long.
func TestF60LogThatNobodyTakes(t *testing.T) {
	for _, recovers := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := &stuck{free: make(chan struct{})}
			q := NewLogQueue(w)
			ctx, cancel := context.WithCancel(t.Context())
			began, ended := time.Now(), make(chan struct{})
			go func() { q.Run(ctx); close(ended) }()
			var want strings.Builder
			line := func(i int) string { return fmt.Sprintln("line", i) }
			q.Write([]byte(line(-1)))
			synctest.Wait() // it hangs in the writer
			want.WriteString(line(-1))
			for i := range linesMax + 10 {
				q.Write([]byte(line(i)))
				if i < linesMax {
					want.WriteString(line(i))
				}
			}
			if n := q.Lost(); n != 10 || time.Since(began) != 0 {
				t.Errorf("%d lines are lost, and they took %v", n, time.Since(began))
			}
			if recovers {
				close(w.free)
			}
			cancel()
			<-ended
			if took := time.Since(began); recovers && (took != 0 || w.String() != want.String()) || !recovers && took != linesWithin {
				t.Errorf("recovers %v: ended after %v with %d bytes of %d", recovers, took, w.Len(), want.Len())
			}
			if !recovers {
				close(w.free)
			}
		})
	}
}
