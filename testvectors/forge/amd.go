package forge

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"sync"
	"time"
)

// AMDTime is when every AMD-shaped certificate of this package is valid, unless told otherwise.
var AMDTime = time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)

// amdKeys are RSA keys of AMD's size. Making one takes seconds, so that a process has two, and a
// second authority is made by swapping them.
var amdKeys = [2]func() (*rsa.PrivateKey, error){
	sync.OnceValues(newRSA), sync.OnceValues(newRSA),
}

func newRSA() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 4096) }

// AMD is a test authority shaped like one of AMD's: an ARK that signs itself and an ASK below it,
// with AMD's names. Nothing outside of a test may trust it.
type AMD struct {
	Line     string
	ARK, ASK *x509.Certificate
	askKey   *rsa.PrivateKey
}

// AMDConfig says how an authority is made.
type AMDConfig struct {
	// Line is "Milan" or "Genoa".
	Line string
	// Impostor makes another authority under the same names.
	Impostor bool
	// EditARK and EditASK change the templates.
	EditARK, EditASK func(*x509.Certificate)
}

// NewAMD makes an authority.
func NewAMD(config AMDConfig) (*AMD, error) {
	arkKey, err := amdKeys[0]()
	if err != nil {
		return nil, err
	}
	askKey, err := amdKeys[1]()
	if err != nil {
		return nil, err
	}
	if config.Impostor {
		arkKey, askKey = askKey, arkKey
	}
	ark := amdTemplate("ARK-"+config.Line, 1)
	ark.IsCA, ark.BasicConstraintsValid = true, true
	ark.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	if config.EditARK != nil {
		config.EditARK(ark)
	}
	arkCert, err := issue(ark, ark, arkKey.Public(), arkKey)
	if err != nil {
		return nil, fmt.Errorf("ARK: %w", err)
	}
	ask := amdTemplate("SEV-"+config.Line, 2)
	ask.IsCA, ask.BasicConstraintsValid, ask.MaxPathLenZero = true, true, true
	ask.KeyUsage = x509.KeyUsageCertSign
	if config.EditASK != nil {
		config.EditASK(ask)
	}
	askCert, err := issue(ask, arkCert, askKey.Public(), arkKey)
	if err != nil {
		return nil, fmt.Errorf("ASK: %w", err)
	}
	return &AMD{Line: config.Line, ARK: arkCert, ASK: askCert, askKey: askKey}, nil
}

// amdTemplate has AMD's subject text in AMD's order.
func amdTemplate(name string, serial int64) *x509.Certificate {
	attribute := func(arc int, value string) pkix.AttributeTypeAndValue {
		// As UTF8String but for the country, like AMD: names are compared as bytes.
		tag := asn1.TagUTF8String
		if arc == 6 {
			tag = asn1.TagPrintableString
		}
		return pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, arc},
			Value: asn1.RawValue{Tag: tag, Bytes: []byte(value)}}
	}
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject: pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{
			attribute(11, "Engineering"), attribute(6, "US"), attribute(7, "Santa Clara"),
			attribute(8, "CA"), attribute(10, "Advanced Micro Devices"), attribute(3, name),
		}},
		NotBefore:          AMDTime.AddDate(-3, 0, 0),
		NotAfter:           AMDTime.AddDate(4, 0, 0),
		SignatureAlgorithm: x509.SHA384WithRSAPSS,
	}
}

func issue(
	template, parent *x509.Certificate, key crypto.PublicKey, signer crypto.Signer,
) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// TCB of Milan and Genoa, in the order bootloader, TEE, SNP, microcode.
type TCB [4]uint8

// VCEKConfig says how a VCEK certificate is made.
type VCEKConfig struct {
	Product       string
	HWID          []byte
	TCB           TCB
	StructVersion uint8
	// CSPID makes it look like a VLEK.
	CSPID string
	// Omit leaves out the extension whose last arcs these are, such as "3.8" or "4".
	Omit string
	// Reserved is the value of the reserved level 3.4.
	Reserved uint8
	// Key to certify; a new P-384 key where nil.
	Key crypto.Signer
	// Edit changes the template.
	Edit func(*x509.Certificate)
}

// VCEK is a certificate and its key.
type VCEK struct {
	DER []byte
	Key crypto.Signer
}

// IssueVCEK issues a VCEK certificate.
func (a *AMD) IssueVCEK(config VCEKConfig) (VCEK, error) {
	key := config.Key
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader); err != nil {
			return VCEK{}, err
		}
	}
	template := amdTemplate("SEV-VCEK", 0)
	for _, extension := range vcekExtensions(config) {
		if extension.name != config.Omit && extension.value != nil {
			template.ExtraExtensions = append(template.ExtraExtensions,
				pkix.Extension{Id: extension.id, Value: extension.value})
		}
	}
	if config.Edit != nil {
		config.Edit(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.ASK, key.Public(), a.askKey)
	if err != nil {
		return VCEK{}, err
	}
	return VCEK{DER: der, Key: key}, nil
}

type vcekExtension struct {
	name  string
	id    asn1.ObjectIdentifier
	value []byte
}

func vcekExtensions(config VCEKConfig) []vcekExtension {
	number := func(value uint8) []byte {
		if value >= 0x80 {
			return []byte{0x02, 0x02, 0x00, value}
		}
		return []byte{0x02, 0x01, value}
	}
	text := func(value string) []byte {
		if value == "" {
			return nil
		}
		return append([]byte{0x16, byte(len(value))}, value...)
	}
	below := func(arcs ...int) asn1.ObjectIdentifier {
		return append(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1}, arcs...)
	}
	return []vcekExtension{
		{"1", below(1), number(config.StructVersion)},
		{"2", below(2), text(config.Product)},
		{"3.1", below(3, 1), number(config.TCB[0])},
		{"3.2", below(3, 2), number(config.TCB[1])},
		{"3.4", below(3, 4), number(config.Reserved)},
		{"3.5", below(3, 5), number(0)},
		{"3.6", below(3, 6), number(0)},
		{"3.7", below(3, 7), number(0)},
		{"3.3", below(3, 3), number(config.TCB[2])},
		{"3.8", below(3, 8), number(config.TCB[3])},
		{"4", below(4), config.HWID},
		{"5", below(5), text(config.CSPID)},
	}
}
