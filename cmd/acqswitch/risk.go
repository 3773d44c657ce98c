package main

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/risk/rules"
	"github.com/acqswitch/acqswitch/switch/txn"
)

func riskCommand(c *console) *cobra.Command {
	return group("risk", "What the risk officer decides by", policyCommand(c), backtestCommand(c), riskExplainCommand(c), cardTokenCommand(c), riskFactsCommand(c))
}

func cardTokenCommand(c *console) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "card-token", Short: "Make tokens of card numbers, for lists and limits of a policy", Args: noArgs,
		Long: `card-token reads card numbers from standard input, one a line, and prints the token
of each with what may be shown of it. A token is made with the key of card_keys:
it names the card in this switch only, and cannot be turned back.`,
		Example: "  acqswitch risk card-token --config acqswitch.yaml < stolen.txt",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := readConfig(file)
			if err != nil {
				return err
			}
			cards, err := openCards(cfg)
			if err != nil {
				return err
			}
			type token struct {
				Token string `json:"token"`
				Card  string `json:"card"`
			}
			tokens := []token{}
			lines := bufio.NewScanner(cmd.InOrStdin())
			for n := 1; lines.Scan(); n++ {
				digits := strings.TrimSpace(lines.Text())
				if digits == "" {
					continue
				}
				pan, err := parseCard(digits)
				if err != nil {
					return usage(fmt.Errorf("line %d %w", n, err))
				}
				t := cards.Token(&pan)
				tokens = append(tokens, token{hex.EncodeToString(t[:]), pan.Masked()})
			}
			if err := lines.Err(); err != nil {
				return fmt.Errorf("read card numbers: %w", err)
			}
			if c.json() {
				return c.print(tokens)
			}
			for _, t := range tokens {
				if _, err := fmt.Fprintf(c.out, "%s  %s\n", t.Token, t.Card); err != nil {
					return err
				}
			}
			return nil
		},
	}
	configFlag(cmd, &file)
	return cmd
}

// parseCard reads a card number that a person has. Its error does not quote it.
func parseCard(digits string) (txn.PAN, error) {
	pan, err := txn.ParsePAN(digits)
	if err != nil || !pan.LuhnValid() {
		return txn.PAN{}, errors.New("is no card number: 12 to 19 digits, of which the last one checks the others")
	}
	return pan, nil
}

func riskFactsCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use: "facts", Short: "List what the condition of a rule may ask of a request", Args: noArgs,
		Long: `facts lists the names that the condition of a rule may use, of what type each is
and what it means. Where a request does not say something, or nobody knows it,
what depends on it is unknown, and a rule does nothing: known(distance) asks
whether it is known, distance ?? 0 says what to take instead.`,
		Example: "  acqswitch risk facts\n  acqswitch risk facts -o json",
		RunE: func(*cobra.Command, []string) error {
			type fact struct {
				Name  string `json:"name"`
				Type  string `json:"type"`
				About string `json:"about"`
			}
			var all []fact
			for _, f := range rules.All() {
				all = append(all, fact{f.String(), f.Sort(), f.About()})
			}
			if c.json() {
				return c.print(all)
			}
			w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
			for _, f := range all {
				fmt.Fprintf(w, "%s\t%s\t%s\n", f.Name, f.Type, f.About)
			}
			return w.Flush()
		},
	}
}
