package snp_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/measurements/compute"
	"github.com/attestd/attestd/measurements/compute/snp"
	"github.com/attestd/attestd/testvectors/forge"
)

func TestLaunchesThatFitNoMachine(t *testing.T) {
	ec2, err := snp.FindProfile("ec2@2026-04")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := snp.ParseFirmware(forge.PlainOVMF(4096).Image())
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name  string
		do    func(*snp.Launch)
		class attestd.Class
		want  string
	}{
		{"no profile", func(l *snp.Launch) { l.Profile = snp.Profile{} }, attestd.ClassConfig, "profile"},
		{"no firmware", func(l *snp.Launch) { l.Firmware = nil }, attestd.ClassConfig, "firmware"},
		{"a digest of the firmware of 47 bytes", func(l *snp.Launch) { l.FirmwareDigest = make([]byte, 47) },
			attestd.ClassConfig, "47 bytes"},
		{"an empty digest of the firmware", func(l *snp.Launch) { l.FirmwareDigest = []byte{} },
			attestd.ClassConfig, "0 bytes"},
		{"no processors", func(l *snp.Launch) { l.VCPUs = 0 }, attestd.ClassConfig, "0 processors"},
		{"4097 processors", func(l *snp.Launch) { l.VCPUs = 4097 }, attestd.ClassConfig, "4097"},
		{"no kind of processor where it counts", func(l *snp.Launch) { l.CPU = 0 }, attestd.ClassConfig,
			"qemu@linux-6.10 measures"},
		{"a kind of processor where none counts", func(l *snp.Launch) { l.Profile = ec2 },
			attestd.ClassConfig, "ec2@2026-04 measures the same"},
		{"features without SNP", func(l *snp.Launch) { l.Features = 0x20 }, attestd.ClassConfig, "0x20"},
		{"a kernel where the monitor starts none", func(l *snp.Launch) {
			l.Profile, l.CPU, l.Boot = ec2, 0, &snp.DirectBoot{}
		}, attestd.ClassConfig, "ec2@2026-04"},
		{"a kernel that the firmware does not measure", func(l *snp.Launch) {
			l.Firmware, l.Boot = plain, &snp.DirectBoot{}
		}, attestd.ClassUnsupported, "measures none"},
		{"a command line with a NUL", func(l *snp.Launch) {
			l.Boot = &snp.DirectBoot{CommandLine: "ro\x00rw"}
		}, attestd.ClassConfig, "NUL"},
	} {
		t.Run(row.name, func(t *testing.T) {
			launch := launchOf(t, "qemu@linux-6.10", forge.AmdSevOVMF(4096))
			launch.CPU = epyc.Signature
			if _, err := launch.Digest(); err != nil {
				t.Fatal(err)
			}
			row.do(&launch)
			got, err := launch.Digest()
			var fault *compute.Fault
			if !errors.As(err, &fault) || fault.Class != row.class ||
				!strings.Contains(err.Error(), row.want) || got != [snp.Size]byte{} {
				t.Errorf("got %x, %v, want %s with %q", got, err, row.class, row.want)
			}
		})
	}
}

// TestEachPartCounts: a part that changes nothing would be a part that nobody watches.
func TestEachPartCounts(t *testing.T) {
	launch := launchOf(t, "qemu@linux-6.10", forge.AmdSevOVMF(8192))
	launch.CPU, launch.VCPUs = epyc.Signature, 2
	launch.Boot = &snp.DirectBoot{CommandLine: "ro"}
	seen := map[[snp.Size]byte]string{}
	add := func(name string, launch snp.Launch) {
		t.Helper()
		digest, err := launch.Digest()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if other, double := seen[digest]; double {
			t.Errorf("%s has the digest of %s", name, other)
		}
		seen[digest] = name
	}
	add("the launch", launch)
	with := func(name string, do func(*snp.Launch)) {
		t.Helper()
		other := launch
		do(&other)
		add(name, other)
	}
	with("one more processor", func(l *snp.Launch) { l.VCPUs++ })
	with("another processor", func(l *snp.Launch) { l.CPU++ })
	with("another feature", func(l *snp.Launch) { l.Features |= 0x20 })
	with("no kernel", func(l *snp.Launch) { l.Boot = nil })
	with("another kernel", func(l *snp.Launch) {
		l.Boot = &snp.DirectBoot{CommandLine: "ro", Kernel: [32]byte{1}}
	})
	with("another initrd", func(l *snp.Launch) {
		l.Boot = &snp.DirectBoot{CommandLine: "ro", Initrd: [32]byte{1}}
	})
	with("another command line", func(l *snp.Launch) { l.Boot = &snp.DirectBoot{CommandLine: "rw"} })
	reset := forge.AmdSevOVMF(8192)
	reset.Reset += 4
	for name, table := range map[string]forge.OVMF{
		"another place where processors start": reset, "firmware of another size": forge.AmdSevOVMF(4096),
	} {
		other := launchOf(t, "qemu@linux-6.10", table)
		with(name, func(l *snp.Launch) { l.Firmware = other.Firmware })
	}
	for _, profile := range snp.Profiles()[1:] {
		with(profile.Name, func(l *snp.Launch) {
			l.Profile, l.Boot = profile, nil
			if !profile.MeasuresCPU {
				l.CPU = 0
			}
		})
	}
}

func TestProfilesAndProcessorsByName(t *testing.T) {
	for _, profile := range snp.Profiles() {
		if profile.What == "" || profile.Source == "" || profile.Features&1 == 0 {
			t.Errorf("profile %s does not say what it is of, or sets no features", profile.Name)
		}
		if _, version, ok := strings.Cut(profile.Name, "@"); !ok || version == "" {
			t.Errorf("profile %s has no version", profile.Name)
		}
	}
	for name, want := range map[string]string{
		"ec2": "without a version, want one of: ec2@2026-04, ec2@2023-03", "": "gce@2024-06",
		"qemu": "without a version, want one of: qemu@linux-6.10, qemu@linux-6.9",
		"krun": "gce@2024-06", "qemu@linux-5": "qemu@linux-6.10", "EC2@2026-04": "ec2@2026-04",
	} {
		if _, err := snp.FindProfile(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("profile %q: got %v, want %q", name, err, want)
		}
	}
	if _, err := snp.FindCPU("epyc-v4"); err == nil || !strings.Contains(err.Error(), "EPYC-v4") {
		t.Errorf("got %v", err)
	}
	// AMD 56860 and published reports: a Milan of stepping 1 says a00f11, a Genoa of stepping 1
	// a10f11.
	for want, parts := range map[uint32][3]uint32{
		0xa00f11: {25, 1, 1}, 0xa10f11: {25, 0x11, 1}, 0xb00f21: {26, 2, 1}, 0x800f12: {23, 1, 2}, 0x615: {6, 1, 5},
	} {
		if got, err := snp.Signature(parts[0], parts[1], parts[2]); err != nil || got != want {
			t.Errorf("%v: got %x, %v, want %x", parts, got, err, want)
		}
	}
	for _, parts := range [][3]uint32{{271, 0, 0}, {25, 256, 0}, {25, 1, 16}} {
		if _, err := snp.Signature(parts[0], parts[1], parts[2]); err == nil {
			t.Errorf("%v was packed", parts)
		}
	}
}
