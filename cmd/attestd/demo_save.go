package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/attestd/attestd"
)

// collateralFolder is where the certificates of a saved demo lie, below its folder.
const collateralFolder = "collateral"

// save writes the demo's evidence into folder, a file each, and the certificates that belong to it
// below folder/collateral, so that the next commands have something to judge. It returns a note that
// says how.
func (c demoCases) save(folder string) (string, error) {
	const hint = "give a folder that can be written to: --save DIR"
	certificates := filepath.Join(folder, collateralFolder)
	if err := os.MkdirAll(certificates, 0o755); err != nil {
		return "", usagef(hint, "folder %q for the evidence: %w", attestd.Excerpt(folder, 200), pathless(err))
	}
	written := map[string][]byte{}
	for _, one := range c.cases {
		for _, der := range one.endorsements.Certificates {
			digest := sha256.Sum256(der)
			written[filepath.Join(collateralFolder, fmt.Sprintf("%x.der", digest[:8]))] = der
		}
		if one.what != whatExpired { // the same bytes as the good one, judged at another time
			written[fileName(one)] = one.evidence
		}
	}
	if len(c.roots) > 0 {
		written[rootsFile] = c.roots
	}
	for name, data := range written {
		if err := saveFile(folder, name, data); err != nil {
			return "", err
		}
	}
	first := c.cases[slices.IndexFunc(c.cases, func(one demoCase) bool { return one.what == whatGood })]
	note := fmt.Sprintf("Saved %d files in %s. Judge one: attestd verify %s --recorded --at %s",
		len(written), folder, filepath.Join(folder, fileName(first)), first.at.UTC().Format(time.RFC3339))
	if len(c.roots) > 0 {
		note += " --insecure-roots " + filepath.Join(folder, rootsFile)
	}
	return note, nil
}

// fileName is "nitro-good.cbor", "sev-snp-no-vcek.bin" and the like.
func fileName(one demoCase) string {
	what, ending := one.what, ".bin"
	if what == whatNoVCEK {
		what = "no-vcek"
	}
	if one.format == attestd.FormatNitro {
		ending = ".cbor"
	}
	return string(one.format) + "-" + what + ending
}
