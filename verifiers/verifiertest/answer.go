package verifiertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers"
)

// ask calls Verify behind a recover and says what was wrong with the answer as an answer: a panic, a
// write to the input, claims beside an error, neither of the two, an error of no class.
func ask(v verifiers.Verifier, specs []attestd.CheckSpec, input attestd.Input) (
	claims *attestd.Claims, refusal, fault error,
) {
	defer func() {
		if p := recover(); p != nil {
			claims, refusal, fault = nil, nil, fmt.Errorf("panic: %v", p)
		}
	}()
	claims, refusal = v.Verify(input)
	switch {
	case refusal == nil && !claims.Proven():
		return nil, nil, errors.New("neither claims nor an error")
	case refusal == nil:
		return claims, nil, nil
	case claims != nil:
		// A caller that looked at the result first would use it.
		return nil, nil, errors.New("claims beside an error")
	}
	return nil, refusal, faultOfError(specs, refusal)
}

// faultOfError says what is wrong with an error as an error, or nil.
func faultOfError(specs []attestd.CheckSpec, err error) error {
	var rejected *attestd.EvidenceError
	var undecided *attestd.UndecidedError
	var caller *attestd.CallerError
	switch {
	case errors.As(err, &rejected):
		if rejected.Class == "" || rejected.Class.Undecided() || rejected.Class == attestd.ClassInternal {
			return fmt.Errorf("a rejection of class %q: %w", rejected.Class, err)
		}
		return faultOfTrail(specs, rejected.Check, rejected.Hint, rejected.Spec, rejected.Checks)
	case errors.As(err, &undecided):
		if !undecided.Class.Undecided() {
			return fmt.Errorf("could not decide, of class %q: %w", undecided.Class, err)
		}
		return faultOfTrail(specs, undecided.Check, undecided.Hint, undecided.Spec, undecided.Checks)
	case errors.As(err, &caller):
		if caller.Class == "" || caller.Hint == "" {
			return fmt.Errorf("a caller error without class or hint: %w", err)
		}
		return nil
	default:
		return fmt.Errorf("an error of type %T: %w", err, err)
	}
}

// faultOfTrail says what is wrong with the checks of a refusal: the named one must be in the table,
// be decided by verification, and stand last as the only one that failed.
func faultOfTrail(
	specs []attestd.CheckSpec, id attestd.CheckID, hint, spec string, checks []attestd.Check,
) error {
	position := slices.IndexFunc(specs, func(s attestd.CheckSpec) bool { return s.ID == id })
	switch {
	case position < 0:
		return fmt.Errorf("names check %q, which is not in the table", id)
	case specs[position].Stage != attestd.StageVerify:
		return fmt.Errorf("names check %q, which only a policy decides", id)
	case hint == "" || spec == "":
		return fmt.Errorf("check %q failed without hint or specification", id)
	case len(checks) == 0 || checks[len(checks)-1].ID != id:
		return fmt.Errorf("check %q does not stand last among the checks that ran", id)
	}
	for _, check := range checks[:len(checks)-1] {
		if check.Result != attestd.ResultPass && check.Result != attestd.ResultNotApplicable {
			return fmt.Errorf("check %q is %v before the one that failed", check.ID, check.Result)
		}
	}
	if last := checks[len(checks)-1]; last.Result != attestd.ResultFail {
		return fmt.Errorf("the failed check %q is recorded as %v", last.ID, last.Result)
	}
	return nil
}

// refused asks and returns a fault unless the answer is a rejection. undecidedToo allows "could not
// decide", callerToo a caller error.
func refused(
	v verifiers.Verifier, specs []attestd.CheckSpec, input attestd.Input, undecidedToo, callerToo bool,
) error {
	claims, refusal, fault := ask(v, specs, input)
	if fault != nil {
		return fault
	}
	if claims != nil {
		return errors.New("accepted")
	}
	var undecided *attestd.UndecidedError
	var caller *attestd.CallerError
	if !undecidedToo && errors.As(refusal, &undecided) || !callerToo && errors.As(refusal, &caller) {
		return fmt.Errorf("not a rejection: %w", refusal)
	}
	return nil
}

// portrait renders everything that claims say.
func portrait(claims *attestd.Claims) ([]byte, error) {
	facts, err := json.Marshal(claims)
	if err != nil {
		return nil, err
	}
	rest, err := json.Marshal(struct {
		Summary, Product string
		Digest           [32]byte
		Registers        []attestd.Register
		Handles          []attestd.Handle
		Checks           []attestd.Check
		Freshness        attestd.Freshness
		Key              []byte
		Edges            []attestd.Edge
	}{
		claims.Summary(), claims.Product(), claims.EvidenceDigest(),
		slices.Collect(claims.Registers()), slices.Collect(claims.Handles()), claims.Checks(),
		claims.Freshness(), claims.KeySPKI(), slices.Collect(claims.Edges()),
	})
	parts := [][]byte{facts, rest}
	for device := range claims.Devices() {
		one, bad := portrait(device.Claims)
		if bad != nil {
			return nil, bad
		}
		parts = append(parts, []byte(device.Path), one)
	}
	return bytes.Join(parts, []byte{'\n'}), err
}
