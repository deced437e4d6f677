package controller_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	agentv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/agent/v1"
	entryv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/entry/v1"
	svidv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/svid/v1"
	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// request is a certificate request for an id of the trust domain, changed by edit.
func request(t *testing.T, path string, edit func(*x509.CertificateRequest)) []byte {
	t.Helper()
	template := &x509.CertificateRequest{URIs: []*url.URL{{Scheme: "spiffe", Host: domain, Path: path}}}
	if edit != nil {
		edit(template)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// smuggled is a request for another id that carries an allowed one inside of itself, as PEM.
func smuggled(t *testing.T) []byte {
	t.Helper()
	inner := pem.EncodeToMemory(&pem.Block{
		Type: "CERTIFICATE REQUEST", Bytes: request(t, "/enclave/acme/one", nil),
	})
	return request(t, "/payments", func(template *x509.CertificateRequest) {
		template.ExtraExtensions = []pkix.Extension{{
			Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 9}, Value: append([]byte("\n"), inner...),
		}}
	})
}

func id(path string) *types.SPIFFEID { return &types.SPIFFEID{TrustDomain: domain, Path: path} }

// right is one call of the controller.
type right struct {
	name    string
	allowed bool
	// want is what SPIRE answers where the policy lets the call pass.
	want codes.Code
	call func(context.Context, *grpc.ClientConn) error
}

func rights(t *testing.T) []right {
	t.Helper()
	var table []right
	add := func(name string, allowed bool, want codes.Code, call func(context.Context, *grpc.ClientConn) error) {
		table = append(table, right{name, allowed, want, call})
	}
	agents := func(name string, allowed bool, agent *types.SPIFFEID) {
		add("ban "+name, allowed, codes.NotFound, func(ctx context.Context, conn *grpc.ClientConn) error {
			_, err := agentv1.NewAgentClient(conn).BanAgent(ctx, &agentv1.BanAgentRequest{Id: agent})
			return err
		})
		add("forget "+name, allowed, codes.NotFound, func(ctx context.Context, conn *grpc.ClientConn) error {
			_, err := agentv1.NewAgentClient(conn).DeleteAgent(ctx, &agentv1.DeleteAgentRequest{Id: agent})
			return err
		})
	}
	agents("an agent of attestd's", true, id("/spire/agent/attestd/tpm/one"))
	agents("an agent of another attestor", false, id("/spire/agent/join_token/one"))
	agents("an agent whose attestor's name begins alike", false, id("/spire/agent/attestd2/one"))
	agents("an agent of another trust domain", false,
		&types.SPIFFEID{TrustDomain: "other.test", Path: "/spire/agent/attestd/tpm/one"})
	agents("nobody", false, nil)

	update := func(name string, allowed bool, mask *types.EntryMask, entries ...*types.Entry) {
		add("update "+name, allowed, codes.OK, func(ctx context.Context, conn *grpc.ClientConn) error {
			reply, err := entryv1.NewEntryClient(conn).BatchUpdateEntry(ctx,
				&entryv1.BatchUpdateEntryRequest{Entries: entries, InputMask: mask})
			for _, one := range reply.GetResults() {
				if one.GetStatus().GetCode() != int32(codes.OK) {
					err = errors.New(one.GetStatus().GetMessage())
				}
			}
			return err
		})
	}
	entry := func(id string) *types.Entry {
		return &types.Entry{Id: id, Selectors: []*types.Selector{{Type: "unix", Value: "uid:1"}}}
	}
	selectors := &types.EntryMask{Selectors: true}
	update("the selectors of an own entry", true, selectors, entry("attestd.one"))
	update("the selectors of a foreign entry", false, selectors, entry("other.one"))
	update("an own and a foreign entry", false, selectors, entry("attestd.one"), entry("other.one"))
	update("no entry", false, selectors)
	update("every field", false, nil, entry("attestd.one"))
	update("no field", false, &types.EntryMask{}, entry("attestd.one"))
	update("the admin flag, too", false, &types.EntryMask{Selectors: true, Admin: true}, entry("attestd.one"))
	update("the SPIFFE ID", false, &types.EntryMask{SpiffeId: true}, entry("attestd.one"))

	x509SVID := func(name string, allowed bool, ttl int32, csr []byte) {
		add("X509-SVID "+name, allowed, codes.OK, func(ctx context.Context, conn *grpc.ClientConn) error {
			_, err := svidv1.NewSVIDClient(conn).MintX509SVID(ctx, &svidv1.MintX509SVIDRequest{Csr: csr, Ttl: ttl})
			return err
		})
	}
	good := "/enclave/acme/one"
	x509SVID("below /enclave/", true, 300, request(t, good, nil))
	x509SVID("of SPIRE's own lifetime", false, 0, request(t, good, nil))
	x509SVID("of a lifetime below zero", false, -1, request(t, good, nil))
	x509SVID("for longer than minutes", false, 301, request(t, good, nil))
	x509SVID("elsewhere", false, 300, request(t, "/payments", nil))
	x509SVID("whose path begins alike", false, 300, request(t, "/enclaves/one", nil))
	x509SVID("with a subject", false, 300, request(t, good, func(r *x509.CertificateRequest) {
		r.Subject = pkix.Name{CommonName: "payments"}
	}))
	x509SVID("with a DNS name", false, 300, request(t, good, func(r *x509.CertificateRequest) {
		r.DNSNames = []string{"payments.example.org"}
	}))
	x509SVID("with an email address", false, 300, request(t, good, func(r *x509.CertificateRequest) {
		r.EmailAddresses = []string{"root@example.org"}
	}))
	x509SVID("with an IP address", false, 300, request(t, good, func(r *x509.CertificateRequest) {
		r.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}))
	x509SVID("with two ids", false, 300, request(t, good, func(r *x509.CertificateRequest) {
		r.URIs = append(r.URIs, &url.URL{Scheme: "spiffe", Host: domain, Path: "/payments"})
	}))
	x509SVID("of another trust domain", false, 300, request(t, good, func(r *x509.CertificateRequest) {
		r.URIs[0].Host = "other.test"
	}))
	x509SVID("of another scheme", false, 300, request(t, good, func(r *x509.CertificateRequest) {
		r.URIs[0].Scheme = "https"
	}))
	x509SVID("without a request", false, 300, nil)
	x509SVID("with another request inside of the request", false, 300, smuggled(t))

	jwtSVID := func(name string, allowed bool, id *types.SPIFFEID, ttl int32, audience ...string) {
		add("JWT-SVID "+name, allowed, codes.OK, func(ctx context.Context, conn *grpc.ClientConn) error {
			_, err := svidv1.NewSVIDClient(conn).MintJWTSVID(ctx,
				&svidv1.MintJWTSVIDRequest{Id: id, Ttl: ttl, Audience: audience})
			return err
		})
	}
	jwtSVID("below /enclave/", true, id(good), 300, "db")
	jwtSVID("of SPIRE's own lifetime", false, id(good), 0, "db")
	jwtSVID("for longer than minutes", false, id(good), 301, "db")
	jwtSVID("elsewhere", false, id("/payments"), 300, "db")
	jwtSVID("whose path begins alike", false, id("/enclaves/one"), 300, "db")
	jwtSVID("of another trust domain", false, &types.SPIFFEID{TrustDomain: "other.test", Path: good}, 300, "db")
	jwtSVID("for nobody", false, id(good), 300)
	jwtSVID("of the canary", true, id("/attestd/canary"), 60, "attestd-canary")
	jwtSVID("of the canary for longer than minutes", false, id("/attestd/canary"), 301, "attestd-canary")
	jwtSVID("of the canary for an audience", false, id("/attestd/canary"), 60, "db")
	jwtSVID("of the canary for two audiences", false, id("/attestd/canary"), 60, "attestd-canary", "db")
	jwtSVID("of another id for the canary's audience", false, id("/payments"), 60, "attestd-canary")
	jwtSVID("of another trust domain's canary", false,
		&types.SPIFFEID{TrustDomain: "other.test", Path: "/attestd/canary"}, 60, "attestd-canary")
	return table
}

// differs returns what of the table a server does otherwise.
func differs(t *testing.T, conn *grpc.ClientConn, table []right) (wrong []string) {
	t.Helper()
	for _, row := range table {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := row.call(ctx, conn)
		cancel()
		refused := status.Code(err) == codes.PermissionDenied &&
			strings.HasPrefix(status.Convert(err).Message(), "authorization denied for method")
		switch {
		case refused == row.allowed:
			wrong = append(wrong, fmt.Sprintf("%s: got %v, want allowed: %v", row.name, err, row.allowed))
		case row.allowed && status.Code(err) != row.want:
			wrong = append(wrong, fmt.Sprintf("%s: got %v, want %s", row.name, err, row.want))
		}
	}
	return wrong
}

// controllers are the two ways in which a controller comes, each with a server of its own.
func controllers(t *testing.T, policy string, edit func(map[string]any)) map[string]*grpc.ClientConn {
	t.Helper()
	start := func(also func(map[string]any)) *realSPIRE {
		s := startSPIRE(t, serverConfig{policy: policy, data: policyData(t, func(a map[string]any) {
			also(a)
			if edit != nil {
				edit(a)
			}
		})})
		s.run(t, "entry", "create", "-entryID", "attestd.one", "-parentID", "spiffe://"+domain+"/node",
			"-spiffeID", "spiffe://"+domain+"/wl", "-selector", "unix:uid:0")
		// That somebody makes the controller an administrator gives it nothing.
		s.run(t, "entry", "create", "-parentID", "spiffe://"+domain+"/node", "-spiffeID", controllerID,
			"-selector", "unix:uid:0", "-admin", "-downstream")
		return s
	}
	tls := start(func(map[string]any) {})
	socket := start(func(a map[string]any) {
		a["controller_programs"] = []string{thisProgram(t)}
		// Of a program that is in both lists the narrower one counts.
		a["local_programs"] = append(a["local_programs"].([]string), thisProgram(t))
	})
	return map[string]*grpc.ClientConn{
		"with an SVID": tls.remote(t, tls.mint(t, controllerID)), "by the socket": socket.local(t),
	}
}

// mayAsk are the methods whose requests the table tries, or that have nothing to look at.
var mayAsk = map[string]bool{
	"/spire.api.server.agent.v1.Agent/ListAgents": true, "/spire.api.server.agent.v1.Agent/GetAgent": true,
	"/spire.api.server.entry.v1.Entry/ListEntries": true,
	// What anybody may.
	"/spire.api.server.bundle.v1.Bundle/GetBundle": true, "/spire.api.server.agent.v1.Agent/AttestAgent": true,
}

// TestControllerMayWhatItNeedsAndNothingElse: the table of calls, and every other method of the API.
func TestControllerMayWhatItNeedsAndNothingElse(t *testing.T) {
	table := rights(t)
	for way, conn := range controllers(t, policyFile, nil) {
		t.Run(way, func(t *testing.T) {
			for _, wrong := range differs(t, conn, table) {
				t.Error(wrong)
			}
			for _, method := range apiMethods(t) {
				want := denied
				if mayAsk[method] {
					want = passed
				}
				if got := ask(t, conn, method); got != want && (got != unknown || want == passed) {
					t.Errorf("%s: got %s, want %s", method, got, want)
				}
			}
		})
	}
}

// TestEachConditionOfTheControllerCounts: with any one condition deleted, the real server does
// something that the table forbids.
func TestEachConditionOfTheControllerCounts(t *testing.T) {
	text, err := os.ReadFile(policyFile)
	if err != nil {
		t.Fatal(err)
	}
	policy, table := string(text), rights(t)
	for _, line := range []string{
		"\tin_trust_domain(input.req.id)\n\tbelow(input.req.id.path, data.attestd.agent_prefixes)",
		"\tbelow(input.req.id.path, data.attestd.agent_prefixes)",
		"\tinput.req.input_mask == {\"selectors\": true}",
		"\tevery entry in input.req.entries {\n\t\tstartswith(entry.id, data.attestd.entry_prefix)\n\t}",
		"\tshort(input.req.ttl)\n\trequest :=",
		"\trequest.Raw == input.req.csr",
		"\trequest.RawSubject == \"MAA=\" # an empty SEQUENCE: no subject",
		"\tnone(request.DNSNames)",
		"\tnone(request.EmailAddresses)",
		"\tnone(request.IPAddresses)",
		"\tcount(request.URIs) == 1",
		"\turi.Scheme == \"spiffe\"",
		"\turi.Host == data.attestd.trust_domain",
		"\tbelow(uri.Path, data.attestd.mint_prefixes)",
		"\tshort(input.req.ttl)\n\tcount(input.req.audience) > 0",
		"\tcount(input.req.audience) > 0",
		"\tbelow(input.req.id.path, data.attestd.mint_prefixes)",
		"\tshort(input.req.ttl)\n\tinput.req.audience ==",
		"\tinput.req.audience == [\"attestd-canary\"]",
		"\tinput.req.id.path == data.attestd.canary_path",
		"\tttl > 0\n",
		"\tttl <= data.attestd.mint_seconds",
	} {
		name, _, _ := strings.Cut(strings.TrimSpace(line), "\n")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.Count(policy, line) != 1 {
				t.Fatalf("the line stands %d times in the policy", strings.Count(policy, line))
			}
			// Only the first line of each is deleted; what follows tells it from others.
			first, rest, _ := strings.Cut(line, "\n")
			if strings.HasSuffix(first, "{") {
				rest = ""
			}
			without := filepath.Join(t.TempDir(), "policy.rego")
			writeFile(t, without, strings.Replace(policy, line, rest, 1))
			s := startSPIRE(t, serverConfig{policy: without, data: policyData(t, nil)})
			s.run(t, "entry", "create", "-entryID", "attestd.one", "-parentID", "spiffe://"+domain+"/node",
				"-spiffeID", "spiffe://"+domain+"/wl", "-selector", "unix:uid:0")
			if len(differs(t, s.remote(t, s.mint(t, controllerID)), table)) == 0 {
				t.Error("nothing of the table differs without it")
			}
		})
	}
}

// TestControllerHasNothingWhereDataIsEmpty: an empty prefix would be everybody's.
func TestControllerHasNothingWhereDataIsEmpty(t *testing.T) {
	table := rights(t)
	for i := range table {
		table[i].allowed = false
	}
	for way, conn := range controllers(t, policyFile, func(a map[string]any) {
		a["entry_prefix"], a["agent_prefixes"], a["canary_path"] = "", []string{"", "/"}, ""
		a["mint_prefixes"] = []string{"", "/", "/enclave"}
	}) {
		t.Run(way, func(t *testing.T) {
			for _, wrong := range differs(t, conn, table) {
				t.Error(wrong)
			}
		})
	}
}

// TestGateDecidesOverAgents: what the gate says holds for the agent's next call, and anything that is
// not a yes is a no.
func TestGateDecidesOverAgents(t *testing.T) {
	answer := make(chan http.HandlerFunc, 1)
	asked := make(chan string, 64)
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, 200)
		n, _ := r.Body.Read(body)
		asked <- r.Method + " " + r.URL.Path + " " + r.Header.Get("Content-Type") + " " + string(body[:n])
		say := <-answer
		answer <- say
		say(w, r)
	}))
	defer gate.Close()
	text := func(code int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = w.Write([]byte(text))
		}
	}
	answer <- text(http.StatusOK, `{"allow":true}`)
	s := startSPIRE(t, serverConfig{policy: policyFile, data: policyData(t, func(a map[string]any) {
		a["gate"] = map[string]any{"url": gate.URL + "/v1/gate"}
	})})
	agentID, svid := s.attest(t)
	agent := s.remote(t, svid)
	methods := []string{
		"/spire.api.server.svid.v1.SVID/NewJWTSVID", "/spire.api.server.svid.v1.SVID/BatchNewX509SVID",
		"/spire.api.server.entry.v1.Entry/SyncAuthorizedEntries", "/spire.api.server.agent.v1.Agent/RenewAgent",
	}
	for _, row := range []struct {
		name string
		say  http.HandlerFunc
		want string
	}{
		{"a yes", text(200, `{"allow":true}`), passed},
		{"a no", text(200, `{"allow":false}`), denied},
		{"a text", text(200, `{"allow":"true"}`), denied},
		{"a number", text(200, `{"allow":1}`), denied},
		{"an empty object", text(200, `{}`), denied},
		{"no JSON", text(200, `allow`), denied},
		{"nothing", text(200, ``), denied},
		{"a yes with an error", text(503, `{"allow":true}`), denied},
		{"a no, and a ban that is a text", text(200, `{"allow":false,"banned":"true"}`), denied},
		{"a yes that comes late", func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Second)
			_, _ = w.Write([]byte(`{"allow":true}`))
		}, denied},
		{"a yes elsewhere", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/yes", http.StatusTemporaryRedirect)
		}, denied},
		{"a yes again", text(200, `{"allow":true}`), passed},
	} {
		<-answer
		answer <- row.say
		for _, method := range methods {
			if got := ask(t, agent, method); got != row.want {
				t.Errorf("%s, %s: got %s, want %s", row.name, method, got, row.want)
			}
		}
	}
	// Whom SPIRE bans it tells so itself, when they look for entries, and only then.
	<-answer
	answer <- text(http.StatusOK, `{"allow":false,"banned":true}`)
	for _, method := range methods {
		want := denied
		if strings.HasSuffix(method, "Entries") {
			want = passed
		}
		if got := ask(t, agent, method); got != want {
			t.Errorf("a banned agent, %s: got %s, want %s", method, got, want)
		}
	}
	if got, want := <-asked, `POST /v1/gate application/json {"caller":"`+agentID+`"}`; got != want {
		t.Errorf("the gate was asked %q, want %q", got, want)
	}
	gate.Close()
	for _, method := range methods {
		if got := ask(t, agent, method); got != denied {
			t.Errorf("without a gate, %s: got %s, want %s", method, got, denied)
		}
	}
	// The command line and whoever attests do not depend on it.
	s.attest(t)
	s.run(t, "agent", "ban", "-spiffeID", agentID)
}
