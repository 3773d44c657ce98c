-- +goose Up

-- What a transaction's machine said of itself and of where it is, in millionths
-- of a degree; empty and zero where it said nothing.
ALTER TABLE txn ADD COLUMN serial TEXT NOT NULL DEFAULT '';
ALTER TABLE txn ADD COLUMN lat BIGINT NOT NULL DEFAULT 0;
ALTER TABLE txn ADD COLUMN lng BIGINT NOT NULL DEFAULT 0;
ALTER TABLE event ADD COLUMN serial TEXT NOT NULL DEFAULT '';
ALTER TABLE event ADD COLUMN lat BIGINT NOT NULL DEFAULT 0;
ALTER TABLE event ADD COLUMN lng BIGINT NOT NULL DEFAULT 0;

-- The use of a day's limits is the sum of held (1, 0 or -1) over its outcomes
-- and its reversals done. Until now all that was reversed were sales.
UPDATE event SET held = -1 WHERE kind = 'reversal done';
UPDATE event SET held = 1 WHERE kind = 'reversal due';

-- What was done about a transaction: voids, refunds, completions.
CREATE INDEX txn_original ON txn (merchant_id, original_id) WHERE original_id <> 0;
CREATE INDEX txn_preauth ON txn (merchant_id, card_token) WHERE request = 'preauth';
