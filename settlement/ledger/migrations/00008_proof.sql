-- +goose Up

-- Whether the day's transactions in the journal were held against the ledger's
-- when the run began: 1 yes, and they were equal; 0 they were not in the journal
-- any more.
ALTER TABLE run ADD COLUMN journal_compared BIGINT NOT NULL DEFAULT 0;
