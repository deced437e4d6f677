package judge_test

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/measurements"
	"github.com/attestd/attestd/verifiers"
)

// composer answers with the error of a part, and keeps what it was asked with.
type composer struct {
	broken
	parts []verifiers.Verifier
	asked attestd.Input
}

func (c *composer) Parts() []verifiers.Verifier { return c.parts }

func (c *composer) Verify(input attestd.Input) (*attestd.Claims, error) {
	c.asked = input
	return nil, &attestd.UndecidedError{
		Check: "tpm/crl", Class: attestd.ClassCollateralUnavailable, Got: "no list", Want: "a list",
		Checks: []attestd.Check{{ID: "tpm/crl", Device: "vtpm", Result: attestd.ResultFail, Got: "no list"}},
	}
}

func (c *composer) SignaturesVerified() uint64 { return c.parts[0].SignaturesVerified() }

func (*part) SignaturesVerified() uint64 { return 7 }

// TestThePartsOfAComposerAreCountedOnce: they stand in the list of verifiers themselves.
func TestThePartsOfAComposerAreCountedOnce(t *testing.T) {
	one := &part{broken{format: attestd.FormatTPM}}
	whole := &composer{
		broken: broken{format: attestd.FormatComposite}, parts: []verifiers.Verifier{one},
	}
	if got := judge.NewWith([]verifiers.Verifier{one, whole}).SignaturesVerified(); got != 7 {
		t.Errorf("got %d signatures, want the part's 7", got)
	}
}

// part has one check of a group of its own.
type part struct{ broken }

func (*part) Checks() []attestd.CheckSpec {
	return []attestd.CheckSpec{{ID: "tpm/crl", Group: attestd.GroupCollateral}}
}

// TestAComposerAnswersForItsParts: the check of a part has the part's group and the device's path, and
// keys that reference values of the part's format name are anchors of the whole.
func TestAComposerAnswersForItsParts(t *testing.T) {
	key := sha256.Sum256([]byte("an endorsement key"))
	set, err := measurements.Parse("inventory", []byte("schema: attestd.reference-values.v1\nname: a\n"+
		"format: tpm\nendorsement-keys: {m: \""+hexOf(key)+"\"}\n"))
	if err != nil {
		t.Fatal(err)
	}
	index, err := measurements.NewIndex(set)
	if err != nil {
		t.Fatal(err)
	}
	whole := &composer{
		broken: broken{format: attestd.FormatComposite},
		parts:  []verifiers.Verifier{&part{broken{format: attestd.FormatTPM}}},
	}
	_, request := enclave(t)
	request.Format, request.References = attestd.FormatComposite, index
	verdict, err := judge.NewWith([]verifiers.Verifier{whole}).Judge(request)
	if err != nil {
		t.Fatal(err)
	}
	if verdict.Verdict != attestd.VerdictUndecided || len(verdict.Reasons) != 1 {
		t.Fatalf("got %v for %+v", verdict.Verdict, verdict.Reasons)
	}
	if reason := verdict.Reasons[0]; reason.Group != attestd.GroupCollateral || reason.Device != "vtpm" {
		t.Errorf("got group %s and device %q, want collateral of vtpm", reason.Group, reason.Device)
	}
	if got := whole.asked.Anchors.EndorsementKeys; len(got) != 1 || got[0] != key {
		t.Errorf("the composer was asked with %d endorsement keys, want the inventory's", len(got))
	}
}

func hexOf(sum [32]byte) string { return hex.EncodeToString(sum[:]) }
