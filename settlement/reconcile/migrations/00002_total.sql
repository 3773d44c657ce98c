-- +goose Up

-- What both sides have of a file's day by currency when the file was taken, in minor
-- units; never changed. Of each currency
-- theirs = ours + excepted + late + tolerated, each debits less credits.
CREATE TABLE recon_total (
    file           TEXT   NOT NULL, -- hash
    currency       BIGINT NOT NULL,
    ours           BIGINT NOT NULL, -- how many of our transactions stood
    ours_debits    BIGINT NOT NULL,
    ours_credits   BIGINT NOT NULL,
    theirs         BIGINT NOT NULL, -- how many lines counted
    theirs_debits  BIGINT NOT NULL,
    theirs_credits BIGINT NOT NULL,
    excepted       BIGINT NOT NULL, -- in the exceptions of the file
    late           BIGINT NOT NULL, -- matched with what another day's file left open
    tolerated      BIGINT NOT NULL,
    PRIMARY KEY (file, currency)
);
