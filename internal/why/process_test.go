package why_test

import (
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/why"
)

// running is a process that has what its entry wants.
func running() why.Process {
	return why.Process{
		PID: 4711, Alive: true, Path: "/srv/web", SHA256: strings.Repeat("e0", 32), Workload: "web",
		Selectors: []string{"admitted:yes", "state:trusted", "tier:low", "tenant:blue", "workload:web"},
		Agent:     string(id), Admitted: true, State: attestd.StateTrusted, Tier: attestd.TierLow,
		Age: time.Second, Bound: 10 * time.Second, IssuedAt: noon,
		Server: &wire.Why{
			Target: string(id), Granted: true, Code: why.Granted, Entries: []wire.WhyEntry{
				{ID: "e2", SPIFFEID: "spiffe://example.org/other", Selectors: []string{
					"attestd:tier:none", "attestd:state:suspect"}},
				{ID: "e1", SPIFFEID: workload, Selectors: []string{
					"unix:uid:1000", "attestd:admitted:yes", "attestd:workload:web"}},
			},
		},
	}
}

func TestWhyNamesWhatStandsBeforeAProcess(t *testing.T) {
	for _, row := range []struct {
		name                      string
		world                     func(*why.Process)
		code, cause, fix, missing string
	}{
		{"nothing is in the way", func(*why.Process) {}, why.Granted, "nothing of attestd's", "", ""},
		{"the server was not asked", func(p *why.Process) { p.Server = nil }, why.Granted, "--server ADDRESS", "", ""},
		{"it has ended", func(p *why.Process) { p.Alive = false }, why.NoProcess, "no such process", "pidof", "process"},
		{"the agent never attested", func(p *why.Process) { p.Agent, p.Problem = "", "no key yet" },
			why.NoStream, "has not attested itself by attestd: no key yet", "log of SPIRE's agent", "node"},
		{"attestd was never reached", func(p *why.Process) {
			p.IssuedAt, p.Admitted, p.Problem = time.Time{}, false, "connection refused"
		}, why.NoStream, "has told this node nothing: connection refused", "spire.listen", "attestd"},
		{"attestd is out of reach", func(p *why.Process) { p.Age, p.Admitted, p.Problem = 11*time.Second, false, "timeout" },
			why.NoStream, "withheld from 10s on: timeout", "attestd status", "attestd"},
		{"the node is held", func(p *why.Process) {
			p.Admitted, p.State, p.Server, p.Selectors = false, attestd.StateQuarantined, nil, nil
		}, why.Quarantined, "does not admit this node: it is quarantined", "attestd why " + string(id), "state"},
		{"the node is held, and the server says why", func(p *why.Process) {
			p.Admitted, p.State, p.Selectors = false, attestd.StateQuarantined, nil
			p.Server = &wire.Why{Code: why.Quarantined, Cause: "the host is held: alert 4471", Fix: "attestd release it"}
		}, why.Quarantined, "alert 4471", "attestd release it", "state"},
		{"the node is suspect", func(p *why.Process) {
			p.Admitted, p.State, p.Server, p.Reasons = false, attestd.StateSuspect, nil, []string{"three keys"}
		}, why.Suspect, "it is suspect, tier low: three keys", "attestd why", "state"},
		{"the id that is meant is held", func(p *why.Process) {
			p.Server = &wire.Why{Target: workload, Code: why.Quarantined, Cause: "the name is held", Fix: "attestd release"}
		}, why.Quarantined, "the name is held", "attestd release", "server"},
		{"no entry for this node", func(p *why.Process) { p.Server.Entries = nil }, why.NoEntry,
			"no registration entry that this node can obtain", "spire-server entry create -parentID " + string(id), "entry"},
		{"the executable has no name", func(p *why.Process) {
			p.Workload, p.Selectors = "", p.Selectors[:4]
		}, why.NotNamed, "SHA-256 " + strings.Repeat("e0", 32) + " has no name", "add it below web", "entry"},
		{"the executable has another name", func(p *why.Process) {
			p.Workload, p.Selectors[4] = "db", "workload:db"
		}, why.Selectors, "e1 wants attestd:workload:web; has attestd:workload:db", "-entryID e1", "entry"},
		{"the node's tier is not what the entry wants", func(p *why.Process) {
			p.Server.Entries = p.Server.Entries[:1]
		}, why.Selectors, "e2 wants attestd:tier:none; has attestd:tier:low", "-entryID e2", "entry"},
	} {
		t.Run(row.name, func(t *testing.T) {
			process := running()
			row.world(&process)
			got := why.ExplainProcess(process)
			if got.Code != row.code || !strings.Contains(got.Cause, row.cause) || !strings.Contains(got.Fix, row.fix) {
				t.Errorf("got %s: %q, fix %q\nwant %s: %q, fix %q", got.Code, got.Cause, got.Fix, row.code, row.cause,
					row.fix)
			}
			first := ""
			for _, step := range got.Steps {
				if !step.OK {
					first = step.Name
					break
				}
			}
			if first != row.missing || got.Granted != (row.missing == "") {
				t.Errorf("granted %v, missing %q, want %q: %+v", got.Granted, first, row.missing, got.Steps)
			}
		})
	}
}
