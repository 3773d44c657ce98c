-- +goose Up

-- Of a reversal in minor units of amount, which is the original's: what earlier
-- reversals took back of it, and what stands after this one. Both are 0 for whole
-- reversals of what nothing was taken back of. What a reversal takes back is
-- amount - gone - stays.
ALTER TABLE event ADD COLUMN gone BIGINT NOT NULL DEFAULT 0;
ALTER TABLE event ADD COLUMN stays BIGINT NOT NULL DEFAULT 0;
