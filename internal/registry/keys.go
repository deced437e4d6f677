package registry

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
)

// Bounds of what is kept of attestation keys. Each needs an accepted verdict and a TPM that answered;
// where there are more all the same, the one longest not seen is forgotten and must answer again.
const (
	// perEndorsementKey bounds the keys under one endorsement key: a machine makes a new one when it
	// is installed anew.
	perEndorsementKey = 16
	maxAttestationKey = 1 << 18
)

const (
	keyColumns = `ek, activated_at, reset_count, restart_count, clock, firmware,
		ima_offset, ima_entries, ima_bank, ima_register`
	lookAtKey = `SELECT ` + keyColumns + ` FROM attestation_keys WHERE tenant = ? AND ak_name = ?`
	// otherTenant counts what makes the TPM of an endorsement key another tenant's: keys that answered
	// under another, where the machine (?3 is its instance) is enrolled for another or is another's
	// subject. A machine that answered while it was nobody's becomes whoever's enrols it, and an
	// enrolment that has ended by ?4 is none.
	otherTenant = `SELECT count(*) FROM attestation_keys WHERE ek = ?1 AND tenant <> ?2 AND (
		EXISTS (SELECT 1 FROM ownerships WHERE kind = 'instance' AND value = ?3 AND tenant <> ?2
			AND status = 'approved' AND (expires_at = 0 OR expires_at > ?4))
		OR EXISTS (SELECT 1 FROM subjects WHERE instance = ?3 AND instance <> '' AND tenant <> ?2
			AND ownership <> 'none')
			AND NOT EXISTS (SELECT 1 FROM ownerships WHERE kind = 'instance' AND value = ?3
				AND tenant = ?2 AND status = 'approved' AND (expires_at = 0 OR expires_at > ?4)))`
	insertKey = `INSERT INTO attestation_keys (tenant, ak_name, seen_at, ` + keyColumns + `)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (tenant, ak_name) DO UPDATE SET seen_at = excluded.seen_at,
		activated_at = excluded.activated_at, reset_count = excluded.reset_count,
		restart_count = excluded.restart_count, clock = excluded.clock, firmware = excluded.firmware,
		ima_offset = excluded.ima_offset, ima_entries = excluded.ima_entries,
		ima_bank = excluded.ima_bank, ima_register = excluded.ima_register`
	// The inner queries name the row that was seen longest ago; ties are broken by the key.
	forgetOfEK = `DELETE FROM attestation_keys WHERE (tenant, ak_name) IN
		(SELECT tenant, ak_name FROM attestation_keys WHERE ek = ? ORDER BY seen_at DESC, ak_name
		LIMIT -1 OFFSET ?)`
	forgetOldest = `DELETE FROM attestation_keys WHERE (tenant, ak_name) IN
		(SELECT tenant, ak_name FROM attestation_keys ORDER BY seen_at, ak_name LIMIT ?)`
)

// querier is what both a connection and a database have.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// KnowsKey reports whether the tenant's attestation key of that Name answered a credential under the
// endorsement key ek.
//
// Errors: a [*attestd.CallerError] of class CONFLICT where the attestation key is known under another
// endorsement key, or the endorsement key under another tenant.
func (s *Store) KnowsKey(
	ctx context.Context, tenant string, name []byte, ek [sha256.Size]byte,
) (bool, error) {
	key, err := keyOf(ctx, s.reading, s.clock.Now(), tenant, name, ek)
	var caller *attestd.CallerError
	if err != nil && !errors.As(err, &caller) {
		err = fmt.Errorf("store: %w", err)
	}
	return key != nil, err
}

// keyOf returns the key of that Name, and nil where it is not known.
func keyOf(
	ctx context.Context, from querier, now time.Time, tenant string, name []byte,
	ek [sha256.Size]byte,
) (*challenge.Key, error) {
	var others int
	instance := "ek:" + hex.EncodeToString(ek[:])
	err := from.QueryRowContext(ctx, otherTenant, ek[:], tenant, instance, stamp(now)).Scan(&others)
	if err != nil {
		return nil, err
	}
	if others != 0 {
		return nil, challenge.ErrOtherTenant()
	}
	key, err := scanKey(from.QueryRowContext(ctx, lookAtKey, tenant, name))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, err
	case key.EK != ek:
		return nil, challenge.ErrOtherEndorsementKey()
	}
	return key, nil
}

func scanKey(row *sql.Row) (*challenge.Key, error) {
	var key challenge.Key
	var ek, register []byte
	var activated, clock, firmware int64
	var offset, entries sql.NullInt64
	var bank sql.NullString
	err := row.Scan(&ek, &activated, &key.State.ResetCount, &key.State.RestartCount, &clock, &firmware,
		&offset, &entries, &bank, &register)
	if err != nil {
		return nil, err
	}
	copy(key.EK[:], ek)
	key.ActivatedAt = time.Unix(0, activated).UTC()
	key.State.Clock, key.State.Firmware = uint64(clock), uint64(firmware) //nolint:gosec // as written
	if offset.Valid {
		key.State.IMA = &attestd.IMAState{
			Offset: uint64(offset.Int64), Entries: uint64(entries.Int64), //nolint:gosec // as written
			Bank: bank.String, Register: register,
		}
	}
	return &key, nil
}

// remembered is what a verdict makes of the state of an attestation key.
type remembered struct {
	next  challenge.Key
	fresh bool
	at    time.Time
}

// demandSeen returns how an attestation key's state moves forward. It writes nothing.
//
// Errors: a refusal where the key or its endorsement key is another's by now, where it relied on an
// activation that is forgotten, or where the state moved past the verdict's since it was reached.
func (w *writer) demandSeen(ctx context.Context, tenant string, seen challenge.Seen) (remembered, error) {
	credential := seen.Credential
	known, err := keyOf(ctx, w.conn, w.clock.Now(), tenant, credential.AKName, credential.EK)
	var caller *attestd.CallerError
	switch {
	case errors.As(err, &caller):
		return remembered{}, refusal{err}
	case err != nil:
		return remembered{}, err
	case known == nil && credential.Earlier:
		return remembered{}, refusal{challenge.ErrForgotten()}
	}
	now := w.clock.Now()
	next := challenge.Key{EK: credential.EK, ActivatedAt: now, State: seen.State}
	if known != nil {
		// Whoever judged against an older state did not see that the TPM went back meanwhile.
		if !sameMoment(seen.Against, known.State) && challenge.Differs(seen.State, known.State) {
			return remembered{}, refusal{&challenge.MovedError{State: known.State}}
		}
		next.State = challenge.Furthest(known.State, seen.State)
		if credential.Earlier {
			next.ActivatedAt = known.ActivatedAt
		}
	}
	return remembered{next: next, fresh: known == nil, at: now}, nil
}

// remember writes what demandSeen found, in the transaction of the verdict that showed it.
func (w *writer) remember(ctx context.Context, tenant string, name []byte, move remembered) error {
	if err := w.writeKey(ctx, tenant, name, move.at, move.next); err != nil || !move.fresh {
		return err
	}
	return w.forgetKeys(ctx, move.next.EK)
}

// sameMoment reports whether a verdict was reached with the state that is known now.
func sameMoment(against *attestd.TPMState, known attestd.TPMState) bool {
	return against != nil && !challenge.Behind(*against, known) && !challenge.Behind(known, *against)
}

func (w *writer) writeKey(
	ctx context.Context, tenant string, name []byte, now time.Time, key challenge.Key,
) error {
	var offset, entries, bank, register any
	if ima := key.State.IMA; ima != nil {
		offset, entries = int64(ima.Offset), int64(ima.Entries) //nolint:gosec // two's complement
		bank, register = ima.Bank, ima.Register
	}
	_, err := w.know.ExecContext(ctx, tenant, name, now.UnixNano(), key.EK[:],
		key.ActivatedAt.UnixNano(), key.State.ResetCount, key.State.RestartCount,
		int64(key.State.Clock), int64(key.State.Firmware), //nolint:gosec // two's complement
		offset, entries, bank, register)
	return err
}

// forgetKeys makes room after a key was added: under its endorsement key, then in all.
func (w *writer) forgetKeys(ctx context.Context, ek [sha256.Size]byte) error {
	w.keys++
	result, err := w.conn.ExecContext(ctx, forgetOfEK, ek[:], perEndorsementKey)
	if err != nil {
		return err
	}
	removed, err := result.RowsAffected()
	if err != nil {
		return err
	}
	w.keys -= int(removed)
	over := w.keys - w.maxKeys
	if over <= 0 {
		return nil
	}
	if _, err = w.conn.ExecContext(ctx, forgetOldest, over); err != nil {
		return err
	}
	w.keys -= over
	return nil
}

func (w *writer) countKeys(ctx context.Context) error {
	err := w.conn.QueryRowContext(ctx, "SELECT count(*) FROM attestation_keys").Scan(&w.keys)
	if err != nil {
		return fmt.Errorf("count attestation keys: %w", err)
	}
	return nil
}
