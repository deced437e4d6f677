package forge

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// IntelTime is when every Intel-shaped certificate of this package is valid, unless told otherwise.
var IntelTime = time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)

// Intel is a test authority shaped like Intel's for SGX and TDX: a root that signs itself and, below
// it, the authorities over the PCKs of single processors and of platforms, and the certificate of the
// key that signs TCB information. Nothing outside of a test may trust it.
type Intel struct {
	Root, Processor, Platform, Signing             *x509.Certificate
	rootKey, processorKey, platformKey, signingKey *ecdsa.PrivateKey
}

// Serial numbers of the authorities; PCKs have others.
const (
	SerialIntelRoot      = 1
	SerialIntelProcessor = 2
	SerialIntelPlatform  = 3
	SerialIntelSigning   = 4
	// SerialPCK is a PCK's unless told otherwise.
	SerialPCK = 1000
)

// Names of Intel's certificates.
const (
	IntelRootName      = "Intel SGX Root CA"
	IntelProcessorName = "Intel SGX PCK Processor CA"
	IntelPlatformName  = "Intel SGX PCK Platform CA"
	IntelSigningName   = "Intel SGX TCB Signing"
	IntelPCKName       = "Intel SGX PCK Certificate"
)

// IntelConfig says how an authority is made. Two authorities never share a key, so that each is an
// impostor to the other.
type IntelConfig struct {
	// EditRoot and the others change the templates.
	EditRoot, EditProcessor, EditPlatform, EditSigning func(*x509.Certificate)
}

// NewIntel makes an authority.
func NewIntel(config IntelConfig) (*Intel, error) {
	out := &Intel{}
	authority := func(template *x509.Certificate) {
		template.IsCA, template.BasicConstraintsValid = true, true
		template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
		template.MaxPathLenZero = template.SerialNumber.Int64() != SerialIntelRoot
		if !template.MaxPathLenZero {
			template.MaxPathLen = 1
		}
	}
	end := func(template *x509.Certificate) {
		template.BasicConstraintsValid = true
		template.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment
	}
	for _, made := range []struct {
		name   string
		serial int64
		shape  func(*x509.Certificate)
		edit   func(*x509.Certificate)
		cert   **x509.Certificate
		key    **ecdsa.PrivateKey
	}{
		{IntelRootName, SerialIntelRoot, authority, config.EditRoot, &out.Root, &out.rootKey},
		{IntelProcessorName, SerialIntelProcessor, authority, config.EditProcessor,
			&out.Processor, &out.processorKey},
		{IntelPlatformName, SerialIntelPlatform, authority, config.EditPlatform,
			&out.Platform, &out.platformKey},
		{IntelSigningName, SerialIntelSigning, end, config.EditSigning, &out.Signing, &out.signingKey},
	} {
		var err error
		if *made.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, err
		}
		template := intelTemplate(made.name, made.serial)
		made.shape(template)
		if made.edit != nil {
			made.edit(template)
		}
		parent := out.Root
		if parent == nil {
			parent = template
		}
		if *made.cert, err = issue(template, parent, (*made.key).Public(), out.rootKey); err != nil {
			return nil, fmt.Errorf("%s: %w", made.name, err)
		}
	}
	return out, nil
}

// SigningAgain returns another certificate of the root's for the key that signs TCB information, as DER:
// Intel renews certificates and keeps the key.
func (i *Intel) SigningAgain(edit func(*x509.Certificate)) ([]byte, error) {
	template := intelTemplate(IntelSigningName, SerialIntelSigning)
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment
	if edit != nil {
		edit(template)
	}
	made, err := issue(template, i.Root, i.signingKey.Public(), i.rootKey)
	if err != nil {
		return nil, err
	}
	return made.Raw, nil
}

// intelTemplate has Intel's subject text in Intel's order.
func intelTemplate(name string, serial int64) *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: IntelName(name),
		NotBefore: IntelTime.AddDate(-3, 0, 0), NotAfter: IntelTime.AddDate(4, 0, 0),
		SignatureAlgorithm:    x509.ECDSAWithSHA256,
		CRLDistributionPoints: []string{intelRootList},
	}
	return template
}

// IntelName is the subject that Intel writes for a common name.
func IntelName(common string) pkix.Name {
	attribute := func(arc int, value string) pkix.AttributeTypeAndValue {
		// As UTF8String but for the country, like Intel: names are compared as bytes.
		tag := asn1.TagUTF8String
		if arc == 6 {
			tag = asn1.TagPrintableString
		}
		return pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, arc},
			Value: asn1.RawValue{Tag: tag, Bytes: []byte(value)}}
	}
	return pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{
		attribute(3, common), attribute(10, "Intel Corporation"), attribute(7, "Santa Clara"),
		attribute(8, "CA"), attribute(6, "US"),
	}}
}

// PCKConfig says how a PCK certificate is made. NewPCKConfig gives a good one.
type PCKConfig struct {
	// Processor issues it from the CA over single processors; else the one over platforms does, and
	// the certificate has a PIID and the three flags of the platform's configuration.
	Processor bool
	PPID      [16]byte
	// CPUSVN are the components and the CPUSVN as a whole.
	CPUSVN [16]byte
	PCESVN uint16
	PCEID  [2]byte
	FMSPC  [6]byte
	// SGXType is 0 for standard, 1 for scalable, 2 for scalable with integrity.
	SGXType              int
	PIID                 [16]byte
	Dynamic, Cached, SMT bool
	// Omit leaves out the element of the SGX extension with this last arc (1 PPID, 2 TCB, 3 PCEID,
	// 4 FMSPC, 5 type, 6 PIID, 7 configuration), and -1 the whole extension.
	Omit int
	// IssuerName is the common name of the issuer where it is not the one that signs.
	IssuerName string
	// Rewrite changes the value of the SGX extension.
	Rewrite func([]byte) []byte
	// Edit changes the template.
	Edit func(*x509.Certificate)
	// Key to certify; a new P-256 key where nil.
	Key *ecdsa.PrivateKey
}

// NewPCKConfig returns the PCK of a platform whose TCB is 3,3,2,2,4,1,0,5 with PCESVN 11.
func NewPCKConfig() PCKConfig {
	out := PCKConfig{
		CPUSVN: [16]byte{3, 3, 2, 2, 4, 1, 0, 5}, PCESVN: 11,
		FMSPC: [6]byte{0xb0, 0xc0, 0x6f}, SGXType: 1, Dynamic: true, Cached: true, SMT: true,
	}
	for i := range out.PPID {
		out.PPID[i], out.PIID[i] = byte(0xa0+i), byte(0x10+i)
	}
	return out
}

// PCK is the certificate of a provisioning certification key, its key and the chain above it.
type PCK struct {
	DER    []byte
	Key    *ecdsa.PrivateKey
	Issuer *x509.Certificate
	Root   *x509.Certificate
}

// PEM is the chain as a quote carries it: PCK, its CA, root.
func (p PCK) PEM() []byte { return PEMChain(p.DER, p.Issuer.Raw, p.Root.Raw) }

// PEMChain writes certificates one behind the other.
func PEMChain(certificates ...[]byte) []byte {
	var out []byte
	for _, der := range certificates {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}

// IssuePCK issues a PCK certificate.
func (i *Intel) IssuePCK(config PCKConfig) (PCK, error) {
	key, err := config.Key, error(nil)
	if key == nil {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return PCK{}, err
		}
	}
	template := intelTemplate(IntelPCKName, SerialPCK)
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment
	issuer, signer, kind := i.Platform, i.platformKey, "platform"
	if config.Processor {
		issuer, signer, kind = i.Processor, i.processorKey, "processor"
	}
	template.CRLDistributionPoints = []string{"https://api.trustedservices.intel.com/sgx/" +
		"certification/v4/pckcrl?ca=" + kind + "&encoding=der"}
	if config.Omit != -1 {
		value := config.extension()
		if config.Rewrite != nil {
			value = config.Rewrite(value)
		}
		template.ExtraExtensions = []pkix.Extension{{Id: sgxOID(), Value: value}}
	}
	if config.Edit != nil {
		config.Edit(template)
	}
	parent := *issuer
	if config.IssuerName != "" {
		if parent.RawSubject, err = asn1.Marshal(IntelName(config.IssuerName).ToRDNSequence()); err != nil {
			return PCK{}, err
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, &parent, key.Public(), signer)
	if err != nil {
		return PCK{}, err
	}
	return PCK{DER: der, Key: key, Issuer: issuer, Root: i.Root}, nil
}

func sgxOID(arcs ...int) asn1.ObjectIdentifier {
	return append(asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}, arcs...)
}

// extension is the value of the SGX extension ("Intel SGX PCK Certificate and CRL Profile
// Specification", revision 1.5, section 1.3.5).
func (c PCKConfig) extension() []byte {
	element := func(value []byte, arcs ...int) []byte {
		id, _ := asn1.Marshal(sgxOID(arcs...))
		return DER(0x30, append(id, value...))
	}
	integer := func(value int) []byte {
		out, _ := asn1.Marshal(value)
		return out
	}
	flag := func(value bool) []byte {
		out, _ := asn1.Marshal(value)
		return out
	}
	var tcb []byte
	for index, component := range c.CPUSVN {
		tcb = append(tcb, element(integer(int(component)), 2, index+1)...)
	}
	tcb = append(tcb, element(integer(int(c.PCESVN)), 2, 17)...)
	tcb = append(tcb, element(DER(0x04, c.CPUSVN[:]), 2, 18)...)

	elements := [][]byte{
		element(DER(0x04, c.PPID[:]), 1),
		element(DER(0x30, tcb), 2),
		element(DER(0x04, c.PCEID[:]), 3),
		element(DER(0x04, c.FMSPC[:]), 4),
		element(DER(0x0a, []byte{byte(c.SGXType)}), 5), //nolint:gosec // 0 to 2
	}
	if !c.Processor {
		configuration := append(element(flag(c.Dynamic), 7, 1), element(flag(c.Cached), 7, 2)...)
		configuration = append(configuration, element(flag(c.SMT), 7, 3)...)
		elements = append(elements, element(DER(0x04, c.PIID[:]), 6),
			element(DER(0x30, configuration), 7))
	}
	var out []byte
	for index, encoded := range elements {
		if index+1 != c.Omit {
			out = append(out, encoded...)
		}
	}
	return DER(0x30, out)
}

// intelRootList is where Intel publishes the root's revocation list.
const intelRootList = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
