package main

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/internal/report"
	"github.com/attestd/attestd/internal/strict"
	"github.com/attestd/attestd/measurements"
)

// question holds the flags of every command that has evidence judged.
type question struct {
	format        string
	at            string
	nonce         string
	challenge     string
	key           string
	policy        string
	references    []string
	collateral    string
	compare       string
	recorded      bool
	insecureRoots string
}

// addFlags defines the flags on command.
func (q *question) addFlags(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&q.format, "format", "", "`FORMAT` of the evidence (default: recognised by its envelope)")
	flags.StringVar(&q.at, "at", "", "judge as of this RFC 3339 `TIME`; only with --recorded (default now)")
	flags.StringVar(&q.nonce, "nonce", "", "freshness field must equal this: `HEX`, or @FILE with raw bytes")
	flags.StringVar(&q.challenge, "challenge", "",
		"freshness field must bind the challenge in `FILE`, a reply of POST /v1/challenges; its signature is not checked")
	flags.StringVar(&q.key, "key", "", "evidence must be bound to the public key in `FILE` (SPKI in PEM or DER)")
	flags.StringVar(&q.policy, "policy", "",
		"policy by `NAME` or file (default production; recorded with --recorded)")
	flags.StringArrayVar(&q.references, "reference", nil, "`FILE` with reference values; may be repeated")
	flags.StringVar(&q.collateral, "collateral", "", "`FOLDER` with the vendor's certificates and CRLs, and Intel's JSON")
	flags.BoolVar(&q.recorded, "recorded", false, "judge authenticity only: freshness is NOT shown")
	flags.StringVar(&q.insecureRoots, "insecure-roots", "",
		"also trust the roots in this PEM `FILE`, for tests; the risk is then never below 60")
	complete(command, "format", formatNames()...)
	completeWith(command, "policy", cobra.ShellCompDirectiveDefault, appraisal.BuiltinNames)
}

func formatNames() []string {
	var names []string
	for _, format := range attestd.Formats() {
		names = append(names, string(format))
	}
	return names
}

// asked is a question that can be put to a judge.
type asked struct {
	judge   *judge.Judge
	request judge.Request
	// key is how people recognise the demanded key; empty for none.
	key string
}

// ask reads every file that the flags name and builds the request for the evidence in path. Flags are
// looked at before files, and the evidence last: a mistake in the command is told first.
func (a *app) ask(q question, path string) (asked, error) {
	var (
		out     asked
		request judge.Request
		err     error
	)
	if err := q.contradictions(); err != nil {
		return out, err
	}
	if q.format != "" {
		if request.Format, err = attestd.ParseFormat(q.format); err != nil {
			return out, err
		}
	}
	request.At = a.now().UTC()
	if q.at != "" {
		if request.At, err = parseAt(q.at); err != nil {
			return out, err
		}
	}
	if request.Policy, err = a.policy(q); err != nil {
		return out, err
	}
	if request.References, err = a.references(q.references); err != nil {
		return out, err
	}
	if out.key, err = a.demand(q, &request); err != nil {
		return out, err
	}
	if request.Endorsements, err = a.collateral(q.collateral); err != nil {
		return out, err
	}
	roots, err := a.insecureRoots(q.insecureRoots)
	if err != nil {
		return out, err
	}
	if out.judge, err = a.judge(judge.Config{InsecureRoots: roots}); err != nil {
		return out, hinted(err, "attestd verify works without --insecure-roots")
	}
	if request.Evidence, err = a.evidence(path); err != nil {
		return out, err
	}
	out.request = request
	return out, nil
}

// contradictions refuses flags that cannot stand together. Nothing is ever weakened silently.
func (q question) contradictions() error {
	const need = "give --nonce HEX or --challenge FILE; for an archived document add --recorded " +
		"(freshness is then not shown)"
	switch {
	case q.nonce != "" && q.challenge != "":
		return usagef("drop one: a challenge holds its own nonce", "--nonce and --challenge contradict each other")
	case q.challenge != "" && q.recorded:
		return usagef("drop --recorded to check the binding now, or --challenge to judge an archived document",
			"--challenge and --recorded contradict each other")
	case !q.recorded && q.at != "":
		// Evidence that is judged fresh at a time of the caller's choice is replayable for ever.
		return usagef("drop --at, or add --recorded to judge an archived document as of that time",
			"--at needs --recorded: freshness is always judged now")
	case !q.recorded && q.nonce == "" && q.challenge == "":
		return usagef(need, "nothing says what the evidence must be fresh for")
	default:
		return nil
	}
}

// again returns the flags, as words of a shell, with which another command verifies the same evidence.
func (q question) again() string {
	var words strings.Builder
	for _, flag := range []struct{ name, value string }{
		{"format", q.format}, {"at", q.at}, {"collateral", q.collateral}, {"insecure-roots", q.insecureRoots},
	} {
		if flag.value != "" {
			words.WriteString(" --" + flag.name + " " + report.QuoteArg(flag.value))
		}
	}
	return words.String()
}

// policy returns the policy asked for; a built-in name is never looked for on disk.
func (a *app) policy(q question) (*appraisal.Policy, error) {
	name := q.policy
	if name == "" {
		if name = appraisal.Production; q.recorded {
			name = appraisal.Recorded
		}
	}
	if slices.Contains(appraisal.BuiltinNames(), name) {
		return appraisal.Builtin(name)
	}
	doc, err := a.read("policy", name, maxDocument)
	if err != nil {
		return nil, withBuiltins(err, name)
	}
	policy, err := appraisal.ParsePolicy(name, doc)
	if err != nil {
		return nil, hinted(err, "mend the lines that are named; nothing was verified")
	}
	return policy, nil
}

// withBuiltins adds the names there are where a policy looks like a misspelt name.
func withBuiltins(err error, name string) error {
	if strings.ContainsAny(name, "./\\") {
		return err
	}
	return usagef("give a file, or one of: "+strings.Join(appraisal.BuiltinNames(), ", "), "%w", err)
}

func (a *app) references(paths []string) (*measurements.Index, error) {
	sets, err := a.referenceSets(paths)
	if err != nil {
		return nil, err
	}
	index, err := measurements.NewIndex(sets...)
	if err != nil {
		return nil, hinted(err, "attestd ref ls FILE... shows what each file holds")
	}
	return index, nil
}

func (a *app) referenceSets(paths []string) ([]*measurements.Set, error) {
	var sets []*measurements.Set
	for _, path := range paths {
		doc, err := a.read("reference values", path, maxDocument)
		if err != nil {
			return nil, err
		}
		set, err := measurements.Parse(path, doc)
		if err != nil {
			return nil, hinted(err, "attestd measure EVIDENCE --name NAME writes a file of this kind")
		}
		sets = append(sets, set)
	}
	return sets, nil
}

// demand sets what the evidence must be bound to, and returns the name of the key.
func (a *app) demand(q question, request *judge.Request) (string, error) {
	var spki []byte
	var keyName string
	if q.key != "" {
		var err error
		if spki, err = a.publicKey(q.key); err != nil {
			return "", err
		}
		digest := sha256.Sum256(spki)
		keyName = "sha256:" + hex.EncodeToString(digest[:4])
	}
	var err error
	switch {
	case q.challenge != "":
		err = a.bound(q, spki, request)
		return keyName, err // the binding covers the key
	case q.recorded:
		request.Demand = attestd.Recorded()
		if q.nonce != "" {
			var nonce []byte
			if nonce, err = a.parseNonce(q.nonce); err == nil {
				request.Demand, err = request.Demand.WithNonce(nonce)
			}
		}
	default:
		var nonce []byte
		if nonce, err = a.parseNonce(q.nonce); err == nil {
			request.Demand, err = attestd.Fresh(nonce)
		}
	}
	if err == nil && spki != nil {
		request.Demand, err = request.Demand.WithKey(spki)
	}
	return keyName, hinted(err, "attestd verify --help")
}

// bound reads a challenge and demands the binding (attestd.Binding) for it.
func (a *app) bound(q question, spki []byte, request *judge.Request) error {
	const hint = "use the reply of POST /v1/challenges as it came"
	doc, err := a.read("challenge", q.challenge, maxChallenge)
	if err != nil {
		return err
	}
	var reply challenge.Reply
	limits := strict.JSONLimits{Bytes: maxChallenge, Depth: 4}
	if err := strict.DecodeJSON(doc, limits, &reply); err != nil {
		return usagef(hint, "challenge %q: %w", attestd.Excerpt(q.challenge, 200), err)
	}
	if reply.Schema != challenge.Schema {
		return usagef(hint, "challenge %q has schema %q, want %q", attestd.Excerpt(q.challenge, 200),
			attestd.Excerpt(reply.Schema, 40), challenge.Schema)
	}
	given := reply.Challenge
	if request.Format != "" && request.Format != given.Format {
		return usagef("drop --format, or ask for a challenge of that format",
			"the challenge is for format %q, --format says %q",
			attestd.Excerpt(string(given.Format), 40), request.Format)
	}
	if given.ExpiresAt.IsZero() || !given.IssuedAt.Before(given.ExpiresAt) {
		return usagef(hint, "challenge %q does not say when it was issued and when it expires",
			attestd.Excerpt(q.challenge, 200))
	}
	if request.Format, err = attestd.ParseFormat(string(given.Format)); err != nil {
		return err
	}
	request.ChallengeExpiresAt = given.ExpiresAt.In(time.UTC)
	request.Demand, err = attestd.Bound(given.Binding(spki))
	return hinted(err, hint)
}
