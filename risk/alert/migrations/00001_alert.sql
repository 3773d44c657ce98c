-- One schema for SQLite and PostgreSQL, beside the ledger's, from which alerts are
-- fed: TEXT and BIGINT only, instants in microseconds since 1970.

-- +goose Up

-- How far the ledger's findings were looked at: the last one, by its place.
CREATE TABLE alert_feed (
    name     TEXT   NOT NULL PRIMARY KEY,
    position BIGINT NOT NULL, -- of its request in the journal
    item     BIGINT NOT NULL
);
INSERT INTO alert_feed (name, position, item) VALUES ('finding', 0, -1);

-- What a rule found about a subject, until somebody disposes of it. A subject is a
-- merchant, a merchant's terminal or a card; the columns of the others are empty.
CREATE TABLE alert (
    number       BIGINT NOT NULL PRIMARY KEY,
    rule         TEXT   NOT NULL,
    merchant_id  TEXT   NOT NULL,
    terminal_id  TEXT   NOT NULL,
    card_token   TEXT   NOT NULL,
    action       TEXT   NOT NULL, -- the heaviest that was taken
    count        BIGINT NOT NULL, -- of findings
    first_at     BIGINT NOT NULL, -- of their transactions
    last_at      BIGINT NOT NULL,
    state        TEXT   NOT NULL, -- open, assigned, disposed
    assignee     TEXT   NOT NULL,
    hold         BIGINT NOT NULL, -- the act that holds the merchant's payouts for it; 0: none
    risk_type    TEXT   NOT NULL, -- as follows, of the payment association's lists; empty before it is disposed
    source       TEXT   NOT NULL,
    dispositions TEXT   NOT NULL  -- codes with commas
);
CREATE UNIQUE INDEX alert_pending ON alert (rule, merchant_id, terminal_id, card_token) WHERE state <> 'disposed';
CREATE INDEX alert_state ON alert (state, number);

-- The first findings of an alert, each with its transaction.
CREATE TABLE alert_evidence (
    alert       BIGINT NOT NULL,
    item        BIGINT NOT NULL,
    id          BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    rrn         TEXT   NOT NULL,
    merchant_id TEXT   NOT NULL,
    terminal_id TEXT   NOT NULL,
    pan_masked  TEXT   NOT NULL,
    amount      BIGINT NOT NULL,
    currency    BIGINT NOT NULL,
    reason      TEXT   NOT NULL, -- what the transaction was answered
    action      TEXT   NOT NULL,
    seen        BIGINT NOT NULL, -- what the rule compared, and with what
    bound       BIGINT NOT NULL,
    policy      BIGINT NOT NULL,
    PRIMARY KEY (alert, item)
);

-- What people did about alerts; never changed.
CREATE TABLE alert_act (
    alert   BIGINT NOT NULL,
    item    BIGINT NOT NULL,
    at      BIGINT NOT NULL,
    by_whom TEXT   NOT NULL,
    act     TEXT   NOT NULL, -- assign, dispose
    text    TEXT   NOT NULL,
    PRIMARY KEY (alert, item)
);

-- Who is watched, and how closely: the last row of a merchant or terminal counts.
-- Never changed; the last number is the version of the list.
CREATE TABLE watch (
    number      BIGINT NOT NULL PRIMARY KEY,
    at          BIGINT NOT NULL,
    merchant_id TEXT   NOT NULL, -- one of the two
    terminal_id TEXT   NOT NULL,
    level       BIGINT NOT NULL,
    hold        BIGINT NOT NULL, -- the act that holds the merchant's payouts for it; 0: none
    by_whom     TEXT   NOT NULL,
    reason      TEXT   NOT NULL
);
CREATE INDEX watch_subject ON watch (merchant_id, terminal_id, number);
