package pcs

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
)

// PCK is what Intel certified of a platform in a PCK certificate's SGX extension (Intel SGX PCK
// Certificate and CRL Profile Specification, revision 1.5, section 1.3.5).
type PCK struct {
	// PPID names the processor package, or the platform; all zero where Intel left it out.
	PPID [16]byte
	// Components are the levels that CPUSVN stands for, in Intel's order; they are compared one by one.
	Components [16]uint8
	CPUSVN     [16]byte
	PCESVN     uint16
	PCEID      [2]byte
	FMSPC      [6]byte
	Type       SGXType
	// CA says which of the two CAs issued the certificate.
	CA CA
	// Platform is what certificates of the platform CA say besides; nil for those of the processor CA.
	Platform *Platform
}

// Platform is the instance of a platform of several packages, and how it is configured.
type Platform struct {
	// PIID names the platform instance: a new one is made when its keys are.
	PIID [16]byte
	// Dynamic says that packages can be added, Cached that Intel keeps the platform's keys, SMT that
	// simultaneous multithreading is on.
	Dynamic, Cached, SMT bool
}

// SGXType is how a platform protects memory.
type SGXType uint8

// Types of platforms.
const (
	SGXStandard SGXType = iota
	SGXScalable
	SGXScalableWithIntegrity
)

// String returns "standard", "scalable" or "scalable-with-integrity".
func (s SGXType) String() string {
	switch s {
	case SGXStandard:
		return "standard"
	case SGXScalable:
		return "scalable"
	case SGXScalableWithIntegrity:
		return "scalable-with-integrity"
	default:
		return fmt.Sprintf("invalid(%d)", uint8(s))
	}
}

// CA is one of the two authorities over PCK certificates. Each has revocation lists of its own.
type CA uint8

// The two authorities. The zero CA is neither.
const (
	CANone CA = iota
	CAProcessor
	CAPlatform
)

// String returns "processor", "platform" or "none", the first two as the PCS names the CA of a list.
func (c CA) String() string {
	switch c {
	case CAProcessor:
		return "processor"
	case CAPlatform:
		return "platform"
	default:
		return "none"
	}
}

// CAOf returns which CA the name of an issuer is; it shows nothing about who signed.
func CAOf(commonName string) CA {
	switch commonName {
	case NameProcessor:
		return CAProcessor
	case NamePlatform:
		return CAPlatform
	default:
		return CANone
	}
}

var (
	oidSGX = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}

	errExtension = errors.New("an SGX extension of another shape")
)

// Elements of the SGX extension by their last arc, and those that each certificate has.
const (
	arcPPID = 1 + iota
	arcTCB
	arcPCEID
	arcFMSPC
	arcType
	arcPIID
	arcConfiguration

	arcPCESVN = 17
	arcCPUSVN = 18
)

// ReadPCK reads what a PCK certificate states. It demands the certificate's form and the extension in
// strict DER, each element once and in Intel's order, and makes no signature verification.
//
// Errors: a plain error that says what it is not.
func ReadPCK(cert *x509.Certificate) (PCK, error) {
	if err := checkForm(cert, NamePCK, false); err != nil {
		return PCK{}, err
	}
	out := PCK{CA: CAOf(cert.Issuer.CommonName)}
	if out.CA == CANone {
		return PCK{}, errors.New("neither of the CAs over PCKs issued it")
	}
	var value []byte
	for _, extension := range cert.Extensions {
		if extension.Id.Equal(oidSGX) {
			value = extension.Value // crypto/x509 refuses an extension that is there twice
		}
	}
	if value == nil {
		return PCK{}, errors.New("a certificate without the SGX extension")
	}
	if err := out.read(value); err != nil {
		return PCK{}, err
	}
	return out, nil
}

func (p *PCK) read(extension []byte) error {
	want := []int{arcPPID, arcTCB, arcPCEID, arcFMSPC, arcType}
	if p.CA == CAPlatform {
		p.Platform = &Platform{}
		want = append(want, arcPIID, arcConfiguration)
	}
	return eachElement(extension, oidSGX, want, p.element)
}

func (p *PCK) element(arc int, value asn1.RawValue) error {
	switch arc {
	case arcPPID:
		return octets(value, p.PPID[:])
	case arcTCB:
		return p.readTCB(value)
	case arcPCEID:
		return octets(value, p.PCEID[:])
	case arcFMSPC:
		return octets(value, p.FMSPC[:])
	case arcType:
		var kind asn1.Enumerated
		if exactly(value, &kind) != nil || kind < 0 || int(kind) > int(SGXScalableWithIntegrity) {
			return errExtension
		}
		p.Type = SGXType(kind) //nolint:gosec // 0 to 2
		return nil
	case arcPIID:
		return octets(value, p.Platform.PIID[:])
	default:
		return p.readConfiguration(value)
	}
}

// readTCB reads the TCB: sixteen components, PCESVN, and CPUSVN.
func (p *PCK) readTCB(value asn1.RawValue) error {
	want := make([]int, 0, arcCPUSVN)
	for arc := 1; arc <= arcCPUSVN; arc++ {
		want = append(want, arc)
	}
	return eachElement(value.FullBytes, append(oidSGX[:len(oidSGX):len(oidSGX)], arcTCB), want,
		func(arc int, value asn1.RawValue) error {
			if arc == arcCPUSVN {
				return octets(value, p.CPUSVN[:])
			}
			var number int
			most := 1<<8 - 1
			if arc == arcPCESVN {
				most = 1<<16 - 1
			}
			if err := exactly(value, &number); err != nil || number < 0 || number > most {
				return errExtension
			}
			if arc == arcPCESVN {
				p.PCESVN = uint16(number) //nolint:gosec // bounded
			} else {
				p.Components[arc-1] = uint8(number) //nolint:gosec // bounded
			}
			return nil
		})
}

func (p *PCK) readConfiguration(value asn1.RawValue) error {
	flags := [...]*bool{&p.Platform.Dynamic, &p.Platform.Cached, &p.Platform.SMT}
	return eachElement(value.FullBytes, append(oidSGX[:len(oidSGX):len(oidSGX)], arcConfiguration),
		[]int{1, 2, 3}, func(arc int, value asn1.RawValue) error {
			return exactly(value, flags[arc-1])
		})
}

// eachElement reads a SEQUENCE that is all of data and has SEQUENCE { OBJECT IDENTIFIER base.arc,
// value } for each wanted arc, in that order and with nothing else: an element twice would show two
// readers two values.
func eachElement(
	data []byte, base asn1.ObjectIdentifier, want []int,
	see func(arc int, value asn1.RawValue) error,
) error {
	var elements []asn1.RawValue
	rest, err := asn1.Unmarshal(data, &elements)
	if err != nil || len(rest) != 0 || len(elements) != len(want) {
		return errExtension
	}
	for index, arc := range want {
		var element struct {
			ID    asn1.ObjectIdentifier
			Value asn1.RawValue
		}
		if err = exactly(elements[index], &element); err != nil ||
			!element.ID.Equal(append(base[:len(base):len(base)], arc)) {
			return errExtension
		}
		if err = see(arc, element.Value); err != nil {
			return fmt.Errorf("element %s.%d: %w", base, arc, err)
		}
	}
	return nil
}

// exactly reads a value whose encoding is the one that it would be written in.
func exactly(value asn1.RawValue, into any) error {
	rest, err := asn1.Unmarshal(value.FullBytes, into)
	if err != nil || len(rest) != 0 {
		return errExtension
	}
	return nil
}

// octets reads an OCTET STRING of exactly that many bytes.
func octets(value asn1.RawValue, into []byte) error {
	var read []byte
	if err := exactly(value, &read); err != nil || len(read) != len(into) {
		return errExtension
	}
	copy(into, read)
	return nil
}

// fmspcObject is the DER of the object identifier in front of an FMSPC, and of its header.
var fmspcObject = []byte{0x06, 0x0a, 0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01, 0x04, 0x04, 0x06}

// FindFMSPC looks for the FMSPC in the bytes of a certificate, unverified: it says what to fetch, and
// nothing that may be believed.
func FindFMSPC(der []byte) (fmspc [6]byte, found bool) {
	index := bytes.Index(der, fmspcObject)
	if index < 0 || len(der) < index+len(fmspcObject)+len(fmspc) {
		return fmspc, false
	}
	return [6]byte(der[index+len(fmspcObject):]), true
}
