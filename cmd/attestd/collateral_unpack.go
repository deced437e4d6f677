package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/report"
)

const collateralUnpackSchema = "attestd.collateral-unpack.v1"

type collateralUnpackDoc struct {
	Schema  string         `json:"schema"`
	Folder  string         `json:"folder"`
	Format  attestd.Format `json:"format"`
	Channel string         `json:"channel"`
	Files   []string       `json:"files"`
}

func newCollateralUnpack(a *app) *cobra.Command {
	var flags collateralFlags
	format := string(attestd.FormatTDX)
	command := &cobra.Command{
		Use:   "unpack DIR",
		Short: "Write what judges of a format are given as files, for verify --collateral",
		Long: `Unpack writes the CAs, revocation lists and documents that judges of a format are given into a new
folder DIR, as vendors publish them. Of Intel's documents it takes those of --intel-update: two
folders, one for each channel, show with verify --compare-collateral what the next TCB update does.
The certificates of single machines are not among them.`,
		Example: `  attestd collateral unpack ./early --intel-update early --folder ./collateral`,
		Args:    arguments(1, 1, "one DIR"),
		RunE: func(_ *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			wanted, err := attestd.ParseFormat(format)
			if err != nil {
				return err
			}
			store, err := a.collateralStore(flags, false)
			if err != nil {
				return err
			}
			of := store.Sets()[wanted]
			doc := collateralUnpackDoc{
				Schema: collateralUnpackSchema, Folder: args[0], Format: wanted, Channel: flags.update,
				Files: []string{},
			}
			if len(of.Certificates)+len(of.CRLs)+len(of.Documents) == 0 {
				return usagef("attestd collateral ls shows what is held", "nothing is held for %s", wanted)
			}
			if err := os.Mkdir(args[0], 0o755); errors.Is(err, fs.ErrExist) {
				return usagef("name a folder that is not there yet", "%q is there already",
					attestd.Excerpt(args[0], 200))
			} else if err != nil {
				return fileError("folder", args[0], err)
			}
			for _, kind := range []struct {
				name, ending string
				objects      [][]byte
			}{
				{"certificate", ".der", of.Certificates}, {"list", ".crl", of.CRLs},
				{"document", ".json", of.Documents},
			} {
				for _, object := range kind.objects {
					digest := sha256.Sum256(object)
					name := kind.name + "-" + hex.EncodeToString(digest[:8]) + kind.ending
					path := filepath.Join(args[0], name)
					if err := os.WriteFile(path, object, 0o644); err != nil { //nolint:gosec // it is public
						return fileError("file", path, err)
					}
					doc.Files = append(doc.Files, name)
				}
			}
			return a.tellUnpacked(doc, form)
		},
	}
	flags.add(command)
	command.Flags().StringVar(&format, "format", format, "`FORMAT` of the evidence that it is for")
	complete(command, "format", formatNames()...)
	return command
}

func (a *app) tellUnpacked(doc collateralUnpackDoc, form string) error {
	if form == formJSON {
		return report.JSON(a.out, doc)
	}
	return report.Table{
		Lead: []string{"UNPACKED", fmt.Sprintf("%d file(s)", len(doc.Files)), string(doc.Format), doc.Folder},
		Next: "attestd verify EVIDENCE --recorded --collateral " + report.QuoteArg(doc.Folder),
	}.Text(a.out, a.page())
}
