package registry_test

import (
	"path/filepath"
	"testing"

	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/registry/registrytest"
)

func TestSQLiteDoesAllThatAStoreMust(t *testing.T) {
	registrytest.Suite(t, func(t *testing.T, clock *registry.Clock, index registry.Index) registrytest.Store {
		t.Helper()
		store, err := registry.Open(t.Context(), registry.Config{
			Path: filepath.Join(t.TempDir(), "attestd.db"), Clock: clock, Limits: roomy, Index: index,
		})
		if err != nil {
			t.Fatal(err)
		}
		return store
	})
}
