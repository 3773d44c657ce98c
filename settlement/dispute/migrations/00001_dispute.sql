-- +goose Up

-- What issuers dispute, one case for each transaction and number that the issuer
-- gave it; never changed. A case is in the state that its last step led to.
CREATE TABLE dispute (
    number        BIGINT NOT NULL PRIMARY KEY,
    id            BIGINT NOT NULL, -- the transaction
    reference     TEXT   NOT NULL, -- the issuer's number of the case; may be empty
    issuer        TEXT   NOT NULL,
    business_date TEXT   NOT NULL CHECK (length(business_date) = 10), -- of the transaction
    merchant_id   TEXT   NOT NULL,
    terminal_id   TEXT   NOT NULL,
    rrn           TEXT   NOT NULL,
    pan_masked    TEXT   NOT NULL,
    currency      BIGINT NOT NULL,
    paid          BIGINT NOT NULL  -- what stood of the transaction when the case was opened
);
CREATE UNIQUE INDEX dispute_id ON dispute (id, reference);

-- What was done about cases, in order; never changed.
CREATE TABLE dispute_step (
    dispute  BIGINT NOT NULL,
    item     BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    step     TEXT   NOT NULL,
    state    TEXT   NOT NULL, -- that it led to
    amount   BIGINT NOT NULL, -- charged back, from this step on
    code     TEXT   NOT NULL, -- the issuer's reason code; may be empty
    by_whom  TEXT   NOT NULL,
    reason   TEXT   NOT NULL,
    deadline TEXT   NOT NULL, -- last business day for the next step; 0000-00-00: none
    proposal BIGINT NOT NULL, -- of what two people decided; else 0
    act      BIGINT NOT NULL, -- that moves its money; 0: it moves none
    PRIMARY KEY (dispute, item)
);

-- What is known of documents that were sent, not what is in them; never changed.
CREATE TABLE dispute_document (
    dispute BIGINT NOT NULL,
    item    BIGINT NOT NULL,
    at      BIGINT NOT NULL,
    by_whom TEXT   NOT NULL,
    kind    TEXT   NOT NULL,
    name    TEXT   NOT NULL,
    sha256  TEXT   NOT NULL,
    size    BIGINT NOT NULL,
    PRIMARY KEY (dispute, item)
);
CREATE UNIQUE INDEX dispute_document_sha256 ON dispute_document (dispute, sha256);
