package verifiertest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers"
)

// maxSignatures is the most signature verifications that one piece of evidence may cost, whatever it
// holds: more would let a sender choose our bill.
const maxSignatures = 8

// good verifies an input that must be accepted.
func good(t *testing.T, v verifiers.Verifier, input attestd.Input) *attestd.Claims {
	t.Helper()
	claims, refusal, fault := ask(v, specsOf(v), input)
	if fault != nil || refusal != nil {
		t.Fatalf("good input refused: %v%v", fault, refusal)
	}
	return claims
}

func accepts(t *testing.T, c Case) {
	v := c.New()
	roots := v.SignaturesVerified() // what was compiled in, which costs the same for every caller
	claims := good(t, v, clone(c.Input))
	if claims.Format() != v.Format() {
		t.Errorf("claims of format %q, want %q", claims.Format(), v.Format())
	}
	if got, want := claims.EvidenceDigest(), sha256.Sum256(c.Input.Evidence); got != want {
		t.Errorf("evidence digest %x, want %x", got, want)
	}
	if claims.Freshness() != attestd.FreshnessNotShown {
		t.Errorf("a recorded demand showed freshness %v", claims.Freshness())
	}
	if !v.Detect(c.Input.Evidence) {
		t.Error("Detect does not know the evidence")
	}
	if _, err := v.Inspect(bytes.Clone(c.Input.Evidence)); err != nil {
		t.Errorf("Inspect: %v", err)
	}
	if got, most := v.SignaturesVerified()-roots, budget(claims); got == 0 || got > most {
		t.Errorf("%d signature verifications for the first look, want 1 to %d", got, most)
	}
	ranEveryCheck(t, v, claims)
	carriesDocumentedFacts(t, v, claims)
	carriesDevices(t, v, claims)
}

// ranEveryCheck compares the checks that ran with the table: a check of the table that no evidence
// runs protects nobody.
func ranEveryCheck(t *testing.T, v verifiers.Verifier, claims *attestd.Claims) {
	var want, got []attestd.CheckID
	facts := map[string]bool{}
	for _, fact := range v.Facts() {
		facts[fact.Name] = true
	}
	for _, spec := range v.Checks() {
		if spec.Stage == attestd.StageVerify {
			want = append(want, spec.ID)
		} else if spec.Rule != attestd.RuleReference && !facts[spec.Fact] {
			t.Errorf("check %q compares fact %q, which is not documented", spec.ID, spec.Fact)
		}
		if spec.Proves == "" || spec.Why == "" || spec.Spec == "" || spec.Hint == "" || spec.Class == "" {
			t.Errorf("check %q is not documented in full", spec.ID)
		}
	}
	for _, check := range claims.Checks() {
		if check.Device == "" {
			got = append(got, check.ID)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("checks that ran:\n%q\nwant the table's:\n%q", got, want)
	}
}

func carriesDocumentedFacts(t *testing.T, v verifiers.Verifier, claims *attestd.Claims) {
	kinds := map[string]attestd.Kind{}
	for _, spec := range v.Facts() {
		if _, double := kinds[spec.Name]; double {
			t.Errorf("fact %q is documented twice", spec.Name)
		}
		kinds[spec.Name] = spec.Kind
	}
	count := 0
	for fact := range claims.Facts() {
		count++
		want, known := kinds[fact.Name]
		if kind := fact.Value.Kind(); !known || kind != want && kind != attestd.KindNotVisible {
			t.Errorf("fact %q of kind %v, documented as %v", fact.Name, kind, want)
		}
	}
	if count == 0 {
		t.Error("claims without a fact")
	}
}

func keepsNothing(t *testing.T, c Case) {
	v := c.New()
	input := clone(c.Input)
	claims := good(t, v, input)
	if !sameBytes(input, c.Input) {
		t.Error("the verifier wrote to its input")
	}
	before, err := portrait(claims)
	if err != nil {
		t.Fatal(err)
	}
	for _, memory := range append(input.Endorsements.Certificates, input.Evidence) {
		for i := range memory {
			memory[i] ^= 0xff
		}
	}
	after, err := portrait(claims)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Error("claims changed when the input's memory was written to")
	}
	// A cache that kept the caller's memory would now answer for other bytes.
	if err := refused(v, specsOf(v), input, true, true); err != nil {
		t.Errorf("inverted input: %v", err)
	}
	good(t, v, clone(c.Input))
}

func costsOneSignature(t *testing.T, c Case) {
	v := c.New()
	good(t, v, c.Input)
	before := v.SignaturesVerified()
	good(t, v, c.Input)
	want := max(1, c.Signatures)
	if got := v.SignaturesVerified() - before; got != want {
		t.Errorf("%d signature verifications for a known chain, want %d", got, want)
	}
}

// asked reports whether a caller may take nonce for fresh: short ones and zeros are nobody's question.
func asked(nonce []byte) bool {
	return len(nonce) >= attestd.MinNonce && bytes.Count(nonce, []byte{0}) < len(nonce)
}

func refusesOtherDemands(t *testing.T, c Case) {
	v := c.New()
	good(t, v, c.Input)
	demand := func(name string, d attestd.Demand, caller bool) {
		input := clone(c.Input)
		input.Demand = d
		if err := refused(v, specsOf(v), input, false, caller); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	demand("no demand at all", attestd.Demand{}, true)
	for name, nonce := range otherNonces(c.Nonce) {
		demand("recorded, "+name, must(attestd.Recorded().WithNonce(nonce))(t), false)
		if asked(nonce) {
			demand("fresh, "+name, must(attestd.Fresh(nonce))(t), false)
		}
	}
	key := newKey(t)
	demand("other key", must(attestd.Recorded().WithKey(key))(t), true)
	demand("other binding", must(attestd.Bound(attestd.Binding{
		Format: v.Format(), Nonce: make([]byte, attestd.MinNonce), SPKI: key,
	}))(t), false)
	// The evidence's own values must be accepted, or the refusals above say nothing.
	input := clone(c.Input)
	if len(c.Nonce) > 0 {
		input.Demand = must(attestd.Recorded().WithNonce(c.Nonce))(t)
		good(t, v, input)
	}
	if asked(c.Nonce) {
		input.Demand = must(attestd.Fresh(c.Nonce))(t)
		if got := good(t, v, input).Freshness(); got != attestd.FreshnessNonce {
			t.Errorf("the right nonce showed freshness %v", got)
		}
	}
	if len(c.KeySPKI) > 0 {
		input.Demand = must(attestd.Recorded().WithKey(c.KeySPKI))(t)
		good(t, v, input)
		for bit := range len(c.KeySPKI) * 8 {
			demand("key with one bit changed", must(attestd.Recorded().WithKey(flipped(c.KeySPKI, bit)))(t), true)
		}
	}
}

// otherNonces returns nonces that are not the evidence's: random, longer, shorter, one bit away.
func otherNonces(own []byte) map[string][]byte {
	random := make([]byte, 64)
	_, _ = rand.Read(random)
	nonces := map[string][]byte{
		"a random nonce of 64 bytes": random, "a random nonce of 32 bytes": random[:32],
		"1,024 bytes": bytes.Repeat([]byte{1}, attestd.MaxNonce),
	}
	if len(own) > 0 {
		nonces["the nonce and a byte"] = append(bytes.Clone(own), 0)
		nonces["the nonce's first bit changed"] = flipped(own, 0)
		nonces["the nonce's last bit changed"] = flipped(own, len(own)*8-1)
	}
	if len(own) > 1 {
		nonces["the nonce without its last byte"] = own[:len(own)-1]
		nonces["the nonce without its first byte"] = own[1:]
	}
	if len(own) > attestd.MaxNonce-1 {
		delete(nonces, "the nonce and a byte")
	}
	for name, nonce := range nonces {
		if bytes.Equal(nonce, own) {
			delete(nonces, name)
		}
	}
	return nonces
}

func refusesOtherTimes(t *testing.T, c Case) {
	v := c.New()
	for _, warm := range []bool{false, true} {
		if warm {
			good(t, v, c.Input) // a cached chain must not outlive its validity
		}
		for _, at := range c.OtherTimes {
			input := clone(c.Input)
			input.At = at
			if err := refused(v, specsOf(v), input, false, false); err != nil {
				t.Errorf("at %s, chain known %t: %v", at.Format(time.RFC3339), warm, err)
			}
		}
	}
	input := clone(c.Input)
	input.At = time.Time{}
	if err := refused(v, specsOf(v), input, false, true); err != nil {
		t.Errorf("at no time: %v", err)
	}
}

func answersConcurrently(t *testing.T, c Case) {
	v := c.New()
	want, err := portrait(good(t, c.New(), c.Input))
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 4 {
				claims, refusal, fault := ask(v, specsOf(v), c.Input)
				if fault != nil || refusal != nil {
					t.Errorf("good input refused: %v%v", fault, refusal)
					return
				}
				if got, err := portrait(claims); err != nil || !bytes.Equal(got, want) {
					t.Errorf("another answer for the same input (%v)", err)
				}
			}
		})
	}
	group.Wait()
}

func must(d attestd.Demand, err error) func(*testing.T) attestd.Demand {
	return func(t *testing.T) attestd.Demand {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}

func newKey(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func flipped(data []byte, bit int) []byte {
	changed := bytes.Clone(data)
	changed[bit/8] ^= 1 << (bit % 8)
	return changed
}
