package main

import (
	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/explain"
	"github.com/attestd/attestd/internal/report"
)

func newVerify(a *app) *cobra.Command {
	var q question
	var checks string
	command := &cobra.Command{
		Use:   "verify [flags] FILE|-",
		Short: "Judge evidence and explain the verdict",
		Long: `Verify judges one piece of evidence: is it authentic, is it fresh, is it bound to what was
demanded, and is it good enough under the policy?

Freshness is demanded with --nonce (the freshness field must equal it; 32 bytes or more) or with
--challenge (it must hold the digest that binds the challenge, and the key of --key). Both are
judged now: a time of the caller's choice would let old evidence pass for fresh. --recorded judges
an archived document instead, as of --at; it never shows freshness, and says so. A --nonce given
beside it may have any length.

Neither the signature of a challenge is checked here nor that it is used once: take its FILE from
the verifier itself, never from who sends the evidence. POST /v1/verify sees to both.

With --compare-collateral it is judged twice, with all else the same, and what differs is told:
documents and lists, facts, checks. The exit code is that of --collateral. It answers, with nothing
fetched, what a vendor's next TCB update will do to a machine.

Evidence is taken raw. Hex, base64 and PEM are not decoded, because which bytes were signed must
not depend on a guess.`,
		Example: `  attestd verify nitro.cbor --nonce @nonce.bin
  attestd verify report.bin --challenge challenge.json --key service.pem --collateral ./amd
  attestd verify report.bin --recorded --at 2025-06-01T00:00:00Z -o json`,
		Args: arguments(1, 1, "one FILE, or - for standard input"),
		RunE: func(_ *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON, formJUnit, formSARIF)
			if err != nil {
				return err
			}
			if checks != "failed" && checks != "all" {
				return usagef("give failed or all", "unknown value %q for --checks", attestd.Excerpt(checks, 40))
			}
			if err := q.comparable(form); err != nil {
				return err
			}
			return a.verify(q, args[0], form, checks == "all")
		},
	}
	q.addFlags(command)
	command.Flags().StringVar(&q.compare, "compare-collateral", "",
		"also judge with the collateral in this `FOLDER`, and tell what --collateral changes against it")
	command.Flags().StringVar(&checks, "checks", "failed", "`WHICH` checks to list in text: failed or all")
	complete(command, "checks", "failed", "all")
	a.outputFlag(command, formText, formJSON, formJUnit, formSARIF)
	return command
}

func (a *app) verify(q question, path, form string, allChecks bool) error {
	asked, err := a.ask(q, path)
	if err != nil {
		return err
	}
	verdict, err := asked.judge.Judge(asked.request)
	if err != nil {
		return undetected(err, asked.request.Evidence, path)
	}
	about := report.Verdict{
		Source: path, Recorded: q.recorded, Key: asked.key, AllChecks: allChecks, Why: why,
		Again: q.again(),
	}
	a.exit = exitOfVerdict(verdict.Verdict)
	if q.compare != "" {
		both, err := a.compare(q, asked, verdict)
		if err != nil {
			return err
		}
		if form == formJSON {
			return report.JSON(a.out, both)
		}
		return both.tell(a, q, path)
	}
	switch form {
	case formJSON:
		return report.JSON(a.out, verdict)
	case formJUnit:
		return report.JUnit(a.out, verdict, about)
	case formSARIF:
		return report.SARIF(a.out, verdict, about, buildVersion(), rule)
	default:
		return report.Text(a.out, a.page(), verdict, about)
	}
}

// comparable refuses what cannot be compared.
func (q question) comparable(form string) error {
	switch {
	case q.compare == "":
		return nil
	case q.collateral == "":
		return usagef("give the new collateral with --collateral, and the old with --compare-collateral",
			"--compare-collateral stands alone")
	case form != formText && form != formJSON:
		return usagef("drop -o, or give -o json", "a comparison is not written as %s", form)
	default:
		return nil
	}
}

func exitOfVerdict(verdict attestd.Verdict) int {
	switch verdict {
	case attestd.VerdictAccepted:
		return exitAccepted
	case attestd.VerdictRejected:
		return exitRejected
	default:
		return exitUndecided
	}
}

// why returns what an attacker gains without a check.
func why(id attestd.CheckID) string {
	entry, _ := explain.Lookup(string(id))
	return entry.Why
}

func rule(id attestd.CheckID) (report.Rule, bool) {
	entry, known := explain.Lookup(string(id))
	return report.Rule{Proves: entry.Proves, Why: entry.Why, Hint: entry.Hint}, known
}
