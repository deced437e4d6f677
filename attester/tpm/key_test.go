package tpm_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester/tpm"
)

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

// A key that can leave the TPM, or signs for whoever knows its password, is not what "resident" means.
func TestAKeyFileOfAnotherKindOfKeyIsRefused(t *testing.T) {
	chip, _ := manufacture(t)
	folder := t.TempDir()
	device := open(t, chip, tpm.Options{StateDir: folder})
	if _, err := device.Key(t.Context(), "agent"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "agent.tpmkey")
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var kept map[string]any
	if err := json.Unmarshal(doc, &kept); err != nil {
		t.Fatal(err)
	}
	kept["public"] = tpm2.Marshal(tpm.AttestationTemplate())
	if doc, err = json.Marshal(kept); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, doc, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := device.Key(t.Context(), "agent"); err == nil ||
		!strings.Contains(err.Error(), "public area is not what this program makes") {
		t.Errorf("got %v", err)
	}
	wantNothingLoaded(t, chip)
}

// Who can write into the folder can put a key of its own under the name, whose blob it keeps.
func TestAStateFolderThatOthersCanWriteIsRefused(t *testing.T) {
	chip, _ := manufacture(t)
	folder := filepath.Join(t.TempDir(), "keys")
	device := open(t, chip, tpm.Options{StateDir: folder})
	for _, mode := range []os.FileMode{0o720, 0o702, 0o777, 0o777 | os.ModeSticky} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(folder, mode); err != nil {
			t.Fatal(err)
		}
		var caller *attestd.CallerError
		if _, err := device.Key(t.Context(), "agent"); !errors.As(err, &caller) ||
			!strings.Contains(caller.Hint, "chmod 700") {
			t.Errorf("mode %s: %v", mode, err)
		}
	}
	if err := os.Chmod(folder, 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := device.Key(t.Context(), "agent"); err != nil {
		t.Error(err)
	}
}
