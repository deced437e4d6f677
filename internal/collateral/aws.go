package collateral

import (
	"encoding/hex"
	"slices"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/collateral/set"
)

const (
	// awsSuffix ends the names of AWS's roots (attestation process of the NSM API, section 2.1).
	awsSuffix = ".nitro-enclaves"
	// maxAWSLists is how many lists a document can be judged with, less some that come with it.
	maxAWSLists = 240
)

// retired reports whether a CA of AWS's has ended. AWS makes new ones for each region every two or
// three weeks, and no document that is taken now has an old one above it: such CAs, their lists and
// floors stay in the ledger and are neither given out nor told. They could else only come to be too
// many.
//
// Certificates of Intel's signing keys overlap: one that ended has a successor, and nothing of today stands
// under it.
func retired(format attestd.Format, until, at time.Time) bool {
	return (format == attestd.FormatNitro || format == attestd.FormatTDX) && until.Before(at)
}

// retiredIssuer reports whether the issuer of a list is retired.
func (v *view) retiredIssuer(row listRow) bool {
	if row.Format != attestd.FormatNitro {
		return false
	}
	return slices.ContainsFunc(v.issuers, func(by *issuer) bool {
		return hex.EncodeToString(by.spki[:]) == row.Issuer && by.format == row.Format &&
			retired(row.Format, by.certificate.NotAfter, v.at)
	})
}

// shareAWS gives NitroTPM the same as Nitro: their chains end in one root.
func (v *view) shareAWS() {
	if of, any := v.sets[attestd.FormatNitro]; any {
		v.sets[attestd.FormatNitroTPM] = set.Set{
			Certificates: slices.Clone(of.Certificates), CRLs: slices.Clone(of.CRLs),
			Floors: slices.Clone(of.Floors),
		}
	}
}

func (v *view) checkAWS() error {
	if lists := len(v.sets[attestd.FormatNitro].CRLs); lists > maxAWSLists {
		return tooMuch("%d lists of AWS's CAs, want at most %d", lists, maxAWSLists)
	}
	return nil
}
