package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/report"
	"github.com/attestd/attestd/measurements/compute/eif"
)

func newRefComputeNitro(a *app) *cobra.Command {
	var set predictedSet
	command := &cobra.Command{
		Use:   "nitro EIF",
		Short: "Predict the PCRs of a Nitro enclave",
		Long: `Nitro predicts PCRs 0, 1 and 2, and 8 of a signed image, from an enclave image file. The image must
be whole, and its signature one over its own PCR0; who the signer is and whether the certificate is
valid today is not looked at. With --name it writes a file of reference values; the value is
"proposed" unless --state says otherwise. PCR3 and PCR4 are the parent instance's, not the image's.`,
		Example: `  attestd ref compute nitro signer.eif
  attestd ref compute nitro signer.eif --name signer --version 7 > signer.yaml`,
		Args: arguments(1, 1, "one EIF"),
		RunE: func(_ *cobra.Command, args []string) error { return a.refComputeNitro(set, args[0]) },
	}
	set.addFlags(command, command.Flags())
	return command
}

func (a *app) refComputeNitro(set predictedSet, path string) error {
	form, err := a.form(formText, formJSON)
	if err != nil {
		return err
	}
	if err := set.check(form); err != nil {
		return err
	}
	data, err := a.read("image", path, eif.MaxImage)
	if err != nil {
		return err
	}
	image, err := eif.Parse(data)
	if err != nil {
		return usagef("name an enclave image as nitro-cli builds it, whole",
			"image %q: %w", attestd.Excerpt(path, 200), err)
	}
	value := refPredictValue{Name: "computed", Assumes: []string{}}
	for _, pcr := range image.PCRs() {
		value.Registers = append(value.Registers,
			predicted(fmt.Sprintf("PCR%d", pcr.Index), "SHA384", pcr.Value[:], pcr.What))
	}
	if s := image.Signer; s != nil {
		value.Assumes = append(value.Assumes, fmt.Sprintf("the image is started between %s and %s, when "+
			"the certificate of %s is valid", s.NotBefore.UTC().Format(time.DateOnly),
			s.NotAfter.UTC().Format(time.DateOnly), s.Name))
	}
	if image.Ramdisks() == 1 {
		value.Assumes = append(value.Assumes,
			"nothing of PCR2, which is that of every image with one ramdisk")
	}
	doc := refPredictDoc{Kind: predictNitro, File: attestd.Excerpt(filepath.Base(path), 200),
		Values: []refPredictValue{value}}
	return a.tellPrediction(doc, set, attestd.FormatNitro, form,
		"attestd ref compute nitro "+report.QuoteArg(path)+" --name NAME")
}
