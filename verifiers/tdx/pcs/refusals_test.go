package pcs_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

// TestRootsThatAreNotThePinnedOne: one that is another certificate, and one that is none.
func TestRootsThatAreNotThePinnedOne(t *testing.T) {
	intact := must(pcs.Root())(t)
	for name, index := range map[string]int{
		"another signature": len(intact.Raw) - 1, "no certificate": 0,
	} {
		t.Run(name, func(t *testing.T) {
			pcs.DamageRoot(t, index)
			root, err := pcs.Root()
			var caller *attestd.CallerError
			if root != nil || !errors.As(err, &caller) || caller.Class != attestd.ClassConfig ||
				caller.Hint == "" {
				t.Errorf("got %v, %v", root, err)
			}
		})
	}
	if again, err := pcs.Root(); err != nil || !again.Equal(intact) {
		t.Errorf("not as before: %v", err)
	}
}

// TestSignaturesHaveOneEncoding: a BIT STRING with an unused bit holds the same signature one bit
// further to the left, and crypto/x509 reads both. Whoever counts certificates by their digest would
// see two.
func TestSignaturesHaveOneEncoding(t *testing.T) {
	authority := must(intel())(t)
	must(pcs.NewSigner(authority.Signing, authority.Root))(t)
	if _, err := pcs.NewSigner(oneBitLeft(t, authority.Signing), authority.Root); err == nil {
		t.Error("a signer whose signature is not whole bytes")
	}
	if pcs.CheckRoot(oneBitLeft(t, authority.Root)) == nil {
		t.Error("a root whose signature is not whole bytes")
	}
	if pcs.CheckCA(oneBitLeft(t, authority.Platform), authority.Root) == nil {
		t.Error("a CA whose signature is not whole bytes")
	}
}

func oneBitLeft(t *testing.T, cert *x509.Certificate) *x509.Certificate {
	t.Helper()
	raw := bytes.Clone(cert.Raw)
	shifted := raw[len(raw)-len(cert.Signature)-1:]
	if shifted[0] != 0 || shifted[1] >= 0x80 {
		t.Fatalf("no signature of whole bytes: % x", shifted[:2])
	}
	shifted[0] = 1
	for i := 1; i < len(shifted); i++ {
		shifted[i] <<= 1
		if i+1 < len(shifted) {
			shifted[i] |= shifted[i+1] >> 7
		}
	}
	out := parse(t, raw)
	if !bytes.Equal(out.Signature, cert.Signature) || bytes.Equal(out.Raw, cert.Raw) {
		t.Fatal("not a second encoding of the same certificate")
	}
	return out
}

// TestRefusalsSayWhatIsWrong where another refusal stands behind them and would say something else.
func TestRefusalsSayWhatIsWrong(t *testing.T) {
	config := forge.NewPCKConfig()
	config.Omit = -1
	if _, err := readPCK(t, config); err == nil ||
		!strings.Contains(err.Error(), "without the SGX extension") {
		t.Errorf("no extension: got %v", err)
	}
	if _, err := pcs.ReadChainHeader("%zz"); err == nil ||
		!strings.Contains(err.Error(), "not in the encoding of URLs") {
		t.Errorf("a broken encoding: got %v", err)
	}
}

// TestAKeyThatDoesNotEnd is no empty key, whatever follows the line feed in it.
func TestAKeyThatDoesNotEnd(t *testing.T) {
	config := forge.NewTCBInfoConfig()
	config.Edit = replace(`{"svn":3}`, "{\"svn\":3,\"x\n:1}")
	info, err := pcs.ParseTCBInfo(must(must(intel())(t).TCBInfo(config))(t))
	if err == nil || info != nil || !strings.Contains(err.Error(), "not JSON") {
		t.Errorf("read: %t, %v", info != nil, err)
	}
}
