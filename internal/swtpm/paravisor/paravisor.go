// Package paravisor puts into a software TPM what Azure's paravisor leaves in the virtual TPM of a
// confidential VM: an attestation key at a handle, and a report in NV.
//
// What comes in is a TPM that is on and a function that makes the report which names the key. What is
// true where nothing returns an error: the key persists, and the NV index holds the report. What is not
// shown: anything about Azure, whose template for the key is not published; this one has the same
// attributes.
package paravisor

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"net"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/attestd/attestd/internal/swtpm"
)

// Where Azure's paravisor puts things.
const (
	AKHandle    = 0x81000003
	ReportIndex = 0x01400001
)

// Equip makes the key and writes what report says of it. No client may hold a connection.
func Equip(tpm *swtpm.TPM, report func(ak *rsa.PublicKey) ([]byte, error)) (err error) {
	conn, err := net.Dial("unix", tpm.Socket())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	wire := transport.FromReadWriteCloser(conn)
	ak, err := makeKey(wire)
	if err != nil {
		return fmt.Errorf("attestation key: %w", err)
	}
	area, err := report(ak)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := writeNV(wire, ReportIndex, area); err != nil {
		return fmt.Errorf("NV index 0x%08x: %w", ReportIndex, err)
	}
	return nil
}

// makeKey makes a restricted signing key, RSA 2048 with RSASSA and SHA-256, and keeps it.
func makeKey(wire transport.TPM) (*rsa.PublicKey, error) {
	made, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHEndorsement,
		InPublic: tpm2.New2B(tpm2.TPMTPublic{
			Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256,
			ObjectAttributes: tpm2.TPMAObject{
				FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true,
				Restricted: true, SignEncrypt: true,
			},
			Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
				Scheme: tpm2.TPMTRSAScheme{
					Scheme: tpm2.TPMAlgRSASSA, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA,
						&tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA256}),
				},
				KeyBits: 2048,
			}),
			Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: make([]byte, 256)}),
		}),
	}.Execute(wire)
	if err != nil {
		return nil, err
	}
	public, err := made.OutPublic.Contents()
	if err != nil {
		return nil, err
	}
	key, err := tpm2.Pub(*public)
	if err != nil {
		return nil, err
	}
	if _, err := (tpm2.EvictControl{
		Auth:         tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		ObjectHandle: tpm2.NamedHandle{Handle: made.ObjectHandle, Name: made.Name}, PersistentHandle: AKHandle,
	}).Execute(wire); err != nil {
		return nil, err
	}
	if _, err := (tpm2.FlushContext{FlushHandle: made.ObjectHandle}).Execute(wire); err != nil {
		return nil, err
	}
	out, ok := key.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("the TPM made a %T", key)
	}
	return out, nil
}

func writeNV(wire transport.TPM, index uint32, area []byte) error {
	defined := tpm2.New2B(tpm2.TPMSNVPublic{
		NVIndex: tpm2.TPMHandle(index), NameAlg: tpm2.TPMAlgSHA256,
		Attributes: tpm2.TPMANV{
			OwnerWrite: true, OwnerRead: true, AuthWrite: true, AuthRead: true, NoDA: true,
		},
		DataSize: uint16(len(area)), //nolint:gosec // a TPM has room for no more than 2,600
	})
	if _, err := (tpm2.NVDefineSpace{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}, PublicInfo: defined,
	}).Execute(wire); err != nil {
		return err
	}
	const chunk = 512
	for at := 0; at < len(area); at += chunk {
		public, err := tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(index)}.Execute(wire)
		if err != nil {
			return err // the index's name changes with the first write
		}
		if _, err := (tpm2.NVWrite{
			AuthHandle: tpm2.AuthHandle{
				Handle: tpm2.TPMHandle(index), Name: public.NVName, Auth: tpm2.PasswordAuth(nil),
			},
			NVIndex: tpm2.NamedHandle{Handle: tpm2.TPMHandle(index), Name: public.NVName},
			Data:    tpm2.TPM2BMaxNVBuffer{Buffer: area[at:min(at+chunk, len(area))]},
			Offset:  uint16(at), //nolint:gosec // below the size
		}).Execute(wire); err != nil {
			return err
		}
	}
	return nil
}
