package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/attestd/attestd/testvectors/forge"
)

// forgeTDX writes evidence.bin, root.pem, and two folders of what Intel publishes for its platform: before
// has it up to date, and after is what a TCB recovery event makes of that, in which a newer level is wanted.
func forgeTDX(ts *testscript.TestScript) {
	authority, err := forge.NewIntel(forge.IntelConfig{})
	ts.Check(err)
	pck, err := authority.IssuePCK(forge.NewPCKConfig())
	ts.Check(err)
	quote, err := forge.NewTDQuote(4).Sign(pck)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("evidence.bin"), quote, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("root.pem"), toPEM(authority.Root.Raw), 0o600))
	before, identity := forge.NewTCBInfoConfig(), forge.NewIdentityConfig()
	writeIntel(ts, authority, "before", before, identity)
	after := before
	newest := before.Levels[0]
	newest.SGX[0]++
	newest.Date = forge.IntelTime.AddDate(0, 0, -10)
	old := before.Levels[0]
	old.Status, old.Advisories = "OutOfDate", []string{"INTEL-SA-01245"}
	after.Levels = append([]forge.IntelLevel{newest, old}, before.Levels[1:]...)
	after.Evaluation++
	identity.Evaluation++
	writeIntel(ts, authority, "after", after, identity)
}

func writeIntel(
	ts *testscript.TestScript, authority *forge.Intel, folder string, info forge.TCBInfoConfig,
	identity forge.IdentityConfig,
) {
	made, err := authority.Collateral(info, identity)
	ts.Check(err)
	ts.Check(os.MkdirAll(ts.MkAbs(folder), 0o755))
	for kind, objects := range map[string][][]byte{
		"certificate": append(made.Certificates, authority.Processor.Raw, authority.Platform.Raw), "list": made.CRLs, "document": made.Documents,
	} {
		for index, object := range objects {
			path := filepath.Join(ts.MkAbs(folder), fmt.Sprintf("%s%d", kind, index))
			ts.Check(os.WriteFile(path, object, 0o600))
		}
	}
}
