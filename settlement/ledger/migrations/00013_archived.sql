-- +goose Up

-- Business days whose rows of txn, event, batch, batch_item and finding are kept in
-- files (settlement.ArchiveDay). Of a day that was brought back there is no row.
CREATE TABLE archived (
    business_date TEXT   NOT NULL PRIMARY KEY CHECK (length(business_date) = 10),
    at            BIGINT NOT NULL,
    first         BIGINT NOT NULL, -- journal positions of its rows: a later one is
    last          BIGINT NOT NULL, -- of what came after, and stays
    txns          BIGINT NOT NULL,
    manifest      TEXT   NOT NULL, -- hash of the manifest of its files
    state         TEXT   NOT NULL  -- removing: its rows may be here in part; removed; purged: the files are gone too
);
