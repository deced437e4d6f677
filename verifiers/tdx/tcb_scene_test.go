package tdx_test

import (
	"bytes"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
)

// judged is a quote with Intel-shaped collateral, to be changed before either is made.
type judged struct {
	*scene
	tcb      forge.TCBInfoConfig
	identity forge.IdentityConfig
	// given changes what the verifier is given.
	given func(t testing.TB, input *attestd.Input)
}

func newJudged(t testing.TB, version uint16) *judged {
	t.Helper()
	return &judged{
		scene: newScene(t, version), tcb: forge.NewTCBInfoConfig(), identity: forge.NewIdentityConfig(),
	}
}

func (j *judged) input(t testing.TB) attestd.Input {
	t.Helper()
	input := j.scene.input(t)
	collateral := must(j.authority.Collateral(j.tcb, j.identity))(t)
	input.Endorsements = attestd.Endorsements{
		Certificates: collateral.Certificates, CRLs: collateral.CRLs, Documents: collateral.Documents,
	}
	if j.given != nil {
		j.given(t, &input)
	}
	return input
}

// nonce makes the input one of evidence that is judged as of now.
func nonce(t testing.TB, input *attestd.Input) {
	t.Helper()
	value := forge.NewTDQuote(4).ReportData
	demand, err := attestd.Fresh(value[:])
	if err != nil {
		t.Fatal(err)
	}
	input.Demand = demand
}

// facts wants facts of the claims by name.
func facts(t testing.TB, claims *attestd.Claims, want map[string]string) {
	t.Helper()
	for name, text := range want {
		if got := factOf(t, claims, name); got != text {
			t.Errorf("%s is %q, want %q", name, got, text)
		}
	}
}

// list makes a revocation list of the authority.
func list(t testing.TB, of *forge.Intel, config forge.IntelCRLConfig) []byte {
	t.Helper()
	return must(of.CRL(config))(t)
}

// without returns the byte strings but one.
func without(all [][]byte, index int) [][]byte {
	out := make([][]byte, 0, len(all))
	for i, one := range all {
		if i != index {
			out = append(out, bytes.Clone(one))
		}
	}
	return out
}
