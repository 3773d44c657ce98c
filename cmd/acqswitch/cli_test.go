package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/switch/issuer"
)

const (
	signOn  = "0057600003000060310031000008000020000000C0001600000131303030303030313939393239303035343131303030310011000000010030002553657175656E6365204E6F313233313030534E3030303030310003303031"
	testPAN = "6222021234567890128"
)

// TestCommandLine holds exit codes and messages of command lines that need no
// running switch. acqswitch checks that errors are one line.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "good.yaml", "issuers: [{name: east, address: \"127.0.0.1:1\", bins: [\"62\"]}]\n")
	write(t, dir, "huge.yaml", "# "+strings.Repeat("x", configSizeMax))
	write(t, dir, "office.yaml", "registry_from: database\nissuers: [{name: east, address: \"127.0.0.1:1\", bins: [\"62\"]}]\n")
	write(t, dir, "away.yaml", "data_dir: away\nregistry_from: database\nledger: {dsn: \"postgres://u:secret@127.0.0.1:1/d\"}\nissuers: [{name: east, address: \"127.0.0.1:1\", bins: [\"62\"]}]\n")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	write(t, dir, "unknown.yaml", "acquirer: \"1\"\nlog: {colour: red}\n")
	write(t, dir, "script.yaml", "seed: 1\nrules:\n  - {colour: red}\n")
	write(t, dir, "rule.yaml", "rules: [{percent: 101}]\n")
	write(t, dir, "dance.txt", "# no verb\ndance\n")
	write(t, dir, "echo.txt", "at 20000002 merchant=999290059990001\nterminal echo\n")
	write(t, dir, "kill.txt", "kill\n")
	for _, c := range []struct {
		args      string
		code      int
		out, errs string
	}{
		{"", exitOK, "Available Commands", ""},
		{"--help", exitOK, "Exit codes: 0 done", ""},
		{"serve --help", exitOK, "Examples:", ""},
		{"--version", exitOK, "acqswitch version", ""},
		{"version", exitOK, "acqswitch ", ""},
		{"version --output json", exitOK, `"version":`, ""},
		{"completion bash", exitOK, "bash completion", ""},
		{"config", exitOK, "Available Commands", ""},

		{"nonsense", exitUsage, "", `"nonsense"`},
		{"config nonsense", exitUsage, "", `acqswitch: config has no "nonsense"; see acqswitch config --help`},
		{"version again", exitUsage, "", "takes no arguments"},
		{"serve --colour red", exitUsage, "", "unknown flag: --colour; see acqswitch serve --help"},
		{"--output xml version", exitUsage, "", `--output "xml" must be table or json`},
		{"registry import", exitUsage, "", "takes one registry file"},

		{"config check --config good.yaml", exitOK, "ok\n", ""},
		{"config check", exitUsage, "", "configuration (built in; there is no acqswitch.yaml): issuers: at least one must be configured"},
		{"config check --config unknown.yaml", exitUsage, "", `configuration unknown.yaml: line 2: unknown field "colour"`},
		{"serve --config unknown.yaml", exitUsage, "", `configuration unknown.yaml: line 2: unknown field "colour"`},
		{"serve --config good.yaml", exitUsage, "", "open registry: open data/registry.yaml: no such file or directory; acqswitch registry import makes it\n"},
		{"verify --config unknown.yaml", exitUsage, "", `unknown field "colour"`},
		{"verify --data nowhere", exitUsage, "", "no journal: stat nowhere/journal: no such file or directory: name the data directory with --data, or the configuration with --config"},
		{"alert list --data nowhere", exitUsage, "", "no ledger: stat nowhere: no such file or directory: name the data directory with --data, or the configuration with --config"},
		{"journal dump --data nowhere", exitUsage, "", "no journal: stat nowhere/journal: no such file or directory: name the data directory with --data, or the configuration with --config"},
		{"registry export - --config good.yaml", exitUsage, "", "open registry: open data/registry.yaml"},

		{"issuer --script nowhere.yaml", exitUsage, "", "open issuer script: open nowhere.yaml"},
		{"issuer --script script.yaml", exitUsage, "", `issuer script script.yaml: line 3: unknown field "colour"`},
		{"issuer --script rule.yaml", exitUsage, "", "rule 1: percent: must be 0 to 100"},

		{"ticket open SN1 broken --kind bogus --by li --config office.yaml", exitUsage, "", "--kind \"bogus\" must be one of inquiry, repair, complaint"},
		{"device move SN1 merchant=1 --by li --config office.yaml", exitUsage, "", "--reason must say why"},
		{"merchant hold 1 --by li --config office.yaml", exitUsage, "", "--reason must say why"},
		{"payout hold --merchant 1 --by li", exitUsage, "", "--reason must say why"},
		{"payout release 1 --by li", exitUsage, "", "--reason must say why"},
		{"correction propose --merchant 1 --by li", exitUsage, "", "--reason must say why"},
		{"risk policy propose policy.yaml --by li", exitUsage, "", "--reason must say why"},
		{"risk policy reject 1 --by li", exitUsage, "", "--reason must say why"},
		{"issuer --listen " + taken.Addr().String() + " --book " + dir + "/taken.book", exitFailed, "", "address already in use"},

		{"parked retry 1 --reason card_6222021234567890128", exitUsage, "", "--reason has what looks like a card number in it: leave it out"},
		{"merchant hold 1 --by 6222021234567890128 --reason x", exitUsage, "", "--by has what looks like a card number in it"},
		{"alert dispose 1 --note 6222-0212-3456-7890-128", exitUsage, "", "--note has what looks like a card number in it"},
		{"ticket open SN1 it eats 6222021234567890128 --by li", exitUsage, "", "ticket open takes"},
		{"ticket resolve 1 6222021234567890128 --by li", exitUsage, "", "the text has what looks like a card number in it"},

		{"serve --config away.yaml", exitUnreachable, "", "registry_from: database: "},
		{"merchant set 999290054110001 name=A --by li --config away.yaml", exitUnreachable, "", "connection refused"},
		{"ledger figures --config away.yaml", exitUnreachable, "", "connection refused"},

		{"config check --config huge.yaml", exitUsage, "", "read configuration: huge.yaml is larger than 1048576 bytes"},

		{"terminal sale", exitUsage, "", "--amount must say how much"},
		{"terminal sale --amount 12.345", exitUsage, "", "--amount"},
		{"terminal sale --amount -1", exitUsage, "", "--amount: amount \"-1\" must have digits and at most one point: no sign"},
		{"terminal sale --amount 1 --tpdu 600003", exitUsage, "", "--tpdu takes 10 hexadecimal digits"},
		{"terminal sale --amount 1 --tpdu 5000030000", exitUsage, "", "--tpdu takes 10 hexadecimal digits"},
		{"terminal sale --amount 1 --position NaN,0", exitUsage, "", "--position"},
		{"terminal sale --amount 1 --position 1,2x", exitUsage, "", "--position"},
		{"terminal sale --amount 1 --serial S\u00e9rie", exitUsage, "", "--serial takes up to 50"},
		{"terminal echo --stan abc", exitUsage, "", "--stan \"abc\" must be a number from 0"},
		{"terminal echo --timeout 5", exitUsage, "", "--timeout \"5\" must be a time with its unit"},
		{"terminal download --dialect iso87", exitUsage, "", "--dialect iso87 has no download"},
		{"script run", exitUsage, "", "acqswitch: script run takes the scripts to run; see acqswitch script run --help"},
		{"risk policy diff", exitUsage, "", "acqswitch: risk policy diff takes one or two policies"},
		{"registry history a b c", exitUsage, "", "takes at most what and which"},
		{"registry history people --config office.yaml", exitUsage, "", "\"people\" must be one of merchant, machine,"},
		{"ticket close --by li", exitUsage, "", "ticket close takes one number"},
		{"device add serial=SN1 --by li --config office.yaml", exitUsage, "", "device add takes a serial number and KEY=TEXT pairs"},
		{"proof", exitUsage, "", "--date must say which business day"},
		{"batches list --date x --config good.yaml", exitUsage, "", "--date: business date \"x\" must be yyyy-mm-dd"},
		{"script run nowhere.txt", exitUsage, "", "open nowhere.txt"},
		{"script run dance.txt", exitUsage, "", "dance.txt: read script: line 2: \"dance\" is no verb"},
		{"script run echo.txt --to 127.0.0.1:1", exitUnreachable, "broken off echo.txt: line 2 (terminal): connect to the switch", "the switch could not be reached"},
		{"script run kill.txt --to 127.0.0.1:1", exitRefused, "not run    kill.txt: line 1 (kill): it needs a switch of its own", ""},
		{"terminal sale --amount 1 --card 62220212345", exitUsage, "", "--card: card number must be 12 to 19 digits"},
		{"terminal sale --amount 1 --entry telepathy", exitUsage, "", "--entry"},
		{"terminal sale --amount 1 --expiry 1399", exitUsage, "", "--expiry"},
		{"terminal sale --amount 1 --position here", exitUsage, "", "--position"},
		{"terminal echo --dialect klingon", exitUsage, "", `--dialect: dialect "klingon" is unknown`},
		{"terminal echo --terminal 123456789", exitUsage, "", "--terminal takes 1 to 8 characters"},
		{"terminal echo --stan 1000000", exitUsage, "", "--stan 1000000 must be 1 to 999999"},
		{"terminal reversal --amount 1", exitUsage, "", "--stan must say which sale to undo"},
		{"terminal echo --to 127.0.0.1:1", exitUnreachable, "", "connection refused"},
		{"terminal echo --addr 127.0.0.1:1", exitUnreachable, "", "connection refused"},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			acqswitch(t, dir, nil, "", strings.Fields(c.args)...).check(t, c.code, c.out, c.errs)
		})
	}
}

// TestHelpHasExamples holds that every command of ours shows how it is called.
func TestHelpHasExamples(t *testing.T) {
	var look func(cmd *cobra.Command)
	look = func(cmd *cobra.Command) {
		if cmd.Example == "" {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for _, child := range cmd.Commands() {
			look(child)
		}
	}
	look(command(io.Discard, io.Discard))
}

// TestConfigRefusals holds what is said about each way a configuration can be
// wrong: the line of what cannot be read, the key of what cannot be.
func TestConfigRefusals(t *testing.T) {
	t.Parallel()
	const is = "issuers: [{name: east, address: \"127.0.0.1:1\", bins: [\"62\"]}]\n"
	for _, c := range []struct{ name, text, want string }{
		{"behind a mark of UTF-8", "\uFEFFnode: x\n", "line 1: node: must be a whole number"},
		{"no YAML", "acquirer: [", "line 1: sequence end token ']' not found"},
		{"a list", "- acquirer", "line 1: sequence was used where mapping is expected"},
		{"a key twice", "node: 1\nnode: 2\n", `line 2: mapping key "node" already defined`},
		{"two documents", "node: 1\n---\nnode: 2\n", "line 3: a second document"},
		{"unknown key", "\nnode: 1\ncolour: red\n", `line 3: unknown field "colour"`},
		{"unknown key below", "terminals:\n  sessions: 5\n", `line 2: unknown field "sessions"`},
		{"unknown key of an issuer", "issuers:\n  - {name: east, colour: red}\n", `line 2: unknown field "colour"`},
		{"text for a number", "node: x\n", "line 1: node: must be a whole number"},
		{"fraction for a number", "node: 1.5\n", "line 1: node: must be a whole number"},
		{"number too large", "node: 99999999999999999999\n", "line 1: node: is too large"},
		{"number for a duration", "answer_within: 30\n", "line 1: answer_within: must be a duration with its unit, as 30s"},
		{"text for a duration", "log: {}\nanswer_within: soon\n", `line 2: answer_within: "soon" must be a duration with its unit`},
		{"text for a duration of an issuer", "issuers:\n  - name: east\n    timeout: soon\n", `line 3: timeout: "soon" must be a duration`},
		{"text for a switch", "risk: {skip_check_digit: maybe}\n", "line 1: skip_check_digit: must be true or false"},
		{"text for a share", "trace: {ratio: some}\n", "line 1: ratio: must be a number"},

		{"acquirer of letters", "acquirer: abc", `acquirer: "abc" must be an institution code of 1 to 11 digits`},
		{"acquirer of 12 digits", `acquirer: "123456789012"`, "acquirer:"},
		{"acquirer 0", `acquirer: "0"`, "acquirer:"},
		{"node", "node: 1024", "node: 1024 must be between 0 and 1023"},
		{"no data directory", `data_dir: ""`, "data_dir: must be given"},
		{"zone", "zone: Mars/Olympus", "zone, cut_over: unknown time zone Mars/Olympus"},
		{"cut-over", `cut_over: "24:00"`, `zone, cut_over: "24:00" must be a time as 23:00`},
		{"answer later than any terminal waits", "answer_within: 61s", "answer_within: 1m1s must be between 1ms and 1m0s"},
		{"answer before it is asked", "answer_within: -1s", "answer_within: -1s"},
		{"nothing in flight", "in_flight_max: 0", "in_flight_max: 0 must be at least 1"},
		{"no listener", "terminals: {listeners: []}", "terminals.listeners: at least one is needed"},
		{"listener's dialect", `terminals: {listeners: [{address: ":1", dialect: klingon}]}`, `terminals.listeners: dialect "klingon" is unknown; the terminal dialects are [cup-pos`},
		{"listener's address", `terminals: {listeners: [{address: here, dialect: cup-pos}]}`, `terminals.listeners: "here" must be host:port`},
		{"two listeners of one address", `terminals: {listeners: [{address: ":1", dialect: cup-pos}, {address: ":1", dialect: cup-pos, transport: http}]}`, "terminals.listeners: :1 stands twice"},
		{"listener's transport", `terminals: {listeners: [{address: ":1", dialect: cup-pos, transport: pigeon}]}`, `terminals.listeners: :1: transport "pigeon" must be one of tcp, http`},
		{"listener's TLS without files", "terminals:\n  listeners:\n    - address: \":1\"\n      dialect: cup-pos\n      tls:\n", "line 5: tls: must name its files"},
		{"listener's key", `terminals: {listeners: [{address: ":1", dialect: cup-pos, tls: {cert: c.pem}}]}`, "terminals.listeners: :1: tls.key must be given together with tls.cert"},
		{"listener's certificate", `terminals: {listeners: [{address: ":1", dialect: cup-pos, tls: {cert: nowhere.pem, key: k.pem}}]}`, "terminals.listeners: :1: read tls.cert and tls.key: open nowhere.pem"},
		{"sessions", "terminals: {sessions_max: 0}", "terminals.sessions_max: 0 must be at least 1"},
		{"sessions of an address", "terminals: {sessions_per_address_max: -1}", "terminals.sessions_per_address_max: -1"},
		{"in flight of a session", "terminals: {in_flight_max: 0}", "terminals.in_flight_max: 0"},
		{"frame deadline", "terminals: {frame_deadline: 0s}", "terminals.frame_deadline: 0s must be at least 1ms"},
		{"write deadline", "terminals: {write_deadline: 0s}", "terminals.write_deadline"},
		{"idle time", "terminals: {idle_max: 0s}", "terminals.idle_max"},
		{"drain", "terminals: {drain_within: 0s}", "terminals.drain_within"},
		{"drain before the last answer", "terminals: {drain_within: 29s}", "terminals.drain_within: 29s must be at least answer_within, 30s"},
		{"vault's kind", "vault: {kind: cloud}", `vault: kind: "cloud" must be one of software, pkcs11`},
		{"module of a software vault", "vault: {module: x.so}", "vault: module, token, pin_file and pin_env are for kind: pkcs11"},
		{"vault without a module", "vault: {kind: pkcs11, token: t, pin_env: P}", "vault: kind: pkcs11 needs module"},
		{"vault without a PIN", "vault: {kind: pkcs11, module: x.so, token: t}", "vault: kind: pkcs11 needs one of pin_file and pin_env"},
		{"vault with two PINs", "vault: {kind: pkcs11, module: x.so, token: t, pin_file: p, pin_env: P}", "vault: kind: pkcs11 needs one of pin_file and pin_env"},
		{"master key file of a module", "vault: {kind: pkcs11, module: x.so, token: t, pin_env: P, lmk: f}", "vault: lmk is for kind: software"},
		{"vault's sessions", "vault: {kind: pkcs11, module: x.so, token: t, pin_env: P, sessions: 0}", "vault: sessions: 0 must be between 1 and 256"},
		{"grace at sign-on", "sign_on: {grace: 24h}", "sign_on.grace: 24h0m0s must be between 0s and 12h0m0s"},
		{"sign-ons", "sign_on: {per_second: 0}", "sign_on.per_second: 0 must be between 1 and 1000000"},
		{"ledger, without its password", "ledger: {dsn: \"mysql://u:secret@h/d\"}", "ledger.dsn: must be sqlite:PATH or postgres://USER@HOST/DATABASE\n"},
		{"ledger nowhere", "ledger: {dsn: \"sqlite:\"}", "ledger.dsn: must be sqlite:PATH"},
		{"no policy", "risk: {policy: none.yaml}", "risk: open policy: open "},
		{"cards", "risk: {cards_per_day_max: -1}", "risk:"},
		{"reversals", "reversals: {in_flight: 0}", "reversals.in_flight: 0"},
		{"reversal's retry", "reversals: {retry: 0s}", "reversals.retry: 0s"},
		{"reversal's longest retry", "reversals: {retry: 2m}", "reversals.retry_max: 1m0s must be at least 2m0s"},
		{"grace", "reversals: {undelivered_grace: 0s}", "reversals.undelivered_grace"},
		{"refunds", "originals: {refund_days: 181}", "originals.refund_days"},
		{"completions", "originals: {completion_percent: 0}", "originals.completion_percent"},
		{"admin", "admin: {address: here}", `admin.address: "here" must be host:port`},
		{"log level", "log: {level: loud}", `log.level: "loud" must be one of debug, info, warn, error`},
		{"log format", "log: {format: xml}", `log.format: "xml" must be one of json, text`},
		{"trace ratio", "trace: {ratio: 1.1}", "trace.ratio: 1.1 must be between 0 and 1"},
		{"trace ratio that is none", "trace: {ratio: .nan}", "trace.ratio: NaN"},
		{"slow", "trace: {slow: -1s}", "trace.slow: -1s"},

		{"no issuer", "node: 1", "issuers: at least one must be configured"},
		{"issuer's name", "issuers: [{address: \"h:1\", bins: [\"1\"]}]", `issuer "": name must be 1 to 12 characters`},
		{"issuer's address", "issuers: [{name: east, bins: [\"1\"]}]", `issuer "east": address must be host:port`},
		{"issuer's addresses", "issuers: [{name: east, address: [\"h:1\", \"h:2\", \"h:1\"], bins: [\"1\"]}]", `issuer "east": address must be host:port, or a list`},
		{"issuer's address of fields", "issuers:\n  - name: east\n    address: {host: h}\n", "line 3: "},
		{"issuer's dialect", "issuers: [{name: east, address: \"h:1\", dialect: klingon, bins: [\"1\"]}]", `issuer "east": dialect "klingon" must be one of cups, iso87`},
		{"what was agreed on with no network", "issuers: [{name: east, address: \"h:1\", bins: [\"1\"], cups: {source: \"1\"}}]", `issuer "east": cups is for dialect cups`},
		{"what was agreed on with the network", "issuers: [{name: east, address: \"h:1\", dialect: cups, bins: [\"1\"], cups: {source: bank}}]", `issuer "east": cups.source: "bank" must be up to 11 digits`},
		{"issuer's time", "issuers: [{name: east, address: \"h:1\", bins: [\"1\"], timeout: 30s}]", `issuers[].timeout: 30s of "east" must be shorter than answer_within, 30s`},
		{"issuer's default time", "answer_within: 20s\nissuers: [{name: east, address: \"h:1\", bins: [\"1\"]}]", `issuers[].timeout: 25s of "east" must be shorter`},
		{"issuer's prefix", "issuers: [{name: east, address: \"h:1\", bins: [\"6x\"]}]", `issuer "east": bins: prefix "6x" must be digits`},
		{"issuer's authority", "issuers: [{name: east, address: \"h:1\", bins: [\"1\"], tls: {ca: nowhere.pem}}]", "read tls.ca: open nowhere.pem"},
		{"issuers with one name", "issuers: [{name: east, address: \"h:1\", bins: [\"1\"]}, {name: east, address: \"h:1\", bins: [\"2\"]}]", "name is used twice"},
		{"issuers with one prefix", "issuers: [{name: east, address: \"h:1\", bins: [\"1\"]}, {name: west, address: \"h:1\", bins: [\"1\"]}]", `issuer "west": bins: prefix "1" is listed twice`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			text := c.text
			if !strings.Contains(text, "\n") && !strings.Contains(text, "issuers") && c.name != "no issuer" && !strings.HasPrefix(text, "-") && !strings.HasSuffix(text, "[") {
				text += "\n" + is
			}
			write(t, dir, "acqswitch.yaml", text)
			acqswitch(t, dir, nil, "", "config", "check").check(t, exitUsage, "", "acqswitch: configuration acqswitch.yaml: ")
			acqswitch(t, dir, nil, "", "config", "check").check(t, exitUsage, "", c.want)
		})
	}
}

// TestConfigInit holds that the reference is a valid file, and that a file
// without any key is the reference without its example.
func TestConfigInit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := acqswitch(t, dir, nil, "", "config", "init")
	r.check(t, exitOK, "acquirer:", "")
	path := write(t, dir, "acqswitch.yaml", r.out)
	acqswitch(t, dir, nil, "", "config", "check").check(t, exitOK, "ok\n", "")

	initial, err := loadConfig(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(initial.Issuers) != 1 {
		t.Errorf("the reference shows %d issuers", len(initial.Issuers))
	}
	initial.Issuers = nil
	for _, text := range []string{"", "\n", "# nothing changed\n", "---\n", "log: {level: info}\n", "terminals:\n"} {
		cfg, err := loadConfig(write(t, dir, "empty.yaml", text), nil)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if !reflect.DeepEqual(cfg, initial) {
			t.Errorf("%q:\n got %+v\nwant %+v", text, cfg, initial)
		}
	}
	builtIn, err := loadConfig("", nil)
	if err != nil {
		t.Fatal(err)
	}
	builtIn.DataDir = initial.DataDir // relative to the file, where there is one
	if !reflect.DeepEqual(builtIn, initial) {
		t.Errorf("\n got %+v\nwant %+v", builtIn, initial)
	}
}

// TestConfigIsFound holds that every command takes acqswitch.yaml where none is
// named, and the defaults where there is none.
func TestConfigIsFound(t *testing.T) {
	t.Parallel()
	commands := []string{"serve", "verify", "config check", "downloads status", "settle --date 2026-11-22", "batches list", "journal dump", "keys list", "registry export -"}
	for _, command := range commands {
		dir := t.TempDir()
		help := acqswitch(t, dir, nil, "", append(strings.Fields(strings.TrimSuffix(command, " -")), "--help")...)
		help.check(t, exitOK, "default acqswitch.yaml if it exists", "")
		if r := acqswitch(t, dir, nil, "", strings.Fields(command)...); strings.Contains(r.errs, "configuration acqswitch.yaml") {
			t.Errorf("%s without a file: %s", command, r.errs)
		}
		write(t, dir, "acqswitch.yaml", "colour: red\n")
		acqswitch(t, dir, nil, "", strings.Fields(command)...).check(t, exitUsage, "", `configuration acqswitch.yaml: line 1: unknown field "colour"`)
	}
}

// TestConfigFile holds that a key given changes that key only, and that a list
// given replaces the default's.
func TestConfigFile(t *testing.T) {
	dir := t.TempDir()
	want, err := loadConfig("", nil)
	if err != nil {
		t.Fatal(err)
	}
	policy := write(t, dir, "policy.yaml", "version: 1\n")
	cfg, err := loadConfig(write(t, dir, "c.yaml", `
data_dir: books
registry: /etc/merchants.yaml
terminals: {listeners: [{address: "127.0.0.1:1", dialect: iso87}], idle_max: 5m}
issuers: [{name: east, address: "h:1", bins: ["1"]}, {name: west, address: ["h:1", "h:2"], bins: ["2"]}]
risk: {policy: policy.yaml}
settlement: {payouts: payouts.yaml, calendar: calendar.yaml}
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	want.DataDir, want.Registry = dir+"/books", "/etc/merchants.yaml"
	want.Terminals.Listeners, want.Terminals.IdleMax = []listenerConfig{{Address: "127.0.0.1:1", Dialect: "iso87"}}, 5*time.Minute
	want.Issuers = []issuer.Config{{Name: "east", Hosts: issuer.Hosts{"h:1"}, BINs: []string{"1"}}, {Name: "west", Hosts: issuer.Hosts{"h:1", "h:2"}, BINs: []string{"2"}}}
	want.Risk.Policy = policy
	want.Settlement.Payouts, want.Settlement.Calendar = dir+"/payouts.yaml", dir+"/calendar.yaml"
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("\n got %+v\nwant %+v", cfg, want)
	}
}

// TestConfigEnvironment holds that every scalar can be set by its variable,
// over the file, and that a wrong variable is named.
func TestConfigEnvironment(t *testing.T) {
	path := write(t, t.TempDir(), "c.yaml", "node: 1\nlog: {level: warn}\n")
	cfg, err := loadConfig(path, []string{
		"ACQ_ACQUIRER=7", "ACQ_NODE=3", "ACQ_DATA_DIR=/var/acq", "ACQ_ANSWER_WITHIN=20s", "ACQ_TERMINALS_SESSIONS_MAX=9",
		"ACQ_LEDGER_DSN=postgres://acq@db/acq", "ACQ_RISK_SKIP_CHECK_DIGIT=true", "ACQ_TRACE_RATIO=0.5", "ACQ_ADMIN_ADDRESS=",
		"ACQ_TEST_TMK=a terminal's", "ACQSWITCH=not ours", "PATH=/bin",
	})
	if err != nil {
		t.Fatal(err)
	}
	want, err := loadConfig("", nil)
	if err != nil {
		t.Fatal(err)
	}
	want.Acquirer, want.Node, want.DataDir, want.AnswerWithin, want.Terminals.SessionsMax = "7", 3, "/var/acq", 20*time.Second, 9
	want.Ledger.DSN, want.Risk.SkipCheckDigit, want.Trace.Ratio, want.Admin.Address, want.Log.Level = "postgres://acq@db/acq", true, 0.5, "", "warn"
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("\n got %+v\nwant %+v", cfg, want)
	}

	for _, c := range []struct{ variable, want string }{
		{"ACQ_LEGDER_DSN=x", "environment variable ACQ_LEGDER_DSN: no key of the configuration is called so"},
		{"ACQ_NODE=x", `environment variable ACQ_NODE: "x" must be a whole number`},
		{"ACQ_ANSWER_WITHIN=30", `environment variable ACQ_ANSWER_WITHIN: "30" must be a duration`},
		{"ACQ_RISK_SKIP_CHECK_DIGIT=maybe", "environment variable ACQ_RISK_SKIP_CHECK_DIGIT"},
		{"ACQ_TRACE_RATIO=half", "environment variable ACQ_TRACE_RATIO"},
		{"ACQ_ISSUERS=east", "environment variable ACQ_ISSUERS: is a list; set it in the file"},
		{"ACQ_TERMINALS_LISTENERS=:1", "environment variable ACQ_TERMINALS_LISTENERS: is a list"},
		{"ACQ_NODE=1024", "node: 1024 must be between 0 and 1023"},
	} {
		if _, err := loadConfig(path, []string{c.variable}); err == nil || !strings.Contains(err.Error(), c.want) || exitCode(err) != exitUsage {
			t.Errorf("%s: got %v, want %q", c.variable, err, c.want)
		}
	}
	dir := t.TempDir()
	write(t, dir, "acqswitch.yaml", "issuers: [{name: east, address: \"h:1\", bins: [\"1\"]}]")
	acqswitch(t, dir, []string{"ACQ_LOG_LEVEL=loud"}, "", "config", "check").check(t, exitUsage, "", `log.level: "loud"`)
}

// TestInspect breaks one message down, however it is given.
func TestInspect(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	raw, err := hex.DecodeString(signOn)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "message.bin", string(raw))
	write(t, dir, "message.hex", "0x"+signOn[:20]+"\n"+signOn[20:]+"\n")
	write(t, dir, "spec.json", `{"name": "x"`)
	write(t, dir, "bare.json", `{"fields": {"0": {"type": "String", "length": 4, "enc": "ASCII", "prefix": "ASCII.Fixed"},
		"1": {"type": "Bitmap", "length": 8, "enc": "Binary", "prefix": "Binary.Fixed"},
		"3": {"type": "String", "length": 6, "enc": "ASCII", "prefix": "ASCII.Fixed"}}}`)
	for _, c := range []struct {
		name      string
		args      []string
		stdin     string
		code      int
		out, errs string
	}{
		{"hexadecimal", []string{signOn}, "", exitOK, "11     21      3      system trace audit number                 000001", ""},
		{"hexadecimal in a file", []string{"--file", "message.hex"}, "", exitOK, "999290054110001", ""},
		{"hexadecimal in two words", []string{signOn[:20], signOn[20:]}, "", exitOK, "999290054110001", ""},
		{"own dialect without a name", []string{"--spec", "bare.json", "303230302000000000000000303030303030"}, "", exitOK, "dialect  bare.json", ""},
		{"base64", []string{base64.StdEncoding.EncodeToString(raw)}, "", exitOK, "999290054110001", ""},
		{"bytes in a file", []string{"-f", "message.bin"}, "", exitOK, "999290054110001", ""},
		{"bytes from standard input", []string{"-"}, string(raw), exitOK, "999290054110001", ""},
		{"one dialect", []string{"--dialect", "cup-pos", signOn}, "", exitOK, "dialect  cup-pos", ""},

		{"cut short", []string{signOn[:len(signOn)-2]}, "", exitUsage, "62     57", "field 63 at byte 84: needs 3 bytes, 2 are left"},
		{"cut short, for a program", []string{"-o", "json", signOn[:len(signOn)-2]}, "", exitUsage, `"62": "53657175656E6365204E6F313233313030534E303030303031"
  },
  "error": "no dialect reads the message to its end; as cup-pos, behind a 2-byte length: field 63 at byte 84: needs 3 bytes, 2 are left"
}
`, "field 63 at byte 84"},
		{"nothing at all", []string{"zz"}, "", exitUsage, "", "no message can be made out"},
		{"as another framing", []string{"--dialect", "iso87-ascii4", signOn}, "", exitUsage, "", "no message can be made out of 89 bytes"},
		{"as another dialect", []string{"--dialect", "iso87", signOn}, "", exitUsage, "", "no message can be made out of 89 bytes"},
		{"unknown dialect", []string{"--dialect", "klingon", signOn}, "", exitUsage, "", "known are auto, cup-pos, cups, iso87, iso87-ascii4, iso87-bcd, iso87-binary, iso87-hex32"},
		{"own dialect that is none", []string{"--spec", "spec.json", signOn}, "", exitUsage, "", "spec spec.json"},
		{"no such file", []string{"--file", "nowhere"}, "", exitUsage, "", "open nowhere"},
		{"file and message", []string{"--file", "message.bin", signOn}, "", exitUsage, "", "not both"},
		{"nothing", nil, "", exitUsage, "", "no message given"},
		{"nothing on standard input", []string{"-"}, "", exitUsage, "", "the input is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			acqswitch(t, dir, nil, c.stdin, append([]string{"inspect"}, c.args...)...).check(t, c.code, c.out, c.errs)
		})
	}

	type message struct {
		Dialect, TPDU, Header, MTI, Bitmap string
		Fields                             map[string]string
	}
	var got message
	r := acqswitch(t, dir, nil, "", "inspect", "-o", "json", signOn)
	if err := json.Unmarshal([]byte(r.out), &got); err != nil {
		t.Fatalf("%v in %s", err, r.out)
	}
	want := message{"cup-pos", "6000030000", "603100310000", "0800", "0020000000C00016", map[string]string{"11": "000001", "41": "10000001", "42": "999290054110001",
		"60": "00000001003", "62": "53657175656E6365204E6F313233313030534E303030303031", "63": "001"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
}

// TestInspectMasks holds that card data shows only where it was asked for.
func TestInspectMasks(t *testing.T) {
	sale := hex.EncodeToString(frame(t, "cup-03"))
	secrets := []string{testPAN, "D4912", "BDFD42DCF960C8B6", "9F2608"}
	for _, output := range []string{"table", "json"} {
		r := acqswitch(t, t.TempDir(), nil, "", "inspect", "-o", output, sale)
		r.check(t, exitOK, "622202*********0128", "")
		for _, s := range secrets {
			if strings.Contains(r.out, s) {
				t.Errorf("%s shows %s", output, s)
			}
		}
		clear := acqswitch(t, t.TempDir(), nil, "", "inspect", "--unmask", "-o", output, sale)
		for _, s := range secrets {
			clear.check(t, exitOK, s, "")
		}
		// Of a message in no dialect that is known the card may seem to be the bitmap.
		r = acqswitch(t, t.TempDir(), nil, "", "inspect", "-o", output, "F0F1F0F0723C4481A8E180"+"0810"+"3560123456789011"+"000000000000026119")
		r.check(t, exitUsage, "356012******9011", "no dialect")
	}
}

const registryText = `version: 1
merchants:
  - mid: "999290054110001"
    name: Bund Books
    city: Shanghai
    mcc: 5411
    region: 310101
    country: CN
    currency: CNY
    status: active
    policy: refuse
    kinds: [sale, balance]
    terminals:
      - {tid: "10000001", serial: SN1, class: fixed, status: active, mac: none, region: 310101, premises: {lat: 31.2304, lng: 121.4737}}
`

// TestRegistry imports, refuses and exports registries. A file with one bad
// line changes nothing.
func TestRegistry(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "acqswitch.yaml", "data_dir: books\n")
	good := write(t, dir, "good.yaml", registryText)
	cli := func(args ...string) result {
		return acqswitch(t, dir, nil, "", append([]string{"registry", "--config", "acqswitch.yaml"}, args...)...)
	}
	cli("import", "good.yaml").check(t, exitOK, "1 merchants with 1 terminals are in books/registry.yaml", "")
	inForce := read(t, dir+"/books/registry.yaml")

	for _, c := range []struct{ name, text, want string }{
		{"no YAML", "version: [", "bad.yaml:1"},
		{"unknown key", strings.Replace(registryText, "mcc:", "mmc:", 1), "bad.yaml:6"},
		{"bad value", strings.Replace(registryText, "5411\n", "54x1\n", 1), "bad.yaml:6: merchants[].mcc: \"54x1\" is no merchant category code"},
		{"region of nowhere", strings.Replace(registryText, "region: 310101\n", "region: 999999\n", 1), "bad.yaml:7: merchants[].region: \"999999\" is no region"},
		{"empty", "", "bad.yaml"},
	} {
		write(t, dir, "bad.yaml", c.text)
		cli("import", "bad.yaml").check(t, exitUsage, "", c.want)
		if read(t, dir+"/books/registry.yaml") != inForce {
			t.Fatalf("%s: the registry in force was changed", c.name)
		}
	}
	cli("import", "nowhere.yaml").check(t, exitUsage, "", "open nowhere.yaml")

	r := cli("export", "-")
	r.check(t, exitOK, "999290054110001", "")
	cli("export", "out.yaml").check(t, exitOK, "", "")
	if out := read(t, dir+"/out.yaml"); out != r.out {
		t.Errorf("export to a file:\n%s\nto standard output:\n%s", out, r.out)
	}
	cli("import", "out.yaml").check(t, exitOK, "", "") // what was exported can be imported
	if err := errors.Join(syscall.Mkfifo(dir+"/pipe", 0o600), os.Symlink("out.yaml", dir+"/link")); err != nil {
		t.Fatal(err)
	}
	cli("export", "pipe").check(t, exitUsage, "", "pipe is there and no file that can be replaced")
	cli("export", "link").check(t, exitOK, "", "")
	if to, err := os.Readlink(dir + "/link"); to != "out.yaml" {
		t.Errorf("export replaced a link: %v", err)
	}
	if again := cli("export", "-"); again.out != r.out {
		t.Errorf("an export and an import changed the registry:\n%s\n%s", r.out, again.out)
	}
	var counts struct{ Merchants, Terminals int }
	if err := json.Unmarshal([]byte(cli("import", "-o", "json", good).out), &counts); err != nil || counts.Merchants != 1 || counts.Terminals != 1 {
		t.Errorf("import for a program: %+v, %v", counts, err)
	}

	entries, err := os.ReadDir(dir + "/books")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
	}
	if !maps.Equal(names, map[string]bool{"registry.yaml": true}) {
		t.Errorf("left behind: %v", names)
	}
}

// What is checked is what is put in force, also where the file is a pipe that can be
// read only once.
func TestRegistryImportOfAPipe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "acqswitch.yaml", "issuers: [{name: east, address: \"127.0.0.1:1\", bins: [\"62\"]}]\n")
	acqswitch(t, dir, nil, registryText, "registry", "import", "/dev/stdin").check(t, exitOK, "1 merchants with 1 terminals", "")
	if got := read(t, dir+"/data/registry.yaml"); got != registryText {
		t.Errorf("in force is %q", got)
	}
}
