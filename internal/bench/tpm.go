package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/google/go-attestation/attest"
	"github.com/google/go-tpm/tpm2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/tpm"
)

// tpmFigures compares the verification of a quote, from the container to claims, with the one
// signature in it and with go-attestation, which checks signature, nonce and PCR digest.
func tpmFigures(opts options) ([]Figure, error) {
	var figures []Figure
	for _, kind := range []struct {
		name string
		key  forge.TPMKeyConfig
		// bound on the time of a whole verification, in times of its signature
		times float64
	}{
		{"RSA-2048", forge.TPMKeyConfig{Scheme: tpm2.TPMAlgRSASSA, Bits: 2048}, maxTPMOverRSA},
		{"ECDSA P-256", forge.TPMKeyConfig{}, maxTPMOverECDSA},
	} {
		got, err := quoteFigures(opts, kind.name, kind.key, kind.times)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind.name, err)
		}
		figures = append(figures, got...)
	}
	return figures, nil
}

// quoteFigures measures quotes of one kind of key.
func quoteFigures(
	opts options, name string, config forge.TPMKeyConfig, times float64,
) ([]Figure, error) {
	key, err := forge.NewTPMKey(config)
	if err != nil {
		return nil, err
	}
	nonce := sha256.Sum256([]byte(name))
	evidence, err := forge.NewTPM(key, nil).Evidence(nonce[:], nil)
	if err != nil {
		return nil, err
	}
	container, err := evidence.Marshal()
	if err != nil {
		return nil, err
	}
	spki, err := key.SPKI()
	if err != nil {
		return nil, err
	}
	demand, err := attestd.Fresh(nonce[:])
	if err != nil {
		return nil, err
	}
	verifier, err := tpm.New(tpm.Config{})
	if err != nil {
		return nil, err
	}
	input := attestd.Input{
		Evidence: container, Demand: demand, At: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		Anchors: attestd.Anchors{AttestationKeys: [][32]byte{sha256.Sum256(spki)}},
	}
	ours := func(int) error { _, err := verifier.Verify(input); return err }
	if err := ours(0); err != nil {
		return nil, err
	}
	peer, err := attest.ParseAKPublic(key.Public)
	if err != nil {
		return nil, err
	}
	raw, err := rawSignature(evidence.QuoteSignature)
	if err != nil {
		return nil, err
	}
	var pcrs []attest.PCR
	for _, pcr := range evidence.PCRs[0].PCRs {
		pcrs = append(pcrs, attest.PCR{Index: int(pcr.Index), Digest: pcr.Value, DigestAlg: crypto.SHA256})
	}
	quote := attest.Quote{Quote: evidence.Quote, Signature: evidence.QuoteSignature}
	before := verifier.SignaturesVerified()
	medians, err := alternate(opts.rounds,
		ours,
		func(int) error { return raw.verify(key.Signer.Public(), evidence.Quote) },
		func(int) error { return peer.Verify(quote, pcrs, nonce[:]) })
	if err != nil {
		return nil, err
	}
	signatures := float64(verifier.SignaturesVerified()-before) / float64(opts.rounds)
	allocations := testing.AllocsPerRun(50, func() { _ = ours(0) })
	return []Figure{
		atMost("tpm: quote, "+name+", container to claims, against its signature",
			medians[0]/medians[1], "of its time", times, 5),
		atLeast("tpm: quote, "+name+", against go-attestation", medians[2]/medians[0], "x faster", 1, 5),
		atMost("tpm: signatures verified, "+name+", known key", signatures, "per quote", 1, 1),
		atMost("tpm: allocations, "+name+", known key", allocations, "per quote", maxTPMAllocations, 1),
	}, nil
}

// Bars of a whole verification, with its checks, facts and claims. The work on the quote itself costs
// 1.15 times its signature at most: BenchmarkQuote in verifiers/tpm prints that.
const (
	maxTPMOverRSA     = 1.5
	maxTPMOverECDSA   = 1.15
	maxTPMAllocations = 31
)

// plainSignature is the signature inside a TPMT_SIGNATURE: RSA's bytes, or (r, s) in DER.
type plainSignature struct{ rsa, ecdsa []byte }

func rawSignature(tpmt []byte) (plainSignature, error) {
	signature, err := tpm2.Unmarshal[tpm2.TPMTSignature](tpmt)
	if err != nil {
		return plainSignature{}, err
	}
	if signature.SigAlg == tpm2.TPMAlgRSASSA {
		parts, err := signature.Signature.RSASSA()
		if err != nil {
			return plainSignature{}, err
		}
		return plainSignature{rsa: parts.Sig.Buffer}, nil
	}
	parts, err := signature.Signature.ECDSA()
	if err != nil {
		return plainSignature{}, err
	}
	der, err := asn1.Marshal(struct{ R, S *big.Int }{
		new(big.Int).SetBytes(parts.SignatureR.Buffer), new(big.Int).SetBytes(parts.SignatureS.Buffer),
	})
	return plainSignature{ecdsa: der}, err
}

// verify is what no verification can do without.
func (s plainSignature) verify(public crypto.PublicKey, message []byte) error {
	digest := sha256.Sum256(message)
	switch key := public.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], s.rsa)
	case *ecdsa.PublicKey:
		if ecdsa.VerifyASN1(key, digest[:], s.ecdsa) {
			return nil
		}
	}
	return errors.New("the signature is not good")
}
