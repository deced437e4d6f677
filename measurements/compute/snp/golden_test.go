package snp_test

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/attestd/attestd/measurements/compute/snp"
	"github.com/attestd/attestd/testvectors/forge"
)

// Digests of firmware whose tables the forged images have, after their own pages. The tests that
// publish launch digests have the last 4096 bytes of real firmware; what counts of them besides
// this digest is their table.
const (
	// virtee/sev-snp-measure 0.0.13, tests/test_guest.py, test_snp_ovmf_hash_full_default.
	amdSevFirmware = "086e2e9149ebf45abdc3445fba5b2da8270bdbb04094d7a2" +
		"c37faaa4b24af3aa16aff8c374c2a55c467a50da6d466b74"
	// virtee/sev-snp-measure 0.0.9, test_snp_ovmf_hash_full_default.
	amdSevFirmwareOf2023 = "edcf6d1c57ce868a167c990f58c8667c698269ef9e080324" +
		"6419eea914186343054d557e1f17acd93b032c106bc70d25"
	// Not published: what sev-snp-measure 0.0.13 says of tests/fixtures/ovmf_OvmfX64_suffix.bin in
	// its mode snp:ovmf-hash.
	plainFirmware = "b91e6fec73d2bcc57ad5fd400a426ce02731c22ea92bc894" +
		"ce675e7c9921a822977d6cf025b85f8ef4f264bff8839d20"
)

var epyc, _ = snp.FindCPU("EPYC-v4")

// golden is a launch digest that another project's tests expect.
type golden struct {
	name, profile    string
	table            forge.OVMF
	firmware, digest string
	vcpus            int
	cpu              uint32
	features         uint64
	line             *string // of a kernel and an initrd of no bytes; nil for no kernel
}

func text(s string) *string { return &s }

func goldens() []golden {
	const linux, older, ec2, ec2Older, gce = "qemu@linux-6.10", "qemu@linux-6.9", "ec2@2026-04",
		"ec2@2023-03", "gce@2024-06"
	now, then, plain := forge.AmdSevOVMF(4096), forge.AmdSevOVMFOf2023(4096), forge.PlainOVMF(4096)
	console := text("console=ttyS0 loglevel=7")
	return []golden{
		// virtee/sev-snp-measure 0.0.13, tests/test_guest.py; those of QEMU are also in virtee/sev
		// 7.1.0, tests/measurement.rs.
		{"test_snp_ovmf_hash_gen_default", linux, now, amdSevFirmware,
			"329c8ce0972ae52343b64d34a434a86f245dfd74f5ed7aae" +
				"15d22efc78fb9683632b9b50e4e1d7fa41179ef98a7ef198", 1, epyc.Signature, 0x21, text("")},
		{"test_snp_ovmf_hash_gen_feature_snp_only", linux, now, amdSevFirmware,
			"ddc5224521617a536ee7ce9dd6224d1b58a8d4fda1c741f3" +
				"ac99fc4bfa04ba6e9fc98646d4a07a9079397fa3852819b5", 1, epyc.Signature, 0x1, text("")},
		{"test_snp_default", linux, now, amdSevFirmware,
			"803f691094946e42068aaa3a8f9e26a5c89f36f7b73ecfb2" +
				"8c653360fe4b3aba7e534442e7e1e17895dfe778d0228977", 1, epyc.Signature, 0x21, console},
		{"test_snp_guest_feature_snp_only", linux, now, amdSevFirmware,
			"6d287813eb5222d770f75005c664e34c204f385ce832cc2c" +
				"e7d0d6f354454362f390ef83a92046c042e706363b4b08fa", 1, epyc.Signature, 0x1, console},
		{"test_snp_without_kernel_default", linux, now, amdSevFirmware,
			"e1e1ca029dd7973ab9513295be68198472dcd4fc834bd9af" +
				"9b63f6e8a1674dbf281a9278a4a2ebe0eed9f22adbcd0e2b", 1, epyc.Signature, 0x21, nil},
		{"test_snp_without_kernel_feature_snp_only", linux, now, amdSevFirmware,
			"19358ba9a7615534a9a1e2f0dfc29384dcd4dcb7062ff9c6" +
				"013b26869a5fc6ecabe033c48dd6f6db5d6d76e7c5df632d", 1, epyc.Signature, 0x1, nil},
		{"test_snp_with_multiple_vcpus_default", linux, now, amdSevFirmware,
			"4953b1fb416fa874980e8442b3706d345926d5f38879134e" +
				"00813c5d7abcbe78eafe7b422907be0b4698e2414a631942", 4, epyc.Signature, 0x21, text("")},
		{"test_snp_with_multiple_vcpus_feature_snp_only", linux, now, amdSevFirmware,
			"5061fffb019493a903613d56d54b94912a1a2f9e4502385f" +
				"5c194616753720a92441310ba6c4933de877c36e23046ad5", 4, epyc.Signature, 0x1, text("")},
		{"test_snp_with_ovmfx64_without_default", linux, plain, plainFirmware,
			"28797ae0afaba4005a81e629acebfb59e6687949d6be4400" +
				"7cd5506823b0dd66f146aaae26ff291eed7b493d8a64c385", 1, epyc.Signature, 0x21, nil},
		{"test_snp_with_ovmfx64_without_kernel_feature_snp_only", linux, plain, plainFirmware,
			"da0296de8193586a5512078dcd719eccecbd87e2b825ad41" +
				"48c44f665dc87df21e5b49e21523a9ad993afdb6a30b4005", 1, epyc.Signature, 0x1, nil},
		{"test_snp_ec2_default", ec2, now, amdSevFirmware,
			"0ce9ccc06bab55eebe8abc234f3df6514883977a68a591b7" +
				"1052498ab52b2f1aa415db338033946ef93aa8278c0d67fb", 1, 0, 0x21, text("")},
		{"test_snp_ec2_feature_snp_only", ec2, now, amdSevFirmware,
			"0883bd0eeb716e65b7b977a321c278d1e51b33b5c655fab9" +
				"85443bbcc65c086b9c15e8a0bd8811050dec7e24964e5056", 1, 0, 0x1, text("")},
		{"test_snp_gce_default", gce, now, amdSevFirmware,
			"5da7106cf14cf46b1725ebab123eb9e53bd46a1e9f400cd0" +
				"c08e7827b04b688ea8b4e403c8404efed4397ea5d5d0722e", 1, 0, 0x1, text("")},
		{"test_snp_gce_with_multiple_vcpus_default", gce, now, amdSevFirmware,
			"5c5debf100fc339f90276e761ee1f1658d08922c3b20e2a2" +
				"e6c7a6c3370b2452a15a00eae11886a93d6fd1e7ab81e29d", 4, 0, 0x1, text("")},
		// virtee/sev 7.1.0, tests/measurement.rs, where EC2 is as it was.
		{"test_snp_ec2_snp_only", ec2Older, now, amdSevFirmware,
			"7d3756157c805bf6adf617064c8552e8c1688fa1c8756f11" +
				"cbf56ba5d25c9270fb69c0505c1cbe1c5c66c0e34c6ed3be", 1, 0, 0x1, text("")},
		{"test_snp_ec2_default of virtee/sev", ec2Older, now, amdSevFirmware,
			"6ae80856486b1396af8c82a40351d6ed76a20c785e9c7fa4" +
				"ffa27c22d5d6313b4b3b458cd3c9968e6f89fb5d8450d7a6", 1, 0, 0x21, text("")},
		// virtee/sev-snp-measure 0.0.9, tests/test_guest.py.
		{"test_snp_default of 0.0.9", older, then, amdSevFirmwareOf2023,
			"314e4f0794187ffef05702a36546ea5fe02698041b7f7f17" +
				"d9f418da2d5e4d5cff25256cef9d34888a0dd64dea438780", 1, epyc.Signature, 0x21, console},
		{"test_snp_without_kernel_feature_snp_only of 0.0.9", older, then, amdSevFirmwareOf2023,
			"e5e6be5a8fa6256f0245666bb237e2d028b7928148ce78d5" +
				"1b8a64dc9506c377709a5b5d7ab75554593bced304fcff93", 1, epyc.Signature, 0x1, nil},
		{"test_snp_ec2_default of 0.0.9", ec2Older, then, amdSevFirmwareOf2023,
			"cd4a4690a1f679ac8f3d6e446aab8d0061d535cc94615d98" +
				"c7d7dbe4b16dbceeaf7fc7944e7874b202e27041f179e7e6", 1, 0, 0x21, text("")},
	}
}

// TestPublishedDigests holds launch digests that others' tests expect against ours.
func TestPublishedDigests(t *testing.T) {
	seen := map[string]bool{}
	for _, row := range goldens() {
		t.Run(row.name, func(t *testing.T) {
			launch := launchOf(t, row.profile, row.table)
			launch.FirmwareDigest = unhex(t, row.firmware)
			launch.VCPUs, launch.CPU, launch.Features = row.vcpus, row.cpu, row.features
			if row.line != nil {
				nothing := sha256.Sum256(nil)
				launch.Boot = &snp.DirectBoot{Kernel: nothing, Initrd: nothing, CommandLine: *row.line}
				launch.Profile = snp.WithKernel(launch.Profile)
			}
			demandDigest(t, launch, row.digest)
		})
		seen[row.profile] = true
	}
	for _, profile := range snp.Profiles() {
		if !seen[profile.Name] {
			t.Errorf("no published digest for profile %s", profile.Name)
		}
	}
}

// TestDifferentialDigests holds digests of whole forged images against those of other programs that
// were run over the same bytes: sev-snp-measure 0.0.13 (--mode snp, with the flags that the names
// of the rows tell) and, of Google's, gce-tcb-verifier 0.3.1 (sev.LaunchDigest). Nobody published
// them.
func TestDifferentialDigests(t *testing.T) {
	kernel, initrd := sha256.Sum256([]byte("a kernel")), sha256.Sum256([]byte("an initrd"))
	boot := &snp.DirectBoot{Kernel: kernel, Initrd: initrd, CommandLine: "root=/dev/vda ro"}
	milan, _ := snp.FindCPU("EPYC-Milan")
	turin, _ := snp.FindCPU("EPYC-Turin")
	for _, row := range []struct {
		name, profile string
		table         forge.OVMF
		vcpus         int
		cpu           uint32
		features      uint64
		boot          *snp.DirectBoot
		want          string
	}{
		{"--vcpus 1 --vcpu-type EPYC-Milan with a kernel", "qemu@linux-6.10", forge.AmdSevOVMF(1 << 20),
			1, milan.Signature, 0x1, boot,
			"52ac84c167060b9e0ede0b2cf08ede57df58f248b92f67a8" +
				"b1cdb9a336a3df29078d7c78ee4e77b7c576b091343ee4dc"},
		{"--vcpus 8 --vcpu-type EPYC-Turin --guest-features 0x21 with a kernel", "qemu@linux-6.10", forge.AmdSevOVMF(1 << 20),
			8, turin.Signature, 0x21, boot,
			"8abef9b0afdbfe67ff7e176acac23575fb4891497145b41f" +
				"de78cc31045087d90b0f54bff6b58f11aa4b10a369bfdb09"},
		{"--vcpus 3 --vcpu-type EPYC-v4", "qemu@linux-6.10", forge.PlainOVMF(64 << 10),
			3, epyc.Signature, 0x1, nil,
			"4b3ab04e992d9979a6892f2edd6cc268f8c0af78857d26a9" +
				"cf65ef1d8712df2980a8d0772d28e009538db2ce84545b68"},
		{"--vcpus 2 --vmm-type ec2", "ec2@2026-04", forge.PlainOVMF(64 << 10),
			2, 0, 0x1, nil,
			"2f6f4d5fcfa7c9b9adef31ab4344d052655ed740601de1c3" +
				"9a870148423115fad7aff536ac177270d93748359da77038"},
		{"--vcpus 2 --vmm-type gce, and Google's", "gce@2024-06", forge.PlainOVMF(64 << 10),
			2, 0, 0x1, nil,
			"ef414c10123f5d54cbc6502a76a8f478f8f78fab6a016737" +
				"58ca083f00fb0373710567e1fc0aaebf9e2f00d3f832ba1f"},
		{"Google's, of one processor", "gce@2024-06", forge.PlainOVMF(64 << 10),
			1, 0, 0x1, nil,
			"0475189f32c6405b9d2ad82daa5e125b441fd02f5db7ef83" +
				"297a31b2ea5a0b2e3e612826677864eb16c8f6f8034b8c14"},
		{"Google's, of 16 processors", "gce@2024-06", forge.PlainOVMF(64 << 10),
			16, 0, 0x1, nil,
			"265ad62f356b9db4755f374f2565c169a8eac85d086740d5" +
				"c025b8484f709763cbf43defb69afe56e0aa564a6cd53071"},
	} {
		t.Run(row.name, func(t *testing.T) {
			launch := launchOf(t, row.profile, row.table)
			launch.VCPUs, launch.CPU = row.vcpus, row.cpu
			launch.Features, launch.Boot = row.features, row.boot
			demandDigest(t, launch, row.want)
			// The digest of the firmware alone leads to the same.
			seed := launch.Firmware.Digest()
			launch.FirmwareDigest = seed[:]
			demandDigest(t, launch, row.want)
		})
	}
}

func launchOf(t *testing.T, profile string, table forge.OVMF) snp.Launch {
	t.Helper()
	firmware, err := snp.ParseFirmware(table.Image())
	if err != nil {
		t.Fatal(err)
	}
	found, err := snp.FindProfile(profile)
	if err != nil {
		t.Fatal(err)
	}
	return snp.Launch{Firmware: firmware, Profile: found, VCPUs: 1, Features: found.Features}
}

func demandDigest(t *testing.T, launch snp.Launch, want string) {
	t.Helper()
	got, err := launch.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if hex.EncodeToString(got[:]) != want {
		t.Errorf("got %x, want %s", got, want)
	}
}

func unhex(t *testing.T, digits string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(digits)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
