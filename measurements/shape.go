package measurements

import (
	"fmt"
	"slices"
	"strings"

	"github.com/attestd/attestd"
)

// shape says which registers a format's reference values have.
type shape struct {
	algorithm string
	size      int // of a digest, in bytes
	names     []string
	// required must be in every value. A value that named only, say, the signer's register would
	// let everything that this signer ever signed pass as one image.
	required []string
	// mayBeZero are registers for which zero is a statement: "nothing was measured here".
	mayBeZero []string
	// taken are those that FromClaims writes; those in required always, the others where not zero.
	taken []string
	// single is the register that the short form "measurement:" stands for; empty for none.
	single string
	// banked formats have registers of several algorithms: a document names one of the banks, which
	// sets algorithm and size. They are also those with keys, rules and events.
	banked bool
}

// banks are those that reference values can be written for. SHA-1 is not among them: a log with
// another meaning can be made for its registers.
var banks = []struct {
	name, algorithm string
	size            int
}{{"sha256", "SHA256", 32}, {"sha384", "SHA384", 48}, {"sha512", "SHA512", 64}}

func bankNames() []string {
	names := make([]string, len(banks))
	for i, bank := range banks {
		names[i] = bank.name
	}
	return names
}

// in returns the shape of a banked format within a bank; others are as they are.
func (s shape) in(bank string) (shape, bool) {
	if !s.banked {
		return s, bank == ""
	}
	for _, known := range banks {
		if known.name == bank {
			s.algorithm, s.size = known.algorithm, known.size
			return s, true
		}
	}
	return shape{}, false
}

// shapes is the one list of formats that reference values can be written for.
var shapes = map[attestd.Format]shape{
	// AWS Nitro Enclaves: PCR0 is the image, PCR1 kernel and boot ramfs, PCR2 the application
	// ("Cryptographic attestation", AWS Nitro Enclaves user guide). PCR3 (role) and PCR4 (instance)
	// can be named by hand; they are another subject than what runs.
	attestd.FormatNitro: {
		algorithm: "SHA384", size: 48, names: pcrNames(32),
		required: []string{"PCR0", "PCR1", "PCR2"},
		taken:    []string{"PCR0", "PCR1", "PCR2", "PCR8"},
	},
	// AWS NitroTPM: PCR4 is the boot loader or unified kernel image, PCR7 the Secure Boot state,
	// PCR12 what was added to the kernel's command line; zero there says that nothing was.
	attestd.FormatNitroTPM: {
		algorithm: "SHA384", size: 48, names: pcrNames(24),
		required:  []string{"PCR4", "PCR7"},
		mayBeZero: []string{"PCR8", "PCR9", "PCR10", "PCR11", "PCR12", "PCR13", "PCR14", "PCR15"},
		taken:     []string{"PCR4", "PCR7", "PCR12"},
	},
	// TPM 2.0: PCR4 is the boot loader or unified kernel image that the firmware started (TCG PC
	// Client PFP 1.06, section 3.3.4). A value without it would take every image of one signer for
	// one. Registers that the operating system extends may be zero.
	attestd.FormatTPM: {
		names: pcrNames(24), required: []string{"PCR4"}, banked: true,
		mayBeZero: []string{"PCR8", "PCR9", "PCR10", "PCR11", "PCR12", "PCR13", "PCR14", "PCR15"},
		taken:     pcrNames(8),
	},
	// AMD SEV-SNP: the launch digest (AMD 56860, ATTESTATION_REPORT, MEASUREMENT).
	attestd.FormatSEVSNP: {
		algorithm: "SHA384", size: 48, names: []string{"MEASUREMENT"},
		required: []string{"MEASUREMENT"}, taken: []string{"MEASUREMENT"}, single: "MEASUREMENT",
	},
	// Intel TDX: MRTD is the firmware, RTMR0 its configuration, RTMR1 what it started, RTMR2 what the
	// boot loader started with which command line (TDX Virtual Firmware Design Guide, section 8). A value
	// without RTMR1 and RTMR2 would take everything that one firmware can start for one image. They are
	// zero where a paravisor measures into a TPM of its own, and that must be written out. RTMR3 is left
	// to software in the TD, MRCONFIGID and the owner's registers to whoever launches it.
	attestd.FormatTDX: {
		algorithm: "SHA384", size: 48,
		names: []string{"MRTD", "RTMR0", "RTMR1", "RTMR2", "RTMR3", "MRCONFIGID", "MROWNER",
			"MROWNERCONFIG"},
		required: []string{"MRTD", "RTMR1", "RTMR2"},
		mayBeZero: []string{"RTMR0", "RTMR1", "RTMR2", "RTMR3", "MRCONFIGID", "MROWNER",
			"MROWNERCONFIG"},
		taken: []string{"MRTD", "RTMR0", "RTMR1", "RTMR2", "MRCONFIGID"},
	},
}

func pcrNames(count int) []string {
	names := make([]string, count)
	for i := range names {
		names[i] = fmt.Sprintf("PCR%d", i)
	}
	return names
}

// formatNames lists the formats of shapes as people are shown them.
func formatNames() []string {
	var names []string
	for _, format := range attestd.Formats() {
		if _, ok := shapes[format]; ok {
			names = append(names, string(format))
		}
	}
	return names
}

// Principal names the register that says most about what runs, to show where nothing is known;
// empty for a format without reference values.
func Principal(format attestd.Format) string {
	if of, ok := shapes[format]; ok {
		return of.required[0]
	}
	return ""
}

// problem says what is wrong with a digest in a register, or nothing.
func (s shape) problem(register string, digest []byte) string {
	switch {
	case len(digest) != s.size:
		return fmt.Sprintf("got %d bytes, want %d (%s)", len(digest), s.size, s.algorithm)
	case isZero(digest) && !slices.Contains(s.mayBeZero, register):
		// A zero register is what debug enclaves and absent measurements look like.
		return "is all zero, which says that nothing was measured"
	default:
		return ""
	}
}

// missing lists the required registers that a value says nothing about.
func (s shape) missing(value Value) string {
	var missing []string
	for _, name := range s.required {
		if !slices.Contains(value.names(), name) {
			missing = append(missing, name)
		}
	}
	return strings.Join(missing, ", ")
}

// names lists the registers that a value says something about.
func (v Value) names() []string {
	names := make([]string, 0, len(v.Registers)+len(v.Rules))
	for _, register := range v.Registers {
		names = append(names, register.Name)
	}
	for _, rules := range v.Rules {
		names = append(names, rules.Register)
	}
	return names
}

func isZero(digest []byte) bool {
	return !slices.ContainsFunc(digest, func(b byte) bool { return b != 0 })
}
