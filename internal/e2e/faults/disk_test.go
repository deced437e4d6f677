package faults_test

import (
	"context"
	"database/sql"
	"math"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

// beside is another program's connection to the daemon's database.
func (w *world) beside() *sql.DB {
	w.Helper()
	database, err := sql.Open("sqlite", "file:"+w.path("attestd.db")+
		"?_txlock=immediate&_pragma=busy_timeout(20000)")
	w.must(err)
	database.SetMaxOpenConns(1)
	w.Cleanup(func() { _ = database.Close() })
	return database
}

// change runs statements beside the daemon, in one transaction.
func (w *world) change(statements ...string) {
	w.Helper()
	database := w.beside()
	tx, err := database.BeginTx(context.Background(), nil)
	w.must(err)
	for _, one := range statements {
		if _, err := tx.ExecContext(context.Background(), one); err != nil {
			_ = tx.Rollback()
			w.Fatalf("%s: %v", one, err)
		}
	}
	w.must(tx.Commit())
	w.must(database.Close())
}

// fails makes every such change of a table fail, until end is called.
func (w *world) fails(change, table string) (end func()) {
	w.Helper()
	w.change("CREATE TRIGGER fault BEFORE " + change + " ON " + table +
		" BEGIN SELECT RAISE(ABORT, 'a fault'); END")
	return func() { w.Helper(); w.change("DROP TRIGGER fault") }
}

// pairs counts pairs of rows of a table.
const pairs = "SELECT count(*) FROM ballast a, ballast b WHERE a.n * b.n % 7 = 3"

// ballast fills that table.
func ballast(rows int) []string {
	return []string{
		"CREATE TABLE ballast (n INTEGER)",
		"INSERT INTO ballast WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c) " +
			"SELECT n FROM c LIMIT " + strconv.Itoa(rows),
	}
}

// pairsTime is how long this machine takes for one pair, in seconds.
var pairsTime = sync.OnceValues(func() (float64, error) {
	database, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return 0, err
	}
	defer func() { _ = database.Close() }()
	database.SetMaxOpenConns(1)
	const rows = 400
	for _, one := range ballast(rows) {
		if _, err := database.ExecContext(context.Background(), one); err != nil {
			return 0, err
		}
	}
	began := time.Now()
	_, err = database.ExecContext(context.Background(), pairs)
	return time.Since(began).Seconds() / (rows * rows), err
})

// slows makes every such change of a table take about so long.
func (w *world) slows(change, table string, about time.Duration) (end func()) {
	w.Helper()
	one, err := pairsTime()
	w.must(err)
	rows := int(math.Sqrt(about.Seconds() / one))
	w.change(append(ballast(rows),
		"CREATE TRIGGER fault BEFORE "+change+" ON "+table+" BEGIN "+pairs+"; END")...)
	return func() { w.Helper(); w.change("DROP TRIGGER fault", "DROP TABLE ballast") }
}

// lock is a program that has begun to write and does not go on, until end is called.
func (w *world) lock() (end func()) {
	w.Helper()
	tx, err := w.beside().BeginTx(context.Background(), nil)
	w.must(err)
	return sync.OnceFunc(func() { w.Helper(); w.must(tx.Rollback()) })
}

// full is a disk on which no file of this process grows beyond a size, until end is called.
func (w *world) full(size uint64) (end func()) {
	w.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var before unix.Rlimit
	w.must(unix.Getrlimit(unix.RLIMIT_FSIZE, &before))
	w.must(unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size, Max: before.Max}))
	end = sync.OnceFunc(func() {
		_ = unix.Setrlimit(unix.RLIMIT_FSIZE, &before)
		signal.Reset(syscall.SIGXFSZ)
	})
	w.Cleanup(end)
	return end
}

// page is SQLite's.
const page = 4096

// corrupt changes every page of the database but the first, under the running daemon and behind its
// caches. mend puts back what was there; the daemon must not run then.
func (w *world) corrupt() (mend func()) {
	w.Helper()
	database := w.beside()
	if _, err := database.ExecContext(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		w.Fatal(err)
	}
	tx, err := database.BeginTx(context.Background(), nil)
	w.must(err)
	good, err := os.ReadFile(w.path("attestd.db"))
	w.must(err)
	file, err := os.OpenFile(w.path("attestd.db"), os.O_WRONLY, 0)
	w.must(err)
	rubbish := make([]byte, len(good)-page)
	for at := range rubbish {
		rubbish[at] = 0xff
	}
	// What another connection commits makes the daemon read its pages again.
	if _, err := tx.ExecContext(context.Background(), "PRAGMA user_version = 7"); err != nil {
		w.Fatal(err)
	}
	_, err = file.WriteAt(rubbish, page)
	w.must(err)
	w.must(tx.Commit())
	w.must(file.Close())
	w.must(database.Close())
	return func() {
		w.Helper()
		_ = os.Remove(w.path("attestd.db-wal")) // gone where the daemon could end in order
		file, err := os.OpenFile(w.path("attestd.db"), os.O_WRONLY|os.O_TRUNC, 0)
		w.must(err)
		_, err = file.Write(good)
		w.must(err)
		w.must(file.Close())
	}
}
