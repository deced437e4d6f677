package tpm_test

import (
	"crypto"
	"crypto/ecdsa"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/attestd/attestd/attester/tpm"
)

func TestKeysAreMadeFoundAndRemovedByName(t *testing.T) {
	chip, _ := manufacture(t)
	folder := t.TempDir()
	device := open(t, chip, tpm.Options{StateDir: folder})
	if _, err := device.FindKey(t.Context(), "agent-a"); !errors.Is(err, tpm.ErrNoKey) {
		t.Errorf("before it was made: %v", err)
	}
	made, err := device.NewKey(t.Context(), "agent-a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := device.NewKey(t.Context(), "agent-a"); err == nil {
		t.Error("a second key took the place of the first")
	}
	other, err := device.NewKey(t.Context(), "agent-b")
	if err != nil {
		t.Fatal(err)
	}
	if slices.Equal(made.SPKI(), other.SPKI()) {
		t.Error("two keys are one")
	}
	// Another process, as the one that collects evidence.
	found, err := open(t, chip, tpm.Options{StateDir: folder}).FindKey(t.Context(), "agent-a")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(found.SPKI(), made.SPKI()) {
		t.Error("another key was found than was made")
	}
	digest := crypto.SHA256.New().Sum(nil)
	signature, err := found.Sign(nil, digest, crypto.SHA256)
	if err != nil || !ecdsa.VerifyASN1(made.Public().(*ecdsa.PublicKey), digest, signature) {
		t.Errorf("the signature of what was found: %v", err)
	}
	if names, err := device.KeyNames(); err != nil || !slices.Equal(names, []string{"agent-a", "agent-b"}) {
		t.Errorf("names %q, %v", names, err)
	}
	if err := device.RemoveKey("agent-a"); err != nil {
		t.Error(err)
	}
	if err := device.RemoveKey("agent-a"); err != nil {
		t.Errorf("removing what is gone: %v", err)
	}
	if names, err := device.KeyNames(); err != nil || !slices.Equal(names, []string{"agent-b"}) {
		t.Errorf("names %q, %v", names, err)
	}
	wantNothingLoaded(t, chip)
}

// A key that went on after a restart would speak for a machine that nobody has looked at since.
func TestAKeyOfAnEarlierBootIsNeitherFoundNorUsedNorCertified(t *testing.T) {
	chip, _ := manufacture(t)
	device := open(t, chip, tpm.Options{StateDir: t.TempDir()})
	key, err := device.NewKey(t.Context(), "agent")
	if err != nil {
		t.Fatal(err)
	}
	identity(t, device)
	digest := crypto.SHA256.New().Sum(nil)
	if _, err := key.Sign(nil, digest, crypto.SHA256); err != nil {
		t.Fatal(err)
	}
	if err := chip.Reboot(); err != nil {
		t.Fatal(err)
	}
	if _, err := device.FindKey(t.Context(), "agent"); !errors.Is(err, tpm.ErrNoKey) {
		t.Errorf("found: %v", err)
	}
	if _, err := key.Sign(nil, digest, crypto.SHA256); !errors.Is(err, tpm.ErrNoKey) {
		t.Errorf("signed: %v", err)
	}
	if _, err := device.Collect(t.Context(), tpm.Request{Freshness: freshness(1), Key: key}); !errors.Is(
		err, tpm.ErrNoKey) {
		t.Errorf("certified: %v", err)
	}
	wantNothingLoaded(t, chip)
}

func TestAKeyOfAnotherTPMIsNotFound(t *testing.T) {
	chip, _ := manufacture(t)
	folder := t.TempDir()
	if _, err := open(t, chip, tpm.Options{StateDir: folder}).NewKey(t.Context(), "agent"); err != nil {
		t.Fatal(err)
	}
	// As many resets as the first one, and a storage key of its own.
	second, err := made.ca.Manufacture(t.Context(), "second-maker")
	if err == nil {
		err = second.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = second.Close() })
	if _, err := open(t, second, tpm.Options{StateDir: folder}).FindKey(t.Context(), "agent"); !errors.Is(
		err, tpm.ErrNoKey) {
		t.Errorf("got %v", err)
	}
}

func TestNamesThatAreNoneAndFilesThatAreNoKeys(t *testing.T) {
	chip, _ := manufacture(t)
	folder := t.TempDir()
	device := open(t, chip, tpm.Options{StateDir: folder})
	for _, name := range []string{"", "../agent", "A", "a/b", "-a"} {
		if _, err := device.NewKey(t.Context(), name); err == nil {
			t.Errorf("a key was called %q", name)
		}
		if _, err := device.FindKey(t.Context(), name); err == nil || errors.Is(err, tpm.ErrNoKey) {
			t.Errorf("%q was looked for: %v", name, err)
		}
		if err := device.RemoveKey(name); err == nil {
			t.Errorf("%q was removed", name)
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "agent.tpmkey"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := device.FindKey(t.Context(), "agent"); err == nil || errors.Is(err, tpm.ErrNoKey) {
		t.Errorf("a file that is no key: %v", err)
	}
	if err := os.Chmod(folder, 0o770); err != nil {
		t.Fatal(err)
	}
	if err := device.RemoveKey("agent"); err == nil {
		t.Error("a key was removed from a folder that others write to")
	}
	if _, err := device.KeyNames(); err == nil {
		t.Error("keys were listed in a folder that others write to")
	}
}
