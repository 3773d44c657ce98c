package main

import (
	"errors"
	"flag"
	"fmt"
	"go/build"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite golden files")

// levels are the module's packages from the bottom up. A package may import
// only packages of lower levels. A new package gets its place here.
var levels = [...][]string{
	0: {"iso", "switch/txn", "switch/failpoint", "switch/certs", "switch/certs/certstest", "switch/sheet", "switch/yamlfile", "switch/keys/algo", "settlement/journal", "settlement/journal/memdisk", "settlement/sqldb", "testdata", "risk/window"},
	1: {"switch/approval", "switch/batch", "switch/transport", "switch/dialect", "switch/keys", "switch/original", "switch/registry", "switch/download", "switch/telemetry", "settlement/ledger", "settlement/ledger/ledgertest", "settlement/fee", "settlement/book", "settlement/payout", "risk/rules"},
	2: {"switch/registry/office", "risk", "switch", "switch/keyring", "settlement", "settlement/dispute", "settlement/reconcile", "switch/terminal", "switch/terminal/terminaltest", "switch/capture"},
	3: {"risk/alert", "risk/backtest", "risk/policy", "switch/pos", "switch/issuer", "switch/issuer/simulator", "switch/terminal/script", "switch/terminal/fleet", "switch/replay"},
	4: {"cmd/*"},
}

// arrowsGolden is the diagram that TestArrows compares with.
const arrowsGolden = "../../docs/arrows.txt"

const arrowsHead = `# What each package imports of this module, by level; tests are left out.
# Arrows point down only: the test TestArrows of cmd/acqswitch holds this file
# to the code and every import to a lower level (-update rewrites the file).
`

func levelOf(pkg string) int {
	for level, patterns := range levels {
		for _, p := range patterns {
			if ok, _ := path.Match(p, pkg); ok {
				return level
			}
		}
	}
	return -1
}

// TestArrows holds the imports of all packages to the diagram.
func TestArrows(t *testing.T) {
	const module, root = "github.com/acqswitch/acqswitch/", "../.."
	type row struct {
		level   int
		pkg     string
		imports []string
	}
	var rows []row
	err := filepath.WalkDir(root, func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if name := d.Name(); dir != root && (name == "testdata" || strings.HasPrefix(name, ".")) {
			return fs.SkipDir
		}
		found, err := build.ImportDir(dir, 0)
		if none := (*build.NoGoError)(nil); errors.As(err, &none) {
			return nil
		}
		if err != nil {
			return err
		}
		pkg, err := filepath.Rel(root, dir)
		r := row{pkg: filepath.ToSlash(pkg), level: levelOf(filepath.ToSlash(pkg))}
		if r.level < 0 {
			t.Errorf("package %s has no level; give it one in levels", r.pkg)
		}
		for _, imported := range found.Imports {
			name, ours := strings.CutPrefix(imported, module)
			if !ours {
				continue
			}
			r.imports = append(r.imports, name)
			if level := levelOf(name); level >= r.level {
				t.Errorf("%s (level %d) imports %s (level %d); arrows point down only", r.pkg, r.level, name, level)
			}
		}
		rows = append(rows, r)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(rows, func(a, b row) int {
		if a.level != b.level {
			return b.level - a.level
		}
		return strings.Compare(a.pkg, b.pkg)
	})
	got := arrowsHead
	for i, r := range rows {
		if i == 0 || r.level != rows[i-1].level {
			got += "\n"
		}
		line := fmt.Sprintf("L%d  %-30s %s", r.level, r.pkg, strings.Join(r.imports, " "))
		got += strings.TrimRight(line, " ") + "\n"
	}
	if *update {
		if err := os.WriteFile(arrowsGolden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(arrowsGolden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the imports are not those of docs/arrows.txt; if they should be, run this test with -update. They are\n%s", got)
	}
}
