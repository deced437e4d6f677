package agentattestor

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester/tpm"
	"github.com/attestd/attestd/plugins/spire/attestwire"
)

// Values of key_binding.
const (
	bindingRequired = "required"
	bindingNone     = "none"
)

// Config is the plugin's part of the agent's configuration.
type Config struct {
	// Format of the evidence that this machine gives: "tpm", "nitro", "nitrotpm" or "sev-snp".
	Format string `hcl:"format,required"`
	// Tenant whose machine this is.
	Tenant string `hcl:"tenant,required"`
	// TrustDomain of the attestd that may be answered. It is SPIRE's own; written out, the plugin
	// starts in no other.
	TrustDomain string `hcl:"trust_domain"`
	// KeyBinding is "required" or "none". With "none" attestd cannot know whose key SPIRE
	// certifies.
	KeyBinding string `hcl:"key_binding"`
	// RuntimeDir is the folder of the key manager's socket, as that plugin's runtime_dir.
	RuntimeDir string `hcl:"runtime_dir"`
	// EnrolmentTokenFile holds a one-time token. It may be gone once the machine is enrolled.
	EnrolmentTokenFile string `hcl:"enrolment_token_file"`
	// VerifierKeysFile holds attestd's keys, as GET /v1/keys answered them. Without it those that
	// come with the challenge are taken, for which SPIRE's connection to its server vouches.
	VerifierKeysFile string `hcl:"verifier_keys_file"`

	TPM      *TPMConfig      `hcl:"tpm"`
	Nitro    *DeviceConfig   `hcl:"nitro"`
	NitroTPM *NitroTPMConfig `hcl:"nitrotpm"`
	SNP      *SNPConfig      `hcl:"snp"`

	run *runner
}

// TPMConfig says where the TPM is and what of it is quoted. The zero value is what a machine with
// one TPM wants.
type TPMConfig struct {
	// Device is a device file, or swtpm:PATH for a software TPM.
	Device string `hcl:"device"`
	// StateDir is the folder of keys that the key manager made in the TPM, as that plugin's.
	StateDir string `hcl:"state_dir"`
	AKHandle string `hcl:"ak_handle"`
	LockFile string `hcl:"lock_file"`
	// PCRs as in "0-7,11", Bank "sha256", "sha384" or "sha512".
	PCRs string `hcl:"pcrs"`
	Bank string `hcl:"bank"`
	// EventLog and IMALog are files, or "off".
	EventLog string `hcl:"event_log"`
	IMALog   string `hcl:"ima_log"`
	// EKChainFile has certificates in PEM between the endorsement key's and the maker's root.
	EKChainFile         string `hcl:"ek_chain_file"`
	OwnerAuthFile       string `hcl:"owner_auth_file"`
	EndorsementAuthFile string `hcl:"endorsement_auth_file"`
}

// DeviceConfig says where the Nitro Secure Module is.
type DeviceConfig struct {
	Device string `hcl:"device"`
}

// NitroTPMConfig says where AWS's program nitro-tpm-attest is.
type NitroTPMConfig struct {
	Tool string `hcl:"tool"`
}

// SNPConfig says how the guest asks for reports: the folder of configfs-tsm or the guest device.
type SNPConfig struct {
	Path string `hcl:"path"`
}

func defaults() Config { return Config{KeyBinding: bindingRequired} }

// Check returns every problem that is not one of a single value's spelling.
func (c *Config) Check() []string {
	var problems []string
	add := func(key, format string, args ...any) {
		problems = append(problems, key+": "+fmt.Sprintf(format, args...))
	}
	kinds := formats()
	if !slices.Contains(kinds, c.Format) {
		add("format", "got %q, want one of %s", attestd.Excerpt(c.Format, 40),
			strings.Join(kinds, ", "))
	}
	if err := attestwire.CheckTenant(c.Tenant); err != nil {
		add("tenant", "%v", err)
	}
	switch {
	case c.KeyBinding != bindingRequired && c.KeyBinding != bindingNone:
		add("key_binding", "got %q, want %q or %q", attestd.Excerpt(c.KeyBinding, 40),
			bindingRequired, bindingNone)
	case c.KeyBinding == bindingRequired && c.RuntimeDir == "":
		add("runtime_dir",
			"is missing; give that of the key manager of attestd's, or write key_binding = %q",
			bindingNone)
	case c.KeyBinding == bindingNone && c.RuntimeDir != "":
		add("runtime_dir", "has no meaning with key_binding = %q", bindingNone)
	}
	for _, one := range []struct {
		key, path string
	}{
		{"runtime_dir", c.RuntimeDir}, {"enrolment_token_file", c.EnrolmentTokenFile},
		{"verifier_keys_file", c.VerifierKeysFile}, {"nitrotpm.tool", c.tool()},
	} {
		if one.path != "" && !filepath.IsAbs(one.path) {
			add(one.key, "got %q, want a whole path", attestd.Excerpt(one.path, 100))
		}
	}
	for _, block := range []struct {
		key    string
		format attestd.Format
		given  bool
	}{
		{"tpm", attestd.FormatTPM, c.TPM != nil}, {"nitro", attestd.FormatNitro, c.Nitro != nil},
		{"nitrotpm", attestd.FormatNitroTPM, c.NitroTPM != nil},
		{"snp", attestd.FormatSEVSNP, c.SNP != nil},
	} {
		if block.given && c.Format != string(block.format) {
			add(block.key, "is for format = %q", block.format)
		}
	}
	return append(problems, c.TPM.check()...)
}

func (c *Config) tool() string {
	if c.NitroTPM == nil {
		return ""
	}
	return c.NitroTPM.Tool
}

func (c *TPMConfig) check() []string {
	if c == nil {
		return nil
	}
	var problems []string
	if _, err := c.pcrs(); err != nil {
		problems = append(problems, "tpm.pcrs: "+err.Error())
	}
	if _, err := c.bank(); err != nil {
		problems = append(problems, "tpm.bank: "+err.Error())
	}
	if _, err := c.handle(); err != nil {
		problems = append(problems, "tpm.ak_handle: "+err.Error())
	}
	return problems
}

// pcrs reads a list such as "0-7,11"; none for the usual ones.
func (c *TPMConfig) pcrs() ([]uint8, error) {
	if c.PCRs == "" {
		return nil, nil
	}
	var out []uint8
	for part := range strings.SplitSeq(c.PCRs, ",") {
		first, last, several := strings.Cut(part, "-")
		if !several {
			last = first
		}
		from, errFrom := strconv.ParseUint(first, 10, 8)
		to, errTo := strconv.ParseUint(last, 10, 8)
		if errFrom != nil || errTo != nil || from > to || to > 23 {
			return nil, fmt.Errorf("got %q, want numbers from 0 to 23, as in \"0-7,11\"",
				attestd.Excerpt(c.PCRs, 60))
		}
		for pcr := from; pcr <= to; pcr++ {
			out = append(out, uint8(pcr))
		}
	}
	return out, nil
}

func (c *TPMConfig) bank() (tpm.Bank, error) {
	for _, bank := range []tpm.Bank{tpm.SHA256, tpm.SHA384, tpm.SHA512} {
		if c.Bank == bank.String() || c.Bank == "" {
			return bank, nil
		}
	}
	return 0, fmt.Errorf("got %q, want sha256, sha384 or sha512", attestd.Excerpt(c.Bank, 40))
}

func (c *TPMConfig) handle() (uint32, error) {
	if c.AKHandle == "" {
		return tpm.DefaultAKHandle, nil
	}
	handle, err := strconv.ParseUint(c.AKHandle, 0, 32)
	if err != nil || handle < 0x81000000 || handle > 0x817fffff {
		return 0, fmt.Errorf("got %q, want a handle of the owner's, as in \"0x81010020\"",
			attestd.Excerpt(c.AKHandle, 40))
	}
	return uint32(handle), nil
}
