-- +goose Up
-- A challenge is used by setting used_at once: the row count of that UPDATE decides, not a read
-- before it. Times are nanoseconds since 1970, by the clock of the store.
CREATE TABLE challenges (
    id              TEXT    NOT NULL PRIMARY KEY,
    nonce           BLOB    NOT NULL CHECK (length(nonce) BETWEEN 32 AND 64),
    trust_domain    TEXT    NOT NULL,
    verifier_key_id TEXT    NOT NULL,
    tenant          TEXT    NOT NULL,
    purpose         TEXT    NOT NULL,
    format          TEXT    NOT NULL,
    source          TEXT    NOT NULL,
    issued_at       INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL CHECK (expires_at > issued_at),
    used_at         INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX challenges_expires_at ON challenges (expires_at);

-- Of one challenge at most one appraisal: a second line behind the row count above. The row number
-- rises with every insert, so the oldest rows are found without counting all.
CREATE TABLE appraisals (
    number       INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT    NOT NULL UNIQUE,
    challenge_id TEXT    NOT NULL UNIQUE,
    tenant       TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    document     BLOB    NOT NULL
) STRICT;

-- One row that readiness writes to, to know that the disk still takes writes.
CREATE TABLE pulse (
    one     INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    beat_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE pulse;
DROP TABLE appraisals;
DROP TABLE challenges;
