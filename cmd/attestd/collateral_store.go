package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/collateral"
	"github.com/attestd/attestd/internal/report"
)

// schemas of what these commands write as JSON.
const (
	collateralSchema       = "attestd.collateral.v1"
	collateralImportSchema = "attestd.collateral-import.v1"
	collateralExportSchema = "attestd.collateral-export.v1"
	collateralKeySchema    = "attestd.collateral-key.v1"
	collateralEventSchema  = "attestd.collateral-event.v1"
)

func newCollateral(a *app) *cobra.Command {
	return nounGroup("collateral", "Keep vendors' revocation lists and certificates",
		newCollateralPull(a), newCollateralImport(a), newCollateralExport(a), newCollateralList(a),
		newCollateralVerify(a), newCollateralUnpack(a), newCollateralKeygen(a))
}

// collateralFlags say which folder it is about.
type collateralFlags struct{ folder, insecureRoots, update string }

const defaultCollateral = "/var/lib/attestd/collateral"

func (f *collateralFlags) add(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&f.folder, "folder", defaultCollateral,
		"`FOLDER` of the store, collateral.folder in the configuration")
	flags.StringVar(&f.update, "intel-update", string(collateral.Standard),
		"`CHANNEL` of Intel's TCB updates that it is about, standard or early: collateral.intel_update")
	complete(command, "intel-update", string(collateral.Standard), string(collateral.Early))
	flags.StringVar(&f.insecureRoots, "insecure-roots", "", "also trust the roots in this PEM `FILE`, for tests")
}

// store opens the folder. Commands that only read do not make one.
func (a *app) collateralStore(flags collateralFlags, create bool) (*collateral.Store, error) {
	if _, err := os.Stat(flags.folder); err != nil && !create {
		return nil, fileError("collateral folder", flags.folder, err)
	}
	roots, err := a.insecureRoots(flags.insecureRoots)
	if err != nil {
		return nil, err
	}
	channel, err := collateral.ParseChannel(flags.update)
	if err != nil {
		return nil, usagef("give standard or early", "--intel-update: %w", err)
	}
	store, err := collateral.Open(flags.folder, time.Now, roots...)
	if err == nil {
		err = store.Follow(channel)
	}
	return store, hinted(err, "look at the folder: is it there, and may this user write in it?")
}

type collateralImportDoc struct {
	Schema string `json:"schema"`
	// Source is the file's name, or the key that signed the bundle.
	Source string            `json:"source"`
	Taken  int               `json:"taken"`
	Items  []collateral.Item `json:"items"`
}

func newCollateralImport(a *app) *cobra.Command {
	var flags collateralFlags
	var key string
	command := &cobra.Command{
		Use:   "import FILE...",
		Short: "Verify revocation lists, CAs, VCEKs, VLEKs and Intel's documents, and keep them",
		Long: `Import takes files as vendors publish them, in DER or PEM, Intel's TCB information and identities of
enclaves as its service answers them, the combined JSON of others, or one signed bundle, for which
--key is the public key of the site that exported it. Everything is verified to the roots that are
compiled in, also what a bundle brings. It takes all or nothing, and no list or document older than
one it has seen. A document does not say of which channel it is: --intel-update does.`,
		Example: `  attestd collateral import milan.crl genoa.crl --folder ./collateral
  attestd collateral import site.bundle --key site.pub
  attestd collateral import early.json --intel-update early`,
		Args: arguments(1, collateral.MaxObjects, "one FILE or more"),
		RunE: func(command *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			objects, source, err := a.collateralObjects(args, key)
			if err != nil {
				return err
			}
			store, err := a.collateralStore(flags, true)
			if err != nil {
				return err
			}
			if key == "" { // a bundle says itself what is of the early channel
				objects = collateral.In(collateral.Channel(flags.update), objects)
			}
			items, err := store.Import(command.Context(), objects, source)
			if err != nil {
				return hinted(err, "look at the folder: may this user write in it, and is its disk full?")
			}
			doc := collateralImportDoc{Schema: collateralImportSchema, Source: source, Items: items}
			for _, item := range items {
				if item.Outcome == collateral.Taken {
					doc.Taken++
				}
			}
			if form == formJSON {
				return report.JSON(a.out, doc)
			}
			return a.tellImport(doc, flags)
		},
	}
	flags.add(command)
	command.Flags().StringVar(&key, "key", "", "public `KEY` of a bundle, or a file with it")
	return command
}

// collateralObjects reads the files of an import. Bundles and loose files are not mixed: who is asked to
// name the key of a bundle must not think that it covers the rest.
func (a *app) collateralObjects(paths []string, key string) (objects [][]byte, source string, err error) {
	for _, path := range paths {
		data, err := a.read("collateral", path, collateral.MaxBundle)
		if err != nil {
			return nil, "", err
		}
		if collateral.IsBundle(data) {
			if len(paths) > 1 {
				return nil, "", usagef("import each bundle by itself", "%q is a bundle, and there are other files",
					attestd.Excerpt(path, 200))
			}
			if key == "" {
				return nil, "", usagef("add --key with the line that the exporting site's keygen printed",
					"%q is a bundle, and no key says whose", attestd.Excerpt(path, 200))
			}
			if key, err = a.bundleKey(key); err != nil {
				return nil, "", err
			}
			objects, by, err := collateral.OpenBundle(data, key)
			return objects, "bundle of " + by, err
		}
		found, err := collateral.Decode(data)
		if err != nil {
			return nil, "", err
		}
		objects = append(objects, found...)
	}
	if key != "" {
		return nil, "", usagef("leave --key out: loose files carry the vendors' signatures alone",
			"--key is given, and no bundle")
	}
	source = "file " + filepath.Base(paths[0])
	if len(paths) > 1 {
		source = fmt.Sprintf("%d files", len(paths))
	}
	return objects, source, nil
}

// bundleKey takes a key as it is, or the file that it lies in.
func (a *app) bundleKey(key string) (string, error) {
	if _, err := os.Stat(key); err != nil {
		return key, nil //nolint:nilerr // it is the key itself, and is read as one
	}
	data, err := a.read("key", key, maxKeyFile)
	return string(data), err
}

type collateralExportDoc struct {
	Schema  string `json:"schema"`
	File    string `json:"file"`
	Objects int    `json:"objects"`
	Bytes   int    `json:"bytes"`
	SHA256  string `json:"sha256"`
}

func newCollateralExport(a *app) *cobra.Command {
	var flags collateralFlags
	var key string
	command := &cobra.Command{
		Use:   "export FILE",
		Short: "Write what is held into a signed bundle, for sites without a way out",
		Long: `Export writes one FILE with every revocation list, CA, document of Intel's and machine's certificate
that is held and verifies, signed with --key. The same content under the same key is the same file.`,
		Example: `  attestd collateral export site.bundle --key site.key --folder ./collateral`,
		Args:    arguments(1, 1, "one FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			if key == "" {
				return usagef("attestd collateral keygen site.key --name NAME makes one", "--key is missing")
			}
			private, err := a.read("key", key, maxKeyFile)
			if err != nil {
				return err
			}
			store, err := a.collateralStore(flags, false)
			if err != nil {
				return err
			}
			objects, err := store.Objects()
			if err != nil {
				return hinted(err, "attestd collateral verify says what is wrong")
			}
			bundle, err := collateral.Bundle(objects, string(private))
			if err != nil {
				return hinted(err, "attestd collateral keygen site.key --name NAME makes a key")
			}
			return a.saveBundle(args[0], len(objects), bundle, form)
		},
	}
	flags.add(command)
	command.Flags().StringVar(&key, "key", "", "`FILE` with the private key of attestd collateral keygen")
	return command
}

// saveBundle writes a bundle beside its place and then into it, or to standard output for "-".
func (a *app) saveBundle(path string, objects int, bundle []byte, form string) error {
	if path == "-" {
		return a.write(bundle)
	}
	fresh, err := os.CreateTemp(filepath.Dir(path), ".bundle-*")
	if err != nil {
		return fileError("bundle", path, err)
	}
	defer func() { _ = os.Remove(fresh.Name()) }()
	_, err = fresh.Write(bundle)
	for _, next := range []error{err, fresh.Chmod(0o644), fresh.Sync(), fresh.Close()} {
		if err == nil {
			err = next
		}
	}
	if err == nil {
		err = os.Rename(fresh.Name(), path)
	}
	if err != nil {
		return fileError("bundle", path, err)
	}
	digest := sha256.Sum256(bundle)
	doc := collateralExportDoc{
		Schema: collateralExportSchema, File: path, Objects: objects, Bytes: len(bundle),
		SHA256: hex.EncodeToString(digest[:]),
	}
	if form == formJSON {
		return report.JSON(a.out, doc)
	}
	return report.Table{
		Lead: []string{"EXPORTED", fmt.Sprintf("%d object(s)", objects), path},
		Rows: [][]string{{"sha256", doc.SHA256}}, Heads: []string{"", ""},
		Next: "attestd collateral import " + report.QuoteArg(path) + " --key KEY",
	}.Text(a.out, a.page())
}

type collateralKeyDoc struct {
	Schema string `json:"schema"`
	File   string `json:"file"`
	Public string `json:"public"`
}

func newCollateralKeygen(a *app) *cobra.Command {
	var name string
	command := &cobra.Command{
		Use:   "keygen FILE",
		Short: "Make a key that signs bundles",
		Long: `Keygen writes a private key (Ed25519, in the form of signed notes) to a new FILE that only its owner
can read, and prints the public one, which sites that import bundles are given by another way.`,
		Example: `  attestd collateral keygen site.key --name lab.example.org`,
		Args:    arguments(1, 1, "one FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			private, public, err := collateral.NewKey(name)
			if err != nil {
				return hinted(err, "give --name, such as lab.example.org")
			}
			if err := collateral.WriteKey(args[0], private); err != nil {
				return hinted(err, "name a file in a folder that this user may write in")
			}
			if form == formJSON {
				return report.JSON(a.out, collateralKeyDoc{collateralKeySchema, args[0], public})
			}
			return a.write([]byte(public + "\n"))
		},
	}
	command.Flags().StringVar(&name, "name", "", "`NAME` of the site, which stands in each signature")
	return command
}
