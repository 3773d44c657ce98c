-- +goose Up

-- A transaction by its id, for what was done about it; a day's by position, for
-- what was stored after the day was settled. Both rise with time, so inserting
-- into them stays cheap; with the merchant before the id a row costs a third more.
CREATE INDEX txn_id ON txn (id);
CREATE INDEX txn_day ON txn (business_date, position);
CREATE INDEX event_position ON event (position);

-- What runs were priced with: the two files of fees as they were, by their hash.
CREATE TABLE fee_schedule (
    sha256 TEXT NOT NULL PRIMARY KEY,
    plans  TEXT NOT NULL,
    bins   TEXT NOT NULL
);

-- One end-of-day run per business day. The facts it covers are those up to a
-- position of the journal: of its own day, and of settled days what came after
-- their run. state only moves forward (begun, booked, done); nothing else
-- changes but what is empty until then.
CREATE TABLE run (
    business_date TEXT   NOT NULL PRIMARY KEY CHECK (length(business_date) = 10),
    position      BIGINT NOT NULL,
    prior         TEXT   NOT NULL, -- business date of the run before, 0000-00-00: none
    fees          TEXT   NOT NULL, -- hash of the fee_schedule
    state         TEXT   NOT NULL,
    exceptions    BIGINT NOT NULL, -- since booked
    manifest      TEXT   NOT NULL  -- hash of the manifest of its files, since done
);

-- What a run posted, summed up per merchant, item, account, issuer and currency;
-- never changed. Debits and credits of a run and currency are equal. What each
-- transaction gave follows from its row and the schedule.
CREATE TABLE posting (
    merchant_id   TEXT   NOT NULL,
    business_date TEXT   NOT NULL CHECK (length(business_date) = 10), -- of the run
    currency      BIGINT NOT NULL,
    item          TEXT   NOT NULL,
    account       TEXT   NOT NULL,
    issuer        TEXT   NOT NULL, -- of an issuer's account, else empty
    debit         BIGINT NOT NULL,
    credit        BIGINT NOT NULL,
    postings      BIGINT NOT NULL,
    PRIMARY KEY (merchant_id, business_date, currency, item, account, issuer)
);
CREATE INDEX posting_day ON posting (business_date);
