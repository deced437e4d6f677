package sevsnp_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
)

// answered fails unless the answer is claims for bytes that were signed, or an error of a class.
func answered(t *testing.T, claims *attestd.Claims, err error, genuine bool) {
	t.Helper()
	var rejected *attestd.EvidenceError
	var undecided *attestd.UndecidedError
	switch {
	case err == nil && !genuine:
		t.Fatal("accepted what nobody signed")
	case err == nil:
	case claims != nil:
		t.Fatal("claims beside an error")
	case errors.As(err, &rejected) && rejected.Class != "" && rejected.Hint != "":
	case errors.As(err, &undecided) && undecided.Class.Undecided() && undecided.Hint != "":
	default:
		t.Fatalf("an error of no class: %v", err)
	}
}

func FuzzReport(f *testing.F) {
	base := sample(f)
	f.Add(base.Evidence)
	for _, product := range []string{"Milan", "Genoa", "Bergamo", "Turin"} {
		for version := range uint32(7) {
			f.Add(forge.NewSNPReport(product, version).Bytes())
		}
		f.Add(forge.NewSNPReport(product, 5).WithVLEK().Bytes())
	}
	v := newVerifier(f)
	f.Fuzz(func(t *testing.T, evidence []byte) {
		input := base
		input.Evidence = bytes.Clone(evidence)
		claims, err := v.Verify(input)
		answered(t, claims, err, bytes.Equal(evidence, base.Evidence))
		if !bytes.Equal(input.Evidence, evidence) {
			t.Fatal("the verifier wrote to its input")
		}
		v.Detect(evidence)
		if _, err := v.Inspect(evidence); err != nil && len(evidence) >= 1184 && len(evidence) < 1<<16 {
			t.Fatalf("not decoded: %v", err)
		}
	})
}

func FuzzCertificateTable(f *testing.F) {
	base := sample(f)
	vcek := base.Endorsements.Certificates[0]
	for _, data := range [][]byte{vcek, armoured(vcek)} {
		table, err := forge.SNPTable(forge.SNPTableEntry{GUID: forge.GUIDVCEK, Data: data})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(table)
	}
	f.Add(make([]byte, 24))
	v := newVerifier(f)
	f.Fuzz(func(t *testing.T, table []byte) {
		input := base
		input.Evidence = append(bytes.Clone(base.Evidence), table...)
		before := v.SignaturesVerified()
		// Whatever follows a genuine report may lead to a refusal or leave it genuine.
		claims, err := v.Verify(input)
		answered(t, claims, err, true)
		if v.SignaturesVerified()-before > 8 {
			t.Fatal("more than eight signatures")
		}
	})
}
