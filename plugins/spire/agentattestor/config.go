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
	// Format of the evidence that this machine gives: "tpm", "nitro", "nitrotpm", "sev-snp", "tdx",
	// "azure-vtpm", or "composite" for a CPU and a TPM.
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
	TDX      *TDXConfig      `hcl:"tdx"`
	Azure    *AzureConfig    `hcl:"azure"`
	// Composite says what devices evidence of format "composite" is of. Each is set up by its own
	// block.
	Composite *CompositeConfig `hcl:"composite"`

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

// TDXConfig says how the guest asks for quotes: the folder of configfs-tsm, and the file of the
// firmware's log, or "off".
type TDXConfig struct {
	Path     string `hcl:"path"`
	EventLog string `hcl:"event_log"`
}

// AzureConfig says where an Azure VM's virtual TPM and its host's services are. The zero value is
// what every confidential VM of Azure wants.
type AzureConfig struct {
	// Device is a device file, or swtpm:PATH for a software TPM.
	Device   string `hcl:"device"`
	AKHandle string `hcl:"ak_handle"`
	LockFile string `hcl:"lock_file"`
	PCRs     string `hcl:"pcrs"`
	Bank     string `hcl:"bank"`
	// EventLog is a file, or "off".
	EventLog      string `hcl:"event_log"`
	OwnerAuthFile string `hcl:"owner_auth_file"`
	// Metadata is the base URL of the host's services, where it is not Azure's.
	Metadata string `hcl:"metadata"`
}

// CompositeConfig names the formats of a machine's devices.
type CompositeConfig struct {
	// CPU is "sev-snp" or "tdx".
	CPU string `hcl:"cpu,required"`
	// VTPM is "tpm", which it also is where nothing is said, or "nitrotpm".
	VTPM string `hcl:"vtpm"`
}

// devices are the formats of all devices that evidence is of.
func (c *Config) devices() []string {
	if c.Format != string(attestd.FormatComposite) || c.Composite == nil {
		return []string{c.Format}
	}
	return []string{c.Composite.CPU, c.Composite.vtpm()}
}

func (c *CompositeConfig) vtpm() string {
	if c.VTPM == "" {
		return string(attestd.FormatTPM)
	}
	return c.VTPM
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
		{"snp", attestd.FormatSEVSNP, c.SNP != nil}, {"tdx", attestd.FormatTDX, c.TDX != nil},
		{"azure", attestd.FormatAzureVTPM, c.Azure != nil},
	} {
		if block.given && !slices.Contains(c.devices(), string(block.format)) {
			add(block.key, "is for format = %q", block.format)
		}
	}
	problems = append(problems, c.TPM.check()...)
	problems = append(problems, c.Azure.check()...)
	return append(problems, c.checkComposite()...)
}

// Devices that composite evidence can be of.
var (
	cpuFormats  = []string{string(attestd.FormatSEVSNP), string(attestd.FormatTDX)}
	vtpmFormats = []string{string(attestd.FormatNitroTPM), string(attestd.FormatTPM)}
)

func (c *Config) checkComposite() []string {
	composed := c.Format == string(attestd.FormatComposite)
	switch {
	case c.Composite == nil && composed:
		return []string{`composite: is missing; name the CPU, as in composite { cpu = "sev-snp" }`}
	case c.Composite == nil:
		return nil
	case !composed:
		return []string{fmt.Sprintf("composite: is for format = %q", attestd.FormatComposite)}
	}
	var problems []string
	for _, one := range []struct {
		key, got string
		want     []string
	}{
		{"composite.cpu", c.Composite.CPU, cpuFormats},
		{"composite.vtpm", c.Composite.vtpm(), vtpmFormats},
	} {
		if !slices.Contains(one.want, one.got) {
			problems = append(problems, fmt.Sprintf("%s: got %q, want one of %s", one.key,
				attestd.Excerpt(one.got, 40), strings.Join(one.want, ", ")))
		}
	}
	return problems
}

func (c *AzureConfig) check() []string {
	if c == nil {
		return nil
	}
	var problems []string
	for _, problem := range c.tpm().check() {
		problems = append(problems, "azure"+strings.TrimPrefix(problem, "tpm"))
	}
	return problems
}

// tpm is the part that says where the virtual TPM is and what of it is quoted.
func (c *AzureConfig) tpm() *TPMConfig {
	return &TPMConfig{
		Device: c.Device, AKHandle: c.AKHandle, LockFile: c.LockFile, PCRs: c.PCRs, Bank: c.Bank,
		EventLog: c.EventLog, OwnerAuthFile: c.OwnerAuthFile, IMALog: tpm.Off,
	}
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
