package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/service"
)

// expectation is what attestd itself knows about the verdict that it asked for.
type expectation struct {
	evidence string // SHA-256 in hex
	format   attestd.Format
	policy   attestd.PolicyRef
	at       time.Time
	demand   service.DemandMode
}

// check refuses a verdict that is not about what was sent, or that contradicts itself. A worker that
// was taken over can still lie consistently about evidence it was given; without these lines it
// could also answer with a verdict on other evidence, by another policy, or with a word that its own
// score does not support.
func (e expectation) check(a attestd.Appraisal) error {
	return errors.Join(e.checkSubject(a), e.checkFreshness(a), checkTier(a), checkGrounds(a), checkText(a))
}

func (e expectation) checkSubject(a attestd.Appraisal) error {
	switch {
	case a.Schema != attestd.VerdictSchema || a.ID != "":
		return fmt.Errorf("verdict has schema %q and id %q", attestd.Excerpt(a.Schema, 40), attestd.Excerpt(a.ID, 40))
	case a.EvidenceSHA256 != e.evidence:
		return errors.New("verdict is about other evidence than was sent")
	case a.Policy != e.policy:
		return errors.New("verdict is by another policy than was sent")
	case !a.At.Equal(e.at):
		return errors.New("verdict is as of another time than was sent")
	case !slices.Contains(attestd.Formats(), a.Format), e.format != "" && a.Format != e.format:
		return fmt.Errorf("verdict is about format %q", attestd.Excerpt(string(a.Format), 40))
	}
	return nil
}

// checkFreshness: an accepted verdict must have shown what was demanded, and no verdict more.
func (e expectation) checkFreshness(a attestd.Appraisal) error {
	want := map[service.DemandMode]attestd.Freshness{
		service.DemandRecorded: attestd.FreshnessNotShown,
		service.DemandNonce:    attestd.FreshnessNonce,
		service.DemandBinding:  attestd.FreshnessBinding,
	}[e.demand]
	if a.Freshness == want || a.Verdict != attestd.VerdictAccepted && a.Freshness == attestd.FreshnessNotShown {
		return nil
	}
	return fmt.Errorf("verdict has freshness %s where %s was demanded", a.Freshness, want)
}

// checkTier: the verdict follows from the tier; the tier from the score, unless nothing could be
// decided.
func checkTier(a attestd.Appraisal) error {
	switch {
	case a.Verdict != a.Tier.Verdict():
		return fmt.Errorf("verdict %s does not follow from tier %s", a.Verdict, a.Tier)
	case a.Tier != attestd.TierUnknown && a.Tier != a.Risk.Tier():
		return fmt.Errorf("tier %s does not follow from risk %s", a.Tier, a.Risk)
	}
	return nil
}

// checkGrounds: an accepted verdict has claims, at least one check, none without a result, and no
// reason against it; one that is not accepted says why.
func checkGrounds(a attestd.Appraisal) error {
	if len(a.Claims) == 0 || !json.Valid(a.Claims) {
		return errors.New("verdict has claims that are not JSON")
	}
	if a.Verdict != attestd.VerdictAccepted {
		if len(a.Reasons) == 0 {
			return fmt.Errorf("verdict %s has no reasons", a.Verdict)
		}
		return nil
	}
	if a.Claims[0] != '{' || len(a.Checks) == 0 {
		return errors.New("verdict accepted has no claims or no checks")
	}
	for _, check := range a.Checks {
		if check.Result == attestd.ResultMissing {
			return errors.New("verdict accepted has a check without a result")
		}
	}
	for _, reason := range a.Reasons {
		if reason.Effect != attestd.EffectScored {
			return fmt.Errorf("verdict accepted has a reason that says %s", reason.Effect)
		}
	}
	return nil
}

// checkText: what a worker says goes to terminals and logs, so it may hold nothing that Excerpt
// would have to replace.
func checkText(a attestd.Appraisal) error {
	fine := printable(a.Summary) && printable(a.Claims)
	for _, reason := range a.Reasons {
		fine = fine && printable(reason.Check) && printable(reason.Group) && printable(reason.Detail) &&
			printable(reason.Remedy)
	}
	for _, check := range a.Checks {
		fine = fine && printable(check.ID) && printable(check.Got) && printable(check.Want) &&
			printable(check.Spec) && printable(check.Hint)
	}
	if !fine {
		return errors.New("verdict holds characters that could steer a terminal")
	}
	return nil
}

// printable reports whether Excerpt would leave text as it is. Nearly all text here is printable
// ASCII, which a loop over its bytes can tell.
func printable[Text ~string | ~[]byte](text Text) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return attestd.Excerpt(string(text), len(text)) == string(text)
		}
	}
	return true
}
