-- +goose Up

-- What an act is about, besides its merchant: of what the bank said to a payment
-- its end-to-end id, of a dispute the step of its case; else empty. Each kind of
-- act is there once about one thing.
ALTER TABLE act ADD COLUMN about TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX act_about ON act (about, kind) WHERE about <> '';
CREATE INDEX act_kind ON act (kind, number);
CREATE INDEX act_claim ON act (merchant_id, currency, kind, about);

-- Of what was paid out earlier, what came back; and what disputes took from the
-- merchant (below zero) or gave back to it:
-- opening + net + corrections + returned + disputes + released - reserved - paid = closing
ALTER TABLE payout ADD COLUMN returned BIGINT NOT NULL DEFAULT 0;
ALTER TABLE payout ADD COLUMN disputes BIGINT NOT NULL DEFAULT 0;
