package main

import (
	"crypto/x509"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/collateral"
)

// intelFlags say what of Intel's is fetched, and from where.
type intelFlags struct {
	platforms []string
	both      bool
	pccs, ca  string
}

func (f *intelFlags) add(command *cobra.Command) {
	flags := command.Flags()
	flags.StringSliceVar(&f.platforms, "fmspc", nil,
		"also keep what there is for these `FMSPCS`, as in 50806f000000")
	flags.BoolVar(&f.both, "both-updates", false, "fetch both of Intel's channels, to rehearse the other one")
	flags.StringVar(&f.pccs, "intel-pccs", "", "ask the PCCS at this https `URL` in the place of Intel")
	flags.StringVar(&f.ca, "intel-ca", "", "`FILE` with the CA certificates of that PCCS, in PEM")
}

// intelConfig reads what the flags name.
func (a *app) intelConfig(flags intelFlags) (config collateral.IntelConfig, err error) {
	for _, fmspc := range flags.platforms {
		platform, err := collateral.ParsePlatform(fmspc)
		if err != nil {
			return config, err
		}
		config.Platforms = append(config.Platforms, platform)
	}
	if flags.both {
		config.Channels = collateral.Channels()
	}
	const hint = "give --intel-pccs https://HOST[:PORT][/PATH] and --intel-ca FILE together"
	switch {
	case flags.pccs == "" && flags.ca == "":
		return config, nil
	case flags.pccs == "" || flags.ca == "":
		return config, usagef(hint, "a PCCS is believed by its own CA alone: one of the two flags is missing")
	}
	if config.PCCS, err = url.Parse(flags.pccs); err != nil {
		return config, usagef(hint, "--intel-pccs %q is no address", attestd.Excerpt(flags.pccs, 100))
	}
	pem, err := a.read("CA file", flags.ca, maxRootsFile)
	if err != nil {
		return config, err
	}
	config.Roots = x509.NewCertPool()
	if !config.Roots.AppendCertsFromPEM(pem) {
		return config, usagef(hint, "CA file %q holds no certificate in PEM", attestd.Excerpt(flags.ca, 200))
	}
	return config, nil
}
