package swtpm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

// maxSocketPath is the length of sun_path without its ending zero (unix(7)).
const maxSocketPath = 107

const (
	startLimit = 10 * time.Second // until the socket takes connections
	stopLimit  = 10 * time.Second // until the process has gone
)

// TPM is one software TPM. Its methods may be called from several goroutines, but the TPM itself
// talks to one client at a time: close every connection before Stop, PowerCut or Reboot.
type TPM struct {
	ca      *CA
	name    string
	state   string
	sockets string

	mu      sync.Mutex
	process *os.Process // nil while the TPM is off
	ended   chan struct{}
	output  bytes.Buffer // what swtpm said since the last start; read it after ended
}

// Name is the name that it was made under.
func (t *TPM) Name() string { return t.name }

// Socket is the path of the unix socket that takes TPM commands while the TPM is on.
func (t *TPM) Socket() string { return filepath.Join(t.sockets, "t") }

// control is where swtpm takes orders; tpm2-tools find it by this name too.
func (t *TPM) control() string { return t.Socket() + ".ctrl" }

// Start switches the TPM on and starts it up with cleared PCRs (TPM2_Startup(CLEAR)), as the firmware
// of a machine does that boots.
func (t *TPM) Start() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.process != nil {
		return fmt.Errorf("TPM %s is on already", t.name)
	}
	for _, path := range []string{t.Socket(), t.control()} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := t.spawn(); err != nil {
		return err
	}
	// swtpm makes the sockets before it has read its state and started up: the answer to a command
	// shows that it has.
	if err := t.awaitReady(); err != nil {
		_ = t.process.Kill()
		<-t.ended
		t.process = nil
		return fmt.Errorf("swtpm of %s did not start: %w: %s", t.name, err, t.output.Bytes())
	}
	return nil
}

// spawn starts the process from a thread of its own, which waits for it: the death signal comes when
// the thread that started a process ends, not when its whole process does.
func (t *TPM) spawn() error {
	t.output.Reset()
	t.ended = make(chan struct{})
	ended, started := t.ended, make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(ended)
		cmd := exec.Command(t.ca.swtpm, "socket", "--tpm2", "--tpmstate", "dir="+t.state,
			"--server", "type=unixio,path="+t.Socket(), "--ctrl", "type=unixio,path="+t.control(),
			"--flags", "not-need-init,startup-clear")
		cmd.Stdout, cmd.Stderr = &t.output, &t.output
		cmd.SysProcAttr = diesWithUs()
		err := cmd.Start()
		if err == nil {
			t.process = cmd.Process
		}
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	return <-started
}

func (t *TPM) awaitReady() error {
	deadline := time.Now().Add(startLimit)
	for {
		// TPM2_GetRandom of one byte (TCG TPM 2.0 Library, Part 3, 16.1).
		_, err := exchange(t.Socket(), []byte{0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 1})
		if err == nil {
			return nil
		}
		select {
		case <-t.ended:
			return errors.New("it ended")
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return err
		}
	}
}

// Stop switches the TPM off in order: TPM2_Shutdown(CLEAR) first, as an operating system does, so that
// its clock is safe after the next start. Stopping a TPM that is off is no error.
func (t *TPM) Stop() error { return t.end(true) }

// PowerCut ends the TPM without a word to it: after the next start its clock may have lost time, and
// it says so (TPMS_CLOCK_INFO.safe is NO).
func (t *TPM) PowerCut() error { return t.end(false) }

// Reboot is Stop and Start: a TPM Reset, so resetCount goes up by one and the PCRs are cleared.
func (t *TPM) Reboot() error {
	if err := t.Stop(); err != nil {
		return err
	}
	return t.Start()
}

func (t *TPM) end(orderly bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.process == nil {
		return nil
	}
	var fault error
	if orderly {
		fault = t.shutDown()
	}
	if !orderly || fault != nil {
		_ = t.process.Kill()
	}
	select {
	case <-t.ended:
	case <-time.After(stopLimit):
		_ = t.process.Kill()
		<-t.ended
		fault = errors.Join(fault, fmt.Errorf("swtpm of %s did not stop in %s", t.name, stopLimit))
	}
	t.process = nil
	return fault
}

// shutDown sends TPM2_Shutdown(CLEAR) (Part 3, 9.4) and then swtpm's own order to end, which alone
// would be a power cut to the TPM.
func (t *TPM) shutDown() error {
	_, err := exchange(t.Socket(), []byte{0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x45, 0, 0})
	if err != nil {
		return fmt.Errorf("TPM2_Shutdown of %s: %w", t.name, err)
	}
	conn, err := net.DialTimeout("unix", t.control(), stopLimit)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // the answer decides
	if err := conn.SetDeadline(time.Now().Add(stopLimit)); err != nil {
		return err
	}
	const cmdShutdown = 3 // swtpm_ioctls(3): CMD_SHUTDOWN, answered by a result of four bytes
	if _, err := conn.Write(binary.BigEndian.AppendUint32(nil, cmdShutdown)); err != nil {
		return err
	}
	var result [4]byte
	if _, err := io.ReadFull(conn, result[:]); err != nil {
		return err
	}
	if code := binary.BigEndian.Uint32(result[:]); code != 0 {
		return fmt.Errorf("swtpm's CMD_SHUTDOWN answered 0x%x", code)
	}
	return nil
}

// exchange sends one command over a connection of its own and returns the body of a good answer.
func exchange(socket string, command []byte) ([]byte, error) {
	conn, err := net.DialTimeout("unix", socket, stopLimit)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // the answer decides
	if err := conn.SetDeadline(time.Now().Add(stopLimit)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(command); err != nil {
		return nil, err
	}
	// Part 1, 18.2: tag, size, response code.
	var header [10]byte
	if _, err := io.ReadFull(conn, header[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(header[2:])
	if code := binary.BigEndian.Uint32(header[6:]); code != 0 {
		return nil, fmt.Errorf("the TPM answered 0x%x", code)
	}
	if size < 10 || size > 4096 {
		return nil, fmt.Errorf("the TPM's answer says it has %d bytes", size)
	}
	body := make([]byte, size-10)
	_, err = io.ReadFull(conn, body)
	return body, err
}

// Close switches the TPM off and removes its sockets and its state.
func (t *TPM) Close() error {
	return errors.Join(t.end(false), os.RemoveAll(t.sockets), os.RemoveAll(t.state))
}
