package pager

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/keys"
	"github.com/attestd/attestd/internal/subject"
)

// Purpose is that of the keys which sign pages.
const Purpose keys.Purpose = "page"

// Schema of the plain form of a page.
const Schema = "attestd.page.v1"

// Headers of a page.
const (
	// HeaderSignature has the detached JWS: its header and its signature, with nothing between the
	// dots.
	HeaderSignature = "Attestd-Signature"
	typ             = "attestd-page+jws"
)

// Severities, as alerts are routed by.
const (
	SeverityCritical = "critical"
	SeverityWarning  = "warning"
)

// Page is what people are told.
type Page struct {
	Schema string `json:"schema"`
	// ID is a UUIDv7.
	ID string    `json:"id"`
	At time.Time `json:"at"`
	// Outcome is what came of it, as "quarantined" or "capped".
	Outcome  subject.Outcome `json:"outcome"`
	Severity string          `json:"severity"`
	Subject  subject.ID      `json:"subject"`
	Tenant   string          `json:"tenant"`
	// Code is why, as "risk-spike".
	Code    subject.Code `json:"code"`
	Summary string       `json:"summary"`
	Detail  string       `json:"detail"`
	Remedy  string       `json:"remedy"`
	// Suppressed is how many pages were left out since the last one that went to this place.
	Suppressed uint64 `json:"suppressed"`
}

// compose makes the page of an outcome.
func compose(grounds subject.Grounds, outcome subject.Outcome, now time.Time) Page {
	id := attestd.Excerpt(string(grounds.ID), 200)
	page := Page{
		Schema: Schema, ID: uuid.Must(uuid.NewV7()).String(), At: now.UTC(), Outcome: outcome,
		Severity: SeverityWarning, Subject: grounds.ID, Tenant: grounds.Tenant, Code: grounds.Code,
		Detail: attestd.Excerpt(grounds.Detail, 200), Remedy: "attestd why " + id,
	}
	switch outcome {
	case subject.OutcomeLaid:
		page.Severity = SeverityCritical
		page.Summary = id + " was quarantined"
	case subject.OutcomeCapped:
		page.Severity = SeverityCritical
		page.Summary = "the cap on automatic quarantines is reached; " + id +
			" is denied and not quarantined"
		page.Remedy = "attestd quarantine " + id + ", if it is so"
	case subject.OutcomeDryRun:
		page.Summary = id + " would have been quarantined; it is denied while its risk is high"
	default:
		page.Summary = "the risk of " + id + " is high; it is denied meanwhile"
	}
	return page
}

// alertmanagerPath ends the URLs that take the form of Prometheus's Alertmanager (API v2,
// postAlerts).
const alertmanagerPath = "/api/v2/alerts"

// alert is one of Alertmanager's postableAlert.
type alert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    time.Time         `json:"startsAt"`
	EndsAt      time.Time         `json:"endsAt"`
}

// shownFor is how long an alert stands in Alertmanager.
const shownFor = time.Hour

// document writes the page in the form that the path takes.
func (p Page) document(path string) ([]byte, error) {
	if !strings.HasSuffix(path, alertmanagerPath) {
		return json.Marshal(p)
	}
	annotations := map[string]string{
		"summary": p.Summary, "description": p.Detail, "remedy": p.Remedy, "id": p.ID,
	}
	if p.Suppressed > 0 {
		annotations["suppressed"] = strconv.FormatUint(p.Suppressed, 10)
	}
	return json.Marshal([]alert{{
		Labels: map[string]string{
			"alertname": "AttestdRiskSpike", "severity": p.Severity, "subject": string(p.Subject),
			"tenant": p.Tenant, "outcome": string(p.Outcome), "code": string(p.Code),
		},
		Annotations: annotations, StartsAt: p.At, EndsAt: p.At.Add(shownFor),
	}})
}
