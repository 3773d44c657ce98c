package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/risk/rules"
)

func riskCommand(c *console) *cobra.Command {
	return group("risk", "What the risk officer decides by", riskFactsCommand(c))
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
