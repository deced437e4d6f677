package verifiertest

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors"
	"github.com/attestd/attestd/verifiers"
)

// Case is one good input, and what belongs to it.
type Case struct {
	// New builds a verifier with nothing in its caches.
	New func() verifiers.Verifier
	// Input is accepted as it stands. Its demand is a recorded one without nonce or key.
	Input attestd.Input
	// Nonce is the value of the evidence's freshness field; empty where the evidence has none, and
	// then every nonce is another one.
	Nonce []byte
	// KeySPKI is the DER SubjectPublicKeyInfo in the evidence's key field; empty where it has none.
	KeySPKI []byte
	// OtherTimes are times at which the input must be refused: at least one before the certificates
	// are valid and one after.
	OtherTimes []time.Time
	// Unauthenticated lists the bytes of the evidence that may change without a refusal, with the
	// section of the specification that leaves them out of every signature. A list that names a
	// byte whose change is refused fails, so that it cannot hide more than it must.
	Unauthenticated []ByteRange
	// Either lists bytes whose change may be refused or not, because what they mean depends on others,
	// with the section of the specification that leaves them out of every signature. It is for logs,
	// which are proved by replay alone: tests of its own must show what a change there can do.
	Either []ByteRange
	// Timeless says why no time refuses the input, as a sentence; empty where some must. Then
	// OtherTimes may be empty.
	Timeless string
	// Signatures is how many verifications a second look costs; 0 means 1.
	Signatures uint64
	// UnusedEndorsements says that endorsements may be changed or dropped without a refusal, since
	// the evidence brings its own.
	UnusedEndorsements bool
}

// ByteRange are bytes From to To, To not included.
type ByteRange struct {
	From, To int
	// Section says where the specification leaves these bytes out, and why that is harmless.
	Section string
}

// Conformance runs the suite on one case.
func Conformance(t *testing.T, c Case) {
	t.Helper()
	if len(c.OtherTimes) < 2 && c.Timeless == "" {
		t.Fatal("OtherTimes needs a time before and a time after validity")
	}
	for _, area := range slices.Concat(c.Unauthenticated, c.Either) {
		if area.Section == "" || area.From < 0 || area.To <= area.From || area.To > len(c.Input.Evidence) {
			t.Fatalf("unauthenticated bytes %d to %d: out of range, or without a section", area.From, area.To)
		}
	}
	t.Run("the good input is accepted and runs every check", func(t *testing.T) { accepts(t, c) })
	t.Run("claims keep nothing of the input", func(t *testing.T) { keepsNothing(t, c) })
	t.Run("a second look costs one signature", func(t *testing.T) { costsOneSignature(t, c) })
	t.Run("other demands are refused", func(t *testing.T) { refusesOtherDemands(t, c) })
	t.Run("other times are refused", func(t *testing.T) { refusesOtherTimes(t, c) })
	t.Run("every truncation is refused", func(t *testing.T) { refusesTruncations(t, c) })
	t.Run("1 to 64 trailing bytes are refused", func(t *testing.T) { refusesTrailingBytes(t, c) })
	t.Run("every one-bit change is refused", func(t *testing.T) { refusesFlips(t, c) })
	t.Run("every one-bit change of an endorsement is refused", func(t *testing.T) {
		refusesEndorsementFlips(t, c)
	})
	t.Run("the answer does not depend on earlier ones", func(t *testing.T) { answersAlikeColdAndWarm(t, c) })
	t.Run("concurrent use gives the same answer", func(t *testing.T) { answersConcurrently(t, c) })
}

// OutsideValidity returns times that no certificate of a published vector covers: before the first
// of the formats existed, and after the last pinned root has expired.
func OutsideValidity() []time.Time {
	return []time.Time{
		time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2060, 1, 1, 0, 0, 0, 0, time.UTC),
	}
}

// Vectors runs the suite on every vector of the format that is to be accepted and could be loaded,
// and prints how many that were. adjust may be nil; it completes a case for its vector.
func Vectors(
	t *testing.T, format attestd.Format, build func() verifiers.Verifier,
	adjust func(testvectors.Vector, *Case),
) {
	t.Helper()
	corpus, err := testvectors.Load(testvectors.FromEnvironment())
	if err != nil {
		t.Fatal(err)
	}
	t.Log(corpus.Report())
	good := slices.DeleteFunc(corpus.Format(format), func(v testvectors.Vector) bool {
		return v.Expect != attestd.VerdictAccepted
	})
	if len(good) == 0 {
		t.Fatalf("no vector of format %q to accept", format)
	}
	for _, vector := range good {
		c := Case{
			New: build,
			Input: attestd.Input{
				Evidence: vector.Evidence, Endorsements: vector.Endorsements, At: vector.At,
				Demand: attestd.Recorded(),
			},
			Nonce: vector.Nonce, KeySPKI: vector.KeySPKI, OtherTimes: OutsideValidity(),
		}
		if lifetime := leafLifetimes[format]; lifetime != 0 {
			c.OtherTimes = append(c.OtherTimes, vector.At.Add(-lifetime), vector.At.Add(lifetime))
		}
		if adjust != nil {
			adjust(vector, &c)
		}
		t.Run(vector.Name, func(t *testing.T) { Conformance(t, c) })
	}
}

// leafLifetimes are times longer than the certificate of a signing key is valid: three hours for AWS,
// seven years for a VCEK. Published evidence is judged within that time.
var leafLifetimes = map[attestd.Format]time.Duration{
	attestd.FormatNitro:    3*time.Hour + time.Minute,
	attestd.FormatNitroTPM: 3*time.Hour + time.Minute,
	attestd.FormatSEVSNP:   7*366*24*time.Hour + time.Minute,
}

// clone copies an input so that a write to the copy cannot be seen in the original.
func clone(input attestd.Input) attestd.Input {
	copied := input
	copied.Evidence = bytes.Clone(input.Evidence)
	copied.Endorsements.Certificates = cloneAll(input.Endorsements.Certificates)
	copied.Endorsements.CRLs = cloneAll(input.Endorsements.CRLs)
	copied.Endorsements.Documents = cloneAll(input.Endorsements.Documents)
	return copied
}

func cloneAll(list [][]byte) [][]byte {
	var copied [][]byte
	for _, item := range list {
		copied = append(copied, bytes.Clone(item))
	}
	return copied
}

func sameBytes(a, b attestd.Input) bool {
	return bytes.Equal(a.Evidence, b.Evidence) &&
		slices.EqualFunc(a.Endorsements.Certificates, b.Endorsements.Certificates, bytes.Equal) &&
		slices.EqualFunc(a.Endorsements.CRLs, b.Endorsements.CRLs, bytes.Equal) &&
		slices.EqualFunc(a.Endorsements.Documents, b.Endorsements.Documents, bytes.Equal)
}
