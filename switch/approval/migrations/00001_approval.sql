-- One schema for SQLite and PostgreSQL, as the ledger's. Rows are never changed.

-- +goose Up

-- What somebody wants done.
CREATE TABLE proposal (
    number   BIGINT NOT NULL PRIMARY KEY,
    subject  TEXT   NOT NULL,
    object   TEXT   NOT NULL,
    document TEXT   NOT NULL,
    by_whom  TEXT   NOT NULL,
    reason   TEXT   NOT NULL,
    at       BIGINT NOT NULL -- microseconds since 1970
);

-- What another person decided, once.
CREATE TABLE proposal_decision (
    number   BIGINT NOT NULL PRIMARY KEY,
    state    TEXT   NOT NULL, -- approved, rejected
    by_whom  TEXT   NOT NULL,
    reason   TEXT   NOT NULL,
    at       BIGINT NOT NULL
);
