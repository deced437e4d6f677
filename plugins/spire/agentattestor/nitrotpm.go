package agentattestor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	"github.com/attestd/attestd/plugins/spire/host"
)

// defaultTool is AWS's own program for documents of NitroTPM (Amazon EC2 User Guide, "Get the
// NitroTPM Attestation Document"). It is the only interface that AWS documents: the command that it
// sends to the TPM is not described anywhere.
const defaultTool = "/usr/bin/nitro-tpm-attest"

const (
	// maxDocument is more than the module's answer can have (NSM_RESPONSE_MAX_SIZE of the kernel's
	// nsm.h is 12 KiB).
	maxDocument = 16 << 10
	// maxNonce and maxKey are the longest nonce and public key of a document (Amazon EC2 User
	// Guide, "Validate a NitroTPM Attestation Document").
	maxNonce = 512
	maxKey   = 1024
	// toolPatience is for a tool that was told to end.
	toolPatience = time.Second
)

// nitroTPM is an EC2 instance with NitroTPM. The agent's key goes into the document's field for
// one, as verifiers want it beside the freshness value. (That the guide wants an RSA key there is
// for AWS KMS, which encrypts to it; the field takes any bytes.)
type nitroTPM struct{ tool string }

func newNitroTPM(c *Config) (machine, error) {
	tool := defaultTool
	if c.NitroTPM != nil && c.NitroTPM.Tool != "" {
		tool = c.NitroTPM.Tool
	}
	info, err := os.Stat(tool)
	if err != nil {
		return nil, &attestd.CallerError{
			Class: attestd.ClassConfig, Err: fmt.Errorf("AWS's program for NitroTPM: %w", err),
			Hint: "install aws-nitro-tpm-tools, or give nitrotpm.tool the path of nitro-tpm-attest",
		}
	}
	// Whoever can replace it chooses what runs as the agent's user.
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o022 != 0 || mode.Perm()&0o111 == 0 {
		return nil, &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: "make it a program that its owner alone can write to",
			Err: fmt.Errorf("%q has mode %s", attestd.Excerpt(tool, 200), mode),
		}
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return nil, &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: "name a program of root's or of the agent's own user",
			Err: fmt.Errorf("%q is another user's", attestd.Excerpt(tool, 200)),
		}
	}
	if err := host.DemandClosed(filepath.Dir(tool)); err != nil {
		return nil, err
	}
	return plain{from: nitroTPM{tool}, keyField: true}, nil
}

// Format returns [attestd.FormatNitroTPM].
func (nitroTPM) Format() attestd.Format { return attestd.FormatNitroTPM }

// Collect implements [attester.Attester].
func (n nitroTPM) Collect(ctx context.Context, r attester.Request) (attester.Evidence, error) {
	if len(r.Freshness) < attestd.MinNonce || len(r.Freshness) > maxNonce || len(r.Key) > maxKey {
		return attester.Evidence{},
			fmt.Errorf("got a freshness value of %d bytes and a key of %d, "+
				"want %d to %d and at most %d", len(r.Freshness), len(r.Key), attestd.MinNonce,
				maxNonce, maxKey)
	}
	document, said := &bounded{most: maxDocument}, &bounded{most: 1 << 10}
	// configured
	command := exec.CommandContext(ctx, n.tool, "--nonce", "/dev/stdin") //nolint:gosec
	if len(r.Key) > 0 {
		key, err := piped(r.Key)
		if err != nil {
			return attester.Evidence{}, err
		}
		defer key.Close() //nolint:errcheck // was only read
		command.Args = append(command.Args, "--public-key", "/dev/fd/3")
		command.ExtraFiles = []*os.File{key}
	}
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(r.Freshness), document, said
	// Nothing of the agent's environment: variables for TPM libraries would choose another TPM.
	command.Env, command.Dir, command.WaitDelay = []string{"PATH=/usr/bin:/bin"}, "/", toolPatience
	err := command.Run()
	switch {
	case ctx.Err() != nil:
		return attester.Evidence{}, fmt.Errorf("nitro-tpm-attest was stopped: %w", ctx.Err())
	case document.over:
		return attester.Evidence{}, fmt.Errorf("nitro-tpm-attest gave more than %d bytes",
			maxDocument)
	case err != nil:
		return attester.Evidence{}, &attestd.CallerError{
			Class: attestd.ClassConfig,
			Hint:  "run nitro-tpm-attest as the agent's user and see what it says",
			Err: fmt.Errorf("nitro-tpm-attest: %w: %q", err,
				attestd.Excerpt(string(said.kept), 200)),
		}
	case len(document.kept) == 0:
		return attester.Evidence{}, errors.New("nitro-tpm-attest ended well and gave no document")
	}
	return attester.Evidence{Format: attestd.FormatNitroTPM, Bytes: document.kept}, nil
}

// piped is a file that data can be read from once. A pipe holds 4 KiB at least before a write
// waits.
func piped(data []byte) (*os.File, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("hand the key to nitro-tpm-attest: %w", err)
	}
	_, err = writer.Write(data)
	if err = errors.Join(err, writer.Close()); err != nil {
		return nil, errors.Join(err, reader.Close())
	}
	return reader, nil
}

// bounded keeps what is written to it up to a limit, and refuses more. Its buffer is no part of its
// method set: [bytes.Buffer.ReadFrom] would go round the limit.
type bounded struct {
	kept []byte
	most int
	over bool
}

func (b *bounded) Write(part []byte) (int, error) {
	if len(b.kept)+len(part) > b.most {
		b.over = true
		return 0, fmt.Errorf("more than %d bytes", b.most)
	}
	b.kept = append(b.kept, part...)
	return len(part), nil
}
