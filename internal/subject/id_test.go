package subject_test

import (
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

func TestANodeIsNamedByItsInstance(t *testing.T) {
	const start = "spiffe://example.org/spire/agent/attestd/"
	digest := strings.Repeat("9c41", 16)
	for name, row := range map[string]struct {
		format attestd.Format
		value  string
		want   string
	}{
		"an endorsement key, by its digest": {attestd.FormatTPM, "ek:" + digest, start + "tpm/" + digest},
		"a machine of Azure, by its id":     {attestd.FormatTPM, "azure:02aab8a4-74ef", start + "tpm/02aab8a4-74ef"},
		"an enclave, by its module":         {attestd.FormatNitro, "i-0a-enc0b", start + "nitro/i-0a-enc0b"},
		"what is no segment, by a digest": {
			attestd.FormatTPM, "gce:p/z/1",
			start + "tpm/140f81c59392ef29f01f0a848128ecdd14a71e95ebaaabd93e42c0c42a2e1daa",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := subject.AgentID("example.org", row.format,
				attestd.Handle{Kind: attestd.HandleInstance, Value: row.value})
			if err != nil || string(got) != row.want {
				t.Errorf("got %s, %v, want %s", got, err, row.want)
			}
		})
	}
	for name, handle := range map[string]attestd.Handle{
		"a host is nobody": {Kind: attestd.HandleHost, Value: "aa"},
		"nothing is":       {},
		"an empty value":   {Kind: attestd.HandleInstance},
	} {
		if got, err := subject.AgentID("example.org", attestd.FormatSEVSNP, handle); err == nil {
			t.Errorf("%s: got %s", name, got)
		}
	}
}
