package tdx_test

import (
	"crypto/x509"
	"errors"
	"sync"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tdxevidence"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/tdx"
)

// intel is the authority of this package's tests, other one that carries the same names.
var (
	intel = sync.OnceValues(func() (*forge.Intel, error) { return forge.NewIntel(forge.IntelConfig{}) })
	other = sync.OnceValues(func() (*forge.Intel, error) { return forge.NewIntel(forge.IntelConfig{}) })
)

func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func newVerifier(t testing.TB, roots ...*x509.Certificate) *tdx.Verifier {
	t.Helper()
	return must(tdx.New(tdx.Config{InsecureRoots: roots}))(t)
}

// forgedVerifier trusts the tests' authority.
func forgedVerifier(t testing.TB) *tdx.Verifier {
	t.Helper()
	return newVerifier(t, must(intel())(t).Root)
}

// scene is a quote and what stands around it, to be changed before it is made.
type scene struct {
	authority *forge.Intel
	pck       forge.PCKConfig
	quote     forge.TDQuote
	// edit changes the parts after they were signed; key signs for the PCK.
	edit func(parts *forge.TDParts, key forge.PCK)
	// sent changes the quote as it is sent, log travels with it in a container.
	sent func([]byte) []byte
	log  []byte
	box  bool
}

func newScene(t testing.TB, version uint16) *scene {
	t.Helper()
	return &scene{
		authority: must(intel())(t), pck: forge.NewPCKConfig(), quote: forge.NewTDQuote(version),
	}
}

func (s *scene) bytes(t testing.TB) []byte {
	t.Helper()
	pck := must(s.authority.IssuePCK(s.pck))(t)
	parts := must(s.quote.Parts(pck))(t)
	if s.edit != nil {
		s.edit(&parts, pck)
	}
	out := parts.Bytes()
	if s.sent != nil {
		out = s.sent(out)
	}
	if s.box || s.log != nil {
		out = must(tdxevidence.Evidence{Quote: out, EventLog: s.log}.Marshal())(t)
	}
	return out
}

func (s *scene) input(t testing.TB) attestd.Input {
	t.Helper()
	return attestd.Input{Evidence: s.bytes(t), At: forge.IntelTime, Demand: attestd.Recorded()}
}

func mustVerify(t testing.TB, v *tdx.Verifier, input attestd.Input) *attestd.Claims {
	t.Helper()
	claims, err := v.Verify(input)
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

// mustReject wants exactly this check to fail with this class, and every check before it to be named.
func mustReject(
	t testing.TB, v *tdx.Verifier, input attestd.Input, check attestd.CheckID, class attestd.Class,
) *attestd.EvidenceError {
	t.Helper()
	claims, err := v.Verify(input)
	var rejected *attestd.EvidenceError
	switch {
	case claims != nil:
		t.Fatal("claims")
	case !errors.As(err, &rejected):
		t.Fatalf("got %v, want a rejection", err)
	case rejected.Check != check || rejected.Class != class:
		t.Fatalf("got %s of %s (%v), want %s of %s", rejected.Class, rejected.Check, err, class, check)
	case rejected.Hint == "" || rejected.Spec == "" || rejected.Got == "" || rejected.Want == "":
		t.Fatalf("a rejection that says too little: %+v", rejected)
	}
	return rejected
}

func factOf(t testing.TB, claims *attestd.Claims, name string) string {
	t.Helper()
	value, found := claims.Fact(name)
	if !found {
		t.Fatalf("no fact %q", name)
	}
	return value.String()
}
