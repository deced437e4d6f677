package subject

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/attestd/attestd"
)

// What verifiers state as an instance and as a host, in its one spelling.
var (
	// An endorsement key, an instance of Google Cloud, a machine of Azure, a module of AWS.
	instanceForm = regexp.MustCompile(`^(?:ek:[0-9a-f]{64}` +
		`|gce:[A-Za-z0-9:._-]{1,80}/[a-z0-9-]{1,40}/[0-9]{1,20}` +
		`|azure:[0-9a-f-]{1,64}` +
		`|i-[0-9a-f]{8,17}-[A-Za-z0-9._-]{1,80})$`)
	// A chip (64 bytes, of Turin 8), a platform of Intel's (16), or the parent instance of enclaves.
	hostForm = regexp.MustCompile(`^(?:[0-9a-f]{128}|[0-9a-f]{16}|[0-9a-f]{32}|i-[0-9a-f]{8,17})$`)
	bareKey  = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// HardwareForm returns the form of the values of hardware of that kind, nil for a kind without one.
func HardwareForm(kind BarKind) *regexp.Regexp {
	switch kind {
	case BarInstance:
		return instanceForm
	case BarHost:
		return hostForm
	default:
		return nil
	}
}

// SpellHardware returns the instance or host that a person named as verifiers spell it: digits in
// lower case, and an endorsement key's digest, which ends the name of its agent, with its scheme. What
// no verifier would state is refused: a hold on it would be acknowledged and hold nothing.
//
// Errors: a [*attestd.CallerError] of class MALFORMED.
func SpellHardware(kind BarKind, value string) (string, error) {
	spelled, form := FoldHardware(kind, value), HardwareForm(kind)
	if kind == BarInstance && bareKey.MatchString(strings.ToLower(value)) {
		spelled = "ek:" + strings.ToLower(value)
	}
	if form == nil || !form.MatchString(spelled) || AllZero(spelled) {
		return "", &attestd.CallerError{
			Class: attestd.ClassMalformed,
			Hint:  "give it whole, as attestd subject show prints it: " + formsInWords(kind),
			Err:   fmt.Errorf("no verifier states %q as %s", attestd.Excerpt(value, 80), kind),
		}
	}
	return spelled, nil
}

// FoldHardware returns a handle's value without the differences in case that say nothing: Azure's
// certificates and its lists need not write a UUID alike.
func FoldHardware(kind BarKind, value string) string {
	scheme, _, found := strings.Cut(value, ":")
	if scheme = strings.ToLower(scheme); kind == BarHost || found && (scheme == "ek" || scheme == "azure") {
		return strings.ToLower(value)
	}
	return value
}

// AllZero reports whether the digits behind the prefix are all zero: what an absent or masked field
// holds names nothing.
func AllZero(value string) bool {
	return strings.Trim(strings.TrimPrefix(strings.TrimPrefix(value, "ek:"), "i-"), "0") == ""
}

func formsInWords(kind BarKind) string {
	if kind == BarHost {
		return "128, 32 or 16 hexadecimal digits, or i-..."
	}
	return "ek: with 64 hexadecimal digits, gce:PROJECT/ZONE/NUMBER, azure:UUID, or i-...-enc..."
}
