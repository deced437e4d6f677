package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/enrol"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/problem"
	"github.com/attestd/attestd/internal/subject"
)

// edge is the admin API's.
var edge = problem.Edge{
	Excerpt: 600, RetryLater: 10, Authenticate: "Bearer",
	TooLarge: "send less; a long list can be sent in parts",
}

func refuse(class attestd.Class, detail, hint string) error {
	return edge.Refuse(class, detail, hint)
}

func malformed(detail, hint string) error { return refuse(attestd.ClassMalformed, detail, hint) }

// notFound is the one answer about things that are not there and things that are another tenant's.
func notFound(what string) error {
	return edge.New(attestd.ClassForbidden, "no such "+what+", or not yours to see",
		"check the spelling and, with attestd operator whoami, your tenants").
		WithStatus(http.StatusNotFound, "Not found").Err()
}

// classed is an error of the registry or the index that names its class, with words for callers.
type classed interface {
	error
	Class() attestd.Class
}

// problemOf is the one place where errors become answers. What it does not know is a bug, of which
// the caller learns nothing.
func problemOf(err error) problem.Problem {
	var shaped *problem.Error
	var caller *attestd.CallerError
	var undecided *attestd.UndecidedError
	var moved *subject.MovedError
	var named classed
	switch {
	case errors.As(err, &shaped):
		return shaped.Problem
	case errors.Is(err, operator.ErrNoOperator):
		return problemOf(notFound("operator"))
	case errors.Is(err, enrol.ErrUnknown):
		return problemOf(notFound("enrolment"))
	case errors.As(err, &caller):
		return edge.New(caller.Class, caller.Error(), caller.Hint)
	case errors.As(err, &undecided) && undecided.Class.Undecided():
		// Got and Want are written by us; the cause underneath can hold paths and stays in the log.
		return edge.New(undecided.Class, "got "+undecided.Got+", want "+undecided.Want, undecided.Hint)
	case errors.As(err, &moved), errors.Is(err, operator.ErrMoved):
		return edge.New(attestd.ClassConflict, "somebody else changed it meanwhile", "look at it, and try again")
	case errors.As(err, &named):
		return edge.New(named.Class(), named.Error(), "attestd why says more")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return edge.New(attestd.ClassRateLimited, "the request ended before it was answered",
			"it may have been carried out: look before you repeat it")
	default:
		return edge.New(attestd.ClassInternal, "internal error", "report the id; the log has the cause")
	}
}
