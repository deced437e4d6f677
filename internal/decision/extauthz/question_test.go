package extauthz_test

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/extauthz"
)

// asked returns the question that a request becomes.
func asked(t *testing.T, change ...func(*authv3.AttributeContext)) decision.Ask {
	t.Helper()
	d := saying(answered())
	if _, err := serve(t, d, envoy).Check(context.Background(), request(change...)); err != nil {
		t.Fatal(err)
	}
	return d.last(t)
}

func TestARouteSaysWhatIsWanted(t *testing.T) {
	got := asked(t,
		extension("project", "search"), extension("ring", "canary"), extension("privileged", "true"),
		extension("datasets", "wiki, tickets=internal+pii"), extension("connectivity", "air-gapped"),
		sent("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"))
	want := decision.Resource{
		Type: "tool", ID: "search", Tenant: "acme", Project: "search", Ring: "canary", Privileged: true,
		Datasets: []decision.Dataset{{ID: "wiki"}, {ID: "tickets", Classification: []string{"internal", "pii"}}},
	}
	if diff := cmp.Diff(want, got.Resource); diff != "" {
		t.Errorf("resource (-want +got):\n%s", diff)
	}
	if got.Via != decision.ViaExtAuthz || got.Enforcer != envoy.Name() || got.Action.Name != "tool.call" ||
		got.Credential.Token != token || got.Credential.Chain != nil ||
		got.Credential.Source.String() != "10.1.2.3" || got.Context.RequestID != "req-1" ||
		got.Context.Connectivity != decision.ConnectivityAirGapped || got.Context.ExposureScore != -1 ||
		got.Context.Trace != "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" ||
		!slices.Equal(got.Supported, []string{"step-up"}) {
		t.Errorf("question is %+v", got)
	}
}

func TestARouteThatNamesNothingIsItsPath(t *testing.T) {
	for method, action := range map[string]string{
		"GET": "http.read", "HEAD": "http.read", "OPTIONS": "http.read", "POST": "http.write",
		"DELETE": "http.write", "get": "http.write", "": "http.write",
	} {
		got := asked(t, without("action"), without("resource_type"), without("resource_id"), without("tenant"),
			func(a *authv3.AttributeContext) { a.Request.Http.Method = method })
		if got.Action.Name != action || got.Resource.Type != "route" || got.Resource.ID != "/tools/search" ||
			got.Resource.Tenant != "" {
			t.Errorf("%s: got %+v of %+v", method, got.Action, got.Resource)
		}
	}
}

// TestCallersSayNothingAboutTheirRights: what the HTTP part says never becomes action, resource, tenant
// or risk. neg: 149
func TestCallersSayNothingAboutTheirRights(t *testing.T) {
	plain := asked(t)
	loud := asked(t, sent("x-attestd-tenant", "other"), sent("x-attestd-risk-tier", "low"),
		sent("x-attestd-subject", "spiffe://example.org/admin"), sent("risk_score", "0"),
		sent("action", "data.read"), sent("tenant", "other"), sent("attested", "true"))
	plain.Received, plain.Deadline = loud.Received, loud.Deadline
	plain.Sees, loud.Sees = nil, nil // functions do not compare
	if diff := cmp.Diff(plain, loud, cmp.Comparer(func(a, b decision.Credential) bool {
		return a.Token == b.Token && a.Source == b.Source
	})); diff != "" {
		t.Errorf("headers of the caller changed the question:\n%s", diff)
	}
}

// TestRequestsThatAreNoQuestion: a route that says something else than it means decides nothing. neg: 177
func TestRequestsThatAreNoQuestion(t *testing.T) {
	noResource := func(a *authv3.AttributeContext) {
		delete(a.ContextExtensions, "resource_id")
		delete(a.ContextExtensions, "resource_type")
	}
	both, _ := certificate(t)
	for name, change := range map[string][]func(*authv3.AttributeContext){
		"a misspelt key":                     {extension("privilged", "true")},
		"an empty value":                     {extension("tenant", "")},
		"a value without end":                {extension("tenant", strings.Repeat("a", 513))},
		"a type without an id":               {without("resource_id")},
		"an id without a type":               {without("resource_type")},
		"privileged, nearly":                 {extension("privileged", "True")},
		"keep_token, nearly":                 {extension("keep_token", "1")},
		"a dataset without a name":           {extension("datasets", "a,,b")},
		"a dataset of an empty class":        {extension("datasets", "a=x++y")},
		"a class that is not there":          {extension("datasets", "a=")},
		"too many datasets":                  {extension("datasets", strings.Repeat("a,", 64)+"a")},
		"a connectivity that is none":        {extension("connectivity", "offline")},
		"a credential that is none":          {extension("credential", "header")},
		"a header that is none":              {extension("credential", "token"), extension("token_header", ":path")},
		"a header for another credential":    {extension("token_header", "x-token")},
		"a token and a certificate":          {certified(both)},
		"a path with dots":                   {noResource, path("/a/../admin")},
		"a path with a dot at its end":       {noResource, path("/a/.")},
		"a path with two slashes":            {noResource, path("//admin")},
		"a path with an escape":              {noResource, path("/%61dmin")},
		"a path with a backslash":            {noResource, path(`/a\admin`)},
		"a path with parameters":             {noResource, path("/a;b/admin")},
		"a path that is a name":              {noResource, path("admin")},
		"a path without end":                 {noResource, path("/" + strings.Repeat("a", 1024))},
		"no path":                            {noResource, path("")},
		"a label that is no text":            {labelled("intent", structpb.NewNumberValue(1))},
		"a score above 100":                  {labelled("exposure_score", structpb.NewNumberValue(101))},
		"a score below 0":                    {labelled("exposure_score", structpb.NewNumberValue(-1))},
		"a score between two":                {labelled("exposure_score", structpb.NewNumberValue(0.5))},
		"a score in words":                   {labelled("exposure_score", structpb.NewStringValue("7"))},
		"a class that is a list's":           {labelled("classification", structpb.NewStringValue("pii"))},
		"a chain without types":              {labelled("subject_chain", list(t, map[string]any{"id": "a"}))},
		"a chain of something else":          {labelled("subject_chain", list(t, map[string]any{"id": "a", "type": "bot"}))},
		"a chain without ids":                {labelled("subject_chain", list(t, map[string]any{"id": "", "type": "nhi"}))},
		"no labels where the route has some": {extension("labels", "example.enricher")},
		"labels of another namespace":        {labelled("intent", structpb.NewStringValue("x")), extension("labels", "another")},
		// Envoy chose a route that names its resource by its own reading of the path.
		"a named resource with dots":          {path("/tools/search/..;/x")},
		"a named resource with two slashes":   {path("/tools//search")},
		"a named resource with an escape":     {path("/tools/%2E%2e/x")},
		"a named resource with a backslash":   {path(`/tools\x`)},
		"a connectivity of labels, not known": {labelled("connectivity", structpb.NewStringValue("no"))},
	} {
		d := saying(answered())
		response, err := serve(t, d, envoy).Check(context.Background(), request(change...))
		denied := denial(t, response, err)
		if denied.GetStatus().GetCode() != http.StatusBadRequest || d.count() != 0 {
			t.Errorf("%s: status %d after %d questions", name, denied.GetStatus().GetCode(), d.count())
		}
		if len(d.refused) != 1 || d.refused[0].Refused != decision.CodeMalformed || d.refused[0].RefusedDetail == "" {
			t.Errorf("%s: recorded %+v", name, d.refused)
		}
	}
}

func list(t *testing.T, of ...any) *structpb.Value {
	t.Helper()
	out, err := structpb.NewValue(of)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// labelled puts a label where the route says that labels are.
func labelled(key string, value *structpb.Value) func(*authv3.AttributeContext) {
	return func(a *authv3.AttributeContext) {
		a.ContextExtensions["labels"] = "example.enricher"
		a.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
			"example.enricher": {Fields: map[string]*structpb.Value{key: value}},
		}}
	}
}

func TestLabelsSayWhoAssertedThem(t *testing.T) {
	fields, err := structpb.NewStruct(map[string]any{
		"prompt_id": "p1:abc", "classification": []any{"pii"}, "intent": "summary", "exposure_score": 40,
		"subject_chain": []any{map[string]any{"type": "human", "id": "alice", "iss": "https://idp", "verified": true}},
		"risk_score":    0, "tenant": "other",
	})
	if err != nil {
		t.Fatal(err)
	}
	labels := func(a *authv3.AttributeContext) {
		a.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"example.enricher": fields}}
	}
	got := asked(t, labels, extension("labels", "example.enricher")).Context
	want := decision.Context{
		PromptID: "p1:abc", Classification: []string{"pii"}, Intent: "summary", ExposureScore: 40,
		Connectivity: decision.ConnectivityUnknown, RequestID: "req-1", LabelsFrom: "example.enricher",
		Chain: []decision.Link{{Type: "human", ID: "alice", Issuer: "https://idp"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("context (-want +got):\n%s", diff)
	}
	if got := asked(t, labels).Context; got.LabelsFrom != "" || got.Intent != "" {
		t.Errorf("labels of a namespace that the route does not name were taken: %+v", got)
	}
}

func TestCredentials(t *testing.T) {
	encoded, der := certificate(t)
	chain := escape(nil) + encoded + encoded
	raw := func(values ...string) func(*authv3.AttributeContext) {
		return func(a *authv3.AttributeContext) {
			a.Request.Http.Headers, a.Request.Http.HeaderMap = nil, new(corev3.HeaderMap)
			for _, value := range values {
				a.Request.Http.HeaderMap.Headers = append(a.Request.Http.HeaderMap.Headers,
					&corev3.HeaderValue{Key: "Authorization", RawValue: []byte(value)})
			}
		}
	}
	// Envoy names the connection's certificate besides the header.
	xfcc := func(a *authv3.AttributeContext) {
		extension("credential", "xfcc")(a)
		certified(encoded)(a)
	}
	another, _ := certificate(t)
	for name, row := range map[string]struct {
		change []func(*authv3.AttributeContext)
		token  string
		chain  int
	}{
		"a bearer token":                {nil, token, 0},
		"a scheme in lower case":        {[]func(*authv3.AttributeContext){sent("authorization", "bearer "+token)}, token, 0},
		"a token of raw headers":        {[]func(*authv3.AttributeContext){raw("Bearer " + token)}, token, 0},
		"two of raw headers":            {[]func(*authv3.AttributeContext){raw("Bearer "+token, "Bearer "+token)}, "", 0},
		"two in one":                    {[]func(*authv3.AttributeContext){sent("authorization", "Bearer "+token+",Bearer "+token)}, "", 0},
		"another scheme":                {[]func(*authv3.AttributeContext){sent("authorization", "Basic "+token)}, "", 0},
		"no scheme":                     {[]func(*authv3.AttributeContext){sent("authorization", token)}, "", 0},
		"a token of 9 KiB":              {[]func(*authv3.AttributeContext){sent("authorization", "Bearer "+strings.Repeat("a", 9<<10))}, "", 0},
		"nothing":                       {[]func(*authv3.AttributeContext){noToken}, "", 0},
		"a certificate":                 {[]func(*authv3.AttributeContext){noToken, certified(encoded)}, "", 1},
		"a certificate that is none":    {[]func(*authv3.AttributeContext){noToken, certified("-----BEGIN")}, "", 0},
		"an escape that is none":        {[]func(*authv3.AttributeContext){noToken, certified("%zz")}, "", 0},
		"nine certificates":             {[]func(*authv3.AttributeContext){noToken, certified(strings.Repeat(encoded, 9))}, "", 0},
		"33 KiB of certificates":        {[]func(*authv3.AttributeContext){noToken, certified(strings.Repeat("a", 33<<10))}, "", 0},
		"the route wants certificates":  {[]func(*authv3.AttributeContext){certified(encoded), extension("credential", "certificate")}, "", 1},
		"the route wants tokens":        {[]func(*authv3.AttributeContext){certified(encoded), extension("credential", "token")}, token, 0},
		"the route's own header":        {[]func(*authv3.AttributeContext){sent("x-agent", token), extension("credential", "token"), extension("token_header", "X-Agent")}, token, 0},
		"a forwarded chain":             {[]func(*authv3.AttributeContext){xfcc, sent("x-forwarded-client-cert", `Hash=ab;Subject="CN=a,O=\"b\"";Chain="`+chain+`"`)}, "", 2},
		"a forwarded leaf":              {[]func(*authv3.AttributeContext){xfcc, sent("x-forwarded-client-cert", `Cert="`+encoded+`"`)}, "", 1},
		"another's forwarded leaf":      {[]func(*authv3.AttributeContext){xfcc, sent("x-forwarded-client-cert", `Cert="`+another+`"`)}, "", 0},
		"two forwarded elements":        {[]func(*authv3.AttributeContext){xfcc, sent("x-forwarded-client-cert", `Cert="`+encoded+`",Cert="`+encoded+`"`)}, "", 0},
		"a forwarded chain twice":       {[]func(*authv3.AttributeContext){xfcc, sent("x-forwarded-client-cert", `Cert="`+encoded+`";Cert="`+encoded+`"`)}, "", 0},
		"a quote without end":           {[]func(*authv3.AttributeContext){xfcc, sent("x-forwarded-client-cert", `Cert="`+encoded)}, "", 0},
		"a forwarded hash alone":        {[]func(*authv3.AttributeContext){xfcc, sent("x-forwarded-client-cert", `Hash=ab`)}, "", 0},
		"nothing forwarded":             {[]func(*authv3.AttributeContext){xfcc}, "", 0},
		"forwarded, and nobody said so": {[]func(*authv3.AttributeContext){noToken, sent("x-forwarded-client-cert", `Cert="`+encoded+`"`)}, "", 0},
	} {
		got := asked(t, row.change...).Credential
		if got.Token != row.token || len(got.Chain) != row.chain {
			t.Errorf("%s: got a token of %d bytes and %d certificates", name, len(got.Token), len(got.Chain))
		}
		if row.chain != 0 && !bytes.Equal(got.Chain[0].Raw, der) {
			t.Errorf("%s: another certificate", name)
		}
	}
}

// TestWhoMayNotVouch: a certificate is public; that somebody has its key is the word of whoever ended the
// connection.
func TestWhoMayNotVouch(t *testing.T) {
	encoded, _ := certificate(t)
	quiet := envoy
	quiet.vouches = false
	for name, change := range map[string][]func(*authv3.AttributeContext){
		"a certificate":   {noToken, certified(encoded)},
		"a forwarded one": {extension("credential", "xfcc"), sent("x-forwarded-client-cert", "Cert="+encoded)},
	} {
		d := saying(answered())
		response, err := serve(t, d, quiet).Check(context.Background(), request(change...))
		if denial(t, response, err); d.count() != 0 {
			t.Errorf("%s of an enforcement point that may not vouch was asked about", name)
		}
	}
}

func TestEveryKeyIsDocumentedAndTaken(t *testing.T) {
	values := map[string]string{
		"action": "a", "resource_type": "t", "resource_id": "i", "tenant": "acme", "project": "p",
		"datasets": "d", "ring": "r", "privileged": "false", "connectivity": "unknown",
		"credential": "token", "token_header": "authorization", "keep_token": "true", "labels": "example.enricher",
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(values)), slices.Sorted(slices.Values(extauthz.Keys()))); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	filter := labelled("intent", list(t, "x").GetListValue().GetValues()[0])
	if got := asked(t, filter, func(a *authv3.AttributeContext) { a.ContextExtensions = values }); got.Action.Name != "a" {
		t.Errorf("got %+v", got)
	}
}

func TestWhatJoinsRecordsHasOneForm(t *testing.T) {
	for _, trace := range []string{
		"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
		"00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01", "eyJhbGciOiJFUzI1NiJ9", "",
	} {
		if got := asked(t, sent("traceparent", trace)).Context.Trace; got != "" {
			t.Errorf("%q was taken as %q", trace, got)
		}
	}
	if got := asked(t, func(a *authv3.AttributeContext) { a.Request.Http.Id = "a\nb" }).Context.RequestID; got != "" {
		t.Errorf("request id %q was taken", got)
	}
}
