package registry

import (
	"context"
	"database/sql"
	"errors"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// maxAsk bounds the keys of one question.
const maxAsk = 64

// Known returns what there is about one machine and one name, read in one snapshot: no part of it is
// from before a write that another part is from after.
func (s *Store) Known(ctx context.Context, ask subject.Ask) (subject.Known, error) {
	if len(ask.Bars) > maxAsk || len(ask.Owners) > maxAsk {
		return subject.Known{}, malformed("a question about %d and %d keys, want at most %d",
			len(ask.Bars), len(ask.Owners), maxAsk)
	}
	if ask.Instance.Value != "" && ask.Instance.Kind != attestd.HandleInstance {
		return subject.Known{}, malformed("a handle of kind %q finds no subject", ask.Instance.Kind)
	}
	snapshot, err := s.reading.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return subject.Known{}, unavailable(ctx, err)
	}
	known, err := s.known(ctx, snapshot, ask)
	// Nothing was written: a failed end of the transaction takes nothing back.
	_ = snapshot.Rollback()
	if err != nil {
		return subject.Known{}, unavailable(ctx, err)
	}
	return known, nil
}

func (s *Store) known(ctx context.Context, from *sql.Tx, ask subject.Ask) (subject.Known, error) {
	var known subject.Known
	var err error
	if ask.ID != "" {
		known.Subject, err = s.one(ctx, from, s.reads.byFold, ask.ID.Fold())
	}
	if err == nil && known.Subject == nil && ask.Instance.Value != "" {
		known.Subject, err = s.one(ctx, from, s.reads.byInstance, ask.Instance.Value)
	}
	if err != nil {
		return subject.Known{}, err
	}
	for _, key := range ask.Bars {
		bar, err := scanBar(from.StmtContext(ctx, s.reads.bar).QueryRowContext(ctx, key.Kind, key.Value))
		switch {
		case err == nil:
			known.Bars = append(known.Bars, bar)
		case !errors.Is(err, sql.ErrNoRows):
			return subject.Known{}, err
		}
	}
	for _, key := range ask.Owners {
		owner, err := scanOwner(from.StmtContext(ctx, s.reads.owner).QueryRowContext(ctx, key.Kind, key.Value))
		switch {
		case err == nil:
			known.Owners = append(known.Owners, owner)
		case !errors.Is(err, sql.ErrNoRows):
			return subject.Known{}, err
		}
	}
	return known, nil
}

// one returns the subject that the statement finds, nil for none.
func (s *Store) one(
	ctx context.Context, from *sql.Tx, statement *sql.Stmt, argument string,
) (*subject.Subject, error) {
	found, err := scanSubject(from.StmtContext(ctx, statement).QueryRowContext(ctx, argument))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &found, nil
}

// reads are the statements of questions that are asked with every verdict.
type reads struct{ byFold, byInstance, bar, owner *sql.Stmt }

func (r *reads) prepare(ctx context.Context, database *sql.DB) error {
	for _, statement := range []struct {
		into  **sql.Stmt
		query string
	}{
		{&r.byFold, selectSubject + "WHERE fold = ?"},
		// One machine can have had several names: the one seen last speaks for it.
		{&r.byInstance, selectSubject + "WHERE instance = ? AND instance <> '' ORDER BY evidence_at DESC, number LIMIT 1"},
		{&r.bar, lookAtBar},
		{&r.owner, selectOwner + "WHERE kind = ? AND value = ?"},
	} {
		var err error
		if *statement.into, err = database.PrepareContext(ctx, statement.query); err != nil {
			return err
		}
	}
	return nil
}

func (r *reads) close() {
	for _, statement := range []*sql.Stmt{r.byFold, r.byInstance, r.bar, r.owner} {
		if statement != nil {
			_ = statement.Close()
		}
	}
}
