package api_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	"github.com/attestd/attestd/internal/svid"
	"github.com/attestd/attestd/testvectors/forge"
)

// identity is what an enclave does to be issued an X509-SVID through a relay that it does not
// trust. The page docs/howto/svid-without-agent.md shows what is between the marks.
func identity(
	ctx context.Context, enclave attester.Attester, verifier attester.Verifier, name *url.URL,
	post func(path string, body map[string]any) ([]byte, error),
) (crypto.Signer, []byte, error) {
	// begin
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // it never leaves the enclave
	if err != nil {
		return nil, nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader,
		&x509.CertificateRequest{URIs: []*url.URL{name}}, key)
	if err != nil {
		return nil, nil, err
	}
	reply, err := post("/v1/challenges", map[string]any{
		"format": "nitro", "tenant": "blue", "purpose": "svid-encrypted",
	})
	if err != nil {
		return nil, nil, err
	}
	challenge, err := verifier.Accept(reply, attestd.FormatNitro, time.Now())
	if err != nil {
		return nil, nil, err
	}
	if challenge.Purpose() != "svid-encrypted" || challenge.Tenant() != "blue" {
		return nil, nil, fmt.Errorf("the relay asked for something else")
	}
	freshness, err := challenge.Freshness(spki)
	if err != nil {
		return nil, nil, err
	}
	evidence, err := enclave.Collect(ctx, attester.Request{Freshness: freshness, Key: spki})
	if err != nil {
		return nil, nil, err
	}
	sealed, err := post("/v1/svid", map[string]any{
		"challenge_id": challenge.ID(), "format": "nitro", "tenant": "blue",
		"evidence": evidence.Bytes, "csr": csr, "encrypt": true,
	})
	if err != nil {
		return nil, nil, err
	}
	jwe, err := jose.ParseEncryptedCompact(string(bytes.TrimSpace(sealed)),
		[]jose.KeyAlgorithm{jose.ECDH_ES_A256KW}, []jose.ContentEncryption{jose.A256GCM})
	if err != nil {
		return nil, nil, err
	}
	document, err := jwe.Decrypt(key)
	// end
	return key, document, err
}

// module is the Nitro Secure Module of an enclave.
type module struct{ world *mint }

func (m module) Format() attestd.Format { return attestd.FormatNitro }

func (m module) Collect(_ context.Context, ask attester.Request) (attester.Evidence, error) {
	now := uint64(time.Now().UnixMilli()) //nolint:gosec // after 1970
	document, err := m.world.aws.Document(forge.Document{
		Nonce: ask.Freshness, PublicKey: ask.Key, Milliseconds: &now,
	})
	return attester.Evidence{Format: attestd.FormatNitro, Bytes: document}, err
}

func TestTheProgramOfThePageGetsAnIdentity(t *testing.T) {
	m := newMint(t)
	keys, err := m.signer.KeySet()
	m.must(err)
	name, err := url.Parse(signerID)
	m.must(err)
	post := func(path string, body map[string]any) ([]byte, error) {
		got := m.post(path, body)
		if got.status >= 300 {
			return nil, fmt.Errorf("%d %s", got.status, got.body)
		}
		return got.body, nil
	}
	verifier := attester.Verifier{TrustDomain: "example.org", KeySet: keys}
	key, plain, err := identity(t.Context(), module{m}, verifier, name, post)
	m.must(err)
	var document svid.Document
	m.must(json.Unmarshal(plain, &document))
	leaf, err := x509.ParseCertificate(document.Certificates[0])
	m.must(err)
	if !leaf.PublicKey.(*ecdsa.PublicKey).Equal(key.Public()) || document.SPIFFEID != signerID {
		t.Errorf("got %s", plain)
	}

	source, err := os.ReadFile("svid_example_test.go")
	m.must(err)
	_, body, _ := bytes.Cut(source, []byte("\t// begin\n"))
	body, _, _ = bytes.Cut(body, []byte("\t// end\n"))
	page, err := os.ReadFile("../../docs/howto/svid-without-agent.md")
	m.must(err)
	for line := range strings.Lines(string(body)) {
		if !bytes.Contains(page, []byte(strings.TrimPrefix(line, "\t"))) {
			t.Errorf("the page lacks %q", line)
		}
	}
}

// TestARequestOfOpenSSLsIsTaken: the file was made by the command of the page.
func TestARequestOfOpenSSLsIsTaken(t *testing.T) {
	m := newMint(t)
	request, err := os.ReadFile("testdata/openssl-request.pem")
	m.must(err)
	block, _ := pem.Decode(request)
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	m.must(err)
	ask := m.attested(svid.Purpose, csr.RawSubjectPublicKeyInfo).with(object{"csr": string(request)})
	if got := m.issued(m.post("/v1/svid", ask)); got.SPIFFEID != signerID {
		t.Errorf("got %s", got.SPIFFEID)
	}
}
