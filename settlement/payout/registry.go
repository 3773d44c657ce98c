package payout

import (
	"fmt"
	"slices"
	"strings"

	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

// Registry is what a registry knows of how merchants are paid.
type Registry struct {
	Merchants []Registered
	// Open gives the number of a merchant's account that is kept sealed. It is
	// needed where terms have such accounts.
	Open func(merchant, sealed string) (number string, err error)
}

// Registered is what a registry says of a merchant. A field that is empty is left
// to the file.
type Registered struct {
	ID                      string
	Cycle                   string // as in the file
	Onboarded, LicenceUntil string // yyyy-mm-dd
	Held                    bool
	Currency                string // of the account
	Owner, Sealed, Bank     string // Sealed: the account's number
}

// join puts what the registry says into the document. The file says what the
// registry does not, and nothing twice; it has no merchants that the registry does
// not have. An account that no bank can pay to is left out, and told in
// Terms.Unusable: its merchant is an exception of the run, the others are paid.
func (l *loader) join(t *Terms, d *document) {
	at := map[string]int{}
	for i := range d.Merchants {
		at[d.Merchants[i].ID.Text] = i
	}
	known := map[string]bool{}
	for i := range l.registry.Merchants {
		r := &l.registry.Merchants[i]
		known[r.ID] = true
		n, ok := at[r.ID]
		if !ok {
			n = len(d.Merchants)
			d.Merchants = append(d.Merchants, merchantYAML{ID: yamlfile.Scalar{Text: r.ID, Line: 1}})
		}
		y := &d.Merchants[n]
		line := yamlfile.First(y.ID)
		l.say(&y.Cycle, line, r.Cycle, "merchants[].cycle")
		l.say(&y.Onboarded, line, r.Onboarded, "merchants[].onboarded")
		l.say(&y.Licence, line, r.LicenceUntil, "merchants[].licence_until")
		if r.Held {
			l.say(&y.Held, line, "yes", "merchants[].held")
		}
		if r.Sealed != "" {
			l.joinAccount(t, y, r)
		}
	}
	for i := range d.Merchants {
		if id := d.Merchants[i].ID; !known[id.Text] {
			l.Add(id, "merchants[].mid", "the registry has no merchant %q", id.Text)
		}
	}
	slices.SortStableFunc(d.Merchants, func(a, b merchantYAML) int { return strings.Compare(a.ID.Text, b.ID.Text) })
}

// say puts what the registry says in its place.
func (l *loader) say(s *yamlfile.Scalar, line yamlfile.Scalar, text, field string) {
	switch {
	case text == "":
	case s.Line > 0:
		l.Add(*s, field, "the registry says this of the merchant: change it there and remove it here")
	default:
		*s = yamlfile.Scalar{Text: text, Line: line.Line}
	}
}

func (l *loader) joinAccount(t *Terms, y *merchantYAML, r *Registered) {
	n := slices.IndexFunc(y.Accounts, func(a accountYAML) bool { return a.Currency.Text == r.Currency })
	if n < 0 {
		n = len(y.Accounts)
		y.Accounts = append(y.Accounts, accountYAML{Currency: yamlfile.Scalar{Text: r.Currency, Line: y.ID.Line}})
	}
	a, line := &y.Accounts[n], yamlfile.First(y.ID)
	if a.Number.Line > 0 {
		l.say(&a.Number, line, r.Sealed, "merchants[].accounts[].number")
	}
	l.say(&a.Name, line, r.Owner, "merchants[].accounts[].name")
	l.say(&a.Sealed, line, r.Sealed, "merchants[].accounts[].sealed")
	l.say(&a.Bank, line, r.Bank, "merchants[].accounts[].bank")
	check := loader{Problems: yamlfile.Problems{File: l.File}, registry: l.registry, merchant: r.ID}
	check.accounts([]accountYAML{*a}, y.ID, "account")
	for _, p := range check.First() {
		switch wrong := p.(*yamlfile.Problem); wrong.Field {
		case "account.min": // the file's, told with its line
		case "account.sealed": // the keys are not those that sealed it: nobody could be paid
			l.AddError(fmt.Errorf("the account of merchant %s: %s", r.ID, wrong.What))
			return
		default:
			t.Unusable = append(t.Unusable, "merchant "+r.ID+": "+wrong.Field+" "+wrong.What)
			y.Accounts = slices.Delete(y.Accounts, n, n+1)
			return
		}
	}
}
