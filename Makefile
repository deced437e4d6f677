# attestd: everything a person or CI runs. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

export GOFLAGS := -trimpath
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
GOTOOL  := go -C internal/tools tool
SUITE   := .ci/suite

# The packages whose concurrency is worth the price of the race detector.
RACE := ./verifiers/... ./internal/service/... ./internal/registry/... ./internal/challenge/... \
        ./internal/api/... ./internal/worker/... ./attester/... ./internal/audit ./internal/condition \
        ./internal/subject ./internal/operator ./internal/admin/... ./internal/revocation \
        ./internal/enrol ./internal/reappraisal ./internal/spire/... ./internal/issuance \
        ./plugins/spire/... ./internal/collateral/... ./internal/keys ./internal/result \
        ./internal/authn ./internal/decision/... ./internal/nhi/... ./client/...

FUZZTIME ?= 20s

.PHONY: help
help: ## what can be run here
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

.PHONY: build
build: ## bin/attestd and bin/attestd-spire, two static binaries without cgo
	@mkdir -p bin
	@CGO_ENABLED=0 go build -ldflags '$(LDFLAGS)' -o bin/ ./cmd/attestd ./plugins/spire/cmd/attestd-spire

.PHONY: spire
spire: ## a SPIRE server and agent to test against, built once into the user's cache
	@.ci/install gcc
	@.ci/spire

.PHONY: spire-test
spire-test: build ## the whole path through a real SPIRE server and agents
	@.ci/spire-test

.PHONY: demo
demo: ## the whole story with a real SPIRE (built once); DEMO=verify: the verdicts alone, in seconds
ifeq ($(DEMO),verify)
	@.ci/install swtpm
	@$(SUITE) "build attestd" $(MAKE) --no-print-directory build
	@bin/attestd dev --demo
else
	@.ci/install gcc swtpm nginx
	@ATTESTD_SPIRE=$$(.ci/spire) && export ATTESTD_SPIRE && go -C internal/spiretest run ./cmd/story
endif

.PHONY: test
test: ## every suite that CI runs, with the time each took
	@.ci/test

.PHONY: check
check: ## formatting, vet, staticcheck, static binary
	@.ci/check

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (20s); fails where fuzzing did not happen
	@.ci/fuzz $(FUZZTIME)

.PHONY: bench
bench: build ## figures against peers in one run, written to bench/results.json
	@go -C internal/bench run . -binary $(CURDIR)/bin/attestd -out $(CURDIR)/bench/results.json

.PHONY: bench-decide
bench-decide: ## decisions in process and beside a server that allows everything, written to bench/decide.json
	@mkdir -p .cache && go -C internal/bench build -o $(CURDIR)/.cache/bench-decide ./decide
	@.cache/bench-decide -out $(CURDIR)/bench/decide.json

.PHONY: soak
soak: build ## the sizes that do not fit CI, written to bench/soak.json
	@.ci/soak

.PHONY: vectors
vectors: ## fetch the extra vectors from their public repositories (needs a network)
	@go run ./testvectors/cmd/fetch-vectors -out .cache/vectors

.PHONY: docs
docs: ## write the generated tables of docs/ anew
	@go test ./internal/explain -update
	@go test ./internal/condition -update
	@go test ./internal/subject -run Docs -update
	@go test ./internal/decision -run Docs -update
	@go test ./internal/demands -update
	@go test ./cmd/attestd -run Docs -update

.PHONY: race
race: ## the race detector over the concurrent packages (needs a C compiler)
	@# A program built so sleeps for a second when it ends, and plugins must end within two.
	@GORACE=atexit_sleep_ms=0 go test -vet=off -race -short $(RACE)

.PHONY: mutate
mutate: ## switch each check off and show that a test sees it
	@go run ./testvectors/cmd/mutate-checks
