-- +goose Up

-- Issuers' files that were taken; never changed. One per issuer, business day,
-- currency and merchant, and none twice.
CREATE TABLE recon_file (
    sha256        TEXT   NOT NULL PRIMARY KEY,
    issuer        TEXT   NOT NULL,
    business_date TEXT   NOT NULL CHECK (length(business_date) = 10),
    currency      BIGINT NOT NULL, -- 0: of all currencies
    merchant_id   TEXT   NOT NULL, -- empty: of all merchants
    layout        TEXT   NOT NULL,
    name          TEXT   NOT NULL,
    at            BIGINT NOT NULL,
    by_whom       TEXT   NOT NULL,
    lines         BIGINT NOT NULL,
    debits        BIGINT NOT NULL,
    credits       BIGINT NOT NULL,
    matched       BIGINT NOT NULL,
    tolerated     BIGINT NOT NULL, -- of these, whose amounts differ a little
    late          BIGINT NOT NULL, -- matched with what another day's file left open
    exceptions    BIGINT NOT NULL
);
CREATE UNIQUE INDEX recon_file_day ON recon_file (issuer, business_date, currency, merchant_id);

-- What did not match, numbered without gaps; never changed. What people, or a later
-- file, did about it is in recon_act: it is in the state of its last row there, and
-- open without one.
CREATE TABLE recon_exception (
    number        BIGINT NOT NULL PRIMARY KEY,
    file          TEXT   NOT NULL, -- hash
    issuer        TEXT   NOT NULL,
    business_date TEXT   NOT NULL CHECK (length(business_date) = 10), -- of the file
    state         TEXT   NOT NULL, -- ours only, theirs only, differs, duplicate
    cause         TEXT   NOT NULL,
    issuer_stan   BIGINT NOT NULL,
    issuer_time   TEXT   NOT NULL,
    line          BIGINT NOT NULL, -- of the file; 0: none
    id            BIGINT NOT NULL, -- our transaction; 0: none
    merchant_id   TEXT   NOT NULL,
    terminal_id   TEXT   NOT NULL,
    rrn           TEXT   NOT NULL,
    pan_masked    TEXT   NOT NULL,
    ours          BIGINT NOT NULL, -- minor units; below zero the cardholder gets back
    ours_currency BIGINT NOT NULL, -- 0: we do not have it
    theirs        BIGINT NOT NULL,
    theirs_currency BIGINT NOT NULL,
    columns       TEXT   NOT NULL  -- of the line, JSON, card numbers masked
);
CREATE INDEX recon_exception_issuer ON recon_exception (issuer, number);

-- What was done about exceptions, in order; never changed.
CREATE TABLE recon_act (
    exception BIGINT NOT NULL,
    item      BIGINT NOT NULL,
    at        BIGINT NOT NULL,
    act       TEXT   NOT NULL, -- write-off, adjust, claim, resend; late: a later file settled it
    by_whom   TEXT   NOT NULL, -- who approved it
    reason    TEXT   NOT NULL,
    proposal  BIGINT NOT NULL, -- 0: none
    file      TEXT   NOT NULL, -- hash of the later file
    PRIMARY KEY (exception, item)
);
