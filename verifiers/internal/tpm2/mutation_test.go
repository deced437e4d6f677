package tpm2_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/internal/tpm2"
)

// attestations are a quote, a certification and their signatures.
func attestations() ([][]byte, error) {
	all, err := kinds()
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for _, name := range []string{"ECDSA P-256", "ECDSA P-384", "RSASSA 2048", "RSAPSS 2048"} {
		machine := forge.NewTPM(all[name], nil)
		quote, signature, err := machine.Quote([]byte("nonce"), nil)
		if err != nil {
			return nil, err
		}
		key, err := machine.Certify(all["an ordinary key"], []byte("nonce"), nil)
		if err != nil {
			return nil, err
		}
		out = append(out, quote, signature, key.Attest)
	}
	return out, nil
}

// neg: 89
func TestHundredsOfThousandsOfMutationsAreReadWithoutAPanic(t *testing.T) {
	t.Parallel()
	seeds, err := attestations()
	if err != nil {
		t.Fatal(err)
	}
	publics, err := kinds()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range publics {
		seeds = append(seeds, key.Public)
	}
	rounds := 600_000
	if testing.Short() {
		rounds = 6_000
	}
	random := rand.New(rand.NewPCG(1, 2))
	read := 0
	for round := range rounds {
		data := bytes.Clone(seeds[round%len(seeds)])
		for range 1 + random.IntN(4) {
			data[random.IntN(min(len(data), 64))] = byte(random.Uint32())
		}
		data = data[:len(data)-random.IntN(3)*random.IntN(2)]
		if attest, err := tpm2.ParseAttest(data); err == nil {
			read++
			if attest.PCRs.Count() > 8*24 {
				t.Fatal("more PCRs than there are")
			}
		}
		if public, err := tpm2.ParsePublic(data); err == nil {
			read++
			public.Name()
		}
		if _, err := tpm2.ParseSignature(data); err == nil {
			read++
		}
	}
	if read == 0 {
		t.Error("nothing was read: the mutations are too coarse to reach a field")
	}
	t.Logf("%d mutations, %d of them read", rounds, read)
}
