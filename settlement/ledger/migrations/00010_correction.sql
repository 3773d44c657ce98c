-- +goose Up

-- Of a correction that moves money on an issuer's account: which issuer's.
ALTER TABLE act ADD COLUMN issuer TEXT NOT NULL DEFAULT '';
