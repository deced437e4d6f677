package nitro_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
)

// mutantRounds is how many mutants are tried; ATTESTD_MUTANTS sets it.
func mutantRounds(t testing.TB, standard int) int {
	t.Helper()
	if text := os.Getenv("ATTESTD_MUTANTS"); text != "" {
		count, err := strconv.Atoi(text)
		if err != nil || count < 1 {
			t.Fatalf("ATTESTD_MUTANTS is %q, want a count", text)
		}
		return count
	}
	if testing.Short() {
		return standard / 20
	}
	return standard
}

// mutantChains are authorities, the first of which is right; of the others each has one thing
// changed.
func mutantChains(t testing.TB) []*forge.AWS {
	t.Helper()
	out := []*forge.AWS{authority(t, forge.AWSOptions{}), authority(t, forge.AWSOptions{Extra: 1})}
	for _, row := range []struct {
		role string
		edit func(*x509.Certificate)
	}{
		{forge.AWSLeaf, func(c *x509.Certificate) { c.NotAfter = forge.AWSTime.Add(-time.Second) }},
		{forge.AWSLeaf, func(c *x509.Certificate) { c.NotBefore = forge.AWSTime.Add(time.Hour) }},
		{forge.AWSLeaf, func(c *x509.Certificate) { c.IsCA = true }},
		{forge.AWSLeaf, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign }},
		{forge.AWSInstance, func(c *x509.Certificate) {
			c.IsCA, c.MaxPathLen, c.MaxPathLenZero = false, 0, false
		}},
		{forge.AWSInstance, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }},
		{forge.AWSZonal, func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true }},
		{forge.AWSZonal, func(c *x509.Certificate) { c.NotAfter = forge.AWSTime.Add(-time.Hour) }},
		{forge.AWSRegional, func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = -1, false }},
	} {
		out = append(out, authority(t, forge.AWSOptions{Alter: alter(row.role, row.edit)}))
	}
	return out
}

// mutate changes a document in the making, which is signed afterwards.
func mutate(dice *rand.Rand, a *forge.AWS, d *forge.Document) {
	some := func(length int) []byte {
		out := make([]byte, length)
		for index := range out {
			out[index] = byte(dice.Uint32())
		}
		return out
	}
	lengths := []int{0, 1, 31, 32, 48, 512, 1023, 1024, 1025}
	switch dice.IntN(14) {
	case 0:
		d.Nonce = some(lengths[dice.IntN(len(lengths))])
	case 1:
		d.UserData = some(lengths[dice.IntN(len(lengths))])
	case 2:
		d.PublicKey = some(lengths[dice.IntN(len(lengths))])
	case 3, 4:
		sizes := []int{48, 48, 48, 32, 64, 0, 47}
		d.PCRs = map[uint64][]byte{dice.Uint64N(34): some(sizes[dice.IntN(len(sizes))])}
	case 5:
		at := []uint64{0, 1, 1<<63 - 1, 1 << 63, 1<<64 - 1, dice.Uint64()}[dice.IntN(6)]
		d.Milliseconds = &at
	case 6:
		d.Fields = add(forge.CBORText([]string{"extra", "PCRs", "digest"}[dice.IntN(3)]),
			forge.CBORUint(1))
	case 7:
		d.Fields = func(f []forge.CBORField) []forge.CBORField {
			return slices.Delete(f, dice.IntN(len(f)), len(f))
		}
	case 8:
		d.Fields = func(f []forge.CBORField) []forge.CBORField {
			dice.Shuffle(len(f), func(i, k int) { f[i], f[k] = f[k], f[i] })
			return f
		}
	case 9:
		d.Protected = [][]byte{alg(forge.CBORNegative(6)), alg(forge.CBORText("ES384")),
			alg(forge.CBORNegative(34)), some(3), forge.CBORMap()}[dice.IntN(5)]
	case 10:
		d.Unprotected = [][]byte{alg(forge.CBORNegative(6)), forge.CBORMap(), some(2)}[dice.IntN(3)]
	case 11:
		bundle := a.Bundle()
		switch dice.IntN(4) {
		case 0:
			slices.Reverse(bundle)
		case 1:
			bundle = append(bundle, bundle[dice.IntN(len(bundle))])
		case 2:
			bundle = slices.Delete(bundle, 1, 2)
		default:
			one := dice.IntN(len(bundle))
			bundle[one] = bytes.Clone(bundle[one])
			bundle[one][dice.IntN(len(bundle[one]))] ^= 1 << dice.IntN(8)
		}
		d.Bundle = bundle
	case 12:
		d.Open = true
	default:
		d.Envelope = [](func(_, _, _, _ []byte) []byte){tagged(18), tagged(17), tagged(18, 18)}[dice.IntN(3)]
	}
}

// TestMutantsAgainstNitrite: whatever is accepted here, hf/nitrite accepts, too. Most mutants are
// signed after they were changed; some have bytes of their payload changed and are signed then,
// some are changed behind their signature.
func TestMutantsAgainstNitrite(t *testing.T) {
	rounds := mutantRounds(t, 10_000)
	dice := rand.New(rand.NewPCG(20261123, 7))
	all := mutantChains(t)
	both, neither, panics, wrong := 0, 0, 0, 0
	judge := verifier(t, roots(all)...)
	alone := map[attestd.CheckID]int{}
	for round := range rounds {
		a := all[0]
		if dice.IntN(4) == 0 {
			a = all[dice.IntN(len(all))]
		}
		var d forge.Document
		for range dice.IntN(3) {
			mutate(dice, a, &d)
		}
		if dice.IntN(6) == 0 {
			d.Payload = spoiltPayload(t, dice, a, d)
		}
		evidence := document(t, a, d)
		if dice.IntN(12) == 0 {
			evidence[dice.IntN(len(evidence))] ^= 1 << dice.IntN(8)
		}
		at := a.At()
		if dice.IntN(10) == 0 {
			at = at.Add(time.Duration(dice.IntN(200)-100) * time.Hour / 4)
		}
		pool := x509.NewCertPool()
		pool.AddCert(a.Root())
		_, ours := judge.Verify(attestd.Input{
			Evidence: evidence, At: at, Demand: attestd.Recorded(),
		})
		theirs, _ := askNitrite(bytes.Clone(evidence), at, pool)
		var rejected *attestd.EvidenceError
		switch {
		case ours == nil && theirs == accepts:
			both++
		case ours == nil:
			if wrong++; wrong <= 5 {
				t.Errorf("mutant %d is accepted here, and nitrite %s it at %s:\n%x", round, theirs, at, evidence)
			}
		case !errors.As(ours, &rejected):
			t.Errorf("mutant %d is not rejected: %v", round, ours)
		case theirs == accepts:
			alone[rejected.Check]++
		case theirs == panicked:
			panics++
		default:
			neither++
		}
	}
	t.Logf("%d mutants: both accept %d, both refuse %d, nitrite panics on %d", rounds, both, neither, panics)
	for check, count := range alone {
		t.Logf("%6d refused here alone by %s: %s", count, check, stricter[check])
		if stricter[check] == "" {
			t.Errorf("%s refuses what nitrite takes, and is not listed", check)
		}
	}
	for check := range stricter {
		if alone[check] == 0 && rounds >= 10_000 {
			t.Errorf("no mutant is refused here alone by %s", check)
		}
	}
	if both < rounds/10 || neither < rounds/10 {
		t.Error("the mutants are too good or too bad to show anything")
	}
}

// spoiltPayload is the payload of a document with one byte changed.
func spoiltPayload(t testing.TB, dice *rand.Rand, a *forge.AWS, d forge.Document) []byte {
	t.Helper()
	var payload []byte
	d.Envelope = func(_, _, encoded, _ []byte) []byte {
		payload = bytes.Clone(encoded)
		return encoded
	}
	document(t, a, d)
	for _, head := range []int{1, 2, 3, 5} { // off with the byte string's head
		if len(payload) > head && payload[0]&0x1f == []byte{0, 0, 24, 25, 0, 26}[head] {
			payload = payload[head:]
			break
		}
	}
	payload[dice.IntN(len(payload))] = byte(dice.Uint32())
	return payload
}

// stricter are the checks by which mutants are refused here that nitrite takes, and why that is
// meant. A row that no mutant needs fails the test, so that the list stays true.
var stricter = map[attestd.CheckID]string{
	"nitro/chain":       "it sorts the bundle, skips what it does not need, and asks little of a leaf",
	"nitro/root":        "it does not look at where the root stands in the bundle",
	"nitro/encoding":    "it takes items in other than their shortest form, and what follows some",
	"nitro/envelope":    "it takes tags",
	"nitro/cose-header": "it takes any unprotected header, and an algorithm as text",
	"nitro/fields":      "it takes keys twice, in another case, or unknown, and fields that are too long",
	"nitro/timestamp":   "it takes any time of signing",
}

func roots(all []*forge.AWS) []*x509.Certificate {
	out := make([]*x509.Certificate, len(all))
	for index, one := range all {
		out[index] = one.Root()
	}
	return out
}
