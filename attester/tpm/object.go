package tpm

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// object is a key in the TPM that can be used now.
type object struct {
	handle tpm2.TPMHandle
	name   tpm2.TPM2BName
	// raw is TPMT_PUBLIC as the TPM gave it, public the same read.
	raw    []byte
	public tpm2.TPMTPublic
	// spki is the DER SubjectPublicKeyInfo.
	spki []byte
}

func newObject(handle tpm2.TPMHandle, name tpm2.TPM2BName, area tpm2.TPM2BPublic) (object, error) {
	raw := bytes.Clone(area.Bytes())
	public, err := area.Contents()
	if err != nil {
		return object{}, fmt.Errorf("public area of 0x%08x: %w", uint32(handle), err)
	}
	spki, err := spkiOf(*public)
	if err != nil {
		return object{}, fmt.Errorf("public area of 0x%08x: %w", uint32(handle), err)
	}
	return object{handle: handle, name: name, raw: raw, public: *public, spki: spki}, nil
}

func spkiOf(public tpm2.TPMTPublic) ([]byte, error) {
	key, err := tpm2.Pub(public)
	if err != nil {
		return nil, err
	}
	return x509.MarshalPKIXPublicKey(key)
}

// auth is the object with the empty password that all of ours have.
func (o object) auth() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: o.handle, Name: o.name, Auth: tpm2.PasswordAuth(nil)}
}

// errNoObject: nothing is at a handle.
var errNoObject = errors.New("there is no object at this handle")

// read returns the object at a handle, and its Qualified Name.
//
// Errors: errNoObject where there is none.
func (c *connection) read(handle tpm2.TPMHandle) (object, []byte, error) {
	answer, err := tpm2.ReadPublic{ObjectHandle: handle}.Execute(c)
	if errors.Is(err, tpm2.TPMRCHandle) {
		return object{}, nil, errNoObject
	}
	if err != nil {
		return object{}, nil, explain(fmt.Sprintf("read the public area of 0x%08x", uint32(handle)), err)
	}
	found, err := newObject(handle, answer.Name, answer.OutPublic)
	return found, answer.QualifiedName.Buffer, err
}

// create makes a primary key, which is flushed when the connection closes.
func (c *connection) create(
	hierarchy tpm2.TPMHandle, password []byte, template tpm2.TPMTPublic,
) (object, error) {
	answer, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: hierarchy, Auth: tpm2.PasswordAuth(password)},
		InPublic:      tpm2.New2B(template),
	}.Execute(c)
	if err != nil {
		return object{}, explain("create a primary key", err)
	}
	return newObject(answer.ObjectHandle, answer.Name, answer.OutPublic)
}

// persist keeps a key at a handle over restarts, and flushes the one it was made from.
func (c *connection) persist(key object, handle uint32, ownerAuth []byte) (object, error) {
	_, err := tpm2.EvictControl{
		Auth:             tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(ownerAuth)},
		ObjectHandle:     tpm2.NamedHandle{Handle: key.handle, Name: key.name},
		PersistentHandle: tpm2.TPMHandle(handle),
	}.Execute(c)
	if err != nil {
		return object{}, explain(fmt.Sprintf("keep a key at 0x%08x", handle), err)
	}
	if err := c.flush(uint32(key.handle)); err != nil {
		return object{}, explain("flush a key", err)
	}
	key.handle = tpm2.TPMHandle(handle)
	return key, nil
}

// nvLimit is the largest NV area that is read, in bytes: certificates have one or two thousand.
const nvLimit = 16 << 10

// readNV reads an NV area whole.
func (c *connection) readNV(index uint32, ownerAuth []byte) ([]byte, error) {
	doing := fmt.Sprintf("read NV index 0x%08x", index)
	area, err := tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(index)}.Execute(c)
	if err != nil {
		return nil, explain(doing, err)
	}
	public, err := area.NVPublic.Contents()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	if public.DataSize > nvLimit {
		return nil, fmt.Errorf("%s: it has %d bytes, want at most %d", doing, public.DataSize, nvLimit)
	}
	named := tpm2.NamedHandle{Handle: tpm2.TPMHandle(index), Name: area.NVName}
	auth := tpm2.AuthHandle{Handle: named.Handle, Name: named.Name, Auth: tpm2.PasswordAuth(nil)}
	if !public.Attributes.AuthRead {
		auth = tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(ownerAuth)}
	}
	// TPM_PT_NV_BUFFER_MAX is 512 at the least (PC Client Platform TPM Profile).
	const chunk = 512
	var data []byte
	for rest := public.DataSize; rest > 0; {
		size := min(rest, chunk)
		answer, err := tpm2.NVRead{
			AuthHandle: auth, NVIndex: named, Size: size, Offset: public.DataSize - rest,
		}.Execute(c)
		if err != nil {
			return nil, explain(doing, err)
		}
		if len(answer.Data.Buffer) != int(size) {
			return nil, fmt.Errorf("%s: got %d bytes, want %d", doing, len(answer.Data.Buffer), size)
		}
		data = append(data, answer.Data.Buffer...)
		rest -= size
	}
	return data, nil
}

// certificates takes the certificates out of an NV area, which may be longer than they are.
func certificates(area []byte) (ders [][]byte, err error) {
	for rest := area; len(rest) > 0 && rest[0] == 0x30; { // SEQUENCE; what fills the rest is 00 or FF
		var one asn1.RawValue
		if rest, err = asn1.Unmarshal(rest, &one); err != nil {
			return nil, err
		}
		ders = append(ders, one.FullBytes)
	}
	if len(ders) == 0 {
		return nil, errors.New("there is no DER in it")
	}
	return ders, nil
}

// certifiedKey returns the subjectPublicKey of a certificate, without its algorithm: old certificates
// name RSAES-OAEP there (RFC 4055 section 4.1), and some have fields that Go refuses to parse. Whether
// the certificate is a good one is for a verifier.
func certifiedKey(der []byte) ([]byte, error) {
	var certificate struct {
		TBS struct {
			Version                                      asn1.RawValue `asn1:"optional,explicit,tag:0"`
			Serial, Signature, Issuer, Validity, Subject asn1.RawValue
			Key                                          struct {
				Algorithm asn1.RawValue
				Bits      asn1.BitString
			}
		}
	}
	if _, err := asn1.Unmarshal(der, &certificate); err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return certificate.TBS.Key.Bits.Bytes, nil
}

// keyBits returns the subjectPublicKey of a DER SubjectPublicKeyInfo.
func keyBits(spki []byte) []byte {
	var info struct {
		Algorithm asn1.RawValue
		Bits      asn1.BitString
	}
	if _, err := asn1.Unmarshal(spki, &info); err != nil {
		return nil
	}
	return info.Bits.Bytes
}
