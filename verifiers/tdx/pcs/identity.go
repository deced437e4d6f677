package pcs

// Identity is the identity of the enclave that makes quotes of TDs (PCS API version 4, Enclave Identity
// V2, id TD_QE). Nothing may be written to it.
type Identity struct {
	Header
	// MiscSelect and Attributes are what the enclave's must be where the masks have a bit, byte by byte as
	// in its report: Intel writes MISCSELECT in the order of memory too.
	MiscSelect, MiscSelectMask [4]byte
	Attributes, AttributesMask [16]byte
	MRSigner                   [32]byte
	ISVProdID                  uint16
	// Levels are by the enclave's ISVSVN, the highest first.
	Levels []SVNLevel
	// Unknown are members that are not known here, by their path.
	Unknown []string

	signed
}

// Head implements Document.
func (i *Identity) Head() Header { return i.Header }

// ParseIdentity reads the identity of TD_QE, whole, as the PCS answers it. Nothing in it is shown before
// SignedBy.
//
// Errors: as ParseTCBInfo.
func ParseIdentity(document []byte) (*Identity, error) {
	inner, signature, err := open(document, "enclaveIdentity")
	f := fieldsOf(inner, "enclaveIdentity", &err) // which keeps the first error
	out := &Identity{Header: readHeader(f, KindIdentity, "TD_QE", 2), signed: signature}
	out.Subject = SubjectOfIdentity
	f.bytes("miscselect", out.MiscSelect[:])
	f.bytes("miscselectMask", out.MiscSelectMask[:])
	f.bytes("attributes", out.Attributes[:])
	f.bytes("attributesMask", out.AttributesMask[:])
	f.bytes("mrsigner", out.MRSigner[:])
	out.ISVProdID = uint16(f.uint("isvprodid", 1<<16-1)) //nolint:gosec // bounded
	out.Levels = readSVNLevels(f, &out.Unknown)
	out.Unknown = f.unknown(out.Unknown)
	if err != nil {
		return nil, err
	}
	return out, nil
}
