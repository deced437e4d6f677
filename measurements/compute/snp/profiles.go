package snp

import (
	"slices"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/measurements/compute"
)

// Profile is what a virtual machine monitor of a certain age measures when it starts a guest.
// Monitors do not publish it, and change it without a word, so that each profile is of one version
// and says who found it out. The zero value is no profile.
type Profile struct {
	// Name is NAME@VERSION, as in qemu@linux-6.10.
	Name string
	// What says where it applies, and Source where it was learned.
	What, Source string
	// MeasuresCPU says whether the kind of the processors counts.
	MeasuresCPU bool
	// Features is SEV_FEATURES as the monitor sets it where nobody says otherwise.
	Features uint64

	registers  registers
	memory     uint8 // the type of pages that only have to be private
	cpuidLast  bool  // the CPUID page comes after all others
	directBoot bool
}

// Values of the page attribute table's register.
const (
	patReset = 0x7040600070406 // AMD 24593, section 7.8.2
	patGCE   = 0x70106
)

// rdxUnset is what KVM gives EDX at a reset where the monitor has not yet said which processor it
// shows (Linux, arch/x86/kvm/x86.c, kvm_vcpu_reset).
const rdxUnset = 0x600

// profiles has all that are known. libkrun is not among them: of its save area there is one
// description, which overwrites the values that it has just set.
var profiles = []Profile{
	{
		Name: "qemu@linux-6.10",
		What: "QEMU with KVM of Linux 6.10 and later, which sets up the floating point unit first",
		Source: "sev-snp-measure 0.0.10 to 0.0.13 and virtee/sev 7, which agree; QEMU 9.1, " +
			"target/i386/sev.c, for the order of pages",
		MeasuresCPU: true, Features: featureSNP,
		registers: registers{
			csFirst: 0x9b, csOthers: 0x9b, ss: 0x93, tr: 0x8b, pat: patReset, mxcsr: 0x1f80, fcw: 0x37f,
		},
		memory: pageZero, directBoot: true,
	},
	{
		Name:        "qemu@linux-6.9",
		What:        "QEMU with KVM of AMD's branches of Linux before 6.10",
		Source:      "sev-snp-measure 0.0.5 to 0.0.9",
		MeasuresCPU: true, Features: featureSNP,
		registers: registers{
			csFirst: 0x9b, csOthers: 0x9b, ss: 0x93, tr: 0x8b, pat: patReset,
		},
		memory: pageZero, directBoot: true,
	},
	{
		Name: "ec2@2026-04",
		What: "Amazon EC2, with RDX 0x600",
		Source: "sev-snp-measure 0.0.13: a change of 28 April 2026 by an engineer of Amazon, who says " +
			"that RDX used to be 0; Amazon does not say since when it is not",
		Features: featureSNP,
		registers: registers{
			csFirst: 0x9a, csOthers: 0x9b, ss: 0x92, tr: 0x83, pat: patReset, rdx: rdxUnset,
		},
		memory: pageZero, cpuidLast: true,
	},
	{
		Name: "ec2@2023-03",
		What: "Amazon EC2, with RDX 0",
		Source: "sev-snp-measure 0.0.6 to 0.0.12 and virtee/sev 7; the former has ec2@2026-04 since " +
			"0.0.13, the latter has not",
		Features: featureSNP,
		registers: registers{
			csFirst: 0x9a, csOthers: 0x9b, ss: 0x92, tr: 0x83, pat: patReset,
		},
		memory: pageZero, cpuidLast: true,
	},
	{
		Name: "gce@2024-06",
		What: "Google Compute Engine on Milan. (Of Genoa, Google's verifier has another address for " +
			"save areas than other tools: not predicted.)",
		Source:   "google/gce-tcb-verifier 0.3.1 (VmsaV1), and sev-snp-measure 0.0.12, which agree",
		Features: featureSNP,
		registers: registers{
			csFirst: 0x9b, csOthers: 0x9b, ss: 0x93, tr: 0x8b, pat: patGCE, rdx: rdxUnset,
		},
		memory: pageUnmeasured,
	},
}

// Profiles returns all profiles that are known, newest first for each monitor.
func Profiles() []Profile { return slices.Clone(profiles) }

// FindProfile returns the profile of a name. A name without a version is none: which version a
// machine runs is for its owner to say.
//
// Errors: a [*compute.Fault] of class CONFIG.
func FindProfile(name string) (Profile, error) {
	var known, versions []string
	for _, profile := range profiles {
		if profile.Name == name {
			return profile, nil
		}
		known = append(known, profile.Name)
		if monitor, _, _ := strings.Cut(profile.Name, "@"); monitor == name {
			versions = append(versions, profile.Name)
		}
	}
	if len(versions) > 0 {
		return Profile{}, compute.Misdescribed("one of: "+strings.Join(versions, ", "),
			"%q, without a version", name)
	}
	return Profile{}, compute.Misdescribed("one of: "+strings.Join(known, ", "),
		"unknown profile %q", attestd.Excerpt(name, 40))
}
