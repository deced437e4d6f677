package config

import (
	"net/url"
	"path/filepath"
	"time"

	"github.com/attestd/attestd"
)

// Profiles of signed results.
const (
	// ProfileVeraison is what is deployed: names with dots, as the programs of project Veraison read them.
	ProfileVeraison = "veraison-2023"
	// ProfileIETF is that of draft-ietf-rats-ear-03.
	ProfileIETF = "ietf-03"
)

// Results says how attestation results are signed.
type Results struct {
	Profile  string        `key:"profile" doc:"claim names of signed results: veraison-2023 (what is deployed) or ietf-03 (draft-ietf-rats-ear-03)"`
	Lifetime time.Duration `key:"lifetime" doc:"how long a signed result lives; a quarantine counts those that still do"`
	Rotate   time.Duration `key:"rotate" doc:"how long one key signs results before the next one does"`
}

// Collateral says what is kept of vendors' certificates and revocation lists.
type Collateral struct {
	Folder  string        `key:"folder" doc:"folder of vendors' certificates and revocation lists, from state_dir if relative, or off; attestd collateral fills it"`
	Fetch   bool          `key:"fetch" doc:"fetch from the vendors' own hosts, in a process of its own; never while evidence waits"`
	Refresh time.Duration `key:"refresh" doc:"how often it is looked whether something is past half of its life"`
	// IntelUpdate, IntelPCCS and IntelCA say where Intel's collateral is had and which of it counts.
	IntelUpdate string `key:"intel_update" doc:"which of Intel's TCB updates TDX is judged by: standard, or early (months ahead, for those who patch at once); each has a floor of its own"`
	IntelPCCS   string `key:"intel_pccs" doc:"https URL of a PCCS of your own to fetch Intel's collateral from; empty for Intel's PCS"`
	IntelCA     string `key:"intel_ca" doc:"file of the PCCS's CA certificates in PEM"`
}

// Channels of Intel's TCB updates (Intel PCS API v4, query parameter "update").
const (
	IntelStandard = "standard"
	IntelEarly    = "early"
)

func defaultResults() Results {
	return Results{Profile: ProfileVeraison, Lifetime: 5 * time.Minute, Rotate: 30 * 24 * time.Hour}
}

func defaultCollateral() Collateral {
	return Collateral{Folder: "collateral", Refresh: time.Hour, IntelUpdate: IntelStandard}
}

func (c Config) checkResults(problem report) {
	if c.Results.Profile != ProfileVeraison && c.Results.Profile != ProfileIETF {
		problem("results.profile", "got %q, want %s or %s", attestd.Excerpt(c.Results.Profile, 20),
			ProfileVeraison, ProfileIETF)
	}
	if c.Collateral.Fetch && c.Collateral.Folder == Off {
		problem("collateral.fetch", "fetches into no folder; want collateral.folder")
	}
	c.checkIntel(problem)
	if len(c.Verify.References) > 0 && len(c.Verify.ReferenceKeys) == 0 {
		problem("verify.references", "is signed by nobody: want the signers' keys in verify.reference_keys, or "+
			"verify.local_references for files that nobody else can change")
	}
}

// CollateralPath returns the folder of collateral, or Off.
func (c Config) CollateralPath() string {
	if c.Collateral.Folder == Off || filepath.IsAbs(c.Collateral.Folder) {
		return c.Collateral.Folder
	}
	return filepath.Join(c.StateDir, c.Collateral.Folder)
}

func (c Config) checkIntel(problem report) {
	if update := c.Collateral.IntelUpdate; update != IntelStandard && update != IntelEarly {
		problem("collateral.intel_update", "got %q, want %s or %s", attestd.Excerpt(update, 20), IntelStandard,
			IntelEarly)
	}
	pccs, ca := c.Collateral.IntelPCCS, c.Collateral.IntelCA
	where, err := url.Parse(pccs)
	switch {
	case pccs == "" && ca != "":
		problem("collateral.intel_ca", "is for a PCCS of your own; want collateral.intel_pccs")
	case pccs == "":
	case err != nil || where.Scheme != "https" || where.Host == "" || where.User != nil ||
		where.RawQuery != "" || where.Fragment != "":
		problem("collateral.intel_pccs", "got %q, want https://HOST[:PORT][/PATH] without user, query or fragment",
			attestd.Excerpt(pccs, 80))
	case ca == "":
		problem("collateral.intel_ca", "is missing; a PCCS is believed by its CA alone")
	}
}
