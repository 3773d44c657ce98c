package ledgertest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestDatabasesAreSeparate(t *testing.T) {
	a, b := Postgres(t), Postgres(t)
	exec1(t, a, "CREATE TABLE one (n BIGINT)")
	exec1(t, b, "CREATE TABLE one (n BIGINT)")
}

func TestOutageEnds(t *testing.T) {
	dsn := Postgres(t)
	end := Outage(t, dsn)
	if conn, err := pgx.Connect(t.Context(), dsn); err == nil {
		conn.Close(t.Context())
		t.Fatal("connected during the outage")
	}
	end()
	exec1(t, dsn, "SELECT 1")
}

func exec1(t *testing.T, dsn, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// A test process that is killed leaves neither a server nor files behind.
func TestServerEndsWithAKilledProcess(t *testing.T) {
	if os.Getenv("LEDGERTEST_CHILD") != "" {
		u, err := serverURL()
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("DIR=" + u.Query().Get("host") + "\n")
		time.Sleep(time.Minute)
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestServerEndsWithAKilledProcess$")
	cmd.Env = append(os.Environ(), "LEDGERTEST_CHILD=1", envURL+"=")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	for b := make([]byte, 256); !strings.Contains(text.String(), "\n"); {
		n, err := out.Read(b)
		if text.Write(b[:n]); err != nil {
			t.Fatalf("child said %q and ended: %v", text.String(), err)
		}
	}
	line, _, _ := strings.Cut(text.String(), "\n")
	dir, ok := strings.CutPrefix(line, "DIR=")
	if !ok {
		t.Fatalf("child said %q", text.String())
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(dir); os.IsNotExist(err) {
			return
		}
	}
	t.Fatalf("%s is still there", dir)
}
