package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

// configFile is the configuration where none is named.
const configFile = "acqswitch.yaml"

const configSizeMax = 1 << 20

// configPath is what --config names; empty where it is not given and there is
// no configFile.
func configPath(given string) string {
	if _, err := os.Stat(configFile); given != "" || errors.Is(err, fs.ErrNotExist) {
		return given
	}
	return configFile
}

// readConfig reads the configuration of a command.
func readConfig(given string) (*config, error) {
	return loadConfig(configPath(given), os.Environ())
}

// loadConfig reads the reference defaults, then the file, then the environment
// (ACQ_ and the key's path, as ACQ_LEDGER_DSN), each over the one before. A
// variable ACQ_ that names no key is an error, since it is probably mistyped; names
// that begin with ACQ_TEST_ belong to tests and to the terminal commands.
// Relative paths are relative to the file.
func loadConfig(path string, environ []string) (*config, error) {
	cfg := new(config)
	if err := yaml.UnmarshalWithOptions(reference, cfg, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("read built-in configuration: %w", err)
	}
	cfg.Issuers = nil // the reference's issuer is an example, not a default
	if path != "" {
		text, err := readWhole(path, configSizeMax)
		if err != nil {
			return nil, usage(fmt.Errorf("read configuration: %w", err))
		}
		if err := readYAML(text, cfg); err != nil {
			return nil, usage(fmt.Errorf("configuration %s: %w", path, err))
		}
	}
	env := environment(environ)
	if err := overlay(reflect.ValueOf(cfg).Elem(), "ACQ", env); err != nil {
		return nil, usage(err)
	}
	for name := range env { // overlay took out what it knows
		return nil, usage(fmt.Errorf("environment variable %s: no key of the configuration is called so", name))
	}
	if path != "" {
		base := filepath.Dir(path)
		paths := []*string{&cfg.DataDir, &cfg.Registry, &cfg.CardKeys, &cfg.Downloads, &cfg.Risk.Policy, &cfg.Vault.LMK, &cfg.Vault.PINFile,
			&cfg.Recorder.File, &cfg.Recorder.Key,
			&cfg.Settlement.Fees, &cfg.Settlement.Cards, &cfg.Settlement.Payouts, &cfg.Settlement.Calendar, &cfg.Settlement.Dir, &cfg.Ledger.Archive}
		for i := range cfg.Issuers {
			if t := cfg.Issuers[i].TLS; t != nil {
				paths = append(paths, t.Files()...)
			}
		}
		for _, l := range cfg.Terminals.Listeners {
			if l.TLS != nil {
				paths = append(paths, l.TLS.Files()...)
			}
		}
		if t := cfg.Admin.TLS; t != nil {
			paths = append(paths, t.Files()...)
		}
		for _, p := range paths {
			if *p != "" && !filepath.IsAbs(*p) {
				*p = filepath.Join(base, *p)
			}
		}
	}
	if err := cfg.validate(); err != nil {
		return nil, usage(fmt.Errorf("configuration %s: %w", nameOf(path), err))
	}
	return cfg, nil
}

// nameOf is a configuration in messages.
func nameOf(path string) string { return cmp.Or(path, "(built in; there is no "+configFile+")") }

func environment(environ []string) map[string]string {
	m := map[string]string{}
	for _, e := range environ {
		if k, v, ok := strings.Cut(e, "="); ok && strings.HasPrefix(k, "ACQ_") && !strings.HasPrefix(k, "ACQ_TEST_") {
			m[k] = v
		}
	}
	return m
}

// readYAML puts what the text says over cfg. An error names the line, and the
// key where one is wrong.
func readYAML(text []byte, cfg *config) error {
	text = yamlfile.Unmarked(text)
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return yamlFault(err, nil)
	}
	docs := slices.DeleteFunc(file.Docs, func(d *ast.DocumentNode) bool { return d.Body == nil })
	switch len(docs) {
	case 0: // nothing but comments
		return nil
	case 1:
	default:
		return fmt.Errorf("line %d: a second document begins; a configuration is one", docs[1].Body.GetToken().Position.Line)
	}
	ast.Walk(visitor(func(n ast.Node) {
		// The library would cut fractions off. The one key that takes them is ratio.
		pair, ok := n.(*ast.MappingValueNode)
		switch {
		case !ok || err != nil:
		case pair.Value.Type() == ast.FloatType && pair.Key.String() != "ratio":
			err = fmt.Errorf("line %d: %s: must be a whole number", pair.Value.GetToken().Position.Line, pair.Key)
		case pair.Value.Type() == ast.NullType && pair.Key.String() == "tls": // who wrote it wants TLS
			err = fmt.Errorf("line %d: tls: must name its files", pair.Key.GetToken().Position.Line)
		}
	}), docs[0])
	if err != nil {
		return err
	}
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(cfg); err != nil {
		return yamlFault(err, docs[0])
	}
	return nil
}

// yamlFault tells a fault of the library in our way.
func yamlFault(err error, doc ast.Node) error {
	var at yaml.Error
	if !errors.As(err, &at) || at.GetToken() == nil {
		return durationFault(err, doc)
	}
	token, why := at.GetToken(), at.GetMessage()
	var mismatch *yaml.TypeError
	var overflow *yaml.OverflowError
	switch {
	case errors.As(err, &mismatch):
		why = "must be " + kindName(mismatch.DstType)
	case errors.As(err, &overflow):
		why = "is too large"
	}
	if colon := token.Prev; (mismatch != nil || overflow != nil) && colon != nil && colon.Prev != nil && colon.Value == ":" {
		why = colon.Prev.Value + ": " + why
	}
	return fmt.Errorf("line %d: %s", token.Position.Line, why)
}

// durationFault finds the value that is no duration: the library says which it
// is, but not where.
func durationFault(err error, doc ast.Node) error {
	if doc == nil {
		return err
	}
	ast.Walk(visitor(func(n ast.Node) {
		pair, ok := n.(*ast.MappingValueNode)
		if !ok {
			return
		}
		if value, ok := pair.Value.(*ast.StringNode); ok && strings.HasSuffix(err.Error(), strconv.Quote(value.Value)) {
			err = fmt.Errorf("line %d: %s: %q must be a duration with its unit, as 30s", value.Token.Position.Line, pair.Key, value.Value)
		}
	}), doc)
	return err
}

type visitor func(ast.Node)

func (v visitor) Visit(n ast.Node) ast.Visitor { v(n); return v }

func kindName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "a duration with its unit, as 30s"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.String:
		return "text"
	case t.Kind() == reflect.Slice:
		return "a list"
	case t.Kind() == reflect.Struct:
		return "keys and values"
	case t.Kind() == reflect.Float64:
		return "a number"
	}
	return "a whole number"
}

// overlay sets every scalar of v whose variable is in env, and takes it out of
// env. Lists are set in the file only.
func overlay(v reflect.Value, name string, env map[string]string) error {
	t := v.Type()
	for i := range t.NumField() {
		key := name + "_" + strings.ToUpper(strings.Split(t.Field(i).Tag.Get("yaml"), ",")[0])
		f := v.Field(i)
		if f.Kind() == reflect.Struct {
			if err := overlay(f, key, env); err != nil {
				return err
			}
			continue
		}
		text, ok := env[key]
		if !ok {
			continue
		}
		delete(env, key)
		if f.Kind() == reflect.Slice {
			return fmt.Errorf("environment variable %s: is a list; set it in the file", key)
		}
		if err := setScalar(f, text); err != nil {
			return fmt.Errorf("environment variable %s: %q must be %s", key, text, kindName(f.Type()))
		}
	}
	return nil
}

// setScalar reads text as f's type.
func setScalar(f reflect.Value, text string) (err error) {
	switch p := f.Addr().Interface().(type) {
	case *string:
		*p = text
	case *bool:
		*p, err = strconv.ParseBool(text)
	case *int:
		*p, err = strconv.Atoi(text)
	case *float64:
		*p, err = strconv.ParseFloat(text, 64)
	case *time.Duration:
		*p, err = time.ParseDuration(text)
	default:
		panic("configuration has a scalar of type " + f.Type().String())
	}
	return err
}
