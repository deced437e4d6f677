package keymanager_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	keymanagerv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/agent/keymanager/v1"
	"google.golang.org/grpc/codes"

	"github.com/attestd/attestd/plugins/spire/keysocket"
)

// files lists the keys in the TPM's state folder.
func (n *node) files() []string {
	n.t.Helper()
	found, err := filepath.Glob(filepath.Join(n.state, "*.tpmkey"))
	if err != nil {
		n.t.Fatal(err)
	}
	return found
}

// TestMemoryAndTPM... begins the name of what needs no TPM, too.
func TestMemoryKeysOutliveTheProcessAndNotTheAgent(t *testing.T) {
	n := newNode(t, "memory", "")
	outlives(t, n)
	// Another agent has a supervisor of its own, and memory of its own.
	if err := n.keep.Truncate(0); err != nil {
		t.Fatal(err)
	}
	n.restart()
	if ids := n.ids(); len(ids) != 0 {
		t.Errorf("another agent has the keys %q", ids)
	}
}

func TestTPMKeysOutliveTheProcess(t *testing.T) { outlives(t, newNode(t, "tpm", "")) }

// outlives: SPIRE holds its keys by id and fingerprint, and goes on with them after the child was
// killed.
func outlives(t *testing.T, n *node) {
	t.Helper()
	a, b := n.generate(slotA, p256), n.generate(slotB, p256)
	ca := newAuthority(t)
	if err := n.socket().PutEnlist(t.Context(), ca.enlist(t, a.spki, "node")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		n.restart()
		if ids := strings.Join(n.ids(), " "); ids != slotA+" "+slotB {
			t.Fatalf("the successor has %q", ids)
		}
		for _, key := range []*agentKey{a, b} {
			if err := key.certificate(x509.ECDSAWithSHA256); err != nil {
				t.Errorf("%s: %v", key.id, err)
			}
		}
		if found := n.newest(); !bytes.Equal(found.SPKI, b.spki) || found.Generation != 2 {
			t.Errorf("the newest of the successor: %+v", found)
		}
		if _, enlist, err := n.socket().Certificate(t.Context()); err != nil ||
			!strings.HasSuffix(enlist.AgentID, "/node") {
			t.Errorf("enlisted at the successor: %+v, %v", enlist, err)
		}
	}
	// An older key that is made anew is the newest.
	again := n.generate(slotA, p256)
	n.restart()
	if found := n.newest(); !bytes.Equal(found.SPKI, again.spki) || found.Generation != 3 {
		t.Errorf("the newest of the successor: %+v", found)
	}
	if _, _, err := n.socket().Certificate(t.Context()); !errors.Is(err, keysocket.ErrNoKey) {
		t.Errorf("the replaced key's certificate: %v", err)
	}
}

// A process may be killed in the middle of a write: what was written before is whole.
func TestMemoryThatWasHalfWrittenIsThatBefore(t *testing.T) {
	n := newNode(t, "memory", "")
	a := n.generate(slotA, p256)
	before, err := os.ReadFile(n.keep.Name())
	if err != nil {
		t.Fatal(err)
	}
	b := n.generate(slotB, p256)
	after, err := os.ReadFile(n.keep.Name())
	if err != nil {
		t.Fatal(err)
	}
	n.Die()
	if bytes.Equal(before, after) {
		t.Fatal("nothing was written")
	}
	// The bytes that changed arrive one after the other; the process ends after each number of
	// them.
	before = append(before, make([]byte, len(after)-len(before))...)
	var changes []int
	for i := range after {
		if before[i] != after[i] {
			changes = append(changes, i)
		}
	}
	for cut := 0; cut <= len(changes); cut += max(1, len(changes)/16) {
		torn := bytes.Clone(before)
		for _, at := range changes[:cut] {
			torn[at] = after[at]
		}
		if err := os.WriteFile(n.keep.Name(), torn, 0o600); err != nil {
			t.Fatal(err)
		}
		n.start()
		if err := a.certificate(x509.ECDSAWithSHA256); err != nil {
			t.Errorf("after %d of %d bytes: %v", cut, len(changes), err)
		}
		if err := b.certificate(x509.ECDSAWithSHA256); (err == nil) != (cut == len(changes)) {
			t.Errorf("after %d of %d bytes: the key that was being written: %v", cut, len(changes), err)
		}
		n.Die()
	}
	n.start()
}

func TestMemoryKeysAreDroppedInAnotherBoot(t *testing.T) {
	n := newNode(t, "memory", "")
	droppedWhenTheBootIDChanges(t, n)
}

// kexec starts another kernel and resets no TPM: the TPM itself would go on signing.
func TestTPMKeysAreDroppedInAnotherBoot(t *testing.T) {
	n := newNode(t, "tpm", "")
	droppedWhenTheBootIDChanges(t, n)
	if files := n.files(); len(files) != 0 {
		t.Errorf("left behind: %q", files)
	}
}

func droppedWhenTheBootIDChanges(t *testing.T, n *node) {
	t.Helper()
	ca := newAuthority(t)
	for _, how := range []string{"while the process is stopped", "while it runs"} {
		n.boot(firstBoot)
		n.restart()
		a := n.generate(slotA, p256)
		if err := n.socket().PutEnlist(t.Context(), ca.enlist(t, a.spki, "node")); err != nil {
			t.Fatal(err)
		}
		n.boot(secondBoot)
		if how != "while it runs" {
			n.restart()
		}
		if err := a.certificate(x509.ECDSAWithSHA256); err == nil {
			t.Errorf("%s: the key signs", how)
		} else {
			wantCode(t, err, codes.NotFound, slotA)
		}
		signer, err := n.socket().SignerOf(a.spki)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := signer.Sign(nil, make([]byte, 32), keysHash); !errors.Is(err, keysocket.ErrNoKey) {
			t.Errorf("%s: over the socket: %v", how, err)
		}
		if ids := n.ids(); len(ids) != 0 {
			t.Errorf("%s: keys %q", how, ids)
		}
		if _, err := n.socket().Newest(t.Context()); !errors.Is(err, keysocket.ErrNoKey) {
			t.Errorf("%s: the newest: %v", how, err)
		}
		if _, ok, err := n.socket().Enlist(t.Context()); ok || err != nil {
			t.Errorf("%s: enlisted: %v, %v", how, ok, err)
		}
		// And the boot before does not come back.
		n.boot(firstBoot)
		n.restart()
		if ids := n.ids(); len(ids) != 0 {
			t.Errorf("%s: keys of the first boot: %q", how, ids)
		}
		n.boot(secondBoot)
		n.restart()
		if err := n.generate(slotB, p256).certificate(x509.ECDSAWithSHA256); err != nil {
			t.Errorf("%s: a new key: %v", how, err)
		}
		n.boot(firstBoot)
		n.restart()
	}
}

func TestMemoryWithoutABootIDNothingIsSigned(t *testing.T) {
	n := newNode(t, "memory", "")
	a := n.generate(slotA, p256)
	for _, broken := range []string{"", "not an id\n", firstBoot + firstBoot} {
		if err := os.WriteFile(n.bootID, []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		wantCode(t, a.certificate(x509.ECDSAWithSHA256), codes.Unavailable, "which boot this is")
		_, err := n.GenerateKey(t.Context(), &keymanagerv1.GenerateKeyRequest{KeyId: slotA, KeyType: p256})
		wantCode(t, err, codes.Unavailable, "which boot this is")
		if _, err := n.socket().Newest(t.Context()); err == nil {
			t.Error("the newest was told")
		}
	}
	n.boot(firstBoot)
	if err := a.certificate(x509.ECDSAWithSHA256); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestTPMKeysEndWithTheTPMsBoot(t *testing.T) {
	n := newNode(t, "tpm", "")
	a := n.generate(slotA, p256)
	b := n.generate(slotB, p256)
	if err := n.chip.Reboot(); err != nil {
		t.Fatal(err)
	}
	// The kernel's boot id is what it was: the TPM's own count decides.
	wantCode(t, a.certificate(x509.ECDSAWithSHA256), codes.NotFound, "no such key")
	if ids := n.ids(); len(ids) != 1 || ids[0] != slotB {
		t.Errorf("keys: %q", ids)
	}
	n.restart()
	if ids := n.ids(); len(ids) != 0 {
		t.Errorf("the successor has %q", ids)
	}
	wantCode(t, b.certificate(x509.ECDSAWithSHA256), codes.NotFound, slotB)
	if err := n.generate(slotA, p256).certificate(x509.ECDSAWithSHA256); err != nil {
		t.Errorf("a new key: %v", err)
	}
	if files := n.files(); len(files) != 1 {
		t.Errorf("files: %q", files)
	}
}

// Each key has a file; those of keys that are replaced, or that a process killed between making and
// keeping left, are removed.
func TestTPMKeysThatAreNotUsedAreRemoved(t *testing.T) {
	n := newNode(t, "tpm", "")
	for range 4 {
		n.generate(slotA, p256)
		n.generate(slotB, p256)
	}
	if files := n.files(); len(files) != 2 {
		t.Errorf("files: %q", files)
	}
	for _, name := range []string{"spire-agent-left", "somebody-elses"} {
		content, err := os.ReadFile(n.files()[0])
		if err == nil {
			err = os.WriteFile(filepath.Join(n.state, name+".tpmkey"), content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	n.restart()
	files := strings.Join(n.files(), " ")
	if strings.Contains(files, "spire-agent-left") || !strings.Contains(files, "somebody-elses") ||
		len(n.files()) != 3 {
		t.Errorf("files: %q", files)
	}
}

// What is kept about keys names them by their public key: another key under the name is not taken.
func TestTPMKeysThatWereSwappedAreNotTaken(t *testing.T) {
	n := newNode(t, "tpm", "")
	n.generate(slotA, p256)
	first := n.files()[0]
	n.generate(slotB, p256)
	for _, file := range n.files() {
		if file == first {
			continue
		}
		content, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(first, content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	n.restart()
	if ids := n.ids(); len(ids) != 1 || ids[0] != slotB {
		t.Errorf("keys: %q", ids)
	}
}

func TestAFileThatIsNoListOfKeysIsNotReplaced(t *testing.T) {
	n := newNode(t, "tpm", "")
	n.generate(slotA, p256)
	n.Die()
	path := filepath.Join(n.state, "agent-keys.json")
	for _, content := range []string{"", "{}", `{"schema":"attestd.agent-keys.v1","more":1}`, "\x00"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		n.make()
		if err := n.configure(n.hcl); err == nil || !strings.Contains(err.Error(), "agent-keys.json") {
			t.Errorf("%q: %v", content, err)
		}
		if kept, err := os.ReadFile(path); err != nil || string(kept) != content {
			t.Errorf("%q was replaced: %q, %v", content, kept, err)
		}
	}
}

// A key that could not be kept would be lost with the process, after SPIRE has built on it.
func TestAKeyThatCannotBeKeptIsNotMade(t *testing.T) {
	n := newNode(t, "memory", "")
	a := n.generate(slotA, p256)
	readOnly, err := os.Open(n.keep.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	n.Die()
	n.keep = readOnly
	n.make()
	if err := n.configure(n.hcl); err == nil {
		t.Error("memory that cannot be written was taken")
	}
	full := newNode(t, "memory", "")
	b := full.generate(slotA, p256)
	if err := full.keep.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = full.GenerateKey(t.Context(), &keymanagerv1.GenerateKeyRequest{KeyId: slotA, KeyType: p256})
	wantCode(t, err, codes.Unavailable, "keep the keys")
	if err := b.certificate(x509.ECDSAWithSHA256); err != nil {
		t.Errorf("the key before: %v", err)
	}
	_ = a
}
