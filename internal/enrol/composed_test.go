package enrol_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/enrol"
	"github.com/attestd/attestd/internal/subject"
)

// TestADeviceNamesTheOwnerOfWhatItHangsOn: what a TPM shows of its project is the machine's where the
// TPM is tied to it, and nobody's otherwise.
func TestADeviceNamesTheOwnerOfWhatItHangsOn(t *testing.T) {
	project := subject.Key{Kind: enrol.KindGCEProject, Value: "web-prod-1"}
	for _, row := range []struct {
		name  string
		edges []attestd.Edge
		want  bool
	}{
		{"tied by one nonce", []attestd.Edge{{From: "cpu", To: "vtpm", Grade: attestd.GradeSimultaneous}}, true},
		{"tied by nothing", []attestd.Edge{{From: "cpu", To: "vtpm"}}, false},
		{"no edge", nil, false},
	} {
		keys := enrol.Keys(attestd.Appraisal{
			Format: attestd.FormatComposite, Claims: json.RawMessage(`{}`), Edges: row.edges,
			Devices: []attestd.DeviceAppraisal{
				{Path: "cpu", Format: attestd.FormatSEVSNP, Claims: json.RawMessage(`{}`)},
				{Path: "vtpm", Format: attestd.FormatTPM, Claims: json.RawMessage(`{"gce_project":"web-prod-1"}`)},
			},
		})
		if slices.Contains(keys, project) != row.want {
			t.Errorf("%s: got %v", row.name, keys)
		}
	}
}
