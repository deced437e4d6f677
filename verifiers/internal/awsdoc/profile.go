package awsdoc

import (
	"github.com/attestd/attestd"
)

// Profile is what tells one kind of document from the other.
type Profile struct {
	Format attestd.Format
	// RegisterField is the key of the registers: "pcrs" or "nitrotpm_pcrs".
	RegisterField string
	// Checks is the verifier's whole table: VerifyChecks and what it adds.
	Checks []attestd.CheckSpec
}

// Names of the checks that both kinds make; the format and a slash stand before them.
const (
	checkSize         = "size"
	checkEnvelope     = "envelope"
	checkHeader       = "cose-header"
	checkEncoding     = "encoding"
	checkType         = "document-type"
	checkFields       = "fields"
	checkDigest       = "digest"
	checkBundleSize   = "bundle-size"
	checkCertificates = "certificates"
	checkRoot         = "root"
	checkKey          = "certificate-key"
	checkValidity     = "chain-validity"
	checkChain        = "chain"
	checkSignature    = "signature"
	checkRevocation   = "revocation-list"
	checkRevoked      = "revoked"
	checkTimestamp    = "timestamp"
	checkNonce        = "nonce"
	checkKeyBinding   = "key-binding"
)

// id returns the full id of a check. It takes it from the table, so that a verification builds none.
func (p Profile) id(check string) attestd.CheckID {
	for index := range p.Checks {
		id := p.Checks[index].ID
		if len(id) == len(p.Format)+1+len(check) && string(id[len(p.Format)+1:]) == check {
			return id
		}
	}
	return attestd.CheckID(string(p.Format) + "/" + check)
}

// checkType keeps an instance from passing as an enclave and the reverse: both are signed by the same
// chain, and a register of one means something else in the other.
func (p Profile) checkType(d *Document) *problem {
	enclave, instance := d.seen&fieldPCRs != 0, d.seen&fieldNitroTPMPCRs != 0
	switch {
	case enclave && instance:
		return p.mixedType("both register fields")
	case !enclave && !instance:
		return p.mixedType("no register field")
	case enclave != (p.RegisterField == "pcrs"):
		got := "pcrs"
		if instance {
			got = "nitrotpm_pcrs"
		}
		return &problem{check: checkType, got: got, want: p.RegisterField}
	default:
		return nil
	}
}

func (p Profile) mixedType(got string) *problem {
	return &problem{
		check: checkType, class: attestd.ClassMalformed, got: got, want: p.RegisterField + " alone",
	}
}
