-- One schema for SQLite and PostgreSQL, as the ledger's: TEXT and BIGINT only.
-- document is an entry of the registry's file, a line "key text" for each key;
-- the other columns repeat what is looked for. Numbers of identity documents and
-- accounts stand in it sealed, and as keyed hashes.

-- +goose Up

CREATE TABLE merchant (
    id           TEXT   NOT NULL PRIMARY KEY,
    status       TEXT   NOT NULL,
    identity     TEXT   NOT NULL, -- keyed hash, hex
    account      TEXT   NOT NULL, -- keyed hash, hex
    legal_name   TEXT   NOT NULL,
    licence_ends BIGINT NOT NULL, -- yyyymmdd, 0 never
    document     TEXT   NOT NULL
);
CREATE INDEX merchant_identity ON merchant (identity) WHERE identity <> '';

CREATE TABLE machine (
    serial    TEXT   NOT NULL PRIMARY KEY,
    terminal  TEXT   NOT NULL, -- empty in stock
    merchant  TEXT   NOT NULL,
    status    TEXT   NOT NULL,
    seen      BIGINT NOT NULL, -- yyyymmdd: it sold on this day, or later
    inspected BIGINT NOT NULL, -- yyyymmdd, or when it was bound
    document  TEXT   NOT NULL
);
CREATE UNIQUE INDEX machine_terminal ON machine (terminal) WHERE terminal <> '';
CREATE INDEX machine_merchant ON machine (merchant) WHERE merchant <> '';
CREATE INDEX machine_seen ON machine (status, seen);

CREATE TABLE region (
    code     TEXT NOT NULL PRIMARY KEY,
    document TEXT NOT NULL
);

-- A model keeps its number for good: rows of terminals have it.
CREATE TABLE model (
    name     TEXT   NOT NULL PRIMARY KEY,
    number   BIGINT NOT NULL,
    document TEXT   NOT NULL
);

-- Everything that was ever changed, by whom and why; never changed itself. The
-- last number is the version of the registry.
CREATE TABLE change (
    number  BIGINT NOT NULL PRIMARY KEY,
    at      BIGINT NOT NULL, -- microseconds since 1970
    by_whom TEXT   NOT NULL,
    reason  TEXT   NOT NULL,
    subject TEXT   NOT NULL, -- merchant, machine, region, model, ticket, blacklist
    object  TEXT   NOT NULL,
    act     TEXT   NOT NULL,
    was     TEXT   NOT NULL, -- document before and after
    becomes TEXT   NOT NULL
);
CREATE INDEX change_object ON change (subject, object, number);

-- Which machine was whose, and since when; never changed.
CREATE TABLE binding (
    number   BIGINT NOT NULL PRIMARY KEY, -- of the change
    serial   TEXT   NOT NULL,
    terminal TEXT   NOT NULL,
    merchant TEXT   NOT NULL,
    act      TEXT   NOT NULL, -- bound, released
    at       BIGINT NOT NULL,
    by_whom  TEXT   NOT NULL,
    reason   TEXT   NOT NULL
);
CREATE INDEX binding_serial ON binding (serial, number);

-- What a merchant handed in: the papers themselves are kept elsewhere.
CREATE TABLE paper (
    merchant TEXT   NOT NULL,
    sha256   TEXT   NOT NULL,
    kind     TEXT   NOT NULL,
    name     TEXT   NOT NULL,
    size     BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    by_whom  TEXT   NOT NULL,
    PRIMARY KEY (merchant, sha256)
);

CREATE TABLE ticket (
    number     BIGINT NOT NULL PRIMARY KEY,
    serial     TEXT   NOT NULL,
    terminal   TEXT   NOT NULL, -- as it was bound when the ticket was opened
    merchant   TEXT   NOT NULL,
    kind       TEXT   NOT NULL,
    status     TEXT   NOT NULL,
    said       TEXT   NOT NULL,
    assignee   TEXT   NOT NULL,
    answer     TEXT   NOT NULL,
    opened     BIGINT NOT NULL,
    opened_by  TEXT   NOT NULL
);

CREATE TABLE blacklist (
    kind   TEXT NOT NULL, -- identity, account, name
    value  TEXT NOT NULL, -- keyed hash, hex; of a name itself
    reason TEXT NOT NULL,
    PRIMARY KEY (kind, value)
);
