package host_test

import (
	"maps"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/attestd/attestd/plugins/spire/host"
)

// A count is named after a code of gRPC's, which has capitals: the report is taken all the same.
func TestCountsHaveNamesThatAreTaken(t *testing.T) {
	var counts host.Counts
	counts.Add("attested")
	for range 2 {
		counts.Add("refused_" + codes.PermissionDenied.String())
	}
	counts.Add("odd name")
	want := map[string]uint64{"attested": 1, "refused_permissiondenied": 2, "odd_name": 1}
	if got := counts.All(); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
