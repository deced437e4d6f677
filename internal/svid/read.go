package svid

import (
	"bytes"
	"crypto/x509"
	"slices"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/issuance"
	"github.com/attestd/attestd/internal/subject"
)

// Bounds of a request.
const (
	// maxCSR is far above a request over RSA-4096 with the longest SPIFFE ID, which has 3.5 KiB.
	maxCSR       = 16 << 10
	maxAudiences = 16
	maxAudience  = 1 << 10
)

// read checks a request before anything is asked or used up for it.
//
// Errors: a [*attestd.CallerError].
func (d *Desk) read(ask Request) (wanted, error) {
	out := wanted{
		csr: ask.CSR, audience: ask.Audience, spki: ask.Submission.KeySPKI, id: ask.SPIFFEID,
	}
	if (len(ask.CSR) == 0) == (len(ask.Audience) == 0) {
		return wanted{}, malformed("give csr for an X509-SVID, or audience for a JWT-SVID",
			"one of csr and audience is wanted")
	}
	if ask.SPIFFEID != "" {
		if _, err := subject.ParseID(ask.SPIFFEID); err != nil {
			return wanted{}, err
		}
	}
	var err error
	if len(ask.CSR) != 0 {
		err = out.readCSR(d.config.TrustDomain)
	} else {
		err = out.readAudience()
	}
	if err != nil {
		return wanted{}, err
	}
	out.key, err = x509.ParsePKIXPublicKey(out.spki)
	return out, err
}

func (w *wanted) readAudience() error {
	if len(w.spki) == 0 {
		return malformed("give key_spki, the key that the evidence binds",
			"a JWT-SVID without an agent names its holder's key")
	}
	if err := issuance.CheckKey(w.spki); err != nil {
		return err
	}
	if len(w.audience) > maxAudiences {
		return malformed("name those that the token is for", "%d audiences, want 1 to %d",
			len(w.audience), maxAudiences)
	}
	for i, one := range w.audience {
		if one == "" || len(one) > maxAudience || slices.Contains(w.audience[:i], one) {
			return malformed("name each audience once", "audience %q, want 1 to %d bytes, and once",
				attestd.Excerpt(one, 40), maxAudience)
		}
	}
	return nil
}

// readCSR reads the certificate request, which says the key and the id. SPIRE looks at some of a
// request and copies some of it into the certificate; here it may say nothing but those two.
func (w *wanted) readCSR(trustDomain string) error {
	if len(w.csr) > maxCSR {
		return fault(attestd.ClassTooLarge, "make it as docs/howto/svid-without-agent.md says",
			"the certificate request has %d bytes, want at most %d", len(w.csr), maxCSR)
	}
	csr, err := x509.ParseCertificateRequest(w.csr)
	if err != nil {
		return malformed("give a PKCS #10 request in PEM, or its DER in base64",
			"the certificate request cannot be read: %s", attestd.Excerpt(err.Error(), 120))
	}
	// The size of the key comes before its signature: what it costs to look at grows with it.
	if err := issuance.CheckKey(csr.RawSubjectPublicKeyInfo); err != nil {
		return err
	}
	if !slices.Contains(signedBy, csr.SignatureAlgorithm) {
		return malformed("sign it with SHA-256, SHA-384 or SHA-512", "the request is signed by %s",
			csr.SignatureAlgorithm)
	}
	if err := csr.CheckSignature(); err != nil {
		return fault(attestd.ClassBinding, "sign the request with the key that it names",
			"the certificate request is not signed by its key")
	}
	if len(w.spki) != 0 && !bytes.Equal(w.spki, csr.RawSubjectPublicKeyInfo) {
		return fault(attestd.ClassBinding, "make the request over the key that the evidence binds",
			"the key of the certificate request is not key_spki")
	}
	id, err := idOf(csr, trustDomain)
	if err != nil {
		return err
	}
	if w.id != "" && w.id != id {
		return deny("the certificate request names %s, and spiffe_id another",
			attestd.Excerpt(id, 200))
	}
	w.spki, w.id = csr.RawSubjectPublicKeyInfo, id
	return nil
}
