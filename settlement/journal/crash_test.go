package journal

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A child process appends and says what was acknowledged until it is killed.
// Every record that it said is there.
func TestKill9LosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	acked := map[Position]string{}
	for round := range 6 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "JOURNAL_TEST_CHILD="+dir)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		before := len(acked)
		var kill *time.Timer // from its first record on
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var pos Position
			var rec string
			if n, _ := fmt.Sscanf(lines.Text(), "%d %s .", &pos, &rec); n == 2 && strings.HasSuffix(lines.Text(), ".") {
				acked[pos] = rec
				if kill == nil {
					kill = time.AfterFunc(time.Duration(37*round)*time.Millisecond, func() { child.Process.Kill() })
				}
			}
		}
		child.Wait()
		if kill != nil {
			kill.Stop()
		}

		j, err := Open(dir, small)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		found := 0
		if err := j.Scan(1, func(pos Position, rec []byte) error {
			want, ok := acked[pos]
			if got := strings.TrimRight(string(rec), "x"); ok && got != want {
				return fmt.Errorf("position %d reads %q, acknowledged %q", pos, got, want)
			}
			if ok {
				found++
			}
			return nil
		}); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if found != len(acked) {
			t.Fatalf("round %d: %d of %d acknowledged records are there", round, found, len(acked))
		}
		if len(acked) == before {
			t.Fatalf("round %d: the child appended nothing", round)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// appendUntilKilled is the child.
func appendUntilKilled(dir string) {
	j, err := Open(dir, small)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	padding := strings.Repeat("x", 1000)
	for w := range 16 {
		go func() {
			for i := 0; ; i++ {
				rec := fmt.Sprintf("%d/%d/%d", os.Getpid(), w, i)
				pos, err := j.Append([]byte(rec + padding))
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				fmt.Printf("%d %s .\n", pos, rec)
			}
		}()
	}
	fmt.Fprintln(os.Stderr, j.Run(context.Background()))
	os.Exit(1)
}
