package composer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	composerv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/server/credentialcomposer/v1"
	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/host"
)

const (
	id  = "spiffe://example.org/wl/a"
	oid = "1.3.6.1.4.1.55555.1.1"
)

// fixed answers as a test says, and notes what it was asked.
type fixed struct {
	mu      sync.Mutex
	granted wire.Granted
	err     error
	asked   []wire.GrantRequest
}

func (f *fixed) grant(ctx context.Context, request wire.GrantRequest) (wire.Granted, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, request)
	if _, limited := ctx.Deadline(); !limited {
		return wire.Granted{}, errors.New("asked without a deadline")
	}
	return f.granted, f.err
}

// configured is a composer whose questions go to granter.
func configured(t *testing.T, granter granter, log *bytes.Buffer) *Composer {
	t.Helper()
	return configuredBy(t, granter, log, "")
}

// configuredBy has more keys in its configuration.
func configuredBy(t *testing.T, granter granter, log *bytes.Buffer, more string) *Composer {
	t.Helper()
	env := host.Env{Name: "composer", Counts: &host.Counts{},
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: log})}
	composer := &Composer{env: env, refused: newRefusals(env.Logger),
		Configured: host.NewConfigured(env, defaults,
			func(_ context.Context, document *document, core host.Core) (func(), error) {
				document.granter, document.trustDomain = granter, core.TrustDomain
				return nil, nil
			})}
	_, err := composer.Configure(t.Context(), &configv1.ConfigureRequest{
		HclConfiguration:  `addresses = ["unix:/none"]` + "\n" + more,
		CoreConfiguration: &configv1.CoreConfiguration{TrustDomain: "example.org"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return composer
}

func claims(t *testing.T, changes map[string]any) *structpb.Struct {
	t.Helper()
	all := map[string]any{"sub": id, "aud": []any{"peer"}, "iat": 1795000000, "exp": 1795000300}
	for name, value := range changes {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	out, err := structpb.NewStruct(all)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func jwt(t *testing.T, composer *Composer, given *structpb.Struct) (map[string]any, error) {
	t.Helper()
	answer, err := composer.ComposeWorkloadJWTSVID(t.Context(), &composerv1.ComposeWorkloadJWTSVIDRequest{
		SpiffeId: id, Attributes: &composerv1.JWTSVIDAttributes{Claims: given},
	})
	return answer.GetAttributes().GetClaims().AsMap(), err
}

func good() wire.Granted {
	return wire.Granted{
		ExpiresAt: 1795000060, ExtensionOID: oid, Extension: []byte{0x30, 0},
		Claims: map[string]any{"attested": true, "risk_score": 12.0, "tenant": "a", "cnf": map[string]any{"jkt": "x"}},
	}
}

func TestATokenCarriesWhatAttestdKnows(t *testing.T) {
	t.Parallel()
	attestd := &fixed{granted: good()}
	given := claims(t, nil)
	got, err := jwt(t, configured(t, attestd, &bytes.Buffer{}), given)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"sub": id, "aud": []any{"peer"}, "iat": 1795000000.0, "exp": 1795000060.0,
		"attested": true, "risk_score": 12.0, "tenant": "a", "cnf": map[string]any{"jkt": "x"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	asked := []wire.GrantRequest{{
		Kind: wire.GrantWorkloadJWT, ID: id, Audience: []string{"peer"}, ExpiresAt: 1795000300,
	}}
	if diff := cmp.Diff(asked, attestd.asked); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(claims(t, nil), given, protocmp.Transform()); diff != "" {
		t.Errorf("SPIRE's own claims were changed: %s", diff)
	}
}

// TestTheEndOfATokenOnlyComesNearer: SPIRE would take a later one from a composer. neg: 150
func TestTheEndOfATokenOnlyComesNearer(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		granted int64
		want    float64 // 0 for a refusal
	}{
		"nearer": {1795000010, 1795000010}, "the same": {1795000300, 1795000300},
		"later": {1795086400, 1795000300}, "none": {0, 0}, "negative": {-1, 0},
	} {
		granted := good()
		granted.ExpiresAt = row.granted
		got, err := jwt(t, configured(t, &fixed{granted: granted}, &bytes.Buffer{}), claims(t, nil))
		if row.want == 0 {
			if status.Code(err) != codes.Internal {
				t.Errorf("%s: got %v", name, err)
			}
		} else if got["exp"] != row.want {
			t.Errorf("%s: got %v, %v", name, got["exp"], err)
		}
	}
}

// TestATokenIsRefusedWhereItWouldSayWhatItMustNot: by SPIRE's claims (before attestd is asked, so that
// nothing is counted), or by attestd's.
func TestATokenIsRefusedWhereItWouldSayWhatItMustNot(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		given   map[string]any
		granted map[string]any
		log     string
	}{
		// neg: 198
		"another composer's risk_score":    {map[string]any{"risk_score": 0}, nil, "another composer has set the claim risk_score"},
		"another composer's attested":      {map[string]any{"attested": true}, nil, "the claim attested"},
		"another composer's confirmation":  {map[string]any{"cnf": "x"}, nil, "the claim cnf"},
		"a claim that attestd sets, too":   {map[string]any{"color": "red"}, map[string]any{"color": "blue"}, "color is set already"},
		"another subject":                  {map[string]any{"sub": "spiffe://example.org/wl/b"}, nil, "claim sub"},
		"no subject":                       {map[string]any{"sub": nil}, nil, "claim sub"},
		"no end":                           {map[string]any{"exp": nil}, nil, "claim exp"},
		"an end as text":                   {map[string]any{"exp": "1795000300"}, nil, "claim exp"},
		"an end within a second":           {map[string]any{"exp": 1795000300.5}, nil, "claim exp"},
		"an end that is no number":         {map[string]any{"exp": math.NaN()}, nil, "claim exp"},
		"an end beyond all bounds":         {map[string]any{"exp": 1e300}, nil, "claim exp"},
		"no audience":                      {map[string]any{"aud": nil}, nil, "claim aud"},
		"an empty audience":                {map[string]any{"aud": []any{"peer", ""}}, nil, "claim aud"},
		"an audience of numbers":           {map[string]any{"aud": []any{1}}, nil, "claim aud"},
		"no claims of attestd's":           {nil, map[string]any{}, "no claims"},
		"attestd's own subject":            {nil, map[string]any{"sub": id}, "sub is set already"},
		"attestd's own issuer":             {nil, map[string]any{"iss": "me"}, "which is SPIRE's"},
		"a number that SPIRE would change": {nil, map[string]any{"risk_score": 1e6}, "must not have: risk_score"},
		"a fraction":                       {nil, map[string]any{"risk_score": 0.5}, "must not have: risk_score"}, // neg: 148
		"a number that is none":            {nil, map[string]any{"risk_score": math.NaN()}, "must not have"},
		"null":                             {nil, map[string]any{"risk_score": nil}, "must not have"},
		"a list":                           {nil, map[string]any{"x": []any{"a"}}, "must not have"},
		"text without an end":              {nil, map[string]any{"x": strings.Repeat("x", 1025)}, "must not have"},
		"depth without an end": {nil, map[string]any{"x": map[string]any{"x": map[string]any{"x": map[string]any{
			"x": map[string]any{"x": 1.0}}}}}, "must not have"},
	} {
		granted := good()
		if row.granted != nil {
			granted.Claims = row.granted
		}
		var log bytes.Buffer
		attestd := &fixed{granted: granted}
		_, err := jwt(t, configured(t, attestd, &log), claims(t, row.given))
		if status.Code(err) != codes.Internal {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
		if !strings.Contains(log.String(), row.log) {
			t.Errorf("%s: the log does not say %q: %s", name, row.log, &log)
		}
		if row.granted == nil && len(attestd.asked) != 0 {
			t.Errorf("%s: attestd was asked, and counted a grant", name)
		}
	}
}

// TestACertificateCarriesTheExtensionOfItsGrant for agents and workloads, and only the key of the grant.
func TestACertificateCarriesTheExtensionOfItsGrant(t *testing.T) {
	t.Parallel()
	key := []byte("a key")
	sum := sha256.Sum256(key)
	for kind, compose := range composers {
		attestd := &fixed{granted: good()}
		composer := configured(t, attestd, &bytes.Buffer{})
		given := attributes("1.2.3")
		got, err := compose(t.Context(), composer, id, key, given)
		if err != nil {
			t.Fatal(err)
		}
		want := attributes("1.2.3")
		want.ExtraExtensions = append(want.ExtraExtensions, &composerv1.X509Extension{Oid: oid, Value: []byte{0x30, 0}})
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("%s: %s", kind, diff)
		}
		if diff := cmp.Diff(attributes("1.2.3"), given, protocmp.Transform()); diff != "" {
			t.Errorf("%s: SPIRE's own attributes were changed: %s", kind, diff)
		}
		asked := []wire.GrantRequest{{Kind: kind, ID: id, KeySHA256: sum[:]}}
		if diff := cmp.Diff(asked, attestd.asked); diff != "" {
			t.Errorf("%s: %s", kind, diff)
		}
	}
}

// composers are the two calls for X.509-SVIDs that attestd decides about.
var composers = map[string]func(ctx context.Context, c *Composer, id string, key []byte,
	given *composerv1.X509SVIDAttributes) (*composerv1.X509SVIDAttributes, error){
	wire.GrantAgentX509: func(ctx context.Context, c *Composer, id string, key []byte,
		given *composerv1.X509SVIDAttributes) (*composerv1.X509SVIDAttributes, error) {
		answer, err := c.ComposeAgentX509SVID(ctx, &composerv1.ComposeAgentX509SVIDRequest{
			SpiffeId: id, PublicKey: key, Attributes: given,
		})
		return answer.GetAttributes(), err
	},
	wire.GrantWorkloadX509: func(ctx context.Context, c *Composer, id string, key []byte,
		given *composerv1.X509SVIDAttributes) (*composerv1.X509SVIDAttributes, error) {
		answer, err := c.ComposeWorkloadX509SVID(ctx, &composerv1.ComposeWorkloadX509SVIDRequest{
			SpiffeId: id, PublicKey: key, Attributes: given,
		})
		return answer.GetAttributes(), err
	},
}

func attributes(oid string) *composerv1.X509SVIDAttributes {
	return &composerv1.X509SVIDAttributes{
		Subject: &composerv1.DistinguishedName{Country: []string{"US"}}, DnsSans: []string{"a"},
		ExtraExtensions: []*composerv1.X509Extension{{Oid: oid, Value: []byte{1}}},
	}
}

func TestACertificateIsRefusedWhereItWouldSayWhatItMustNot(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		id      string
		key     []byte
		given   *composerv1.X509SVIDAttributes
		granted wire.Granted
		log     string
	}{
		"no key":         {id, nil, attributes("1.2.3"), good(), "no attributes or no key"},
		"no attributes":  {id, []byte("k"), nil, good(), "no attributes or no key"},
		"no id":          {"", []byte("k"), attributes("1.2.3"), good(), "no SPIFFE ID"},
		"an endless id":  {strings.Repeat("x", 2049), []byte("k"), attributes("1.2.3"), good(), "no SPIFFE ID"},
		"the same oid":   {id, []byte("k"), attributes(oid), good(), "another composer has set the extension"}, // neg: 198
		"an oid alone":   {id, []byte("k"), attributes("1.2.3"), wire.Granted{ExtensionOID: oid}, "that is none"},
		"a value alone":  {id, []byte("k"), attributes("1.2.3"), wire.Granted{Extension: []byte{1}}, "that is none"},
		"an oid of text": {id, []byte("k"), attributes("1.2.3"), wire.Granted{ExtensionOID: "a.b", Extension: []byte{1}}, "that is none"},
		"a huge value": {id, []byte("k"), attributes("1.2.3"),
			wire.Granted{ExtensionOID: oid, Extension: make([]byte, 8<<10+1)}, "that is none"},
	} {
		for kind, compose := range composers {
			var log bytes.Buffer
			_, err := compose(t.Context(), configured(t, &fixed{granted: row.granted}, &log), row.id, row.key, row.given)
			if status.Code(err) != codes.Internal || !strings.Contains(log.String(), row.log) {
				t.Errorf("%s, %s: got %v and %s", kind, name, err, &log)
			}
		}
	}
}

// TestNoGrantIsARefusalInNeutralWords, of a code that says whether anything was decided. neg: 195
func TestNoGrantIsARefusalInNeutralWords(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		err  error
		want codes.Code
	}{
		"held":             {&link.Error{Class: attestd.ClassQuarantined, Message: "the detail"}, codes.PermissionDenied},
		"for another key":  {&link.Error{Class: attestd.ClassBinding, Message: "the detail"}, codes.PermissionDenied},
		"not decided":      {&link.Error{Class: attestd.ClassStoreUnavailable, Message: "the detail"}, codes.Unavailable},
		"malformed":        {&link.Error{Class: attestd.ClassMalformed, Message: "the detail"}, codes.Unavailable},
		"not reached":      {errors.New("the detail"), codes.Unavailable},
		"too late":         {context.DeadlineExceeded, codes.Unavailable},
		"a bug of attestd": {&link.Error{Class: attestd.ClassInternal, Message: "the detail"}, codes.Internal},
		"Unimplemented":    {status.Error(codes.Unimplemented, "the detail"), codes.Unavailable},
		"a status of OK":   {status.FromContextError(context.Canceled).Err(), codes.Unavailable},
	} {
		var log bytes.Buffer
		composer := configured(t, &fixed{err: row.err}, &log)
		all := map[string]error{}
		_, all["jwt"] = jwt(t, composer, claims(t, nil))
		for kind, compose := range composers {
			_, all[kind] = compose(t.Context(), composer, id, []byte("k"), attributes("1.2.3"))
		}
		for kind, err := range all {
			want := status.Error(row.want, "attestd: no identity is issued now; ask: attestd why "+id)
			if err == nil || err.Error() != want.Error() {
				t.Errorf("%s, %s: got %v, want %v", name, kind, err, want)
			}
		}
		if strings.Count(log.String(), "no credential") != 3 {
			t.Errorf("%s: the log says %s", name, &log)
		}
	}
}

// TestTheServersOwnCredentialsPassAsTheyAre: a server must start, and be healthy, without attestd.
func TestTheServersOwnCredentialsPassAsTheyAre(t *testing.T) {
	t.Parallel()
	attestd := &fixed{err: errors.New("not there")}
	composer := configured(t, attestd, &bytes.Buffer{})
	ca, err := composer.ComposeServerX509CA(t.Context(), &composerv1.ComposeServerX509CARequest{
		Attributes: &composerv1.X509CAAttributes{PolicyIdentifiers: []string{"1.2"}},
	})
	if err != nil || len(ca.GetAttributes().GetPolicyIdentifiers()) != 1 {
		t.Errorf("got %v, %v", ca, err)
	}
	own, err := composer.ComposeServerX509SVID(t.Context(), &composerv1.ComposeServerX509SVIDRequest{
		Attributes: attributes("1.2.3"),
	})
	if diff := cmp.Diff(attributes("1.2.3"), own.GetAttributes(), protocmp.Transform()); err != nil || diff != "" {
		t.Errorf("got %v, %s", err, diff)
	}
	health := "spiffe://example.org/for/health/check/only"
	got, err := composers[wire.GrantWorkloadX509](t.Context(), composer, health, spireHealthKey(t), attributes("1.2.3"))
	if diff := cmp.Diff(attributes("1.2.3"), got, protocmp.Transform()); err != nil || diff != "" {
		t.Errorf("got %v, %s", err, diff)
	}
	if len(attestd.asked) != 0 {
		t.Errorf("attestd was asked %+v", attestd.asked)
	}
	for _, other := range []string{
		health + "/", health + "x", "spiffe://example.com/for/health/check/only", "spiffe://example.org/for/health/check",
	} {
		if _, err := composers[wire.GrantWorkloadX509](t.Context(), composer, other, spireHealthKey(t),
			attributes("1.2.3")); err == nil {
			t.Errorf("%s passes as it is", other)
		}
	}
	// An agent or a token of that name is no health check.
	if _, err := composers[wire.GrantAgentX509](t.Context(), composer, health, spireHealthKey(t),
		attributes("1.2.3")); err == nil {
		t.Error("an agent passes as the health check")
	}
	// Nor is a workload with that id and a key of its own: SPIRE registers whatever it is told to.
	if _, err := composers[wire.GrantWorkloadX509](t.Context(), composer, health, []byte("k"),
		attributes("1.2.3")); err == nil {
		t.Error("a workload's key passes as the health check's")
	}
}

// TestEveryCallIsImplemented: SPIRE goes on without a composer that says Unimplemented, and a type that
// answers so for what is forgotten must not be part of this one.
func TestEveryCallIsImplemented(t *testing.T) {
	t.Parallel()
	composer := reflect.TypeFor[*Composer]()
	forgotten := reflect.TypeFor[composerv1.UnimplementedCredentialComposerServer]()
	for index := range composer.Elem().NumField() {
		if composer.Elem().Field(index).Type == forgotten {
			t.Error("the composer embeds the type that answers Unimplemented")
		}
	}
	for _, method := range composerv1.CredentialComposer_ServiceDesc.Methods {
		if _, ok := composer.MethodByName(method.MethodName); !ok {
			t.Errorf("%s is not there", method.MethodName)
			continue
		}
		unset := &Composer{Configured: host.NewConfigured(host.Env{}, defaults, connect(host.Env{})),
			env: host.Env{Counts: &host.Counts{}}, refused: newRefusals(hclog.NewNullLogger())}
		_, err := method.Handler(unset, t.Context(), func(any) error { return nil }, nil)
		own := strings.HasPrefix(method.MethodName, "ComposeServer")
		if status.Code(err) == codes.Unimplemented || own != (err == nil) {
			t.Errorf("%s without a configuration: %v", method.MethodName, err)
		}
	}
	if len(composerv1.CredentialComposer_ServiceDesc.Methods) != 5 {
		t.Error("the service has new calls: read what SPIRE does with them")
	}
}

func TestRepeatedRefusalsAreOneLineAMinute(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	refused := newRefusals(hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: &log}))
	now := time.Unix(1795000000, 0)
	refused.now = func() time.Time { return now }
	for range 120 { // twice a second for a minute
		refused.note(wire.GrantWorkloadX509, id, "refused", "held")
		now = now.Add(500 * time.Millisecond)
	}
	refused.note(wire.GrantWorkloadX509, id, "refused", "held")
	refused.note(wire.GrantWorkloadX509, id, "undecided", "not reached")
	if got := strings.Count(log.String(), "no credential"); got != 3 || !strings.Contains(log.String(), "again_since=119") {
		t.Errorf("%d lines: %s", got, &log)
	}
	log.Reset()
	// A flood of ids costs a bounded table, and one line when it is full.
	for index := range 3 * mostRefused {
		refused.note(wire.GrantWorkloadX509, strings.Repeat("x", index%7)+string(rune(0x4e00+index)), "refused", "held")
	}
	if len(refused.seen) != mostRefused || strings.Count(log.String(), "(many)") != 1 {
		t.Errorf("%d are remembered, %d lines for the rest", len(refused.seen), strings.Count(log.String(), "(many)"))
	}
	now = now.Add(2 * quiet)
	refused.note(wire.GrantWorkloadX509, "new", "refused", "held")
	if len(refused.seen) != 1 {
		t.Errorf("%d are remembered after they were quiet", len(refused.seen))
	}
}

// BenchmarkJWT is the composer's own share of a mint.
func BenchmarkJWT(b *testing.B) {
	env := host.Env{Counts: &host.Counts{}, Logger: hclog.NewNullLogger()}
	composer := &Composer{env: env, refused: newRefusals(env.Logger),
		Configured: host.NewConfigured(env, defaults,
			func(_ context.Context, document *document, _ host.Core) (func(), error) {
				document.granter = &fixed{granted: good()}
				return nil, nil
			})}
	_, err := composer.Configure(b.Context(), &configv1.ConfigureRequest{
		HclConfiguration:  `addresses = ["unix:/none"]`,
		CoreConfiguration: &configv1.CoreConfiguration{TrustDomain: "example.org"},
	})
	if err != nil {
		b.Fatal(err)
	}
	given, err := structpb.NewStruct(map[string]any{"sub": id, "aud": []any{"peer"}, "iat": 1795000000, "exp": 1795000300})
	if err != nil {
		b.Fatal(err)
	}
	request := &composerv1.ComposeWorkloadJWTSVIDRequest{
		SpiffeId: id, Attributes: &composerv1.JWTSVIDAttributes{Claims: given},
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := composer.ComposeWorkloadJWTSVID(b.Context(), request); err != nil {
			b.Fatal(err)
		}
	}
}
