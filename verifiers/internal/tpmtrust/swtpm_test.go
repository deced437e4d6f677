package tpmtrust_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"testing"
	"time"

	gotpm "github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/swtpm"
	"github.com/attestd/attestd/verifiers/internal/tpm2"
	"github.com/attestd/attestd/verifiers/internal/tpmtrust"
)

// TestASoftwareTPMOpensOurCredentials lets a real swtpm open a credential under each of its
// endorsement keys, RSA by template L-1 and ECC by template H-3, and verifies its certificates,
// which nobody believes without swtpm's root. neg: 87
func TestASoftwareTPMOpensOurCredentials(t *testing.T) {
	folder := must(os.MkdirTemp("", "tpmtrust"))(t) // short: a socket's path has few bytes
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	ca := must(swtpm.NewCA(folder))(t)
	machine := must(ca.Manufacture(t.Context(), "a"))(t)
	t.Cleanup(func() { _ = machine.Close() })
	if err := machine.Start(); err != nil {
		t.Fatal(err)
	}
	link := must(linuxudstpm.Open(machine.Socket()))(t)
	t.Cleanup(func() { _ = link.Close() })
	root := certificateOf(t, must(ca.RootPEM())(t))
	issuer := certificateOf(t, must(ca.IssuerPEM())(t))

	for name, row := range map[string]struct {
		handle, index uint32
		auth          gotpm.Session
	}{
		"RSA": {0x81010001, 0x01c00002, gotpm.Policy(gotpm.TPMAlgSHA256, 16, gotpm.PolicyCallback(secret))},
		"ECC": {0x81010016, 0x01c00016, gotpm.PasswordAuth(nil)},
	} {
		t.Run(name, func(t *testing.T) {
			read := must(gotpm.ReadPublic{ObjectHandle: gotpm.TPMHandle(row.handle)}.Execute(link))(t)
			ek := must(tpm2.ParsePublic(read.OutPublic.Bytes()))(t)
			if fault := tpmtrust.CheckEKTemplate(ek); fault != nil {
				t.Fatal(fault)
			}
			query := tpmtrust.EKQuery{
				Certificate: index(t, link, row.index), Intermediates: [][]byte{issuer.Raw}, At: time.Now(),
			}
			vouched, fault := trusting(t, root).Endorsement(query)
			if fault != nil {
				t.Fatal(fault)
			}
			if !bytes.Equal(vouched.SPKI, must(ek.SPKI())(t)) || !vouched.Insecure ||
				vouched.Manufacturer != "00001014" || vouched.Model != "swtpm" {
				t.Errorf("%+v", vouched)
			}
			_, fault = store(t, tpmtrust.Config{}).Endorsement(query)
			wantFault(t, fault, attestd.ClassChain)
			activate(t, link, ek, gotpm.AuthHandle{
				Handle: gotpm.TPMHandle(row.handle), Name: read.Name, Auth: row.auth,
			})
		})
	}
}

// activate makes an attestation key, a credential for it, and lets the TPM open it.
func activate(t *testing.T, link transport.TPM, ek tpm2.Public, under gotpm.AuthHandle) {
	t.Helper()
	created := must(gotpm.CreatePrimary{
		PrimaryHandle: gotpm.TPMRHEndorsement,
		InPublic: gotpm.New2B(gotpm.TPMTPublic{
			Type: gotpm.TPMAlgECC, NameAlg: gotpm.TPMAlgSHA256,
			ObjectAttributes: gotpm.TPMAObject{
				FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true,
				Restricted: true, SignEncrypt: true,
			},
			Parameters: gotpm.NewTPMUPublicParms(gotpm.TPMAlgECC, &gotpm.TPMSECCParms{
				CurveID: gotpm.TPMECCNistP256,
				Scheme: gotpm.TPMTECCScheme{
					Scheme: gotpm.TPMAlgECDSA,
					Details: gotpm.NewTPMUAsymScheme(gotpm.TPMAlgECDSA,
						&gotpm.TPMSSigSchemeECDSA{HashAlg: gotpm.TPMAlgSHA256}),
				},
			}),
		}),
	}.Execute(link))(t)
	defer func() { _, _ = gotpm.FlushContext{FlushHandle: created.ObjectHandle}.Execute(link) }()
	secret := bytes.Repeat([]byte{0x5e}, 32)
	made := must(tpmtrust.MakeCredential(tpmtrust.CredentialInput{
		AK: must(tpm2.ParsePublic(created.OutPublic.Bytes()))(t), EK: ek, Secret: secret,
		Entropy: entropy(0x42),
	}))(t)
	open := func(blob []byte) ([]byte, error) {
		opened, err := gotpm.ActivateCredential{
			ActivateHandle: gotpm.AuthHandle{
				Handle: created.ObjectHandle, Name: created.Name, Auth: gotpm.PasswordAuth(nil),
			},
			KeyHandle:      under,
			CredentialBlob: gotpm.TPM2BIDObject{Buffer: blob},
			Secret:         gotpm.TPM2BEncryptedSecret{Buffer: made.EncryptedSecret},
		}.Execute(link)
		if err != nil {
			return nil, err
		}
		return opened.CertInfo.Buffer, nil
	}
	if opened, err := open(made.Blob); err != nil || !bytes.Equal(opened, secret) {
		t.Errorf("the TPM returned %x, %v", opened, err)
	}
	changed := bytes.Clone(made.Blob)
	changed[len(changed)-1] ^= 1
	if opened, err := open(changed); err == nil {
		t.Errorf("the TPM opened a changed credential: %x", opened)
	}
}

// secret satisfies policy A.
func secret(link transport.TPM, session gotpm.TPMISHPolicy, _ gotpm.TPM2BNonce) error {
	_, err := gotpm.PolicySecret{
		AuthHandle:    gotpm.AuthHandle{Handle: gotpm.TPMRHEndorsement, Auth: gotpm.PasswordAuth(nil)},
		PolicySession: session,
	}.Execute(link)
	return err
}

// index reads an NV index of the TPM.
func index(t *testing.T, link transport.TPM, handle uint32) []byte {
	t.Helper()
	known := must(gotpm.NVReadPublic{NVIndex: gotpm.TPMHandle(handle)}.Execute(link))(t)
	public := must(known.NVPublic.Contents())(t)
	var out []byte
	for offset := uint16(0); offset < public.DataSize; offset += 512 {
		part := must(gotpm.NVRead{
			AuthHandle: gotpm.AuthHandle{Handle: gotpm.TPMRHOwner, Auth: gotpm.PasswordAuth(nil)},
			NVIndex:    gotpm.NamedHandle{Handle: gotpm.TPMHandle(handle), Name: known.NVName},
			Size:       min(512, public.DataSize-offset), Offset: offset,
		}.Execute(link))(t)
		out = append(out, part.Data.Buffer...)
	}
	return out
}

func certificateOf(t *testing.T, text []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatal("no PEM")
	}
	return must(x509.ParseCertificate(block.Bytes))(t)
}
