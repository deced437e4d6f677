package forge

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"math/big"
	"time"
)

// PESection is a section of an EFI image.
type PESection struct {
	Name string
	Data []byte
	// Virtual is the size in memory; zero for that of Data.
	Virtual uint32
}

// Offsets in the images that [PE] writes.
const (
	peStart     = 0x80
	peOptional  = peStart + 24
	peChecksum  = peOptional + 64
	peEntry     = peOptional + 112 + 4*8 // of the certificate table
	peTable     = peOptional + 240
	peAlignment = 512
)

// PE writes an EFI image for x86-64 (PE32+). Major is its version, which Linux uses to say how it
// is booted. Nothing in it runs.
func PE(major uint16, sections ...PESection) []byte {
	headers := aligned(peTable + 40*len(sections))
	out := make([]byte, headers)
	copy(out, "MZ")
	binary.LittleEndian.PutUint32(out[0x3c:], peStart)
	copy(out[peStart:], "PE\x00\x00")
	coff := out[peStart+4:]
	binary.LittleEndian.PutUint16(coff, 0x8664)
	binary.LittleEndian.PutUint16(coff[2:], uint16(len(sections)))
	binary.LittleEndian.PutUint16(coff[16:], 240)
	binary.LittleEndian.PutUint16(coff[18:], 0x22e)
	optional := out[peOptional:]
	binary.LittleEndian.PutUint16(optional, 0x20b)
	binary.LittleEndian.PutUint32(optional[32:], 4096)
	binary.LittleEndian.PutUint32(optional[36:], peAlignment)
	binary.LittleEndian.PutUint16(optional[44:], major)
	binary.LittleEndian.PutUint32(optional[60:], uint32(headers))
	binary.LittleEndian.PutUint32(optional[64:], 0x1234abcd) // a checksum that nobody checks
	binary.LittleEndian.PutUint16(optional[68:], 10)         // EFI application
	binary.LittleEndian.PutUint32(optional[108:], 16)
	address := uint32(4096)
	for n, section := range sections {
		header := out[peTable+40*n:]
		copy(header[:8], section.Name)
		size := cmp.Or(section.Virtual, uint32(len(section.Data)))
		binary.LittleEndian.PutUint32(header[8:], size)
		binary.LittleEndian.PutUint32(header[12:], address)
		binary.LittleEndian.PutUint32(header[16:], uint32(aligned(len(section.Data))))
		binary.LittleEndian.PutUint32(header[20:], uint32(len(out)))
		binary.LittleEndian.PutUint32(header[36:], 0x40000040)
		out = append(out, section.Data...)
		out = append(out, make([]byte, aligned(len(section.Data))-len(section.Data))...)
		address += (size + 4095) &^ 4095
	}
	binary.LittleEndian.PutUint32(out[peOptional+56:], address)
	return out
}

func aligned(size int) int { return (size + peAlignment - 1) &^ (peAlignment - 1) }

// UKI writes a unified kernel image (UAPI.5) with a systemd-stub of a version, which is a name
// only.
func UKI(version int, sections ...PESection) []byte {
	magic := fmt.Sprintf("#### LoaderInfo: systemd-stub %d ####\x00", version)
	return PE(0, append([]PESection{
		{Name: ".text", Data: []byte("a stub that does nothing")},
		{Name: ".sdmagic", Data: []byte(magic)},
	}, sections...)...)
}

// Kernel writes an image that looks like a kernel with an EFI stub.
func Kernel(text string) []byte {
	return PE(1, PESection{Name: ".text", Data: []byte(text)})
}

// ImageSigner signs EFI images (Microsoft, "Windows Authenticode Portable Executable Signature
// Format").
type ImageSigner struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
}

// NewImageSigner returns a signer with a self-signed certificate, which goes into db.
func NewImageSigner(name string, at time.Time) (*ImageSigner, error) {
	return newImageSigner(name, at, nil)
}

// Issue returns a signer whose certificate this one issued.
func (s *ImageSigner) Issue(name string, at time.Time) (*ImageSigner, error) {
	return newImageSigner(name, at, s)
}

func newImageSigner(name string, at time.Time, issuer *ImageSigner) (*ImageSigner, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: at,
		NotAfter: at.AddDate(10, 0, 0), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	parent, parentKey := template, key
	if issuer != nil {
		parent, parentKey = issuer.certificate, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	return &ImageSigner{key, certificate}, nil
}

// Certificate returns the signer's certificate in DER.
func (s *ImageSigner) Certificate() []byte { return s.certificate.Raw }

// Sign appends a signature to an image that [PE] wrote.
func (s *ImageSigner) Sign(image []byte) ([]byte, error) {
	image = append([]byte{}, image...)
	clear(image[peEntry : peEntry+8])
	h := sha256.New()
	h.Write(image[:peChecksum])
	h.Write(image[peChecksum+4 : peEntry])
	h.Write(image[peEntry+8:])
	signature, err := s.signedData(h.Sum(nil))
	if err != nil {
		return nil, err
	}
	size := (8 + len(signature) + 7) &^ 7
	binary.LittleEndian.PutUint32(image[peEntry:], uint32(len(image)))
	binary.LittleEndian.PutUint32(image[peEntry+4:], uint32(size))
	table := make([]byte, 8, size)
	binary.LittleEndian.PutUint32(table, uint32(size))
	binary.LittleEndian.PutUint16(table[4:], 0x0200)
	binary.LittleEndian.PutUint16(table[6:], 0x0002)
	table = append(table, signature...)
	return append(image, table[:size]...), nil
}

// Object identifiers of PKCS #7 and Authenticode.
var (
	spcSHA256        = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	spcECDSA256      = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	spcSignedData    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	spcContentType   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	spcMessageDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	spcIndirect      = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 4}
	spcPEImage       = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 15}
)

// spcDER puts parts into an element of a tag.
func spcDER(tag int, parts ...[]byte) []byte {
	var body []byte
	for _, part := range parts {
		body = append(body, part...)
	}
	class, compound := tag>>6&3, tag&0x20 != 0
	out, err := asn1.Marshal(asn1.RawValue{Class: class, Tag: tag & 0x1f, IsCompound: compound,
		Bytes: body})
	if err != nil {
		panic(err) // a tag of this file
	}
	return out
}

func spcOf(value any) []byte {
	out, err := asn1.Marshal(value)
	if err != nil {
		panic(err) // a value of this file
	}
	return out
}

// Tags of DER.
const (
	spcSequence = 0x30
	spcSet      = 0x31
	spcOctets   = 0x04
	spcContext0 = 0xa0
)

// signedData writes SignedData (RFC 2315 section 9) over SpcIndirectDataContent.
func (s *ImageSigner) signedData(digest []byte) ([]byte, error) {
	algorithm := spcDER(spcSequence, spcOf(spcSHA256), []byte{5, 0})
	// SpcPeImageData with no flags and the file name that all tools write: an empty one.
	data := spcDER(spcSequence, spcOf(spcPEImage),
		spcDER(spcSequence, []byte{3, 1, 0}, spcDER(spcContext0, spcDER(0xa2, spcDER(0x80)))))
	content := append(data, spcDER(spcSequence, algorithm, spcDER(spcOctets, digest))...)
	sum := sha256.Sum256(content)
	attributes := append(
		spcDER(spcSequence, spcOf(spcContentType), spcDER(spcSet, spcOf(spcIndirect))),
		spcDER(spcSequence, spcOf(spcMessageDigest), spcDER(spcSet, spcDER(spcOctets, sum[:])))...)
	toSign := sha256.Sum256(spcDER(spcSet, attributes))
	signature, err := s.key.Sign(rand.Reader, toSign[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	signer := spcDER(spcSequence, spcOf(1),
		spcDER(spcSequence, s.certificate.RawIssuer, spcOf(s.certificate.SerialNumber)), algorithm,
		spcDER(spcContext0, attributes), spcDER(spcSequence, spcOf(spcECDSA256)), spcDER(spcOctets,
			signature))
	signed := spcDER(spcSequence, spcOf(1), spcDER(spcSet, algorithm),
		spcDER(spcSequence, spcOf(spcIndirect), spcDER(spcContext0, spcDER(spcSequence, content))),
		spcDER(spcContext0, s.certificate.Raw), spcDER(spcSet, signer))
	return spcDER(spcSequence, spcOf(spcSignedData), spcDER(spcContext0, signed)), nil
}

// SignatureList writes a list of one signature (UEFI 2.10, section 32.4.1): a certificate, or the
// SHA-256 of an image where it has 32 bytes.
func SignatureList(entry []byte) []byte {
	kind := []byte("\xa1\x59\xc0\xa5\xe4\x94\xa7\x4a\x87\xb5\xab\x15\x5c\x2b\xf0\x72")
	if len(entry) == sha256.Size {
		kind = []byte("\x26\x16\xc4\xc1\x4c\x50\x92\x40\xac\xa9\x41\xf9\x36\x93\x43\x28")
	}
	out := append([]byte{}, kind...)
	out = binary.LittleEndian.AppendUint32(out, uint32(28+16+len(entry)))
	out = binary.LittleEndian.AppendUint32(out, 0)
	out = binary.LittleEndian.AppendUint32(out, uint32(16+len(entry)))
	out = append(out, "attestd forgery."...) // the owner, a GUID
	return append(out, entry...)
}
