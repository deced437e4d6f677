package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/attestd/attestd"
)

// Verdict says what is known about a verification beside its Appraisal.
type Verdict struct {
	// Source names the evidence as the user did: a file name, or "-".
	Source string
	// Recorded says that freshness was not demanded.
	Recorded bool
	// Key names the key that was demanded, as people recognise it; empty for none.
	Key string
	// Again are the flags with which another command verifies the same evidence, each behind a space.
	Again string
	// AllChecks lists every check, not only what did not pass.
	AllChecks bool
	// Why returns what an attacker gains without a check; empty where that is not known.
	Why func(attestd.CheckID) string
}

// Text writes the appraisal for people: the verdict first, then what did not pass with what was
// seen and wanted, the counts, and the next command.
func Text(w io.Writer, page Page, a attestd.Appraisal, about Verdict) error {
	s := &sheet{page: page}
	findings := findingsOf(a)
	s.verdictLine(a, about)
	bad := troubles(findings)
	for _, found := range bad {
		s.blank()
		s.trouble(found, about.Why)
	}
	if about.AllChecks {
		s.everyCheck(findings)
	}
	if len(bad) > 0 || about.AllChecks {
		s.blank()
	}
	s.summary(a, findings, about)
	s.next(nextCommand(a, bad, about))
	return s.writeTo(w)
}

func (s *sheet) verdictLine(a attestd.Appraisal, about Verdict) {
	word := strings.ToUpper(a.Verdict.String())
	style := map[attestd.Verdict]string{
		attestd.VerdictAccepted: styleGood, attestd.VerdictRejected: styleBad,
		attestd.VerdictUndecided: styleWarn,
	}[a.Verdict]
	what := Clean(string(a.Format), 40)
	if a.Summary != "" {
		what += " (" + Clean(a.Summary, 60) + ")"
	}
	parts := []string{word, what, "risk " + a.Risk.String() + " " + a.Tier.String(), freshness(a, about)}
	if about.Key != "" && a.Verdict == attestd.VerdictAccepted {
		parts = append(parts, "key: bound ("+Clean(about.Key, 40)+")")
	}
	for _, reason := range a.Reasons {
		if reason.Check == rootsPinned {
			// On the first line, which is all that --quiet leaves: whoever can have a root loaded can have
			// anything accepted.
			parts = append(parts, "roots: NOT PINNED")
			break
		}
	}
	s.lead(style, parts...)
}

// rootsPinned is the check that a chain ends in a root that is compiled in.
const rootsPinned attestd.CheckID = "roots/pinned"

func freshness(a attestd.Appraisal, about Verdict) string {
	switch {
	case a.Freshness == attestd.FreshnessNonce:
		return "fresh: nonce matched" + age(a)
	case a.Freshness == attestd.FreshnessBinding:
		return "fresh: bound to the challenge" + age(a)
	case about.Recorded:
		return "freshness: NOT SHOWN (--recorded)"
	default:
		return "freshness: NOT SHOWN"
	}
}

// age says how long before the judgement evidence was signed, where its format tells.
func age(a attestd.Appraisal) string {
	var claims struct {
		SignedAt time.Time `json:"signed_at"`
	}
	if err := json.Unmarshal(a.Claims, &claims); err != nil || claims.SignedAt.IsZero() {
		return "" // claims without that fact, or none: nothing is said
	}
	if seconds := int(a.At.Sub(claims.SignedAt).Seconds()); seconds > 0 {
		return fmt.Sprintf(", signed %d s ago", seconds)
	}
	return ", signed just now"
}

// trouble writes one check that did not pass.
func (s *sheet) trouble(found finding, why func(attestd.CheckID) string) {
	left := found.outcome.label() + "  " + found.name(80)
	right := Clean(found.check.Spec, 200)
	if found.outcome == outcomeWarning {
		right = found.points()
	}
	s.sides(found.outcome.style(), left, right)
	s.field("got", Clean(found.check.Got, longestValue))
	if found.check.Result == attestd.ResultMissing {
		s.field("got", "no result: the check did not run, which is never a pass")
	}
	s.field("want", Clean(found.check.Want, longestValue))
	if found.outcome != outcomeWarning && why != nil {
		s.field("why", Clean(why(found.check.ID), longestValue))
	}
	s.field("hint", Clean(found.hint(), longestValue))
}

func (s *sheet) everyCheck(findings []finding) {
	s.blank()
	column := 0
	for _, found := range findings {
		column = max(column, len(found.name(50)))
	}
	column = min(column, 40) + 12
	for _, found := range findings {
		label := fmt.Sprintf("%-9s %s", found.outcome.label(), found.name(50))
		s.row(0, column, label, Clean(found.check.Got, longestValue))
	}
}

func (s *sheet) summary(a attestd.Appraisal, findings []finding, about Verdict) {
	counts := tally(findings)
	line := fmt.Sprintf("checks   %d pass   %d fail", counts[outcomePass], counts[outcomeFail])
	if n := counts[outcomeUndecided]; n > 0 {
		line += fmt.Sprintf("   %d undecided", n)
	}
	if n := counts[outcomeWarning]; n == 1 {
		line += "   1 warning"
	} else if n > 1 {
		line += fmt.Sprintf("   %d warnings", n)
	}
	if n := counts[outcomeNotApplicable]; n > 0 {
		line += fmt.Sprintf("   %d not applicable", n)
	}
	all := "all: --checks all"
	if about.AllChecks {
		all = ""
	}
	s.sides("", line, all)
	policy := "policy   " + Clean(a.Policy.ID, 40) + "  " + shortDigest(a.Policy.Digest)
	s.segments("", 9, policy, "evidence  "+shortDigest("sha256:"+a.EvidenceSHA256),
		"as of  "+a.At.UTC().Format(time.RFC3339))
	s.devices(a)
	if a.Standing != nil {
		s.standing(*a.Standing)
	}
}

// devices writes a line for each part of composed evidence, then what ties them together. A device
// whose freshness differs from the whole's says so.
func (s *sheet) devices(a attestd.Appraisal) {
	for _, device := range a.Devices {
		what := Clean(string(device.Format), 40)
		if device.Summary != "" {
			what += " (" + Clean(device.Summary, 60) + ")"
		}
		parts := []string{
			"device   " + Clean(device.Path, 20) + "   " + what,
			device.Verdict.String() + ", risk " + device.Risk.String() + " " + device.Tier.String(),
		}
		if device.Freshness != a.Freshness {
			parts = append(parts, "freshness: "+device.Freshness.String())
		}
		s.segments("", 9, parts...)
	}
	for _, edge := range a.Edges {
		s.row(0, 9, "edge", Clean(edge.From, 20)+" to "+Clean(edge.To, 20)+": "+
			strings.ToUpper(edge.Grade.String())+", "+Clean(edge.How, longestValue))
	}
}

// standing says who it is, whose it is and in which state, as the registry had it.
func (s *sheet) standing(of attestd.Standing) {
	if of.Subject == "" {
		whose := "nobody: the machine is not enrolled"
		switch of.Enrolment {
		case "pending":
			whose = "nobody yet: the machine waits for an operator's approval"
		case "denied":
			whose = "nobody: an operator denied the machine"
		case "expired":
			whose = "nobody any more: the machine's enrolment is over"
		}
		if of.Tenant != "" {
			whose = "none: the evidence names no instance   tenant " + Clean(of.Tenant, 64)
		}
		s.row(0, 9, "subject", whose)
		return
	}
	s.row(0, 9, "subject", Clean(of.Subject, 2048))
	parts := []string{
		"state    " + of.State.String(), "risk " + of.Risk.String(),
		"tenant " + Clean(of.Tenant, 64) + " (" + Clean(of.Ownership, 40) + ")",
	}
	if !of.DueAt.IsZero() {
		parts = append(parts, "due  "+of.DueAt.UTC().Format(time.RFC3339))
	}
	s.segments("", 9, parts...)
}

// shortDigest keeps the name of the hash and eight digits: enough to compare by eye, and the JSON
// has all of it.
func shortDigest(digest string) string {
	name, hexDigits, ok := strings.Cut(Clean(digest, 140), ":")
	if !ok || len(hexDigits) <= 8 {
		return Clean(digest, 140)
	}
	return name + ":" + hexDigits[:8]
}

// nextCommand is what most people want to type next.
func nextCommand(a attestd.Appraisal, bad []finding, about Verdict) string {
	source := QuoteArg(about.Source)
	switch {
	case len(bad) > 0:
		// Another verifier's verdict can name a check as it likes, and this is there to be pasted.
		return "attestd explain " + QuoteArg(string(bad[0].check.ID))
	case a.Verdict == attestd.VerdictAccepted && source != "-":
		return "attestd measure " + source + about.Again + " --name NAME   # makes a reference file of it"
	default:
		return "attestd explain"
	}
}

// QuoteArg returns text as one word of a POSIX shell, so that a printed command can be pasted even
// where a file's name was chosen by somebody else.
func QuoteArg(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			strings.ContainsRune("-_./@:+,=%", r)
	}
	cleaned := Clean(text, 200)
	if len(cleaned) > 1 && cleaned[0] == '-' {
		cleaned = "./" + cleaned // or the shell's next program reads a file's name as a flag
	}
	if cleaned != "" && strings.IndexFunc(cleaned, func(r rune) bool { return !plain(r) }) < 0 {
		return cleaned
	}
	return "'" + strings.ReplaceAll(cleaned, "'", `'\''`) + "'"
}
