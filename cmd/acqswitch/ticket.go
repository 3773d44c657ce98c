package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/acqswitch/acqswitch/switch/registry/office"
)

func ticketCommand(c *console) *cobra.Command {
	var kind string
	open := acting(c, "open SERIAL TEXT", "Open a ticket about a machine", `  acqswitch ticket open 00002304SN0000009001 "it eats cards" --kind repair --by li`, args(2, "a serial number and what it is about"),
		func(ctx context.Context, o *office.Office, who office.Act, given []string) (string, error) {
			if err := oneOf(kind, office.TicketKinds...); err != nil {
				return "", usage(fmt.Errorf("--kind %w", err))
			}
			t, err := o.OpenTicket(ctx, who, office.Ticket{Serial: given[0], Kind: kind, Said: given[1]})
			return fmt.Sprintf("ticket %d is open", t.Number), err
		})
	open.Flags().StringVar(&kind, "kind", "repair", "inquiry, repair or complaint")
	var all bool
	list := reading(&cobra.Command{Use: "list", Short: "List tickets", Args: noArgs, Example: "  acqswitch ticket list"},
		func(ctx context.Context, o *office.Office, _ []string) error {
			found, err := o.Tickets(ctx, all)
			if err != nil {
				return err
			}
			return printTable(c, "number\tkind\tstatus\tserial\ttid\tmerchant\tassignee\topened\tsaid\tanswer", found, func(t *office.Ticket) []any {
				return []any{t.Number, t.Kind, t.Status, t.Serial, t.Terminal, t.Merchant, t.Assignee, t.Opened.Format(time.DateOnly), oneLine(t.Said), oneLine(t.Answer)}
			})
		})
	list.Flags().BoolVar(&all, "all", false, "also those that are closed")
	children := []*cobra.Command{open, list}
	for _, act := range []struct {
		name, use, short string
		args             cobra.PositionalArgs
	}{
		{"assign", "assign NUMBER PERSON", "Assign a ticket to somebody", args(2, "a number and a person")},
		{"resolve", "resolve NUMBER TEXT", "Say how a ticket was resolved", args(2, "a number and a text")},
		{"reopen", "reopen NUMBER", "Open a resolved ticket again", args(1, "one number")},
		{"close", "close NUMBER", "Close a resolved ticket", args(1, "one number")},
	} {
		children = append(children, acting(c, act.use, act.short, "  acqswitch ticket "+strings.NewReplacer("NUMBER", "7", "PERSON", "zhao", "TEXT", `"new reader"`).Replace(act.use)+" --by li", act.args,
			func(ctx context.Context, o *office.Office, who office.Act, given []string) (string, error) {
				n, err := number(given[0])
				if err != nil {
					return "", err
				}
				t, err := o.StepTicket(ctx, who, n, act.name, strings.Join(given[1:], ""))
				return "is " + t.Status, err
			}))
	}
	return group("ticket", "Keep requests for service of machines", children...)
}
