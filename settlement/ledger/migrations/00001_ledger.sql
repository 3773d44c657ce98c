-- One schema for SQLite and PostgreSQL, and for databases that speak
-- PostgreSQL's protocol over many nodes: TEXT and BIGINT only, no server-made
-- keys or times, merchant_id first in every key.
--
-- Instants are microseconds since 1970 (UTC). Ids, amounts and counts are
-- integers; amounts are minor units of the currency (ISO 4217 numeric). Bytes
-- that are not printable ASCII are stored as \x and hex digits.

-- +goose Up

-- One row per decided request, never changed. repeat_id is 0 for a request
-- that was put to its issuer, of which there can be one per terminal, batch,
-- STAN and class in a business day. A request that was decided without the
-- issuer (refused, never sent) may share these with another one: its repeat_id
-- is its own id. In the key the STAN comes before the terminal, so that two rows of
-- one merchant and day seldom have more alike than these when they are compared;
-- ledgers made before have them the other way round, which is the same rule.
CREATE TABLE txn (
    repeat_id         BIGINT NOT NULL,
    merchant_id       TEXT   NOT NULL,
    business_date     TEXT   NOT NULL CHECK (length(business_date) = 10),
    terminal_id       TEXT   NOT NULL,
    batch             BIGINT NOT NULL,
    stan              BIGINT NOT NULL,
    class             BIGINT NOT NULL,
    id                BIGINT NOT NULL,
    position          BIGINT NOT NULL, -- in the journal
    at                BIGINT NOT NULL,
    acquirer          BIGINT NOT NULL,
    fingerprint       BIGINT NOT NULL,
    dialect           BIGINT NOT NULL,
    request           TEXT   NOT NULL,
    mti               TEXT   NOT NULL,
    processing_code   TEXT   NOT NULL,
    condition_code    TEXT   NOT NULL,
    entry_mode        BIGINT NOT NULL,
    mcc               BIGINT NOT NULL,
    region            BIGINT NOT NULL,
    amount            BIGINT NOT NULL,
    currency          BIGINT NOT NULL,
    card_token        TEXT   NOT NULL, -- keyed hash, hex
    pan_masked        TEXT   NOT NULL,
    pan_sealed        TEXT   NOT NULL, -- AES-256-GCM, hex
    held              BIGINT NOT NULL, -- 1: counts against the day's limits
    owes              BIGINT NOT NULL, -- 1: owes a reversal until one is done
    issuer            TEXT   NOT NULL,
    issuer_stan       BIGINT NOT NULL,
    issuer_time       TEXT   NOT NULL,
    outcome           TEXT   NOT NULL,
    reason            TEXT   NOT NULL,
    code              TEXT   NOT NULL, -- DE39 told to the terminal
    issuer_code       TEXT   NOT NULL,
    auth_code         TEXT   NOT NULL,
    rrn               TEXT   NOT NULL,
    local_time        TEXT   NOT NULL,
    local_date        TEXT   NOT NULL,
    settlement_date   TEXT   NOT NULL,
    original_id       BIGINT NOT NULL,
    original_key      TEXT   NOT NULL,
    attempts          BIGINT NOT NULL,
    PRIMARY KEY (merchant_id, business_date, stan, terminal_id, batch, class, repeat_id)
);
-- Rises with time within a day, so inserting into it stays cheap.
CREATE INDEX txn_rrn ON txn (business_date, rrn);
CREATE INDEX txn_owes ON txn (merchant_id, id) WHERE owes = 1;

-- What happened to a transaction after its outcome, never changed: a reversal
-- became due, a reversal was done, an issuer answered late. original_id is the
-- transaction; amount, card, day and issuer leg are its own. The id and key are
-- those of the terminal's reversal request where one asked for it.
CREATE TABLE event (
    kind              TEXT   NOT NULL, -- reversal due, reversal done, late
    merchant_id       TEXT   NOT NULL,
    business_date     TEXT   NOT NULL CHECK (length(business_date) = 10),
    terminal_id       TEXT   NOT NULL,
    batch             BIGINT NOT NULL,
    stan              BIGINT NOT NULL,
    class             BIGINT NOT NULL,
    id                BIGINT NOT NULL,
    position          BIGINT NOT NULL,
    at                BIGINT NOT NULL,
    acquirer          BIGINT NOT NULL,
    fingerprint       BIGINT NOT NULL,
    dialect           BIGINT NOT NULL,
    request           TEXT   NOT NULL,
    mti               TEXT   NOT NULL,
    processing_code   TEXT   NOT NULL,
    condition_code    TEXT   NOT NULL,
    entry_mode        BIGINT NOT NULL,
    mcc               BIGINT NOT NULL,
    region            BIGINT NOT NULL,
    amount            BIGINT NOT NULL,
    currency          BIGINT NOT NULL,
    card_token        TEXT   NOT NULL,
    pan_masked        TEXT   NOT NULL,
    pan_sealed        TEXT   NOT NULL,
    held              BIGINT NOT NULL,
    owes              BIGINT NOT NULL,
    issuer            TEXT   NOT NULL,
    issuer_stan       BIGINT NOT NULL,
    issuer_time       TEXT   NOT NULL,
    outcome           TEXT   NOT NULL,
    reason            TEXT   NOT NULL,
    code              TEXT   NOT NULL,
    issuer_code       TEXT   NOT NULL,
    auth_code         TEXT   NOT NULL,
    rrn               TEXT   NOT NULL,
    local_time        TEXT   NOT NULL,
    local_date        TEXT   NOT NULL,
    settlement_date   TEXT   NOT NULL,
    original_id       BIGINT NOT NULL,
    original_key      TEXT   NOT NULL,
    attempts          BIGINT NOT NULL,
    PRIMARY KEY (merchant_id, original_id, position)
);
CREATE INDEX event_day ON event (business_date, kind);

-- How far the journal has been copied, changed in the transaction that copies.
CREATE TABLE drain (
    name     TEXT   NOT NULL PRIMARY KEY,
    position BIGINT NOT NULL
);
INSERT INTO drain (name, position) VALUES ('journal', 0);
