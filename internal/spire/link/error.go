package link

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
)

// Bounds of what an error says, in runes, and of how deep a body nests.
const (
	maxMessage = 400
	maxHint    = 200
	maxDepth   = 16
)

// ErrUnreached is within every [Error] that says that no answer came: the call was perhaps carried out.
var ErrUnreached = errors.New("no answer came")

// errUnsent is within one whose call certainly was not.
var errUnsent = fmt.Errorf("%w: it was not sent", ErrUnreached)

// Error is what a call ended with instead of an answer. It crosses the link with its class, so that
// whoever asked tells a refusal from what could not be decided.
type Error struct {
	// Class of it: undecided where [attestd.Class.Undecided] holds.
	Class   attestd.Class
	Message string
	// Hint says what to do.
	Hint string
	// AppraisalID names the appraisal that the error follows from; empty where there is none.
	AppraisalID string

	cause error
}

// Error returns the message; the hint is for a line of its own.
func (e *Error) Error() string { return e.Message }

// Unwrap returns what is [ErrUnreached] where no answer came, and nil for an error of the peer's.
func (e *Error) Unwrap() error { return e.cause }

// errorDocument is an Error as it stands in a frame.
type errorDocument struct {
	Class       attestd.Class `json:"class"`
	Message     string        `json:"message"`
	Hint        string        `json:"hint,omitempty"`
	AppraisalID string        `json:"appraisal_id,omitempty"`
}

// encode returns the error as the value of a message, with no more text than an error has.
func (e *Error) encode() []byte {
	value, err := json.Marshal(errorDocument{
		Class: classOf(e.Class), Message: attestd.Excerpt(e.Message, maxMessage),
		Hint: attestd.Excerpt(e.Hint, maxHint), AppraisalID: attestd.Excerpt(e.AppraisalID, 80),
	})
	if err != nil { // four texts; it cannot be
		return []byte(`{"class":"INTERNAL","message":"internal error"}`)
	}
	return value
}

// decodeError reads an error that a peer sent. One that cannot be read is still no answer.
func decodeError(value []byte) *Error {
	var document errorDocument
	limits := strict.JSONLimits{Bytes: 16 << 10, Depth: 1}
	if err := strict.DecodeJSON(value, limits, &document); err != nil {
		return unreached("the peer's error cannot be read", ErrUnreached)
	}
	return &Error{
		Class: classOf(document.Class), Message: attestd.Excerpt(document.Message, maxMessage),
		Hint:        attestd.Excerpt(document.Hint, maxHint),
		AppraisalID: attestd.Excerpt(document.AppraisalID, 80),
	}
}

// classOf returns a class that can be printed; what has no class's form is INTERNAL, as the empty one.
func classOf(class attestd.Class) attestd.Class {
	for i := range len(class) {
		if class[i] != '_' && (class[i] < 'A' || class[i] > 'Z') {
			return attestd.ClassInternal
		}
	}
	if class == "" || len(class) > 40 {
		return attestd.ClassInternal
	}
	return class
}

// AsError returns err as what crosses a link. Of an error that has no class the peer learns nothing.
func AsError(err error) *Error {
	var known *Error
	var caller *attestd.CallerError
	var undecided *attestd.UndecidedError
	var evidence *attestd.EvidenceError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &undecided):
		class := undecided.Class
		if !class.Undecided() { // an undecided error never reads as an answer
			class = attestd.ClassStoreUnavailable
		}
		return &Error{Class: class, Message: undecided.Error(), Hint: undecided.Hint}
	case errors.As(err, &caller):
		return &Error{Class: caller.Class, Message: caller.Error(), Hint: caller.Hint}
	case errors.As(err, &evidence):
		return &Error{Class: evidence.Class, Message: evidence.Error(), Hint: evidence.Hint}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &Error{
			Class: attestd.ClassStoreUnavailable, Message: "the call took too long", Hint: "try again",
		}
	default:
		return internalError()
	}
}

func internalError() *Error {
	return &Error{Class: attestd.ClassInternal, Message: "internal error", Hint: "the peer's log has the cause"}
}

// unreached is for calls without an answer that can be read. cause is ErrUnreached or holds it.
func unreached(what string, cause error) *Error {
	return &Error{
		Class: attestd.ClassStoreUnavailable, Message: what,
		Hint: "see whether attestd runs and answers at the configured addresses", cause: cause,
	}
}

// Decode reads the body of a call into the pointer into: one JSON value in one spelling, without
// unknown or duplicate keys (internal/strict).
//
// Errors: a [*attestd.CallerError] of class MALFORMED.
func Decode(body json.RawMessage, into any) error {
	err := strict.DecodeJSON(body, strict.JSONLimits{Bytes: len(body), Depth: maxDepth}, into)
	if err != nil {
		return &attestd.CallerError{
			Class: attestd.ClassMalformed, Hint: "run the same version of attestd and of its plugins", Err: err,
		}
	}
	return nil
}

// encodeBody writes what a call or an answer carries; nil is the empty object.
func encodeBody(body any) ([]byte, error) {
	if body == nil {
		return []byte("{}"), nil
	}
	if value := reflect.ValueOf(body); value.Kind() == reflect.Pointer && value.IsNil() {
		return nil, errors.New("a nil document")
	}
	return json.Marshal(body)
}
