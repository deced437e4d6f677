package report

import (
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/attestd/attestd"
)

// sarifVersion and its schema: OASIS SARIF 2.1.0 with errata 01, sections 3.13.2 and 3.13.3.
const (
	sarifVersion = "2.1.0"
	sarifSchema  = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)

type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool        sarifTool         `json:"tool"`
	Invocations []sarifInvocation `json:"invocations"`
	Artifacts   []sarifArtifact   `json:"artifacts"`
	Results     []sarifResult     `json:"results"`
	Properties  map[string]any    `json:"properties"`
}

type sarifTool struct {
	Driver sarifDriver `json:"driver"`
}

type sarifDriver struct {
	Name            string      `json:"name"`
	Version         string      `json:"version,omitempty"`
	SemanticVersion string      `json:"semanticVersion,omitempty"`
	InformationURI  string      `json:"informationUri"`
	Rules           []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID               string     `json:"id"`
	ShortDescription sarifText  `json:"shortDescription"`
	FullDescription  *sarifText `json:"fullDescription,omitempty"`
	Help             *sarifText `json:"help,omitempty"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifInvocation struct {
	ExecutionSuccessful bool `json:"executionSuccessful"`
}

type sarifArtifact struct {
	Location sarifURI          `json:"location"`
	Hashes   map[string]string `json:"hashes"`
}

type sarifURI struct {
	URI string `json:"uri"`
}

type sarifResult struct {
	RuleID     string          `json:"ruleId"`
	RuleIndex  int             `json:"ruleIndex"`
	Kind       string          `json:"kind"`
	Level      string          `json:"level"`
	Message    sarifText       `json:"message"`
	Locations  []sarifLocation `json:"locations"`
	Prints     map[string]any  `json:"partialFingerprints"`
	Properties map[string]any  `json:"properties"`
}

type sarifLocation struct {
	Physical sarifPhysical `json:"physicalLocation"`
}

type sarifPhysical struct {
	Artifact sarifURI `json:"artifactLocation"`
}

// Rule is what SARIF says about a check: its sentence, why it matters, and what to do.
type Rule struct {
	Proves, Why, Hint string
}

// semanticVersion is SARIF 2.1.0, section 3.19.12: the property is for versions of semver.org alone.
var semanticVersion = regexp.MustCompile(
	`^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

// semantic returns version without Go's "v", or nothing where it is a commit or the like.
func semantic(version string) string {
	if version = strings.TrimPrefix(version, "v"); semanticVersion.MatchString(version) {
		return version
	}
	return ""
}

// verdictRule stands for the verdict itself, so that points that add up are a result as well.
const verdictRule = "verdict"

// SARIF writes the appraisal as a SARIF 2.1.0 log: one rule and one result per check that did not
// pass, and a result for the verdict where the evidence was not accepted. version may be empty;
// lookup may find nothing.
func SARIF(
	w io.Writer, a attestd.Appraisal, about Verdict, version string,
	lookup func(attestd.CheckID) (Rule, bool),
) error {
	run := sarifRun{
		Tool: sarifTool{Driver: sarifDriver{
			Name: "attestd", Version: version, SemanticVersion: semantic(version),
			InformationURI: "https://github.com/attestd/attestd", Rules: []sarifRule{},
		}},
		Invocations: []sarifInvocation{{ExecutionSuccessful: true}},
		Artifacts: []sarifArtifact{{
			Location: sarifURI{artifactURI(about.Source)},
			Hashes:   map[string]string{"sha-256": a.EvidenceSHA256},
		}},
		Results: []sarifResult{},
		Properties: map[string]any{
			"verdict": a.Verdict, "riskScore": a.Risk, "tier": a.Tier, "freshness": a.Freshness,
			"policy": a.Policy.ID, "policyDigest": a.Policy.Digest,
		},
	}
	if weakest, composed := a.WeakestEdge(); composed {
		devices := map[string]any{}
		for _, device := range a.Devices {
			devices[Clean(device.Path, 20)] = map[string]any{
				"format": device.Format, "verdict": device.Verdict, "riskScore": device.Risk,
			}
		}
		run.Properties["devices"], run.Properties["weakestEdge"] = devices, weakest
	}
	if a.Verdict != attestd.VerdictAccepted {
		run.add(a, about, sarifRule{
			ID: verdictRule, ShortDescription: sarifText{"the policy accepts the evidence"},
		}, "", "error", fmt.Sprintf("%s, risk %s %s", a.Verdict, a.Risk, a.Tier), nil)
	}
	for _, found := range troubles(findingsOf(a)) {
		level := "error"
		if found.outcome == outcomeWarning {
			level = "warning"
		}
		run.add(a, about, ruleOf(found, lookup), Clean(found.check.Device, 20), level,
			Clean(found.sentence(), longestValue),
			map[string]any{
				"effect": found.reason.Effect, "points": found.reason.Points,
				"hint": Clean(found.hint(), longestValue), "spec": Clean(found.check.Spec, 200),
			})
	}
	return JSON(w, sarifLog{Schema: sarifSchema, Version: sarifVersion, Runs: []sarifRun{run}})
}

func (r *sarifRun) add(
	a attestd.Appraisal, about Verdict, rule sarifRule, device, level, message string,
	properties map[string]any,
) {
	if properties == nil {
		properties = map[string]any{}
	}
	mark := a.EvidenceSHA256 + "/" + rule.ID
	if device != "" {
		properties["device"], mark = device, mark+"/"+device
		message = device + ": " + message
	}
	// One rule can have results on several devices.
	at := slices.IndexFunc(r.Tool.Driver.Rules, func(known sarifRule) bool { return known.ID == rule.ID })
	if at < 0 {
		at = len(r.Tool.Driver.Rules)
		r.Tool.Driver.Rules = append(r.Tool.Driver.Rules, rule)
	}
	r.Results = append(r.Results, sarifResult{
		RuleID: rule.ID, RuleIndex: at,
		// SARIF 2.1.0, section 3.27.9: any kind but "fail" forces the level "none".
		Kind: "fail", Level: level, Message: sarifText{message},
		Locations:  []sarifLocation{{sarifPhysical{sarifURI{artifactURI(about.Source)}}}},
		Prints:     map[string]any{"evidenceAndCheck/v1": mark},
		Properties: properties,
	})
}

func ruleOf(found finding, lookup func(attestd.CheckID) (Rule, bool)) sarifRule {
	out := sarifRule{
		ID:               Clean(string(found.check.ID), 80),
		ShortDescription: sarifText{Clean(string(found.check.ID), 80)},
	}
	rule, known := lookup(found.check.ID)
	if !known {
		return out
	}
	if rule.Proves != "" {
		out.ShortDescription.Text = rule.Proves
	}
	if rule.Why != "" {
		out.FullDescription = &sarifText{rule.Why}
	}
	if rule.Hint != "" {
		out.Help = &sarifText{rule.Hint}
	}
	return out
}

// artifactURI returns a relative reference for a file name; standard input has a name that cannot be
// a file's.
func artifactURI(source string) string {
	if source == "-" {
		return "stdin:"
	}
	return (&url.URL{Path: Clean(source, 400)}).String()
}
