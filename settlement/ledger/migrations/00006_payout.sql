-- +goose Up

-- When a run began, in microseconds since 1970; what it paid by; and the number of
-- the last act that it takes into account. Empty in runs of versions that paid
-- nobody.
ALTER TABLE run ADD COLUMN at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN payouts TEXT NOT NULL DEFAULT ''; -- hash of the payout_terms
ALTER TABLE run ADD COLUMN acts BIGINT NOT NULL DEFAULT 0;

-- What runs paid by: the files of merchants' accounts and of working days as they
-- were, by their hash.
CREATE TABLE payout_terms (
    sha256    TEXT NOT NULL PRIMARY KEY,
    merchants TEXT NOT NULL,
    calendar  TEXT NOT NULL
);

-- What a run decided about a merchant and currency; never changed. A merchant
-- without a row in a run had nothing and moved nothing.
-- opening + net + corrections + released - reserved - paid = closing
CREATE TABLE payout (
    merchant_id   TEXT   NOT NULL,
    business_date TEXT   NOT NULL CHECK (length(business_date) = 10), -- of the run
    currency      BIGINT NOT NULL,
    opening       BIGINT NOT NULL, -- closing of the run before
    net           BIGINT NOT NULL,
    corrections   BIGINT NOT NULL,
    released      BIGINT NOT NULL, -- from the reserve
    reserved      BIGINT NOT NULL,
    reserve_until TEXT   NOT NULL, -- business date whose run gives it back
    paid          BIGINT NOT NULL,
    executes      TEXT   NOT NULL, -- by the bank; 0000-00-00: nothing is paid
    closing       BIGINT NOT NULL,
    PRIMARY KEY (merchant_id, business_date, currency)
);
CREATE INDEX payout_day ON payout (business_date);
CREATE INDEX payout_reserve ON payout (reserve_until) WHERE reserved <> 0;

-- What people decided about payouts and books, numbered without gaps; never
-- changed. A hold stands until it is released. A correction is there when two
-- people agreed: it is a proposal that was approved.
CREATE TABLE act (
    number      BIGINT NOT NULL PRIMARY KEY,
    at          BIGINT NOT NULL,
    kind        TEXT   NOT NULL, -- hold, release, correction
    who         TEXT   NOT NULL, -- of a correction: who approved it
    reason      TEXT   NOT NULL, -- of a correction: why it was proposed
    refers      BIGINT NOT NULL, -- of a release: the hold's number; of a correction: the proposal's; else 0
    merchant_id TEXT   NOT NULL,
    proposer    TEXT   NOT NULL, -- of corrections, as what follows
    currency    BIGINT NOT NULL,
    debit       TEXT   NOT NULL, -- account
    credit      TEXT   NOT NULL,
    amount      BIGINT NOT NULL
);
-- A hold is released once, a proposal booked once.
CREATE UNIQUE INDEX act_refers ON act (kind, refers) WHERE refers <> 0;
