package signals

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
	"github.com/attestd/attestd/internal/subject"
)

// Schemas of what goes in and out.
const (
	ReportSchema  = "attestd.signal.v1"
	ReceiptSchema = "attestd.signal-receipt.v1"
)

// Limits of a report.
const (
	maxReport  = 4 << 10
	minTTL     = time.Minute
	maxTTL     = 24 * time.Hour
	defaultTTL = time.Hour
)

// Report is what an enforcement point says against a caller.
type Report struct {
	// Schema may be left out.
	Schema string `json:"schema,omitempty"`
	// ID tells a report from its repetition: the same one again changes nothing. Required.
	ID string `json:"id"`
	// Subject is the caller's SPIFFE ID.
	Subject string `json:"subject"`
	// Kind is a code of [subject.Kinds], an OWASP id or an ATLAS id.
	Kind       string     `json:"kind"`
	Confidence Confidence `json:"confidence"`
	// EvidenceHash is the digest of what shows it, as "sha256:HEX"; the evidence itself stays where
	// it is.
	EvidenceHash string `json:"evidence_hash,omitempty"`
	// Detail names the rule that fired, as in "promptguard/v2:override". It has no spaces: what was
	// seen does not fit.
	Detail string `json:"detail,omitempty"`
	// TTL is for how many seconds the signal counts, 60 to 86400; 0 for an hour.
	TTL int `json:"ttl_seconds,omitempty"`
	// Prompt is the prompt_id of the prompt that it is about.
	Prompt string `json:"prompt_id,omitempty"`
}

// Confidence is how sure a report is, in millionths. It is a number from 0 to 1, or a whole one
// from 2 to 100 as percent; 1 is certain. The zero Confidence was not given.
type Confidence struct {
	millionths int
	given      bool
}

// confidenceForm is what there is no doubt about: 1.5 could be either.
var confidenceForm = regexp.MustCompile(`^(?:0(?:\.[0-9]{1,6})?|1(?:\.0{1,6})?|[2-9]|[1-9][0-9]|100)$`)

// Sure returns a confidence of that many percent, 0 to 100.
func Sure(percent int) Confidence {
	return Confidence{millionths: max(0, min(100, percent)) * 10_000, given: true}
}

// UnmarshalJSON reads one of both forms. A text, a fraction of a percent, a sign or an exponent is
// an error: what cannot be told is not guessed.
func (c *Confidence) UnmarshalJSON(data []byte) error {
	*c = Confidence{}
	if !confidenceForm.Match(data) {
		return fmt.Errorf("confidence %s is no number from 0 to 1, and no whole one from 2 to 100",
			attestd.Excerpt(string(data), 20))
	}
	number, err := strconv.ParseFloat(string(data), 64)
	if err != nil {
		return err
	}
	if number > 1 {
		number /= 100
	}
	*c = Confidence{millionths: int(number*1e6 + 0.5), given: true}
	return nil
}

// MarshalJSON writes a number from 0 to 1.
func (c Confidence) MarshalJSON() ([]byte, error) {
	if !c.given {
		return nil, errors.New("no confidence was given")
	}
	return strconv.AppendFloat(nil, float64(c.millionths)/1e6, 'f', -1, 64), nil
}

// of returns the share of points, rounded up: what somebody is a little sure of is not nothing.
func (c Confidence) of(points int) int { return (points*c.millionths + 999_999) / 1_000_000 }

var (
	idForm     = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)
	hashForm   = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	detailForm = regexp.MustCompile(`^[A-Za-z0-9._:/@+-]{1,80}$`)
	promptForm = regexp.MustCompile(`^(?:p1|s1):[a-z2-7A-Z]{16,128}$`)
)

// checked is a report that is as it must be.
type checked struct {
	Report
	id     subject.ID
	kind   subject.Kind
	ttl    time.Duration
	digest [sha256.Size]byte
}

// Read reads a report.
//
// Errors: a [*attestd.CallerError] of class MALFORMED or TOO_LARGE.
func Read(document []byte) (Report, error) {
	if len(document) > maxReport {
		return Report{}, refuse(attestd.ClassTooLarge, "a report has no place for evidence",
			"a report has more than %d bytes", maxReport)
	}
	var report Report
	limits := strict.JSONLimits{Bytes: maxReport, Depth: 2}
	if err := strict.DecodeJSON(document, limits, &report); err != nil {
		return Report{}, refuse(attestd.ClassMalformed, hintForm, "%w", err)
	}
	return report, nil
}

const hintForm = `as in {"id": "a1", "subject": "spiffe://...", "kind": "LLM01", "confidence": 0.8}`

func (r Report) check() (checked, error) {
	malformed := func(hint, format string, args ...any) (checked, error) {
		return checked{}, refuse(attestd.ClassMalformed, hint, format, args...)
	}
	id, err := subject.ParseID(r.Subject)
	if err != nil {
		return checked{}, err
	}
	kind, found := subject.KindOf(r.Kind)
	ttl := time.Duration(r.TTL) * time.Second
	if r.TTL == 0 {
		ttl = defaultTTL
	}
	switch {
	case r.Schema != "" && r.Schema != ReportSchema:
		return malformed("leave it out", "schema %q, want %s", attestd.Excerpt(r.Schema, 40), ReportSchema)
	case !idForm.MatchString(r.ID):
		return malformed("give each report an id of its own, and its repetitions the same",
			"id %q is not 1 to 64 letters, digits, dots, dashes, underscores and colons",
			attestd.Excerpt(r.ID, 40))
	case !found:
		return malformed("one of: "+known()+"; or an id of "+subject.EditionATLAS,
			"unknown kind %q", attestd.Excerpt(r.Kind, 40))
	case !r.Confidence.given:
		return malformed(hintForm, "no confidence was given")
	case r.TTL < 0 || ttl < minTTL || ttl > maxTTL:
		return malformed("leave it out for an hour", "ttl_seconds %d, want 60 to 86400", r.TTL)
	case r.EvidenceHash != "" && !hashForm.MatchString(r.EvidenceHash):
		return malformed("give the digest alone", "evidence_hash is not sha256: and 64 hex digits")
	case r.Detail != "" && !detailForm.MatchString(r.Detail):
		return malformed("name the rule that fired; what was seen belongs to evidence_hash",
			"detail is not 1 to 80 letters, digits and ._:/@+-")
	case r.Prompt != "" && !promptForm.MatchString(r.Prompt):
		return malformed("see docs/decisions/prompt-id.md", "prompt_id is none")
	}
	whole, err := json.Marshal(r)
	if err != nil {
		return checked{}, err
	}
	return checked{Report: r, id: id, kind: kind, ttl: ttl, digest: sha256.Sum256(whole)}, nil
}

// Signal returns what a report of the source says, before caps.
//
// Errors: a [*attestd.CallerError] of class MALFORMED.
func (r Report) Signal(source string, at time.Time) (subject.Signal, error) {
	one, err := r.check()
	if err != nil {
		return subject.Signal{}, err
	}
	return one.signal(source, at), nil
}

func (c checked) signal(source string, at time.Time) subject.Signal {
	return subject.Signal{
		Code: c.kind.Code, Group: c.kind.Group, Points: c.Confidence.of(c.kind.Points), Detail: c.words(),
		Source: source, At: at, Until: at.Add(c.ttl),
	}
}

// known lists what a report can name, for whoever named something else.
func known() string {
	names := make([]string, 0, len(subject.Kinds()))
	for _, one := range subject.Kinds() {
		name := string(one.Code)
		if len(one.OWASP) > 0 {
			name += " (" + strings.Join(one.OWASP, ", ") + ")"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// words are what the registry keeps of the report.
func (c checked) words() string {
	out := fmt.Sprintf("%s, confidence %d %%", c.kind.Meaning, c.Confidence.millionths/10_000)
	for _, part := range []struct{ name, value string }{
		{"rule", c.Detail}, {"evidence", c.EvidenceHash}, {"report", c.ID},
	} {
		if part.value != "" {
			out += ", " + part.name + " " + part.value
		}
	}
	return attestd.Excerpt(out, 200)
}

// Receipt says what came of a report.
type Receipt struct {
	Schema string `json:"schema"`
	ID     string `json:"id"`
	// Subject as the registry spells it.
	Subject subject.ID   `json:"subject"`
	Kind    subject.Code `json:"kind"`
	OWASP   []string     `json:"owasp"`
	ATLAS   []string     `json:"atlas"`
	// Points that the signal has, at 0 nothing was written. Capped says that the source's cap on
	// this subject took some of them.
	Points int  `json:"points"`
	Capped bool `json:"capped"`
	// RiskBefore and RiskAfter are what decisions go by, over the subject and its nodes.
	RiskBefore attestd.RiskScore `json:"risk_before"`
	RiskAfter  attestd.RiskScore `json:"risk_after"`
	// Epoch is the subject's risk_epoch. A decision whose sequence is not below Sequence counts the
	// signal.
	Epoch    uint64    `json:"risk_epoch"`
	Sequence uint64    `json:"sequence"`
	Until    time.Time `json:"until"`
	// Repeated says that the report was given before: nothing was done for it this time.
	Repeated bool `json:"repeated"`
}

func refuse(class attestd.Class, hint, format string, args ...any) error {
	return &attestd.CallerError{Class: class, Hint: hint, Err: fmt.Errorf(format, args...)}
}
