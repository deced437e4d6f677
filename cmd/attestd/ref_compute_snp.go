package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/report"
	"github.com/attestd/attestd/measurements/compute/snp"
	"github.com/attestd/attestd/verifiers/eventlog/uki"
)

const refProfilesSchema = "attestd.ref-profiles.v1"

// launchFlags hold the flags of ref compute snp.
type launchFlags struct {
	set                                      predictedSet
	vmms, vcpus                              []string
	cpu, features, kernel, initrd, line, was string
}

func newRefComputeSNP(a *app) *cobra.Command {
	var l launchFlags
	command := &cobra.Command{
		Use:   "snp FIRMWARE",
		Short: "Predict the launch digest of an SEV-SNP guest",
		Long: `Snp predicts the launch digest (MEASUREMENT) that an SEV-SNP guest has, from its OVMF image,
the number and kind of its processors, and the virtual machine monitor that starts it. What monitors
put into a processor's first state is theirs, differs, and changes: --vmm names one with its
version, and attestd ref compute profiles says where each was learned. Several of them, and several
numbers of processors, make one value each. With --name it writes a file of reference values; they
are "proposed" unless --state says otherwise. Check a prediction against one real start before you
rely on it.`,
		Example: `  attestd ref compute snp OVMF.fd --vmm qemu@linux-6.10 --vcpus 2,4 --cpu EPYC-Milan
  attestd ref compute snp OVMF.fd --vmm ec2@2026-04 --vmm ec2@2023-03 --vcpus 2 --name web-guest`,
		Args: arguments(1, 1, "one FIRMWARE"),
		RunE: func(_ *cobra.Command, args []string) error { return a.refComputeSNP(l, args[0]) },
	}
	flags := command.Flags()
	flags.StringArrayVar(&l.vmms, "vmm", nil,
		"virtual machine `MONITOR` with its version, as in qemu@linux-6.10; may be repeated")
	flags.StringSliceVar(&l.vcpus, "vcpus", nil, "`NUMBERS` of processors, as in 2,4")
	flags.StringVar(&l.cpu, "cpu", "",
		"`KIND` of processors where it is measured: QEMU's name, or CPUID Fn1 EAX as in 0xa00f11")
	flags.StringVar(&l.features, "guest-features", "",
		"SEV_FEATURES as a `NUMBER` (default: as the monitor sets them)")
	flags.StringVar(&l.kernel, "kernel", "", "`FILE` that the monitor loads as kernel")
	flags.StringVar(&l.initrd, "initrd", "", "`FILE` that it loads as initrd")
	flags.StringVar(&l.line, "command-line", "", "`TEXT` that it passes to that kernel")
	flags.StringVar(&l.was, "firmware-digest", "",
		"`HEX` of the digest after the firmware, where only the end of the image is at hand")
	l.set.addFlags(command, flags)
	var vmms, cpus []string
	for _, profile := range snp.Profiles() {
		vmms = append(vmms, profile.Name)
	}
	for _, cpu := range snp.CPUs() {
		cpus = append(cpus, cpu.Name)
	}
	complete(command, "vmm", vmms...)
	complete(command, "cpu", cpus...)
	return command
}

const profilesHint = "attestd ref compute profiles lists the monitors and processors that are known"

func (a *app) refComputeSNP(l launchFlags, path string) error {
	form, err := a.form(formText, formJSON)
	if err != nil {
		return err
	}
	if err := l.set.check(form); err != nil {
		return err
	}
	if len(l.vmms) == 0 || len(l.vcpus) == 0 {
		return usagef("as in --vmm qemu@linux-6.10 --vcpus 4 --cpu EPYC-Milan; "+profilesHint,
			"--vmm and --vcpus are missing: they are measured")
	}
	launch, err := a.launch(l, path)
	if err != nil {
		return err
	}
	doc := refPredictDoc{Kind: predictSNP, File: attestd.Excerpt(filepath.Base(path), 200)}
	counted := false
	for _, name := range l.vmms {
		if launch.Profile, err = snp.FindProfile(name); err != nil {
			return hinted(err, profilesHint)
		}
		counted = counted || launch.Profile.MeasuresCPU
		for _, vcpus := range l.vcpus {
			value, err := l.value(launch, vcpus)
			if err != nil {
				return err
			}
			doc.Values = append(doc.Values, value)
		}
	}
	if l.cpu != "" && !counted {
		return usagef("drop --cpu: "+strings.Join(l.vmms, ", ")+" measure the same for all",
			"--cpu %q counts for nothing", attestd.Excerpt(l.cpu, 40))
	}
	return a.tellPrediction(doc, l.set, attestd.FormatSEVSNP, form, l.again(path)+" --name NAME")
}

// again is the command line that leads to the same prediction.
func (l launchFlags) again(path string) string {
	line := "attestd ref compute snp " + report.QuoteArg(path)
	for _, vmm := range l.vmms {
		line += " --vmm " + report.QuoteArg(vmm)
	}
	line += " --vcpus " + report.QuoteArg(strings.Join(l.vcpus, ","))
	for _, flag := range []struct{ name, value string }{
		{"cpu", l.cpu}, {"guest-features", l.features}, {"kernel", l.kernel}, {"initrd", l.initrd},
		{"command-line", l.line}, {"firmware-digest", l.was},
	} {
		if flag.value != "" {
			line += " --" + flag.name + " " + report.QuoteArg(flag.value)
		}
	}
	return line
}

// launch reads what all values have in common.
func (a *app) launch(l launchFlags, path string) (snp.Launch, error) {
	var launch snp.Launch
	data, err := a.read("firmware", path, snp.MaxFirmware)
	if err != nil {
		return launch, err
	}
	if launch.Firmware, err = snp.ParseFirmware(data); err != nil {
		return launch, usagef("name an OVMF image that is built for SEV-SNP, whole",
			"firmware %q: %w", attestd.Excerpt(path, 200), err)
	}
	if l.was != "" {
		if launch.FirmwareDigest, err = hex.DecodeString(l.was); err != nil {
			return launch, usagef("give 96 hex digits", "--firmware-digest is not hex")
		}
	}
	if l.cpu != "" {
		if launch.CPU, err = signatureOf(l.cpu); err != nil {
			return launch, hinted(err, profilesHint)
		}
	}
	if l.features != "" {
		if launch.Features, err = strconv.ParseUint(l.features, 0, 64); err != nil {
			return launch, usagef("give a number, as in 0x1", "--guest-features %q is none",
				attestd.Excerpt(l.features, 40))
		}
	}
	if l.kernel == "" {
		if l.initrd != "" || l.line != "" {
			return launch, usagef("add --kernel, or drop them: without it, a disk says what starts",
				"--initrd and --command-line go with a kernel")
		}
		return launch, nil
	}
	boot := &snp.DirectBoot{Initrd: sha256.Sum256(nil), CommandLine: l.line}
	for _, file := range []struct {
		what, path string
		into       *[32]byte
	}{{"kernel", l.kernel, &boot.Kernel}, {"initrd", l.initrd, &boot.Initrd}} {
		if file.path == "" {
			continue
		}
		data, err := a.read(file.what, file.path, uki.MaxImage)
		if err != nil {
			return launch, err
		}
		*file.into = sha256.Sum256(data)
	}
	launch.Boot = boot
	return launch, nil
}

// signatureOf reads a processor's name or signature.
func signatureOf(text string) (uint32, error) {
	if digits, ok := strings.CutPrefix(text, "0x"); ok {
		signature, err := strconv.ParseUint(digits, 16, 32)
		if err != nil || signature == 0 {
			return 0, usagef("give CPUID Fn1 EAX as in 0xa00f11", "--cpu %q is no signature",
				attestd.Excerpt(text, 40))
		}
		return uint32(signature), nil
	}
	cpu, err := snp.FindCPU(text)
	return cpu.Signature, err
}

// value predicts one start.
func (l launchFlags) value(launch snp.Launch, vcpus string) (refPredictValue, error) {
	count, err := strconv.Atoi(vcpus)
	if err != nil {
		return refPredictValue{}, usagef("give numbers, as in --vcpus 2,4", "%q is no number of processors",
			attestd.Excerpt(vcpus, 20))
	}
	profile := launch.Profile
	launch.VCPUs = count
	name := fmt.Sprintf("%d-vcpu_%s", count, strings.ReplaceAll(profile.Name, "@", "-"))
	made := fmt.Sprintf("firmware of %d bytes, %d processor(s)", launch.Firmware.Size(), count)
	switch {
	case !profile.MeasuresCPU:
		launch.CPU = 0
	case l.cpu != "":
		name += "_" + l.cpu
		made += " " + attestd.Excerpt(l.cpu, 40)
	}
	if l.features == "" {
		launch.Features = profile.Features
	}
	made += fmt.Sprintf(", features 0x%x", launch.Features)
	if launch.Boot != nil {
		made += ", kernel, initrd and command line"
	}
	digest, err := launch.Digest()
	if err != nil {
		return refPredictValue{}, hinted(err, profilesHint+"; --help has the flags")
	}
	return refPredictValue{
		Name:      name,
		Registers: []refPredictRegister{predicted("MEASUREMENT", "SHA384", digest[:], made)},
		Assumes:   []string{profile.Name + " is " + profile.What + " (from " + profile.Source + ")"},
	}, nil
}

type refProfilesDoc struct {
	Schema   string             `json:"schema"`
	Profiles []refProfile       `json:"profiles"`
	CPUs     []refProfileOfACPU `json:"cpus"`
}

type refProfile struct {
	Name        string `json:"name"`
	What        string `json:"what"`
	Source      string `json:"source"`
	MeasuresCPU bool   `json:"measures_cpu"`
}

type refProfileOfACPU struct {
	Name      string `json:"name"`
	Signature string `json:"signature"`
}

func newRefComputeProfiles(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "profiles",
		Short: "List the virtual machine monitors and processors that are known",
		Long: `Profiles lists the virtual machine monitors that attestd ref compute snp knows, each with its
version and with where it was learned what it measures, and the processors that QEMU has names for.`,
		Example: `  attestd ref compute profiles`,
		Args:    arguments(0, 0, "nothing"),
		RunE: func(*cobra.Command, []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			doc := refProfilesDoc{Schema: refProfilesSchema}
			table := report.Table{Heads: []string{"monitor", "what it is, and where that was learned"}}
			for _, p := range snp.Profiles() {
				doc.Profiles = append(doc.Profiles, refProfile{p.Name, p.What, p.Source, p.MeasuresCPU})
				table.Rows = append(table.Rows, []string{p.Name, p.What}, []string{"", p.Source})
			}
			var names []string
			for _, cpu := range snp.CPUs() {
				doc.CPUs = append(doc.CPUs, refProfileOfACPU{cpu.Name, fmt.Sprintf("0x%x", cpu.Signature)})
				names = append(names, cpu.Name)
			}
			if form == formJSON {
				return report.JSON(a.out, doc)
			}
			table.Lead = []string{"PROFILES", fmt.Sprintf("%d monitors, %d processors",
				len(doc.Profiles), len(doc.CPUs))}
			table.Notes = []string{"processors: " + strings.Join(names, ", ")}
			table.Next = "attestd ref compute snp FIRMWARE --vmm " + doc.Profiles[0].Name + " --vcpus N --cpu KIND"
			return table.Text(a.out, a.page())
		},
	}
}
