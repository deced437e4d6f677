package tpm2

// Signature is a TPMT_SIGNATURE (Part 2, section 11.3.4) of one of the schemes that are verified here:
// RSASSA, RSAPSS or ECDSA.
type Signature struct {
	// Scheme is AlgRSASSA, AlgRSAPSS or AlgECDSA, and Hash the digest that was signed.
	Scheme, Hash uint16
	// RSA is the signature of the first two; nil for ECDSA.
	RSA []byte
	// R and S are ECDSA's, big endian, as long as the TPM wrote them; nil for RSA.
	R, S []byte
}

// ParseSignature reads a TPMT_SIGNATURE that fills data.
func ParseSignature(data []byte) (Signature, error) {
	c := &cursor{data: data, structure: "TPMT_SIGNATURE"}
	s := Signature{Scheme: c.u16("sigAlg")}
	switch s.Scheme {
	case AlgRSASSA, AlgRSAPSS:
		s.Hash = c.hash("hash")
		s.RSA = c.sized(512, "sig")
	case AlgECDSA:
		s.Hash = c.hash("hash")
		s.R = c.sized(66, "signatureR")
		s.S = c.sized(66, "signatureS")
	default:
		c.failAs(ReasonAlgorithm, 0, "scheme "+AlgorithmName(s.Scheme))
	}
	if err := c.end(); err != nil {
		return Signature{}, err
	}
	return s, nil
}
