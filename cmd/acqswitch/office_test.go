package main

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/acqswitch/acqswitch/iso"
	"github.com/acqswitch/acqswitch/switch/registry"
)

// TestOffice is a merchant's way from a draft to a sale, its machine's to another
// merchant, and a ticket, on the command line beside a switch that runs: what is
// changed is in force without a signal.
func TestOffice(t *testing.T) {
	t.Parallel()
	s := newStack(t, "{}")
	if code := s.server.stop(os.Interrupt); code != exitOK {
		t.Fatalf("exit %d", code)
	}
	s.cli("merchant", "list").check(t, exitUsage, "", "the registry of this configuration is a file")
	write(t, s.dir, "acqswitch.yaml", read(t, s.dir+"/acqswitch.yaml")+"registry_from: database\nacquirer: \"48802900\"\n")
	s.cli("merchant", "list").check(t, exitRefused, "", "the database has no registry yet")
	s.cli("registry", "model", "N910", "--by", "li").check(t, exitOK, "set", "") // makes it
	s.start()                                                                    // with nobody in its registry
	sale := frame(t, "cup-03")
	checkAnswer(t, s.tell(renumbered(t, sale, 1)), 0x0210, "03")

	const shop, other, serial = "999290054110001", "999290058120001", "SN1"
	say := func(want string, args ...string) {
		t.Helper()
		s.cli(args...).check(t, exitOK, want, "")
	}
	refuses := func(code int, want string, args ...string) {
		t.Helper()
		s.cli(args...).check(t, code, "", want)
	}
	write(t, s.dir, "licence.pdf", "a licence")
	for _, mid := range []string{shop, other} {
		say("added", "merchant", "add", mid, "name=Bund Books", "city=Shanghai", "mcc="+mid[7:11], "region=310101", "country=CN", "currency=CNY", "policy=refuse", "kinds=sale, balance", "--by", "li")
		acqswitch(t, s.dir, nil, "6222020000000007\n", "merchant", "set", mid, "account=@-", "account_owner=Bund Books Ltd", "legal_name=Bund Books Ltd", "licence=L1", "--by", "li").check(t, exitOK, "set", "")
		say("noted", "merchant", "paper", mid, "licence.pdf", "--by", "li")
		say("is submitted", "merchant", "submit", mid, "--by", "li")
		say("is under-review", "merchant", "review", mid, "--by", "wang")
		refuses(exitRefused, "another person must approve it", "merchant", "approve", mid, "--by", "li")
		say("is active", "merchant", "approve", mid, "--by", "wang", "--reason", "seen the papers")
	}
	// Where the card keys are not, the registry is read and not changed, and none are drawn.
	away := s.dir + "/data/card.keys"
	if err := os.Rename(away, away+".away"); err != nil {
		t.Fatal(err)
	}
	say("account_masked ************0007", "merchant", "show", shop)
	refuses(exitUsage, "the card keys with which the registry's numbers are sealed are not here", "merchant", "set", shop, "city=Beijing", "--by", "li")
	if err := os.Link(away+".away", away); err != nil {
		t.Fatal(err)
	}
	refuses(exitUsage, "merchant set takes a merchant id and KEY=TEXT pairs", "merchant", "set", shop, "--by", "li")
	refuses(exitUsage, "device set takes a serial number and KEY=TEXT pairs", "device", "set", "SN1", "--by", "li")
	refuses(exitRefused, `acqswitch: "tattoo" is no kind of paper: give licence, identity, account, contract, photo, other`, "merchant", "paper", shop, "acqswitch.yaml", "--kind", "tattoo", "--by", "li")
	refuses(exitUsage, "mid is given twice", "merchant", "set", shop, "mid="+other, "--by", "li")
	refuses(exitUsage, `a merchant has no "nme"`, "merchant", "set", shop, "nme=x", "--by", "li")
	refuses(exitUsage, `acqswitch: merchant 999290054110001: grade: "9" must be a number from 1 to 5`, "merchant", "set", shop, "grade=9", "--by", "li")
	refuses(exitRefused, "merchant 1: it is not in the registry", "merchant", "show", "1")
	say("account_masked ************0007", "merchant", "show", shop)
	refuses(exitUsage, `"N911" is no known model: add it at the head of the file, or with registry model`, "device", "add", serial, "mac=none", "model=N911", "--by", "li")
	say("is in stock", "device", "add", serial, "mac=none", "model=N910", "--by", "li")
	place := []string{"class=fixed", "region=310101", "premises.lat=31.2304", "premises.lng=121.4737", "--by", "li", "--reason", "agreed"}
	say("is bound", append([]string{"device", "bind", serial, "merchant=" + shop, "tid=10000001"}, place...)...)
	refuses(exitRefused, "T06: machine SN1 is bound at merchant", append([]string{"device", "bind", serial, "merchant=" + other, "tid=10000009"}, place...)...)
	say("is active", "device", "activate", serial, "--by", "li")

	stan := uint32(1)
	answers := func(code string) {
		t.Helper()
		s.until("a sale is answered "+code, func() bool {
			stan++
			m := new(iso.Message)
			if err := cupCodec.Parse(m, s.tell(renumbered(t, sale, stan))); err != nil {
				t.Fatal(err)
			}
			return string(m.Value(39)) == code
		})
	}
	answers("00")
	say("is suspended", "merchant", "suspend", shop, "--by", "li", "--reason", "a dispute")
	answers("03")
	say("is active", "merchant", "resume", shop, "--by", "wang")
	answers("00")

	// What is explained and tried on the past is held to this registry: the file
	// beside it has a merchant more.
	explain := func(merchant, terminal string) result {
		write(t, s.dir, "sale.yaml", "amount: 6.00\nmerchant: \""+merchant+"\"\nterminal: \""+terminal+"\"\nbin: \"622202\"\n")
		return s.cli("risk", "explain", "--request", "sale.yaml")
	}
	explain(shop, "10000001").check(t, exitOK, "risk lets it go on", "")
	explain("999290054110002", "10000003").check(t, exitRefused, "", "is not registered")

	// Merchants are paid to the accounts, and priced by the plans, of this registry.
	data := s.dir + "/data"
	write(t, data, "calendar.yaml", "version: 1\nyears: [{year: 2026, holidays: []}]\n")
	write(t, data, "cards.csv", read(t, "../../testdata/cards.csv"))
	write(t, data, "fees.yaml", "version: 1\nplans: [{name: retail, rates: [{card: any, currency: CNY, from: 2020-01-01, ppm: 5000}]}]\n")
	write(t, data, "payouts.yaml", "version: 1\nmerchants: [{mid: \""+shop+"\", accounts: [{currency: CNY, name: Bund Books Ltd}]}]\n")
	refuses(exitUsage, "payouts.yaml:2: merchants[].accounts[].name: the registry says this of the merchant", "payout", "check")
	write(t, data, "payouts.yaml", "version: 1\nmerchants: [{mid: \""+shop+"\", accounts: [{currency: CNY, min: \"5.00\"}]}]\n")
	say("not payable: merchant "+shop+`: account.bank "" must be a BIC`, "payout", "check")
	refuses(exitRefused, "where it is paid is changed by two people, propose it with merchant account", "merchant", "set", shop, "bank=102290000001", "--by", "li")
	refuses(exitUsage, "--reason must say why", "merchant", "account", shop, "bank=102290000001", "--by", "li")
	say("proposal 1: another person must approve it", "merchant", "account", shop, "bank=102290000001", "--by", "li", "--reason", "its letter")
	refuses(exitUsage, "name: does not say where it is paid", "merchant", "account", shop, "name=x", "--by", "li", "--reason", "its letter")
	refuses(exitRefused, "another person must decide it", "proposal", "approve", "1", "--by", "li")
	say("7\naccount_owner Bund Books Ltd\nbank 102290000001\n", "proposal", "show", "1")
	say("1: approved", "proposal", "approve", "1", "--by", "wang")
	say("set", "merchant", "set", shop, "payout=d+1", "fee_plan=retial", "--by", "li")
	refuses(exitUsage, `there is no plan "retial", which merchant `+shop+" has in the registry", "fee", "check")
	say("set", "merchant", "set", shop, "fee_plan=retail", "--by", "li")
	say("ok", "fee", "check")
	if got := s.cli("fee", "check"); strings.Contains(got.out, shop) || !strings.Contains(got.out, "no plan: merchant "+other+": what it sells waits in suspense\n") {
		t.Errorf("%s%s", got.out, got.errs)
	}
	if got := s.cli("payout", "check"); strings.Contains(got.out, shop) || !strings.Contains(got.out, "not payable: merchant "+other) {
		t.Errorf("%s%s", got.out, got.errs)
	}

	// Moved by two people.
	say("proposal 2: another person must approve it", append([]string{"device", "move", serial, "merchant=" + other, "tid=20000001"}, place...)...)
	say("machine move", "proposal", "list", "--open")
	refuses(exitRefused, "another person must decide it", "proposal", "approve", "2", "--by", "li")
	say("2: approved", "proposal", "approve", "2", "--by", "wang")
	refuses(exitRefused, "proposal 2 was approved by wang", "proposal", "approve", "2", "--by", "zhao")
	refuses(exitRefused, "proposal 2 was approved by wang", "proposal", "reject", "2", "--by", "zhao", "--reason", "no")
	say("approved by wang", "proposal", "show", "2")
	answers("97")
	var bindings []struct{ Act, Terminal, Merchant string }
	if err := json.Unmarshal([]byte(s.cli("registry", "bindings", serial, "-o", "json").out), &bindings); err != nil || len(bindings) != 3 || bindings[2].Merchant != other {
		t.Errorf("%+v, %v", bindings, err)
	}

	refuses(exitRefused, "there is no merchant nobody, and never was", "registry", "history", "merchant", "nobody")
	refuses(exitRefused, "no machine nosuch was ever bound", "registry", "bindings", "nosuch")
	refuses(exitRefused, "policy 33: there is no such policy", "risk", "policy", "show", "33")
	refuses(exitRefused, "policy 33: there is no such policy", "risk", "policy", "diff", "33")
	refuses(exitRefused, "proposal 99: there is no such proposal", "risk", "policy", "diff", "p99")
	refuses(exitRefused, "proposal 2 is a machine move", "risk", "policy", "show", "p2")

	// Paid again by two people.
	say("is hold", "merchant", "hold", shop, "--by", "li", "--reason", "a dispute")
	say("is frozen", "merchant", "suspend", shop, "--by", "li", "--reason", "a dispute")
	say("is hold", "merchant", "resume", shop, "--by", "li")
	refuses(exitUsage, "--reason must say why", "merchant", "resume", shop, "--by", "li")
	say("proposal 3: another person must approve it", "merchant", "resume", shop, "--by", "li", "--reason", "settled")
	refuses(exitRefused, "another person must decide it", "proposal", "approve", "3", "--by", "li")
	say("3: approved", "proposal", "approve", "3", "--by", "wang", "--reason", "seen it")
	say("status active", "merchant", "show", shop)

	say("ticket 1 is open", "ticket", "open", serial, "it eats cards", "--by", "li")
	refuses(exitRefused, "ticket 1 is open: close is not possible, but assign", "ticket", "close", "1", "--by", "li")
	say("is assigned", "ticket", "assign", "1", "zhao", "--by", "li")
	say("is resolved", "ticket", "resolve", "1", "new reader", "--by", "zhao")
	say("is closed", "ticket", "close", "1", "--by", "li")
	say("it eats cards", "ticket", "list", "--all")

	write(t, s.dir, "black.csv", "kind,value,reason\nname,Bund Books Ltd,swindled\n")
	write(t, s.dir, "cut.csv", "")
	refuses(exitUsage, "cut.csv must be a table of the columns kind,value,reason: it is empty", "registry", "blacklist", "cut.csv", "--by", "li")
	say("1 line in force, suspended: 2 merchants", "registry", "blacklist", "black.csv", "--by", "li")
	say("set", "registry", "model", "N910", "target=320001", "deadline=2027-01-31", "--by", "li")
	say("320001", "registry", "models")
	say("-status active +status suspended", "registry", "history", "merchant", shop, "--full")

	say("", "registry", "export", "merchants.csv")
	table := read(t, s.dir+"/merchants.csv")
	write(t, s.dir, "bad.csv", strings.Replace(table, "Bund Books,", "Bund Books"+strings.Repeat("!", 40)+",", 1))
	refuses(exitUsage, "bad.csv:2: merchants[].name", "registry", "import", "bad.csv", "--by", "li")
	say("2 merchants and 0 terminals are as in merchants.csv; 0 things were changed", "registry", "import", "merchants.csv", "--by", "li")
	write(t, s.dir, "good.csv", "mid,phone\n"+shop+",021 1234\n")
	say("1 things were changed", "registry", "import", "good.csv", "--by", "li")
	if strings.Contains(table, "6222020000000007") {
		t.Error("an account in clear is exported")
	}
	say("SN1", "registry", "export", "-")
}

// What was done to an entry that cannot be read any more, as after a SIGTERM, is an error.
func TestEntryThatIsNotRead(t *testing.T) {
	t.Parallel()
	gone := errors.New("the database is away")
	if done, err := isNow(registry.Entry{}, gone); done != "" || err != gone {
		t.Errorf("%q, %v", done, err)
	}
}
