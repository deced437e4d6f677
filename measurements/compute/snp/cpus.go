package snp

import (
	"slices"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/measurements/compute"
)

// CPU is a virtual processor as QEMU names it.
type CPU struct {
	Name string
	// Signature is CPUID Fn0000_0001_EAX.
	Signature uint32
}

// Signature packs family, model and stepping as CPUID has them (AMD 25481, "CPUID Specification",
// section "CPUID Fn0000_0001_EAX Family, Model, Stepping Identifiers"): of families from 15 on, the
// low field is 15 and the high one has the rest.
//
// Errors: a [*compute.Fault] of class CONFIG where one does not fit its field.
func Signature(family, model, stepping uint32) (uint32, error) {
	if family > 0xf+0xff || model > 0xff || stepping > 0xf {
		return 0, compute.Misdescribed("a family to 270, a model to 255 and a stepping to 15",
			"family %d, model %d, stepping %d", family, model, stepping)
	}
	return signature(family, model, stepping), nil
}

func signature(family, model, stepping uint32) uint32 {
	low, high := family, uint32(0)
	if family > 0xf {
		low, high = 0xf, family-0xf
	}
	return high<<20 | model>>4<<16 | low<<8 | (model&0xf)<<4 | stepping
}

// Processors of QEMU's list (target/i386/cpu.c, builtin_x86_defs).
var cpus = []CPU{
	{"EPYC", signature(23, 1, 2)},
	{"EPYC-v1", signature(23, 1, 2)},
	{"EPYC-v2", signature(23, 1, 2)},
	{"EPYC-IBPB", signature(23, 1, 2)},
	{"EPYC-v3", signature(23, 1, 2)},
	{"EPYC-v4", signature(23, 1, 2)},
	{"EPYC-v5", signature(23, 1, 2)},
	{"EPYC-Rome", signature(23, 49, 0)},
	{"EPYC-Rome-v1", signature(23, 49, 0)},
	{"EPYC-Rome-v2", signature(23, 49, 0)},
	{"EPYC-Rome-v3", signature(23, 49, 0)},
	{"EPYC-Rome-v4", signature(23, 49, 0)},
	{"EPYC-Rome-v5", signature(23, 49, 0)},
	{"EPYC-Milan", signature(25, 1, 1)},
	{"EPYC-Milan-v1", signature(25, 1, 1)},
	{"EPYC-Milan-v2", signature(25, 1, 1)},
	{"EPYC-Milan-v3", signature(25, 1, 1)},
	{"EPYC-Genoa", signature(25, 17, 0)},
	{"EPYC-Genoa-v1", signature(25, 17, 0)},
	{"EPYC-Genoa-v2", signature(25, 17, 0)},
	{"EPYC-Turin", signature(26, 0, 0)},
	{"EPYC-Turin-v1", signature(26, 0, 0)},
}

// CPUs returns all processors that are known by name.
func CPUs() []CPU { return slices.Clone(cpus) }

// FindCPU returns the processor of a name.
//
// Errors: a [*compute.Fault] of class CONFIG.
func FindCPU(name string) (CPU, error) {
	var known []string
	for _, cpu := range cpus {
		if cpu.Name == name {
			return cpu, nil
		}
		known = append(known, cpu.Name)
	}
	return CPU{}, compute.Misdescribed("one of: "+strings.Join(known, ", "),
		"unknown processor %q", attestd.Excerpt(name, 40))
}
