package registry_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/attestd/attestd/internal/registry"
)

// errDisk is what a call fails with that a test makes fail.
var errDisk = errors.New("the disk failed as the test says")

// failing is SQLite's own driver with calls that fail as a test says. Each step at which a database can
// say no is a call: making a connection, preparing, executing, querying, reading a row, and two that this
// one never says no to and its interface could: what a row holds and what a statement changed.
//
// Left out is what database/sql itself passes over in silence: the end of rows and of statements. And
// what the migrations of goose ask about themselves: goose waits a second for each and asks again.
type failing struct {
	real driver.Driver

	mu sync.Mutex
	// calls counts since the last watch, fails says which of them fail, and failed what those were.
	calls  int
	fails  func(number int, what string) bool
	failed []string
	// late lets what fails be carried out before.
	late bool
	// edit changes the name of a database that is opened, before is told of each query, rows counts those
	// that were read, and plain gives connections that can only prepare.
	edit   func(name string) string
	before func(query string)
	rows   int
	plain  bool
	// spoils says which columns of a row that fails are not what they are; nil for all.
	spoils func(column int) bool
	// single lets the connections that only read be used once each.
	single bool
}

const failingName = "sqlite that fails"

var theFailing = sync.OnceValue(func() *failing {
	database, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		panic(err)
	}
	defer func() { _ = database.Close() }()
	made := &failing{real: database.Driver()}
	sql.Register(failingName, made)
	return made
})

// useFailing opens databases by the driver that fails until the test has ended. No test that runs beside
// others may ask for it.
func useFailing(t *testing.T) *failing {
	t.Helper()
	f := theFailing()
	f.quiet()
	f.edit, f.before, f.plain = func(name string) string { return name }, func(string) {}, false
	f.spoils, f.single = nil, false
	registry.UseDriver(t, failingName)
	t.Cleanup(func() { f.quiet() })
	return f
}

// watch makes the calls fail from now on that fails names, by their numbers from 1.
func (f *failing) watch(late bool, fails func(number int, what string) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls, f.failed, f.fails, f.late = 0, nil, fails, late
}

// quiet lets everything work, and returns the calls that failed.
func (f *failing) quiet() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails = nil
	return f.failed
}

// call counts a call and reports whether it fails.
func (f *failing) call(kind, text string) (fails, late bool) {
	if strings.Contains(text, "goose_db_version") {
		return false, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fails == nil {
		return false, false
	}
	f.calls++
	what := kind + " " + strings.Join(strings.Fields(text), " ")
	if !f.fails(f.calls, what) {
		return false, false
	}
	f.failed = append(f.failed, what)
	return true, f.late
}

func (f *failing) Open(name string) (driver.Conn, error) {
	if fails, _ := f.call("open", name); fails {
		return nil, errDisk
	}
	conn, err := f.real.Open(f.edit(name))
	if err != nil {
		return nil, err
	}
	wrapped := &failingConn{Conn: conn, by: f, reads: strings.Contains(name, "query_only")}
	if f.plain {
		return plainConn{wrapped}, nil
	}
	return wrapped, nil
}

// OpenConnector is what sql.Open asks.
func (f *failing) OpenConnector(name string) (driver.Connector, error) {
	if fails, _ := f.call("name", name); fails {
		return nil, errDisk
	}
	return failingConnector{f, name}, nil
}

type failingConnector struct {
	by   *failing
	name string
}

func (c failingConnector) Connect(context.Context) (driver.Conn, error) { return c.by.Open(c.name) }

func (c failingConnector) Driver() driver.Driver { return c.by }

// plainConn is a connection that can only prepare.
type plainConn struct{ conn *failingConn }

func (c plainConn) Prepare(query string) (driver.Stmt, error) {
	return c.conn.PrepareContext(context.Background(), query)
}

func (c plainConn) Begin() (driver.Tx, error) {
	return c.conn.BeginTx(context.Background(), driver.TxOptions{})
}

func (c plainConn) Close() error { return c.conn.Close() }

type failingConn struct {
	driver.Conn
	by    *failing
	reads bool
}

// IsValid is asked when the connection goes back to its pool.
func (c *failingConn) IsValid() bool { return !c.reads || !c.by.single }

func (c *failingConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if fails, _ := c.by.call("prepare", query); fails {
		return nil, errDisk
	}
	statement, err := c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return &failingStatement{Stmt: statement, by: c.by, query: query}, nil
}

func (c *failingConn) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	if fails, _ := c.by.call("begin", ""); fails {
		return nil, errDisk
	}
	begun, err := c.Conn.(driver.ConnBeginTx).BeginTx(ctx, options)
	if err != nil {
		return nil, err
	}
	return failingEnd{begun, c.by}, nil
}

func (c *failingConn) ExecContext(
	ctx context.Context, query string, arguments []driver.NamedValue,
) (driver.Result, error) {
	return c.by.exec(query, func() (driver.Result, error) {
		return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, arguments)
	})
}

func (c *failingConn) QueryContext(
	ctx context.Context, query string, arguments []driver.NamedValue,
) (driver.Rows, error) {
	return c.by.query(query, func() (driver.Rows, error) {
		return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, arguments)
	})
}

// failingEnd fails at the commit of a transaction; one that is taken back has nothing to lose.
type failingEnd struct {
	driver.Tx
	by *failing
}

func (e failingEnd) Commit() error {
	if fails, late := e.by.call("commit", ""); fails {
		if late {
			return errors.Join(e.Tx.Commit(), errDisk)
		}
		return errors.Join(e.Rollback(), errDisk)
	}
	return e.Tx.Commit()
}

type failingStatement struct {
	driver.Stmt
	by    *failing
	query string
}

func (s *failingStatement) ExecContext(
	ctx context.Context, arguments []driver.NamedValue,
) (driver.Result, error) {
	return s.by.exec(s.query, func() (driver.Result, error) {
		return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, arguments)
	})
}

func (s *failingStatement) QueryContext(
	ctx context.Context, arguments []driver.NamedValue,
) (driver.Rows, error) {
	return s.by.query(s.query, func() (driver.Rows, error) {
		return s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, arguments)
	})
}

func (f *failing) exec(query string, run func() (driver.Result, error)) (driver.Result, error) {
	f.before(query)
	if fails, late := f.call("exec", query); fails {
		if late {
			_, err := run()
			return nil, errors.Join(err, errDisk)
		}
		return nil, errDisk
	}
	result, err := run()
	if err != nil {
		return nil, err
	}
	return failingResult{result, f, query}, nil
}

func (f *failing) query(query string, run func() (driver.Rows, error)) (driver.Rows, error) {
	f.before(query)
	if fails, _ := f.call("query", query); fails {
		return nil, errDisk
	}
	rows, err := run()
	if err != nil {
		return nil, err
	}
	return &failingRows{rows, f, query}, nil
}

type failingResult struct {
	driver.Result
	by    *failing
	query string
}

func (r failingResult) RowsAffected() (int64, error) {
	if fails, _ := r.by.call("affected", r.query); fails {
		return 0, errDisk
	}
	return r.Result.RowsAffected()
}

func (r failingResult) LastInsertId() (int64, error) {
	if fails, _ := r.by.call("inserted", r.query); fails {
		return 0, errDisk
	}
	return r.Result.LastInsertId()
}

type failingRows struct {
	driver.Rows
	by    *failing
	query string
}

func (r *failingRows) Next(into []driver.Value) error {
	if fails, _ := r.by.call("next", r.query); fails {
		return errDisk
	}
	if err := r.Rows.Next(into); err != nil {
		return err
	}
	r.by.mu.Lock()
	r.by.rows++
	r.by.mu.Unlock()
	if fails, _ := r.by.call("row", r.query); fails {
		for i := range into {
			if r.by.spoils == nil || r.by.spoils(i) {
				into[i] = struct{}{} // what no column can be
			}
		}
	}
	return nil
}
