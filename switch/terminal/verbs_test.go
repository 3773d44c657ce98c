package terminal

import (
	"context"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Short forms of Do for tests.

func (c *Client) Void(ctx context.Context, card Card, of Original) (Answer, error) {
	return c.Do(ctx, txn.KindVoid, Transaction{Card: card, Original: of})
}

func (c *Client) Refund(ctx context.Context, card Card, amount txn.Amount, of Original) (Answer, error) {
	return c.Do(ctx, txn.KindRefund, Transaction{Card: card, Amount: amount, Original: of})
}

func (c *Client) Preauth(ctx context.Context, card Card, amount txn.Amount) (Answer, error) {
	return c.Do(ctx, txn.KindPreauth, Transaction{Card: card, Amount: amount})
}

func (c *Client) CompletionAdvice(ctx context.Context, card Card, amount txn.Amount, of Original) (Answer, error) {
	return c.Do(ctx, txn.KindCompletionAdvice, Transaction{Card: card, Amount: amount, Original: of})
}

func (c *Client) OfflineSale(ctx context.Context, card Card, amount txn.Amount, authCode string) (Answer, error) {
	return c.Do(ctx, txn.KindOfflineSale, Transaction{Card: card, Amount: amount, Original: Original{AuthCode: authCode}})
}

func (c *Client) Tip(ctx context.Context, amount txn.Amount, of Original) (Answer, error) {
	return c.Do(ctx, txn.KindTip, Transaction{Amount: amount, Original: of})
}
