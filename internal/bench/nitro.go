package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/hf/nitrite"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/nitro"
)

// nitroFigures compares with hf/nitrite on documents of one test authority, so that both sides have
// the same chain and as many leaves as there are rounds.
func nitroFigures(opts options) ([]Figure, error) {
	authority, err := forge.NewAWS(forge.AWSOptions{})
	if err != nil {
		return nil, err
	}
	documents := make([][]byte, opts.rounds+1)
	for i := range documents {
		sibling, err := authority.Sibling(forge.AWSOptions{})
		if err != nil {
			return nil, err
		}
		if documents[i], err = sibling.Document(forge.Document{}); err != nil {
			return nil, err
		}
	}
	verifier, err := nitro.New(nitro.Config{InsecureRoots: []*x509.Certificate{authority.Root()}})
	if err != nil {
		return nil, err
	}
	verify := func(document []byte) error {
		_, err := verifier.Verify(attestd.Input{
			Evidence: document, At: authority.At(), Demand: attestd.Recorded(),
		})
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority.Root())
	peer := func(document []byte) error {
		_, err := nitrite.Verify(document, nitrite.VerifyOptions{
			Roots: roots, CurrentTime: authority.At(),
		})
		return err
	}
	if err := verify(documents[opts.rounds]); err != nil { // warms the chain above the leaves
		return nil, err
	}

	before := verifier.SignaturesVerified()
	newLeaf, err := alternate(opts.rounds,
		func(round int) error { return verify(documents[round]) },
		func(round int) error { return peer(documents[round]) })
	if err != nil {
		return nil, err
	}
	newLeafSignatures := float64(verifier.SignaturesVerified()-before) / float64(opts.rounds)

	if err := verify(documents[0]); err != nil { // makes the table of its leaf's key
		return nil, err
	}
	before = verifier.SignaturesVerified()
	sameLeaf, err := alternate(opts.rounds,
		func(int) error { return verify(documents[0]) },
		func(int) error { return peer(documents[0]) })
	if err != nil {
		return nil, err
	}
	sameLeafSignatures := float64(verifier.SignaturesVerified()-before) / float64(opts.rounds)
	allocations := testing.AllocsPerRun(50, func() { _ = verify(documents[0]) })

	hostile, err := hostileNitro(opts, authority, verify, documents[0])
	if err != nil {
		return nil, err
	}
	return append([]Figure{
		atLeast("nitro: new leaf, warm chain, against hf/nitrite", newLeaf[1]/newLeaf[0], "x faster", 6, 5),
		atLeast("nitro: known leaf, against hf/nitrite", sameLeaf[1]/sameLeaf[0], "x faster", 20, 5),
		atMost("nitro: known leaf, time", sameLeaf[0], "us", 800, 5),
		atMost("nitro: signatures verified, new leaf", newLeafSignatures, "per document", 2, 1),
		atMost("nitro: signatures verified, known leaf", sameLeafSignatures, "per document", 1, 1),
		atMost("nitro: allocations, known leaf", allocations, "per document", maxNitroAllocations, 1),
	}, hostile...), nil
}

// Allocations of one warm verification, gated exactly: a change that needs more changes the number.
const (
	maxNitroAllocations = 46
	maxSNPAllocations   = 60
)

// hostileNitro compares a bundle of 100 certificates with one honest verification, and counts what
// the dearest refused document costs.
func hostileNitro(
	opts options, authority *forge.AWS, verify func([]byte) error, honest []byte,
) ([]Figure, error) {
	bundle := authority.Bundle()
	for len(bundle) < 100 {
		bundle = append(bundle, authority.Bundle()[1])
	}
	flooded, err := authority.Document(forge.Document{Bundle: bundle})
	if err != nil {
		return nil, err
	}
	var rejected *attestd.EvidenceError
	if err := verify(flooded); !errors.As(err, &rejected) {
		return nil, fmt.Errorf("100 certificates: %v, want a rejection", err)
	}
	medians, err := alternate(opts.rounds,
		func(int) error { return verify(honest) },
		func(int) error { _ = verify(flooded); return nil })
	if err != nil {
		return nil, err
	}
	return []Figure{
		atMost("nitro: 100 certificates, against one honest document", medians[1]/medians[0],
			"of its time", 1, 1),
		atMost("nitro: memory beyond the input, 100 certificates", allocated(func() { _ = verify(flooded) }),
			"KiB", 1024, 1),
	}, nil
}

// allocated returns how many KiB one call allocates.
func allocated(call func()) float64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const calls = 20
	for range calls {
		call()
	}
	runtime.ReadMemStats(&after)
	return float64(after.TotalAlloc-before.TotalAlloc) / calls / 1024
}

// newLeafMicros is the time of one verification of a document whose leaf was not seen before.
func newLeafMicros(opts options) (float64, error) {
	authority, err := forge.NewAWS(forge.AWSOptions{})
	if err != nil {
		return 0, err
	}
	verifier, err := nitro.New(nitro.Config{InsecureRoots: []*x509.Certificate{authority.Root()}})
	if err != nil {
		return 0, err
	}
	documents := make([][]byte, opts.rounds+1)
	for index := range documents {
		sibling, err := authority.Sibling(forge.AWSOptions{})
		if err != nil {
			return 0, err
		}
		if documents[index], err = sibling.Document(forge.Document{}); err != nil {
			return 0, err
		}
	}
	verify := func(index int) error {
		_, err := verifier.Verify(attestd.Input{
			Evidence: documents[index], At: authority.At(), Demand: attestd.Recorded(),
		})
		return err
	}
	if err := verify(opts.rounds); err != nil { // warms the chain above the leaves
		return 0, err
	}
	medians, err := alternate(opts.rounds, verify)
	if err != nil {
		return 0, err
	}
	return medians[0], nil
}
