package controller_test

import "testing"

// TestPolicyGivesNoWITSVIDs: SPIRE asks no composer about them, so that they would be issued without
// evidence and to who is held. They are off in SPIRE 1.15 unless a feature flag turns them on, as here.
func TestPolicyGivesNoWITSVIDs(t *testing.T) {
	const flag = "feature_flags = [\"wit-svid\"]"
	own := startSPIRE(t, serverConfig{experimental: flag})
	ours := startSPIRE(t, serverConfig{experimental: flag, policy: policyFile,
		data: policyData(t, func(a map[string]any) {
			a["local_programs"] = append(a["local_programs"].([]string), thisProgram(t))
		})})
	for _, s := range []struct {
		name string
		at   *realSPIRE
		want string
	}{{"SPIRE's own policy", own, passed}, {"attestd's", ours, denied}} {
		_, agent := s.at.attest(t)
		if got := ask(t, s.at.remote(t, agent), "/spire.api.server.svid.v1.SVID/BatchNewWITSVID"); got != s.want {
			t.Errorf("an agent, %s: got %s, want %s", s.name, got, s.want)
		}
		if got := ask(t, s.at.local(t), "/spire.api.server.svid.v1.SVID/MintWITSVID"); got != s.want {
			t.Errorf("a local program, %s: got %s, want %s", s.name, got, s.want)
		}
	}
}
