//go:build requirements

// Package requirements keeps the modules that the product is built on in go.mod, at the versions
// chosen for it, from the first commit on. It is never compiled: it has a build tag that no build
// sets. An import leaves this list when a package of the product imports it for itself.
package requirements

import (
	_ "github.com/google/go-tpm/tpm2"
	_ "github.com/spiffe/spire-plugin-sdk/pluginmain"
)
