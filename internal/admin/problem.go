package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/enrol"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
)

// problem is a problem document (RFC 9457 section 3) with our extension members, as the public API
// has it.
type problem struct {
	Type   string        `json:"type"`
	Title  string        `json:"title"`
	Status int           `json:"status"`
	Detail string        `json:"detail"`
	Class  attestd.Class `json:"class"`
	Hint   string        `json:"hint"`
	// ID names the log entry of an internal error.
	ID string `json:"id,omitempty"`

	retryAfter int
	allow      string
}

// excerptLimit bounds detail and hint: they can quote what the caller sent.
const excerptLimit = 600

// Retry-After in seconds: for who asks too often, and for what is missing.
const (
	retrySoon  = 1
	retryLater = 10
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
	attestd.ClassUnauthenticated:       {http.StatusUnauthorized, "Not known who asks"},
	attestd.ClassForbidden:             {http.StatusForbidden, "Not allowed"},
	attestd.ClassQuarantined:           {http.StatusForbidden, "Quarantined"},
	attestd.ClassRevokedSubject:        {http.StatusForbidden, "Revoked"},
	attestd.ClassPolicyDeny:            {http.StatusForbidden, "Not granted"},
	attestd.ClassConflict:              {http.StatusConflict, "It contradicts what is known"},
	attestd.ClassRateLimited:           {http.StatusTooManyRequests, "Too much at once"},
	attestd.ClassConfig:                {http.StatusServiceUnavailable, "Not configured for that"},
	attestd.ClassCollateralStale:       {http.StatusServiceUnavailable, "Could not decide"},
	attestd.ClassCollateralUnavailable: {http.StatusServiceUnavailable, "Could not decide"},
	attestd.ClassPolicyUnavailable:     {http.StatusServiceUnavailable, "Could not decide"},
	attestd.ClassStoreUnavailable:      {http.StatusServiceUnavailable, "Could not decide"},
	attestd.ClassInternal:              {http.StatusInternalServerError, "Internal error"},
}

func newProblem(class attestd.Class, detail, hint string) problem {
	known, ok := classes[class]
	if !ok {
		class, detail, hint = attestd.ClassInternal, "internal error", "report the id; the log has the cause"
		known = classes[class]
	}
	p := problem{
		Type:  "urn:attestd:problem:" + strings.ReplaceAll(strings.ToLower(string(class)), "_", "-"),
		Title: known.title, Status: known.status, Class: class,
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

// withStatus is for answers whose status says more than their class.
func (p problem) withStatus(status int, title string) problem {
	p.Status, p.Title = status, title
	return p
}

// problemError carries a problem whose status is not its class's.
type problemError struct{ problem }

// Error returns the detail.
func (e *problemError) Error() string { return e.Detail }

func refuse(class attestd.Class, detail, hint string) error {
	return &problemError{newProblem(class, detail, hint)}
}

func malformed(detail, hint string) error { return refuse(attestd.ClassMalformed, detail, hint) }

// notFound is the one answer about things that are not there and things that are another tenant's.
func notFound(what string) error {
	return &problemError{newProblem(attestd.ClassForbidden, "no such "+what+", or not yours to see",
		"check the spelling and, with attestd operator whoami, your tenants").
		withStatus(http.StatusNotFound, "Not found")}
}

// classed is an error of the registry or the index that names its class, with words for callers.
type classed interface {
	error
	Class() attestd.Class
}

// problemOf is the one place where errors become answers. What it does not know is a bug, of which
// the caller learns nothing.
func problemOf(err error) problem {
	var shaped *problemError
	var caller *attestd.CallerError
	var undecided *attestd.UndecidedError
	var moved *subject.MovedError
	var named classed
	switch {
	case errors.As(err, &shaped):
		return shaped.problem
	case errors.Is(err, operator.ErrNoOperator):
		return problemOf(notFound("operator"))
	case errors.Is(err, enrol.ErrUnknown):
		return problemOf(notFound("enrolment"))
	case errors.As(err, &caller):
		return newProblem(caller.Class, caller.Error(), caller.Hint)
	case errors.As(err, &undecided) && undecided.Class.Undecided():
		// Got and Want are written by us; the cause underneath can hold paths and stays in the log.
		return newProblem(undecided.Class, "got "+undecided.Got+", want "+undecided.Want, undecided.Hint)
	case errors.As(err, &moved), errors.Is(err, operator.ErrMoved):
		return newProblem(attestd.ClassConflict, "somebody else changed it meanwhile", "look at it, and try again")
	case errors.As(err, &named):
		return newProblem(named.Class(), named.Error(), "attestd why says more")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return newProblem(attestd.ClassRateLimited, "the request ended before it was answered",
			"it may have been carried out: look before you repeat it")
	default:
		return newProblem(attestd.ClassInternal, "internal error", "report the id; the log has the cause")
	}
}

func (p problem) write(w http.ResponseWriter) {
	header := w.Header()
	header.Set("Content-Type", "application/problem+json")
	if p.retryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	if p.allow != "" {
		header.Set("Allow", p.allow)
	}
	if p.Status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", "Bearer") // RFC 9110 section 15.5.2 demands one
	}
	if p.Status == http.StatusRequestEntityTooLarge {
		header.Set("Connection", "close") // the rest of the body is not read
	}
	document, err := json.Marshal(p)
	if err != nil {
		document = []byte(`{"class":"INTERNAL"}`) // texts and numbers can always be written
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(document, '\n'))
}
