package office

import (
	"context"
	"errors"

	"github.com/acqswitch/acqswitch/switch/registry"
)

// Counts is what an import did.
type Counts struct {
	Regions   int `json:"regions"`
	Models    int `json:"models"`
	Merchants int `json:"merchants"`
	Terminals int `json:"terminals"`
	Changed   int `json:"changed"` // of all of them
}

// Import adds what is in a book and changes what differs: all of it or nothing.
// Keys that are left out stay as they are. Merchants whose status says that they
// were approved are new ones only if approved says that this was done elsewhere.
// A merchant, machine or terminal id that is there twice is wrong.
// What is wrong is told by line and field of name, as joined problems.
func (o *Office) Import(ctx context.Context, who Act, b *registry.Book, name string, approved bool) (n Counts, err error) {
	err = o.do(ctx, who, name, func(w *work) error {
		w.file = true
		n = Counts{Regions: len(b.Regions), Models: len(b.Models), Merchants: len(b.Merchants), Terminals: len(b.Terminals)}
		for _, e := range b.Regions {
			if err := w.setTable(e, "region", "code"); err != nil {
				return err
			}
		}
		for _, e := range b.Models {
			if err := w.setTable(e, "model", "name"); err != nil {
				return err
			}
		}
		c, err := w.check()
		if err != nil {
			return err
		}
		for _, e := range b.Merchants {
			c.Once(e, "mid", "merchant")
		}
		for _, e := range b.Terminals {
			c.Once(e, "serial", "machine")
			c.Once(e, "tid", "terminal")
		}
		if c.Err() != nil {
			return nil // told at the end
		}
		for _, part := range []struct {
			entries []registry.Entry
			take    func(registry.Entry) error
		}{
			{b.Merchants, func(e registry.Entry) error { return w.importMerchant(e, approved) }},
			{b.Terminals, w.importMachine},
		} {
			for _, e := range part.entries {
				err := part.take(e)
				if r := (*Refusal)(nil); errors.As(err, &r) {
					c.Problem(e, r.Key, "%v", r)
					continue
				}
				if errors.Is(err, ErrUnknown) {
					c.Problem(e, "merchant", "%v", err)
					continue
				}
				if err != nil {
					return err
				}
			}
			if c.Err() != nil {
				return nil // its terminals would only repeat what is wrong with a merchant
			}
		}
		n.Changed = len(w.changes)
		return nil
	})
	return n, err
}

func (w *work) importMerchant(e registry.Entry, approved bool) error {
	m, err := w.merchant(e.Get("mid"))
	if err != nil {
		return err
	}
	if m != nil {
		return w.setMerchant(m, e, "import")
	}
	status := registry.MerchantDraft
	if text := e.Get("status"); text != "" {
		if status, err = registry.Parse[registry.MerchantStatus](text); err != nil {
			return refuse("", "status", "%v", err)
		}
	}
	if status != registry.MerchantDraft && !approved {
		return refuse("", "status", "a new merchant is a draft; --approved says that those in the file were reviewed elsewhere")
	}
	return w.newMerchant(e, status, "import")
}

func (w *work) importMachine(e registry.Entry) error {
	m, err := w.machine(e.Get("serial"))
	if err != nil {
		return err
	}
	status, binds := registry.MachineStock, e.Get("merchant") != ""
	if binds {
		status = registry.MachineBound
	}
	if text := e.Get("status"); text != "" {
		if status, err = registry.Parse[registry.MachineStatus](text); err != nil {
			return refuse("", "status", "%v", err)
		}
	}
	switch {
	case m != nil && (m.status != registry.MachineStock || !binds):
		return w.setMachine(m, e, "import")
	case m == nil:
		m = &machine{Entry: registry.NewTerminal()}
		if m.Put("serial", e.Get("serial")); !binds {
			m.Merge(e)
			m.status = status
			return w.putMachine(m, "import")
		}
	}
	return w.bindTo(m, e, status, "import")
}

// setTable adds or changes a region or a model.
func (w *work) setTable(e registry.Entry, table, key string) error {
	id := e.Get(key)
	was, err := readEntries(w.ctx, w.tx, map[string]func(string) (registry.Entry, error){"region": registry.ParseRegion, "model": registry.ParseModel}[table],
		`SELECT document FROM `+table+` WHERE `+key+` = $1`, id)
	if err != nil {
		return err
	}
	before := ""
	if len(was) > 0 {
		before = was[0].Text()
		merged := was[0].Clone()
		merged.Merge(e)
		e = merged
	}
	text := e.Text()
	if text == before {
		return nil
	}
	w.checker = nil // it knows the old ones
	w.note(table, id, "set", before, text)
	if table == "region" {
		_, err = w.tx.ExecContext(w.ctx, `INSERT INTO region (code, document) VALUES ($1, $2) ON CONFLICT (code) DO UPDATE SET document = excluded.document`, id, text)
	} else {
		_, err = w.tx.ExecContext(w.ctx, `INSERT INTO model (name, number, document) VALUES ($1, (SELECT COALESCE(MAX(number), 0) + 1 FROM model), $2)
			ON CONFLICT (name) DO UPDATE SET document = excluded.document`, id, text)
	}
	if err != nil {
		return failed("write a "+table, err)
	}
	c, err := w.check()
	if err != nil {
		return err
	}
	return c.Err()
}

// SetModel adds a model, or changes the versions of software that its machines
// should have.
func (o *Office) SetModel(ctx context.Context, who Act, e registry.Entry) error {
	return o.do(ctx, who, "model "+e.Get("name"), func(w *work) error { return w.setTable(e, "model", "name") })
}

// Export is the whole registry as a book.
func (o *Office) Export(ctx context.Context) (*registry.Book, error) {
	b := &registry.Book{}
	return b, o.view(ctx, func(v *view) (err error) {
		if b.Regions, b.Models, err = readTables(ctx, v.tx); err != nil {
			return err
		}
		if b.Merchants, err = readEntries(ctx, v.tx, registry.ParseMerchant, `SELECT document FROM merchant ORDER BY id`); err != nil {
			return err
		}
		b.Terminals, err = readEntries(ctx, v.tx, registry.ParseTerminal, `SELECT document FROM machine ORDER BY merchant, terminal, serial`)
		return err
	})
}
