package tpm_test

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"golang.org/x/sys/unix"

	"github.com/attestd/attestd/attester/tpm"
	"github.com/attestd/attestd/internal/swtpm"
)

func TestOneConnectionWorksAtATime(t *testing.T) {
	chip, _ := manufacture(t)
	path := filepath.Join(t.TempDir(), "tpm.lock")
	other, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := unix.Flock(int(other.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	device := open(t, chip, tpm.Options{LockFile: path})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := device.Identity(ctx); !errors.Is(err, context.DeadlineExceeded) ||
		!strings.Contains(err.Error(), "another program uses the TPM") {
		t.Errorf("while the lock was held: %v", err)
	}
	go func() {
		time.Sleep(100 * time.Millisecond)
		_ = unix.Flock(int(other.Fd()), unix.LOCK_UN)
	}()
	identity(t, device)
	// The lock is free again for others.
	if err := unix.Flock(int(other.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Errorf("the lock was kept: %v", err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, chip, tpm.Options{LockFile: link}).Identity(t.Context()); err == nil {
		t.Error("a symbolic link was taken for a lock file")
	}
}

// between is a socket in front of a TPM. It looks at each command, by its code, before the TPM does.
type between struct {
	path string
	// see returns whether the command's response is to be kept back until it is closed.
	see func(code uint32, at transport.TPM) (withhold bool)
}

// standBetween starts it. Several connections come one after another, as with the TPM itself.
func standBetween(t *testing.T, chip *swtpm.TPM, see func(uint32, transport.TPM) bool) *between {
	t.Helper()
	folder, err := os.MkdirTemp("", "tpm") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	b := &between{path: filepath.Join(folder, "s"), see: see}
	listener, err := net.Listen("unix", b.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			b.carry(near, chip)
			_ = near.Close()
		}
	}()
	return b
}

// carry takes one command after another to the TPM, each over a connection of its own.
func (b *between) carry(near io.ReadWriter, chip *swtpm.TPM) {
	for {
		command := make([]byte, 4096)
		if _, err := io.ReadFull(near, command[:10]); err != nil {
			return
		}
		size := binary.BigEndian.Uint32(command[2:])
		if _, err := io.ReadFull(near, command[10:size]); err != nil {
			return
		}
		far, err := net.Dial("unix", chip.Socket())
		if err != nil {
			return
		}
		at := transport.FromReadWriteCloser(far)
		withhold := b.see(binary.BigEndian.Uint32(command[6:]), at)
		response, err := at.Send(command[:size])
		_ = far.Close()
		if err != nil {
			return
		}
		if withhold {
			_, _ = io.Copy(io.Discard, near) // until the other side gives up
			return
		}
		// In two pieces, as a stream may come.
		if _, err := near.Write(response[:7]); err != nil {
			return
		}
		if _, err := near.Write(response[7:]); err != nil {
			return
		}
	}
}

const (
	codeQuote  = 0x00000158
	codeCreate = 0x00000153
)

func extend(t *testing.T, at transport.TPM, pcr uint32) {
	t.Helper()
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
		Digests: tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{
			HashAlg: tpm2.TPMAlgSHA256, Digest: make([]byte, 32),
		}}},
	}.Execute(at)
	if err != nil {
		t.Error(err)
	}
}

func TestAPCRThatChangesBeforeTheQuoteIsReadAgain(t *testing.T) {
	chip, _ := manufacture(t)
	var quotes atomic.Int32
	b := standBetween(t, chip, func(code uint32, at transport.TPM) bool {
		if code == codeQuote {
			if quotes.Add(1) == 1 {
				extend(t, at, 10)
			}
		}
		return false
	})
	device, err := tpm.Open("swtpm:"+b.path, tpm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	parts := collect(t, device, tpm.Request{Freshness: freshness(1)})
	if taken := quotes.Load(); taken != 1 {
		t.Errorf("%d quotes, want 1: the values that were read behind the first one are those it covers", taken)
	}
	if value := parts.PCRs[0].PCRs[10].Value; value[0] == 0 && value[31] == 0 {
		t.Errorf("PCR 10 is %x, not the value that was quoted", value)
	}
}

func TestAPCRThatNeverRestsIsSaid(t *testing.T) {
	chip, _ := manufacture(t)
	const codePCRRead = 0x0000017e
	b := standBetween(t, chip, func(code uint32, at transport.TPM) bool {
		if code == codePCRRead || code == codeQuote {
			extend(t, at, 10)
		}
		return false
	})
	device, err := tpm.Open("swtpm:"+b.path, tpm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := device.Collect(t.Context(), tpm.Request{Freshness: freshness(1)}); err == nil ||
		!strings.Contains(err.Error(), "a PCR changed between reading and quoting") {
		t.Errorf("got %v", err)
	}
	wantNothingLoaded(t, chip)
}

func TestWhatABrokenConnectionLeftLoadedIsFlushedByTheNextOne(t *testing.T) {
	chip, _ := manufacture(t)
	var withhold atomic.Bool
	withhold.Store(true)
	b := standBetween(t, chip, func(code uint32, _ transport.TPM) bool {
		return withhold.Load() && code == codeCreate
	})
	device, err := tpm.Open("swtpm:"+b.path, tpm.Options{StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	// Somebody else's object must stay.
	var other tpm2.TPMHandle
	direct(t, chip, func(at transport.TPM) {
		made, err := tpm2.CreatePrimary{
			PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate),
		}.Execute(at)
		if err != nil {
			t.Fatal(err)
		}
		other = made.ObjectHandle
	})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := device.Key(ctx, "agent"); !errors.Is(err, context.DeadlineExceeded) ||
		!strings.Contains(err.Error(), "did not answer in time") {
		t.Errorf("a TPM that does not answer: %v", err)
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("it took %s to give up", took)
	}
	if left := loaded(t, chip); len(left) < 2 {
		t.Fatalf("loaded are %x: the test does not leave anything behind", left)
	}
	withhold.Store(false)
	if _, err := device.Key(t.Context(), "agent"); err != nil {
		t.Fatal(err)
	}
	if left := loaded(t, chip); len(left) != 1 || left[0] != other {
		t.Errorf("loaded are %x, want %x alone", left, other)
	}
}

func TestAnswersThatAreNoResponseEndTheCall(t *testing.T) {
	chip, _ := manufacture(t)
	header := func(size uint32, more int) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{0x80, 1}, size), make([]byte, 4+more)...)
	}
	for name, row := range map[string]struct {
		answer []byte
		close  bool
		want   string
	}{
		"it ends before an answer":   {nil, true, "ended the connection"},
		"it ends within an answer":   {header(20, 3), true, "ended the connection"},
		"a size of nothing":          {header(0, 0), false, "has 0 bytes"},
		"a size below the header":    {header(9, 0), false, "has 9 bytes"},
		"a size beyond every answer": {header(1<<32-1, 0), false, "has 4294967295 bytes"},
		"more than it says":          {header(12, 8), false, "has 12 bytes, and 18 were read"},
		"a header alone":             {header(10, 0), false, "list handles"},
		"a list that is cut off":     {header(14, 4), false, "list handles"},
	} {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Dir(chip.Socket())
			path := filepath.Join(folder, "n"+strings.ToLower(rand.Text()))
			listener, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			go func() {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				_, _ = conn.Read(make([]byte, 4096))
				_, _ = conn.Write(row.answer)
				if !row.close {
					_, _ = io.Copy(io.Discard, conn)
				}
			}()
			device, err := tpm.Open("swtpm:"+path, tpm.Options{LockFile: filepath.Join(t.TempDir(), "lock")})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if _, err := device.Identity(ctx); err == nil || !strings.Contains(err.Error(), row.want) ||
				ctx.Err() != nil {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
}

func TestATPMThatIsSwitchedOffIsSaid(t *testing.T) {
	chip, _ := manufacture(t)
	device := open(t, chip, tpm.Options{})
	if err := chip.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := device.Identity(t.Context()); err == nil {
		t.Error("a TPM that is off has an identity")
	}
}

// TestADeviceFileIsReadAndWritten speaks to the TPM through a character device, as with the kernel's.
func TestADeviceFileIsReadAndWritten(t *testing.T) {
	chip, _ := manufacture(t)
	path := terminal(t, chip)
	device, err := tpm.Open(path, tpm.Options{StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	key, err := device.Key(t.Context(), "agent")
	if err != nil {
		t.Fatal(err)
	}
	parts := collect(t, device, tpm.Request{Freshness: freshness(1), Key: key})
	verifySignature(t, identity(t, device).AKSPKI, parts.Quote, parts.QuoteSignature)
	wantNothingLoaded(t, chip)

	// The device file itself is the lock.
	held, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := unix.Flock(int(held.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := device.Identity(ctx); err == nil || !strings.Contains(err.Error(), "another program uses the TPM") {
		t.Errorf("while another program had the lock: %v", err)
	}
}

// terminal returns the path of a pseudo-terminal behind which the TPM is.
func terminal(t *testing.T, chip *swtpm.TPM) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	fd := int(master.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	path := "/dev/pts/" + strconv.Itoa(number)
	// One descriptor stays open, so that the other end is never hung up, and makes it carry bytes.
	slave, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close() })
	raw := unix.Termios{Cflag: unix.CS8 | unix.CREAD}
	raw.Cc[unix.VMIN] = 1
	if err := unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, &raw); err != nil {
		t.Fatal(err)
	}
	b := &between{see: func(uint32, transport.TPM) bool { return false }}
	go b.carry(master, chip)
	return path
}
