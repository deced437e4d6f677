package extauthz_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// shipped reads a configuration as Envoy does: a key that Envoy's types do not have is an error, and so is
// a value that their constraints refuse.
func shipped(t *testing.T, file string) *bootstrapv3.Bootstrap {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	document, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	out := new(bootstrapv3.Bootstrap)
	if err := (protojson.UnmarshalOptions{}).Unmarshal(document, out); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if err := out.ValidateAll(); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return out
}

// open reads what stands in an Any, and its constraints.
func open[Message interface {
	proto.Message
	ValidateAll() error
}](t *testing.T, packed *anypb.Any, into Message) Message {
	t.Helper()
	if err := packed.UnmarshalTo(into); err != nil {
		t.Fatal(err)
	}
	if err := into.ValidateAll(); err != nil {
		t.Fatal(err)
	}
	return into
}

// TestShippedConfigurationsRefuseWithoutAnAnswer: every configuration of docs/deploy/envoy decodes into
// Envoy's types, fails closed within 200 ms, and its routes are questions.
func TestShippedConfigurationsRefuseWithoutAnAnswer(t *testing.T) {
	files, err := filepath.Glob("../../../docs/deploy/envoy/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %d configurations: %v", len(files), err)
	}
	for _, file := range files {
		routes := 0
		for _, listener := range shipped(t, file).GetStaticResources().GetListeners() {
			for _, chain := range listener.GetFilterChains() {
				routes += checkChain(t, chain)
			}
		}
		if routes == 0 {
			t.Errorf("%s: no route is decided about", file)
		}
	}
}

func checkChain(t *testing.T, chain *listenerv3.FilterChain) (routes int) {
	t.Helper()
	socket := open(t, chain.GetTransportSocket().GetTypedConfig(), new(tlsv3.DownstreamTlsContext))
	if !socket.GetRequireClientCertificate().GetValue() {
		t.Error("callers need no certificate")
	}
	manager := open(t, chain.GetFilters()[0].GetTypedConfig(), new(hcmv3.HttpConnectionManager))
	if !manager.GetNormalizePath().GetValue() || !manager.GetMergeSlashes() ||
		manager.GetForwardClientCertDetails() != hcmv3.HttpConnectionManager_SANITIZE {
		t.Error("paths have several spellings, or callers' certificates are taken from a header")
	}
	first := manager.GetHttpFilters()[0]
	authz := open(t, first.GetTypedConfig(), new(authzv3.ExtAuthz))
	if authz.GetFailureModeAllow() || authz.GetShadowMode() || !authz.GetIncludePeerCertificate() ||
		authz.GetStatusOnError().GetCode() != 503 ||
		authz.GetGrpcService().GetTimeout().AsDuration() != 200*time.Millisecond {
		t.Errorf("the filter lets pass what is not decided: %v", authz)
	}
	for _, host := range manager.GetRouteConfig().GetVirtualHosts() {
		for _, route := range host.GetRoutes() {
			packed := route.GetTypedPerFilterConfig()[first.GetName()]
			if packed == nil {
				if route.GetDirectResponse() == nil {
					t.Errorf("route %v has an upstream and says nothing to attestd", route.GetMatch())
				}
				continue
			}
			per := open(t, packed, new(authzv3.ExtAuthzPerRoute))
			if per.GetDisabled() {
				t.Errorf("route %v is not decided about", route.GetMatch())
			}
			routes++
			checkRoute(t, per.GetCheckSettings().GetContextExtensions())
		}
	}
	return routes
}

// checkRoute asks as Envoy would: the route's words make a question with a tenant.
func checkRoute(t *testing.T, extensions map[string]string) {
	t.Helper()
	encoded, _ := certificate(t)
	d := saying(answered())
	out, err := serve(t, d, envoy).Check(context.Background(), request(certified(encoded),
		func(a *authv3.AttributeContext) { a.ContextExtensions = extensions }))
	if err != nil || out.GetOkResponse() == nil {
		t.Errorf("%v: got %v, %v", extensions, out, err)
		return
	}
	asked := d.last(t)
	if asked.Resource.Tenant == "" || extensions["credential"] == "" ||
		(asked.Credential.Token != "") == (len(asked.Credential.Chain) != 0) {
		t.Errorf("%v: the question is %+v", extensions, asked)
	}
}
