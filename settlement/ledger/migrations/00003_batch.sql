-- +goose Up

-- What terminals settled: one row per settlement, upload and end of upload that
-- was answered, and per batch that we closed; never changed. A batch is in the
-- state of its last row, and open without one. The answer itself is the row of
-- the same position in txn.
CREATE TABLE batch (
    merchant_id          TEXT   NOT NULL,
    terminal_id          TEXT   NOT NULL,
    batch                BIGINT NOT NULL,
    position             BIGINT NOT NULL, -- in the journal
    business_date        TEXT   NOT NULL CHECK (length(business_date) = 10),
    at                   BIGINT NOT NULL,
    id                   BIGINT NOT NULL,
    step                 TEXT   NOT NULL, -- settle, upload, end, close
    state                TEXT   NOT NULL, -- after it
    opened               TEXT   NOT NULL, -- business date, 0000-00-00: nothing was in it
    code                 BIGINT NOT NULL, -- what was uploaded (DE60.3)
    currency             BIGINT NOT NULL,
    result               TEXT   NOT NULL, -- how the totals compare, of domestic cards
    result_foreign       TEXT   NOT NULL,
    theirs_debit_count   BIGINT NOT NULL, -- the terminal's, of all cards
    theirs_debit_amount  BIGINT NOT NULL,
    theirs_credit_count  BIGINT NOT NULL,
    theirs_credit_amount BIGINT NOT NULL,
    ours_debit_count     BIGINT NOT NULL,
    ours_debit_amount    BIGINT NOT NULL,
    ours_credit_count    BIGINT NOT NULL,
    ours_credit_amount   BIGINT NOT NULL,
    announced            BIGINT NOT NULL, -- items, by the end of an upload
    received             BIGINT NOT NULL, -- different ones
    missing_debit_count   BIGINT NOT NULL, -- ours that were not uploaded, also those
    missing_debit_amount  BIGINT NOT NULL, -- that batch_item does not list
    missing_credit_count  BIGINT NOT NULL,
    missing_credit_amount BIGINT NOT NULL,
    PRIMARY KEY (merchant_id, terminal_id, batch, position)
);
CREATE INDEX batch_day ON batch (business_date, position);

-- What was uploaded and does not match, and the first of what matches nothing
-- uploaded: for people to decide. An item that was uploaded again is here again.
CREATE TABLE batch_item (
    merchant_id   TEXT   NOT NULL,
    terminal_id   TEXT   NOT NULL,
    batch         BIGINT NOT NULL,
    position      BIGINT NOT NULL,
    item          BIGINT NOT NULL,
    business_date TEXT   NOT NULL CHECK (length(business_date) = 10),
    stan          BIGINT NOT NULL,
    verdict       TEXT   NOT NULL,
    request       TEXT   NOT NULL, -- what the terminal says it is; unknown if it does not
    currency      BIGINT NOT NULL,
    theirs        BIGINT NOT NULL, -- amounts; 0: the side does not have it
    ours          BIGINT NOT NULL,
    card_token    TEXT   NOT NULL,
    pan_masked    TEXT   NOT NULL,
    PRIMARY KEY (merchant_id, terminal_id, batch, position, item)
);
CREATE INDEX batch_item_day ON batch_item (business_date, position);
