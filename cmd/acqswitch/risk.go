package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/risk"
	"github.com/acqswitch/acqswitch/risk/policy"
	"github.com/acqswitch/acqswitch/risk/rules"
	"github.com/acqswitch/acqswitch/switch/keys"
	"github.com/acqswitch/acqswitch/switch/txn"
	"github.com/acqswitch/acqswitch/testdata"
)

func riskCommand(c *console) *cobra.Command {
	return group("risk", "What the risk officer decides by", policyCommand(c), cardTokenCommand(c), riskFactsCommand(c))
}

// builtInPolicy is what the policy of nobody is called in messages.
const builtInPolicy = "(built-in policy)"

// readPolicy loads a policy file, or the built-in policy where none is named;
// any fault is the file's.
func readPolicy(path string) (risk.Policy, error) {
	if path == "" {
		text, err := testdata.Files.ReadFile("policy.yaml")
		if err != nil {
			return risk.Policy{}, err
		}
		return policy.Load(text, builtInPolicy)
	}
	text, err := readPolicyText(path)
	if err != nil {
		return risk.Policy{}, err
	}
	p, err := policy.Load(text, path)
	if err != nil {
		return p, usage(err)
	}
	return p, nil
}

// readPolicyText reads a document up to one byte more than Load takes.
func readPolicyText(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usage(fmt.Errorf("open policy: %w", err))
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, policy.DocumentMax+1))
}

func policyCommand(c *console) *cobra.Command {
	initial := &cobra.Command{
		Use: "init", Short: "Print the built-in policy, with every key, its default and its meaning", Args: noArgs,
		Example: "  acqswitch risk policy init > policy.yaml",
		RunE: func(*cobra.Command, []string) error {
			text, err := testdata.Files.ReadFile("policy.yaml")
			if err != nil {
				return err
			}
			_, err = c.out.Write(text)
			return err
		},
	}
	check := &cobra.Command{
		Use: "check FILE", Short: "Say whether a policy can be used", Args: args(1, "one policy file"),
		Example: "  acqswitch risk policy check policy.yaml",
		RunE: func(_ *cobra.Command, given []string) error {
			if _, err := readPolicy(given[0]); err != nil {
				return err
			}
			_, err := fmt.Fprintln(c.out, "ok")
			return err
		},
	}
	return group("policy", "The document in which the risk officer decides", initial, check)
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
			path := cfg.path(cfg.CardKeys, "card.keys")
			if _, err := os.Stat(path); err != nil {
				return usage(fmt.Errorf("read the key of cards, which a switch makes when it first starts: %w", err))
			}
			cards, err := keys.OpenCards(path)
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
				pan, err := txn.ParsePAN(digits)
				if err != nil || !pan.LuhnValid() {
					return usage(fmt.Errorf("line %d is no card number: 12 to 19 digits, of which the last one checks the others", n))
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
