package nitro_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/internal/awsdoc"
)

func keyOf(role string, make func() (crypto.Signer, error)) func(string) (crypto.Signer, error) {
	return func(asked string) (crypto.Signer, error) {
		if asked != role {
			return nil, nil
		}
		return make()
	}
}

func onCurve(curve elliptic.Curve) func() (crypto.Signer, error) {
	return func() (crypto.Signer, error) { return ecdsa.GenerateKey(curve, rand.Reader) }
}

func ofRSA() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) }

func ofEd25519() (crypto.Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return key, err
}

func alter(role string, change func(*x509.Certificate)) func(string, *x509.Certificate) {
	return func(made string, template *x509.Certificate) {
		if made == role {
			change(template)
		}
	}
}

// TestCertificatesThatAreRefused gives each row an authority of its own with one thing wrong.
func TestCertificatesThatAreRefused(t *testing.T) {
	t.Parallel()
	chain, certTime := attestd.ClassChain, attestd.ClassCertTime
	for _, row := range []struct {
		name    string
		neg     string
		options forge.AWSOptions
		check   attestd.CheckID
		class   attestd.Class
	}{
		{"a P-521 leaf", "neg: 28", forge.AWSOptions{Key: keyOf(forge.AWSLeaf, onCurve(elliptic.P521()))},
			"nitro/certificate-key", unsupported},
		{"a P-256 leaf", "neg: 27", forge.AWSOptions{Key: keyOf(forge.AWSLeaf, onCurve(elliptic.P256()))},
			"nitro/certificate-key", unsupported},
		{"a P-224 leaf", "neg: 28", forge.AWSOptions{Key: keyOf(forge.AWSLeaf, onCurve(elliptic.P224()))},
			"nitro/certificate-key", unsupported},
		{"an RSA leaf", "neg: 28", forge.AWSOptions{Key: keyOf(forge.AWSLeaf, ofRSA)},
			"nitro/certificate-key", unsupported},
		{"an Ed25519 leaf", "neg: 28", forge.AWSOptions{Key: keyOf(forge.AWSLeaf, ofEd25519)},
			"nitro/certificate-key", unsupported},
		{"a P-521 CA", "neg: 28", forge.AWSOptions{Key: keyOf(forge.AWSZonal, onCurve(elliptic.P521()))},
			"nitro/certificate-key", unsupported},
		{"a leaf that is a CA", "neg: 36", forge.AWSOptions{Alter: alter(forge.AWSLeaf,
			func(c *x509.Certificate) { c.IsCA = true })}, "nitro/chain", chain},
		{"a leaf without digitalSignature", "neg: 36", forge.AWSOptions{Alter: alter(forge.AWSLeaf,
			func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageContentCommitment })}, "nitro/chain", chain},
		{"a leaf without any key usage", "neg: 36", forge.AWSOptions{Alter: alter(forge.AWSLeaf,
			func(c *x509.Certificate) { c.KeyUsage = 0 })}, "nitro/chain", chain},
		{"a leaf that may sign certificates", "neg: 36", forge.AWSOptions{Alter: alter(forge.AWSLeaf,
			func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign })}, "nitro/chain", chain},
		{"a CA that is none", "neg: 36", forge.AWSOptions{Alter: alter(forge.AWSZonal,
			func(c *x509.Certificate) { c.IsCA, c.MaxPathLen = false, -1 })}, "nitro/chain", chain},
		{"a CA without basic constraints", "neg: 36", forge.AWSOptions{Alter: alter(forge.AWSInstance,
			func(c *x509.Certificate) { c.BasicConstraintsValid = false })}, "nitro/chain", chain},
		{"a CA without keyCertSign", "neg: 36", forge.AWSOptions{Alter: alter(forge.AWSInstance,
			func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })}, "nitro/chain", chain},
		{"a path longer than its region allows", "neg: 36", forge.AWSOptions{
			Alter: alter(forge.AWSRegional, func(c *x509.Certificate) { c.MaxPathLen = 1 })},
			"nitro/chain", chain},
		{"a path longer than its zone allows", "neg: 36", forge.AWSOptions{
			Alter: alter(forge.AWSZonal, func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true })},
			"nitro/chain", chain},
		{"a critical extension that nobody knows", "neg: 36", forge.AWSOptions{
			Alter: alter(forge.AWSZonal, func(c *x509.Certificate) {
				c.ExtraExtensions = []pkix.Extension{{
					Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0},
				}}
			})}, "nitro/chain", chain},
		{"name constraints, which are read and not enforced", "neg: 36", forge.AWSOptions{
			Alter: alter(forge.AWSZonal, func(c *x509.Certificate) {
				c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"example.org"}
			})}, "nitro/chain", chain},
		{"an instance's certificate that expired under a live leaf", "neg: 38", forge.AWSOptions{
			Alter: alter(forge.AWSInstance, func(c *x509.Certificate) {
				c.NotAfter = forge.AWSTime.Add(-time.Second)
			})}, "nitro/chain-validity", certTime},
		{"a root that expired under a live leaf", "neg: 38", forge.AWSOptions{
			Alter: alter(forge.AWSRoot, func(c *x509.Certificate) {
				c.NotAfter = forge.AWSTime.Add(-time.Second)
			})}, "nitro/chain-validity", certTime},
		{"a zone's certificate that is not yet valid", "neg: 38", forge.AWSOptions{
			Alter: alter(forge.AWSZonal, func(c *x509.Certificate) {
				c.NotBefore = forge.AWSTime.Add(time.Second)
			})}, "nitro/chain-validity", certTime},
		{"a chain of nine", "neg: 35", forge.AWSOptions{Extra: 4}, "nitro/bundle-size", tooLarge},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a := authority(t, row.options)
			v := verifier(t, a.Root())
			expect(t, v, attestd.Input{
				Evidence: document(t, a, forge.Document{Nonce: nonce}), At: a.At(), Demand: fresh(t, nonce),
			}, row.check, row.class)
			if got := v.SignaturesVerified(); got != 0 {
				t.Errorf("%d signature verifications for a chain that its form refuses", got)
			}
		})
	}
}

// TestBundlesThatAreRefused changes which certificates a document brings.
func TestBundlesThatAreRefused(t *testing.T) {
	t.Parallel()
	a := authority(t, forge.AWSOptions{})
	stranger := authority(t, forge.AWSOptions{})
	namesake := authority(t, forge.AWSOptions{Alter: alter(forge.AWSRoot, func(c *x509.Certificate) {
		c.SubjectKeyId = a.Root().SubjectKeyId
	})})
	p521 := authority(t, forge.AWSOptions{Key: keyOf(forge.AWSLeaf, onCurve(elliptic.P521()))})
	bundle := a.Bundle()
	swap := func(i, j int) [][]byte {
		out := slices.Clone(bundle)
		out[i], out[j] = out[j], out[i]
		return out
	}
	reversed := slices.Clone(bundle)
	slices.Reverse(reversed)
	chain := attestd.ClassChain
	copies := func(count int, der []byte) [][]byte {
		return slices.Repeat([][]byte{der}, count)
	}
	for _, row := range []struct {
		name   string
		neg    string
		from   *forge.AWS
		bundle [][]byte
		check  attestd.CheckID
		class  attestd.Class
		cost   uint64
	}{
		{"a P-521 leaf under somebody's own root", "neg: 26", p521, nil, "nitro/root", chain, 0},
		{"a whole chain of somebody's own", "neg: 29", stranger, nil, "nitro/root", chain, 0},
		{"the root's name and key id on another key", "neg: 30", namesake, nil, "nitro/root", chain, 0},
		{"the root's name and key id on another key, that root left out", "neg: 30,33", namesake,
			namesake.Bundle()[1:], "nitro/chain", chain, 1},
		{"the pinned root before somebody's own chain", "neg: 29", stranger,
			append([][]byte{a.RootDER()}, stranger.Bundle()[1:]...), "nitro/chain", chain, 1},
		{"the bundle reversed", "neg: 32", a, reversed, "nitro/root", chain, 0},
		{"region and zone swapped", "neg: 32", a, swap(1, 2), "nitro/chain", chain, 0},
		{"zone and instance swapped", "neg: 32", a, swap(2, 3), "nitro/chain", chain, 0},
		{"the bundle without root and region", "neg: 33", a, bundle[2:], "nitro/root", chain, 0},
		{"the bundle without its zone", "neg: 32", a, slices.Delete(slices.Clone(bundle), 2, 3),
			"nitro/chain", chain, 0},
		{"the root alone", "neg: 32", a, bundle[:1], "nitro/chain", chain, 0},
		{"a stranger in the middle", "neg: 34", a,
			slices.Insert(slices.Clone(bundle), 2, stranger.Bundle()[1]), "nitro/chain", chain, 0},
		{"a stranger at the end", "neg: 34", a, append(slices.Clone(bundle), stranger.Bundle()[3]),
			"nitro/chain", chain, 0},
		{"the root twice", "neg: 34", a, append([][]byte{bundle[0]}, bundle...), "nitro/chain", chain, 0},
		{"20,000 copies of one certificate", "neg: 35", a, copies(20000, bundle[1]),
			"nitro/size", tooLarge, 0},
		{"100 copies of one certificate", "neg: 35", a, copies(100, bundle[1]), "nitro/size", tooLarge, 0},
		{"100 certificates of a few bytes", "neg: 35", a, append(slices.Clone(bundle),
			copies(96, []byte{0x30, 0})...), "nitro/bundle-size", tooLarge, 0},
		{"8 certificates besides root and leaf", "neg: 35", a, append(slices.Clone(bundle),
			copies(4, bundle[3])...), "nitro/bundle-size", tooLarge, 0},
		{"7 certificates without the root", "neg: 35", a, copies(7, bundle[1]), "nitro/bundle-size",
			tooLarge, 0},
		{"a certificate of 1025 bytes", "neg: 35", a, append(slices.Clone(bundle), make([]byte, 1025)),
			"nitro/bundle-size", tooLarge, 0},
		{"an empty certificate", "neg: 35", a, append(slices.Clone(bundle), []byte{}),
			"nitro/bundle-size", tooLarge, 0},
		{"an empty bundle", "neg: 33", a, [][]byte{}, "nitro/bundle-size", tooLarge, 0},
		{"a certificate that is none", "", a, append(slices.Clone(bundle), []byte{0x30, 0}),
			"nitro/certificates", malformed, 0},
		{"a first certificate that is none", "", a, append([][]byte{{0x30, 0}}, bundle...),
			"nitro/certificates", malformed, 0},
		{"a certificate with a byte behind it", "", a,
			append(slices.Clone(bundle[:3]), append(bytes.Clone(bundle[3]), 0)),
			"nitro/certificates", malformed, 0},
		{"a certificate whose signature was changed", "neg: 29", a,
			append(slices.Clone(bundle[:3]), flipLast(bundle[3])), "nitro/chain", chain, 3},
		{"a certificate whose signature is the same numbers, written longer", "neg: 29", a,
			append(slices.Clone(bundle[:3]), longer(t, bundle[3])), "nitro/chain", chain, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			v := verifier(t, a.Root())
			with := forge.Document{Nonce: nonce, Bundle: row.bundle}
			expect(t, v, attestd.Input{
				Evidence: document(t, row.from, with), At: a.At(), Demand: fresh(t, nonce),
			}, row.check, row.class)
			if got := v.SignaturesVerified(); got != row.cost {
				t.Errorf("%d signature verifications, want %d", got, row.cost)
			}
		})
	}
}

// longer writes the s of a certificate's signature, or n - s where that is the smaller, with a zero byte
// more than DER allows.
func longer(t *testing.T, der []byte) []byte {
	t.Helper()
	var parts struct {
		TBS, Algorithm asn1.RawValue
		Signature      asn1.BitString
	}
	var pair struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &parts); err != nil {
		t.Fatal(err)
	}
	if _, err := asn1.Unmarshal(parts.Signature.Bytes, &pair); err != nil {
		t.Fatal(err)
	}
	// The smaller one is below 2^383, so that its shortest form has no zero byte of its own.
	if other := new(big.Int).Sub(elliptic.P384().Params().N, pair.S); other.Cmp(pair.S) < 0 {
		pair.S = other
	}
	signature, err := asn1.Marshal(pair)
	if err != nil {
		t.Fatal(err)
	}
	at := len(signature) - len(pair.S.Bytes())
	signature = slices.Insert(signature, at, 0)
	signature[1]++
	signature[at-1]++
	parts.Signature = asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	out, err := asn1.Marshal(parts)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func flipLast(der []byte) []byte {
	out := bytes.Clone(der)
	out[len(out)-1] ^= 1
	return out
}

func TestAForgedChainIsNoChainWithoutItsRoot(t *testing.T) {
	t.Parallel()
	// neg: 29
	a := authority(t, forge.AWSOptions{})
	expect(t, verifier(t), attestd.Input{
		Evidence: document(t, a, forge.Document{}), At: a.At(), Demand: attestd.Recorded(),
	}, "nitro/root", attestd.ClassChain)
}

func TestAnAlteredRootRefusesToStart(t *testing.T) {
	t.Parallel()
	// neg: 31
	a := authority(t, forge.AWSOptions{})
	if _, err := awsdoc.ParsePinnedRoot(a.RootDER(), awsdoc.RootG1SHA256); err == nil {
		t.Error("another root was taken for AWS's")
	}
}

// TestWhatAVerificationCosts counts public-key operations exactly: they are the bill of a request.
func TestWhatAVerificationCosts(t *testing.T) {
	t.Parallel()
	a := authority(t, forge.AWSOptions{Extra: 3}) // 8 certificates, as many as there may be
	sibling, err := a.Sibling(forge.AWSOptions{ModuleID: "i-0123456789abcdef0-enc0fedcba987654321"})
	if err != nil {
		t.Fatal(err)
	}
	v := verifier(t, a.Root())
	for _, step := range []struct {
		name    string
		of      *forge.AWS
		with    forge.Document
		at      time.Duration
		accept  bool
		costing uint64
	}{
		{name: "a cold chain of 8 with a bad signature", of: a, costing: 8,
			with: forge.Document{Signature: flipLast}},
		{name: "the same again, since nothing of it was kept", of: a, costing: 8,
			with: forge.Document{Signature: flipLast}},
		{name: "a cold chain of 8", of: a, accept: true, costing: 8},
		{name: "the same leaf again", of: a, accept: true, costing: 1},
		{name: "the same leaf, another document", of: a, with: forge.Document{UserData: nonce},
			accept: true, costing: 1},
		{name: "a new leaf below known CAs", of: sibling, accept: true, costing: 2},
		{name: "the new leaf again", of: sibling, accept: true, costing: 1},
		{name: "a known leaf after it expired", of: a, at: 3 * time.Hour, costing: 0},
		{name: "a known leaf with a bad signature", of: a, with: forge.Document{Signature: flipLast},
			costing: 1},
		{name: "a known leaf in time again", of: a, accept: true, costing: 1},
	} {
		before := v.SignaturesVerified()
		_, err := v.Verify(attestd.Input{
			Evidence: document(t, step.of, step.with), At: a.At().Add(step.at), Demand: attestd.Recorded(),
		})
		if (err == nil) != step.accept {
			t.Errorf("%s: %v", step.name, err)
		}
		if got := v.SignaturesVerified() - before; got != step.costing {
			t.Errorf("%s: %d signature verifications, want %d", step.name, got, step.costing)
		}
	}
}

// TestAKnownChainExcusesNothing: what the cache knows counts in its own place of its own chain alone.
// neg: 174
func TestAKnownChainExcusesNothing(t *testing.T) {
	t.Parallel()
	a := authority(t, forge.AWSOptions{})
	v := verifier(t, a.Root())
	input := attestd.Input{Evidence: document(t, a, forge.Document{}), At: a.At(), Demand: attestd.Recorded()}
	for _, state := range []string{"cold", "known"} {
		claims, err := v.Verify(input)
		if err != nil {
			t.Fatal(err)
		}
		if !claims.InsecureRoots() {
			t.Errorf("%s: a root that was loaded by hand was not told", state)
		}
	}
	bundle := a.Bundle()
	for name, with := range map[string]forge.Document{
		"a known leaf below the root alone":      {Bundle: bundle[:1]},
		"a known leaf below other known CAs":     {Bundle: bundle[:3]},
		"a known CA in the place of the leaf":    {Bundle: bundle[:3], Certificate: bundle[3]},
		"a known leaf in the place of a CA":      {Bundle: append(slices.Clone(bundle), a.Leaf())},
		"known CAs in another order":             {Bundle: [][]byte{bundle[0], bundle[2], bundle[1], bundle[3]}},
		"a known leaf of which a bit was turned": {Certificate: flipLast(a.Leaf())},
	} {
		input.Evidence = document(t, a, with)
		claims, err := v.Verify(input)
		var rejected *attestd.EvidenceError
		if claims != nil || !errors.As(err, &rejected) || rejected.Check != "nitro/chain" {
			t.Errorf("%s: got %v, want a rejection by nitro/chain", name, err)
		}
	}
}
