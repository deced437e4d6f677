package registry

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"

	"github.com/pressly/goose/v3"

	"github.com/attestd/attestd"
)

//go:embed migrations/*.sql
var migrations embed.FS

const hintRestore = "restore the database from the copy before its last update"

// migrate applies the embedded migrations. A database of a newer version is refused: its rows may
// mean something that this version would not honour.
func migrate(ctx context.Context, database *sql.DB, all fs.FS) error {
	folder, err := fs.Sub(all, "migrations")
	var provider *goose.Provider
	if err == nil {
		provider, err = goose.NewProvider(goose.DialectSQLite3, database, folder)
	}
	if err != nil {
		return fmt.Errorf("store migrations: %w", err)
	}
	sources := provider.ListSources()
	known := sources[len(sources)-1].Version
	found, err := provider.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("store version: %w", err)
	}
	if found > known {
		return &attestd.CallerError{
			Class: attestd.ClassConfig,
			Hint:  "start the newer attestd, or restore the copy from before it was installed",
			Err:   fmt.Errorf("the store has schema version %d, this attestd knows up to %d", found, known),
		}
	}
	if _, err := provider.Up(ctx); err != nil {
		return &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: hintRestore, Err: fmt.Errorf("store migrations: %w", err),
		}
	}
	return nil
}

// demandSchema refuses a database whose tables are not exactly those that the migrations make: one
// that was left half done, or changed by hand. A missing constraint is a check that does not run.
func demandSchema(ctx context.Context, database *sql.DB) (err error) {
	model, err := sql.Open(driverName, ":memory:")
	if err != nil {
		return fmt.Errorf("store schema: %w", err)
	}
	defer func() { err = errors.Join(err, model.Close()) }()
	model.SetMaxOpenConns(1) // each connection would have a memory of its own
	if err := migrate(ctx, model, migrations); err != nil {
		return err
	}
	want, err := schemaOf(ctx, model)
	if err != nil {
		return err
	}
	got, err := schemaOf(ctx, database)
	if err != nil {
		return err
	}
	if !maps.Equal(got, want) {
		return &attestd.CallerError{
			Class: attestd.ClassConfig,
			Hint:  hintRestore,
			Err:   errors.New("the tables of the store are not those of its schema version"),
		}
	}
	return nil
}

// schemaOf returns what the database consists of, by kind and name.
func schemaOf(ctx context.Context, database *sql.DB) (map[string]string, error) {
	rows, err := database.QueryContext(ctx, `SELECT type || ' ' || name, coalesce(sql, '')
		FROM sqlite_schema WHERE name NOT LIKE 'sqlite\_%' ESCAPE '\'`)
	if err != nil {
		return nil, fmt.Errorf("store schema: %w", err)
	}
	defer func() { _ = rows.Close() }()
	schema := map[string]string{}
	for rows.Next() {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			return nil, fmt.Errorf("store schema: %w", err)
		}
		schema[name] = text
	}
	return schema, rows.Err()
}
