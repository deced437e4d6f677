package swtpm_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/attestd/attestd/internal/swtpm"
)

// holdVariable makes the test binary start a TPM and wait, for the test of what a killed process
// leaves behind.
const holdVariable = "ATTESTD_TEST_HOLD_TPM"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdVariable); dir != "" {
		hold(dir)
	}
	os.Exit(m.Run())
}

func TestATPMIsMadeStartedRebootedAndCutOff(t *testing.T) {
	tpm, ca := manufacture(t)
	start(t, tpm)
	first := readClock(t, tpm)
	if !first.ClockInfo.Safe {
		t.Error("the clock is not safe after the first start")
	}

	if err := tpm.Reboot(); err != nil {
		t.Fatal(err)
	}
	second := readClock(t, tpm)
	if got := second.ClockInfo; got.ResetCount != first.ClockInfo.ResetCount+1 || !got.Safe {
		t.Errorf("after a reboot: reset count %d, safe %v; want %d, true",
			got.ResetCount, got.Safe, first.ClockInfo.ResetCount+1)
	}

	if err := tpm.PowerCut(); err != nil {
		t.Fatal(err)
	}
	start(t, tpm)
	third := readClock(t, tpm)
	if got := third.ClockInfo; got.ResetCount != first.ClockInfo.ResetCount+2 || got.Safe {
		t.Errorf("after a power cut: reset count %d, safe %v; want %d, false",
			got.ResetCount, got.Safe, first.ClockInfo.ResetCount+2)
	}
	if err := tpm.Start(); err == nil {
		t.Error("a TPM that is on was started again")
	}
	if err := tpm.Stop(); err != nil {
		t.Error(err)
	}
	if err := tpm.Stop(); err != nil {
		t.Errorf("stopping a TPM that is off: %v", err)
	}
	checkChain(t, ca)
}

func TestACloneHasTheSameStateAndARestoredTPMGoesBack(t *testing.T) {
	tpm, _ := manufacture(t)
	past, err := tpm.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	start(t, tpm)
	clone, err := tpm.Clone("clone")
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, clone)
	start(t, clone)
	if !bytes.Equal(endorsementName(t, tpm), endorsementName(t, clone)) {
		t.Error("the clone has another endorsement key")
	}
	if err := tpm.Restore(past); err == nil {
		t.Error("a TPM that is on was restored")
	}
	if err := tpm.Reboot(); err != nil {
		t.Fatal(err)
	}
	later := readClock(t, tpm).ClockInfo.ResetCount
	if err := tpm.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := tpm.Restore(past); err != nil {
		t.Fatal(err)
	}
	start(t, tpm)
	if got := readClock(t, tpm).ClockInfo.ResetCount; got >= later {
		t.Errorf("reset count after going back is %d, was %d", got, later)
	}
}

func TestAPCRIsExtended(t *testing.T) {
	tpm, _ := manufacture(t)
	start(t, tpm)
	digest := sha256.Sum256([]byte("event"))
	if err := tpm.Extend(4, map[uint16][]byte{0x000b: digest[:], 0x0004: make([]byte, 20)}); err != nil {
		t.Fatal(err)
	}
	want := sha256.Sum256(append(make([]byte, 32), digest[:]...))
	open(t, tpm, func(device transport.TPM) {
		answer, err := tpm2.PCRRead{PCRSelectionIn: tpm2.TPMLPCRSelection{
			PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: []byte{1 << 4, 0, 0}}},
		}}.Execute(device)
		if err != nil {
			t.Fatal(err)
		}
		if got := answer.PCRValues.Digests[0].Buffer; !bytes.Equal(got, want[:]) {
			t.Errorf("PCR 4 is %x, want %x", got, want)
		}
	})
	if err := tpm.Extend(24, map[uint16][]byte{0x000b: digest[:]}); err == nil {
		t.Error("a PCR that there is not was extended")
	}
}

func TestTheProgressNamesWhatIsMade(t *testing.T) {
	ca, err := swtpm.NewCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	ca.Progress = func(line string) { lines = append(lines, line) }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ca.Manufacture(ctx, "never"); !errors.Is(err, context.Canceled) {
		t.Errorf("manufacture under a cancelled context: %v", err)
	}
	if len(lines) != 1 || !strings.Contains(lines[0], "never") {
		t.Errorf("progress was %q", lines)
	}
	for _, name := range []string{"", "../up", "Upper", strings.Repeat("a", 33)} {
		if _, err := ca.Manufacture(t.Context(), name); err == nil {
			t.Errorf("a TPM was made under the name %q", name)
		}
	}
}

func TestMissingProgramsAreNamedWithTheirPackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := swtpm.NewCA(t.TempDir())
	if !errors.Is(err, swtpm.ErrMissing) {
		t.Fatalf("got %v, want ErrMissing", err)
	}
	if !strings.Contains(err.Error(), "apt-get install swtpm swtpm-tools") {
		t.Errorf("%q does not say what to install", err)
	}
}

// TestAKilledProcessLeavesNoTPMRunning starts this test's binary a second time, kills it without
// mercy while its TPM is on, and waits for the TPM to go.
func TestAKilledProcessLeavesNoTPMRunning(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), holdVariable+"="+t.TempDir(), "TMPDIR="+shortDir(t))
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	socket := strings.TrimSpace(line)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("unix", socket)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if err == nil {
			_ = conn.Close()
		}
		if time.Now().After(deadline) {
			t.Fatalf("the TPM at %s is still there: %v", socket, err)
		}
	}
}

func hold(dir string) {
	ca, err := swtpm.NewCA(dir)
	if err != nil {
		panic(err)
	}
	tpm, err := ca.Manufacture(context.Background(), "held")
	if err != nil {
		panic(err)
	}
	if err := tpm.Start(); err != nil {
		panic(err)
	}
	_, _ = os.Stdout.WriteString(tpm.Socket() + "\n")
	select {}
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "t"+strconv.Itoa(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func manufacture(t *testing.T) (*swtpm.TPM, *swtpm.CA) {
	t.Helper()
	ca, err := swtpm.NewCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tpm, err := ca.Manufacture(t.Context(), "one")
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, tpm)
	return tpm, ca
}

func closeAfter(t *testing.T, tpm *swtpm.TPM) {
	t.Helper()
	t.Cleanup(func() {
		if err := tpm.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Dir(tpm.Socket())); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the folder of the sockets is still there: %v", err)
		}
	})
}

func start(t *testing.T, tpm *swtpm.TPM) {
	t.Helper()
	if err := tpm.Start(); err != nil {
		t.Fatal(err)
	}
}

// open connects to the TPM for the rest of do.
func open(t *testing.T, tpm *swtpm.TPM, do func(transport.TPM)) {
	t.Helper()
	conn, err := net.Dial("unix", tpm.Socket())
	if err != nil {
		t.Fatal(err)
	}
	device := transport.FromReadWriteCloser(conn)
	do(device)
	if err := device.Close(); err != nil {
		t.Fatal(err)
	}
}

func readClock(t *testing.T, tpm *swtpm.TPM) (clock tpm2.TPMSTimeInfo) {
	t.Helper()
	open(t, tpm, func(device transport.TPM) {
		answer, err := tpm2.ReadClock{}.Execute(device)
		if err != nil {
			t.Fatal(err)
		}
		clock = answer.CurrentTime
	})
	return clock
}

func endorsementName(t *testing.T, tpm *swtpm.TPM) (name []byte) {
	t.Helper()
	open(t, tpm, func(device transport.TPM) {
		answer, err := tpm2.ReadPublic{ObjectHandle: tpm2.TPMHandle(0x81010001)}.Execute(device)
		if err != nil {
			t.Fatal(err)
		}
		name = answer.Name.Buffer
	})
	return name
}

func checkChain(t *testing.T, ca *swtpm.CA) {
	t.Helper()
	read := func(data []byte, err error) *x509.Certificate {
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(data)
		if block == nil {
			t.Fatalf("no PEM in %q", data)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return certificate
	}
	root, issuer := read(ca.RootPEM()), read(ca.IssuerPEM())
	if err := root.CheckSignatureFrom(root); err != nil {
		t.Errorf("root: %v", err)
	}
	if err := issuer.CheckSignatureFrom(root); err != nil {
		t.Errorf("issuer: %v", err)
	}
}
