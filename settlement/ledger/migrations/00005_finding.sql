-- +goose Up

-- What risk counts a transaction by, besides what was kept already.
ALTER TABLE txn ADD COLUMN card_type TEXT NOT NULL DEFAULT 'unknown'; -- debit, credit, prepaid
ALTER TABLE txn ADD COLUMN pin BIGINT NOT NULL DEFAULT 0;             -- 1: the request had a PIN
ALTER TABLE txn ADD COLUMN identity TEXT NOT NULL DEFAULT '';         -- keyed hash of the merchant's document, hex
ALTER TABLE event ADD COLUMN card_type TEXT NOT NULL DEFAULT 'unknown';
ALTER TABLE event ADD COLUMN pin BIGINT NOT NULL DEFAULT 0;
ALTER TABLE event ADD COLUMN identity TEXT NOT NULL DEFAULT '';

-- What the rules of risk said of a decided request; never changed. The request
-- is the row of the same position in txn.
CREATE TABLE finding (
    merchant_id   TEXT   NOT NULL,
    business_date TEXT   NOT NULL CHECK (length(business_date) = 10),
    position      BIGINT NOT NULL, -- in the journal
    item          BIGINT NOT NULL,
    terminal_id   TEXT   NOT NULL,
    id            BIGINT NOT NULL,
    rule          TEXT   NOT NULL, -- T11; C1000 and above are the risk officer's own
    action        TEXT   NOT NULL, -- alert, review, hold, refuse
    shadow        BIGINT NOT NULL, -- 1: counted only, not taken
    policy        BIGINT NOT NULL, -- the number of the one in force
    seen          BIGINT NOT NULL, -- what the rule compared, and with what; 0 and 0
    bound         BIGINT NOT NULL, -- where it compared no numbers
    PRIMARY KEY (merchant_id, business_date, position, item)
);
CREATE INDEX finding_position ON finding (position);
