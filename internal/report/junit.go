package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/attestd/attestd"
)

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name       string          `xml:"name,attr"`
	Tests      int             `xml:"tests,attr"`
	Failures   int             `xml:"failures,attr"`
	Errors     int             `xml:"errors,attr"`
	Skipped    int             `xml:"skipped,attr"`
	Timestamp  string          `xml:"timestamp,attr"`
	Properties []junitProperty `xml:"properties>property"`
	Cases      []junitCase     `xml:"testcase"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Class     string        `xml:"classname,attr"`
	Name      string        `xml:"name,attr"`
	Failure   *junitMessage `xml:"failure,omitempty"`
	Error     *junitMessage `xml:"error,omitempty"`
	Skipped   *junitMessage `xml:"skipped,omitempty"`
	SystemOut string        `xml:"system-out,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// JUnit writes the appraisal as JUnit XML: a test case per check and one named "verdict". A check
// that rejects is a failure, one that leaves undecided an error, one that only costs points passes
// with a line that says so. The case "verdict" fails whenever the evidence was not accepted: points
// can add up to a rejection without a single failed check, and a green build must not hide that.
func JUnit(w io.Writer, a attestd.Appraisal, about Verdict) error {
	suite := junitSuite{
		Name:      "attestd " + string(a.Format),
		Timestamp: a.At.UTC().Format(time.RFC3339),
		Properties: []junitProperty{
			{"verdict", a.Verdict.String()}, {"risk_score", a.Risk.String()},
			{"tier", a.Tier.String()}, {"freshness", a.Freshness.String()},
			{"policy", a.Policy.ID}, {"policy_digest", a.Policy.Digest},
			{"evidence", Clean(about.Source, 200)}, {"evidence_sha256", a.EvidenceSHA256},
		},
		Cases: []junitCase{verdictCase(a)},
	}
	for _, device := range a.Devices {
		suite.Properties = append(suite.Properties, junitProperty{
			"device_" + Clean(device.Path, 20),
			fmt.Sprintf("%s %s, risk %s %s", device.Format, device.Verdict, device.Risk, device.Tier),
		})
	}
	if weakest, composed := a.WeakestEdge(); composed {
		suite.Properties = append(suite.Properties, junitProperty{"weakest_edge", weakest.String()})
	}
	for _, found := range findingsOf(a) {
		suite.Cases = append(suite.Cases, found.junit())
	}
	for _, each := range suite.Cases {
		suite.Tests++
		switch {
		case each.Failure != nil:
			suite.Failures++
		case each.Error != nil:
			suite.Errors++
		case each.Skipped != nil:
			suite.Skipped++
		}
	}
	body, err := xml.MarshalIndent(junitSuites{
		Tests: suite.Tests, Failures: suite.Failures, Errors: suite.Errors, Skipped: suite.Skipped,
		Suites: []junitSuite{suite},
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	if _, err := fmt.Fprintf(w, "%s%s\n", xml.Header, body); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

func verdictCase(a attestd.Appraisal) junitCase {
	out := junitCase{Class: string(a.Format), Name: "verdict"}
	message := &junitMessage{
		Message: fmt.Sprintf("%s, risk %s %s", a.Verdict, a.Risk, a.Tier), Type: a.Tier.String(),
	}
	switch a.Verdict {
	case attestd.VerdictAccepted:
		out.SystemOut = message.Message
	case attestd.VerdictRejected:
		out.Failure = message
	default:
		out.Error = message
	}
	return out
}

func (f finding) junit() junitCase {
	area, _, _ := strings.Cut(string(f.check.ID), "/")
	out := junitCase{Class: area, Name: string(f.check.ID)}
	if f.check.Device != "" {
		out.Name = f.name(80)
	}
	message := &junitMessage{
		Message: Clean(f.sentence(), longestValue), Type: string(f.reason.Group),
		Text: Clean(f.hint(), longestValue),
	}
	switch f.outcome {
	case outcomeFail:
		out.Failure = message
	case outcomeUndecided:
		out.Error = message
	case outcomeWarning:
		out.SystemOut = "WARN " + f.points() + ": " + message.Message
	case outcomeNotApplicable:
		out.Skipped = &junitMessage{Message: "not applicable: " + Clean(f.check.Got, longestValue)}
	}
	return out
}

// sentence says in one line what was seen and wanted.
func (f finding) sentence() string {
	out := "got " + f.check.Got
	if f.check.Result == attestd.ResultMissing {
		out = "the check did not run"
	}
	if f.check.Want != "" {
		out += ", want " + f.check.Want
	}
	return out
}
