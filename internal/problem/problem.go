// Package problem has what the HTTP edges share: how a refusal looks (a problem document, RFC 9457),
// which status each class has, and how a body is read within bounds. Which errors become which class is
// each edge's own.
package problem

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/attestd/attestd"
)

// Problem is a problem document (RFC 9457 section 3) with our extension members.
type Problem struct {
	Type   string        `json:"type"`
	Title  string        `json:"title"`
	Status int           `json:"status"`
	Detail string        `json:"detail"`
	Class  attestd.Class `json:"class"`
	Hint   string        `json:"hint"`
	// ID names the log entry of an internal error.
	ID string `json:"id,omitempty"`
	// Appraisal is the whole verdict where it is "undecided", or where it was to lead to more and is
	// "rejected".
	Appraisal *attestd.Appraisal `json:"appraisal,omitempty"`

	// Allow is that header's value, for a method that is not taken.
	Allow string `json:"-"`

	edge *Edge
}

// Error carries a problem as an error, for one whose status is not its class's.
type Error struct{ Problem }

// Error returns the detail.
func (e *Error) Error() string { return e.Detail }

// Edge is one of the places where requests come in.
type Edge struct {
	// Excerpt bounds detail and hint, which can quote what the caller sent.
	Excerpt int
	// RetryLater is Retry-After in seconds where something is missing.
	RetryLater int
	// Authenticate is the WWW-Authenticate of who is not known (RFC 9110, section 15.5.2: such an answer
	// "MUST send a WWW-Authenticate header field").
	Authenticate string
	// Never are the classes that no caller of this edge can cause: an error of one is a bug.
	Never []attestd.Class
	// TooLarge says what to do about a body over its limit.
	TooLarge string
}

// retrySoon is Retry-After in seconds of who asks too often.
const retrySoon = 1

// classes maps each class to its status and title. A class that is missing is an internal error.
var classes = map[attestd.Class]struct {
	status int
	title  string
}{
	attestd.ClassMalformed:             {http.StatusBadRequest, "The request is not as it must be"},
	attestd.ClassUnsupported:           {http.StatusBadRequest, "Not known here"},
	attestd.ClassKeyProperties:         {http.StatusBadRequest, "A key is not of the kind it must be"},
	attestd.ClassTooLarge:              {http.StatusRequestEntityTooLarge, "Over a limit"},
	attestd.ClassUnauthenticated:       {http.StatusUnauthorized, "Not known who asks"},
	attestd.ClassForbidden:             {http.StatusForbidden, "Not allowed"},
	attestd.ClassQuarantined:           {http.StatusForbidden, "Quarantined"},
	attestd.ClassRevokedSubject:        {http.StatusForbidden, "Revoked"},
	attestd.ClassPolicyDeny:            {http.StatusForbidden, "Not granted"},
	attestd.ClassBinding:               {http.StatusForbidden, "Not bound to that key"},
	attestd.ClassConflict:              {http.StatusConflict, "It contradicts what is known"},
	attestd.ClassRateLimited:           {http.StatusTooManyRequests, "Too much at once"},
	attestd.ClassConfig:                {http.StatusServiceUnavailable, "Not configured for that"},
	attestd.ClassCollateralStale:       {http.StatusServiceUnavailable, "Could not decide"},
	attestd.ClassCollateralUnavailable: {http.StatusServiceUnavailable, "Could not decide"},
	attestd.ClassPolicyUnavailable:     {http.StatusServiceUnavailable, "Could not decide"},
	attestd.ClassStoreUnavailable:      {http.StatusServiceUnavailable, "Could not decide"},
	attestd.ClassInternal:              {http.StatusInternalServerError, "Internal error"},
}

// Classes yields the classes that can be answered at the edge, with the type and status of each.
func (e *Edge) Classes() map[attestd.Class]Problem {
	all := make(map[attestd.Class]Problem, len(classes))
	for class := range classes {
		if !slices.Contains(e.Never, class) {
			all[class] = e.New(class, "", "")
		}
	}
	return all
}

// New returns the problem of a class. Of a class that is not answered here the caller learns nothing.
func (e *Edge) New(class attestd.Class, detail, hint string) Problem {
	known, ok := classes[class]
	if !ok || slices.Contains(e.Never, class) {
		class, detail, hint = attestd.ClassInternal, "internal error", "report the id; the log has the cause"
		known = classes[class]
	}
	return Problem{
		Type:  "urn:attestd:problem:" + strings.ReplaceAll(strings.ToLower(string(class)), "_", "-"),
		Title: known.title, Status: known.status, Class: class, edge: e,
		Detail: attestd.Excerpt(detail, e.Excerpt), Hint: attestd.Excerpt(hint, e.Excerpt),
	}
}

// Refuse returns the problem of a class as an error.
func (e *Edge) Refuse(class attestd.Class, detail, hint string) error {
	return e.New(class, detail, hint).Err()
}

// WithStatus is for answers whose status says more than their class.
func (p Problem) WithStatus(status int, title string) Problem {
	p.Status, p.Title = status, title
	return p
}

// Err returns the problem as an error.
func (p Problem) Err() error { return &Error{Problem: p} }

// Write answers with the problem.
func (p Problem) Write(w http.ResponseWriter) {
	header := w.Header()
	header.Set("Content-Type", "application/problem+json")
	switch p.Status {
	case http.StatusTooManyRequests:
		header.Set("Retry-After", strconv.Itoa(retrySoon))
	case http.StatusServiceUnavailable:
		header.Set("Retry-After", strconv.Itoa(p.edge.RetryLater))
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", p.edge.Authenticate)
	case http.StatusRequestEntityTooLarge:
		header.Set("Connection", "close") // the rest of the body is not read
	}
	if p.Allow != "" {
		header.Set("Allow", p.Allow)
	}
	document, err := json.Marshal(p)
	if err != nil { // an appraisal that cannot be written; the rest is text
		p.Appraisal = nil
		document, _ = json.Marshal(p)
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(document, '\n'))
}
