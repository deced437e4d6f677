package tpm_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester/tpm"
	"github.com/attestd/attestd/internal/swtpm"
	"github.com/attestd/attestd/internal/tpmevidence"
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

func freshness(first byte) []byte { return append([]byte{first}, make([]byte, 31)...) }

func collect(t *testing.T, device *tpm.Device, request tpm.Request) tpmevidence.Evidence {
	t.Helper()
	collected, err := device.Collect(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if collected.Format != attestd.FormatTPM {
		t.Errorf("format is %q", collected.Format)
	}
	parts, err := tpmevidence.Parse(collected.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

// verifySignature checks an ECDSA signature of the AK, with the standard library alone.
func verifySignature(t *testing.T, spki, message, signature []byte) {
	t.Helper()
	parsed, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		t.Fatal(err)
	}
	// TPMT_SIGNATURE: ECDSA, SHA-256, then r and s behind their lengths.
	if binary.BigEndian.Uint32(signature) != 0x0018000b {
		t.Fatalf("signature begins %x", signature[:4])
	}
	r, rest := sized(signature[4:])
	s, rest := sized(rest)
	if len(rest) != 0 {
		t.Fatal("bytes behind the signature")
	}
	digest := sha256.Sum256(message)
	if !ecdsa.VerifyASN1(parsed.(*ecdsa.PublicKey), digest[:], asn1Signature(t, r, s)) {
		t.Error("the signature is not the AK's")
	}
}

func sized(data []byte) (value, rest []byte) {
	size := int(binary.BigEndian.Uint16(data))
	return data[2 : 2+size], data[2+size:]
}

func TestAQuoteCoversTheValuesBesideItAndTheFreshnessValue(t *testing.T) {
	chip, _ := manufacture(t)
	device := open(t, chip, tpm.Options{})
	who := identity(t, device)
	for _, row := range []struct {
		name string
		ask  tpm.Request
		want []uint8
	}{
		{"what nothing is said about", tpm.Request{Freshness: freshness(1)}, tpm.DefaultPCRs()},
		{
			"PCRs in any order and twice",
			tpm.Request{Freshness: freshness(2), PCRs: []uint8{23, 0, 7, 0, 16}},
			[]uint8{0, 7, 16, 23},
		},
		{
			"another bank", tpm.Request{Freshness: bytes.Repeat([]byte{3}, 64), Bank: tpm.SHA384, PCRs: []uint8{4}},
			[]uint8{4},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			parts := collect(t, device, row.ask)
			if !bytes.Equal(parts.AKPublic, who.AKPublic) || !bytes.Equal(parts.EKPublic, who.EKPublic) ||
				!bytes.Equal(parts.EKCertificate, who.EKCertificate) {
				t.Error("the evidence holds other keys than the identity")
			}
			verifySignature(t, who.AKSPKI, parts.Quote, parts.QuoteSignature)
			attest, err := tpm2.Unmarshal[tpm2.TPMSAttest](parts.Quote)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(attest.ExtraData.Buffer, row.ask.Freshness) {
				t.Errorf("extraData is %x", attest.ExtraData.Buffer)
			}
			if attest.FirmwareVersion>>48 == 0 || attest.ClockInfo.ResetCount > 10 {
				t.Errorf("firmware %x and reset count %d look garbled, as with a key of another hierarchy",
					attest.FirmwareVersion, attest.ClockInfo.ResetCount)
			}
			var indices []uint8
			hash := sha256.New()
			for _, pcr := range parts.PCRs[0].PCRs {
				indices = append(indices, pcr.Index)
				hash.Write(pcr.Value)
			}
			if !slices.Equal(indices, row.want) {
				t.Errorf("PCRs %v, want %v", indices, row.want)
			}
			quoted, err := attest.Attested.Quote()
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(hash.Sum(nil), quoted.PCRDigest.Buffer) {
				t.Error("the values are not those that were quoted")
			}
		})
	}
	wantNothingLoaded(t, chip)
}

func TestRequestsThatCannotBeMetAreRefused(t *testing.T) {
	chip, _ := manufacture(t)
	other, err := tpm.Open("swtpm:/nowhere", tpm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	device := open(t, chip, tpm.Options{StateDir: t.TempDir()})
	key, err := device.Key(t.Context(), "agent")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		at   *tpm.Device
		ask  tpm.Request
		want string
	}{
		{"no freshness value", device, tpm.Request{}, "0 bytes"},
		{"a short freshness value", device, tpm.Request{Freshness: make([]byte, 31)}, "31 bytes"},
		{"a long freshness value", device, tpm.Request{Freshness: make([]byte, 65)}, "65 bytes"},
		{"a PCR that no TPM has", device, tpm.Request{Freshness: freshness(1), PCRs: []uint8{24}}, "PCR 24"},
		{"SHA-1", device, tpm.Request{Freshness: freshness(1), Bank: 4}, "bank 0x0004"},
		{"a bank that is not active", device, tpm.Request{Freshness: freshness(1), Bank: tpm.SHA512}, "0 of 8 PCRs"},
		{"a TPM that is not there", other, tpm.Request{Freshness: freshness(1)}, "no socket"},
		{"a key of another TPM", other, tpm.Request{Freshness: freshness(1), Key: key}, "another TPM's"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := row.at.Collect(t.Context(), row.ask)
			var caller *attestd.CallerError
			if !errors.As(err, &caller) || caller.Hint == "" || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want an error with a hint that says %q", err, row.want)
			}
		})
	}
	wantNothingLoaded(t, chip)
}

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

func TestAKeySignsAndIsCertified(t *testing.T) {
	chip, _ := manufacture(t)
	folder := t.TempDir()
	device := open(t, chip, tpm.Options{StateDir: folder})
	key, err := device.Key(t.Context(), "agent")
	if err != nil {
		t.Fatal(err)
	}
	var _ crypto.Signer = key
	for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384} {
		digest := hash.New().Sum(nil)
		signature, err := key.Sign(nil, digest, hash)
		if err != nil {
			t.Fatalf("%v: %v", hash, err)
		}
		if !ecdsa.VerifyASN1(key.Public().(*ecdsa.PublicKey), digest, signature) {
			t.Errorf("%v: the signature is not the key's", hash)
		}
	}
	if _, err := key.Sign(nil, make([]byte, 20), crypto.SHA1); err == nil {
		t.Error("a SHA-1 digest was signed")
	}
	if _, err := key.Sign(nil, make([]byte, 20), crypto.SHA256); err == nil {
		t.Error("a digest of 20 bytes was signed as SHA-256")
	}
	again, err := open(t, chip, tpm.Options{StateDir: folder}).Key(t.Context(), "agent")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.SPKI(), key.SPKI()) {
		t.Error("the key was not found again")
	}

	who := identity(t, device)
	parts := collect(t, device, tpm.Request{Freshness: freshness(9), Key: key})
	if parts.Key == nil {
		t.Fatal("no key in the evidence")
	}
	verifySignature(t, who.AKSPKI, parts.Key.Attest, parts.Key.Signature)
	attest, err := tpm2.Unmarshal[tpm2.TPMSAttest](parts.Key.Attest)
	if err != nil {
		t.Fatal(err)
	}
	certified, err := attest.Attested.Certify()
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(parts.Key.Public)
	if want := append([]byte{0, 0x0b}, digest[:]...); !bytes.Equal(certified.Name.Buffer, want) {
		t.Errorf("certified is %x, want %x", certified.Name.Buffer, want)
	}
	if !bytes.Equal(attest.ExtraData.Buffer, freshness(9)) {
		t.Errorf("extraData of the key is %x", attest.ExtraData.Buffer)
	}
	public, err := tpm2.Unmarshal[tpm2.TPMTPublic](parts.Key.Public)
	if err != nil {
		t.Fatal(err)
	}
	if has := public.ObjectAttributes; !has.FixedTPM || !has.FixedParent || !has.SensitiveDataOrigin ||
		has.Restricted || has.Decrypt || !has.SignEncrypt {
		t.Errorf("attributes of the key: %+v", has)
	}
	wantNothingLoaded(t, chip)

	info, err := os.Stat(filepath.Join(folder, "agent.tpmkey"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info.Mode(), err)
	}
	if err := chip.Reboot(); err != nil {
		t.Fatal(err)
	}
	next, err := device.Key(t.Context(), "agent")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(next.SPKI(), key.SPKI()) {
		t.Error("the key outlived a restart of the machine")
	}
}

func TestAKeyFileThatIsNoKeyIsNotReplaced(t *testing.T) {
	chip, _ := manufacture(t)
	folder := t.TempDir()
	path := filepath.Join(folder, "agent.tpmkey")
	for _, content := range []string{"", "{}", `{"schema":"attestd.tpm-key.v1","more":1}`, "\x00"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := open(t, chip, tpm.Options{StateDir: folder}).Key(t.Context(), "agent"); err == nil {
			t.Errorf("%q was taken for a key", content)
		}
		if kept, err := os.ReadFile(path); err != nil || string(kept) != content {
			t.Errorf("%q was replaced: %q, %v", content, kept, err)
		}
	}
	for _, name := range []string{"", "../agent", "A", "a/b"} {
		if _, err := open(t, chip, tpm.Options{StateDir: folder}).Key(t.Context(), name); err == nil {
			t.Errorf("a key was called %q", name)
		}
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
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %s: %v", after, err)
		}
	}
	wantNothingLoaded(t, chip)
}
