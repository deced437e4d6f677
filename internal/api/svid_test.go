package api_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/internal/svid"
	"github.com/attestd/attestd/plugins/spire/svidext"
	"github.com/attestd/attestd/testvectors/forge"
)

func TestEvidenceThatBindsAKeyGetsAnX509SVIDOverIt(t *testing.T) {
	m := newMint(t)
	document := m.issued(m.x509(nil))
	leaf, err := x509.ParseCertificate(document.Certificates[0])
	m.must(err)
	root, err := x509.ParseCertificate(document.Roots[0])
	m.must(err)
	m.must(leaf.CheckSignatureFrom(root))
	if !leaf.PublicKey.(*ecdsa.PublicKey).Equal(m.key.Public()) || leaf.URIs[0].String() != signerID {
		t.Errorf("the certificate is over another key or for %s", leaf.URIs[0])
	}
	if document.SPIFFEID != signerID || !document.ExpiresAt.Equal(leaf.NotAfter) {
		t.Errorf("got %s until %s", document.SPIFFEID, document.ExpiresAt)
	}
	if m.spire.minted[0] != 5*time.Minute {
		t.Errorf("asked for %s", m.spire.minted[0])
	}
	info, found, err := svidext.Of(leaf, svidext.DefaultOID)
	m.must(err)
	if !found || !info.Attested || info.TEE != "nitro" || info.KeyGrade != "bound" ||
		info.Tenant != "blue" {
		t.Errorf("the certificate says %+v", info)
	}
	n, ends := m.index.Outstanding(m.node(), m.store.Now())
	if n != 1 || ends.After(leaf.NotAfter.Add(2*time.Second)) {
		t.Errorf("%d grants are counted, until %s", n, ends)
	}
	if !strings.Contains(m.log.String(), "identity issued") {
		t.Error("the log does not say so")
	}
	m.must(fresh(m))
}

// fresh wants that no ticket is left over.
func fresh(m *mint) error {
	_, err := m.spire.MintJWT(m.Context(), mintJWT("bank"))
	if err == nil {
		return errors.New("a ticket is left for whoever mints next")
	}
	_, err = m.spire.MintX509(m.Context(), mintX509(m.request(nil, signerID)))
	if err == nil {
		return errors.New("a ticket is left for whoever mints next")
	}
	return nil
}

func TestEvidenceThatBindsAKeyGetsAJWTSVIDThatNamesIt(t *testing.T) {
	m := newMint(t)
	document := m.issued(m.jwt(nil))
	claims := m.claims(document.Token)
	var key jose.JSONWebKey
	named, err := json.Marshal(claims["cnf"].(map[string]any)["jwk"])
	m.must(err)
	m.must(json.Unmarshal(named, &key))
	if !key.Key.(*ecdsa.PublicKey).Equal(m.key.Public()) || !key.IsPublic() {
		t.Errorf("cnf is %s", named)
	}
	if claims["sub"] != signerID || claims["attested"] != true || claims["risk_score"] != float64(60) {
		t.Errorf("got claims %v", claims)
	}
	if left := time.Until(document.ExpiresAt); left > time.Minute || left < 50*time.Second {
		t.Errorf("a token of tier medium lives for %s", left)
	}
	m.must(fresh(m))
}

// TestTheHolderAloneReadsWhatIsEncrypted: a parent instance relays everything, and can ask what it
// likes.
func TestTheHolderAloneReadsWhatIsEncrypted(t *testing.T) {
	m := newMint(t)
	large, err := rsa.GenerateKey(rand.Reader, 2048)
	m.must(err)
	for name, row := range map[string]struct {
		key       crypto.Signer
		algorithm jose.KeyAlgorithm
	}{
		"EC": {m.key, jose.ECDH_ES_A256KW}, "RSA": {large, jose.RSA_OAEP_256},
	} {
		t.Run(name, func(t *testing.T) {
			der := spki(t, row.key.Public())
			ask := object{"key_spki": der, "audience": []string{"bank"}, "encrypt": true}
			got := m.post("/v1/svid", m.attested(svid.EncryptedPurpose, der).with(ask))
			if got.status != http.StatusOK || got.header.Get("Content-Type") != "application/jose" {
				t.Fatalf("got %d %s", got.status, got.body)
			}
			text := strings.TrimSpace(string(got.body))
			sealed, err := jose.ParseEncryptedCompact(text, []jose.KeyAlgorithm{row.algorithm},
				[]jose.ContentEncryption{jose.A256GCM})
			m.must(err)
			plain, err := sealed.Decrypt(row.key)
			m.must(err)
			var document svid.Document
			m.must(json.Unmarshal(plain, &document))
			if m.claims(document.Token)["sub"] != signerID || document.AppraisalID == "" {
				t.Errorf("got %s", plain)
			}
			if sealed.Header.ExtraHeaders["typ"] != svid.SealedType {
				t.Errorf("typ is %v", sealed.Header.ExtraHeaders["typ"])
			}
		})
	}
	t.Run("and not in the clear", func(t *testing.T) {
		der := spki(t, m.key.Public())
		ask := object{"key_spki": der, "audience": []string{"bank"}}
		answer := m.post("/v1/svid", m.attested(svid.EncryptedPurpose, der).with(ask))
		got := m.in(t).problem(answer, http.StatusForbidden, attestd.ClassPolicyDeny)
		if !strings.HasPrefix(got.Detail, "challenge/known") {
			t.Errorf("got %s", got.Detail)
		}
	})
}

// TestWhatACertificateRequestMayNotSay: neg: 141, 142, 151
func TestWhatACertificateRequestMayNotSay(t *testing.T) {
	m := newMint(t)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	m.must(err)
	curve := curveKey(m)
	by := func(key crypto.Signer) func() object {
		return func() object {
			parsed, err := url.Parse(signerID)
			m.must(err)
			der, err := x509.CreateCertificateRequest(rand.Reader,
				&x509.CertificateRequest{URIs: []*url.URL{parsed}}, key)
			m.must(err)
			return object{"csr": der}
		}
	}
	with := func(change func(*x509.CertificateRequest), ids ...string) func() object {
		return func() object { return object{"csr": m.request(change, ids...)} }
	}
	id := func(id string) func() object { return with(nil, id) }
	csr := func(bytes []byte) func() object { return func() object { return object{"csr": bytes} } }
	member := func(name string, value any) func() object {
		return func() object { return object{name: value} }
	}
	const (
		denied, unbound = attestd.ClassPolicyDeny, attestd.ClassBinding
		bad, large      = attestd.ClassMalformed, attestd.ClassTooLarge
	)
	statuses := map[attestd.Class]int{
		denied: 403, unbound: 403, attestd.ClassForbidden: 403, bad: 400, large: 413,
		attestd.ClassKeyProperties: 400,
	}
	good, own := m.request(nil, signerID), "spiffe://example.org"
	for name, row := range map[string]struct {
		members func() object
		class   attestd.Class
	}{
		"another key than key_spki":   {member("key_spki", spki(t, other.Public())), unbound},
		"signed by another key":       {csr(resigned(m)), unbound},
		"a second URI":                {with(nil, signerID, signerID+"2"), denied},
		"no URI":                      {with(nil), denied},
		"a DNS name":                  {with(dnsName, signerID), denied},
		"an address":                  {with(ipAddress, signerID), denied},
		"a name of another kind":      {with(otherName), denied},
		"CA:true":                     {with(authority, signerID), denied},
		"a subject":                   {with(named, signerID), denied},
		"an attribute":                {csr(attributed(m)), denied},
		"another trust domain":        {id("spiffe://example.com/enclave/blue/signer"), denied},
		"another tenant's path":       {id(own + "/enclave/red/signer"), denied},
		"the path alone":              {id(own + "/enclave/blue"), denied},
		"another path":                {id(own + "/shop/web"), denied},
		"an agent's id":               {id(string(m.node())), denied},
		"the server's id":             {id(own + "/spire/server"), attestd.ClassForbidden},
		"two dots in the path":        {id(own + "/enclave/blue/../signer"), bad},
		"an escape in the path":       {id(own + "/enclave/blue/%2e"), bad},
		"an empty segment":            {id(own + "/enclave//blue/signer"), bad},
		"a large trust domain":        {id("spiffe://EXAMPLE.org/enclave/blue/signer"), bad},
		"2,049 bytes":                 {id(signerID + strings.Repeat("x", 2049-len(signerID))), bad},
		"another spiffe_id":           {member("spiffe_id", signerID+"2"), denied},
		"RSA of 16,384 bits":          {modulus(m, 16384, 65537), large},
		"RSA of 4,097 bits":           {modulus(m, 4097, 65537), large},
		"RSA of 1,024 bits":           {modulus(m, 1024, 65537), attestd.ClassKeyProperties},
		"RSA with exponent 2^31":      {modulus(m, 2048, 1<<31), attestd.ClassKeyProperties},
		"RSA with exponent 3":         {modulus(m, 2048, 3), attestd.ClassKeyProperties},
		"P-521":                       {by(curve), attestd.ClassKeyProperties},
		"over 16 KiB":                 {csr(make([]byte, 16<<10+1)), large},
		"no request":                  {csr([]byte("x")), bad},
		"bytes behind it":             {csr(append(good, 0)), bad},
		"no request and no audience":  {csr(nil), bad},
		"a request and an audience":   {member("audience", []string{"a"}), bad},
		"a SPIFFE ID that is none":    {member("spiffe_id", "signer"), bad},
		"a purpose":                   {member("purpose", "svid"), bad},
		"a freshness":                 {member("freshness", "nonce"), bad},
		"a lifetime":                  {member("ttl", 86400), bad},
		"two requests in one text":    {member("csr", pemTwice(m)), bad},
		"a certificate for a request": {member("csr", pemOf("CERTIFICATE", m.spire.root)), bad},
	} {
		t.Run(name, func(t *testing.T) {
			key := spki(t, m.key.Public())
			ask := m.attested(svid.Purpose, key).with(object{"csr": good}).with(row.members())
			if given, ok := ask["csr"].([]byte); ok && len(given) == 0 {
				delete(ask, "csr")
			}
			m.in(t).problem(m.post("/v1/svid", ask), statuses[row.class], row.class)
		})
	}
	if m.spire.asked != 0 {
		t.Errorf("SPIRE was asked %d times", m.spire.asked)
	}
	m.issued(m.x509(object{"csr": m.request(critical, signerID)}))
}

func TestWhatAJWTSVIDIsNotAskedFor(t *testing.T) {
	m := newMint(t)
	many := make([]string, 17)
	for i := range many {
		many[i] = fmt.Sprint("bank", i)
	}
	curve := curveKey(m)
	for name, row := range map[string]struct {
		members object
		status  int
		class   attestd.Class
	}{
		"without a key":      {object{"key_spki": nil}, 400, attestd.ClassMalformed},
		"for a key on P-521": {object{"key_spki": spki(t, curve.Public())}, 400, attestd.ClassKeyProperties},
		"for many audiences": {object{"audience": many}, 400, attestd.ClassMalformed},
		"for one twice":      {object{"audience": []string{"a", "a"}}, 400, attestd.ClassMalformed},
		"for an empty one":   {object{"audience": []string{"a", ""}}, 400, attestd.ClassMalformed},
		"for a long one":     {object{"audience": []string{strings.Repeat("a", 1025)}}, 400, attestd.ClassMalformed},
		"for nobody":         {object{"audience": []string{}}, 400, attestd.ClassMalformed},
		"for an agent":       {object{"spiffe_id": string(m.node())}, 403, attestd.ClassPolicyDeny},
		"for another's path": {object{"spiffe_id": "spiffe://example.org/shop/web"}, 403, attestd.ClassPolicyDeny},
		"for a foreign domain": {object{"spiffe_id": "spiffe://example.com/enclave/blue/signer"}, 400,
			attestd.ClassMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			key := spki(t, m.key.Public())
			ask := m.attested(svid.Purpose, key).with(object{"key_spki": key, "audience": []string{"bank"}})
			if ask.with(row.members)["key_spki"] == nil {
				delete(ask, "key_spki")
			}
			m.in(t).problem(m.post("/v1/svid", ask), row.status, row.class)
		})
	}
	if m.spire.asked != 0 {
		t.Errorf("SPIRE was asked %d times", m.spire.asked)
	}
}

// TestARequestThatWillNotDoCostsNoChallenge: the evidence can be handed in again.
func TestARequestThatWillNotDoCostsNoChallenge(t *testing.T) {
	m := newMint(t)
	key := spki(t, m.key.Public())
	ask := m.attested(svid.Purpose, key).with(object{"csr": m.request(named, signerID)})
	m.problem(m.post("/v1/svid", ask), http.StatusForbidden, attestd.ClassPolicyDeny)
	m.spire.absent = true
	ask["csr"] = m.request(nil, signerID)
	m.problem(m.post("/v1/svid", ask), http.StatusServiceUnavailable, attestd.ClassStoreUnavailable)
	m.spire.absent = false
	m.issued(m.post("/v1/svid", ask))
	m.problem(m.post("/v1/svid", ask), http.StatusForbidden, attestd.ClassPolicyDeny) // once
}

// TestEvidenceForAnotherKeyOrPurposeGetsNothing: neg: 141, 154
func TestEvidenceForAnotherKeyOrPurposeGetsNothing(t *testing.T) {
	m := newMint(t)
	mine := spki(t, m.key.Public())
	theirs, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	m.must(err)
	other := spki(t, theirs.Public())
	for name, row := range map[string]struct {
		ask   object
		class attestd.Class
	}{
		"another key":          {m.attested(svid.Purpose, other), attestd.ClassBinding},
		"no key":               {m.attested(svid.Purpose, nil), attestd.ClassBinding},
		"to be judged":         {m.attested("verify", mine), attestd.ClassPolicyDeny},
		"a node's attestation": {m.attested("node-attestation", mine), attestd.ClassPolicyDeny},
	} {
		t.Run(name, func(t *testing.T) {
			got := m.in(t).problem(m.post("/v1/svid", row.ask.with(object{
				"csr": m.request(nil, signerID), "key_spki": mine,
			})), http.StatusForbidden, row.class)
			if got.Appraisal == nil || got.Appraisal.Verdict != attestd.VerdictRejected {
				t.Errorf("the answer is without its appraisal: %+v", got)
			}
		})
	}
	if m.spire.asked != 0 {
		t.Error("SPIRE was asked")
	}
}

func TestWhoIsHeldOrNobodysGetsNothing(t *testing.T) {
	t.Run("the machine", func(t *testing.T) {
		m := newMint(t)
		m.issued(m.x509(nil))
		m.hold(m.node())
		m.problem(m.x509(nil), http.StatusForbidden, attestd.ClassQuarantined)
		m.problem(m.jwt(nil), http.StatusForbidden, attestd.ClassQuarantined)
	})
	t.Run("the identity", func(t *testing.T) {
		m := newMint(t)
		m.hold(signerID)
		m.problem(m.x509(nil), http.StatusForbidden, attestd.ClassQuarantined)
		m.problem(m.jwt(nil), http.StatusForbidden, attestd.ClassQuarantined)
		if m.spire.asked != 0 {
			t.Error("SPIRE was asked")
		}
	})
	// neg: 197
	for name, id := range map[string]func(*mint) subject.ID{
		"the machine, while SPIRE mints":  (*mint).node,
		"the identity, while SPIRE mints": func(*mint) subject.ID { return signerID },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMint(t)
			m.spire.before = sync.OnceFunc(func() { m.hold(id(m)) })
			m.problem(m.x509(nil), http.StatusForbidden, attestd.ClassQuarantined)
			if n, _ := m.index.Outstanding(id(m), m.store.Now()); n != 0 {
				t.Errorf("%d grants", n)
			}
		})
	}
	t.Run("a machine that is suspect", func(t *testing.T) {
		m := newMint(t)
		first := m.key
		m.issued(m.x509(nil))
		var err error
		m.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		m.must(err)
		m.issued(m.x509(nil))
		m.key = first // two keys take turns: two machines with one name
		got := m.problem(m.x509(nil), http.StatusForbidden, attestd.ClassPolicyDeny)
		if !strings.Contains(got.Detail, "suspect") || m.spire.asked != 2 {
			t.Errorf("got %s, and SPIRE was asked %d times", got.Detail, m.spire.asked)
		}
	})
	t.Run("nobody's machine", func(t *testing.T) {
		m := newMint(t)
		var err error
		m.aws, err = m.aws.Sibling(forge.AWSOptions{At: time.Now(), ModuleID: "i-0fedcba9876543210-enc0fed"})
		m.must(err)
		got := m.problem(m.x509(nil), http.StatusForbidden, attestd.ClassPolicyDeny)
		if !strings.Contains(got.Detail, "nobody's") || m.spire.asked != 0 {
			t.Errorf("got %s", got.Detail)
		}
	})
}

func TestTheEntryDecidesWhichIdentity(t *testing.T) {
	m := newMint(t)
	second := direct(signerID + "-2")
	foreign := direct("spiffe://example.org/enclave/blue/foreign")
	foreign.ParentID = "spiffe://example.org/attestd/direct/red"
	ended := direct("spiffe://example.org/enclave/blue/ended")
	ended.Expires = time.Now().Add(-time.Second).Unix()
	admin := direct("spiffe://example.org/enclave/blue/admin")
	admin.Admin = true
	bare := direct("spiffe://example.org/enclave/blue/bare")
	bare.Selectors = nil
	unix := direct("spiffe://example.org/enclave/blue/unix")
	unix.Selectors[0].Type = "unix"
	other := direct("spiffe://example.org/enclave/blue/other", "measurement:web")
	marked := direct("spiffe://example.org/enclave/blue/marked", "held:00")
	m.spire.entries = append(m.spire.entries, foreign, ended, admin, bare, unix, other, marked,
		direct("spiffe://example.org/enclave/red/signer"), direct("spiffe://example.org/shop/web"))
	m.mapped()
	for name, id := range map[string]string{
		"of another parent": foreign.SPIFFEID, "that ended": ended.SPIFFEID, "of an administrator": admin.SPIFFEID,
		"without selectors": bare.SPIFFEID, "with another's selectors": unix.SPIFFEID,
		"for another measurement": other.SPIFFEID, "that is held in SPIRE": marked.SPIFFEID,
		"there is none of": signerID + "-3", "below another tenant's path": "spiffe://example.org/enclave/red/signer",
		"below another path": "spiffe://example.org/shop/web",
	} {
		t.Run("not one "+name, func(t *testing.T) {
			m.in(t).problem(m.jwt(object{"spiffe_id": id}), http.StatusForbidden, attestd.ClassPolicyDeny)
		})
	}
	if m.spire.asked != 0 {
		t.Error("SPIRE was asked")
	}
	got := m.problem(m.jwt(object{"spiffe_id": marked.SPIFFEID}), http.StatusForbidden,
		attestd.ClassPolicyDeny)
	if !strings.Contains(got.Detail, "is held") {
		t.Errorf("got %s", got.Detail)
	}
	// The marked one matches as far as the evidence goes, so that its holder is told.
	got = m.problem(m.jwt(nil), http.StatusForbidden, attestd.ClassPolicyDeny)
	if !strings.Contains(got.Hint, signerID) || !strings.Contains(got.Hint, marked.SPIFFEID) {
		t.Errorf("the hint does not name both: %s", got.Hint)
	}
	m.spire.entries = append(m.spire.entries, second) // the map does not have it yet
	if got := m.issued(m.jwt(object{"spiffe_id": second.SPIFFEID})); got.SPIFFEID != second.SPIFFEID {
		t.Errorf("got %s", got.SPIFFEID)
	}
	m.spire.entries = nil // nor that it is gone
	got = m.problem(m.x509(nil), http.StatusForbidden, attestd.ClassPolicyDeny)
	if !strings.Contains(got.Hint, "spire-server entry create -parentID "+directParent+" -spiffeID "+signerID) {
		t.Errorf("the hint does not say how to make the entry: %s", got.Hint)
	}
	m.spire.broken = errors.New("gone")
	m.problem(m.x509(nil), http.StatusServiceUnavailable, attestd.ClassStoreUnavailable)
}

// TestAnAdministratorsIDIsNobodysByAnotherEntry: to SPIRE whoever has the SPIFFE ID is what any entry
// of it says, and not the one by which it was obtained.
func TestAnAdministratorsIDIsNobodysByAnotherEntry(t *testing.T) {
	m := newMint(t)
	admin := direct(signerID)
	admin.ParentID, admin.Admin = "spiffe://example.org/somewhere", true
	ended, below := admin, admin
	ended.Expires, below.Admin, below.Downstream = 1, false, true
	for name, beside := range map[string]wire.Entry{
		"": admin, " that has ended": ended, " of a server below": below,
	} {
		m.spire.entries = append(m.spire.entries[:1:1], beside)
		m.mapped()
		for _, ask := range []object{nil, {"spiffe_id": signerID}} {
			got := m.problem(m.x509(ask), http.StatusForbidden, attestd.ClassPolicyDeny)
			if !strings.Contains(got.Detail, "administrator") || m.spire.asked != 0 {
				t.Errorf("an entry%s: got %s, and SPIRE was asked %d times", name, got.Detail,
					m.spire.asked)
			}
			m.problem(m.jwt(ask), http.StatusForbidden, attestd.ClassPolicyDeny)
		}
	}
}

// TestNothingLivesLongerThanItMay: neg: 150
func TestNothingLivesLongerThanItMay(t *testing.T) {
	m := newMint(t)
	m.spire.entries[0].X509TTL, m.spire.entries[0].JWTTTL = 90, 20
	m.issued(m.x509(nil))
	document := m.issued(m.jwt(nil))
	if m.spire.minted[0] != 90*time.Second || m.spire.minted[1] != 20*time.Second {
		t.Errorf("asked for %s", m.spire.minted)
	}
	if left := time.Until(document.ExpiresAt); left > 20*time.Second {
		t.Errorf("the token lives for %s", left)
	}
	m.spire.entries[0].X509TTL = 86400
	m.issued(m.x509(nil))
	if m.spire.minted[2] != 5*time.Minute {
		t.Errorf("asked for %s", m.spire.minted[2])
	}
	m = newMintDue(t, 30*time.Second) // and a minute of grace
	m.issued(m.x509(nil))
	if got := m.spire.minted[0]; got > 90*time.Second || got < 80*time.Second {
		t.Errorf("asked for %s, longer than the evidence is good for", got)
	}
}
