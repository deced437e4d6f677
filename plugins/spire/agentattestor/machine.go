package agentattestor

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	"github.com/attestd/attestd/attester/nitro"
)

// machine is what evidence is collected from. Another format is another machine in [machines], and
// nothing else; evidence of several devices is made of two of them (see composed).
type machine interface {
	// attester returns what collects evidence that binds key.
	attester(ctx context.Context, key AgentKey) (attester.Attester, error)
	// carriesKey reports whether the evidence has a field of its own for key.
	carriesKey(key AgentKey) bool
	// identity returns what a challenge is asked for with: the TPMT_PUBLIC of attestation key and
	// endorsement key, or nothing for formats without.
	identity(ctx context.Context) (attestationKey, endorsementKey []byte, err error)
	// activate answers the credential that comes with a challenge.
	activate(ctx context.Context, blob, secret []byte) ([]byte, error)
}

// machines makes the machine of each format that this program can collect.
var machines = map[attestd.Format]func(*Config) (machine, error){
	attestd.FormatTPM: newTPM,
	attestd.FormatNitro: func(c *Config) (machine, error) {
		place := ""
		if c.Nitro != nil {
			place = c.Nitro.Device
		}
		enclave, err := nitro.Open(place)
		return plain{from: enclave, keyField: true}, err
	},
	attestd.FormatNitroTPM: newNitroTPM,
	attestd.FormatSEVSNP:   newSNP, attestd.FormatTDX: newTDX,
	attestd.FormatAzureVTPM: newAzure,
}

func formats() []string {
	names := []string{string(attestd.FormatComposite)}
	for format := range machines {
		names = append(names, string(format))
	}
	slices.Sort(names)
	return names
}

// plain is a machine that needs no more than to be asked.
type plain struct {
	from     attester.Attester
	keyField bool
}

func (p plain) attester(context.Context, AgentKey) (attester.Attester, error) { return p.from, nil }
func (p plain) carriesKey(key AgentKey) bool {
	return p.keyField &&
		len(key.SPKI) > 0
}
func (p plain) identity(context.Context) ([]byte, []byte, error) {
	return nil, nil,
		nil
}

func (p plain) activate(context.Context, []byte, []byte) ([]byte, error) {
	return nil,
		fmt.Errorf("the challenge brings a credential, and evidence of format %s answers none",
			p.from.Format())
}

// Largest files that are read, in bytes.
const (
	maxChain    = 64 << 10
	maxPassword = 64
	maxToken    = 256
	maxKeys     = 64 << 10
)

// readFile reads a file of at most so many bytes.
func readFile(path string, most int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // was only read
	text, err := io.ReadAll(io.LimitReader(file, most+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(text)) > most:
		return nil, fmt.Errorf("%q has more than %d bytes", attestd.Excerpt(path, 200), most)
	case len(bytes.TrimSpace(text)) == 0:
		return nil, fmt.Errorf("%q is empty", attestd.Excerpt(path, 200))
	}
	return text, nil
}

func certificates(path string) ([][]byte, error) {
	if path == "" {
		return nil, nil
	}
	rest, err := readFile(path, maxChain)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for len(bytes.TrimSpace(rest)) > 0 {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("holds something that is not a certificate in PEM")
		}
		out = append(out, block.Bytes)
	}
	return out, nil
}

func password(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	text, err := readFile(path, maxPassword)
	return []byte(strings.TrimRight(string(text), "\r\n")), err
}
