package main

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/report"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

// comparisonSchema is the form of what verify --compare-collateral writes as JSON.
const comparisonSchema = "attestd.collateral-comparison.v1"

// comparison is one piece of evidence judged twice, with all else the same: what another collateral does.
type comparison struct {
	Schema string    `json:"schema"`
	At     time.Time `json:"at"`
	// Same says that nothing about the verdict differs: its checks, reasons and facts are the same.
	Same bool `json:"same"`
	// Verdict, Tier and Risk under the one and the other.
	Verdict changed `json:"verdict"`
	Tier    changed `json:"tier"`
	Risk    changed `json:"risk_score"`
	// Collateral is what differs in what was given, Facts in what the evidence came to mean by it, and
	// Checks in what was found.
	Collateral []change `json:"collateral"`
	Facts      []change `json:"facts"`
	Checks     []change `json:"checks"`
	// Old and New are the two verdicts whole.
	Old attestd.Appraisal `json:"old"`
	New attestd.Appraisal `json:"new"`
}

// changed is a value under both, in words.
type changed struct {
	Old string `json:"old"`
	New string `json:"new"`
}

// change is something that differs. What it is about is a document's subject, the name of a fact, or a
// check's id; Old or New is empty where there is none.
type change struct {
	Device string `json:"device,omitempty"`
	Name   string `json:"name"`
	changed
	// Why is what the check saw and wanted under the new collateral.
	Why string `json:"why,omitempty"`
}

// compare judges the evidence once more with the collateral in the folder old.
func (a *app) compare(q question, asked asked, now attestd.Appraisal) (comparison, error) {
	before := asked.request
	var err error
	if before.Endorsements, err = a.collateral(q.compare); err != nil {
		return comparison{}, err
	}
	then, err := asked.judge.Judge(before)
	if err != nil {
		return comparison{}, err
	}
	return compared(before.Endorsements, asked.request.Endorsements, then, now), nil
}

func compared(before, after attestd.Endorsements, old, now attestd.Appraisal) comparison {
	out := comparison{
		Schema: comparisonSchema, At: now.At, Old: old, New: now,
		Verdict:    changed{old.Verdict.String(), now.Verdict.String()},
		Tier:       changed{old.Tier.String(), now.Tier.String()},
		Risk:       changed{old.Risk.String(), now.Risk.String()},
		Collateral: differing(describe(before), describe(after)),
		Facts:      differing(factsOf(old), factsOf(now)), Checks: checksOf(old, now),
	}
	out.Same = out.Verdict.same() && out.Tier.same() && out.Risk.same() &&
		len(out.Facts)+len(out.Checks) == 0
	return out
}

func (c changed) same() bool { return c.Old == c.New }

// named is what a change is about: a name on one device, or on the whole.
type named struct{ device, name string }

// differing lists what stands under one name with two values, in the order of the names.
func differing(old, now map[named]string) []change {
	found := []change{}
	names := map[named]bool{}
	for _, side := range []map[named]string{old, now} {
		for key := range side {
			names[key] = true
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(names), func(a, b named) int {
		return cmp.Or(cmp.Compare(a.device, b.device), cmp.Compare(a.name, b.name))
	}) {
		if old[key] != now[key] {
			found = append(found, change{Device: key.device, Name: key.name, changed: changed{old[key], now[key]}})
		}
	}
	return found
}

// describe says of each document and revocation list which one it is, by its number and date. Nothing of it is verified: the
// verdicts say what of it counted.
func describe(given attestd.Endorsements) map[named]string {
	found := map[named]string{}
	newest := map[string]pcs.Header{}
	for _, document := range given.Documents {
		read, err := pcs.Parse(document)
		if err != nil {
			continue
		}
		head := read.Head()
		if last, known := newest[head.Subject]; known && head.Before(last.Evaluation, last.IssuedAt) {
			continue
		}
		newest[head.Subject] = head
		found[named{name: head.Subject}] = fmt.Sprintf("%d of %s", head.Evaluation, head.IssuedAt.UTC().Format(time.RFC3339))
	}
	dates := map[string]time.Time{}
	for _, der := range given.CRLs {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			continue
		}
		name := "crl/" + attestd.Excerpt(list.Issuer.CommonName, 60)
		if last, known := dates[name]; known && list.ThisUpdate.Before(last) {
			continue
		}
		dates[name] = list.ThisUpdate
		number := "none"
		if list.Number != nil {
			number = list.Number.String()
		}
		found[named{name: name}] = fmt.Sprintf("%s of %s, %d revoked", attestd.Excerpt(number, 40),
			list.ThisUpdate.UTC().Format(time.RFC3339), len(list.RevokedCertificateEntries))
	}
	return found
}

// factsOf lists the facts of a verdict by their names, and those of its devices by their paths.
func factsOf(a attestd.Appraisal) map[named]string {
	found := map[named]string{}
	addFacts(found, "", "", a.Claims)
	for _, device := range a.Devices {
		addFacts(found, device.Path, "", device.Claims)
	}
	return found
}

// addFacts walks an object of claims: its members' members, by their path. A list is one value.
func addFacts(into map[named]string, device, path string, value json.RawMessage) {
	var members map[string]json.RawMessage
	if trimmed := bytes.TrimSpace(value); len(trimmed) == 0 || trimmed[0] != '{' ||
		json.Unmarshal(trimmed, &members) != nil {
		if text := plain(value); path != "" && text != "" {
			into[named{device, path}] = text
		}
		return
	}
	for name, member := range members {
		inner := name
		if path != "" {
			inner = path + "." + name
		}
		addFacts(into, device, inner, member)
	}
}

// plain is a value without the quotes of a text.
func plain(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return text
	}
	var short bytes.Buffer
	if json.Compact(&short, value) != nil || short.String() == "null" {
		return ""
	}
	return short.String()
}

// checksOf lists the checks that came out otherwise, and those that count otherwise.
func checksOf(old, now attestd.Appraisal) []change {
	before, after := outcomes(old), outcomes(now)
	found := differing(before, after)
	for index, one := range found {
		for _, check := range now.Checks {
			if check.Device == one.Device && string(check.ID) == one.Name {
				found[index].Why = seen(check)
			}
		}
	}
	return found
}

// seen is what a check saw and wanted, in one line.
func seen(check attestd.Check) string {
	switch {
	case check.Result == attestd.ResultPass || check.Got == "":
		return ""
	case check.Want == "":
		return "got " + check.Got
	default:
		return "got " + check.Got + ", want " + check.Want
	}
}

// outcomes says of each check how it came out, and what the policy makes of it.
func outcomes(a attestd.Appraisal) map[named]string {
	found := map[named]string{}
	for _, check := range a.Checks {
		found[named{check.Device, string(check.ID)}] = check.Result.String()
	}
	for _, reason := range a.Reasons {
		key := named{reason.Device, string(reason.Check)}
		effect := reason.Effect.String()
		if reason.Effect == attestd.EffectScored {
			effect = strconv.Itoa(reason.Points) + " points"
		}
		found[key] = cmp.Or(found[key], "no check") + ", " + effect
	}
	return found
}

// tell writes a comparison for people.
func (c comparison) tell(a *app, q question, path string) error {
	word := "UNCHANGED"
	if !c.Same {
		word = "CHANGED"
	}
	table := report.Table{
		Lead: []string{
			word, string(c.New.Format), c.Verdict.arrow(), "risk " + changed{
				c.Risk.Old + " " + c.Tier.Old, c.Risk.New + " " + c.Tier.New,
			}.arrow(),
		},
		Good:  c.New.Verdict == attestd.VerdictAccepted,
		Bad:   c.New.Verdict == attestd.VerdictRejected,
		Heads: []string{"what", "with " + q.compare, "with " + q.collateral},
	}
	if q.recorded { // else it has a nonce, which is for once
		table.Next = "attestd verify " + report.QuoteArg(path) + " --recorded" + q.again()
		if q.policy != "" {
			table.Next += " --policy " + report.QuoteArg(q.policy)
		}
		for _, reference := range q.references {
			table.Next += " --reference " + report.QuoteArg(reference)
		}
	}
	for _, list := range [][]change{c.Collateral, c.Facts, c.Checks} {
		for _, one := range list {
			name := one.Name
			if one.Device != "" {
				name = one.Device + " " + name
			}
			table.Rows = append(table.Rows, []string{name, cmp.Or(one.Old, "-"), cmp.Or(one.New, "-")})
			if one.Why != "" {
				table.Notes = append(table.Notes, name+": "+one.Why)
			}
		}
	}
	if c.Same && len(c.Collateral) == 0 {
		table.Notes = append(table.Notes, "Both folders say the same about this evidence.")
	}
	return table.Text(a.out, a.page())
}

func (c changed) arrow() string {
	if c.same() {
		return c.New + " with both"
	}
	return c.Old + " -> " + c.New
}
