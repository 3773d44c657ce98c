-- +goose Up

-- How a transaction was paid, as limits count it: its own way and PIN or, of what
-- gives back limits, those of what used them.
ALTER TABLE txn ADD COLUMN method TEXT NOT NULL DEFAULT 'other-pin';
ALTER TABLE event ADD COLUMN method TEXT NOT NULL DEFAULT 'other-pin';
UPDATE txn SET method = CASE
    WHEN entry_mode = 1 THEN 'manual' WHEN entry_mode IN (2, 80, 90) THEN 'stripe' WHEN entry_mode = 3 THEN 'code'
    WHEN entry_mode IN (5, 95, 96) THEN 'chip' WHEN entry_mode IN (7, 91, 98) THEN 'contactless' ELSE 'other' END
    || CASE WHEN pin = 1 THEN '+pin' ELSE '-pin' END;
UPDATE event SET method = CASE
    WHEN entry_mode = 1 THEN 'manual' WHEN entry_mode IN (2, 80, 90) THEN 'stripe' WHEN entry_mode = 3 THEN 'code'
    WHEN entry_mode IN (5, 95, 96) THEN 'chip' WHEN entry_mode IN (7, 91, 98) THEN 'contactless' ELSE 'other' END
    || CASE WHEN pin = 1 THEN '+pin' ELSE '-pin' END;
