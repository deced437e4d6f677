package config

import (
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
}

func defaultResults() Results {
	return Results{Profile: ProfileVeraison, Lifetime: 5 * time.Minute, Rotate: 30 * 24 * time.Hour}
}

func defaultCollateral() Collateral {
	return Collateral{Folder: "collateral", Refresh: time.Hour}
}

func (c Config) checkResults(problem report) {
	if c.Results.Profile != ProfileVeraison && c.Results.Profile != ProfileIETF {
		problem("results.profile", "got %q, want %s or %s", attestd.Excerpt(c.Results.Profile, 20),
			ProfileVeraison, ProfileIETF)
	}
	if c.Collateral.Fetch && c.Collateral.Folder == Off {
		problem("collateral.fetch", "fetches into no folder; want collateral.folder")
	}
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
