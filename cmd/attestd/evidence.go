package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	"github.com/attestd/attestd/attester/nitro"
	"github.com/attestd/attestd/attester/snp"
	"github.com/attestd/attestd/internal/report"
)

const collectedSchema = "attestd.collected.v1"

func newEvidence(a *app) *cobra.Command {
	return nounGroup("evidence", "Collect evidence on this machine",
		newEvidenceTPM(a),
		newEvidencePlain(a, plainMachine{
			format: attestd.FormatSEVSNP, place: "tsm", what: "an AMD SEV-SNP guest",
			paths: "`PATH` of configfs-tsm's folder or of the guest device (default " + snp.DefaultConfigFS +
				", else " + snp.DefaultDevice + ")",
			more: `The report data has 64 bytes: --nonce takes exactly so many, and a key is bound by a challenge
alone. The certificates that the host keeps go along behind the report.`,
			open: func(path string) (attester.Attester, error) { return snp.Open(path) },
		}),
		newEvidencePlain(a, plainMachine{
			format: attestd.FormatNitro, place: "nsm", what: "an AWS Nitro enclave",
			paths: "`PATH` of the Nitro Secure Module (default " + nitro.DefaultDevice + ")",
			more:  `The freshness value becomes the document's nonce, the key of --key its public_key.`,
			open:  func(path string) (attester.Attester, error) { return nitro.Open(path) },
		}),
		newEvidenceTDX(a), newEvidenceAzure(a), newEvidenceComposite(a),
	)
}

// Three ways to say what evidence is collected for.
const threeWays = `
What the evidence is for is said in one of three ways: --nonce takes a value as it stands;
--challenge answers a reply of POST /v1/challenges; --server asks a verifier for a challenge,
answers it, hands the evidence in and prints the verdict, with the exit codes of attestd verify.

A challenge of another trust domain than --trust-domain is refused: evidence for a foreign verifier
could be used to pass for this machine there.`

// collecting holds the flags of every command that collects evidence.
type collecting struct {
	nonce, challenge, server string
	out, key                 string
	trustDomain, verifierKey string
	tenant, purpose          string
	serverCA, clientCert     string
	clientKey, enrolment     string
	timeout                  time.Duration
	checks                   string
}

func (c *collecting) addFlags(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&c.nonce, "nonce", "", "freshness field holds this: `HEX`, or @FILE with raw bytes")
	flags.StringVar(&c.challenge, "challenge", "",
		"freshness field binds the challenge in `FILE`, a reply of POST /v1/challenges")
	flags.StringVar(&c.server, "server", "",
		"`URL` of a verifier to exchange with: https, http on loopback, or unix:PATH")
	flags.StringVar(&c.out, "out", "", "`FILE` for the evidence, or - for standard output")
	flags.StringVar(&c.key, "key", "", "bind the public key in `FILE` (SPKI in PEM or DER)")
	flags.StringVar(&c.trustDomain, "trust-domain", "localhost", "`NAME` of the verifier's trust domain")
	flags.StringVar(&c.verifierKey, "verifier-key", "",
		"challenges must be signed by a key of this JWK set, a `FILE` that GET /v1/keys answered beforehand")
	flags.StringVar(&c.tenant, "tenant", "default", "`TENANT` to be judged for; with --server")
	flags.StringVar(&c.purpose, "purpose", "verify", "`PURPOSE` of the evidence; with --server")
	flags.StringVar(&c.serverCA, "server-ca", "", "PEM `FILE` with the CAs of the server (default: the system's)")
	flags.StringVar(&c.clientCert, "client-cert", "", "PEM `FILE` with this machine's certificate for the server")
	flags.StringVar(&c.clientKey, "client-key", "", "PEM `FILE` with that certificate's private key")
	flags.StringVar(&c.enrolment, "enrolment-token", "",
		"`FILE` with a one-time token of attestd enroll token; with --server")
	flags.DurationVar(&c.timeout, "timeout", time.Minute, "`TIME` for all of it")
	flags.StringVar(&c.checks, "checks", "failed", "`WHICH` checks to list with --server: failed or all")
	complete(command, "checks", "failed", "all")
}

// contradictions refuses flags that cannot stand together.
func (c collecting) contradictions(command *cobra.Command) error {
	ways := 0
	for _, way := range []string{c.nonce, c.challenge, c.server} {
		if way != "" {
			ways++
		}
	}
	switch {
	case ways != 1:
		return usagef("give one of --nonce, --challenge and --server",
			"%d flags say what the evidence is for, want one", ways)
	case c.server == "" && c.out == "":
		return usagef("add --out FILE", "nothing says where the evidence goes")
	case c.server != "" && c.out == "-":
		return usagef("give --out a file: standard output is for the verdict", "--out - contradicts --server")
	case c.checks != "failed" && c.checks != "all":
		return usagef("give failed or all", "unknown value %q for --checks", attestd.Excerpt(c.checks, 40))
	case (c.clientCert == "") != (c.clientKey == ""):
		return usagef("give both --client-cert and --client-key", "half of a client certificate is given")
	case c.timeout <= 0:
		return usagef("give more, as in 1m", "--timeout is %s", c.timeout)
	}
	for _, name := range []string{
		"tenant", "purpose", "server-ca", "client-cert", "client-key", "checks", "enrolment-token",
	} {
		if c.server == "" && command.Flags().Changed(name) {
			return usagef("drop it, or add --server", "--%s has no meaning without --server", name)
		}
	}
	for _, name := range []string{"trust-domain", "verifier-key"} {
		if c.nonce != "" && command.Flags().Changed(name) {
			return usagef("drop it: a plain nonce names no verifier", "--%s has no meaning with --nonce", name)
		}
	}
	return nil
}

// verifier is whom the flags let this machine answer.
func (a *app) verifier(c collecting) (attester.Verifier, error) {
	verifier := attester.Verifier{TrustDomain: c.trustDomain}
	if c.verifierKey == "" {
		return verifier, nil
	}
	var err error
	verifier.KeySet, err = a.read("key set", c.verifierKey, maxKeyFile)
	return verifier, err
}

// machine is what a command collects evidence from, as far as the exchange needs it.
type machine struct {
	attester attester.Attester
	// keyField says that the format has a field for a key, so that a plain nonce can be joined by one.
	keyField bool
	// spki is the key to bind; nil for none.
	spki []byte
	// attestationKey and endorsementKey are sent with the wish for a challenge; nil for formats without.
	attestationKey, endorsementKey []byte
	// activate answers a credential; nil for formats without.
	activate func(ctx context.Context, blob, secret []byte) ([]byte, error)
}

// collectOffline collects evidence for a nonce or a challenge and writes it to --out.
func (a *app) collectOffline(ctx context.Context, c collecting, m machine, form string) error {
	request, answer, err := a.requestOf(ctx, c, m)
	if err != nil {
		return err
	}
	evidence, err := a.collectFrom(ctx, m, request)
	if err != nil {
		return err
	}
	if answer != nil {
		path := c.out + ".answer"
		if err := writeSecret(path, answer); err != nil {
			return err
		}
		evidence.Notes = append(evidence.Notes, "the answer to the challenge's credential is in "+path+
			": its base64 is activation_secret of POST /v1/verify")
	}
	if c.out == "-" {
		for _, note := range evidence.Notes {
			a.warn("%s", note)
		}
		return a.write(evidence.Bytes)
	}
	if err := writeFile(c.out, evidence.Bytes); err != nil {
		return err
	}
	return a.collected(c, m, evidence, form)
}

// requestOf reads what the evidence is for, and answers the credential that a challenge brings.
func (a *app) requestOf(
	ctx context.Context, c collecting, m machine,
) (request attester.Request, answer []byte, err error) {
	if c.nonce != "" {
		if request.Freshness, err = a.parseNonce(c.nonce); err == nil && m.spki != nil {
			if request.Key = m.spki; !m.keyField {
				err = usagef("bind the key through a challenge: --challenge or --server",
					"with a plain nonce evidence of format %s holds no key", m.attester.Format())
			}
		}
		return request, nil, err
	}
	doc, err := a.read("challenge", c.challenge, maxChallenge)
	if err != nil {
		return request, nil, err
	}
	verifier, err := a.verifier(c)
	if err != nil {
		return request, nil, err
	}
	challenge, err := verifier.Accept(doc, m.attester.Format(), a.now())
	if err != nil {
		return request, nil, err
	}
	if _, _, ok := challenge.Activation(); ok && c.out == "-" {
		return request, nil, usagef("give --out a file: the answer goes into one beside it",
			"the challenge brings a credential, and --out - leaves no place for the answer")
	}
	return a.answer(ctx, challenge, m)
}

// answer says what evidence for a challenge must hold, and answers the credential that came with it.
func (a *app) answer(
	ctx context.Context, challenge attester.Challenge, m machine,
) (request attester.Request, answer []byte, err error) {
	if request.Freshness, err = challenge.Freshness(m.spki); err != nil {
		return request, nil, err
	}
	if m.keyField {
		request.Key = m.spki
	}
	blob, secret, ok := challenge.Activation()
	if !ok {
		return request, nil, nil
	}
	if m.activate == nil {
		return request, nil, usagef("ask for a challenge without keys",
			"the challenge brings a credential, and format %s answers none", m.attester.Format())
	}
	defer a.progress("answering the verifier's credential")()
	answer, err = m.activate(ctx, blob, secret)
	return request, answer, err
}

func (a *app) collectFrom(
	ctx context.Context, m machine, request attester.Request,
) (attester.Evidence, error) {
	defer a.progress("collecting evidence")()
	evidence, err := m.attester.Collect(ctx, request)
	return evidence, hinted(err,
		"look whether the machine still gives evidence; on a busy one, add time: --timeout")
}

func writeFile(path string, data []byte) error {
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return usagef("give a path that can be written to", "write %q: %w", attestd.Excerpt(path, 200),
			pathless(err))
	}
	return nil
}

// writeSecret writes a file that this user alone can read, whatever lies at its path.
func writeSecret(path string, data []byte) error {
	err := os.Remove(path)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		var file *os.File
		if file, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err == nil {
			_, err = file.Write(data)
			err = errors.Join(err, file.Close())
		}
	}
	if err != nil {
		return usagef("give a path that can be written to", "write %q: %w", attestd.Excerpt(path, 200),
			pathless(err))
	}
	return nil
}

// collectedDoc says what was collected, as programs read it.
type collectedDoc struct {
	Schema string         `json:"schema"`
	Format attestd.Format `json:"format"`
	File   string         `json:"file"`
	Bytes  int            `json:"bytes"`
	SHA256 string         `json:"sha256"`
	// KeySHA256 is the digest of the bound key's SPKI; empty where none is bound.
	KeySHA256 string   `json:"key_sha256"`
	Notes     []string `json:"notes"`
}

func (a *app) collected(c collecting, m machine, evidence attester.Evidence, form string) error {
	digest := sha256.Sum256(evidence.Bytes)
	doc := collectedDoc{
		Schema: collectedSchema, Format: evidence.Format, File: c.out, Bytes: len(evidence.Bytes),
		SHA256: hex.EncodeToString(digest[:]), Notes: append([]string{}, evidence.Notes...),
	}
	if m.spki != nil {
		key := sha256.Sum256(m.spki)
		doc.KeySHA256 = hex.EncodeToString(key[:])
	}
	if form == formJSON {
		return report.JSON(a.out, doc)
	}
	table := report.Table{
		Lead:  []string{"COLLECTED", string(doc.Format), fmt.Sprintf("%d bytes", doc.Bytes), doc.File},
		Good:  true,
		Notes: doc.Notes, Next: "attestd verify " + report.QuoteArg(c.out) + c.again(),
	}
	if doc.KeySHA256 != "" {
		table.Lead = append(table.Lead, "key: bound (sha256:"+doc.KeySHA256[:8]+")")
	}
	return table.Text(a.out, a.page())
}

// again returns the flags with which attestd verify judges what was collected.
func (c collecting) again() string {
	var words strings.Builder
	for _, flag := range []struct{ name, value string }{
		{"nonce", c.nonce}, {"challenge", c.challenge}, {"key", c.key},
	} {
		if flag.value != "" {
			words.WriteString(" --" + flag.name + " " + report.QuoteArg(flag.value))
		}
	}
	return words.String()
}

// plainMachine is a kind of machine that needs no more than a path to be asked.
type plainMachine struct {
	format             attestd.Format
	place, what, paths string
	more               string
	// flags adds flags of this kind alone; nil for none.
	flags func(*pflag.FlagSet)
	open  func(path string) (attester.Attester, error)
}

func newEvidencePlain(a *app, kind plainMachine) *cobra.Command {
	var (
		c    collecting
		path string
	)
	name := string(kind.format)
	command := &cobra.Command{
		Use:   name + " --nonce HEX|--challenge FILE|--server URL",
		Short: "Collect evidence inside " + kind.what,
		Long:  "Collect evidence inside " + kind.what + ".\n\n" + kind.more + "\n" + threeWays,
		Example: "  attestd evidence " + name + " --challenge challenge.json --out " + name + ".bin\n" +
			"  attestd evidence " + name + " --server https://verifier.example.org --trust-domain example.org",
		Args: arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			if err := c.contradictions(command); err != nil {
				return err
			}
			m := machine{keyField: kind.format == attestd.FormatNitro}
			if c.key != "" {
				if m.spki, err = a.publicKey(c.key); err != nil {
					return err
				}
			}
			if m.attester, err = kind.open(path); err != nil {
				return err
			}
			ctx, stop := a.collectContext(command.Context(), c)
			defer stop()
			return a.collect(ctx, c, m, form)
		},
	}
	c.addFlags(command)
	command.Flags().StringVar(&path, kind.place, "", kind.paths)
	if kind.flags != nil {
		kind.flags(command.Flags())
	}
	return command
}

// collectContext ends with --timeout and with an interrupt, so that a TPM is left as it was found.
func (a *app) collectContext(ctx context.Context, c collecting) (context.Context, func()) {
	ctx, stop := untilStopped(ctx)
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	return ctx, func() {
		cancel()
		stop()
	}
}

func (a *app) collect(ctx context.Context, c collecting, m machine, form string) error {
	if c.server == "" {
		return a.collectOffline(ctx, c, m, form)
	}
	return a.exchange(ctx, c, m, form)
}
