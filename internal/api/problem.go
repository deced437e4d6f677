package api

import (
	"context"
	"errors"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/problem"
)

// edge is the public API's: callers here cannot cause what only the configuration can.
var edge = problem.Edge{
	Excerpt: 400, RetryLater: 30, Authenticate: "AttestdEnrolment",
	Never:    []attestd.Class{attestd.ClassConfig},
	TooLarge: "send less; raw evidence and JSON have limits of their own (docs/api.md)",
}

// problemOf is the one place where errors become answers. What it does not know is a bug, of which
// the caller learns nothing.
func problemOf(err error) problem.Problem {
	var shaped *problem.Error
	var caller *attestd.CallerError
	var undecided *attestd.UndecidedError
	switch {
	case errors.As(err, &shaped):
		return shaped.Problem
	case errors.As(err, &caller):
		return edge.New(caller.Class, caller.Error(), caller.Hint)
	case errors.As(err, &undecided) && undecided.Class.Undecided():
		// Got and Want are written by us; the cause underneath can hold paths and stays in the log.
		return edge.New(undecided.Class, "got "+undecided.Got+", want "+undecided.Want, undecided.Hint)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return edge.New(attestd.ClassRateLimited, "the request ended before there was a verdict",
			"ask again with a new challenge")
	default:
		return edge.New(attestd.ClassInternal, "internal error", "report the id; the log has the cause")
	}
}

func malformed(detail, hint string) error {
	return edge.Refuse(attestd.ClassMalformed, detail, hint)
}
