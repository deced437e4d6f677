package registry

import (
	"context"
	"database/sql"
)

// statements are those that the writer prepares once.
type statements struct {
	insert, use, look, keep, pulse, know, count *sql.Stmt
	lookSubject, insertSubject, updateSubject   *sql.Stmt
	lookBar, insertBar, deleteBar               *sql.Stmt
	lookOwner, insertOwner, deleteOwner         *sql.Stmt
	lookToken, markToken, insertToken           *sql.Stmt
	insertEvent, insertLeaf                     *sql.Stmt
	lookStored, insertStored                    *sql.Stmt
	insertBlob, releaseBlob, deleteBlob         *sql.Stmt
	lookRecord, insertRecord, deleteRecord      *sql.Stmt
	all                                         []*sql.Stmt
}

func (s *statements) prepare(ctx context.Context, conn *sql.Conn) error {
	for _, statement := range []struct {
		into  **sql.Stmt
		query string
	}{
		{&s.insert, insertChallenge}, {&s.use, useChallenge}, {&s.look, lookAtChallenge},
		{&s.keep, insertAppraisal}, {&s.pulse, beat}, {&s.know, insertKey}, {&s.count, countCommit},
		{&s.lookSubject, lookAtSubject}, {&s.insertSubject, insertSubject},
		{&s.updateSubject, updateSubject},
		{&s.lookBar, lookAtBar}, {&s.insertBar, insertBar}, {&s.deleteBar, deleteBar},
		{&s.lookOwner, lookAtOwner}, {&s.insertOwner, insertOwner}, {&s.deleteOwner, deleteOwner},
		{&s.lookToken, selectToken}, {&s.markToken, markToken}, {&s.insertToken, insertToken},
		{&s.insertEvent, insertEvent}, {&s.insertLeaf, insertLeaf},
		{&s.lookStored, lookAtStored}, {&s.insertStored, insertStored},
		{&s.lookRecord, lookAtRecord}, {&s.insertRecord, insertRecord}, {&s.deleteRecord, deleteRecord},
		{&s.insertBlob, insertBlob}, {&s.releaseBlob, releaseBlob}, {&s.deleteBlob, deleteBlob},
	} {
		prepared, err := conn.PrepareContext(ctx, statement.query)
		if err != nil {
			return err
		}
		*statement.into = prepared
		s.all = append(s.all, prepared)
	}
	return nil
}

func (s *statements) close() {
	for _, statement := range s.all {
		_ = statement.Close()
	}
}
