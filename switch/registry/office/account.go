package office

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/acqswitch/acqswitch/switch/approval"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/registry"
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

// secret are the keys whose texts are given in clear and kept sealed.
var secret = []struct{ number, sealed, about string }{
	{"identity_number", "identity_sealed", "identity of "},
	{"account", "account_sealed", "account of "},
}

// seal replaces numbers in clear. A number that is sealed there already keeps its
// seal, so that nothing changes where nothing changed.
func (w *work) seal(e registry.Entry) error {
	for _, s := range secret {
		number := e.Get(s.number)
		if number == "" {
			continue
		}
		about := s.about + e.Get("mid")
		if was, err := w.o.cards.OpenText(e.Get(s.sealed), about); err != nil || was != number {
			sealed, err := w.o.cards.SealText(number, about)
			if err != nil {
				return err
			}
			e.Put(s.sealed, sealed)
		}
		if s.number == "account" {
			e.Put("account_masked", mask(number))
		} else {
			e.Put("identity", fmt.Sprintf("%x", w.o.cards.Hash("identity", strings.ToUpper(number))))
		}
		e.Put(s.number, "")
	}
	return nil
}

// mask leaves the last four characters, or none of a short number.
func mask(number string) string {
	shown := 4
	if len(number) < 8 {
		shown = 0
	}
	return strings.Repeat("*", len(number)-shown) + number[len(number)-shown:]
}

// payeeKeys say where a merchant's money goes, as they are kept.
var payeeKeys = [...]string{"account_sealed", "account_masked", "account_owner", "bank"}

func payeeOf(e registry.Entry) (texts [len(payeeKeys)]string) {
	for i, key := range payeeKeys {
		texts[i] = e.Get(key)
	}
	return texts
}

// AccountSubject is the subject of proposals to pay a merchant elsewhere.
const AccountSubject = "merchant account"

const accountAct = "account"

// paidAsBefore refuses to let one person alone change where a merchant is paid. One that
// was never submitted may be changed: nobody has looked at its account yet.
func (w *work) paidAsBefore(m *merchant) error {
	if m.was == "" || m.status == registry.MerchantDraft || m.status == registry.MerchantRejected {
		return nil
	}
	was, err := registry.ParseMerchant(m.was)
	if err != nil {
		return err
	}
	if payeeOf(m.Entry) != payeeOf(was) {
		return refuse("", "account", "merchant %s is %s: where it is paid is changed by two people, propose it with merchant account", m.Get("mid"), m.status)
	}
	return nil
}

// ProposeAccount proposes to pay a merchant elsewhere: e has its mid and what is
// new of account, account_owner and bank. What SetMerchant would refuse of them is
// refused now, and again when it is approved.
func (o *Office) ProposeAccount(ctx context.Context, who Act, e registry.Entry) (p approval.Proposal, err error) {
	id := e.Get("mid")
	for key := range e.All() {
		switch key {
		case "mid", "account", "account_owner", "bank":
		default:
			return p, &yamlfile.Problem{File: "merchant " + id, Field: key, What: "does not say where it is paid: account, account_owner and bank do"}
		}
	}
	err = o.db.Update(ctx, func(tx *sql.Tx) error {
		paid := registry.NewMerchant()
		err := o.within(ctx, tx, who, "merchant "+id, func(w *work) error {
			m, err := w.knownMerchant(id)
			if err != nil {
				return err
			}
			if m.status == registry.MerchantDraft || m.status == registry.MerchantRejected {
				return refuse("", "account", "merchant %s is %s: change it with merchant set", id, m.status)
			}
			was := payeeOf(m.Entry)
			m.Merge(e)
			if err := errors.Join(w.mend(m, accountAct), w.problems()); err != nil {
				return err
			}
			if payeeOf(m.Entry) == was {
				return refuse("", "account", "merchant %s is paid so already", id)
			}
			if m.Get("account_sealed") == "" || m.Get("account_owner") == "" {
				return refuse("", "account", "merchant %s is %s, and would have no account or none of an owner", id, m.status)
			}
			for _, key := range append([]string{"mid"}, payeeKeys[:]...) {
				paid.Put(key, m.Get(key))
			}
			return errTried
		})
		if !errors.Is(err, errTried) {
			return err
		}
		text, err := json.Marshal(map[string]string{"entry": paid.Text()})
		if err != nil {
			return err
		}
		p, err = approval.ProposeIn(ctx, tx, approval.Draft{Subject: AccountSubject, Object: id, Document: string(text), By: who.By, Reason: who.Reason})
		return err
	})
	return p, err
}

// ApproveAccount pays a merchant as somebody else proposed it.
func (o *Office) ApproveAccount(ctx context.Context, who Act, number int64) (approval.Proposal, error) {
	return o.approve(ctx, AccountSubject, registry.ParseMerchant, who, number, func(w *work, e registry.Entry) error {
		m, err := w.knownMerchant(e.Get("mid"))
		if err != nil {
			return err
		}
		for _, key := range payeeKeys {
			m.Put(key, e.Get(key))
		}
		return w.mend(m, accountAct)
	})
}

// approve does what somebody else proposed about an entry.
func (o *Office) approve(ctx context.Context, subject string, parse func(string) (registry.Entry, error), who Act, number int64, do func(*work, registry.Entry) error) (approval.Proposal, error) {
	return o.desk.Approve(ctx, subject, number, who.By, who.Reason, func(tx *sql.Tx, p *approval.Proposal) error {
		var document struct{ Entry string }
		if err := json.Unmarshal([]byte(p.Document), &document); err != nil {
			return fmt.Errorf("read proposal %d: %w", number, err)
		}
		e, err := parse(document.Entry)
		if err != nil {
			return err
		}
		what, _, _ := strings.Cut(subject, " ")
		why := Act{who.By, fmt.Sprintf("proposal %d of %s: %s", number, p.By, p.Reason)}
		return o.within(ctx, tx, why, what+" "+p.Object, func(w *work) error { return do(w, e) })
	})
}

// OpenAccount is the number of a settlement account that an office sealed.
func OpenAccount(cards *keys.Cards, merchant, sealed string) (string, error) {
	return cards.OpenText(sealed, "account of "+merchant)
}
