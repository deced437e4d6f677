-- +goose Up
-- What is kept of the credential that went with a challenge: whom it was made for, and the digest of
-- the secret in it. A challenge with a key and no digest is for a key that answered one before.
ALTER TABLE challenges ADD COLUMN ak_name BLOB CHECK (length(ak_name) BETWEEN 22 AND 66);
ALTER TABLE challenges ADD COLUMN ek BLOB CHECK ((ek IS NULL) = (ak_name IS NULL) AND coalesce(length(ek), 32) = 32);
ALTER TABLE challenges ADD COLUMN secret_sha256 BLOB
    CHECK (secret_sha256 IS NULL OR length(secret_sha256) = 32 AND ek IS NOT NULL);

-- Attestation keys that answered a credential, each under the one endorsement key it did so with, and
-- the furthest state their TPM was seen at. Counters are 64-bit patterns: SQLite's integers are
-- signed, and they are compared outside.
CREATE TABLE attestation_keys (
    tenant        TEXT    NOT NULL,
    ak_name       BLOB    NOT NULL CHECK (length(ak_name) BETWEEN 22 AND 66),
    ek            BLOB    NOT NULL CHECK (length(ek) = 32),
    activated_at  INTEGER NOT NULL,
    seen_at       INTEGER NOT NULL,
    reset_count   INTEGER NOT NULL,
    restart_count INTEGER NOT NULL,
    clock         INTEGER NOT NULL,
    firmware      INTEGER NOT NULL,
    ima_offset    INTEGER,
    ima_entries   INTEGER,
    ima_bank      TEXT,
    ima_register  BLOB,
    PRIMARY KEY (tenant, ak_name)
) STRICT, WITHOUT ROWID;

CREATE INDEX attestation_keys_ek ON attestation_keys (ek);
CREATE INDEX attestation_keys_seen_at ON attestation_keys (seen_at);

-- +goose Down
DROP TABLE attestation_keys;
ALTER TABLE challenges DROP COLUMN secret_sha256;
ALTER TABLE challenges DROP COLUMN ek;
ALTER TABLE challenges DROP COLUMN ak_name;
