package appraisal

import "github.com/attestd/attestd"

// Values of the trustworthiness vector (draft-ietf-rats-ar4si, section 2.3) that are used here.
const (
	sayNothing      = 0
	unexpected      = 1  // elements that the verifier does not know
	affirmed        = 2  // genuine, approved, recognised, encrypted
	approvedBoot    = 3  // of executables: what was booted, not what runs since
	warned          = 32 // genuine, with known weaknesses
	unrecognised    = 33 // of executables
	contraindicated = 96
	unknownInstance = 97 // of instance-identity: not recognised, and it should be
	cryptoFailed    = 99
)

// failedVector says of evidence that was rejected before it became claims that its cryptography
// failed, in every claim: nothing in it can be affirmed. Evidence that is well formed and of a
// version or product not known here is another thing.
func failedVector(class attestd.Class) attestd.TrustVector {
	var say int8 = cryptoFailed
	if class == attestd.ClassUnsupported {
		say = unexpected
	}
	return attestd.TrustVector{
		InstanceIdentity: say, Configuration: say, Executables: say, FileSystem: say,
		Hardware: say, RuntimeOpaque: say, StorageOpaque: say, SourcedData: say,
	}
}

// profile is what verified evidence of a format affirms by itself.
type profile struct {
	// hardware: the chain ends at the maker of the hardware.
	hardware int8
	// runtimeOpaque: memory is encrypted, and the evidence shows it.
	runtimeOpaque int8
	// known: what a known measurement says about executables.
	known int8
	// named: the evidence is signed by a key of the machine's own, which somebody knows or not.
	named bool
}

// profiles, by format. AWS says of Nitro Enclaves that they are isolated; that their memory is
// encrypted is in no field of the document, so nothing is said. NitroTPM and TPM evidence is about
// boot, and a hypervisor's TPM is no hardware.
var profiles = map[attestd.Format]profile{
	attestd.FormatNitro:    {hardware: affirmed, known: affirmed},
	attestd.FormatNitroTPM: {known: approvedBoot},
	attestd.FormatSEVSNP:   {hardware: affirmed, runtimeOpaque: affirmed, known: approvedBoot},
	attestd.FormatTDX:      {hardware: affirmed, runtimeOpaque: affirmed, known: approvedBoot},
	// A TPM says by a fact whether it is hardware.
	attestd.FormatTPM: {known: approvedBoot, named: true},
}

// Facts of TPM evidence that the vector looks at.
const (
	factProtection = "protection"
	factResidency  = "ak_residency"
)

// vector gathers what the checks say. Claims of the vector only get worse.
type vector struct {
	profile profile
	trust   attestd.TrustVector
}

func vectorOf(claims *attestd.Claims) vector {
	of := profiles[claims.Format()]
	if text, _ := textOf(claims, factProtection); of.named && text == "hardware" {
		of.hardware = affirmed
	}
	if claims.InsecureRoots() {
		of.hardware, of.runtimeOpaque = sayNothing, sayNothing
	}
	made := vector{profile: of, trust: attestd.TrustVector{
		Hardware: of.hardware, RuntimeOpaque: of.runtimeOpaque,
	}}
	text, known := textOf(claims, factResidency)
	made.nameOperatorsKey(known && text == "none")
	return made
}

// nameOperatorsKey affirms the instance where neither a TPM's answer nor a certificate vouches for the
// key: then the operator named it.
func (v *vector) nameOperatorsKey(unvouched bool) {
	if v.profile.named && unvouched {
		v.trust.InstanceIdentity = affirmed
	}
}

func textOf(claims *attestd.Claims, fact string) (string, bool) {
	value, _ := claims.Fact(fact)
	return value.Text()
}

// note takes one appraised check into account.
func (v *vector) note(spec *attestd.CheckSpec, found finding) {
	failed := found.result == attestd.ResultFail
	bad := int8(warned)
	if found.outcome.effect == attestd.EffectRejects {
		bad = contraindicated
	}
	switch {
	case found.result == attestd.ResultNotApplicable:
	case spec.Group == attestd.GroupDebug && failed:
		// A debug guest is contraindicated whatever a policy makes of it.
		worsen(&v.trust.Configuration, contraindicated)
		if v.profile.runtimeOpaque != sayNothing {
			worsen(&v.trust.RuntimeOpaque, contraindicated)
		}
	case spec.Group == attestd.GroupDebug:
		worsen(&v.trust.Configuration, affirmed)
	case spec.Group == attestd.GroupPlatform && failed:
		worsen(&v.trust.Configuration, bad)
	case spec.Group == attestd.GroupTCB && failed:
		worsen(&v.trust.Hardware, bad)
	case spec.Rule == attestd.RuleReference && failed:
		worsen(&v.trust.Executables, unrecognised)
	case spec.Rule == attestd.RuleReference:
		worsen(&v.trust.Executables, v.profile.known)
	case spec.Group == attestd.GroupMeasurement && failed:
		worsen(&v.trust.Executables, unrecognised)
	case spec.ID == CheckOwnership && !failed:
		worsen(&v.trust.InstanceIdentity, affirmed)
	case spec.ID == CheckOwnership && v.profile.named && v.trust.InstanceIdentity == sayNothing:
		worsen(&v.trust.InstanceIdentity, unknownInstance)
	case spec.Group == attestd.GroupIdentity && failed && bad == contraindicated:
		worsen(&v.trust.InstanceIdentity, contraindicated)
	}
}

// include takes over what a device says. Where one of them is signed by a key of the machine's own, so
// is the whole.
func (v *vector) include(format attestd.Format, device attestd.TrustVector) {
	v.profile.named = v.profile.named || profiles[format].named
	say, of := values(&v.trust), values(&device)
	for i := range say {
		worsen(say[i], *of[i])
	}
}

func values(v *attestd.TrustVector) [8]*int8 {
	return [...]*int8{
		&v.InstanceIdentity, &v.Configuration, &v.Executables, &v.FileSystem, &v.Hardware,
		&v.RuntimeOpaque, &v.StorageOpaque, &v.SourcedData,
	}
}

func worsen(claim *int8, say int8) { *claim = max(*claim, say) }
