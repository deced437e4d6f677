package composer

import (
	"bytes"
	"encoding/base64"
	"testing"

	composerv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/server/credentialcomposer/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd/plugins/spire/host"
)

// spireHealthKey is SPIRE's, as pkg/server/ca/ca_health.go of 1.15.3 has it. Nobody has its other half.
func spireHealthKey(t *testing.T) []byte {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEzLY1/SRlsMJExTnuvzBO292RjGjU" +
		"3L8jFRtmQl0CjBeHdxUlGK1OkNLDYh0b6AW4siWt+y+DcbUAWNb14e5zWg==")
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestNobodyBecomesAnAuthorityUnseen: with a CA of the trust domain a workload signs what it likes, for
// any id, and SPIRE says of who wants one no more than that it is below this server.
func TestNobodyBecomesAnAuthorityUnseen(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		hcl    string
		units  []string
		passes bool
	}{
		"the server's own":              {"", nil, true},
		"the server's own, with a unit": {"", []string{"UPSTREAM", "downstream-1"}, true},
		"one below it":                  {"", []string{"DOWNSTREAM-1"}, false},
		"one further below":             {"", []string{"unit", "DOWNSTREAM-3"}, false},
		"one below it, denied":          {`downstream = "deny"`, []string{"DOWNSTREAM-1"}, false},
		"one below it, allowed":         {`downstream = "allow"`, []string{"DOWNSTREAM-1"}, true},
	} {
		composer := configuredBy(t, &fixed{}, &bytes.Buffer{}, row.hcl)
		_, err := composer.ComposeServerX509CA(t.Context(), &composerv1.ComposeServerX509CARequest{
			Attributes: &composerv1.X509CAAttributes{
				Subject: &composerv1.DistinguishedName{OrganizationalUnit: row.units},
			},
		})
		if (err == nil) != row.passes || err != nil && status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: got %v, want that it passes: %t", name, err, row.passes)
		}
	}
	if problems := (&document{Uplink: host.DefaultUplink(), Downstream: "perhaps"}).Check(); len(problems) != 1 {
		t.Errorf("downstream = \"perhaps\": %q, want one problem", problems)
	}
}
