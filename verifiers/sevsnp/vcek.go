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
	oidFMC           = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 3, 9}
	oidHWID          = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 4}
	oidCSPID         = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 5}
)

// oidSPL4 is a level that certificates of structure version 0 reserve and those of version 1 have not.
var oidSPL4 = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1, 3, 4}

// reservedSPLs are the levels that no product uses.
var reservedSPLs = []asn1.ObjectIdentifier{
	{1, 3, 6, 1, 4, 1, 3704, 1, 3, 5}, {1, 3, 6, 1, 4, 1, 3704, 1, 3, 6},
	{1, 3, 6, 1, 4, 1, 3704, 1, 3, 7},
}

// Structure versions: that of Milan and Genoa, and Turin's (AMD 57230 rev 0.50, section 3.1).
const (
	structOlder = 0
	structTurin = 1
)

// Sizes of HWID, which stands in CHIP_ID.
const (
	hwidSize      = 64
	hwidSizeTurin = 8
)

// vcek is the certificate of a VCEK or a VLEK whose signature by its issuer was verified. It is
// immutable and shared between verifications; validity is not part of it, because time passes.
type vcek struct {
	cert    *x509.Certificate
	digest  [32]byte
	key     p384.Key
	kind    keyKind
	issuer  *authority
	product string
	hwid    []byte // of a VCEK; it aliases the certificate, which nobody else has
	csp     string // of a VLEK: the cloud whose key it is
	tcb     tcb
}

// readVCEK reads the extensions of a certificate that AMD signed for this kind of key.
func readVCEK(cert *x509.Certificate, kind keyKind, issuer *authority) (*vcek, *fault) {
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
	var version uint8
	if err := integer(cert, oidStructVersion, &version); err != nil {
		return nil, refuse(checkVCEKProfile, "no structure version", "0 or 1").because(err)
	}
	if version > structTurin {
		return nil, refuseAs(checkVCEKProfile, attestd.ClassUnsupported,
			fmt.Sprintf("structure version %d", version), "0 (Milan and Genoa) or 1 (Turin)")
	}
	out := &vcek{cert: cert, key: key, kind: kind, issuer: issuer}
	out.tcb.turin = version == structTurin
	if err := out.readExtensions(cert); err != nil {
		return nil, refuse(checkVCEKProfile, "extensions that do not fit",
			"those of a "+kind.String()).because(err)
	}
	return out, nil
}

func (v *vcek) readExtensions(cert *x509.Certificate) error {
	if err := checkSubject(cert, v.kind); err != nil {
		return err
	}
	if err := v.readName(cert); err != nil {
		return err
	}
	if err := v.readLevels(cert); err != nil {
		return err
	}
	return ia5(cert, oidProductName, &v.product)
}

// readName reads whose key it is: a chip's or a cloud's. A certificate that said both could stand for
// either.
func (v *vcek) readName(cert *x509.Certificate) error {
	hwid := extension(cert, oidHWID)
	if v.kind == kindVLEK {
		if hwid != nil {
			return fmt.Errorf("HWID belongs to a VCEK")
		}
		return ia5(cert, oidCSPID, &v.csp)
	}
	if extension(cert, oidCSPID) != nil {
		return fmt.Errorf("CSP_ID belongs to a VLEK")
	}
	want := hwidSize
	if v.tcb.turin {
		want = hwidSizeTurin
	}
	if len(hwid) != want {
		return fmt.Errorf("HWID has %d bytes, want %d", len(hwid), want)
	}
	v.hwid = hwid
	return nil
}

func (v *vcek) readLevels(cert *x509.Certificate) error {
	if v.tcb.turin {
		if err := integer(cert, oidFMC, &v.tcb.fmc); err != nil {
			return err
		}
	} else if extension(cert, oidFMC) != nil {
		return fmt.Errorf("level %v belongs to structure version 1", oidFMC)
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
		if err := reserved(cert, oid); err != nil {
			return err
		}
	}
	if !v.tcb.turin {
		return reserved(cert, oidSPL4)
	}
	if extension(cert, oidSPL4) != nil {
		return fmt.Errorf("level %v belongs to structure version 0", oidSPL4)
	}
	return nil
}

func reserved(cert *x509.Certificate, oid asn1.ObjectIdentifier) error {
	var level uint8
	if err := integer(cert, oid, &level); err != nil {
		return err
	}
	if level != 0 {
		return fmt.Errorf("reserved level %v is %d, want 0", oid, level)
	}
	return nil
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

// ia5 reads an IA5String of 1 to 127 characters. An empty one would name a cloud or a product that
// nobody is.
func ia5(cert *x509.Certificate, oid asn1.ObjectIdentifier, into *string) error {
	value := extension(cert, oid)
	if len(value) < 3 || value[1] >= 0x80 || value[0] != asn1.TagIA5String || int(value[1]) != len(value)-2 {
		return fmt.Errorf("extension %v is not a short IA5String", oid)
	}
	*into = string(value[2:])
	return nil
}
