package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/attestd/attestd"
)

// problem is a problem document (RFC 9457 section 3) with our extension members.
type problem struct {
	Type   string        `json:"type"`
	Title  string        `json:"title"`
	Status int           `json:"status"`
	Detail string        `json:"detail"`
	Class  attestd.Class `json:"class"`
	Hint   string        `json:"hint"`
	// ID names the log entry of an internal error.
	ID string `json:"id,omitempty"`
	// Appraisal is the whole verdict where it is "undecided".
	Appraisal *attestd.Appraisal `json:"appraisal,omitempty"`

	retryAfter int
	allow      string
}

// problemTypes begins the type of every problem; the class in lower case follows.
const problemTypes = "urn:attestd:problem:"

// excerptLimit bounds detail and hint: they can quote what the caller sent.
const excerptLimit = 400

// retrySoon and retryLater are Retry-After in seconds: for a busy verifier, and for one that lacks
// something.
const (
	retrySoon  = 1
	retryLater = 30
)

// classes maps each class that can reach this edge to its status and title. What is missing here is
// an internal error.
var classes = map[attestd.Class]struct {
	status int
	title  string
}{
	attestd.ClassMalformed:             {http.StatusBadRequest, "The request is not as it must be"},
	attestd.ClassUnsupported:           {http.StatusBadRequest, "Not known here"},
	attestd.ClassKeyProperties:         {http.StatusBadRequest, "A key is not of the kind it must be"},
	attestd.ClassTooLarge:              {http.StatusRequestEntityTooLarge, "Over a limit"},
	attestd.ClassForbidden:             {http.StatusForbidden, "Not allowed"},
	attestd.ClassUnauthenticated:       {http.StatusUnauthorized, "A token that is not valid here"},
	attestd.ClassQuarantined:           {http.StatusForbidden, "The subject is held"},
	attestd.ClassRevokedSubject:        {http.StatusForbidden, "The subject is held for ever"},
	attestd.ClassConflict:              {http.StatusConflict, "It contradicts what is known"},
	attestd.ClassRateLimited:           {http.StatusTooManyRequests, "Too much at once"},
	attestd.ClassCollateralStale:       {http.StatusServiceUnavailable, "Could not decide"},
	attestd.ClassCollateralUnavailable: {http.StatusServiceUnavailable, "Could not decide"},
	attestd.ClassPolicyUnavailable:     {http.StatusServiceUnavailable, "Could not decide"},
	attestd.ClassStoreUnavailable:      {http.StatusServiceUnavailable, "Could not decide"},
	attestd.ClassInternal:              {http.StatusInternalServerError, "Internal error"},
}

func newProblem(class attestd.Class, detail, hint string) problem {
	known, ok := classes[class]
	if !ok {
		class, detail, hint = attestd.ClassInternal, "internal error", ""
		known = classes[class]
	}
	p := problem{
		Type: problemType(class), Title: known.title, Status: known.status, Class: class,
		Detail: attestd.Excerpt(detail, excerptLimit), Hint: attestd.Excerpt(hint, excerptLimit),
	}
	switch p.Status {
	case http.StatusTooManyRequests:
		p.retryAfter = retrySoon
	case http.StatusServiceUnavailable:
		p.retryAfter = retryLater
	}
	return p
}

func problemType(class attestd.Class) string {
	return problemTypes + strings.ReplaceAll(strings.ToLower(string(class)), "_", "-")
}

// withStatus is for answers whose status says more than their class.
func (p problem) withStatus(status int, title string) problem {
	p.Status, p.Title = status, title
	return p
}

// problemOf is the one place where errors become answers. What it does not know is a bug, of which
// the caller learns nothing.
func problemOf(err error) problem {
	var shaped *problemError
	var caller *attestd.CallerError
	var undecided *attestd.UndecidedError
	switch {
	case errors.As(err, &shaped):
		return shaped.problem
	case errors.As(err, &caller):
		return newProblem(caller.Class, caller.Error(), caller.Hint)
	case errors.As(err, &undecided) && undecided.Class.Undecided():
		// Got and Want are written by us; the cause underneath can hold paths and stays in the log.
		return newProblem(undecided.Class, "got "+undecided.Got+", want "+undecided.Want, undecided.Hint)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return newProblem(attestd.ClassRateLimited, "the request ended before there was a verdict",
			"ask again with a new challenge")
	default:
		return newProblem(attestd.ClassInternal, "internal error", "report the id; the log has the cause")
	}
}

// problemError carries a problem whose status is not its class's.
type problemError struct{ problem }

// Error returns the detail.
func (e *problemError) Error() string { return e.Detail }

func malformed(detail, hint string) error {
	return &problemError{newProblem(attestd.ClassMalformed, detail, hint)}
}

func (p problem) write(w http.ResponseWriter) {
	header := w.Header()
	header.Set("Content-Type", "application/problem+json")
	if p.retryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	if p.Status == http.StatusUnauthorized {
		// RFC 9110, section 15.5.2: such an answer "MUST send a WWW-Authenticate header field".
		header.Set("WWW-Authenticate", "AttestdEnrolment")
	}
	if p.allow != "" {
		header.Set("Allow", p.allow)
	}
	if p.Status == http.StatusRequestEntityTooLarge {
		header.Set("Connection", "close") // the rest of the body is not read
	}
	document, err := json.Marshal(p)
	if err != nil { // an appraisal that cannot be written; the rest is text
		p.Appraisal = nil
		document, _ = json.Marshal(p)
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(document, '\n'))
}
