package main

import (
	"crypto"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/report"
)

func newRefComputePE(a *app) *cobra.Command {
	bank := "sha256"
	command := &cobra.Command{
		Use:   "pe IMAGE",
		Short: "Compute the digest that firmware measures of an EFI image",
		Long: `Pe computes the Authenticode digest of an EFI image: what firmware measures into PCR 4 when it
starts the image, what a signature covers, and what db and dbx list. The file is taken as it is and
not padded, as firmware takes it. In rules of reference values it belongs under PCR4,
boot-application.`,
		Example: `  attestd ref compute pe grubx64.efi`,
		Args:    arguments(1, 1, "one IMAGE"),
		RunE: func(_ *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			h, algorithm, err := bankHash(bank)
			if err != nil {
				return err
			}
			image, err := a.image(args[0])
			if err != nil {
				return err
			}
			doc := refPredictDoc{
				Kind: predictPE, File: attestd.Excerpt(filepath.Base(args[0]), 200),
				Values: []refPredictValue{{
					Name: "authenticode", Assumes: []string{},
					Registers: []refPredictRegister{predicted("PCR4", algorithm,
						image.Image.Authenticode(h.New()),
						"the image without checksum and certificates, as one event of PCR4")},
				}},
			}
			return a.tellPrediction(doc, predictedSet{}, attestd.FormatTPM, form,
				"attestd ref compute "+report.QuoteArg(args[0]))
		},
	}
	command.Flags().StringVar(&bank, "bank", bank, "PCR `BANK`: sha256, sha384 or sha512")
	complete(command, "bank", "sha256", "sha384", "sha512")
	return command
}

// bankHash returns the hash of a bank and its name in claims.
func bankHash(bank string) (crypto.Hash, string, error) {
	switch bank {
	case "sha256":
		return crypto.SHA256, "SHA256", nil
	case "sha384":
		return crypto.SHA384, "SHA384", nil
	case "sha512":
		return crypto.SHA512, "SHA512", nil
	default:
		return 0, "", usagef("give sha256, sha384 or sha512", "unknown bank %q", attestd.Excerpt(bank, 20))
	}
}
