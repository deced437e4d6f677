package forge

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"io"
	"math/big"
	"time"
)

// Roles of the certificates in a chain of AWS's shape, from the root down.
const (
	AWSRoot     = "root"
	AWSRegional = "regional"
	AWSZonal    = "zonal"
	AWSInstance = "instance"
	AWSLeaf     = "leaf"
)

// AWSOptions say how an authority is made. The zero value makes one like AWS's.
type AWSOptions struct {
	// At is the time around which certificates are valid; zero for AWSTime.
	At time.Time
	// ModuleID and Region go into names and documents; empty for an enclave in us-east-2.
	ModuleID, Region string
	// Extra puts that many more CAs between the zone's and the instance's.
	Extra int
	// Seed makes keys and signatures, and so every byte, the same for the same options; empty for an
	// authority that nobody else has. Keys made from a seed protect nothing.
	Seed string
	// Key makes the key of a role; nil, or a nil key, for P-384.
	Key func(role string) (crypto.Signer, error)
	// Alter changes a certificate before it is signed; nil to leave them as they are.
	Alter func(role string, template *x509.Certificate)
}

// AWSTime is when documents are signed unless an option says otherwise.
var AWSTime = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// AWSModuleID is the enclave of authorities that name none.
const AWSModuleID = "i-0123456789abcdef0-enc0123456789abcdef"

// NitroTPMModuleID is an instance as NitroTPM documents name it.
const NitroTPMModuleID = "i-0123456789abcdef0-tpm0000000000000000"

// AWS is an authority with one chain.
type AWS struct {
	at       time.Time
	moduleID string
	bundle   [][]byte
	leaf     []byte
	leafKey  crypto.Signer
	issuer   *x509.Certificate
	signer   crypto.Signer
	random   io.Reader
	root     *x509.Certificate
	cas      map[string]awsCA // by role
}

// NewAWS makes an authority and its chain: root, region, zone, instance, leaf, all P-384, with the
// life times and constraints that published chains have.
func NewAWS(options AWSOptions) (*AWS, error) {
	if options.At.IsZero() {
		options.At = AWSTime
	}
	if options.ModuleID == "" {
		options.ModuleID = AWSModuleID
	}
	if options.Region == "" {
		options.Region = "us-east-2"
	}
	authority := &AWS{
		at: options.At, moduleID: options.ModuleID, random: randomness(options.Seed),
		cas: map[string]awsCA{},
	}
	var parent *x509.Certificate
	var parentKey crypto.Signer
	for serial, link := range awsChain(options) {
		key, err := awsKey(options, link.role)
		if err != nil {
			return nil, err
		}
		link.template.SerialNumber = big.NewInt(int64(serial) + 1)
		if options.Alter != nil {
			options.Alter(link.role, link.template)
		}
		issuer, issuerKey := parent, parentKey
		if issuer == nil {
			issuer, issuerKey = link.template, key
		}
		der, err := x509.CreateCertificate(authority.random, link.template, issuer, key.Public(), issuerKey)
		if err != nil {
			return nil, fmt.Errorf("forge %s certificate: %w", link.role, err)
		}
		if parent, err = x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("forge %s certificate: %w", link.role, err)
		}
		parentKey = key
		authority.cas[link.role] = awsCA{parent, key}
		switch link.role {
		case AWSLeaf:
			authority.leaf, authority.leafKey = der, key
			authority.issuer, authority.signer = issuer, issuerKey
		case AWSRoot:
			authority.root = parent
			authority.bundle = append(authority.bundle, der)
		default:
			authority.bundle = append(authority.bundle, der)
		}
	}
	return authority, nil
}

// Sibling returns an authority with the same CAs and a leaf of its own. Of the options, ModuleID,
// Region, Key and Alter count, for the leaf alone.
func (a *AWS) Sibling(options AWSOptions) (*AWS, error) {
	options.At = a.at
	if options.ModuleID == "" {
		options.ModuleID = AWSModuleID
	}
	if options.Region == "" {
		options.Region = "us-east-2"
	}
	links := awsChain(options)
	template := links[len(links)-1].template
	key, err := awsKey(options, AWSLeaf)
	if err != nil {
		return nil, err
	}
	template.SerialNumber = big.NewInt(1000)
	if options.Alter != nil {
		options.Alter(AWSLeaf, template)
	}
	der, err := x509.CreateCertificate(a.random, template, a.issuer, key.Public(), a.signer)
	if err != nil {
		return nil, fmt.Errorf("forge sibling: %w", err)
	}
	sibling := *a
	sibling.moduleID, sibling.leaf, sibling.leafKey = options.ModuleID, der, key
	return &sibling, nil
}

type awsLink struct {
	role     string
	template *x509.Certificate
}

func awsChain(options AWSOptions) []awsLink {
	ca := func(role, name string, life time.Duration, pathLength int) awsLink {
		return awsLink{role, &x509.Certificate{
			Subject:   awsName(name),
			NotBefore: options.At.Add(-life / 2), NotAfter: options.At.Add(life / 2),
			IsCA: true, BasicConstraintsValid: true,
			MaxPathLen: pathLength, MaxPathLenZero: pathLength == 0,
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		}}
	}
	const day = 24 * time.Hour
	links := []awsLink{
		ca(AWSRoot, "aws.nitro-enclaves", 30*365*day, -1),
		ca(AWSRegional, "0123456789abcdef."+options.Region+".aws.nitro-enclaves", 20*day, 2+options.Extra),
		ca(AWSZonal, "fedcba9876543210.zonal."+options.Region+".aws.nitro-enclaves", 6*day, 1+options.Extra),
	}
	for index := range options.Extra {
		name := fmt.Sprintf("extra-%d", index)
		links = append(links, ca(name, name+".aws.nitro-enclaves", 2*day, options.Extra-index))
	}
	links = append(links,
		ca(AWSInstance, "instance."+options.Region+".aws.nitro-enclaves", day, 0),
		awsLink{AWSLeaf, &x509.Certificate{
			Subject:   awsName(options.ModuleID + "." + options.Region + ".aws"),
			NotBefore: options.At.Add(-time.Minute), NotAfter: options.At.Add(3*time.Hour - time.Minute),
			BasicConstraintsValid: true,
			KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment,
		}})
	return links
}

func awsName(common string) pkix.Name {
	return pkix.Name{
		Country: []string{"US"}, Organization: []string{"Amazon"}, OrganizationalUnit: []string{"AWS"},
		CommonName: common,
	}
}

func awsKey(options AWSOptions, role string) (crypto.Signer, error) {
	if options.Key != nil {
		if key, err := options.Key(role); key != nil || err != nil {
			return key, err
		}
	}
	if options.Seed == "" {
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	}
	scalar := sha512.Sum384(fmt.Appendf(nil, "%s/%s", options.Seed, role))
	scalar[0] = 0 // below the order
	return ecdsa.ParseRawPrivateKey(elliptic.P384(), scalar[:])
}

// randomness returns what signatures are made with: nil for ones that depend on key and message alone
// (RFC 6979).
func randomness(seed string) io.Reader {
	if seed != "" {
		return nil
	}
	return rand.Reader
}

// Root returns the root certificate, for a verifier's InsecureRoots.
func (a *AWS) Root() *x509.Certificate { return a.root }

// RootDER returns the root certificate in DER.
func (a *AWS) RootDER() []byte { return bytes.Clone(a.root.Raw) }

// Bundle returns the CA certificates from the root to the instance's.
func (a *AWS) Bundle() [][]byte { return append([][]byte(nil), a.bundle...) }

// Leaf returns the leaf certificate.
func (a *AWS) Leaf() []byte { return bytes.Clone(a.leaf) }

// At returns the time at which the authority's documents are signed.
func (a *AWS) At() time.Time { return a.at }

// Document says what a document holds. The zero value is a production enclave's document without
// nonce, user data and key.
type Document struct {
	// NitroTPM makes an instance's document: the registers go into nitrotpm_pcrs.
	NitroTPM bool
	// Debug makes registers 0 to 2 all zero.
	Debug bool
	// Open makes the outermost map one of indefinite length, as hypervisors do since 2025.
	Open bool
	// Milliseconds is the timestamp; nil for the authority's time.
	Milliseconds *uint64
	// PCRs replaces single registers; a nil value drops one.
	PCRs map[uint64][]byte
	// Nonce, UserData and PublicKey are null where nil.
	Nonce, UserData, PublicKey []byte
	// Bundle and Certificate replace the authority's own where they are not nil.
	Bundle      [][]byte
	Certificate []byte

	// Fields changes the payload's pairs before they are encoded.
	Fields func(fields []CBORField) []CBORField
	// Payload replaces the encoded payload; the signature is over the replacement.
	Payload []byte
	// Protected and Unprotected replace the encoded headers, Protected without its byte string head.
	Protected, Unprotected []byte
	// Signature changes the signature; r and s are 48 bytes each with a P-384 leaf.
	Signature func(signature []byte) []byte
	// Envelope changes the four encoded items and returns the whole evidence; nil for an array of them.
	Envelope func(protected, unprotected, payload, signature []byte) []byte
}

// Document returns a signed document.
func (a *AWS) Document(d Document) ([]byte, error) {
	payload := d.Payload
	if payload == nil {
		fields := a.fields(d)
		if d.Fields != nil {
			fields = d.Fields(fields)
		}
		payload = CBORMap(fields...)
		if d.Open {
			payload = CBOROpenMap(fields...)
		}
	}
	protected := d.Protected
	if protected == nil {
		protected = CBORMap(CBORField{CBORUint(1), CBORNegative(34)}) // alg: ES384
	}
	unprotected := d.Unprotected
	if unprotected == nil {
		unprotected = CBORMap()
	}
	signature, err := a.sign(CBORArray(CBORText("Signature1"), CBORBytes(protected), CBORBytes(nil),
		CBORBytes(payload)))
	if err != nil {
		return nil, err
	}
	if d.Signature != nil {
		signature = d.Signature(signature)
	}
	parts := [4][]byte{CBORBytes(protected), unprotected, CBORBytes(payload), CBORBytes(signature)}
	if d.Envelope != nil {
		return d.Envelope(parts[0], parts[1], parts[2], parts[3]), nil
	}
	return CBORArray(parts[:]...), nil
}

// fields are the pairs in the hypervisor's order, which is not sorted.
func (a *AWS) fields(d Document) []CBORField {
	moduleID, registers := a.moduleID, "pcrs"
	if d.NitroTPM {
		registers = "nitrotpm_pcrs"
		if moduleID == AWSModuleID {
			moduleID = NitroTPMModuleID
		}
	}
	milliseconds := uint64(a.at.UnixMilli()) //nolint:gosec // after 1970
	if d.Milliseconds != nil {
		milliseconds = *d.Milliseconds
	}
	bundle, leaf := d.Bundle, d.Certificate
	if bundle == nil {
		bundle = a.bundle
	}
	if leaf == nil {
		leaf = a.leaf
	}
	encoded := make([][]byte, len(bundle))
	for index, der := range bundle {
		encoded[index] = CBORBytes(der)
	}
	optional := func(value []byte) []byte {
		if value == nil {
			return CBORNull()
		}
		return CBORBytes(value)
	}
	return []CBORField{
		{CBORText("module_id"), CBORText(moduleID)},
		{CBORText("digest"), CBORText("SHA384")},
		{CBORText("timestamp"), CBORUint(milliseconds)},
		{CBORText(registers), CBORMap(d.registers()...)},
		{CBORText("certificate"), CBORBytes(leaf)},
		{CBORText("cabundle"), CBORArray(encoded...)},
		{CBORText("public_key"), optional(d.PublicKey)},
		{CBORText("user_data"), optional(d.UserData)},
		{CBORText("nonce"), optional(d.Nonce)},
	}
}

// registers are 0 to 15 in an enclave's document, 0 to 23 in an instance's, as they come.
func (d Document) registers() []CBORField {
	count, measured := uint64(16), map[uint64]bool{0: true, 1: true, 2: true, 4: true}
	if d.NitroTPM {
		count = 24
		for index := range uint64(8) {
			measured[index] = true
		}
	}
	if d.Debug {
		measured = map[uint64]bool{4: true}
	}
	var fields []CBORField
	for index := range count {
		value := make([]byte, 48)
		if measured[index] {
			value = AWSRegister(index)
		}
		if replaced, ok := d.PCRs[index]; ok {
			if replaced == nil {
				continue
			}
			value = replaced
		}
		fields = append(fields, CBORField{CBORUint(index), CBORBytes(value)})
	}
	for index, value := range d.PCRs {
		if index >= count && value != nil {
			fields = append(fields, CBORField{CBORUint(index), CBORBytes(value)})
		}
	}
	return fields
}

// AWSRegister is the value that documents have in a measured register.
func AWSRegister(index uint64) []byte {
	digest := sha512.Sum384(fmt.Appendf(nil, "register %d", index))
	return digest[:]
}

// sign signs message as the leaf: r || s for ECDSA keys, in the curve's own length and hash; whatever
// another key gives otherwise.
func (a *AWS) sign(message []byte) ([]byte, error) {
	key, ok := a.leafKey.(*ecdsa.PrivateKey)
	if !ok {
		return make([]byte, 96), nil
	}
	hash := crypto.SHA384
	switch {
	case key.Curve.Params().BitSize <= 256:
		hash = crypto.SHA256
	case key.Curve.Params().BitSize > 384:
		hash = crypto.SHA512
	}
	hasher := hash.New()
	hasher.Write(message)
	der, err := key.Sign(a.random, hasher.Sum(nil), hash)
	if err != nil {
		return nil, fmt.Errorf("forge document: %w", err)
	}
	var pair struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &pair); err != nil {
		return nil, fmt.Errorf("forge document: %w", err)
	}
	length := (key.Curve.Params().BitSize + 7) / 8
	return append(pair.R.FillBytes(make([]byte, length)), pair.S.FillBytes(make([]byte, length))...), nil
}

// NegateS returns (r, n-s) for a P-384 signature (r, s): another valid signature of the same bytes.
func NegateS(signature []byte) []byte {
	out := bytes.Clone(signature)
	s := new(big.Int).SetBytes(out[48:])
	s.Sub(elliptic.P384().Params().N, s).FillBytes(out[48:])
	return out
}
