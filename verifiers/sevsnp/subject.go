package sevsnp

import (
	"crypto/x509"
	"fmt"
	"slices"
)

// checkSubject demands the subject that AMD gives all certificates of this kind (AMD 57230 rev 0.50,
// chapter 3): its own place and organization, each once, and SEV-VCEK or SEV-VLEK. What an ASK signs
// under another name is meant for something else.
func checkSubject(cert *x509.Certificate, kind keyKind) error {
	subject := cert.Subject
	for _, part := range [...]struct {
		got  []string
		want string
	}{
		{[]string{subject.CommonName}, "SEV-" + kind.String()},
		{subject.Country, "US"},
		{subject.Province, "CA"},
		{subject.Locality, "Santa Clara"},
		{subject.Organization, "Advanced Micro Devices"},
		{subject.OrganizationalUnit, "Engineering"},
	} {
		if !slices.Equal(part.got, []string{part.want}) {
			return fmt.Errorf("subject has %q where AMD's has %q", part.got, part.want)
		}
	}
	if len(subject.Names) != 6 {
		return fmt.Errorf("subject has %d parts, want 6", len(subject.Names))
	}
	return nil
}
