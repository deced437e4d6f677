package main

import (
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/report"
	"github.com/attestd/attestd/measurements"
)

const refSignatureSchema = "attestd.ref-signature.v1"

// refSignatureDoc says which key a file is, or is signed by.
type refSignatureDoc struct {
	Schema string `json:"schema"`
	File   string `json:"file"`
	// SignedBy names the key; empty where a file was verified and is local.
	SignedBy string `json:"signed_by"`
	// Public is the key that a new one is known by.
	Public string `json:"public,omitempty"`
}

func newRefKeygen(a *app) *cobra.Command {
	var name, out string
	command := &cobra.Command{
		Use:   "keygen",
		Short: "Make a key to sign reference values with",
		Long: `Keygen writes an Ed25519 key to FILE (mode 0600) and its public half to FILE.pub. Whoever loads
reference values names the public half (verify.reference_keys). The NAME is part of the key and of
every signature; an address that is yours tells people who signed. An existing FILE is never
replaced.`,
		Example: `  attestd ref keygen --name example.org/references --out references.key`,
		Args:    arguments(0, 0, "no arguments"),
		RunE: func(_ *cobra.Command, _ []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			if name == "" || out == "" {
				return usagef("as in --name example.org/references --out references.key",
					"a key needs --name and --out")
			}
			private, public, err := measurements.GenerateKey(name)
			if err != nil {
				return err
			}
			if err := writeNew(out, private, 0o600); err != nil {
				return err
			}
			if err := writeNew(out+".pub", public, 0o644); err != nil {
				return errors.Join(err, os.Remove(out))
			}
			if form == formJSON {
				return report.JSON(a.out, refSignatureDoc{
					Schema: refSignatureSchema, File: out, SignedBy: name, Public: strings.TrimSpace(public),
				})
			}
			return report.Table{
				Lead: []string{"KEY", name}, Good: true,
				Heads: []string{"half", "file"},
				Rows:  [][]string{{"private", out}, {"public", out + ".pub"}},
				Next:  "attestd ref sign FILE --key " + report.QuoteArg(out),
			}.Text(a.out, a.page())
		},
	}
	command.Flags().StringVar(&name, "name", "", "`NAME` of the key, as in example.org/references")
	command.Flags().StringVar(&out, "out", "", "`FILE` to write the private key to")
	return command
}

// writeNew writes a file that is not there yet.
func writeNew(path, content string, mode os.FileMode) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode) //nolint:gosec // a flag
	if err != nil {
		return fileError("key", path, err)
	}
	_, err = file.WriteString(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(fileError("key", path, err), os.Remove(path))
	}
	return nil
}

func newRefSign(a *app) *cobra.Command {
	var key string
	command := &cobra.Command{
		Use:   "sign FILE",
		Short: "Sign reference values in their place",
		Long: `Sign appends a signature over the bytes of FILE, as comments at its end, or replaces those that
stood there. Any change of the bytes in front of it makes it void.`,
		Example: `  attestd ref sign web-guest.yaml --key references.key`,
		Args:    arguments(1, 1, "one FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			if key == "" {
				return usagef("attestd ref keygen makes one", "there is no --key to sign with")
			}
			private, err := a.signer(key)
			if err != nil {
				return err
			}
			file, err := a.edit(args[0])
			if err != nil {
				return err
			}
			defer file.close()
			signed, err := measurements.Sign(args[0], file.before, private, nil)
			if err != nil {
				return err
			}
			if err := file.replace(signed); err != nil {
				return err
			}
			by := measurements.SignerNames(signed)
			if form == formJSON {
				return report.JSON(a.out, refSignatureDoc{
					Schema: refSignatureSchema, File: args[0], SignedBy: strings.Join(by, ", "),
				})
			}
			return report.Table{
				Lead: append([]string{"SIGNED", args[0]}, by...), Good: true,
				Next: "attestd ref verify " + report.QuoteArg(args[0]) + " --key " + report.QuoteArg(key+".pub"),
			}.Text(a.out, a.page())
		},
	}
	command.Flags().StringVar(&key, "key", "", "`FILE` with the private key")
	return command
}

func newRefVerify(a *app) *cobra.Command {
	var keys []string
	command := &cobra.Command{
		Use:   "verify FILE",
		Short: "Verify the signature of reference values",
		Long: `Verify reads FILE as attestd does that was given the public keys: exit code 0 where one of them
signed it, 2 where none did, the bytes were changed or the document is not whole.`,
		Example: `  attestd ref verify web-guest.yaml --key references.key.pub`,
		Args:    arguments(1, 1, "one FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			if len(keys) == 0 {
				return usagef("as in --key references.key.pub", "there is no --key to verify with")
			}
			var trust measurements.Trust
			for _, path := range keys {
				file, err := a.read("key", path, measurements.MaxKeyFile)
				if err != nil {
					return err
				}
				read, err := measurements.ReadKeys(path, file)
				if err != nil {
					return err
				}
				trust.Keys = append(trust.Keys, read...)
			}
			doc, err := a.read("reference values", args[0], measurements.MaxDocument)
			if err != nil {
				return err
			}
			set, err := measurements.Open(args[0], doc, trust)
			if err != nil {
				return err
			}
			if form == formJSON {
				return report.JSON(a.out, refSignatureDoc{
					Schema: refSignatureSchema, File: args[0], SignedBy: set.SignedBy,
				})
			}
			return report.Table{
				Lead: []string{"SIGNED", set.Label(), "by " + attestd.Excerpt(set.SignedBy, 100)}, Good: true,
				Next: "attestd ref ls " + report.QuoteArg(args[0]),
			}.Text(a.out, a.page())
		},
	}
	command.Flags().StringArrayVar(&keys, "key", nil, "`FILE` with public keys; may be repeated")
	return command
}
