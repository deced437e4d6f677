package nitro_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hf/nitrite"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
)

// answer is what a verifier made of a document.
type answer string

const (
	accepts  answer = "accepts"
	rejects  answer = "rejects"
	panicked answer = "panics"
)

// askNitrite asks hf/nitrite behind a recover: it panics on some documents. A result beside an error
// is a rejection.
func askNitrite(evidence []byte, at time.Time, roots *x509.CertPool) (got answer, result *nitrite.Result) {
	defer func() {
		if recover() != nil {
			got, result = panicked, nil
		}
	}()
	result, err := nitrite.Verify(evidence, nitrite.VerifyOptions{CurrentTime: at, Roots: roots})
	if err != nil {
		return rejects, nil
	}
	return accepts, result
}

// TestAgreementWithNitrite compares the two on published documents: both must accept the same ones and
// read the same in them.
func TestAgreementWithNitrite(t *testing.T) {
	t.Parallel()
	for _, vector := range published(t) {
		t.Run(vector.Name, func(t *testing.T) {
			t.Parallel()
			theirs, result := askNitrite(bytes.Clone(vector.Evidence), vector.At, nil)
			claims, err := verifier(t).Verify(attestd.Input{
				Evidence: vector.Evidence, At: vector.At, Demand: attestd.Recorded(),
			})
			if (err == nil) != (theirs == accepts) {
				t.Fatalf("we say %v, nitrite %s", err, theirs)
			}
			if err == nil {
				compareWithNitrite(t, claims, result.Document)
			}
		})
	}
}

func compareWithNitrite(t *testing.T, claims *attestd.Claims, theirs *nitrite.Document) {
	t.Helper()
	for name, want := range map[string]string{
		"module_id": theirs.ModuleID, "digest": theirs.Digest,
		"signed_at": attestd.Time(time.UnixMilli(int64(theirs.Timestamp))).String(),
	} {
		if got, _ := claims.Fact(name); got.String() != want {
			t.Errorf("%s is %q, nitrite reads %q", name, got, want)
		}
	}
	for name, want := range map[string][]byte{
		"user_data": theirs.UserData, "public_key": theirs.PublicKey, "nonce": theirs.Nonce,
	} {
		value, ok := claims.Fact(name)
		if got, _ := value.Bytes(); ok != (want != nil) || !bytes.Equal(got, want) {
			t.Errorf("%s is %x, nitrite reads %x", name, got, want)
		}
	}
	count := 0
	for register := range claims.Registers() {
		var index uint
		if _, err := fmt.Sscanf(register.Name, "PCR%d", &index); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(register.Digest, theirs.PCRs[index]) {
			t.Errorf("%s differs", register.Name)
		}
		count++
	}
	if count != len(theirs.PCRs) {
		t.Errorf("%d registers, nitrite reads %d", count, len(theirs.PCRs))
	}
}

// TestDifferencesFromNitrite lists where the two part, each with the reason. Wherever we accept,
// nitrite must accept, too; a row that is no longer a difference fails.
func TestDifferencesFromNitrite(t *testing.T) {
	t.Parallel()
	register := forge.CBORBytes(forge.AWSRegister(0))
	p256 := forge.AWSOptions{Key: keyOf(forge.AWSLeaf, onCurve(elliptic.P256()))}
	ec521 := forge.AWSOptions{Key: keyOf(forge.AWSLeaf, onCurve(elliptic.P521()))}
	caLeaf := forge.AWSOptions{Alter: alter(forge.AWSLeaf, func(c *x509.Certificate) { c.IsCA = true })}
	for _, row := range []struct {
		name    string
		neg     string
		options forge.AWSOptions
		with    func(a *forge.AWS) forge.Document
		theirs  answer
	}{
		{"registers twice: it takes the first", "neg: 1", forge.AWSOptions{}, fields(add(forge.CBORText("pcrs"),
			forge.CBORMap(forge.CBORField{Key: []byte{0}, Value: register}))), accepts},
		{"a key in another case: it takes it for the key", "neg: 2", forge.AWSOptions{},
			fields(add(forge.CBORText("PCRS"), forge.CBORMap(
				forge.CBORField{Key: []byte{0}, Value: register}))), accepts},
		{"a key that nobody knows", "neg: 7", forge.AWSOptions{},
			fields(add(forge.CBORText("extra"), forge.CBORUint(1))), accepts},
		{"an integer that is not in its shortest form", "neg: 4", forge.AWSOptions{},
			fields(add([]byte{0x78, 5, 'e', 'x', 't', 'r', 'a'}, []byte{0x18, 1})), accepts},
		{"another algorithm in the unprotected header", "neg: 15", forge.AWSOptions{},
			of(forge.Document{Unprotected: alg(forge.CBORNegative(6))}), accepts},
		{"1 KiB in the unprotected header", "neg: 18", forge.AWSOptions{},
			of(forge.Document{Unprotected: forge.CBORMap(forge.CBORField{
				Key: []byte{9}, Value: forge.CBORBytes(make([]byte, 1024))})}), accepts},
		{"the algorithm as text", "neg: 20", forge.AWSOptions{},
			of(forge.Document{Protected: alg(forge.CBORText("ES384"))}), accepts},
		{"a critical parameter that nobody knows", "neg: 17", forge.AWSOptions{},
			of(forge.Document{Protected: forge.CBORMap(
				forge.CBORField{Key: []byte{1}, Value: forge.CBORNegative(34)},
				forge.CBORField{Key: []byte{2}, Value: forge.CBORArray(forge.CBORUint(99))})}), accepts},
		{"the algorithm twice: it takes the first", "neg: 16", forge.AWSOptions{},
			of(forge.Document{Protected: forge.CBORMap(
				forge.CBORField{Key: []byte{1}, Value: forge.CBORNegative(34)},
				forge.CBORField{Key: []byte{1}, Value: forge.CBORNegative(6)})}), accepts},
		{"tag 18", "neg: 21", forge.AWSOptions{}, of(forge.Document{Envelope: tagged(18)}), accepts},
		{"a P-256 leaf: it verifies with SHA-256", "neg: 27", p256, of(forge.Document{}), accepts},
		{"a P-521 leaf: it panics", "neg: 26", ec521, of(forge.Document{}), panicked},
		{"a leaf that is a CA", "neg: 36", caLeaf, of(forge.Document{}), accepts},
		{"the bundle reversed: it sorts", "neg: 32", forge.AWSOptions{}, func(a *forge.AWS) forge.Document {
			bundle := a.Bundle()
			slices.Reverse(bundle)
			return forge.Document{Bundle: bundle}
		}, accepts},
		{"a certificate twice", "neg: 34", forge.AWSOptions{}, func(a *forge.AWS) forge.Document {
			return forge.Document{Bundle: append(a.Bundle(), a.Bundle()[1])}
		}, accepts},
		{"a timestamp of 2^64-1", "neg: 39", forge.AWSOptions{}, func(*forge.AWS) forge.Document {
			latest := uint64(1<<64 - 1)
			return forge.Document{Milliseconds: &latest}
		}, accepts},
		{"registers of 32 bytes", "neg: 46", forge.AWSOptions{},
			of(forge.Document{PCRs: map[uint64][]byte{7: make([]byte, 32)}}), accepts},
		{"register 5 alone", "neg: 45", forge.AWSOptions{}, fields(registers(
			forge.CBORField{Key: []byte{5}, Value: register})), accepts},
		{"both kinds of registers", "neg: 51", forge.AWSOptions{},
			fields(add(forge.CBORText("nitrotpm_pcrs"), forge.CBORMap())), accepts},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a := authority(t, row.options)
			pool := x509.NewCertPool()
			pool.AddCert(a.Root())
			evidence := document(t, a, row.with(a))
			claims, err := verifier(t, a.Root()).Verify(attestd.Input{
				Evidence: evidence, At: a.At(), Demand: attestd.Recorded(),
			})
			if claims != nil || err == nil {
				t.Error("we accept")
			}
			if got, _ := askNitrite(evidence, a.At(), pool); got != row.theirs {
				t.Errorf("nitrite %s, the row says it %s", got, row.theirs)
			}
		})
	}
}

func of(d forge.Document) func(*forge.AWS) forge.Document {
	return func(*forge.AWS) forge.Document { return d }
}

func fields(change func([]forge.CBORField) []forge.CBORField) func(*forge.AWS) forge.Document {
	return of(forge.Document{Fields: change})
}
