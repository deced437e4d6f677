package azurevtpm

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/claims"
)

// idKeys are the ID_KEY_DIGESTs of published reports of Azure's paravisor. Who holds the key signs what
// may run at VMPL 0; AMD's firmware has compared that with what does (AMD 56860, MSG_ID_BLOCK).
var idKeys = [...]string{
	// SNP report of version 2 (Milan).
	"0356215882a825279a85b300b0b742931d113bf7e32dde2e50ffde7ec743ca491ecdd7f336dc28a6e0b2bb57af7a44a3",
	// SNP reports of version 3 (Milan and Genoa).
	"942fd93ebde6ea7a96efadeafc60f1c6b3d10e703b1dafd7555b92f7f3d32d0e006767648cba5b102af3d65756af4177",
}

// seal makes Claims of evidence that passed every check of the composition and of its devices.
func (s *session) seal() *attestd.Claims {
	bound, _ := s.input.Demand.Key()
	return attestd.NewClaims(claims.Grant(), attestd.ClaimValues{
		Format:         attestd.FormatAzureVTPM,
		Summary:        "Azure confidential VM (" + s.cpu.Summary() + "; " + s.tpm.Summary() + ")",
		EvidenceDigest: sha256.Sum256(s.input.Evidence),
		Facts:          s.facts(),
		Handles:        s.handles(),
		Checks:         s.ran,
		Freshness:      wantedFreshness(s.input.Demand),
		KeySPKI:        bytes.Clone(bound),
		InsecureRoots:  s.cpu.InsecureRoots() || s.tpm.InsecureRoots(),
		Devices:        []attestd.Device{{Path: pathCPU, Claims: s.cpu}, {Path: pathTPM, Claims: s.tpm}},
		Edges: []attestd.Edge{{From: pathCPU, To: pathTPM, Grade: attestd.GradeCryptographic,
			How: "the CPU's report states the key that signed the TPM's quote"}},
	})
}

// signer says who signed the paravisor.
func (s *session) signer() string {
	if s.report.kind == kindTDX {
		return signerTD
	}
	fact, _ := s.cpu.Fact("id_key_digest")
	digest, _ := fact.Bytes()
	if allZero(digest) {
		return signerNone
	}
	for _, known := range idKeys {
		if hex.EncodeToString(digest) == known {
			return signerAzure
		}
	}
	return signerUnknown
}

// handles name the virtual machine. The paravisor states the name, so it is taken from one that Azure
// signed alone: whoever starts his own could speak in any machine's name, and make it look bad. A trust
// domain has no signer; there the measurement has to be known before the name means anything.
//
// A boot is the CPU's report id, where it has one, with the TPM's count: a TPM whose state is not kept
// counts from the same number at each boot.
func (s *session) handles() []attestd.Handle {
	var out []attestd.Handle
	if name := s.signer(); s.runtime.vmID != "" && (name == signerAzure || name == signerTD) {
		instance := "azure:" + s.runtime.vmID
		boot := instance
		if id := handleOf(s.cpu, attestd.HandleBoot); id != "" {
			boot = id
		}
		out = append(out, attestd.Handle{Kind: attestd.HandleInstance, Value: instance})
		hierarchy, _ := s.tpm.Fact("ak_hierarchy")
		count, _ := s.tpm.Fact("reset_count")
		if resets, ok := count.Uint(); ok && hierarchy.String() == "endorsement" {
			out = append(out, attestd.Handle{Kind: attestd.HandleBoot,
				Value: boot + "/" + strconv.FormatUint(resets, 10)})
		} else if boot != instance {
			out = append(out, attestd.Handle{Kind: attestd.HandleBoot, Value: boot})
		}
	}
	if host := handleOf(s.cpu, attestd.HandleHost); host != "" {
		out = append(out, attestd.Handle{Kind: attestd.HandleHost, Value: host})
	}
	return out
}

func handleOf(claims *attestd.Claims, kind attestd.HandleKind) string {
	for handle := range claims.Handles() {
		if handle.Kind == kind {
			return handle.Value
		}
	}
	return ""
}

// facts lists the facts in the order of factSpecs.
func (s *session) facts() []attestd.Fact {
	out := make([]attestd.Fact, 0, len(factSpecs))
	add := func(name string, value attestd.Value) {
		out = append(out, attestd.Fact{Name: name, Value: value})
	}
	add(factTEE, attestd.Text(string(s.cpu.Format())))
	add("hcl_version", attestd.Uint(uint64(s.report.version)))
	add(factSigner, attestd.Text(s.signer()))
	add(factWeakest, attestd.Text(attestd.GradeCryptographic.String()))
	if s.runtime.vmID == "" {
		add(factVM, attestd.NotVisible())
	} else {
		add(factVM, attestd.Text(s.runtime.vmID))
	}
	for _, one := range [...]struct{ fact, member string }{
		{factSecureBoot, "secure-boot"}, {factTPM, "tpm-enabled"}, {factPersisted, "tpm-persisted"},
		{factConsole, "console-enabled"}, {factInteractive, "interactive-console-enabled"},
		{"ipmi_enabled", "ipmi-enabled"},
		{"filtered_vpci_devices_allowed", "filtered-vpci-devices-allowed"},
		{"tpm_version", "tpm-version"}, {"hardware_sealing_policy", "hardware-sealing-policy"},
		{factThumbprint, "root-cert-thumbprint"},
	} {
		add(one.fact, s.runtime.value(one.member))
	}
	add(factConfigKnown, attestd.Bool(len(s.runtime.unknown) == 0))
	add("unknown_members", attestd.Text(attestd.Excerpt(strings.Join(s.runtime.unknown, ","), 120)))
	if len(s.runtime.userData) == 0 {
		add(factUserData, attestd.NotVisible())
	} else {
		add(factUserData, attestd.Bytes(s.runtime.userData))
	}
	for _, name := range [...]string{factKeyGrade, factOwnership} {
		if value, ok := s.tpm.Fact(name); ok {
			add(name, value)
		}
	}
	return out
}

// value is a member of vm-configuration; what a paravisor does not state is not "no".
func (r *runtime) value(member string) attestd.Value {
	switch value := r.config[member].(type) {
	case bool:
		return attestd.Bool(value)
	case string:
		return attestd.Text(attestd.Excerpt(value, 120))
	default:
		return attestd.NotVisible()
	}
}
