//go:build requirements

// Package requirements keeps the modules that the product is built on in go.mod, at the versions
// chosen for it, from the first commit on. It is never compiled: it has a build tag that no build
// sets. An import leaves this list when a package of the product imports it for itself.
package requirements

import (
	_ "github.com/cloudflare/circl/ecc/p384"
	_ "github.com/fxamacker/cbor/v2"
	_ "github.com/go-jose/go-jose/v4"
	_ "github.com/goccy/go-yaml"
	_ "github.com/google/go-cmp/cmp"
	_ "github.com/google/go-sev-guest/abi"
	_ "github.com/google/go-sev-guest/kds"
	_ "github.com/google/go-sev-guest/proto/sevsnp"
	_ "github.com/google/go-sev-guest/testing"
	_ "github.com/google/go-sev-guest/validate"
	_ "github.com/google/go-sev-guest/verify"
	_ "github.com/google/go-sev-guest/verify/testdata"
	_ "github.com/google/go-sev-guest/verify/trust"
	_ "github.com/google/go-tpm/tpm2"
	_ "github.com/google/uuid"
	_ "github.com/hashicorp/golang-lru/v2"
	_ "github.com/hf/nitrite"
	_ "github.com/pressly/goose/v3"
	_ "github.com/prometheus/client_golang/prometheus/promhttp"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/santhosh-tekuri/jsonschema/v6"
	_ "github.com/spf13/cobra"
	_ "github.com/spf13/cobra/doc"
	_ "github.com/spiffe/spire-plugin-sdk/pluginmain"
	_ "go.uber.org/goleak"
	_ "golang.org/x/sys/unix"
	_ "golang.org/x/term"
	_ "modernc.org/sqlite"
	_ "pgregory.net/rapid"
)
