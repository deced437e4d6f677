-- +goose Up
-- Times are nanoseconds since 1970 by the clock of the store, 0 for none. A key is a kind and a value.
-- Generations are compared before a row is replaced. Those of bars and ownerships, whose rows can go
-- and come again, are numbers of commits, so that none is ever given twice.

-- One row: what the guard against older copies of this database compares.
CREATE TABLE meta (
    one      INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    store_id BLOB    NOT NULL CHECK (length(store_id) = 16),
    commits  INTEGER NOT NULL CHECK (commits >= 0)
) STRICT, WITHOUT ROWID;
INSERT INTO meta (one, store_id, commits) VALUES (1, randomblob(16), 0);

-- fold is the id without case; id is the spelling, where it is another.
CREATE TABLE subjects (
    number        INTEGER PRIMARY KEY,
    fold          TEXT    NOT NULL UNIQUE CHECK (length(fold) BETWEEN 1 AND 2048),
    id            TEXT,
    tenant        TEXT    NOT NULL,
    format        TEXT    NOT NULL,
    instance      TEXT    NOT NULL,
    boot          TEXT    NOT NULL,
    host          TEXT    NOT NULL,
    ownership     TEXT    NOT NULL,
    state         INTEGER NOT NULL CHECK (state BETWEEN 0 AND 4),
    generation    INTEGER NOT NULL CHECK (generation > 0),
    epoch         INTEGER NOT NULL,
    floor         INTEGER NOT NULL CHECK (floor BETWEEN 0 AND 100),
    risk          INTEGER NOT NULL CHECK (risk BETWEEN 0 AND 100),
    signals       TEXT,
    appraisal_id  TEXT    NOT NULL,
    evidence      BLOB,
    key           BLOB,
    first_seen_at INTEGER NOT NULL,
    evidence_at   INTEGER NOT NULL,
    changed_at    INTEGER NOT NULL,
    due_at        INTEGER NOT NULL,
    bad           INTEGER NOT NULL,
    good          INTEGER NOT NULL,
    trail         TEXT    NOT NULL DEFAULT '{}'
) STRICT;
CREATE INDEX subjects_tenant ON subjects (tenant, fold);
CREATE INDEX subjects_instance ON subjects (instance) WHERE instance <> '';
CREATE INDEX subjects_host ON subjects (host) WHERE host <> '';

CREATE TABLE bars (
    kind       TEXT    NOT NULL,
    value      TEXT    NOT NULL,
    state      INTEGER NOT NULL CHECK (state IN (3, 4)),
    subject    TEXT    NOT NULL,
    tenant     TEXT    NOT NULL,
    code       TEXT    NOT NULL,
    words      TEXT    NOT NULL,
    ticket     TEXT    NOT NULL,
    laid_by    TEXT    NOT NULL,
    automatic  INTEGER NOT NULL CHECK (automatic IN (0, 1)),
    laid_at    INTEGER NOT NULL,
    boot       TEXT    NOT NULL,
    generation INTEGER NOT NULL CHECK (generation > 0),
    PRIMARY KEY (kind, value)
) STRICT, WITHOUT ROWID;

CREATE TABLE ownerships (
    kind       TEXT    NOT NULL,
    value      TEXT    NOT NULL,
    tenant     TEXT    NOT NULL,
    method     TEXT    NOT NULL,
    status     TEXT    NOT NULL CHECK (status IN ('pending', 'approved', 'denied')),
    label      TEXT    NOT NULL,
    source     TEXT    NOT NULL,
    format     TEXT    NOT NULL,
    decided_by TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    decided_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL,
    seen       INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    generation INTEGER NOT NULL CHECK (generation > 0),
    PRIMARY KEY (kind, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX ownerships_status ON ownerships (status, kind, value);

-- A token is used by setting used_at once, as a challenge is. What is kept cannot be handed in.
CREATE TABLE enrolment_tokens (
    id         TEXT    NOT NULL PRIMARY KEY,
    secret     BLOB    NOT NULL CHECK (length(secret) = 32),
    tenant     TEXT    NOT NULL,
    label      TEXT    NOT NULL,
    formats    TEXT    NOT NULL,
    made_by    TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER,
    used_by    TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX enrolment_tokens_expires_at ON enrolment_tokens (expires_at);

CREATE TABLE history (
    number       INTEGER PRIMARY KEY AUTOINCREMENT,
    fold         TEXT    NOT NULL,
    id           TEXT    NOT NULL,
    tenant       TEXT    NOT NULL,
    at           INTEGER NOT NULL,
    kind         TEXT    NOT NULL,
    from_state   INTEGER NOT NULL,
    to_state     INTEGER NOT NULL,
    risk         INTEGER NOT NULL,
    epoch        INTEGER NOT NULL,
    actor        TEXT    NOT NULL,
    detail       TEXT    NOT NULL,
    appraisal_id TEXT    NOT NULL
) STRICT;
CREATE INDEX history_fold ON history (fold, number);

-- The latest accepted evidence of each subject, to judge it again. Blobs are kept once, by their
-- SHA-256, for as long as something refers to them.
CREATE TABLE stored_verdicts (
    fold         TEXT    NOT NULL PRIMARY KEY,
    id           TEXT    NOT NULL,
    tenant       TEXT    NOT NULL,
    appraisal_id TEXT    NOT NULL,
    format       TEXT    NOT NULL,
    at           INTEGER NOT NULL,
    job          BLOB    NOT NULL,
    blobs        BLOB    NOT NULL CHECK (length(blobs) % 32 = 0)
) STRICT;
CREATE TABLE blobs (
    number INTEGER PRIMARY KEY,
    sha256 BLOB    NOT NULL UNIQUE CHECK (length(sha256) = 32),
    refs   INTEGER NOT NULL CHECK (refs >= 0),
    data   BLOB    NOT NULL
) STRICT;

CREATE TABLE operators (
    name       TEXT    NOT NULL PRIMARY KEY,
    generation INTEGER NOT NULL CHECK (generation > 0),
    document   BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- The audit log: leaves as they were hashed, and tiles of hashes that are full.
CREATE TABLE audit_leaves (
    number INTEGER PRIMARY KEY,
    leaf   BLOB    NOT NULL
) STRICT;
CREATE TABLE audit_tiles (
    level  INTEGER NOT NULL,
    number INTEGER NOT NULL,
    hashes BLOB    NOT NULL,
    PRIMARY KEY (level, number)
) STRICT;

-- +goose Down
DROP TABLE audit_tiles;
DROP TABLE audit_leaves;
DROP TABLE operators;
DROP TABLE blobs;
DROP TABLE stored_verdicts;
DROP TABLE history;
DROP TABLE enrolment_tokens;
DROP TABLE ownerships;
DROP TABLE bars;
DROP TABLE subjects;
DROP TABLE meta;
