package terminal

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// What most tests ask for.

func (c *Client) Balance(ctx context.Context, card Card) (Answer, error) {
	return c.Do(ctx, txn.KindBalance, Transaction{Card: card})
}

func (c *Client) Sale(ctx context.Context, card Card, amount txn.Amount) (Answer, error) {
	return c.Do(ctx, txn.KindSale, Transaction{Card: card, Amount: amount})
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
