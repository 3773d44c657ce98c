package office

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/acqswitch/acqswitch/settlement/sqldb"
	"github.com/acqswitch/acqswitch/switch/registry"
)

// Listed is one line of the blacklist. Value is the number of an identity
// document or account in clear, or a name; names are compared as registry.FoldName makes them.
type Listed struct{ Kind, Value, Reason string }

// number is one as a registry keeps it: in half width and without spaces.
func (l *Listed) number() string {
	return strings.Join(strings.Fields(norm.NFKC.String(l.Value)), "")
}

// SetBlacklist replaces the blacklist, and suspends the merchants on it (M02).
// It returns their ids.
func (o *Office) SetBlacklist(ctx context.Context, who Act, list []Listed) (suspended []string, err error) {
	err = o.do(ctx, who, "blacklist", func(w *work) error {
		suspended = nil
		if _, err := w.tx.ExecContext(ctx, `DELETE FROM blacklist`); err != nil {
			return failed("replace the blacklist", err)
		}
		w.listed = map[[2]string]string{}
		var rows []any
		for i, l := range list {
			value := l.number()
			if value == "" || l.Kind == "name" && registry.FoldName(value) == "" {
				return fmt.Errorf("line %d of the blacklist: it has no value", i+1)
			}
			switch l.Kind {
			case "identity":
				value = fmt.Sprintf("%x", o.cards.Hash("identity", strings.ToUpper(value)))
			case "account":
				value = fmt.Sprintf("%x", o.cards.Hash("account", value))
			case "name":
				value = registry.FoldName(l.Value)
			default:
				return fmt.Errorf("line %d of the blacklist: kind %q must be identity, account or name", i+1, l.Kind)
			}
			key := [2]string{l.Kind, value}
			if _, twice := w.listed[key]; twice {
				continue
			}
			w.listed[key] = l.Reason
			rows = append(rows, l.Kind, value, l.Reason)
		}
		if err := o.insert(ctx, w.tx, "blacklist (kind, value, reason)", 3, rows, ""); err != nil {
			return err
		}
		w.note("blacklist", "", "replace", "", fmt.Sprintf("%d lines\n", len(rows)/3))
		hit, err := w.hit()
		if err != nil {
			return err
		}
		for _, id := range hit {
			m, err := w.knownMerchant(id)
			if err != nil {
				return err
			}
			if w.who.Reason == "" {
				w.who.Reason = "M02: it is on the blacklist"
			}
			if err := w.stepMerchant(m, "suspend"); err != nil {
				return err
			}
			suspended = append(suspended, id)
		}
		return nil
	})
	return suspended, err
}

// hit are the merchants in business who are on the blacklist.
func (w *work) hit() (ids []string, err error) {
	err = sqldb.Each(w.ctx, w.tx, func(scan func(...any) error) error {
		var id, identity, account, name string
		if err := scan(&id, &identity, &account, &name); err != nil {
			return err
		}
		for _, key := range [...][2]string{{"identity", identity}, {"account", account}, {"name", registry.FoldName(name)}} {
			if _, on := w.listed[key]; on && key[1] != "" {
				ids = append(ids, id)
				break
			}
		}
		return nil
	}, `SELECT id, identity, account, legal_name FROM merchant WHERE status IN ('active', 'hold') ORDER BY id`)
	return ids, failed("read the registry", err)
}

// blacklisted holds M02.
func (w *work) blacklisted(m *merchant) error {
	values := [][2]string{{"identity", m.Get("identity")}, {"name", registry.FoldName(m.Get("legal_name"))}}
	if sealed := m.Get("account_sealed"); sealed != "" {
		if number, err := OpenAccount(w.o.cards, m.Get("mid"), sealed); err == nil {
			values = append(values, [2]string{"account", fmt.Sprintf("%x", w.o.cards.Hash("account", number))})
		}
	}
	if w.listed == nil { // once per act: an import asks for every merchant
		w.listed = map[[2]string]string{}
		err := sqldb.Each(w.ctx, w.tx, func(scan func(...any) error) error {
			var key [2]string
			var reason string
			err := scan(&key[0], &key[1], &reason)
			if key[0] == "name" {
				key[1] = registry.FoldName(key[1]) // an older program kept it as it was written
			}
			w.listed[key] = reason
			return err
		}, `SELECT kind, value, reason FROM blacklist`)
		if err != nil {
			return failed("read the blacklist", err)
		}
	}
	for _, v := range values {
		if reason, ok := w.listed[v]; ok && v[1] != "" {
			return refuse("M02", v[0], "merchant %s is on the blacklist by its %s (%s)", m.Get("mid"), v[0], reason)
		}
	}
	return nil
}
