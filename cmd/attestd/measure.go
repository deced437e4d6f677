package main

import (
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/measurements"
)

// recordedQuestion holds the flags of commands that verify archived evidence without judging it.
type recordedQuestion struct {
	format, at, collateral, insecureRoots string
	// references are files whose keys are trusted.
	references []string
	// trustKey trusts the attestation key that the evidence itself brings. Whoever sets it says so.
	trustKey bool
}

func (q *recordedQuestion) addFlags(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&q.format, "format", "", "`FORMAT` of the evidence (default: recognised by its envelope)")
	flags.StringVar(&q.at, "at", "", "verify as of this RFC 3339 `TIME` (default now)")
	flags.StringVar(&q.collateral, "collateral", "", "`FOLDER` with the vendor's certificates and CRLs")
	flags.StringVar(&q.insecureRoots, "insecure-roots", "", "also trust the roots in this PEM `FILE`, for tests")
	complete(command, "format", formatNames()...)
}

func (q recordedQuestion) question() question {
	return question{
		recorded: true, format: q.format, at: q.at, collateral: q.collateral,
		insecureRoots: q.insecureRoots, references: q.references,
	}
}

// recordedClaims verifies evidence and returns its claims, with what the reference files hold; there
// are no claims without a verification.
func (a *app) recordedClaims(
	q recordedQuestion, path string,
) (*attestd.Claims, *measurements.Index, error) {
	asked, err := a.ask(q.question(), path)
	if err != nil {
		return nil, nil, err
	}
	if q.trustKey {
		key, err := keyOf(asked.judge, asked.request)
		if err != nil {
			return nil, nil, undetected(err, asked.request.Evidence, path)
		}
		asked.request.Anchors.AttestationKeys = [][32]byte{key}
	}
	claims, err := asked.judge.Verify(asked.request)
	if err != nil {
		return nil, nil, undetected(err, asked.request.Evidence, path)
	}
	return claims, asked.request.References, nil
}

// factKey is the fact, and fieldKey the inspected field, with the SHA-256 of a TPM's attestation key.
const (
	factKey  = "ak_sha256"
	fieldKey = "ak.sha256"
)

// keyOf reads the digest of the attestation key that evidence brings, and believes nothing of it.
func keyOf(judge *judge.Judge, request judge.Request) (key [32]byte, err error) {
	seen, err := judge.Inspect(request.Format, request.Evidence)
	if err != nil {
		return key, err
	}
	for _, field := range seen.Fields {
		if digest, err := hex.DecodeString(field.Value); field.Name == fieldKey && err == nil &&
			len(digest) == len(key) {
			copy(key[:], digest)
			return key, nil
		}
	}
	return key, usagef("drop --trust-key: other formats are signed by keys of their vendors",
		"evidence of format %q brings no attestation key of the machine's own", seen.Format)
}

// measureQuestion holds the flags of attestd measure.
type measureQuestion struct {
	recordedQuestion
	name, version, state, pcrs string
	rules                      bool
}

func newMeasure(a *app) *cobra.Command {
	var q measureQuestion
	command := &cobra.Command{
		Use:   "measure EVIDENCE --name NAME",
		Short: "Write a file of reference values from evidence",
		Long: `Measure verifies EVIDENCE as an archived document and writes its measurements to standard output
as a file of reference values. Evidence that is not authentic is refused: its measurements are
anybody's. The value is "proposed" unless --state says otherwise, and a proposed value matches
nothing: what runs in the evidence becomes known-good by somebody's decision, not by having run.

Of a TPM, PCRs 0 to 7 are taken where they were quoted, or those of --pcrs, and the events of the
boot log are kept beside them, so that a later difference can be named. With --rules the events
become rules: what was started must be among what was started here, and dbx may only grow.

A quote proves nothing unless somebody vouches for its key. --reference takes keys from a file.
--trust-key trusts the key that EVIDENCE brings, and writes its digest into the new file: say it
only of evidence that you collected yourself, on a machine that you know.`,
		Example: `  attestd measure report.bin --name web-guest --state active > web-guest.yaml
  attestd measure golden.tpm --name web-host --rules --trust-key > web-host.yaml`,
		Args: arguments(1, 1, "one EVIDENCE, or - for standard input"),
		RunE: func(_ *cobra.Command, args []string) error {
			if _, err := a.form(formText); err != nil {
				return usagef("drop -o: a file of reference values is YAML", "%w", err)
			}
			if q.name == "" {
				return usagef("add --name, as in --name web-guest", "the reference values have no name")
			}
			if q.state != "proposed" && q.state != "active" {
				return usagef("give proposed or active", "unknown state %q", attestd.Excerpt(q.state, 40))
			}
			registers, err := readPCRs(q.pcrs)
			if err != nil {
				return err
			}
			claims, _, err := a.recordedClaims(q.recordedQuestion, args[0])
			if err != nil {
				return vouchable(err)
			}
			return a.measure(claims, q, registers)
		},
	}
	q.addFlags(command)
	flags := command.Flags()
	flags.StringVar(&q.name, "name", "", "`NAME` of what was measured")
	flags.StringVar(&q.version, "version", "", "`VERSION` of what was measured")
	flags.StringVar(&q.state, "state", "proposed", "`STATE` of the value: proposed or active")
	flags.StringVar(&q.pcrs, "pcrs", "", "`PCRS` to take, as in 0-7,11 (default: those that say what runs)")
	flags.BoolVar(&q.rules, "rules", false, "write rules over the events of the boot log, of a TPM")
	flags.BoolVar(&q.trustKey, "trust-key", false,
		"trust the TPM's attestation key in EVIDENCE, and write it down")
	flags.StringArrayVar(&q.references, "reference", nil, "`FILE` with keys to trust; may be repeated")
	complete(command, "state", "proposed", "active")
	return command
}

// readPCRs reads "0-7,11" as names of registers; none for an empty text.
func readPCRs(text string) ([]string, error) {
	const hint = "write numbers and ranges, as in --pcrs 0-7,11"
	var names []string
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, firstErr := strconv.ParseUint(from, 10, 8)
		last, lastErr := strconv.ParseUint(to, 10, 8)
		if firstErr != nil || lastErr != nil || last < first || last > 31 {
			return nil, usagef(hint, "--pcrs has %q, want a number from 0 to 31 or a range",
				attestd.Excerpt(part, 20))
		}
		for ; first <= last; first++ {
			name := "PCR" + strconv.FormatUint(first, 10)
			if slices.Contains(names, name) {
				return nil, usagef(hint, "--pcrs names %d twice", first)
			}
			names = append(names, name)
		}
	}
	return names, nil
}

// vouchable tells whoever measures a golden machine how its key comes to be trusted.
func vouchable(err error) error {
	var rejected *attestd.EvidenceError
	if !errors.As(err, &rejected) || rejected.Check != "tpm/ak-trusted" {
		return err
	}
	told := *rejected
	told.Hint = "if you collected it yourself, on a machine that you know: --trust-key; or name a file " +
		"with the key: --reference FILE"
	return &told
}

func (a *app) measure(claims *attestd.Claims, q measureQuestion, registers []string) error {
	const hint = "use lower-case letters, digits, dots and hyphens"
	set, err := measurements.Measure(q.name, claims, measurements.Options{
		Registers: registers, Rules: q.rules,
	})
	if err != nil {
		return hinted(err, "attestd inspect EVIDENCE shows what was measured")
	}
	set.Version = q.version
	if q.state == "active" {
		for index := range set.Values {
			set.Values[index].State = measurements.StateActive
		}
	}
	if q.trustKey {
		value, _ := claims.Fact(factKey)
		digest, _ := value.Bytes()
		var key measurements.Key
		if copy(key.SHA256[:], digest) != len(key.SHA256) {
			return usagef("drop --trust-key", "the claims do not say which key signed the quote")
		}
		key.Name = q.name
		set.AttestationKeys = []measurements.Key{key}
		a.warn("attestation key %x is trusted because --trust-key says so, and by whoever loads this file; "+
			"nothing shows that it lives in a TPM, or whose machine it is", key.SHA256)
	}
	doc, err := set.YAML()
	if err != nil {
		return hinted(err, hint)
	}
	if _, err := measurements.Parse("the new file", doc); err != nil {
		return hinted(err, hint) // what is written here must be what is read later
	}
	if claims.InsecureRoots() {
		a.warn("these values come from evidence under a root that was loaded by hand")
	}
	return a.write(doc)
}
