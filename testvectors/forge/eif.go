package forge

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	_ "crypto/sha256" // for the hash of ES256
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"hash/crc32"
	"math/big"
	"time"
)

// EIFSection is a section of an enclave image.
type EIFSection struct {
	Type, Flags uint16
	Data        []byte
}

// Types of sections of enclave images.
const (
	EIFKernel    = 1
	EIFLine      = 2
	EIFRamdisk   = 3
	EIFSignature = 4
	EIFMetadata  = 5
)

const eifHeader = 548

// EIF writes an enclave image of the sections. Nothing in it runs.
func EIF(version, flags uint16, sections ...EIFSection) []byte {
	out := make([]byte, eifHeader)
	copy(out, ".eif")
	binary.BigEndian.PutUint16(out[4:], version)
	binary.BigEndian.PutUint16(out[6:], flags)
	binary.BigEndian.PutUint64(out[8:], 1<<30) // memory
	binary.BigEndian.PutUint64(out[16:], 2)    // processors
	binary.BigEndian.PutUint16(out[26:], uint16(len(sections)))
	for n, section := range sections {
		if n < 32 {
			binary.BigEndian.PutUint64(out[28+8*n:], uint64(len(out)))
			binary.BigEndian.PutUint64(out[284+8*n:], uint64(len(section.Data)))
		}
		out = binary.BigEndian.AppendUint16(out, section.Type)
		out = binary.BigEndian.AppendUint16(out, section.Flags)
		out = binary.BigEndian.AppendUint64(out, uint64(len(section.Data)))
		out = append(out, section.Data...)
	}
	return SumEIF(out)
}

// SumEIF writes the checksum that the image's bytes have into it.
func SumEIF(image []byte) []byte {
	if len(image) >= eifHeader {
		sum := crc32.Update(crc32.ChecksumIEEE(image[:eifHeader-4]), crc32.IEEETable, image[eifHeader:])
		binary.BigEndian.PutUint32(image[eifHeader-4:], sum)
	}
	return image
}

// EIFParts returns the sections of a small image, without a signature.
func EIFParts() []EIFSection {
	return []EIFSection{
		{Type: EIFKernel, Data: []byte("a kernel")},
		{Type: EIFLine, Data: []byte("reboot=k panic=30 console=ttyS0")},
		{Type: EIFMetadata, Data: []byte(`{"ImageName":"test"}`)},
		{Type: EIFRamdisk, Data: []byte("a ramdisk that starts")},
		{Type: EIFRamdisk, Data: []byte("a ramdisk with the application")},
	}
}

// EIFSigner signs enclave images.
type EIFSigner struct {
	Key *ecdsa.PrivateKey
	DER []byte
}

// NewEIFSigner makes a signer on P-384 whose certificate is valid for a year.
func NewEIFSigner(name string, from time.Time) (*EIFSigner, error) {
	return NewEIFSignerOn(elliptic.P384(), name, from)
}

// NewEIFSignerOn makes a signer on P-256, P-384 or P-521.
func NewEIFSignerOn(curve elliptic.Curve, name string, from time.Time) (*EIFSigner, error) {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: from, NotAfter: from.AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &EIFSigner{Key: key, DER: der}, nil
}

// PEM returns the certificate as it stands in images.
func (s *EIFSigner) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.DER})
}

// Payload returns what is signed: a register.
func (s *EIFSigner) Payload(index uint64, value []byte) []byte {
	return CBORMap(CBORField{CBORText("register_index"), CBORUint(index)},
		CBORField{CBORText("register_value"), CBORNumbers(value)})
}

// Sign returns a COSE_Sign1 over a payload by the algorithm of the key's curve (RFC 9053, section
// 2.1).
func (s *EIFSigner) Sign(payload []byte) ([]byte, error) {
	algorithm, h, size := uint64(34), crypto.SHA384, 48
	switch s.Key.Curve {
	case elliptic.P256():
		algorithm, h, size = 6, crypto.SHA256, 32
	case elliptic.P521():
		algorithm, h, size = 35, crypto.SHA512, 66
	}
	protected := CBORMap(CBORField{CBORUint(1), CBORNegative(algorithm)})
	digest := h.New()
	digest.Write(CBORArray(CBORText("Signature1"), CBORBytes(protected), CBORBytes(nil),
		CBORBytes(payload)))
	r, v, err := ecdsa.Sign(rand.Reader, s.Key, digest.Sum(nil))
	if err != nil {
		return nil, err
	}
	raw := make([]byte, 2*size)
	r.FillBytes(raw[:size])
	v.FillBytes(raw[size:])
	return CBORArray(CBORBytes(protected), CBORMap(), CBORBytes(payload), CBORBytes(raw)), nil
}

// Section returns a signature section over a PCR0.
func (s *EIFSigner) Section(pcr0 []byte) (EIFSection, error) {
	signature, err := s.Sign(s.Payload(0, pcr0))
	if err != nil {
		return EIFSection{}, err
	}
	return EIFSection{Type: EIFSignature, Data: CBORArray(CBORMap(
		CBORField{CBORText("signing_certificate"), CBORNumbers(s.PEM())},
		CBORField{CBORText("signature"), CBORNumbers(signature)},
	))}, nil
}

// SignedEIF writes an image of version 4 with the parts and a signature over its PCR0.
func (s *EIFSigner) SignedEIF(parts ...EIFSection) ([]byte, error) {
	var measured []byte
	for _, part := range parts {
		if part.Type != EIFMetadata {
			measured = append(measured, part.Data...)
		}
	}
	once := sha512.Sum384(measured)
	pcr0 := sha512.Sum384(append(make([]byte, 48), once[:]...))
	section, err := s.Section(pcr0[:])
	if err != nil {
		return nil, err
	}
	return EIF(4, 0, append(parts, section)...), nil
}

// CBORNumbers returns bytes as an array of numbers.
func CBORNumbers(data []byte) []byte {
	items := make([][]byte, 0, len(data))
	for _, b := range data {
		items = append(items, CBORUint(uint64(b)))
	}
	return CBORArray(items...)
}
