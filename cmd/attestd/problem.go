package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/report"
)

// Exit codes, the same for every command (docs/reference/cli.md).
const (
	exitAccepted  = 0
	exitBug       = 1
	exitUsage     = 2
	exitRejected  = 3
	exitUndecided = 4
)

const bugHint = "this is a bug in attestd: please report it with the output of attestd version"

// usagef returns an error that the person at the command line can mend, with what to do. Every error
// of the commands is made here or comes with a hint of its own; a test reads the sources for others.
func usagef(hint, format string, args ...any) error {
	return &attestd.CallerError{
		Class: attestd.ClassMalformed, Hint: hint, Err: fmt.Errorf(format, args...),
	}
}

// hinted gives err a hint where it has none of its own.
func hinted(err error, hint string) error {
	var caller *attestd.CallerError
	if err == nil || errors.As(err, &caller) && caller.Hint != "" {
		return err
	}
	return &attestd.CallerError{Class: attestd.ClassMalformed, Hint: hint, Err: err}
}

// fileError says why a file could not be opened or read, with the cause that people know.
func fileError(what, path string, err error) error {
	path = attestd.Excerpt(path, 200)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return usagef("check the path and the folder that attestd was started in",
			"%s %q does not exist", what, path)
	case errors.Is(err, fs.ErrPermission):
		return usagef("make it readable for this user, or run attestd as one who may read it",
			"%s %q may not be read by this user", what, path)
	default:
		return usagef("check that the path names a readable file",
			"%s %q: %w", what, path, pathless(err))
	}
}

// pathless drops the path that package os puts before its errors: it stands in the message already.
func pathless(err error) error {
	var withPath *fs.PathError
	if errors.As(err, &withPath) {
		return withPath.Err
	}
	return err
}

// problemOf maps an error to what is told about it: the one place where the command line does so.
func problemOf(err error) report.Problem {
	var (
		caller    *attestd.CallerError
		rejected  *attestd.EvidenceError
		undecided *attestd.UndecidedError
	)
	switch {
	case errors.As(err, &rejected):
		return report.Problem{
			Class: rejected.Class, Error: err.Error(), Hint: rejected.Hint, ExitCode: exitRejected,
		}
	case errors.As(err, &undecided):
		return report.Problem{
			Class: undecided.Class, Error: err.Error(), Hint: undecided.Hint, ExitCode: exitUndecided,
		}
	case errors.As(err, &caller):
		return report.Problem{
			Class: caller.Class, Error: err.Error(), Hint: caller.Hint, ExitCode: exitOfClass(caller.Class),
		}
	default:
		return report.Problem{
			Class: attestd.ClassInternal, Error: err.Error(), Hint: bugHint, ExitCode: exitBug,
		}
	}
}

func exitOfClass(class attestd.Class) int {
	switch {
	case class.Undecided():
		return exitUndecided
	case class == attestd.ClassInternal || class == "":
		return exitBug
	case class == attestd.ClassConflict, class == attestd.ClassQuarantined,
		class == attestd.ClassRevokedSubject, class == attestd.ClassPolicyDeny:
		return exitRejected
	default:
		return exitUsage
	}
}

// tell writes err to standard error, in words or with -o json as one line of JSON, and returns the
// exit code. The form is read from the arguments themselves: the error may be about them.
func (a *app) tell(args []string, err error) int {
	problem := problemOf(err)
	if problem.Class == "" {
		problem.Class = attestd.ClassInternal
	}
	if problem.Error == "" {
		problem.Error = "something went wrong and did not say what"
	}
	if problem.Hint == "" {
		problem.Hint = "attestd explain " + string(problem.Class)
	}
	var unwritten error
	if wantsJSON(args) {
		unwritten = report.ProblemJSON(a.err, problem)
	} else {
		unwritten = report.ProblemText(a.err, report.Page{Width: a.page().Width}, problem)
	}
	if unwritten != nil {
		return exitBug // standard error is gone: the exit code is all that is left to say it with
	}
	return problem.ExitCode
}

// wantsJSON reports whether the arguments ask for JSON, even where they cannot be parsed.
func wantsJSON(args []string) bool {
	for index, arg := range args {
		switch {
		case arg == "--":
			return false
		case arg == "-o" || arg == "--output":
			if index+1 < len(args) && args[index+1] == "json" {
				return true
			}
		case arg == "-ojson" || arg == "-o=json" || arg == "--output=json":
			return true
		}
	}
	return false
}

// warn writes a line to standard error that changes no answer.
func (a *app) warn(format string, args ...any) {
	if a.flags.quiet {
		return
	}
	// Standard error may be gone; that is no reason to withhold the answer.
	_ = report.Remark(a.err, report.Page{Width: a.page().Width}, "warning", fmt.Sprintf(format, args...))
}
