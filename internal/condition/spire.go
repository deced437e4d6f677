package condition

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// SPIREIDs are what [SPIREFigures.Findings] answers for.
var SPIREIDs = []ID{
	SPIREController, SPIREHolds, SPIRECanaryMint, SPIRECanaryAttestation, SPIREPlugins, SPIREUnattested,
	SPIREExtension,
}

const (
	// mapFor is how old the map of entries and agents can be: some polls of the slowest profile.
	mapFor = 3 * time.Minute
	// canaryFor is how old the last canary can be that went well: three turns and a time-out.
	canaryFor = 45 * time.Second
	// restartsWarn is how often a plugin can have been started before it is more than an accident.
	restartsWarn = 5
)

// Canary is what came of the latest one of a kind; the zero Canary is that none ran yet.
type Canary struct {
	OK    bool
	At    time.Time
	Took  time.Duration
	Error string
}

// SPIREFigures is what is known of SPIRE and of the plugins in it.
type SPIREFigures struct {
	// Enabled says that plugins are answered, Controlled that there is to be a controller.
	Enabled, Controlled bool
	// Connected says that the controller is there, MapAt when it last told what SPIRE has.
	Connected bool
	MapAt     time.Time
	// Open are holds that SPIRE has not carried out, in words.
	Open              []string
	Mint, Attestation Canary
	// Starts is how often each plugin was started by its supervisor.
	Starts map[string]int
	// Observed says that identities are issued without attestation; OID is the extension's.
	Observed bool
	OID      string
	Now      time.Time
}

// Findings judges them. Where there are no plugins everything is well.
func (f SPIREFigures) Findings() []Finding {
	if !f.Enabled {
		found := make([]Finding, 0, len(SPIREIDs))
		for _, id := range SPIREIDs {
			found = append(found, Finding{ID: id, Severity: OK, Detail: "not in use"})
		}
		return found
	}
	documentation := strings.HasPrefix(f.OID, "1.3.6.1.4.1.32473.")
	found := []Finding{
		f.plugins(),
		judged(SPIREUnattested, false, f.Observed, "spire.unattested: %s", map[bool]string{
			true: "observe", false: "deny"}[f.Observed]),
		judged(SPIREExtension, false, documentation, "%s", f.OID),
	}
	if !f.Controlled {
		for _, id := range []ID{SPIREController, SPIREHolds, SPIRECanaryMint, SPIRECanaryAttestation} {
			found = append(found, Finding{
				ID: id, Severity: Warning, Detail: "spire.server is off: holds act by refused grants alone",
			})
		}
		return found
	}
	stale := f.MapAt.IsZero() || f.Now.Sub(f.MapAt) > mapFor
	return append(found,
		judged(SPIREController, !f.Connected, stale, "%s", f.controller()),
		judged(SPIREHolds, false, len(f.Open) > 0, "%s", open(f.Open)),
		f.canary(SPIRECanaryMint, f.Mint), f.canary(SPIRECanaryAttestation, f.Attestation))
}

func open(holds []string) string {
	if len(holds) == 0 {
		return "all are carried out"
	}
	return fmt.Sprintf("%d, as in: %s", len(holds), holds[0])
}

func (f SPIREFigures) controller() string {
	switch {
	case !f.Connected:
		return "not connected"
	case f.MapAt.IsZero():
		return "connected, and has not told yet what SPIRE has"
	default:
		return "connected; entries and agents are " + f.Now.Sub(f.MapAt).Round(time.Second).String() + " old"
	}
}

// canary judges one kind: one that did not run lately is as bad as one that failed.
func (f SPIREFigures) canary(id ID, last Canary) Finding {
	switch {
	case last.At.IsZero():
		return Finding{ID: id, Severity: Unknown, Detail: "none has run yet"}
	case !last.OK:
		return Finding{ID: id, Severity: Failure, Detail: last.Error}
	}
	return judged(id, f.Now.Sub(last.At) > canaryFor, false, "went well %s ago, in %s",
		f.Now.Sub(last.At).Round(time.Second), last.Took.Round(time.Millisecond))
}

func (f SPIREFigures) plugins() Finding {
	if len(f.Starts) == 0 {
		return Finding{ID: SPIREPlugins, Severity: Unknown, Detail: "no plugin has reported yet"}
	}
	names := make([]string, 0, len(f.Starts))
	most := 0
	for name, starts := range f.Starts {
		names = append(names, fmt.Sprintf("%s: %d", name, starts))
		most = max(most, starts)
	}
	slices.Sort(names)
	return judged(SPIREPlugins, false, most >= restartsWarn, "starts: %s", strings.Join(names, ", "))
}
