package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/switch/issuer/simulator"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/keys/algo"
)

// components are a key as two custodians type it.
func components(t *testing.T, kind algo.Kind, clearKey []byte) string {
	t.Helper()
	first, second := bytes.Repeat([]byte{0x5A}, len(clearKey)), bytes.Clone(clearKey)
	var lines strings.Builder
	for i := range second {
		second[i] ^= first[i]
	}
	for _, part := range [][]byte{first, second} {
		k, err := algo.NewLocal(kind, part)
		if err != nil {
			t.Fatal(err)
		}
		kcv, err := algo.CheckValue(k)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&lines, "%X %v\n", part, kcv)
	}
	return lines.String()
}

// testKey is n bytes that no key has by chance, and their check value.
func testKey(t *testing.T, kind algo.Kind, seed byte) (clearKey []byte, kcv string) {
	t.Helper()
	for i := range kind.KeySize() {
		clearKey = append(clearKey, seed+byte(i)*7)
	}
	k, err := algo.NewLocal(kind, clearKey)
	if err != nil {
		t.Fatal(err)
	}
	v, err := algo.CheckValue(k)
	if err != nil {
		t.Fatal(err)
	}
	return clearKey, v.String()
}

// A key for whom nobody knows is refused; with a warning it is loaded where there
// is no registry yet.
func TestKeyOfAStranger(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "acqswitch.yaml", "issuers: [{name: east, address: \"h:1\", bins: [\"62\"]}]\n")
	weak := components(t, algo.TDES2, bytes.Repeat([]byte{9, 8}, 8))
	sm4 := components(t, algo.SM4, bytes.Repeat([]byte{9, 8}, 8))
	load := func(stdin, word, name, warning string) {
		t.Helper()
		r := acqswitch(t, dir, nil, stdin, "keys", "load-"+word, name)
		if r.check(t, exitOK, "with check value", warning); warning == "" && r.errs != "" {
			t.Errorf("load-%s %s: %s", word, name, r.errs)
		}
	}
	load(weak, "terminal", "10000001", "acqswitch: warning: the key is loaded, but open registry: open data/registry.yaml")
	write(t, dir, "merchants.yaml", registryText)
	acqswitch(t, dir, nil, "", "registry", "import", "merchants.yaml").check(t, exitOK, "", "")
	load(weak, "terminal", "10000001", "")
	refuse := func(stdin, word, name, why string) {
		t.Helper()
		acqswitch(t, dir, nil, stdin, "keys", "load-"+word, name).check(t, exitRefused, "", why)
	}
	refuse(weak, "terminal", "99999999", `there is no terminal "99999999" in the registry`)
	refuse(sm4, "serial", "99999999", `there is no terminal "99999999" in the registry`)
	load(weak, "issuer", "east", "")
	refuse(weak, "issuer", "nosuch", `there is no issuer "nosuch" in the configuration`)
	if r := acqswitch(t, dir, nil, "", "keys", "list"); strings.Contains(r.out, "99999999") || strings.Contains(r.out, "nosuch") {
		t.Error(r.out)
	}
	write(t, dir, "acqswitch.yaml", "log: {level: error}\nadmin: {address: \"127.0.0.1:0\"}\nterminals: {listeners: [{address: \"127.0.0.1:0\", dialect: cup-pos}]}\n"+
		"issuers: [{name: east, address: \"127.0.0.1:1\", dialect: cups, mac: x9.9, bins: [\"62\"]}]\n")
	acqswitch(t, dir, nil, "", "serve").check(t, exitUsage, "", `issuer "east" has mac: x9.9: MAC key of issuer east: there is no such key; load a key for it with acqswitch keys load-zak east`)
	refuse(weak, "zak", "nosuch", `there is no issuer "nosuch" in the configuration`)
	load(weak, "zak", "east", "")
	acqswitch(t, dir, nil, "", "keys", "list").check(t, exitOK, "issuer east", "")
	acqswitch(t, dir, nil, "", "keys", "load-serial", "--help").check(t, exitOK, "load-serial TERMINAL", "")
}

// An issuer that wants MACs refuses a switch without, and takes one that has its key;
// what it answers without the right MAC is reversed.
func TestIssuerMACs(t *testing.T) {
	t.Parallel()
	clearKey, _ := testKey(t, algo.TDES2, 0x15)
	s := newStack(t, fmt.Sprintf("mac: x9.19\nmac_key: %X\nrules: [{amount: 66600, echo: {mac: true}}]\n", clearKey))
	sell := func(amount string) result {
		t.Helper()
		return s.terminal("", "sale", "--amount", amount, "--card", testPAN)
	}
	sell("12.50").check(t, exitRefused, "refused: code 63", "")
	if code := s.server.stop(os.Interrupt); code != exitOK {
		t.Fatalf("the switch ended with %d", code)
	}
	config, err := os.ReadFile(filepath.Join(s.dir, "acqswitch.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.dir, "acqswitch.yaml", strings.Replace(string(config), `bins: ["62"]`, `bins: ["62"], mac: x9.19`, 1))
	acqswitch(t, s.dir, nil, components(t, algo.TDES2, clearKey), "keys", "load-zak", "east").check(t, exitOK, "with check value", "")
	s.start()
	sell("12.51").check(t, exitOK, "approved", "")
	other, _ := testKey(t, algo.TDES2, 0x16) // changed while the switch runs, and back
	acqswitch(t, s.dir, nil, components(t, algo.TDES2, other), "keys", "load-zak", "east").check(t, exitOK, "with check value", "")
	sell("12.50").check(t, exitRefused, "refused: code 98", "") // neither believes the other
	acqswitch(t, s.dir, nil, components(t, algo.TDES2, clearKey), "keys", "load-zak", "east").check(t, exitOK, "with check value", "")
	sell("666.00").check(t, exitRefused, "refused", "")
	s.until("what was answered wrongly is reversed", func() bool { return s.booked(simulator.Reversed) == 1 })
	if n := s.booked(simulator.Approved); n != 2 {
		t.Errorf("%d sales are booked, want 2", n)
	}
}

// A ceremony: keys are loaded, listed, sent under a key block key to a second
// vault, that of a running switch, and are the same there. No output has a key in it.
func TestKeyCeremony(t *testing.T) {
	t.Parallel()
	s := newStack(t, "{}")
	here, there := t.TempDir(), s.dir
	var secrets []string
	run := func(dir, stdin string, args ...string) result {
		t.Helper()
		r := acqswitch(t, dir, nil, stdin, append([]string{"keys"}, args...)...)
		for _, s := range secrets {
			if strings.Contains(strings.ToUpper(r.out+r.errs), s) {
				t.Errorf("keys %v prints a key", args)
			}
		}
		return r
	}
	load := func(dir, word, name, word2 string, kind algo.Kind, seed byte) string {
		t.Helper()
		clearKey, kcv := testKey(t, kind, seed)
		secrets = append(secrets, strings.ToUpper(hex.EncodeToString(clearKey)))
		run(dir, components(t, kind, clearKey), "load-"+word, name, "--kind", word2).check(t, exitOK, "with check value "+kcv, "")
		return kcv
	}
	tmk := load(here, "terminal", "10000001", "tdes", algo.TDES2, 1)
	zpk := load(here, "issuer", "east", "aes128", algo.AES128, 2)
	for i, word := range []string{"tdes3", "aes192", "aes256", "sm4"} {
		load(here, "issuer", "i"+word, word, keyKinds[word], byte(20+i))
	}
	bdk := load(here, "bdk", "FFFF987654", "tdes", algo.TDES2, 3)
	load(here, "bdk", "12345678", "aes256", algo.AES256, 4)
	load(here, "kbpk", "factory", "aes256", algo.AES256, 5)
	load(here, "kbpk", "old", "tdes", algo.TDES2, 6)

	r := run(here, "", "list")
	for _, want := range []string{"OWNER", "terminal 10000001", tmk, "issuer east", zpk, "base key FFFF987654", bdk, "key blocks factory", "key blocks old"} {
		r.check(t, exitOK, want, "")
	}
	var rows []keyRow
	if err := json.Unmarshal([]byte(run(here, "", "list", "--output", "json").out), &rows); err != nil || len(rows) != 10 || rows[0].Purpose == "" || rows[0].KCV == "" {
		t.Errorf("%v: %+v", err, rows)
	}

	load(there, "kbpk", "factory", "aes256", algo.AES256, 5)
	load(there, "kbpk", "old", "tdes", algo.TDES2, 6)
	var block string
	for _, c := range []struct{ word, name, kbpk, version, kcv string }{
		{"issuer", "east", "factory", "D", zpk},
		{"terminal", "10000001", "factory", "D", tmk},
		{"terminal", "10000001", "old", "B", tmk},
	} {
		r := run(here, "", "export", c.word, c.name, "--kbpk", c.kbpk)
		r.check(t, exitOK, c.version, "")
		block = r.out
		if !strings.HasPrefix(block, c.version) {
			t.Errorf("block is of version %.1s, want %s", block, c.version)
		}
		run(there, block, "import", c.word, c.name, "--kbpk", c.kbpk).check(t, exitOK, c.kcv, "")
	}
	r = run(there, "", "list")
	for _, want := range []string{"terminal 10000001", tmk, "issuer east", zpk, "key blocks factory"} {
		r.check(t, exitOK, want, "")
	}
	again := run(there, "", "export", "terminal", "10000001", "--kbpk", "old") // a running switch's
	run(here, again.out, "import", "terminal", "10000001", "--kbpk", "old").check(t, exitOK, tmk, "")
	run(there, "", "export", "issuer", "west", "--kbpk", "old").check(t, exitUsage, "", "the running switch says: PIN key of issuer west: there is no such key\n")
	run(there, "", "export", "issuer", "east", "--kbpk", "new").check(t, exitUsage, "", "key block protection key new: there is no such key\n")
	for _, want := range []string{`"msg":"a key was loaded","owner":"terminal 10000001"`, `"msg":"a sealed key was handed to a command","owner":"key blocks old"`} {
		s.until("the log says whose key it was", func() bool { return strings.Contains(read(t, s.server.log), want) })
	}

	tampered := []byte(block)
	tampered[len(tampered)-3] ^= 1
	weak := components(t, algo.AES256, bytes.Repeat([]byte{9}, 32))
	for _, c := range []struct {
		name, stdin string
		args        string
		code        int
		want        string
	}{
		{"a tampered block", string(tampered), "import terminal 10000001 --kbpk old", exitUsage, "import a key block"},
		{"a block under another key", block, "import terminal 10000001 --kbpk factory", exitUsage, "import a key block"},
		{"a block of another use", block, "import issuer east --kbpk old", exitUsage, "import a key block"},
		{"no block", "", "import terminal 10000001 --kbpk old", exitUsage, "import a key block"},
		{"a key nobody has", "", "export terminal 10000009 --kbpk old", exitUsage, "there is no such key"},
		{"a strong key under a weak one", "", "export issuer iaes256 --kbpk old", exitFailed, "key is not for this use"},
		{"an unknown key block key", "", "export terminal 10000001 --kbpk new", exitUsage, "key block protection key new: there is no such key"},
		{"no key block key", "", "export terminal 10000001", exitUsage, "--kbpk must name a key"},
		{"a key that is not exported", "", "export bdk FFFF987654 --kbpk old", exitUsage, `"bdk" must be one of terminal, issuer`},
		{"a holder of no keys", block, "import merchant 1 --kbpk old", exitUsage, `"merchant" must be one of terminal, issuer, zak, bdk`},
		{"a name too long", weak, "load-terminal 100000001", exitUsage, `terminal "100000001" must have 1 to 8 characters`},
		{"a kind that terminals have not", weak, "load-terminal 10000001 --kind aes256", exitUsage, `--kind "aes256" must be one of tdes, sm4`},
		{"components of another size", weak, "load-terminal 10000001", exitUsage, "component on line 1 must be 32 hexadecimal digits"},
		{"a base key's name", weak, "load-bdk FFFF9876 --kind tdes", exitUsage, `"FFFF9876" must be the first 10 hexadecimal digits`},
		{"a base key's name of small letters", weak, "load-bdk ffff9876 --kind aes256", exitUsage, "hexadecimal digits"},
		{"the same component twice", strings.Repeat(strings.SplitAfter(weak, "\n")[0], 2), "load-kbpk x --kind aes256", exitUsage, "they cancel out"},
	} {
		r := run(here, c.stdin, strings.Fields(c.args)...)
		if r.code != c.code || !strings.Contains(r.errs, c.want) {
			t.Errorf("%s: exit %d, %q, want %d, %q", c.name, r.code, r.errs, c.code, c.want)
		}
	}
}

// An issuer's keys as its letter has them: the ZMK from components, the others under it.
func TestKeysUnderAZMK(t *testing.T) {
	t.Parallel()
	s := newStack(t, "{}")
	run := func(stdin, args string) result {
		t.Helper()
		return acqswitch(t, s.dir, nil, stdin, append([]string{"keys"}, strings.Fields(args)...)...)
	}
	const pik, mak = "B31C3B99B94E0543B5C13084D47580B7 CF9C35EA", "AC61F7F11833AEAD03503D29085C0470 21DD874E" // the published chain
	run(pik, "import issuer east --zmk").check(t, exitUsage, "", "the running switch says: ZMK of issuer east: there is no such key")
	run("DA3DA723587662DF62DA4FD3858651C4 A891\n97E6ECEFD0B00D98B0C701DAEA94A764 DF29\n", "load-zmk east").check(t, exitOK, "issuer east has a ZMK of kind TDES-2", "")
	run(pik, "import issuer east --zmk").check(t, exitOK, "issuer east has a ZPK of kind TDES-2 with check value CF9C35EA", "")
	run(mak[:36]+"\n", "import zak east --zmk").check(t, exitUsage, "", "must be 32 hexadecimal digits, a space, and a check value")
	run(mak, "import zak east --zmk").check(t, exitOK, "issuer east has a ZAK of kind TDES-2 with check value 21DD874E", "")
	list := run("", "list")
	for _, want := range []string{"ZMK", "CF9C35EA", "21DD874E"} {
		list.check(t, exitOK, want, "")
	}
	wrong := strings.Replace(mak, " 21", " 22", 1)
	for _, c := range []struct{ name, stdin, args, want string }{
		{"a wrong check value", wrong, "import zak east --zmk", "key check value is wrong"},
		{"two ways at once", mak, "import zak east --zmk --kbpk bank", "--zmk must not be given together with --kbpk"},
		{"a kind beside a block", mak, "import zak east --kbpk bank --kind tdes", "--kind is for --zmk"},
		{"a kind that MAC keys have not", mak, "import zak east --zmk --kind aes128", `--kind "aes128" must be one of tdes, des, sm4`},
		{"a terminal's", mak, "import terminal 10000001 --zmk", `"terminal" must be one of issuer, zak`},
		{"a ZMK that leaves", "", "export zmk east --kbpk bank", `"zmk" must be one of terminal, issuer`},
		{"no check value", mak[:32], "import zak east --zmk", "a check value of 4 to 8"},
	} {
		if r := run(c.stdin, c.args); r.code != exitUsage || !strings.Contains(r.errs, c.want) || strings.Contains(r.errs, mak[:16]) {
			t.Errorf("%s: exit %d, %q, want %q", c.name, r.code, r.errs, c.want)
		}
	}
	if again := run("", "list"); again.out != list.out {
		t.Errorf("a refusal changed keys: %s", again.out)
	}
}

// Who ends the command before the registry has said whether it knows the terminal has
// loaded nothing.
func TestKeyThatWasGivenUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h := &keyHolder{known: func(ctx context.Context, _ *config, _ string) error { return ctx.Err() }}
	err := (&console{errs: io.Discard}).storeKey(ctx, write(t, t.TempDir(), "acqswitch.yaml", "data_dir: data\n"), h, "20000001", func(keysInUse, *keys.Vault) (keys.Key, error) {
		t.Error("a key was made")
		return keys.Key{}, errors.New("no key")
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
