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

// AMD is a test authority shaped like one of AMD's: an ARK that signs itself and an ASK and an ASVK
// below it, with AMD's names. Nothing outside of a test may trust it.
type AMD struct {
	Line           string
	ARK, ASK       *x509.Certificate
	arkKey, askKey *rsa.PrivateKey
	editASVK       func(*x509.Certificate)
	vlek           func() (*vlekAuthority, error)
}

type vlekAuthority struct {
	cert *x509.Certificate
	key  *rsa.PrivateKey
}

// Serial numbers of the authorities. The numbers of AMD's own are 65536 and up, VCEKs have 0.
const (
	SerialARK  = 1
	SerialASK  = 2
	SerialASVK = 3
)

// AMDConfig says how an authority is made.
type AMDConfig struct {
	// Line is "Milan", "Genoa" or "Turin".
	Line string
	// Impostor makes another authority under the same names.
	Impostor bool
	// EditARK, EditASK and EditASVK change the templates.
	EditARK, EditASK, EditASVK func(*x509.Certificate)
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
	ark := amdTemplate("ARK-"+config.Line, SerialARK)
	ark.IsCA, ark.BasicConstraintsValid = true, true
	ark.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	if config.EditARK != nil {
		config.EditARK(ark)
	}
	arkCert, err := issue(ark, ark, arkKey.Public(), arkKey)
	if err != nil {
		return nil, fmt.Errorf("ARK: %w", err)
	}
	out := &AMD{Line: config.Line, ARK: arkCert, arkKey: arkKey, askKey: askKey,
		editASVK: config.EditASVK}
	out.ASK, err = out.intermediate("SEV-"+config.Line, SerialASK, askKey, config.EditASK)
	if err != nil {
		return nil, fmt.Errorf("ASK: %w", err)
	}
	out.vlek = sync.OnceValues(out.newASVK)
	return out, nil
}

// intermediate issues what may issue VCEKs or VLEKs.
func (a *AMD) intermediate(
	name string, serial int64, key *rsa.PrivateKey, edit func(*x509.Certificate),
) (*x509.Certificate, error) {
	template := amdTemplate(name, serial)
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign
	if edit != nil {
		edit(template)
	}
	return issue(template, a.ARK, key.Public(), a.arkKey)
}

func (a *AMD) newASVK() (*vlekAuthority, error) {
	key, err := amdKeys[2]()
	if err != nil {
		return nil, err
	}
	cert, err := a.intermediate("SEV-VLEK-"+a.Line, SerialASVK, key, a.editASVK)
	if err != nil {
		return nil, fmt.Errorf("ASVK: %w", err)
	}
	return &vlekAuthority{cert: cert, key: key}, nil
}

// ASVK returns the certificate that stands over VLEKs: SEV-VLEK-Milan and so on.
func (a *AMD) ASVK() (*x509.Certificate, error) {
	made, err := a.vlek()
	if err != nil {
		return nil, err
	}
	return made.cert, nil
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

// AMDName is the subject that AMD writes for a common name.
func AMDName(common string) pkix.Name { return amdTemplate(common, 0).Subject }

func issue(
	template, parent *x509.Certificate, key crypto.PublicKey, signer crypto.Signer,
) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// TCB in the order bootloader, TEE, SNP, microcode, FMC. Only Turin has the last one.
type TCB [5]uint8

// VCEKConfig says how a VCEK certificate is made.
type VCEKConfig struct {
	Product       string
	HWID          []byte
	TCB           TCB
	StructVersion uint8
	// CSPID names the cloud in a VLEK; in a VCEK it has no place.
	CSPID string
	// Omit leaves out the extension whose last arcs these are, such as "3.8" or "4".
	Omit string
	// Reserved is the value of the reserved level 3.4; of 3.5 in Turin's certificates, which have no
	// 3.4.
	Reserved uint8
	// Extra adds the level of the other structure version: 3.9 to version 0, 3.4 to version 1.
	Extra bool
	// Key to certify; a new P-384 key where nil.
	Key crypto.Signer
	// Edit changes the template.
	Edit func(*x509.Certificate)
}

// VCEK is the certificate of a key that signs reports, a VCEK's or a VLEK's, and the key.
type VCEK struct {
	DER []byte
	Key crypto.Signer
}

// IssueVCEK issues a VCEK certificate.
func (a *AMD) IssueVCEK(config VCEKConfig) (VCEK, error) {
	return issueVEK("SEV-VCEK", config, a.ASK, a.askKey)
}

// IssueVLEK issues a VLEK certificate, through the ASVK.
func (a *AMD) IssueVLEK(config VCEKConfig) (VCEK, error) {
	from, err := a.vlek()
	if err != nil {
		return VCEK{}, err
	}
	return issueVEK("SEV-VLEK", config, from.cert, from.key)
}

func issueVEK(
	name string, config VCEKConfig, issuer *x509.Certificate, signer crypto.Signer,
) (VCEK, error) {
	key := config.Key
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader); err != nil {
			return VCEK{}, err
		}
	}
	template := amdTemplate(name, 0)
	for _, extension := range vcekExtensions(config) {
		if extension.name != config.Omit && extension.value != nil {
			template.ExtraExtensions = append(template.ExtraExtensions,
				pkix.Extension{Id: extension.id, Value: extension.value})
		}
	}
	if config.Edit != nil {
		config.Edit(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), signer)
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
	spl4, spl5, fmc := number(config.Reserved), number(0), []byte(nil)
	if config.StructVersion == 1 {
		spl4, spl5, fmc = nil, number(config.Reserved), number(config.TCB[4])
	}
	if config.Extra && config.StructVersion == 1 {
		spl4 = number(0)
	} else if config.Extra {
		fmc = number(0)
	}
	return []vcekExtension{
		{"1", below(1), number(config.StructVersion)},
		{"2", below(2), text(config.Product)},
		{"3.9", below(3, 9), fmc},
		{"3.1", below(3, 1), number(config.TCB[0])},
		{"3.2", below(3, 2), number(config.TCB[1])},
		{"3.4", below(3, 4), spl4},
		{"3.5", below(3, 5), spl5},
		{"3.6", below(3, 6), number(0)},
		{"3.7", below(3, 7), number(0)},
		{"3.3", below(3, 3), number(config.TCB[2])},
		{"3.8", below(3, 8), number(config.TCB[3])},
		{"4", below(4), config.HWID},
		{"5", below(5), text(config.CSPID)},
	}
}
