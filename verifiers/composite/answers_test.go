package composite_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/claims"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/composite"
)

// lax is a verifier that gives what it is told to instead of its own answer.
type lax struct {
	verifiers.Verifier
	claims *attestd.Claims
	err    error
}

func (l lax) Verify(attestd.Input) (*attestd.Claims, error) { return l.claims, l.err }

// with is a verifier of machines whose part of the format answers so.
func with(
	t *testing.T, format attestd.Format, answer *attestd.Claims, err error,
) *composite.Verifier {
	t.Helper()
	given := parts(t)
	for i, part := range given {
		if part.Format() == format {
			given[i] = lax{part, answer, err}
		}
	}
	v, bad := composite.New(composite.Config{Parts: given})
	if bad != nil {
		t.Fatal(bad)
	}
	return v
}

func sealed(format attestd.Format, freshness attestd.Freshness, key []byte) *attestd.Claims {
	return attestd.NewClaims(claims.Grant(), attestd.ClaimValues{
		Format: format, Freshness: freshness, KeySPKI: key,
	})
}

// TestADeviceThatIsNotBoundIsRefused: whatever a device's verifier let through, claims that do not say
// that the device answered make no machine.
//
// neg: 39
func TestADeviceThatIsNotBoundIsRefused(t *testing.T) {
	t.Parallel()
	asked := input(t, fresh(t, root), root, guest(t), chip(t, nil))
	for _, format := range []attestd.Format{attestd.FormatSEVSNP, attestd.FormatTPM} {
		for _, shown := range []attestd.Freshness{attestd.FreshnessNotShown, attestd.FreshnessBinding} {
			v := with(t, format, sealed(format, shown, nil), nil)
			refused(t, v, asked, "", "composite/devices-bound", attestd.ClassBinding)
		}
	}
	binding := attestd.Binding{
		Format: attestd.FormatComposite, Nonce: root[:32], SPKI: spki(t, theWorld(t).agent),
	}
	demand, err := attestd.Bound(binding)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := binding.Digest()
	if err != nil {
		t.Fatal(err)
	}
	v := with(t, attestd.FormatTPM,
		sealed(attestd.FormatTPM, attestd.FreshnessBinding, spki(t, theWorld(t).ak)), nil)
	refused(t, v, input(t, demand, digest, guest(t), chip(t, nil)), "", "composite/devices-bound",
		attestd.ClassBinding)
}

// TestAnswersOfDevicesAreTheAnswer: check, class, hint and words stay those of the device's verifier,
// behind the checks that ran before.
func TestAnswersOfDevicesAreTheAnswer(t *testing.T) {
	t.Parallel()
	asked := input(t, fresh(t, root), root, guest(t), chip(t, nil))
	failed := []attestd.Check{{ID: "tpm/size", Result: attestd.ResultPass}, {ID: "tpm/nonce", Result: attestd.ResultFail}}

	undecided := &attestd.UndecidedError{Check: "tpm/nonce", Class: attestd.ClassCollateralStale, Hint: "h",
		Got: "g", Want: "w", Spec: "s", Checks: failed}
	_, err := with(t, attestd.FormatTPM, nil, undecided).Verify(asked)
	var got *attestd.UndecidedError
	if !errors.As(err, &got) || got.Check != undecided.Check || got.Class != undecided.Class || got.Hint != "h" ||
		got.Got != "g" || got.Want != "w" || got.Spec != "s" {
		t.Fatalf("got %v", err)
	}
	paths := []string{}
	for _, check := range got.Checks {
		paths = append(paths, check.Device)
	}
	if !slices.Equal(slices.Compact(paths), []string{"", "cpu", "vtpm"}) {
		t.Errorf("devices of the checks: %q", paths)
	}
	if failed[1].Device != "" {
		t.Error("the device's own checks were written to")
	}

	_, err = with(t, attestd.FormatTPM, nil,
		&attestd.CallerError{Class: attestd.ClassUnsupported, Hint: "h"}).Verify(asked)
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || caller.Class != attestd.ClassUnsupported || caller.Hint != "h" ||
		!strings.Contains(caller.Error(), "vtpm") {
		t.Errorf("got %v", err)
	}
	for name, bug := range map[string]*composite.Verifier{
		"an error of no kind":          with(t, attestd.FormatTPM, nil, errors.New("broken")),
		"neither claims nor an error":  with(t, attestd.FormatTPM, nil, nil),
		"claims of another format":     with(t, attestd.FormatTPM, sealed(attestd.FormatNitro, attestd.FreshnessNonce, nil), nil),
		"claims that nobody's seal is": with(t, attestd.FormatTPM, &attestd.Claims{}, nil),
	} {
		claims, err := bug.Verify(asked)
		var rejected *attestd.EvidenceError
		if claims != nil || err == nil || errors.As(err, &rejected) || errors.As(err, &caller) ||
			errors.As(err, &got) {
			t.Errorf("%s: got %v, want an error that is nobody's answer", name, err)
		}
	}
}

// asks keeps what a device's verifier was asked.
type asks struct {
	verifiers.Verifier
	seen *[]attestd.Input
}

func (a asks) Verify(input attestd.Input) (*attestd.Claims, error) {
	*a.seen = append(*a.seen, input)
	return a.Verifier.Verify(input)
}

// TestDevicesAreAskedWithWhatIsKnown: anchors, endorsements and time pass through, but for keys that a
// TEE's report would have to state: a caller cannot vouch for a TPM in a report's name.
func TestDevicesAreAskedWithWhatIsKnown(t *testing.T) {
	t.Parallel()
	var seen []attestd.Input
	given := parts(t)
	for i, part := range given {
		given[i] = asks{part, &seen}
	}
	v, err := composite.New(composite.Config{Parts: given})
	if err != nil {
		t.Fatal(err)
	}
	w := theWorld(t)
	asked := input(t, fresh(t, root), root, guest(t), chip(t, w.agent))
	asked.Anchors.TEEKeys = [][32]byte{digestOf(t, w.ak)}
	asked.Anchors.LastSeen = &attestd.TPMState{ResetCount: 1}
	asked.Anchors.CRLFloors = []attestd.CRLFloor{{}}
	asked.Anchors.DocumentFloors = []attestd.DocumentFloor{{}}
	if asked.Demand, err = asked.Demand.WithKey(spki(t, w.agent)); err != nil {
		t.Fatal(err)
	}
	good(t, v, asked)
	if len(seen) != 2 {
		t.Fatalf("%d questions, want 2", len(seen))
	}
	for i, one := range seen {
		if one.At != asked.At || one.Anchors.Activation != asked.Anchors.Activation ||
			one.Anchors.LastSeen != asked.Anchors.LastSeen || len(one.Anchors.CRLFloors) != 1 ||
			len(one.Anchors.DocumentFloors) != 1 ||
			len(one.Endorsements.Certificates) != len(asked.Endorsements.Certificates) {
			t.Errorf("device %d: something of the question was lost", i)
		}
		if one.Anchors.TEEKeys != nil {
			t.Errorf("device %d: a caller vouches in a TEE's name", i)
		}
		if _, demanded := one.Demand.Key(); demanded != (i == 1) {
			t.Errorf("device %d: a key is demanded: %v", i, demanded)
		}
	}
}

// TestATPMThatNobodyVouchesForMakesNoMachine: the processor beside it does not vouch for it.
func TestATPMThatNobodyVouchesForMakesNoMachine(t *testing.T) {
	t.Parallel()
	v, w := newVerifier(t), theWorld(t)
	asked := input(t, fresh(t, root), root, guest(t), chipOf(t, w.otherAK, w.otherEK, nil))
	refused(t, v, asked, "vtpm", "tpm/activation", attestd.ClassBinding)
	asked.Anchors = attestd.Anchors{}
	refused(t, v, asked, "vtpm", "tpm/ak-trusted", attestd.ClassChain)
}

// TestARelayedTPMIsAcceptedAsWhatItIs: two machines that work together answer one question, each with
// its own device. No check can see it, so that the edge must not say more than "simultaneous".
func TestARelayedTPMIsAcceptedAsWhatItIs(t *testing.T) {
	t.Parallel()
	claims := good(t, newVerifier(t), input(t, fresh(t, root), root, guest(t), chip(t, nil)))
	if got := fact(claims, "weakest_edge"); got != attestd.GradeSimultaneous.String() {
		t.Errorf("edge %s between devices that have nothing in common but a nonce", got)
	}
}

// TestSharedPartsAnswerAlike: what a part remembers of evidence alone never changes the answer on a
// machine, and spares it the chain.
func TestSharedPartsAnswerAlike(t *testing.T) {
	t.Parallel()
	tpm := chip(t, nil)
	whole := input(t, fresh(t, root), root, guest(t), tpm)
	cost := func(v *composite.Verifier) uint64 {
		before := v.SignaturesVerified()
		good(t, v, whole)
		return v.SignaturesVerified() - before
	}
	cold := cost(newVerifier(t))
	given := parts(t)
	v, err := composite.New(composite.Config{Parts: given})
	if err != nil {
		t.Fatal(err)
	}
	plain := derived(t, root, "vtpm", attestd.FormatTPM)
	alone := answering(t, tpm, plain)
	good(t, given[2], inputOf(t, fresh(t, plain), alone.Evidence))
	// The endorsement key's certificate and the one above it.
	if beside := cost(v); beside != cold-2 {
		t.Errorf("%d signatures beside a TPM that is known, want two fewer than %d", beside, cold)
	}
	if warm := cost(v); warm != 2 {
		t.Errorf("%d signatures for a machine that is known, want one for each device", warm)
	}
}
