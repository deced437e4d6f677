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
	"sync/atomic"
	"time"
)

// TPMTime is when every certificate of a TPM authority is valid, unless told otherwise.
var TPMTime = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// Roles of a TPM authority's own certificates.
const (
	TPMRoot         = "root"
	TPMIntermediate = "intermediate"
)

// TPMCA is a test authority shaped like a TPM maker's or a cloud's: a root that signs itself and a
// manufacturing CA below it. Nothing outside of a test may trust it.
type TPMCA struct {
	Root, Intermediate *x509.Certificate
	rootKey, key       crypto.Signer
	serial             *atomic.Int64 // counts on for copies of the authority, too
}

// TPMCAConfig says how an authority is made. The zero config is one with ECDSA keys on P-256.
type TPMCAConfig struct {
	// Name goes before "Root CA" and "Manufacturing CA"; empty for "Test TPM".
	Name string
	// RSA makes RSA keys of 2048 bits; Curve ECDSA keys on another curve.
	RSA   bool
	Curve elliptic.Curve
	// Key makes the key of a role; nil, or a nil key, for one as above.
	Key func(role string) (crypto.Signer, error)
	// Edit changes a template before it is signed.
	Edit func(role string, template *x509.Certificate)
}

// NewTPMCA makes an authority.
func NewTPMCA(config TPMCAConfig) (*TPMCA, error) {
	if config.Name == "" {
		config.Name = "Test TPM"
	}
	ca := &TPMCA{serial: new(atomic.Int64)}
	ca.serial.Store(100)
	certificate := func(role, name string, serial int64, room int) (*x509.Certificate, error) {
		key, err := config.key(role)
		if err != nil {
			return nil, err
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: config.Name + name},
			NotBefore: TPMTime.AddDate(-5, 0, 0), NotAfter: TPMTime.AddDate(20, 0, 0),
			IsCA: true, BasicConstraintsValid: true, MaxPathLen: room, MaxPathLenZero: room == 0,
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		}
		if config.Edit != nil {
			config.Edit(role, template)
		}
		parent, signer := ca.Root, ca.rootKey
		if parent == nil {
			parent, signer = template, key
			ca.rootKey = key
		} else {
			ca.key = key
		}
		return issue(template, parent, key.Public(), signer)
	}
	var err error
	if ca.Root, err = certificate(TPMRoot, " Root CA", 1, -1); err != nil {
		return nil, fmt.Errorf("forge TPM root: %w", err)
	}
	if ca.Intermediate, err = certificate(TPMIntermediate, " Manufacturing CA", 2, 0); err != nil {
		return nil, fmt.Errorf("forge TPM intermediate: %w", err)
	}
	return ca, nil
}

func (c TPMCAConfig) key(role string) (crypto.Signer, error) {
	if c.Key != nil {
		if key, err := c.Key(role); key != nil || err != nil {
			return key, err
		}
	}
	if c.RSA {
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	if c.Curve == nil {
		c.Curve = elliptic.P256()
	}
	return ecdsa.GenerateKey(c.Curve, rand.Reader)
}

// Bundle returns what a TPM of this authority sends beside its certificate.
func (c *TPMCA) Bundle() [][]byte { return [][]byte{append([]byte(nil), c.Intermediate.Raw...)} }

// sign issues a leaf: below the intermediate, or where role says so below the root.
func (c *TPMCA) sign(role string, template *x509.Certificate, key crypto.PublicKey) ([]byte, error) {
	parent, signer := c.Intermediate, c.key
	if role == TPMRoot {
		parent, signer = c.Root, c.rootKey
	}
	if template.SerialNumber == nil {
		template.SerialNumber = big.NewInt(c.serial.Add(1)) // tests of one authority run beside each other
	}
	certificate, err := issue(template, parent, key, signer)
	if err != nil {
		return nil, fmt.Errorf("forge leaf: %w", err)
	}
	return certificate.Raw, nil
}

// EKCertificateConfig says what an EK certificate says. The zero config is an STM chip's.
type EKCertificateConfig struct {
	// Manufacturer, Model and Version are the texts of the subject alternative name; "-" leaves one
	// out.
	Manufacturer, Model, Version string
	// Apart gives each of them a RelativeDistinguishedName of its own.
	Apart bool
	// SAN replaces the subject alternative name's value; empty and not nil leaves it out.
	SAN []byte
	// Below is the role of the issuer; empty for the intermediate.
	Below string
	// Edit changes the template before it is signed.
	Edit func(*x509.Certificate)
}

// EKCertificate issues an EK certificate for the key.
func (c *TPMCA) EKCertificate(key crypto.PublicKey, config EKCertificateConfig) ([]byte, error) {
	usage := x509.KeyUsageKeyEncipherment
	if _, ecc := key.(*ecdsa.PublicKey); ecc {
		usage = x509.KeyUsageKeyAgreement
	}
	san := config.SAN
	if san == nil {
		san = config.names()
	}
	template := &x509.Certificate{
		NotBefore: TPMTime.AddDate(-1, 0, 0), NotAfter: TPMTime.AddDate(10, 0, 0),
		BasicConstraintsValid: true, KeyUsage: usage,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}},
	}
	if len(san) != 0 {
		template.ExtraExtensions = []pkix.Extension{
			{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: san},
		}
	}
	if config.Edit != nil {
		config.Edit(template)
	}
	return c.sign(config.Below, template, key)
}

// names encodes GeneralNames with one directoryName.
func (c EKCertificateConfig) names() []byte {
	var attributes []byte
	for arc, value := range []string{
		orText(c.Manufacturer, "id:53544D20"), orText(c.Model, "ST33TEST"), orText(c.Version, "id:00010102"),
	} {
		if value == "-" {
			continue
		}
		attribute := DER(0x30, append([]byte{0x06, 5, 0x67, 0x81, 0x05, 0x02, byte(arc + 1)},
			DER(asn1.TagUTF8String, []byte(value))...))
		if c.Apart {
			attribute = DER(0x31, attribute)
		}
		attributes = append(attributes, attribute...)
	}
	if !c.Apart {
		attributes = DER(0x31, attributes)
	}
	return DER(0x30, DER(0xa4, DER(0x30, attributes)))
}

// TPMName is a GeneralName for a TPM of that manufacturer, to put into a subject alternative name.
func TPMName(manufacturer string) []byte {
	sequence := EKCertificateConfig{Manufacturer: manufacturer}.names()
	return sequence[len(sequence)-int(sequence[1]):]
}

func orText(text, standard string) string {
	if text == "" {
		return standard
	}
	return text
}

// DER returns one element.
func DER(tag byte, value []byte) []byte {
	head := []byte{tag, byte(len(value))}
	switch {
	case len(value) >= 0x100:
		head = []byte{tag, 0x82, byte(len(value) >> 8), byte(len(value))}
	case len(value) >= 0x80:
		head = []byte{tag, 0x81, byte(len(value))}
	}
	return append(head, value...)
}

// GCECertificateConfig says what Google's AK certificate says. The zero config is a production
// instance's.
type GCECertificateConfig struct {
	Zone, ProjectID, InstanceName string
	ProjectNumber, InstanceID     int64
	// Test says that the virtual TPM is not of production.
	Test bool
	// Info replaces the instance information.
	Info []byte
	Edit func(*x509.Certificate)
}

// GCECertificate issues an AK certificate in the shape of Google's.
func (c *TPMCA) GCECertificate(key crypto.PublicKey, config GCECertificateConfig) ([]byte, error) {
	if config.ProjectNumber == 0 {
		config.ProjectNumber = 123456789012
	}
	if config.InstanceID == 0 {
		config.InstanceID = 1234567890123456789
	}
	config.Zone = orText(config.Zone, "europe-west4-a")
	config.ProjectID = orText(config.ProjectID, "test-project")
	config.InstanceName = orText(config.InstanceName, "test-instance")
	info := config.Info
	if info == nil {
		info = config.info()
	}
	template := &x509.Certificate{
		Subject: pkix.Name{
			CommonName: fmt.Sprint(config.InstanceID), OrganizationalUnit: []string{config.ProjectID},
			Organization: []string{"Google Compute Engine"}, Locality: []string{config.Zone},
		},
		NotBefore: TPMTime.AddDate(0, -1, 0), NotAfter: TPMTime.AddDate(30, 0, 0),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 1, 21}, Value: info},
		},
	}
	if config.Edit != nil {
		config.Edit(template)
	}
	return c.sign("", template, key)
}

func (c GCECertificateConfig) info() []byte {
	number := func(value int64) []byte {
		encoded := big.NewInt(value).Bytes()
		if encoded[0] >= 0x80 {
			encoded = append([]byte{0}, encoded...)
		}
		return DER(asn1.TagInteger, encoded)
	}
	production := byte(0xff)
	if c.Test {
		production = 0
	}
	var out []byte
	out = append(out, DER(asn1.TagUTF8String, []byte(c.Zone))...)
	out = append(out, number(c.ProjectNumber)...)
	out = append(out, DER(asn1.TagUTF8String, []byte(c.ProjectID))...)
	out = append(out, number(c.InstanceID)...)
	out = append(out, DER(asn1.TagUTF8String, []byte(c.InstanceName))...)
	security := append(DER(0xa0, []byte{asn1.TagInteger, 1, 0}),
		DER(0xa1, []byte{asn1.TagBoolean, 1, production})...)
	return DER(0x30, append(out, DER(0xa0, DER(0x30, security))...))
}

// AzureCertificate issues an AK certificate in the shape of Azure's Trusted Launch; edit may be
// nil.
func (c *TPMCA) AzureCertificate(
	key crypto.PublicKey, edit func(*x509.Certificate),
) ([]byte, error) {
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "0123456789ab.TrustedVM.Azure.windows.net"},
		NotBefore: TPMTime.AddDate(0, -1, 0), NotAfter: TPMTime.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{
			{1, 3, 6, 1, 4, 1, 311, 10, 3, 12}, {2, 23, 133, 8, 3},
		},
	}
	if edit != nil {
		edit(template)
	}
	return c.sign("", template, key)
}

// TPMCRLConfig says what a CRL says. The zero config is a fresh one of the intermediate that
// revokes nothing.
type TPMCRLConfig struct {
	// Issuer is a role; empty for the intermediate. Impostor signs with another authority's key of
	// it.
	Issuer   string
	Impostor *TPMCA
	// Serials that are revoked.
	Serials []*big.Int
	// At is when it was issued; zero for an hour before TPMTime. It is good for a week.
	At time.Time
	// Edit changes the template before it is signed.
	Edit func(*x509.RevocationList)
}

// CRL issues a CRL.
func (c *TPMCA) CRL(config TPMCRLConfig) ([]byte, error) {
	if config.At.IsZero() {
		config.At = TPMTime.Add(-time.Hour)
	}
	template := &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: config.At, NextUpdate: config.At.AddDate(0, 0, 7),
	}
	for _, serial := range config.Serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: serial, RevocationTime: config.At})
	}
	if config.Edit != nil {
		config.Edit(template)
	}
	from := c
	if config.Impostor != nil {
		from = config.Impostor
	}
	issuer, signer := from.Intermediate, from.key
	if config.Issuer == TPMRoot {
		issuer, signer = from.Root, from.rootKey
	}
	return x509.CreateRevocationList(rand.Reader, template, issuer, signer)
}

// Issue signs a template of the caller's with the root's key, as it stands.
func (c *TPMCA) Issue(template *x509.Certificate, key crypto.PublicKey) ([]byte, error) {
	return c.sign(TPMRoot, template, key)
}
