package controller_test

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/controller"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
)

func (w *world) canaryIs(name string, ok bool) func() bool {
	return func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		last, there := w.canary[name]
		return there && last.OK == ok && (ok || last.Error != "")
	}
}

// neg: 198
func TestTheMintCanaryDiesWhereClaimsAreNotAttestds(t *testing.T) {
	w := newWorld(t)
	w.control()
	w.until("the canary lives", 10*time.Second, w.canaryIs("mint", true))
	claims := filepath.Join(w.dir, "claims")
	for _, text := range []string{
		`{}`, `{"attested":true,"risk_score":100}`, `{"attested":false,"risk_score":3}`, `{"attested":"no"}`,
		`{"attested":false,"risk_score":"100"}`,
	} {
		writeFile(t, claims, text)
		w.until("the canary dies of "+text, 10*time.Second, w.canaryIs("mint", false))
		if err := os.Remove(claims); err != nil {
			t.Fatal(err)
		}
		w.until("the canary lives again", 10*time.Second, w.canaryIs("mint", true))
	}
}

func TestTheAttestationCanaryBelievesOneAnswer(t *testing.T) {
	w := newWorld(t)
	w.control()
	broken := filepath.Join(w.dir, "broken")
	for _, text := range []string{"", "could not find node attestor", "canary: ok?", "no canary: ok"} {
		w.until("the canary lives", 10*time.Second, w.canaryIs("attestation", true))
		writeFile(t, broken, text)
		w.until("the canary dies of "+text, 10*time.Second, w.canaryIs("attestation", false))
		if err := os.Remove(broken); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReattestationIsPacedAndSparesWhoMustStay(t *testing.T) {
	w := newWorld(t)
	one, _ := w.join("one")
	two, _ := w.join("two")
	banned, _ := w.join("banned")
	ordered, _ := w.join("ordered")
	w.run(t, "agent", "ban", "-spiffeID", banned)
	w.orders.Bans = []string{ordered}
	token := w.tokenAgent()
	w.control()
	w.until("the canary lives", 10*time.Second, w.canaryIs("attestation", true))
	w.until("a map came", 10*time.Second, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.maps > 0
	})
	ask := func(ids ...string) (out wire.Reattested) {
		w.ask(w.conn, wire.MethodReattest, wire.ReattestRequest{IDs: ids}, &out)
		return out
	}
	for _, id := range []string{banned, ordered, token, "spiffe://" + domain + "/spire/agent/attestd/nobody"} {
		if got := ask(id); !slices.Equal(got.Refused, []string{id}) || got.Reason == "" {
			t.Errorf("%s: got %+v, want a refusal with a reason", id, got)
		}
	}
	// A fleet of five: one a minute.
	if got := ask(one, two); !slices.Equal(got.Done, []string{one}) || !slices.Equal(got.Waiting, []string{two}) {
		t.Errorf("got %+v, want %s done and %s waiting", got, one, two)
	}
	for _, id := range []string{banned, ordered} {
		if !w.banned(id) {
			t.Errorf("%s is no longer banned", id)
		}
	}
	if _, err := w.try("agent", "show", "-spiffeID", one); err == nil {
		t.Errorf("%s need not attest again", one)
	}
	// SPIRE's answer counts where the last poll is older.
	broken := filepath.Join(w.dir, "broken")
	writeFile(t, broken, "")
	w.until("the canary dies", 10*time.Second, w.canaryIs("attestation", false))
	if got := ask(two); !slices.Equal(got.Refused, []string{two}) || !strings.Contains(got.Reason, "attestation is broken") {
		t.Errorf("with a dead canary: got %+v, want a refusal", got)
	}
}

// tokenAgent attests an agent that cannot attest again.
func (w *world) tokenAgent() string {
	w.t.Helper()
	id, _ := w.attest(w.t)
	return id
}

func TestThePaceIsOneInAHundredAMinute(t *testing.T) {
	now := time.Now()
	for _, row := range []struct{ least, fleet, want int }{{1, 0, 1}, {1, 99, 1}, {1, 1000, 10}, {10, 100, 10}, {1, 20_000, 200}} {
		take, got := controller.Pace(row.least), 0
		for range 500 {
			if take(now, row.fleet) {
				got++
			}
		}
		if got != row.want {
			t.Errorf("least %d, fleet %d: got %d a minute, want %d", row.least, row.fleet, got, row.want)
		}
		if take(now.Add(59*time.Second), row.fleet) || !take(now.Add(time.Minute), row.fleet) {
			t.Errorf("least %d, fleet %d: the minute is not one", row.least, row.fleet)
		}
	}
}

func TestTheMapIsWhatSPIREHas(t *testing.T) {
	w := newWorld(t)
	id, _ := w.join("one")
	node := "spiffe://" + domain + "/nodes/good"
	w.run(t, "entry", "create", "-node", "-entryID", "attestd.alias", "-spiffeID", node, "-selector", "attestd:tier:low")
	w.run(t, "entry", "create", "-entryID", "attestd.direct", "-parentID", id, "-spiffeID", held, "-selector", "unix:uid:1")
	w.run(t, "entry", "create", "-entryID", "attestd.aliased", "-parentID", node, "-spiffeID", held, "-selector", "unix:uid:2",
		"-jwtSVIDTTL", "30", "-admin", "-downstream")
	w.control()
	w.until("the map is whole", 10*time.Second, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.last.Entries) == 3 && len(w.last.Agents) == 1
	})
	var got wire.Map
	w.ask(w.conn, wire.MethodRefresh, wire.RefreshRequest{IDs: []string{held}}, &got)
	var names []string
	for _, one := range got.Entries {
		names = append(names, one.ID)
		if one.ID == "attestd.aliased" && (one.JWTTTL != 30 || !one.Admin || !one.Downstream ||
			one.ParentID != node || one.SPIFFEID != held ||
			!slices.Equal(one.Selectors, []wire.Selector{{Type: "unix", Value: "uid:2"}})) {
			t.Errorf("got %+v", one)
		}
	}
	slices.Sort(names)
	if want := []string{"attestd.alias", "attestd.aliased", "attestd.direct"}; !slices.Equal(names, want) {
		t.Errorf("refreshed %q, want %q", names, want)
	}
	if len(got.Agents) != 1 || got.Agents[0].ID != id || got.Agents[0].Type != "attestd" ||
		!slices.Equal(got.Agents[0].Selectors, []wire.Selector{{Type: "attestd", Value: "tier:low"}}) {
		t.Errorf("got agents %+v", got.Agents)
	}
	// Without SPIRE nothing is known, which is no empty map.
	for _, wrong := range []wire.RefreshRequest{{IDs: []string{}}, {IDs: []string{"spiffe://other.test/x"}}, {IDs: []string{"x"}}} {
		if err := w.conn.Call(t.Context(), wire.MethodRefresh, wrong, &got); err == nil {
			t.Errorf("%q was refreshed", wrong.IDs)
		}
	}
}

func TestALargeMapIsCutIntoPartsThatAreAllOfIt(t *testing.T) {
	whole := wire.Map{At: time.Now().UTC()}
	for i := range 1000 {
		whole.Entries = append(whole.Entries, wire.Entry{ID: fmt.Sprint("e", i), Selectors: []wire.Selector{}})
		whole.Agents = append(whole.Agents, wire.Agent{ID: fmt.Sprint("a", i), Selectors: []wire.Selector{}})
	}
	parts, err := controller.Split(whole, 4096)
	if err != nil || len(parts) < 10 {
		t.Fatalf("got %d parts, %v", len(parts), err)
	}
	var entries []wire.Entry
	var agents []wire.Agent
	for i, part := range parts {
		if part.Part != i+1 || part.Parts != len(parts) || !part.At.Equal(whole.At) {
			t.Errorf("part %d of %d says %d of %d", i+1, len(parts), part.Part, part.Parts)
		}
		entries, agents = append(entries, part.Entries...), append(agents, part.Agents...)
	}
	if fmt.Sprint(entries) != fmt.Sprint(whole.Entries) || fmt.Sprint(agents) != fmt.Sprint(whole.Agents) {
		t.Error("the parts are not the whole")
	}
	one, err := controller.Split(wire.Map{At: whole.At}, 4096)
	if err != nil || len(one) != 1 || one[0].Parts != 0 || one[0].Entries == nil || one[0].Agents == nil {
		t.Errorf("an empty map: got %+v, %v", one, err)
	}
}

// neg: 141, 150
func TestOnlyKeysInEvidenceAreMintedFor(t *testing.T) {
	w := newWorld(t)
	w.control()
	good := "/enclave/acme/one"
	var minted wire.MintedX509
	w.ask(w.conn, wire.MethodMintX509, wire.MintX509{CSR: request(t, good, nil), TTLSeconds: 120}, &minted)
	leaf, err := x509.ParseCertificate(minted.Certificates[0])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	for _, one := range minted.Roots {
		root, err := x509.ParseCertificate(one)
		if err != nil {
			t.Fatal(err)
		}
		roots.AddCert(root)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		t.Error(err)
	}
	if minted.ID != "spiffe://"+domain+good || leaf.URIs[0].String() != minted.ID || len(leaf.DNSNames) != 0 ||
		time.Until(leaf.NotAfter) > 121*time.Second || leaf.NotAfter.Unix() != minted.ExpiresAt {
		t.Errorf("got %+v for %s", minted.ID, leaf.NotAfter)
	}
	var token wire.MintedJWT
	w.ask(w.conn, wire.MethodMintJWT, wire.MintJWT{ID: "spiffe://" + domain + good, Audience: []string{"db"}, TTLSeconds: 60}, &token)
	if strings.Count(token.Token, ".") != 2 || time.Until(time.Unix(token.ExpiresAt, 0)) > 61*time.Second {
		t.Errorf("got %+v", token)
	}
	unsigned := request(t, good, nil)
	unsigned[len(unsigned)-1] ^= 1
	with := func(edit func(*x509.CertificateRequest)) []byte { return request(t, good, edit) }
	for name, ask := range map[string]wire.MintX509{
		"a lifetime of nothing": {CSR: request(t, good, nil)}, "a lifetime of 301 s": {CSR: request(t, good, nil), TTLSeconds: 301},
		"a lifetime below zero":               {CSR: request(t, good, nil), TTLSeconds: -5},
		"an id elsewhere":                     {CSR: request(t, "/payments", nil), TTLSeconds: 60},
		"no request":                          {CSR: []byte{}, TTLSeconds: 60},
		"a request that its key did not sign": {CSR: unsigned, TTLSeconds: 60},
		"a subject":                           {CSR: with(func(r *x509.CertificateRequest) { r.Subject.CommonName = "x" }), TTLSeconds: 60},
		"a DNS name":                          {CSR: with(func(r *x509.CertificateRequest) { r.DNSNames = []string{"x.test"} }), TTLSeconds: 60},
		"an address":                          {CSR: with(func(r *x509.CertificateRequest) { r.IPAddresses = []net.IP{net.IPv4(1, 2, 3, 4)} }), TTLSeconds: 60},
		"two ids":                             {CSR: with(func(r *x509.CertificateRequest) { r.URIs = append(r.URIs, r.URIs[0]) }), TTLSeconds: 60},
		"another trust domain": {CSR: with(func(r *x509.CertificateRequest) {
			r.URIs = []*url.URL{{Scheme: "spiffe", Host: "other.test", Path: good}}
		}), TTLSeconds: 60},
		"a request inside of a request": {CSR: smuggled(t), TTLSeconds: 60},
	} {
		w.denies(t, name, wire.MethodMintX509, ask)
	}
	for name, ask := range map[string]wire.MintJWT{
		"an id elsewhere":      {ID: held, Audience: []string{"db"}, TTLSeconds: 60},
		"nobody":               {ID: "spiffe://" + domain + good, Audience: []string{}, TTLSeconds: 60},
		"301 s":                {ID: "spiffe://" + domain + good, Audience: []string{"db"}, TTLSeconds: 301},
		"another trust domain": {ID: "spiffe://other.test" + good, Audience: []string{"db"}, TTLSeconds: 60},
	} {
		w.denies(t, name, wire.MethodMintJWT, ask)
	}
}

// denies wants a refusal that the controller itself gives, before SPIRE is asked.
func (w *world) denies(t *testing.T, name, method string, ask any) {
	t.Helper()
	err := w.conn.Call(t.Context(), method, ask, nil)
	if err == nil {
		t.Errorf("%s: minted", name)
		return
	}
	class := link.AsError(err).Class
	if class != attestd.ClassPolicyDeny && class != attestd.ClassMalformed || strings.Contains(err.Error(), "SPIRE refused") {
		t.Errorf("%s: got %s: %v", name, class, err)
	}
}

func TestWhatSPIRECannotSayIsUndecided(t *testing.T) {
	w := newWorld(t)
	w.config.Server = "unix:" + filepath.Join(w.dir, "nobody.sock")
	w.control()
	for method, ask := range map[string]any{
		wire.MethodRefresh:  wire.RefreshRequest{IDs: []string{held}},
		wire.MethodMintJWT:  wire.MintJWT{ID: "spiffe://" + domain + "/enclave/x", Audience: []string{"db"}, TTLSeconds: 60},
		wire.MethodMintX509: wire.MintX509{CSR: request(t, "/enclave/x", nil), TTLSeconds: 60},
	} {
		err := w.conn.Call(t.Context(), method, ask, nil)
		if err == nil || !link.AsError(err).Class.Undecided() {
			t.Errorf("%s without SPIRE: got %v, want undecided", method, err)
		}
	}
	reached := w.order(func(o *wire.Orders) { o.Bans = append(o.Bans, "spiffe://"+domain+"/spire/agent/attestd/x") })
	if len(reached.Open) != 1 || !strings.HasPrefix(reached.Open[0].Detail, "SPIRE") {
		t.Errorf("got %+v, want the ban open", reached)
	}
}

func TestConfigurationProblemsAreToldAtOnce(t *testing.T) {
	err := controller.Run(t.Context(), controller.Config{Server: "unix:relative", Attestd: []string{"tcp:x:1"}})
	if err == nil {
		t.Fatal("an empty configuration was taken")
	}
	for _, want := range []string{
		"logger", "trust domain", "server", "attestd", "entry prefix", "poll", "canary:", "canary id",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not told: %v", want, err)
		}
	}
	if looks := controller.ReadBacks(); !slices.Equal(looks, []time.Duration{time.Second, 5 * time.Second, 30 * time.Second}) {
		t.Errorf("a ban is read back at %v", looks)
	}
}
