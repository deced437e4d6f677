package main

import (
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision/cedarset"
)

func newPolicy(a *app) *cobra.Command {
	return nounGroup("policy", "Policies of decisions before they are in force: show, rehearse, test, compare",
		newPolicyShow(a), newPolicyDiff(a), newPolicyRehearse(a), newPolicyTest(a))
}

// shippedPolicies is the word for the policies that come with attestd, as in decisions.policies.
const shippedPolicies = "standard"

// policySet reads the policies of a folder, or those that come with attestd.
func (a *app) policySet(where string) (*cedarset.Set, error) {
	files := cedarset.Standard()
	if where != shippedPolicies {
		var err error
		if files, err = policyFolder(where); err != nil {
			return nil, err
		}
	}
	return cedarset.Load(files)
}

func policyFolder(path string) (fs.FS, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fileError("folder of policies", path, err)
	case !info.IsDir():
		return nil, usagef("give the folder that has shared/ and tenants/ in it", "policies %q: not a folder",
			attestd.Excerpt(path, 200))
	}
	return os.DirFS(path), nil
}
