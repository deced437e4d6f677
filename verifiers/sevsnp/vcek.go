package sevsnp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/asn1"
	"fmt"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/p384"
)

// AMD's certificate extensions all lie below 1.3.6.1.4.1.3704.1 (AMD 57230 rev 0.50).
var (
	oidStructVersion = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 1}
	oidProductName   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 2}
	oidBootloader    = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 3, 1}
	oidTEE           = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 3, 2}
	oidSNP           = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 3, 3}
	oidMicrocode     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 3, 8}
	oidHWID          = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 4}
	oidCSPID         = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 5}
)

// reservedSPLs are the levels that Milan and Genoa do not use.
var reservedSPLs = []asn1.ObjectIdentifier{
	{1, 3, 6, 1, 4, 1, 3704, 1, 3, 4}, {1, 3, 6, 1, 4, 1, 3704, 1, 3, 5},
	{1, 3, 6, 1, 4, 1, 3704, 1, 3, 6}, {1, 3, 6, 1, 4, 1, 3704, 1, 3, 7},
}

// vcek is a VCEK certificate whose signature by its issuer was verified. It is immutable and shared
// between verifications; validity is not part of it, because time passes.
type vcek struct {
	cert    *x509.Certificate
	digest  [32]byte
	key     p384.Key
	issuer  *authority
	product string
	hwid    [64]byte
	tcb     tcb
}

// readVCEK reads the extensions of a certificate that AMD signed.
func readVCEK(cert *x509.Certificate, issuer *authority) (*vcek, *fault) {
	public, _ := cert.PublicKey.(*ecdsa.PublicKey)
	key, err := p384.NewKey(public)
	if err != nil {
		return nil, refuse(checkVCEKProfile, "key is not on P-384", "an ECDSA key on P-384").because(err)
	}
	if cert.IsCA {
		return nil, refuse(checkVCEKProfile, "certificate is a CA", "an end entity")
	}
	if len(cert.UnhandledCriticalExtensions) != 0 {
		return nil, refuse(checkVCEKProfile, "unknown critical extension", "none")
	}
	out := &vcek{cert: cert, key: key, issuer: issuer}
	if err := out.readExtensions(cert); err != nil {
		return nil, refuse(checkVCEKProfile, "extensions that do not fit", "those of a VCEK").because(err)
	}
	var version uint8
	if err := integer(cert, oidStructVersion, &version); err != nil {
		return nil, refuse(checkVCEKProfile, "no structure version", "0").because(err)
	}
	if version != 0 {
		// Version 1 is Turin's: eight bytes of HWID and another order of levels.
		return nil, refuseAs(checkVCEKProfile, attestd.ClassUnsupported,
			fmt.Sprintf("structure version %d", version), "0 (Milan and Genoa)")
	}
	return out, nil
}

func (v *vcek) readExtensions(cert *x509.Certificate) error {
	if extension(cert, oidCSPID) != nil {
		return fmt.Errorf("CSP_ID belongs to a VLEK")
	}
	for _, level := range []struct {
		oid  asn1.ObjectIdentifier
		into *uint8
	}{
		{oidBootloader, &v.tcb.bootloader}, {oidTEE, &v.tcb.tee},
		{oidSNP, &v.tcb.snp}, {oidMicrocode, &v.tcb.microcode},
	} {
		if err := integer(cert, level.oid, level.into); err != nil {
			return err
		}
	}
	for _, oid := range reservedSPLs {
		var level uint8
		if err := integer(cert, oid, &level); err != nil {
			return err
		}
		if level != 0 {
			return fmt.Errorf("reserved level %v is %d, want 0", oid, level)
		}
	}
	hwid := extension(cert, oidHWID)
	if len(hwid) != len(v.hwid) {
		return fmt.Errorf("HWID has %d bytes, want 64", len(hwid))
	}
	copy(v.hwid[:], hwid)
	return ia5(cert, oidProductName, &v.product)
}

// extension returns the value of the extension, nil where there is none. crypto/x509 refuses
// certificates that have one twice.
func extension(cert *x509.Certificate, oid asn1.ObjectIdentifier) []byte {
	for _, found := range cert.Extensions {
		if found.Id.Equal(oid) {
			return found.Value
		}
	}
	return nil
}

// integer reads an INTEGER from 0 to 255 in its one DER form.
func integer(cert *x509.Certificate, oid asn1.ObjectIdentifier, into *uint8) error {
	value := extension(cert, oid)
	for _, form := range [][]byte{{0x02, 0x01}, {0x02, 0x02, 0x00}} {
		if len(value) == len(form)+1 && bytes.HasPrefix(value, form) &&
			(value[len(form)] >= 0x80) == (len(form) == 3) {
			*into = value[len(form)]
			return nil
		}
	}
	return fmt.Errorf("extension %v is not an integer from 0 to 255", oid)
}

// ia5 reads an IA5String of at most 127 characters.
func ia5(cert *x509.Certificate, oid asn1.ObjectIdentifier, into *string) error {
	value := extension(cert, oid)
	if len(value) < 2 || value[0] != asn1.TagIA5String || int(value[1]) != len(value)-2 {
		return fmt.Errorf("extension %v is not a short IA5String", oid)
	}
	*into = string(value[2:])
	return nil
}
