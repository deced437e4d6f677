package testvectors

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
)

//go:embed manifest
var manifest embed.FS

// ExtraVariable names the environment variable that says where the folder of extra vectors is.
const ExtraVariable = "ATTESTD_VECTORS"

// Options say where vectors may come from.
type Options struct {
	// ExtraDir is the folder of extra vectors with its SOURCES.tsv; empty where there is none, and
	// then its vectors are counted as not available.
	ExtraDir string
	// Offline forbids downloads: a module that is not in the module cache is not available.
	Offline bool
	// RequireAll makes every vector that is not available an error.
	RequireAll bool
}

// FromEnvironment returns the options that tests run with: a folder of extra vectors that was named
// makes every vector required, so that a run that was promised all of them cannot pass with fewer.
func FromEnvironment() Options {
	extra := os.Getenv(ExtraVariable)
	return Options{ExtraDir: extra, RequireAll: extra != ""}
}

// Vector is evidence with the verdict it must get under the policy "recorded".
type Vector struct {
	// Name is the format, a slash, and a name.
	Name         string
	Format       attestd.Format
	Evidence     []byte
	Endorsements attestd.Endorsements
	At           time.Time
	// Nonce and KeySPKI are the evidence's own; empty where it has none.
	Nonce, KeySPKI []byte
	// DemandNonce is the nonce to demand, which need not be the evidence's own; empty for none.
	DemandNonce []byte
	// TrustedAK is the SHA-256 of the DER SubjectPublicKeyInfo of an attestation key that the
	// verdict takes for named as trusted by the operator; nil for none.
	TrustedAK *[32]byte
	Expect    attestd.Verdict
	// Check fails, unless Expect is accepted.
	Check attestd.CheckID
	// Claims are golden facts as text.
	Claims  map[string]string
	Neg     []int
	Licence string
	Comment string
	// Synthetic says that no hardware made it. No vector of the manifest is.
	Synthetic bool
}

// Reference returns the reference-values document that names the vector's trusted key; nil for none.
func (v Vector) Reference() []byte {
	if v.TrustedAK == nil {
		return nil
	}
	return fmt.Appendf(nil, "schema: attestd.reference-values.v1\nname: vector\nformat: %s\n"+
		"attestation-keys:\n  vector: \"%x\"\n", v.Format, *v.TrustedAK)
}

// Missing is a vector that could not be had, and why.
type Missing struct {
	Name, Why string
}

// Corpus is what was loaded, sorted by name.
type Corpus struct {
	Vectors []Vector
	Logs    []Log
	Missing []Missing
}

// Load reads the manifest and every vector that can be had.
//
// Errors: a manifest that breaks its rules; a module with another hash, or a file with another
// digest, than its record pins; with RequireAll, a vector that is not available.
func Load(options Options) (*Corpus, error) { return LoadFrom(manifest, options) }

// LoadFrom is Load for the records below manifest/ of files.
func LoadFrom(files fs.FS, options Options) (*Corpus, error) {
	records, err := readManifest(files)
	if err != nil {
		return nil, err
	}
	sources, err := openSources(options, records)
	if err != nil {
		return nil, err
	}
	blobs := map[string][]byte{}
	reasons := map[string]string{}
	for _, row := range records {
		data, why, err := sources.read(row)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", row.name, err)
		}
		if why != "" {
			reasons[row.name] = why
			continue
		}
		blobs[row.name] = data
	}
	corpus := assemble(records, blobs, reasons)
	if options.RequireAll && len(corpus.Missing) > 0 {
		return nil, fmt.Errorf("%s: %s", corpus.Missing[0].Name, corpus.Missing[0].Why)
	}
	return corpus, nil
}

// Report says in one line what was loaded.
func (c *Corpus) Report() string {
	line := fmt.Sprintf("vectors: %d and %d event logs loaded, %d not available",
		len(c.Vectors), len(c.Logs), len(c.Missing))
	if len(c.Missing) > 0 {
		line += fmt.Sprintf(" (set %s, see make vectors)", ExtraVariable)
	}
	return line
}

// Format returns the vectors of one format.
func (c *Corpus) Format(format attestd.Format) []Vector {
	var found []Vector
	for _, vector := range c.Vectors {
		if vector.Format == format {
			found = append(found, vector)
		}
	}
	return found
}

// readManifest reads every record and refuses the whole manifest if one is wrong.
func readManifest(files fs.FS) ([]record, error) {
	var records []record
	names := map[string]bool{}
	err := fs.WalkDir(files, "manifest", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(files, file)
		if err != nil {
			return err
		}
		row, err := parseRecord(strings.TrimPrefix(file, "manifest/"), text)
		if err != nil {
			return err
		}
		if names[row.name] {
			return fmt.Errorf("%s: second record of that name", row.name)
		}
		names[row.name] = true
		records = append(records, row)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, row := range records {
		for _, name := range row.endorsements {
			known := slices.ContainsFunc(records, func(other record) bool {
				return other.name == name && other.kind == kindEndorsement
			})
			if !known {
				return nil, fmt.Errorf("%s: no endorsement record %q", row.name, name)
			}
		}
	}
	slices.SortFunc(records, func(a, b record) int { return cmp.Compare(a.name, b.name) })
	return records, nil
}

// assemble joins evidence with its endorsements; one missing part makes the vector missing.
func assemble(records []record, blobs map[string][]byte, reasons map[string]string) *Corpus {
	corpus := &Corpus{}
	for _, row := range records {
		if row.kind == kindEndorsement {
			continue
		}
		why := reasons[row.name]
		var endorsements attestd.Endorsements
		for _, name := range row.endorsements {
			why = cmp.Or(why, reasons[name])
			addEndorsement(&endorsements, bytes.Clone(blobs[name]))
		}
		if why != "" {
			corpus.Missing = append(corpus.Missing, Missing{Name: row.name, Why: why})
			continue
		}
		if row.kind == kindLog {
			log := row.log
			log.Name, log.Data = row.name, blobs[row.name]
			log.Licence, log.Comment = row.licence, row.comment
			corpus.Logs = append(corpus.Logs, log)
			continue
		}
		corpus.Vectors = append(corpus.Vectors, Vector{
			Name: row.name, Format: row.format, Evidence: blobs[row.name],
			Endorsements: endorsements, At: row.at, Nonce: row.nonce, KeySPKI: row.key,
			DemandNonce: row.demandNonce, TrustedAK: row.trustedAK,
			Expect: row.expect, Check: row.check, Claims: row.claims, Neg: row.neg,
			Licence: row.licence, Comment: row.comment,
		})
	}
	return corpus
}

// addEndorsement puts a revocation list and a document beside the certificates; whatever else it is
// counts as one of these, for the verifier to refuse.
func addEndorsement(into *attestd.Endorsements, data []byte) {
	if bytes.HasPrefix(data, []byte("{")) {
		into.Documents = append(into.Documents, data)
		return
	}
	if _, err := x509.ParseRevocationList(data); err == nil {
		into.CRLs = append(into.CRLs, data)
		return
	}
	into.Certificates = append(into.Certificates, data)
}

// sources knows where the modules and the extra files lie on this machine.
type sources struct {
	extraDir string
	modules  map[string]module
	pinned   map[string]ExtraSource
}

func openSources(options Options, records []record) (*sources, error) {
	wanted := map[string]string{}
	for _, row := range records {
		if row.source.module == "" {
			continue
		}
		if h1 := wanted[row.source.module]; h1 != "" && h1 != row.source.h1 {
			return nil, fmt.Errorf("%s: module %s with two hashes", row.name, row.source.module)
		}
		wanted[row.source.module] = row.source.h1
	}
	modules, err := locateModules(wanted, options.Offline)
	if err != nil {
		return nil, err
	}
	pinned, err := ExtraSources()
	if err != nil {
		return nil, err
	}
	byFile := map[string]ExtraSource{}
	for _, one := range pinned {
		byFile[one.File] = one
	}
	return &sources{extraDir: options.ExtraDir, modules: modules, pinned: byFile}, nil
}

// read returns the decoded bytes of a record, or the reason why they cannot be had.
func (s *sources) read(row record) (data []byte, why string, err error) {
	var files [][]byte
	for _, path := range append([]string{row.source.path}, row.source.with...) {
		raw, why, err := s.readFile(row.source.module, path)
		if why != "" || err != nil {
			return nil, why, err
		}
		files = append(files, raw)
	}
	if data, err = decode(row.steps, files); err != nil {
		return nil, "", err
	}
	if got := sha256.Sum256(data); got != row.sha256 {
		return nil, "", fmt.Errorf("SHA-256 is %x, want %x", got, row.sha256)
	}
	return bytes.Clone(data), "", nil
}

// readFile returns a file of a module, or of the folder of extra vectors where none is named.
func (s *sources) readFile(module, path string) (raw []byte, why string, err error) {
	file, why := "", ""
	if module != "" {
		found := s.modules[module]
		file, why = filepath.Join(found.dir, filepath.FromSlash(path)), found.why
	} else {
		if _, known := s.pinned[path]; !known {
			return nil, "", fmt.Errorf("extra file %q is not in extra-sources.tsv", path)
		}
		file = filepath.Join(s.extraDir, filepath.FromSlash(path))
		if s.extraDir == "" {
			why = ExtraVariable + " does not name the folder of extra vectors"
		}
	}
	if why != "" {
		return nil, why, nil
	}
	raw, err = os.ReadFile(file) //nolint:gosec // the path comes from the committed manifest
	if errors.Is(err, fs.ErrNotExist) && module == "" {
		return nil, "not in the folder of extra vectors", nil
	}
	return raw, "", err
}

// CheckManifest reads every record below manifest/ of files and refuses what breaks a rule.
func CheckManifest(files fs.FS) error {
	_, err := readManifest(files)
	return err
}
