package extauthz_test

import (
	"context"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"github.com/attestd/attestd/internal/decision"
)

// FuzzCheck: whatever bytes Envoy sends, there is an answer that Envoy can read; an OK has a question
// behind it whose action, tenant and resource are the route's.
func FuzzCheck(f *testing.F) {
	encoded, _ := certificate(f)
	for _, one := range []*authv3.CheckRequest{
		request(), request(noToken), request(noToken, certified(encoded)), request(without("resource_id")),
		request(extension("credential", "xfcc"), sent("x-forwarded-client-cert", `Chain="`+encoded+`"`)),
		request(extension("labels", "a"), extension("datasets", "a,b=c+d")), {},
	} {
		bytes, err := proto.Marshal(one)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(bytes)
	}
	f.Fuzz(func(t *testing.T, bytes []byte) {
		var asked authv3.CheckRequest
		if proto.Unmarshal(bytes, &asked) != nil {
			return
		}
		panicked := false
		d := saying(answered())
		server := serve(t, d, envoy)
		out, err := server.Check(context.Background(), &asked)
		if err != nil {
			t.Fatal(err)
		}
		if reason := out.GetDynamicMetadata().GetFields()["reason"].GetStringValue(); reason ==
			string(decision.CodeInternal) {
			panicked = true
		}
		if panicked {
			t.Fatalf("a panic: %s", server.logged)
		}
		if _, err := proto.Marshal(out); err != nil {
			t.Errorf("an answer that cannot be sent: %v", err)
		}
		if out.GetOkResponse() == nil {
			return
		}
		says, got := asked.GetAttributes().GetContextExtensions(), d.last(t)
		if got.Resource.Tenant != says["tenant"] || says["action"] != "" && got.Action.Name != says["action"] ||
			says["resource_id"] != "" && got.Resource.ID != says["resource_id"] ||
			got.Credential.Token != "" && len(got.Credential.Chain) != 0 {
			t.Errorf("the question is %+v of a route %v", got, says)
		}
	})
}
