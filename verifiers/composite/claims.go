package composite

import (
	"bytes"
	"crypto/sha256"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/claims"
)

// seal makes Claims of evidence that passed every check of the composition and of its devices.
func (s *session) seal() *attestd.Claims {
	bound, _ := s.input.Demand.Key()
	edges := s.edges()
	return attestd.NewClaims(claims.Grant(), attestd.ClaimValues{
		Format:         attestd.FormatComposite,
		Summary:        s.summary(),
		EvidenceDigest: sha256.Sum256(s.input.Evidence),
		Facts:          s.facts(edges),
		Handles:        s.handles(edges),
		Checks:         s.ran,
		Freshness:      s.wantedFreshness(),
		KeySPKI:        bytes.Clone(bound),
		InsecureRoots:  s.insecure(),
		Devices:        s.devices,
		Edges:          edges,
	})
}

func (s *session) insecure() bool {
	for _, device := range s.devices {
		if device.Claims.InsecureRoots() {
			return true
		}
	}
	return false
}

func (s *session) summary() string {
	out := ""
	for i, device := range s.devices {
		if i > 0 {
			out += "; "
		}
		out += device.Path + ": " + device.Claims.Summary()
	}
	return out
}

// device returns the claims of the device at path; every role has one.
func (s *session) device(path string) *attestd.Claims {
	for _, device := range s.devices {
		if device.Path == path {
			return device.Claims
		}
	}
	return nil
}

// edges ties every device to the processor, by no more than what was shown. A value that somebody
// recorded may have been anybody's: whoever knew it early could collect the devices' evidence apart.
func (s *session) edges() []attestd.Edge {
	grade := attestd.GradeNone
	how := "recorded evidence: nobody vouches for the nonce that the devices answered"
	_, asked := s.input.Demand.Freshness()
	if asked && !s.input.Demand.IsRecorded() {
		grade = attestd.GradeSimultaneous
		how = "both answered a value of their own that was derived from one fresh nonce"
	} else if !asked {
		how = "recorded evidence: no nonce was demanded of the devices"
	}
	var out []attestd.Edge
	for _, device := range s.devices {
		if device.Path != pathCPU {
			out = append(out, attestd.Edge{From: pathCPU, To: device.Path, Grade: grade, How: how})
		}
	}
	return out
}

// weakest returns the lowest grade; there is at least one edge, since a machine has a TPM.
func weakest(edges []attestd.Edge) attestd.Grade {
	out := attestd.GradeCryptographic
	for _, edge := range edges {
		out = min(out, edge.Grade)
	}
	if len(edges) == 0 {
		return attestd.GradeNone
	}
	return out
}

func gradeOf(edges []attestd.Edge, path string) attestd.Grade {
	for _, edge := range edges {
		if edge.To == path {
			return edge.Grade
		}
	}
	return attestd.GradeNone
}

// facts lists the facts in the order of factSpecs. What a TPM shows of key and owner is the machine's
// only where something ties the TPM to the processor.
func (s *session) facts(edges []attestd.Edge) []attestd.Fact {
	cpu, tpm := s.device(pathCPU), s.device(pathTPM)
	tied := gradeOf(edges, pathTPM)
	out := []attestd.Fact{
		{Name: factDevices, Value: attestd.Uint(uint64(len(s.devices)))},
		{Name: factCombination, Value: attestd.Text(string(cpu.Format()) + "+" + string(tpm.Format()))},
		{Name: factWeakest, Value: attestd.Text(weakest(edges).String())},
		{Name: factEdgeTPM, Value: attestd.Text(tied.String())},
	}
	if tied == attestd.GradeNone {
		return out
	}
	for _, name := range []string{factKeyGrade, factOwnership} {
		if value, ok := tpm.Fact(name); ok {
			out = append(out, attestd.Fact{Name: name, Value: value})
		}
	}
	return out
}

// handles name the machine. The instance is the TPM's, and only where the TPM is tied to the processor:
// otherwise anybody's TPM would give its name, and whoever is held under it, to a stranger's processor.
// The host is the processor's. A boot is named by the TPM, whose counter only a new boot advances, or
// by the processor where the TPM counts none.
func (s *session) handles(edges []attestd.Edge) []attestd.Handle {
	cpu, tpm := s.device(pathCPU), s.device(pathTPM)
	var out []attestd.Handle
	add := func(claims *attestd.Claims, kind attestd.HandleKind) bool {
		for handle := range claims.Handles() {
			if handle.Kind == kind {
				out = append(out, handle)
				return true
			}
		}
		return false
	}
	if gradeOf(edges, pathTPM) >= attestd.GradeSimultaneous && add(tpm, attestd.HandleInstance) &&
		!add(tpm, attestd.HandleBoot) {
		add(cpu, attestd.HandleBoot)
	}
	add(cpu, attestd.HandleHost)
	return out
}
