package tpmtrust

import (
	"fmt"

	"github.com/attestd/attestd"
)

// Reason says what is wrong in a word that does not depend on which check asks.
type Reason string

// The reasons there are.
const (
	ReasonSize        Reason = "size"        // over a limit
	ReasonEncoding    Reason = "encoding"    // no X.509 certificate or CRL in DER
	ReasonChain       Reason = "chain"       // no path to a root
	ReasonTime        Reason = "time"        // a certificate is not valid at the time
	ReasonRevoked     Reason = "revoked"     // a certificate is on its issuer's CRL
	ReasonCRL         Reason = "crl"         // a CRL is not its issuer's, or of a kind not read here
	ReasonCertificate Reason = "certificate" // the leaf is not what its profile demands
	ReasonTemplate    Reason = "template"    // the public area is none of the TCG's EK templates
	ReasonKey         Reason = "key"         // the key is weak, or not of a kind used here
)

// Fault says why a key is not vouched for.
type Fault struct {
	Reason    Reason
	Class     attestd.Class
	Got, Want string
	Err       error // the cause underneath, where there is one
}

// Error names what was seen and what was wanted.
func (f *Fault) Error() string {
	text := fmt.Sprintf("%s: got %s, want %s", f.Reason, f.Got, f.Want)
	if f.Err != nil {
		text += ": " + f.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Err }

func refuse(reason Reason, class attestd.Class, got, want string) *Fault {
	return &Fault{Reason: reason, Class: class, Got: got, Want: want}
}

func (f *Fault) because(err error) *Fault {
	f.Err = err
	return f
}

// limits bound what one query may cost. Certificates of TPM vendors have 700 to 2,000 bytes, paths
// up to five CAs; a CRL of a busy manufacturing CA has some hundred kilobytes. Evidence brings eight
// intermediates at most; the others are what an operator has of his vendors.
var limits = struct {
	certificate, intermediates int // bytes of one, number
	crl, crls                  int // bytes of one, number
	signatures                 int // public-key verifications for a path, and as many for CRLs
	attributes                 int // attributes in a subject alternative name
	text                       int // characters of a text from a certificate
	cachedNodes, cachedCRLs    int
}{
	certificate: 4096, intermediates: 264, crl: 1 << 20, crls: 64, signatures: 8, attributes: 16,
	text: 256, cachedNodes: 4096, cachedCRLs: 32,
}
