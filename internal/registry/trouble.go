package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
)

// checkStore names what could not be done in an answer that could not be given.
const checkStore attestd.CheckID = "registry/store"

// unavailable makes of an error of the database one that says "could not decide". What was refused
// for its own sake stays as it is, and so does the end of the caller's context.
func unavailable(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var caller *attestd.CallerError
	var undecided *attestd.UndecidedError
	var moved *subject.MovedError
	var barred *subject.BarredError
	var state *challenge.MovedError
	switch {
	case errors.As(err, &caller), errors.As(err, &undecided), errors.As(err, &moved),
		errors.As(err, &barred), errors.As(err, &state), errors.Is(err, operator.ErrMoved):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return &attestd.UndecidedError{
		Check: checkStore, Class: attestd.ClassStoreUnavailable,
		Got: "a store that did not answer", Want: "one that can be read and written durably",
		Hint: "attestd doctor says what is wrong with it", Err: err,
	}
}

func malformed(format string, arguments ...any) error {
	return &attestd.CallerError{
		Class: attestd.ClassMalformed, Hint: "see the reference of the admin API for what each field can be",
		Err: fmt.Errorf(format, arguments...),
	}
}

// demandTexts refuses what no field of the store can be: longer than most bytes, not UTF-8, or with a
// NUL, at which SQLite's own functions stop reading.
func demandTexts(most int, list ...string) error {
	for _, text := range list {
		if len(text) > most || strings.ContainsRune(text, 0) || !utf8.ValidString(text) {
			return malformed("%q is longer than %d bytes, or no text", attestd.Excerpt(text, 40), most)
		}
	}
	return nil
}
