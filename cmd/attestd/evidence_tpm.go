package main

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester/tpm"
	"github.com/attestd/attestd/internal/report"
	"github.com/attestd/attestd/measurements"
)

const (
	identitySchema = "attestd.tpm-identity.v1"
	formYAML       = "yaml"
)

// tpmFlags are the flags of attestd evidence tpm beside those of every collecting command.
type tpmFlags struct {
	place, pcrs, bank      string
	bootLog, imaLog        string
	imaOffset              uint64
	chain, lockFile        string
	stateDir, residentKey  string
	akHandle               string
	ownerAuth, endorseAuth string
	identity               bool
	name                   string
}

func newEvidenceTPM(a *app) *cobra.Command {
	var (
		c collecting
		t tpmFlags
	)
	command := &cobra.Command{
		Use:   "tpm --nonce HEX|--challenge FILE|--server URL|--identity",
		Short: "Collect evidence from this machine's TPM 2.0",
		Long: `Collect evidence from this machine's TPM 2.0: a quote, the boot logs, and with --resident-key a key
that never leaves the TPM.

The first time on a TPM an attestation key is made and kept in it, and the endorsement key where the
maker did not keep it. Nothing that is there already is replaced.

--identity prints what the TPM is known by, and with -o yaml a file of reference values that names
its keys as trusted.
` + threeWays,
		Example: `  attestd evidence tpm --identity -o yaml --name rack-3-host-7 > rack-3-host-7.yaml
  attestd evidence tpm --nonce @nonce.bin --out tpm.bin
  attestd evidence tpm --server https://verifier.example.org --trust-domain example.org`,
		Args: arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) error { return a.evidenceTPM(command, c, t) },
	}
	c.addFlags(command)
	t.addFlags(command)
	flags := command.Flags()
	flags.BoolVar(&t.identity, "identity", false, "print what the TPM is known by, and collect nothing")
	flags.StringVar(&t.name, "name", "", "`NAME` of this machine, with --identity -o yaml (default: the host's)")
	a.outputFlag(command, formText, formJSON, formYAML)
	return command
}

func (t *tpmFlags) addFlags(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&t.place, "tpm", "/dev/tpmrm0",
		"`TPM`: a device file, or swtpm:PATH for a software TPM's socket")
	flags.StringVar(&t.pcrs, "pcrs", "0-14", "`LIST` of PCRs to quote, as in 0-7,11")
	flags.StringVar(&t.bank, "bank", "sha256", "`BANK` of the PCRs: sha256, sha384 or sha512")
	flags.StringVar(&t.bootLog, "event-log", "", "boot log `FILE`, or off (default: the kernel's)")
	flags.StringVar(&t.imaLog, "ima-log", "", "binary IMA log `FILE`, or off (default: the kernel's)")
	flags.Uint64Var(&t.imaOffset, "ima-offset", 0,
		"leave out so many `BYTES` at the beginning of the IMA log, which the verifier replayed before")
	flags.StringVar(&t.chain, "ek-chain", "",
		"PEM `FILE` with certificates between the endorsement key's and the maker's root")
	flags.StringVar(&t.residentKey, "resident-key", "",
		"bind and certify the TPM's own key `NAME`; made where there is none, and anew after a restart")
	flags.StringVar(&t.stateDir, "state-dir", "",
		"`FOLDER` of those keys (default $STATE_DIRECTORY or ~/.local/state/attestd)")
	flags.StringVar(&t.akHandle, "ak-handle", fmt.Sprintf("0x%08x", tpm.DefaultAKHandle),
		"persistent `HANDLE` of the attestation key")
	flags.StringVar(&t.lockFile, "lock-file", "",
		"lock `FILE` (default: the device file, or the socket's path and .lock)")
	flags.StringVar(&t.ownerAuth, "owner-auth-file", "", "`FILE` with the owner hierarchy's password")
	flags.StringVar(&t.endorseAuth, "endorsement-auth-file", "", "`FILE` with the endorsement hierarchy's password")
	complete(command, "bank", "sha256", "sha384", "sha512")
}

func (a *app) evidenceTPM(command *cobra.Command, c collecting, t tpmFlags) error {
	form, err := a.form(formText, formJSON, formYAML)
	if err != nil {
		return err
	}
	if t.identity {
		return a.tpmIdentity(command, c, t, form)
	}
	if form == formYAML || t.name != "" {
		return usagef("add --identity, or drop them", "-o yaml and --name are for --identity")
	}
	if err := c.contradictions(command); err != nil {
		return err
	}
	ctx, stop := a.collectContext(command.Context(), c)
	defer stop()
	m, err := a.machineWithTPM(ctx, &c, t)
	if err != nil {
		return err
	}
	return a.collect(ctx, c, m, form)
}

// machineWithTPM is a machine whose evidence is its TPM's. Where the TPM's own key is bound, c names the
// file of that key afterwards.
func (a *app) machineWithTPM(ctx context.Context, c *collecting, t tpmFlags) (m machine, err error) {
	if c.key != "" && t.residentKey != "" {
		return m, usagef("drop one", "--key and --resident-key contradict each other: one key is bound")
	}
	request := tpm.Request{IMAOffset: t.imaOffset}
	if request.PCRs, err = parsePCRs(t.pcrs); err != nil {
		return m, err
	}
	if request.Bank, err = parseBank(t.bank); err != nil {
		return m, err
	}
	if c.key != "" {
		if m.spki, err = a.publicKey(c.key); err != nil {
			return m, err
		}
	}
	device, err := a.openTPM(t)
	if err != nil {
		return m, err
	}
	if t.residentKey != "" {
		if request.Key, err = a.residentKey(ctx, device, t); err != nil {
			return m, err
		}
		m.spki, m.keyField = request.Key.SPKI(), true
		c.key = filepath.Join(t.stateFolder(a), t.residentKey+".pem")
		public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: m.spki})
		if err := writeFile(c.key, public); err != nil {
			return m, err
		}
	}
	if c.server != "" {
		identity, err := a.readIdentity(ctx, device)
		if err != nil {
			return m, err
		}
		m.attestationKey, m.endorsementKey = identity.AKPublic, identity.EKPublic
	}
	m.attester, m.activate = device.With(request), device.Activate
	return m, nil
}

const tpmHint = "look whether the TPM answers: attestd evidence tpm --identity"

func (a *app) readIdentity(ctx context.Context, device *tpm.Device) (tpm.Identity, error) {
	defer a.progress("reading the TPM's keys")()
	identity, err := device.Identity(ctx)
	return identity, hinted(err, "look whether another program keeps the TPM busy, or add time: --timeout")
}

func (a *app) residentKey(ctx context.Context, device *tpm.Device, t tpmFlags) (*tpm.Key, error) {
	defer a.progress("making a key in the TPM")()
	key, err := device.Key(ctx, t.residentKey)
	return key, hinted(err, tpmHint)
}

func (a *app) openTPM(t tpmFlags) (*tpm.Device, error) {
	options := tpm.Options{LockFile: t.lockFile, BootLog: t.bootLog, IMALog: t.imaLog}
	var err error
	if options.AKHandle, err = parseHandle(t.akHandle); err != nil {
		return nil, err
	}
	if t.residentKey != "" {
		options.StateDir = t.stateFolder(a)
		if err := os.MkdirAll(options.StateDir, 0o700); err != nil {
			return nil, usagef("give a folder that can be made: --state-dir FOLDER", "state folder %q: %w",
				attestd.Excerpt(options.StateDir, 200), pathless(err))
		}
	}
	if t.chain != "" {
		if options.Intermediates, err = a.chainFile(t.chain); err != nil {
			return nil, err
		}
	}
	for _, one := range []struct {
		path string
		into *[]byte
	}{{t.ownerAuth, &options.OwnerAuth}, {t.endorseAuth, &options.EndorsementAuth}} {
		if one.path == "" {
			continue
		}
		password, err := a.read("password", one.path, 64)
		if err != nil {
			return nil, err
		}
		*one.into = []byte(strings.TrimRight(string(password), "\r\n"))
	}
	return tpm.Open(t.place, options)
}

// stateFolder is where keys of the TPM are kept.
func (t tpmFlags) stateFolder(a *app) string {
	if t.stateDir != "" {
		return t.stateDir
	}
	if folder := a.getenv("STATE_DIRECTORY"); folder != "" { // systemd.exec(5)
		first, _, _ := strings.Cut(folder, ":")
		return first
	}
	if home := a.getenv("HOME"); home != "" {
		return filepath.Join(home, ".local", "state", "attestd")
	}
	return "/var/lib/attestd-agent"
}

// chainFile reads certificates that go along in the evidence.
func (a *app) chainFile(path string) ([][]byte, error) {
	doc, err := a.read("chain", path, maxRootsFile)
	if err != nil {
		return nil, err
	}
	var found attestd.Endorsements
	if !addCollateral(&found, doc) || len(found.CRLs) > 0 {
		return nil, usagef("give CERTIFICATE blocks in PEM, or one certificate in DER",
			"chain %q holds something that is not a certificate", attestd.Excerpt(path, 200))
	}
	return found.Certificates, nil
}

// parsePCRs reads a list such as "0-7,11".
func parsePCRs(text string) ([]uint8, error) {
	var pcrs []uint8
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.ParseUint(first, 10, 8)
		to, errTo := strconv.ParseUint(last, 10, 8)
		if err != nil || errTo != nil || from > to || to > 23 {
			return nil, usagef("write it like 0-7,11 with numbers from 0 to 23", "--pcrs %q is not a list of PCRs",
				attestd.Excerpt(text, 60))
		}
		for pcr := from; pcr <= to; pcr++ {
			pcrs = append(pcrs, uint8(pcr))
		}
	}
	return pcrs, nil
}

func parseHandle(text string) (uint32, error) {
	handle, err := strconv.ParseUint(text, 0, 32)
	if err != nil {
		return 0, usagef("give it like 0x81010020", "--ak-handle %q is not a handle", attestd.Excerpt(text, 40))
	}
	return uint32(handle), nil
}

func parseBank(name string) (tpm.Bank, error) {
	bank, known := map[string]tpm.Bank{
		"sha256": tpm.SHA256, "sha384": tpm.SHA384, "sha512": tpm.SHA512,
	}[name]
	if !known {
		return 0, usagef("give sha256, sha384 or sha512", "unknown bank %q", attestd.Excerpt(name, 40))
	}
	return bank, nil
}

// identityDoc is what a TPM is known by, as programs read it.
type identityDoc struct {
	Schema string `json:"schema"`
	AKName string `json:"ak_name"`
	// AKSHA256 and EKSHA256 are of the DER SubjectPublicKeyInfo, as reference values name keys.
	AKSHA256 string `json:"ak_sha256"`
	EKSHA256 string `json:"ek_sha256"`
	EKKind   string `json:"ek_kind"`
	// Certificate is null where the TPM holds none.
	Certificate *identityCertificate `json:"ek_certificate"`
	// AKPublic and EKPublic are base64 of TPMT_PUBLIC, as POST /v1/challenges takes them.
	AKPublic []byte `json:"ak_public"`
	EKPublic []byte `json:"ek_public"`
}

type identityCertificate struct {
	Subject  string    `json:"subject"`
	Issuer   string    `json:"issuer"`
	NotAfter time.Time `json:"not_after"`
}

func (a *app) tpmIdentity(command *cobra.Command, c collecting, t tpmFlags, form string) error {
	for _, name := range []string{"nonce", "challenge", "server", "out", "key", "resident-key"} {
		if command.Flags().Changed(name) {
			return usagef("drop one", "--%s has no meaning with --identity", name)
		}
	}
	if t.name != "" && form != formYAML {
		return usagef("add -o yaml, or drop it", "--name has no meaning without -o yaml")
	}
	device, err := a.openTPM(t)
	if err != nil {
		return err
	}
	ctx, stop := a.collectContext(command.Context(), c)
	defer stop()
	identity, err := a.readIdentity(ctx, device)
	if err != nil {
		return err
	}
	if form == formYAML {
		return a.identityYAML(identity, t.name)
	}
	doc := describeIdentity(identity)
	if form == formJSON {
		return report.JSON(a.out, doc)
	}
	again := ""
	if command.Flags().Changed("tpm") {
		again = " --tpm " + report.QuoteArg(t.place)
	}
	return doc.text(a, again)
}

func describeIdentity(identity tpm.Identity) identityDoc {
	ak, ek := identity.AKSHA256(), identity.EKSHA256()
	doc := identityDoc{
		Schema: identitySchema, AKName: hex.EncodeToString(identity.AKName),
		AKSHA256: hex.EncodeToString(ak[:]), EKSHA256: hex.EncodeToString(ek[:]), EKKind: identity.EKKind,
		AKPublic: identity.AKPublic, EKPublic: identity.EKPublic,
	}
	if identity.EKCertificate == nil {
		return doc
	}
	doc.Certificate = &identityCertificate{Subject: "(cannot be read)", Issuer: "(cannot be read)"}
	if certificate, err := x509.ParseCertificate(identity.EKCertificate); err == nil {
		*doc.Certificate = identityCertificate{
			Subject: attestd.Excerpt(certificate.Subject.String(), 200),
			Issuer:  attestd.Excerpt(certificate.Issuer.String(), 200), NotAfter: certificate.NotAfter.UTC(),
		}
	}
	return doc
}

func (d identityDoc) text(a *app, again string) error {
	table := report.Table{
		Lead: []string{"TPM", "endorsement key " + d.EKKind, "attestation key ECC P-256"}, Good: true,
		Heads: []string{"what", "value"},
		Rows: [][]string{
			{"AK name", d.AKName}, {"AK sha256", d.AKSHA256}, {"EK sha256", d.EKSHA256},
		},
		Next: "attestd evidence tpm" + again + " --identity -o yaml   # the keys as reference values",
	}
	if d.Certificate == nil {
		table.Notes = []string{"The TPM holds no certificate of its endorsement key: only an inventory of " +
			"endorsement keys can vouch for it."}
		return table.Text(a.out, a.page())
	}
	subject := d.Certificate.Subject
	if subject == "" {
		subject = "(empty: the maker's name is in the subject alternative name)"
	}
	table.Rows = append(table.Rows, []string{"EK certificate", subject}, []string{"issued by", d.Certificate.Issuer},
		[]string{"valid until", d.Certificate.NotAfter.Format(time.RFC3339)})
	return table.Text(a.out, a.page())
}

// unfitName is what a name in reference values does not take.
var unfitName = regexp.MustCompile(`[^a-z0-9.-]+`)

// identityYAML writes a file of reference values that names the TPM's keys as trusted.
func (a *app) identityYAML(identity tpm.Identity, name string) error {
	if name == "" {
		host, _ := os.Hostname()
		if name = strings.Trim(unfitName.ReplaceAllString(strings.ToLower(host), "-"), "-."); name == "" {
			name = "machine"
		}
	}
	const hint = "use lower-case letters, digits, dots and hyphens: --name rack-3-host-7"
	set := &measurements.Set{
		Name: name, Format: attestd.FormatTPM,
		AttestationKeys: []measurements.Key{{Name: name, SHA256: identity.AKSHA256()}},
		EndorsementKeys: []measurements.Key{{Name: name, SHA256: identity.EKSHA256()}},
	}
	doc, err := set.YAML()
	if err != nil {
		return hinted(err, hint)
	}
	if _, err := measurements.Parse("the new file", doc); err != nil {
		return hinted(err, hint) // what is written here must be what is read later
	}
	return a.write(doc)
}
