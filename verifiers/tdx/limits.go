package tdx

// limits bound what hostile input can cost. An honest quote has 5 KiB, of which the certificates are
// 3.7 KiB.
var limits = struct {
	quote        int // bytes of a quote and the zeros behind it
	auth         int // bytes that the enclave hashed beside its key; Intel's has 32
	chain        int // bytes of the PEM text of three certificates
	certificate  int // bytes of one certificate in DER; Intel's have 650 to 1,250
	endorsements int // certificates beside the evidence
	certificates int // bytes of all of them together
	signatures   int // public-key verifications for one quote
}{
	quote: 32 << 10, auth: 1 << 10, chain: 8 << 10, certificate: 2 << 10,
	endorsements: 256, certificates: 1 << 20,
	// PCK, enclave, quote, and the CA over the PCK where it is not the one that is pinned. Documents and
	// lists have a budget of their own: most of them cannot come with the evidence.
	signatures: 4,
}
