-- One schema for SQLite and PostgreSQL, as the ledger's. Rows are never changed.

-- +goose Up

-- What was in force; the highest number is. Each stands on its proposal, but one
-- that restores the version before.
CREATE TABLE risk_policy (
    number      BIGINT NOT NULL PRIMARY KEY,
    hash        TEXT   NOT NULL, -- SHA-256 of the document
    document    TEXT   NOT NULL,
    proposal    BIGINT NOT NULL, -- 0: none
    restores    BIGINT NOT NULL, -- the version whose document this is; 0: a new one
    by_whom     TEXT   NOT NULL, -- who proposed or restored it
    approved_by TEXT   NOT NULL,
    reason      TEXT   NOT NULL,
    at          BIGINT NOT NULL  -- microseconds since 1970
);

-- Which rule a number is, for ever: it is in findings.
CREATE TABLE risk_rule (
    number BIGINT NOT NULL PRIMARY KEY,
    name   TEXT   NOT NULL,
    policy BIGINT NOT NULL -- the first with it
);
