package main

import (
	"io/fs"

	pdp "github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/cedarset"
)

// storedPolicies reads the files of a stored policy set.
func storedPolicies(files fs.FS) (pdp.PolicySet, error) {
	set, err := cedarset.Load(files)
	if err != nil {
		return nil, hinted(err, "attestd decision verify DIR")
	}
	return set, nil
}
