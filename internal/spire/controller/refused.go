package controller

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd"
)

// spireError returns what attestd is told of a call of SPIRE that failed. Whatever is not plainly the
// caller's or a refusal could not be decided.
func spireError(err error) error {
	var caller *attestd.CallerError
	switch said := status.Convert(err); {
	case errors.As(err, &caller):
		return err
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
	case said.Code() == codes.PermissionDenied:
		return &attestd.CallerError{Class: attestd.ClassForbidden,
			Hint: "see the policy of docs/deploy/spire that the SPIRE server runs with",
			Err:  fmt.Errorf("SPIRE refused: %s", attestd.Excerpt(said.Message(), 200))}
	case said.Code() == codes.InvalidArgument:
		return &attestd.CallerError{Class: attestd.ClassMalformed, Hint: "see the SPIRE server's log",
			Err: fmt.Errorf("SPIRE refused: %s", attestd.Excerpt(said.Message(), 200))}
	}
	return &attestd.UndecidedError{Check: "spire.server", Class: attestd.ClassStoreUnavailable,
		Want: "an answer of SPIRE's server API", Hint: "see whether the SPIRE server runs, and its log",
		Err: errors.New(attestd.Excerpt(err.Error(), 200))}
}
