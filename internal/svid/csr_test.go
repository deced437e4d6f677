package svid_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/svid"
)

const signer = "spiffe://example.org/enclave/blue/signer"

// request is a good certificate request.
func request(tb testing.TB, algorithm x509.SignatureAlgorithm, key any) []byte {
	tb.Helper()
	name, err := url.Parse(signer)
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		URIs: []*url.URL{name}, SignatureAlgorithm: algorithm,
	}, key)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

// TestEveryKindOfKeyCanAsk: neg: 151
func TestEveryKindOfKeyCanAsk(t *testing.T) {
	small, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	large, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	old, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		algorithm x509.SignatureAlgorithm
		key       any
	}{
		"P-256": {x509.ECDSAWithSHA256, small}, "P-384": {x509.ECDSAWithSHA384, large},
		"RSA": {x509.SHA256WithRSA, old}, "RSA-PSS": {x509.SHA512WithRSAPSS, old},
	} {
		spki, id, err := svid.ReadRequest(request(t, row.algorithm, row.key), "example.org")
		if err != nil || id != signer || len(spki) == 0 {
			t.Errorf("%s: got %s, %v", name, id, err)
		}
	}
	for name, algorithm := range map[string]x509.SignatureAlgorithm{
		"SHA-1 with ECDSA": x509.ECDSAWithSHA1,
	} {
		_, _, err := svid.ReadRequest(request(t, algorithm, small), "example.org")
		var caller *attestd.CallerError
		if !errors.As(err, &caller) || caller.Class != attestd.ClassMalformed {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestEachChangedBitOfARequestIsRefused: it is signed, and its form is one.
func TestEachChangedBitOfARequestIsRefused(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := request(t, x509.ECDSAWithSHA256, key)
	for at := range 8 * len(good) {
		changed := bytes.Clone(good)
		changed[at/8] ^= 1 << (at % 8)
		if _, id, err := svid.ReadRequest(changed, "example.org"); err == nil {
			t.Errorf("bit %d of byte %d was changed, and the request is taken for %s", at%8, at/8, id)
		}
	}
	for length := range good {
		if _, _, err := svid.ReadRequest(good[:length], "example.org"); err == nil {
			t.Errorf("%d of %d bytes are taken", length, len(good))
		}
	}
}

func TestTurnsAreTakenOneAtATimeAndForgotten(t *testing.T) {
	all := &svid.Turns{}
	release, err := svid.Take(all.Of(), t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := svid.Take(all.Of(), soon, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second turn was given: %v", err)
	}
	other, err := svid.Take(all.Of(), t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	other()
	release()
	again, err := svid.Take(all.Of(), t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	again()
	if left := all.Waiting(); left != 0 {
		t.Errorf("%d ids are remembered", left)
	}
}

// FuzzCertificateRequest: whatever is taken names one id of the trust domain and says nothing else.
func FuzzCertificateRequest(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(request(f, x509.ECDSAWithSHA256, key))
	f.Fuzz(func(t *testing.T, der []byte) {
		before := bytes.Clone(der)
		spki, id, err := svid.ReadRequest(der, "example.org")
		if !bytes.Equal(before, der) {
			t.Fatal("the input was written to")
		}
		if err != nil {
			var caller *attestd.CallerError
			if !errors.As(err, &caller) || caller.Hint == "" {
				t.Fatalf("got %v", err)
			}
			return
		}
		csr, err := x509.ParseCertificateRequest(der)
		if err != nil || csr.CheckSignature() != nil || !bytes.Equal(csr.RawSubjectPublicKeyInfo, spki) ||
			len(csr.Extensions) != 1 || len(csr.URIs) != 1 || csr.URIs[0].String() != id ||
			!strings.HasPrefix(id, "spiffe://example.org/") {
			t.Fatalf("taken for %q: %v", id, err)
		}
	})
}
