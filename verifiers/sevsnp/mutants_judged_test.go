package sevsnp_test

import (
	"crypto/x509"
	"errors"
	"testing"

	"github.com/attestd/attestd"
)

// beyond reports whether the reference has no name for the CPUID: it knows one model of each line, and
// AMD certifies others under the same roots.
func beyond(out mutant) bool {
	model := out.report[0x189]
	return out.report[0] >= 3 && model != 0x01 && model != 0x11
}

// listedLater reports whether a list was issued after the time judged. The reference refuses those;
// here they count, since they name all that was revoked by the time and more.
func listedLater(t testing.TB, out mutant) bool {
	t.Helper()
	for _, raw := range out.lists {
		if list, err := x509.ParseRevocationList(raw); err == nil && list.ThisUpdate.After(out.at) {
			return true
		}
	}
	return false
}

func (m *mill) endorsements(out mutant) attestd.Endorsements {
	from := authority(m.t, out.line)
	asvk, err := from.ASVK()
	if err != nil {
		m.t.Fatal(err)
	}
	given := endorsed(out.key.DER, from.ASK.Raw, asvk.Raw)
	given.CRLs = out.lists
	return given
}

// judged returns the check that refused, and why. Where lists were given, accepted means with one
// that covers the time, as it does to the reference.
func judged(listed bool, claims *attestd.Claims, err error) (attestd.CheckID, error) {
	var rejected *attestd.EvidenceError
	var undecided *attestd.UndecidedError
	switch {
	case errors.As(err, &rejected):
		return rejected.Check, err
	case errors.As(err, &undecided):
		return undecided.Check, err
	case err != nil:
		return "", err
	}
	if unknown, _ := claims.Fact("unknown_bits"); unknown.String() != "false" {
		return "sev-snp/unknown-bits", errors.New("bits that nobody knows, as in production")
	}
	if state, _ := claims.Fact("crl"); listed && state.String() != "fresh" {
		return "sev-snp/crl", errors.New("no list of the ARK's covers the time")
	}
	return "", nil
}
