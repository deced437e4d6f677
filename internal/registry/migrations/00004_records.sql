-- +goose Up
-- The inventory. A document has what a record says but its id, time and generation, so that records
-- which say the same have the same bytes.
CREATE TABLE records (
    number     INTEGER PRIMARY KEY,
    fold       TEXT    NOT NULL UNIQUE,
    id         TEXT    NOT NULL,
    tenant     TEXT    NOT NULL,
    updated_at INTEGER NOT NULL,
    generation INTEGER NOT NULL CHECK (generation > 0),
    document   BLOB    NOT NULL
) STRICT;
CREATE INDEX records_tenant ON records (tenant, fold);

-- +goose Down
DROP TABLE records;
