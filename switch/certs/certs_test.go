package certs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/acqswitch/acqswitch/switch/certs"
	"github.com/acqswitch/acqswitch/switch/certs/certstest"
)

// What an operator may put into the file of authorities, and what is said of it: a
// file of which a part is not in force says so.
func TestFileOfAuthorities(t *testing.T) {
	one, two := certstest.NewAuthority(t), certstest.NewAuthority(t)
	cert, key := one.Issue()
	read := func(file string) string {
		t.Helper()
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	first, second := read(one.File), read(two.File)
	for _, row := range []struct{ name, text, want string }{
		{"one", first, ""},
		{"two", first + second, ""},
		{"words around", "# ours\n" + first + "# theirs\n" + second, ""},
		{"nothing", "", "no certificate in"},
		{"words", "to do", "no certificate in"},
		{"a key", read(key), "no certificate in"},
		{"a terminal's certificate", read(cert), "part 1 of"},
		{"one more that is no authority", first + read(cert), "which is no authority"},
		{"the second is half written", first + second[:len(second)/2], "is cut off or damaged in part 2 of 2"},
		{"the first is damaged", strings.Replace(first, "MII", "A!!", 1) + second, "is cut off or damaged"},
		{"the second is none", first + "-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n", "part 2 of"},
	} {
		t.Run(row.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "ca.pem")
			if err := os.WriteFile(file, []byte(row.text), 0o600); err != nil {
				t.Fatal(err)
			}
			l, err := (&certs.Client{CA: file}).Load()
			switch {
			case row.want == "" && (err != nil || l.Ends.IsZero()):
				t.Errorf("refused: %v", err)
			case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), "tls.ca")):
				t.Errorf("%v, wanted %q", err, row.want)
			}
		})
	}
}

// A certificate that nobody believes now does not follow one that is in force; a start
// takes it, for there is none to keep.
func TestReloadOfWhatIsNotInForce(t *testing.T) {
	a := certstest.NewAuthority(t)
	files := &certs.Server{}
	files.Cert, files.Key = a.Issue()
	kept, err := files.Keep()
	if err != nil {
		t.Fatal(err)
	}
	ends := kept.Ends()
	for want, until := range map[string]time.Time{"is not valid before": time.Now().AddDate(1, 0, 0), "has ended": time.Now().Add(-time.Minute), "": time.Now().Add(time.Hour)} {
		files.Cert, files.Key = a.IssueUntil(until)
		switch err := kept.Reload(); {
		case want == "" && (err != nil || kept.Ends().Equal(ends)):
			t.Errorf("one in force is not taken: %v", err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%v, wanted %q", err, want)
		}
		if _, err := files.Keep(); err != nil {
			t.Error(err)
		}
		client := certs.Client{CA: a.File, Cert: files.Cert, Key: files.Key}
		if _, err := client.Reload(); (err == nil) != (want == "") {
			t.Errorf("ours for an issuer: %v, wanted %q", err, want)
		}
	}
}
