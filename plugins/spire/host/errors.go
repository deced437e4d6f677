package host

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/link"
)

// CodeOf says how SPIRE is told of an error: as a refusal, as a fault of the caller's, as a bug, or,
// for all else, that nothing was decided. It is never OK and never Unimplemented.
//
// The difference matters on a node: at PermissionDenied its agent deletes its SVID and ends, and at
// Unavailable it goes on with what it has and asks again.
func CodeOf(err error) codes.Code {
	if said, ok := status.FromError(err); ok && said.Code() != codes.Unimplemented && said.Code() != codes.OK {
		return said.Code()
	}
	known := attestd.ClassStoreUnavailable // an error without a class: of a connection, a file, a deadline
	var linked *link.Error
	var caller *attestd.CallerError
	var undecided *attestd.UndecidedError
	var evidence *attestd.EvidenceError
	appraised := false
	switch {
	case errors.As(err, &linked):
		known, appraised = linked.Class, linked.AppraisalID != ""
	case errors.As(err, &undecided), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	case errors.As(err, &evidence):
		known, appraised = evidence.Class, true
	case errors.As(err, &caller):
		known = caller.Class
	}
	return codeOfClass(known, appraised)
}

// codeOfClass maps a class. Some classes are of evidence that was appraised, or of a broken document;
// the appraisal tells them apart.
func codeOfClass(class attestd.Class, appraised bool) codes.Code {
	switch class {
	case attestd.ClassMalformed, attestd.ClassTooLarge, attestd.ClassUnsupported:
		if appraised {
			return codes.PermissionDenied
		}
		return codes.InvalidArgument
	case attestd.ClassSignature, attestd.ClassChain, attestd.ClassCertTime, attestd.ClassRevokedCert,
		attestd.ClassCollateralInvalid, attestd.ClassBinding, attestd.ClassReplay, attestd.ClassStale,
		attestd.ClassMeasurement, attestd.ClassDebug, attestd.ClassTCB, attestd.ClassPlatform,
		attestd.ClassKeyProperties, attestd.ClassQuarantined, attestd.ClassRevokedSubject,
		attestd.ClassPolicyDeny, attestd.ClassForbidden, attestd.ClassConflict:
		return codes.PermissionDenied
	case attestd.ClassInternal:
		return codes.Internal
	default:
		// Undecided classes, and those that are the plugin's own fault and nobody's evidence: it is not
		// known to attestd (UNAUTHENTICATED), or wrongly configured (CONFIG).
		return codes.Unavailable
	}
}

// ErrorOf turns an error, most often of a link, into what SPIRE is told. The text reaches agents and
// workloads, so a refusal says no more than whom to ask, and where there was one, which appraisal; what
// attestd said is for the plugin's own log.
func ErrorOf(err error) error {
	if err == nil {
		return nil
	}
	code := CodeOf(err)
	var linked *link.Error
	appraisal, ask := "", "; the SPIRE server's log has the reason"
	if errors.As(err, &linked) && linked.AppraisalID != "" {
		id := attestd.Excerpt(linked.AppraisalID, 80)
		appraisal, ask = " (appraisal "+id+")", "; ask: attestd why "+id
	}
	switch code {
	case codes.PermissionDenied:
		return status.Error(code, "attestd: refused"+appraisal+ask)
	case codes.InvalidArgument:
		return status.Error(code, "attestd: "+attestd.Excerpt(err.Error(), 200)+appraisal)
	case codes.Internal:
		return status.Error(code, "attestd: internal error"+appraisal+", see the log")
	case codes.Unavailable:
		return status.Error(code, "attestd: nothing was decided, try again"+appraisal)
	}
	return status.Error(code, "attestd: "+attestd.Excerpt(status.Convert(err).Message(), 200))
}
