package spiretest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	bundlev1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/bundle/v1"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/plugins/spire/svidext"
	"github.com/attestd/attestd/testvectors/forge"
)

// enclave is a Nitro enclave with a key of its own and no agent beside it.
type enclave struct {
	house *house
	aws   *forge.AWS
	key   *ecdsa.PrivateKey
	id    string // of the machine, as attestd names it
	path  string // of its SPIFFE ID
}

// openEnclave starts attestd and SPIRE with an enclave that is the tenant's, whose measurement is
// known, and that has an entry.
func openEnclave(t *testing.T) *enclave {
	t.Helper()
	h := arrange(t, houseConfig{profile: fast})
	e := &enclave{house: h, path: "/enclave/" + tenant + "/vault"}
	var err error
	if e.aws, err = forge.NewAWS(forge.AWSOptions{At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if e.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	name, err := subject.AgentID(trustDomain, attestd.FormatNitro, attestd.Handle{
		Kind: attestd.HandleInstance, Value: forge.AWSModuleID,
	})
	if err != nil {
		t.Fatal(err)
	}
	e.id = string(name)
	e.known(t)
	h.start(t)
	done, err := h.root.Import(t.Context(), wire.Import{
		Kind: "csv", Tenant: tenant, Source: "enclaves.csv",
		Document: []byte("kind,value\ninstance," + forge.AWSModuleID + "\n"),
	})
	if err != nil || done.Added != 1 {
		t.Fatalf("imported %+v: %v", done, err)
	}
	h.spire.register(t, entry{
		id: "attestd.vault", spiffeID: id(e.path), parent: id("/attestd/direct/" + tenant),
		selectors: []string{"attestd:format:nitro", "attestd:measurement:vault"},
	})
	return e
}

// known has attestd trust the enclave's maker and know its measurement.
func (e *enclave) known(t *testing.T) {
	t.Helper()
	state := e.house.state
	root, golden := filepath.Join(state, "aws.pem"), filepath.Join(state, "golden.nitro")
	write(t, root, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: e.aws.RootDER()}))
	write(t, golden, e.document(t, bytes.Repeat([]byte{0x5a}, 32), nil))
	values, err := exec.CommandContext(t.Context(), attestdProgram.file(t), "measure", golden, //nolint:gosec // built
		"--name", "vault", "--state", "active", "--insecure-roots", root).Output()
	if err != nil {
		t.Fatalf("measure: %v", err)
	}
	write(t, filepath.Join(state, "vault.yaml"), values)
	config, err := os.ReadFile(e.house.configFile())
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(config), "insecure_roots: [", "insecure_roots: ["+root+", ", 1)
	text = strings.Replace(text, "local_references: [", "local_references: ["+filepath.Join(state, "vault.yaml")+", ", 1)
	write(t, e.house.configFile(), []byte(text))
}

func (e *enclave) document(t *testing.T, nonce, key []byte) []byte {
	t.Helper()
	now := uint64(time.Now().UnixMilli()) //nolint:gosec // after 1970
	document, err := e.aws.Document(forge.Document{Nonce: nonce, PublicKey: key, Milliseconds: &now})
	if err != nil {
		t.Fatal(err)
	}
	return document
}

// ask asks attestd with evidence for the enclave's key; members are what else is in the request.
func (e *enclave) ask(t *testing.T, members map[string]any) (status int, answer map[string]any) {
	t.Helper()
	_, document := e.post(t, "/v1/challenges", map[string]any{
		"format": "nitro", "tenant": tenant, "purpose": "svid",
	})
	reply, err := challenge.ParseReply(document)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKIXPublicKey(e.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	digest, err := reply.Challenge.Binding(key).Digest()
	if err != nil {
		t.Fatal(err)
	}
	request := map[string]any{
		"challenge_id": reply.Challenge.ID, "format": "nitro", "tenant": tenant,
		"evidence": e.document(t, digest, key), "key_spki": key,
	}
	for name, value := range members {
		request[name] = value
	}
	status, document = e.post(t, "/v1/svid", request)
	if err := json.Unmarshal(document, &answer); err != nil {
		t.Fatalf("attestd answers %d %s", status, document)
	}
	return status, answer
}

func (e *enclave) post(t *testing.T, path string, value any) (int, []byte) {
	t.Helper()
	body, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://attestd"+path,
		bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := e.house.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // read to its end
	document, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, document
}

// csr is a certificate request for a SPIFFE ID.
func (e *enclave) csr(t *testing.T, name string) map[string]any {
	t.Helper()
	parsed, err := url.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader,
		&x509.CertificateRequest{URIs: []*url.URL{parsed}}, e.key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{"csr": der}
}

// refused wants an answer of that class.
func (e *enclave) refused(t *testing.T, status int, class attestd.Class, members map[string]any) {
	t.Helper()
	got, answer := e.ask(t, members)
	if got != status || answer["class"] != string(class) {
		t.Errorf("attestd answers %d %v, want %d and %s", got, answer, status, class)
	}
}

// TestAnEnclaveGetsAnIdentityWithoutAnAgent: SPIRE mints it, by the policy that lets attestd mint
// there alone, and whoever trusts SPIRE's bundle takes it.
func TestAnEnclaveGetsAnIdentityWithoutAnAgent(t *testing.T) {
	e := openEnclave(t)
	jwt := map[string]any{"audience": []string{"bank"}}
	if !until(startLimit, func() bool {
		status, _ := e.ask(t, jwt)
		return status == http.StatusOK
	}) {
		status, answer := e.ask(t, jwt)
		t.Fatalf("attestd answers %d %v", status, answer)
	}
	e.wantX509(t)
	e.wantJWT(t, jwt)
	t.Run("and for nothing else", func(t *testing.T) {
		for name, row := range map[string]struct {
			path  string
			class attestd.Class
		}{
			"without an entry":  {e.path + "-2", attestd.ClassPolicyDeny},
			"of another tenant": {"/enclave/other/vault", attestd.ClassPolicyDeny},
			"of an agent's":     {"/lab/web", attestd.ClassPolicyDeny},
		} {
			t.Run(name, func(t *testing.T) {
				e.refused(t, http.StatusForbidden, row.class, e.csr(t, id(row.path)))
			})
		}
	})
	receipt, err := e.house.ann.Quarantine(t.Context(), wire.Order{Target: e.id, Reason: "drill"})
	if err != nil {
		t.Fatal(err)
	}
	if receipt.Grants == 0 || time.Until(receipt.GrantsUntil) > 5*time.Minute+10*time.Second {
		t.Errorf("the acknowledgement names %d grants until %s", receipt.Grants, receipt.GrantsUntil)
	}
	e.refused(t, http.StatusForbidden, attestd.ClassQuarantined, e.csr(t, id(e.path)))
	e.refused(t, http.StatusForbidden, attestd.ClassQuarantined, jwt)
	for _, kind := range []string{"x509", "jwt"} { // nor by hand, with what was left over
		words := []string{kind, "mint", "-spiffeID", id(e.path)}
		if kind == "jwt" {
			words = append(words, "-audience", "bank")
		}
		if said, err := e.house.spire.command(t, words...); err == nil {
			t.Errorf("SPIRE mints by hand: %s", said)
		}
	}
}

// TestWithoutSPIRENothingIsIssuedToEnclaves, and as soon as it is back, without a restart of
// attestd's.
func TestWithoutSPIRENothingIsIssuedToEnclaves(t *testing.T) {
	e := openEnclave(t)
	ask := e.csr(t, id(e.path))
	works := func() bool {
		status, _ := e.ask(t, ask)
		return status == http.StatusOK
	}
	if !until(startLimit, works) {
		t.Fatal("no identity")
	}
	e.house.spire.stop(t)
	e.refused(t, http.StatusServiceUnavailable, attestd.ClassStoreUnavailable, ask)
	e.house.spire.run(t)
	if !until(startLimit, works) {
		t.Fatal("no identity after SPIRE came back")
	}
}

// wantX509 wants an X509-SVID that a relying party takes, over the enclave's key and for minutes.
func (e *enclave) wantX509(t *testing.T) {
	t.Helper()
	status, answer := e.ask(t, e.csr(t, id(e.path)))
	if status != http.StatusOK {
		t.Fatalf("attestd answers %d %v", status, answer)
	}
	var chain []*x509.Certificate
	for _, one := range answer["certificates"].([]any) {
		der, err := base64.StdEncoding.DecodeString(one.(string))
		if err != nil {
			t.Fatal(err)
		}
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, certificate)
	}
	domain := spiffeid.RequireTrustDomainFromString(trustDomain)
	bundle, err := x509bundle.Load(domain, e.house.spire.bundleFile())
	if err != nil {
		t.Fatal(err)
	}
	who, _, err := x509svid.Verify(chain, bundle)
	if err != nil || who.String() != id(e.path) || answer["spiffe_id"] != id(e.path) {
		t.Errorf("go-spiffe takes it for %s: %v", who, err)
	}
	if len(answer["roots"].([]any)) != len(bundle.X509Authorities()) {
		t.Errorf("got %d roots, and SPIRE has %d", len(answer["roots"].([]any)), len(bundle.X509Authorities()))
	}
	if public, ok := chain[0].PublicKey.(*ecdsa.PublicKey); !ok || !public.Equal(e.key.Public()) {
		t.Error("it is over another key")
	}
	if left := time.Until(chain[0].NotAfter); left > 5*time.Minute+time.Second {
		t.Errorf("it lives for %s", left)
	}
	info, found, err := svidext.Of(chain[0], svidext.DefaultOID)
	if err != nil || !found || !info.Attested || info.TEE != "nitro" || info.KeyGrade != "bound" ||
		info.Measurement != "vault" || info.Risk.Int() < 1 || info.Risk.Int() > 69 {
		t.Errorf("the extension says %+v: %v, %v", info, found, err)
	}
}

// wantJWT wants a JWT-SVID that a relying party takes, and that names the enclave's key.
func (e *enclave) wantJWT(t *testing.T, ask map[string]any) {
	t.Helper()
	status, answer := e.ask(t, ask)
	if status != http.StatusOK {
		t.Fatalf("attestd answers %d %v", status, answer)
	}
	token, _ := answer["token"].(string)
	said, err := e.house.spire.bundles.GetBundle(t.Context(), &bundlev1.GetBundleRequest{})
	if err != nil {
		t.Fatal(err)
	}
	bundle := jwtbundle.New(spiffeid.RequireTrustDomainFromString(trustDomain))
	for _, key := range said.GetJwtAuthorities() {
		public, err := x509.ParsePKIXPublicKey(key.GetPublicKey())
		if err != nil {
			t.Fatal(err)
		}
		if err := bundle.AddJWTAuthority(key.GetKeyId(), public); err != nil {
			t.Fatal(err)
		}
	}
	svid, err := jwtsvid.ParseAndValidate(token, bundle, []string{"bank"})
	if err != nil {
		t.Fatalf("go-spiffe refuses it: %v", err)
	}
	if svid.ID.String() != id(e.path) || time.Until(svid.Expiry) > 2*time.Minute {
		t.Errorf("it is for %s until %s", svid.ID, svid.Expiry)
	}
	claims := payload(t, token)
	confirmed, _ := claims["cnf"].(map[string]any)
	jwk, _ := confirmed["jwk"].(map[string]any)
	point, err := e.key.PublicKey.Bytes() // 4, x and y (SEC 1, section 2.3.3)
	if err != nil {
		t.Fatal(err)
	}
	written := base64.RawURLEncoding.EncodeToString
	if jwk["x"] != written(point[1:33]) || jwk["y"] != written(point[33:]) {
		t.Errorf("cnf is %v", confirmed)
	}
	if claims["attested"] != true || claims["measurement"] != "vault" || claims["tenant"] != tenant {
		t.Errorf("it says %v", claims)
	}
	t.Logf("risk_score is %v", claims["risk_score"])
}
