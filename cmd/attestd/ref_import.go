package main

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/report"
	"github.com/attestd/attestd/measurements/imports"
)

const refImportSchema = "attestd.ref-import.v1"

// refImportDoc is what a file of others became.
type refImportDoc struct {
	Schema string `json:"schema"`
	// Signed says that a signature by --key was verified.
	Signed bool `json:"signed"`
	Values int  `json:"values"`
	// Document is the file of reference values.
	Document string    `json:"document"`
	Left     []refLeft `json:"left"`
}

type refLeft struct {
	Where string `json:"where"`
	What  string `json:"what"`
	// Condition says that a value is without a condition that its author wrote.
	Condition bool `json:"condition"`
}

// importing holds the flags of ref import.
type importing struct {
	name, version, format, bank, key, at string
	parts                                bool
}

func newRefImport(a *app) *cobra.Command {
	return nounGroup("import", "Read reference values that others wrote",
		a.newImporter("corim FILE", "Read a CoRIM", `Corim reads a concise reference integrity manifest
(draft-ietf-rats-corim): of SEV-SNP with AMD's profile, of others by its integrity registers. One
that is signed is read with --key FILE, a public key in PEM, and not without.`, `  attestd ref import corim web.cbor --name web-guest > web-guest.yaml
  attestd ref import corim web.cose --key vendor.pem --name web-guest > web-guest.yaml`,
			imports.CoRIM, true),
		a.newImporter("nitro FILE", "Read what nitro-cli printed", `Nitro reads the output of nitro-cli build-enclave or
nitro-cli describe-eif.`, `  nitro-cli describe-eif --eif-path app.eif | attestd ref import nitro - --name signer`,
			imports.Nitro, false),
		a.newImporter("keylime FILE", "Read Keylime's policy for measured boot", `Keylime reads a reference state of
Keylime's for measured boot, and writes rules for PCR0, PCR4 and PCR7. A runtime policy lists files
and no registers, and is refused.`, `  attestd ref import keylime mb_refstate.json --name web-host > web-host.yaml`,
			imports.Keylime, false))
}

// newImporter is one kind of file.
func (a *app) newImporter(
	use, short, long, example string,
	importer func([]byte, imports.Options) (*imports.Result, error), corim bool,
) *cobra.Command {
	var q importing
	command := &cobra.Command{
		Use: use, Short: short, Long: long + `

The answer is a file of reference values. All of them are proposed, and match nothing until attestd
ref apply says so. What the file says besides stands in comments at its beginning.`,
		Example: example, Args: arguments(1, 1, "one FILE, or - for standard input"),
		RunE: func(_ *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			options, err := a.importOptions(q)
			if err != nil {
				return err
			}
			file, err := a.read("reference values", args[0], imports.MaxFile)
			if err != nil {
				return err
			}
			result, err := importer(file, options)
			if err != nil {
				return err
			}
			return a.tellImported(result, form)
		},
	}
	flags := command.Flags()
	flags.StringVar(&q.name, "name", "", "`NAME` of what is measured")
	flags.StringVar(&q.version, "version", "", "`VERSION` of it")
	if corim {
		flags.StringVar(&q.format, "format", "", "`FORMAT` of the evidence, where no profile says so")
		flags.StringVar(&q.bank, "bank", "", "`BANK` of a TPM's registers (default sha256)")
		flags.StringVar(&q.key, "key", "", "`FILE` with the public key of whoever signed it, in PEM")
		flags.StringVar(&q.at, "at", "", "read as of this RFC 3339 `TIME` (default now)")
		flags.BoolVar(&q.parts, "parts", false,
			"take values of which only a part of the conditions can be expressed")
		complete(command, "format", formatNames()...)
	}
	return command
}

func (a *app) importOptions(q importing) (options imports.Options, err error) {
	options = imports.Options{Name: q.name, Version: q.version, Bank: q.bank, Parts: q.parts}
	if q.format != "" {
		if options.Format, err = attestd.ParseFormat(q.format); err != nil {
			return options, err
		}
	}
	if q.key != "" {
		spki, err := a.publicKey(q.key)
		if err != nil {
			return options, err
		}
		if options.Key, err = x509.ParsePKIXPublicKey(spki); err != nil {
			return options, err
		}
	}
	options.At, err = a.asOf(q.at)
	return options, err
}

func (a *app) tellImported(result *imports.Result, form string) error {
	doc, err := result.Set.YAML()
	if err != nil {
		return hinted(err, "use letters, digits, dots and hyphens in --name and --version")
	}
	if form == formJSON {
		told := refImportDoc{
			Schema: refImportSchema, Signed: result.Signed, Values: len(result.Set.Values),
			Document: string(doc), Left: []refLeft{},
		}
		for _, one := range result.Left {
			told.Left = append(told.Left, refLeft(one))
		}
		return report.JSON(a.out, told)
	}
	var head bytes.Buffer
	head.WriteString("# Imported, not measured: hold it against one real machine before it is active.\n")
	if !result.Signed {
		head.WriteString("# Nobody's signature was verified: the file is from wherever you have it.\n")
	}
	for _, one := range result.Left {
		word := "not taken"
		if one.Condition {
			word = "WITHOUT THE CONDITION"
		}
		fmt.Fprintf(&head, "# %s: %s: %s\n", word, comment(one.Where), comment(one.What))
	}
	if count := len(result.Left); count > 0 {
		a.warn("%d thing(s) of the file are not in the reference values; the comments name them", count)
	}
	return a.write(append(head.Bytes(), doc...))
}

// comment keeps foreign text on its line.
func comment(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}
