package registry_test

import (
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/registry/live"
)

// What others ask of a store, and what the store asks of an index.
var (
	_ operator.Store = (*registry.Store)(nil)
	_ audit.Store    = (*registry.Store)(nil)
	_ registry.Index = (*live.Index)(nil)
)

// wide limits nothing that a test does.
var wide = registry.Limits{
	Outstanding: 1 << 30, PerTenant: 1 << 30, PerSource: 1 << 30, Appraisals: 1 << 30, KeepAppraisals: 1 << 50,
}
