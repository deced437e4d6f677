package swtpm

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

// ErrMissing is what [NewCA] returns where the programs are not installed.
var ErrMissing = errors.New("not installed: apt-get install swtpm swtpm-tools")

// Every path in swtpm's files must be absolute: swtpm_localca is started elsewhere.
const (
	setupConfig = `create_certs_tool = %[1]s
create_certs_tool_config = %[2]s/localca.conf
create_certs_tool_options = %[2]s/localca.options
active_pcr_banks = sha256,sha384
`
	caConfig = `statedir = %[1]s/ca
signingkey = %[1]s/ca/signkey.pem
issuercert = %[1]s/ca/issuercert.pem
certserial = %[1]s/ca/certserial
`
	caOptions = `--platform-manufacturer attestd
--platform-version 2.1
--platform-model swtpm
`
)

// setupLimit is how long one swtpm_setup may take: about a second, and several under load.
const setupLimit = time.Minute

var plainName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// CA is a maker of TPMs: swtpm's certificate authority (a root and an issuer below it) and the state
// folders of the TPMs that it made.
type CA struct {
	dir   string
	swtpm string // the paths of the programs
	setup string

	// Progress is told what is being done, one line each, where somebody watches; nil for nobody.
	// Set it before the first call.
	Progress func(line string)
}

// NewCA prepares a CA in dir, which must exist. Its keys are made with the first TPM.
//
// Errors: [ErrMissing], naming the program; the file system's.
func NewCA(dir string) (*CA, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	ca := &CA{dir: dir}
	var localCA string
	for name, path := range map[string]*string{
		"swtpm": &ca.swtpm, "swtpm_setup": &ca.setup, "swtpm_localca": &localCA,
	} {
		if *path, err = exec.LookPath(name); err != nil {
			return nil, fmt.Errorf("%s is %w", name, ErrMissing)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "ca"), 0o700); err != nil {
		return nil, err
	}
	for name, text := range map[string]string{
		"setup.conf":      fmt.Sprintf(setupConfig, localCA, dir),
		"localca.conf":    fmt.Sprintf(caConfig, dir),
		"localca.options": caOptions,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return ca, nil
}

// Manufacture makes a TPM that was never started. The first one of a CA also makes the CA's keys. The
// name is of lower-case letters, digits and hyphens, and new to this CA.
func (ca *CA) Manufacture(ctx context.Context, name string) (*TPM, error) {
	tpm, err := ca.place(name)
	if err != nil {
		return nil, err
	}
	ca.progress("making a software TPM " + name)
	ctx, cancel := context.WithTimeout(ctx, setupLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, ca.setup, "--tpm2", "--tpmstate", tpm.state,
		"--create-ek-cert", "--pcr-banks", "sha256,sha384", "--overwrite",
		"--config", filepath.Join(ca.dir, "setup.conf"), "--vmid", name,
		"--logfile", filepath.Join(ca.dir, name+".log"))
	// It starts a swtpm of its own, which has to go with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		logged, _ := os.ReadFile(filepath.Join(ca.dir, name+".log"))
		return nil, errors.Join(
			fmt.Errorf("swtpm_setup: %w: %s%s", cmp.Or(ctx.Err(), err), output.Bytes(), logged),
			tpm.Close())
	}
	return tpm, nil
}

// RootPEM returns the self-signed certificate above everything that this CA issued.
func (ca *CA) RootPEM() ([]byte, error) {
	return os.ReadFile(ca.RootFile())
}

// RootFile is where [CA.RootPEM] reads; it is there after the first TPM was made.
func (ca *CA) RootFile() string {
	return filepath.Join(ca.dir, "ca", "swtpm-localca-rootca-cert.pem")
}

// IssuerPEM returns the certificate between the root and the EK certificates. No TPM carries it: an
// attester has to be given it.
func (ca *CA) IssuerPEM() ([]byte, error) {
	return os.ReadFile(ca.IssuerFile())
}

// IssuerFile is where [CA.IssuerPEM] reads; it is there after the first TPM was made.
func (ca *CA) IssuerFile() string {
	return filepath.Join(ca.dir, "ca", "issuercert.pem")
}

// place makes room for a TPM: its state folder below the CA's, its sockets elsewhere.
func (ca *CA) place(name string) (*TPM, error) {
	if !plainName.MatchString(name) {
		return nil, fmt.Errorf("name of a TPM %q: want lower-case letters, digits, hyphens", name)
	}
	state := filepath.Join(ca.dir, "tpm-"+name)
	if err := os.Mkdir(state, 0o700); err != nil {
		return nil, err
	}
	// A socket's path has at most 107 bytes (unix(7)), which folders of tests often pass.
	sockets, err := os.MkdirTemp("", "swtpm")
	if err != nil {
		return nil, err
	}
	tpm := &TPM{ca: ca, name: name, state: state, sockets: sockets}
	if length := len(tpm.control()); length > maxSocketPath {
		return nil, errors.Join(fmt.Errorf("the socket's path has %d bytes, want at most %d; "+
			"hint: a shorter TMPDIR", length, maxSocketPath), tpm.Close())
	}
	return tpm, nil
}

func (ca *CA) progress(line string) {
	if ca.Progress != nil {
		ca.Progress(line)
	}
}
