package composite_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/compositeevidence"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/composite"
	"github.com/attestd/attestd/verifiers/verifiertest"
)

func TestConformance(t *testing.T) {
	build := func() verifiers.Verifier { return newVerifier(t) }
	for _, row := range []struct {
		name string
		cpu  forge.CompositePart
		key  *forge.TPMKey
		// signatures of a second look: one for each device, and one for a certified key.
		signatures uint64
	}{
		{"SEV-SNP and TPM", guest(t), nil, 2},
		{"TDX and TPM with a certified key", domain(t), theWorld(t).agent, 3},
	} {
		c := verifiertest.Case{
			New: build, Input: input(t, attestd.Recorded(), root, row.cpu, chip(t, row.key)), Nonce: root,
			OtherTimes: verifiertest.OutsideValidity(), Signatures: row.signatures,
			UnusedEndorsements: row.cpu.Format == attestd.FormatTDX,
		}
		if row.key != nil {
			c.KeySPKI = spki(t, row.key)
		}
		t.Run(row.name, func(t *testing.T) { verifiertest.Conformance(t, c) })
	}
}

func TestWhatClaimsSay(t *testing.T) {
	t.Parallel()
	v, w := newVerifier(t), theWorld(t)
	for _, row := range []struct {
		name        string
		cpu, vtpm   forge.CompositePart
		combination string
		boot        string
	}{
		{"SEV-SNP and TPM", guest(t), chip(t, nil), "sev-snp+tpm", "/3"},
		{"TDX and TPM", domain(t), chip(t, nil), "tdx+tpm", "/3"},
		// A NitroTPM's document counts no boots: the guest's report names this one.
		{"SEV-SNP and NitroTPM", guest(t), instance(t), "sev-snp+nitrotpm", "20666f7267656420"},
	} {
		t.Run(row.name, func(t *testing.T) {
			asked := input(t, fresh(t, root), root, row.cpu, row.vtpm)
			asked.At = w.aws.At()
			if row.vtpm.Format == attestd.FormatTPM {
				asked.At = forge.CompositeTime
			}
			claims := good(t, v, asked)
			if claims.Freshness() != attestd.FreshnessNonce || !claims.InsecureRoots() {
				t.Errorf("freshness %v, insecure roots %v", claims.Freshness(), claims.InsecureRoots())
			}
			for name, want := range map[string]string{
				"devices": "2", "combination": row.combination, "weakest_edge": "simultaneous",
				"edge_vtpm": "simultaneous",
			} {
				if got := fact(claims, name); got != want {
					t.Errorf("fact %s is %s, want %s", name, got, want)
				}
			}
			named, cpu, vtpm := handles(claims), map[attestd.HandleKind]string{}, map[attestd.HandleKind]string{}
			for device := range claims.Devices() {
				switch device.Path {
				case "cpu":
					cpu = handles(device.Claims)
				case "vtpm":
					vtpm = handles(device.Claims)
				}
			}
			if named["instance"] == "" || named["instance"] != vtpm["instance"] {
				t.Errorf("instance %q, want the TPM's %q", named["instance"], vtpm["instance"])
			}
			if named["host"] == "" || named["host"] != cpu["host"] {
				t.Errorf("host %q, want the processor's %q", named["host"], cpu["host"])
			}
			if !strings.Contains(named["boot"], row.boot) {
				t.Errorf("boot %q, want one with %q", named["boot"], row.boot)
			}
			edges := slices.Collect(claims.Edges())
			if len(edges) != 1 || edges[0].From != "cpu" || edges[0].To != "vtpm" ||
				edges[0].Grade != attestd.GradeSimultaneous {
				t.Errorf("edges %v", edges)
			}
		})
	}
}

// TestRecordedEvidenceTiesNothing: whoever kept evidence can have kept that of two machines, so that
// neither a name nor an owner passes from the TPM to the processor.
func TestRecordedEvidenceTiesNothing(t *testing.T) {
	t.Parallel()
	v := newVerifier(t)
	known, err := attestd.Recorded().WithNonce(root)
	if err != nil {
		t.Fatal(err)
	}
	for name, demand := range map[string]attestd.Demand{"nothing": attestd.Recorded(), "a nonce": known} {
		asked := input(t, demand, root, guest(t), chip(t, nil))
		asked.Anchors.EndorsementKeys = [][32]byte{digestOf(t, theWorld(t).ek)}
		claims := good(t, v, asked)
		named := handles(claims)
		if named["instance"] != "" || named["boot"] != "" || named["host"] == "" {
			t.Errorf("%s demanded: handles %v", name, named)
		}
		for fct, want := range map[string]string{
			"weakest_edge": "none", "edge_vtpm": "none", "ownership": "(absent)", "key_grade": "(absent)",
		} {
			if got := fact(claims, fct); got != want {
				t.Errorf("%s demanded: fact %s is %s, want %s", name, fct, got, want)
			}
		}
		if claims.Freshness() != attestd.FreshnessNotShown {
			t.Errorf("%s demanded: freshness %v", name, claims.Freshness())
		}
	}
	// With a fresh nonce the same inventory says whose the machine is.
	asked := input(t, fresh(t, root), root, guest(t), chip(t, nil))
	asked.Anchors.EndorsementKeys = [][32]byte{digestOf(t, theWorld(t).ek)}
	if got := fact(good(t, v, asked), "ownership"); got != "inventory" {
		t.Errorf("ownership is %s", got)
	}
}

// TestABindingCoversTheKeyForEveryDevice: the root is the digest of the binding, and a device that
// answers for another key answers another root.
func TestABindingCoversTheKeyForEveryDevice(t *testing.T) {
	t.Parallel()
	v, w := newVerifier(t), theWorld(t)
	binding := attestd.Binding{TrustDomain: "example.org", Tenant: "one", Purpose: "node-attestation",
		Format: attestd.FormatComposite, Nonce: root[:32], SPKI: spki(t, w.agent)}
	digest, err := binding.Digest()
	if err != nil {
		t.Fatal(err)
	}
	demand, err := attestd.Bound(binding)
	if err != nil {
		t.Fatal(err)
	}
	for grade, key := range map[string]*forge.TPMKey{"bound": nil, "resident": w.agent} {
		claims := good(t, v, input(t, demand, digest, guest(t), chip(t, key)))
		if claims.Freshness() != attestd.FreshnessBinding || !bytes.Equal(claims.KeySPKI(), binding.SPKI) ||
			fact(claims, "key_grade") != grade {
			t.Errorf("%s: freshness %v, grade %s", grade, claims.Freshness(), fact(claims, "key_grade"))
		}
	}
	other := binding
	other.SPKI = spki(t, w.ak)
	stranger, err := other.Digest()
	if err != nil {
		t.Fatal(err)
	}
	// Each device in turn answers for the stranger's key.
	for _, row := range []struct {
		cpu, vtpm []byte
		device    string
		check     attestd.CheckID
	}{
		{stranger, digest, "cpu", "sev-snp/report-data"}, {digest, stranger, "vtpm", "tpm/nonce"},
	} {
		evidence := joined(t, one(t, row.cpu, guest(t)), one(t, row.vtpm, chip(t, nil)))
		refused(t, v, inputOf(t, demand, evidence), row.device, row.check, attestd.ClassBinding)
	}
}

// one returns a device's evidence over the value that is derived for it from the root.
func one(t testing.TB, asked []byte, part forge.CompositePart) compositeevidence.Device {
	t.Helper()
	evidence, err := forge.Composite(asked, part)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := compositeevidence.Parse(evidence)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Devices[0]
}

func joined(t testing.TB, devices ...compositeevidence.Device) []byte {
	t.Helper()
	evidence, err := compositeevidence.Evidence{Devices: devices}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return evidence
}

// answering is a part that answers a value as it stands, whatever is derived for it.
func answering(t testing.TB, part forge.CompositePart, value []byte) compositeevidence.Device {
	t.Helper()
	evidence, err := part.Make(value)
	if err != nil {
		t.Fatal(err)
	}
	return compositeevidence.Device{Path: part.Path, Format: part.Format, Evidence: evidence}
}

func derived(t testing.TB, asked []byte, path string, format attestd.Format) []byte {
	t.Helper()
	value, err := attestd.DeviceFreshness(asked, path, format)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// neg: 39, 40
func TestDevicesThatAnsweredSomethingElse(t *testing.T) {
	t.Parallel()
	v := newVerifier(t)
	demand := fresh(t, root)
	cpu, vtpm := one(t, root, guest(t)), one(t, root, chip(t, nil))
	later := bytes.Repeat([]byte{0x43}, 64)
	wide := derived(t, root, "vtpm", attestd.FormatNitroTPM)
	for _, row := range []struct {
		name   string
		device string
		cpu    compositeevidence.Device
		vtpm   compositeevidence.Device
	}{
		{"a processor that answered an earlier question", "cpu", one(t, later, guest(t)), vtpm},
		{"a TPM that answered an earlier question", "vtpm", cpu, one(t, later, chip(t, nil))},
		{"a processor that answered nothing", "cpu", one(t, nil, guest(t)), vtpm},
		{"a TPM that answered nothing", "vtpm", cpu, one(t, nil, chip(t, nil))},
		{"a processor that answered the root itself", "cpu", answering(t, guest(t), root), vtpm},
		{"a TPM that answered the root itself", "vtpm", cpu, answering(t, chip(t, nil), root)},
		{"a processor with the value of a TDX guest's", "cpu",
			answering(t, guest(t), derived(t, root, "cpu", attestd.FormatTDX)), vtpm},
		{"a processor with the value of another path", "cpu",
			answering(t, guest(t), derived(t, root, "cpu1", attestd.FormatSEVSNP)), vtpm},
		{"a processor with the TPM's value", "cpu", answering(t, guest(t), wide), vtpm},
		{"a TPM with the value of another path", "vtpm", cpu,
			answering(t, chip(t, nil), derived(t, root, "vtpm1", attestd.FormatTPM))},
		{"a TPM with the first half of the processor's value", "vtpm", cpu,
			answering(t, chip(t, nil), derived(t, root, "cpu", attestd.FormatSEVSNP)[:32])},
	} {
		t.Run(row.name, func(t *testing.T) {
			check := map[string]attestd.CheckID{"cpu": "sev-snp/report-data", "vtpm": "tpm/nonce"}[row.device]
			refused(t, v, inputOf(t, demand, joined(t, row.cpu, row.vtpm)), row.device, check,
				attestd.ClassBinding)
		})
	}
}

// TestAPartIsNoEvidenceOnItsOwn: an answer that was given as part of a machine must not pass for one
// that was given alone, nor the other way round.
func TestAPartIsNoEvidenceOnItsOwn(t *testing.T) {
	t.Parallel()
	demand := fresh(t, root)
	all := parts(t)
	for _, part := range []forge.CompositePart{guest(t), chip(t, nil)} {
		single := one(t, root, part)
		i := slices.IndexFunc(all, func(v verifiers.Verifier) bool { return v.Format() == part.Format })
		check := map[string]attestd.CheckID{"cpu": "sev-snp/report-data", "vtpm": "tpm/nonce"}[part.Path]
		refused(t, all[i], inputOf(t, demand, single.Evidence), "", check, attestd.ClassBinding)
	}
	for _, alone := range [][]byte{one(t, root, guest(t)).Evidence, one(t, root, chip(t, nil)).Evidence} {
		refused(t, newVerifier(t), inputOf(t, demand, alone), "", "composite/encoding",
			attestd.ClassMalformed)
	}
	whole := joined(t, one(t, root, guest(t)), one(t, root, chip(t, nil)))
	for _, part := range all {
		if part.Detect(whole) {
			t.Errorf("a machine's evidence is detected as %s", part.Format())
		}
	}
}

func TestMachinesThatAreNone(t *testing.T) {
	t.Parallel()
	v := newVerifier(t)
	cpu, vtpm := one(t, root, guest(t)), one(t, root, chip(t, nil))
	as := func(device compositeevidence.Device, path string, format attestd.Format) compositeevidence.Device {
		device.Path = path
		if format != "" {
			device.Format = format
		}
		return device
	}
	whole := joined(t, cpu, vtpm)
	const known, complete = "composite/devices-known", "composite/devices-complete"
	for _, row := range []struct {
		name    string
		devices []compositeevidence.Device
		check   attestd.CheckID
		class   attestd.Class
	}{
		{"a processor alone", []compositeevidence.Device{cpu}, complete, attestd.ClassMalformed},
		{"a TPM alone", []compositeevidence.Device{vtpm}, complete, attestd.ClassMalformed},
		{"two processors and no TPM", []compositeevidence.Device{cpu, as(cpu, "vtpm", "")}, known,
			attestd.ClassUnsupported},
		{"two processors and a TPM", []compositeevidence.Device{cpu, as(cpu, "cpu1", ""), vtpm}, known,
			attestd.ClassUnsupported},
		{"a second TPM", []compositeevidence.Device{cpu, vtpm, as(vtpm, "vtpm1", "")}, known,
			attestd.ClassUnsupported},
		{"a TPM in the processor's place", []compositeevidence.Device{as(vtpm, "cpu", ""), vtpm}, known,
			attestd.ClassUnsupported},
		{"a GPU, of a format that is not served", []compositeevidence.Device{cpu, as(vtpm, "gpu0", "nvidia-gpu"),
			vtpm}, known, attestd.ClassUnsupported},
		{"an enclave for a processor", []compositeevidence.Device{as(cpu, "cpu", attestd.FormatNitro), vtpm}, known,
			attestd.ClassUnsupported},
		{"a machine inside of a machine", []compositeevidence.Device{
			{Path: "cpu", Format: attestd.FormatComposite, Evidence: whole}, vtpm}, known, attestd.ClassUnsupported},
		{"evidence of another format than it says", []compositeevidence.Device{cpu,
			as(cpu, "vtpm", attestd.FormatTPM)}, "tpm/encoding", attestd.ClassMalformed},
	} {
		t.Run(row.name, func(t *testing.T) {
			device := ""
			if strings.HasPrefix(string(row.check), "tpm/") {
				device = "vtpm"
			}
			asked := inputOf(t, fresh(t, root), joined(t, row.devices...))
			refused(t, v, asked, device, row.check, row.class)
			if _, err := v.Inspect(asked.Evidence); err != nil {
				t.Errorf("inspect: %v", err)
			}
		})
	}
}

// neg: 9
func TestEvidenceOverALimit(t *testing.T) {
	t.Parallel()
	v := newVerifier(t)
	asked := inputOf(t, fresh(t, root), make([]byte, 9<<20))
	refused(t, v, asked, "", "composite/size", attestd.ClassTooLarge)
	if _, err := v.Inspect(asked.Evidence); err == nil {
		t.Error("inspected")
	}
	// Each device has the limits of its own verifier besides.
	cpu, vtpm := one(t, root, guest(t)), one(t, root, chip(t, nil))
	cpu.Evidence = append(bytes.Clone(cpu.Evidence), make([]byte, 80<<10)...)
	refused(t, v, inputOf(t, fresh(t, root), joined(t, cpu, vtpm)), "cpu", "sev-snp/size",
		attestd.ClassTooLarge)
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	t.Parallel()
	all := parts(t)
	for name, given := range map[string][]verifiers.Verifier{
		"nobody": nil, "nobody for the processor": all[2:], "nobody for the TPM": all[:2],
		"two for one format": append(slices.Clone(all), all[0]),
	} {
		if v, err := composite.New(composite.Config{Parts: given}); err == nil || v != nil {
			t.Errorf("%s: made", name)
		}
	}
	own, err := composite.New(composite.Config{Parts: append(all, newVerifier(t), nil)})
	if err != nil || len(own.Parts()) != len(all) {
		t.Errorf("a verifier of another format is no part: %v", err)
	}
}
