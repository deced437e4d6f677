package tpm_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester/tpm"
	"github.com/attestd/attestd/internal/swtpm"
)

// made is a TPM as it left its maker, never started; making one takes seconds, so tests work on copies.
var made struct {
	ca       *swtpm.CA
	template *swtpm.TPM
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	folder, err := os.MkdirTemp("", "attester-tpm")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	if made.ca, err = swtpm.NewCA(folder); err != nil {
		return 1, err
	}
	if made.template, err = made.ca.Manufacture(context.Background(), "template"); err != nil {
		return 1, err
	}
	defer func() { _ = made.template.Close() }()
	return m.Run(), nil
}

// manufacture returns a TPM that was just started for the first time, and its maker.
func manufacture(t *testing.T) (*swtpm.TPM, *swtpm.CA) {
	t.Helper()
	name := strings.ToLower(rand.Text())
	chip, err := made.template.Clone(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := chip.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := chip.Start(); err != nil {
		t.Fatal(err)
	}
	return chip, made.ca
}

func open(t *testing.T, chip *swtpm.TPM, options tpm.Options) *tpm.Device {
	t.Helper()
	device, err := tpm.Open("swtpm:"+chip.Socket(), options)
	if err != nil {
		t.Fatal(err)
	}
	return device
}

func identity(t *testing.T, device *tpm.Device) tpm.Identity {
	t.Helper()
	found, err := device.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// direct runs use on a connection of its own, besides the library.
func direct(t *testing.T, chip *swtpm.TPM, use func(transport.TPM)) {
	t.Helper()
	conn, err := net.Dial("unix", chip.Socket())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	use(transport.FromReadWriteCloser(conn))
}

// loaded lists what is loaded in the TPM: transient objects and sessions.
func loaded(t *testing.T, chip *swtpm.TPM) (handles []tpm2.TPMHandle) {
	t.Helper()
	direct(t, chip, func(at transport.TPM) {
		for _, first := range []uint32{0x80000000, 0x02000000, 0x03000000} {
			handles = append(handles, handlesFrom(t, at, first)...)
		}
	})
	return handles
}

func handlesFrom(t *testing.T, at transport.TPM, first uint32) []tpm2.TPMHandle {
	t.Helper()
	answer, err := tpm2.GetCapability{
		Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 100,
	}.Execute(at)
	if err != nil {
		t.Fatal(err)
	}
	list, err := answer.CapabilityData.Data.Handles()
	if err != nil {
		t.Fatal(err)
	}
	return list.Handle
}

func wantNothingLoaded(t *testing.T, chip *swtpm.TPM) {
	t.Helper()
	if left := loaded(t, chip); len(left) != 0 {
		t.Errorf("left in the TPM: %x", left)
	}
}

func evict(t *testing.T, chip *swtpm.TPM, handle tpm2.TPMHandle) {
	t.Helper()
	direct(t, chip, func(at transport.TPM) {
		public, err := tpm2.ReadPublic{ObjectHandle: handle}.Execute(at)
		if err != nil {
			t.Fatal(err)
		}
		_, err = tpm2.EvictControl{
			Auth:             tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
			ObjectHandle:     tpm2.NamedHandle{Handle: handle, Name: public.Name},
			PersistentHandle: handle,
		}.Execute(at)
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestTheKeysAreMadeOnceAndFoundAgain(t *testing.T) {
	chip, ca := manufacture(t)
	device := open(t, chip, tpm.Options{})
	first := identity(t, device)
	wantNothingLoaded(t, chip)
	if err := chip.Reboot(); err != nil {
		t.Fatal(err)
	}
	second := identity(t, open(t, chip, tpm.Options{}))
	if !bytes.Equal(first.AKName, second.AKName) || !bytes.Equal(first.EKPublic, second.EKPublic) {
		t.Error("after a reboot the TPM has another identity")
	}
	digest := sha256.Sum256(first.AKPublic)
	if want := append([]byte{0, 0x0b}, digest[:]...); !bytes.Equal(first.AKName, want) {
		t.Errorf("AK name %x is not that of its public area, %x", first.AKName, want)
	}
	certificate, err := x509.ParseCertificate(first.EKCertificate)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(certificate.RawSubjectPublicKeyInfo, first.EKSPKI) {
		t.Error("the EK certificate is for another key than the EK")
	}
	issuer, err := ca.IssuerPEM()
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(issuer)
	parent, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if err := certificate.CheckSignatureFrom(parent); err != nil {
		t.Error(err)
	}
	with := identity(t, open(t, chip, tpm.Options{Intermediates: [][]byte{block.Bytes}}))
	if len(with.EKChain) != 1 || !bytes.Equal(with.EKChain[0], block.Bytes) {
		t.Errorf("the chain has %d certificates, want the intermediate that was given", len(with.EKChain))
	}
}

func TestAnEndorsementKeyThatDoesNotPersistIsMadeAgainFromItsTemplate(t *testing.T) {
	chip, _ := manufacture(t)
	rsa := identity(t, open(t, chip, tpm.Options{}))
	if rsa.EKKind != "RSA 2048 (L-1)" {
		t.Errorf("EK is %s", rsa.EKKind)
	}
	evict(t, chip, 0x81010001)
	// The ECC key persists and has a certificate: no RSA key is made on the way.
	ecc := identity(t, open(t, chip, tpm.Options{}))
	if ecc.EKKind != "ECC P-384 (H-3)" {
		t.Errorf("EK is %s, want the one that persists", ecc.EKKind)
	}
	activate(t, open(t, chip, tpm.Options{}), ecc)
	evict(t, chip, 0x81010016)
	again := identity(t, open(t, chip, tpm.Options{}))
	if !bytes.Equal(again.EKPublic, rsa.EKPublic) {
		t.Errorf("the EK that was made again (%s) is another one", again.EKKind)
	}
	wantNothingLoaded(t, chip)
	// Without the RSA certificate the ECC key is the one to make again.
	evict(t, chip, 0x81010001)
	direct(t, chip, func(at transport.TPM) {
		_, err := tpm2.NVUndefineSpace{
			AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHPlatform, Auth: tpm2.PasswordAuth(nil)},
			NVIndex:    nvIndex(t, at, 0x01c00002),
		}.Execute(at)
		if err != nil {
			t.Fatal(err)
		}
	})
	made := identity(t, open(t, chip, tpm.Options{}))
	if !bytes.Equal(made.EKPublic, ecc.EKPublic) {
		t.Errorf("the EK that was made again (%s) is another one", made.EKKind)
	}
	activate(t, open(t, chip, tpm.Options{}), made)
	wantNothingLoaded(t, chip)
}

func nvIndex(t *testing.T, at transport.TPM, index tpm2.TPMHandle) tpm2.NamedHandle {
	t.Helper()
	area, err := tpm2.NVReadPublic{NVIndex: index}.Execute(at)
	if err != nil {
		t.Fatal(err)
	}
	return tpm2.NamedHandle{Handle: index, Name: area.NVName}
}

// credential makes a credential for an AK under an EK, as a verifier does.
func credential(t *testing.T, ek, akName, secret []byte) (blob, seed []byte) {
	t.Helper()
	public, err := tpm2.Unmarshal[tpm2.TPMTPublic](ek)
	if err != nil {
		t.Fatal(err)
	}
	key, err := tpm2.ImportEncapsulationKey(public)
	if err != nil {
		t.Fatal(err)
	}
	blob, seed, err = tpm2.CreateCredential(rand.Reader, key, akName, secret)
	if err != nil {
		t.Fatal(err)
	}
	return blob, seed
}

func activate(t *testing.T, device *tpm.Device, who tpm.Identity) {
	t.Helper()
	secret := bytes.Repeat([]byte{7}, 32)
	blob, seed := credential(t, who.EKPublic, who.AKName, secret)
	answer, err := device.Activate(t.Context(), blob, seed)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(answer, secret) {
		t.Errorf("the answer is %x, want %x", answer, secret)
	}
}

func TestACredentialIsAnsweredByTheTPMThatItIsForAlone(t *testing.T) {
	chip, _ := manufacture(t)
	device := open(t, chip, tpm.Options{})
	mine := identity(t, device)
	activate(t, device, mine)

	var caller *attestd.CallerError
	otherName := bytes.Clone(mine.AKName)
	otherName[5] ^= 1
	blob, seed := credential(t, mine.EKPublic, otherName, make([]byte, 32))
	if _, err := device.Activate(t.Context(), blob, seed); !errors.As(err, &caller) ||
		!strings.Contains(err.Error(), "not for this TPM's attestation key") {
		t.Errorf("a credential for another AK: %v", err)
	}
	blob, seed = credential(t, mine.EKPublic, mine.AKName, make([]byte, 32))
	seed[9] ^= 1
	if _, err := device.Activate(t.Context(), blob, seed); !errors.As(err, &caller) {
		t.Errorf("a credential with another seed: %v", err)
	}
	wantNothingLoaded(t, chip)
}

// verifySignature checks an ECDSA signature of the AK, with the standard library alone.
func TestWhatLiesAtTheAttestationKeysHandleIsNeverReplaced(t *testing.T) {
	chip, _ := manufacture(t)
	other := tpm2.ECCSRKTemplate
	place := func(hierarchy, handle tpm2.TPMHandle, template tpm2.TPMTPublic) (name []byte) {
		direct(t, chip, func(at transport.TPM) {
			made, err := tpm2.CreatePrimary{PrimaryHandle: hierarchy, InPublic: tpm2.New2B(template)}.Execute(at)
			if err != nil {
				t.Fatal(err)
			}
			_, err = tpm2.EvictControl{
				Auth:             tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
				ObjectHandle:     tpm2.NamedHandle{Handle: made.ObjectHandle, Name: made.Name},
				PersistentHandle: handle,
			}.Execute(at)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := (tpm2.FlushContext{FlushHandle: made.ObjectHandle}).Execute(at); err != nil {
				t.Fatal(err)
			}
			name = made.Name.Buffer
		})
		return name
	}
	place(tpm2.TPMRHOwner, 0x81010020, other)
	if _, err := open(t, chip, tpm.Options{}).Identity(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "0x81010020 is not an attestation key") {
		t.Errorf("a storage key at the handle: %v", err)
	}
	// The same template in the owner hierarchy signs quotes whose counters are garbled.
	place(tpm2.TPMRHOwner, 0x81010021, tpm.AttestationTemplate())
	if _, err := open(t, chip, tpm.Options{AKHandle: 0x81010021}).Identity(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "not a primary key of the endorsement hierarchy") {
		t.Errorf("an attestation key of the owner hierarchy: %v", err)
	}
	if len(identity(t, open(t, chip, tpm.Options{AKHandle: 0x81010022})).AKName) == 0 {
		t.Error("at a free handle no attestation key was made")
	}
	wantNothingLoaded(t, chip)
}

func TestNothingStaysLoadedAfterManyRunsAndErrors(t *testing.T) {
	chip, _ := manufacture(t)
	device := open(t, chip, tpm.Options{StateDir: t.TempDir()})
	key, err := device.Key(t.Context(), "agent")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for worker := range 4 {
		wait.Go(func() {
			for range 5 {
				if _, err := device.Collect(t.Context(), tpm.Request{Freshness: freshness(byte(worker)), Key: key}); err != nil {
					t.Error(err)
				}
				_, _ = device.Activate(t.Context(), []byte("no"), []byte("credential"))
			}
		})
	}
	wait.Wait()
	wantNothingLoaded(t, chip)
	// Wherever the context ends, what was loaded by then goes.
	for after := time.Duration(0); after < 60*time.Millisecond; after += 1500 * time.Microsecond {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		_, err := device.Collect(ctx, tpm.Request{Freshness: freshness(1), Key: key})
		cancel()
		if (err != nil || after == 0) && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %s: %v", after, err)
		}
	}
	wantNothingLoaded(t, chip)
}
