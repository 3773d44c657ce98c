package main

import (
	"fmt"
	"strings"

	"github.com/acqswitch/acqswitch/switch/txn"

	acquirer "github.com/acqswitch/acqswitch/switch"
)

// standInConfig is one issuer's; see acquirer.StandIn.
type standInConfig struct {
	Issuer      string         `yaml:"issuer"`
	Currency    uint16         `yaml:"currency"`
	Transaction int64          `yaml:"transaction"`
	MCCs        []uint16       `yaml:"mccs"`
	Cards       []string       `yaml:"cards"`
	WithPIN     bool           `yaml:"with_pin"`
	Exposure    exposureConfig `yaml:"exposure"`
}

type exposureConfig struct {
	Issuer   int64 `yaml:"issuer"`
	Merchant int64 `yaml:"merchant"`
	Terminal int64 `yaml:"terminal"`
	Card     int64 `yaml:"card"`
}

// standIns are the rules by issuer.
func (c *config) standIns() (map[txn.IssuerID]acquirer.StandIn, error) {
	all := map[txn.IssuerID]acquirer.StandIn{}
	for _, y := range c.StandIn {
		known := false
		for _, is := range c.Issuers {
			known = known || is.Name == y.Issuer
		}
		id := txn.MakeIssuerID(y.Issuer)
		if _, twice := all[id]; !known || twice {
			return nil, fmt.Errorf("issuer %q must be one of issuers, once", y.Issuer)
		}
		r := acquirer.StandIn{Currency: txn.Currency(y.Currency), Transaction: y.Transaction, MCCs: y.MCCs, WithPIN: y.WithPIN,
			Issuer: y.Exposure.Issuer, Merchant: y.Exposure.Merchant, Terminal: y.Exposure.Terminal, Card: y.Exposure.Card}
		for _, word := range y.Cards {
			t, ok := cardType(word)
			if !ok {
				return nil, fmt.Errorf("card type %q must be debit, credit, prepaid or unknown", word)
			}
			r.Cards |= 1 << t
		}
		if err := r.Check(); err != nil {
			return nil, fmt.Errorf("issuer %q: %w", y.Issuer, err)
		}
		all[id] = r
	}
	return all, nil
}

func cardType(word string) (txn.CardType, bool) {
	for t := txn.CardUnknown; t <= txn.CardPrepaid; t++ {
		if strings.EqualFold(t.String(), word) {
			return t, true
		}
	}
	return 0, false
}
