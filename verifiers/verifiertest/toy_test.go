package verifiertest_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/claims"
	"github.com/attestd/attestd/verifiers/internal/trail"
)

// The toy's evidence is a version byte, a nonce of 32 bytes and an Ed25519 signature over both.
const toySize = 1 + 32 + ed25519.SignatureSize

var toyFrom = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

func toyEvidence(key ed25519.PrivateKey) []byte {
	body := append([]byte{1}, bytes.Repeat([]byte{0x5a}, 32)...)
	return append(body, ed25519.Sign(key, body)...)
}

// toy is a whole verifier, except for the fault it was given.
type toy struct {
	public     ed25519.PublicKey
	fault      string
	signatures atomic.Uint64
}

func (v *toy) Format() attestd.Format      { return attestd.FormatTPM }
func (v *toy) Detect(evidence []byte) bool { return len(evidence) == toySize }
func (v *toy) SignaturesVerified() uint64  { return v.signatures.Load() }
func (v *toy) Facts() []attestd.FactSpec {
	return []attestd.FactSpec{{Name: "nonce", Kind: attestd.KindBytes}}
}

func (v *toy) Inspect([]byte) (attestd.Inspection, error) {
	return attestd.Inspection{Format: attestd.FormatTPM}, nil
}

func (v *toy) Checks() []attestd.CheckSpec {
	var specs []attestd.CheckSpec
	for _, id := range []attestd.CheckID{"toy/size", "toy/time", "toy/signature", "toy/nonce", "toy/key"} {
		specs = append(specs, attestd.CheckSpec{
			ID: id, Proves: "p", Why: "w", Spec: "s", Hint: "h", Class: attestd.ClassSignature,
		})
	}
	return specs
}

func (v *toy) Verify(input attestd.Input) (*attestd.Claims, error) {
	made, err := v.verify(input)
	switch {
	case err != nil && v.fault == "gives claims beside errors":
		return &attestd.Claims{}, err
	case err != nil && v.fault == "gives neither":
		return nil, nil
	case err != nil && v.fault == "says why without an error":
		return nil, errors.New("no")
	case err != nil && v.fault == "names an unknown check":
		return nil, &attestd.EvidenceError{
			Check: "toy/other", Class: attestd.ClassSignature, Spec: "s", Hint: "h",
			Checks: []attestd.Check{{ID: "toy/other", Result: attestd.ResultFail}},
		}
	}
	return made, err
}

func (v *toy) verify(input attestd.Input) (*attestd.Claims, error) {
	steps := trail.New(trail.NewTable(v.Checks()))
	if input.Demand.IsZero() && v.fault != "ignores a missing demand" {
		return nil, &attestd.CallerError{Class: attestd.ClassMalformed, Hint: "demand something"}
	}
	data := input.Evidence
	if len(data) < toySize && v.fault == "panics on short evidence" {
		_ = data[toySize-1]
	}
	if v.fault == "writes to its input" && len(data) == toySize {
		data = bytes.Clone(data)
		input.Evidence[0] = 9
	}
	if len(data) != toySize && (len(data) < toySize || v.fault != "accepts trailing bytes") {
		return nil, steps.Reject("toy/size", "other", "97 bytes", nil)
	}
	steps.Pass("toy/size", "", "")
	late := input.At.After(toyFrom.AddDate(1, 0, 0))
	if (input.At.Before(toyFrom) || late) && v.fault != "ignores the time" {
		return nil, steps.Reject("toy/time", "", "", nil)
	}
	steps.Pass("toy/time", "", "")
	return v.verifySigned(steps, data, input)
}

func (v *toy) verifySigned(
	steps *trail.Trail, data []byte, input attestd.Input,
) (*attestd.Claims, error) {
	rounds := 1
	if v.fault == "verifies nine signatures" {
		rounds = 9
	}
	for range rounds {
		v.signatures.Add(1)
		if !ed25519.Verify(v.public, data[:33], data[33:toySize]) && v.fault != "skips the signature" {
			return nil, steps.Reject("toy/signature", "", "", nil)
		}
	}
	steps.Pass("toy/signature", "", "")
	want, demanded := input.Demand.Freshness()
	got := data[1:33]
	if v.fault == "compares half of the nonce" && len(want) > 16 {
		want, got = want[:16], got[:16]
	}
	if demanded && !bytes.Equal(want, got) && v.fault != "ignores the nonce" {
		return nil, steps.Reject("toy/nonce", "", "", nil)
	}
	steps.Pass("toy/nonce", "", "")
	if _, demanded := input.Demand.Key(); demanded && v.fault != "ignores the key" {
		return nil, steps.Reject("toy/key", "", "", nil)
	}
	if v.fault != "skips a check of its table" {
		steps.Pass("toy/key", "", "")
	}
	return v.claims(steps, data, input), nil
}

func (v *toy) claims(steps *trail.Trail, data []byte, input attestd.Input) *attestd.Claims {
	values := attestd.ClaimValues{
		Format: attestd.FormatTPM, EvidenceDigest: sha256.Sum256(data),
		Facts:  []attestd.Fact{{Name: "nonce", Value: attestd.Bytes(data[1:33])}},
		Checks: steps.Checks(),
	}
	if _, demanded := input.Demand.Freshness(); demanded && !input.Demand.IsRecorded() ||
		v.fault == "claims to have seen freshly" {
		values.Freshness = attestd.FreshnessNonce
	}
	switch v.fault {
	case "keeps the input's memory":
		values.Registers = []attestd.Register{{Name: "nonce", Algorithm: "none", Digest: data[1:33]}}
	case "has an undocumented fact":
		values.Facts = append(values.Facts, attestd.Fact{Name: "more", Value: attestd.Bool(true)})
	}
	return attestd.NewClaims(claims.Grant(), values)
}
