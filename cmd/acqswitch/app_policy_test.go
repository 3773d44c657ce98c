package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/acqswitch/acqswitch/settlement/sqldb"
)

// TestPolicyTakesEffect follows a policy from its proposal to the sale that it
// refuses, through what is refused on the way, a rollback and a restart.
func TestPolicyTakesEffect(t *testing.T) {
	t.Parallel()
	s := newStack(t, "rules: []")
	stan := 0
	sell := func(code string) {
		t.Helper()
		stan++
		exit, said := exitOK, "approved: code 00"
		if code != "00" {
			exit, said = exitRefused, "refused: code "+code
		}
		s.terminal("", "sale", "--dialect", "iso87", "--addr", s.iso87, "--amount", "12.50", "--card", testPAN, "--stan", fmt.Sprint(stan)).check(t, exit, said, "")
	}
	// under is sell once a policy is in force.
	under := func(number int, code string) {
		t.Helper()
		inForce := regexp.MustCompile(fmt.Sprintf(`(?m)^acq_risk_policy(\{.*\})? %d$`, number))
		s.until(fmt.Sprintf("policy %d is in force", number), func() bool { _, body := s.get("/metrics"); return inForce.MatchString(body) })
		sell(code)
	}
	policy := func(code int, out, errs string, args ...string) {
		t.Helper()
		s.cli(append([]string{"risk", "policy"}, append(args, "--config", "acqswitch.yaml")...)...).check(t, code, out, errs)
	}
	sell("00")
	write(t, s.dir, "bad.yaml", "version: 1\nrules: [{number: 1000, name: r, when: amout > 1, action: alert}]\n")
	policy(exitUsage, "", `bad.yaml:2: rules[].when: rule "r": column 1: "amout" is not known`, "propose", "bad.yaml", "--by", "ann", "--reason", "x")
	write(t, s.dir, "new.yaml", "version: 1\nrules: [{number: 1000, name: no-sales, when: amount > 12_00, action: refuse, refuse_as: amount}]\n")
	policy(exitUsage, "", "--reason must say why", "propose", "new.yaml", "--by", "ann")
	policy(exitOK, "proposal 1 to replace policy 0", "", "propose", "new.yaml", "--by", "ann", "--reason", "a try")
	policy(exitRefused, "", "another person must decide it", "approve", "1", "--by", "ann")
	policy(exitRefused, `+ {number: 1000, name: no-sales`, "", "diff", "p1")
	sell("00")
	policy(exitOK, "policy 1 is in force", "", "approve", "1", "--by", "bob")
	policy(exitRefused, "", "proposal 1 was approved by bob", "approve", "1", "--by", "cid")
	under(1, "61")
	if _, body := s.get("/metrics"); !strings.Contains(body, `acq_risk_rules_total{`) || !strings.Contains(body, `rule="C1000"`) || !strings.Contains(body, "acq_risk_policy") {
		t.Errorf("the rule's counts are not published:\n%s", body)
	}

	// The next start is under the same policy, also without its database.
	s.server.stop(syscall.SIGTERM)
	if _, err := os.Stat(filepath.Join(s.dir, "data", "policy", "1.yaml")); err != nil {
		t.Error(err)
	}
	s.start()
	sell("61")

	write(t, s.dir, "less.yaml", "version: 1\nplans: [{number: 0, name: a, limits: [{of: merchant, day_amount: 20.00}]}]\n")
	policy(exitOK, "proposal 2", "", "propose", "less.yaml", "--by", "ann", "--reason", "less")
	policy(exitRefused, "", "plan 0's day_amount of merchant 999290054110001 is 20.00 CNY, and 25.00 CNY is used already", "approve", "2", "--by", "bob")
	policy(exitOK, "proposal 2 is rejected", "", "reject", "2", "--by", "bob", "--reason", "too little")
	policy(exitRefused, "", "policy 1 has none before it", "rollback", "--by", "ann", "--reason", "x")
	write(t, s.dir, "none.yaml", "version: 1\n")
	policy(exitOK, "proposal 3", "", "propose", "none.yaml", "--by", "ann", "--reason", "enough")
	policy(exitOK, "policy 2 is in force", "", "approve", "3", "--by", "bob")
	write(t, s.dir, "sale.yaml", "amount: 1.00\nmerchant: \"999290054110001\"\nterminal: \"10000001\"\n")
	for name, called := range map[string]string{"": "policy 2", "1": "policy 1", "p3": "the candidate p3"} {
		if got := s.cli("risk", "explain", "--config", "acqswitch.yaml", "--request", "sale.yaml", "--policy", name); !strings.Contains(got.out, "under "+called+": ") {
			t.Errorf("%q: %s%s", name, got.out, got.errs)
		}
	}
	under(2, "00")
	policy(exitOK, "policy 3 is in force", "", "rollback", "--by", "cid", "--reason", "no")
	under(3, "61")
	policy(exitOK, "(restores 1)", "", "list")
	policy(exitOK, "no-sales", "", "show")
	policy(exitOK, "", "", "diff", "new.yaml")
	// What is wrong with what is stored is no answer to who asked.
	policy(exitOK, "proposal 4", "", "propose", "none.yaml", "--by", "ann", "--reason", "enough")
	policy(exitOK, "policy 4 is in force", "", "approve", "4", "--by", "bob")
	db, err := sqldb.Open("sqlite:" + filepath.Join(s.dir, "data/ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Write.ExecContext(t.Context(), "UPDATE risk_policy SET document = 'version: 1' WHERE number = 3"); err != nil {
		t.Fatal(err)
	}
	policy(exitFailed, "", "policy 3 was changed in the database", "rollback", "--by", "cid", "--reason", "no")
}
