package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/switch/registry"
)

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}

func registryCommand(c *console) *cobra.Command {
	var file string
	imp := &cobra.Command{
		Use:   "import FILE",
		Short: "Check a registry file and put it in force",
		Long: `import checks the whole file and then replaces the registry of the configuration
in one step; a file with one bad line changes nothing. A running switch takes it
up on SIGHUP.`,
		Example: "  acqswitch registry import merchants.yaml --config acqswitch.yaml && kill -HUP $(pidof acqswitch)",
		Args:    args(1, "one registry file"),
		RunE: func(_ *cobra.Command, given []string) error {
			cfg, err := readConfig(file)
			if err != nil {
				return err
			}
			snapshot, err := readRegistry(given[0])
			if err != nil {
				return err
			}
			text, err := os.ReadFile(given[0])
			if err != nil {
				return err
			}
			target := cfg.path(cfg.Registry, "registry.yaml")
			if err := replaceFile(target, func(w io.Writer) error { _, err := w.Write(text); return err }); err != nil {
				return fmt.Errorf("put the registry in force: %w", err)
			}
			merchants, terminals := snapshot.Len()
			if c.json() {
				return c.print(map[string]any{"file": target, "merchants": merchants, "terminals": terminals})
			}
			_, err = fmt.Fprintf(c.out, "%d merchants with %d terminals are in %s\n", merchants, terminals, target)
			return err
		},
	}
	exp := &cobra.Command{
		Use: "export FILE", Short: "Write the registry to a file, or - for standard output",
		Example: "  acqswitch registry export - --config acqswitch.yaml",
		Args:    args(1, "one file"),
		RunE: func(_ *cobra.Command, given []string) error {
			cfg, err := readConfig(file)
			if err != nil {
				return err
			}
			book, err := readBook(cfg.path(cfg.Registry, "registry.yaml"))
			if err != nil {
				return err
			}
			if given[0] == "-" {
				return book.Write(c.out)
			}
			return replaceFile(given[0], book.Write)
		},
	}
	g := group("registry", "Import or export merchants and terminals", imp, exp)
	configFlag(imp, &file)
	configFlag(exp, &file)
	return g
}

// readBook reads a registry file as people wrote it; any fault is the file's.
func readBook(path string) (*registry.Book, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usage(fmt.Errorf("open registry: %w", err))
	}
	defer f.Close()
	b, err := registry.Read(f, path)
	if err != nil {
		return nil, usage(err)
	}
	return b, nil
}

// readRegistry loads a registry file; any fault is the file's.
func readRegistry(path string) (*registry.Snapshot, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usage(fmt.Errorf("open registry: %w", err))
	}
	defer f.Close()
	s, err := registry.Load(f, path)
	if err != nil {
		return nil, usage(err)
	}
	return s, nil
}

// replaceFile writes a file so that a crash leaves the old one or the new one.
func replaceFile(path string, write func(io.Writer) error) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Chmod(f.Name(), 0o644)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
