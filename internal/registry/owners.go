package registry

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

const (
	ownerColumns = `kind, value, tenant, method, status, label, source, format, decided_by,
		created_at, decided_at, seen_at, seen, expires_at, generation`
	selectOwner = `SELECT ` + ownerColumns + ` FROM ownerships `
	lookAtOwner = `SELECT generation FROM ownerships WHERE kind = ? AND value = ?`
	insertOwner = `INSERT INTO ownerships (` + ownerColumns + `)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (kind, value) DO UPDATE SET tenant = excluded.tenant, method = excluded.method,
		status = excluded.status, label = excluded.label, source = excluded.source,
		format = excluded.format, decided_by = excluded.decided_by, created_at = excluded.created_at,
		decided_at = excluded.decided_at, seen_at = excluded.seen_at, seen = excluded.seen,
		expires_at = excluded.expires_at, generation = excluded.generation`
	deleteOwner = `DELETE FROM ownerships WHERE kind = ? AND value = ?`

	selectToken = `SELECT id, secret, tenant, label, formats, made_by, created_at, expires_at, used_at,
		used_by FROM enrolment_tokens WHERE id = ?`
	insertToken = `INSERT INTO enrolment_tokens
		(id, secret, tenant, label, formats, made_by, created_at, expires_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`
	markToken = `UPDATE enrolment_tokens SET used_at = ?, used_by = ? WHERE id = ? AND used_at IS NULL`
)

func scanOwner(row scanner) (subject.Ownership, error) {
	var one subject.Ownership
	var created, decided, seen, expires int64
	err := row.Scan(&one.Key.Kind, &one.Key.Value, &one.Tenant, &one.Method, &one.Status, &one.Label,
		&one.Source, &one.Format, &one.By, &created, &decided, &seen, &one.Seen, &expires, &one.Generation)
	if err != nil {
		return subject.Ownership{}, err
	}
	one.CreatedAt, one.DecidedAt = moment(created), moment(decided)
	one.SeenAt, one.ExpiresAt = moment(seen), moment(expires)
	return one, nil
}

func (w *writer) putOwner(ctx context.Context, one subject.OwnershipWrite) error {
	if one.Next == nil {
		if one.Expect == 0 {
			return nil // it is not there, as demanded
		}
		return demandOne(w.deleteOwner.ExecContext(ctx, one.Key.Kind, one.Key.Value))
	}
	owner := one.Next
	return demandOne(w.insertOwner.ExecContext(ctx, owner.Key.Kind, owner.Key.Value, owner.Tenant,
		string(owner.Method), string(owner.Status), owner.Label, owner.Source, owner.Format, owner.By,
		stamp(owner.CreatedAt), stamp(owner.DecidedAt), stamp(owner.SeenAt), owner.Seen,
		stamp(owner.ExpiresAt), int64(w.number()))) //nolint:gosec // a count of commits
}

// after goes on behind a key in the form "kind:value".
func (q *selection) after(key string) {
	if key == "" {
		return
	}
	kind, value, _ := strings.Cut(key, ":")
	q.and("(kind, value) > (?, ?)", kind, value)
}

// Ownerships returns the page of ownerships that the filter selects by tenant, status, format and
// text, in the order of their keys, and After of the next page.
func (s *Store) Ownerships(
	ctx context.Context, filter subject.Filter,
) (list []subject.Ownership, next string, err error) {
	query, err := selectBy(filter)
	if err != nil {
		return nil, "", err
	}
	query.equal("status", string(filter.Status))
	query.equal("format", string(filter.Format))
	query.part([]string{"value", "label"}, filter.Text)
	query.after(filter.After)
	list, err = listOf(ctx, s.reading, query, selectOwner, "kind, value", scanOwner)
	if err == nil && len(list) > filter.Limit {
		list = list[:filter.Limit]
		next = list[len(list)-1].Key.String()
	}
	return list, next, err
}

func scanToken(row scanner) (subject.Token, error) {
	var token subject.Token
	var secret []byte
	var formats string
	var created, expires int64
	var used sql.NullInt64
	var by sql.NullString
	err := row.Scan(&token.ID, &secret, &token.Tenant, &token.Label, &formats, &token.By, &created,
		&expires, &used, &by)
	if err != nil {
		return subject.Token{}, err
	}
	if err := json.Unmarshal([]byte(formats), &token.Formats); err != nil {
		return subject.Token{}, fmt.Errorf("formats of a token: %w", err)
	}
	copy(token.Secret[:], secret)
	token.CreatedAt, token.ExpiresAt = moment(created), moment(expires)
	token.UsedAt, token.UsedBy = moment(used.Int64), by.String
	return token, nil
}

// Token returns the enrolment token of that id, used or not, and whether there is one.
func (s *Store) Token(ctx context.Context, id string) (subject.Token, bool, error) {
	token, err := scanToken(s.reading.QueryRowContext(ctx, selectToken, id))
	if errors.Is(err, sql.ErrNoRows) {
		return subject.Token{}, false, nil
	}
	return token, err == nil, unavailable(ctx, err)
}

// demandToken refuses one that is unknown, used or expired, in the same words: they must not tell
// apart a token that never was from one that somebody else used.
func (w *writer) demandToken(ctx context.Context, use subject.TokenUse) error {
	token, err := scanToken(w.lookToken.QueryRowContext(ctx, use.ID))
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	same := subtle.ConstantTimeCompare(token.Secret[:], use.Secret[:]) == 1
	if err == nil && same && token.UsedAt.IsZero() && w.clock.Now().Before(token.ExpiresAt) {
		return nil
	}
	return refusal{&attestd.CallerError{
		Class: attestd.ClassUnauthenticated,
		Hint:  "ask an operator for a new one: attestd enroll token",
		Err:   errors.New("the enrolment token is unknown, used or expired"),
	}}
}

func (w *writer) useToken(ctx context.Context, use subject.TokenUse) error {
	return demandOne(w.markToken.ExecContext(ctx, w.clock.Now().UnixNano(), use.By.String(), use.ID))
}

func (w *writer) putToken(ctx context.Context, token subject.Token) error {
	formats, _ := json.Marshal(token.Formats) // texts can always be written
	return demandOne(w.insertToken.ExecContext(ctx, token.ID, token.Secret[:], token.Tenant, token.Label,
		string(formats), token.By, stamp(token.CreatedAt), stamp(token.ExpiresAt)))
}
