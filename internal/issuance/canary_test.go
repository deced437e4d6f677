package issuance_test

import (
	"testing"
	"time"

	"github.com/attestd/attestd/internal/spire/wire"
)

// The canary is granted where nothing unattested is, and it alone.
func TestTheMintCanaryIsGrantedAndNothingLikeIt(t *testing.T) {
	w := newWorld(t, nil)
	ask := func(id string, audience ...string) (wire.Granted, error) {
		return w.office.Grant(t.Context(), wire.GrantRequest{
			Kind: wire.GrantWorkloadJWT, ID: id, Audience: audience, ExpiresAt: w.clock().Add(time.Hour).Unix(),
		})
	}
	canary := "spiffe://" + domain + wire.CanaryPath
	given, err := ask(canary, wire.CanaryAudience)
	if err != nil {
		t.Fatal(err)
	}
	if given.Claims["attested"] != false || given.ExpiresAt > w.clock().Add(time.Minute).Unix() {
		t.Errorf("the canary is attested or lives long: %v", given)
	}
	for _, row := range []struct {
		name, id string
		audience []string
	}{
		{"another audience", canary, []string{"gateway"}},
		{"a second audience", canary, []string{wire.CanaryAudience, "gateway"}},
		{"another id", "spiffe://" + domain + "/attestd/canary2", []string{wire.CanaryAudience}},
		{"an id below", canary + "/x", []string{wire.CanaryAudience}},
	} {
		if _, err := ask(row.id, row.audience...); err == nil {
			t.Errorf("%s: granted", row.name)
		}
	}
}
